import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from teachkit.clip_records import (
    Change,
    ClipRecord,
    compare_gradients,
    compare_groups,
    flat_gradient,
)
from teachkit.clipping import Clipper
from tests.clip_cases import PARTS, Net, fill, parameters

numbers = st.just(0.0) | st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8)


def vector(values):
    return torch.tensor(values, dtype=torch.float64)


@settings(max_examples=80)
@given(pairs)
def test_a_change_in_closed_form(values):
    old, new = ([float(pair[n]) for pair in values] for n in (0, 1))
    change = compare_gradients(vector(old), vector(new))
    lengths = math.hypot(*old), math.hypot(*new)
    assert (change.norm_before, change.norm_after) == pytest.approx(lengths)
    assert change.fraction == pytest.approx(sum(a != b for a, b in values) / len(values))
    assert change.clipped == (old != new)
    if all(lengths):
        product = math.fsum(a * b for a, b in values)
        assert change.cosine == pytest.approx(product / math.prod(lengths), abs=1e-12)
        assert -1 - 1e-12 <= change.cosine <= 1
    else:
        assert math.isnan(change.cosine)


@pytest.mark.parametrize("scale", [1e-180, 1e-30, 1.0, 1e30, 1e180])
def test_the_cosine_of_a_very_long_or_short_gradient(scale):
    old, new = [3.0 * scale, 4.0 * scale], [1.0 * scale, 1.0 * scale]
    change = compare_gradients(vector(old), vector(new))
    if 1e-150 < scale < 1e150:  # the norm of the others is 0 or infinite
        assert change.cosine == pytest.approx(7 / 5 / 2**0.5)
    assert change.fraction == 1


@pytest.mark.parametrize("entry", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_cosine_and_may_stay_the_same(entry):
    values = vector([entry, 1.0])
    change = compare_gradients(values, values.clone())
    assert math.isnan(change.cosine)
    assert (change.fraction, change.clipped) == (0, False)
    assert compare_gradients(values, vector([entry, 2.0])).fraction == 0.5
    assert compare_gradients(values, vector([0.5, 1.0])).fraction == 0.5


def test_nothing_was_not_changed():
    nothing = torch.zeros(0)
    assert not compare_gradients(nothing, nothing).clipped
    assert flat_gradient([]).shape == (0,)


def test_all_gradients_in_float64():
    made = [*parameters([[3e38], None], torch.float32), *parameters([[1e-300]])]
    flat = flat_gradient(made)
    assert flat.dtype == torch.float64
    assert flat.tolist() == pytest.approx([3e38, 1e-300])
    assert flat.norm().item() == pytest.approx(3e38)


def test_a_record_is_a_change_with_more():
    record = ClipRecord(2.0, 1.0, 1.0, 0.5)
    assert isinstance(record, Change)
    assert record.clipped
    assert (record.finite, record.skipped, record.limit, record.groups) == (
        True,
        False,
        math.inf,
        {},
    )
    assert record == ClipRecord(2.0, 1.0, 1.0, 0.5)
    assert record != ClipRecord(2.0, 1.0, 1.0, 0.5, limit=1.0)
    with pytest.raises(AttributeError, match="cannot assign"):
        record.limit = 1.0  # type: ignore[misc]


def test_a_step_that_is_skipped_is_not_clipped():
    assert ClipRecord(2.0, 1.0, 1.0, 0.5).clipped
    assert not ClipRecord(2.0, 0.0, 1.0, 0.5, skipped=True).clipped
    assert not ClipRecord(2.0, 2.0, math.nan, math.nan).clipped


def test_a_large_model_is_told_by_groups_in_time():
    sizes, parts = [1_000_000, 3, 999_997], ["other", "output", "recurrent"]
    before = torch.arange(sum(sizes), dtype=torch.float64)
    after = before.clone()
    after[:10] += 1
    after[-1] = 0
    start = time.process_time()
    found = compare_groups(parts, sizes, before, after)
    assert time.process_time() - start < 0.5  # a list with an item an entry took longer
    assert list(found) == ["recurrent", "output", "other"]
    fractions = [found[part].fraction for part in parts]
    assert fractions == pytest.approx([10 / sizes[0], 0, 1 / sizes[2]], rel=1e-6)
    assert found["output"].norm_before == pytest.approx(before[10**6 : 10**6 + 3].norm().item())
    assert compare_groups([], [], before[:0], after[:0]) == {}


@pytest.mark.parametrize("method", ["norm", "per_parameter", "value", "recurrent", "output", "agc"])
def test_each_group_is_told_as_if_it_were_alone(method):
    model = fill(Net(), scale=3.0)
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    record = Clipper(method, 0.5 if method != "agc" else 0.01)(model)
    assert list(record.groups) == ["recurrent", "output", "other"]
    for group, layer in PARTS.items():
        names = [name for name in before if name.startswith(layer)]
        after = dict(model.named_parameters())
        old = torch.cat([before[name].flatten() for name in names])
        new = torch.cat([after[name].grad.flatten() for name in names])
        change = record.groups[group]
        assert change.norm_before == pytest.approx(old.norm().item())
        assert change.norm_after == pytest.approx(new.norm().item())
        cosine = torch.nn.functional.cosine_similarity(old, new, dim=0).item()
        assert change.cosine == pytest.approx(cosine)
        assert change.fraction == pytest.approx((old != new).double().mean().item())
    squares = sum(change.norm_before**2 for change in record.groups.values())
    assert record.norm_before == pytest.approx(squares**0.5)


def test_groups_that_there_are():
    model = nn.ModuleDict({"rnn": nn.RNN(2, 3), "head": nn.Linear(3, 1)})
    fill(model)
    assert list(Clipper()(model).groups) == ["recurrent", "output"]
    for p in model["rnn"].parameters():
        p.grad = None
    assert list(Clipper()(model).groups) == ["output"]
    assert Clipper()(list(model.parameters())).groups == {}


def test_the_records_as_a_table():
    clip, model = Clipper("recurrent", 0.5), Net()
    records = [clip(fill(model, seed, 10.0**seed)) for seed in range(-2, 2)]
    table = clip.frame
    assert table.index.name == "call"
    assert len(table) == 4
    own = ["norm_before", "norm_after", "cosine", "fraction", "finite", "skipped", "limit"]
    parts = [
        f"{group}_{what}"
        for group in ("recurrent", "output", "other")
        for what in ("before", "after", "cosine", "fraction")
    ]
    assert list(table) == own + parts
    assert table["limit"].tolist() == [0.5] * 4
    assert table["norm_before"].tolist() == [r.norm_before for r in records]
    assert table["recurrent_after"].tolist() == [r.groups["recurrent"].norm_after for r in records]
    assert table["output_fraction"].tolist() == [0.0] * 4
    assert table["recurrent_fraction"].tolist() == [0.0, 1.0, 1.0, 1.0]


def test_a_table_without_groups_and_one_of_nothing():
    clip = Clipper()
    assert clip.frame.empty
    assert clip.frame.index.name == "call"
    clip(parameters([[3.0, 4.0]]))
    assert clip.frame.loc[0, "norm_before"] == 5
    assert "recurrent_before" not in clip.frame

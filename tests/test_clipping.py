import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from teachkit.clipping import Clipper, gradient_norm, stacked_norms

TORCH = {
    "norm": lambda p, limit: nn.utils.clip_grad_norm_(p, limit),
    "value": lambda p, limit: nn.utils.clip_grad_value_(p, limit),
}
CASES = {
    "ordinary": [[3.0, 4.0], [0.0, 12.0]],
    "zero": [[0.0, 0.0], [0.0, 0.0]],
    "tiny": [[1e-30, 0.0], [1e-38, 0.0]],
    "huge": [[1e30, 2e30], [-3e30, 0.0]],
    "nan": [[math.nan, 1.0], [2.0, 3.0]],
    "infinite": [[math.inf, 1.0], [2.0, 3.0]],
}
method = st.sampled_from(["norm", "value"])
numbers = st.just(0.0) | st.floats(1e-100, 1e3) | st.floats(-1e3, -1e-100)
entries = st.lists(st.lists(numbers, min_size=1, max_size=5), min_size=1, max_size=4)
limits = st.floats(1e-3, 1e3)


def parameters(grads, dtype=torch.float64):
    made = []
    for grad in grads:
        made.append(nn.Parameter(torch.zeros(len(grad), dtype=dtype)))
        made[-1].grad = torch.tensor(grad, dtype=dtype)
    return made


def flat(made):
    return torch.cat([p.grad for p in made])


@pytest.mark.parametrize("method", ["norm", "value"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_come_out_as_from_pytorch(method, name, dtype):
    ours, theirs = parameters(CASES[name], dtype), parameters(CASES[name], dtype)
    record = Clipper(method, 1.5)(ours)
    TORCH[method](theirs, 1.5)
    assert_close(flat(ours), flat(theirs), rtol=0, atol=0, equal_nan=True)
    before = torch.tensor(CASES[name], dtype=dtype).flatten()
    assert record.finite == all(math.isfinite(v) for v in before.tolist())
    assert record.clipped == (not torch.equal(flat(ours), before))
    assert record.norm_before == pytest.approx(before.double().norm().item(), nan_ok=True)
    assert record.norm_after == pytest.approx(flat(ours).double().norm().item(), nan_ok=True)


def stack(cases, dtype):
    """The gradients of several networks, one tensor (R, ...) a parameter, shaped as matrices."""
    columns = zip(*cases, strict=True)
    return [torch.tensor(column, dtype=dtype).view(len(cases), 1, -1) for column in columns]


@pytest.mark.parametrize("method", ["norm", "value"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("known", [False, True])
def test_stacked_networks_are_clipped_each_as_if_it_were_alone(method, dtype, known):
    cases = [*CASES.values(), [[math.nan, 1.0], [0.5, 0.0]]]
    grads = stack(cases, dtype)
    norms = stacked_norms(grads)
    given = norms.clone() if known else None
    clip = Clipper(method, 1.5)
    changed = clip.clip_stacked(grads, given)
    assert changed.dtype == torch.bool
    for n, case in enumerate(cases):
        alone = parameters(case, dtype)
        total = nn.utils.get_total_norm([p.grad for p in alone])
        assert_close(norms[n], total, rtol=1e-6, atol=0, equal_nan=True)
        TORCH[method](alone, 1.5)
        own = torch.cat([g[n].flatten() for g in grads])
        assert_close(own, flat(alone), rtol=0, atol=0, equal_nan=True)
        assert changed[n] == Clipper(method, 1.5)(parameters(case, dtype)).clipped
    if known:
        assert_close(given, norms, rtol=0, atol=0, equal_nan=True)  # and left as it was
    assert clip.records == []


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=5), limits, method)
def test_stacked_clipping_is_that_of_each_row(rows, limit, method):
    grads = stack([[row[:1], row[1:]] for row in rows], torch.float64)
    norms = stacked_norms(grads)
    changed = Clipper(method, limit).clip_stacked(grads)
    for n, row in enumerate(rows):
        alone = parameters([row[:1], row[1:]])
        assert norms[n].item() == pytest.approx(gradient_norm(alone))
        record = Clipper(method, limit)(alone)
        assert_close(torch.cat([g[n].flatten() for g in grads]), flat(alone), rtol=1e-12, atol=0)
        assert bool(changed[n]) == record.clipped


def test_norms_that_are_known_are_not_computed_again():
    grads = [torch.tensor([[3.0, 4.0], [3.0, 4.0]])]
    changed = Clipper("norm", 1.0).clip_stacked(grads, torch.tensor([5.0, 0.5]))
    assert changed.tolist() == [True, False]
    assert_close(grads[0], torch.tensor([[0.6, 0.8], [3.0, 4.0]]))


def test_stacked_gradients_may_want_gradients_themselves():
    leaf = torch.full((2, 3), 7.0, requires_grad=True)
    assert Clipper("value", 1.0).clip_stacked([leaf]).tolist() == [True, True]
    assert (leaf == 1).all()


def test_what_a_rule_is():
    assert Clipper("value", 2).rule == Clipper("value", 2.0).rule == ("value", 2.0)
    rules = {Clipper(m, t).rule for m in ("norm", "value") for t in (1, 2)}
    assert len(rules) == 4
    clip = Clipper()
    clip(parameters([[3.0]]))
    assert clip.rule == Clipper().rule  # the record does not matter


@pytest.mark.parametrize("method", ["norm", "value"])
@pytest.mark.parametrize("name", ["zero", "nan", "infinite"])
def test_without_a_direction_there_is_no_cosine(method, name):
    assert math.isnan(Clipper(method, 1.0)(parameters(CASES[name])).cosine)


@settings(deadline=None, max_examples=60)
@given(entries, limits)
def test_norm_keeps_the_direction_and_bounds_the_length(grads, limit):
    made = parameters(grads)
    before = flat(made).clone()
    record = Clipper("norm", limit)(made)
    scale = min(1.0, limit / (before.norm().item() + 1e-6))
    assert_close(flat(made), scale * before)
    assert record.norm_after <= limit * (1 + 1e-9)
    assert record.clipped == (not torch.equal(flat(made), before))
    if before.norm() > 0:
        assert record.cosine == pytest.approx(1)


@settings(deadline=None, max_examples=60)
@given(entries, limits)
def test_value_clamps_each_entry(grads, limit):
    made = parameters(grads)
    before = flat(made).clone()
    record = Clipper("value", limit)(made)
    values = [min(max(g, -limit), limit) for g in before.tolist()]
    assert flat(made).tolist() == values
    changed = sum(a != b for a, b in zip(before.tolist(), values, strict=True))
    assert record.fraction == pytest.approx(changed / len(values))


@settings(deadline=None, max_examples=30)
@given(entries, limits, method)
def test_clipping_twice_changes_no_more(grads, limit, method):
    made = parameters(grads)
    clip = Clipper(method, limit)
    clip(made)
    once = flat(made).clone()
    clip(made)
    assert_close(flat(made), once, rtol=2e-6 / limit + 1e-9, atol=0)  # torch adds 1e-6 to the norm


def test_the_record_of_a_clamp():
    record = Clipper("value", 1.0)(parameters([[3.0, 4.0], [0.0, 12.0]]))
    assert record.norm_before == 13
    assert record.norm_after == pytest.approx(3**0.5)  # 1.732 in science.md
    assert record.cosine == pytest.approx(19 / 13 / 3**0.5)  # .8438
    assert record.fraction == 0.75


def test_every_call_is_kept_in_order():
    clip = Clipper("norm", 1.0)
    made = [clip(parameters([[length]])) for length in (2.0, 0.5)]
    assert clip.records == made
    assert [record.clipped for record in clip.records] == [True, False]
    assert Clipper().records == []
    assert (Clipper().method, Clipper().threshold) == ("norm", 1)


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: m.parameters(), lambda m: m.weight])
def test_a_module_a_generator_or_one_tensor(wrap):
    layer = nn.Linear(2, 1)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])  # and none on the bias
    assert gradient_norm(wrap(layer)) == 5
    record = Clipper("norm", 1.0)(wrap(layer))
    assert (record.norm_before, record.fraction) == (5, 1)
    assert_close(layer.weight.grad, torch.tensor([[0.6, 0.8]]))
    assert layer.bias.grad is None


def test_no_gradient_at_all():
    layer = nn.Linear(2, 1)
    record = Clipper()(layer)
    assert gradient_norm(layer) == 0
    assert (record.norm_before, record.norm_after, record.clipped) == (0, 0, False)
    assert record.finite


@settings(deadline=None, max_examples=30)
@given(entries)
def test_gradient_norm_is_the_definition(grads):
    expected = math.sqrt(sum(g * g for row in grads for g in row))
    assert gradient_norm(parameters(grads)) == pytest.approx(expected)


def test_a_norm_beyond_float32_is_a_number():
    assert gradient_norm(parameters([[3e38], [4e38 / 2]], torch.float32)) == pytest.approx(
        math.hypot(3e38, 2e38)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "agc"}, "method must be one of 'norm', 'value', but 'agc' was given"),
        ({"method": None}, "method must be one of 'norm', 'value', but None was given"),
        ({"threshold": 0}, "threshold must be above 0, but 0.0 was given"),
        ({"threshold": -1}, "threshold must be a number of at least 0, but -1 was given"),
        ({"threshold": math.inf}, "threshold must be a number of at least 0, but inf was given"),
        ({"threshold": "1 cm"}, "threshold must be a number of at least 0, but '1 cm' was given"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Clipper(**settings)

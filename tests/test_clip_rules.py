"""The rules for R networks at once, each against a loop over networks, units or steps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from teachkit.clip_rules import (
    GROUPS,
    METHODS,
    FixedLimit,
    PercentileLimit,
    StackedParameter,
    ZScoreLimit,
    adapt_to_weights,
    clamp_to,
    clipped_together,
    limits_where_exceeded,
    norms_of,
    scale_to,
)
from tests.clip_cases import CASES
from tests.reference import total_norm

norms = st.floats(1e-6, 1e6)
series = st.lists(norms, min_size=1, max_size=60)
precise = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def limits_of(limit, values, dtype=torch.float64):
    """Feed one network's norms one by one; return its limits."""
    return [limit(torch.tensor([value], dtype=dtype)).item() for value in values]


# --- which gradients are clipped together ---------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("norm", [[0, 1, 2, 3]]),
        ("value", [[0, 1, 2, 3]]),
        ("autoclip", [[0, 1, 2, 3]]),
        ("zclip", [[0, 1, 2, 3]]),
        ("per_parameter", [[0], [1], [2], [3]]),
        ("recurrent", [[1, 3]]),
        ("all_but_output", [[0, 1, 3]]),
        ("agc", [[0, 1, 3]]),
        ("output", [[2]]),
    ],
)
def test_what_is_clipped_together(method, expected):
    groups = ["other", "recurrent", "output", "recurrent"]
    assert clipped_together(method, groups) == expected
    assert clipped_together("agc", groups, whole=True) == [[0, 1, 2, 3]]
    assert clipped_together(method, []) == []


def test_a_group_that_is_missing_is_not_clipped():
    assert clipped_together("recurrent", ["other", "output"]) == []
    assert clipped_together("output", ["recurrent"]) == []
    assert set(GROUPS) == {"recurrent", "output", "other"}
    assert all(threshold > 0 for threshold in METHODS.values())


# --- limits ---------------------------------------------------------------------------------------


def test_a_fixed_limit():
    assert FixedLimit(0.3)(torch.tensor([1.0, math.nan])).tolist() == pytest.approx([0.3, 0.3])


@settings(max_examples=50)
@given(series, st.floats(0.1, 100))
def test_autoclip_is_numpys_percentile_of_all_norms_so_far(values, percentile):
    expected = [np.percentile(values[: n + 1], percentile) for n in range(len(values))]
    assert limits_of(PercentileLimit(percentile), values) == pytest.approx(expected)


@precise
def test_each_network_has_a_percentile_of_its_own(dtype):
    table = torch.rand(70, 5, dtype=dtype).exp()  # more rows than there is room for at first
    table[3, 1] = table[40, 1] = math.inf
    table[5, 2] = math.nan
    limit = PercentileLimit(30.0)
    found = torch.stack([limit(row.clone()) for row in table])
    assert found.dtype == dtype
    for network in range(5):
        for step in range(len(table)):
            seen = table[: step + 1, network].double().numpy()
            expected = np.percentile(seen[np.isfinite(seen)], 30.0)
            assert found[step, network].item() == pytest.approx(expected, rel=1e-6)


def test_without_a_finite_norm_there_is_no_percentile():
    assert limits_of(PercentileLimit(10.0), [math.nan, math.inf, 2.0]) == [math.inf, math.inf, 2.0]


def scalar_zclip(values, threshold, alpha, warmup, max_norm):
    """One network's limits by the words of `ZScoreLimit`, in plain Python."""
    found: list[float] = []
    mean = var = 0.0
    for n, norm in enumerate(values):
        limit = math.inf
        if n < warmup:
            if n == warmup - 1:
                mean = float(np.mean(values[:warmup]))
                var = float(np.var(values[:warmup]))
        else:
            z = (norm - mean) / (math.sqrt(var) + 1e-6)
            if z > threshold:
                limit = mean + threshold * math.sqrt(var) * threshold / z
            kept = min(norm, limit)
            mean = alpha * mean + (1 - alpha) * kept
            var = alpha * var + (1 - alpha) * (kept - mean) ** 2
        found.append(limit if max_norm is None else min(limit, max_norm))
    return found


def spiky(seed, steps=120):
    rng = np.random.default_rng(seed)
    values = rng.lognormal(0, 0.3, steps)
    spikes = rng.random(steps) < 0.15
    values[spikes] *= rng.lognormal(2, 1.5, spikes.sum())
    return values


@pytest.mark.parametrize("max_norm", [None, 1.0, 3.0])
@pytest.mark.parametrize(("threshold", "alpha", "warmup"), [(2.5, 0.97, 25), (1.0, 0.8, 4)])
def test_zclip_is_its_description_in_plain_python(threshold, alpha, warmup, max_norm):
    table = np.stack([spiky(seed) for seed in range(4)], 1)
    limit = ZScoreLimit(threshold, alpha, warmup, max_norm)
    found = torch.stack([limit(torch.from_numpy(row)) for row in table]).numpy()
    for network in range(4):
        expected = scalar_zclip(table[:, network], threshold, alpha, warmup, max_norm)
        assert found[:, network].tolist() == pytest.approx(expected, rel=1e-12)
    cut = found < table
    assert cut[warmup:].any()
    assert not cut[warmup:].all()
    assert max_norm or not cut[:warmup].any()


@settings(max_examples=40)
@given(st.integers(0, 1000), st.floats(1.01, 100), st.floats(1.01, 100))
def test_a_larger_spike_may_keep_less_and_never_more_than_it_had(seed, one, factor):
    usual = np.abs(spiky(seed, 30)).tolist()

    def limit_of(spike):
        return limits_of(ZScoreLimit(2.5, 0.97, 25, None), [*usual, spike])[-1]

    top = max(usual) * 4 + 10 * one  # far above, so a spike in any case
    small, large = limit_of(top), limit_of(top * factor)
    assert large <= small < top
    assert limit_of(0.0) == math.inf
    assert limit_of(math.inf) <= large * (1 + 1e-9)


def test_zclip_and_norms_that_are_not_finite():
    usual = spiky(1, 25)
    broken = [*usual[:10], math.nan, *usual[10:23], math.inf, usual[23]]
    limit = ZScoreLimit(2.5, 0.97, 24, None)
    assert limits_of(limit, broken) == [math.inf] * 26
    mean, std = usual[:24].mean(), usual[:24].std()
    assert limits_of(limit, [math.nan]) == [math.inf]  # and learns nothing of it
    (cut,) = limits_of(limit, [100.0])
    std *= 0.97**0.5  # the NaN stood for the mean, which narrows the spread
    z = (100.0 - mean) / (std + 1e-6)
    assert cut == pytest.approx(mean + 2.5 * std * 2.5 / z, rel=1e-12)
    # beyond float32, where PyTorch's own norm is infinite: the mean is what is left
    (cut,) = limits_of(limit, [math.inf])
    assert mean < cut < mean + 2.5 * std
    assert limits_of(ZScoreLimit(2.5, 0.97, 1, 0.5), [math.nan, math.nan]) == [0.5, 0.5]


def test_each_network_warms_up_with_its_own_finite_norms():
    table = np.stack([spiky(seed, 60) for seed in range(3)], 1)
    broken = np.full((70, 3), math.nan)
    broken[:60, 0] = table[:, 0]
    broken[10:, 1] = table[:, 1]  # ten late
    together = ZScoreLimit(2.5, 0.97, 25, None)
    found = torch.stack([together(torch.from_numpy(row)) for row in broken]).numpy()
    for network, start in ((0, 0), (1, 10)):
        alone = limits_of(ZScoreLimit(2.5, 0.97, 25, None), table[:, network])
        assert found[start : start + 60, network].tolist() == alone
        assert min(alone) < math.inf
    assert (found[:, 2] == math.inf).all()
    assert (found[:10, 1] == math.inf).all()


@pytest.mark.parametrize("first", [0.0, 1.5])
def test_norms_that_are_all_alike_do_not_make_a_spike_of_the_next(first):
    limit = ZScoreLimit(2.5, 0.97, 4, None)
    assert limits_of(limit, [first] * 4) == [math.inf] * 4
    assert limits_of(limit, [math.inf, math.nan]) == [first, math.inf]  # but this is one
    assert limits_of(limit, [first + 1]) == [math.inf]
    (cut,) = limits_of(limit, [1e6])  # there is a deviation now
    assert first < cut < first + 10


def test_the_threshold_may_change_and_the_memory_stays():
    values = spiky(3, 40).tolist()
    limit = PercentileLimit(10.0)
    limits_of(limit, values)
    limit.threshold = 100.0
    assert limits_of(limit, [0.1]) == pytest.approx([max(values)])


def test_a_norm_within_its_limit_has_none():
    found = limits_where_exceeded(
        torch.tensor([1.0, 2.0, 3.0, math.nan]), torch.tensor([1.0, 3.0, 2.0, 1.0])
    )
    assert found.tolist() == [math.inf, math.inf, 2.0, 1.0]


# --- what happens to the gradients ----------------------------------------------------------------


def stack(rows, dtype):
    """The same number of entries for each network, as one vector and one matrix."""
    whole = torch.tensor(rows, dtype=dtype)
    return [whole[:, :1].clone(), whole[:, 1:].clone().view(len(rows), 1, -1)]


def rows_of(names):
    rows = [[g for grad in CASES[name] for g in grad] for name in names]
    return [row for row in rows if len(row) == 4]


@precise
def test_norms_are_pytorchs_of_each_network(dtype):
    rows = rows_of(CASES)
    found = norms_of(stack(rows, dtype))
    for n, row in enumerate(rows):
        grads = [torch.tensor(row[:1], dtype=dtype), torch.tensor(row[1:], dtype=dtype)]
        assert_close(found[n], total_norm(grads), rtol=1e-6, atol=0, equal_nan=True)


@precise
def test_scaling_is_pytorchs_of_each_network_with_a_limit_of_its_own(dtype):
    rows = rows_of(CASES)
    grads = stack(rows, dtype)
    limits = torch.arange(1, len(rows) + 1, dtype=dtype) / 4 + 0.01
    own_norms = norms_of(grads)
    changed = scale_to(grads, own_norms, limits)
    for n, row in enumerate(rows):
        alone = [nn.Parameter(torch.zeros(len(g))) for g in (row[:1], row[1:])]
        for p, g in zip(alone, (row[:1], row[1:]), strict=True):
            p.data = p.data.to(dtype)
            p.grad = torch.tensor(g, dtype=dtype)
        nn.utils.clip_grad_norm_(alone, limits[n].item())
        for g, p in zip(grads, alone, strict=True):
            assert p.grad is not None
            assert_close(g[n].flatten(), p.grad, rtol=1e-6, atol=0, equal_nan=True)
        assert changed[n] == (not own_norms[n] <= limits[n])


def test_no_limit_leaves_even_a_norm_of_nan_alone():
    grads = stack([[math.nan, 1.0, 2.0], [math.inf, 1.0, 2.0]], torch.float64)
    before = [g.clone() for g in grads]
    changed = scale_to(grads, norms_of(grads), torch.full((2,), math.inf, dtype=torch.float64))
    assert changed.tolist() == [False, False]
    assert_close(grads, before, rtol=0, atol=0, equal_nan=True)


@precise
def test_clamping_is_pytorchs_of_each_network(dtype):
    rows = rows_of(CASES)
    grads = stack(rows, dtype)
    changed = clamp_to(grads, 0.35)
    for n, row in enumerate(rows):
        alone = nn.Parameter(torch.zeros(4, dtype=dtype))
        alone.grad = torch.tensor(row, dtype=dtype)
        nn.utils.clip_grad_value_(alone, 0.35)
        own = torch.cat([g[n].flatten() for g in grads])
        assert_close(own, alone.grad, rtol=0, atol=0, equal_nan=True)
        assert changed[n] == any(abs(g) > 0.35 for g in row)


def units(shape):
    """The index of each unit of one network's parameter."""
    if len([n for n in shape if n > 1]) < 2:
        return [slice(None)]
    return list(range(shape[0]))


@pytest.mark.parametrize(
    "shape", [(), (1,), (5,), (3, 4), (1, 4), (4, 1), (2, 1, 3), (1, 1, 3), (3, 2, 5)], ids=str
)
@pytest.mark.parametrize("ratio", [0.01, 0.5, 100.0])
def test_adaptive_clipping_unit_by_unit(shape, ratio):
    values, before = torch.randn(3, *shape).double(), torch.randn(3, *shape).double()
    values[1] = 0.0
    if shape:
        before[2, 0] *= 1e-4
    after = before.clone()
    changed = adapt_to_weights([StackedParameter("other", values, after)], ratio)
    for network in range(3):
        moved = False
        for unit in [...] if not shape else units(shape):
            g = before[network][unit].flatten()
            allowed = ratio * max(values[network][unit].norm().item(), 1e-3)
            norm = g.norm().item()
            expected = g * allowed / norm if norm > allowed else g
            assert_close(after[network][unit].flatten(), expected)
            moved |= norm > allowed
        assert changed[network] == moved


def test_adaptive_clipping_of_what_is_not_finite():
    values = torch.ones(1, 3, 2)
    g = torch.tensor([[[math.nan, 5.0], [math.inf, 5.0], [1e-9, 0.0]]])
    assert adapt_to_weights([StackedParameter("other", values, g)], 0.01).tolist() == [True]
    assert g[0, 0].isnan().all()  # as one NaN does to a whole gradient elsewhere
    assert g[0, 1].isnan().tolist() == [True, False]
    assert g[0, 1, 1] == 0
    assert g[0, 2].tolist() == pytest.approx([1e-9, 0.0])

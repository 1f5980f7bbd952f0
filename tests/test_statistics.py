import itertools
import math
import statistics as stdlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import teachkit as tk
from teachkit.statistics import (
    bootstrap_interval,
    loss_by_time,
    paired_differences,
    reached_share,
    select,
    steps_ratio,
    steps_to_threshold,
    t_interval,
    threshold_between,
    wilson,
)

STUDENT_975 = {1: 12.7062047362, 2: 4.3026527297, 4: 2.7764451052, 15: 2.1314495456}
COLUMNS = ["variant", "seed", "step", "metric", "value"]


def make_table(curves, steps=None, metric="test_loss"):
    """Make a table of {variant: {seed: values by step}}."""
    rows = [
        (variant, seed, step, metric, value)
        for variant, runs in curves.items()
        for seed, values in runs.items()
        for step, value in zip(steps or range(len(values)), values, strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def made_up(variants="zyx", seeds=6, steps=(0, 10, 20), metrics=("test_loss", "score")):
    rng = np.random.default_rng(0)
    keys = itertools.product(variants, range(seeds), steps, metrics)
    return pd.DataFrame([(*key, rng.lognormal()) for key in keys], columns=COLUMNS)


def rows_of(table):
    return list(table.itertuples())


def lookup(table, metric="test_loss", step=20):
    rows = table[(table["metric"] == metric) & (table["step"] == step)]
    return rows.set_index(["variant", "seed"])["value"].to_dict()


# --- one metric of a table ------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "expected"), [(None, 20), (20, 20), (0, 0)])
@pytest.mark.parametrize("metric", ["test_loss", "score"])
def test_select_is_seed_by_variant_in_the_order_of_the_table(step, expected, metric):
    table = made_up()
    wide = select(table, metric, step)
    assert list(wide.columns) == ["z", "y", "x"]
    assert wide.index.tolist() == list(range(6))
    known = lookup(table, metric, expected)
    for variant, seed in itertools.product("xyz", range(6)):
        assert wide.loc[seed, variant] == known[variant, seed]


def test_select_takes_the_last_step_of_its_own_metric():
    table = made_up()
    late = pd.DataFrame([("z", 0, 30, "diverged", 0.0)], columns=COLUMNS)
    assert select(pd.concat([table, late]), "score").equals(select(table, "score", 20))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("loss",), "metric must be one of 'test_loss', 'score', but 'loss' was given"),
        (("score", 5), "step must be one of 0, 10, 20, but 5 was given"),
    ],
)
def test_select_names_what_was_not_measured(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        select(made_up(), *arguments)


# --- intervals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 16])
def test_a_t_interval_by_hand(n):
    values = np.random.default_rng(n).normal(3, 2, n)
    half = STUDENT_975[n - 1] * stdlib.stdev(values) / math.sqrt(n)
    mean = stdlib.mean(values)
    assert t_interval(values) == pytest.approx((mean - half, mean + half))


def test_a_t_interval_of_other_confidence():
    values = np.array([1.0, 2.0, 4.0])
    low, high = t_interval(values, 0.5)
    # the quartile of Student's t with 2 degrees of freedom is sqrt(2 / 3)
    half = 0.8164965809 * stdlib.stdev(values) / math.sqrt(3)
    assert (low, high) == pytest.approx((7 / 3 - half, 7 / 3 + half))


def test_a_t_interval_covers_the_mean_as_often_as_it_says():
    samples = np.random.default_rng(0).normal(5.0, 3.0, (1500, 6))
    found = np.array([t_interval(sample) for sample in samples])
    covered = np.mean((found[:, 0] <= 5) & (found[:, 1] >= 5))
    assert 0.93 < covered < 0.97
    narrow = np.array([t_interval(sample, 0.8) for sample in samples])
    assert 0.77 < np.mean((narrow[:, 0] <= 5) & (narrow[:, 1] >= 5)) < 0.83


def test_a_bootstrap_interval_covers_the_mean_of_skewed_values():
    samples = np.random.default_rng(0).exponential(2.0, (300, 20))
    found = np.array([bootstrap_interval(sample, resamples=499) for sample in samples])
    assert 0.86 < np.mean((found[:, 0] <= 2) & (found[:, 1] >= 2)) < 0.98


@pytest.mark.parametrize("n", [2, 3, 16])
@pytest.mark.parametrize("resamples", [None, 99])
def test_the_bootstrap_is_that_of_scipy(n, resamples):
    values = np.random.default_rng(n).exponential(2, n)
    options = {} if resamples is None else {"resamples": resamples}
    expected = stats.bootstrap(
        [values],
        np.mean,
        method="BCa",
        n_resamples=resamples or 9999,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert bootstrap_interval(values, **options) == (expected.low, expected.high)
    assert bootstrap_interval(values, **options) == bootstrap_interval(values, **options)
    assert values.min() <= expected.low <= values.mean() <= expected.high <= values.max()


def test_the_bootstrap_by_hand():
    # Efron 1987: percentiles moved by the bias z0 and by the skewness a / 6 of the mean.
    values = np.random.default_rng(5).exponential(2, 12)
    low, high = bootstrap_interval(values, 0.9, 20_000)
    resampled = np.random.default_rng(1).choice(values, (200_000, 12)).mean(1)
    z0 = stats.norm.ppf(np.mean(resampled < values.mean()))
    d = values - values.mean()
    a = (d**3).sum() / (6 * (d**2).sum() ** 1.5)
    z = z0 + np.array([-1.6448536270, 1.6448536270])
    expected = np.quantile(resampled, stats.norm.cdf(z0 + z / (1 - a * z)))
    assert (low, high) == pytest.approx(tuple(expected), rel=0.01)


@pytest.mark.parametrize("interval", [t_interval, bootstrap_interval])
def test_intervals_of_few_or_equal_values(interval):
    for values in ([], [3.0]):
        assert np.isnan(interval(np.array(values))).all()
    assert interval(np.full(5, 3.0)) == (3.0, 3.0)
    low, high = interval(np.array([1.0, 2.0]))
    assert low <= 1
    assert high >= 2


@settings(max_examples=50)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_intervals_are_found_for_any_values(values):
    values = np.array(values).round(6)
    rounding = 1e-9 * (1 + np.abs(values).max())
    low, high = t_interval(values)
    assert low - rounding <= values.mean() <= high + rounding
    low, high = bootstrap_interval(values, resamples=99)
    assert values.min() - rounding <= low <= high <= values.max() + rounding


@pytest.mark.parametrize(("reached", "runs"), [(0, 16), (3, 16), (16, 16), (1, 1), (7, 10)])
def test_wilson_by_hand(reached, runs):
    z, p = 1.9599639845, reached / runs
    centre = (p + z**2 / (2 * runs)) / (1 + z**2 / runs)
    half = z / (1 + z**2 / runs) * math.sqrt(p * (1 - p) / runs + z**2 / (4 * runs**2))
    expected = (reached, runs, p, max(0, centre - half), min(1, centre + half))
    assert wilson(reached, runs) == pytest.approx(expected)


# --- pairs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "at"), [(None, 20), (10, 10)])
@pytest.mark.parametrize("metric", ["test_loss", "score"])
def test_paired_differences_by_hand(step, at, metric):
    table = made_up(seeds=5)
    found = paired_differences(table, "y", metric=metric, step=step)
    assert list(found.columns) == [
        *("variant", "pairs", "mean", "baseline_mean", "difference"),
        *("low", "high", "boot_low", "boot_high"),
    ]
    assert found["variant"].tolist() == ["z", "x"]
    known = lookup(table, metric, at)
    for row in rows_of(found):
        own, other = ([known[v, seed] for seed in range(5)] for v in (row.variant, "y"))
        d = [a - b for a, b in zip(own, other, strict=True)]
        half = STUDENT_975[4] * stdlib.stdev(d) / math.sqrt(5)
        assert row.pairs == 5
        assert row.mean == pytest.approx(stdlib.mean(own))
        assert row.baseline_mean == pytest.approx(stdlib.mean(other))
        assert row.difference == pytest.approx(stdlib.mean(d))
        assert (row.low, row.high) == pytest.approx((row.difference - half, row.difference + half))
        assert (row.boot_low, row.boot_high) == bootstrap_interval(np.array(d))


def test_ratios_by_hand():
    table = made_up(seeds=5)
    found = paired_differences(table, "y", ratio=True)
    assert list(found.columns)[4] == "ratio"
    known = lookup(table)
    for row in rows_of(found):
        own, other = ([known[v, seed] for seed in range(5)] for v in (row.variant, "y"))
        logs = [math.log(a) - math.log(b) for a, b in zip(own, other, strict=True)]
        mean, half = stdlib.mean(logs), STUDENT_975[4] * stdlib.stdev(logs) / math.sqrt(5)
        assert row.mean == pytest.approx(stdlib.geometric_mean(own))
        assert row.baseline_mean == pytest.approx(stdlib.geometric_mean(other))
        assert row.ratio == pytest.approx(math.exp(mean))
        assert row.ratio == pytest.approx(row.mean / row.baseline_mean)
        assert (row.low, row.high) == pytest.approx((math.exp(mean - half), math.exp(mean + half)))
        # By NumPy, whose logarithms may differ from Python's in the last digit: BCa counts the ties
        # between a resample's mean and the mean, and one digit more or less decides them.
        boot = bootstrap_interval(np.log(own) - np.log(other))
        assert (row.boot_low, row.boot_high) == pytest.approx(tuple(np.exp(boot)))


def test_pairs_see_through_what_seeds_have_in_common():
    rng = np.random.default_rng(0)
    base = rng.normal(0, 100, 16)  # seeds differ far more than variants do
    curves = {
        "zero": {seed: [value] for seed, value in enumerate(base)},
        "other": {seed: [value + 1 + 0.1 * rng.normal()] for seed, value in enumerate(base)},
    }
    (row,) = rows_of(paired_differences(make_table(curves), "zero"))
    assert 0.8 < row.low < 1 < row.high < 1.2
    assert 0.8 < row.boot_low < 1 < row.boot_high < 1.2


@pytest.mark.parametrize(
    ("gone", "ratio"),
    [
        *itertools.product([math.nan, math.inf], [False, True]),
        (-math.inf, False),  # no ratio: it is not positive
    ],
)
def test_what_diverged_makes_no_pair(gone, ratio):
    table = made_up("ab", seeds=6)
    kept = [0, 2, 3, 5]
    final = (table["metric"] == "test_loss") & (table["step"] == 20)
    for variant, seed in [("a", 1), ("b", 4)]:
        table.loc[final & (table["variant"] == variant) & (table["seed"] == seed), "value"] = gone
    found = paired_differences(table, "b", ratio=ratio)
    assert found["pairs"].tolist() == [4]
    rest = paired_differences(table[table["seed"].isin(kept)], "b", ratio=ratio)
    pd.testing.assert_frame_equal(found, rest)


@pytest.mark.parametrize("pairs", [0, 1])
def test_too_few_pairs_have_no_interval(pairs):
    values = [1.0] * pairs + [math.nan] * (3 - pairs)
    curves = {"a": dict(enumerate([v] for v in values)), "b": {n: [2.0] for n in range(3)}}
    (row,) = rows_of(paired_differences(make_table(curves), "b"))
    assert row.pairs == pairs
    assert np.isnan([row.low, row.high, row.boot_low, row.boot_high]).all()
    assert row.difference == pytest.approx(-1.0) if pairs else math.isnan(row.difference)


def test_one_variant_alone_has_nothing_to_be_compared_with():
    found = paired_differences(made_up("z"), "z")
    assert found.empty
    assert "difference" in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"baseline": "w"}, "baseline must be one of 'z', 'y', 'x', but 'w' was given"),
        ({"metric": "lost"}, "metric must be one of 'test_loss', 'score', but 'lost' was given"),
        ({"step": 7}, "step must be one of 0, 10, 20, but 7 was given"),
    ],
)
def test_what_cannot_be_compared_is_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        paired_differences(made_up(), **{"baseline": "z", **arguments})


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_ratio_takes_positive_values(value):
    table = make_table({"a": {0: [1.0], 1: [value]}, "b": {0: [1.0], 1: [2.0]}})
    with pytest.raises(ValueError, match=r"^ratio must be False where values are not all positive"):
        paired_differences(table, "b", ratio=True)
    assert paired_differences(table, "b")["pairs"].tolist() == [2]


# --- steps to a threshold -------------------------------------------------------------------------


FINE = 200


def walk(steps, values, threshold):
    """Walk along the curve in small steps until it is at the threshold."""
    if values[0] <= threshold:
        return steps[0]
    for (a, u), (b, v) in itertools.pairwise(zip(steps, values, strict=True)):
        for n in range(1, FINE):
            if u + (v - u) * n / FINE <= threshold:
                return a + (b - a) * n / FINE
        if v <= threshold:
            return b
    return math.inf


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=6),
    st.floats(0, 10),
    st.lists(st.integers(1, 9), min_size=6, max_size=6),
)
def test_steps_to_a_threshold_by_walking_along_the_curve(values, threshold, gaps):
    steps = [0, *itertools.accumulate(gaps)][: len(values)]
    found = steps_to_threshold(make_table({"a": {3: values}}, steps), threshold)
    assert found.columns.tolist() == ["variant", "seed", "steps"]
    assert found.iloc[0, :2].tolist() == ["a", 3]
    (found,) = found["steps"]
    assert found == pytest.approx(walk(steps, values, threshold), abs=max(gaps) / FINE + 1e-9)
    if 0 < found < math.inf:
        assert np.interp(found, steps, values) == pytest.approx(threshold)


def test_steps_to_a_threshold_in_words():
    curves = {
        "b": {0: [4.0, 2.0, 1.0], 1: [4.0, 4.0, 3.0]},
        "a": {0: [1.0, 0.5, 2.0], 1: [4.0, math.nan, math.nan]},
    }
    found = steps_to_threshold(make_table(curves, [0, 10, 30]), 1.5)
    rows = list(found.itertuples(index=False, name=None))
    # half way from 10 to 30; never; at the start; never, since it diverged
    assert rows == [("b", 0, 20.0), ("b", 1, math.inf), ("a", 0, 0.0), ("a", 1, math.inf)]
    other = made_up(metrics=["score"])
    assert (steps_to_threshold(other, 1e9, metric="score")["steps"] == 0).all()


def test_a_threshold_that_is_just_reached_counts():
    assert steps_to_threshold(make_table({"a": {0: [2.0, 1.0]}}, [0, 5]), 1.0)["steps"].item() == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, "lost"), "metric must be one of 'test_loss', 'score', but 'lost' was given"),
        (("low", "score"), "threshold must be a finite number, but 'low' was given"),
        ((math.nan, "score"), "threshold must be a finite number, but nan was given"),
    ],
)
def test_a_bad_threshold_is_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        steps_to_threshold(made_up(), arguments[0], metric=arguments[1])


def test_the_ratio_of_steps():
    curves = {
        "zero": {0: [3.0, 1.0], 1: [3.0, 1.0], 2: [3.0, 1.0], 3: [3.0, 2.9]},
        "fast": {0: [3.0, 0.0], 1: [3.0, -1.0], 2: [3.0, 2.9], 3: [3.0, 0.0]},
    }
    (row,) = rows_of(steps_ratio(make_table(curves, [0, 12]), "zero", 2.0))
    assert row.variant == "fast"
    assert row.pairs == 2  # 2 was never fast, and 3 never zero
    # zero needs 6 and 6 steps, fast 4 and 3
    ratio, half = math.sqrt(4 * 3 / 6 / 6), STUDENT_975[1] * math.log(4 / 3) / 2
    assert row.ratio == pytest.approx(ratio)
    assert (row.low, row.high) == pytest.approx((ratio * math.exp(-half), ratio * math.exp(half)))
    assert (row.mean, row.baseline_mean) == pytest.approx((math.sqrt(12), 6))


def test_the_ratio_of_steps_names_what_it_cannot_compare():
    table = make_table({"zero": {0: [3.0, 1.0]}, "a": {0: [3.0, 1.0]}})
    with pytest.raises(
        ValueError, match=r"^baseline must be one of 'zero', 'a', but 'b' was given"
    ):
        steps_ratio(table, "b", 2.0)
    with pytest.raises(ValueError, match=r"^threshold must be below .* at step 0, but 3.0 was giv"):
        steps_ratio(table, "zero", 3.0)
    with pytest.raises(
        ValueError, match=r"^metric must be one of 'test_loss', but 'score' was giv"
    ):
        steps_ratio(table, "zero", 3.0, metric="score")


@pytest.mark.parametrize(("share", "expected"), [(0, 4.0), (0.5, 2.75), (0.9, 1.75), (1, 1.5)])
def test_a_threshold_between_the_first_value_and_the_last(share, expected):
    curves = {
        "zero": {0: [5.0, 9.0, 2.0], 1: [3.0, 9.0, 1.0]},
        "other": {0: [100.0] * 3, 1: [100.0] * 3},
    }
    table = make_table(curves, [5, 10, 20])
    found = threshold_between(table, "zero", share)
    assert isinstance(found, float)
    assert found == pytest.approx(expected)
    other = pd.concat([table.assign(metric="score", value=0.0), table])
    assert threshold_between(other, "zero", share) == found
    assert threshold_between(other, "zero", share, metric="score") == 0
    if share == 0.9:
        assert threshold_between(table, "zero") == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"baseline": "w"}, "baseline must be one of 'z', 'y', 'x', but 'w' was given"),
        ({"share": 1.5}, "share must be a number from 0 to 1, but 1.5 was given"),
        ({"metric": "lost"}, "metric must be one of 'test_loss', 'score', but 'lost' was given"),
    ],
)
def test_a_threshold_that_makes_no_sense_is_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        threshold_between(made_up(), **{"baseline": "z", **arguments})


# --- losses by time step, and shares --------------------------------------------------------------


def by_time():
    # more than nine steps, so that sorting them as text would show
    return made_up("ba", 2, (0, 10), [*(f"test_loss@{t}" for t in range(1, 13)), "test_loss"])


@pytest.mark.parametrize(("step", "at"), [(None, 10), (0, 0)])
def test_losses_by_time_step(step, at):
    table = by_time()
    found = loss_by_time(table, step)
    assert list(found.columns) == ["variant", "seed", "t", "value"]
    assert found["t"].dtype.kind == "i"
    assert found.index.tolist() == list(range(2 * 2 * 12))
    for t in range(1, 13):
        own = found[found["t"] == t].set_index(["variant", "seed"])["value"].to_dict()
        assert own == lookup(table, f"test_loss@{t}", at)
    assert found["t"].tolist() == [*range(1, 13)] * 4
    assert found["variant"].tolist() == ["b"] * 24 + ["a"] * 24


def test_a_table_without_time_steps_is_named():
    message = r"^table must be one with metrics test_loss@1, \.\.\., but \['test_loss', 'score'\] w"
    with pytest.raises(ValueError, match=message):
        loss_by_time(made_up())
    with pytest.raises(ValueError, match=r"^step must be one of 0, 10, but 5 was given"):
        loss_by_time(by_time(), 5)


def test_shares_of_runs_that_reach_a_score():
    curves = {
        "b": {0: [0.0, 0.9], 1: [0.0, 0.91], 2: [1.0, 0.5], 3: [1.0, math.nan]},
        "a": {0: [1.0, 0.0], 1: [1.0, 0.0], 2: [1.0, 0.0], 3: [1.0, 0.0]},
    }
    table = make_table(curves, metric="score")
    found = reached_share(table, 0.9)
    assert list(found.columns) == ["variant", "reached", "runs", "share", "low", "high"]
    rows = list(found.itertuples(index=False, name=None))
    assert rows == [("b", *wilson(2, 4)), ("a", *wilson(0, 4))]
    renamed = table.assign(metric="accuracy")
    pd.testing.assert_frame_equal(reached_share(renamed, 0.9, metric="accuracy"), found)
    with pytest.raises(ValueError, match=r"^metric must be one of 'accuracy', but 'score' was giv"):
        reached_share(renamed, 0.9)


def test_the_names_that_readers_use():
    for name in (
        *("paired_differences", "steps_to_threshold", "steps_ratio"),
        *("threshold_between", "loss_by_time"),
    ):
        assert getattr(tk, name) is globals()[name]


def test_a_threshold_is_between_the_ends_of_the_same_seeds():
    nan = float("nan")
    values = {0: [2.0, 1.5, 1.0], 1: [10.0, nan, nan]}  # the second seed diverged
    rows = [
        ("a", seed, step, "test_loss", value)
        for seed, run in values.items()
        for step, value in enumerate(run)
    ]
    table = pd.DataFrame(rows, columns=["variant", "seed", "step", "metric", "value"])
    assert threshold_between(table, "a", 0.5) == 1.5


def test_a_ratio_of_steps_needs_a_threshold_below_every_first_measurement():
    rows = [("a", 0, step, "loss", 1.0 / step) for step in (10, 20, 30)]  # nothing at step 0
    rows += [("b", 0, step, "loss", 2.0 / step) for step in (10, 20, 30)]
    table = pd.DataFrame(rows, columns=["variant", "seed", "step", "metric", "value"])
    with pytest.raises(
        ValueError, match=r"^threshold must be below .* run at step 10, but 0.1 was"
    ):
        steps_ratio(table, "a", 0.1, metric="loss")
    assert steps_ratio(table, "a", 0.07, metric="loss")["ratio"].item() > 1


@pytest.mark.parametrize(("size", "share"), [(5, 0.84), (16, 0.90)])
def test_the_bootstrap_interval_is_as_short_as_its_docstring_says(size, share):
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(500, size))
    ends = np.array([bootstrap_interval(sample, resamples=999) for sample in samples])
    held = ((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean()
    assert held == pytest.approx(share, abs=0.04)

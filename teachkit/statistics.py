"""Intervals for what many seeds say: paired differences, shares, and steps to a threshold.

Tables are those of `comparison.compare`: variant, seed, step, metric, value.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .errors import bad, check_choice, check_number


def select(table: pd.DataFrame, metric: str, step: int | None = None) -> pd.DataFrame:
    """Return one metric as a table (seed x variant), at a step; None is the last.

    Raises `ValueError` for a metric or a step that was not measured.
    """
    rows = table[table["metric"] == metric]
    if rows.empty:
        check_choice("metric", metric, table["metric"].unique())
    wide = _at(rows, step).pivot(index="seed", columns="variant", values="value")
    return wide[[name for name in table["variant"].unique() if name in wide]]


def _at(rows: pd.DataFrame, step: int | None) -> pd.DataFrame:
    """Return the rows of a step; None is the last."""
    step = rows["step"].max() if step is None else step
    check_choice("step", step, rows["step"].unique().tolist())
    return rows[rows["step"] == step]


def t_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's interval for the mean of independent values; NaN for fewer than two.

    Source: any textbook; it assumes that the mean is close to normal.
    """
    from scipy import stats

    if len(values) < 2:
        return np.nan, np.nan
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * stats.sem(values)
    return np.mean(values) - half, np.mean(values) + half


def bootstrap_interval(
    values: np.ndarray, confidence: float = 0.95, resamples: int = 9999
) -> tuple[float, float]:
    """Return the bias-corrected bootstrap interval for a mean (BCa); NaN for fewer than two.

    Too short for few values: with normal ones it held the mean in about 84 % of samples of 5 and
    90 % of 16, where Student's held it in 95 %. Always the same for the same values. Source: Efron,
    Journal of the American Statistical Association 82 (1987); `scipy.stats.bootstrap`.
    """
    from scipy import stats

    if len(values) < 2:
        return np.nan, np.nan
    if np.ptp(values) == 0:  # every resample is the same, and BCa divides by their spread
        return values[0], values[0]
    found = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        rng=np.random.default_rng(0),
    )
    return found.confidence_interval.low, found.confidence_interval.high


def paired_differences(
    table: pd.DataFrame,
    baseline: str,
    *,
    metric: str = "test_loss",
    step: int | None = None,
    ratio: bool = False,
) -> pd.DataFrame:
    """Compare every variant with `baseline`, seed by seed.

    Returns a row a variant: pairs (seeds for which both are known), mean of the variant, difference
    (variant minus baseline), low and high of its 95 % t interval, and boot_low and boot_high of its
    bootstrap interval. ratio: compare by division instead, as geometric means; for positive values.
    A seed of which one side diverged makes no pair: look at "diverged" too. Nothing is corrected
    for many comparisons. Raises `ValueError` for an unknown baseline or metric, and for a ratio of
    values that are not positive. Taught in chapter 03.
    """
    return compare_pairs(select(table, metric, step), baseline, ratio)


def compare_pairs(
    wide: pd.DataFrame, baseline: str, ratio: bool = False, *, bootstrap: bool = True
) -> pd.DataFrame:
    """Compare the columns of a table (seed x variant) with one of them.

    Returns the columns of `paired_differences`, those of the bootstrap only if it is asked for.
    """
    check_choice("baseline", baseline, list(wide.columns))
    if ratio and (wide.to_numpy(float) <= 0).any():
        raise bad("ratio", ratio, "False where values are not all positive")
    rows = []
    for name in wide.columns.drop(baseline):
        pairs = wide[[name, baseline]].replace([np.inf, -np.inf], np.nan).dropna()
        own, other = pairs.to_numpy(float).T
        if ratio:
            own, other = np.log(own), np.log(other)
        differences = own - other
        found = [_mean(own), _mean(other), _mean(differences), *t_interval(differences)]
        if bootstrap:
            found += bootstrap_interval(differences)
        rows.append([name, len(pairs), *(np.exp(found) if ratio else found)])
    columns = ["variant", "pairs", "mean", "baseline_mean", "ratio" if ratio else "difference"]
    columns += ["low", "high", *(["boot_low", "boot_high"] if bootstrap else [])]
    return pd.DataFrame(rows, columns=columns)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else np.nan


def threshold_between(
    table: pd.DataFrame, baseline: str, share: float = 0.9, *, metric: str = "test_loss"
) -> float:
    """Return the value at which `baseline` has made `share` of its gain, by its mean over seeds.

    The gain is from the first measurement to the last. Raises `ValueError` for an unknown baseline
    or metric, and for a share outside 0 to 1.
    """
    share = check_number("share", share, low=0, high=1)
    check_choice("baseline", baseline, table["variant"].unique())
    first = table.loc[table["metric"] == metric, "step"].min()
    ends = {step: select(table, metric, step)[baseline] for step in (first, None)}
    start, end = pd.DataFrame(ends).dropna().mean()  # of the seeds that did not diverge
    return float(start + share * (end - start))


def steps_to_threshold(
    table: pd.DataFrame, threshold: float, *, metric: str = "test_loss"
) -> pd.DataFrame:
    """Return how many steps each run takes until its metric is at `threshold` or below.

    metric: one that falls, as losses do. A run that is there at its first measurement has the step
    of that; between two measurements the metric is taken as a straight line. Returns columns
    variant, seed and steps: infinite where the threshold is never reached. `steps_ratio` compares
    them. Raises `ValueError` for an unknown metric. Taught in chapter 03.
    """
    check_choice("metric", metric, table["metric"].unique())
    threshold = check_number("threshold", threshold)
    rows = table[table["metric"] == metric]
    runs = rows.groupby(["variant", "seed"], sort=False)
    found = [(*key, _crossing(run["step"], run["value"], threshold)) for key, run in runs]
    return pd.DataFrame(found, columns=["variant", "seed", "steps"])


def _crossing(steps: pd.Series, values: pd.Series, threshold: float) -> float:
    x, y = steps.to_numpy(float), values.to_numpy(float)
    below = np.flatnonzero(y <= threshold)
    if not len(below):
        return np.inf
    n = below[0]
    if n == 0:
        return x[0]
    return x[n - 1] + (x[n] - x[n - 1]) * (y[n - 1] - threshold) / (y[n - 1] - y[n])


def steps_ratio(
    table: pd.DataFrame, baseline: str, threshold: float, *, metric: str = "test_loss"
) -> pd.DataFrame:
    """Compare how many steps the variants take to `threshold`, as ratios to `baseline`.

    The columns are those of `paired_differences` with ratio=True; only seeds that reach the
    threshold on both sides make a pair. Raises `ValueError` for an unknown baseline, and for a
    threshold that a run is at when it is first measured.
    """
    steps = steps_to_threshold(table, threshold, metric=metric)
    first = table.loc[table["metric"] == metric, "step"].min()
    if (steps["steps"] <= first).any():
        raise bad("threshold", threshold, f"below the metric of every run at step {first}")
    wide = steps.pivot(index="seed", columns="variant", values="steps")
    return compare_pairs(wide[list(steps["variant"].unique())], baseline, ratio=True)


def loss_by_time(table: pd.DataFrame, step: int | None = None) -> pd.DataFrame:
    """Return the held-out loss by time step since the reset: variant, seed, t, value.

    t counts the steps since the initial state, from 1. step: of training; None is the last. Raises
    `ValueError` for a table without such losses, which take a task with an output at each step.
    """
    rows = table[table["metric"].str.startswith("test_loss@")]
    if rows.empty:
        raise bad("table", table["metric"].unique().tolist(), "one with metrics test_loss@1, ...")
    rows = _at(rows, step)
    t = rows["metric"].str.removeprefix("test_loss@").astype(int)
    return rows.assign(t=t)[["variant", "seed", "t", "value"]].reset_index(drop=True)


def reached_share(table: pd.DataFrame, threshold: float, *, metric: str = "score") -> pd.DataFrame:
    """Count the runs whose metric ends at `threshold` or above, with a 95 % Wilson interval.

    Returns columns variant, reached, runs, share, low and high; a run that diverged did not.
    """
    final = select(table, metric)
    rows = [
        (name, *wilson(int((final[name] >= threshold).sum()), len(final[name])))
        for name in final.columns
    ]
    return pd.DataFrame(rows, columns=["variant", "reached", "runs", "share", "low", "high"])


def wilson(reached: int, runs: int) -> tuple[int, int, float, float, float]:
    """Return reached, runs, their share and its 95 % Wilson interval.

    Source: Wilson, Journal of the American Statistical Association 22 (1927);
    `scipy.stats.binomtest`.
    """
    from scipy.stats import binomtest

    interval = binomtest(reached, runs).proportion_ci(0.95, method="wilson")
    return reached, runs, reached / runs, interval.low, interval.high

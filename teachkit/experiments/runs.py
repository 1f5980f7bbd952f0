"""Tables with a row a run: what `compare` measured, in columns, and back to a row a number.

Columns `at_0`, `at_25`, ... hold the held-out loss after so many updates, `t_1`, `t_2`, ... the
held-out loss by time step since the reset, after the last update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ..errors import bad, check_choice
from ..statistics import (
    compare_pairs,
    loss_by_time,
    select,
    steps_ratio,
    threshold_between,
    wilson,
)


def as_runs(table: pd.DataFrame, **labels: Any) -> pd.DataFrame:
    """Put a table of `compare` into a row a run, below columns with these labels."""
    steps = sorted(table["step"].unique())
    columns = {f"at_{step}": select(table, "test_loss", step).T.stack() for step in steps}
    wide = pd.DataFrame(columns)
    if table["metric"].str.startswith("test_loss@").any():
        by_time = loss_by_time(table).pivot(index=["variant", "seed"], columns="t", values="value")
        wide = wide.join(by_time.add_prefix("t_"))
    wide = wide.reindex(table["variant"].unique(), level="variant").reset_index()
    for place, (name, value) in enumerate(labels.items()):
        wide.insert(place, name, value)
    return wide


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of `as_runs` below each other, their numbered columns in order."""
    found = pd.concat(tables, ignore_index=True)

    def place(column: Any) -> tuple[int, int]:
        prefix, _, number = column.rpartition("_")
        return (("at", "t").index(prefix), int(number)) if prefix in ("at", "t") else (-1, 0)

    return found[sorted(found.columns, key=place)]


def melted(runs: pd.DataFrame, prefix: str, x: str) -> pd.DataFrame:
    """Return a row a number: the other columns, `x` (from "at_25" the 25) and loss.

    prefix: "at_" or "t_". Rows without a number, of shorter sequences, are left out, and so is a
    loss of the whole run.
    """
    runs = runs.drop(columns="loss", errors="ignore")
    columns = [name for name in runs.columns if name.startswith(prefix)]
    others = [name for name in runs.columns if not name.startswith(("at_", "t_"))]
    long = runs.melt(others, columns, x, "loss").dropna(subset="loss")
    return long.assign(**{x: long[x].str.removeprefix(prefix).astype(int)})


def gains(
    runs: pd.DataFrame, column: str, by: list[str], *, baseline: str = "zero"
) -> pd.DataFrame:
    """Compare every variant with `baseline` in one column, seed by seed.

    Returns a row for each group of `by` and variant: pairs (seeds of which neither diverged), mean,
    difference (variant minus baseline: negative is better for a loss), and low and high of its
    95 % t interval; no row where there is no pair. Nothing is corrected for many comparisons.
    Raises `ValueError` for an unknown column or baseline, and where a seed has several rows.
    """
    for name in (column, *by):
        check_choice("column", name, list(runs.columns))
    check_choice("baseline", baseline, list(runs["variant"].unique()))
    _check_groups(runs, by)
    tables = []
    for key, group in runs.groupby(by, sort=False):
        wide = group.pivot(index="seed", columns="variant", values=column)
        wide = wide[list(group["variant"].unique())]
        found = compare_pairs(wide, baseline, bootstrap=False)
        # there may be no pair: such as at a time step that these sequences do not have
        tables.append(_labelled(found[found["pairs"] > 0], by, key))
    columns = [*by, "variant", "pairs", "mean", "difference", "low", "high"]
    return pd.concat(tables, ignore_index=True)[columns]


def _labelled(table: pd.DataFrame, by: list[str], key: Any) -> pd.DataFrame:
    """Put the columns of a group before those of its table."""
    labels: dict[str, Any] = dict(zip(by, key, strict=True))
    return table.assign(**labels)[[*by, *table.columns]]


def _check_groups(runs: pd.DataFrame, by: list[str]) -> None:
    if runs.duplicated([*by, "variant", "seed"]).any():
        raise bad("by", by, "columns that leave one row for each variant and seed")


def gains_by_time(runs: pd.DataFrame, by: list[str], *, baseline: str = "zero") -> pd.DataFrame:
    """Compare every variant with `baseline` at each time step since the reset.

    Returns the columns of `gains` and t, counted from 1. Raises `ValueError` like it, and for runs
    without such columns (t_1, ...).
    """
    steps = [name for name in runs.columns if name.startswith("t_")]
    check_choice("column", "t_1", list(runs.columns))
    tables = [gains(runs, step, by, baseline=baseline).assign(t=int(step[2:])) for step in steps]
    return pd.concat([table for table in tables if not table.empty], ignore_index=True)


def runs_at_best_rate(
    runs: pd.DataFrame, columns: Mapping[str, str], *, variant: str = "zero"
) -> pd.DataFrame:
    """Return the runs at the learning rate at which `variant` ends best, task by task.

    columns: of the loss by which each task is judged, {task: column}. A rate at which a run of
    `variant` diverged is not the best. Raises `ValueError` for a task without a column, and for an
    unknown variant.
    """
    chosen = []
    check_choice("variant", variant, list(runs["variant"].unique()))
    for task, group in runs.groupby("task", sort=False):
        check_choice("a task of columns", task, columns)
        own = group[group["variant"] == variant]
        means = own.groupby("lr")[columns[str(task)]].agg(lambda losses: losses.mean(skipna=False))
        chosen.append(group[group["lr"] == means.idxmin()])
    return pd.concat(chosen, ignore_index=True)


def speed(
    runs: pd.DataFrame, by: list[str], *, baseline: str = "zero", share: float = 0.9
) -> pd.DataFrame:
    """Compare how many updates the variants take to `share` of the gain of `baseline`.

    Returns a row for each group of `by` and variant: those of `statistics.steps_ratio`, where a
    ratio of 0.9 is a tenth fewer updates. Between two measurements the loss is taken as a straight
    line. Raises `ValueError` where a seed has several rows.
    """
    _check_groups(runs, by)
    tables = []
    for key, group in runs.groupby(by, sort=False):
        table = melted(group, "at_", "step").rename(columns={"loss": "value"})
        table = table.assign(metric="test_loss").sort_values(["step", "seed"], kind="stable")
        threshold = threshold_between(table, baseline, share)
        tables.append(_labelled(steps_ratio(table, baseline, threshold), by, key))
    return pd.concat(tables, ignore_index=True)


def solved_runs(runs: pd.DataFrame, by: list[str], score: float = 0.99) -> pd.DataFrame:
    """Count the runs that end with this score or a better one, with a 95 % Wilson interval.

    Returns a row for each group of `by`, in the order of the table: solved, runs, share, low and
    high. A run that diverged has not solved anything. Raises `ValueError` for an unknown column.
    """
    for name in by:
        check_choice("by", name, list(runs.columns))
    solved = runs.assign(solved=runs["score"] >= score)
    counts = solved.groupby(by, sort=False, dropna=False)["solved"].agg(["sum", "count"])
    found = [wilson(int(reached), int(count)) for reached, count in counts.to_numpy()]
    columns = ["solved", "runs", "share", "low", "high"]
    return pd.DataFrame(found, columns=columns, index=counts.index).reset_index()

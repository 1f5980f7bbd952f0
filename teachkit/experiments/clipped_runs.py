"""Train one network by many settings of clipping, from every seed, and tell how each run ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from ..clipping import Clipper
from ..models import SequenceModel
from ..replicas import Replicas
from ..tasks import Task
from .runs import solved_runs
from .settings import PLAN, stacked_batches

NO_CLIPPING = "none"


def clippers(methods: Mapping[str, Sequence[float]]) -> list[tuple[str, float | None]]:
    """List methods with each of their thresholds; "none" has none."""
    found: list[tuple[str, float | None]] = []
    for method, thresholds in methods.items():
        found += [(method, t) for t in thresholds] if thresholds else [(method, None)]
    return found


def make_clipper(method: str, threshold: float | None) -> Clipper | None:
    """Return the clipper of a setting; None for "none"."""
    return None if method == NO_CLIPPING else Clipper(method, threshold)


def solved_at_best_rate(runs: pd.DataFrame, score: float = 0.99) -> pd.DataFrame:
    """Count the runs that solve a task, for each method and threshold at its best learning rate.

    runs: of `train_settings`, of one task and optimiser. The best rate is that at which most runs
    end with this score or a better one, of equals the one with the lower median held-out loss.
    It is chosen by the runs that are counted, so every count is a little flattered, alike for all.
    Returns the columns of `runs.solved_runs`, method, threshold, lr, and name: both in words.
    """
    keys = ["method", "threshold", "lr"]
    counts = solved_runs(runs, keys, score)
    # a run that diverged has no loss: it counts as the worst
    losses = runs.assign(test_loss=runs["test_loss"].fillna(float("inf")))
    medians = losses.groupby(keys, sort=False, dropna=False)["test_loss"].median()
    counts["median_loss"] = medians.to_numpy()
    order = counts.sort_values(["solved", "median_loss"], ascending=[False, True], kind="stable")
    best = order.drop_duplicates(["method", "threshold"]).sort_index(ignore_index=True)
    limits = ["" if pd.isna(t) else f" {t:g}" for t in best["threshold"]]
    best["name"] = [f"{m}{t}" for m, t in zip(best["method"], limits, strict=True)]
    return best


def train_settings(
    task: Task,
    make_model: Callable[[int], SequenceModel],
    settings: Sequence[Mapping[str, Any]],
    *,
    seeds: int,
    steps: int,
    batch_size: int = 32,
    test_size: int = 1000,
    last: int = 100,
) -> pd.DataFrame:
    """Train a model by every setting from every seed, all of them on the batches of their seed.

    settings: each a dict of method, threshold (of `make_clipper`), lr and optimizer. Returns a row
    a run: the setting, seed, diverged (the step at which it did, or -1), loss (mean of the last
    `last` batches), test_loss and score (held out, after the last step), norm_mean, norm_median and
    norm_max (of the gradient before clipping, over all steps) and clipped (share of the steps). Of
    a run that diverged only the norms up to there are told.
    """
    runs = [(setting, seed) for setting in settings for seed in range(seeds)]
    replicas = Replicas(
        [make_model(seed) for _, seed in runs],
        optimizer=[setting["optimizer"] for setting, _ in runs],
        lr=[setting["lr"] for setting, _ in runs],
        clipper=[make_clipper(setting["method"], setting["threshold"]) for setting, _ in runs],
        plan=PLAN,
    )
    drawn = stacked_batches(task, range(seeds), len(settings), batch_size)
    records = [replicas.step(x, y, task.loss) for x, y in itertools.islice(drawn, steps)]
    loss, norm, clipped = (
        torch.stack(part).double()
        for part in zip(*((r.loss, r.grad_norm, r.clipped) for r in records), strict=True)
    )
    x, target = task.held_out(test_size)
    measures: dict[str, Any] = {"test_loss": task.loss, "score": task.score}
    ended, _ = replicas.measure(x[None], target[None], measures)
    table = pd.DataFrame([{**setting, "seed": seed} for setting, seed in runs])
    table["diverged"] = replicas.diverged.numpy()
    norm[~norm.isfinite()] = torch.nan  # of the step at which a run diverged, and after it
    found = {
        "loss": loss[-last:].mean(0),
        **{name: value.double() for name, value in ended.items()},
        "norm_mean": norm.nanmean(0),
        "norm_median": norm.nanmedian(0).values,
        "norm_max": norm.nan_to_num(0.0).max(0).values,
        "clipped": clipped.mean(0),
    }
    for name, values in found.items():
        table[name] = values.numpy()
    table.loc[table["diverged"] >= 0, ["loss", "test_loss", "score", "clipped"]] = float("nan")
    return table

"""The settings of a study, how to change some for a smaller one, and how to train by them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..clipping import Clipper
from ..comparison import compare
from ..errors import check_choice
from ..plans import Plan
from ..replicas import Replicas
from ..tasks import Task, batches

# A measured plan could differ from day to day, and with it rounding.
PLAN = Plan(32)


def changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with changes; raise `ValueError` for one that is not among them."""
    for name in changes:
        check_choice("a setting", name, settings)
    return {**settings, **changes}


def shared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that studies share, as `compare` and `Comparison` take them."""
    return {
        "batch_size": settings["batch_size"],
        "hidden_size": settings["hidden_size"],
        "clipper": Clipper("norm", settings["clip"]),
        "plan": PLAN,
    }


def train(
    task: Task,
    variants: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
    *,
    steps: int,
    score_every: int | None = None,
    **common: Any,
) -> pd.DataFrame:
    """Compare variants by the settings that studies share: sizes, seeds and clipping.

    score_every: None measures at the end alone. Returns the table of `compare`.
    """
    return compare(
        task,
        variants,
        seeds=settings["seeds"],
        steps=steps,
        score_every=score_every or steps,
        progress=False,
        **shared(settings),
        **common,
    )


def stacked_batches(
    task: Task, seeds: Sequence[int], copies: int, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of the seeds as replicas take them, without end.

    Returns x (R, T, B, I) and target (R, ...), R = copies * len(seeds): a batch for each seed in
    turn, and all of them once for each copy.
    """
    loaders = [batches(task, batch_size, seed=seed) for seed in seeds]
    while True:
        x, target = (torch.stack(part) for part in zip(*map(next, loaders), strict=True))
        yield (
            x.repeat(copies, *[1] * (x.ndim - 1)),
            target.repeat(copies, *[1] * (target.ndim - 1)),
        )


def trained_on(
    replicas: Replicas, task: Task, seeds: list[int], batch_size: int, steps: int
) -> None:
    """Train replicas, each block of `len(seeds)` on the batches of the seeds."""
    drawn = stacked_batches(task, seeds, len(replicas) // len(seeds), batch_size)
    for x, target in itertools.islice(drawn, steps):
        replicas.step(x, target, task.loss)


def at_the_end(table: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Return a row a run with its last `metrics`: variant, seed and a column each."""
    last = table[table["step"] == table["step"].max()]
    wide = last.pivot(index=["variant", "seed"], columns="metric", values="value")
    return wide[metrics].reset_index()

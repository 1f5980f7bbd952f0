"""Train two copies of one network side by side, without and with clipping, and watch both.

The two share their weights and their batches, so whatever differs comes from clipping.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from ..clipping import Clipper
from ..device import threads
from ..models import SequenceModel
from ..plots import COLORS, decades_axis, legend, log10, style
from ..tasks import Task, batches
from ..training import History, train_steps

BATCH_SIZE = 32
STEPS = 1000
# Found by trying 0.02 to 0.5 at rho = 1.2: the largest at which the clipped copy still learns.
LEARNING_RATE = {"temporal order": 0.1, "sunspots": 0.05}


@dataclass(frozen=True)
class Race:
    """Two histories of one start: `plain` without clipping, `clipped` at `threshold`.

    start: the settings in words.
    """

    plain: History
    clipped: History
    threshold: float
    task: Task
    start: str


def run_race(
    model: SequenceModel,
    twin: SequenceModel,
    task: Task,
    threshold: float,
    *,
    seed: int,
    steps: int,
    start: str,
) -> Iterator[tuple[float, Race]]:
    """Train both copies in turns; yield the share done and the growing histories."""
    histories = (History(), History())
    runs = []
    for copy, history in zip((model, twin), histories, strict=True):
        optimizer = torch.optim.SGD(copy.parameters(), lr=LEARNING_RATE[task.name])
        clipper = Clipper("norm", threshold) if copy is twin else None
        loader = batches(task, BATCH_SIZE, seed=seed)
        runs.append(
            train_steps(
                copy, loader, loss=task.loss, optimizer=optimizer, clipper=clipper, history=history
            )
        )
    race = Race(*histories, threshold=threshold, task=task, start=start)
    with threads(1):
        for step, alive in enumerate(zip_longest(*runs), start=1):
            yield step / steps, race
            if step == steps or not any(alive):
                break


def race_seconds(model: SequenceModel, task: Task, steps: int = STEPS) -> float:
    """Estimate the seconds of a race by timing two steps on this machine, after a warm-up."""
    loader = batches(task, BATCH_SIZE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    run = train_steps(model, loader, loss=task.loss, optimizer=optimizer)
    with threads(1):
        next(run)
        start = time.perf_counter()
        next(run), next(run)
        per_step = (time.perf_counter() - start) / 2
    return 2 * steps * per_step  # two copies


def race_sentence(race: Race) -> str:
    """Say how both copies are doing."""
    share = 100 * np.mean(race.clipped.clipped or [False])
    return (
        f"{race.start}, {race.task.name}: after {len(race.clipped)} steps: "
        f"without clipping {_fate(race.plain)}; clipped at norm {race.threshold:g} "
        f"{_fate(race.clipped)} ({share:.0f} % of its steps were clipped)."
    )


def _fate(history: History) -> str:
    if history.status == "diverged":
        return f"the loss left float range at step {len(history)}"
    return f"the loss is {np.mean(history.loss[-20:]):.3g}"


class RacePicture:
    """Loss and gradient norm of both copies against the training step."""

    artists: list[Artist]

    def __init__(self, steps: int = STEPS) -> None:
        with style():
            self.figure = Figure(figsize=(9.2, 2.9), dpi=100)
            self._loss, self._norm = self.figure.subplots(1, 2)
            self._lines: dict[str, list[Any]] = {}
            for ax, title in ((self._loss, "loss"), (self._norm, "gradient norm before clipping")):
                decades_axis(ax, title)
                ax.lines[0].set_visible(False)
                ax.set(xlabel="training step", xlim=(0, steps), title=title)
                ax.set_ylabel("")
                (clipped,) = ax.plot([], [], color=COLORS["clip at norm 1"], label="clipped")
                # Dashed and on top: the two are equal where nothing is clipped.
                (plain,) = ax.plot(
                    [], [], color=COLORS["no clipping"], label="no clipping", linestyle=(0, (3, 1))
                )
                self._lines[title] = [plain, clipped]
                for line in self._lines[title]:
                    line.set_linewidth(1.5)
            (self._threshold,) = self._norm.plot(
                [], [], color="#333333", linestyle=":", linewidth=1.2, label="clip threshold"
            )
            (self._chance,) = self._loss.plot(
                [], [], color="#333333", linestyle=":", linewidth=1.2, label="chance"
            )
            for ax, lines in (
                (self._loss, [*self._lines["loss"], self._chance]),
                (self._norm, [self._threshold]),
            ):
                legend(ax, *lines, loc="lower right", bbox_to_anchor=(1.0, 1.02), fontsize=8)
            self.figure.tight_layout()
        self.artists = [line for lines in self._lines.values() for line in reversed(lines)]
        self.artists += [self._threshold, self._chance]

    def update(self, race: Race) -> bool:
        """Put the histories into the lines; the limits follow in whole decades."""
        changed = False
        for ax, values in (
            (self._loss, [race.plain.loss, race.clipped.loss]),
            (self._norm, [race.plain.grad_norm, race.clipped.grad_norm]),
        ):
            lines = list(self._lines.values())[0 if ax is self._loss else 1]
            drawn = []
            for line, series in zip(lines, values, strict=True):
                y = log10(series)
                y[~np.isfinite(y)] = np.nan
                line.set_data(np.arange(len(y)), y)
                drawn.append(y[np.isfinite(y)])
            y = np.concatenate(drawn)
            low = min(np.floor(y.min()), -1.0) if y.size else -1.0
            high = np.ceil(y.max()) if y.size else 1.0
            limits = (float(low), float(max(high, low + 1)))
            if ax.get_ylim() != limits:
                ax.set_ylim(limits)
                changed = True
        for line, value in ((self._threshold, race.threshold), (self._chance, race.task.chance)):
            line.set_data(self._norm.get_xlim(), [np.log10(value)] * 2)
        return changed

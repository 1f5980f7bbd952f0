"""Train two copies of one network side by side, without and with clipping, and watch both.

The two share their weights and their batches, so whatever differs comes from clipping.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from ..clipping import Clipper
from ..device import threads
from ..models import SequenceModel
from ..optimizers import OPTIMIZERS
from ..plots import COLORS, decades_axis, legend, log10, style
from ..tasks import Task, batches
from ..training import History, train_steps

BATCH_SIZE = 32
STEPS = 1000
# Found by trying 0.02 to 0.5 at rho = 1.2: the largest at which the clipped copy still learns.
LEARNING_RATE = {"temporal order": 0.1, "sunspots": 0.05}


@dataclass(frozen=True)
class Race:
    """Two histories of one start: `plain` without clipping, `clipped` with it.

    start: the settings in words; how: the clipping. threshold: of the global norm, None where the
    clipping has no fixed one.
    """

    plain: History
    clipped: History
    task: Task
    start: str
    how: str
    threshold: float | None


def run_race(
    model: SequenceModel,
    twin: SequenceModel,
    task: Task,
    new_clipper: Callable[[], Clipper],
    *,
    lr: float,
    optimizer: str = "sgd",
    seed: int,
    steps: int,
    start: str,
    how: str,
) -> Iterator[tuple[float, Race]]:
    """Train both copies in turns; yield the share done and the growing histories.

    new_clipper: makes the clipper of the twin. optimizer: of both, "sgd" or "adam".
    """
    clipper = new_clipper()
    histories = (History(), History())
    runs = []
    for copy, history in zip((model, twin), histories, strict=True):
        run = train_steps(
            copy,
            batches(task, BATCH_SIZE, seed=seed),
            loss=task.loss,
            optimizer=OPTIMIZERS[optimizer](copy.parameters(), lr=lr),
            clipper=clipper if copy is twin else None,
            history=history,
        )
        runs.append(run)
    threshold = clipper.threshold if clipper.method == "norm" else None
    race = Race(*histories, task=task, start=start, how=how, threshold=threshold)
    with threads(1):
        for step, alive in enumerate(zip_longest(*runs), start=1):
            yield step / steps, race
            if step == steps or not any(alive):
                break


def race_seconds(
    model: SequenceModel, task: Task, steps: int = STEPS, optimizer: str = "sgd"
) -> float:
    """Estimate the seconds of a race by timing two steps on this machine, after a warm-up."""
    run = train_steps(
        model,
        batches(task, BATCH_SIZE),
        loss=task.loss,
        optimizer=OPTIMIZERS[optimizer](model.parameters(), lr=0.0),
    )
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
        f"without clipping {_fate(race.plain)}; {race.how} "
        f"{_fate(race.clipped)} ({share:.0f} % of its steps were clipped)."
    )


def _fate(history: History) -> str:
    if history.status == "diverged":
        return f"the loss left float range at step {len(history)}"
    return f"the loss is {np.mean(history.loss[-20:]):.3g}"


_LEGEND: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.02), "fontsize": 8}


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
            self._fixed: bool | None = None  # whether the clipping has a threshold to be drawn
            (self._chance,) = self._loss.plot(
                [], [], color="#333333", linestyle=":", linewidth=1.2, label="chance"
            )
            legend(self._loss, *self._lines["loss"], self._chance, **_LEGEND)
            legend(self._norm, self._threshold, **_LEGEND)
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
        ends = self._norm.get_xlim()
        self._chance.set_data(ends, [np.log10(race.task.chance)] * 2)
        fixed = race.threshold is not None
        self._threshold.set_data(*(ends, log10([race.threshold] * 2)) if fixed else ([], []))
        if fixed != self._fixed:
            self._fixed, changed = fixed, True
            legend(self._norm, self._threshold if fixed else None, **_LEGEND)
        return changed

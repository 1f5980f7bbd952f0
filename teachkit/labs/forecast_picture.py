"""A series around the month from which it is forecast, and the errors: still and in training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..plots import COLORS, FAINT, INK, legend, style

NETWORK = "these settings"
LINES = {  # of what is drawn ahead of the origin; dashes for those who do not see colours
    "linear autoregression": (COLORS["prediction"], "--"),
    "seasonal naive": (COLORS["noisy 1"], ":"),
    "network": (COLORS["vanish"], "-"),
}
ROWS = (NETWORK, "all combinations", "linear autoregression", "seasonal naive", "persistence")


@dataclass(frozen=True)
class Surroundings:
    """A series around an origin, in its own units.

    past: the last values that a forecast sees, (n,); truth: those ahead, (horizon,); forecasts: by
    name, (horizon,) each. label: of the origin, its first month ahead. name: of the series; step:
    what a step of it is called. ends: of the whole series, for the axis.
    """

    past: np.ndarray
    truth: np.ndarray
    forecasts: dict[str, np.ndarray]
    label: str
    name: str
    step: str
    ends: tuple[float, float]


@dataclass(frozen=True)
class Forecasted:
    """What is known before a training.

    words: the settings. errors: test errors of the runs by seed, (seeds,), empty for a series that
    nothing was precomputed for; others: the means of all combinations at this rate. baselines: test
    errors by name, here: those at this origin alone. limits: of the axis of errors.
    """

    words: str
    around: Surroundings
    seed: int
    errors: np.ndarray
    interval: tuple[float, float, float]
    others: np.ndarray
    baselines: dict[str, float]
    here: dict[str, float]
    limits: tuple[float, float]


@dataclass
class Trained:
    """A training under way.

    steps, validation, test: what was measured so far; forecast: at the origin, in units of the
    series. baselines: {name: (validation, test)}.
    """

    words: str
    around: Surroundings
    updates: int
    baselines: dict[str, tuple[float, float]]
    forecast: np.ndarray
    steps: list[int] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    done: int = 0
    diverged: bool = False

    @property
    def best(self) -> int:
        """The measurement at which the validation error is least."""
        return int(np.argmin(self.validation))


def _short(value: float, _: object = None) -> str:
    """Return a tick label that is short for large numbers too.

    >>> _short(250), _short(1.2e6)
    ('250', '1.2M')
    """
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


class _Around:
    """The series around the origin, on axes that do not move."""

    def __init__(self, ax: Axes, names: tuple[str, ...]) -> None:
        self.ax = ax
        ax.axvline(0, color=FAINT, linewidth=1)
        ax.yaxis.set_major_formatter(FuncFormatter(_short))
        (self._past,) = ax.plot([], [], color=INK, linewidth=1.1, label="series")
        (self._truth,) = ax.plot([], [], color=INK, linewidth=1.1, marker=".", markersize=4)
        self._ahead = {}
        for name in names:
            color, dashes = LINES[name]
            (self._ahead[name],) = ax.plot([], [], color=color, linestyle=dashes, label=name)
        legend(ax, self._past, *self._ahead.values(), fontsize=8.5)
        self._frame: Any = None

    @property
    def artists(self) -> list[Artist]:
        """What moves, from back to front."""
        return [self._past, self._truth, *self._ahead.values()]

    def put(self, shown: Surroundings, forecasts: dict[str, np.ndarray]) -> bool:
        """Move the lines; say whether the axes changed."""
        n, h = len(shown.past), len(shown.truth)
        ahead = np.arange(1, h + 1)
        self._past.set_data(np.arange(1 - n, 1), shown.past)
        self._truth.set_data(np.arange(h + 1), [shown.past[-1], *shown.truth])
        for name, line in self._ahead.items():
            values = forecasts.get(name)
            line.set_data([] if values is None else ahead, [] if values is None else values)
        frame = (n, h, shown.ends, shown.name, shown.step)
        if frame == self._frame:
            return False
        self._frame = frame
        self.ax.set(xlim=(-n, h + 1), ylim=shown.ends, ylabel=shown.name)
        self.ax.set_xlabel(f"{shown.step} from the origin")
        return True


def _figure() -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(9.2, 3.5), dpi=100)
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    return figure, left, right


class ForecastPicture:
    """The series and the forecasts without a network, and the test errors of all seeds."""

    artists: list[Artist]

    def __init__(self) -> None:
        with style():
            self.figure, left, self._errors = _figure()
            self.figure.subplots_adjust(0.085, 0.145, 0.98, 0.8, wspace=0.52)
            self._around = _Around(left, ("linear autoregression", "seasonal naive"))
            words: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold"}
            self._words = self.figure.text(0.012, 0.935, "", **words)
            self._origin = self.figure.text(0.985, 0.935, "", ha="right", fontsize=9)
            self._draw_errors()
        self.artists = [*self._around.artists, self._origin, *self._moving]
        self._frame: Any = None

    def _draw_errors(self) -> None:
        ax, color = self._errors, LINES["network"][0]
        ax.set_yticks(range(len(ROWS)), [row.replace(" auto", "\nauto") for row in ROWS])
        ax.set_ylim(len(ROWS) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel("test error (standard deviations)")
        ax.xaxis.set_major_locator(MaxNLocator(5))
        dots: dict[str, Any] = {"linestyle": "", "alpha": 0.6, "markeredgewidth": 0}
        (self._seeds,) = ax.plot([], [], color=color, marker="o", markersize=5, **dots)
        (self._others,) = ax.plot([], [], color="#444444", marker="o", markersize=4, **dots)
        (self._interval,) = ax.plot([], [], color=color, linewidth=2.4, label="mean, 95 % interval")
        (self._mean,) = ax.plot([], [], color=color, marker="D", markersize=7, linestyle="")
        circle: dict[str, Any] = {"marker": "o", "markersize": 7, "fillstyle": "none"}
        (self._one,) = ax.plot([], [], color=INK, linestyle="", label="this seed", **circle)
        self._baselines = {
            name: ax.plot([], [], marker="s", markersize=7, linestyle="", color=made)[0]
            for name, made in (
                ("linear autoregression", LINES["linear autoregression"][0]),
                ("seasonal naive", LINES["seasonal naive"][0]),
                ("persistence", "#5E5E5E"),
            )
        }
        (self._beat,) = ax.plot(
            [], [], color=LINES["linear autoregression"][0], linestyle="--", linewidth=1
        )
        legend(ax, self._interval, self._one, fontsize=8.5)
        self._moving: list[Artist] = [
            self._beat, self._others, self._seeds, self._interval, self._mean, self._one,
            *self._baselines.values(),
        ]  # fmt: skip

    def update(self, result: Forecasted) -> bool:
        """Move what is drawn; the axes change with the series alone."""
        changed = self._around.put(result.around, result.around.forecasts)
        self._origin.set_text(f"forecast from {result.around.label}")
        seeds, others = result.errors, result.others
        self._seeds.set_data(seeds, np.zeros(len(seeds)))
        self._others.set_data(others, np.ones(len(others)))
        one = seeds[result.seed : result.seed + 1]
        self._one.set_data(one, np.zeros(len(one)))
        mean, low, high = result.interval
        self._interval.set_data([low, high], [0, 0])
        self._mean.set_data([mean], [0])
        for name, line in self._baselines.items():
            error = result.baselines.get(name, math.nan)
            line.set_data([error], [ROWS.index(name)])
        self._beat.set_data(
            [result.baselines["linear autoregression"]] * 2, [-0.6, len(ROWS) - 0.4]
        )
        if (result.words, result.limits) != self._frame:
            self._frame = (result.words, result.limits)
            self._words.set_text(result.words)  # bold and long: slow to draw on every move
            self._errors.set_xlim(result.limits)
            changed = True
        return changed


class TrainingPicture:
    """The forecast while the network learns, and the validation error by training step."""

    artists: list[Artist]

    def __init__(self) -> None:
        with style():
            self.figure, left, self._course = _figure()
            self.figure.subplots_adjust(0.085, 0.145, 0.98, 0.8, wspace=0.24)
            self._around = _Around(left, ("linear autoregression", "network"))
            words: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold"}
            self._words = self.figure.text(0.012, 0.935, "", **words)
            self._origin = self.figure.text(0.985, 0.935, "", ha="right", fontsize=9)
            ax, color = self._course, LINES["network"][0]
            (self._line,) = ax.plot([], [], color=color, label="network")
            (self._best,) = ax.plot(
                [], [], color=color, marker="o", markersize=7, fillstyle="none", linestyle="",
                label="least so far",
            )  # fmt: skip
            self._baselines = {}
            for name in ("linear autoregression", "seasonal naive"):
                made, dashes = LINES[name]
                (self._baselines[name],) = ax.plot(
                    [], [], color=made, linestyle=dashes, linewidth=1.4, label=name
                )
            ax.set(xlabel="training step", ylabel="validation error")
            ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
            self._set_legend(True)
        self.artists = [
            *self._around.artists, *self._baselines.values(), self._line, self._best, self._origin,
        ]  # fmt: skip
        self._frame: Any = None

    def _set_legend(self, seasonal: bool) -> None:
        naive = self._baselines["seasonal naive"] if seasonal else None
        legend(self._course, self._line, self._best, naive, fontsize=8.5)

    def update(self, result: Trained) -> bool:
        """Put what was trained so far into the lines."""
        changed = self._around.put(
            result.around, {**result.around.forecasts, "network": result.forecast}
        )
        self._origin.set_text(f"forecast from {result.around.label}")
        self._line.set_data(result.steps, result.validation)
        best = result.best
        self._best.set_data([result.steps[best]], [result.validation[best]])
        shown = []
        for name, line in self._baselines.items():
            error = result.baselines.get(name, (math.nan,))[0]
            line.set_data([0, result.updates], [error] * 2)
            shown.append(error)
        values = np.array([*result.validation, *shown])
        values = values[np.isfinite(values)]
        limits = (math.floor(10 * values.min() - 0.2) / 10, math.ceil(10 * values.max() + 0.2) / 10)
        frame = (limits, result.updates, "seasonal naive" in result.baselines, result.words)
        if frame != self._frame:
            self._frame = frame
            self._words.set_text(result.words)
            self._course.set(xlim=(0, result.updates), ylim=limits)
            self._set_legend(frame[2])
            changed = True
        return changed

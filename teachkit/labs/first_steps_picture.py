"""The loss by time step, what a strategy changes there, and the training: one picture."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon
from matplotlib.ticker import MaxNLocator

from ..plots import COLORS, legend, style

NO_LESS = (-5e-4, 5e-4)  # what the axis of differences shows at least


@dataclass(frozen=True)
class Losses:
    """Held-out losses of the runs of one strategy, a row a seed; NaN for one that diverged.

    by_step: after so many updates, (seeds, measurements). by_time: by time step since the reset,
    after the last of them, (seeds, T).
    """

    by_step: np.ndarray
    by_time: np.ndarray


@dataclass(frozen=True)
class Paired:
    """Runs from the zero state and from a strategy, pair by pair of one seed.

    strategy: its name; label: with its noise. lead: the other settings, and whose runs these are,
    in words. unit: of the loss. seeds: of the rows; drawn: the one that is drawn alone. steps: the
    updates after which was measured, of `updates` in all.
    """

    strategy: str
    label: str
    lead: str
    unit: str
    seeds: tuple[int, ...]
    drawn: int
    steps: tuple[int, ...]
    updates: int
    zero: Losses
    other: Losses

    @property
    def row(self) -> int:
        """The row of the pair that is drawn alone."""
        return self.seeds.index(self.drawn)


@functools.cache
def _quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def mean_interval(values: np.ndarray) -> np.ndarray:
    """Return the means over rows and their 95 % t intervals, (3, n): mean, low, high.

    `statistics.t_interval` of all columns at once. A row that is not finite, of a run that
    diverged, does not count; with fewer than two there is no interval, and all is NaN.
    """
    kept = values[np.isfinite(values).all(axis=1)]
    if len(kept) < 2:
        return np.full((3, values.shape[1]), np.nan)
    mean = kept.mean(axis=0)
    half = _quantile(len(kept) - 1) * kept.std(axis=0, ddof=1) / math.sqrt(len(kept))
    return np.stack([mean, mean - half, mean + half])


class _Curve:
    """A mean with its interval, and one seed alone as a thin line."""

    def __init__(self, ax: Axes, color: str, *, marker: str = "") -> None:
        self.band = Polygon(np.zeros((1, 2)), closed=True, facecolor=color, alpha=0.22, linewidth=0)
        ax.add_patch(self.band)
        (self.one,) = ax.plot([], [], color=color, linewidth=0.9, alpha=0.9)
        (self.mean,) = ax.plot([], [], color=color, linewidth=2.0, marker=marker, markersize=4)

    @property
    def artists(self) -> list[Artist]:
        """What moves, from back to front."""
        return [self.band, self.one, self.mean]

    def put(self, x: np.ndarray, values: np.ndarray, row: int) -> np.ndarray:
        """Show a row a seed, (seeds, n); return all numbers that are drawn."""
        mean, low, high = mean_interval(values)
        there = np.isfinite(low)
        outline = np.concatenate([[x[there], low[there]], [x[there][::-1], high[there][::-1]]], 1)
        self.band.set_xy(outline.T if there.any() else np.zeros((1, 2)))
        self.mean.set_data(x, mean)
        self.one.set_data(x, values[row])
        return np.concatenate([low, high, values.ravel()])

    def paint(self, color: str) -> None:
        """Change the colour."""
        self.band.set_facecolor(color)
        self.one.set_color(color)
        self.mean.set_color(color)


def round_ends(values: np.ndarray) -> tuple[float, float]:
    """Return round numbers around the finite values: few enough that they rarely change.

    >>> round_ends(np.array([0.13, 0.34, np.nan]))
    (0.1, 0.35)
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    span = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-9)
    power = 10.0 ** math.floor(math.log10(span / 6))
    step = next(n * power for n in (1, 2, 5, 10) if span <= 6 * n * power)
    digits = max(0, 1 - math.floor(math.log10(step)))
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return round(low, digits), round(high if high > low else low + step, digits)


class FirstStepsPicture:
    """Losses by time step, their paired difference, and the loss by training step."""

    artists: list[Artist]

    def __init__(self) -> None:
        with style():
            self.figure = Figure(figsize=(9.2, 3.6), dpi=100)
            self._levels, self._gaps, self._course = axes = self.figure.subplots(1, 3)
            self.figure.subplots_adjust(0.08, 0.145, 0.98, 0.8, wspace=0.46)
            words: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold"}
            self._lead = self.figure.text(0.012, 0.935, "", **words)
            self._seed = self.figure.text(0.985, 0.935, "", ha="right", fontsize=9)
            self._draw_axes()
            self._zero = [
                _Curve(self._levels, COLORS["zero"], marker="o"),
                _Curve(self._course, COLORS["zero"]),
            ]
            self._other = [
                _Curve(ax, COLORS["learned"], marker="" if ax is self._course else "o")
                for ax in axes
            ]
            self._zero[0].mean.set_label("zero")
        self.artists = [a for c in (*self._zero, *self._other) for a in c.artists] + [self._seed]
        self._frame: tuple[Any, ...] = ()

    def _draw_axes(self) -> None:
        for ax in (self._levels, self._gaps, self._course):
            ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
            ax.yaxis.set_label_coords(-0.36 if ax is self._gaps else -0.235, 0.5)
        for ax in (self._levels, self._gaps):
            ax.set_xlabel("t, time steps since the reset")
        self._gaps.axhline(0, color=COLORS["zero"], linewidth=1.4, zorder=1)
        self._gaps.set_ylabel(
            "\N{LEFTWARDS ARROW} better    difference    worse \N{RIGHTWARDS ARROW}"
        )
        self._course.set(xlabel="training step", ylabel="held-out loss, all steps")
        band = Patch(facecolor="#666666", alpha=0.3, label="95 % interval of the mean")
        legend(self._course, band, fontsize=8.5)

    def update(self, result: Paired) -> bool:
        """Move the curves; redraw the axes only when a limit or a name changes."""
        zero, other, row = result.zero, result.other, result.row
        T = zero.by_time.shape[1]
        t, steps = np.arange(1, T + 1), np.array(result.steps)
        levels = [
            self._zero[0].put(t, zero.by_time, row),
            self._other[0].put(t, other.by_time, row),
        ]
        gaps = other.by_time - zero.by_time
        self._other[1].put(t, gaps, row)
        mean, low, high = mean_interval(gaps)
        course = [
            self._zero[1].put(steps, zero.by_step, row),
            self._other[2].put(steps, other.by_step, row),
        ]
        self._seed.set_text(f"thin: seed {result.drawn} alone")
        ends = (
            round_ends(np.concatenate(levels).clip(0)),  # the interval of a small loss may not be
            # Three half widths hold most seeds; one far off would leave no room for the mean.
            round_ends(np.concatenate([3 * low - 2 * mean, 3 * high - 2 * mean, NO_LESS])),
            round_ends(np.concatenate(course).clip(0)),
        )
        frame = (result.label, result.lead, result.unit, T, result.updates, ends)
        changed = frame != self._frame
        if changed:
            self._frame = frame
            self._set_axes(result, T, ends)
        return changed

    def _set_axes(self, result: Paired, T: int, ends: tuple[tuple[float, float], ...]) -> None:
        """Name what is shown, in the colour of its strategy, and set the limits."""
        self._lead.set_text(f"{result.label}: {result.lead}")
        for curve in self._other:
            curve.paint(COLORS[result.strategy])
        for ax, (low, high) in zip((self._levels, self._gaps, self._course), ends, strict=True):
            ax.set_ylim(low, high)
        for ax in (self._levels, self._gaps):
            ax.set_xlim(0.6, T + 0.4)
            ax.set_xticks([1, *range(5, T + 1, 5)] if T > 8 else range(1, T + 1))
        self._course.set_xlim(0, result.updates)
        self._levels.set_ylabel(f"held-out loss ({result.unit})")
        zero, other, difference = self._zero[0].mean, self._other[0].mean, self._other[1].mean
        other.set_label(result.strategy)
        difference.set_label(f"{result.strategy} \N{MINUS SIGN} zero")
        legend(self._levels, zero, other, fontsize=8.5)
        legend(self._gaps, difference, fontsize=8.5)

"""Paths of the hidden state in a plane, and how much of their differences is left: one picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..forgetting import geometric_mean
from ..plots import COLORS, INKS, decades_axis, legend, log10, snap_decades, style


@dataclass(frozen=True)
class Paths:
    """The paths from starts of one kind.

    kind: one of `KINDS`. xy: (T + 1, S, 2), in the plane. left: (T + 1, S), what is left of the
    difference from the path that these are compared with, 1 at t = 0; None for such a path itself.
    """

    kind: str
    xy: np.ndarray
    left: np.ndarray | None

    @cached_property
    def mean(self) -> np.ndarray:
        """The geometric mean of what is left over the starts, (T + 1,)."""
        assert self.left is not None
        return geometric_mean(torch.from_numpy(self.left)).numpy()


@dataclass(frozen=True)
class Trajectories:
    """What the lab shows for one setting.

    paths: the kinds of starts in the order in which they are drawn. prediction: (T + 1,), what
    `base`^t says, None where it does not apply. axes: labels of the plane. share: of the spread of
    the states that the plane shows, None where it shows all. std: of the noise. lead: the settings
    in words, but for what is dragged most, the knob. beginning: steps of the paths that stand out,
    since what follows may be a tangle.
    """

    paths: tuple[Paths, ...]
    prediction: np.ndarray | None
    base: str
    axes: tuple[str, str]
    share: float | None
    std: float
    lead: str
    knob: str
    beginning: int = 6


@dataclass(frozen=True)
class _Look:
    color: str
    marker: str
    named: str  # in the legend on the right
    noise: bool = False


KINDS = {
    "noisy": _Look(COLORS["noisy"], "o", "noisy starts (mean)", noise=True),
    "near the fixed point": _Look(COLORS["fixed point"], "o", "near the fixed point", noise=True),
    "learned": _Look(COLORS["learned"], "D", "learned"),
    "carried": _Look(COLORS["carried"], "D", "carried"),
    "fixed point": _Look(COLORS["fixed point"], "D", "fixed point"),
    "zero": _Look(COLORS["zero"], "s", "zero"),
}
_REACHES = [
    mantissa * 10.0**k for k in range(-2, 3) for mantissa in (1.2, 1.6, 2.2, 3.0, 4.0, 5.5, 8.0)
]


def _joined(lines: np.ndarray) -> np.ndarray:
    """Put lines (T + 1, S) after each other, with a gap between two: ((T + 2) * S,)."""
    gap = np.full((1, lines.shape[1]), np.nan)
    return np.concatenate([lines, gap]).T.ravel()


def _levels(left: np.ndarray, floor: float) -> np.ndarray:
    """Return exponents of ten; a line goes down to `floor` at the first 0, and ends at infinity."""
    levels = log10(left)
    zero = levels == -np.inf
    first = zero & ~np.concatenate([zero[:1], zero[:-1]])
    levels[first] = floor
    levels[~np.isfinite(levels)] = np.nan
    return levels


class TrajectoriesPicture:
    """Left the paths in a plane, right what is left of the differences between them."""

    artists: list[Artist]

    def __init__(self) -> None:
        with style():
            self.figure = Figure(figsize=(9.2, 3.7), dpi=100)
            self._plane, self._curve = self.figure.subplots(1, 2, width_ratios=(1, 1.75))
            self.figure.subplots_adjust(0.085, 0.14, 0.975, 0.83, wspace=0.26)
            # Text is slow to draw: only the radius moves with every move of its slider.
            self._lead = self.figure.text(0.012, 0.945, "", fontsize=10.5, fontweight="bold")
            self._knob = self.figure.text(
                0.985, 0.945, "", ha="right", fontsize=10.5, fontweight="bold"
            )
            self._draw_plane(self._plane)
            self._draw_curve(self._curve)
        self.artists = [*self._tangles.values(), *self._ways.values(), *self._starts.values()]
        self.artists += [*self._ends.values(), self._share]
        self.artists += [*self._thin.values(), *self._lines.values(), self._predicted]
        self.artists += [self._note, self._knob]
        self._frame: tuple[Any, ...] = ()

    def _draw_plane(self, ax: Axes) -> None:
        # By hand: Matplotlib's equal aspect would shrink the axes.
        place = ax.get_position()
        self._tall = place.height * 3.7 / (place.width * 9.2)
        ax.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
        ax.yaxis.set_major_locator(MaxNLocator(5, symmetric=True))
        self._tangles, self._ways, self._starts, self._ends = {}, {}, {}, {}
        for kind, look in KINDS.items():
            width, size, edge = (0.9, 4.5, 1.1) if look.noise else (2.0, 6.5, 1.8)
            (self._tangles[kind],) = ax.plot([], [], color=look.color, linewidth=0.7, alpha=0.3)
            (self._ways[kind],) = ax.plot([], [], color=look.color, linewidth=width)
            (self._starts[kind],) = ax.plot(
                [], [], look.marker, color=look.color, markersize=size, markerfacecolor="white",
                markeredgewidth=edge, label=kind,
            )  # fmt: skip
            (self._ends[kind],) = ax.plot(
                [], [], "x", color=look.color, markersize=size + 1, markeredgewidth=1.8
            )
        (self._end,) = ax.plot([], [], "x", color="#666666", markeredgewidth=1.8, label="end")
        words: dict[str, Any] = {"transform": ax.transAxes, "fontsize": 8.5, "color": "#444444"}
        self._share = ax.text(0.66, 0.03, "", ha="right", **words)
        self._said = {
            "plane shows": ax.text(0.525, 0.03, "", ha="right", **words),
            "of the spread": ax.text(0.98, 0.03, "", ha="right", **words),
        }

    def _draw_curve(self, ax: Axes) -> None:
        decades_axis(ax, "difference left (1 at t = 0)")
        ax.set_xlabel("time step, t")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        self._thin, self._lines = {}, {}
        for kind, look in KINDS.items():
            if look.noise:
                (self._thin[kind],) = ax.plot([], [], color=look.color, linewidth=0.8, alpha=0.6)
            width = 2.8 if look.noise else 2.0
            (self._lines[kind],) = ax.plot(
                [], [], color=look.color, linewidth=width, label=look.named
            )
        (self._predicted,) = ax.plot([], [], "--", color=COLORS["prediction"], linewidth=1.6)
        self._shade = [
            ax.axhspan(0, 1, color=COLORS["explode"], alpha=0.07, linewidth=0),
            ax.axhspan(-1, 0, color=COLORS["vanish"], alpha=0.07, linewidth=0),
        ]
        self._note = ax.text(
            0.985, 0.5, "", transform=ax.transAxes, ha="right", va="center", fontsize=10,
            fontweight="bold",
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 2.5},
        )  # fmt: skip

    def update(self, result: Trajectories) -> bool:
        """Move the artists; redraw the axes only when a limit changes."""
        T = len(result.paths[0].xy) - 1
        compared = [paths for paths in result.paths if paths.left is not None]
        low, high = _ends(compared, result.prediction)
        t = np.arange(T + 1.0)
        by_kind = {paths.kind: paths for paths in result.paths}
        for kind in KINDS:
            self._move_in_plane(kind, by_kind.get(kind), result.beginning)
            self._move_curve(kind, by_kind.get(kind), t, low - 1)
        known = result.prediction is not None
        y = _levels(np.full(T + 1, np.nan) if result.prediction is None else result.prediction, low)
        self._predicted.set_data(t, y)
        last = [paths.mean[-1] for paths in compared]
        up = any(not np.isfinite(paths.mean).all() for paths in compared)
        gone = bool(last) and not any(last)
        self._note.set_text("beyond float range" if up else "forgotten entirely" if gone else "")
        self._note.set_color(INKS["explode" if up else "vanish"])
        self._knob.set_text(result.knob)
        partial = result.share is not None
        self._share.set_text(f"{100 * result.share:.0f} %" if result.share is not None else "")
        # No path runs through the words at the bottom.
        room = np.array([1.0, 0.86 * self._tall])
        reach = max(float(np.nanmax(_drawn(p.xy) / room, initial=0.0)) for p in result.paths)
        limit = next((end for end in _REACHES if reach <= 0.96 * end), _REACHES[-1])
        kinds = tuple((paths.kind, paths.left is None) for paths in result.paths)
        frame = (kinds, result.axes, result.lead, result.base, partial, known, T, limit, low, high)
        changed = frame != self._frame
        if changed:
            self._frame = frame
            self._lead.set_text(result.lead)
            for text, place in self._said.items():
                place.set_text(text if partial else "")
            self._plane.set(xlim=(-limit, limit), ylim=(-limit * self._tall, limit * self._tall))
            self._plane.set(xlabel=result.axes[0], ylabel=result.axes[1])
            self._curve.set(xlim=(0, T), ylim=(low, high))
            for patch, edge in zip(self._shade, (high, low), strict=True):
                patch.set_bounds(0, 0, 1, edge)
            marks = [
                self._starts[kind] for kind, _ in reversed(kinds) if kind != "near the fixed point"
            ]
            legend(self._plane, *marks, self._end, ncols=4, handlelength=0.8)
            self._predicted.set_label(f"{result.base}$^t$")
            lines = [self._lines[paths.kind] for paths in compared]
            legend(self._curve, *lines, self._predicted if known else None, ncols=4)
        return changed

    def _move_in_plane(self, kind: str, paths: Paths | None, beginning: int) -> None:
        """Put the paths of one kind into the plane; None takes them out of it."""
        xy = np.zeros((1, 0, 2)) if paths is None else paths.xy
        xy = np.where(np.isnan(_drawn(xy)), np.nan, xy)
        for lines, part in (
            (self._ways[kind], xy[: beginning + 1]),
            (self._tangles[kind], xy[beginning:]),
        ):
            lines.set_data(_joined(part[..., 0]), _joined(part[..., 1]))
        self._starts[kind].set_data(*xy[0].T)
        self._ends[kind].set_data(*xy[-1].T)

    def _move_curve(self, kind: str, paths: Paths | None, t: np.ndarray, floor: float) -> None:
        """Put what is left of the differences of one kind into the curves, or nothing."""
        if paths is None or paths.left is None:
            left, mean = np.zeros((len(t), 0)), np.full(len(t), np.nan)
        else:
            left, mean = paths.left, paths.mean
        self._lines[kind].set_data(t, _levels(mean, floor))
        if kind in self._thin:
            times = np.broadcast_to(t[:, None], left.shape)
            self._thin[kind].set_data(_joined(times), _joined(_levels(left, floor)))


def _drawn(xy: np.ndarray) -> np.ndarray:
    """Return the sizes of the coordinates, NaN for those that no picture could show."""
    return np.where(np.abs(xy) <= 10 * _REACHES[-1], np.abs(xy), np.nan)


def _ends(compared: list[Paths], prediction: np.ndarray | None) -> tuple[float, float]:
    """Choose y limits in decades, for the curves and a little of where the prediction goes."""
    levels = np.concatenate([np.zeros(1), *(log10(p.left).ravel() for p in compared)])
    levels = levels[np.isfinite(levels)]
    highest, lowest = float(levels.max()), float(levels.min())
    if prediction is not None:
        end = float(log10(prediction)[-1])
        highest, lowest = max(highest, min(end, highest + 2)), min(lowest, max(end, lowest - 2))
    return snap_decades(highest, lowest)

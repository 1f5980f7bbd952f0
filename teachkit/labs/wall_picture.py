"""The error surface with its wall, the descents over it, and what they met: one picture."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..plots import COLORS, INK, legend, log10, power_of_ten, style
from ..surfaces import TARGET, WALL_STARTS_AT, Path, error_surface, slope_on_wall, wall_line

# What the picture shows of the surface; a path that ends elsewhere was thrown out.
W_ENDS, B_ENDS = (2.5, 8.5), (-5.5, -0.5)
KINDS = {"no clipping": COLORS["no clipping"], "clipped": COLORS["clip at norm 1"]}
_WIDER = {"no clipping": 1.8, "clipped": 1.0}  # so that both are seen where they are the same
_CELLS = 240  # of the picture of the surface, each way
_GREY = LinearSegmentedColormap.from_list("error", ["#FFFFFF", "#C4C4C4", "#A5A5A5", "#6F6F6F"])
_LEVELS = np.linspace(0.0, 0.5, 11)  # of E: few colours, which a small picture keeps
# Narrow, so that one sees where it points: up, before it is turned.
_ARROW = np.array([[-0.55, -1.0], [0.0, 1.0], [0.55, -1.0], [0.0, -0.5]])
_FLOOR = -400.0  # exponent of a 0: below every axis
# Few, so that they rarely change.
_ERROR_LOW, _NORM_HIGH = (-6, -36), (4, 8, 14, 320)
_NORM_LOW = -4


@dataclass(frozen=True)
class Descents:
    """Descents from places around one start, with and without clipping.

    w, b: the start; lr, threshold, steps: of the descents. paths: by kind, arrays (steps + 1, S);
    the first of the S paths is that of the start itself.
    """

    w: float
    b: float
    lr: float
    threshold: float
    steps: int
    paths: dict[str, Path]


def outside(path: Path) -> np.ndarray:
    """Return which paths end outside the picture, (S,); beyond float range is outside too."""
    w, b = path.w[-1], path.b[-1]
    return ~((W_ENDS[0] <= w) & (w <= W_ENDS[1]) & (B_ENDS[0] <= b) & (b <= B_ENDS[1]))


@functools.cache
def _surface() -> np.ndarray:
    """Return E at the centres of the cells, (_CELLS, _CELLS), a row a bias."""
    place = (np.arange(_CELLS, dtype=np.float32) + 0.5) / _CELLS
    w = W_ENDS[0] + (W_ENDS[1] - W_ENDS[0]) * place
    b = B_ENDS[0] + (B_ENDS[1] - B_ENDS[0]) * place
    return error_surface(w, b[:, None]).error


def draw_surface(ax: Axes) -> Any:
    """Draw E over w and b with the wall on it; returns the image, for a colour bar.

    The wall is thinner than any cell, so it is drawn from its formula, with the gradient norm on
    it.
    """
    image = ax.imshow(
        _surface(), origin="lower", aspect="auto", extent=(*W_ENDS, *B_ENDS), cmap=_GREY,
        norm=BoundaryNorm(_LEVELS, _GREY.N), interpolation="nearest",
    )  # fmt: skip
    ax.grid(False)
    ax.set(xlim=W_ENDS, ylim=B_ENDS, xlabel="weight w", ylabel="bias b")
    w = np.linspace(WALL_STARTS_AT, W_ENDS[1], 60)
    points = np.stack([w, wall_line(w)], 1)
    widths = 0.8 + 3.4 * np.log(slope_on_wall(w[1:])) / np.log(slope_on_wall(w[-1]))
    wall = LineCollection(
        list(np.stack([points[:-1], points[1:]], 1)), linewidths=widths, colors=COLORS["explode"],
        capstyle="butt",
    )  # fmt: skip
    ax.add_collection(wall, autolim=False)
    goal = np.array([W_ENDS[0], 4.2])  # from here on 50 steps no longer reach it
    ax.plot(goal, math.log(TARGET / (1 - TARGET)) - TARGET * goal, "--", color=COLORS["critical"])
    edge: dict[str, Any] = {"path_effects": [Stroke(linewidth=2.6, foreground="white"), Normal()]}
    for weight in (5.0, 6.0, 7.0, 8.0):
        norm = float(error_surface(weight, wall_line(weight)).norm)
        exponent = math.floor(math.log10(norm))
        text = f"${norm / 10**exponent:.0f} \\cdot 10^{{{exponent}}}$"
        ax.plot(weight, wall_line(weight), "o", color=INK, markersize=3.5)
        ax.text(
            weight - 0.1, wall_line(weight) - 0.12, text, ha="right", va="top", fontsize=9, **edge
        )
    ax.text(3.1, -1.22, "E = 0", fontsize=9, color="#00664A", fontweight="bold", **edge)
    ax.text(
        2.62, -5.4, "the wall, and the\ngradient norm on it", fontsize=9, va="bottom",
        color="#8A3A00", fontweight="bold", **edge,
    )  # fmt: skip
    return image


class WallPicture:
    """Left the surface and the descents, right their errors and gradient norms."""

    artists: list[Artist]

    def __init__(self) -> None:
        with style():
            self.figure = Figure(figsize=(9.2, 4.2), dpi=100)
            self._plane = self.figure.add_axes((0.072, 0.115, 0.4, 0.745))
            bar = self.figure.add_axes((0.483, 0.115, 0.013, 0.745))
            self._error = self.figure.add_axes((0.635, 0.53, 0.35, 0.33))
            self._norm = self.figure.add_axes((0.635, 0.115, 0.35, 0.33))
            image = draw_surface(self._plane)
            self.figure.colorbar(image, cax=bar, ticks=_LEVELS[::2])
            bar.set_title("E", fontsize=10, loc="center")
            words: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold"}
            # Text is slow to draw: with every move of a start only two small numbers change.
            self._lead = self.figure.text(0.012, 0.945, "", **words)
            self.figure.text(0.925, 0.945, "runs of 16 that end outside:", ha="right", **words)
            self._counts = {
                kind: self.figure.text(x, 0.945, "", ha="center", bbox=_chip(color), **words)
                for x, (kind, color) in zip((0.944, 0.977), KINDS.items(), strict=True)
            }
            self._draw_plane(self._plane)
            self._draw_curves()
        self.artists = [
            *self._ways.values(), *self._last.values(), *self._arrows.values(),
            *self._ends.values(), self._start, *self._alone.values(), *self._medians.values(),
            *self._norms.values(), self._limit, *self._counts.values(),
        ]  # fmt: skip
        self._frame: tuple[Any, ...] = ()

    def _draw_plane(self, ax: Axes) -> None:
        self._ways, self._last, self._arrows, self._ends = {}, {}, {}, {}
        for kind, color in KINDS.items():
            width = _WIDER[kind] + 0.3
            (self._ways[kind],) = ax.plot([], [], color=color, linewidth=width, label=kind)
            self._last[kind] = _marks(ax, color, 4.5, 0.7)
            self._arrows[kind] = _marks(ax, color, 11, 1.0)
            self._ends[kind] = _marks(ax, color, 9, 1.2)
            self._ends[kind].set_marker("X")
        self._start = _marks(ax, "white", 7.5, 1.8)
        self._start.set(marker="s", label="start")
        end = Line2D([], [], linestyle="", marker="X", color="#666666", markersize=8, label="end")
        dots = Line2D([], [], linestyle="", marker="o", color="#666666", markersize=4.5)
        dots.set_label("ends of all 16")
        legend(ax, self._start, end, dots, handlelength=0.9)

    def _draw_curves(self) -> None:
        self._alone, self._medians, self._norms = {}, {}, {}
        for ax, label in ((self._error, "error E"), (self._norm, "gradient norm")):
            ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            ax.set_ylabel(label)
            ax.yaxis.set_label_coords(-0.155, 0.5)
        self._error.tick_params(labelbottom=False)
        self._norm.set_xlabel("step of the descent")
        for kind, color in KINDS.items():
            wide = _WIDER[kind]
            (self._alone[kind],) = self._error.plot([], [], color=color, linewidth=0.7 * wide)
            (self._medians[kind],) = self._error.plot(
                [], [], color=color, linewidth=1.9 * wide, label=kind
            )
            (self._norms[kind],) = self._norm.plot([], [], color=color, linewidth=wide)
        (self._limit,) = self._norm.plot([], [], ":", color=INK, linewidth=1.6, label="threshold")
        thin = Line2D([], [], color="#666666", linewidth=0.8, label="the start alone")
        thick = Line2D([], [], color="#666666", linewidth=2.4, label="median of 16")
        legend(self._error, *self._medians.values(), thick, fontsize=8.5)
        legend(self._norm, thin, self._limit, fontsize=8.5)

    def update(self, result: Descents) -> bool:
        """Move the descents; redraw the axes only when a limit changes."""
        steps = np.arange(result.steps + 1)
        medians, norms = [], [np.array([math.log10(result.threshold)])]
        for kind, path in result.paths.items():
            error, norm = _exponents(path.error), _exponents(path.norm[:, 0])
            median = np.median(error, axis=1)
            self._ways[kind].set_data(path.w[:, 0], path.b[:, 0])
            self._alone[kind].set_data(steps, error[:, 0])
            self._medians[kind].set_data(steps, median)
            self._norms[kind].set_data(steps, norm)
            self._mark_ends(kind, path)
            self._counts[kind].set_text(str(outside(path).sum()))
            medians.append(median)
            norms.append(norm)
        self._start.set_data([result.w], [result.b])
        self._limit.set_data([0, result.steps], [math.log10(result.threshold)] * 2)
        low = _ERROR_LOW[int(np.nanmin(np.concatenate(medians)) < _ERROR_LOW[0])]
        highest = np.nanmax(np.concatenate(norms))
        high = next((end for end in _NORM_HIGH if highest <= end), _NORM_HIGH[-1])
        lead = f"lr {result.lr:g}, clip threshold {result.threshold:g}"
        frame = (lead, result.steps, low, high)
        changed = frame != self._frame
        if changed:
            self._frame = frame
            self._lead.set_text(lead)
            self._error.set(xlim=(0, result.steps), ylim=(low, 0))
            self._norm.set(xlim=(0, result.steps), ylim=(_NORM_LOW, high))
        return changed

    def _mark_ends(self, kind: str, path: Path) -> None:
        """Mark where all paths end, at the border for those outside, and where the first left."""
        out = outside(path)
        w = np.clip(np.nan_to_num(path.w[-1], nan=W_ENDS[1]), *W_ENDS)
        b = np.clip(np.nan_to_num(path.b[-1], nan=B_ENDS[1]), *B_ENDS)
        self._last[kind].set_data(w[1:], b[1:])
        self._ends[kind].set_data(w[:1][~out[:1]], b[:1][~out[:1]])
        self._arrows[kind].set_data([], [])
        if out[0]:
            place, angle = self._exit(path.w[:, 0], path.b[:, 0])
            self._arrows[kind].set_data([place[0]], [place[1]])
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            self._arrows[kind].set_marker(_ARROW @ turn)

    def _exit(self, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float]:
        """Return where a path leaves the picture for good, and how to turn an arrow there."""
        box = np.array([W_ENDS, B_ENDS])
        places = np.stack([w, b], 1)
        inside = ((box[:, 0] <= places) & (places <= box[:, 1])).all(1)
        last = int(np.flatnonzero(inside)[-1])
        here, there = places[last], places[last + 1]
        there = np.where(np.isfinite(there), there, here + 1e9)
        way = there - here
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(way > 0, box[:, 1] - here, box[:, 0] - here) / way
        place = here + way * np.nanmin(np.where(way == 0, np.nan, reach))
        size = self._plane.get_position().size * self.figure.get_size_inches()
        seen = way / (box[:, 1] - box[:, 0]) * size
        return place, math.atan2(seen[1], seen[0]) - math.pi / 2


def _chip(color: str) -> dict[str, Any]:
    return {"facecolor": color, "edgecolor": "none", "pad": 2.5}


def _marks(ax: Axes, color: str, size: float, edge: float) -> Line2D:
    (marks,) = ax.plot(
        [], [], "o", color=color, markersize=size, markeredgecolor=INK, markeredgewidth=edge,
        clip_on=False,
    )  # fmt: skip
    return marks


def _exponents(values: np.ndarray) -> np.ndarray:
    """Return exponents of ten; a 0 is below every axis, and beyond float range above it."""
    return np.nan_to_num(log10(values), nan=np.nan, neginf=_FLOOR, posinf=-_FLOOR)

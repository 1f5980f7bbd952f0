"""Gradients of many batches before and after clipping: norms, groups, directions; one picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..plots import COLORS, FAINT, INKS, legend, log10, power_of_ten, style

BEFORE, AFTER = COLORS["no clipping"], COLORS["clip at norm 1"]
GROUP_NAMES = ("recurrent", "output", "other")
BINS_PER_DECADE = 4
USUAL = (0.5, 10.0)  # times the average norm: the thresholds that Pascanu et al. 2013 advise
# Of which groups the norm is that a method compares with a limit, and how that is called.
WATCHED = {
    "norm": (GROUP_NAMES, "global gradient norm"),
    "autoclip": (GROUP_NAMES, "global gradient norm"),
    "zclip": (GROUP_NAMES, "global gradient norm"),
    "recurrent": (("recurrent",), "norm, recurrent layers"),
    "all_but_output": (("recurrent", "other"), "norm, all but output"),
    "output": (("output",), "norm, output layer"),
}
NO_LIMIT = {
    "per_parameter": " (of each one's norm: no limit drawn)",
    "value": " (of each entry: no limit drawn)",
    "agc": " (of each unit's weights: no limit drawn)",
}


@dataclass(frozen=True)
class Clipping:
    """What a method does to the gradients of N batches.

    frame: a row a batch, with the columns of `Clipper.frame`. groups: the parts that the model has.
    name: the method and its threshold in words; knob: what is dragged most; lead: the rest.
    """

    method: str
    frame: pd.DataFrame
    groups: tuple[str, ...]
    name: str
    knob: str
    lead: str

    @property
    def clipped(self) -> int:
        """How many batches were clipped."""
        return int((self.frame["fraction"] > 0).sum())

    @property
    def finite(self) -> np.ndarray:
        """Which batches had a gradient within float range, (N,)."""
        return self.frame["finite"].to_numpy(bool)

    @property
    def limit(self) -> np.ndarray | None:
        """The longest that the watched norm may be, (N,); None for a limit that is of no norm."""
        return self.frame["limit"].to_numpy(float) if self.method in WATCHED else None

    def watched(self, when: str) -> np.ndarray:
        """Return the norm that the method looks at, "before" or "after" clipping, (N,)."""
        chosen, _ = WATCHED.get(self.method, (GROUP_NAMES, ""))
        if set(self.groups) <= set(chosen):
            return self.frame[f"norm_{when}"].to_numpy(float)
        norms = [self.frame[f"{g}_{when}"].to_numpy(float) for g in self.groups if g in chosen]
        return np.sqrt(np.square(norms).sum(0))

    def typical(self, group: str, when: str) -> float:
        """Return the geometric mean of the norms of a group; NaN where no gradient was finite."""
        norms = self.frame[f"{group}_{when}"].to_numpy(float)[self.finite]
        return 10 ** log10(norms).mean() if norms.size else math.nan

    def cosine(self) -> float:
        """Return the mean cosine to the true gradient; NaN where there is none."""
        cosines = self.frame["cosine"].to_numpy(float)
        return float(cosines[np.isfinite(cosines)].mean()) if np.isfinite(cosines).any() else np.nan


def short(value: float) -> str:
    """Write a norm or a factor with two digits or three.

    >>> short(4211.0), short(123.0), short(0.9999), short(0.05), short(2.4e-4)
    ('4.2e3', '123', '1.0', '0.05', '2.4e-4')
    """
    if value == 0:
        return "0"
    if 0.00995 <= value < 999.5:
        return f"{value:.0f}" if value >= 99.5 else f"{value:.{1 if value >= 0.995 else 2}f}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def decades(*values: np.ndarray) -> tuple[float, float]:
    """Return even decades around all finite values, in decades: few, so that they rarely change.

    >>> decades(np.array([-0.3, 3.1, np.inf]))
    (-2.0, 4.0)
    """
    known = np.concatenate(values)
    known = known[np.isfinite(known)]
    if not known.size:
        return -2.0, 2.0
    low, high = 2 * np.floor((known.min() - 0.2) / 2), 2 * np.ceil((known.max() + 0.2) / 2)
    return float(low), float(high if high > low else low + 2)


def counts(values: np.ndarray, ends: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return how many of the logarithms fall into each bin, and the edges of the bins."""
    low, high = ends
    width = max(1.0, (high - low) / 12)  # bins a few pixels high, also over many decades
    bins = round(BINS_PER_DECADE * (high - low) / width)
    known = values[np.isfinite(values)]
    found, edges = np.histogram(known, np.linspace(low, high, bins + 1))
    return found, edges


class ClippingPicture:
    """Norms by batch with their histogram, norms by group, cosines by batch."""

    artists: list[Artist]

    def __init__(self) -> None:
        with style():
            self.figure = Figure(figsize=(9.2, 3.6), dpi=100)
            place = self.figure.add_axes
            self._norms = place((0.075, 0.145, 0.275, 0.635))
            self._bins = place((0.352, 0.145, 0.05, 0.635), sharey=self._norms)
            self._groups = place((0.498, 0.145, 0.215, 0.635))
            self._cosines = place((0.792, 0.145, 0.195, 0.635))
            words: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold"}
            self._name = self.figure.text(0.012, 0.935, "", **words)
            # Text is slow to draw: what seldom changes stays in the background.
            self._lead = self.figure.text(0.988, 0.935, "", ha="right", fontsize=9.5)
            self._draw_norms()
            self._draw_groups()
            self._draw_cosines()
        self.artists = [self._band, self._bars, self._before, self._after, self._limit, *self._ways]
        self.artists += [*self._group_before, *self._group_after, *self._factors, self._dots]
        self.artists += [self._name, self._note]
        self._frame: tuple[Any, ...] = ()

    def _draw_norms(self) -> None:
        ax = self._norms
        ax.yaxis.set_major_locator(MaxNLocator(7, integer=True))
        ax.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
        ax.yaxis.set_label_coords(-0.2, 0.5)
        place: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "zorder": 0}
        self._band = Rectangle((0, 0), 1, 1, color="#666666", alpha=0.13, linewidth=0, **place)
        self._band.set_label("0.5 to 10 \N{MULTIPLICATION SIGN} average")
        ax.add_patch(self._band)
        self._before, self._after = _pairs(ax)
        (self._limit,) = ax.plot([], [], color="#333333", linewidth=1.2)
        self._bars = self._bins.stairs(
            np.zeros(1), np.array([0.0, 1.0]), orientation="horizontal", fill=True, color=BEFORE
        )
        self._bins.set_axis_off()
        self._note = ax.text(
            0.5, 0.5, "", transform=ax.transAxes, ha="center", va="center", fontsize=10,
            color=INKS["explode"], fontweight="bold",
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip

    def _draw_groups(self) -> None:
        ax = self._groups
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(power_of_ten))
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel("norm")
        ax.set_title("geometric means by group", fontsize=9.5)
        self._ways: list[Any] = []
        self._group_before: list[Any] = []
        self._group_after: list[Any] = []
        self._factors: list[Any] = []
        for _ in GROUP_NAMES:
            (way,) = ax.plot([], [], color=FAINT, linewidth=1.6)
            before, after = _pairs(ax, 9.0, 6.5)
            text = ax.text(
                0.5, 0.5, "", transform=ax.get_yaxis_transform(), ha="center", fontsize=9
            )
            for kept, artist in (
                (self._ways, way),
                (self._group_before, before),
                (self._group_after, after),
                (self._factors, text),
            ):
                kept.append(artist)

    def _draw_cosines(self) -> None:
        ax = self._cosines
        ax.axhline(1, color=COLORS["critical"], linewidth=1.2, zorder=1)
        ax.set(ylim=(-0.04, 1.06), yticks=np.linspace(0, 1, 5))
        ax.set_yticklabels(["0", "", "0.5", "", "1"])
        (self._dots,) = ax.plot([], [], "o", markersize=3.5, color=COLORS["gradient"])
        (kept,) = ax.plot([], [], color=COLORS["critical"], label="1: direction kept")
        ax.set_title("cosine to the true gradient", fontsize=9.5, pad=20)
        legend(ax, kept, fontsize=8.5)

    def update(self, result: Clipping) -> bool:
        """Move the artists; redraw the axes only when a limit or a name changes."""
        before, after = log10(result.watched("before")), log10(result.watched("after"))
        N = len(before)
        batch = np.arange(1, N + 1)
        for line, values in ((self._before, before), (self._after, after)):
            line.set_data(batch, np.where(np.isfinite(values), values, np.nan))
        limit = np.empty(0) if result.limit is None else log10(result.limit)
        shown = np.where(np.isfinite(limit), limit, np.nan)
        self._limit.set_data([], [])
        if limit.size:  # as wide as the axes: that of each batch holds up to the next one
            steps = np.repeat(np.arange(N + 1) + 0.5, 2)[1:-1]
            self._limit.set_data(steps, np.repeat(shown, 2))
        ends = decades(before, after, limit)
        self._bars.set_data(*counts(before, ends))
        ways = [
            [log10(result.typical(group, when)).item() for when in ("before", "after")]
            for group in result.groups
        ]
        reach = decades(np.array(ways).ravel())
        self._put_groups(result, ways)
        self._dots.set_data(batch, result.frame["cosine"])
        title = ", ".join(filter(None, (result.name, result.knob)))
        self._name.set_text(title + NO_LIMIT.get(result.method, ""))
        beyond = int((~result.finite).sum())
        self._note.set_text(f"{beyond} of {N} beyond float range" if beyond else "")

        average = result.watched("before")[result.finite]
        drawn = bool(limit.size and average.size and average.mean() > 0)
        self._band.set_visible(drawn)
        if drawn:
            low, high = log10(np.multiply(USUAL, average.mean()))
            self._band.set_y(low)
            self._band.set_height(high - low)
        tallest = max(1, int(counts(before, ends)[0].max()))
        most = 2 ** math.ceil(math.log2(tallest))
        frame = (result.method, result.lead, result.groups, N, ends, reach, most)
        changed = frame != self._frame
        if changed:
            self._frame = frame
            self._set_axes(result, N, ends, reach, most)
        return changed

    def _put_groups(self, result: Clipping, ways: list[list[float]]) -> None:
        """Put the norms of each group into its row, from top to bottom, and the factor above."""
        parts = zip(self._ways, self._group_before, self._group_after, self._factors, strict=True)
        for row, (way, before, after, factor) in enumerate(parts):
            there = row < len(ways) and np.isfinite(ways[row]).all()
            old, new = ways[row] if there else (np.nan, np.nan)
            way.set_data([old, new], [row, row])
            before.set_data([old], [row])
            after.set_data([new], [row])
            factor.set_y(row - 0.24)
            factor.set_text("")
            if there:
                group = result.groups[row]
                share = result.typical(group, "after") / result.typical(group, "before")
                same = math.isclose(share, 1, rel_tol=1e-3)
                factor.set_text("unchanged" if same else f"\N{MULTIPLICATION SIGN} {short(share)}")

    def _set_axes(
        self,
        result: Clipping,
        N: int,
        ends: tuple[float, float],
        reach: tuple[float, float],
        most: int,
    ) -> None:
        """Name what is shown and set the limits."""
        self._lead.set_text(result.lead)
        room = 0.02 * N + 0.5
        self._norms.set(xlim=(1 - room, N + room), ylim=ends, xlabel="batch")
        self._norms.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        self._cosines.set(xlim=(1 - room, N + room), xlabel="batch")
        self._cosines.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        self._bins.set_xlim(0, most)
        self._norms.set_ylabel(WATCHED.get(result.method, ((), "global gradient norm"))[1])
        self._limit.set_label("limit")
        drawn = result.limit is not None
        legend(
            self._norms,
            self._before,
            self._after,
            self._limit if drawn else None,
            self._band if drawn else None,
            ncols=2 if drawn else 3,
            fontsize=8.5,
        )
        rows = len(result.groups)
        self._groups.set(xlim=reach, ylim=(rows - 0.5, -0.6))
        self._groups.set_yticks(range(rows), result.groups, rotation=90, va="center")


def _pairs(ax: Axes, large: float = 4.5, small: float = 3.0) -> list[Any]:
    """Make the dots before and after clipping: the smaller on top, so that both are seen."""
    return [
        ax.plot([], [], marker, markersize=size, color=color, label=label, linestyle="none")[0]
        for marker, size, color, label in (
            ("o", large, BEFORE, "before clipping"),
            ("D", small, AFTER, "after"),
        )
    ]

"""The weights of one gate beside the law that they follow: result, picture and numbers."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from ..laws import Law
from ..plots import COLORS, legend, style

WRAP = 36  # characters in a line of a fact
LINES = 11  # of facts, at most
_MEASURED, _FAINT, _THEORY = "#333333", COLORS["bound"], COLORS["prediction"]
# The ends of an axis come from a few fixed ones, so that they rarely change.
_ENDS = [base * 2.0**k for k in range(-5, 24) for base in (1.0, 1.5)]


@dataclass(frozen=True)
class GateWeights:
    """What the lab shows for one setting.

    title: the layer. gate: such as "forget". weights: "W_hh", "W_ih" or "bias". values: all
    numbers of that kind in this gate. eigenvalues: (H,) complex, of the gate's W_hh. law: of the
    values, or None. radius: of the circle that theory gives the eigenvalues, or None. reference:
    what law and circle are, "theory". figures: name, measured and theory, by line. facts: name and
    text. said: everything that matters, in words.
    """

    title: str
    gate: str
    weights: str
    values: np.ndarray
    eigenvalues: np.ndarray
    law: Law | None
    radius: float | None
    reference: str
    figures: tuple[tuple[str, str, str], ...]
    facts: tuple[tuple[str, str], ...]
    said: str

    @property
    def rho(self) -> float:
        """The spectral radius of the gate's W_hh."""
        return float(np.abs(self.eigenvalues).max())

    @property
    def constant(self) -> bool:
        """Whether all values are one value."""
        return bool(self.values.min() == self.values.max())


def table(result: GateWeights) -> pd.DataFrame:
    """Return the weights and the eigenvalues as numbers, a row each."""
    weights = np.asarray(result.values, dtype=float).ravel()
    values = np.concatenate([weights.astype(complex), result.eigenvalues])
    kinds = np.repeat(["weight", "eigenvalue"], [len(weights), len(result.eigenvalues)])
    return pd.DataFrame({"quantity": kinds, "real": values.real, "imaginary": values.imag})


def reach(result: GateWeights) -> float:
    """Return the end of the axis of weights: the largest one, or where the law has all but ended.

    A single value stays clear of the edge.
    """
    most, law = float(np.abs(result.values).max()), result.law
    if law is not None:
        most = max(most, _end(law) if law.value is None else abs(law.value))
    if result.constant:
        most = 1.3 * most or 0.95
    return next((end for end in _ENDS if most <= 0.97 * end), 1.1 * most)


def _end(law: Law) -> float:
    return min(4 * law.std, law.support[1])


def bars(result: GateWeights, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the heights and edges of the histogram: densities, or one bar where all are equal."""
    values, law = np.asarray(result.values, dtype=float).ravel(), result.law
    if result.constant:
        return np.array([1.0]), values[0] + 0.03 * end * np.array([-1, 1])
    low, high = values.min(), values.max()
    if law is not None and law.value is None:
        # From end to end of the law, so that its outer bars are full ones.
        low, high = min(low, -_end(law)), max(high, _end(law))
    count = int(np.clip(2 * len(values) ** (1 / 3), 6, 30))
    return np.histogram(values, np.linspace(low, high, count + 1), density=True)


def _top(highest: float, law: Law | None) -> float:
    """Return the end of the axis of densities; a curve that is far higher than the bars is cut."""
    if law is not None and law.density is not None:
        # Not up to its ends, where that of a 2 x 2 orthogonal matrix is infinite.
        peak = law.density(_end(law) * np.linspace(-0.9, 0.9, 91)).max()
        highest = max(highest, min(peak, 4 * highest))
    return next((end for end in _ENDS if highest <= 0.97 * end), 1.1 * highest)


def curve(law: Law | None, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the density of a law on [-end, end], with upright edges; nothing for a constant."""
    if law is None or law.density is None:
        return np.empty(0), np.empty(0)
    edges = [np.nextafter(s, t) for s in law.support for t in (-np.inf, np.inf) if abs(s) < end]
    x = np.sort(np.concatenate([np.linspace(-end, end, 301), edges]))
    return x, law.density(x)


class KeptText(Text):
    """A text on white that keeps its pixels: drawing letters anew takes milliseconds."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pixels: dict[str, Any] = {}

    def draw(self, renderer: Any) -> None:
        """Draw the letters the first time, and paste their pixels from then on."""
        text = self.get_text()
        if text in self._pixels:
            renderer.restore_region(self._pixels[text])
        elif text:
            super().draw(renderer)
            if len(self._pixels) >= 200:  # 4 MB at most
                self._pixels.clear()
            self._pixels[text] = renderer.copy_from_bbox(self.get_window_extent().padded(2))


class WeightsPicture:
    """Left the weights, in the middle the eigenvalues of W_hh, right figures and facts."""

    artists: list[Artist]

    def __init__(self) -> None:
        with style():
            self.figure = Figure(figsize=(9.2, 3.7), dpi=100)
            self._hist = hist = self.figure.add_axes((0.062, 0.145, 0.208, 0.67))
            self._plane = plane = self.figure.add_axes((0.335, 0.145, 0.2695, 0.67))
            self._bars: Any = hist.stairs(
                [0.0], [0.0, 1.0], fill=True, facecolor=to_rgba(_MEASURED, 0.35), linewidth=0.8,
                edgecolor=_FAINT, label="measured",
            )  # fmt: skip
            (self._law,) = hist.plot([], [], color=_THEORY, linewidth=2.2)
            (self._stem,) = hist.plot([], [], color=_THEORY, linewidth=2.2, linestyle=(0, (3, 1.5)))
            self._note = hist.text(
                0.5, 0.92, "", transform=hist.transAxes, ha="center", color=_MEASURED
            )
            turn = np.linspace(0, 2 * np.pi, 181)
            self._turn = np.cos(turn), np.sin(turn)
            (self._unit,) = plane.plot(
                *self._turn, color=COLORS["critical"], linewidth=1.6, label="radius 1"
            )
            (self._circle,) = plane.plot([], [], color=_THEORY, linewidth=1.8, linestyle="--")
            (self._dots,) = plane.plot(
                [], [], "o", markersize=4, color=_MEASURED, alpha=0.65, label="eigenvalues"
            )
            for ax in (hist, plane):
                ax.xaxis.set_major_locator(MaxNLocator(4 if ax is hist else 6, steps=[1, 2, 5, 10]))
                ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
            hist.set_xlabel("value")
            plane.set_xlabel("real part")
            plane.set_ylabel("imaginary part", labelpad=-1)
            self._titles = [self._text(x, 0.925, 10) for x in (0.062, 0.335, 0.632)]
            self._titles[2].set_fontweight("bold")
            rows = [0.865 - 0.057 * i for i in range(4)]
            self._figures = [[self._text(x, y, 9) for x in (0.632, 0.775, 0.875)] for y in rows]
            rows = [0.605 - 0.057 * i for i in range(LINES)]
            self._facts = [[self._text(x, y, 9) for x in (0.632, 0.722)] for y in rows]
            for text in [*self._figures[0], *(row[0] for row in self._figures + self._facts)]:
                text.set_color(_FAINT)
        self.artists = [self._bars, self._law, self._stem, self._note, self._circle, self._dots]
        self.artists += self._titles + [t for row in self._figures + self._facts for t in row]
        self._frame: tuple[Any, ...] = ()

    def _text(self, x: float, y: float, size: float) -> KeptText:
        text = KeptText(x, y, "", fontsize=size, transform=self.figure.transFigure)
        self.figure.add_artist(text)
        return text

    def update(self, result: GateWeights) -> bool:
        """Move the artists; redraw the axes only when a limit changes."""
        law, end = result.law, reach(result)
        heights, edges = bars(result, end)
        x, density = curve(None if result.constant else law, end)
        high = 1.2 if result.constant else _top(heights.max(), law)
        stem = None if law is None else law.value
        self._bars.set_data(heights, edges)
        self._law.set_data(x, np.minimum(density, 2 * high))
        self._stem.set_data(([], []) if stem is None else ([stem] * 2, [0, min(high, 1.0)]))
        self._dots.set_data(result.eigenvalues.real, result.eigenvalues.imag)
        radius = result.radius or 0.0
        self._circle.set_data(*(radius * c for c in self._turn))
        wide = max(result.rho, radius, 1.0)
        limit = next((e for e in (1.15, 1.6, 3.3, 5.0, 10.0) if wide <= 0.97 * e), 1.1 * wide)
        self._write(result)
        line = self._law if len(x) else self._stem if stem is not None else None
        circle = self._circle if result.radius is not None else None
        frame = (end, high, limit, line, circle, result.constant, result.reference)
        changed = frame != self._frame
        if changed:
            self._frame = frame
            self._hist.set(xlim=(-end, end), ylim=(0, high))
            self._hist.set_ylabel("share" if result.constant else "density")
            self._plane.set(xlim=(-limit, limit), ylim=(-limit, limit))
            for artist in (self._law, self._stem, self._circle):
                artist.set_label(result.reference)
            legend(self._hist, self._bars, line, handlelength=1.2)
            legend(self._plane, self._unit, circle, self._dots, handlelength=1.2)
        return changed

    def _write(self, result: GateWeights) -> None:
        first = result.values.flat[0]
        only = result.values.size == 1
        same = f"{'the only one is' if only else f'all {result.values.size} are'} {first:.3g}"
        self._note.set_text(same if result.constant else "")
        of = "" if result.gate == "hidden" else f"{result.gate} gate: "
        titles = (f"{of}{result.weights}", f"{of}eigenvalues of W_hh", result.title)
        lines = []
        for name, fact in result.facts:
            fact = re.sub(r"\(.*?\)", lambda found: found[0].replace(" ", "\xa0"), fact)
            lines += list(zip_longest([name], textwrap.wrap(fact, WRAP), fillvalue=""))
        figures = [("", "measured", result.reference), *result.figures]
        _fill([self._titles], [titles])
        _fill(self._figures, figures)
        _fill(self._facts, lines)


def _fill(places: list[list[KeptText]], rows: Sequence[tuple[str, ...]]) -> None:
    """Write rows into places, and nothing into those that are left."""
    for i, row in enumerate(places):
        for j, place in enumerate(row):
            place.set_text(rows[i][j] if i < len(rows) else "")

"""The size of a signal and its gradient by layer, the last units, and the matrix: one picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from ..plots import COLORS, INKS, decades_axis, legend, snap_decades, style
from ..signals import SATURATED_SLOPE, MeanSquares, Signal

BINS = 40
# Where each activation's outputs are drawn; what lies beyond goes into the last bin.
RANGES = {
    "linear": (-4.0, 4.0),
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, 4.0),
}
# The spectral radius at which a wide matrix keeps the gradient of units near 0: 1 / slope, and for
# relu sqrt(2), as half of the units are off.
KEEPING_RADIUS = {"linear": 1.0, "sigmoid": 4.0, "tanh": 1.0, "relu": 2**0.5}


@dataclass(frozen=True)
class Sent:
    """What the lab shows for one setting.

    signal: as measured; expected: the theory, None where it does not apply. activation: of the last
    units. unit: "layer" or "step". lead: the settings in words, but for what is dragged most, the
    knob. matrix: the name of the matrix. own: whether it is the reader's network, which starts from
    its own state instead of mean square 1. cell: "RNN", "LSTM" or "GRU".
    """

    signal: Signal
    expected: MeanSquares | None
    activation: str
    unit: str
    lead: str
    knob: str
    matrix: str
    own: bool = False
    cell: str = "RNN"


def histogram(values: np.ndarray, activation: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of the units in each bin, (BINS,), and the edges, (BINS + 1,).

    Units of a relu that are off are in no bin: they would be the only ones to be seen.
    """
    edges = np.linspace(*RANGES[activation], BINS + 1)
    drawn = values[values > 0] if activation == "relu" else values
    drawn = np.nan_to_num(drawn, nan=np.inf, posinf=np.inf, neginf=-np.inf)
    counts, _ = np.histogram(drawn.clip(*RANGES[activation]), edges)
    return counts / max(len(values), 1), edges


def percent(share: float) -> str:
    """Return a share in percent, with a digit more below 1 %."""
    return f"{100 * share:.{1 if 0 < share < 0.01 else 0}f} %"


# What is said of those that let no gradient through. What is flat in an LSTM is tanh(c), and the h
# of a GRU is a mean of tanh outputs.
FLAT = {
    "linear": "",
    "relu": "of the units are off",
    "LSTM": "of the cells are saturated",
    "GRU": "of the units are near \N{PLUS-MINUS SIGN}1",
}


def of_the_units(result: Sent) -> tuple[str, str]:
    """Say how many of the last units let no gradient through, and what they do: ("47 %", "...")."""
    key = result.activation if result.cell == "RNN" else result.cell
    flat = FLAT.get(key, "of the units are saturated")
    return (percent(result.signal.saturated[-1].item()) if flat else ""), flat


class SignalPicture:
    """Mean squares by layer, a histogram of the last units, and eigenvalues."""

    artists: list[Artist]

    def __init__(self) -> None:
        with style():
            self.figure = Figure(figsize=(9.2, 3.6), dpi=100)
            axes = self.figure.subplots(1, 3, width_ratios=(1.75, 1, 1))
            self._curves, self._units, self._plane = axes
            self.figure.subplots_adjust(0.098, 0.145, 0.985, 0.83, wspace=0.33)
            # Text is slow to draw: only numbers move.
            self._lead = self.figure.text(0.012, 0.945, "", fontsize=10.5, fontweight="bold")
            self._knob = self.figure.text(
                0.985, 0.945, "", ha="right", fontsize=10.5, fontweight="bold"
            )
            self._draw_curves()
            self._draw_units()
            self._draw_plane()
        self.artists = [*self._lines.values(), self._bars, self._share, self._dots, self._radius]
        self.artists += [self._knob, self._note]
        self._frame: tuple[Any, ...] = ()

    def _draw_curves(self) -> None:
        ax = self._curves
        decades_axis(ax, "mean square")
        ax.yaxis.set_label_coords(-0.195, 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        self._lines = {
            name: ax.plot([], [], color=COLORS[name.split()[-1]], label=label)[0]
            for name, label in (
                ("expected signal", ""),
                ("expected gradient", ""),
                ("signal", "signal \N{RIGHTWARDS ARROW}"),
                ("gradient", "\N{LEFTWARDS ARROW} gradient"),
            )
        }
        for name in ("expected signal", "expected gradient"):
            self._lines[name].set(linestyle=(0, (4, 2)), linewidth=1.3, alpha=0.75)
        self._lines["signal"].set_linewidth(2.6)
        (self._theory,) = ax.plot([], [], color=COLORS["bound"], linestyle=(0, (4, 2)))
        self._theory.set_linewidth(1.3)
        self._note = ax.text(
            0.5, 0.5, "", transform=ax.transAxes, ha="center", va="center", fontsize=10,
            color=INKS["explode"], fontweight="bold",
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip

    def _draw_units(self) -> None:
        ax = self._units
        self._bars = ax.stairs(np.zeros(BINS), np.arange(BINS + 1), fill=True, color="#5E5E5E")
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(_last_bin))
        words: dict[str, Any] = {"transform": ax.transAxes, "fontsize": 8.5}
        self._share = ax.text(0.17, 1.035, "", ha="right", **words)
        self._doing = ax.text(0.195, 1.035, "", **words)
        self._flat: list[Any] = []

    def _draw_plane(self) -> None:
        ax = self._plane
        turn = np.linspace(0, 2 * np.pi, 181)
        self._turn = np.cos(turn), np.sin(turn)
        (self._unit,) = ax.plot(*self._turn, color=COLORS["critical"], linewidth=1.6)
        self._unit.set_label("radius 1")
        (self._keeping,) = ax.plot([], [], color=COLORS["bound"], linewidth=1.4, linestyle=":")
        (self._dots,) = ax.plot([], [], "o", markersize=3, color="#333333", alpha=0.6)
        # By hand: Matplotlib's equal aspect would shrink the axes.
        place = ax.get_position()
        self._tall = place.height * 3.6 / (place.width * 9.2)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        label: dict[str, Any] = {"transform": ax.transAxes, "fontsize": 9}
        label |= {"bbox": {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}}
        ax.text(0.04, 0.035, "rho =", **label)
        self._radius = ax.text(0.275, 0.035, "", **label)

    def update(self, result: Sent) -> bool:
        """Move the artists; redraw the axes only when a limit changes."""
        signal, values = result.signal, result.signal.eigenvalues.numpy()
        levels = {
            "signal": signal.log10_activations.numpy().copy(),
            "gradient": signal.log10_gradients.numpy(),
        }
        if result.own and levels["signal"][0] == -np.inf:
            levels["signal"][0] = np.nan  # a zero initial state is nothing to report
        if result.expected is not None:
            levels["expected signal"] = result.expected.log10_activations.numpy()
            levels["expected gradient"] = result.expected.log10_gradients.numpy()
        L = len(levels["signal"])
        for name, line in self._lines.items():
            y = levels.get(name, np.full(L, np.nan))
            line.set_data(np.arange(L), np.where(np.isfinite(y), y, np.nan))
        self._dots.set_data(values.real, values.imag)
        self._radius.set_text(f"{signal.rho:.2f}")
        self._knob.set_text(result.knob)
        measured = np.concatenate([levels["signal"], levels["gradient"]])
        up, down = bool((measured == np.inf).any()), bool((measured == -np.inf).any())
        undefined = bool(np.isnan(levels["gradient"]).any())
        notes = {"beyond float range": up, "gradient not defined": undefined, "exactly 0": down}
        self._note.set_text(next((note for note, true in notes.items() if true), ""))
        self._note.set_color(INKS["explode" if up else "vanish"])

        shares, edges = histogram(signal.values.numpy(), result.activation)
        self._bars.set_data(shares, edges)
        self._share.set_text(of_the_units(result)[0])
        tallest = next(
            end for end in (0.1, 0.2, 0.5, 1.0) if shares.max() <= 0.97 * end or end == 1
        )
        low, high = _ends(np.concatenate(list(levels.values())))
        keeping = KEEPING_RADIUS[result.activation]
        reach = max(signal.rho, keeping, 1.0)
        limit = next((e for e in (1.6, 3.3, 5.0, 10.0, 21.0) if reach <= 0.97 * e), 1.1 * reach)
        theory = result.expected is not None
        frame = (
            result.lead,
            result.unit,
            theory,
            result.matrix,
            result.activation,
            L,
            low,
            high,
            tallest,
            limit,
        )
        changed = frame != self._frame
        if changed:
            self._frame = frame
            self._set_axes(result, keeping)
            self._curves.set(xlim=(0, L - 1), ylim=(low, high))
            self._units.set_ylim(0, tallest)
            self._plane.set(xlim=(-limit, limit), ylim=(-limit * self._tall, limit * self._tall))
        return changed

    def _set_axes(self, result: Sent, keeping: float) -> None:
        """Label the axes, mark where the activation is flat and which radius keeps a signal."""
        self._lead.set_text(result.lead)
        self._doing.set_text(of_the_units(result)[1])
        self._curves.set_xlabel(result.unit)
        measured = self._lines["signal"], self._lines["gradient"]
        theory = None if result.expected is None else self._theory
        fresh = "expected" if result.unit == "layer" else "expected, fresh W"
        self._theory.set_label(fresh)
        legend(self._curves, *measured, theory, fontsize=8.5)
        low, high = RANGES[result.activation]
        bounded = result.activation in ("tanh", "sigmoid")
        room = 0.06 * (high - low) if bounded else 0.0
        where = "in the last layer" if result.unit == "layer" else "at the last step"
        self._units.set(xlim=(low - room, high + room), xlabel=f"h {where}")
        self._units.set_xticks(np.linspace(low, high, 3 if low == 0 and bounded else 5))
        for patch in self._flat:
            patch.remove()
        self._flat = []
        # tanh: 1 - h^2 = 0.05; sigmoid: the same of 2 h - 1
        edge = (1 - SATURATED_SLOPE) ** 0.5
        middle, half = (low + high) / 2, (high - low) / 2
        if bounded and result.cell != "LSTM":  # there the cells are flat, which are not drawn
            self._flat = [
                self._units.axvspan(*ends, color=COLORS["explode"], alpha=0.22, linewidth=0)
                for ends in (
                    (low - room, middle - edge * half),
                    (middle + edge * half, high + room),
                )
            ]
        wide = keeping if keeping != 1 else 0.0
        self._keeping.set_data(*(wide * c for c in self._turn))
        self._keeping.set_label(f"radius {keeping:.3g}")
        legend(self._plane, self._unit, self._keeping if wide else None, fontsize=8.5)
        self._plane.set_xlabel(f"eigenvalues of {result.matrix}", fontsize=9.5)


def _last_bin(value: float, _: object) -> str:
    """Label the ends of the axis of a linear unit or a relu, whose bins hold all beyond."""
    if abs(value) < RANGES["linear"][1]:
        return f"{value:g}".replace("-", "\N{MINUS SIGN}")
    return (
        f"\N{GREATER-THAN OR EQUAL TO} {value:g}"
        if value > 0
        else f"\N{LESS-THAN OR EQUAL TO} \N{MINUS SIGN}{-value:g}"
    )


def _ends(levels: np.ndarray) -> tuple[float, float]:
    """Choose y limits in decades; mean squares reach twice as far as the floats they come from."""
    high, low = float(np.nanmax(levels)), float(np.nanmin(levels))
    scale = 4 if 140 < max(high, -low) < np.inf else 1
    low, high = snap_decades(0.9 * high / scale, 0.9 * low / scale)
    return scale * low, scale * high

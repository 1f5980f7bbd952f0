"""Eigenvalues beside the gradient they promise and the true one: result, picture and words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..plots import COLORS, INKS, decades_axis, legend, log10, snap_decades, style


@dataclass(frozen=True)
class Spectrum:
    """What the lab shows for one setting.

    eigenvalues: (H,) complex, of the matrix that `panel` names. circle: 1 / gamma, the radius
    beyond which a step can stretch. growth, prediction, bound: (T + 1,) by steps back, the last
    two None where they do not apply. lead: the settings in words.
    """

    eigenvalues: np.ndarray
    panel: str
    circle: float
    growth: np.ndarray
    prediction: np.ndarray | None
    bound: np.ndarray | None
    lead: str

    @property
    def rho(self) -> float:
        """The spectral radius."""
        return float(np.abs(self.eigenvalues).max())


def in_words(factor: float) -> str:
    """Say a growth factor: "9.1e3 times larger", or that it left float range.

    >>> in_words(9100.4), in_words(0.5), in_words(0.0)
    ('9.1e3 times larger', '2.0 times smaller', 'exactly 0 (dead, or below float range)')
    """
    if math.isnan(factor) or factor == math.inf:
        return "beyond float range (above 1.8e308)"
    if factor == 0:
        return "exactly 0 (dead, or below float range)"
    size = Decimal(factor) if factor >= 1 else 1 / Decimal(factor)  # 1 / 1e-320 is no float
    if size < 1.05:
        return "unchanged"
    text = f"{size:.1e}".replace("e+", "e")
    if size < 999.5:
        text = f"{size:.1f}" if size < 99.95 else f"{size:.0f}"
    return f"{text} times {'larger' if factor >= 1 else 'smaller'}"


def last_in_words(growth: np.ndarray) -> str:
    """Say the last of a curve of growth factors, which are NaN where the first norm is 0."""
    if math.isnan(growth[0]):  # nothing to compare with
        return "not defined (it is 0 at the last step)"
    return in_words(growth[-1])


def sentence(result: Spectrum) -> str:
    """State what the settings do to the gradient."""
    T = len(result.growth) - 1
    text = f"{result.lead}: after {T} steps the gradient is {last_in_words(result.growth)}"
    if result.prediction is not None and result.bound is not None:
        text += f"; the eigenvalues alone predict it to be {in_words(result.prediction[-1])}; "
        most = result.bound[-1]
        if 0 < most < math.inf:
            text += f"the bound allows it to be {in_words(most)}"
        else:
            text += "so is the bound" if most == 0 else "the bound is beyond float range"
    return text + "."


def table(result: Spectrum) -> pd.DataFrame:
    """Return the curves as numbers, a row a step back."""
    columns = {"steps_back": np.arange(len(result.growth)), "growth": result.growth}
    if result.prediction is not None and result.bound is not None:
        columns |= {"prediction": result.prediction, "bound": result.bound}
    return pd.DataFrame(columns)


class SpectrumPicture:
    """Left the eigenvalues against the unit circle, right the gradient by steps back."""

    artists: list[Artist]

    def __init__(self) -> None:
        with style():
            self.figure = Figure(figsize=(9.2, 3.7), dpi=100)
            self._plane, self._curve = self.figure.subplots(1, 2, width_ratios=(1, 1.75))
            plane, curve = self._plane, self._curve
            turn = np.linspace(0, 2 * np.pi, 181)
            self._turn = np.cos(turn), np.sin(turn)
            (self._unit,) = plane.plot(
                *self._turn, color=COLORS["critical"], linewidth=1.6, label="radius 1"
            )
            plane.set(aspect="equal", xlabel="real part", ylabel="imaginary part")
            (self._gamma,) = plane.plot(
                [], [], color=COLORS["bound"], linewidth=1.4, linestyle=":", label="radius 4"
            )
            (self._radius,) = plane.plot(
                [], [], color=COLORS["prediction"], linewidth=1.6, linestyle="--", label="rho"
            )
            (self._dots,) = plane.plot(
                [], [], "o", markersize=4.5, color="#333333", alpha=0.65, label="eigenvalues"
            )
            decades_axis(curve)
            curve.set(xlabel="steps back in time, k")
            curve.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            lines = {
                "bound": ("bound ($\\gamma\\,\\sigma_{max})^k$", ":"),
                "prediction": ("eigenvalues alone ($\\gamma\\,\\rho)^k$", "--"),
                "gradient": ("true gradient", "-"),
            }
            self._lines = {
                key: curve.plot([], [], style_, color=COLORS[key], label=label)[0]
                for key, (label, style_) in lines.items()
            }
            self._lines["gradient"].set_linewidth(2.8)
            self._lines["bound"].set_linewidth(1.6)
            self._shade = [
                curve.axhspan(0, 1, color=COLORS["explode"], alpha=0.07, linewidth=0),
                curve.axhspan(-1, 0, color=COLORS["vanish"], alpha=0.07, linewidth=0),
            ]
            self._edge = curve.axhline(308, color=COLORS["explode"], linewidth=1, linestyle="-.")
            self._note = curve.text(
                0.985, 0.5, "", transform=curve.transAxes, ha="right", va="center", fontsize=10,
                color=INKS["explode"], fontweight="bold",
            )  # fmt: skip
            self._lead = curve.text(
                0.985, 0, "", transform=curve.transAxes, ha="right", fontsize=10, fontweight="bold",
                bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 2.5},
            )  # fmt: skip
            self.figure.subplots_adjust(0.085, 0.14, 0.975, 0.9, wspace=0.26)
        self.artists = [self._gamma, self._radius, self._dots, *self._lines.values()]
        self.artists += [self._note, self._lead]
        self._frame: tuple[Any, ...] = ()

    def update(self, result: Spectrum) -> bool:
        """Move the artists; redraw the axes only when a limit changes."""
        self._dots.set_data(result.eigenvalues.real, result.eigenvalues.imag)
        self._radius.set_data(*(result.rho * c for c in self._turn))
        wide = result.circle if result.circle > 1 else 0.0
        self._gamma.set_data(*(wide * c for c in self._turn))
        k = np.arange(len(result.growth))
        curves = {"gradient": result.growth, "prediction": result.prediction, "bound": result.bound}
        levels = {key: log10(v) for key, v in curves.items() if v is not None}
        for key, line in self._lines.items():
            y = levels.get(key, np.full(len(k), np.nan))
            line.set_data(k, _finite(y))
        highest = float(np.nanmax(levels["gradient"], initial=0.0))
        lowest = float(np.nanmin(levels["gradient"], initial=0.0))
        if "prediction" in levels:
            highest = max(highest, min(levels["prediction"][-1], 2 * highest + 3))
            lowest = min(lowest, max(levels["prediction"][-1], 2 * lowest - 3))
        up, down = highest == math.inf, lowest == -math.inf
        self._lead.set_text(result.lead)
        # In the corner that the gradient does not run into.
        self._lead.set_y(0.045 if levels["gradient"][-1] > 0 else 0.91)
        self._note.set_text("beyond float range" if up else "exactly 0" if down else "")
        self._note.set_color(INKS["explode" if up else "vanish"])
        low, high = snap_decades(highest, lowest)
        reach = max(result.rho, wide, 1.0)
        ends = (1.6, 3.3, 5.0, 10.0, 21.0)
        limit = next((end for end in ends if reach <= 0.97 * end), 1.1 * reach)
        frame = (result.panel, result.circle, tuple(levels), len(k), low, high, limit)
        changed = frame != self._frame
        if changed:
            self._frame = frame
            self._plane.set(xlim=(-limit, limit), ylim=(-limit, limit))
            self._plane.set_xlabel(f"real part  ({result.panel})")
            legend(self._curve, *(self._lines[key] for key in levels))
            self._gamma.set_label(f"radius {result.circle:g}")
            circles = self._unit, self._radius, self._gamma if wide else None, self._dots
            legend(self._plane, *circles, ncols=4, handlelength=1.2)
            self._curve.set(xlim=(0, len(k) - 1), ylim=(low, high))
            for patch, edge in zip(self._shade, (high, low), strict=True):
                patch.set_bounds(0, 0, 1, edge)
            self._edge.set_visible(high > 308)
        return changed


def _finite(levels: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(levels), levels, np.nan)

"""Lab: the gradient of four activations at every spectral radius and every step, as heatmaps."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.artist import Artist
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from ..dynamics import gradient_map as measure_map
from ..dynamics import gradient_through_time
from ..models import ACTIVATIONS, make_elman
from ..plots import GROWTH_MAP, INK, growth_image, power_of_ten, style
from .base import Lab
from .controls import Choice, Slider
from .network import drive, rho_high
from .spec import Settings, Spec
from .spectrum import in_words

ROWS = 41  # spectral radii in a map
_DECADES = 10.0  # of growth, to either end of the colours


@dataclass(frozen=True)
class Maps:
    """Growth (ROWS, T + 1) by activation, the radii of its rows, and the growth at one radius."""

    rho: float
    rhos: dict[str, np.ndarray]
    growth: dict[str, np.ndarray]
    at_rho: dict[str, float]


@functools.lru_cache(maxsize=8)
def _maps(
    hidden_size: int, seq_len: int, non_normality: float, input: bool, h0: str, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Compute all four maps; moving rho over them costs nothing more."""
    settings = {"hidden_size": hidden_size, "seq_len": seq_len, "input": input, "h0": h0}
    rnn = make_elman(hidden_size, 1.0, non_normality=non_normality, seed=seed, dtype=torch.float64)
    x, start = drive({**settings, "seed": seed}, 1)
    rhos = {a: np.linspace(0.0, rho_high(a), ROWS) for a in ACTIVATIONS}
    growth = {a: measure_map(rnn, rhos[a], x, start, activation=a).numpy() for a in ACTIVATIONS}
    return rhos, growth


def compute(settings: Settings) -> Maps:
    """Measure the maps, and the true gradient of each activation at the chosen radius. Pure."""
    rho = settings["rho"]
    rhos, growth = _maps(**{k: v for k, v in settings.items() if k != "rho"})
    x, start = drive(settings, 1)

    def at(activation: str) -> float:
        rnn = make_elman(
            settings["hidden_size"],
            rho,
            activation=activation,
            non_normality=settings["non_normality"],
            seed=settings["seed"],
            dtype=torch.float64,
        )
        return gradient_through_time(rnn, x, start).growth[-1].item()

    return Maps(rho, rhos, growth, {a: at(a) for a in ACTIVATIONS})


def sentence(result: Maps) -> str:
    """State what each activation does at the chosen radius."""
    T = next(iter(result.growth.values())).shape[1] - 1
    parts = [f"{a} {in_words(factor)}" for a, factor in result.at_rho.items()]
    return f"rho = {result.rho:.2f}, after {T} steps the gradient is: {'; '.join(parts)}."


def table(result: Maps) -> pd.DataFrame:
    """Return every cell of the maps: activation, rho, steps_back, growth."""
    tables = []
    for activation, growth in result.growth.items():
        rows, columns = growth.shape
        tables.append(
            pd.DataFrame(
                {
                    "activation": activation,
                    "rho": np.repeat(result.rhos[activation], columns),
                    "steps_back": np.tile(np.arange(columns), rows),
                    "growth": growth.ravel(),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


class MapPicture:
    """Four heatmaps, rho by steps back, and a line at the chosen radius."""

    artists: list[Artist]

    def __init__(self) -> None:
        with style():
            self.figure = Figure(figsize=(9.2, 3.3), dpi=100)
            self._axes = self.figure.subplots(1, len(ACTIVATIONS))
            self.figure.subplots_adjust(0.065, 0.17, 0.885, 0.9, wspace=0.3)
            self._images: list[Any] = []
            edge = Stroke(linewidth=3.6, foreground="white")  # seen on dark cells too
            self._lines = [
                ax.axhline(
                    0, color=INK, linewidth=1.6, linestyle="--", path_effects=[edge, Normal()]
                )
                for ax in self._axes
            ]
            for ax, activation in zip(self._axes, ACTIVATIONS, strict=True):
                ax.set_title(activation)
            self.figure.supxlabel("steps back in time, k", fontsize=10)
            bar = self.figure.colorbar(
                ScalarMappable(Normalize(-_DECADES, _DECADES), GROWTH_MAP),
                cax=self.figure.add_axes((0.9, 0.17, 0.013, 0.73)),
                extend="both",
                format=power_of_ten,
            )
            bar.set_label("gradient norm")
        self.artists = self._lines
        self._shown: Any = None

    def update(self, result: Maps) -> bool:
        """Move the lines; draw the maps anew only when they are others."""
        for line in self._lines:
            line.set_ydata([result.rho] * 2)
        if self._shown is result.growth:
            return False
        self._shown = result.growth
        for image in self._images:
            image.remove()
        self._images = [
            growth_image(
                ax, result.growth[a], result.rhos[a], decades=_DECADES, ylabel="", xlabel=""
            )
            for ax, a in zip(self._axes, ACTIVATIONS, strict=True)
        ]
        self._axes[0].set_ylabel("spectral radius rho")
        return True


SPEC = Spec(
    name="gradient_map",
    controls=(
        Slider("rho", "rho", 1.2, 0.0, 20.0, 0.05),
        Slider("hidden_size", "hidden_size", 64, 2, 128, 1),
        Slider("seq_len", "seq_len", 50, 10, 200, 10),
        Slider("non_normality", "non-normality", 1.0, 0.0, 3.0, 0.05),
        Choice("input", "input", False, (False, True)),
        Choice("h0", "h0", "random", ("random", "zero")),
        Slider("seed", "seed", 0, 0, 99, 1),
    ),
    compute=compute,
    picture=MapPicture,
    sentence=sentence,
    table=table,
)


def gradient_map(*, show: Sequence[str] | None = None, **settings: Any) -> Lab:
    """Open the map of chapter 04: the true gradient over rho and time for four activations.

    settings: rho (0 to 20; the lines leave all maps but the sigmoid's beyond 3), hidden_size,
    seq_len (10 to 200), non_normality, input, h0, seed. show:
    names of the controls to show, None for all. Raises `ValueError` for a bad setting.
    """
    return Lab(SPEC, settings, show)

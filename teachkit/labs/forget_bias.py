"""Lab: move the forget bias of an LSTM and see how far back its gradient reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from torch import nn

from ..dynamics import gradient_through_time, linear_prediction, memory_horizon
from ..gates import set_forget_bias
from ..plots import COLORS, decades_axis, legend, log10, snap_decades, style
from .base import Lab
from .controls import Slider
from .spec import Settings, Spec
from .spectrum import in_words, last_in_words


@dataclass(frozen=True)
class Memory:
    """The gradient to the cell state of an LSTM, and sigmoid(b)^k beside it: (T + 1,) each."""

    bias: float
    horizon: float
    growth: np.ndarray
    prediction: np.ndarray


def compute(settings: Settings) -> Memory:
    """Measure |dL/dc| through time of PyTorch's own LSTM with this forget bias. Pure."""
    bias, T, H = settings["forget_bias"], settings["seq_len"], settings["hidden_size"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        lstm = set_forget_bias(nn.LSTM(1, H, dtype=torch.float64), bias)
        x = torch.randn(T, 1, 1, dtype=torch.float64)
    found = gradient_through_time(lstm, x)
    assert found.growth_c is not None
    keep = torch.sigmoid(torch.tensor(bias, dtype=torch.float64)).item()
    return Memory(
        bias=bias,
        horizon=memory_horizon(bias).item(),
        growth=found.growth_c.numpy(),
        prediction=linear_prediction(keep, T).numpy(),
    )


def sentence(result: Memory) -> str:
    """State how far this forget bias lets the gradient reach."""
    T = len(result.growth) - 1
    return (
        f"forget bias = {result.bias:.1f} (horizon 1 + e^b = {result.horizon:.1f} steps): after "
        f"{T} steps the gradient to the cell state is {last_in_words(result.growth)}; the forget "
        f"gate alone predicts {in_words(result.prediction[-1])}."
    )


def table(result: Memory) -> pd.DataFrame:
    """Return the curves as numbers, a row a step back; NaN where the last gradient is 0."""
    steps = np.arange(len(result.growth))
    return pd.DataFrame(
        {"steps_back": steps, "growth": result.growth, "prediction": result.prediction}
    )


class MemoryPicture:
    """The gradient to the cell state by steps back, with the horizon marked."""

    artists: list[Artist]

    def __init__(self) -> None:
        with style():
            self.figure = Figure(figsize=(9.2, 3.1), dpi=100)
            self._ax = self.figure.subplots()
            decades_axis(self._ax, "gradient norm (1 at the last step)")
            self._ax.set(xlabel="steps back in time, k, in dL/dc of an LSTM")
            self._lines: list[Any] = [
                self._ax.plot([], [], "--", color=COLORS["prediction"], label="sigmoid(b)$^k$")[0],
                self._ax.plot(
                    [], [], color=COLORS["gradient"], linewidth=2.8, label="true gradient"
                )[0],
                self._ax.plot(
                    [], [], ":", color=COLORS["vanish"], linewidth=2, label="horizon 1 + e$^b$"
                )[0],
            ]
            self.figure.subplots_adjust(0.085, 0.17, 0.975, 0.88)
        self.artists = self._lines
        self._frame: tuple[Any, ...] = ()

    def update(self, result: Memory) -> bool:
        """Move the lines; redraw the axes only when a limit changes."""
        levels = log10(result.growth), log10(result.prediction)
        for line, y in zip(self._lines, reversed(levels), strict=False):
            line.set_data(np.arange(len(y)), y)
        highest = float(np.nanmax(levels[0], initial=0.0))
        low, high = snap_decades(highest, float(np.nanmin(np.concatenate(levels))))
        self._lines[2].set_data([result.horizon] * 2, [low, high])
        seen = result.horizon < len(result.growth)
        frame = (len(result.growth), low, high, seen)
        changed = frame != self._frame
        if changed:
            self._frame = frame
            self._ax.set(xlim=(0, frame[0] - 1), ylim=(low, high))
            legend(self._ax, *(self._lines if seen else self._lines[:2]))
        return changed


SPEC = Spec(
    name="forget_bias",
    controls=(
        Slider("forget_bias", "forget bias", 0.0, -3.0, 8.0, 0.1),
        Slider("hidden_size", "hidden_size", 32, 2, 128, 1),
        Slider("seq_len", "seq_len", 50, 10, 300, 10),
        Slider("seed", "seed", 0, 0, 99, 1),
    ),
    compute=compute,
    picture=MemoryPicture,
    sentence=sentence,
    table=table,
    posters=lambda _: [{"forget_bias": bias} for bias in (0.0, 2.0, 5.0)],
)


def forget_bias(*, show: Sequence[str] | None = None, **settings: Any) -> Lab:
    """Open the lab of the forget bias: how far back does the gradient of an LSTM reach?

    settings: forget_bias (-3 to 8), hidden_size, seq_len, seed. show: names of the controls to
    show, None for all. Raises `ValueError` for a bad setting. Used in chapter 04.
    """
    return Lab(SPEC, settings, show)

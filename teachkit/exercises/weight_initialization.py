"""The checks of chapter 02 on weights; those on biases are in `memory_biases`."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from ..gates import split_gates
from ..plots import COLORS, FLOAT_DECADES, decades_axis, log10
from ..spectra import eigenvalues, spectral_radius
from .answers import change, exercise, first, near, number, wrong
from .feedback import Feedback, draw

_STD = math.sqrt(2 / 256)
_STD_HINTS = {
    2 / 256: "0.0078 is 2 / 256, the variance. The standard deviation is its square root.",
    1 / 16: (
        "0.0625 is sqrt(1 / 256), without the 2 that makes up for the half that ReLU switches off. "
        "(Glorot's sqrt(2 / (256 + 256)) is the same number.)"
    ),
    math.sqrt(6 / 256): (
        "0.153 is sqrt(6 / 256), the bound of the uniform distribution with the right standard "
        "deviation, which is sqrt(3) times smaller."
    ),
    math.sqrt(2) / 256: "0.0055 is sqrt(2) / 256: take the root of the whole fraction.",
    math.sqrt(128): "11.3 is sqrt(256 / 2): the fraction is upside down.",
    2 / 16: "0.125 is 2 / sqrt(256): the 2 stands under the root, too.",
}
_DEPTH = 20


@exercise
def he_std(std: Any) -> Feedback:
    """Chapter 02: which standard deviation does He's rule give for 256 inputs and ReLU?"""
    value = number(std)
    if not 0 < value <= 100:
        raise wrong("A positive number up to 100 is expected.")
    he = _he_signal()
    # ReLU lets factors through: a standard deviation c times as large makes squares c^2 as large.
    yours = he * (value / _STD) ** (2 * np.arange(_DEPTH + 1))

    def paint(ax: Axes) -> None:
        decades_axis(ax, "mean square")
        ax.plot(log10(he), color=COLORS["critical"], label="He")
        exponents = np.clip(log10(yours), -FLOAT_DECADES, None)
        ax.plot(exponents, "--", color=COLORS["prediction"], label="yours")
        low, high = exponents.min(), exponents.max()
        ax.set(xlabel="ReLU layer", ylim=(min(1.05 * low, -3), max(1.05 * high, 3)))
        ax.legend()

    png = draw(paint)
    text = f"After {_DEPTH} ReLU layers the mean square is {yours[-1]:.2g} times what it was."
    if abs(value - _STD) < 5e-4:
        return Feedback("right", f"sqrt(2 / 256) = {_STD:.4f}. {text}", png)
    hint = near(value, _STD_HINTS) or "He's rule makes n_in * std^2 / 2 equal to 1."
    return Feedback("wrong", f"{hint} {text}", png)


@functools.cache
def _he_signal() -> np.ndarray:
    """Return the mean square after 0, 1, ..., 20 ReLU layers of 256 units, 1 at the start."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 64))
    squares = [np.mean(x**2)]
    for _ in range(_DEPTH):
        x = np.maximum(rng.normal(size=(256, 256)) * _STD @ x, 0)
        squares.append(np.mean(x**2))
    return np.array(squares) / squares[0]


@exercise
def orthogonal_gates(function: Any) -> Feedback:
    """Chapter 02: make the recurrent matrix of every gate of an nn.LSTM orthogonal."""
    found = change(function, "(lstm)", nn.LSTM(3, 16))
    found.only("weight_hh")
    gates = split_gates(found.after["weight_hh_l0"], "lstm")
    radii = [spectral_radius(W).item() for W in gates.values()]

    def paint(ax: Axes) -> None:
        turn = np.linspace(0, 2 * np.pi, 100)
        ax.plot(np.cos(turn), np.sin(turn), color=COLORS["critical"], label="radius 1")
        for W, marker in zip(gates.values(), "osD^", strict=True):
            dots = eigenvalues(W).numpy()
            label = "yours, gate by gate" if marker == "o" else None
            ax.plot(
                dots.real, dots.imag, marker, color=COLORS["prediction"],
                markersize=4, label=label,
            )  # fmt: skip
        ax.set(aspect="equal", xlabel="real part", ylabel="imaginary part")
        ax.legend(loc="upper left", bbox_to_anchor=(1.05, 1))

    png = draw(paint, (5.6, 3.2))
    factors = {gate: _factor(W) for gate, W in gates.items()}
    good = [gate for gate, factor in factors.items() if factor and abs(factor - 1) < 1e-4]
    pairs = itertools.combinations(gates.values(), 2)
    shared = any(torch.allclose(one, two, atol=1e-5) for one, two in pairs)
    together = _factor(found.after["weight_hh_l0"])
    shown = f"The radii of the four blocks are {', '.join(f'{radius:.2f}' for radius in radii)}."
    if len(good) == 4 and not shared:
        text = "In each gate W^T W is the identity, so all its eigenvalues lie on the circle."
        return Feedback("right", text, png)
    hint = first(
        (len(good) == 4, _SHARED),
        (good, f"Of the four gates only {' and '.join(good)} got an orthogonal matrix."),
        (all(factors.values()), f"{_SCALED} {shown}"),
        (together, f"{_FUSED} {shown}"),
        (True, f"W^T W is not the identity in the blocks of the gates. {shown}"),
    )
    return Feedback("wrong", hint or "", png)


def _factor(W: Tensor) -> float | None:
    """Return the c of W^T W = c I, or None where there is none."""
    product = W.T @ W
    c = product.diagonal().mean().item()
    identity = torch.eye(len(product), dtype=W.dtype)
    return c if c > 0 and torch.allclose(product, c * identity, atol=1e-4 * c) else None


_SHARED = (
    "All four are orthogonal, but gates share one matrix, so that they start as copies of each "
    "other. Draw one for each."
)
_FUSED = (
    "The stacked (4H, H) matrix has orthogonal columns as a whole, but each gate uses only its own "
    "block, and the blocks are not orthogonal."
)
_SCALED = "The columns are orthogonal, but they do not have length 1."

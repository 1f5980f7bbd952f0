"""Schemes for the square matrix of a layer, drawn as `initialize` draws a W_hh, and kept.

Chapter 02 compares them by what they do to a signal.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .device import generator
from .errors import check_choice, check_count, check_number
from .initializers import initialize
from .laws import TRUNCATED_STD
from .models import ElmanRNN
from .spectra import eigenvalues, sigma_max


@dataclass(frozen=True)
class SquareScheme:
    """A scheme for one H x H matrix: an entry of `initializers.SCHEMES` with its options.

    options, factor: functions of H; the factor is H times the variance of an entry, by which a
    layer multiplies the mean square of its input. mixes: whether a unit sums over many others, as
    the theory of `expected_signal` assumes.
    """

    initializer: str
    options: Callable[[int], dict[str, Any]]
    factor: Callable[[int], float]
    mixes: bool = True


def _connections(hidden_size: int) -> int:
    return min(15, hidden_size)


SQUARE_SCHEMES = {
    "uniform 1/sqrt(H)": SquareScheme("uniform", lambda H: {}, lambda H: 1 / 3),
    "xavier_uniform": SquareScheme("xavier_uniform", lambda H: {}, lambda H: 1.0),
    "xavier_normal": SquareScheme("xavier_normal", lambda H: {}, lambda H: 1.0),
    "kaiming_uniform": SquareScheme("kaiming_uniform", lambda H: {}, lambda H: 2.0),
    "kaiming_normal": SquareScheme("kaiming_normal", lambda H: {}, lambda H: 2.0),
    "lecun_normal": SquareScheme("lecun_normal", lambda H: {}, lambda H: 1.0),
    "truncated_normal": SquareScheme(
        "truncated_normal", lambda H: {"std": H**-0.5}, lambda H: TRUNCATED_STD**2
    ),
    "orthogonal": SquareScheme("orthogonal", lambda H: {}, lambda H: 1.0),
    "identity": SquareScheme("identity", lambda H: {}, lambda H: 1.0, mixes=False),
    "sparse": SquareScheme(
        "sparse",
        lambda H: {"connections": _connections(H), "std": _connections(H) ** -0.5},
        lambda H: 1.0,
    ),
    "std = 2/H": SquareScheme("normal", lambda H: {"std": 2 / H}, lambda H: 4 / H),
}


@functools.lru_cache(maxsize=4)
def _drawn(scheme: str, hidden_size: int, seed: int) -> tuple[ElmanRNN, dict[int, Tensor]]:
    """Keep the matrices of a scheme, by layer: a gain or another depth draws none anew."""
    with torch.random.fork_rng(devices=[]):
        return ElmanRNN(1, hidden_size, dtype=torch.float64), {}


def square_matrices(scheme: str, hidden_size: int, count: int, *, seed: int = 0) -> list[Tensor]:
    """Draw the matrices of `count` layers by a scheme, each the W_hh of a fresh `ElmanRNN`.

    scheme: one of `SQUARE_SCHEMES`. Returns count matrices (H, H) in float64. They are kept for the
    next call, so do not write into them. Raises `ValueError` for a bad argument. Taught in chapter
    02.

    >>> square_matrices("identity", 2, 1)[0]
    tensor([[1., 0.],
            [0., 1.]], dtype=torch.float64)
    """
    check_choice("scheme", scheme, SQUARE_SCHEMES)
    hidden_size = check_count("hidden_size", hidden_size)
    count, seed = check_count("count", count), check_count("seed", seed, low=0)
    rnn, drawn = _drawn(scheme, hidden_size, seed)
    entry = SQUARE_SCHEMES[scheme]
    for layer in range(count):
        if layer not in drawn:
            stream = generator(seed, f"W of layer {layer + 1}")
            initialize(rnn, entry.initializer, generator=stream, **entry.options(hidden_size))
            drawn[layer] = rnn.weight_hh_l0.detach().clone()
    return [drawn[layer] for layer in range(count)]


@functools.lru_cache(maxsize=64)
def unit_matrix_spectrum(scheme: str, hidden_size: int, seed: int) -> tuple[Tensor, float]:
    """Return eigenvalues (H,) and sigma_max of the first matrix; both scale with the gain."""
    (W,) = square_matrices(scheme, hidden_size, 1, seed=seed)
    return eigenvalues(W), sigma_max(W).item()


def variance_factor(scheme: str, hidden_size: int, gain: float = 1.0) -> float:
    """Return gain^2 * H * the variance of a weight of a scheme (`SQUARE_SCHEMES`).

    A linear layer multiplies the mean square by it: 1 keeps the signal, and 2 keeps it where relu
    turns half of the units off. Raises `ValueError` for another scheme. Taught in chapter 02.

    >>> variance_factor("kaiming_normal", 256), variance_factor("std = 2/H", 256)
    (2.0, 0.015625)
    """
    check_choice("scheme", scheme, SQUARE_SCHEMES)
    hidden_size = check_count("hidden_size", hidden_size)
    return check_number("gain", gain, low=0) ** 2 * SQUARE_SCHEMES[scheme].factor(hidden_size)

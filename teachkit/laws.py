"""The laws that initial weights are drawn from, with what theory says about a matrix of them.

The numbers of `frameworks.law`: chapter 01 draws them over the weights that a library really drew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import check_choice, check_count, check_number, check_positive

Density = Callable[[Any], np.ndarray]

# Haiku, JAX and TensorFlow cut a normal distribution at two standard deviations. What is left of
# the variance: 1 - 2 a phi(a) / (Phi(a) - Phi(-a)) at a = 2.
_CUT = 2.0
_KEPT = math.erf(_CUT / math.sqrt(2))
TRUNCATED_STD = math.sqrt(1 - 2 * _CUT * math.exp(-(_CUT**2) / 2) / math.sqrt(2 * math.pi) / _KEPT)


@dataclass(frozen=True)
class Law:
    """The distribution of one weight.

    text: in short. std: its exact standard deviation. support: the smallest and largest value.
    density: the probability density at numbers of any shape, 0 outside the support; None where a
    weight takes single values. radius: the spectral radius, in the limit of large matrices, of one
    square gate of a recurrent matrix; None where no such matrix was meant. value: of a constant.
    """

    text: str
    std: float
    support: tuple[float, float]
    density: Density | None
    radius: float | None = None
    value: float | None = None


def _circular(std: float, hidden_size: Any) -> float | None:
    """Return the radius of the disk that the eigenvalues of independent entries fill."""
    return None if hidden_size is None else std * check_count("hidden_size", hidden_size) ** 0.5


def uniform(bound: float, hidden_size: int | None = None) -> Law:
    """Return the uniform law from -bound to bound; its standard deviation is bound / sqrt(3).

    hidden_size: H, where the weights fill a square matrix (H, H): its radius is then std * sqrt(H),
    by the circular law (as quoted in Orvieto et al. 2023, arXiv:2303.06349, Theorem 1). Raises
    `ValueError` unless bound is above 0. Taught in chapter 01.

    >>> round(uniform(0.125, hidden_size=64).radius, 3)
    0.577
    """
    b = check_positive("bound", bound, "a number above 0")
    std = b / math.sqrt(3)

    def density(x: Any) -> np.ndarray:
        return np.where(np.abs(x) <= b, 1 / (2 * b), 0.0)

    return Law(f"uniform in ±{b:.3g}", std, (-b, b), density, _circular(std, hidden_size))


def _bell(x: np.ndarray, std: float) -> np.ndarray:
    return np.exp(-((x / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


def truncated_normal(std: float, corrected: bool = False, hidden_size: int | None = None) -> Law:
    """Return the normal law of mean 0, cut at two of its standard deviations.

    The cut leaves 0.8796 of the standard deviation. corrected: False cuts N(0, std^2), as Haiku's
    `Linear` does, so that the weights have 0.8796 of `std`; True widens it first, as
    `variance_scaling` does in JAX and Haiku, so that they have `std`. hidden_size: as for
    `uniform`. Raises `ValueError` unless std is above 0. Taught in chapter 01.

    >>> round(truncated_normal(1.0).std, 4), truncated_normal(1.0, corrected=True).std
    (0.8796, 1.0)
    """
    given = check_positive("std", std, "a number above 0")
    check_choice("corrected", corrected, (True, False))
    s = given / TRUNCATED_STD if corrected else given
    std = given if corrected else given * TRUNCATED_STD
    cut = _CUT * s

    def density(x: Any) -> np.ndarray:
        x = np.asarray(x, dtype=np.float64)
        return np.where(np.abs(x) <= cut, _bell(x, s) / _KEPT, 0.0)

    text = f"normal cut at ±{cut:.3g}, std {std:.3g}"
    return Law(text, std, (-cut, cut), density, _circular(std, hidden_size))


def orthogonal_entry(columns: int, hidden_size: int | None = None) -> Law:
    """Return the law of one entry of a random matrix with orthonormal rows.

    columns: n, the length of a row: H where each gate is drawn by itself, 4 H for the four gates of
    a Keras LSTM drawn as one matrix (H, 4 H). A row is a random point of the unit sphere, so the
    density is proportional to (1 - x^2)^((n - 3) / 2) and the standard deviation is 1 / sqrt(n).
    hidden_size: H of the square gate, by default n. The whole of an orthogonal matrix has its
    eigenvalues on the unit circle; a block of it has radius sqrt(H / n), 1/2 for the LSTM (square
    blocks of random orthogonal matrices: Zyczkowski and Sommers 2000, chao-dyn/9910032). The single
    entry of a 1 x 1 matrix is -1 or 1 and has no density. Raises `ValueError` for a gate with more
    rows than n. Taught in chapter 01.

    >>> law = orthogonal_entry(4 * 64, hidden_size=64)
    >>> law.std, law.radius
    (0.0625, 0.5)
    """
    n = check_count("columns", columns)
    H = n if hidden_size is None else check_count("hidden_size", hidden_size, high=n)
    log_scale = math.lgamma(n / 2) - math.lgamma((n - 1) / 2) if n > 1 else 0.0
    scale = math.exp(log_scale) / math.sqrt(math.pi)

    def density(x: Any) -> np.ndarray:
        square = np.square(np.asarray(x, dtype=np.float64))
        inside = square < 1
        return np.where(inside, scale * (1 - np.where(inside, square, 0.0)) ** ((n - 3) / 2), 0.0)

    return Law(
        text=f"entry of an orthogonal {H} x {n} matrix",
        std=1 / math.sqrt(n),
        support=(-1.0, 1.0),
        density=density if n > 1 else None,
        radius=math.sqrt(H / n),
    )


def constant(value: float) -> Law:
    """Return the law of a weight that is always `value`. Taught in chapter 01."""
    number = check_number("value", value)
    return Law(f"always {number:g}", 0.0, (number, number), None, value=number)


def sum_of_uniforms(bound: float) -> Law:
    """Return the law of the sum of two independent numbers that are uniform in ±bound.

    PyTorch adds two bias vectors, so this is its effective bias: a triangle over ±2 bound, with
    standard deviation bound * sqrt(2 / 3). Raises `ValueError` unless bound is above 0. Taught in
    chapter 01.

    >>> sum_of_uniforms(0.125).support
    (-0.25, 0.25)
    """
    b = check_positive("bound", bound, "a number above 0")

    def density(x: Any) -> np.ndarray:
        return np.maximum(2 * b - np.abs(x), 0.0) / (4 * b**2)

    text = f"sum of two uniform in ±{b:.3g}"
    return Law(text, b * math.sqrt(2 / 3), (-2 * b, 2 * b), density)

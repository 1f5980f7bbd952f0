"""Square matrices of layers, drawn as `initialize` draws a W_hh.

Chapter 02 compares its `SQUARE_SCHEMES` by what they do to a signal, and keeps their matrices.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor

from .device import generator
from .errors import bad, check_choice, check_count, check_number
from .initializers import SCHEMES, SchemeLike, initialize
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


# What every function here takes for a scheme: a name of these, or what `initialize` takes.
AnyScheme = SchemeLike | Sequence[SchemeLike]

# A name that `SCHEMES` has, too, draws what `initialize` draws by it.
SQUARE_SCHEMES = {
    "uniform 1/sqrt(H)": SquareScheme("uniform", lambda H: {}, lambda H: 1 / 3),
    "xavier_uniform": SquareScheme("xavier_uniform", lambda H: {}, lambda H: 1.0),
    "xavier_normal": SquareScheme("xavier_normal", lambda H: {}, lambda H: 1.0),
    "kaiming_uniform": SquareScheme("kaiming_uniform", lambda H: {}, lambda H: 2.0),
    "kaiming_normal": SquareScheme("kaiming_normal", lambda H: {}, lambda H: 2.0),
    "lecun_normal": SquareScheme("lecun_normal", lambda H: {}, lambda H: 1.0),
    "truncated_normal, std = 1/sqrt(H)": SquareScheme(
        "truncated_normal", lambda H: {"std": H**-0.5}, lambda H: TRUNCATED_STD**2
    ),
    "orthogonal": SquareScheme("orthogonal", lambda H: {}, lambda H: 1.0),
    "identity": SquareScheme("identity", lambda H: {}, lambda H: 1.0, mixes=False),
    # In a layer of fewer than 15 units all are connected, with std = 1/sqrt(H).
    "sparse, std = 1/sqrt(15)": SquareScheme(
        "sparse",
        lambda H: {"connections": _connections(H), "std": _connections(H) ** -0.5},
        lambda H: 1.0,
    ),
    "std = 2/H": SquareScheme("normal", lambda H: {"std": 2 / H}, lambda H: 4 / H),
}


def _is_named(scheme: AnyScheme) -> TypeGuard[str]:
    """Tell an entry of `SQUARE_SCHEMES` from what only `initialize` knows."""
    return isinstance(scheme, str) and scheme in SQUARE_SCHEMES


def _fresh_layer(hidden_size: int) -> ElmanRNN:
    with torch.random.fork_rng(devices=[]):
        return ElmanRNN(1, hidden_size, dtype=torch.float64)


@functools.lru_cache(maxsize=4)
def _drawn(scheme: str, hidden_size: int, seed: int) -> tuple[ElmanRNN, dict[int, Tensor]]:
    """Keep the matrices of a scheme, by layer: a gain or another depth draws none anew."""
    return _fresh_layer(hidden_size), {}


def _draw(rnn: ElmanRNN, scheme: AnyScheme, layer: int, seed: int, **options: Any) -> Tensor:
    stream = generator(seed, f"W of layer {layer + 1}")
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(torch.nan)  # a scheme of biases would leave an older matrix
    initialize(rnn, scheme, generator=stream, **options)
    W = rnn.weight_hh_l0.detach().clone()
    if not torch.isfinite(W).all():
        raise bad("scheme", scheme, "one that writes finite numbers to W_hh")
    return W


def square_matrices(
    scheme: AnyScheme, hidden_size: int, count: int, *, seed: int = 0
) -> list[Tensor]:
    """Draw the matrices of `count` layers by a scheme, each the W_hh of a fresh `ElmanRNN`.

    scheme: one of `SQUARE_SCHEMES`, or any that `initialize` takes and that writes W_hh: a name of
    `SCHEMES`, a function like them, a dict of "scheme" and its options, or a sequence of these.
    Returns count matrices (H, H) in float64. Raises `ValueError` for a bad argument. Taught in
    chapter 02.

    >>> square_matrices({"scheme": "identity", "scale": 0.5}, 2, 1)[0]
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]], dtype=torch.float64)
    """
    return [W.clone() for W in kept_matrices(scheme, hidden_size, count, seed)]


def kept_matrices(scheme: AnyScheme, hidden_size: int, count: int, seed: int) -> list[Tensor]:
    """Return the matrices of `square_matrices` themselves, to read and never to hand on.

    Copies of 100 wide ones would cost a move of a slider a fifth of its time.
    """
    if isinstance(scheme, str):
        check_choice("scheme", scheme, dict.fromkeys([*SQUARE_SCHEMES, *SCHEMES]))
    hidden_size = check_count("hidden_size", hidden_size)
    count, seed = check_count("count", count), check_count("seed", seed, low=0)
    if not _is_named(scheme):
        rnn = _fresh_layer(hidden_size)
        return [_draw(rnn, scheme, layer, seed) for layer in range(count)]
    rnn, drawn = _drawn(scheme, hidden_size, seed)
    entry = SQUARE_SCHEMES[scheme]
    for layer in range(count):
        if layer not in drawn:
            options = entry.options(hidden_size)
            drawn[layer] = _draw(rnn, entry.initializer, layer, seed, **options)
    return [drawn[layer] for layer in range(count)]


@functools.lru_cache(maxsize=64)
def _kept_spectrum(scheme: str, hidden_size: int, seed: int) -> tuple[Tensor, float]:
    (W,) = kept_matrices(scheme, hidden_size, 1, seed)
    return eigenvalues(W), sigma_max(W).item()


def first_spectrum(scheme: AnyScheme, first: Tensor, seed: int) -> tuple[Tensor, float]:
    """Return eigenvalues (H,) and sigma_max of the `first` matrix of a scheme and a seed.

    Both scale with a gain. Those of `SQUARE_SCHEMES` are computed once and kept.
    """
    if not _is_named(scheme):
        return eigenvalues(first), sigma_max(first).item()
    values, sigma = _kept_spectrum(scheme, len(first), seed)
    return values.clone(), sigma


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

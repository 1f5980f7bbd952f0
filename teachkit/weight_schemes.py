"""Schemes for the weights of recurrent layers; they write zero biases.

Each works gate by gate. Where a rule counts the rows of a matrix, or makes a matrix of a certain
kind, `fused=True` treats the stacked matrix of all gates, (4H, H) in an LSTM, as one, as
`torch.nn.init.xavier_uniform_(lstm.weight_hh_l0)` does. Chapter 02 compares them.

A projection (`weight_hr`, of an LSTM with `proj_size`) is one more matrix for the rules that know
only the shape of a matrix; those about W_hh leave it as it is. W_hh then has fan-in proj_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .errors import bad, check_choice, check_count, check_number
from .schemes import (
    Generator,
    draw_orthogonal,
    draw_truncated_normal,
    draw_uniform,
    fill,
    glorot_inputs_zero_biases,
    parameters,
    scheme,
    zero_biases,
)
from .spectra import with_spectral_radius

NONLINEARITIES = ("linear", "sigmoid", "tanh", "relu", "selu")


def _every_matrix(module: nn.Module, draw: Callable[[Tensor], object], fused: bool = False) -> None:
    for W in parameters(module, "weight_", fused=fused):
        fill(W, draw)
    zero_biases(module)


@scheme("uniform", "weights")
def uniform(module: nn.Module, generator: Generator, bound: float | None = None) -> None:
    """Draw every weight from U(-bound, bound); None is 1 / sqrt(hidden_size).

    With None these are the weights of the preset "torch", without its random biases. Source of the
    bound: Glorot and Bengio 2010, who call it the commonly used heuristic (equation 1).
    """
    if bound is None:
        hidden_size: int = module.hidden_size  # type: ignore[assignment]
        bound = 1 / math.sqrt(hidden_size)
    bound = check_number("bound", bound, low=0)
    for W in parameters(module, "weight_"):
        draw_uniform(W, bound, generator)
    zero_biases(module)


@scheme("normal", "weights")
def normal(module: nn.Module, generator: Generator, std: float) -> None:
    """Draw every weight from N(0, std^2).

    std is a standard deviation. He et al. 2015 give the variance 2 / fan_in, so theirs is
    `std=math.sqrt(2 / fan_in)`; `std=2 / fan_in` is a trap.
    """
    std = check_number("std", std, low=0)
    _every_matrix(module, lambda W: nn.init.normal_(W, 0.0, std, generator=generator))


@scheme("truncated_normal", "weights")
def truncated_normal(
    module: nn.Module, generator: Generator, std: float, corrected: bool = False
) -> None:
    """Draw every weight from N(0, s^2) with s = `std`, and again where it is beyond 2 s.

    The cut costs 12 %: the standard deviation of the weights is 0.8796 `std`, as in Haiku's
    TruncatedNormal. corrected: s = std / 0.8796, so that it is `std` itself, as in the variance
    scaling of Keras, JAX and Haiku. Sources: the code of haiku.initializers (0.0.17) and of
    keras.initializers (3.15.1).
    """
    std = check_number("std", std, low=0)
    check_choice("corrected", corrected, (True, False))
    for W in parameters(module, "weight_"):
        draw_truncated_normal(W, std, generator, corrected=corrected)
    zero_biases(module)


@scheme("xavier_uniform", "weights")
def xavier_uniform(
    module: nn.Module, generator: Generator, gain: float = 1.0, fused: bool = False
) -> None:
    """Draw weights from U(-b, b) with b = gain sqrt(6 / (fan_in + fan_out)), gate by gate.

    fused: fan_out is 4H in an LSTM and 3H in a GRU, not H, which makes W_hh smaller by
    sqrt(2 / 5) or sqrt(1 / 2). Source: Glorot and Bengio 2010, their normalized initialization.
    """
    gain = check_number("gain", gain, low=0)
    _every_matrix(module, lambda W: nn.init.xavier_uniform_(W, gain, generator=generator), fused)


@scheme("xavier_normal", "weights")
def xavier_normal(
    module: nn.Module, generator: Generator, gain: float = 1.0, fused: bool = False
) -> None:
    """Draw weights from N(0, s^2) with s = gain sqrt(2 / (fan_in + fan_out)), gate by gate.

    fused: as of "xavier_uniform". Source: Glorot and Bengio 2010 (this variance), and the
    documentation of torch.nn.init.xavier_normal_.
    """
    gain = check_number("gain", gain, low=0)
    _every_matrix(module, lambda W: nn.init.xavier_normal_(W, gain, generator=generator), fused)


@scheme("kaiming_uniform", "weights")
def kaiming_uniform(
    module: nn.Module, generator: Generator, nonlinearity: str = "relu", fused: bool = False
) -> None:
    """Draw weights from U(-b, b) with b = gain sqrt(3 / fan_in); gain is sqrt(2) for "relu".

    nonlinearity: "linear", "sigmoid", "tanh", "relu" or "selu", which sets the gain as
    torch.nn.init.calculate_gain does. fused: changes the numbers but not their law, for gates that
    are stacked share their fan-in. Source: He et al. 2015 (arXiv:1502.01852).
    """
    check_choice("nonlinearity", nonlinearity, NONLINEARITIES)

    def draw(W: Tensor) -> None:
        nn.init.kaiming_uniform_(W, nonlinearity=nonlinearity, generator=generator)  # type: ignore[arg-type]

    _every_matrix(module, draw, fused)


@scheme("kaiming_normal", "weights")
def kaiming_normal(
    module: nn.Module, generator: Generator, nonlinearity: str = "relu", fused: bool = False
) -> None:
    """Draw weights from N(0, s^2) with s = gain / sqrt(fan_in); gain is sqrt(2) for "relu".

    nonlinearity, fused: as of "kaiming_uniform". Source: He et al. 2015 (arXiv:1502.01852).
    """
    check_choice("nonlinearity", nonlinearity, NONLINEARITIES)

    def draw(W: Tensor) -> None:
        nn.init.kaiming_normal_(W, nonlinearity=nonlinearity, generator=generator)  # type: ignore[arg-type]

    _every_matrix(module, draw, fused)


@scheme("lecun_uniform", "weights")
def lecun_uniform(
    module: nn.Module, generator: Generator, gain: float = 1.0, fused: bool = False
) -> None:
    """Draw weights from U(-b, b) with b = gain sqrt(3 / fan_in).

    fused: as of "kaiming_uniform". Source: LeCun, Bottou, Orr and Müller 1998, "Efficient BackProp"
    (standard deviation 1 / sqrt(fan_in)).
    """
    b = math.sqrt(3) * check_number("gain", gain, low=0)

    def draw(W: Tensor) -> None:
        nn.init.uniform_(W, -b / math.sqrt(W.shape[1]), b / math.sqrt(W.shape[1]), generator)

    _every_matrix(module, draw, fused)


@scheme("lecun_normal", "weights")
def lecun_normal(
    module: nn.Module, generator: Generator, gain: float = 1.0, fused: bool = False
) -> None:
    """Draw weights from N(0, s^2) with s = gain / sqrt(fan_in).

    fused: as of "kaiming_uniform". What Keras and JAX call lecun_normal has the same standard
    deviation but is cut at two of them. Source: as of "lecun_uniform".
    """
    gain = check_number("gain", gain, low=0)

    def draw(W: Tensor) -> None:
        nn.init.normal_(W, 0.0, gain / math.sqrt(W.shape[1]), generator)

    _every_matrix(module, draw, fused)


# --- schemes about W_hh, with Glorot uniform W_ih -------------------------------------------------


@scheme("orthogonal", "weights")
def orthogonal(
    module: nn.Module,
    generator: Generator,
    gain: float = 1.0,
    fused: bool = False,
    haar: bool = True,
) -> None:
    """Make W_hh orthogonal gate by gate, uniformly from all orthogonal matrices, times `gain`.

    fused: the stacked matrix (4H, H) has orthonormal columns and no gate is orthogonal, which is
    what `torch.nn.init.orthogonal_(lstm.weight_hh_l0)` does, and Keras by default. haar: False is
    the plain QR of a Gaussian, orthogonal but not uniform: its first entry is never positive (for
    H > 1).

    W_ih is Glorot uniform gate by gate (or fused), biases are zero; a projection stays as it is.
    Sources: Saxe, McClelland and Ganguli 2014 (arXiv:1312.6120); Glorot and Bengio 2010; Mezzadri,
    math-ph/0609050, for the uniform law.
    """
    gain = check_number("gain", gain, low=0)
    check_choice("haar", haar, (True, False))
    for W in parameters(module, "weight_hh", fused=fused):
        draw_orthogonal(W, gain, generator, haar=haar)
    glorot_inputs_zero_biases(module, generator, fused=fused)


def _square_only(module: nn.Module, what: str) -> None:
    if proj_size := getattr(module, "proj_size", 0):
        raise bad("proj_size", proj_size, f"0 for this scheme, as only a square W_hh {what}")


def _with_spectral_radius(W: Tensor, rho: float) -> Tensor:
    with torch.device("cpu"):  # whatever device a reader made the default
        return with_spectral_radius(W, rho)


@scheme("gaussian", "weights")
def gaussian(module: nn.Module, generator: Generator, rho: float = 1.0) -> None:
    """Draw W_hh from a Gaussian gate by gate and rescale it to the spectral radius `rho`.

    W_ih is Glorot uniform gate by gate, biases are zero. Raises `ValueError` for a layer with a
    projection, whose W_hh has no eigenvalues. Chapter 04 turns `rho` with a slider.
    """
    rho = check_number("rho", rho, low=0)
    _square_only(module, "has eigenvalues")
    for W in parameters(module, "weight_hh"):
        drawn = torch.randn(W.shape, generator=generator, dtype=torch.float64, device="cpu")
        W.copy_(_with_spectral_radius(drawn, rho))
    glorot_inputs_zero_biases(module, generator)


@scheme("identity", "weights")
def identity(
    module: nn.Module, generator: Generator, scale: float = 1.0, fused: bool = False
) -> None:
    """Make W_hh `scale` times the identity in every gate.

    fused: of the stacked matrix, so that the first gate gets it and the others get 0, as
    `torch.nn.init.eye_(lstm.weight_hh_l0)` does. Meant for an nn.RNN with ReLU: Le, Jaitly and
    Hinton 2015 (arXiv:1504.00941), "the identity matrix or its scaled version". W_ih is no part of
    that rule; here it is Glorot uniform gate by gate, as in our other schemes about W_hh. Biases
    are zero. Raises `ValueError` for a layer with a projection.
    """
    scale = check_number("scale", scale)
    _square_only(module, "can be the identity")
    for W in parameters(module, "weight_hh", fused=fused):
        W.copy_(scale * torch.eye(*W.shape, dtype=torch.float64, device="cpu"))
    glorot_inputs_zero_biases(module, generator)


@scheme("sparse", "weights")
def sparse(
    module: nn.Module,
    generator: Generator,
    connections: int = 15,
    std: float = 0.01,
    rho: float | None = None,
) -> None:
    """Leave each unit `connections` recurrent inputs, drawn from N(0, std^2); the others are 0.

    connections: of all, where W_hh has fewer columns. rho: rescale W_hh to this spectral radius,
    gate by gate; None leaves it, and with the `std` of the sources it is then close to zero. W_ih
    is Glorot uniform gate by gate, biases are zero, a projection stays as it is. Raises
    `ValueError` for a `rho` where there is a projection.

    Sources: Martens 2010, as cited by the documentation of torch.nn.init.sparse_; Pascanu, Mikolov
    and Bengio 2013 (arXiv:1211.5063) for 15 connections, std 0.01 and rho 0.95. In PyTorch 2.13
    `torch.nn.init.sparse_` limits each column instead, which in W_hh are the outputs of a unit, and
    draws the places of its zeros from the global random numbers, whatever the generator.
    """
    connections = check_count("connections", connections)
    std = check_number("std", std, low=0)
    if rho is not None:
        rho = check_number("rho", rho, low=0)
        _square_only(module, "has eigenvalues")
    for W in parameters(module, "weight_hh"):
        drawn = std * torch.randn(W.shape, generator=generator, dtype=torch.float64, device="cpu")
        places = torch.rand(W.shape, generator=generator, dtype=torch.float64, device="cpu")
        order = places.argsort(1)
        drawn.scatter_(1, order[:, connections:], 0.0)
        W.copy_(drawn if rho is None else _with_spectral_radius(drawn, rho))
    glorot_inputs_zero_biases(module, generator)

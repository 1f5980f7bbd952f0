"""Named schemes for the weights and biases of recurrent layers, all behind one function.

A scheme writes the weights of one layer or cell. What it makes serves one network, or R of them:
`Replicas` stacks networks that were initialised one by one.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .errors import bad, check_choice, check_number
from .gates import gates
from .spectra import with_spectral_radius

_Module = TypeVar("_Module", bound=nn.Module)
Scheme = Callable[..., None]
Generator = torch.Generator | None

SCHEMES: dict[str, Scheme] = {}


def scheme(name: str) -> Callable[[Scheme], Scheme]:
    """Enter a function as the scheme `name`.

    It is called with a layer or cell, a generator of random numbers and its own options, and writes
    to the weights and biases, gate by gate where that matters (`gates.gates`).
    """

    def enter(function: Scheme) -> Scheme:
        SCHEMES[name] = function
        return function

    return enter


@torch.no_grad()
def initialize(
    module: _Module,
    scheme: str | Scheme = "torch",
    *,
    generator: Generator = None,
    **options: Any,
) -> _Module:
    """Initialise a recurrent layer or cell by a scheme, in place; return it.

    scheme: one of `SCHEMES`, or a function like them. generator: on the CPU; None is PyTorch's own
    random numbers. Learned initial states stay as they are. Raises `ValueError` for another scheme,
    an option that it does not have, or a module that is not recurrent. Taught in chapter 02.

    >>> lstm = initialize(nn.LSTM(2, 4), "orthogonal", gain=0.9)
    >>> W = gates(lstm)["weight_hh_l0"]["forget"]
    >>> torch.allclose(W @ W.T, 0.81 * torch.eye(4), atol=1e-6)
    True
    """
    if not callable(scheme):
        check_choice("scheme", scheme, SCHEMES)
    function = scheme if callable(scheme) else SCHEMES[scheme]
    known = inspect.signature(function).parameters
    if odd := [name for name in options if name not in known]:
        allowed = ", ".join(list(known)[2:]) or "none"
        raise bad("options", odd[0], f"those of the scheme {scheme!r} ({allowed})")
    gates(module)  # refuses what is not recurrent
    function(module, generator, **options)
    return module


def _weights(module: nn.Module, kind: str) -> list[Tensor]:
    """Return the views of all gates of the parameters whose name begins with `kind`."""
    named = gates(module).items()
    return [view for name, views in named if name.startswith(kind) for view in views.values()]


def _uniform(tensor: Tensor, bound: float, generator: Generator) -> None:
    drawn = torch.rand(tensor.shape, generator=generator)
    tensor.copy_((2 * drawn - 1) * bound)


def _glorot_inputs_zero_biases(module: nn.Module, generator: Generator) -> None:
    for W in _weights(module, "weight_ih"):
        _uniform(W, math.sqrt(6 / sum(W.shape)), generator)
    for bias in _weights(module, "bias"):
        bias.zero_()


@scheme("torch")
def torch_default(module: nn.Module, generator: Generator) -> None:
    """Draw every weight and every bias from U(-1/sqrt(H), 1/sqrt(H)), as PyTorch does.

    Source: the documentation of torch.nn.LSTM.
    """
    hidden_size: Any = module.hidden_size
    bound = 1 / math.sqrt(hidden_size)
    for name, parameter in module.named_parameters():
        if name.startswith(("weight_", "bias_")):
            _uniform(parameter, bound, generator)


@scheme("orthogonal")
def orthogonal(module: nn.Module, generator: Generator, gain: float = 1.0) -> None:
    """Make W_hh orthogonal gate by gate, uniformly from all orthogonal matrices, times `gain`.

    W_ih is Glorot uniform gate by gate, biases are zero; a projection stays as it is. Sources:
    Saxe, McClelland and Ganguli 2014 (arXiv:1312.6120); Glorot and Bengio 2010.
    """
    gain = check_number("gain", gain, low=0)
    for W in _weights(module, "weight_hh"):
        # on the CPU, where the generator is, and orthogonal to the precision of any module
        drawn = torch.empty(W.shape, dtype=torch.float64)
        W.copy_(nn.init.orthogonal_(drawn, gain, generator=generator))
    _glorot_inputs_zero_biases(module, generator)


@scheme("gaussian")
def gaussian(module: nn.Module, generator: Generator, rho: float = 1.0) -> None:
    """Draw W_hh from a Gaussian gate by gate and rescale it to the spectral radius `rho`.

    W_ih is Glorot uniform gate by gate, biases are zero. Raises `ValueError` for a layer with a
    projection, whose W_hh has no eigenvalues. Chapter 04 turns `rho` with a slider.
    """
    rho = check_number("rho", rho, low=0)
    for W in _weights(module, "weight_hh"):
        if W.shape[0] != W.shape[1]:
            raise bad("module", W, "without a projection: only a square W_hh has eigenvalues")
        drawn = torch.randn(W.shape, generator=generator, dtype=torch.float64)
        W.copy_(with_spectral_radius(drawn, rho))
    _glorot_inputs_zero_biases(module, generator)

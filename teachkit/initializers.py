"""One function for every way to start a recurrent layer.

The schemes stand in `weight_schemes`, `bias_schemes` and `presets`. What they make serves one
network, or R of them: `Replicas` stacks networks that were initialised one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from . import bias_schemes, presets, weight_schemes  # noqa: F401 (they enter their schemes)
from .errors import bad, check_choice
from .gates import weights_of
from .schemes import KINDS, SCHEMES, Generator, Scheme, is_sequence, registered, scheme, steps

__all__ = ["SCHEMES", "SchemeLike", "initialize", "scheme", "scheme_names"]

_Module = TypeVar("_Module", bound=nn.Module)
SchemeLike = str | Scheme | Mapping[str, Any]


def scheme_names(kind: str | None = None) -> list[str]:
    """Return the names of all schemes, or of one kind: "preset", "weights" or "bias".

    Raises `ValueError` for another kind.
    """
    check_choice("kind", kind, (*KINDS, None))
    return registered(kind)


@torch.no_grad()
def initialize(
    module: _Module,
    scheme: SchemeLike | Sequence[SchemeLike] = "torch",
    *,
    generator: Generator = None,
    **options: Any,
) -> _Module:
    """Initialise a recurrent layer or cell by a scheme, in place; return it.

    scheme: one of `SCHEMES`; a function like them; a dict of "scheme" and its options; or a
    sequence of these, applied in turn, such as weights and then a bias. options: of the scheme,
    where it is one name or function. generator: on the CPU; None is PyTorch's own random numbers.

    Learned initial states stay as they are. Raises `ValueError` for another scheme, an option that
    it does not have, steps that would write over each other, a module that is not recurrent or
    whose weights are computed from others (weight_norm), and a generator that is none. Where it
    raises, the module is as it was. Taught in chapter 02.

    >>> from .gates import gates
    >>> lstm = initialize(nn.LSTM(2, 4), "orthogonal", gain=0.9)
    >>> W = gates(lstm)["weight_hh_l0"]["forget"]
    >>> torch.allclose(W @ W.T, 0.81 * torch.eye(4), atol=1e-6)
    True
    >>> _ = initialize(lstm, ["xavier_uniform", {"scheme": "forget_bias", "bias": 2}])
    >>> gates(lstm)["bias_ih_l0"]["forget"]
    tensor([2., 2., 2., 2.])
    """
    chosen = steps("scheme", scheme)
    if options:
        if is_sequence(scheme) or isinstance(scheme, Mapping):
            odd = next(iter(options))
            raise bad("options", odd, "in the dicts of the steps for a scheme that is not a name")
        chosen[0].options.update(options)
    for step in chosen:
        step.check_options()
    if generator is not None and (
        not isinstance(generator, torch.Generator) or generator.device.type != "cpu"
    ):
        raise bad("generator", generator, "a torch.Generator on the CPU, or None")
    weights_of(module)  # refuses what is not recurrent, and weights that are computed from others
    before = [(parameter, parameter.clone()) for parameter in module.parameters()]
    try:
        for step in chosen:
            step.function(module, generator, **step.options)
    except BaseException:
        for parameter, values in before:
            parameter.copy_(values)
        raise
    return module

"""Optimisers of `torch.optim` by name, in the form that is fastest for stacked parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from .errors import check_choice

Optimizer = Callable[..., torch.optim.Optimizer]  # (parameters, lr=...)

OPTIMIZERS: dict[str, Optimizer] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


def optimizer_for(given: Any, device: torch.device) -> Optimizer:
    """Return a function of (parameters, lr=...) from a name, or a function as it is.

    Raises `ValueError` for another name.
    """
    if callable(given):
        return given
    check_choice("optimizer", given, OPTIMIZERS)
    if device.type in ("cpu", "cuda"):  # one kernel a step, several times faster
        return _fused(given)
    return OPTIMIZERS[given]


@functools.cache  # equal settings give the same function: neighbours then share an optimiser
def _fused(name: str) -> Optimizer:
    return functools.partial(OPTIMIZERS[name], fused=True)

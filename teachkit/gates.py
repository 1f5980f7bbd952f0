"""The weights of gated networks, gate by gate, under one set of names."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .errors import bad, check_choice, check_number

# Row order of the stacked weights. PyTorch: torch.nn.LSTM and torch.nn.GRU documentation.
_Module = TypeVar("_Module", bound=nn.Module)
_ORDER: dict[str, tuple[str, ...]] = {
    "lstm": ("input", "forget", "cell", "output"),
    "gru": ("reset", "update", "new"),
    "rnn": ("hidden",),
}


def _kind(module: nn.Module) -> str:
    kinds = {"lstm": (nn.LSTM, nn.LSTMCell), "gru": (nn.GRU, nn.GRUCell)}
    for kind, types in kinds.items():
        if isinstance(module, types):
            return kind
    if isinstance(module, (nn.RNN, nn.RNNCell)):
        return "rnn"
    raise bad("module", type(module), "an nn.RNN, nn.LSTM or nn.GRU, or one of their cells")


def split_gates(array: Any, cell: str) -> dict[str, Any]:
    """Split one stacked weight or bias in PyTorch's layout into views, one a gate.

    array: torch tensor or NumPy array whose first dimension stacks the gates, (gates * H, ...).
    cell: "lstm" (input, forget, cell, output), "gru" (reset, update, new) or "rnn" (hidden).
    Returns views that share memory with `array`, each (H, ...). Raises `ValueError` where the
    first dimension does not divide. Taught in chapter 04.

    >>> bias = np.zeros(8)
    >>> split_gates(bias, "lstm")["forget"][:] = 1.0
    >>> bias
    array([0., 0., 1., 1., 0., 0., 0., 0.])
    """
    check_choice("cell", cell, _ORDER)
    if not isinstance(array, (np.ndarray, Tensor)):
        raise bad("array", array, "a torch tensor or a NumPy array")
    names = _ORDER[cell]
    if array.ndim == 0 or array.shape[0] % len(names):
        raise bad("array", array, f"stacked from {len(names)} gates in its first dimension")
    H = array.shape[0] // len(names)
    return {name: array[i * H : (i + 1) * H] for i, name in enumerate(names)}


def gates(module: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Return the weights and biases of a recurrent layer or cell, gate by gate.

    Names: LSTM input, forget, cell, output; GRU reset, update, new; RNN hidden. The result maps
    each parameter name ("weight_hh_l0", "bias_ih_l0", ...) to views that share memory with the
    parameter, so writing to a view sets the weight. A projection (`weight_hr`) has no gates and is
    left out. Raises `ValueError` for a module that is not recurrent. Source: the documentation of
    torch.nn.LSTM and torch.nn.GRU. Taught in chapter 04.

    >>> lstm = nn.LSTM(2, 3)
    >>> _ = gates(lstm)["bias_ih_l0"]["forget"].fill_(1.0)
    >>> lstm.bias_ih_l0[3:6].tolist()
    [1.0, 1.0, 1.0]
    """
    kind = _kind(module)
    return {
        name: split_gates(parameter.detach(), kind)
        for name, parameter in module.named_parameters()
        if "weight_hr" not in name and name.startswith(("weight_", "bias_"))
    }


def set_forget_bias(lstm: _Module, bias: float) -> _Module:
    """Set the forget bias of every layer and direction of an LSTM, in place; return the module.

    PyTorch adds two bias vectors, so this writes `bias` to `bias_ih` and 0 to `bias_hh`: writing
    it to both would double it. Raises `ValueError` for another module or one without biases.
    Source: Jozefowicz, Zaremba and Sutskever, ICML 2015, recommend 1 or 2. Taught in chapter 04.
    """
    if _kind(lstm) != "lstm":
        raise bad("lstm", type(lstm), "an nn.LSTM or nn.LSTMCell")
    if not lstm.bias:
        raise ValueError("lstm must have biases, but it was made with bias=False.")
    bias = check_number("bias", bias)
    with torch.no_grad():
        for name, views in gates(lstm).items():
            if name.startswith("bias_"):
                views["forget"].fill_(bias if name.startswith("bias_ih") else 0.0)
    return lstm

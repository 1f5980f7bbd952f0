"""The weights of recurrent layers, from PyTorch to Keras and back.

Both run the same equations, so a layer of one reproduces the outputs of the other once the weights
are turned (rows against columns), the gates stand in the right order and the biases are accounted
for: PyTorch adds two vectors, Keras one, and two in a GRU with reset_after=True.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .errors import bad, check_tensor
from .gates import gates, kind_of, split_gates

_Module = TypeVar("_Module", bound=nn.Module)
_ARRAYS = ("kernel", "recurrent_kernel", "bias")


def _parts(module: nn.Module) -> list[list[dict[str, dict[str, Tensor]]]]:
    """Return the gates of weight_ih, weight_hh, bias_ih and bias_hh by layer and direction."""
    table = gates(module)
    if getattr(module, "proj_size", 0):
        raise ValueError(
            f"module must have no projection, which Keras does not have, but proj_size is "
            f"{module.proj_size}."
        )
    suffixes = [name.removeprefix("weight_ih") for name in table if name.startswith("weight_ih")]
    directions = 1 + any(suffix.endswith("_reverse") for suffix in suffixes)
    parts = [
        {
            name: table[name + suffix]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            if name + suffix in table
        }
        for suffix in suffixes
    ]
    return [parts[i : i + directions] for i in range(0, len(parts), directions)]


def _shapes(part: dict[str, dict[str, Tensor]], kind: str) -> list[tuple[int, ...]]:
    """Return the shapes of Keras's arrays for one direction of one layer."""
    count = len(part["weight_ih"])
    H, I = next(iter(part["weight_ih"].values())).shape  # noqa: E741
    bias: tuple[int, ...] = (2, count * H) if kind == "gru" else (count * H,)
    return [(I, count * H), (H, count * H), bias][: 3 if "bias_ih" in part else 2]


def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    """Write every gate of one layout into the same gate of another, turned."""
    for name, view in target.items():
        view.copy_(source[name].mT if view.ndim == 2 else source[name])


@torch.no_grad()
def to_keras(module: nn.Module) -> list[list[np.ndarray]]:
    """Return the weights of a PyTorch recurrent layer or cell as Keras layers take them.

    module: nn.RNN, nn.LSTM, nn.GRU or one of their cells. Returns one list a layer of the stack,
    for `set_weights` of a built Keras SimpleRNN, LSTM or GRU with reset_after=True (Keras's
    default): [kernel (I, gates * H), recurrent_kernel (H, gates * H), bias], the bias (gates * H,),
    of a GRU (2, 3 * H), left out with bias=False (use_bias=False in Keras). A bidirectional layer
    gives the forward arrays and then the backward ones, as `keras.layers.Bidirectional` takes them
    (with merge_mode="concat"). Copies, in the precision of the module; bfloat16,
    which NumPy does not have, as float32.

    Not in the weights, so yours to match: the activation of nn.RNN (`nonlinearity`), dropout, the
    initial state. States keep their order, (h, c). Raises `ValueError` for a module that is not
    recurrent or has a projection. Sources: the documentation of torch.nn.GRU and Keras 3,
    keras/src/layers/rnn/{lstm,gru,simple_rnn}.py. Taught in chapter 01.

    >>> [[array.shape for array in layer] for layer in to_keras(nn.GRU(2, 3, num_layers=2))]
    [[(2, 9), (3, 9), (2, 9)], [(3, 9), (3, 9), (2, 9)]]
    """
    kind, layers = kind_of(module), []
    for directions in _parts(module):
        arrays = []
        for part in directions:
            like = next(iter(part["weight_ih"].values()))
            # NumPy has no bfloat16
            dtype = torch.float32 if like.dtype is torch.bfloat16 else like.dtype
            made = [torch.empty(shape, dtype=dtype) for shape in _shapes(part, kind)]
            _copy(part["weight_ih"], split_gates(made[0], kind, "keras"))
            _copy(part["weight_hh"], split_gates(made[1], kind, "keras"))
            if kind == "gru" and "bias_ih" in part:
                _copy(part["bias_ih"], split_gates(made[2][0], kind, "keras"))
                _copy(part["bias_hh"], split_gates(made[2][1], kind, "keras"))
            elif "bias_ih" in part:
                second = part["bias_hh"]
                both = {g: b.to(dtype) + second[g].to(dtype) for g, b in part["bias_ih"].items()}
                _copy(both, split_gates(made[2], kind, "keras"))
            arrays += [array.numpy() for array in made]
        layers.append(arrays)
    return layers


def _check_weights(
    weights: Any, layers: list[list[dict[str, dict[str, Tensor]]]], kind: str
) -> list[list[Tensor]]:
    """Return Keras's arrays of every layer as tensors; raise `ValueError` unless all fit."""
    one = "as get_weights() of a Keras layer returns"
    if not isinstance(weights, Sequence) or not all(isinstance(w, Sequence) for w in weights):
        raise bad("weights", weights, f"a list with one list of arrays a layer, {one}")
    if len(weights) != len(layers):
        raise ValueError(
            f"weights must have one entry for each of the {len(layers)} layers of module, {one}, "
            f"but {len(weights)} were given."
        )
    checked = []
    for number, (arrays, directions) in enumerate(zip(weights, layers, strict=True)):
        shapes = [shape for part in directions for shape in _shapes(part, kind)]
        names = _ARRAYS[: len(shapes) // len(directions)]
        if len(arrays) != len(shapes):
            both = "for forward and backward " if len(directions) == 2 else ""
            raise ValueError(
                f"weights[{number}] must hold {len(shapes)} arrays ({', '.join(names)}) {both}for "
                f"this module, but {len(arrays)} were given."
            )
        labels = [f"weights[{number}][{i}]" for i in range(len(arrays))]
        checked.append(
            [
                _check_array(*given, kind)
                for given in zip(labels, arrays, shapes, names * len(directions), strict=True)
            ]
        )
    return checked


def _check_array(label: str, array: Any, shape: tuple[int, ...], name: str, kind: str) -> Tensor:
    """Return one array of Keras's as a tensor of the shape that fits."""
    allowed = f"the {name}, an array of numbers of shape {shape}"
    # a copy, because PyTorch takes neither negative strides nor arrays that are read-only
    array = np.array(array) if isinstance(array, np.ndarray) else array
    dtype = None if isinstance(array, (np.ndarray, Tensor)) else torch.float64
    tensor = check_tensor(label, array, allowed, dtype).detach()
    if kind == "gru" and name == "bias" and tensor.shape == shape[1:]:
        raise ValueError(
            f"{label} must be a bias of shape {shape}, but one of shape {shape[1:]} was given: this"
            " Keras GRU has reset_after=False and resets h before the matrix product, PyTorch"
            " after it, so no weights make them agree."
        )
    if tensor.shape != shape or tensor.is_complex():
        raise bad(label, tensor, allowed)
    return tensor


@torch.no_grad()
def from_keras(module: _Module, weights: Sequence[Sequence[Any]]) -> _Module:
    """Write the weights of Keras layers into a PyTorch recurrent layer or cell; return it.

    module: nn.RNN, nn.LSTM, nn.GRU or one of their cells. weights: one entry a layer of the stack,
    each what `get_weights()` of the Keras layer returns, such as `[layer.get_weights()]`; see
    `to_keras`. Outputs then agree. Keras's one bias of an LSTM or SimpleRNN goes to bias_ih, and
    bias_hh becomes 0; the two of a GRU keep their places. Numbers are rounded to the precision of
    the module.

    Raises `ValueError`, before anything is written, for a projection, another number of layers or
    arrays, other shapes, and the bias (3 * H,) of a GRU with reset_after=False, which PyTorch
    cannot compute. (Without a bias, the weights do not tell: reset_after must be True.) Sources: as
    `to_keras`. Taught in chapter 01.

    >>> kernel, recurrent_kernel, bias = np.eye(2), np.zeros((2, 2)), np.ones(2)
    >>> rnn = from_keras(nn.RNN(2, 2), [[kernel, recurrent_kernel, bias]])
    >>> rnn.weight_ih_l0.tolist(), (rnn.bias_ih_l0 + rnn.bias_hh_l0).tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0])
    """
    kind, layers = kind_of(module), _parts(module)
    for arrays, directions in zip(_check_weights(weights, layers, kind), layers, strict=True):
        each = len(arrays) // len(directions)
        for i, part in enumerate(directions):
            kernel, recurrent_kernel, *bias = arrays[i * each : (i + 1) * each]
            _copy(split_gates(kernel, kind, "keras"), part["weight_ih"])
            _copy(split_gates(recurrent_kernel, kind, "keras"), part["weight_hh"])
            if kind == "gru" and bias:
                _copy(split_gates(bias[0][0], kind, "keras"), part["bias_ih"])
                _copy(split_gates(bias[0][1], kind, "keras"), part["bias_hh"])
            elif bias:
                _copy(split_gates(bias[0], kind, "keras"), part["bias_ih"])
                for view in part["bias_hh"].values():
                    view.zero_()
    return module

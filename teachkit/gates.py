"""The weights of gated networks, gate by gate, under one set of names for every framework."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeVar, overload

import numpy as np
import torch
from torch import Tensor, nn

from .errors import bad, check_choice, check_count, check_number

_Module = TypeVar("_Module", bound=nn.Module)
_LSTM = ("input", "forget", "cell", "output")
_GRU = ("reset", "update", "new")
_RNN = ("hidden",)
_IJFO = ("input", "cell", "forget", "output")
_ZRN = ("update", "reset", "new")

# The names, in the order in which they are always returned.
_NAMES: dict[str, tuple[str, ...]] = {"lstm": _LSTM, "gru": _GRU, "rnn": _RNN}

# The order in which each framework stacks its gates; `gate_order` has the sources.
_ORDER: dict[str, dict[str, tuple[str, ...]]] = {
    "torch": _NAMES,
    "keras": {"lstm": _LSTM, "gru": _ZRN, "rnn": _RNN},
    "tf1": {"lstm": _IJFO, "gru": _GRU, "rnn": _RNN},
    "flax": _NAMES,
    "haiku": {"lstm": _IJFO, "gru": _ZRN, "rnn": _RNN},
    "equinox": {"lstm": _LSTM, "gru": _GRU},
    "onnx": {"lstm": ("input", "output", "forget", "cell"), "gru": _ZRN, "rnn": _RNN},
}
# The dimension that stacks the gates. Flax does not stack them.
_AXIS = {"torch": 0, "equinox": 0, "onnx": 1, "keras": -1, "tf1": -1, "haiku": -1}
# Flax names the arrays of the input ii, if, ig, io and those of the recurrence hi, hf, hg, ho.
_FLAX_LETTERS = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n"), "rnn": ("",)}

LAYOUTS = tuple(_ORDER)
_TORCH = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
KERAS = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}
# The gate that keeps the state where it is open; a plain RNN has none.
MEMORY = {"lstm": "forget", "gru": "update"}


def gate_order(cell: str, layout: str = "torch") -> tuple[str, ...]:
    """Return our names of the gates in the order in which a layout stacks them.

    cell: "lstm", "gru" or "rnn". layout: one of `LAYOUTS`. Flax stacks nothing; its order is that
    of its equations. Raises `ValueError` for another cell or layout, and for the plain RNN cell
    that Equinox does not have. Taught in chapter 01.

    Sources: the documentation of torch.nn.LSTM and torch.nn.GRU; Keras 3,
    keras/src/layers/rnn/{lstm,gru}.py; TensorFlow 1, tensorflow/python/ops/rnn_cell_impl.py; Flax,
    flax/linen/recurrent.py; Haiku, haiku/_src/recurrent.py; Equinox, equinox/nn/_rnn.py; the ONNX
    operators LSTM-22, GRU-22 and RNN-22.

    >>> gate_order("lstm", "tf1")
    ('input', 'cell', 'forget', 'output')
    """
    check_choice("layout", layout, LAYOUTS)
    check_choice("cell", cell, _NAMES)
    if cell not in cells_of(layout):
        raise bad("cell", cell, f"'lstm' or 'gru': {layout.capitalize()} has no plain RNN cell")
    return _ORDER[layout][cell]


def cells_of(layout: str) -> tuple[str, ...]:
    """Return the kinds of cells that a layout has."""
    return tuple(_ORDER[layout])


def _check_array(array: Any, argument: str = "array") -> Any:
    """Return an array that may be written to: a tensor outside of any graph, or an ndarray."""
    if isinstance(array, Tensor):
        return array.detach()
    if not isinstance(array, np.ndarray):
        raise bad(argument, array, "a torch tensor or a NumPy array")
    return array


def _stacked(array: Any, names: tuple[str, ...], axis: int) -> dict[str, Any]:
    """Cut one dimension into as many blocks as there are names: views."""
    array = _check_array(array)
    count, ndim = len(names), array.ndim
    size = array.shape[axis] if -ndim <= axis < ndim else 0
    if size == 0 or size % count:
        place = {0: "first", 1: "second", -1: "last"}[axis]
        raise bad("array", array, f"stacked from {count} gates in its {place} dimension")
    H, before = size // count, (slice(None),) * (axis % ndim)
    return {name: array[(*before, slice(i * H, i * H + H))] for i, name in enumerate(names)}


def _onnx(array: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Cut W or R (directions, gates * H, ...), or B (directions, 2 * gates * H)."""
    array = _check_array(array)
    if array.ndim not in (2, 3):
        raise bad("array", array, "W or R with 3 dimensions or B with 2 in the layout 'onnx'")
    if array.ndim == 3:
        return _stacked(array, names, 1)
    directions, size = array.shape
    if size == 0 or size % (2 * len(names)):
        raise bad("array", array, f"stacked from 2 x {len(names)} gates in its second dimension")
    # to cut a dimension in two never needs a copy, whatever the strides
    return _stacked(array.reshape(directions, 2, size // 2), names, -1)


def _flax(arrays: Any, cell: str) -> dict[str, Any]:
    """Give the arrays of Flax's input or recurrent side, one a gate, our names."""
    sides = [[side + letter for letter in _FLAX_LETTERS[cell]] for side in "ih"]
    keys = list(arrays) if isinstance(arrays, Mapping) else None
    for side in sides:
        if keys is not None and set(keys) == set(side):
            return {n: _check_array(arrays[k]) for n, k in zip(_NAMES[cell], side, strict=True)}
    either = " or ".join(", ".join(side) for side in sides)
    given = arrays if keys is None else keys
    raise bad("array", given, f"a dict with the keys {either} in the layout 'flax'")


def _tf1_gru(arrays: Any) -> dict[str, Any]:
    """Give the two kernels, or the two biases, of TensorFlow 1's GRUCell our names."""
    allowed = (
        "the pair (gates, candidate) of TensorFlow 1's GRUCell, of widths 2 * H and H, both kernels"
        " or both biases"
    )
    if not isinstance(arrays, (tuple, list)) or len(arrays) != 2:
        raise bad("array", arrays, allowed)
    both, new = (_check_array(array) for array in arrays)
    if both.ndim == 0 or tuple(both.shape) != (*new.shape[:-1], 2 * (new.shape or [0])[-1]):
        raise bad("array", arrays, allowed)
    return {**_stacked(both, ("reset", "update"), -1), "new": new}


def split_gates(array: Any, cell: str, layout: str = "torch") -> dict[str, Any]:
    """Split the stacked weights or biases of one cell into views, one a gate.

    array: torch tensor or NumPy array as the framework keeps it. cell: "lstm" (input, forget, cell,
    output), "gru" (reset, update, new) or "rnn" (hidden); the names come back in this order, in
    whatever order the layout stacks them. layout, and the shape of each view:

    - "torch", "equinox": gates in the first dimension; (H, I), (H, H) or (H,). The bias_n of
      Equinox's GRUCell stands apart: it belongs to the gate new.
    - "keras": gates in the last dimension; (I, H), (H, H) or (H,). The bias (2, 3 * H) of a GRU
      with reset_after=True gives (2, H): what is added to the input, then to the recurrence.
    - "tf1", "haiku": as Keras. An LSTM has one kernel for [x; h], (I + H, H) a gate, which
      `split_inputs` cuts; its forget_bias of 1 is added in the call and stands in no array.
      TensorFlow 1's GRUCell has two arrays: give the pair (gates, candidate).
    - "onnx": W or R give (directions, H, I) or (directions, H, H), B gives (directions, 2, H): what
      is added to the input, then to the recurrence.
    - "flax": nothing is stacked. Give a dict with one array a gate, {"ii": ..., "if": ..., "ig":
      ..., "io": ...} or {"hi": ...}: the same arrays come back under our names.

    Update is the gate z (TensorFlow 1: u) in every layout, but Haiku turns it round: there z = 1
    takes the new state, elsewhere z = 1 keeps the old one. Tensors come back detached, so that
    they can be written to. Raises `ValueError` where the shape does not divide, or for an unknown
    cell or layout. Sources: as `gate_order`. Taught in chapters 01 and 04.

    >>> bias = np.zeros(8)
    >>> split_gates(bias, "lstm")["forget"][:] = 1.0
    >>> bias
    array([0., 0., 1., 1., 0., 0., 0., 0.])
    """
    names = gate_order(cell, layout)
    if layout == "flax":
        return _flax(array, cell)
    if layout == "tf1" and cell == "gru":
        return _tf1_gru(array)
    views = _onnx(array, names) if layout == "onnx" else _stacked(array, names, _AXIS[layout])
    return {name: views[name] for name in _NAMES[cell]}


def split_inputs(kernel: Any, input_size: int) -> dict[str, Any]:
    """Split a kernel whose rows hold [x; h] into the input's part and the recurrent part: views.

    kernel: (I + H, ...), torch tensor or NumPy array, whole or one gate of it, as TensorFlow 1
    (BasicLSTMCell, LSTMCell, GRUCell, BasicRNNCell) and Haiku (LSTM) keep it. input_size: I.
    Returns {"weight_ih": (I, ...), "weight_hh": (H, ...)}. Raises `ValueError` where no rows are
    left for h. Sources: tensorflow/python/ops/rnn_cell_impl.py; haiku/_src/recurrent.py. Made for
    kernels such as that of chapter 01's exercise `from_tf1`.

    >>> kernel = np.zeros((2 + 3, 4 * 3))
    >>> split_inputs(split_gates(kernel, "lstm", "tf1")["forget"], 2)["weight_hh"].shape
    (3, 3)
    """
    kernel = _check_array(kernel, "kernel")
    rows = kernel.shape[0] if kernel.ndim == 2 else 0
    I = check_count("input_size", input_size)  # noqa: E741
    if rows <= I:
        raise bad("kernel", kernel, f"a matrix with more than input_size = {I} rows")
    return {"weight_ih": kernel[:I], "weight_hh": kernel[I:]}


def _kind_in(library: Any, names: Mapping[str, str], module: Any) -> str | None:
    for kind, name in names.items():
        if isinstance(module, (getattr(library, name), getattr(library, name + "Cell"))):
            return kind
    return None


def kind_of(module: nn.Module, argument: str = "module") -> str:
    """Return "lstm", "gru" or "rnn" for a recurrent layer or cell of PyTorch's.

    argument: what a message calls it. Raises `ValueError` for another module.
    """
    if kind := _kind_in(nn, _TORCH, module):
        return kind
    raise bad(argument, type(module), "an nn.RNN, nn.LSTM or nn.GRU, or one of their cells")


def library_and_kind(module: Any, argument: str = "module") -> tuple[str, str]:
    """Return ("torch" or "keras", kind) for a recurrent layer or cell, else raise `ValueError`."""
    if kind := _kind_in(nn, _TORCH, module):
        return "torch", kind
    allowed = "an nn.RNN, nn.LSTM or nn.GRU, a Keras SimpleRNN, LSTM or GRU, or one of their cells"
    of = getattr(sys.modules.get("keras"), "layers", None)
    if of is not None:
        if kind := _kind_in(of, KERAS, module):
            return "keras", kind
        if isinstance(module, of.Layer):
            allowed += (
                " (of a Bidirectional, its forward_layer or backward_layer; of an RNN, its cell; of"
                " a model, one of its layers)"
            )
    raise bad(argument, type(module), allowed)


def keras_weights(module: Any, argument: str = "module") -> dict[str, Any]:
    """Return the arrays of a Keras layer or cell; raise `ValueError` where it is not built."""
    if not module.built:
        raise ValueError(f"{argument} must be built before it has weights: call it on a batch.")
    cell = getattr(module, "cell", module)
    named = {name: getattr(cell, name) for name in ("kernel", "recurrent_kernel", "bias")}
    return {name: weight.value for name, weight in named.items() if weight is not None}


def weights_of(module: nn.Module, argument: str = "module") -> dict[str, nn.Parameter]:
    """Return a PyTorch layer's own weights and biases; raise `ValueError` if one is computed."""
    kind_of(module, argument)
    names = ["weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if module.bias else ())]
    if getattr(module, "proj_size", 0):
        names.append("weight_hr")
    if isinstance(module, nn.RNNBase):
        sides = ("", "_reverse") if module.bidirectional else ("",)
        layers = range(module.num_layers)
        names = [f"{name}_l{i}{side}" for i in layers for side in sides for name in names]
    # also where one parameter has two names
    own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    if odd := [name for name in names if name not in own]:
        raise ValueError(
            f"{argument} must have plain weights, but one has a parametrization: {odd[0]}."
        )
    return {name: own[name] for name in names}


@overload
def gates(module_or_array: nn.Module) -> dict[str, dict[str, Tensor]]: ...
@overload
def gates(
    module_or_array: Any, layout: str | None = None, cell: str | None = None
) -> dict[str, Any]: ...
def gates(
    module_or_array: Any, layout: str | None = None, cell: str | None = None
) -> dict[str, Any]:
    """Return the weights and biases of a recurrent layer, cell or array, gate by gate.

    Names: LSTM input, forget, cell, output; GRU reset, update, new; RNN hidden. They name views
    that share memory with the weights, so writing to a view sets the weight.

    A PyTorch layer or cell gives {"weight_hh_l0": {"input": view, ...}, "bias_ih_l0": ..., ...},
    views of shape (H, I), (H, H) or (H,), in a layer above the first with the width of the layer
    below for I; a projection (`weight_hr`) has no gates and is left out. A built Keras layer or
    cell on the "torch" backend gives {"kernel": ..., "recurrent_kernel": ..., "bias": ...}; of a
    Bidirectional, give forward_layer or backward_layer. A bare array gives {"input": view, ...}; it
    needs `cell` and, unless it is laid out as in PyTorch, `layout`: see `split_gates`.

    Raises `ValueError` for a module that is not recurrent, weights that are computed from others
    (weight_norm), a Keras layer that is not built or on another backend, a layout or cell that is
    not the module's, a bare array without `cell` or of a shape that does not fit, and a dict of
    arrays but for the layout "flax". Source: the documentation of torch.nn.LSTM and torch.nn.GRU.
    Taught in chapters 01 and 04.

    >>> lstm = nn.LSTM(2, 3)
    >>> _ = gates(lstm)["bias_ih_l0"]["forget"].fill_(1.0)
    >>> lstm.bias_ih_l0[3:6].tolist()
    [1.0, 1.0, 1.0]
    >>> bias = np.zeros(8, dtype=np.float32)
    >>> gates(bias, layout="tf1", cell="lstm")["forget"][:] = 1.0
    >>> bias
    array([0., 0., 0., 0., 1., 1., 0., 0.], dtype=float32)
    """
    if isinstance(module_or_array, (Tensor, np.ndarray, Mapping, tuple, list)):
        if isinstance(module_or_array, Mapping) and layout != "flax":
            allowed = "one array, such as state_dict['weight_hh_l0'], for a layout but 'flax'"
            raise bad("module_or_array", list(module_or_array), allowed)
        if cell is None:
            raise bad("cell", cell, "'lstm', 'gru' or 'rnn' for a bare array")
        return split_gates(module_or_array, cell, layout or "torch")
    argument = "module" if isinstance(module_or_array, nn.Module) else "module_or_array"
    own, kind = library_and_kind(module_or_array, argument)
    if layout not in (None, own) or cell not in (None, kind):
        raise bad("layout and cell", (layout, cell), f"{own!r} and {kind!r} here, or left out")
    if own == "torch":
        own_weights = weights_of(module_or_array).items()
        return {n: split_gates(p, kind) for n, p in own_weights if not n.startswith("weight_hr")}
    values = keras_weights(module_or_array)
    if not all(isinstance(value, Tensor) for value in values.values()):
        backend = sys.modules["keras"].backend.backend()
        raise bad("module", backend, "on Keras's backend 'torch', whose weights can be shared")
    return {name: split_gates(value, kind, "keras") for name, value in values.items()}


def set_forget_bias(lstm: _Module, bias: float) -> _Module:
    """Set the forget bias of every layer and direction of an LSTM, in place; return the module.

    PyTorch adds two bias vectors, so this writes `bias` to `bias_ih` and 0 to `bias_hh`: writing
    it to both would double it. Raises `ValueError` for another module or one without biases.
    Source: Jozefowicz, Zaremba and Sutskever, ICML 2015, recommend 1 or 2. Taught in chapter 04.
    """
    if not isinstance(lstm, (nn.LSTM, nn.LSTMCell)):
        raise bad("lstm", type(lstm), "an nn.LSTM or nn.LSTMCell")
    if not lstm.bias:
        raise ValueError("lstm must have biases, but it was made with bias=False.")
    bias = check_number("bias", bias)
    weights_of(lstm, "lstm")  # refuses those that are computed
    with torch.no_grad():
        for name, views in gates(lstm).items():
            if name.startswith("bias_"):
                views["forget"].fill_(bias if name.startswith("bias_ih") else 0.0)
    return lstm

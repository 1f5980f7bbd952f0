"""Presets: start PyTorch's layer as another framework starts its own.

Each writes weights and biases of any LSTM, GRU or plain RNN, layer by layer, with the laws that the
framework's own layer has. So has the first output, where the activations are the same: Haiku's
plain RNN has ReLU, an nn.RNN has tanh by default. Where a framework adds a constant in its cell's
code, the constant goes into `bias_ih` here. A layer above the first, or the backward direction,
follows the rule with its own input size.

Only "torch" and "tf1" have projections. In the others `weight_hr` starts as that framework's dense
layer does, and W_hh follows the rule with proj_size inputs. Chapter 01 compares the frameworks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .errors import bad
from .gates import cells_of, gates, kind_of, weights_of
from .schemes import (
    Generator,
    check_biases,
    draw_glorot,
    draw_orthogonal,
    draw_truncated_normal,
    draw_uniform,
    parameters,
    scheme,
    set_biases,
    zero_biases,
)


@dataclass(frozen=True)
class _Matrices:
    """The weights of one layer in one direction: stacked (gates * H, ...), and each gate's own."""

    W_ih: Tensor
    W_hh: Tensor
    W_hr: Tensor | None
    gates_ih: tuple[Tensor, ...]
    gates_hh: tuple[Tensor, ...]


def _layers(module: nn.Module) -> Iterator[_Matrices]:
    inputs, recurrent, projections, gates_ih, gates_hh = (
        parameters(module, kind, fused=fused)
        for kind, fused in (
            ("weight_ih", True),
            ("weight_hh", True),
            ("weight_hr", True),
            ("weight_ih", False),
            ("weight_hh", False),
        )
    )
    count = len(gates_ih) // len(inputs)
    for i, (W_ih, W_hh) in enumerate(zip(inputs, recurrent, strict=True)):
        own = slice(i * count, (i + 1) * count)
        W_hr = projections[i] if projections else None
        yield _Matrices(W_ih, W_hh, W_hr, tuple(gates_ih[own]), tuple(gates_hh[own]))


@scheme("torch", "preset")
def torch_default(module: nn.Module, generator: Generator) -> None:
    """Draw every weight and every bias from U(-1/sqrt(H), 1/sqrt(H)), as PyTorch does.

    Source: the documentation of torch.nn.LSTM.
    """
    hidden_size: Any = module.hidden_size
    bound = 1 / math.sqrt(hidden_size)
    for parameter in weights_of(module).values():
        draw_uniform(parameter.detach(), bound, generator)


@scheme("keras", "preset")
def keras(module: nn.Module, generator: Generator) -> None:
    """Start as Keras 3: LSTM, GRU, SimpleRNN.

    W_ih is Glorot uniform and W_hh orthogonal, each of the stacked matrix, so that no gate of an
    LSTM or a GRU is orthogonal. Biases are 0, but 1 for the forget gate (`unit_forget_bias`); a
    layer without biases starts as Keras's with use_bias=False. Source: keras/src/layers/rnn of
    3.15.1.
    """
    for layer in _layers(module):
        draw_glorot(layer.W_ih, generator)
        draw_orthogonal(layer.W_hh, 1.0, generator)
        if layer.W_hr is not None:
            draw_glorot(layer.W_hr, generator)
    zero_biases(module)
    if kind_of(module) == "lstm":
        set_biases(module, lambda hidden_size: {"forget": 1.0})


@scheme("tf1", "preset")
def tf1(module: nn.Module, generator: Generator) -> None:
    """Start as TensorFlow 1: BasicLSTMCell or LSTMCell, GRUCell, BasicRNNCell.

    Input and recurrent weights are one Glorot uniform kernel: (I + H, 4H) in the LSTM, (I + H, 2H)
    for the gates and (I + H, H) for the candidate of the GRU, (I + H, H) in the plain RNN. Biases
    are 0, but 1 for the forget gate, which TensorFlow adds in its code, and 1 for both gates of the
    GRU. With a projection, as LSTMCell with num_proj. Raises `ValueError` for an LSTM or a GRU
    without biases. TensorFlow's GRU resets before the recurrent matrix, PyTorch's after it: same
    start, another cell. Source: tensorflow/python/ops/rnn_cell_impl.py.
    """
    cell = kind_of(module)
    ones = {"lstm": {"forget": 1.0}, "gru": {"reset": 1.0, "update": 1.0}, "rnn": {}}[cell]
    if ones:
        check_biases(module)
    for layer in _layers(module):
        fan_in = layer.W_ih.shape[1] + layer.W_hh.shape[1]
        size = layer.gates_hh[0].shape[0]
        kernels = {"lstm": (4, 4, 4, 4), "gru": (2, 2, 1), "rnn": (1,)}[cell]
        for matrices in (layer.gates_ih, layer.gates_hh):
            for W, stacked in zip(matrices, kernels, strict=True):
                draw_glorot(W, generator, fan_in=fan_in, fan_out=stacked * size)
        if layer.W_hr is not None:
            draw_glorot(layer.W_hr, generator)
    zero_biases(module)
    set_biases(module, lambda hidden_size: ones)


@scheme("flax", "preset")
def flax(module: nn.Module, generator: Generator) -> None:
    """Start as Flax: linen's LSTMCell or OptimizedLSTMCell, GRUCell, SimpleCell.

    Gate by gate: W_ih is a normal cut at two standard deviations that has standard deviation
    1 / sqrt(I) after the cut (lecun_normal), W_hh is orthogonal. All biases are 0, that of the
    forget gate too. Source: flax/linen/recurrent.py, 0.12.8.
    """
    for layer in _layers(module):
        for W in layer.gates_ih:
            draw_truncated_normal(W, 1 / math.sqrt(W.shape[1]), generator, corrected=True)
        for W in layer.gates_hh:
            draw_orthogonal(W, 1.0, generator)
        if (W_hr := layer.W_hr) is not None:
            draw_truncated_normal(W_hr, 1 / math.sqrt(W_hr.shape[1]), generator, corrected=True)
    zero_biases(module)


@scheme("haiku", "preset")
def haiku(module: nn.Module, generator: Generator) -> None:
    """Start as Haiku: LSTM, GRU, VanillaRNN.

    All weights are normals cut at two standard deviations. LSTM: one linear map of input and state,
    s = 1 / sqrt(I + H) before the cut, 12 % less after it. VanillaRNN (which has ReLU, whatever the
    module has): two linear maps, s = 1 / sqrt(I) and 1 / sqrt(H) before the cut. GRU: the same two,
    but after the cut. Biases are 0, but 1 for the forget gate, which Haiku adds in its code. Raises
    `ValueError` for an LSTM without biases.

    Haiku's update gate has the opposite sign, and its GRU resets before the recurrent matrix. The
    sign does not matter at the start: the weights are as likely as their negatives, the bias is 0.
    Source: haiku/_src/recurrent.py and basic.py, 0.0.17.
    """
    cell = kind_of(module)
    if cell == "lstm":
        check_biases(module)
    for layer in _layers(module):
        together = layer.W_ih.shape[1] + layer.W_hh.shape[1]
        for W in (layer.W_ih, layer.W_hh):
            fan_in = together if cell == "lstm" else W.shape[1]
            draw_truncated_normal(W, 1 / math.sqrt(fan_in), generator, corrected=cell == "gru")
        if (W_hr := layer.W_hr) is not None:
            draw_truncated_normal(W_hr, 1 / math.sqrt(W_hr.shape[1]), generator, corrected=False)
    zero_biases(module)
    if cell == "lstm":
        set_biases(module, lambda hidden_size: {"forget": 1.0})


@scheme("equinox", "preset")
def equinox(module: nn.Module, generator: Generator) -> None:
    """Start as Equinox: LSTMCell, GRUCell.

    Everything is drawn from U(-1/sqrt(H), 1/sqrt(H)), as in PyTorch, but there is one bias vector:
    `bias_hh` is 0, except for the new gate of a GRU, which has a second bias in Equinox too. Raises
    `ValueError` for a plain RNN, which Equinox does not have. Source: equinox/nn/_rnn.py, 0.13.8.
    """
    if kind_of(module) not in cells_of("equinox"):
        raise bad("module", type(module), "an LSTM or a GRU: Equinox has no plain RNN cell")
    hidden_size: Any = module.hidden_size
    bound = 1 / math.sqrt(hidden_size)
    for kind in ("weight_", "bias_ih"):
        for tensor in parameters(module, kind, fused=True):
            draw_uniform(tensor, bound, generator)
    for name, views in gates(module).items():
        if name.startswith("bias_hh"):
            for gate, bias in views.items():
                if gate == "new":
                    draw_uniform(bias, bound, generator)
                else:
                    bias.zero_()

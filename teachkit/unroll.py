"""Walk through a PyTorch recurrent layer one step at a time, keeping every state in reach.

The fused layers of PyTorch return the outputs but hide the states on the way, so that no gradient
can be taken with respect to them. Here each step is its own piece of the autograd graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .drop_ins import DropInLayer
from .errors import bad
from .models import ACTIVATIONS, Activation

# One step: (input contribution, h, c or None) -> (h, c or None). Works on batches and on vectors.
Step = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
OnGates = Callable[[Tensor], object]


@dataclass(frozen=True)
class Trace:
    """One layer in one direction, unrolled over its own time.

    pre: (T, B, gates * H), the input's contribution to each step. h, c: T + 1 tensors (B, H), the
    initial state first; c is None unless the layer is an LSTM. W_hh, b_hh, W_hr: copies of the
    weights, or with `weights=True` the weights. activation: of an Elman layer, else None.
    """

    pre: Tensor
    h: tuple[Tensor, ...]
    c: tuple[Tensor, ...] | None
    step: Step
    W_hh: Tensor
    b_hh: Tensor | None
    W_hr: Tensor | None
    activation: Activation | None

    def last_step(self) -> Trace:
        """Return the trace of the last step alone."""
        c = None if self.c is None else self.c[-2:]
        return replace(self, pre=self.pre[-1:], h=self.h[-2:], c=c)


@dataclass(frozen=True)
class Unrolled:
    """A whole recurrent layer unrolled: `outputs` as the layer returns them, and every `Trace`."""

    outputs: Tensor
    traces: dict[tuple[int, bool], Trace]


def activation_of(rnn: nn.RNNBase) -> Activation | None:
    """Return the activation of an Elman layer, or None for an LSTM or GRU."""
    return ACTIVATIONS[str(rnn.nonlinearity)] if isinstance(rnn, nn.RNN) else None


def check_layer(rnn: Any, argument: str = "rnn", *, finite: bool = True) -> None:
    """Raise `ValueError` unless `rnn` is an nn.RNN, nn.LSTM or nn.GRU with finite weights.

    argument: what a message calls it. finite: False leaves the weights unchecked.
    """
    if not isinstance(rnn, (nn.RNN, nn.LSTM, nn.GRU)):
        inner = ""
        if isinstance(rnn, nn.Module):
            names = [n for n, m in rnn.named_modules() if isinstance(m, nn.RNNBase)]
            inner = f" (it holds one: pass model.{names[0]})" if names else ""
        raise bad(argument, type(rnn), "an nn.RNN, nn.LSTM or nn.GRU layer" + inner)
    for name, parameter in rnn.named_parameters() if finite else ():
        if not torch.isfinite(parameter).all():
            raise ValueError(
                f"{argument} must have finite weights, but {name} contains NaN or infinity."
            )


def unroll(
    rnn: nn.RNNBase,
    x: Tensor,
    h0: Any = None,
    *,
    weights: bool = False,
    on_gates: OnGates | None = None,
) -> Unrolled:
    """Run `rnn` over `x` step by step, with gradients to every state and none to the weights.

    x: (T, B, input_size), or (B, T, input_size) for a `batch_first` layer, or unbatched
    (T, input_size). h0: as the layer takes it; None is zeros, or a drop-in's own initial state.
    Dropout between layers is left out, as in evaluation. The outputs are those of
    `rnn.eval()(x, h0)`.

    weights: True runs the layer as it would run itself: gradients reach the weights, x and h0 too,
    a drop-in has its noise and several layers their dropout in training, and values are not
    checked, since a network that diverges should be seen to. on_gates: sees what goes into each
    sigmoid and tanh (but the tanh of a memory cell) of every step.

    Raises `ValueError` for another layer, shapes that do not fit, or values that are not finite.
    """
    check_layer(rnn, finite=not weights)
    batched = check_input(rnn, x, finite=not weights)
    if h0 is None and isinstance(rnn, DropInLayer):
        h0 = rnn.start(x, training=None if weights else False)
    first = rnn.batch_first and batched
    sequence = x.transpose(0, 1) if first else x if batched else x.unsqueeze(1)
    states = _initial_states(rnn, sequence, h0, batched, weights)
    traces: dict[tuple[int, bool], Trace] = {}
    for layer in range(rnn.num_layers):
        if layer and weights:
            sequence = F.dropout(sequence, rnn.dropout, rnn.training)
        halves = []
        for reverse in (False, True)[: 1 + rnn.bidirectional]:
            index = layer * (1 + rnn.bidirectional) + reverse
            suffix = f"l{layer}" + ("_reverse" if reverse else "")
            own_time = sequence.flip(0) if reverse else sequence
            own = [s[index] for s in states]
            trace = _unroll_direction(rnn, suffix, own_time, own, weights, on_gates)
            traces[layer, reverse] = trace
            out = torch.stack(trace.h[1:])
            halves.append(out.flip(0) if reverse else out)
        sequence = torch.cat(halves, -1) if rnn.bidirectional else halves[0]
    outputs = sequence.transpose(0, 1) if first else sequence if batched else sequence.squeeze(1)
    return Unrolled(outputs, traces)


def check_input(rnn: nn.RNNBase, x: Any, *, finite: bool = True) -> bool:
    """Raise `ValueError` unless `rnn` takes `x` and it is finite; return whether it is batched.

    finite: False leaves the values unchecked.
    """
    layout = "(B, T, input_size)" if rnn.batch_first else "(T, B, input_size)"
    if not isinstance(x, Tensor) or x.ndim not in (2, 3):
        raise bad("x", x, f"a tensor of shape {layout}, or (T, input_size) without a batch")
    if x.shape[-1] != rnn.input_size or 0 in x.shape:
        raise bad("x", x, f"of shape {layout}, not empty, with input_size {rnn.input_size}")
    dtype = rnn.weight_hh_l0.dtype
    if x.dtype != dtype:
        raise ValueError(f"x must have the dtype of rnn, {dtype}, but {x.dtype} was given.")
    if dtype not in (torch.float32, torch.float64):
        raise bad("rnn", dtype, "in float32 or float64")
    if x.device != rnn.weight_hh_l0.device:
        where = rnn.weight_hh_l0.device
        raise ValueError(f"x must be on the device of rnn, {where}, but it is on {x.device}.")
    if finite and not torch.isfinite(x).all():
        raise ValueError("x must be finite, but it contains NaN or infinity.")
    return x.ndim == 3


def _initial_states(
    rnn: nn.RNNBase, sequence: Tensor, h0: Any, batched: bool, graph: bool
) -> list[Tensor]:
    """Return [h0] or [h0, c0], each (layers * directions, B, size); graph: with their history."""
    lstm = isinstance(rnn, nn.LSTM)
    count = rnn.num_layers * (1 + rnn.bidirectional)
    sizes = [rnn.proj_size or rnn.hidden_size] + [rnn.hidden_size] * lstm
    shapes = [(count, sequence.shape[1], size) for size in sizes]
    if h0 is None:
        given = [sequence.new_zeros(shape) for shape in shapes]
    else:
        given = list(h0) if lstm and isinstance(h0, (tuple, list)) else [h0]
        allowed = "a pair (h0, c0)" if lstm else "a tensor"
        wanted = [s if batched else (s[0], s[2]) for s in shapes]
        if [tuple(getattr(s, "shape", ())) for s in given] != wanted:
            raise bad("h0", h0, f"{allowed} of shape " + " and ".join(map(str, wanted)))
        if not graph and not all(torch.isfinite(s).all() for s in given):
            raise ValueError("h0 must be finite, but it contains NaN or infinity.")
    given = [s if graph else s.detach() for s in given]
    return [s.reshape(shape).to(sequence) for s, shape in zip(given, shapes, strict=True)]


def _unroll_direction(
    rnn: nn.RNNBase,
    suffix: str,
    sequence: Tensor,
    states: list[Tensor],
    graph: bool,
    on_gates: OnGates | None,
) -> Trace:
    def weight(name: str) -> Any:
        parameter = getattr(rnn, f"{name}_{suffix}", None)
        # Cloned: the traces must not change when the model goes on training.
        return parameter if parameter is None or graph else parameter.detach().clone()

    W_hh, b_hh, W_hr = weight("weight_hh"), weight("bias_hh"), weight("weight_hr")
    pre = F.linear(sequence, weight("weight_ih"), weight("bias_ih"))
    activation = activation_of(rnn)
    step = _make_step(rnn, W_hh, b_hh, W_hr, on_gates)
    if not graph:
        states = [s.clone().requires_grad_() for s in states]
    h, c = states[0], states[1] if len(states) > 1 else None
    hs, cs = [h], [c]
    for pre_t in pre.unbind(0):
        h, c = step(pre_t, h, c)
        hs.append(h)
        cs.append(c)
    memory = None if c is None else tuple(s for s in cs if s is not None)
    return Trace(pre, tuple(hs), memory, step, W_hh, b_hh, W_hr, activation)


def _make_step(
    rnn: nn.RNNBase,
    W_hh: Tensor,
    b_hh: Tensor | None,
    W_hr: Tensor | None,
    on_gates: OnGates | None = None,
) -> Step:
    """Return one step of the layer; formulas of the torch.nn.RNN, LSTM and GRU documentation."""

    def seen(gates: Tensor) -> Tensor:
        if on_gates is not None:
            on_gates(gates)
        return gates

    def rnn_step(pre: Tensor, h: Tensor, c: Tensor | None) -> tuple[Tensor, None]:
        return activate(seen(pre + F.linear(h, W_hh, b_hh))), None

    def lstm_step(pre: Tensor, h: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        i, f, g, o = seen(pre + F.linear(h, W_hh, b_hh)).chunk(4, -1)
        assert c is not None
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return (h if W_hr is None else F.linear(h, W_hr)), c

    def gru_step(pre: Tensor, h: Tensor, c: Tensor | None) -> tuple[Tensor, None]:
        r_in, z_in, n_in = pre.chunk(3, -1)
        r_h, z_h, n_h = F.linear(h, W_hh, b_hh).chunk(3, -1)
        z = torch.sigmoid(seen(z_in + z_h))
        n = torch.tanh(seen(n_in + torch.sigmoid(seen(r_in + r_h)) * n_h))
        return (1 - z) * n + z * h, None

    if isinstance(rnn, nn.LSTM):
        return lstm_step
    if isinstance(rnn, nn.GRU):
        return gru_step
    activate = ACTIVATIONS[str(rnn.nonlinearity)].function
    return rnn_step

"""Clip inside backpropagation: bound the error at every step before it travels further back."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .drop_ins import DropInLayer, state_sizes
from .errors import bad, check_choice, check_positive, describe
from .parameter_parts import output_layer
from .unroll import Unrolled, unroll

PLACES = ("state", "gates")
# a layer with a forward of its own would lose it
_FORWARDS = {kind.forward for kind in (nn.RNN, nn.LSTM, nn.GRU, DropInLayer)}
_MARK = "_error_clipping"


class _Count:
    """How many entries were clamped, of how many."""

    def __init__(self) -> None:
        self.clamped: Tensor | int = 0
        self.total = 0

    def clamp(self, threshold: float, error: Tensor) -> Tensor:
        """Return the clamped error and count; a hook of a tensor."""
        # added up as a tensor, so that a GPU need not wait
        self.clamped = self.clamped + (error.detach().abs() > threshold).sum()
        self.total += error.numel()
        return error.clamp(-threshold, threshold)

    def watch(self, tensor: Tensor, threshold: float) -> None:
        """Clamp the error that will arrive at a tensor, if any will."""
        if tensor.requires_grad:
            tensor.register_hook(functools.partial(self.clamp, threshold))

    def share(self) -> float:
        """Return the share of clamped entries and count anew; NaN where there were none."""
        share = float(self.clamped) / self.total if self.total else math.nan
        self.clamped, self.total = 0, 0
        return share


class ErrorClipping:
    """Clamp back-propagated errors of a model to [-threshold, threshold], step by step.

    Clipping a finished gradient can only shorten what the explosion left. Here each entry of the
    error is clamped as it arrives at a step, before it is propagated further back, so that it
    cannot grow from step to step without bound, and the gradient that results is no longer that of
    the loss. It works from now on until `remove()`, or as a context manager.

    model: any with nn.RNN, nn.LSTM or nn.GRU layers, drop-ins of `teachkit` too, or with cells.
    at: "state" clamps dL/dh_t, of all paths together (the memory cell of an LSTM is left alone:
    its own path cannot explode); "gates" clamps the derivative with respect to what goes into each
    sigmoid and tanh of a layer, but the tanh of the memory cell. output_threshold: also clamps
    dL/d(output) at the output layer; None does not. output: its name; None is the last nn.Linear
    outside recurrent layers. The loss sets the scale of errors: the mean over a batch makes them
    batch_size times smaller than the sum.

    Layers run step by step meanwhile, with the same results and several times slower, in float32
    or float64 and without PackedSequence; inside torch.autocast only as long as their input and
    their weights keep one of these types. A learned h0 gets what the first step passes on.
    Infinite errors become +-threshold and NaN stays NaN, as in `torch.nn.utils.clip_grad_value_`. A
    deep copy or a pickle of the model is clipped by a copy of this object, which `of` finds.
    Nothing is added to the state_dict.

    Raises `ValueError` for a threshold that is not above 0, a model without recurrent layers, one
    that is clipped already, or a layer with a `forward` of its own; "gates" needs layers, not
    cells. Sources: Mikolov's rnnlm clamps errors to [-15, 15]; Graves 2013 (arXiv:1308.0850) the
    LSTM derivatives to [-10, 10] and the output derivatives to [-100, 100]. Taught in chapter 05.

    >>> rnn = nn.RNN(1, 1, bias=False)
    >>> _ = [nn.init.ones_(p) for p in rnn.parameters()]
    >>> with ErrorClipping(rnn, threshold=0.5) as errors:
    ...     (3 * rnn(torch.zeros(4, 1))[0][-1]).sum().backward()
    >>> errors.fraction()  # 3 becomes 0.5, which then stays 0.5
    0.25
    """

    def __init__(
        self,
        model: nn.Module,
        threshold: float,
        at: str = "state",
        output_threshold: float | None = None,
        *,
        output: str | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise bad("model", model, "an nn.Module")
        check_choice("at", at, PLACES)
        self.at = at
        self.threshold = check_positive("threshold", threshold)
        self.output_threshold = math.inf
        head = None
        if output_threshold is None and output is not None:
            raise ValueError(
                f"output={output!r} needs an output_threshold, without which no output layer is "
                "clipped."
            )
        if output_threshold is not None:
            self.output_threshold = check_positive("output_threshold", output_threshold)
            head = output_layer(model, output)
            if head is None:
                raise ValueError(
                    f"output_threshold needs a model with an output layer, but "
                    f"{type(model).__name__} has no nn.Linear outside recurrent layers."
                )
        self._errors, self._output_errors = _Count(), _Count()
        self._layers = [m for m in model.modules() if isinstance(m, nn.RNNBase)]
        self._cells = [m for m in model.modules() if isinstance(m, nn.RNNCellBase)]
        self._check(model)
        self._handles: list[RemovableHandle] = [
            cell.register_forward_hook(self._on_cell) for cell in self._cells
        ]
        if head is not None:
            self._handles.append(head.register_forward_hook(self._on_output))
        for layer in self._layers:
            layer.__dict__["forward"] = functools.partial(self._forward, layer)
        for module in (*self._layers, *self._cells):
            module.__dict__[_MARK] = self

    def _check(self, model: nn.Module) -> None:
        if not self._layers and not self._cells:
            raise bad("model", type(model), "an nn.Module with a recurrent layer or cell")
        if self._cells and self.at == "gates":
            raise ValueError(
                f"at='gates' needs recurrent layers, for a cell hides its gates, but "
                f"{type(model).__name__} has {type(self._cells[0]).__name__}; use at='state'."
            )
        for module in (*self._layers, *self._cells):
            if _MARK in module.__dict__:
                raise ValueError(
                    "model must not have error clipping yet, but "
                    f"{type(module).__name__} has; call remove() of the earlier one first, which "
                    "ErrorClipping.of(model) finds."
                )
        for layer in self._layers:
            if type(layer).forward not in _FORWARDS or "forward" in layer.__dict__:
                raise bad("model", layer, "one whose recurrent layers run as PyTorch's do")

    @staticmethod
    def of(model: nn.Module) -> list[ErrorClipping]:
        """Return what clips layers of a model now: nothing, one, or one for each part of it.

        >>> import copy
        >>> rnn = nn.RNN(1, 1)
        >>> with ErrorClipping(rnn, threshold=1.0):
        ...     twin = copy.deepcopy(rnn)
        >>> for errors in ErrorClipping.of(twin):
        ...     errors.remove()
        >>> ErrorClipping.of(rnn), ErrorClipping.of(twin)
        ([], [])
        """
        marks = (m.__dict__.get(_MARK) for m in model.modules())
        return list(dict.fromkeys(mark for mark in marks if mark is not None))

    def __enter__(self) -> ErrorClipping:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Give the model back as it was; a second call does nothing.

        Graphs that were made before are still clipped in their backward pass.
        """
        for handle in self._handles:
            handle.remove()
        for module in (*self._layers, *self._cells):
            module.__dict__.pop("forward", None)
            module.__dict__.pop(_MARK, None)
        self._handles, self._layers, self._cells = [], [], []

    def fraction(self) -> float:
        """Return the share of error entries of recurrent layers clamped since the last call.

        NaN where no error arrived since.
        """
        return self._errors.share()

    def output_fraction(self) -> float:
        """Return the same for the output layer."""
        return self._output_errors.share()

    def _watch(self, tensor: Tensor) -> None:
        self._errors.watch(tensor, self.threshold)

    def _on_cell(self, cell: nn.Module, args: Any, result: Any) -> None:
        self._watch(result if isinstance(result, Tensor) else result[0])

    def _on_output(self, layer: nn.Module, args: Any, result: Any) -> None:
        if not isinstance(result, Tensor):
            raise ValueError(
                f"output must be a layer that returns a tensor, but {type(layer).__name__} "
                f"returned {describe(result)}."
            )
        self._output_errors.watch(result, self.output_threshold)

    def _forward(self, layer: Any, input: Any, hx: Any = None) -> tuple[Tensor, Any]:
        """Run a layer step by step, as it would run itself."""
        if not isinstance(input, Tensor):
            raise bad("input", type(input), "a tensor: error clipping takes no PackedSequence")
        on_gates = self._watch if self.at == "gates" else None
        run = unroll(layer, input, hx, weights=True, on_gates=on_gates)
        if self.at == "state":
            for trace in run.traces.values():
                for h in trace.h[1:]:
                    self._watch(h)
        final = _final(run)
        if isinstance(layer, DropInLayer):
            layer.initial_state.finish(layer, state_sizes(layer), final)  # type: ignore[arg-type]
        if input.ndim == 2:
            final = [state.squeeze(1) for state in final]
        return run.outputs, tuple(final) if len(final) > 1 else final[0]


def _final(run: Unrolled) -> Sequence[Tensor]:
    """Return the last states, each (layers * directions, B, size)."""
    traces = run.traces.values()
    last = [torch.stack([trace.h[-1] for trace in traces])]
    cells = [trace.c[-1] for trace in traces if trace.c is not None]
    return [*last, torch.stack(cells)] if cells else last

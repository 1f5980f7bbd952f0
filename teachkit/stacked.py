"""All steps of R recurrent layers in one pass: stacked weights and a hand-written backward pass.

The replicas of an experiment share every shape, so that one batched matrix product serves them all.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .cells import CELLS, Shape, Workspace

# Workspaces that no pass uses now, for the next pass of the same sizes; of the most recent sizes
# only, since one can hold a hundred megabytes.
_free: OrderedDict[tuple[str, Shape], list[Workspace]] = OrderedDict()
_free_lock = threading.Lock()
KEPT_SHAPES = 4
LONGEST = 256  # steps of one pass where no gradient is wanted: longer ones go window by window


def _lease(kind: str, shape: Shape) -> Workspace:
    with _free_lock:
        waiting = _free.get((kind, shape))
        if waiting:
            return waiting.pop()
    return Workspace(shape, CELLS[kind].blocks, CELLS[kind].cell_state)


def _give_back(kind: str, work: Workspace) -> None:
    with _free_lock:
        _free.setdefault((kind, work.shape), []).append(work)
        _free.move_to_end((kind, work.shape))
        while len(_free) > KEPT_SHAPES:
            _free.popitem(last=False)


def release_workspaces() -> None:
    """Let go of the memory that waits for passes to come."""
    with _free_lock:
        _free.clear()


class _Pass(torch.autograd.Function):
    """All steps of all replicas; every tensor has the batch last.

    into: places for the gradients of the weights, which then bypass autograd; None is for everyone
    else. With it, what is returned belongs to the workspace, until the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kind: str,
        every_step: bool,
        into: Sequence[Tensor] | None,
        x: Tensor,
        h0: Tensor | None,
        c0: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        (T, R, width, B), cell = x.shape, CELLS[kind]
        H = weights[1].shape[2]
        work = _lease(kind, Shape(R, T, B, width, H, x.dtype, x.device))
        cell.assemble(work, weights)
        work.S[:T, :, H:-1] = x
        work.from_zero = h0 is None
        _fill(work.h[0], h0)
        if cell.cell_state:
            _fill(work.C[0], None if c0 is None else -c0)
        cell.forward(work)
        h = work.h[-1] if into is not None else work.h[-1].clone()
        final = (h, -work.C[-1]) if cell.cell_state else (h,)
        y = (work.S[1:, :, :H].permute(1, 2, 0, 3).contiguous(),) if every_step else ()
        if any(ctx.needs_input_grad):
            ctx.kind, ctx.work, ctx.every_step, ctx.into = kind, work, every_step, into
            ctx.set_materialize_grads(False)
        else:
            _give_back(kind, work)
        return (*y, *final)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if ctx.work is None:
            raise RuntimeError(
                "A pass over stacked replicas can be differentiated once: its workspace is used "
                "again. Run the forward pass again before another backward()."
            )
        cell, work, needs = CELLS[ctx.kind], ctx.work, ctx.needs_input_grad
        T = work.shape.steps
        dy = gradients[0] if ctx.every_step else None
        if dy is not None:
            dy = dy.permute(2, 0, 1, 3).contiguous()
        dh, dc = (*gradients[ctx.every_step :], None)[:2]
        _fill(work.dh, dh)
        _fill(work.dc, None if dc is None else -dc)
        cell.multiply(work.W, tuple(a / b for a, b in zip(cell.unscales, cell.scales, strict=True)))
        dx = torch.empty_like(work.S[:T, :, work.shape.hidden : -1]) if needs[3] else None
        for t in reversed(range(T)):
            if dy is not None:
                work.dh.add_(dy[t])
            cell.backward(work, t)
            work.backward(t)
            if dx is not None:
                dx[t] = torch.bmm(work.W_x, work.D)
        made = cell.disassemble(work)[: len(needs) - 6]
        found: list[Tensor | None] = [None] * len(made)
        if ctx.into is None:
            found = [g.clone() if need else None for g, need in zip(made, needs[6:], strict=True)]
        else:
            for place, gradient in zip(ctx.into, made, strict=True):
                place.copy_(gradient)
        dh0 = work.dh.clone() if needs[4] else None
        dc0 = -work.dc if needs[5] else None
        ctx.work = None
        _give_back(ctx.kind, work)
        return (None, None, None, dx, dh0, dc0, *found)


def _fill(place: Tensor, values: Tensor | None) -> None:
    place.zero_() if values is None else place.copy_(values)


def run_stacked(
    kind: str,
    x: Tensor,
    states: Sequence[Tensor] | None,
    weights: Sequence[Tensor],
    *,
    every_step: bool = False,
    into: Sequence[Tensor] | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run R single-layer recurrent networks in one pass.

    kind: "lstm", "gru", or the nonlinearity of an Elman network: "tanh", "relu", "sigmoid" or
    "linear". x: (R, T, B, I). states: h0, and c0 for an LSTM, each (R, B, H), or None for zero.
    weights: stacked weight_ih (R, gates * H, I), weight_hh, bias_ih and bias_hh, the last two left
    out for networks without biases; gates in PyTorch's order. into: where the backward pass shall
    write the gradients of the weights, if not to their `.grad`; what is returned is then good until
    that pass. Returns the hidden states with the batch last, (R, H, T, B) where `every_step`, else
    the last (R, H, B), and the final states (R, B, H). Can be differentiated once. `Replicas` is
    made of it.
    """
    T = x.shape[1]
    if not torch.is_grad_enabled() and T > LONGEST:
        parts = []
        for window in x.split(LONGEST, 1):
            part, states = run_stacked(kind, window, states, weights, every_step=every_step)
            parts.append(part)
        return torch.cat(parts, 2) if every_step else parts[-1], tuple(states or ())
    first = [None if state is None else state.mT for state in (*(states or ()), None, None)[:2]]
    outputs = _Pass.apply(kind, every_step, into, x.permute(1, 0, 3, 2), *first, *weights)
    return outputs[0], tuple(state.mT for state in outputs[every_step:])

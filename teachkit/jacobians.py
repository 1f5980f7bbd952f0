"""The Jacobian of each step of a recurrent layer, and their products back from the end."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .device import threads
from .errors import check_choice
from .unroll import Trace


def step_jacobians(trace: Trace) -> Tensor:
    """Return the Jacobian of each step's state by the state before: (T, B, S, S).

    trace: of one layer, from `unroll` or `GradientThroughTime.trace`. The state is h, or (h, c) of
    an LSTM. Taught in chapter 04.
    """
    before = torch.stack(trace.h[:-1]).detach()
    if trace.activation is not None:
        after = torch.stack(trace.h[1:]).detach()
        return trace.activation.slope(after)[..., None] * trace.W_hh
    sizes = [trace.W_hh.shape[1]]
    if trace.c is not None:
        before = torch.cat([before, torch.stack(trace.c[:-1]).detach()], -1)
        sizes.append(trace.c[0].shape[-1])

    def step(pre: Tensor, state: Tensor) -> Tensor:
        parts = state.split(sizes, -1)
        h, c = trace.step(pre, parts[0], parts[1] if len(parts) == 2 else None)
        return h if c is None else torch.cat([h, c], -1)

    over_batch = torch.func.vmap(torch.func.jacrev(step, argnums=1))
    return torch.func.vmap(over_batch)(trace.pre.detach(), before)


@dataclass(frozen=True)
class JacobianProducts:
    """The Jacobians d state_T / d state_t for t = 0 ... T, kept within float range.

    The product for step t is `matrices[t] * exp(log_scale[t])`: matrices (T + 1, B, S, S),
    log_scale (T + 1, B) in float64, on the CPU, so that 3^1000 is a number like any other. sizes:
    of h, and of c for an LSTM, along each side. output_slope: dh_t/dc_t of an LSTM, for `block`.
    """

    matrices: Tensor
    log_scale: Tensor
    sizes: tuple[int, ...]
    output_slope: Tensor | None = None

    @cached_property
    def log_singular_values(self) -> Tensor:
        """Natural logarithm of all singular values, largest first: (T + 1, B, S), float64."""
        return _singular_values(self.matrices).double().log() + self.log_scale[..., None]

    @property
    def singular_values(self) -> Tensor:
        """All singular values, largest first: (T + 1, B, S); beyond float range infinity or 0."""
        return self.log_singular_values.exp()

    def block(self, state: str) -> JacobianProducts:
        """Return dh_T/dh_t ("h"), or the total dc_T/dc_t of an LSTM ("c")."""
        check_choice("state", state, ["h", "c"][: len(self.sizes)])
        H = self.sizes[0]
        matrices = self.matrices[..., :H, :H]
        if state == "c":
            direct, through_h = self.matrices[..., H:, H:], self.matrices[..., H:, :H]
            assert self.output_slope is not None
            # c_t also acts through h_t = o tanh(c_t); c_0 has no such h_0, and c_T is at the end
            total = direct[1:-1] + through_h[1:-1] @ self.output_slope[:-1]
            matrices = torch.cat([direct[:1], total, direct[-1:]])
        return JacobianProducts(matrices, self.log_scale, (matrices.shape[-1],))

    def norm(self) -> Tensor:
        """Return the spectral norm for t = 1 ... T, the largest over the batch: (T,)."""
        logs = torch.linalg.matrix_norm(self.matrices[1:], ord=2).double().log()
        return (logs + self.log_scale[1:]).exp().amax(-1)


@functools.cache
def _cores() -> ThreadPoolExecutor:
    """Make the threads that share the singular values: kept, as new ones start slowly."""
    return ThreadPoolExecutor(min(os.cpu_count() or 1, 4))


def _share(matrices: Tensor) -> Tensor:
    with threads(1):
        return torch.linalg.svdvals(matrices)


def _singular_values(matrices: Tensor) -> Tensor:
    """Return the singular values of (T, B, S, S), largest first, on all cores.

    LAPACK takes one matrix after another, and a small one keeps a single core busy: so each core
    gets a share of the matrices.
    """
    if matrices.numel() < 50_000:
        return torch.linalg.svdvals(matrices)
    shares = matrices.flatten(0, 1).chunk(min(os.cpu_count() or 1, 4))
    return torch.cat(list(_cores().map(_share, shares))).unflatten(0, matrices.shape[:2])


def products_of(trace: Trace) -> JacobianProducts:
    """Multiply the step Jacobians of a trace: d state_T / d state_t for t = 0 ... T."""
    # On the CPU: every device has it, with float64 and singular values.
    jacobians = step_jacobians(trace).cpu()
    T, B, S, _ = jacobians.shape
    products = torch.empty(T + 1, B, S, S, dtype=jacobians.dtype)
    shifts = torch.zeros(T + 1, B, dtype=torch.float64)
    products[T] = torch.eye(S, dtype=jacobians.dtype)
    out, steps = products.unbind(0), jacobians.unbind(0)
    for t in range(T - 1, -1, -1):
        torch.bmm(out[t + 1], steps[t], out=out[t])
        if t % 6 == 0:  # often enough for steps that stretch a millionfold
            size = out[t].abs().amax((-1, -2))
            size = torch.where(size > 0, size, 1.0)
            out[t].div_(size[:, None, None])
            shifts[t] = size.double().log()
    scales = shifts.flip(0).cumsum(0).flip(0)  # a shift at t holds for all earlier products
    if trace.c is None:
        return JacobianProducts(products, scales, (S,))
    sizes = trace.h[0].shape[-1], trace.c[0].shape[-1]
    return JacobianProducts(products, scales, sizes, _output_slope(trace).cpu())


def _output_slope(trace: Trace) -> Tensor:
    """Return dh_t/dc_t of an LSTM within step t: (T, B, H_out, H)."""
    assert trace.c is not None
    gates = trace.pre + torch.stack(trace.h[:-1]) @ trace.W_hh.T
    gates = gates if trace.b_hh is None else gates + trace.b_hh
    tanh_c = torch.stack(trace.c[1:]).tanh()
    slope = (gates.chunk(4, -1)[3].sigmoid() * (1 - tanh_c**2)).detach().diag_embed()
    return slope if trace.W_hr is None else trace.W_hr @ slope

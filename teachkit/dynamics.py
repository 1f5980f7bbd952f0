"""What happens to a gradient on its way back through time, in any PyTorch recurrent layer.

The true gradient (autograd), the Jacobian of every step and their products, the predictions and
bounds that theory makes, and Lyapunov exponents. Chapter 04 teaches all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .errors import bad, check_choice, check_count, check_number, check_tensor
from .jacobians import JacobianProducts, products_of, step_jacobians
from .models import ACTIVATIONS
from .spectra import haar_orthogonal, with_spectral_radius
from .unroll import Trace, activation_of, check_input, check_layer, unroll


def _norms(vectors: Sequence[Tensor]) -> Tensor:
    """Return the L2 norm of each tensor, in float64; NaN, which only overflow makes, is infinity.

    Each is scaled by its largest entry first: squaring 1e200 would leave float range.
    """
    stacked = torch.stack([v.detach().flatten() for v in vectors]).cpu().double()
    stacked = torch.nan_to_num(stacked.abs(), nan=torch.inf, posinf=torch.inf)
    largest = stacked.amax(-1)
    scale = torch.where((largest > 0) & torch.isfinite(largest), largest, 1.0)
    return torch.linalg.vector_norm(stacked / scale[:, None], dim=-1) * scale


def _growth(norms: Tensor, initial: float) -> Tensor:
    back = torch.cat([norms.new_tensor([initial]), norms]).flip(0)
    return back / back[0] if back[0] > 0 else torch.full_like(back, torch.nan)


@dataclass(frozen=True)
class GradientThroughTime:
    """How large the gradient of one loss is at every step.

    dL_dh: (T,), the norm of dL/dh_t for t = 1 ... T (over batch and units, float64). dL_dh0: the
    same for the initial state. dL_dc, dL_dc0: for the cell state of an LSTM, else None. loss: the
    value of L. h: (T + 1, B, H), the states, the initial one first. A norm beyond float range is
    infinity or 0.
    """

    dL_dh: Tensor
    dL_dh0: float
    dL_dc: Tensor | None
    dL_dc0: float | None
    loss: float
    h: Tensor
    trace: Trace

    @property
    def growth(self) -> Tensor:
        """Norm of dL/dh_(T-k) over that of dL/dh_T, for k = 0 ... T steps back: (T + 1,)."""
        return _growth(self.dL_dh, self.dL_dh0)

    @property
    def growth_c(self) -> Tensor | None:
        """The same for the cell state of an LSTM; None without one."""
        if self.dL_dc is None or self.dL_dc0 is None:
            return None
        return _growth(self.dL_dc, self.dL_dc0)

    @property
    def beyond_float_range(self) -> bool:
        """Whether a norm left float range, upwards (infinity) or downwards (0).

        A norm of 0 has left it, or was never more: all units of a ReLU network may be off.
        """
        norms = torch.cat([self.dL_dh, torch.tensor([self.dL_dh0], dtype=torch.float64)])
        return bool((~torch.isfinite(norms) | (norms == 0)).any())

    @cached_property
    def jacobian_norm(self) -> Tensor:
        """Spectral norm of dh_T/dh_t for t = 1 ... T, the largest over the batch: (T,)."""
        return products_of(self.trace).block("h").norm()

    @cached_property
    def jacobian_norm_c(self) -> Tensor:
        """Spectral norm of dc_T/dc_t of an LSTM (total: c_t also acts through h_t): (T,).

        Raises `ValueError` for a layer without a cell state.
        """
        if self.trace.c is None:
            raise ValueError("jacobian_norm_c needs an nn.LSTM; this layer has no cell state.")
        return products_of(self.trace).block("c").norm()


def gradient_through_time(
    rnn: nn.RNNBase,
    x: Tensor,
    h0: Any = None,
    loss: Callable[[Tensor], Tensor] | None = None,
    *,
    layer: int = -1,
    reverse: bool = False,
) -> GradientThroughTime:
    """Measure the true gradient dL/dh_t of a recurrent layer at every step, in one backward pass.

    rnn: any nn.RNN, nn.LSTM or nn.GRU. x, h0: as `rnn` takes them. loss: maps the outputs (in the
    layout of `rnn`) to a scalar; None is the sum of the last h. layer, reverse: which layer and
    direction to watch; a reverse direction is read in its own order of time. dL/dh_t is the total
    derivative: every path from h_t to L counts. Computed in the dtype of `rnn`. Raises
    `ValueError` for another layer, shapes that do not fit, values that are not finite, or a loss
    that is not a scalar. Taught in chapter 04.

    >>> rnn = nn.RNN(1, 2, bias=False)
    >>> _ = nn.init.zeros_(rnn.weight_ih_l0), nn.init.eye_(rnn.weight_hh_l0)
    >>> gradient_through_time(rnn, torch.zeros(3, 1)).growth.tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    check_layer(rnn)
    key = _which(rnn, layer, reverse)
    with torch.enable_grad():
        run = unroll(rnn, x, h0)
        trace = run.traces[key]
        top = run.traces[rnn.num_layers - 1, key[1]]
        value = top.h[-1].sum() if loss is None else loss(run.outputs)
        if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
            raise bad("loss", value, "a function of the outputs that returns a scalar tensor")
        states = [*trace.h, *(trace.c or ())]
        grads = torch.autograd.grad(value, states, allow_unused=True)
    found = [torch.zeros_like(s) if g is None else g for s, g in zip(states, grads, strict=True)]
    norms = _norms(found[: len(trace.h)])
    memory = _norms(found[len(trace.h) :]) if trace.c is not None else None
    return GradientThroughTime(
        dL_dh=norms[1:],
        dL_dh0=norms[0].item(),
        dL_dc=None if memory is None else memory[1:],
        dL_dc0=None if memory is None else memory[0].item(),
        loss=value.item(),
        h=torch.stack(trace.h).detach(),
        trace=trace,
    )


def _which(rnn: nn.RNNBase, layer: int, reverse: bool) -> tuple[int, bool]:
    if not isinstance(layer, int) or not -rnn.num_layers <= layer < rnn.num_layers:
        raise bad("layer", layer, f"a layer of rnn, 0 to {rnn.num_layers - 1}")
    if reverse and not rnn.bidirectional:
        raise ValueError("reverse=True needs a bidirectional layer, but rnn has one direction.")
    return layer % rnn.num_layers, bool(reverse)


def jacobian_products(
    rnn: nn.RNNBase, x: Tensor, h0: Any = None, *, layer: int = -1, reverse: bool = False
) -> JacobianProducts:
    """Multiply the step Jacobians of a recurrent layer back from the end.

    The state is h, or (h, c) for an LSTM. Arguments and errors are those of
    `gradient_through_time`. Source: factor (5) in Pascanu, Mikolov and Bengio 2013
    (arXiv:1211.5063). Taught in chapter 04.
    """
    check_layer(rnn)
    key = _which(rnn, layer, reverse)
    with torch.no_grad():
        trace = unroll(rnn, x, h0).traces[key]
    return products_of(trace)


def lyapunov_exponents(
    rnn: nn.RNNBase, x: Tensor, h0: Any = None, *, count: int = 1, warmup: int = 0
) -> Tensor:
    """Measure the largest Lyapunov exponents: the mean log growth per step of a small difference.

    Above 0 two nearby states drift apart and gradients explode, below 0 they vanish. The last
    layer's forward direction is followed by QR factorisations; the first `warmup` steps are not
    counted. Returns (count,), largest first, in nats per step, averaged over the batch; where a
    direction dies, -inf or the logarithm of rounding. Raises `ValueError` like
    `gradient_through_time`, or where count exceeds the state size or warmup leaves no step. Taught
    in chapter 04.
    """
    check_layer(rnn)
    with torch.no_grad():
        trace = unroll(rnn, x, h0).traces[rnn.num_layers - 1, False]
    jacobians = step_jacobians(trace).cpu()
    T, B, S, _ = jacobians.shape
    count = check_count("count", count, high=S)
    warmup = check_count("warmup", warmup, low=0, high=T - 1)
    # A basis in general position: the unit vectors could miss the fastest direction.
    basis = haar_orthogonal(S)[:, :count].to(jacobians).expand(B, S, count)
    total = torch.zeros(B, count, dtype=torch.float64)
    for t in range(T):
        basis, r = torch.linalg.qr(jacobians[t] @ basis)
        if t >= warmup:
            total += r.diagonal(dim1=-2, dim2=-1).abs().log().double().cpu()
    return (total / (T - warmup)).mean(0).sort(descending=True).values


def linear_prediction(rho: float, steps: int) -> Tensor:
    """Return rho^k for k = 0 ... steps: what the eigenvalues alone predict. (steps + 1,) float64.

    Exact in the long run for a linear network, and from the first step on if W_hh is normal.
    Beyond float range it is infinity or 0. Taught in chapter 04.

    >>> linear_prediction(2.0, 3).tolist()
    [1.0, 2.0, 4.0, 8.0]
    """
    rho = check_number("rho", rho, low=0)
    powers = torch.arange(check_count("steps", steps, low=0) + 1, dtype=torch.float64)
    return torch.tensor(rho, dtype=torch.float64) ** powers


def gradient_bound(sigma_max: float, steps: int, *, activation: str = "tanh") -> Tensor:
    """Return (gamma * sigma_max)^k for k = 0 ... steps, which no gradient can exceed.

    gamma is the steepest slope of the activation: 1 for tanh, relu and linear, 1/4 for sigmoid.
    (steps + 1,) float64. Source: Pascanu, Mikolov and Bengio, ICML 2013 (singular value, not
    eigenvalue). Taught in chapter 04.
    """
    check_choice("activation", activation, ACTIVATIONS)
    sigma_max = check_number("sigma_max", sigma_max, low=0)
    return linear_prediction(ACTIVATIONS[activation].max_slope * sigma_max, steps)


def memory_horizon(forget_bias: Any) -> Tensor:
    """Return 1 / (1 - sigmoid(b)) = 1 + e^b, the steps that an LSTM cell remembers.

    That holds while the other weights of the forget gate are near zero. Shape: that of
    `forget_bias`, float64. Source: Tallec and Ollivier 2018 (arXiv:1804.11188). Taught in
    chapter 04.

    >>> memory_horizon([0.0, 5.0]).tolist()
    [2.0, 149.4131591025766]
    """
    bias = check_tensor("forget_bias", forget_bias, "a number or several", torch.float64)
    return 1 + bias.exp()


def gradient_map(
    rnn: nn.RNN, rhos: Any, x: Tensor, h0: Tensor | None = None, *, activation: str | None = None
) -> Tensor:
    """Measure the true gradient for many spectral radii in one pass.

    rnn: a one-layer Elman network; its W_hh is rescaled to each of `rhos` (R,). activation: use
    another than the network's own. x, h0: as `rnn` takes them.
    Returns the growth for k = 0 ... T steps back, (R, T + 1) float64: each row is
    `gradient_through_time(...).growth` of one rescaled network. Raises `ValueError` like it, and
    for a layer that is not of this kind. Taught in chapter 04.
    """
    check_layer(rnn)
    if not isinstance(rnn, nn.RNN) or rnn.num_layers > 1 or rnn.bidirectional:
        raise bad("rnn", rnn, "an nn.RNN with one layer in one direction")
    own = activation_of(rnn)
    if activation is not None:
        check_choice("activation", activation, ACTIVATIONS)
        own = ACTIVATIONS[activation]
    assert own is not None
    allowed = "a non-empty list of finite numbers of at least 0"
    radii = check_tensor("rhos", rhos, allowed, torch.float64).reshape(-1)
    if radii.numel() == 0 or not torch.isfinite(radii).all() or (radii < 0).any():
        raise bad("rhos", rhos, allowed)
    batched = check_input(rnn, x)
    first = rnn.batch_first and batched
    with torch.no_grad():
        trace = unroll(rnn, x[:, :1] if first else x[:1], h0).traces[0, False]
        W_ih, b_ih = getattr(rnn, "weight_ih_l0"), getattr(rnn, "bias_ih_l0", None)  # noqa: B009
        sequence = x.transpose(0, 1) if first else x if batched else x.unsqueeze(1)
        pre = nn.functional.linear(sequence, W_ih, b_ih)
        pre = pre if trace.b_hh is None else pre + trace.b_hh
        W = with_spectral_radius(trace.W_hh, 1.0).T
        scale = radii.to(W)[:, None, None]  # one matrix serves all radii
    with torch.enable_grad():
        h = trace.h[0].detach().expand(len(radii), -1, -1).clone().requires_grad_()
        states = [h]
        for step in pre.unbind(0):
            h = own.function(step + scale * (h @ W))
            states.append(h)
        grads = torch.autograd.grad(h.sum(), states)
    back = torch.stack([_norms(list(g)) for g in reversed(grads)], -1)
    return back / back[:, :1]

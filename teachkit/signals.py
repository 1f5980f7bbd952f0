"""How large a signal and its gradient are after each layer, or each step, at initialisation.

A deep network draws a new matrix in every layer; a recurrent network meets the same one at every
step. Chapter 02 compares the schemes by what they do to both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .device import generator
from .dynamics import GradientThroughTime, gradient_through_time
from .errors import bad, check_choice, check_count, check_number, check_tensor
from .jacobians import step_jacobians
from .models import ACTIVATIONS, Activation
from .spectra import eigenvalues, sigma_max
from .square_schemes import AnyScheme, first_spectrum, kept_matrices

# A unit whose slope is below this share of the steepest lets next to no gradient through.
SATURATED_SLOPE = 0.05


@dataclass(frozen=True)
class MeanSquares:
    """The mean square of the state, and of the gradient to it, in layers 0 ... L.

    Both as log10, (L + 1,) float64, so that 1e-400 is a number like any other. Layer 0 is the
    input, with mean square 1; the gradient arrives at layer L with mean square 1.
    """

    log10_activations: Tensor
    log10_gradients: Tensor

    @property
    def activations(self) -> Tensor:
        """Mean square of the state in each layer: (L + 1,); beyond float range infinity or 0."""
        return 10**self.log10_activations

    @property
    def gradients(self) -> Tensor:
        """Mean square of dL/dh in each layer: (L + 1,); beyond float range infinity or 0."""
        return 10**self.log10_gradients


@dataclass(frozen=True)
class Signal(MeanSquares):
    """What was measured in one network: `MeanSquares`, and how its units and its matrix look.

    saturated: (L + 1,), the share of units whose slope is below 5 % of the steepest (tanh beyond
    0.97, relu at 0; `signal_of` says which of an LSTM); 0 in layer 0, which has no activation.
    values: all activations of the last
    layer, (B * H,). eigenvalues, sigma_max: of the first matrix, gain included.
    """

    saturated: Tensor
    values: Tensor
    eigenvalues: Tensor
    sigma_max: float

    @property
    def rho(self) -> float:
        """Spectral radius of the first matrix."""
        return self.eigenvalues.abs().max().item()


def saturated_share(h: Any, activation: str | Activation = "tanh") -> Tensor:
    """Return the share of units that let less than 5 % of the steepest slope through.

    h: outputs of the activation, (..., H) -> (...). Raises `ValueError` for another activation,
    and for an h that is not made of numbers. Taught in chapter 02.

    >>> saturated_share([0.0, 0.5, 0.98, -1.0])
    tensor(0.5000, dtype=torch.float64)
    """
    if not isinstance(activation, Activation):
        check_choice("activation", activation, ACTIVATIONS)
        activation = ACTIVATIONS[activation]
    allowed = "numbers of shape (..., H), the outputs of units"
    given, h = h, check_tensor("h", h, allowed, torch.float64)
    if h.ndim == 0 or h.shape[-1] == 0:
        raise bad("h", given, allowed)
    flat = activation.slope(h) < SATURATED_SLOPE * activation.max_slope
    return flat.double().mean(-1)


# -- a network of one scheme --------------------------------------------------------------------


def signal_through_depth(
    scheme: AnyScheme,
    *,
    gain: float = 1.0,
    activation: str = "tanh",
    hidden_size: int = 128,
    depth: int = 20,
    batch_size: int = 64,
    seed: int = 0,
) -> Signal:
    """Send a signal through `depth` layers, each with a new matrix, and a gradient back.

    h_l = activation(gain * W_l h_(l-1)), with W_l (H, H) and no biases. scheme: what draws W_l, one
    of `square_schemes.SQUARE_SCHEMES`, or any that `initialize` takes and that writes W_hh, such as
    "uniform" or {"scheme": "normal", "std": 0.1}. The input and the gradient that arrives at the
    end are N(0, 1) vectors scaled to mean square 1. Raises `ValueError` for a bad argument. Sources
    of the question: Glorot and Bengio 2010; He et al. 2015 (arXiv:1502.01852). Taught in chapter
    02.

    >>> double = {"scheme": "identity", "scale": 2.0}
    >>> signal_through_depth(double, activation="linear", depth=3).activations
    tensor([ 1.0000,  4.0000, 16.0000, 64.0000], dtype=torch.float64)
    """
    depth = check_count("depth", depth)
    layers = kept_matrices(scheme, hidden_size, depth, seed)
    return _send(scheme, layers, None, gain, activation, batch_size, seed)


def signal_through_time(
    scheme: AnyScheme,
    *,
    gain: float = 1.0,
    activation: str = "tanh",
    hidden_size: int = 128,
    seq_len: int = 20,
    input: bool = False,
    batch_size: int = 64,
    seed: int = 0,
) -> Signal:
    """Send a state through `seq_len` steps of a recurrent network, and a gradient back.

    h_t = activation(gain * W h_(t-1) + x_t) with one matrix W (H, H), the first of
    `signal_through_depth`. input: x_t has an N(0, 1) entry for each unit, else it is 0. h_0 and the
    gradient that arrives at the end are N(0, 1) vectors scaled to mean square 1. Raises
    `ValueError` for a bad argument. Taught in chapter 02.
    """
    seq_len = check_count("seq_len", seq_len)
    if not isinstance(input, bool):
        raise bad("input", input, "True or False")
    (W,) = kept_matrices(scheme, hidden_size, 1, seed)
    drive = None
    if input:
        shape = seq_len, check_count("batch_size", batch_size), W.shape[0]
        drive = torch.randn(shape, generator=generator(seed, "input"), dtype=torch.float64)
    return _send(scheme, [W] * seq_len, drive, gain, activation, batch_size, seed)


def _send(
    scheme: AnyScheme,
    layers: Sequence[Tensor],
    drive: Tensor | None,
    gain: float,
    activation: str,
    batch_size: int,
    seed: int,
) -> Signal:
    """Run forward and backward; drive (L, B, H) is added before the activation."""
    gain = check_number("gain", gain, low=0)
    check_choice("activation", activation, ACTIVATIONS)
    own, H = ACTIVATIONS[activation], layers[0].shape[0]
    shape = check_count("batch_size", batch_size), H

    def start(purpose: str) -> Tensor:
        drawn = torch.randn(shape, generator=generator(seed, purpose), dtype=torch.float64)
        return drawn / drawn.square().mean(-1, keepdim=True).sqrt()

    states = [start("h0")]
    for i, W in enumerate(layers):
        a = gain * (states[-1] @ W.T)
        states.append(own.function(a if drive is None else a + drive[i]))
    back = [start("gradient")]
    for W, h in zip(reversed(layers), reversed(states[1:]), strict=True):
        back.append(gain * ((back[-1] * own.slope(h)) @ W))
    values, sigma = first_spectrum(scheme, layers[0], seed)
    h = torch.stack(states)
    return Signal(
        log10_activations=_log10_mean_square(h),
        log10_gradients=_log10_mean_square(torch.stack(back[::-1])),
        saturated=_saturated_by_layer(h, own),
        values=states[-1].flatten(),
        eigenvalues=gain * values,
        sigma_max=gain * sigma,
    )


def _log10_mean_square(h: Tensor) -> Tensor:
    """Return log10 of the mean square of each (B, H) of (L + 1, B, H), also of 1e-200 squared."""
    size = torch.nan_to_num(h.double().abs(), nan=torch.inf, posinf=torch.inf).flatten(1)
    largest = size.amax(-1)
    scale = torch.where((largest > 0) & torch.isfinite(largest), largest, 1.0)
    return (size / scale[:, None]).square().mean(-1).log10() + 2 * scale.log10()


def _saturated_by_layer(h: Tensor, activation: Activation) -> Tensor:
    share = saturated_share(h.flatten(1), activation)
    share[0] = 0.0
    return share


# -- the reader's own network -------------------------------------------------------------------


def signal_of(
    rnn: nn.RNNBase, x: Tensor, h0: Any = None, *, layer: int = -1, reverse: bool = False
) -> Signal:
    """Measure the signal in your own nn.RNN, nn.LSTM or nn.GRU on a batch of yours.

    x, h0, layer, reverse: as `gradient_through_time` takes them. Step 0 is the initial state. The
    gradient is that of the sum of the last h, relative to its mean square at the last step; for an
    LSTM it is the gradient to the cell state, which carries it. Where it is 0 at the last step, as
    where every tanh(c) is 1 to rounding, all of it is NaN: not defined.

    Saturated are units whose h lies where the activation is flat. In an LSTM they are cells whose
    tanh(c) does: its h is also small where the output gate is. In a GRU they are units whose h lies
    where a tanh would be flat: h is a mean of earlier tanh outputs (and of h0). The matrix is the
    W_hh of an Elman layer, else the Jacobian of the last step of the first sequence. Raises
    `ValueError` like `gradient_through_time`. Taught in chapter 02.
    """
    found = gradient_through_time(rnn, x, h0, layer=layer, reverse=reverse)
    W = found.trace.W_hh
    if found.trace.activation is None:
        W = step_jacobians(found.trace.last_step())[0, 0].detach()
    return signal_in(found, eigenvalues(W), sigma_max(W).item())


def signal_in(found: GradientThroughTime, values: Tensor, sigma: float) -> Signal:
    """Return the `Signal` in what was measured; values, sigma: eigenvalues (S,) and sigma_max."""
    growth = found.growth if found.growth_c is None else found.growth_c
    h, cells = found.h.cpu(), found.trace.c
    units = h if cells is None else torch.stack(cells).detach().cpu().double().tanh()
    return Signal(
        log10_activations=_log10_mean_square(h),
        log10_gradients=2 * growth.flip(0).log10(),
        saturated=_saturated_by_layer(units, found.trace.activation or ACTIVATIONS["tanh"]),
        values=h[-1].double().flatten(),
        eigenvalues=values,
        sigma_max=sigma,
    )


# -- theory -------------------------------------------------------------------------------------


def _tanh_in_theory(log10_s: float) -> tuple[float, float]:
    """Return log10 of E[tanh(s z)^2] and of E[tanh'(s z)^2], for z ~ N(0, 1), at any s >= 0."""
    if log10_s < -7:  # linear there, and s may be below float range
        return 2 * log10_s, 0.0
    s = 10**log10_s
    # Over u = s z, to 9 standard deviations, or to 20, where the slope of a steep tanh has ended:
    # evenly spaced points are exact to rounding for such functions.
    end = min(9 * s, 20.0)
    u = torch.linspace(-end, end, 1801, dtype=torch.float64)
    weights = (-(u / s).square() / 2).exp() * (end / 900 / math.sqrt(2 * math.pi))  # times 1 / s
    h = u.tanh()
    slope = 1 - h * h
    flat = end == 20.0  # beyond it tanh^2 is 1: integrate what is missing
    square = 1 - (weights @ slope).item() / s if flat else (weights @ h.square()).item() / s
    return math.log10(square), math.log10(weights @ slope.square()) - log10_s


def _layer_in_theory(log10_p: float, activation: str) -> tuple[float, float]:
    """Return log10 of E[phi(sqrt(p) z)^2] and of E[phi'(sqrt(p) z)^2], for z ~ N(0, 1)."""
    if activation == "linear":
        return log10_p, 0.0
    if activation == "relu":  # half of the units are off
        return log10_p + math.log10(0.5), math.log10(0.5)
    if activation == "tanh":
        return _tanh_in_theory(log10_p / 2)
    # sigmoid(a) = (1 + tanh(a / 2)) / 2, and the mean of tanh is 0
    square, slope = _tanh_in_theory(log10_p / 2 - math.log10(2))
    return math.log10((1 + 10**square) / 4), slope - math.log10(16)


def expected_signal(
    variance_factor: float, activation: str, steps: int, *, input_variance: float = 0.0
) -> MeanSquares:
    """Compute the mean squares that theory expects of wide layers with independent weights.

    variance_factor: gain^2 * H * variance of a weight; `square_schemes.variance_factor` knows it of
    a scheme. activation: one of `models.ACTIVATIONS`. input_variance: of an N(0, .) input to every
    unit. The mean squares start from 1.

    Forwards, a layer with input of mean square q has pre-activations of variance p =
    variance_factor * q + input_variance, and the next q is E[phi(sqrt(p) z)^2] with z ~ N(0, 1);
    backwards it multiplies the mean square of the gradient by variance_factor *
    E[phi'(sqrt(p) z)^2]. For relu both means are halves: hence the variance 2 / H of He. Raises
    `ValueError` for a bad argument. Sources: Glorot and Bengio 2010; He et al. 2015
    (arXiv:1502.01852); Poole et al. 2016 (arXiv:1606.05340); backwards Schoenholz et al. 2017
    (arXiv:1611.01232). Taught in chapter 02.

    >>> expected_signal(2.0, "relu", 3).activations.tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    factor = check_number("variance_factor", variance_factor, low=0)
    check_choice("activation", activation, ACTIVATIONS)
    steps = check_count("steps", steps, low=0)
    input_variance = check_number("input_variance", input_variance, low=0)
    log_factor, log_input = (math.log10(v) if v else -math.inf for v in (factor, input_variance))
    q, slopes = [0.0], []
    for _ in range(steps):
        p = _log10_sum(log_factor + q[-1], log_input)
        log_q, log_slope = _layer_in_theory(p, activation)
        q.append(log_q)
        slopes.append(log_factor + log_slope)
    back = torch.tensor([0.0, *slopes[::-1]], dtype=torch.float64).cumsum(0).flip(0)
    return MeanSquares(torch.tensor(q, dtype=torch.float64), back)


def _log10_sum(one: float, other: float) -> float:
    """Return log10(10^one + 10^other)."""
    high, low = max(one, other), min(one, other)
    return high if low == -math.inf else high + math.log10(1 + 10 ** (low - high))

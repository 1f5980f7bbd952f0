"""How fast a recurrent layer forgets the state that it started from.

Two starts under one input: where the difference between their paths dies out, the layer has the
echo state property there, and it matters little where it began. Chapter 03 teaches it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .device import generator
from .drop_ins import DropInLayer, state_layers, state_sizes
from .errors import bad, check_count, check_number, check_tensor
from .initial_states import CarriedState
from .unroll import check_input, check_layer, unroll

State = Tensor | tuple[Tensor, ...]


def state_parts(state: State) -> tuple[Tensor, ...]:
    """Return a state as a tuple: (h0,), or (h0, c0) of an LSTM."""
    return (state,) if isinstance(state, Tensor) else tuple(state)


def as_state(parts: Iterable[Tensor]) -> State:
    """Return a state as a layer takes it: h0, or (h0, c0) of an LSTM."""
    found = tuple(parts)
    return found if len(found) > 1 else found[0]


def noisy_starts(rnn: nn.RNNBase, count: int = 8, std: float = 0.3, seed: int = 0) -> State:
    """Draw initial states with N(0, std**2) entries: h0 (rows, count, size), or (h0, c0).

    rows: one a layer and direction. The noise of one seed is scaled by `std`, so that its direction
    stays. The backward rows of a bidirectional layer are zero: what starts at the end of a sequence
    cannot be forgotten along it. Raises `ValueError` for another layer, a count below 1 or a
    negative std. Taught in chapter 03.

    >>> noisy_starts(nn.RNN(1, 4), count=3).shape
    torch.Size([1, 3, 4])
    """
    check_layer(rnn)
    count, std = check_count("count", count), check_number("std", std, low=0)
    stream = generator(seed, "noisy starts")
    weight = next(rnn.parameters())
    rows = len(state_layers(rnn))

    def draw(size: int) -> Tensor:
        noise = torch.randn(rows, count, size, generator=stream, dtype=torch.float64)
        if rnn.bidirectional:
            noise[1::2] = 0.0
        return (std * noise).to(weight)

    return as_state(draw(size) for size in state_sizes(rnn).values())


@dataclass(frozen=True)
class OwnStart:
    """Where a drop-in itself starts: `kind` "learned" or "carried", and the state of one path."""

    kind: str
    state: State


def own_start(rnn: nn.RNNBase, x: Tensor) -> OwnStart | None:
    """Return what a drop-in starts the first sequence of x from in evaluation.

    None where that is zero, as it is for PyTorch's own layers and for noise, which evaluation
    leaves out.
    """
    state = rnn.start(x, training=False) if isinstance(rnn, DropInLayer) else None
    if state is None:
        return None
    parts = [s.detach()[:, :1] if s.ndim == 3 else s.detach()[:, None] for s in state_parts(state)]
    if not any(part.any() for part in parts):
        return None
    carried = isinstance(rnn.initial_state, CarriedState)
    return OwnStart("carried" if carried else "learned", as_state(parts))


def starts_side_by_side(
    rnn: nn.RNNBase, own: OwnStart | None, count: int = 8, std: float = 0.3, seed: int = 0
) -> State:
    """Put starts into one state: zero, the layer's own where it has one, and `count` noisy ones.

    Shapes: (rows, 1 or 2 plus count, size) each. Backward rows are the layer's own in all of them.
    """
    parts = []
    for i, noise in enumerate(state_parts(noisy_starts(rnn, count, std, seed))):
        zero = torch.zeros_like(noise[:, :1])
        columns = [zero, noise] if own is None else [zero, state_parts(own.state)[i], noise]
        starts = torch.cat(columns, 1)
        if own is not None and rnn.bidirectional:
            starts[1::2] = columns[1][1::2]
        parts.append(starts)
    return as_state(parts)


def state_paths(rnn: nn.RNNBase, x: Tensor, starts: State) -> Tensor:
    """Run a layer from several starts under the same input, all in one pass.

    x: as `rnn` takes it, B sequences or one without a batch. starts: S initial states, h0
    (rows, S, size), for an LSTM (h0, c0). Returns h of the last layer's forward direction,
    (T + 1, B, S, H_out), the starts first. The layer stays as it is, with a carried state too, and
    works as in evaluation. Raises `ValueError` for another layer, shapes that do not fit, or values
    that are not finite. Taught in chapter 03.
    """
    check_layer(rnn)
    along = 0 if rnn.batch_first else 1
    sequences = x if check_input(rnn, x) else x.unsqueeze(along)
    B, parts = sequences.shape[along], state_parts(starts)
    rows, sizes = len(state_layers(rnn)), state_sizes(rnn).values()
    S = parts[0].shape[1] if parts and getattr(parts[0], "ndim", 0) == 3 else 0
    wanted = [(rows, S, size) for size in sizes]
    if S == 0 or [tuple(getattr(part, "shape", ())) for part in parts] != wanted:
        shapes = " and ".join(f"({rows}, starts, {size})" for size in sizes)
        raise bad("starts", starts, f"of shape {shapes}")
    with torch.no_grad():
        run = unroll(
            rnn,
            sequences.repeat_interleave(S, along),
            as_state(part.repeat(1, B, 1) for part in parts),
        )
        h = torch.stack(run.traces[rnn.num_layers - 1, False].h)
    return h.unflatten(1, (B, S))


def difference_left(paths: Tensor, reference: Tensor) -> Tensor:
    """Return how far paths are from a reference path, relative to where they began.

    paths: (T + 1, ..., H); reference: of a shape that broadcasts to it. Returns |h_t - reference_t|
    over its value at t = 0, (T + 1, ...) in float64: 1 at first, 0 where two paths have become the
    same, infinity beyond float range. A path that begins where the reference does has no difference
    to lose, and is NaN at every step. Taught in chapter 03.

    >>> difference_left(torch.tensor([[4.0], [2.0], [0.0]]), torch.zeros(3, 1)).tolist()
    [1.0, 0.5, 0.0]
    """
    apart = (paths.detach().cpu().double() - reference.detach().cpu().double()).abs()
    apart = torch.nan_to_num(apart, nan=torch.inf, posinf=torch.inf)  # only overflow makes NaN
    largest = apart.amax(-1)
    scale = torch.where((largest > 0) & torch.isfinite(largest), largest, 1.0)
    # Scaled by its largest entry: the square of 1e-200 would leave float range.
    distance = torch.linalg.vector_norm(apart / scale[..., None], dim=-1) * scale
    return torch.where(distance[0] > 0, distance / distance[0], torch.nan)


def geometric_mean(left: Tensor) -> Tensor:
    """Return the geometric mean over the starts that have not become the same as the reference.

    left: (T + 1, S) of `difference_left`. Returns (T + 1,), 0 where all of them have. NaN, of a
    start without a difference, does not count; where there is nothing else, the mean is NaN.
    """
    logs = torch.where(left > 0, left, 1.0).log().sum(-1)
    apart = (left > 0).sum(-1)
    mean = torch.where(apart > 0, (logs / apart.clamp(min=1)).exp(), 0.0)
    return torch.where(left.isnan().all(-1), torch.nan, mean)


def forgetting_curve(
    rnn: nn.RNNBase, x: Tensor, *, std: float = 0.3, starts: int = 8, seed: int = 0
) -> Tensor:
    """Measure how much of the difference that a noisy start makes is left after each step.

    x: a batch of sequences as `rnn` takes them, or one. Each is run from zero and from `starts`
    states with N(0, std**2) entries, those of an LSTM in c0 too. Returns the distance of the last
    layer's h to its path from zero, relative to t = 0, as the geometric mean over starts and
    sequences: (T + 1,). A copy of the layer runs in float64, since float32 rounds a small
    difference away; float64 does so below some 1e-16 of the states. Where the curve falls to 0 the
    layer has the echo state property under this input; a spectral radius below 1 is not sufficient
    for that (Yildiz, Jaeger and Kiebel, "Re-visiting the echo state property", 2012), nor is one
    above 1 the end of it. Raises `ValueError` like `state_paths`, or for a std of 0. Taught in
    chapter 03.

    >>> rnn = nn.RNN(1, 2, bias=False)
    >>> _ = nn.init.zeros_(rnn.weight_hh_l0)
    >>> forgetting_curve(rnn, torch.zeros(3, 1)).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    check_layer(rnn)
    if check_number("std", std, low=0) == 0:
        raise bad("std", std, "a number above 0")
    count = check_count("starts", starts)
    check_input(rnn, x)  # before both are cast, and whatever does not fit would
    rnn, x = copy.deepcopy(rnn).cpu().double(), x.detach().cpu().double()
    paths = state_paths(rnn, x, starts_side_by_side(rnn, None, count, std, seed))
    return geometric_mean(difference_left(paths[:, :, 1:], paths[:, :, :1]).flatten(1))


def steps_until(curve: Any, share: float) -> int | None:
    """Return the first step from which on a curve stays at or below a share; None if it does not.

    curve: (T + 1,), as of `forgetting_curve`. share: of the difference, at least 0. Raises
    `ValueError` for another shape or share.

    >>> steps_until([1.0, 0.08, 0.2, 0.1, 0.01], 0.1)
    3
    """
    allowed = "a list of numbers, one a step"
    values = check_tensor("curve", curve, allowed, torch.float64)
    if values.ndim != 1 or values.numel() == 0:
        raise bad("curve", curve, allowed)
    share = check_number("share", share, low=0)
    above = (~(values <= share)).nonzero()
    first = int(above[-1]) + 1 if len(above) else 0
    return first if first < len(values) else None


def principal_plane(clouds: Iterable[Tensor]) -> Tensor:
    """Return the plane in which several clouds of states spread most: (H, 2), orthonormal columns.

    clouds: (..., H) each, at least one. Each is centred, and counts as much as any other however
    wide it is. It is the plane of the first two principal components of all of them. Two units have
    a plane already, which stays as it is; one unit gets an empty second axis. A column's largest
    entry is positive, so that a picture never flips. Raises `ValueError` where there is no cloud.
    """
    spread: Tensor | float = 0.0
    for cloud in clouds:
        points = cloud.detach().cpu().double().flatten(0, -2)
        points = points[torch.isfinite(points).all(-1)]
        H = points.shape[-1]
        if H <= 2:
            return torch.eye(2, dtype=torch.float64)[:H]
        widest = points.abs().amax() if len(points) else points.new_tensor(0.0)
        points = points / torch.where(widest > 0, widest, 1.0)  # squares within float range
        points = points - points.mean(0) if len(points) else points
        scatter = points.T @ points
        trace = scatter.trace()
        spread = spread + scatter / torch.where(trace > 0, trace, 1.0)
    if isinstance(spread, float):
        raise ValueError("clouds must hold at least one cloud of states, but none was given.")
    plane = torch.linalg.eigh(spread).eigenvectors[:, -2:].flip(1)
    largest = plane.gather(0, plane.abs().argmax(0, keepdim=True))
    return plane * largest.sign()


def share_in_plane(states: Tensor, plane: Tensor) -> float:
    """Return how much of the variance of states (..., H) lies in a plane (H, 2), from 0 to 1."""
    points = states.detach().cpu().double().flatten(0, -2)
    points = points[torch.isfinite(points).all(-1)]
    if len(points) == 0:
        return 1.0
    points = points / points.abs().amax().clamp(min=1.0)  # squares within float range
    points = points - points.mean(0)
    total = points.square().sum().item()
    return (points @ plane).square().sum().item() / total if total > 0 else 1.0

"""The clipping methods as rules for R networks at once; one network is a stack of one.

A method says which gradients it clips together and how long they may be. `clipping` puts the
methods behind one interface.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import bad, check_number

# The default threshold of each method, in its own unit.
METHODS: dict[str, float] = {
    "norm": 1.0,
    "per_parameter": 1.0,
    "value": 1.0,
    "recurrent": 1.0,
    "all_but_output": 1.0,
    "output": 1.0,
    "agc": 0.01,
    "autoclip": 10.0,
    "zclip": 2.5,
    "error": 1.0,
}
GROUPS = ("recurrent", "output", "other")
# Methods that clip certain groups and leave the others as they are.
CLIPPED_GROUPS = {
    "recurrent": ("recurrent",),
    "all_but_output": ("recurrent", "other"),
    "output": ("output",),
    "agc": ("recurrent", "other"),
}
ZERO_WEIGHTS = 1e-3  # the norm that a unit of smaller weights counts as in AGC
_NORM_EPSILON = 1e-6  # that PyTorch adds to a norm before it divides
_STD_EPSILON = 1e-6  # that the code of ZClip adds to a standard deviation before it divides
_UNIT_FLOOR = 1e-6  # the least that Optax divides by in AGC


@dataclass(frozen=True)
class StackedParameter:
    """A parameter of R networks: its group, its values and its gradient, both (R, ...)."""

    group: str
    values: Tensor
    gradient: Tensor


def check_threshold(method: str, given: float | None) -> float:
    """Return the threshold of a method, None for its default; raise `ValueError` for a bad one."""
    given = METHODS[method] if given is None else given
    high = 100.0 if method == "autoclip" else math.inf
    threshold = check_number("threshold", given, low=0, high=high)
    if threshold == 0:
        raise bad("threshold", given, "above 0" + (" and at most 100" if high == 100 else ""))
    return threshold


def clipped_together(method: str, groups: Sequence[str], whole: bool = False) -> list[list[int]]:
    """Return which parameters a method clips, each list together, by their place in `groups`.

    whole: whether a method that has an exception for the output layer makes none.
    """
    if method == "per_parameter":
        return [[n] for n in range(len(groups))]
    chosen = GROUPS if whole else CLIPPED_GROUPS.get(method, GROUPS)
    places = [n for n, group in enumerate(groups) if group in chosen]
    return [places] if places else []


# -- how long a gradient may be ----------------------------------------------------------------

# From the norms of R networks, (R,), the longest that each may be; infinity clips nothing.
Limits = Callable[[Tensor], Tensor]


@dataclass
class FixedLimit:
    """The same limit at every step."""

    threshold: float

    def __call__(self, norms: Tensor) -> Tensor:
        """Return the limit of each network."""
        return torch.full_like(norms, self.threshold)


class PercentileLimit:
    """AutoClip: a percentile (the threshold) of all norms so far, the current one among them.

    Norms that are not finite are not remembered, and no step before the second is clipped. Source:
    Seetharaman, Wichern, Pardo and Le Roux 2020 (arXiv:2007.14469).
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._norms = torch.empty(0, 0, dtype=torch.float64)
        self._count = 0

    def __call__(self, norms: Tensor) -> Tensor:
        """Remember the norms, and return the limit of each network."""
        if self._count == len(self._norms):  # room for twice as many, as a list would make
            room = torch.full((max(16, self._count), len(norms)), torch.nan, dtype=torch.float64)
            self._norms = torch.cat([self._norms.view(-1, len(norms)), room])
        finite = norms.isfinite().cpu()
        self._norms[self._count] = torch.where(finite, norms.double().cpu(), torch.nan)
        self._count += 1
        limits = torch.nanquantile(self._norms[: self._count], self.threshold / 100, dim=0)
        return torch.nan_to_num(limits, nan=torch.inf, posinf=torch.inf).to(norms)


class ZScoreLimit:
    """ZClip: spikes are cut down towards the usual norm, the more the larger they are.

    The usual norm is a running mean with a running variance, which begin as those of the first
    `warmup` finite norms of a network. A norm more than `threshold` standard deviations above the
    mean is a spike; a spike of z deviations may keep mean + threshold * std * threshold / z, and
    that is what the mean then learns of it. An infinite norm is an infinite spike and may keep the
    mean. While the deviation is 0, as after a warm-up of zeros, no finite norm is a spike.
    max_norm: another, fixed limit; the authors' code has 1. Norms that are not finite are not
    remembered. Source: Kumar, Owen, Chowdhury and Güra 2025 (arXiv:2504.02507) and the code at
    bluorion-com/ZClip.
    """

    def __init__(self, threshold: float, alpha: float, warmup: int, max_norm: float | None) -> None:
        self.threshold, self.alpha, self.warmup, self.max_norm = threshold, alpha, warmup, max_norm
        self._first = self._mean = self._var = torch.empty(0)

    def __call__(self, norms: Tensor) -> Tensor:
        """Learn from the norms, and return the limit of each network."""
        now = norms.double()
        if not len(self._mean):  # NaN stands for what is not known yet, and makes no spike
            self._mean = self._var = torch.full_like(now, torch.nan)
            self._first = now.new_full((self.warmup, len(now)), torch.nan)
        warming = self._mean.isnan()
        std = self._var.sqrt()
        z = (now - self._mean) / (std + _STD_EPSILON)
        # a norm beyond float range is the largest of all
        spike = (z > self.threshold) & ((std > 0) | now.isinf())
        cut = self._mean + self.threshold * std * self.threshold / z
        limits = torch.where(spike, cut, torch.inf)
        learned = torch.where(spike, cut, now)
        learned = torch.where(spike | now.isfinite(), learned, self._mean)
        self._mean = self.alpha * self._mean + (1 - self.alpha) * learned
        deviation = (learned - self._mean).square()
        self._var = self.alpha * self._var + (1 - self.alpha) * deviation
        if warming.any():
            self._warm_up(now, warming)
        if self.max_norm is not None:
            limits = limits.clamp(max=self.max_norm)
        return limits.to(norms)

    def _warm_up(self, now: Tensor, warming: Tensor) -> None:
        """Keep the finite norms, and begin where a network has all that it needs."""
        rows = torch.arange(self.warmup, device=now.device)[:, None]
        free = rows == self._first.isfinite().sum(0)
        self._first = torch.where(free & now.isfinite(), now, self._first)
        full = warming & self._first.isfinite().all(0)
        mean = self._first.nanmean(0)
        var = (self._first - mean).square().nanmean(0)
        self._mean = torch.where(full, mean, self._mean)
        self._var = torch.where(full, var, self._var)


# Those of the methods; their threshold may change from step to step.
OwnLimits = FixedLimit | PercentileLimit | ZScoreLimit


def limits_where_exceeded(norms: Tensor, limits: Tensor) -> Tensor:
    """Return the limits, but infinity where a norm is within its own.

    PyTorch shortens a norm that equals its limit by 1e-6. That would count as clipped where limits
    are made of norms: the first of all is its own percentile.
    """
    return torch.where(norms <= limits, torch.inf, limits)


# -- what happens to it ------------------------------------------------------------------------


def norms_of(gradients: Sequence[Tensor]) -> Tensor:
    """Return the global L2 norm of each of R networks, (R,), from one tensor (R, ...) a parameter.

    Squares are summed in the precision of the gradients, as `torch.nn.utils.clip_grad_norm_` does.
    """
    norms = [torch.linalg.vector_norm(g.reshape(len(g), -1), dim=1) for g in gradients]
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)


def scale_to(gradients: Sequence[Tensor], norms: Tensor, limits: Tensor) -> Tensor:
    """Scale gradients (R, ...) in place so that no norm exceeds its limit.

    As `torch.nn.utils.clip_grad_norm_` has it, for each network. Returns (R,), whether they were
    changed.
    """
    scale = (limits / (norms + _NORM_EPSILON)).clamp(max=1.0)
    scale = torch.where(limits.isinf(), 1.0, scale)  # no limit: not even for a norm of NaN
    for g in gradients:
        g.mul_(scale.to(g.dtype).view(-1, *[1] * (g.ndim - 1)))
    return scale != 1


def clamp_to(gradients: Sequence[Tensor], limit: float) -> Tensor:
    """Clamp every entry to [-limit, limit], in place; return (R,), whether any changed."""
    changed = [(~(g.abs() <= limit) & ~g.isnan()).reshape(len(g), -1).any(1) for g in gradients]
    for g in gradients:
        g.clamp_(-limit, limit)
    return torch.stack(changed).any(0)


def adapt_to_weights(parameters: Sequence[StackedParameter], ratio: float) -> Tensor:
    """Scale the gradient of each unit to at most `ratio` times the norm of its weights, in place.

    A unit is a row of a matrix, or a whole vector; a matrix with one row or one column counts as a
    vector, as in Optax. A norm of weights below `ZERO_WEIGHTS` counts as that. Returns (R,),
    whether anything changed. Source: adaptive gradient clipping, Brock, De, Smith and Simonyan 2021
    (arXiv:2102.06171); `optax.adaptive_grad_clip`.
    """
    changed = []
    for p in parameters:
        g = p.gradient
        allowed = ratio * _unit_norms(p.values.detach()).clamp(min=ZERO_WEIGHTS)
        norms = _unit_norms(g)
        within = norms < allowed  # a NaN is not, and then makes its unit NaN
        scale = torch.where(within, 1.0, allowed / norms.clamp(min=_UNIT_FLOOR))
        g.mul_(scale)
        changed.append((scale != 1).reshape(len(g), -1).any(1))
    return torch.stack(changed).any(0)


def _unit_norms(x: Tensor) -> Tensor:
    """Return the norms of the units of R networks, in a shape that multiplies x (R, ...)."""
    long = [n for n in range(1, x.ndim) if x.shape[n] > 1]
    over = [n for n in range(1, x.ndim) if len(long) < 2 or n != long[0]]
    return torch.linalg.vector_norm(x, dim=over, keepdim=True) if over else x.abs()

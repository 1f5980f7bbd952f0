"""The error of one recurrent unit over its weight and bias: a wall, and gradient descent before it.

The unit of Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063), Fig. 6: x_{t+1} = w sigmoid(x_t) + b
starts at x_0 = 0.5, and after 50 steps its error is E = (sigmoid(x_50) - 0.7)^2. Chapter 05 teaches
what clipping does at the wall in this surface.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import bad, check_choice, check_count, check_number, check_positive, check_tensor

START, STEPS, TARGET = 0.5, 50, 0.7  # x_0, the length of the sequence, what sigmoid(x_50) should be
_RISE = 1 / (1 + math.exp(-START))  # sigmoid(x_0)
_SLOPE = _RISE * (1 - _RISE)  # sigmoid'(x_0)
WALL_STARTS_AT = 1 / _SLOPE  # the weight at which the fixed point x_0 stops to attract: 4.2553
# As many points fit into a fast cache, and PyTorch does not split so few over threads.
_CHUNK = 32768
_EPSILON = 1e-6  # of `torch.nn.utils.clip_grad_norm_`


@dataclass(frozen=True)
class ErrorSurface:
    """The error E and its derivatives, arrays of the broadcast shape of w and b."""

    error: np.ndarray
    dE_dw: np.ndarray
    dE_db: np.ndarray

    @property
    def norm(self) -> np.ndarray:
        """The norm of the gradient, infinity where it leaves float range."""
        with np.errstate(over="ignore"):
            return np.hypot(self.dE_dw, self.dE_db)


def error_surface(
    w: Any,
    b: Any,
    *,
    x0: float = START,
    steps: int = STEPS,
    target: float = TARGET,
    dtype: str | None = None,
) -> ErrorSurface:
    """Compute the error after `steps` steps, and its exact gradient, for every w and b.

    The derivatives of x by w and b are carried along with x (forward mode). w, b: finite numbers or
    arrays that broadcast, such as (W,) and (B, 1). dtype: "float32", twice as fast, or "float64",
    needed next to the wall; None takes float32 where only float32 arrays are given. A derivative
    that leaves float range, also on the way, is infinity. Raises `ValueError` for shapes that do
    not broadcast and for numbers that are not finite. Source: Pascanu, Mikolov and Bengio 2013
    (arXiv:1211.5063), Fig. 6. Taught in chapter 05.

    >>> surface = error_surface(5.0, wall_line(5.0))
    >>> float(surface.error.round(4)), int(surface.norm)
    (0.006, 779)
    """
    x0 = check_number("x0", x0)
    steps = check_count("steps", steps)
    target = check_number("target", target)
    kind = _dtype_of(w, b) if dtype is None else dtype
    check_choice("dtype", kind, ["float32", "float64"])
    weights, biases = (_finite(name, v, kind) for name, v in (("w", w), ("b", b)))
    try:
        weights, biases = torch.broadcast_tensors(weights, biases)
    except RuntimeError:
        allowed = f"of a shape that broadcasts with w {tuple(weights.shape)}"
        raise bad("b", biases, allowed) from None
    shape, flat = weights.shape, torch.stack([weights.flatten(), biases.flatten()])
    found = flat.new_empty(3, flat.shape[1])
    chunks = max(1, math.ceil(flat.shape[1] / _CHUNK))
    for given, out in zip(flat.chunk(chunks, 1), found.chunk(chunks, 1), strict=True):
        _run(given[0], given[1], out, x0, steps, target)
    # infinity times the 0 of a saturated unit
    found[1:].nan_to_num_(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    error, dE_dw, dE_db = (values.reshape(shape).numpy() for values in found)
    return ErrorSurface(error, dE_dw, dE_db)


def _dtype_of(*given: Any) -> str:
    kinds = {str(v.dtype).removeprefix("torch.") for v in given if hasattr(v, "dtype")}
    return "float32" if kinds == {"float32"} else "float64"


def _finite(argument: str, given: Any, dtype: str) -> Tensor:
    allowed = "a finite number or an array of them"
    if isinstance(given, Tensor):
        given = given.detach().cpu()
    values = check_tensor(argument, given, allowed, torch.float64).to(getattr(torch, dtype))
    if not torch.isfinite(values).all():
        raise ValueError(f"{argument} must be finite in {dtype}, but it contains NaN or infinity.")
    return values


def _run(w: Tensor, b: Tensor, out: Tensor, x0: float, steps: int, target: float) -> None:
    """Write E, dE/dw and dE/db of N points into `out` (3, N), without a new tensor in a step."""
    error, by_w, by_b = out
    by_w.zero_()  # dx/dw, and in the end dE/dw
    by_b.zero_()
    s, slope, one = torch.empty_like(w), torch.empty_like(w), torch.ones_like(w)
    x = torch.full_like(w, x0)
    for _ in range(steps):
        torch.sigmoid(x, out=s)
        torch.mul(w, s, out=slope)
        torch.add(slope, b, out=x)
        slope.addcmul_(slope, s, value=-1)  # w sigmoid'(x) = w s (1 - s)
        torch.addcmul(s, slope, by_w, out=by_w)
        torch.addcmul(one, slope, by_b, out=by_b)
    torch.sigmoid(x, out=s)
    torch.sub(s, target, out=x)
    torch.mul(x, x, out=error)
    x.mul_(2).mul_(s).mul_(one.sub_(s))  # dE/dx
    by_w.mul_(x)
    by_b.mul_(x)


def wall_line(w: Any) -> Any:
    """Return the bias b at which x_0 = 0.5 is a fixed point: 0.5 - w sigmoid(0.5).

    For w > `WALL_STARTS_AT` that point repels, and the surface has its wall there. w: a number or
    an array; returns the same. Raises `ValueError` where w is not made of numbers. Source: the
    fixed point of Fig. 6 in Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063). Taught in
    chapter 05.

    >>> round(wall_line(5.0), 4)
    -2.6123
    """
    return START - _numbers(w) * _RISE


def slope_on_wall(w: Any) -> Any:
    """Return what one step on the wall multiplies dx by: w sigmoid'(0.5); 50 steps, its 50th power.

    w: a number or an array; returns the same. Raises `ValueError` where w is not made of numbers.
    Source: Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063), section 2. Taught in chapter 05.

    >>> f"{slope_on_wall(6.0) ** 50:.1e}"
    '2.9e+07'
    """
    return _numbers(w) * _SLOPE


def _numbers(w: Any) -> Any:
    """Return a tensor as it is, other arrays as NumPy's, and one number as a Python number."""
    check_tensor("w", w, "a number or an array of numbers", torch.float64)
    if isinstance(w, Tensor):
        return w
    values = np.asarray(w)
    return values if values.ndim else values.item()


@dataclass(frozen=True)
class Path:
    """Where gradient descent went, the start first: arrays (steps + 1, ...), a path a start.

    w, b: the places; error, norm: E and the norm of its gradient there (infinity beyond float
    range); clipped: whether the step from there was shortened (the last place has no step). From
    where w or b leaves float range on, all are NaN and nothing is clipped.
    """

    w: np.ndarray
    b: np.ndarray
    error: np.ndarray
    norm: np.ndarray
    clipped: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """How far each step went, (steps, ...)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.hypot(np.diff(self.w, axis=0), np.diff(self.b, axis=0))


def descend(w: Any, b: Any, *, lr: float, threshold: Any = None, steps: int = 200) -> Path:
    """Descend on the error surface of Fig. 6 from one start or many, in float64.

    w, b: numbers or arrays that broadcast, a place a start. lr: the learning rate. threshold: the
    gradient is scaled by min(1, threshold / (norm + 1e-6)), as `torch.nn.utils.clip_grad_norm_`
    does it, so that no step is longer than lr * threshold; None clips nothing. It may be an array
    that broadcasts with w and b, with infinity for no clipping. steps: of the descent. Next to the
    wall a path depends on the last digit of its start, so that one path alone tells little. Raises
    `ValueError` for a place that is not finite, lr or threshold not above 0, steps below 1. Source:
    Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063), algorithm 1. Taught in chapter 05.

    >>> path = descend(7.0, -3.0, lr=0.1, threshold=0.05)
    >>> [round(e, 3) for e in path.error[[0, -1]].tolist()], int(path.clipped.sum())
    ([0.078, 0.058], 13)
    """
    lr, steps = check_positive("lr", lr), check_count("steps", steps)
    place = [_finite(name, v, "float64").numpy() for name, v in (("w", w), ("b", b))]
    limit = _limits(threshold)
    try:
        at_w, at_b, limit = np.broadcast_arrays(*place, limit)
    except ValueError:
        raise ValueError(
            "w, b and threshold must be of shapes that broadcast, but "
            f"{place[0].shape}, {place[1].shape} and {limit.shape} were given."
        ) from None
    shape = at_w.shape
    rows = np.empty((4, steps + 1, at_w.size))
    clipped = np.zeros((steps + 1, at_w.size), dtype=bool)
    at_w, at_b, limit = at_w.flatten(), at_b.flatten(), limit.flatten()
    with np.errstate(all="ignore"):
        for k in range(steps + 1):
            error, dE_dw, dE_db = _gradients(at_w, at_b)
            norm = np.hypot(dE_dw, dE_db)
            rows[:, k] = at_w, at_b, error, np.where(np.isnan(norm), np.inf, norm)
            if k < steps:
                clipped[k] = norm + _EPSILON > limit
                step = lr * np.where(clipped[k], limit / (norm + _EPSILON), 1.0)
                at_w, at_b = at_w - step * dE_dw, at_b - step * dE_db
    gone = ~np.isfinite(rows[:2]).all(0)
    rows[:, gone], clipped[gone] = np.nan, False
    places_w, places_b, errors, norms = rows.reshape(4, steps + 1, *shape)
    return Path(places_w, places_b, errors, norms, clipped.reshape(steps + 1, *shape))


def _limits(threshold: Any) -> np.ndarray:
    """Return the thresholds, infinity for none."""
    allowed = "above 0, or None for no clipping"
    if threshold is None:
        return np.array(np.inf)
    limits = check_tensor("threshold", threshold, allowed, torch.float64).numpy()
    if not (limits > 0).all():
        raise bad("threshold", threshold, allowed)
    return limits


def _gradients(w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return E, dE/dw and dE/db of a few points, (N,): backwards, for fewer calls than forwards."""
    # SciPy loads on use: importing it with the package would slow every start down.
    from scipy.special import expit

    s = np.empty((STEPS + 1, len(w)))  # sigmoid(x_t)
    x = np.full(len(w), START)
    for rise in s[:-1]:
        expit(x, rise)
        np.multiply(w, rise, x)
        np.add(x, b, x)
    expit(x, s[-1])
    error = s[-1] - TARGET
    slopes = s * (1 - s)
    # from dE/dx_50 back to dE/dx_1
    slopes[1:-1] *= w
    slopes[-1] *= 2 * error
    back = np.multiply.accumulate(slopes[:0:-1])[::-1]
    return error**2, (back * s[:-1]).sum(0), back.sum(0)

"""The check of chapter 03 on noise that follows the gradient of the initial state."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from ..plots import COLORS
from .answers import Stop, call, exercise, first, tensor, wrong
from .feedback import OPEN, Feedback, draw

_LARGEST = 0.3
_B, _H = 64, 6


def _batch_gradients() -> Tensor:
    """Return gradients (64, 6) of the size that a mean loss gives, with units that differ."""
    g = torch.randn(_B, _H, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    g[:, 1] = 0.2 * g[:, 1] + 0.9  # the same sign for all sequences
    g[:, 2] -= g[:, 2].mean()  # signs cancel
    g[:, 3] *= 0.3
    g[:, 4] = 0.0
    g[::16, 4] = 5.0  # a few sequences only
    return (3e-5 * g).float()


@exercise
def noise_std(function: Any) -> Feedback:
    """Chapter 03: turn gradients that reach the initial state into the size of the noise there."""
    gradients = _batch_gradients()
    yours, large = (_stds(function, factor * gradients) for factor in (1, 1e6))
    g = gradients.double()
    rms = g.square().mean(0).sqrt()
    wanted = _LARGEST * rms / rms.max()
    hint, large_hint = _std_hint(yours, g), _std_hint(large, 1e6 * g)
    if hint is not None and large_hint is None and _share(yours, rms):
        hint = f"{_ADDED} of {rms.max():.0e}."
    if hint is None:
        silent = _stds(function, torch.zeros(5, 3))
        hint = first(
            (large_hint, "For a loss that is a million times as large it is no longer right."),
            (bool(silent.isnan().any()), "All gradients 0 give NaN, which is 0 / 0. Return zeros."),
            (bool(silent.any()), "If all gradients are 0, so should be the noise."),
        )

    def paint(ax: Axes) -> None:
        units = torch.arange(_H).numpy()
        ax.bar(units, wanted.numpy(), color=COLORS["critical"], label="by the RMS of the gradient")
        shown = yours.nan_to_num(0.0, 1e6, -1e6).clamp(-0.2, 1.2).numpy()
        ax.plot(units, shown, "s", color=COLORS["prediction"], label="yours")
        ax.set(xlabel="unit", ylabel="std of the noise", ylim=(min(0, 1.1 * shown.min()), None))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=2)

    png = draw(paint)
    if hint is not None:
        return Feedback("wrong", hint, png)
    text = (
        f"The gradients are around {rms.max():.0e}, as with a mean loss, and the largest std is "
        f"{yours.max():.2f} all the same. Without a gradient there is no noise."
    )
    return Feedback("right", text, png)


def _stds(function: Any, gradients: Tensor) -> Tensor:
    """Call the reader's function; raises `Stop` where it does not return one number a unit."""
    B, H = gradients.shape
    given = call(function, "(gradients)", gradients.clone())
    if given is None:
        raise Stop(OPEN)
    expected = f"For gradients of shape {(B, H)}, return one number a unit: shape {(H,)}."
    found = tensor(given, expected)
    shape = tuple(found.shape)
    if shape == (H,):
        return found
    more = first(
        (shape == (B,), " You have one a sequence: average over dimension 0, the batch."),
        (shape == (), " You have one for all units: average over dimension 0 only."),
        (shape == (B, H), " Take the root of the mean of the squares over dimension 0."),
        (shape == (1, H), " Leave out keepdim, or squeeze."),
    )
    raise wrong(expected + (more or ""))


def _share(one: Tensor, two: Tensor) -> bool:
    """Whether one is a positive multiple of the other."""
    return bool(one.max() > 0) and torch.allclose(one / one.max(), two / two.max(), rtol=1e-2)


def _std_hint(found: Tensor, g: Tensor) -> str | None:
    """Say what is wrong with standard deviations for the gradients g (B, H), or return None."""
    if not found.isfinite().all():
        return "Your numbers contain NaN or infinity."
    rms = g.square().mean(0).sqrt()
    largest = found.max().item()
    rows = g / g.abs().amax(1, keepdim=True), g / g.norm(dim=1, keepdim=True)
    rows_rms = [row.square().mean(0).sqrt() for row in rows]
    scale = first(
        (math.isclose(largest, _LARGEST, rel_tol=1e-2), ""),
        (math.isclose(largest, rms.max().item(), rel_tol=1e-2), _RAW),
        (largest < 1e-2, f"The largest is {largest:.1g}, so small that it does nothing. {_DIVIDE}"),
        (math.isclose(largest, 1.0, rel_tol=1e-2), "The largest is 1: multiply by 0.3."),
        (True, f"The largest is {largest:.3g}, not 0.3. {_DIVIDE}"),
    )
    if _share(found, rms):
        return scale or None
    return first(
        (bool((found < 0).any()), _SIGNS),
        (_share(found, g.mean(0).abs()), _SIGNS),
        (_share(found, g.std(0)), _SPREAD),
        (_share(found, g.abs().mean(0)), "That is the mean of the absolute values, not the RMS."),
        (_share(found, g.abs().amax(0)), "One sequence decides: take the RMS, not the maximum."),
        (_share(found, rms.square()), "The root is missing: you have the mean of the squares."),
        (any(_share(found, part) for part in rows_rms), _WRONG_WAY),
        (torch.allclose(found, found[0]), _SAME),
        (True, "Your numbers are not proportional to the root mean square over the batch."),
    )


_ADDED = "What you add to avoid a division by 0 is too large: it counts next to gradients"
_DIVIDE = "Divide by the largest of the units, then multiply by 0.3."
_RAW = (
    "These are the root mean squares as they are. A mean loss makes them tiny, and noise of this "
    f"size does nothing. {_DIVIDE}"
)
_SIGNS = (
    "You averaged the gradients themselves: those of opposite sign cancel. Square them first, and "
    "take the root of the mean."
)
_SPREAD = (
    "The standard deviation takes the mean away. A unit whose gradient is the same for all "
    "sequences would get no noise: leave the mean in."
)
_WRONG_WAY = "You divided each sequence by its own largest unit. Average first, then divide."
_SAME = "Every unit has the same: divide by the largest of all units, not each by its own."

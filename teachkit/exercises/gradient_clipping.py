"""The checks of chapter 05 on what clipping does and on its threshold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from ..plots import COLORS
from .answers import Stop, call, exercise, first, near, number, tensor, wrong
from .feedback import OPEN, Feedback, draw

Gradients = list[Tensor]
_ARROW = [torch.tensor([3.0], dtype=torch.float32), torch.tensor([4.0], dtype=torch.float32)]
_RADIUS = 2.0
# Two parameters; their gradients lie in one plane with what clipping each at 1 leaves of them.
_PAIR = [torch.tensor([3.0, 4.0]).double(), torch.tensor([0.0, 12.0]).double()]
# Pascanu et al. 2013: thresholds from half to ten times the average norm.
_BAND = (0.5, 10.0)


def _cases() -> list[tuple[Gradients, float]]:
    """Return gradients with a threshold: too long, short, of all shapes, just too long, 0."""
    stream = torch.Generator().manual_seed(0)
    shapes: list[tuple[int, ...]] = [(4, 3), (5,), ()]
    drawn = [torch.randn(s, generator=stream, dtype=torch.float32) for s in shapes]
    plain = [
        ([[3.0, 4.0], [0.0, 12.0]], 2.6),
        ([[0.3, -0.4], [0.0]], 1.0),
        ([[0.7], [0.0]], 0.6),
        ([[0.0, 0.0], [0.0]], 1.0),
    ]
    long, short, close, none = (
        ([torch.tensor(values, dtype=torch.float32) for values in gradients], threshold)
        for gradients, threshold in plain
    )
    return [long, short, (drawn, 1.5), close, none]


@exercise
def clip_by_norm(function: Any) -> Feedback:
    """Chapter 05: write clipping by the global norm yourself."""
    hint = None
    for gradients, threshold in _cases():
        hint = _norm_hint(_clipped(function, gradients, threshold), gradients, threshold)
        if hint is not None:
            break
    x, y = (part.item() for part in _clipped(function, _ARROW, _RADIUS))

    def paint(ax: Axes) -> None:
        turn = np.linspace(0, 2 * np.pi, 100)
        ax.plot(_RADIUS * np.cos(turn), _RADIUS * np.sin(turn), ":", color=COLORS["bound"])
        _arrow(ax, (3, 4), "bound", "before")
        _arrow(ax, (1.2, 1.6), "critical", "asked for", width=5)
        mine = np.clip(np.nan_to_num([x, y]), -2.3, 4.5)
        _arrow(ax, (mine[0], mine[1]), "prediction", "yours")
        ax.set(xlim=(-2.4, 4.6), ylim=(-2.4, 4.6), aspect="equal")
        ax.set(xlabel="one parameter", ylabel="another", title=f"threshold {_RADIUS:g}")
        ax.legend(loc="upper left", bbox_to_anchor=(1.05, 1))

    png = draw(paint, (5.6, 3.2))
    if hint is not None:
        return Feedback("wrong", hint, png)
    text = f"(3, 4) becomes ({x:.3g}, {y:.3g}) at a threshold of 2: shorter, in the same direction."
    return Feedback("right", text, png)


@exercise
def direction(cosine: Any) -> Feedback:
    """Chapter 05: how far does clipping each variable by itself turn the gradient?"""
    value = number(cosine)
    before = torch.cat(_PAIR)
    after = torch.cat([g / g.norm() for g in _PAIR])
    dot, lengths = (before @ after).item(), (before.norm().item(), after.norm().item())
    true = dot / math.prod(lengths)
    values = before.clamp(-1, 1)
    by_value = (before @ values / (lengths[0] * values.norm())).item()
    angle = math.acos(true)
    solved = abs(value - true) < 5e-3

    def paint(ax: Axes) -> None:
        # each variable keeps its own direction, so its length alone makes a plane
        start = math.atan2(12, 5)
        _arrow(ax, (math.cos(start), math.sin(start)), "bound", "before")
        if solved:
            _arrow(ax, (math.sqrt(0.5), math.sqrt(0.5)), "critical", "clipped", width=5)
        if abs(value) <= 1:
            turned = start - math.acos(value)
            _arrow(ax, (math.cos(turned), math.sin(turned)), "prediction", "yours")
        ax.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", title="directions only")
        ax.set(xlabel="share of (3, 4)", ylabel="share of (0, 12)")
        ax.legend(loc="upper left", bbox_to_anchor=(1.05, 1))

    png = draw(paint, (5.6, 2.9))
    if solved:
        text = (
            f"The cosine is {true:.4f}: the gradient turns by {math.degrees(angle):.0f} degrees. "
            "(3, 4) and (0, 12) now weigh the same."
        )
        return Feedback("right", text, png)
    hint = near(
        value,
        {
            1: _GLOBAL,
            by_value: "That is clipping by value: each entry clamped to 1, (1, 1) and (0, 1).",
            (math.degrees(angle), angle): "That is the angle. Its cosine is asked for.",
            dot: "That is the scalar product. Divide by the lengths of both gradients.",
            (dot / lengths[0], dot / lengths[1]): "Divide by the lengths of both gradients.",
            lengths[1]: "That is the length of what is left, the root of 1 + 1.",
            lengths[1] / lengths[0]: "That compares the lengths, not the directions.",
            math.sin(angle): "That is the sine of the angle.",
            -true: "The sign is wrong: both point to the same side.",
        },
    )
    if hint is None and abs(value) > 1:
        hint = "A cosine lies between -1 and 1."
    hint = hint or (
        f"Not {value:g}. Shorten (3, 4) and (0, 12) to length 1 each, put the four numbers in a "
        "row, and divide their scalar product with (3, 4, 0, 12) by both lengths."
    )
    return Feedback("wrong", hint, png)


def threshold(norms: Any, threshold: Any = ...) -> Feedback:
    """Chapter 05: choose a threshold from a record of gradient norms."""
    return exercise(lambda answer: _threshold(norms, answer))(threshold)


def _threshold(norms: Any, answer: Any) -> Feedback:
    record = tensor(norms, _NORMS).flatten()
    if record.numel() < 2:
        raise wrong(_NORMS)
    lost = (~record.isfinite()).sum().item()
    if lost:
        raise wrong(
            f"{lost:.0f} of the {len(record)} norms are NaN or infinite, and so is their average. "
            "Leave those steps out: norms[np.isfinite(norms)]."
        )
    if bool((record < 0).any()) or not record.any():
        raise wrong("Norms are not negative, and not all of them 0.")
    value = number(answer)
    if value <= 0:
        raise wrong("A threshold above 0 is expected.")
    mean, largest = record.mean().item(), record.max().item()
    low, high = (factor * mean for factor in _BAND)
    share = (record > value).double().mean().item()

    def paint(ax: Axes) -> None:
        shown = record.clamp_min(1e-3 * mean)
        ends = (min(shown.min().item(), value, low) / 1.3, max(largest, value, high) * 1.3)
        ends = (max(ends[0], 1e-4 * mean), min(ends[1], 1e4 * mean))
        bins = np.geomspace(*ends, 50)
        ax.axvspan(low, high, color=COLORS["critical"], alpha=0.2, label="half to ten times")
        ax.hist(shown.clamp(*ends).numpy(), bins=list(bins), color=COLORS["bound"])
        ax.axvline(mean, color=COLORS["critical"], label="average")
        mine = min(max(value, ends[0]), ends[1])
        ax.axvline(mine, color=COLORS["prediction"], linestyle="--", label="yours")
        ax.set(xscale="log", xlabel="gradient norm", ylabel="steps")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3)

    png = draw(paint)
    text = f"{value:.4g} is {value / mean:.2g} times the average norm, which is {mean:.3g}"
    text += f"; it clips {share:.0%} of these steps."
    if low <= value <= high:
        if not share:
            text += " It only guards against steps larger than any of these."
        return Feedback("right", text, png)
    return Feedback("wrong", f"{_threshold_hint(record, value)} {text}", png)


def _threshold_hint(record: Tensor, value: float) -> str:
    """Say what a threshold outside of the band is, or does."""
    spread = record.std().item()
    median, tenth, largest = (record.quantile(q).item() for q in (0.5, 0.1, 1.0))
    named = near(
        value,
        {
            largest: "You took the largest norm: a single step decides, and nothing is clipped.",
            record.sum().item(): "That is the sum of the norms: divide by their number.",
            record.square().mean().item(): "That is the mean of the squares, not of the norms.",
            median: "That is the median, and a few steps here are far longer than it.",
            tenth: "That is the 10th percentile: nine of ten steps are clipped to it.",
            record.min().item(): "You took the smallest norm: every other step is cut to it.",
            spread: "That is the standard deviation of the norms, not their average.",
        },
    )
    if named is not None:
        return named
    if value < record.mean().item():
        return _EVERY if bool((record > value).all()) else _LOW
    return _NOTHING if value >= largest else _HIGH


def _arrow(ax: Axes, tip: tuple[float, float], key: str, label: str, *, width: float = 1.8) -> None:
    """Draw an arrow from 0 in a colour of the project, with a line in the legend."""
    style = {"arrowstyle": "-|>", "color": COLORS[key], "linewidth": width, "shrinkA": 0}
    ax.annotate("", xy=tip, xytext=(0, 0), arrowprops=style | {"shrinkB": 0})
    ax.plot([], [], color=COLORS[key], linewidth=width, label=label)


def _norm(gradients: Gradients) -> float:
    return torch.cat([g.double().flatten() for g in gradients]).norm().item()


def _clipped(function: Any, gradients: Gradients, threshold: float) -> Gradients:
    """Call the reader's function, which may also change in place what it is given."""
    handed = [g.clone() for g in gradients]
    given = call(function, "(gradients, threshold)", handed, threshold)
    if given is None:
        if _norm(gradients) > threshold and all(map(torch.equal, handed, gradients)):
            raise Stop(OPEN)
        given = handed
    expected = f"Return a list of {len(gradients)} tensors, one for each gradient."
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], (list, tuple)):
        raise wrong(f"{expected} Leave out the norm.")
    if isinstance(given, Tensor) and given.ndim == 1 and len(given) > len(gradients):
        raise wrong(f"{expected} You have them all in one vector.")
    if not isinstance(given, (list, tuple, Tensor)) or getattr(given, "ndim", 1) == 0:
        raise wrong(expected)
    if len(given) != len(gradients):
        raise wrong(f"{expected} You returned {len(given)}.")
    return [
        tensor(part, f"{expected} Each keeps its shape, as {tuple(g.shape)}.", tuple(g.shape))
        for part, g in zip(given, gradients, strict=True)
    ]


def _norm_hint(found: Gradients, given: Gradients, threshold: float) -> str | None:
    """Say what is wrong with gradients that were clipped at a threshold, or return None."""
    gradients = [g.double() for g in given]
    norm, now = _norm(gradients), _norm(found)

    def like(rule: Callable[[Tensor], Tensor]) -> bool:
        pairs = zip(found, map(rule, gradients), strict=True)
        return all(torch.allclose(one, two, rtol=1e-5, atol=1e-7) for one, two in pairs)

    def scaled(factor: float) -> bool:
        return like(lambda g: g * factor)

    if scaled(min(1.0, threshold / max(norm, 1e-30))):
        return None
    if not all(part.isfinite().all() for part in found):
        more = " Gradients of 0 must stay 0." if not norm else ""
        return f"You have NaN or infinity: a division by 0?{more}"
    if norm <= threshold:
        return (
            f"A norm of {norm:.3g} is below the threshold of {threshold:g}, so the gradient must "
            f"stay as it is. Yours has norm {now:.3g} now: the factor is at most 1."
        )
    own = [g.norm().item() for g in gradients]
    entries = torch.cat([g.flatten() for g in gradients]).abs()
    largest = (max(own), entries.max().item())
    return first(
        (scaled(1.0), f"A norm of {norm:.3g} is above the threshold of {threshold:g}: clip it."),
        (like(lambda g: g * min(1.0, threshold / max(g.norm().item(), 1e-30))), _EACH),
        (like(lambda g: g.clamp(-threshold, threshold)), _VALUE),
        (like(lambda g: g.clamp(max=threshold)), _VALUE),
        (scaled(threshold / norm**2), "You divided by the squared norm: take the root."),
        (scaled(1 / norm), "The norm is now 1. Multiply by the threshold."),
        (scaled(norm / threshold), "Upside down: the gradient grew. Divide by the norm."),
        (any(scaled(threshold / size) for size in largest), _MAX),
        (scaled(threshold / sum(own)), _SUM),
        (scaled(threshold / entries.sum().item()), _ABSOLUTE),
        (scaled(threshold / norm * len(entries) ** 0.5), "Add up the squares, no mean of them."),
        (scaled(now / norm), f"The direction is right, but the norm is now {now:.4g}."),
        (True, f"The gradient has turned, and its norm is now {now:.4g}: one factor for all."),
    )


_GLOBAL = (
    "That is clipping by the global norm, which keeps the direction. clipnorm takes each variable "
    "by itself, and shortens the two by different factors."
)
_EACH = (
    "You clipped each tensor by itself, as clipnorm does in Keras. That turns the gradient: add "
    "up the squares of all of them first."
)
_VALUE = "You clamped each entry. That turns the gradient: multiply all entries by one factor."
_MAX = "You divided by the largest. The norm is the root of the sum of all squares."
_SUM = "You added up the norms of the tensors. Add up their squares, and take the root."
_ABSOLUTE = "You added up absolute values. Add up squares, and take the root."
_NORMS = "The norms come first: a record of at least two gradient norms, then the threshold."
_EVERY = "Every step is clipped, so all steps have the same length: that sets the learning rate."
_LOW = "That is less than half the average: steps are cut that are nothing unusual."
_NOTHING = "No step here is as long as that: it clips nothing."
_HIGH = "That is more than ten times the average: hardly a step is clipped, and that one late."

"""The check of chapter 05 on a hook that clamps the error on its way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from ..plots import COLORS, decades_axis, log10
from ..spectra import gaussian_matrix, spectral_radius
from .answers import Stop, call, exercise, first, wrong
from .feedback import OPEN, Feedback, draw

_STEPS, _BATCH, _HIDDEN, _RHO = 14, 2, 5, 1.4
_LIMITS = (0.5, 2.0)
_ADVICE = {
    "more than one element of the written-to": (
        "A hook must not change the gradient that it is given: return g.clamp(...), without "
        "underscore."
    ),
    "takes 0 positional": "The hook gets one argument, the gradient.",
    "but hook returned": "A hook returns a gradient of the same shape, or None.",
    "has changed the size": "A hook returns a gradient of the same shape, or None.",
}


@dataclass(frozen=True)
class Pass:
    """One way forth and back.

    errors: dE/dh of each step behind the hook, (T, B, H). W_grad: dE/dW_hh. hooked: whether each
    state has a hook.
    """

    errors: Tensor
    W_grad: Tensor
    hooked: bool = True


def network() -> tuple[Tensor, Tensor]:
    """Return W_hh (H, H) and h0 (B, H) of a linear network whose gradient grows, in float64."""
    W = gaussian_matrix(_HIDDEN, seed=1).double()
    stream = torch.Generator().manual_seed(1)
    h0 = torch.randn(_BATCH, _HIDDEN, generator=stream, dtype=torch.float64)
    return W * _RHO / spectral_radius(W), h0


def by_hand(squash: Callable[[Tensor], Tensor]) -> Pass:
    """Backpropagate without autograd, with each error squashed before it goes on."""
    W, h0 = network()
    states = [h0]
    for _ in range(_STEPS):
        states.append(states[-1] @ W.T)
    error, errors, W_grad = torch.ones_like(h0), [], torch.zeros_like(W)
    for h in reversed(states[:-1]):
        error = squash(error)
        errors.append(error)
        W_grad = W_grad + error.T @ h
        error = error @ W
    return Pass(torch.stack(errors[::-1]), W_grad)


@exercise
def error_hook(function: Any) -> Feedback:
    """Chapter 05: clamp the gradient that flows back through a state, with a hook."""
    if not callable(function):
        raise wrong("A function of (h, limit) is expected.")
    plain = by_hand(lambda g: g)
    found = [_through(function, limit) for limit in _LIMITS]
    yours, limit = found[0], _LIMITS[0]
    wanted = by_hand(lambda g: g.clamp(-limit, limit))
    hint = _hint(yours, plain, limit)
    if hint is None and _hint(found[1], plain, _LIMITS[1]) is not None:
        hint = f"Right for a limit of {limit:g}, but not for one of {_LIMITS[1]:g}: use `limit`."

    def paint(ax: Axes) -> None:
        back = list(range(_STEPS))
        for made, key, line, label in (
            (plain, "bound", ":", "without a hook"),
            (wanted, "critical", "-", "asked for"),
            (yours, "prediction", "--", "yours"),
        ):
            sizes = log10(made.errors.abs().amax((1, 2)).flip(0)).clip(-3, 6)
            width = 4 if key == "critical" else 1.8
            ax.plot(back, sizes, line, color=COLORS[key], linewidth=width, label=label)
        decades_axis(ax, "largest entry of dE/dh")
        ax.set_xlabel("steps back in time")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3)

    png = draw(paint)
    if hint is not None:
        return Feedback("wrong", hint, png)
    largest = plain.errors.abs().max().item()
    text = (
        f"No entry of an error exceeds {limit:g} on its way through {_STEPS} steps, where it "
        f"would have grown to {largest:.3g}; the states are as they were."
    )
    return Feedback("right", text, png)


def _through(function: Any, limit: float) -> Pass:
    """Run the network with the reader's function on each state; raises `Stop` where it is open."""
    found = call(lambda: _trained(function, limit), "(h, limit)", advice=_ADVICE)
    if found is None:
        raise Stop(OPEN)
    if isinstance(found, str):
        raise wrong(found)
    return found


def _trained(function: Any, limit: float) -> Pass | str | None:
    """Return the pass, a hint where it ends early, or None where the function is a stub."""
    W, h = network()
    W.requires_grad_()
    states, changed, hooked, returned = [], False, True, False
    for _ in range(_STEPS):
        h = h @ W.T
        value = h.detach().clone()
        h.retain_grad()
        states.append(h)
        given = function(h, limit)
        if given is ...:
            return None
        hooked = hooked and bool(getattr(h, "_backward_hooks", None))
        if isinstance(given, Tensor):
            h, returned = given, True
        if h.shape != value.shape:
            return f"You returned shape {tuple(h.shape)} for a state of {tuple(value.shape)}."
        changed = changed or not torch.equal(h.detach(), value)
    if changed:
        return _FORWARD
    if not h.requires_grad:
        return "You return a state without its history, so no gradient flows back at all."
    try:
        h.sum().backward()
    except TypeError as error:
        if "'ellipsis'" in str(error):  # h.register_hook(...)
            return None
        raise
    errors = [torch.zeros_like(s) if s.grad is None else s.grad for s in states]
    W_grad = torch.zeros_like(W) if W.grad is None else W.grad
    found = Pass(torch.stack(errors), W_grad, hooked)
    untouched = not hooked and not returned and _same(found, by_hand(lambda g: g))
    return None if untouched else found


def _same(one: Pass, two: Pass) -> bool:
    """Whether the errors and the gradient of the weights agree."""
    return torch.allclose(one.errors, two.errors) and torch.allclose(one.W_grad, two.W_grad)


def _hint(found: Pass, plain: Pass, limit: float) -> str | None:
    """Say what is wrong with a pass, or return None."""

    def like(squash: Callable[[Tensor], Tensor]) -> bool:
        return _same(found, by_hand(squash))

    def by_norm(g: Tensor, dims: tuple[int, ...]) -> Tensor:
        norm = torch.linalg.vector_norm(g, dim=dims, keepdim=True)
        return g * (limit / norm.clamp_min(1e-30)).clamp_max(1.0)

    if like(lambda g: g.clamp(-limit, limit)):
        return None
    return first(
        (not found.errors.isfinite().all(), "Your errors contain NaN or infinity."),
        (_same(found, plain) and not found.hooked, _NO_HOOK),
        (_same(found, plain), _RETURN),
        (like(lambda g: by_norm(g, (0, 1))), _NORM),
        (like(lambda g: by_norm(g, (1,))), _NORM),
        (like(lambda g: g.clamp(max=limit)), f"Entries below -{limit:g} pass: clamp both sides."),
        (like(lambda g: g.clamp(min=-limit)), f"Entries above {limit:g} pass: clamp both sides."),
        (like(lambda g: g.clamp(0, limit)), "Negative entries became 0: clamp from -limit."),
        (like(lambda g: limit * g.sign()), "Every entry has size limit: leave small ones alone."),
        (not found.W_grad.any(), "No gradient reaches the weights: return what is to flow on."),
        (True, f"The largest entry is {found.errors.abs().max().item():.3g}, {_OTHER}"),
    )


_FORWARD = (
    "The states themselves changed, so the network computes something else. Leave h as it is: the "
    "hook changes its gradient alone, on the way back."
)
_NO_HOOK = "h has no hook: h.register_hook(f) calls f with the gradient, and takes what f returns."
_RETURN = (
    "The gradient flows as if there were no hook. What the hook returns takes its place, and None "
    "leaves it: return g.clamp(...)."
)
_NORM = "You shortened each error by its norm, as a whole. Here each entry is clamped by itself."
_OTHER = "but the errors differ from those that are clamped at every step."

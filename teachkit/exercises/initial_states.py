"""The checks of chapter 03 on what a learned initial state is: its size, and its way to a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from ..plots import COLORS
from .answers import call, exercise, first, number, wrong
from .feedback import OPEN, Feedback, draw

# Number -> (rows, numbers of h0 in a row, of c0), and what such a count forgets.
_COUNTS = {
    100: (4, 5, 20, ""),
    160: (4, 20, 20, "proj_size is forgotten: it makes h, but not c, 5 wide."),
    50: (2, 5, 20, "There are two layers, each in two directions: 4 rows, not 2."),
    25: (1, 5, 20, "That is one row. Each layer and each direction has its own."),
    40: (4, 5, 5, "proj_size makes only h 5 wide; c keeps hidden_size. (Or it is 2 rows of 20.)"),
    80: (4, 0, 20, "That is c0 alone. (Or one direction only, with proj_size forgotten.)"),
    20: (4, 5, 0, "That is h0 alone. An LSTM has c0, too."),
}
_ROWS = [f"layer {layer}, {way}" for layer in (0, 1) for way in ("forward", "backward")]


@exercise
def state_size(n: Any) -> Feedback:
    """Chapter 03: how many numbers does a learned initial state add to a certain nn.LSTM?"""
    value = number(n)
    if value != round(value) or not 0 < value < 1e6:
        raise wrong("A positive whole number is expected.")
    if value not in _COUNTS:
        how = "Count the rows of h0 and of c0 (layers times directions), and how wide each is."
        return Feedback("wrong", f"Not {value:.0f}. {how}")
    rows, width_h, width_c, hint = _COUNTS[int(value)]

    def paint(ax: Axes) -> None:
        places = range(rows)
        ax.barh(places, [width_h] * rows, color=COLORS["critical"], label="h0")
        ax.barh(places, [width_c] * rows, left=width_h, color=COLORS["prediction"], label="c0")
        ax.set_yticks(places, _ROWS[:rows] if rows != 2 else ["layer 0", "layer 1"])
        ax.set(xlim=(0, 52), xlabel="numbers", title=f"as you counted: {value:.0f}")
        ax.invert_yaxis()
        ax.legend(loc="lower right")

    png = draw(paint)
    if hint:
        return Feedback("wrong", hint, png)
    text = "h0 has 4 rows of 5 (proj_size) and c0 has 4 rows of 20 (hidden_size): 20 + 80 numbers."
    return Feedback("right", text, png)


_STEPS = ((6, 3), (3, 6), (4, 4))  # (T, B)
_PAIR = "Return two tensors, (h, c), each of shape (1, B, H)."


@exercise
def learned_start(function: Any) -> Feedback:
    """Chapter 03: write the initial states of a batch from a learned h0 and c0."""
    contiguous = True
    for batch_first in (True, False):
        for T, B in _STEPS:
            x = torch.randn((B, T, 3) if batch_first else (T, B, 3), dtype=torch.float32)
            state = [torch.randn(1, 1, 5, dtype=torch.float32).requires_grad_() for _ in "hc"]
            given = call(function, "(h0, c0, x, batch_first)", *state, x, batch_first)
            if given is None:
                return OPEN
            case = f"With batch_first={batch_first} and x of shape {tuple(x.shape)}: "
            h, c = _pair(given, B, T, case)
            hint = _value_hint((h, c), state)
            if hint is not None:
                return Feedback("wrong", hint)
            hint, paint = _gradients(h, c, state, x, batch_first)
            if hint is not None:
                return Feedback("wrong", hint, draw(paint))
            contiguous &= h.is_contiguous() and c.is_contiguous()
    text = f"nn.LSTM takes them in both layouts, and {_SUM}"
    if not contiguous:
        text += " For a GPU add .contiguous(), on which cuDNN insists."
    return Feedback("right", text, draw(paint))


def _pair(given: Any, B: int, T: int, case: str) -> tuple[Tensor, Tensor]:
    """Return the two states; raises `Stop` where they are none, or of wrong shapes."""
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise wrong(_PAIR)
    h, c = given
    if not isinstance(h, Tensor) or not isinstance(c, Tensor):
        raise wrong(_PAIR)
    for name, state in (("h", h), ("c", c)):
        shape = tuple(state.shape)
        if state.dtype != torch.float32:
            raise wrong(f"{name} is {state.dtype}, but h0, c0 and the layer are torch.float32.")
        if shape == (1, B, 5):
            continue
        hint = first(
            (shape == (1, T, 5), "That is the number of steps, not of sequences."),
            (shape == (1, 1, 5), "Repeat it for each sequence of the batch, with expand."),
            (shape == (B, 1, 5), "batch_first turns x and the output, but never the states."),
            (shape in ((B, 5), (5,)), "The first dimension counts layers and directions; keep it."),
            (True, ""),
        )
        raise wrong(f"{case}{name} must have shape {(1, B, 5)}, but has {shape}. {hint}".strip())
    return h, c


def _value_hint(found: tuple[Tensor, Tensor], wanted: list[Tensor]) -> str | None:
    """Say what is wrong with the values of the states, or return None."""
    h, c = (state.detach().double() for state in found)
    h0, c0 = (state.detach().double().expand_as(h) for state in wanted)
    right = [torch.allclose(one, two) for one, two in ((h, h0), (c, c0))]
    if all(right):
        return None
    return first(
        (torch.allclose(h, c0) and torch.allclose(c, h0), _EXCHANGED),
        (torch.allclose(h, c0), "Both are c0. The first is h0."),
        (torch.allclose(c, h0), "Both are h0. The second is c0."),
        (not (h.any() or c.any()), "They are 0, whatever h0 and c0 are."),
        (right[0], "h is right, but c does not have the values of c0 in each row."),
        (right[1], "c is right, but h does not have the values of h0 in each row."),
        (True, "Each row of h should have the values of h0, and each row of c those of c0."),
    )


def _gradients(
    h: Tensor, c: Tensor, state: list[Tensor], x: Tensor, batch_first: bool
) -> tuple[str | None, Callable[[Axes], None]]:
    """Send a gradient through a real layer; return what is wrong with it, and how to draw it."""
    lstm = nn.LSTM(3, 5, batch_first=batch_first, dtype=torch.float32)
    starts = [s.detach().expand(1, h.shape[1], 5).contiguous().requires_grad_() for s in state]
    found: tuple[Tensor | None, ...] = (None, None)
    with torch.enable_grad():
        real = torch.autograd.grad(lstm(x, tuple(starts))[0].square().sum(), starts)
        if h.requires_grad or c.requires_grad:
            loss = lstm(x, (h, c))[0].square().sum()
            found = torch.autograd.grad(loss, state, allow_unused=True)
    wanted = [gradient.sum(1, keepdim=True) for gradient in real]
    yours = [torch.zeros(1, 1, 5) if gradient is None else gradient for gradient in found]

    def paint(ax: Axes) -> None:
        units = range(10)
        mine, theirs = (torch.cat([g.flatten() for g in part]).numpy() for part in (yours, wanted))
        ax.bar(units, theirs, color=COLORS["critical"], label="sum over the batch")
        ax.plot(units, mine, "s", color=COLORS["prediction"], label="what reaches yours")
        names = [f"{name}[{unit}]" for name in ("h0", "c0") for unit in range(5)]
        ax.set_xticks(units, names, fontsize=8)
        ax.set_ylabel("gradient")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=2)

    lost = [name for name, g in zip(("h0", "c0"), found, strict=True) if g is None]
    made = any(s.requires_grad and s.is_leaf for s in (h, c))
    right = all(
        torch.allclose(one, two, rtol=1e-4, atol=1e-6)
        for one, two in zip(yours, wanted, strict=True)
    )
    hint = first(
        (lost and made, _NEW_LEAF),
        (lost, f"The values are right, but no gradient reaches {' and '.join(lost)}. {_DETACHED}"),
        (not right, "The gradient that reaches h0 and c0 should be the sum over the batch."),
    )
    return hint, paint


_SUM = "the gradient of h0 is the sum over the batch."
_EXCHANGED = (
    "h and c are exchanged. PyTorch and Keras have (h, c); with (c, h) nothing complains, and the "
    "network starts elsewhere."
)
_DETACHED = "Leave out detach, data, item, numpy and no_grad: they cut the graph."
_NEW_LEAF = (
    "You made new tensors that require a gradient: they learn, and h0 and c0 stay as they are. "
    "Build the states from h0 and c0 themselves."
)

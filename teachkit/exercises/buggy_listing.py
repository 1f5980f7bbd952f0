"""The check of chapter 03 that asks for the bugs of a listing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from ..plots import INK, INKS
from .answers import Stop, exercise, wrong
from .feedback import OPEN, Feedback, draw

LISTING = """\
class LearnedStart(nn.LSTM):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size, batch_first=True)
        self.h0 = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.c0 = nn.Parameter(torch.zeros(1, 1, hidden_size))
    def forward(self, x, state=None):
        if state is None:
            B = x.size(1)
            state = tuple(s.expand(-1, B, -1).contiguous() for s in (self.h0, self.c0))
        return super().forward(x, state)
def train(lstm, head, optimizer, windows):
    state = (torch.zeros(1, 16, 32), torch.zeros(1, 16, 32))
    for x, target in windows:
        _, (h, c) = lstm(x, state)
        loss = (head(h[-1]) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state = (c.detach(), h.detach())
"""
# What the lines with a bug should be, without their indent.
REPAIRS = {
    8: "B = x.size(0)",
    12: "state = None",
    19: "state = (h.detach(), c.detach())",
}
# Where to look for a bug that was not found.
_MISSED = {
    8: "Which dimension of x, (16, T, 3), counts the series? Once line 12 is repaired, "
    "PyTorch objects unless T is 16.",
    12: "Follow h0 through `train`: does it ever take part, or is its gradient None for good?",
    19: "What order have the two states of nn.LSTM? Exchanged they raise no error.",
}
# Why a line that may look odd is right.
_PARAMETERS = (
    "a learned state may start at 0, since its gradient is not 0. One row is enough: all series "
    "share it."
)
_INNOCENT = {
    3: "batch_first is for whoever calls the layer to choose. It turns x and the output.",
    4: f"{_PARAMETERS} And nn.LSTM drew its weights before this line, so nothing overwrites it.",
    5: _PARAMETERS,
    6: "a caller may well pass states of its own, and None if there are none.",
    7: "a state that the caller passes should win. What does this caller pass?",
    9: (
        "autograd goes through expand and contiguous, and adds up the gradients of the batch. "
        "cuDNN wants contiguous states. If B is wrong, look where it comes from."
    ),
    10: "the states go to nn.LSTM as a pair (h, c), as they should.",
    14: "nn.LSTM returns its final states as (h, c). If `state` is wrong, look where it is made.",
    15: "h is (1, 16, 32) also with batch_first, so h[-1] has the last state of each series.",
    16: "old gradients may be cleared anywhere before backward().",
}


def numbered(listing: str = LISTING) -> str:
    """Return a listing with line numbers, as chapter 03 prints it.

    >>> print(numbered("a = 1"))
     1  a = 1
    """
    lines = listing.rstrip("\n").splitlines()
    return "\n".join(f"{number:2}  {line}" for number, line in enumerate(lines, start=1))


def repaired(lines: Iterable[int] = tuple(REPAIRS)) -> str:
    """Return the listing with the bugs of these lines repaired.

    >>> repaired([8]).splitlines()[7].strip()
    'B = x.size(0)'
    """
    text = LISTING.splitlines()
    for number in lines:
        indent = len(text[number - 1]) - len(text[number - 1].lstrip())
        text[number - 1] = " " * indent + REPAIRS[number]
    return "\n".join(text) + "\n"


@exercise
def spot_the_bugs(lines: Any) -> Feedback:
    """Chapter 03: which lines of the listing have a bug?"""
    named = _lines(lines)
    found = named & REPAIRS.keys()
    accused = sorted(named - found)
    missed = sorted(REPAIRS.keys() - named)
    solved = not accused and not missed
    shown = repaired() if solved else LISTING

    def paint(ax: Axes) -> None:
        text = numbered(shown).splitlines()
        for place, line in enumerate(text, start=1):
            mark, color = "", INK
            if place in found:
                mark, color = "fixed" if solved else "bug", INKS["critical"]
            elif place in accused:
                mark, color = "fine", INKS["explode"]
            ax.text(0.0, place, mark, color=color, fontsize=8, va="center")
            ax.text(0.05, place, line, color=color, fontsize=8, va="center", family="monospace")
        ax.set(xlim=(0, 1), ylim=(len(text) + 0.7, 0.3))
        ax.axis("off")

    png = draw(paint, (6.9, 3.9))
    if solved:
        return Feedback("right", _SOLVED, png)
    hint = f"{len(found)} of the {len(REPAIRS)} bugs found."
    if accused:
        why = _INNOCENT.get(accused[0], "it does what it should.")
        hint += f" Line {accused[0]} is right, take it out: {why}"
    if missed:
        hint += f" {_MISSED[missed[0]]}"
    return Feedback("wrong", hint, png)


def _lines(answer: Any) -> set[int]:
    """Return the line numbers of an answer; raises `Stop` where it has none."""
    expected = wrong("A set of line numbers is expected, such as {1, 2}.")
    if isinstance(answer, (Tensor, np.ndarray)):
        answer = answer.tolist()
    if isinstance(answer, (int, float)):
        answer = [answer]
    if not isinstance(answer, (set, frozenset, list, tuple, range)) or not answer:
        raise expected
    if any(number is ... for number in answer):
        raise Stop(OPEN)
    try:
        lines = {_line(number) for number in answer}
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise expected from None
    last = len(LISTING.splitlines())
    if min(lines) < 1 or max(lines) > last:
        raise wrong(f"Line numbers from 1 to {last} are expected.")
    return lines


def _line(given: Any) -> int:
    """Return a line number; raises `ValueError`, or what `int` does, where there is none."""
    number = given.item() if isinstance(given, (Tensor, np.ndarray, np.generic)) else given
    if isinstance(number, bool) or int(number) != float(number):
        raise ValueError
    return int(number)


_SOLVED = (
    "Line 8 takes the number of steps for that of the series; 12 passes zeros, so that h0 is never "
    "used and its gradient stays None (which also hides line 8); 19 hands c over as h. The "
    "picture shows the lines with their repairs."
)

"""The closing quiz: fourteen questions over all chapters, answered by letters."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..plots import COLORS, INK
from .answers import exercise, wrong
from .feedback import OPEN, Feedback, draw
from .quiz_questions import QUESTIONS, Question

_LAST = max(QUESTIONS)
# Sign and colour of a box: the sign alone is enough.
_LOOK = {"right": ("✓", COLORS["critical"]), "wrong": ("✗", COLORS["explode"]), "open": ("", "1")}


@exercise
def quiz(answers: Any) -> Feedback:
    """Chapter 06: fourteen questions over all chapters, {1: "b", 2: ..., }."""
    letters = _letters(answers)
    if not letters:
        return OPEN
    marks = {number: _mark(letters.get(number), q) for number, q in QUESTIONS.items()}
    png = draw(lambda ax: _boxes(ax, marks), (7.0, 1.3))
    where = {mark: [n for n, m in marks.items() if m == mark] for mark in _LOOK}
    text = f"{len(where['right'])} of {_LAST} right."
    if where["wrong"]:
        text += f" Think again about {_listed(where['wrong'])}."
    if where["open"]:
        text += f" Still open: {_listed(where['open'])}."
    status = "wrong" if where["wrong"] else "open" if where["open"] else "right"
    notes = tuple(
        f"{_LOOK[marks[n]][0]} {n}{letter}: {QUESTIONS[n].says[letter]}"
        for n, letter in sorted(letters.items())
    )
    return Feedback(status, text, png, notes)


def _letters(answers: Any) -> dict[int, str]:
    """Return {number: letter} of the questions that are answered; raises `Stop` for others."""
    if not isinstance(answers, Mapping):
        raise wrong('A dictionary of numbers and letters is expected, such as {1: "a", 2: "c"}.')
    found: dict[int, Any] = {}
    for key, letter in answers.items():
        number = _number(key)
        if number in found:
            raise wrong(f"Question {number} is answered twice.")
        found[number] = letter
    return {n: _letter(n, given) for n, given in found.items() if given is not ...}


def _number(key: Any) -> int:
    """Return the number of a question, given as 3 or "3"."""
    number = None
    if not isinstance(key, bool):
        number = next((n for n in QUESTIONS if str(key).strip() == str(n)), None)
    if number is None:
        raise wrong(f"The questions have the numbers 1 to {_LAST}; there is no {_shown(key)}.")
    return number


def _letter(number: int, given: Any) -> str:
    """Return an option of a question, given as "b", "B" or "b)"."""
    options = QUESTIONS[number].says
    letter = given.strip().rstrip(").").lower() if isinstance(given, str) else None
    if letter not in options:
        raise wrong(
            f"Question {number} has the options {', '.join(options)}; {_shown(given)} is none of "
            "them."
        )
    return str(letter)


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _mark(letter: str | None, question: Question) -> str:
    if letter is None:
        return "open"
    return "right" if letter == question.right else "wrong"


def _listed(numbers: list[int]) -> str:
    """Return numbers as words do: "2", "2 and 5", "2, 5 to 7 and 9"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    parts = list(
        itertools.chain.from_iterable(
            [f"{r[0]} to {r[-1]}"] if len(r) > 2 else map(str, r) for r in runs
        )
    )
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _boxes(ax: Axes, marks: dict[int, str]) -> None:
    """Draw a row of boxes with a sign each, the questions' numbers above, their chapters below."""
    for n, mark in marks.items():
        sign, color = _LOOK[mark]
        ax.add_patch(
            Rectangle((n - 0.44, 0), 0.88, 1, facecolor=color, edgecolor="#666666", linewidth=1)
        )
        ax.text(n, 0.47, sign, color="white", fontsize=18, ha="center", va="center")
        ax.text(n, 1.12, str(n), color=INK, fontsize=9, ha="center", va="bottom")
    for about, group in itertools.groupby(QUESTIONS, key=lambda n: QUESTIONS[n].about):
        numbers = list(group)
        ax.plot([numbers[0] - 0.4, numbers[-1] + 0.4], [-0.18, -0.18], color="#666666", lw=1)
        label = about if about == "across" else f"ch. {about}"
        ax.text(sum(numbers) / len(numbers), -0.28, label, fontsize=9, ha="center", va="top")
    ax.set(xlim=(0.4, _LAST + 0.6), ylim=(-0.75, 1.5))
    ax.axis("off")

"""Reading an answer: a number, a tensor, a function of the reader's, a layer that it changed.

A function that cannot use what was handed in raises `Stop` with the feedback to give, so a check
reads from top to bottom; `exercise` turns that into the feedback that the reader sees.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .feedback import OPEN, Feedback

# Words of a common error -> what to do about it.
_IN_PLACE_ADVICE = {
    "leaf Variable": "Parameters may be written only inside `with torch.no_grad():`.",
    "cannot assign": (
        "Write into the parameter that is there, inside `with torch.no_grad():`, for example with "
        "copy_ or through a slice."
    ),
}
_SEED = 0  # for layers and for what a reader's function draws


class Stop(Exception):
    """Ends a check with its feedback."""

    def __init__(self, feedback: Feedback) -> None:
        super().__init__(feedback.message)
        self.feedback = feedback


def wrong(message: str) -> Stop:
    """Build the end of a check of an answer that is wrong, and that cannot be drawn."""
    return Stop(Feedback("wrong", message))


def exercise(check: Callable[[Any], Feedback]) -> Callable[[Any], Feedback]:
    """Make a check of an answer complete: `...` is open, and `Stop` is caught.

    It runs on the CPU with random numbers of its own, so the reader's stream stays where it was.
    """

    @functools.wraps(check)
    def checked(answer: Any) -> Feedback:
        if answer is ...:
            return OPEN
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(_SEED)
            try:
                return check(answer)
            except Stop as stop:
                return stop.feedback

    return checked


def number(answer: Any) -> float:
    """Return the answer as a finite float: a Python, NumPy or torch number, or one alone in a list.

    Raises `Stop` for anything else.
    """
    try:
        if isinstance(answer, Tensor):
            answer = answer.detach()
        if isinstance(answer, (list, tuple)) and len(answer) == 1:
            (answer,) = answer
        value = float(answer.item() if hasattr(answer, "item") else answer)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise wrong("A single finite number is expected.")
    return value


def near(value: float, hints: Mapping[Any, str]) -> str | None:
    """Return the hint for the number that `value` equals to half a percent, or None.

    hints: a number, or a tuple of several, -> the hint.
    """
    for numbers, hint in hints.items():
        numbers = numbers if isinstance(numbers, tuple) else (numbers,)
        if any(math.isclose(value, n, rel_tol=5e-3) for n in numbers):
            return hint
    return None


def first(*hints: tuple[object, str]) -> str | None:
    """Return the first hint whose condition holds, or None."""
    return next((hint for holds, hint in hints if holds), None)


def tensor(value: Any, expected: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return lists, arrays or tensors as a detached float64 tensor on the CPU.

    expected: the sentence to stop with where `value` is not made of real numbers of that shape.
    """
    try:
        found = value.detach().cpu() if isinstance(value, Tensor) else np.array(value)
        found = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError):
        raise wrong(expected) from None
    if found.is_complex() or (shape is not None and tuple(found.shape) != shape):
        raise wrong(expected)
    return found.double()


def all_equal(values: Tensor, target: float) -> bool:
    """Whether all values equal the target to a few roundings of float32."""
    return bool(((values - target).abs() < 1e-5).all())


def call(
    function: Any, parameters: str, *values: Any, advice: Mapping[str, str] | None = None
) -> Any:
    """Call the reader's function; raises `Stop` where it is none, raises, or returns `...`.

    parameters: their names, "(W, rho)". advice: words of an error's message -> what to add to it.
    """
    given = _called(function, parameters, values, advice or {})
    parts = given if isinstance(given, (tuple, list)) else [given]
    if any(part is ... for part in parts):
        raise Stop(OPEN)
    return given


def _called(
    function: Any, parameters: str, values: Sequence[Any], advice: Mapping[str, str]
) -> Any:
    if not callable(function):
        raise wrong(f"A function of {parameters} is expected.")
    try:
        with torch.enable_grad():
            given = function(*values)
    except Exception as error:
        hint = f"Your function raised {type(error).__name__}: {error}"
        for words, more in advice.items():
            if words in str(error):
                hint += f" ({more})"
        raise wrong(hint) from None
    return given


@dataclass(frozen=True)
class Change:
    """The parameters of a layer before and after a reader's function had it."""

    before: dict[str, Tensor]
    after: dict[str, Tensor]

    @property
    def names(self) -> list[str]:
        """The parameters that were changed."""
        return [name for name, old in self.before.items() if not torch.equal(old, self.after[name])]

    def only(self, *names: str) -> None:
        """Raise `Stop` where another parameter was changed."""
        others = [name for name in self.names if not name.startswith(names)]
        if others:
            raise wrong(f"You changed {', '.join(others)}, which must stay as drawn.")


def change(function: Any, parameters: str, layer: nn.Module, *values: Any) -> Change:
    """Call a function that changes a layer in place; it may return the layer, nothing or `...`.

    Raises `Stop` where it raised, where it changed nothing, and where the layer is broken now.
    """
    before = _parameters(layer)
    given = _called(function, parameters, (layer, *values), _IN_PLACE_ADVICE)
    after = _parameters(layer)
    for name, old in before.items():
        if name not in after:
            raise wrong(f"{name} is no longer a parameter of the layer: write into it instead.")
        if after[name].shape != old.shape:
            raise wrong(f"{name} had shape {tuple(old.shape)}, now {tuple(after[name].shape)}.")
        if not torch.isfinite(after[name]).all():
            raise wrong(f"{name} now contains NaN or infinity.")
        if not layer.get_parameter(name).requires_grad:
            raise wrong(f"{name} no longer requires a gradient: training could not change it.")
    found = Change(before, after)
    if not found.names:
        if given is None or given is layer or given is ...:
            raise Stop(Feedback("open", f"The layer is unchanged. {OPEN.message}"))
        if isinstance(given, nn.Module):
            raise wrong("You returned another layer. Change the one that is handed in.")
        raise wrong("The layer is unchanged. Write the values into it; returning them is too late.")
    return found


def _parameters(layer: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.detach().clone().double() for name, parameter in layer.named_parameters()
    }

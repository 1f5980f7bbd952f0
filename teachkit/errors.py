"""One clear sentence for bad input: the argument, what was given, what is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch


def describe(value: Any) -> str:
    """Return a short description of a value, fit for an error message."""
    if isinstance(value, (tuple, list)) and any(hasattr(v, "shape") for v in value):
        return f"({', '.join(map(describe, value))})"
    shape = getattr(value, "shape", None)
    if shape is not None and not isinstance(value, type):  # a class has one, too: a property
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def bad(argument: str, given: Any, allowed: str) -> ValueError:
    """Build the `ValueError` that every module raises for a bad argument.

    >>> raise bad("rho", -1, "a number of at least 0")
    Traceback (most recent call last):
    ValueError: rho must be a number of at least 0, but -1 was given.
    """
    return ValueError(f"{argument} must be {allowed}, but {describe(given)} was given.")


def check_choice(argument: str, given: Any, allowed: Iterable[Any]) -> None:
    """Raise `ValueError` unless `given` is one of `allowed`."""
    allowed = list(allowed)
    try:
        known = given in allowed
    except (TypeError, ValueError, RuntimeError):  # an array, which has no truth
        known = False
    if not known:
        raise bad(argument, given, "one of " + ", ".join(repr(a) for a in allowed))


def check_number(
    argument: str, given: Any, low: float = -math.inf, high: float = math.inf
) -> float:
    """Return `given` as a float; raise `ValueError` unless it is finite and in [low, high]."""
    bounds = {
        (False, False): "a finite number",
        (True, False): f"a number of at least {low:g}",
        (False, True): f"a number of at most {high:g}",
        (True, True): f"a number from {low:g} to {high:g}",
    }[(math.isfinite(low), math.isfinite(high))]
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise bad(argument, given, bounds) from None
    if not math.isfinite(number) or not low <= number <= high:
        raise bad(argument, given, bounds)
    return number


def check_positive(argument: str, given: Any, allowed: str = "above 0") -> float:
    """Return `given` as a float; raise `ValueError` unless it is finite and above 0."""
    number = check_number(argument, given, low=0)
    if number == 0:
        raise bad(argument, given, allowed)
    return number


def check_tensor(
    argument: str, given: Any, allowed: str, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Return `given` as a tensor; raise `ValueError` where it is not made of numbers."""
    try:
        return torch.as_tensor(given, dtype=dtype)
    except (TypeError, ValueError, RuntimeError):
        raise bad(argument, given, allowed) from None


def check_count(argument: str, given: Any, low: int = 1, high: float = math.inf) -> int:
    """Return `given` as an int; raise `ValueError` unless it is whole and in [low, high]."""
    upper = "" if math.isinf(high) else f" and at most {int(high)}"
    allowed = f"a whole number of at least {low}{upper}"
    if isinstance(given, bool):
        raise bad(argument, given, allowed)
    try:
        number = int(given)
        whole = number == given
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise bad(argument, given, allowed) from None
    if not whole or not low <= number <= high:
        raise bad(argument, given, allowed)
    return number

"""The check of chapter 06 on the simplest rival of a network: repeat the last period."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from .. import datasets
from ..plots import COLORS
from .answers import call, exercise, first, wrong
from .feedback import OPEN, Feedback, draw

_PERIOD, _HORIZON, _SHOWN = 132, 200, 400  # of the drawing, in months
# (length of the series, period, horizon); the last asks for more than two periods ahead.
_CASES = ((40, 12, 5), (40, 12, 12), (41, 12, 30))
_ADVICE = {
    "out of bounds": "Beyond one period the value one period earlier is a forecast itself: "
    "go back further, or repeat the last period.",
    "broadcast": "horizon need not be period: repeat the last period as often as it takes.",
    "out of range": "Beyond one period the value one period earlier is a forecast itself: "
    "go back further, or repeat the last period.",
}


@exercise
def seasonal_naive(function: Any) -> Feedback:
    """Chapter 06: forecast each value by the last one known at the same place of the period."""
    hints = []
    for length, period, horizon in _CASES:
        # Values that are all different tell by themselves which of them were taken.
        series = np.random.default_rng(length).permutation(length) + 0.5
        given = _forecast(function, series, period, horizon)
        if given is None:
            return OPEN
        hints.append(_hint(given, series, period, horizon))
    values = datasets.sunspots().to_numpy()
    split = len(values) - _HORIZON
    known = values[:split].copy()
    yours = _forecast(function, known, _PERIOD, _HORIZON)
    if yours is None:
        return OPEN
    right = np.resize(known[-_PERIOD:], _HORIZON)

    def paint(ax: Axes) -> None:
        months = np.arange(_HORIZON)
        past, bound = _SHOWN - _HORIZON, COLORS["bound"]
        ax.plot(np.arange(-past, 0), known[-past:], color=COLORS["gradient"], label="known")
        ax.plot(months, values[split:], ":", color=bound, label="what came")
        ax.plot(months, right, color=COLORS["critical"], linewidth=4, label="asked for")
        ax.plot(np.arange(len(yours)), yours, "--", color=COLORS["explode"], label="yours")
        ax.axvline(0, color="#666666", linewidth=0.8)
        ax.set(xlabel="months ahead", ylabel="sunspots", xlim=(-past, _HORIZON), ylim=(-8, 280))
        ax.legend(fontsize=7, loc="upper left", ncols=2)

    png = draw(paint, (6.4, 2.8))
    hint = next(filter(None, hints), None)
    if hint is None and not np.allclose(yours, right):
        hint = "On the sunspots your forecast is another. Does it use the series that is handed in?"
    if hint:
        return Feedback("wrong", hint, png)
    text = (
        f"Right for every horizon, also beyond one period. The picture repeats the last {_PERIOD} "
        "months of sunspots: an honest rival, though the cycle does not keep to its period."
    )
    return Feedback("right", text, png)


def _forecast(function: Any, series: np.ndarray, period: int, horizon: int) -> np.ndarray | None:
    """Return what the reader's function forecasts, as a row of finite numbers; None where open."""
    before = series.copy()
    given = call(function, "(series, period, horizon)", series, period, horizon, advice=_ADVICE)
    if given is None:
        return None
    if not np.array_equal(series, before):
        raise wrong("Your function changed the series that was handed in: work on a copy.")
    try:
        found = given.detach().numpy() if isinstance(given, Tensor) else np.asarray(given)
        if found.dtype.kind not in "iuf":  # text and complex numbers are no forecasts
            raise TypeError
        found = found.astype(float)
    except (TypeError, ValueError, RuntimeError):
        raise wrong("Return the forecasts as an array or a list of numbers.") from None
    if found.ndim != 1:
        raise wrong(f"Return one row of {horizon} numbers, not shape {found.shape}.")
    if len(found) != horizon:
        raise wrong(_wrong_length(len(found), period, horizon))
    if not np.isfinite(found).all():
        raise wrong("Your forecast contains NaN or infinity.")
    return found


def _wrong_length(found: int, period: int, horizon: int) -> str:
    text = f"For period {period} and horizon {horizon} you returned {found} values."
    if found != period:
        return f"{text} Return {horizon}."
    if horizon < period:
        return f"{text} That is the whole period: cut it off after {horizon}."
    return f"{text} That is one period: repeat it until it is long enough."


def _hint(given: np.ndarray, series: np.ndarray, period: int, horizon: int) -> str | None:
    """Return what is wrong with a forecast, told by the places its values were taken from."""
    length, ahead = len(series), np.arange(horizon)
    asked = length - period + ahead % period
    places = {value: place for place, value in enumerate(series)}
    taken = np.array([places.get(round(2 * value) / 2, -1) for value in given])
    if (taken < 0).any() or not np.allclose(series[taken], given):
        averaged = np.allclose(given, series.mean()) or np.allclose(given, series[-period:].mean())
        if averaged:
            return "You forecast the mean. Take the value one period earlier, month by month."
        return "Your forecasts are not values of the series. Repeat them as they are."
    if np.array_equal(taken, asked):
        return None
    within = ahead < period
    start = np.where(within, asked, ahead - period)
    return first(
        ((taken == length - 1).all(), "That repeats the last value: go back one period instead."),
        (
            np.array_equal(taken, asked[::-1])
            or np.array_equal(taken, length - 1 - ahead % period),
            "Your forecast runs backwards in time.",
        ),
        (
            np.array_equal(taken, start),
            "Right for one period. From there on -period + k is no longer negative, and an index "
            "of 0 or more counts from the beginning of the series: go on with k % period.",
        ),
        (
            np.array_equal(taken, length - period + np.minimum(ahead, period - 1)),
            "Right for one period. After it you repeat the last value: repeat the period.",
        ),
        (
            np.array_equal(taken, length - period + (ahead + 1) % period)
            or np.array_equal(taken, asked + 1),
            "Off by one: you are a step too late. The first forecast is series[-period].",
        ),
        (
            np.array_equal(taken, length - period + (ahead - 1) % period)
            or np.array_equal(taken, asked - 1),
            "Off by one: you are a step too early. The first forecast is series[-period].",
        ),
        (
            np.array_equal(taken, ahead % period) or np.array_equal(taken, ahead),
            "You took the beginning of the series. The last period stands at its end.",
        ),
        (
            np.array_equal(taken, length - horizon + ahead),
            "You took the last `horizon` values. Take those of the last `period`.",
        ),
        (
            np.array_equal((asked - taken) % period, np.zeros(horizon)),
            "The place in the period is right, but the value is older than it need be: take the "
            "last one that is known.",
        ),
        (True, _first_wrong(taken, asked, length)),
    )


def _first_wrong(taken: np.ndarray, asked: np.ndarray, length: int) -> str:
    k = int(np.flatnonzero(taken != asked)[0])
    return (
        f"With {length} values known, forecast {k + 1} should be series[{asked[k] - length}]; you "
        f"took series[{taken[k] - length}]."
    )

"""Forecasts that need no network: what any other forecast has to beat.

Windows are arrays (N, T), a row a window, the oldest value first; a forecast is (N, horizon).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import bad, check_count, check_number

Arrays = tuple[np.ndarray, np.ndarray]
LAGS = (1, 2, 3, 6, 12, 24, 48, 72, 96, 108, 120, 132)
RIDGES = (0.0, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)


def _checked(argument: str, given: Any, width: int | None = None) -> np.ndarray:
    """Return an array (N, width) of finite numbers in float64."""
    allowed = f"an array (N, {'T' if width is None else width}) of finite numbers"
    try:
        values = np.asarray(given, float)
    except (TypeError, ValueError):
        raise bad(argument, given, allowed) from None
    if values.ndim != 2 or not values.size or width not in (None, values.shape[1]):
        raise bad(argument, given, allowed)
    if not np.isfinite(values).all():
        raise ValueError(f"{argument} must be {allowed}, but one with NaN or infinity was given.")
    return values


def persistence(windows: np.ndarray, horizon: int) -> np.ndarray:
    """Forecast that all stays as it is: the last value, `horizon` times.

    windows: (N, T). Returns (N, horizon). Raises `ValueError` for windows that are not such an
    array. Source: Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", the naive
    method. Taught in chapter 06.

    >>> persistence(np.array([[1.0, 2.0, 5.0]]), 2)
    array([[5., 5.]])
    """
    windows = _checked("windows", windows)
    return np.repeat(windows[:, -1:], check_count("horizon", horizon), axis=1)


def seasonal_naive(windows: np.ndarray, horizon: int, period: int = 132) -> np.ndarray:
    """Forecast that the last period returns: the value one `period` earlier.

    windows: (N, T) with T of at least period; beyond one period the last one is repeated. The
    default are the 11 years of the sunspot cycle, in months. Returns (N, horizon). Raises
    `ValueError` for a period longer than the windows. Source: Hyndman and Athanasopoulos,
    "Forecasting: Principles and Practice", the seasonal naive method. Taught in chapter 06.

    >>> seasonal_naive(np.array([[9.0, 1.0, 2.0]]), 3, period=2)
    array([[1., 2., 1.]])
    """
    windows = _checked("windows", windows)
    period = check_count("period", period, high=windows.shape[1])
    steps = np.arange(check_count("horizon", horizon)) % period
    return windows[:, windows.shape[1] - period + steps]


def mean_forecast(windows: np.ndarray, horizon: int, mean: float = 0.0) -> np.ndarray:
    """Forecast the mean of the training part, whatever the window shows.

    mean: 0 in the scaled units of `SeriesForecast`. windows: (N, T). Returns (N, horizon). Raises
    `ValueError` for a mean that is not a number. Taught in chapter 06.
    """
    shape = (len(_checked("windows", windows)), check_count("horizon", horizon))
    return np.full(shape, check_number("mean", mean))


@dataclass(frozen=True)
class LinearForecast:
    """A linear autoregression with a row of weights for every step ahead.

    weights: (lags, horizon), the oldest value first; intercept: (horizon,); ridge: the penalty that
    they were fitted with. Made by `linear_forecast` or `chosen_linear_forecast`.
    """

    weights: np.ndarray
    intercept: np.ndarray
    ridge: float

    @property
    def lags(self) -> int:
        """How many of the last values it reads."""
        return len(self.weights)

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Forecast (N, horizon) from windows (N, T) with T of at least `lags`.

        Raises `ValueError` for narrower ones.
        """
        windows = _checked("windows", windows)
        if windows.shape[1] < self.lags:
            raise bad(
                "windows", windows, f"an array (N, T) with T of at least {self.lags}, its lags"
            )
        return windows[:, -self.lags :] @ self.weights + self.intercept


def linear_forecast(
    windows: np.ndarray, targets: np.ndarray, lags: int, ridge: float = 0.0
) -> LinearForecast:
    """Fit a linear autoregression from the last `lags` values to all steps ahead at once.

    windows: (N, T), targets: (N, horizon). Minimises the mean over windows of the squared error
    plus ridge * |weights|**2, the intercept without a penalty; 0 is least squares. Raises
    `ValueError` for lags beyond the windows, a negative ridge, and arrays that do not fit.
    Source: Hoerl and Kennard, Technometrics 12 (1970). Taught in chapter 06.
    """
    (made,) = _linear_forecasts(windows, targets, lags, [ridge])
    return made


def _linear_forecasts(
    windows: np.ndarray, targets: np.ndarray, lags: int, ridges: Iterable[float]
) -> list[LinearForecast]:
    """Fit one for each ridge, all from one singular value decomposition."""
    windows = _checked("windows", windows)
    targets = _checked("targets", targets)
    if len(targets) != len(windows):
        raise bad("targets", targets, f"an array of {len(windows)} rows, one for each window")
    lags = check_count("lags", lags, high=windows.shape[1])
    x = windows[:, -lags:]
    mean_x, mean_y = x.mean(0), targets.mean(0)
    left, s, right = np.linalg.svd(x - mean_x, full_matrices=False)
    s[s <= s[0] * len(x) * np.finfo(float).eps] = 0  # what rounding left of a dependent column
    fitted = left.T @ (targets - mean_y)
    made = []
    for ridge in ridges:
        squares = s**2 + len(x) * check_number("ridge", ridge, low=0)
        weights = right.T @ (np.divide(s, squares, where=s > 0, out=0 * s)[:, None] * fitted)
        made.append(LinearForecast(weights, mean_y - mean_x @ weights, float(ridge)))
    return made


def chosen_linear_forecast(
    train: Arrays,
    validation: Arrays,
    *,
    lags: Iterable[int] = LAGS,
    ridges: Iterable[float] = RIDGES,
) -> LinearForecast:
    """Fit linear autoregressions on `train` and return the one that is best on `validation`.

    train, validation: windows (N, T) and targets (N, horizon). Lags longer than the windows are
    left out. Nothing is fitted again afterwards: the weights have seen the training part alone, as
    those of a network have. Raises `ValueError` where no lags are left, or no ridges are given.
    Taught in chapter 06.
    """
    longest = _checked("windows", train[0]).shape[1]
    given = [check_count("lags", n) for n in lags]
    fitting = [n for n in given if n <= longest]
    if not fitting:
        raise bad("lags", given, f"numbers of which one is at most {longest}")
    ridges = list(ridges)
    if not ridges:
        raise bad("ridges", ridges, "at least one number")
    fitted = [made for n in fitting for made in _linear_forecasts(*train, n, ridges)]
    return min(fitted, key=lambda made: rmse(made(validation[0]), validation[1]))


def rmse(forecast: np.ndarray, target: np.ndarray) -> float:
    """Return the root mean squared error over all windows and all steps ahead.

    forecast, target: (N, horizon), in whatever units they have; NaN for a forecast with NaN. Raises
    `ValueError` for a forecast that is not numbers or not of the shape of the target.

    >>> rmse(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    1.4142135623730951
    """
    target = _checked("target", target)
    allowed = f"numbers of shape {target.shape}"
    try:
        values = np.asarray(forecast, float)
    except (TypeError, ValueError):
        raise bad("forecast", forecast, allowed) from None
    if values.shape != target.shape:
        raise bad("forecast", forecast, allowed)
    return float(np.sqrt(np.mean((values - target) ** 2)))


BASELINES = ("persistence", "seasonal naive", "mean", "linear autoregression")


def baseline_forecasts(
    windows: np.ndarray, horizon: int, linear: LinearForecast, *, period: int = 132
) -> dict[str, np.ndarray]:
    """Return the forecasts of all baselines, {name: (N, horizon)}, in the order of `BASELINES`.

    The seasonal naive forecast is left out where the windows are shorter than its period. linear:
    from `chosen_linear_forecast`. Taught in chapter 06.
    """
    made = {
        "persistence": persistence(windows, horizon),
        "mean": mean_forecast(windows, horizon),
        "linear autoregression": linear(windows),
    }
    if check_count("period", period) <= np.shape(windows)[1]:
        made["seasonal naive"] = seasonal_naive(windows, horizon, period)
    return {name: made[name] for name in BASELINES if name in made}

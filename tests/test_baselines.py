# mypy: disable-error-code="arg-type"
"""Forecasts without a network, against closed forms, SciPy and brute force."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import linalg, optimize

from teachkit.baselines import (
    BASELINES,
    LAGS,
    RIDGES,
    baseline_forecasts,
    chosen_linear_forecast,
    linear_forecast,
    mean_forecast,
    persistence,
    rmse,
    seasonal_naive,
)
from teachkit.forecasting import SeriesForecast

numbers = st.floats(-100, 100)


def some(count=40, width=6, horizon=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)), rng.normal(size=(count, horizon))


# -- the simple ones --------------------------------------------------------------------------


@given(arrays(float, (3, 5), elements=numbers), st.integers(1, 8))
def test_persistence_and_mean_are_constant(windows, horizon):
    last, mean = persistence(windows, horizon), mean_forecast(windows, horizon, 1.5)
    assert last.shape == mean.shape == (3, horizon)
    assert (last == windows[:, -1:]).all()
    assert (mean == 1.5).all()


@given(st.integers(1, 9), st.integers(1, 30), st.integers(0, 20))
def test_the_seasonal_naive_forecast_is_exact_on_a_periodic_series(period, horizon, start):
    pattern = np.random.default_rng(period).normal(size=period)
    steps = start + np.arange(12 + horizon)
    series = pattern[steps % period]
    found = seasonal_naive(series[None, :12], horizon, period)
    np.testing.assert_array_equal(found[0], series[12:])


def test_the_seasonal_naive_forecast_reads_one_period_back():
    task = SeriesForecast()
    windows, targets = task.arrays("test", 5)
    found, values = seasonal_naive(windows, 24), task.scaled
    for n, origin in enumerate(np.arange(5) * 601 // 5 + task.origins("test").start):
        np.testing.assert_array_equal(targets[n], values[origin : origin + 24])
        np.testing.assert_array_equal(found[n], values[origin - 132 : origin - 108])


def test_a_period_of_one_is_persistence():
    windows, _ = some()
    np.testing.assert_array_equal(seasonal_naive(windows, 4, 1), persistence(windows, 4))


# -- linear autoregression --------------------------------------------------------------------


@pytest.mark.parametrize(("lags", "ridge"), [(1, 0.0), (4, 0.0), (6, 0.2), (3, 5.0)])
def test_the_fit_is_that_of_the_normal_equations(lags, ridge):
    windows, targets = some()
    made = linear_forecast(windows, targets, lags, ridge)
    x = np.column_stack([np.ones(len(windows)), windows[:, -lags:]])
    penalty = ridge * len(windows) * np.diag([0.0, *np.ones(lags)])
    weights = linalg.solve(x.T @ x + penalty, x.T @ targets)
    np.testing.assert_allclose(made.intercept, weights[0], atol=1e-10)
    np.testing.assert_allclose(made.weights, weights[1:], atol=1e-10)
    np.testing.assert_allclose(made(windows), x @ weights, atol=1e-10)
    assert (made.lags, made.ridge) == (lags, ridge)


def test_the_fit_minimises_what_it_says():
    windows, targets = some(20, 3, 1)

    def objective(p):
        residual = windows @ p[1:] + p[0] - targets[:, 0]
        return np.mean(residual**2) + 0.3 * np.sum(p[1:] ** 2)

    found = optimize.minimize(objective, np.zeros(4), tol=1e-12).x
    made = linear_forecast(windows, targets, 3, 0.3)
    np.testing.assert_allclose([made.intercept[0], *made.weights[:, 0]], found, atol=1e-5)


def test_an_autoregressive_series_is_forecast_exactly():
    values = [1.0, 0.5]
    for _ in range(60):
        values.append(1.6 * values[-1] - 0.9 * values[-2] + 0.2)
    series = np.array(values)
    origins = np.arange(8, 55)[:, None]
    windows, targets = series[origins + np.arange(-8, 0)], series[origins + np.arange(4)]
    made = linear_forecast(windows[:30], targets[:30], lags=2)
    np.testing.assert_allclose(made(windows[30:]), targets[30:], atol=1e-10)
    np.testing.assert_allclose(made.weights[:, 0], [-0.9, 1.6], atol=1e-10)
    # six lags more than the series has: dependent columns, which least squares takes too
    np.testing.assert_allclose(
        linear_forecast(windows[:30], targets[:30], 8)(windows[30:]), targets[30:], atol=1e-8
    )


def test_dependent_columns_get_the_smallest_weights():
    windows, targets = some(30, 2)
    twice = np.concatenate([windows, windows], axis=1)
    made = linear_forecast(twice, targets, 4)
    x = np.column_stack([twice - twice.mean(0)])
    expected = linalg.pinv(x) @ (targets - targets.mean(0))
    np.testing.assert_allclose(made.weights, expected, atol=1e-10)


def test_a_large_ridge_leaves_the_mean():
    windows, targets = some()
    found = linear_forecast(windows, targets, 6, 1e12)(windows)
    np.testing.assert_allclose(found, np.tile(targets.mean(0), (40, 1)), atol=1e-9)


def test_validation_chooses_the_lags_and_the_ridge():
    train, validation = some(30, 10, 2, seed=1), some(25, 10, 2, seed=2)
    x, y = train
    lags, ridges = (2, 5, 10, 12), (0.0, 0.1, 10.0)
    made = chosen_linear_forecast(train, validation, lags=lags, ridges=ridges)
    errors = {
        (n, ridge): rmse(
            linear_forecast(train[0], train[1], n, ridge)(validation[0]), validation[1]
        )
        for n, ridge in itertools.product(lags[:3], ridges)  # 12 do not fit
    }
    assert (made.lags, made.ridge) == min(errors, key=lambda key: errors[key])
    expected = linear_forecast(x, y, made.lags, made.ridge)
    np.testing.assert_allclose(made.weights, expected.weights, atol=1e-12)


def test_on_the_sunspots_the_best_is_inside_the_grid():
    task = SeriesForecast()
    parts = [task.arrays(part) for part in ("train", "validation", "test")]
    made = chosen_linear_forecast(parts[0], parts[1])
    assert LAGS[0] < made.lags < LAGS[-1]
    assert RIDGES[0] < made.ridge < RIDGES[-1]
    errors = {
        name: rmse(forecast, parts[2][1])
        for name, forecast in baseline_forecasts(parts[2][0], 24, made).items()
    }
    assert tuple(errors) == BASELINES
    assert sorted(errors, key=lambda name: errors[name]) == [
        "linear autoregression", "seasonal naive", "persistence", "mean",
    ]  # fmt: skip
    assert errors["linear autoregression"] == pytest.approx(0.513, abs=0.005)
    assert errors["seasonal naive"] == pytest.approx(0.770, abs=0.005)


def test_a_window_shorter_than_a_period_has_no_seasonal_naive_forecast():
    windows, targets = some(width=20)
    made = baseline_forecasts(windows, 3, linear_forecast(windows, targets, 4))
    assert "seasonal naive" not in made
    assert list(made) == [name for name in BASELINES if name != "seasonal naive"]
    again = baseline_forecasts(windows, 3, linear_forecast(windows, targets, 4), period=20)
    assert list(again) == list(BASELINES)


@given(arrays(float, (4, 3), elements=numbers), arrays(float, (4, 3), elements=numbers))
def test_the_error_is_the_root_of_the_mean_square(forecast, target):
    expected = np.linalg.norm(forecast - target) / 12**0.5
    assert rmse(forecast, target) == pytest.approx(expected, rel=1e-12, abs=1e-12)


# -- bad input --------------------------------------------------------------------------------

X, Y = some()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: persistence(X[0], 2), "windows must be an array (N, T) of finite numbers, but"),
        (lambda: persistence(X * np.nan, 2), "but one with NaN or infinity was given"),
        (lambda: persistence([["much"]], 2), "windows must be an array (N, T)"),
        (lambda: persistence(X, 0), "horizon must be a whole number of at least 1"),
        (lambda: seasonal_naive(X, 2, 7), "period must be a whole number of at least 1 and at "
         "most 6, but 7 was given"),
        (lambda: mean_forecast(X, 2, np.nan), "mean must be a finite number, but nan"),
        (lambda: linear_forecast(X, Y, 7), "lags must be a whole number of at least 1 and at "
         "most 6, but 7 was given"),
        (lambda: linear_forecast(X, Y, 2, -1), "ridge must be a number of at least 0, but -1"),
        (lambda: linear_forecast(X, Y[:5], 2), "targets must be an array of 40 rows"),
        (lambda: linear_forecast(X, Y, 5)(X[:, :4]), "windows must be an array (N, T) with T of "
         "at least 5, its lags, but ndarray of shape (40, 4) was given."),
        (lambda: chosen_linear_forecast((X, Y), (X, Y), lags=[2], ridges=[]), "ridges must be at "
         "least one number, but [] was given."),
        (lambda: rmse("a", Y), "forecast must be numbers of shape (40, 3), but 'a' was given."),
        (lambda: chosen_linear_forecast((X, Y), (X, Y), lags=[9]), "lags must be numbers of "
         "which one is at most 6, but [9] was given"),
        (lambda: rmse(Y[:, :2], Y), "forecast must be numbers of shape (40, 3)"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()

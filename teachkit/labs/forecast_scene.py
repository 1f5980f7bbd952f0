"""What the forecast lab knows of a series: its baselines, and what lies around an origin."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..baselines import LinearForecast, baseline_forecasts, chosen_linear_forecast, rmse
from ..experiments.ablation import ABLATION
from ..forecasting import SeriesForecast
from .forecast_picture import Surroundings

DRAWN = ("linear autoregression", "seasonal naive")


@dataclass(frozen=True)
class Scene:
    """A series with the baselines that were fitted on it.

    period: of the seasonal naive forecast; None leaves it out. baselines: errors on validation and
    on test, by name.
    """

    task: SeriesForecast
    period: int | None
    linear: LinearForecast
    baselines: dict[str, tuple[float, float]]

    def forecasts(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the baselines' forecasts (N, horizon) in scaled units."""
        # a period longer than the windows is left out
        period = windows.shape[1] + 1 if self.period is None else self.period
        return baseline_forecasts(windows, self.task.horizon, self.linear, period=period)


@functools.lru_cache(maxsize=4)
def make_scene(task: SeriesForecast, period: int | None) -> Scene:
    """Fit the baselines of a task, once."""
    parts = [task.arrays(part, ABLATION["windows"]) for part in ("validation", "test")]
    linear = chosen_linear_forecast(task.arrays("train"), parts[0])
    scene = Scene(task, period, linear, {})
    made = [scene.forecasts(windows) for windows, _ in parts]
    errors = {
        name: (rmse(made[0][name], parts[0][1]), rmse(made[1][name], parts[1][1]))
        for name in made[0]
    }
    return replace(scene, baselines=errors)


def _labels(index: pd.Index) -> list[str]:
    """Return dates in words, without the time of day where all have the same."""
    if isinstance(index, pd.DatetimeIndex) and (index == index.normalize()).all():
        return [str(date) for date in index.date]
    return [str(label) for label in index]


@functools.lru_cache(maxsize=4)
def scene_labels(task: SeriesForecast) -> list[str]:
    """Return the dates of a task in words."""
    return _labels(task.dates)


def step_name(task: SeriesForecast) -> str:
    """Return what the steps of a series are called."""
    return "months" if getattr(task.dates, "freqstr", None) in ("M", "ME", "MS") else "steps"


@functools.lru_cache(maxsize=4)
def _ends(task: SeriesForecast) -> tuple[float, float]:
    values = task.values.to_numpy(float)
    room = 0.06 * np.ptp(values)
    low = values.min()
    return float(0.0 if 0 <= low < room else low - room), float(values.max() + room)


def surroundings(scene: Scene, origin: int) -> tuple[Surroundings, dict[str, float]]:
    """Return the series around a test origin, and the errors of the baselines there."""
    task = scene.task
    place = task.origins("test").start + origin
    window, target = task.scaled[place - task.seq_len : place], task.scaled[place:][: task.horizon]
    made = scene.forecasts(window[None])
    unscale = task.scaling.unscale
    around = Surroundings(
        past=unscale(window[-3 * task.horizon :]),
        truth=unscale(target),
        forecasts={name: unscale(made[name][0]) for name in DRAWN if name in made},
        label=scene_labels(task)[place],
        name=task.name,
        step=step_name(task),
        ends=_ends(task),
    )
    return around, {name: rmse(values, target[None]) for name, values in made.items()}


def words_of(settings: Mapping[str, Any]) -> str:
    """Return the switches and the rate in words.

    >>> words_of({"preset": "keras", "forget_bias": "3", "initial_state": "zero",
    ...           "clipping": "none", "lr": 0.01})
    'keras, forget bias 3, zero state, clipping none, lr 0.01'
    """
    bias = settings["forget_bias"]
    bias = "of the preset" if bias == "preset" else bias
    return (
        f"{settings['preset']}, forget bias {bias}, {settings['initial_state']} state, "
        f"clipping {settings['clipping']}, lr {settings['lr']:g}"
    )


def baselines_in_words(errors: dict[str, float]) -> str:
    """Say what the baselines that are drawn have; without a period, persistence."""
    linear = f"linear autoregression has {errors['linear autoregression']:.3f}"
    if "seasonal naive" not in errors:
        return f"{linear}, persistence {errors['persistence']:.3f}"
    return f"{linear}, the seasonal naive forecast {errors['seasonal naive']:.3f}"

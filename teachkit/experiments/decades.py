"""Chapter 06: in which years the networks lose to a linear autoregression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from ..baselines import chosen_linear_forecast
from ..forecasting import SeriesForecast
from ..replicas import Replicas
from .ablation import ABLATION, Combination, ablation_task, ablation_windows
from .settings import PLAN, changed, stacked_batches

LINEAR = "linear autoregression"
DECADES: dict[str, Any] = {
    # as validation chose them, with their rates; and PyTorch's layer as it comes
    "combinations": [
        ["keras", "3", "noisy", "norm 1", 0.01],
        ["torch", "preset", "zero", "none", 0.03],
    ],
    "steps": 600,
    "score_every": 50,
    "years": 10,
    "seeds": 16,
}


def decades_study(**changes: Any) -> pd.DataFrame:
    """Measure networks of the ablation on every test window, by the years that they forecast.

    Each is trained as in `ablation_study`, and measured where its validation error is least.
    changes: to `DECADES`, for a smaller study. Returns forecast (the switches in words, the same
    with ", mean of 16" for the averaged forecasts of all seeds, or "linear autoregression"), seed
    (-1 where there is none), start (first year of those in which the forecast months begin) and
    error, as in the ablation. Raises `ValueError` for a setting that `DECADES` does not have.
    Taught in chapter 06.
    """
    s = changed(DECADES, changes)
    task = ablation_task()
    windows, targets = task.arrays("test")
    years = np.array([task.dates[n].year for n in task.origins("test")])
    starts = years.min() + (years - years.min()) // s["years"] * s["years"]
    whole = starts + s["years"] - 1 <= years.max() - 1  # the last year has one window
    linear = chosen_linear_forecast(
        task.arrays("train"), task.arrays("validation", ABLATION["windows"])
    )
    made = {(LINEAR, -1): linear(windows)}
    for *switches, lr in s["combinations"]:
        forecasts = _forecasts(task, Combination(*switches), lr, s)
        name = ", ".join(switches)
        made |= {(name, seed): forecast for seed, forecast in enumerate(forecasts)}
        made[f"{name}, mean of {s['seeds']}", -1] = forecasts.mean(0)
    rows = []
    for (name, seed), forecast in made.items():
        for start in np.unique(starts[whole]):
            own = starts == start
            error = np.sqrt(((forecast - targets)[own] ** 2).mean())
            rows.append({"forecast": name, "seed": seed, "start": start, "error": error})
    return pd.DataFrame(rows)


def _forecasts(
    task: SeriesForecast, combination: Combination, lr: float, s: dict[str, Any]
) -> np.ndarray:
    """Train from every seed; return the forecasts of all test windows, (seeds, N, horizon)."""
    variant, seeds = combination.variant(ABLATION["hidden_size"], lr), range(s["seeds"])
    replicas = Replicas(
        [variant.model(task, seed) for seed in seeds],
        lr=lr,
        clipper=variant.clipper,
        seeds=list(seeds),
        plan=PLAN,
    )
    drawn = stacked_batches(task, seeds, 1, ABLATION["batch_size"])
    validation, target = ablation_windows()["validation"]
    test, _ = task.test_windows(len(task.origins("test")))
    best = torch.full((len(replicas),), torch.inf)
    found = torch.zeros(len(replicas), test.shape[1], task.horizon)
    for step in range(s["steps"] + 1):
        if step % s["score_every"] == 0:
            outputs, _ = replicas.outputs(validation[None])
            errors = (outputs - target).square().mean((1, 2))
            # a run that diverged is over, as in the ablation
            better = (errors < best) & (replicas.diverged < 0)
            best = torch.where(better, errors, best)
            forecasts, _ = replicas.outputs(test[None])
            found[better] = forecasts[better]
        if step < s["steps"]:
            replicas.step(*next(drawn), task.loss)
    return found.double().numpy()

"""Lab: a real series, every switch of the book, and forecasts that need no network beside them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import bad, check_count
from ..experiments.ablation import ABLATION, SWITCHES, ablation_task
from ..forecasting import SeriesForecast
from ..results import load_results
from ..statistics import t_interval
from .base import Lab
from .controls import Choice, Slider, Stops
from .forecast_picture import Forecasted, ForecastPicture, TrainingPicture
from .forecast_scene import (
    Scene,
    baselines_in_words,
    make_scene,
    step_name,
    surroundings,
    words_of,
)
from .forecast_training import train, training_seconds, training_sentence
from .spec import Settings, Spec, Training

SEEDS = ABLATION["seeds"]
PERIOD = 132  # months of a sunspot cycle, about


@functools.cache
def _precomputed() -> tuple[dict[tuple[Any, ...], np.ndarray], tuple[float, float]]:
    """Read the table: test errors by switches and rate, in the order of seeds, and their range."""
    runs = load_results("ablation").sort_values("seed", kind="stable")
    groups = runs.groupby([*SWITCHES, "lr"], sort=False).indices
    errors = runs["test"].to_numpy()
    found: dict[Any, np.ndarray] = {key: errors[rows] for key, rows in groups.items()}
    ends = [errors.min(), errors.max(), *(test for _, test in _sunspots().baselines.values())]
    # the mean of the training part is far off, and would leave no room for the rest
    ends.remove(_sunspots().baselines["mean"][1])
    return found, (float(np.floor(20 * min(ends)) / 20), float(np.ceil(20 * max(ends)) / 20))


def _sunspots() -> Scene:
    return make_scene(ablation_task(), PERIOD)


def _key(settings: Settings) -> tuple[Any, ...]:
    return (*(settings[name] for name in SWITCHES), settings["lr"])


@functools.lru_cache(maxsize=512)
def _known(key: tuple[Any, ...]) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Return the test errors of a combination by seed, their mean and its interval."""
    found, _ = _precomputed()
    if key not in found:
        raise ValueError(
            f"The results ablation hold no runs of {' / '.join(map(str, key))}; make results "
            "computes them."
        )
    errors = found[key]
    finite = errors[np.isfinite(errors)]
    return errors, (float(finite.mean()), *t_interval(finite))


def compute(scene: Scene, own: bool, settings: Settings) -> Forecasted:
    """Look up the precomputed runs of the settings; an own series has none. Pure."""
    around, here = surroundings(scene, settings["origin"])
    baselines = {name: test for name, (_, test) in scene.baselines.items()}
    if own:
        errors, interval = np.empty(0), (np.nan, np.nan, np.nan)
        others, limits = np.empty(0), (0.0, float(np.ceil(11 * max(baselines.values())) / 10))
    else:
        found, limits = _precomputed()
        errors, interval = _known(_key(settings))
        others = np.array([_known(key)[1][0] for key in found if key[-1] == settings["lr"]])
    return Forecasted(
        words=words_of(settings),
        around=around,
        seed=settings["seed"],
        errors=errors,
        interval=interval,
        others=others,
        baselines=baselines,
        here=here,
        limits=limits,
    )


# -- in words ---------------------------------------------------------------------------------


def sentence(result: Forecasted) -> str:
    """State the test error over seeds, those of the baselines, and theirs at this origin."""
    here = f"from {result.around.label} alone {baselines_in_words(result.here)}"
    if not len(result.errors):
        return (
            f"{result.words}: Train now trains the network of seed {result.seed} on "
            f"{result.around.name}; on test {baselines_in_words(result.baselines)}; {here}."
        )
    mean, low, high = result.interval
    count = int(np.isfinite(result.errors).sum())
    return (
        f"{result.words}: over {count} seeds the test error is {mean:.3f} [{low:.3f}, {high:.3f}] "
        f"standard deviations, seed {result.seed} alone {result.errors[result.seed]:.3f}; "
        f"{baselines_in_words(result.baselines)}; {here}."
    )


def table(result: Forecasted) -> pd.DataFrame:
    """Return what is drawn as numbers: what, at (a step or a seed) and value."""
    around = result.around
    series = np.concatenate([around.past, around.truth])
    rows = [("series", str(n), value) for n, value in enumerate(series, start=1 - len(around.past))]
    for name, values in around.forecasts.items():
        rows += [(name, str(n), value) for n, value in enumerate(values, start=1)]
    rows += [("test error", f"seed {n}", value) for n, value in enumerate(result.errors)]
    rows += [("test error", name, value) for name, value in result.baselines.items()]
    return pd.DataFrame(rows, columns=["what", "at", "value"])


# -- the lab ----------------------------------------------------------------------------------


def _controls(task: SeriesForecast) -> tuple[Slider | Choice, ...]:
    last = len(task.origins("test")) - 1
    label = "origin (month)" if step_name(task) == "months" else "origin"
    return (
        Slider("origin", label, 2 * last // 5, 0, last, 1),
        Choice("preset", "preset", "torch", tuple(ABLATION["preset"])),
        Choice("forget_bias", "forget bias", "preset", tuple(ABLATION["forget_bias"])),
        Choice("initial_state", "initial state", "zero", tuple(ABLATION["initial_state"])),
        Choice("clipping", "clipping", "none", tuple(ABLATION["clipping"])),
        Stops("lr", "lr", 0.01, tuple(ABLATION["lrs"])),
        Slider("seed", "seed", 0, 0, SEEDS - 1, 1),
    )


def posters(task: SeriesForecast, start: Settings) -> list[Settings]:
    """Return the lab as it opens, and a forget bias of 3 where a steep rise begins."""
    return [{}, {"forget_bias": "3", "origin": 19 * (len(task.origins("test")) - 1) // 30}]


def _spec(scene: Scene, arguments: str = "") -> Spec:
    own = bool(arguments)
    return Spec(
        name="forecast",
        controls=_controls(scene.task),
        compute=functools.partial(compute, scene, own),
        picture=ForecastPicture,
        sentence=sentence,
        table=table,
        posters=functools.partial(posters, scene.task),
        training=Training(
            functools.partial(train, scene),
            TrainingPicture,
            training_sentence,
            lambda _: training_seconds(scene.task, scene.period),
        ),
        arguments=arguments,
    )


def forecast(
    *,
    series: Any = None,
    seq_len: int | None = None,
    horizon: int | None = None,
    period: int | None = None,
    show: Sequence[str] | None = None,
    **settings: Any,
) -> Lab:
    """Open the lab of chapter 06: which choices paid off on a real series, and against what.

    settings: preset ("torch" or "keras"), forget_bias ("preset", "1" or "3"), initial_state
    ("zero", "learned" or "noisy"), clipping ("none" or "norm 1"), lr (0.003, 0.01 or 0.03), origin
    (0 to 600: months after January 1957 from which is forecast) and seed (0 to 15: the run that is
    shown alone). The errors are of runs that were trained before; Train now trains one of them.
    They are root mean squares, where 1 is a standard deviation of the training part (of its square
    roots, for the sunspots).
    series: your own, a pandas Series or an array (n,), with seq_len and horizon; nothing was
    precomputed for it. period: of its seasonal naive forecast, None for none. show: names of the
    controls to show, None for all. Raises `ValueError` for a bad setting or series.
    """
    if series is None:
        for name, given in (("seq_len", seq_len), ("horizon", horizon), ("period", period)):
            if given is not None:
                raise bad(name, given, "left out, or given with a series of your own")
        return Lab(_spec(_sunspots()), settings, show)
    sizes: dict[str, Any] = {
        name: n for name, n in (("seq_len", seq_len), ("horizon", horizon)) if n is not None
    }
    task = SeriesForecast(series, **sizes)
    if period is not None:
        sizes["period"] = period = check_count("period", period, high=task.seq_len)
    arguments = ", ".join(["series=series", *(f"{name}={n}" for name, n in sizes.items())])
    return Lab(_spec(make_scene(task, period), arguments), settings, show)

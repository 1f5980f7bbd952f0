"""Chapter 06: every combination of the switches of the book, on one real series."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..baselines import baseline_forecasts, chosen_linear_forecast, rmse
from ..clipping import Clipper
from ..errors import bad, check_choice
from ..forecasting import SeriesForecast
from ..replicas import Replicas
from ..statistics import t_interval
from ..variants import Variant
from .settings import PLAN, changed, stacked_batches

SWITCHES = ("preset", "forget_bias", "initial_state", "clipping")
ABLATION: dict[str, Any] = {
    "series": "sunspots",
    "seq_len": 132,
    "horizon": 24,
    "hidden_size": 16,
    "preset": ["torch", "keras"],
    "forget_bias": ["preset", "1", "3"],  # "preset": as the preset has it
    "initial_state": ["zero", "learned", "noisy"],
    "clipping": ["none", "norm 1"],
    "lrs": [3e-3, 1e-2, 3e-2],
    "batch_size": 32,
    "steps": 600,
    "score_every": 50,
    "windows": 151,  # of validation and of test each, evenly spread: neighbours are much alike
    "leads": [1, 6, 12, 24],
    "seeds": 16,
}


class Combination(NamedTuple):
    """One setting of each switch."""

    preset: str
    forget_bias: str
    initial_state: str
    clipping: str

    def variant(self, hidden_size: int, lr: float) -> Variant:
        """Return it as `compare` and `Replicas` take it."""
        _, _, threshold = self.clipping.partition("norm ")
        return Variant(
            hidden_size=hidden_size,
            initializer=self.preset,
            forget_bias=None if self.forget_bias == "preset" else float(self.forget_bias),
            initial_state=self.initial_state,
            clipper=Clipper("norm", float(threshold)) if threshold else None,
            lr=lr,
        )

    @property
    def trained_as(self) -> Combination:
        """The combination whose runs are the same, bit for bit: Keras's forget bias is 1."""
        if (self.preset, self.forget_bias) == ("keras", "preset"):
            return self._replace(forget_bias="1")
        return self


def ablation_task(settings: dict[str, Any] = ABLATION) -> SeriesForecast:
    """Return the task of the study."""
    return SeriesForecast(settings["series"], settings["seq_len"], settings["horizon"])


def ablation_study(*, progress: bool = True, **changes: Any) -> pd.DataFrame:
    """Train an LSTM with every combination of the switches, at every rate, from every seed.

    Switches: preset of the weights, forget bias, initial state, clipping. With Adam. Every run is
    measured every `score_every` updates; it stops early where its validation error is least.
    changes: to `ABLATION`, for a smaller study. Returns a row a run: the switches, lr, seed, step
    (of the least validation error), validation and test error there, last_validation and last_test
    (after the last update), grad_norm_max (before clipping), clipped (share of the updates), test_1
    and so on (test error by months ahead, at that step) and diverged (0 or 1; errors after that are
    NaN).
    Errors are root mean squares in scaled units, where 1 is a standard deviation of the square
    roots of the training part. Raises `ValueError` for a setting that `ABLATION` does not have.
    Taught in chapter 06.
    """
    from tqdm.auto import tqdm

    s = changed(ABLATION, changes)
    _check(s)
    wanted = [Combination(*chosen) for chosen in itertools.product(*(s[name] for name in SWITCHES))]
    trained = list(dict.fromkeys(one.trained_as for one in wanted))
    # one strategy and one rate at a time: few enough replicas for the processor's cache
    passes = [
        (lr, [one for one in trained if one.initial_state == state])
        for lr, state in itertools.product(s["lrs"], s["initial_state"])
    ]
    found = []
    with tqdm(total=len(passes) * s["steps"], disable=not progress, unit="step") as bar:
        for lr, combinations in passes:
            found.append(_trained(combinations, lr, s, bar.update))
    table = pd.concat(found, ignore_index=True).set_index([*SWITCHES, "lr", "seed"])
    keys = pd.MultiIndex.from_product([wanted, s["lrs"], range(s["seeds"])])
    rows = [(*one.trained_as, lr, seed) for one, lr, seed in keys]
    made = table.loc[rows].reset_index(drop=True)
    names = pd.DataFrame([one for one, _, _ in keys], columns=list(SWITCHES))
    return names.assign(lr=[k[1] for k in keys], seed=[k[2] for k in keys]).join(made)


def _check(s: dict[str, Any]) -> None:
    for name in SWITCHES:
        for value in s[name]:
            check_choice(name, value, ABLATION[name])
    if s["steps"] % s["score_every"]:
        raise bad("score_every", s["score_every"], f"a divisor of steps = {s['steps']}")


def ablation_windows(settings: dict[str, Any] = ABLATION) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the windows that the study measures on: {"validation": (x, target), "test": ...}."""
    task, size = ablation_task(settings), settings["windows"]
    return {"validation": task.held_out(size), "test": task.test_windows(size)}


def _trained(
    combinations: list[Combination], lr: float, s: dict[str, Any], tick: Any
) -> pd.DataFrame:
    """Train combinations of one initial state at one rate; return a row a run."""
    task, seeds = ablation_task(s), range(s["seeds"])
    runs = [(one, seed) for one in combinations for seed in seeds]
    variants = {one: one.variant(s["hidden_size"], lr) for one in combinations}
    replicas = Replicas(
        [variants[one].model(task, seed) for one, seed in runs],
        lr=lr,
        clipper=[variants[one].clipper for one, _ in runs],
        seeds=[seed for _, seed in runs],
        workers=1,
        plan=PLAN,
    )
    parts = ablation_windows(s)
    x_all, target_all = (torch.cat([part[n] for part in parts.values()], 1 - n) for n in (0, 1))

    def by_lead(output: Tensor, target: Tensor) -> Tensor:
        squares = (output - target).square().reshape(len(parts), -1, s["horizon"])
        return squares.double().mean(1)

    def measured() -> np.ndarray:
        found, _ = replicas.measure(x_all[None], target_all[None], {"error": by_lead})
        errors = found["error"].numpy()
        errors[(replicas.diverged >= 0).numpy()] = np.nan
        return errors

    errors = [measured()]
    norms, clipped = torch.zeros(len(runs)), torch.zeros(len(runs))
    drawn = stacked_batches(task, seeds, len(combinations), s["batch_size"])
    for step, (x, target) in enumerate(itertools.islice(drawn, s["steps"]), 1):
        record = replicas.step(x, target, task.loss)
        norms = torch.fmax(norms, record.grad_norm)
        clipped += record.clipped
        if step % s["score_every"] == 0:
            errors.append(measured())
        tick()
    table = pd.DataFrame([one for one, _ in runs], columns=list(SWITCHES))
    table = table.assign(lr=lr, seed=[seed for _, seed in runs])
    course = np.stack(errors)  # (measurements, runs, parts, leads), squared
    return table.join(
        _stopped_early(course, s).assign(
            grad_norm_max=norms.numpy(),
            clipped=(clipped / s["steps"]).numpy(),
            diverged=(replicas.diverged >= 0).int().numpy(),
        )
    )


def _stopped_early(course: np.ndarray, s: dict[str, Any]) -> pd.DataFrame:
    """Return the errors of every run where its validation error is least, and at the end."""
    whole = np.sqrt(course.mean(-1))  # (measurements, runs, parts)
    best = np.nanargmin(whole[..., 0], axis=0)
    runs = np.arange(len(best))
    at_best = whole[best, runs]
    columns = {
        "step": best * s["score_every"],
        "validation": at_best[:, 0],
        "test": at_best[:, 1],
        "last_validation": whole[-1, :, 0],
        "last_test": whole[-1, :, 1],
    }
    leads = np.sqrt(course[best, runs, 1])
    columns |= {f"test_{lead}": leads[:, lead - 1] for lead in s["leads"]}
    return pd.DataFrame(columns)


def ablation_baselines(settings: dict[str, Any] = ABLATION) -> pd.DataFrame:
    """Measure the forecasts without a network on the windows of the study, in its units.

    The linear autoregression is fitted on the training part and chosen on the validation windows.
    Returns a row a baseline: baseline, validation, test and test_1, ... as `ablation_study` has
    them. Taught in chapter 06.
    """
    task, size = ablation_task(settings), settings["windows"]
    validation, test = (task.arrays(part, size) for part in ("validation", "test"))
    linear = chosen_linear_forecast(task.arrays("train"), validation)
    made = [baseline_forecasts(x, task.horizon, linear) for x, _ in (validation, test)]
    rows = []
    for name in made[0]:
        errors = {
            part: rmse(forecasts[name], target)
            for part, forecasts, (_, target) in zip(
                ("validation", "test"), made, (validation, test), strict=True
            )
        }
        for lead in settings["leads"]:
            errors[f"test_{lead}"] = rmse(
                made[1][name][:, lead - 1 : lead], test[1][:, lead - 1 : lead]
            )
        rows.append({"baseline": name, **errors})
    return pd.DataFrame(rows)


def distinct_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs without copies: "as the preset has it" is a forget bias of 1 for Keras's.

    table: of `ablation_study`. What is compared over all 36 combinations would otherwise compare
    some networks with themselves. Taught in chapter 06.
    """
    copies = [
        Combination(*row).trained_as != row
        for row in table[[*SWITCHES]].itertuples(index=False, name=None)
    ]
    return table[~np.array(copies, bool)].reset_index(drop=True)


def at_validated_rate(table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of each combination at the rate with the least mean validation error.

    table: of `ablation_study`. The rate is one for all seeds of a combination; a rate at which a
    run diverged may be chosen, for the run stopped early before. Taught in chapter 06.
    """
    means = table.groupby([*SWITCHES, "lr"], sort=False)["validation"].mean()
    best = means.groupby(list(SWITCHES), sort=False).idxmin()
    keys = pd.MultiIndex.from_frame(table[[*SWITCHES, "lr"]])
    return table[keys.isin(best.tolist())].reset_index(drop=True)


def combination_errors(table: pd.DataFrame, column: str = "test") -> pd.DataFrame:
    """Return the mean error of each combination at its validated rate, with a 95 % t interval.

    table: of `ablation_study`. Returns the switches, lr, seeds, validation, and mean, low and high
    of `column`, the combination with the least validation error first. The interval is over seeds,
    on one and the same series: it does not say how another series would do. Raises `ValueError`
    for a column that the table lacks. Taught in chapter 06.
    """
    check_choice("column", column, list(table.columns))
    rows = []
    for key, runs in at_validated_rate(table).groupby([*SWITCHES, "lr"], sort=False):
        values = runs[column].dropna().to_numpy()
        validation = runs["validation"].mean()
        rows.append((*key, len(values), validation, values.mean(), *t_interval(values)))
    columns = [*SWITCHES, "lr", "seeds", "validation", "mean", "low", "high"]
    found = pd.DataFrame(rows, columns=columns)
    return found.sort_values("validation", kind="stable", ignore_index=True)


def main_effects(table: pd.DataFrame, column: str = "test") -> pd.DataFrame:
    """Say what each setting of each switch changes, averaged over all settings of the others.

    table: of `ablation_study`; each combination at its validated rate. Pairs share the seed and
    all other switches; their differences are averaged for each seed, and the 95 % t interval is
    over seeds. Copies are left out (`distinct_runs`): a forget bias is compared with the preset's
    own for PyTorch's alone, the presets at equal forget biases. Returns switch, setting, baseline
    (the first setting of the switch), pairs, seeds, difference (negative is better), low and high.
    Nothing is corrected for many comparisons. Raises `ValueError` for a column that the table
    lacks. Taught in chapter 06.
    """
    check_choice("column", column, list(table.columns))
    runs = distinct_runs(at_validated_rate(table))
    rows = []
    for switch in SWITCHES:
        others = [name for name in SWITCHES if name != switch]
        wide = runs.pivot(index=[*others, "seed"], columns=switch, values=column)
        baseline, *settings = table[switch].unique()
        for setting in settings:
            pairs = (wide[setting] - wide[baseline]).dropna()
            by_seed = pairs.groupby("seed").mean().to_numpy()
            effect = (by_seed.mean(), *t_interval(by_seed)) if len(by_seed) else (np.nan,) * 3
            rows.append((switch, setting, baseline, len(pairs), len(by_seed), *effect))
    columns = ["switch", "setting", "baseline", "pairs", "seeds", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)

"""Lab: what the initial state changes at the first time steps, over sixteen paired seeds."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..comparison import Comparison
from ..experiments.first_steps import (
    ALL,
    FIRST_STEPS,
    NAMES_LENGTH,
    training_options,
    variant_name,
    variants_of,
    window_task,
)
from ..experiments.runs import as_runs
from ..results import load_results
from .base import Lab
from .controls import Choice, Slider, Stops
from .first_steps_picture import FirstStepsPicture, Losses, Paired, mean_interval
from .spec import Settings, Spec, Training

SEEDS, STEPS = FIRST_STEPS["seeds"], FIRST_STEPS["steps"]
MEASURE_EVERY = 25  # updates, in a training of the lab
UNITS = {"sunspots": "variance = 1", "characters": "nats", "names": "nats"}
# What a strategy is called with its noise; that of "adaptive" is the largest.
LABELS = {
    "noisy": "noisy (std {:g})",
    "learned": "learned",
    "learned+noisy": "learned+noisy (std {:g})",
    "adaptive": "adaptive (std up to {:g})",
}


def _columns(runs: pd.DataFrame, prefix: str) -> list[str]:
    return [name for name in map(str, runs.columns) if name.startswith(prefix)]


def _losses(by_step: np.ndarray, by_time: np.ndarray, seeds: np.ndarray) -> Losses:
    """Put the runs of one variant in the order of their seeds, 0 to SEEDS - 1; NaN for a gap."""
    found = []
    for values in (by_step, by_time):
        rows = np.full((SEEDS, values.shape[1]), np.nan)
        rows[seeds] = values
        found.append(rows)
    return Losses(*found)


def _same_steps(*losses: Losses) -> list[Losses]:
    """Leave out the time steps that none of the runs has, the same ones in all losses.

    A window may end before the longest one does, and no held-out name have so many letters. Where
    every run diverged, all steps stay.
    """
    there = np.isfinite([one.by_time for one in losses]).any(axis=(0, 1))
    kept = there | ~there.any()
    return [replace(one, by_time=one.by_time[:, kept]) for one in losses]


def _steps(runs: pd.DataFrame) -> tuple[int, ...]:
    return tuple(int(name.removeprefix("at_")) for name in _columns(runs, "at_"))


@functools.cache
def _precomputed() -> tuple[tuple[int, ...], dict[tuple[Any, ...], Losses]]:
    """Read the table: the steps of its measurements, and the losses by setting and variant."""
    runs = load_results("first_steps")
    by_step, by_time = (runs[_columns(runs, prefix)].to_numpy(float) for prefix in ("at_", "t_"))
    seeds = runs["seed"].to_numpy()
    keys = ["task", "sequences", "seq_len", "hidden_size", "variant"]
    groups = runs.groupby(keys, sort=False).indices
    found: dict[Any, Losses] = {
        key: _losses(by_step[rows], by_time[rows], seeds[rows]) for key, rows in groups.items()
    }
    return _steps(runs), found


def _sequences(settings: Settings) -> int:
    return ALL if settings["sequences"] == "all" else settings["sequences"]


def _paired(
    settings: Settings, seeds: Sequence[int], drawn: int, steps: tuple[int, ...], *losses: Losses
) -> Paired:
    """Put the losses of zero and of the settings' strategy together."""
    strategy, task = settings["strategy"], settings["task"]
    windows = "" if task == "names" else f"windows of {settings['seq_len']}, "
    zero, other = _same_steps(*losses)
    return Paired(
        strategy=strategy,
        label=LABELS[strategy].format(settings["noise_std"]),
        lead=f"{task}, {settings['sequences']} sequences, {windows}"
        f"hidden_size {settings['hidden_size']}",
        unit=UNITS[task],
        seeds=tuple(seeds),
        drawn=drawn,
        steps=steps,
        updates=STEPS,
        zero=zero,
        other=other,
    )


def compute(settings: Settings) -> Paired:
    """Look up the precomputed runs of the settings. Pure."""
    steps, found = _precomputed()
    names = ("task", "seq_len", "hidden_size")
    task, seq_len, hidden_size = (settings[name] for name in names)
    key = (task, _sequences(settings), seq_len, hidden_size)
    variants = "zero", variant_name(settings["strategy"], settings["noise_std"])
    for variant in variants:
        if (*key, variant) not in found:
            raise ValueError(
                f"The results first_steps hold no runs of {variant} on {task} with "
                f"{settings['sequences']} sequences of {seq_len} and hidden_size {hidden_size}; "
                "make results computes them."
            )
    losses = [found[*key, variant] for variant in variants]
    return _paired(settings, range(SEEDS), settings["seed"], steps, *losses)


# -- in words ---------------------------------------------------------------------------------


def in_words(zero: np.ndarray, other: np.ndarray, row: int) -> tuple[str, str]:
    """Say what the paired losses of zero and a strategy, (seeds,), tell: all, and a row alone.

    >>> in_words(np.array([0.5, 0.6, 0.7]), np.array([0.41, 0.5, 0.59]), 0)
    ('is 0.100 lower (95 % interval 0.075 to 0.125)', '0.090 lower')
    """
    if np.allclose(other, zero, rtol=1e-6, atol=0):  # what float32 can tell apart
        return "is the same in every pair", "the same"
    difference = other - zero
    mean, low, high = mean_interval(difference[:, None])[:, 0]
    if np.isnan(mean):
        return "is not known, as fewer than two pairs stayed finite", "not known"
    half = max((high - low) / 2, 1e-6)
    digits = max(1 - math.floor(math.log10(half)), 3)  # two of the half width
    alone = _change(difference[row], digits)
    if low <= 0 <= high:
        interval = f"{low:z.{digits}f} to {high:z.{digits}f}"
        return f"cannot be told apart from that of zero (95 % interval {interval})", alone
    ends = " to ".join(f"{abs(end):.{digits}f}" for end in sorted((low, high), key=abs))
    return f"is {_change(mean, digits)} (95 % interval {ends})", alone


def _change(difference: float, digits: int) -> str:
    if np.isnan(difference):
        return "not known"
    size = f"{abs(difference):.{digits}f}"
    if float(size) == 0:
        return "the same"
    return f"{size} {'lower' if difference < 0 else 'higher'}"


def sentence(result: Paired) -> str:
    """State the paired differences at the first step and over all, with their intervals."""
    zero, other, row = result.zero, result.other, result.row
    fresh = f"fresh seeds ({result.seeds[0]} to {result.seeds[-1]})"
    runs = f"{len(result.seeds)} {fresh if result.seeds[0] else 'paired seeds'}"
    of_all = "" if result.steps[-1] == result.updates else f" of {result.updates}"
    first, first_alone = in_words(zero.by_time[:, 0], other.by_time[:, 0], row)
    whole, whole_alone = in_words(zero.by_step[:, -1], other.by_step[:, -1], row)
    return (
        f"{result.label} against zero, {result.lead}, {runs}: after {result.steps[-1]}{of_all} "
        f"updates the loss at the first step {first}; over all steps it {whole}; "
        f"seed {result.drawn} alone: {first_alone} and {whole_alone}."
    )


def table(result: Paired) -> pd.DataFrame:
    """Return the curves as numbers, a row a time step or training step."""
    zero, other, row = result.zero, result.other, result.row
    T = zero.by_time.shape[1]
    tables = []
    for by, at, own, baseline in (
        ("time step", range(1, T + 1), other.by_time, zero.by_time),
        ("training step", result.steps, other.by_step, zero.by_step),
    ):
        columns: dict[str, Any] = {"by": by, "step": list(at)}
        for name, values in (("zero", baseline), ("strategy", own), ("difference", own - baseline)):
            means = mean_interval(values)
            ends = zip(("", "_low", "_high"), means, strict=True)
            columns |= {f"{name}{end}": mean for end, mean in ends}
            columns[f"{name}_seed_{result.drawn}"] = values[row]
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


# -- training ---------------------------------------------------------------------------------


def _comparison(settings: Settings) -> Comparison:
    """Set up zero and the settings' strategy from seeds that the precomputed runs do not have."""
    task = window_task(settings["task"], settings["seq_len"], _sequences(settings))
    std = settings["noise_std"]
    variants = variants_of([std])
    names = "zero", variant_name(settings["strategy"], std)
    first = SEEDS * (settings["seed"] + 1)
    return Comparison(
        task,
        {name: variants[name] for name in names},
        seeds=range(first, first + SEEDS),
        **training_options(settings["hidden_size"]),
    )


def _measured(settings: Settings, comparison: Comparison) -> Paired:
    comparison.measure()
    table, first = as_runs(comparison.table()), comparison.seeds[0]
    losses = []
    for name in comparison.variants:
        runs = table[table["variant"] == name]
        by_step, by_time = (runs[_columns(runs, p)].to_numpy(float) for p in ("at_", "t_"))
        losses.append(_losses(by_step, by_time, runs["seed"].to_numpy() - first))
    return _paired(settings, comparison.seeds, first, _steps(table), *losses)


def _train(settings: Settings) -> Iterator[tuple[float, Paired]]:
    comparison = _comparison(settings)
    result = _measured(settings, comparison)
    yield 0.0, result
    while comparison.steps < STEPS:
        _step(comparison)
        if comparison.steps % MEASURE_EVERY == 0 or comparison.steps == STEPS:
            result = _measured(settings, comparison)
        yield comparison.steps / STEPS, result


def _step(comparison: Comparison) -> float:
    """Train by one step; return the seconds that it took."""
    start = time.perf_counter()
    comparison.step()
    return time.perf_counter() - start


@functools.cache
def _training_seconds(task: str, seq_len: int, hidden_size: int) -> float:
    """Estimate the seconds of a training by timing a step on this machine, after a warm-up."""
    probe: Settings = {"task": task, "seq_len": seq_len, "hidden_size": hidden_size}
    probe |= {"sequences": "all", "strategy": "learned+noisy", "noise_std": 0.3, "seed": 0}
    comparison = _comparison(probe)
    _step(comparison)
    fastest = min(_step(comparison) for _ in range(3))
    # To measure and to draw takes about as long as ten steps.
    return fastest * (STEPS + 10 * STEPS / MEASURE_EVERY)


def _seconds(settings: Settings) -> float:
    return _training_seconds(settings["task"], settings["seq_len"], settings["hidden_size"])


# -- the lab ----------------------------------------------------------------------------------


def posters(start: Settings) -> list[Settings]:
    """Return the lab as it opens, and 16 names that a learned state overfits and noise guards."""
    few: Settings = {"task": "names", "seq_len": NAMES_LENGTH, "sequences": 16}
    return [{}, few | {"strategy": "learned"}, few | {"strategy": "noisy", "noise_std": 1.0}]


SPEC = Spec(
    name="first_steps",
    controls=(
        Choice("task", "task", "sunspots", tuple(FIRST_STEPS["tasks"])),
        Choice("strategy", "strategy", "noisy", tuple(LABELS)),
        Stops("noise_std", "noise std", 0.3, tuple(FIRST_STEPS["stds"])),
        Stops(
            "sequences",
            "sequences",
            "all",
            tuple("all" if n == ALL else n for n in FIRST_STEPS["sequences"]),
        ),
        Stops(
            "seq_len", "window length", 10, tuple(sorted([*FIRST_STEPS["seq_lens"], NAMES_LENGTH]))
        ),
        Stops("hidden_size", "hidden_size", 32, tuple(FIRST_STEPS["hidden_sizes"])),
        Slider("seed", "seed", 0, 0, SEEDS - 1, 1),
    ),
    compute=compute,
    picture=FirstStepsPicture,
    sentence=sentence,
    table=table,
    posters=posters,
    limits=lambda s: {
        "seq_len": (NAMES_LENGTH,) if s["task"] == "names" else tuple(FIRST_STEPS["seq_lens"])
    },
    training=Training(_train, FirstStepsPicture, sentence, _seconds),
)


def first_steps(*, show: Sequence[str] | None = None, **settings: Any) -> Lab:
    """Open the lab of chapter 03: what the initial state changes right after a reset.

    settings: task ("sunspots", "characters" or "names"), strategy ("noisy", "learned",
    "learned+noisy" or "adaptive"), noise_std (0.1, 0.3 or 1.0; nothing to "learned"), sequences
    (how many different ones are trained on: 16, 128, 1024 or "all"), seq_len (of a window: 5, 10 or
    20; for names always 12), hidden_size (8 or 32) and seed (0 to 15: the pair of runs that is
    drawn alone). The picture is of runs that were trained before; Train now repeats them from 16
    fresh seeds, others for each seed. show: names of the controls to show, None for all. Raises
    `ValueError` for a bad setting.
    """
    return Lab(SPEC, settings, show)

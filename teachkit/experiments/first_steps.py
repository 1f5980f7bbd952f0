"""Chapter 03: the loss by time step since the reset, for many kinds of data."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..errors import check_choice
from ..initial_states import AdaptiveState, InitialState, LearnedState, NoisyState, ZeroState
from ..sequence_tasks import Digits, Names
from ..series_tasks import Characters, Forecast
from ..tasks import Task
from .runs import as_runs, together
from .settings import changed, shared, train

ALL = 0  # sequences: as many as there are
NAMES_LENGTH = 12
FIRST_STEPS: dict[str, Any] = {
    "tasks": ["sunspots", "characters", "names"],
    "sequences": [16, 128, 1024, ALL],
    "seq_lens": [5, 10, 20],
    "hidden_sizes": [8, 32],
    "stds": [0.1, 0.3, 1.0],
    "batch_size": 32,
    "lr": 3e-3,
    "clip": 1.0,
    "steps": 300,
    "score_every": 50,
    "test_size": 300,
    "seeds": 16,
}
WITH_NOISE: dict[str, Any] = {
    "noisy": lambda std: NoisyState(std=std),
    "learned+noisy": lambda std: LearnedState(noise_std=std),
    "adaptive": lambda std: AdaptiveState(scale=std),
}


def window_task(task: str, seq_len: int | None = None, sequences: int = ALL) -> Task:
    """Return a task on `sequences` training sequences of `seq_len` steps (0: all there are).

    task: "sunspots" and "characters" (an output at each step), "names" and "digit rows" (of their
    own length). Raises `ValueError` for another one.
    """
    size = sequences or None
    if task == "names":
        return Names(size)
    if task == "digit rows":
        return Digits("rows", size)
    check_choice("task", task, ["sunspots", "characters", "names", "digit rows"])
    if task == "sunspots":
        return Forecast(20 if seq_len is None else seq_len, every_step=True, train_size=size)
    return Characters(10 if seq_len is None else seq_len, train_size=size)


def variant_name(strategy: str, std: float) -> str:
    """Return what a strategy is called in the tables: "noisy 0.3", but "learned"."""
    return f"{strategy} {std:g}" if strategy in WITH_NOISE else strategy


def variants_of(stds: Iterable[float]) -> dict[str, dict[str, InitialState]]:
    """Return every strategy for sequences that stand alone, those with noise at each std."""
    states: dict[str, InitialState] = {"zero": ZeroState(), "learned": LearnedState()}
    for std, (strategy, make) in itertools.product(stds, WITH_NOISE.items()):
        states[variant_name(strategy, std)] = make(std)
    return {name: {"initial_state": state} for name, state in states.items()}


def training_options(hidden_size: int) -> dict[str, Any]:
    """Return how the runs of `first_steps_study` are trained, as `Comparison` takes it."""
    s = FIRST_STEPS
    own = {"test_size": s["test_size"], "lr": s["lr"]}
    return shared({**s, "hidden_size": hidden_size}) | own


def first_steps_study(**changes: Any) -> pd.DataFrame:
    """Train LSTMs with every initial state on few and many, short and long sequences, with Adam.

    changes: to `FIRST_STEPS`, for a smaller study. Returns a row a run: task, sequences (0: all),
    seq_len, hidden_size, variant, seed, the held-out loss after 0, 50, ... updates (at_0, ...) and
    by time step since the reset after the last one (t_1, ..., NaN beyond the sequence). Raises
    `ValueError` for a setting that `FIRST_STEPS` does not have. Taught in chapter 03.
    """
    s = changed(FIRST_STEPS, changes)
    variants = variants_of(s["stds"])
    tables = []
    for task, count, H in itertools.product(s["tasks"], s["sequences"], s["hidden_sizes"]):
        for seq_len in [NAMES_LENGTH] if task == "names" else s["seq_lens"]:
            table = train(
                window_task(task, seq_len, count),
                variants,
                {**s, "hidden_size": H},
                steps=s["steps"],
                score_every=s["score_every"],
                test_size=s["test_size"],
                lr=s["lr"],
            )
            labels = {"task": task, "sequences": count, "seq_len": seq_len, "hidden_size": H}
            tables.append(as_runs(table, **labels))
    return together(tables)

"""Chapter 03: a learned initial state at high learning rates, and nothing but the state learned."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from ..device import generator
from ..models import SequenceModel
from ..replicas import Replicas
from ..sequence_tasks import Names
from ..tasks import Words
from ..variants import Variant
from .first_steps import window_task
from .pretraining import pretrained
from .runs import as_runs, together
from .settings import PLAN, changed, train

STATE_RATES: dict[str, Any] = {
    "cases": [
        ["names", None, 32, 600, 30],
        ["sunspots", 20, 16, 600, 10],
        ["characters", 10, 64, 600, 30],
    ],  # task, seq_len, hidden_size, steps, score_every
    "state_lrs": [3e-3, 3e-2, 0.3, 3.0],
    "lr": 3e-3,
    "batch_size": 32,
    "clip": 1.0,
    "seeds": 16,
}
STATE_TUNING: dict[str, Any] = {
    "hidden_size": 64,
    "batch_size": 32,
    "pretraining_steps": 1500,
    "pretraining_lr": 3e-3,
    "pretraining_clip": 1.0,
    "sizes": [50, 500, 4131],
    "state_lrs": [1e-3, 1e-2, 0.1, 1.0],
    "steps": 300,
    "score_every": 25,
    "seeds": 16,
}


def state_rates_study(**changes: Any) -> pd.DataFrame:
    """Train LSTMs with a learned initial state whose learning rate differs from the weights'.

    changes: to `STATE_RATES`, for a smaller study. Returns a row a run: task, variant ("zero", or
    the learning rate of the state), seed, and the held-out loss as `states_study` does. Raises
    `ValueError` for a setting that `STATE_RATES` does not have. Taught in chapter 03.
    """
    s = changed(STATE_RATES, changes)
    variants: dict[str, Any] = {"zero": {}}
    for rate in s["state_lrs"]:
        variants[f"{rate:g}"] = {"initial_state": "learned", "state_lr": rate}
    tables = []
    for task, seq_len, hidden_size, steps, every in s["cases"]:
        table = train(
            window_task(task, seq_len),
            variants,
            {**s, "hidden_size": hidden_size},
            steps=steps,
            score_every=every,
            lr=s["lr"],
        )
        tables.append(as_runs(table, task=task))
    return together(tables)


def state_tuning_study(**changes: Any) -> pd.DataFrame:
    """Adapt a trained LSTM to other data by its initial state alone; its weights stay as they are.

    It was trained on Shakespeare's words and is adapted to first names, each seed to its own.
    changes: to `STATE_TUNING`, for a smaller study. Returns a row a run: size (names), state_lr,
    seed, and the held-out loss in nats per letter after 0, 25, ... updates of h0 and c0 (at_0, and
    so on). Raises `ValueError` for a setting that `STATE_TUNING` does not have. Source: the state
    tuning of RWKV (its README and RWKV-v5 code), which takes learning rates from 1 down to 0.01.
    Taught in chapter 03.
    """
    s = changed(STATE_TUNING, changes)
    seeds = list(range(s["seeds"]))
    variant = Variant(hidden_size=s["hidden_size"], initial_state="learned")
    fresh = [Variant(hidden_size=s["hidden_size"]).model(Words(), seed) for seed in seeds]
    words = pretrained(fresh, seeds, {**s, "clip": s["pretraining_clip"]})
    trained = [model.state_dict() for model in words]

    def start(seed: int) -> SequenceModel:
        model = variant.model(Names(), seed)
        model.load_state_dict(trained[seeds.index(seed)], strict=False)  # h0 and c0 stay at zero
        return model

    task = Names()
    x, target = task.training_part()
    x_test, target_test = task.held_out(10**6)
    tables = []
    for size in s["sizes"]:
        runs = [(rate, seed) for rate in s["state_lrs"] for seed in seeds]
        replicas = Replicas(
            [start(seed) for _, seed in runs],
            lr=0.0,
            state_lr=[rate for rate, _ in runs],
            plan=PLAN,
        )
        own = [torch.randperm(x.shape[1], generator=generator(n, "names"))[:size] for n in seeds]
        draws = [generator(seed, "batches") for seed in seeds]
        table = pd.DataFrame(runs, columns=["state_lr", "seed"])
        table.insert(0, "size", size)
        for step in range(s["steps"] + 1):
            if step:
                drawn = [
                    names[torch.randint(size, (s["batch_size"],), generator=draw)]
                    for names, draw in zip(own, draws, strict=True)
                ] * len(s["state_lrs"])
                own_x = torch.stack([x[:, i] for i in drawn])
                own_target = torch.stack([target[:, i] for i in drawn])
                replicas.step(own_x, own_target, task.loss)
            if step % s["score_every"] == 0:
                found, _ = replicas.measure(x_test[None], target_test[None], {"loss": task.loss})
                table[f"at_{step}"] = found["loss"].numpy()
        tables.append(table)
    return pd.concat(tables, ignore_index=True)

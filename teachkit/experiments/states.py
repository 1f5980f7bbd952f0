"""Chapter 03: zero, noisy, learned, adaptive and carried initial states, trained side by side."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..clipping import Clipper
from ..device import generator
from ..plans import Plan
from ..replicas import Replicas
from ..statistics import select
from ..tasks import Task, batches
from ..variants import Variant
from .first_steps import variants_of, window_task
from .runs import as_runs, together
from .settings import changed, train

STATES: dict[str, Any] = {
    "cases": [
        ["names", None, 32, 1500],
        ["sunspots", 20, 16, 600],
        ["digit rows", None, 32, 400],
        ["characters", 10, 64, 1000],
    ],  # task, seq_len, hidden_size, steps
    "variants": [
        "zero", "noisy 0.1", "noisy 0.3", "noisy 1", "learned", "learned+noisy 0.3", "adaptive 0.3",
    ],
    "lrs": [1e-3, 3e-3, 1e-2, 3e-2],
    "batch_size": 32,
    "clip": 1.0,
    "measurements": 20,
    "seeds": 16,
}  # fmt: skip
STREAMS: dict[str, Any] = {
    "seq_lens": [5, 10, 25],
    "lrs": [3e-3, 1e-2, 3e-2],
    "hidden_size": 64,
    "batch_size": 32,
    "clip": 1.0,
    "steps": 600,
    "test_steps": 20_000,
    "seeds": 16,
}
PERTURBED: dict[str, Any] = {
    "cases": [["names", None, 32, 600], ["sunspots", 20, 16, 600], ["characters", 10, 64, 600]],
    "variants": ["zero", "noisy 0.3", "noisy 1", "learned", "learned+noisy 0.3"],
    "stds": [0.0, 0.1, 0.3, 1.0],
    "lr": 3e-3,
    "batch_size": 32,
    "clip": 1.0,
    "seeds": 16,
}
LEFT_OVER = "left over"  # the state in which another sequence ended


def states_study(**changes: Any) -> pd.DataFrame:
    """Train LSTMs with every initial state on four tasks at four learning rates, with Adam.

    changes: to `STATES`, for a smaller study. Returns a row a run: task, lr, variant, seed, the
    held-out loss at 21 moments of the training (at_0, ... by updates, NaN where the task's differ)
    and by time step since the reset at its end (t_1, ...). Raises `ValueError` for a setting that
    `STATES` does not have. Taught in chapter 03.
    """
    s = changed(STATES, changes)
    tables = []
    for task, seq_len, hidden_size, steps in s["cases"]:
        for lr in s["lrs"]:
            table = train(
                window_task(task, seq_len),
                _chosen(s["variants"]),
                {**s, "hidden_size": hidden_size},
                steps=steps,
                score_every=max(1, steps // s["measurements"]),
                lr=lr,
            )
            tables.append(as_runs(table, task=task, lr=lr))
    return together(tables)


def _chosen(names: list[str]) -> dict[str, Any]:
    known = variants_of([0.1, 0.3, 1.0])
    return {name: known[name] for name in names}


def streams_study(**changes: Any) -> pd.DataFrame:
    """Train LSTMs on consecutive windows of Shakespeare: truncated backpropagation through time.

    All read the same windows; "carried" starts each where the last one ended, the others start
    afresh. changes: to `STREAMS`, for a smaller study. Returns a row a run: seq_len, lr, variant,
    seed, cold (held-out loss of windows begun from the variant's own start, for carried from zero)
    and long_run (of `test_steps` held-out characters, where every variant carries its state on).
    Raises `ValueError` for a setting that `STREAMS` does not have. Taught in chapter 03.
    """
    s = changed(STREAMS, changes)
    variants = _chosen(["zero", "noisy 0.3", "noisy 1", "learned"])
    variants["carried"] = {"initial_state": "carried"}
    tables = []
    for seq_len in s["seq_lens"]:
        for lr in s["lrs"]:
            table = train(
                window_task("characters", seq_len),
                variants,
                s,
                steps=s["steps"],
                stream=True,
                test_size=s["test_steps"] // seq_len,
                lr=lr,
            )
            found = pd.DataFrame(
                {
                    "cold": select(table, "test_loss").T.stack(),
                    "long_run": select(table, "stream_loss").T.stack(),
                }
            ).reindex(list(variants), level="variant")
            found = found.reset_index()
            found.insert(0, "seq_len", seq_len)
            found.insert(1, "lr", lr)
            tables.append(found)
    return pd.concat(tables, ignore_index=True)


def perturbed_study(**changes: Any) -> pd.DataFrame:
    """Train LSTMs from several initial states, then start them from wrong ones.

    changes: to `PERTURBED`, for a smaller study. Returns a row a run and perturbation: task,
    variant, seed, perturbation (the standard deviation of the noise on its own h0 and c0, or
    "left over": the states in which another held-out sequence ended) and loss, held out. Raises
    `ValueError` for a setting that `PERTURBED` does not have. Taught in chapter 03.
    """
    s = changed(PERTURBED, changes)
    tables = []
    for name, seq_len, hidden_size, steps in s["cases"]:
        task = window_task(name, seq_len)
        seeds = list(range(s["seeds"]))
        runs = [(variant, seed) for variant in s["variants"] for seed in seeds]
        made = {
            variant: Variant(hidden_size=hidden_size, **settings)
            for variant, settings in _chosen(s["variants"]).items()
        }
        replicas = Replicas(
            [made[variant].model(task, seed) for variant, seed in runs],
            lr=s["lr"],
            clipper=Clipper("norm", s["clip"]),
            seeds=[seed for _, seed in runs],
            plan=Plan(32),
        )
        trained_on(replicas, task, seeds, s["batch_size"], steps)
        table = pd.DataFrame(runs, columns=["variant", "seed"])
        for perturbation, losses in _perturbed_losses(replicas, task, s["stds"]).items():
            tables.append(
                table.assign(task=name, perturbation=str(perturbation), loss=losses.numpy())
            )
    columns = ["task", "variant", "seed", "perturbation", "loss"]
    return pd.concat(tables, ignore_index=True)[columns]


def trained_on(
    replicas: Replicas, task: Task, seeds: list[int], batch_size: int, steps: int
) -> None:
    """Train replicas, each block of `len(seeds)` on the batches of the seeds."""
    loaders = [batches(task, batch_size, seed=seed) for seed in seeds]
    copies = len(replicas) // len(seeds)
    for _ in range(steps):
        x, target = (torch.stack(part) for part in zip(*map(next, loaders), strict=True))
        x, target = (v.repeat(copies, *[1] * (v.ndim - 1)) for v in (x, target))
        replicas.step(x, target, task.loss)


def _perturbed_losses(
    replicas: Replicas, task: Task, stds: list[float]
) -> dict[float | str, Tensor]:
    x, target = (v[None] for v in task.held_out(500))
    models = replicas.models()
    count = x.shape[2]
    own = tuple(
        torch.cat([_start(model.rnn, name).expand(1, count, -1) for model in models])
        for name in ("h0", "c0")
    )
    noise = [torch.randn(own[0].shape[1:], generator=generator(0, name)) for name in ("h0", "c0")]
    starts: dict[float | str, Any] = {
        std: tuple(state + std * z for state, z in zip(own, noise, strict=True)) for std in stds
    }
    _, ends = replicas.outputs(x)
    starts[LEFT_OVER] = tuple(end.roll(1, dims=1) for end in ends)
    return {
        name: replicas.measure(x, target, {"loss": task.loss}, states)[0]["loss"]
        for name, states in starts.items()
    }


def _start(rnn: Any, name: str) -> Tensor:
    """Return a learned state, (1, 1, H), or zeros."""
    learned = rnn._parameters.get(name)
    return torch.zeros(1, 1, rnn.hidden_size) if learned is None else learned.detach()


def harm(table: pd.DataFrame) -> pd.DataFrame:
    """Say by how much a wrong start raises the loss of each run, against its own start.

    table: of `perturbed_study`. Returns its rows with another start, and a column harm.
    """
    run = ["task", "variant", "seed"]
    table = table.assign(perturbation=table["perturbation"].astype(str))
    own = table[table["perturbation"] == "0.0"].rename(columns={"loss": "own"})
    found = table[table["perturbation"] != "0.0"].merge(own[[*run, "own"]], on=run)
    return found.assign(harm=found["loss"] - found["own"])

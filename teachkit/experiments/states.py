"""Chapter 03: zero, noisy, learned, adaptive and carried initial states, trained side by side."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..clipping import Clipper
from ..device import generator
from ..errors import bad, check_choice
from ..objectives import UNUSED
from ..replicas import Replicas
from ..stacks import States
from ..tasks import Task
from ..variants import Variant
from .first_steps import variants_of, window_task
from .runs import as_runs, together
from .settings import PLAN, at_the_end, changed, train, trained_on

STATES: dict[str, Any] = {
    "cases": [
        ["names", None, 32, 1500, 75],
        ["sunspots", 20, 16, 600, 10],
        ["digit rows", None, 32, 400, 20],
        ["characters", 10, 64, 1000, 50],
    ],  # task, seq_len, hidden_size, steps, score_every
    "variants": [
        "zero", "noisy 0.1", "noisy 0.3", "noisy 1", "learned", "learned+noisy 0.3", "adaptive 0.3",
    ],
    "lrs": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
    "batch_size": 32,
    "clip": 1.0,
    "seeds": 16,
}  # fmt: skip
STREAMS: dict[str, Any] = {
    "seq_lens": [5, 10, 25],
    "lrs": [3e-3, 1e-2, 3e-2, 1e-1],
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
    """Train LSTMs with every initial state on four tasks at five learning rates, with Adam.

    changes: to `STATES`, for a smaller study. Returns a row a run: task, lr, variant, seed, the
    held-out loss during the training (at_0, ... by updates, NaN at those of other tasks) and by
    time step since the reset at its end (t_1, ...). Raises `ValueError` for a setting that
    `STATES` does not have. Taught in chapter 03.
    """
    s = changed(STATES, changes)
    tables = []
    for task, seq_len, hidden_size, steps, every in s["cases"]:
        for lr in s["lrs"]:
            table = train(
                window_task(task, seq_len),
                _chosen(s["variants"]),
                {**s, "hidden_size": hidden_size},
                steps=steps,
                score_every=every,
                lr=lr,
            )
            tables.append(as_runs(table, task=task, lr=lr))
    return together(tables)


def _chosen(names: list[str]) -> dict[str, Any]:
    known = variants_of([0.1, 0.3, 1.0])
    for name in names:
        check_choice("variants", name, known)
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
            found = at_the_end(table, ["test_loss", "stream_loss"])
            found.columns = pd.Index(["variant", "seed", "cold", "long_run"])
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
            plan=PLAN,
        )
        trained_on(replicas, task, seeds, s["batch_size"], steps)
        table = pd.DataFrame(runs, columns=["variant", "seed"])
        for perturbation, losses in _perturbed_losses(replicas, task, s["stds"]).items():
            found = {"task": name, "perturbation": perturbation, "loss": losses.numpy()}
            tables.append(table.assign(**found))
    columns = ["task", "variant", "seed", "perturbation", "loss"]
    return pd.concat(tables, ignore_index=True)[columns]


def _perturbed_losses(replicas: Replicas, task: Task, stds: list[float]) -> dict[str, Tensor]:
    x, target = (v[None] for v in task.held_out(500))
    models = replicas.models()
    count = x.shape[2]
    own = tuple(
        torch.cat([_start(model.rnn, name).expand(1, count, -1) for model in models])
        for name in ("h0", "c0")
    )
    noise = [torch.randn(own[0].shape[1:], generator=generator(0, name)) for name in ("h0", "c0")]
    starts: dict[str, Any] = {
        str(float(std)): tuple(state + std * z for state, z in zip(own, noise, strict=True))
        for std in stds
    }
    # half of the held-out part away: neighbouring windows of a series share most of their values
    starts[LEFT_OVER] = tuple(end.roll(count // 2, dims=1) for end in _ends(replicas, x, target))
    return {
        name: replicas.measure(x, target, {"loss": task.loss}, states)[0]["loss"]
        for name, states in starts.items()
    }


def _ends(replicas: Replicas, x: Tensor, target: Tensor) -> States:
    """Return the states, (R, N, H), in which the N sequences end, each after its own last step."""
    used = target[0] != UNUSED if target.dtype == torch.long else torch.ones(x.shape[1:3])
    lengths = used.sum(0).long()
    found = replicas.stack.zero_states(len(replicas), x.shape[2])
    for length in lengths.unique().tolist():
        chosen = lengths == length
        _, states = replicas.outputs(x[:, :length, chosen])
        for whole, part in zip(found, states, strict=True):
            whole[:, chosen] = part
    return found


def _start(rnn: Any, name: str) -> Tensor:
    """Return a learned state, (1, 1, H), or zeros."""
    learned = rnn._parameters.get(name)
    return torch.zeros(1, 1, rnn.hidden_size) if learned is None else learned.detach()


def harm(table: pd.DataFrame) -> pd.DataFrame:
    """Say by how much a wrong start raises the loss of each run, against its own start.

    table: of `perturbed_study`. Returns its rows with another start, and a column harm. Raises
    `ValueError` for a table without a perturbation of 0, the own start.
    """
    run = ["task", "variant", "seed"]
    table = table.assign(perturbation=table["perturbation"].astype(str))
    own = table[table["perturbation"] == "0.0"].rename(columns={"loss": "own"})
    if own.empty:
        raise bad("table", table["perturbation"].unique().tolist(), "one with a perturbation of 0")
    found = table[table["perturbation"] != "0.0"].merge(own[[*run, "own"]], on=run)
    return found.assign(harm=found["loss"] - found["own"])

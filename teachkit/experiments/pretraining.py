"""Chapter 02: weights that were trained on one data set, fine-tuned on little of another."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..clipping import Clipper
from ..device import generator
from ..errors import bad, check_count
from ..models import SequenceModel
from ..replicas import Replicas
from ..sequence_tasks import Names, Words
from ..statistics import t_interval
from ..variants import Variant
from .settings import PLAN, changed, trained_on

PRETRAINING: dict[str, Any] = {
    "hidden_size": 64,
    "batch_size": 32,
    "clip": 1.0,
    "pretraining_steps": 1500,
    "pretraining_lr": 3e-3,
    "steps": 1000,
    "score_every": 25,
    "sizes": [50, 150, 500, 1500, 4131],
    "lrs": [1e-3, 3e-3],
    "seeds": 16,
}
STARTS = ("from scratch", "pre-trained")


def pretraining_study(**changes: Any) -> pd.DataFrame:
    """Train LSTMs on few first names, from PyTorch's default weights and from pre-trained ones.

    Pre-training: Shakespeare's words, letter by letter, none of them a name. Each seed draws its
    own `size` names and keeps a fifth of them for validation, which chooses the learning rate and
    the step at which to stop, 0 included; the loss is measured on 1,032 names that no one trains
    on. changes: to `PRETRAINING`, for a smaller study. Returns a row a start, size and seed:
    validation and test loss in nats per letter, lr and step that were chosen, and the test loss
    after the last step (at the same lr). Raises `ValueError` for a setting that `PRETRAINING` does
    not have, a size outside 5 to 4,131, and steps that are not measured. Taught in chapter 02.
    """
    s = changed(PRETRAINING, changes)
    for size in s["sizes"]:
        check_count("sizes", size, low=5, high=Names().train_sequences)
    if s["steps"] % s["score_every"]:
        raise bad("score_every", s["score_every"], f"a divisor of steps = {s['steps']}")
    seeds = list(range(s["seeds"]))
    plain = Variant(hidden_size=s["hidden_size"])
    scratch = [plain.model(Names(), seed) for seed in seeds]
    trained = pretrained([plain.model(Words(), seed) for seed in seeds], seeds, s)
    tables = [_fine_tuned(size, scratch, trained, seeds, s) for size in s["sizes"]]
    return pd.concat(tables, ignore_index=True)


def _replicas(models: list[SequenceModel], lr: Any, s: dict[str, Any]) -> Replicas:
    return Replicas(models, lr=lr, clipper=Clipper("norm", s["clip"]), plan=PLAN)


def pretrained(
    models: list[SequenceModel], seeds: list[int], s: dict[str, Any]
) -> list[SequenceModel]:
    """Return the models trained on Shakespeare's words, by the settings of a study."""
    replicas = _replicas(models, s["pretraining_lr"], s)
    trained_on(replicas, Words(), seeds, s["batch_size"], s["pretraining_steps"])
    return replicas.models()


def _fine_tuned(
    size: int,
    scratch: list[SequenceModel],
    trained: list[SequenceModel],
    seeds: list[int],
    s: dict[str, Any],
) -> pd.DataFrame:
    """Train both starts at both rates on `size` names a seed, the same for all four."""
    task = Names()
    x, target = task.training_part()
    chosen = [torch.randperm(x.shape[1], generator=generator(n, "names"))[:size] for n in seeds]
    kept = [indices[: size // 5] for indices in chosen]
    used = [indices[size // 5 :] for indices in chosen]
    runs = [(start, lr, seed) for start in STARTS for lr in s["lrs"] for seed in seeds]
    models = {"from scratch": scratch, "pre-trained": trained}
    replicas = _replicas(
        [models[start][seeds.index(seed)] for start, _, seed in runs], [lr for _, lr, _ in runs], s
    )
    copies = len(runs) // len(seeds)

    def take(indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        own = (torch.stack([v[:, i] for i in indices]) for v in (x, target))
        x_own, target_own = (v.repeat(copies, *[1] * (v.ndim - 1)) for v in own)
        return x_own, target_own

    x_test, target_test = task.held_out(10**6)
    parts = {"validation": take(kept), "test": (x_test[None], target_test[None])}
    draws = [generator(seed, "batches") for seed in seeds]
    tables = []
    for step in range(s["steps"] + 1):
        if step:
            drawn = [
                indices[torch.randint(len(indices), (s["batch_size"],), generator=draw)]
                for indices, draw in zip(used, draws, strict=True)
            ]
            replicas.step(*take(drawn), task.loss)
        if step % s["score_every"] == 0:
            table = pd.DataFrame(runs, columns=["start", "lr", "seed"])
            for name, (x_part, target_part) in parts.items():
                found, _ = replicas.measure(x_part, target_part, {"loss": task.loss})
                table[name] = found["loss"].numpy()
            tables.append(table.assign(size=size, step=step))
    return _chosen_by_validation(pd.concat(tables, ignore_index=True))


def _chosen_by_validation(table: pd.DataFrame) -> pd.DataFrame:
    """Return the step and the rate with the least validation loss, for each start and seed."""
    run = ["start", "size", "seed"]
    best = table.loc[table.groupby(run)["validation"].idxmin()]
    last = table[table["step"] == table["step"].max()].rename(columns={"test": "last_test"})
    columns = [*run, "lr", "step", "validation", "test", "last_test"]
    return best.merge(last[[*run, "lr", "last_test"]], on=[*run, "lr"])[columns]


def pretraining_gain(table: pd.DataFrame) -> pd.DataFrame:
    """Say by how much pre-training lowers the test loss, for each size.

    table: of `pretraining_study`. Returns columns size, from_scratch and pre_trained (mean test
    losses in nats per letter), gain (their difference, paired by seed) and low and high, its 95 % t
    interval. Taught in chapter 02.
    """
    rows = []
    for size, runs in table.groupby("size"):
        wide = runs.pivot(index="seed", columns="start", values="test")
        gain = wide["from scratch"] - wide["pre-trained"]
        means = wide["from scratch"].mean(), wide["pre-trained"].mean()
        rows.append((size, *means, gain.mean(), *t_interval(gain.to_numpy())))
    columns = ["size", "from_scratch", "pre_trained", "gain", "low", "high"]
    return pd.DataFrame(rows, columns=columns)

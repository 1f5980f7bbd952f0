"""Chapter 04: temporal order by spectral radius and clipping, and Lyapunov exponents."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd
import torch

from ..clipping import Clipper
from ..device import generator
from ..dynamics import lyapunov_exponents
from ..errors import check_choice
from ..models import SequenceModel, make_elman, random_input, random_state
from ..plans import Plan
from ..replicas import Replicas
from ..spectra import spectral_radius
from ..statistics import t_interval
from ..tasks import TemporalOrder, batches
from .runs import solved_runs

# Clipping keeps steps short, and so does a smaller learning rate. 0.1 is one at which clipping
# works, so the unclipped runs get two smaller ones as well.
TEMPORAL_ORDER_VARIANTS: dict[str, dict[str, Any]] = {
    "no clipping": {"lr": 0.1, "threshold": None},
    "no clipping, lr 0.03": {"lr": 0.03, "threshold": None},
    "no clipping, lr 0.01": {"lr": 0.01, "threshold": None},
    "clip at norm 1": {"lr": 0.1, "threshold": 1.0},
}
TEMPORAL_ORDER: dict[str, Any] = {
    "seq_len": 30,
    "hidden_size": 50,
    "activation": "tanh",
    "batch_size": 32,
    "steps": 1500,
    "score_every": 100,
    "test_size": 1000,
    "rhos": [0.5, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0],
    "seeds": 16,
    "variants": TEMPORAL_ORDER_VARIANTS,
}


LYAPUNOV: dict[str, Any] = {
    "rhos": [0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0],
    "seeds": 16,
    "hidden_size": 64,
    "steps": 300,
    "warmup": 100,
}


def temporal_order_study(
    rhos: Iterable[float] = tuple(TEMPORAL_ORDER["rhos"]),
    seeds: Iterable[int] = range(TEMPORAL_ORDER["seeds"]),
    steps: int = TEMPORAL_ORDER["steps"],
    *,
    progress: bool = True,
) -> pd.DataFrame:
    """Train tanh networks on temporal order with SGD: every variant, at every rho, from every seed.

    Returns a row every 100 steps of a run: variant, rho, seed, step, loss (mean over the last 100
    batches), grad_norm (largest of these) and accuracy (on 1,000 held-out sequences); status and
    final_rho (spectral radius of the trained W_hh, NaN where it is not finite) are those of the
    whole run. A run that diverged ends there. Taught in chapter 04.
    """
    from tqdm.auto import tqdm

    seeds = list(seeds)
    bar = tqdm(list(rhos), disable=not progress, desc="temporal order", unit="rho")
    return pd.concat([_temporal_order_at(rho, seeds, steps) for rho in bar], ignore_index=True)


def _temporal_order_at(rho: float, seeds: list[int], steps: int) -> pd.DataFrame:
    """Train all variants and seeds of one rho in one pass."""
    s = TEMPORAL_ORDER
    task = TemporalOrder(s["seq_len"])
    x_test, y_test = task.batch(s["test_size"], generator(0, "test"))
    runs = [(name, seed) for name in TEMPORAL_ORDER_VARIANTS for seed in seeds]
    settings = [TEMPORAL_ORDER_VARIANTS[name] for name, _ in runs]
    limits = [setting["threshold"] for setting in settings]
    replicas = Replicas(
        [_temporal_order_model(rho, seed) for _, seed in runs],
        optimizer="sgd",
        lr=[setting["lr"] for setting in settings],
        clipper=[None if limit is None else Clipper("norm", limit) for limit in limits],
        plan=Plan(len(runs)),  # a measured one could differ from day to day, and with it rounding
    )
    loaders = {seed: batches(task, s["batch_size"], seed=seed) for seed in seeds}
    records, accuracy = [], {}
    for step in range(1, steps + 1):
        drawn = {seed: next(loader) for seed, loader in loaders.items()}
        x, target = (torch.stack([drawn[seed][n] for _, seed in runs]) for n in (0, 1))
        records.append(replicas.step(x, target, task.loss))
        if step % s["score_every"] == 0 or step == steps:
            measured, _ = replicas.measure(x_test[None], y_test[None], {"accuracy": task.score})
            accuracy[step] = measured["accuracy"].numpy()
    loss, norm = (
        torch.stack(values).numpy()
        for values in zip(*((r.loss, r.grad_norm) for r in records), strict=True)
    )
    tables = []
    for n, ((name, seed), model) in enumerate(zip(runs, replicas.models(), strict=True)):
        at = int(replicas.diverged[n])
        frame = pd.DataFrame({"loss": loss[:, n], "grad_norm": norm[:, n]}).iloc[: at + 1 or None]
        block = frame.index // s["score_every"]
        rows = frame.groupby(block).agg(loss=("loss", "mean"), grad_norm=("grad_norm", "max"))
        ends = [min(s["score_every"] * (b + 1), steps) for b in rows.index]
        rows.insert(0, "step", [min(end, len(frame)) for end in ends])
        rows["accuracy"] = [accuracy[end][n] for end in ends]
        rows["status"] = "finished" if at < 0 else "diverged"
        W = model.rnn.get_parameter("weight_hh_l0")
        rows["final_rho"] = spectral_radius(W).item() if W.isfinite().all() else math.nan
        tables.append(rows.assign(variant=name, rho=rho, seed=seed))
    order = ["variant", "rho", "seed", "step", "loss", "grad_norm", "accuracy", "status"]
    return pd.concat(tables, ignore_index=True)[[*order, "final_rho"]]


def _temporal_order_model(rho: float, seed: int) -> SequenceModel:
    s, task = TEMPORAL_ORDER, TemporalOrder(TEMPORAL_ORDER["seq_len"])
    rnn = make_elman(
        s["hidden_size"], rho, activation=s["activation"], input_size=task.input_size, seed=seed
    )
    return SequenceModel(rnn, task.output_size, seed=seed)


def final_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of every run of a study."""
    return table.loc[table.groupby(["variant", "rho", "seed"])["step"].idxmax()]


def solved_share(table: pd.DataFrame, accuracy: float = 0.99) -> pd.DataFrame:
    """Count the runs that end at `accuracy` or better, with a 95 % Wilson interval.

    Returns rows (variant, rho) with columns solved, runs, share, low, high. Taught in chapter 04.
    """
    final = final_rows(table).sort_values(["variant", "rho"], kind="stable")
    return solved_runs(final.assign(score=final["accuracy"]), ["variant", "rho"], accuracy)


def paired_difference(
    table: pd.DataFrame, variant: str, baseline: str, *, value: str = "accuracy"
) -> pd.DataFrame:
    """Return the mean paired difference of two variants by rho with a 95 % t interval.

    Pairs share the seed, and so weights and batches. Columns: rho, mean, low, high. Taught in
    chapter 04.
    """
    final = final_rows(table)
    for argument, given in (("variant", variant), ("baseline", baseline)):
        check_choice(argument, given, final["variant"].unique())
    wide = final.pivot(index=["rho", "seed"], columns="variant", values=value)
    differences = (wide[variant] - wide[baseline]).groupby("rho")
    rows = [(rho, d.mean(), *t_interval(d.to_numpy())) for rho, d in differences]
    return pd.DataFrame(rows, columns=["rho", "mean", "low", "high"])


def lyapunov_study(
    rhos: Iterable[float],
    *,
    seeds: int = 16,
    hidden_size: int = 64,
    steps: int = 300,
    warmup: int = 100,
) -> pd.DataFrame:
    """Measure the largest Lyapunov exponent of tanh networks by rho, input and seed.

    Inputs: "no input", "N(0, 1) input" and "temporal order" (its one-hot symbols). Random N(0, 1)
    initial states; `steps` steps are measured after `warmup` others. Tidy table: input, rho, seed,
    exponent in nats per step. Taught in chapter 04.
    """
    T = warmup + steps
    rows = []
    for rho in rhos:
        for seed in range(seeds):
            symbols, _ = TemporalOrder(T).batch(1, generator(seed, "batches"))
            drives = {
                "no input": torch.zeros(T, 1, 1, dtype=torch.float64),
                "N(0, 1) input": random_input(T, 1, seed),
                "temporal order": symbols.double(),
            }
            for name, x in drives.items():
                rnn = make_elman(
                    hidden_size, rho, input_size=x.shape[-1], seed=seed, dtype=torch.float64
                )
                found = lyapunov_exponents(rnn, x, random_state(hidden_size, seed), warmup=warmup)
                rows.append({"input": name, "rho": rho, "seed": seed, "exponent": found.item()})
    return pd.DataFrame(rows)

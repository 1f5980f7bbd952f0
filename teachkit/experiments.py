"""The multi-seed experiments behind the figures: tidy tables and honest intervals.

Every seed sets the weights and the batches, and every variant sees the same ones: comparisons are
paired. `make results` runs them all and saves their tables (`python -m teachkit.experiments`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from .clipping import Clipper
from .device import generator
from .dynamics import lyapunov_exponents
from .errors import check_choice
from .models import SequenceModel, make_elman, random_input, random_state
from .results import save_results
from .spectra import spectral_radius
from .tasks import TemporalOrder, batches
from .training import fit

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


def temporal_order_run(
    rho: float,
    seed: int,
    *,
    lr: float,
    threshold: float | None,
    steps: int = TEMPORAL_ORDER["steps"],
) -> pd.DataFrame:
    """Train one tanh network on temporal order with SGD; return a row every 100 steps.

    Columns: step, loss (mean over the last 100 batches), grad_norm (largest of these), accuracy
    (on 1,000 held-out sequences); status and final_rho (spectral radius of the trained W_hh, NaN
    where it is not finite) are those of the whole run. Taught in chapter 04.
    """
    s = TEMPORAL_ORDER
    task = TemporalOrder(s["seq_len"])
    x_test, y_test = task.batch(s["test_size"], generator(0, "test"))
    rnn = make_elman(
        s["hidden_size"], rho, activation=s["activation"], input_size=task.input_size, seed=seed
    )
    model = SequenceModel(rnn, task.output_size, seed=seed)
    history = fit(
        model,
        batches(task, s["batch_size"], seed=seed),
        loss=task.loss,
        optimizer=torch.optim.SGD(model.parameters(), lr=lr),
        clipper=None if threshold is None else Clipper("norm", threshold),
        steps=steps,
        score=lambda m: task.score(m(x_test), y_test),
        score_every=s["score_every"],
        progress=False,
    )
    frame = history.frame.reset_index()
    block = frame["step"] // s["score_every"]
    rows = frame.groupby(block).agg(
        step=("step", "last"), loss=("loss", "mean"), grad_norm=("grad_norm", "max")
    )
    rows["step"] += 1
    rows["accuracy"] = frame.groupby(block)["score"].last()
    rows["status"] = history.status
    rows["final_rho"] = _radius(rnn.weight_hh_l0.detach())
    return rows.reset_index(drop=True)


def _radius(W: Tensor) -> float:
    return spectral_radius(W).item() if torch.isfinite(W).all() else math.nan


def temporal_order_study(
    rhos: Iterable[float] = tuple(TEMPORAL_ORDER["rhos"]),
    seeds: Iterable[int] = range(TEMPORAL_ORDER["seeds"]),
    steps: int = TEMPORAL_ORDER["steps"],
    *,
    progress: bool = True,
) -> pd.DataFrame:
    """Train every variant at every rho from every seed; tidy table (variant, rho, seed, step, ...).

    About 3 s a run on one core; 512 runs with the defaults.
    """
    from tqdm.auto import tqdm

    runs = [(r, s, v) for r in rhos for s in seeds for v in TEMPORAL_ORDER_VARIANTS]
    tables = []
    for rho, seed, variant in tqdm(runs, disable=not progress, desc="temporal order", unit="run"):
        table = temporal_order_run(rho, seed, steps=steps, **TEMPORAL_ORDER_VARIANTS[variant])
        table.insert(0, "variant", variant)
        table.insert(1, "rho", rho)
        table.insert(2, "seed", seed)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def final_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of every run of a study."""
    return table.loc[table.groupby(["variant", "rho", "seed"])["step"].idxmax()]


def solved_share(table: pd.DataFrame, accuracy: float = 0.99) -> pd.DataFrame:
    """Count the runs that end at `accuracy` or better, with a 95 % Wilson interval.

    Returns rows (variant, rho) with columns solved, runs, share, low, high. Taught in chapter 04.
    """
    from scipy.stats import binomtest

    final = final_rows(table).assign(solved=lambda t: t["accuracy"] >= accuracy)
    counts = final.groupby(["variant", "rho"])["solved"].agg(solved="sum", runs="count")
    bounds = [
        binomtest(int(s), int(n)).proportion_ci(0.95, method="wilson")
        for s, n in zip(counts["solved"], counts["runs"], strict=True)
    ]
    counts["share"] = counts["solved"] / counts["runs"]
    counts["low"] = [b.low for b in bounds]
    counts["high"] = [b.high for b in bounds]
    return counts.reset_index()


def paired_difference(
    table: pd.DataFrame, variant: str, baseline: str, *, value: str = "accuracy"
) -> pd.DataFrame:
    """Return the mean paired difference of two variants by rho with a 95 % t interval.

    Pairs share the seed, and so weights and batches. Columns: rho, mean, low, high. Taught in
    chapter 04.
    """
    from scipy.stats import t as student

    final = final_rows(table)
    for argument, given in (("variant", variant), ("baseline", baseline)):
        check_choice(argument, given, final["variant"].unique())
    wide = final.pivot(index=["rho", "seed"], columns="variant", values=value)
    difference = (wide[variant] - wide[baseline]).groupby("rho")
    summary = difference.agg(["mean", "sem", "count"])
    half = student.ppf(0.975, summary["count"] - 1) * summary["sem"]
    summary["low"], summary["high"] = summary["mean"] - half, summary["mean"] + half
    return summary[["mean", "low", "high"]].reset_index()


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


def main() -> None:
    """Run every experiment and save its table."""
    start = time.perf_counter()
    table = temporal_order_study()
    seconds = round(time.perf_counter() - start)
    save_results("temporal_order", table, {**TEMPORAL_ORDER, "seconds": seconds})
    save_results("lyapunov", lyapunov_study(**LYAPUNOV), LYAPUNOV)


if __name__ == "__main__":
    main()

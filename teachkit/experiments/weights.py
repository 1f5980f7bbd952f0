"""Chapter 02: schemes by activation and learning rate, and the forget bias by horizon."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import nn

from ..errors import bad, check_choice
from ..gates import gates
from ..initializers import initialize
from ..statistics import t_interval
from ..tasks import RecallFirst, make_task
from .settings import at_the_end, changed, train

HIDDEN_SIZE = 32
DEFAULT = "PyTorch's default"  # W_ih, W_hh and biases; the others differ in W_hh alone
SCHEMES: dict[str, Any] = {
    DEFAULT: "torch",
    "uniform": "uniform",
    "xavier_uniform": "xavier_uniform",
    "kaiming_normal": "kaiming_normal",
    "orthogonal": "orthogonal",
    "identity": "identity",
    "sparse": {"scheme": "sparse", "rho": 0.95},
    "std = 2/H": {"scheme": "normal", "std": 2 / HIDDEN_SIZE},
}
RATES: dict[str, Any] = {
    # task, its length (None: the data's own), activation, training steps
    "cases": [
        ["digit pixels", None, "tanh", 600],
        ["digit pixels", None, "relu", 600],
        ["adding", 50, "relu", 800],
    ],
    "schemes": SCHEMES,
    "lrs": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
    "hidden_size": HIDDEN_SIZE,
    "batch_size": 32,
    "clip": 1.0,
    "seeds": 16,
}
HORIZON: dict[str, Any] = {
    "seq_lens": [10, 25, 50, 100, 200],
    "biases": [0, 1, 2, 3, 5],
    "longest": 200,
    "hidden_size": 32,
    "batch_size": 32,
    "lr": 3e-3,
    "clip": 1.0,
    "steps": 300,
    "seeds": 16,
}


def starts_with(name: str, scheme: Any) -> Any:
    """Return an initialiser of which W_hh follows a scheme, and all else is the same for all.

    W_ih is Glorot uniform, biases are 0. PyTorch's default is left whole.
    """
    if name == DEFAULT:
        return scheme

    def recurrent(module: nn.Module, generator: torch.Generator | None) -> None:
        initialize(module, "xavier_uniform", generator=generator)  # and zero biases
        W_ih = [view.clone() for view in _inputs(module)]
        initialize(module, scheme, generator=generator)
        for view, shared in zip(_inputs(module), W_ih, strict=True):
            view.copy_(shared)

    recurrent.__qualname__ = f"W_hh by {scheme}"
    return recurrent


def _inputs(module: nn.Module) -> list[Any]:
    named = gates(module).items()
    return [W for name, views in named if name.startswith("weight_ih") for W in views.values()]


def rates_study(**changes: Any) -> pd.DataFrame:
    """Train plain recurrent networks from every scheme at every learning rate, with Adam.

    All schemes but PyTorch's default share their W_ih, Glorot uniform, and have no biases, so that
    nothing but W_hh makes a difference. changes: to `RATES`, for a smaller study. Returns a row a
    run: task, activation, scheme, lr, seed, test_loss and score on 500 held-out sequences at the
    end (NaN after a divergence), and diverged, 0 or 1. Raises `ValueError` for a setting that
    `RATES` does not have. Taught in chapter 02.
    """
    s = changed(RATES, changes)
    variants = {
        f"{scheme}, {lr}": {"initializer": starts_with(scheme, initializer), "lr": lr}
        for scheme, initializer in s["schemes"].items()
        for lr in s["lrs"]
    }
    labels = [(scheme, lr) for scheme in s["schemes"] for lr in s["lrs"]]
    tables = []
    for task, seq_len, activation, steps in s["cases"]:
        shape = {"cell": "rnn", "nonlinearity": activation}
        table = train(make_task(task, seq_len), variants, s, steps=steps, **shape)
        wide = at_the_end(table, ["test_loss", "score", "diverged"])
        named = dict(zip(variants, labels, strict=True))
        wide.insert(1, "scheme", [named[v][0] for v in wide["variant"]])
        wide.insert(2, "lr", [named[v][1] for v in wide["variant"]])
        tables.append(wide.drop(columns="variant").assign(task=task, activation=activation))
    found = pd.concat(tables, ignore_index=True)
    return found[["task", "activation", "scheme", "lr", "seed", "test_loss", "score", "diverged"]]


def at_best_rate(table: pd.DataFrame, baseline: str = DEFAULT) -> pd.DataFrame:
    """Compare schemes at the learning rate that is best for each, seed by seed.

    table: of `rates_study`. The best rate has the highest mean score; choosing it flatters every
    scheme alike. A rate at which a run diverged is never the best. Returns a row a task, activation
    and scheme: lr, score (mean), and the mean paired difference to `baseline` with its 95 % t
    interval, low and high. Raises `ValueError` for another baseline, and for a scheme that diverged
    at every rate. Taught in chapter 02.
    """
    check_choice("baseline", baseline, list(table["scheme"].unique()))
    rows = []
    for (task, activation), runs in table.groupby(["task", "activation"], sort=False):
        scores = runs.pivot(index="seed", columns=["scheme", "lr"], values="score")
        means = scores.mean(skipna=False)
        schemes = runs["scheme"].unique()
        for scheme in schemes:
            if means[scheme].isna().all():
                raise bad("table", scheme, f"one in which some rate on {task!r} never diverges")
        best = {scheme: means[scheme].idxmax() for scheme in schemes}
        reference = scores[baseline, best[baseline]]
        for scheme, lr in best.items():
            difference = (scores[scheme, lr] - reference).to_numpy()
            low, high = t_interval(difference)
            mean = difference.mean()
            rows.append((task, activation, scheme, lr, means[scheme, lr], mean, low, high))
    columns = ["task", "activation", "scheme", "lr", "score", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def horizon_study(**changes: Any) -> pd.DataFrame:
    """Train LSTMs to recall the first bit after T steps, by T and by forget bias.

    changes: to `HORIZON`, for a smaller study. The forget bias is a number, the same for all
    units, chrono with max_steps = T, or chrono with the longest T of all. The matrices are those of
    PyTorch's default, and all other biases 0 (but chrono's input biases). Returns a row a run:
    seq_len, forget_bias (text), seed, test_loss and score on 500 held-out sequences at the end.
    Raises `ValueError` for a setting that `HORIZON` does not have. Taught in chapter 02.
    """
    s = changed(HORIZON, changes)
    tables = []
    for seq_len in s["seq_lens"]:
        variants: dict[str, dict[str, Any]] = {
            str(bias): {"initializer": "uniform", "forget_bias": float(bias)}
            for bias in s["biases"]
        }
        for name, steps in (("chrono(T)", seq_len), (f"chrono({s['longest']})", s["longest"])):
            chrono = {"scheme": "chrono", "max_steps": steps}
            variants[name] = {"initializer": ["uniform", chrono]}
        table = train(RecallFirst(seq_len), variants, s, steps=s["steps"], lr=s["lr"])
        wide = at_the_end(table, ["test_loss", "score"])
        tables.append(wide.rename(columns={"variant": "forget_bias"}).assign(seq_len=seq_len))
    found = pd.concat(tables, ignore_index=True)
    return found[["seq_len", "forget_bias", "seed", "test_loss", "score"]]

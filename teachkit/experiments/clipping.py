"""Chapter 05: what to clip, at which threshold, with which optimiser, and on real text."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..models import SequenceModel, make_elman
from ..tasks import Characters, Task, TemporalOrder, make_task
from ..variants import Variant
from .clipped_runs import clippers, train_settings
from .settings import changed

# Every method at thresholds around those that its authors use, or that fit the norms seen here.
METHOD_GRID: dict[str, list[float]] = {
    "none": [],
    "norm": [0.1, 1.0, 10.0],
    "per_parameter": [1.0, 10.0],
    "value": [0.03, 0.3],
    "recurrent": [1.0, 10.0],
    "output": [1.0],
    "agc": [0.01, 0.1],
    "autoclip": [10.0, 50.0],
    "zclip": [2.5],
}
FEW_METHODS: dict[str, list[float]] = {
    "none": [],
    "norm": [1.0],
    "per_parameter": [1.0],
    "value": [0.1],
    "recurrent": [1.0],
    "output": [1.0],
}
CLIP_WHAT: dict[str, Any] = {
    "cases": {
        "temporal order": {
            "task": "temporal order",
            "seq_len": 30,
            "activation": "tanh",
            "rho": 1.2,
            "optimizer": "sgd",
            "lrs": [0.01, 0.03, 0.1, 0.3, 1.0],
            "methods": METHOD_GRID,
        },
        "adding, rho 1.5": {
            "task": "adding",
            "seq_len": 50,
            "activation": "tanh",
            "rho": 1.5,
            "optimizer": "sgd",
            "lrs": [0.01, 0.03, 0.1],
            "methods": FEW_METHODS,
        },
        "temporal order, Adam": {
            "task": "temporal order",
            "seq_len": 30,
            "activation": "tanh",
            "rho": 1.2,
            "optimizer": "adam",
            "lrs": [0.0003, 0.001, 0.003, 0.01],
            "methods": FEW_METHODS,
        },
        "adding, ReLU, Adam": {
            "task": "adding",
            "seq_len": 30,
            "activation": "relu",
            "rho": None,  # orthogonal
            "optimizer": "adam",
            "lrs": [0.0003, 0.001, 0.003, 0.01],
            "methods": FEW_METHODS,
        },
    },
    "hidden_size": 50,
    "batch_size": 32,
    "steps": 1500,
    "test_size": 1000,
    "seeds": 16,
}
CLIP_GRID: dict[str, Any] = {
    "seq_len": 30,
    "hidden_size": 50,
    "rhos": [0.5, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0],
    "thresholds": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0, None],
    "lr": 0.1,
    "batch_size": 32,
    "steps": 1500,
    "test_size": 1000,
    "seeds": 16,
}
CLIP_TEXT: dict[str, Any] = {
    "seq_len": 25,
    "hidden_size": 32,
    "sgd": {"lrs": [1.0, 3.0, 10.0, 30.0], "methods": {"none": [], "norm": [0.1, 0.25]}},
    "adam": {"lrs": [0.003, 0.01, 0.03, 0.1], "methods": {"none": [], "norm": [0.1, 0.25]}},
    "batch_size": 32,
    "steps": 400,
    "test_size": 500,
    "seeds": 16,
}


def clip_what_study(**changes: Any) -> pd.DataFrame:
    """Train small networks with every clipping method, at several thresholds and learning rates.

    changes: to `CLIP_WHAT`, for a smaller study. Returns a row a run: case and the columns of
    `clipped_runs.train_settings`. Raises `ValueError` for a setting that `CLIP_WHAT` does not
    have. Taught in chapter 05.
    """
    s = changed(CLIP_WHAT, changes)
    tables = []
    for name, case in s["cases"].items():
        task = make_task(case["task"], case["seq_len"])

        def model(seed: int, case: Any = case, task: Task = task) -> SequenceModel:
            return _model(task, case["activation"], case["rho"], s["hidden_size"], seed)

        settings = [
            {"method": method, "threshold": limit, "lr": lr, "optimizer": case["optimizer"]}
            for method, limit in clippers(case["methods"])
            for lr in case["lrs"]
        ]
        tables.append(_train(task, model, settings, s, case=name))
    return pd.concat(tables, ignore_index=True)


def clip_grid_study(**changes: Any) -> pd.DataFrame:
    """Train tanh networks on temporal order: every spectral radius with every clip threshold.

    changes: to `CLIP_GRID`, for a smaller study. Returns a row a run: rho and the columns of
    `clipped_runs.train_settings`. Raises `ValueError` for a setting that `CLIP_GRID` does not
    have. Taught in chapter 05.
    """
    s = changed(CLIP_GRID, changes)
    task = TemporalOrder(s["seq_len"])
    settings = [
        {
            "method": "none" if limit is None else "norm",
            "threshold": limit,
            "lr": s["lr"],
            "optimizer": "sgd",
        }
        for limit in s["thresholds"]
    ]
    tables = []
    for rho in s["rhos"]:

        def model(seed: int, rho: float = rho) -> SequenceModel:
            return _model(task, "tanh", rho, s["hidden_size"], seed)

        tables.append(_train(task, model, settings, s, rho=rho))
    return pd.concat(tables, ignore_index=True)


def clip_text_study(**changes: Any) -> pd.DataFrame:
    """Train LSTMs on Shakespeare with plain SGD and with Adam, clipped and not.

    changes: to `CLIP_TEXT`, for a smaller study. Returns a row a run, the columns of
    `clipped_runs.train_settings`. Raises `ValueError` for a setting that `CLIP_TEXT` does not
    have. Taught in chapter 05.
    """
    s = changed(CLIP_TEXT, changes)
    task = Characters(s["seq_len"])
    variant = Variant(hidden_size=s["hidden_size"])
    tables = []
    for optimizer in ("sgd", "adam"):
        settings = [
            {"method": method, "threshold": limit, "lr": lr, "optimizer": optimizer}
            for method, limit in clippers(s[optimizer]["methods"])
            for lr in s[optimizer]["lrs"]
        ]
        tables.append(_train(task, lambda seed: variant.model(task, seed), settings, s))
    return pd.concat(tables, ignore_index=True)


def _train(task: Task, model: Any, settings: Any, s: dict[str, Any], **labels: Any) -> pd.DataFrame:
    from tqdm.auto import tqdm

    names = ("seeds", "steps", "batch_size", "test_size")
    options = {name: s[name] for name in names}
    # a few settings at a time: all in one pass would be as many networks in memory
    parts = [settings[n : n + 8] for n in range(0, len(settings), 8)]
    told = ", ".join(map(str, labels.values())) or "text"
    tables = [train_settings(task, model, part, **options) for part in tqdm(parts, desc=told)]
    table = pd.concat(tables, ignore_index=True)
    for place, (name, value) in enumerate(labels.items()):
        table.insert(place, name, value)
    return table


def _model(
    task: Task, activation: str, rho: float | None, hidden_size: int, seed: int
) -> SequenceModel:
    """Make the network of chapter 04; one with an orthogonal W_hh where there is no rho."""
    if rho is None:
        variant = Variant("rnn", hidden_size, activation, initializer="orthogonal")
        return variant.model(task, seed)
    rnn = make_elman(hidden_size, rho, activation=activation, input_size=task.input_size, seed=seed)
    return SequenceModel(rnn, task.output_size, seed=seed)

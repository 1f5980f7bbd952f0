"""Chapter 01: what the defaults of each framework can learn, and how far their gradients reach."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from ..device import threads
from ..dynamics import gradient_through_time
from ..models import random_input
from ..tasks import RecallFirst
from ..variants import Variant
from .settings import changed, train

PRESETS: dict[str, dict[str, Any]] = {
    "PyTorch": {"initializer": "torch"},
    "PyTorch, forget bias 1": {"initializer": "torch", "forget_bias": 1.0},
    "PyTorch, forget 1, others 0": {"initializer": "uniform", "forget_bias": 1.0},
    "PyTorch, forget bias 2": {"initializer": "torch", "forget_bias": 2.0},
    "Flax": {"initializer": "flax"},
    "Keras": {"initializer": "keras"},
    "TF1": {"initializer": "tf1"},
    "Haiku": {"initializer": "haiku"},
    "chrono(50)": {"initializer": ["torch", {"scheme": "chrono", "max_steps": 50}]},
}
RECALL: dict[str, Any] = {
    "seq_len": 50,
    "hidden_size": 32,
    "batch_size": 32,
    "lrs": [3e-4, 1e-3, 3e-3],
    "clip": 1.0,
    "steps": 500,
    "score_every": 25,
    "seeds": 16,
    "presets": PRESETS,
}


def recall_study(**changes: Any) -> pd.DataFrame:
    """Train an LSTM from each preset to name at step 50 the bit it saw at step 1, amid noise.

    With Adam, clipped, at each learning rate. changes: to `RECALL`, for a smaller study. Returns
    the accuracy ("score") on 500 held-out sequences: lr, variant, seed, step, metric, value. Raises
    `ValueError` for a setting that `RECALL` does not have. Taught in chapter 01.
    """
    s = changed(RECALL, changes)
    tables = []
    for lr in s["lrs"]:
        table = train(
            RecallFirst(s["seq_len"]),
            s["presets"],
            s,
            steps=s["steps"],
            score_every=s["score_every"],
            lr=lr,
        )
        score = table[table["metric"] == "score"].copy()
        score.insert(0, "lr", lr)
        tables.append(score)
    return pd.concat(tables, ignore_index=True)


def recalled(table: pd.DataFrame, accuracy: float = 0.99) -> pd.DataFrame:
    """Count the seeds that end at `accuracy` or better: a row a preset, a column a learning rate.

    table: of `recall_study`. Taught in chapter 01.
    """
    ends = table[table["step"] == table["step"].max()]
    reached = ends.assign(reached=ends["value"] >= accuracy)
    counts = reached.pivot_table(index="variant", columns="lr", values="reached", aggfunc="sum")
    return counts.loc[list(dict.fromkeys(table["variant"]))]


def preset_gradients(
    seeds: int = 16, *, hidden_size: int = 64, seq_len: int = 50, first_seed: int = 0
) -> pd.DataFrame:
    """Measure what is left of an LSTM's gradient after `seq_len` steps, for each of `PRESETS`.

    One N(0, 1) input, zero initial state. Returns columns variant, seed and growth: the norm of the
    gradient to c at the start, over that at the end. Taught in chapter 01.
    """
    rows = []
    with threads(1):  # too small for more
        for seed in range(first_seed, first_seed + seeds):
            x = random_input(seq_len, 1, seed)
            for name, settings in PRESETS.items():
                model = Variant(hidden_size=hidden_size, **settings).model(RecallFirst(), seed)
                growth = gradient_through_time(model.rnn.to(torch.float64), x).growth_c
                assert growth is not None  # an LSTM has a c
                rows.append({"variant": name, "seed": seed, "growth": growth[-1].item()})
    return pd.DataFrame(rows)

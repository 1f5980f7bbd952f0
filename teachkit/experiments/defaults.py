"""Chapter 01: what the defaults of each framework can learn, and how far their gradients reach."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from ..clipping import Clipper
from ..comparison import compare
from ..device import threads
from ..dynamics import gradient_through_time
from ..models import random_input
from ..plans import Plan
from ..tasks import RecallFirst
from ..variants import Variant
from .settings import changed

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
    "lr": 3e-3,
    "clip": 1.0,
    "steps": 500,
    "score_every": 25,
    "seeds": 16,
    "presets": PRESETS,
}


def recall_study(**changes: Any) -> pd.DataFrame:
    """Train an LSTM from each preset to name at step 50 the bit it saw at step 1, amid noise.

    With Adam, clipped. changes: to `RECALL`, for a smaller study. Returns test loss and accuracy
    ("score") on 500 held-out sequences: variant, seed, step, metric, value. Raises `ValueError` for
    a setting that `RECALL` does not have. Taught in chapter 01.
    """
    s = changed(RECALL, changes)
    table = compare(
        RecallFirst(s["seq_len"]),
        s["presets"],
        seeds=s["seeds"],
        steps=s["steps"],
        score_every=s["score_every"],
        batch_size=s["batch_size"],
        progress=False,
        # a measured plan could differ from day to day, and with it rounding
        plan=Plan(32),
        hidden_size=s["hidden_size"],
        lr=s["lr"],
        clipper=Clipper("norm", s["clip"]),
    )
    return table[table["metric"].isin(["test_loss", "score"])].reset_index(drop=True)


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

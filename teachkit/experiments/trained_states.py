"""Chapter 03: small networks with a learned initial state, whose states a lab follows."""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..clipping import Clipper
from ..drop_ins import RNN
from ..errors import check_count
from ..replicas import Replicas
from ..results import load_results
from ..variants import Variant
from .first_steps import window_task
from .settings import PLAN, changed, trained_on

TRAINED_STATES: dict[str, Any] = {
    "task": "sunspots",
    "seq_len": 20,
    "hidden_size": 16,
    "batch_size": 32,
    "lr": 3e-3,
    "clip": 1.0,
    "steps": 600,
    "seeds": 16,
}


def trained_states_study(**changes: Any) -> pd.DataFrame:
    """Train plain tanh networks with a learned initial state to forecast sunspots, with Adam.

    changes: to `TRAINED_STATES`, for a smaller study. Returns a row a seed and unit: h0, W_ih, bias
    (the sum of both vectors), and the unit's row of W_hh (W_hh_0, ...). Raises `ValueError` for a
    setting that `TRAINED_STATES` does not have. Taught in chapter 03.
    """
    s = changed(TRAINED_STATES, changes)
    task = window_task(s["task"], s["seq_len"])
    seeds = list(range(s["seeds"]))
    variant = Variant(cell="rnn", hidden_size=s["hidden_size"], initial_state="learned")
    replicas = Replicas(
        [variant.model(task, seed) for seed in seeds],
        lr=s["lr"],
        clipper=Clipper("norm", s["clip"]),
        plan=PLAN,
    )
    trained_on(replicas, task, seeds, s["batch_size"], s["steps"])
    tables = []
    for seed, model in zip(seeds, replicas.models(), strict=True):
        found = {name: value.detach() for name, value in model.rnn.named_parameters()}
        columns: dict[str, Any] = {
            "seed": seed,
            "unit": range(s["hidden_size"]),
            "h0": found["h0"].flatten(),
            "W_ih": found["weight_ih_l0"].flatten(),
            "bias": found["bias_ih_l0"] + found["bias_hh_l0"],
        }
        W_hh = found["weight_hh_l0"]
        columns |= {f"W_hh_{i}": W_hh[:, i] for i in range(s["hidden_size"])}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


@functools.cache
def _table() -> pd.DataFrame:
    return load_results("trained_states")


def trained_network(seed: int = 0) -> RNN:
    """Return a trained network of `trained_states_study`: 16 tanh units and a learned h0.

    seed: 0 to 15. Raises `ValueError` for another one. Taught in chapter 03.
    """
    table = _table()
    seed = check_count("seed", seed, low=0, high=int(table["seed"].max()))
    rows = table[table["seed"] == seed]
    with torch.random.fork_rng(devices=[]):  # the layer draws weights that we replace
        rnn = RNN(1, len(rows), initial_state="learned")

    def column(*names: str) -> Tensor:
        return torch.tensor(rows[list(names)].to_numpy(), dtype=torch.float32)

    bias = column("bias")[:, 0]
    rnn.load_state_dict(
        {
            "h0": column("h0").T[None],
            "weight_ih_l0": column("W_ih"),
            "weight_hh_l0": column(*(f"W_hh_{i}" for i in range(len(rows)))),
            "bias_ih_l0": bias,
            "bias_hh_l0": torch.zeros_like(bias),
        }
    )
    return rnn

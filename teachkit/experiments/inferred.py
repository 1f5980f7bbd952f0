"""Chapter 03: a state that is inferred from what came before, against other starts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..clipping import Clipper
from ..device import generator, threads
from ..drop_ins import LSTM
from ..errors import check_choice
from ..inferred_states import InferredState
from ..initializers import initialize
from ..tasks import Forecast, batches
from ..training import fit
from .settings import changed

INFERRED: dict[str, Any] = {
    "series": ["sunspots", "seattle temperatures"],
    "starts": ["zero", "learned", "inferred", "warm-up"],
    "context": 20,
    "seq_len": 20,
    "hidden_size": 16,
    "lrs": [3e-3, 1e-2],
    "batch_size": 32,
    "clip": 1.0,
    "steps": 600,
    "seeds": 16,
}


class Forecaster(nn.Module):
    """An LSTM that forecasts every next value of a window whose first `context` values are known.

    start: "zero" and "learned" skip the context; "inferred" makes the initial state from it;
    "warm-up" reads it from zero, and is not judged by what it says meanwhile. x (context + T, B, 1)
    -> (T, B, 1). Raises `ValueError` for another start.
    """

    def __init__(self, start: str, context: int, hidden_size: int, seed: int) -> None:
        super().__init__()
        check_choice("start", start, INFERRED["starts"])
        self.context = context
        self.warm_up = start == "warm-up"
        state = "learned" if start == "learned" else "zero"
        self.rnn = LSTM(1, hidden_size, initial_state=state)
        initialize(self.rnn, "torch", generator=generator(seed, "weights"))
        self.head = nn.Linear(hidden_size, 1)
        with torch.no_grad():
            draw = torch.randn(1, hidden_size, generator=generator(seed, "head"))
            self.head.weight.copy_(draw / hidden_size**0.5)
            self.head.bias.zero_()
        self.infer = InferredState(self.rnn, context) if start == "inferred" else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the forecasts for the part after the context."""
        past, own = x[: self.context], x[self.context :]
        if self.warm_up:
            return self.head(self.rnn(x)[0][self.context :])
        states = None if self.infer is None else self.infer(past[..., 0].T)
        return self.head(self.rnn(own, states)[0])


def inferred_study(**changes: Any) -> pd.DataFrame:
    """Train forecasters that begin from nothing, from a learned state, or from what came before.

    changes: to `INFERRED`, for a smaller study. Returns a row a run: task, lr, variant, seed,
    loss (held out, over the window after the context) and t_1, ... (by its time steps). Raises
    `ValueError` for a setting that `INFERRED` does not have. Taught in chapter 03.
    """
    s = changed(INFERRED, changes)
    rows = []
    for series in s["series"]:
        task = Forecast(s["context"] + s["seq_len"], series, every_step=True)
        x, target = task.held_out(500)
        target = target[s["context"] :]
        for lr in s["lrs"]:
            for start in s["starts"]:
                for seed in range(s["seeds"]):
                    with torch.random.fork_rng(devices=[]), threads(1):
                        torch.manual_seed(seed)
                        model = Forecaster(start, s["context"], s["hidden_size"], seed)
                        fit(
                            model,
                            batches(task, s["batch_size"], seed=seed),
                            loss=lambda out, t: nn.functional.mse_loss(out, t[-len(out) :]),
                            optimizer=torch.optim.Adam(model.parameters(), lr=lr),
                            clipper=Clipper("norm", s["clip"]),
                            steps=s["steps"],
                            progress=False,
                        )
                        with torch.no_grad():
                            losses = (model(x) - target).square().mean((1, 2))
                    by_time = {f"t_{t}": v.item() for t, v in enumerate(losses, start=1)}
                    run = {"task": series, "lr": lr, "variant": start, "seed": seed}
                    rows.append({**run, "loss": losses.mean().item(), **by_time})
    return pd.DataFrame(rows)

"""From a lab's settings to its network, its task and what drives it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..models import make_elman, random_input, random_state
from ..tasks import Task, make_task
from .spec import Settings

LONGEST_WINDOW = 600  # months of sunspots in one training window


def rho_high(activation: str) -> float:
    """Return the end of the rho slider: a sigmoid needs far more than 3 to explode."""
    return 20.0 if activation == "sigmoid" else 3.0


def network(settings: Settings, dtype: torch.dtype) -> nn.RNN:
    """Make the recurrent layer of the settings; the lab looks into it and trains it."""
    return make_elman(
        settings["hidden_size"],
        settings["rho"],
        activation=settings["activation"],
        non_normality=settings["non_normality"],
        input_size=task_of(settings).input_size,
        seed=settings["seed"],
        dtype=dtype,
    )


def drive(settings: Settings, input_size: int) -> tuple[Tensor, Tensor]:
    """Draw the input (zeros when it is off) and the initial state: N(0, 1) entries, or zero."""
    h0 = random_state(settings["hidden_size"], settings["seed"])
    x = random_input(settings["seq_len"], input_size, settings["seed"])
    x = x if settings["input"] else torch.zeros_like(x)
    return x, (torch.zeros_like(h0) if settings["h0"] == "zero" else h0)


def task_of(settings: Settings) -> Task:
    """Make the task of the settings."""
    T = settings["seq_len"]
    return make_task(
        settings["task"], min(T, LONGEST_WINDOW) if settings["task"] == "sunspots" else T
    )

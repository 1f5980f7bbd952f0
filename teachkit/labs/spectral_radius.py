"""Lab: set the spectral radius of a real recurrent network and see its true gradient at once."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..clipping import Clipper
from ..dynamics import gradient_bound, gradient_through_time, linear_prediction
from ..models import (
    ACTIVATIONS,
    SequenceModel,
    unit_sigma_max,
    unit_spectrum,
)
from ..tasks import Task
from .base import Lab
from .controls import Choice, Slider
from .network import drive, network, rho_high, task_of
from .own_model import own_model_spec
from .race import (
    LEARNING_RATE,
    STEPS,
    Race,
    RacePicture,
    race_seconds,
    race_sentence,
    run_race,
)
from .spec import Settings, Spec, Training
from .spectrum import Spectrum, SpectrumPicture, sentence, table


def _lead(settings: Settings) -> str:
    driven = ", with input" if settings["input"] else ""
    return f"rho = {settings['rho']:.2f}, {settings['activation']}{driven}"


def compute(settings: Settings) -> Spectrum:
    """Measure the true gradient of the settings' network, with prediction and bound. Pure."""
    activation, rho, T = settings["activation"], settings["rho"], settings["seq_len"]
    hidden_size, seed = settings["hidden_size"], settings["seed"]
    rnn = network(settings, torch.float64)
    growth = gradient_through_time(rnn, *drive(settings, rnn.input_size)).growth.numpy()
    _, unit = unit_spectrum(hidden_size, seed)
    sigma = rho * unit_sigma_max(hidden_size, seed, settings["non_normality"])
    gamma = ACTIVATIONS[activation].max_slope
    return Spectrum(
        eigenvalues=rho * unit.numpy(),
        panel="W_hh",
        circle=1 / gamma,
        growth=growth,
        prediction=linear_prediction(gamma * rho, T).numpy(),
        bound=gradient_bound(sigma, T, activation=activation).numpy(),
        lead=_lead(settings),
    )


# -- training ---------------------------------------------------------------------------------


def _model(settings: Settings, task: Task) -> SequenceModel:
    rnn = network(settings, torch.float32)
    return SequenceModel(rnn, task.output_size, seed=settings["seed"])


def _race(settings: Settings) -> Iterator[tuple[float, Race]]:
    task = task_of(settings)
    model, threshold = _model(settings, task), settings["clip_threshold"]
    return run_race(
        model,
        copy.deepcopy(model),
        task,
        lambda: Clipper("norm", threshold),
        lr=LEARNING_RATE[task.name],
        seed=settings["seed"],
        steps=STEPS,
        start=f"{_lead(settings)}, seed {settings['seed']}",
        how=f"clipped at norm {threshold:g}",
    )


@functools.lru_cache(maxsize=64)
def _seconds_per_time_step(activation: str, hidden_size: int, task: str) -> float:
    probe: Settings = {"rho": 1.0, "non_normality": 1.0, "seed": 0, "seq_len": 20}
    probe |= {"activation": activation, "hidden_size": hidden_size, "task": task}
    return race_seconds(_model(probe, task_of(probe)), task_of(probe)) / 20


def _seconds(settings: Settings) -> float:
    size = 2 ** round(math.log2(settings["hidden_size"]))  # measured once for similar sizes
    per_step = _seconds_per_time_step(settings["activation"], size, settings["task"])
    return per_step * task_of(settings).seq_len


def posters(start: Settings) -> list[Settings]:
    """Return radii below, near and above the onset; or the step from linear to tanh to input.

    The latter for a linear lab that opens away from 1: it is there to be compared.
    """
    if start["activation"] == "linear" and start["rho"] != 1.0:
        return [{}, {"activation": "tanh"}, {"activation": "tanh", "input": True}]
    radii = {"sigmoid": (2.0, 8.0, 20.0), "linear": (0.9, 1.0, 1.1)}
    return [{"rho": rho} for rho in radii.get(start["activation"], (0.8, 1.2, 3.0))]


CONTROLS: tuple[Slider | Choice, ...] = (
    Slider("rho", "rho", 1.2, 0.0, 20.0, 0.01),
    Choice("activation", "activation", "tanh", tuple(ACTIVATIONS)),
    Slider("hidden_size", "hidden_size", 64, 2, 128, 1),
    Slider("seq_len", "seq_len", 30, 10, 1000, 10),
    Slider("non_normality", "non-normality", 1.0, 0.0, 3.0, 0.05),
    Choice("input", "input", False, (False, True)),
    Choice("h0", "h0", "random", ("random", "zero")),
    Slider("seed", "seed", 0, 0, 99, 1),
    Choice("task", "task", "temporal order", tuple(LEARNING_RATE)),
    Slider("clip_threshold", "clip threshold", 1.0, 0.05, 10.0, 0.05),
)

SPEC = Spec(
    name="spectral_radius",
    controls=CONTROLS,
    compute=compute,
    picture=SpectrumPicture,
    sentence=sentence,
    table=table,
    posters=posters,
    limits=lambda s: {"rho": (0.0, rho_high(s["activation"]))},
    training=Training(_race, RacePicture, race_sentence, _seconds, needs=("task",)),
)


def spectral_radius(
    *,
    model: nn.RNNBase | None = None,
    x: Tensor | None = None,
    show: Sequence[str] | None = None,
    **settings: Any,
) -> Lab:
    """Open the lab of chapter 04: move the spectral radius, see the true gradient through time.

    settings: rho (0 to 3, for sigmoid to 20), activation ("linear", "sigmoid", "tanh", "relu"),
    hidden_size, seq_len, non_normality (0 normal, 1 Gaussian), input (True or False), h0 ("random",
    with N(0, 1) entries, or "zero"), seed, task ("temporal order" or "sunspots") and
    clip_threshold; the last two are for Train now. show: names of the controls to show, None for
    all; Train now is there when `task` is. model, x: your own nn.RNN, nn.LSTM or nn.GRU and a batch
    for it; the controls are then `scale`, a factor on all recurrent weights, and for an LSTM
    `forget_bias`, added to its own, and the gradient of an LSTM is that to its cell state. Raises
    `ValueError` for a bad setting.
    """
    if model is None and x is None:
        return Lab(SPEC, settings, show)
    if model is None or x is None:
        raise ValueError("model and x must be given together: your layer and a batch for it.")
    return Lab(own_model_spec(model, x), settings, show)

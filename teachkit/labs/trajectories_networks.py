"""The networks of the lab of the trajectories, what drives them, and the plane of their paths."""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import Tensor, nn

from ..device import generator
from ..experiments import trained_network
from ..forgetting import own_start, principal_plane, starts_side_by_side, state_paths
from ..models import random_input
from ..spectra import gaussian_matrix, spectral_radius, with_spectral_radius
from ..tasks import make_task
from .spec import Settings

RANDOM, TRAINED, RESCALED = "random", "trained on sunspots", "trained, rescaled"
COUNTEREXAMPLE = "counterexample"
STARTS = 8  # noisy ones
LONGEST = 200
_RADII = (0.6, 1.0, 1.6, 2.6)  # whose paths choose the plane, so that it holds still
PLANE_STEPS, PLANE_STD = 40, 0.3


@functools.lru_cache(maxsize=64)
def _random(hidden_size: int, seed: int) -> tuple[nn.RNN, float]:
    """Return the network of `make_elman` at radius 1, and this radius.

    Without its Schur form, which takes half a second for 128 units and serves its non-normality.
    """
    with torch.random.fork_rng(devices=[]):  # the layer draws weights that we replace
        rnn = nn.RNN(1, hidden_size, bias=False, dtype=torch.float64)
    W_ih = torch.randn(hidden_size, 1, generator=generator(seed, "W_ih"), dtype=torch.float64)
    W_hh = with_spectral_radius(gaussian_matrix(hidden_size, seed), 1.0)
    rnn.load_state_dict({"weight_ih_l0": W_ih, "weight_hh_l0": W_hh})
    return rnn, 1.0


@functools.lru_cache(maxsize=16)
def _trained(seed: int) -> tuple[nn.RNN, float]:
    """Return a trained network in float64, and its spectral radius."""
    rnn = trained_network(seed).double()
    return rnn, round(spectral_radius(rnn.weight_hh_l0).item(), 6)


def network(settings: Settings) -> nn.RNN:
    """Return the network of the settings at their radius, one that the caller may change."""
    random, seed = settings["network"] == RANDOM, settings["seed"]
    rnn, own = _random(settings["hidden_size"], seed) if random else _trained(seed)
    rnn = copy.deepcopy(rnn)
    if settings["network"] != TRAINED:
        with torch.no_grad():
            rnn.get_parameter("weight_hh_l0").mul_(settings["rho"] / own)
    return rnn


@functools.cache
def _sunspots() -> Tensor:
    """Return the first held-out window, (LONGEST, 1, 1)."""
    return make_task("sunspots", LONGEST).held_out(1)[0].double()


def drive(settings: Settings) -> Tensor:
    """Return the input of the settings, (T, 1, 1): zeros where it is off."""
    T = settings["seq_len"]
    if not settings["input"]:
        return torch.zeros(T, 1, 1, dtype=torch.float64)
    random = settings["network"] == RANDOM
    return random_input(T, 1, settings["seed"]) if random else _sunspots()[:T]


@functools.lru_cache(maxsize=64)
def plane_of(kind: str, hidden_size: int, seed: int, input: bool) -> Tensor:
    """Return the plane for a network at every radius, length and noise: only then it holds still.

    It costs as much as a move of another slider, and is made once for all moves of these.
    """
    settings: Settings = {"network": kind, "hidden_size": hidden_size, "seed": seed}
    settings |= {"input": input, "seq_len": PLANE_STEPS}
    x, clouds = drive(settings), []
    for rho in _RADII:
        rnn = network({**settings, "rho": rho})
        starts = starts_side_by_side(rnn, own_start(rnn, x), STARTS, PLANE_STD, seed)
        clouds.append(state_paths(rnn, x, starts))
    return principal_plane(clouds)


def limits(settings: Settings) -> dict[str, tuple[Any, ...]]:
    """Return what the network of the settings leaves to choose."""
    kind = settings["network"]
    found: dict[str, tuple[Any, ...]] = {
        "rho": (0.0, 3.0),
        "hidden_size": (2, 128),
        "seq_len": (5, LONGEST),
        "input": (False, True),
        "seed": (0, 99),
    }
    if kind == COUNTEREXAMPLE:  # whose fixed point rounding leaves after some 40 steps
        found |= {"rho": (0.0, 0.0), "hidden_size": (2, 2), "seq_len": (5, 40), "input": (False,)}
    elif kind != RANDOM:
        found |= {"hidden_size": (16, 16), "seed": (0, 15)}
    if kind == TRAINED:
        radius = _trained(min(settings["seed"], 15))[1]
        found["rho"] = (radius, radius)
    return found

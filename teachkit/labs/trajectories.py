"""Lab: see where the hidden state goes from several starts, and how fast it forgets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..dynamics import linear_prediction
from ..forgetting import (
    OwnStart,
    difference_left,
    noisy_starts,
    own_start,
    principal_plane,
    share_in_plane,
    starts_side_by_side,
    state_paths,
)
from ..models import ACTIVATIONS, nilpotent_counterexample
from .base import Lab
from .controls import Choice, Slider
from .own_model import own_controls, own_layer, own_matrix, scaled
from .spec import Settings, Spec
from .trajectories_networks import (
    COUNTEREXAMPLE,
    LONGEST,
    PLANE_STD,
    RANDOM,
    RESCALED,
    STARTS,
    TRAINED,
    drive,
    limits,
    network,
    plane_of,
)
from .trajectories_picture import Paths, Trajectories, TrajectoriesPicture
from .trajectories_words import sentence, table

MILLIONTH = 1e-6  # of the noise, in the counterexample: so that there is room to grow

_NOISE = Slider("noise_std", "noise std", 0.3, 0.05, 2.0, 0.05)
_SEED = Slider("seed", "seed", 0, 0, 99, 1)


# -- starts and paths -------------------------------------------------------------------------


def _follow(
    rnn: nn.RNNBase, x: Tensor, own: OwnStart | None, std: float, seed: int, plane: Tensor
) -> tuple[tuple[Paths, ...], float | None]:
    """Run a layer from all starts; return the paths, and the share of their spread in the plane."""
    h = state_paths(rnn, x, starts_side_by_side(rnn, own, STARTS, std, seed))[:, 0]
    left = difference_left(h, h[:, :1]).numpy()
    xy = (h @ plane).numpy()
    paths = [Paths("noisy", xy[:, -STARTS:], left[:, -STARTS:])]
    if own is not None:  # another layer's or c0 alone may differ: then there is nothing to compare
        known = not np.isnan(left[0, 1])
        paths.append(Paths(own.kind, xy[:, 1:2], left[:, 1:2] if known else None))
    paths.append(Paths("zero", xy[:, :1], None))
    share = share_in_plane(h, plane) if h.shape[-1] > 2 else None
    return tuple(paths), share


def _axes(hidden_size: int) -> tuple[str, str]:
    if hidden_size > 2:
        return "principal component 1", "principal component 2"
    return "$h_1$", "$h_2$" if hidden_size == 2 else ""


def _base(steepest: float) -> str:
    """Write what the prediction is a power of, for an activation with this largest slope.

    >>> _base(1.0), _base(0.25), _base(2.0)
    ('rho', '(rho / 4)', '(2 rho)')
    """
    if steepest == 1:
        return "rho"
    return f"(rho / {1 / steepest:g})" if steepest < 1 else f"({steepest:g} rho)"


def compute(settings: Settings) -> Trajectories:
    """Run the settings' network from all its starts. Pure."""
    if settings["network"] == COUNTEREXAMPLE:
        return _counterexample(settings)
    rnn, x = network(settings), drive(settings)
    key = RANDOM if settings["network"] == RANDOM else RESCALED
    plane = plane_of(key, settings["hidden_size"], settings["seed"], settings["input"])
    std, rho, seed = settings["noise_std"], settings["rho"], settings["seed"]
    paths, share = _follow(rnn, x, own_start(rnn, x), std, seed, plane)
    name = "tanh" if key == RANDOM else "trained on sunspots"
    driven = "with input" if settings["input"] else "without input"
    return Trajectories(
        paths=paths,
        prediction=linear_prediction(rho, settings["seq_len"]).numpy(),
        base="rho",
        axes=_axes(rnn.hidden_size),
        share=share,
        std=std,
        lead=f"{name}, {driven}",
        knob=f"rho = {rho:.2f}",
    )


def _counterexample(settings: Settings) -> Trajectories:
    """Start near zero and near the fixed point: the noise dies out there and doubles here."""
    rnn, fixed = nilpotent_counterexample()
    std = MILLIONTH * settings["noise_std"]
    noise = noisy_starts(rnn, STARTS, std, settings["seed"])
    assert isinstance(noise, Tensor)
    near_zero, near_fixed = noise.chunk(2, 1)
    starts = torch.cat([torch.zeros_like(fixed), near_zero, fixed, fixed + near_fixed], 1)
    T, S = settings["seq_len"], 1 + near_zero.shape[1]
    h = state_paths(rnn, torch.zeros(T, 1, 1, dtype=torch.float64), starts)[:, 0]
    from_zero = difference_left(h[:, 1:S], h[:, :1]).numpy()
    from_fixed = difference_left(h[:, S + 1 :], h[:, S : S + 1]).numpy()
    xy = h.numpy()
    return Trajectories(
        paths=(
            Paths("noisy", xy[:, 1:S], from_zero),
            Paths("near the fixed point", xy[:, S + 1 :], from_fixed),
            Paths("fixed point", xy[:, S : S + 1], None),
            Paths("zero", xy[:, :1], None),
        ),
        prediction=linear_prediction(2.0, T).numpy(),
        base="2",
        axes=_axes(2),
        share=None,
        std=std,
        lead="counterexample",
        knob="rho = 0",
        beginning=T,
    )


# -- the lab ----------------------------------------------------------------------------------


def posters(start: Settings) -> list[Settings]:
    """Return the lab as it opens, a radius that keeps the start, and a trained network."""
    if start["network"] != RANDOM:
        return [{}]
    keeping = {"rho": 3.0 if start["input"] else 1.5}
    trained = {**start, "network": TRAINED, "input": True, "seq_len": 20}
    trained["seed"] = min(start["seed"], 15)
    fixed = {name: ends[0] for name, ends in limits(trained).items() if ends[0] == ends[-1]}
    return [{}, keeping, trained | fixed]


SPEC = Spec(
    name="trajectories",
    controls=(
        Slider("rho", "rho", 0.9, 0.0, 3.0, 0.01),
        Choice("network", "network", RANDOM, (RANDOM, TRAINED, RESCALED, COUNTEREXAMPLE)),
        _NOISE,
        # A matrix whose slowest mode turns slowly: its paths are easy to follow.
        Slider("hidden_size", "hidden_size", 56, 2, 128, 1),
        Slider("seq_len", "seq_len", 50, 5, LONGEST, 5),
        Choice("input", "input", False, (False, True)),
        Slider("seed", "seed", 2, 0, 99, 1),
    ),
    compute=compute,
    picture=TrajectoriesPicture,
    sentence=sentence,
    table=table,
    posters=posters,
    limits=limits,
    aside=lambda s: s["network"] == COUNTEREXAMPLE,
)


# -- the reader's own model ---------------------------------------------------------------------


def own_trajectories_spec(model: nn.RNNBase, x: Tensor) -> Spec:
    """Make the lab of the reader's own layer; the layer itself is never changed."""
    base, x = own_layer(model, x)
    matrix = own_matrix(base) if base.num_layers == 1 else None
    own = own_start(base, x)
    first = x if x.ndim == 2 else x.select(0 if base.batch_first else 1, 0)
    controls = (*own_controls(base), _NOISE, _SEED)
    early = first[:LONGEST]
    plane = principal_plane(
        state_paths(rnn, early, starts_side_by_side(rnn, own, STARTS, PLANE_STD))
        for rnn in (
            scaled(base, {**{c.name: c.value for c in controls}, "scale": scale})
            for scale in (0.5, 1.0, 1.5)
        )
    )

    def compute_own(settings: Settings) -> Trajectories:
        rnn, std = scaled(base, settings), settings["noise_std"]
        knob = f"recurrent weights x {settings['scale']:.2f}"
        if "forget_bias" in settings:
            knob += f", forget bias {settings['forget_bias']:+.1f}"
        prediction, steepest = None, 1.0
        if matrix is not None:
            rho = matrix.times(settings["scale"])[0].abs().max().item()
            steepest = ACTIVATIONS[str(rnn.nonlinearity)].max_slope
            prediction = linear_prediction(steepest * rho, len(first)).numpy()
            knob += f" (rho = {rho:.2f})"
        paths, share = _follow(rnn, first, own, std, settings["seed"], plane)
        return Trajectories(
            paths=paths,
            prediction=prediction,
            base=_base(steepest),
            axes=_axes(base.proj_size or base.hidden_size),
            share=share,
            std=std,
            lead=f"{base.mode.partition('_')[0]}, the first sequence",
            knob=knob,
        )

    return Spec(
        name="trajectories",
        controls=controls,
        compute=compute_own,
        picture=TrajectoriesPicture,
        sentence=sentence,
        table=table,
        arguments="model=model, x=x",
    )


def trajectories(
    *,
    model: nn.RNNBase | None = None,
    x: Tensor | None = None,
    show: Sequence[str] | None = None,
    **settings: Any,
) -> Lab:
    """Open the lab of chapter 03: where does the state go, and how fast is its start forgotten?

    The starts are zero, a learned one where there is one, and eight noisy ones. Left, their paths
    in one plane for all radii, that of the first two principal components; two units have a plane
    already. Right, how far each is from the path from zero, relative to t = 0, and rho^t.

    settings: rho (0 to 3), network ("random", tanh without biases; "trained on sunspots", with its
    own radius and a learned h0, "trained, rescaled" to another; "counterexample", two units with
    rho = 0, near zero and near its fixed point), noise_std (0.05 to 2, a millionth of it in the
    counterexample), hidden_size (2 to 128), seq_len (5 to 200), input (True or False), seed. show:
    names of the controls to show, None for all.

    model, x: your own nn.RNN, nn.LSTM or nn.GRU, or a drop-in, and a batch, of which the first
    sequence is shown. The controls are then `scale`, a factor on all recurrent weights, for an LSTM
    `forget_bias`, added to its own, noise_std and seed. An LSTM starts from (h0, c0), with noise in
    both, and its h is followed. Of several layers all start with noise and the last is followed; of
    two directions the forward one. Raises `ValueError` for a bad setting.
    """
    if model is None and x is None:
        return Lab(SPEC, settings, show)
    if model is None or x is None:
        raise ValueError("model and x must be given together: your layer and a batch for it.")
    return Lab(own_trajectories_spec(model, x), settings, show)

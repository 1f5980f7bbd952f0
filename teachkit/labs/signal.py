"""Lab: choose a scheme and a gain, and see what becomes of a signal and of its gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from ..dynamics import gradient_through_time
from ..models import ACTIVATIONS
from ..signals import (
    expected_signal,
    signal_in,
    signal_of,
    signal_through_depth,
    signal_through_time,
)
from ..square_schemes import SQUARE_SCHEMES, variance_factor
from .base import Lab
from .controls import Choice, Slider
from .own_model import own_controls, own_layer, own_matrix, scaled
from .signal_picture import Sent, SignalPicture, of_the_units
from .spec import Settings, Spec

MODES = ("depth", "time", "time, with input")


def compute(settings: Settings) -> Sent:
    """Send a signal through the settings' network, and compute what theory expects. Pure."""
    scheme, L, H = settings["scheme"], settings["depth"], settings["hidden_size"]
    activation, gain, mode = settings["activation"], settings["gain"], settings["mode"]
    shared = {"gain": gain, "activation": activation, "hidden_size": H, "seed": settings["seed"]}
    driven = mode == MODES[2]
    if mode == "depth":
        signal = signal_through_depth(scheme, depth=L, **shared)
    else:
        signal = signal_through_time(scheme, seq_len=L, input=driven, **shared)
    expected = None
    if SQUARE_SCHEMES[scheme].mixes:
        factor = variance_factor(scheme, H, gain)
        expected = expected_signal(factor, activation, L, input_variance=float(driven))
    steps = f"{L} layers" if mode == "depth" else f"one matrix at {L} steps"
    return Sent(
        signal=signal,
        expected=expected,
        activation=activation,
        unit="layer" if mode == "depth" else "step",
        lead=f"{scheme}, {activation}, {steps}{', with input' if driven else ''}",
        knob=f"gain {gain:.2f}",
        matrix="W (layer 1)" if mode == "depth" else "W",
    )


def _number(log10: float) -> str:
    """Write 10^log10, also where it is no float; NaN is a ratio to a last gradient of 0."""
    if math.isnan(log10):
        return "not defined (it is 0 at the last step)"
    if math.isinf(log10):
        return "beyond float range" if log10 > 0 else "exactly 0 (dead, or below float range)"
    if -2 <= log10 < 3:
        return f"{10**log10:.3g}"
    exponent = math.floor(log10)
    mantissa = f"{10 ** (log10 - exponent):.1f}"
    return f"1.0e{exponent + 1}" if mantissa == "10.0" else f"{mantissa}e{exponent}"


def what_is_left(log10: float) -> str:
    """Say what became of a mean square of 1.

    >>> what_is_left(math.log10(0.625)), what_is_left(-42.15)
    ('keeps 0.625 of its mean square', 'keeps 7.1e-43 of its mean square')
    """
    if not math.isfinite(log10):
        return f"is {_number(log10)}"
    if abs(log10) < 0.002:
        return "keeps its mean square"
    if log10 < 0:
        return f"keeps {_number(log10)} of its mean square"
    return f"has {_number(log10)} times its mean square"


def sentence(result: Sent) -> str:
    """State what is left of the signal and of its gradient."""
    signal = result.signal
    last = signal.log10_activations[-1].item()
    parts = [
        f"the state has mean square {_number(last)} at the last step"
        if result.own
        else f"the signal {what_is_left(last)}",
        f"the gradient on its way back {what_is_left(signal.log10_gradients[0].item())}",
        " ".join(of_the_units(result)).strip(),
        f"spectral radius {signal.rho:.2f}",
    ]
    return f"{result.lead}, {result.knob}: {'; '.join(filter(None, parts))}."


def table(result: Sent) -> pd.DataFrame:
    """Return the curves as numbers, a row a layer or step; mean squares as log10."""
    signal, expected = result.signal, result.expected
    columns = {
        result.unit: np.arange(len(signal.saturated)),
        "log10_signal": signal.log10_activations.numpy(),
        "log10_gradient": signal.log10_gradients.numpy(),
        "saturated": signal.saturated.numpy(),
    }
    if expected is not None:
        columns["log10_signal_expected"] = expected.log10_activations.numpy()
        columns["log10_gradient_expected"] = expected.log10_gradients.numpy()
    return pd.DataFrame(columns)


def posters(start: Settings) -> list[Settings]:
    """Return three gains around the start's; for relu the scheme that dies, holds, is a trap."""
    if start["activation"] == "relu":
        first = "xavier_uniform" if start["scheme"] == "kaiming_normal" else start["scheme"]
        return [{"scheme": s} for s in (first, "kaiming_normal", "std = 2/H")]
    gains = (0.5 * start["gain"], start["gain"], min(2 * start["gain"], 3.0))
    return [{"gain": max(round(gain, 2), 0.1)} for gain in gains]


SPEC = Spec(
    name="signal",
    controls=(
        Slider("gain", "gain", 1.0, 0.1, 3.0, 0.01),
        Choice("scheme", "scheme", "kaiming_normal", tuple(SQUARE_SCHEMES)),
        Choice("activation", "activation", "relu", tuple(ACTIVATIONS)),
        Choice("mode", "through", "depth", MODES),
        Slider("hidden_size", "hidden_size", 128, 8, 256, 1),
        Slider("depth", "layers or steps", 20, 5, 100, 1),
        Slider("seed", "seed", 0, 0, 99, 1),
    ),
    compute=compute,
    picture=SignalPicture,
    sentence=sentence,
    table=table,
    posters=posters,
)


def own_signal_spec(model: nn.RNNBase, x: Tensor) -> Spec:
    """Make the lab of the reader's own layer; the layer itself is never changed."""
    base, x = own_layer(model, x)
    matrix = own_matrix(base)

    def compute_own(settings: Settings) -> Sent:
        rnn, scale = scaled(base, settings), settings["scale"]
        if matrix is None:
            signal = signal_of(rnn, x)
        else:
            signal = signal_in(gradient_through_time(rnn, x), *matrix.times(scale))
        knob = f"recurrent weights x {scale:.2f}"
        if "forget_bias" in settings:
            knob += f", forget bias {settings['forget_bias']:+.1f}"
        memory = ", gradient to the cell state" if isinstance(base, nn.LSTM) else ""
        T, cell = len(signal.saturated) - 1, base.mode.partition("_")[0]
        return Sent(
            signal=signal,
            expected=None,
            activation="tanh" if matrix is None else str(rnn.nonlinearity),
            unit="step",
            lead=f"{cell}, {T} steps{memory}",
            knob=knob,
            matrix="last Jacobian" if matrix is None else matrix.name,
            own=True,
            cell=cell,
        )

    return Spec(
        name="signal",
        controls=own_controls(base),
        compute=compute_own,
        picture=SignalPicture,
        sentence=sentence,
        table=table,
        arguments="model=model, x=x",
    )


def signal(
    *,
    model: nn.RNNBase | None = None,
    x: Tensor | None = None,
    show: Sequence[str] | None = None,
    **settings: Any,
) -> Lab:
    """Open the lab of chapter 02: what becomes of a signal, and of its gradient, at initialisation.

    settings: gain (0.1 to 3), scheme (see `square_schemes.SQUARE_SCHEMES`), activation ("linear",
    "sigmoid", "tanh", "relu"), mode ("depth", with a new matrix in every layer, "time", with the
    same one at every step, or "time, with input"), hidden_size (8 to 256), depth (layers or steps,
    5 to 100), seed. show: names of the controls to show, None for all. model, x: your own nn.RNN,
    nn.LSTM or nn.GRU and a batch for it; the controls are then `scale`, a factor on all recurrent
    weights, and for an LSTM `forget_bias`, added to its own. Raises `ValueError` for a bad setting.
    """
    if model is None and x is None:
        return Lab(SPEC, settings, show)
    if model is None or x is None:
        raise ValueError("model and x must be given together: your layer and a batch for it.")
    return Lab(own_signal_spec(model, x), settings, show)

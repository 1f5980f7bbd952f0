"""The checks of chapter 01, but for the weights of TensorFlow 1 (`tf1_weights`)."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from ..gates import gate_order, split_gates
from ..plots import COLORS, FAINT
from .answers import Change, all_equal, change, exercise, first, near, number, wrong
from .feedback import Feedback, draw

_GATES = gate_order("lstm")

_BOUND = 1 / math.sqrt(64)
_GLOROT = tuple(math.sqrt(6 / fans) for fans in (10 + 64, 10 + 256, 64 + 64, 64 + 256, 10 + 5 * 64))
_BOUND_HINTS = {
    1 / 64: "1/64 is 1 / hidden_size: the root is missing.",
    64**0.5: "8 is the root of 64; a is one over it.",
    1 / math.sqrt(10): "0.316 is 1 / sqrt(input_size). Which of the two sizes does PyTorch take?",
    1 / math.sqrt(74): "PyTorch does not add the two sizes: only one of them counts.",
    1 / math.sqrt(256): (
        "0.0625 is 1 / sqrt(4 * hidden_size). The four gates are stacked in one matrix, but each "
        "is drawn with the bound of its own size."
    ),
    _GLOROT: "That is a bound of Glorot's rule, as in Keras and TensorFlow 1. nn.LSTM has another.",
    _BOUND / math.sqrt(3): (
        "0.0722 is the standard deviation of these weights. The bound of a uniform distribution "
        "is sqrt(3) times as large."
    ),
    -_BOUND: "-0.125 is the lower end, -a. What is a?",
}


@exercise
def default_bound(a: Any) -> Feedback:
    """Chapter 01: from which U(-a, a) does PyTorch draw nn.LSTM(input_size=10, hidden_size=64)?"""
    value = number(a)
    if value == 0 or abs(value) > 100:
        raise wrong("A positive number up to 100 is expected.")
    drawn = torch.cat([p.detach().flatten().cpu() for p in nn.LSTM(10, 64).parameters()]).numpy()

    def paint(ax: Axes) -> None:
        ax.hist(
            drawn, bins=60, density=True, histtype="stepfilled",
            color=COLORS["critical"], label="a fresh nn.LSTM",
        )  # fmt: skip
        for end, label in ((-value, "your -a and a"), (value, None)):
            ax.axvline(end, linestyle="--", color=COLORS["prediction"], label=label)
        edge = 1.15 * max(_BOUND, min(abs(value), 0.5))
        ax.set(xlim=(-edge, edge), xlabel="weight or bias", ylabel="density")
        ax.legend(loc="lower center")

    png = draw(paint)
    if abs(value - _BOUND) < 5e-4:
        text = "a = 1 / sqrt(64) = 0.125, for all weights and all biases. input_size plays no part."
        return Feedback("right", text, png)
    inside = (abs(drawn) <= abs(value)).mean()
    otherwise = (
        f"Of the weights and biases of a fresh layer {100 * inside:.0f} % lie between "
        f"{-abs(value):g} and {abs(value):g}, and the largest of them is {abs(drawn).max():.4f}."
    )
    return Feedback("wrong", near(value, _BOUND_HINTS) or otherwise, png)


@exercise
def forget_like_keras(function: Any) -> Feedback:
    """Chapter 01: give an nn.LSTM the biases of Keras, forget gates 1 and all others 0."""
    found, layer = change(function, "(lstm)", nn.LSTM(3, 5)), 0
    found.only("bias_")
    hint = _bias_hint(found)
    if hint is None:
        found = change(function, "(lstm)", nn.LSTM(4, 7, num_layers=2))
        found.only("bias_")
        layer = 1 if _is_keras(found, 0) else 0
        hint = _layer_hint(found, layer)
    bias = _effective(found.after, layer)

    def paint(ax: Axes) -> None:
        H = len(bias) // 4
        for edge in (H, 2 * H, 3 * H):
            ax.axvline(edge - 0.5, color=FAINT, linewidth=0.8)
        wanted = torch.cat([torch.full((H,), float(gate == "forget")) for gate in _GATES])
        ax.plot(wanted.numpy(), "_", color=COLORS["critical"], markersize=14, label="as in Keras")
        ax.plot(bias.numpy(), "o", color=COLORS["prediction"], markersize=4, label="yours")
        ax.set_xticks([(k + 0.5) * H - 0.5 for k in range(4)], [f"{gate} gate" for gate in _GATES])
        ax.set_ylabel("bias_ih + bias_hh")
        ax.legend()

    png = draw(paint)
    if hint is not None:
        return Feedback("wrong", hint, png)
    text = "bias_ih + bias_hh is 1 in every forget gate and 0 elsewhere, with one layer and two."
    return Feedback("right", text, png)


def _effective(parameters: dict[str, Tensor], layer: int) -> Tensor:
    """Return the bias that the gates feel: the sum of the two vectors, (4H,)."""
    return parameters[f"bias_ih_l{layer}"] + parameters[f"bias_hh_l{layer}"]


def _is_keras(found: Change, layer: int) -> bool:
    bias = split_gates(_effective(found.after, layer), "lstm")
    return all(all_equal(values, float(gate == "forget")) for gate, values in bias.items())


def _bias_hint(found: Change) -> str | None:
    """Say what is wrong with the biases of a single layer, or return None."""
    if _is_keras(found, 0):
        return None
    bias = split_gates(_effective(found.after, 0), "lstm")
    forget = bias["forget"]
    added = forget - split_gates(_effective(found.before, 0), "lstm")["forget"]
    vectors = [split_gates(found.after[name], "lstm") for name in ("bias_ih_l0", "bias_hh_l0")]
    ones = [gate for gate in _GATES if any(all_equal(vector[gate], 1) for vector in vectors)]
    span = f"lies between {forget.min():.3f} and {forget.max():.3f}"
    return first(
        (
            all(all_equal(values, 0) for values in bias.values()),
            "All are 0. Now the forget gate.",
        ),
        (len(ones) == 4, f"{_ALL} {_BOTH}" if all_equal(forget, 2) else _ALL),
        (all_equal(forget, 2), _BOTH),
        ("cell" in ones and "forget" not in ones, f"{_TF1} {_ROWS}"),
        (ones and "forget" not in ones, f"You wrote 1 to the {' and '.join(ones)} gate. {_ROWS}"),
        (all_equal(added, 1), "You added 1 to what was drawn. Set the bias instead."),
        (all_equal(forget, 1), _OTHERS),
        (ones, f"{_NOISE} The sum {span}."),
        (True, f"The forget bias, bias_ih + bias_hh, {span}, not at 1."),
    )


def _layer_hint(found: Change, layer: int) -> str | None:
    """Say what is wrong with a layer of two, or return None."""
    if _is_keras(found, layer):
        return None
    return first(
        (
            any(name.endswith(f"_l{layer}") for name in found.names),
            f"With one layer it is right, but not in bias_ih_l{layer} and bias_hh_l{layer} of two.",
        ),
        (
            True,
            f"With two layers bias_ih_l{layer} and bias_hh_l{layer} stay as drawn: go through all "
            "lstm.num_layers layers.",
        ),
    )


_ROWS = "PyTorch stacks input, forget, cell, output: the forget gate has rows H to 2H."
_TF1 = "You wrote to the third quarter, which is the forget gate in TensorFlow 1 (i, j, f, o)."
_ALL = "You wrote 1 for every gate. Only the forget gates get it."
_BOTH = "PyTorch adds its two bias vectors, so 1 in both of them makes 2."
_OTHERS = "The forget bias is 1, but Keras has 0 for the other three gates, and yours are not 0."
_NOISE = "One vector has the 1, but PyTorch adds the other, which still holds drawn numbers."

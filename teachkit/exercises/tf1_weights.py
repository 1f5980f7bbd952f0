"""The check of chapter 01 that brings a checkpoint of TensorFlow 1 to PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor, nn

from ..plots import COLORS
from .answers import call, exercise, first, tensor, wrong
from .feedback import OPEN, Feedback, draw

_INPUT_SIZE, _HIDDEN_SIZE, _STEPS = 3, 5, 12
_RETURN = "Return three tensors: (weight_ih, weight_hh, bias_ih)."
_TRANSPOSE = (
    "The kernel has a column for every row of PyTorch's weights: transpose, so that weight_ih has "
    f"shape (4H, I) = {(4 * _HIDDEN_SIZE, _INPUT_SIZE)}."
)
_SWAPPED = (
    "The rows are exchanged: TensorFlow 1 joins [x, h], so the first input_size rows of the kernel "
    "multiply x, and the others h."
)
_Array = NDArray[np.float64]


@exercise
def from_tf1(function: Any) -> Feedback:
    """Chapter 01: bring the weights of TensorFlow 1's BasicLSTMCell to an nn.LSTMCell."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(_INPUT_SIZE + _HIDDEN_SIZE, 4 * _HIDDEN_SIZE)) / 2
    bias = rng.normal(size=4 * _HIDDEN_SIZE)
    weights = (torch.tensor(kernel), torch.tensor(bias))
    advice = {"got Tensor": "kernel and bias are torch tensors already."}
    given = call(function, "(kernel, bias, input_size)", *weights, _INPUT_SIZE, advice=advice)
    if given is None:
        return OPEN
    W_ih, W_hh, b = _read(given)
    x = rng.normal(size=(_STEPS, 1, _INPUT_SIZE))
    wanted = _basic_lstm(kernel, bias, x)
    yours = _lstm_cell(W_ih, W_hh, b, x)

    def paint(ax: Axes) -> None:
        for states, key, line, label in (
            (wanted, "critical", "-", "BasicLSTMCell"),
            (yours, "prediction", "--", "nn.LSTMCell with your weights"),
        ):
            ax.plot(states[:, 0], line, color=COLORS[key], label=label)
            ax.plot(states[:, 1], line, color=COLORS[key])
        ax.set(xlabel="step", ylabel="h of two units")
        ax.legend()

    png = draw(paint)
    gap = np.abs(yours - wanted).max()
    if gap < 1e-4:
        text = f"Over {_STEPS} steps the two cells agree to {max(gap, 1e-16):.0e}."
        return Feedback("right", text, png)
    hint = _weight_hint(W_ih, W_hh, kernel) or _bias_hint(b, bias)
    text = f"In {_STEPS} steps the states of the two cells come to differ by {gap:.2g}."
    return Feedback("wrong", f"{hint or ''} {text}".strip(), png)


def _read(given: Any) -> tuple[_Array, _Array, _Array]:
    """Return the reader's three tensors as arrays; raises `Stop` where their shapes are wrong."""
    if not isinstance(given, (tuple, list)) or len(given) != 3:
        raise wrong(_RETURN)
    W_ih, W_hh, b = (tensor(part, _RETURN).numpy() for part in given)
    n, H = _INPUT_SIZE, _HIDDEN_SIZE
    shapes = W_ih.shape, W_hh.shape
    if shapes == ((n, 4 * H), (H, 4 * H)):
        raise wrong(_TRANSPOSE)
    if shapes in (((4 * H, H), (4 * H, n)), ((H, 4 * H), (n, 4 * H))):
        raise wrong("weight_ih and weight_hh are exchanged. " + _SWAPPED)
    wanted = (4 * H, n), (4 * H, H), (4 * H,)
    if (*shapes, b.shape) != wanted:
        raise wrong(
            f"With input_size {n} and hidden_size {H} the shapes must be {wanted[0]}, {wanted[1]} "
            f"and {wanted[2]}; yours are {shapes[0]}, {shapes[1]} and {b.shape}."
        )
    if not all(np.isfinite(part).all() for part in (W_ih, W_hh, b)):
        raise wrong("Your weights contain NaN or infinity.")
    return W_ih, W_hh, b


def _basic_lstm(kernel: _Array, bias: _Array, x: _Array) -> _Array:
    """Run TensorFlow 1's BasicLSTMCell on x (T, 1, I) from the zero state; h is (T, H).

    Source: `call` of BasicLSTMCell in tensorflow/python/ops/rnn_cell_impl.py.
    """
    h = c = np.zeros((1, _HIDDEN_SIZE))
    states = []
    for x_t in x:
        i, j, f, o = np.split(np.concatenate([x_t, h], axis=1) @ kernel + bias, 4, axis=1)
        c = c * _sigmoid(f + 1.0) + _sigmoid(i) * np.tanh(j)
        h = np.tanh(c) * _sigmoid(o)
        states.append(h[0])
    return np.array(states)


def _sigmoid(a: _Array) -> _Array:
    return (1 + np.tanh(a / 2)) / 2


def _lstm_cell(W_ih: _Array, W_hh: _Array, b: _Array, x: _Array) -> _Array:
    """Run an nn.LSTMCell with these weights, and bias_hh 0, on the same x; h is (T, H)."""
    cell = nn.LSTMCell(_INPUT_SIZE, _HIDDEN_SIZE, dtype=torch.float64)
    cell.load_state_dict(
        {
            "weight_ih": torch.tensor(W_ih),
            "weight_hh": torch.tensor(W_hh),
            "bias_ih": torch.tensor(b),
            "bias_hh": torch.zeros(4 * _HIDDEN_SIZE),
        }
    )
    state: tuple[Tensor, Tensor] | None = None
    states = []
    with torch.no_grad():
        for x_t in torch.tensor(x):
            state = cell(x_t, state)
            states.append(state[0][0])
    return torch.stack(states).numpy()


def _weight_hint(W_ih: _Array, W_hh: _Array, kernel: _Array) -> str | None:
    """Say what is wrong with weights of the right shapes; None where they are right."""
    mine = np.concatenate([W_ih, W_hh], axis=1)
    gates = [part.T for part in np.split(kernel, 4, axis=1)]
    order = ""
    for rows in np.split(mine, 4):
        order += next((g for g, gate in zip("ijfo", gates, strict=True) if _same(rows, gate)), "?")
    return first(
        (_same_numbers(W_hh, kernel[:_HIDDEN_SIZE]), _SWAPPED),
        (order == "ifjo", ""),
        ("?" not in order, f"Your rows stand in the order {', '.join(order)}. {_ORDER}"),
        (_same_numbers(mine, kernel), _PLACES),
        (True, "The weights hold other numbers than the kernel."),
    )


def _bias_hint(b: _Array, bias: _Array) -> str | None:
    """Say what is wrong with the bias where the weights are right."""
    i, j, f, o = np.split(bias, 4)
    added = [part - gate for part, gate in zip(np.split(b, 4), (i, f, j, o), strict=True)]
    ones = [gate for gate, part in zip("ifgo", added, strict=True) if _same(part, 1)]
    rest = [gate for gate, part in zip("ifgo", added, strict=True) if _same(part, 0)]
    moved = np.split(b - bias, 4)
    return first(
        (len(rest) == 4, _FORGOTTEN),
        (len(ones) == 4, "You added 1 for every gate. Only the forget gate gets it."),
        (len(rest) == 3 and ones, f"The 1 went to gate {''.join(ones)}. The forget gate gets it."),
        (len(rest) == 3, "The forget gate's bias needs 1 more than the checkpoint has, once."),
        (all(_same(part, 0) or _same(part, 1) for part in moved), _BIAS_ORDER),
    )


def _same(one: _Array, two: _Array | float) -> bool:
    return np.allclose(one, two, rtol=1e-4, atol=1e-5)


def _same_numbers(one: _Array, two: _Array) -> bool:
    """Whether two arrays hold the same numbers in some order."""
    return one.size == two.size and _same(np.sort(one.ravel()), np.sort(two.ravel()))


_ORDER = "PyTorch has i, f, g, o, and TensorFlow calls g j: that makes i, f, j, o."
_PLACES = (
    "All numbers of the kernel are there, but not in their places. Split its columns into gates, "
    "put these in order, then transpose; reshape does not transpose."
)
_BIAS_ORDER = "The weights are in PyTorch's order, the bias still in TensorFlow's: i, j, f, o."
_FORGOTTEN = (
    "The weights are right. But BasicLSTMCell adds forget_bias = 1.0 when it is called, so that 1 "
    "is in no variable: add it to the forget gate's bias."
)

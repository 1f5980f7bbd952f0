"""The checks of chapter 02 on biases that make a network remember."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import nn

from ..gates import split_gates
from ..plots import COLORS
from .answers import Change, all_equal, call, change, exercise, first, tensor, wrong
from .feedback import OPEN, Feedback, draw

_Array = NDArray[np.float64]
_UNITS = 4000  # draws: enough to tell [1, T - 1] from [1, T]
_LENGTHS = (12, 100)  # max_steps


@exercise
def chrono(function: Any) -> Feedback:
    """Chapter 02: draw the input and forget biases of chrono initialisation."""
    for max_steps in _LENGTHS:
        given = call(function, "(hidden_size, max_steps)", _UNITS, max_steps)
        if given is None:
            return OPEN
        input_bias, forget_bias = _pair(given)
        hint = _chrono_hint(input_bias, forget_bias, max_steps)
        if hint is not None:
            break
    horizon = 1 + _exp(forget_bias)

    def paint(ax: Axes) -> None:
        edges = 2 + (max_steps - 2) / 20 * np.arange(-3, 28)
        shown = horizon[(horizon >= edges[0]) & (horizon <= edges[-1])]
        density = np.full(len(shown), 1 / _UNITS / (edges[1] - edges[0]))
        ax.hist(
            shown, edges.tolist(), weights=density, histtype="stepfilled",
            color=COLORS["prediction"], label="yours",
        )  # fmt: skip
        x, height = [2, 2, max_steps, max_steps], 1 / (max_steps - 2)
        ax.plot(x, [0, height, height, 0], color=COLORS["critical"], label="chrono")
        ax.set(
            xlim=(0, edges[-1]), ylim=(0, 4 * height), ylabel="density",
            xlabel=f"horizon 1 + exp(forget bias), steps; max_steps = {max_steps}",
        )  # fmt: skip
        ax.legend()

    png = draw(paint)
    if hint is not None:
        return Feedback("wrong", hint, png)
    text = (
        f"Horizons are spread evenly from {horizon.min():.1f} to {horizon.max():.1f} steps, and "
        "each input bias is the negative of its forget bias."
    )
    return Feedback("right", text, png)


def _pair(given: Any) -> tuple[_Array, _Array]:
    sentence = (
        f"Return (input_bias, forget_bias), two tensors of shape ({_UNITS},) = (hidden_size,)."
    )
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise wrong(sentence)
    one, two = (tensor(part, sentence, shape=(_UNITS,)).numpy() for part in given)
    if np.isnan([one, two]).any():
        raise wrong("Your biases contain NaN, such as the logarithm of a negative number.")
    return one, two


def _uniform(values: _Array, low: float, high: float) -> bool:
    """Whether draws may come from U(low, high), by a Kolmogorov-Smirnov test.

    The level of 1e-6 rejects one right answer in a million.
    """
    from scipy.stats import kstest  # slow to import, and needed here only

    if not np.isfinite(values).all():
        return False
    slack = 1e-4 * (high - low)  # a logarithm in float32 and back
    if values.min() < low - slack or values.max() > high + slack:
        return False
    test = kstest(values, "uniform", args=(low, high - low), method="asymp")
    return bool(test.pvalue > 1e-6)


def _chrono_hint(input_bias: _Array, forget_bias: _Array, max_steps: int) -> str | None:
    """Say what is wrong with draws of chrono's biases, or return None."""
    T = max_steps

    def right(bias: _Array) -> bool:
        return _uniform(_exp(bias), 1, T - 1)

    if right(forget_bias):
        if np.allclose(input_bias, -forget_bias, atol=1e-5):
            return None
        return first(
            (np.allclose(input_bias, forget_bias, atol=1e-5), _SIGN),
            (right(-input_bias), _INDEPENDENT),
            (True, "The forget biases are right. The input bias is minus the forget bias."),
        )
    u = _exp(forget_bias)
    spread = f"With max_steps = {T} your horizons reach from {1 + u.min():.3g} to {1 + u.max():.3g}"
    constant = np.allclose(forget_bias, forget_bias[0])
    longest = constant and math.isclose(u[0], T - 1, rel_tol=0.2)
    ranges = [(1, T - 1), (1, T), (0, T - 1), (0, T)]
    return first(
        (right(-forget_bias) and right(input_bias), _EXCHANGED),
        (right(-forget_bias), "The sign is wrong: remembering takes a positive forget bias."),
        (longest, _CONSTANT),
        (constant, "Every unit has the same forget bias. Draw hidden_size numbers."),
        (any(_uniform(forget_bias, *ends) for ends in ranges), _NO_LOG),
        (any(_uniform(forget_bias, 0, math.log(n)) for n in (T - 1, T)), _LOG_UNIFORM),
        (np.isneginf(forget_bias).any() or any(_uniform(u, *ends) for ends in ranges[2:]), _ZERO),
        (np.allclose(u, u.round(), atol=1e-3), _WHOLE),
        (_uniform(u, 1, T), f"{spread}: log U[1, T] is one step too long. Draw from [1, T - 1]."),
        (True, f"{spread}. They should be spread evenly from 2 to {T}."),
    )


def _exp(bias: _Array) -> _Array:
    with np.errstate(over="ignore"):
        return np.exp(bias)


_SIGN = (
    "The input bias has the sign of the forget bias. A unit that keeps its memory should take in "
    "little: the input bias is minus the forget bias."
)
_INDEPENDENT = (
    "The input biases were drawn again. Each is minus the forget bias of the same unit: use the "
    "same draw."
)
_EXCHANGED = "The two are exchanged: return the input bias first, then the forget bias."
_CONSTANT = (
    "All units have the bias of the longest memory, log(T - 1). Chrono draws a memory for every "
    "unit, short ones and long ones."
)
_NO_LOG = (
    "These are the memories themselves. The gate takes their logarithm: a bias of b remembers for "
    "1 + e^b steps."
)
_LOG_UNIFORM = (
    "Your biases are uniform, so most memories are short. It is the memory that is uniform: draw u "
    "from U(1, T - 1), then take its logarithm."
)
_WHOLE = "exp(forget_bias) is always a whole number. Draw real numbers from [1, T - 1]."
_ZERO = "You draw from 0 on: log 0 is minus infinity. Draw from [1, T - 1]."


@exercise
def remember_gru(function: Any) -> Feedback:
    """Chapter 02: give an nn.GRU a bias that makes it keep its state."""
    strength = 5.0
    gru = nn.GRU(3, 8)
    default = _kept(gru)
    found = change(function, "(gru, bias)", gru, strength)
    found.only("bias_")
    hint = _gru_hint(found, strength)
    yours = _kept(gru)
    if hint is None:
        again = change(function, "(gru, bias)", nn.GRU(2, 6), 2.0)
        if _gru_hint(again, 2.0) is not None:
            hint = "It is right for a bias of 5 only. Write the argument `bias`, not a number."

    def paint(ax: Axes) -> None:
        k = np.arange(len(yours))
        wanted = (1 / (1 + math.exp(-strength))) ** k
        ax.plot(k, wanted, color=COLORS["critical"], label="kept by the gate alone")
        ax.plot(k, default, ":", color=COLORS["gradient"], label="as drawn")
        ax.plot(k, yours, "--", color=COLORS["prediction"], label="yours")
        ax.set(xlabel="step", ylabel="difference that h0 makes", ylim=(0, 1.1))
        ax.legend()

    png = draw(paint)
    if hint is not None:
        return Feedback("wrong", hint, png)
    kept = f"{100 * yours[-1]:.0f} %"
    text = f"z is sigmoid(5) = 0.993, and {kept} of a difference in h0 is left after 30 steps."
    return Feedback("right", text, png)


def _kept(gru: nn.GRU) -> _Array:
    """Return how far two states stay apart over 30 steps without input, 1 at the start."""
    x = torch.zeros(1, 1, gru.input_size)
    states = torch.stack([torch.full((gru.hidden_size,), value) for value in (0.5, -0.5)])
    gaps = [1.0]
    with torch.no_grad():
        for _ in range(30):
            states = gru(x.expand(1, 2, -1), states[None])[1][0]
            gaps.append((states[0] - states[1]).norm().item() / gru.hidden_size**0.5)
    return np.array(gaps)


def _gru_hint(found: Change, bias: float) -> str | None:
    """Say what is wrong with the biases of a GRU that should remember, or return None."""
    names = ("bias_ih_l0", "bias_hh_l0")
    before, after = ([side[name] for name in names] for side in (found.before, found.after))
    update = split_gates(after[0] + after[1], "gru")["update"]
    drawn = split_gates(before[0] + before[1], "gru")["update"]
    written = {
        gate: [split_gates(vector, "gru")[gate] for vector in after]
        for gate in ("reset", "update", "new")
    }
    hit = [
        g for g, parts in written.items() if any(all_equal(part.abs(), abs(bias)) for part in parts)
    ]
    changed = ""
    for gate in ("reset", "new"):
        olds = [split_gates(vector, "gru")[gate] for vector in before]
        for old, now in zip(olds, written[gate], strict=True):
            if not (all_equal(now, 0) or torch.equal(now, old)):
                changed = f"the {gate} gate"
    quarter = len(after[0]) // 4
    in_quarters = any(all_equal(vector[quarter : 2 * quarter], bias) for vector in after)
    if all_equal(update, bias) and not changed:
        return None
    span = f"lies between {update.min():.3f} and {update.max():.3f}"
    return first(
        (len(hit) == 3, "You wrote it for every gate. Only the update gate keeps the state."),
        (all_equal(update, bias), f"The update gate is right, but you also wrote to {changed}."),
        (all_equal(update, 2 * bias), _BOTH),
        (all_equal(update, -2 * bias), f"{_NEGATIVE} And: {_BOTH}"),
        ("update" in hit and update.mean() * bias < 0, _NEGATIVE),
        ("reset" in hit, f"That is the reset gate. {_ROWS}"),
        ("new" in hit, f"That is the bias of the new state, not of the gate that keeps. {_ROWS}"),
        (in_quarters, f"A GRU has three gates, an LSTM four: cut its rows into thirds. {_ROWS}"),
        (all_equal(update - drawn, bias), "You added the bias to what was drawn. Set it instead."),
        (hit, f"One vector has the bias, but PyTorch adds the other. The sum {span}."),
        (True, f"The update bias, bias_ih + bias_hh, {span}, not at {bias:g}."),
    )


_ROWS = "PyTorch stacks reset, update, new: the update gate has rows H to 2H. (Keras has it first.)"
_BOTH = "PyTorch adds its two bias vectors: written to both, the bias counts twice."
_NEGATIVE = (
    "The sign is that of Haiku, where h' = (1 - z) h + z n. PyTorch has h' = (1 - z) n + z h, so "
    "that a positive bias keeps the state."
)

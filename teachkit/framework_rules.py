"""What six libraries do to a new recurrent cell, as short texts and as exact laws.

Both come from the same entries, so that the table of chapter 01 and the curves drawn over real
weights cannot say different things. I and H are the sizes of the input and of the hidden state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from .errors import check_choice, check_count
from .gates import MEMORY, cells_of, gate_order
from .laws import Law, constant, orthogonal_entry, sum_of_uniforms, truncated_normal, uniform

FRAMEWORKS = ("torch", "keras", "tf1", "flax", "haiku", "equinox")
CELLS = ("lstm", "gru", "rnn")
PARTS = ("weight_ih", "weight_hh", "bias")

_Builder = Callable[[int, int], Law]  # of input_size and hidden_size


@dataclass(frozen=True)
class Rule:
    """How one library initialises one cell, in short texts.

    forget_bias: what the forget gate adds in the end; of a GRU the update gate, with what z = 1
    does to the state there. gate_order: as the library stacks them. source: the file and version
    in which it was read.
    """

    framework: str
    cell: str
    input_weights: str
    recurrent_weights: str
    bias: str
    forget_bias: str
    gate_order: tuple[str, ...]
    state_order: str
    source: str


@dataclass(frozen=True)
class _Part:
    """One part of a cell: its text, its law, and the gates that have another law."""

    text: str
    law: _Builder
    gates: Mapping[str, _Builder] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    inputs: _Part
    recurrent: _Part
    bias: _Part
    memory: str
    source: str


def _sizes(inputs: int, hidden: int) -> str:
    """Write inputs * I + hidden * H."""
    terms = [(inputs, "I"), (hidden, "H")]
    return " + ".join(f"{n if n > 1 else ''}{letter}" for n, letter in terms if n)


def _glorot(rows: tuple[int, int], columns: int) -> _Part:
    """Glorot uniform on one matrix of rows (multiples of I and of H) by columns (of H)."""
    a, b = rows
    text = f"Glorot uniform on ({_sizes(a, b)}, {_sizes(0, columns)})"
    return _Part(text, lambda i, h: uniform(math.sqrt(6 / (a * i + (b + columns) * h)), h))


def _orthogonal(columns: int, how: str = "") -> _Part:
    text = f"orthogonal on (H, {_sizes(0, columns)}){how}"
    return _Part(text, lambda i, h: orthogonal_entry(columns * h, h))


def _cut_normal(rows: tuple[int, int], corrected: bool) -> _Part:
    """Normal with std 1/sqrt(rows), cut at two standard deviations."""
    a, b = rows
    size = f"({_sizes(a, b)})" if a and b else _sizes(a, b)
    text = f"normal cut at 2σ, std {'1' if corrected else '0.88'}/√{size}"
    return _Part(text, lambda i, h: truncated_normal((a * i + b * h) ** -0.5, corrected, h))


def _bias(text: str, value: float = 0.0, **gates: float) -> _Part:
    others = {gate: (lambda i, h, v=v: constant(v)) for gate, v in gates.items()}
    return _Part(text, lambda i, h: constant(value), others)


def _tf1_gru() -> _Part:
    both, new = _glorot((1, 1), 2), _glorot((1, 1), 1)
    return _Part(f"{both.text} for the gates, (I + H, H) for new", both.law, {"new": new.law})


_I, _H, _IH = (1, 0), (0, 1), (1, 1)
_UNIFORM = _Part("U(±1/√H)", lambda i, h: uniform(h**-0.5, h))
_ONE_UNIFORM = _Part("one vector U(±1/√H)", lambda i, h: uniform(h**-0.5))
_TWO_UNIFORM = _Part("two vectors U(±1/√H), added", lambda i, h: sum_of_uniforms(h**-0.5))
_EQUINOX_GRU = _Part(
    "one vector U(±1/√H), a second for new", _ONE_UNIFORM.law, {"new": _TWO_UNIFORM.law}
)
_ZERO, _TWO_ZERO = _bias("0, one vector"), _bias("0, two vectors, added")

_KEEPS = "{}; z = 1 keeps the state"
_NONE = "no gate"

_TORCH = "torch/nn/modules/rnn.py, {} (torch 2.13.0)"
_TF1 = "tensorflow/python/ops/rnn_cell_impl.py, {} (TensorFlow 1, commit 01788c9)"
_KERAS = "keras/src/layers/rnn/{}.py (Keras 3.15.1)"
_FLAX = "flax/linen/recurrent.py, {} (Flax 0.12.8)"
_HAIKU = "haiku/_src/recurrent.py, {} (Haiku 0.0.17)"
_EQUINOX = "equinox/nn/_rnn.py, {} (Equinox 0.13.8)"

_ENTRIES: dict[tuple[str, str], _Entry] = {
    ("torch", "lstm"): _Entry(_UNIFORM, _UNIFORM, _TWO_UNIFORM, "mean 0", _TORCH.format("LSTM")),
    ("torch", "gru"): _Entry(
        _UNIFORM, _UNIFORM, _TWO_UNIFORM, _KEEPS.format("mean 0"), _TORCH.format("GRU")
    ),
    ("torch", "rnn"): _Entry(_UNIFORM, _UNIFORM, _TWO_UNIFORM, _NONE, _TORCH.format("RNN")),
    ("keras", "lstm"): _Entry(
        _glorot(_I, 4),
        _orthogonal(4),
        _bias("0, one vector; 1 for forget", forget=1.0),
        "1 (unit_forget_bias)",
        _KERAS.format("lstm"),
    ),
    ("keras", "gru"): _Entry(
        _glorot(_I, 3), _orthogonal(3), _TWO_ZERO, _KEEPS.format("0"), _KERAS.format("gru")
    ),
    ("keras", "rnn"): _Entry(
        _glorot(_I, 1), _orthogonal(1), _ZERO, _NONE, _KERAS.format("simple_rnn")
    ),
    ("tf1", "lstm"): _Entry(
        _glorot(_IH, 4),
        _glorot(_IH, 4),
        _bias("0, one vector; 1 added to forget", forget=1.0),
        "1 (added in the call)",
        _TF1.format("BasicLSTMCell"),
    ),
    ("tf1", "gru"): _Entry(
        _tf1_gru(),
        _tf1_gru(),
        _bias("1 for reset and update, 0 for new", 1.0, new=0.0),
        _KEEPS.format("1"),
        _TF1.format("GRUCell"),
    ),
    ("tf1", "rnn"): _Entry(
        _glorot(_IH, 1), _glorot(_IH, 1), _ZERO, _NONE, _TF1.format("BasicRNNCell")
    ),
    ("flax", "lstm"): _Entry(
        _cut_normal(_I, corrected=True),
        _orthogonal(1, ", gate by gate"),
        _ZERO,
        "0",
        _FLAX.format("LSTMCell"),
    ),
    ("flax", "gru"): _Entry(
        _cut_normal(_I, corrected=True),
        _orthogonal(1, ", gate by gate"),
        _bias("0, one vector, a second for new"),
        _KEEPS.format("0"),
        _FLAX.format("GRUCell"),
    ),
    ("flax", "rnn"): _Entry(
        _cut_normal(_I, corrected=True), _orthogonal(1), _ZERO, _NONE, _FLAX.format("SimpleCell")
    ),
    ("haiku", "lstm"): _Entry(
        _cut_normal(_IH, corrected=False),
        _cut_normal(_IH, corrected=False),
        _bias("0, one vector; 1 added to forget", forget=1.0),
        "1 (added in the call)",
        _HAIKU.format("LSTM"),
    ),
    ("haiku", "gru"): _Entry(
        _cut_normal(_I, corrected=True),
        _cut_normal(_H, corrected=True),
        _ZERO,
        "0; z = 1 replaces the state",
        _HAIKU.format("GRU"),
    ),
    ("haiku", "rnn"): _Entry(
        _cut_normal(_I, corrected=False),
        _cut_normal(_H, corrected=False),
        _TWO_ZERO,
        _NONE,
        _HAIKU.format("VanillaRNN"),
    ),
    ("equinox", "lstm"): _Entry(
        _UNIFORM, _UNIFORM, _ONE_UNIFORM, "mean 0", _EQUINOX.format("LSTMCell")
    ),
    ("equinox", "gru"): _Entry(
        _UNIFORM, _UNIFORM, _EQUINOX_GRU, _KEEPS.format("mean 0"), _EQUINOX.format("GRUCell")
    ),
}


def _entry(framework: Any, cell: Any) -> _Entry:
    check_choice("framework", framework, FRAMEWORKS)
    check_choice("cell", cell, CELLS)
    gate_order(cell, framework)  # refuses the cell that Equinox does not have
    return _ENTRIES[framework, cell]


def rule(framework: str, cell: str = "lstm") -> Rule:
    """Return how a library initialises a cell, with the source in which that was read.

    framework: one of `FRAMEWORKS` ("tf1" is TensorFlow 1). cell: one of `CELLS`. The plain RNN of
    Haiku is a ReLU network, those of the others use tanh. Raises `ValueError` for another framework
    or cell, and for the plain RNN cell that Equinox does not have. Taught in chapter 01.

    >>> rule("keras").recurrent_weights
    'orthogonal on (H, 4H)'
    """
    entry = _entry(framework, cell)
    states = {"tf1": "(c, h)", "flax": "(c, h)"}.get(framework, "(h, c)")
    return Rule(
        framework=framework,
        cell=cell,
        input_weights=entry.inputs.text,
        recurrent_weights=entry.recurrent.text,
        bias=entry.bias.text,
        forget_bias=entry.memory,
        gate_order=gate_order(cell, framework),
        state_order=states if cell == "lstm" else "h",
        source=entry.source,
    )


def rules(cell: str = "lstm") -> pd.DataFrame:
    """Return the rules of all libraries that have a cell, one row each.

    Columns: framework, input weights, recurrent weights, bias, forget bias (of a GRU update bias,
    of a plain RNN none), gate order, state order. Raises `ValueError` for another cell. Taught in
    chapter 01.
    """
    check_choice("cell", cell, CELLS)
    rows = []
    for found in (rule(name, cell) for name in FRAMEWORKS if cell in cells_of(name)):
        order = ", ".join(found.gate_order)
        apart = found.framework == "flax" and cell != "rnn"
        memory = f"{MEMORY[cell]} bias" if cell in MEMORY else None
        rows.append(
            {
                "framework": found.framework,
                "input weights": found.input_weights,
                "recurrent weights": found.recurrent_weights,
                "bias": found.bias,
                **({memory: found.forget_bias} if memory else {}),
                "gate order": f"not stacked: {order}" if apart else order,
                "state order": found.state_order,
            }
        )
    return pd.DataFrame(rows)


def law(framework: str, cell: str, gate: str, part: str, input_size: int, hidden_size: int) -> Law:
    """Return the law of the numbers in one part of one gate of a new cell.

    gate: input, forget, cell or output; reset, update or new; hidden. part: "weight_ih" (H, I),
    "weight_hh" (H, H) or "bias" (H,), the effective one: the sum of all bias vectors and of what
    the cell adds in its call (in the new gate of a GRU, while its reset gate is open). Only
    "weight_hh" has a radius. Raises `ValueError` for anything else.
    Taught in chapter 01.

    >>> law("tf1", "lstm", "forget", "bias", 8, 16).value
    1.0
    """
    entry = _entry(framework, cell)
    check_choice("gate", gate, gate_order(cell))
    check_choice("part", part, PARTS)
    I = check_count("input_size", input_size)  # noqa: E741
    H = check_count("hidden_size", hidden_size)
    found = dict(zip(PARTS, (entry.inputs, entry.recurrent, entry.bias), strict=True))[part]
    made = found.gates.get(gate, found.law)(I, H)
    return made if part == "weight_hh" else replace(made, radius=None)

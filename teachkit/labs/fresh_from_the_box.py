"""Lab: what the weights of a new recurrent layer look like in six libraries, or in your layer."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import bad
from ..frameworks import CELLS, FRAMEWORKS, DrawnWeights, draw, law, read, rule
from ..gates import MEMORY, cells_of, gate_order
from ..laws import Law
from ..spectra import eigenvalues
from .base import Lab
from .controls import Choice, Slider
from .gate_weights import GateWeights, WeightsPicture, table
from .spec import Settings, Spec

LIBRARIES = {
    "torch": "PyTorch",
    "keras": "Keras",
    "tf1": "TensorFlow 1",
    "flax": "Flax",
    "haiku": "Haiku",
    "equinox": "Equinox",
}
GATES = {cell: gate_order(cell) for cell in CELLS}
# Gates that do the same in different cells: keep, let in, propose.
KIN = (("forget", "update"), ("input", "reset"), ("cell", "new", "hidden"))
PARTS = {"W_hh": "weight_hh", "W_ih": "weight_ih", "bias": "bias"}


@functools.lru_cache(maxsize=24)
def _drawn(framework: str, cell: str, input_size: int, hidden_size: int, seed: int) -> DrawnWeights:
    """Draw all gates once: another gate or another kind of weight costs nothing more."""
    return draw(framework, cell, input_size, hidden_size, seed)


@functools.lru_cache(maxsize=96)
def _eigenvalues(gate: str, *layer: Any) -> np.ndarray:
    return _spectrum(_drawn(*layer), gate)


def _spectrum(drawn: DrawnWeights, gate: str) -> np.ndarray:
    values: np.ndarray = eigenvalues(drawn.weight_hh[gate]).numpy()
    return values


def number(value: float | None) -> str:
    """Write a number with two decimals, a very large one short, and None as nothing.

    >>> number(0.5814), number(-0.001), number(-1.94e29), number(None)
    ('0.58', '0.00', '-1.9e+29', '')
    """
    if value is not None and abs(value) >= 1e5:
        return f"{value:.1e}"
    return "" if value is None else f"{round(float(value), 2) + 0.0:.2f}"


def _beside_default(
    drawn: DrawnWeights,
    gate: str,
    weights: str,
    values: np.ndarray,
    *,
    reference: str,
    lead: str,
    end: str,
    facts: tuple[tuple[str, str], ...],
) -> GateWeights:
    """Put the weights of a gate beside what their library does by default.

    values: the eigenvalues of its W_hh. lead: in words, up to the law; end: after the numbers.
    """
    cell = drawn.cell
    memory = MEMORY.get(cell, "hidden")

    def default(gate: str, part: str) -> Law:
        return law(drawn.framework, cell, gate, part, drawn.input_size, drawn.hidden_size)

    shown, radius = default(gate, PARTS[weights]), default(gate, "weight_hh").radius
    measured = getattr(drawn, PARTS[weights])[gate]
    rho, theory = number(np.abs(values).max()), number(radius)
    bias, mean = number(drawn.bias[memory].mean()), number(default(memory, "bias").value or 0.0)
    name = "bias" if cell == "rnn" else f"{memory} bias"
    inputs = f"{drawn.input_size} input{'s' if drawn.input_size > 1 else ''}"
    units = f"{drawn.hidden_size} unit{'s' if drawn.hidden_size > 1 else ''}"
    return GateWeights(
        title=f"{LIBRARIES[drawn.framework]} {cell.upper()}, {inputs}, {units}",
        gate=gate,
        weights=weights,
        values=measured,
        eigenvalues=values,
        law=shown,
        radius=radius,
        reference=reference,
        figures=(
            (f"std of {weights}", f"{measured.std():.3g}", f"{shown.std:.3g}"),
            ("spectral radius", rho, theory),
            (f"{name}, mean", bias, mean),
        ),
        facts=facts,
        said=(
            f"The {weights} {'' if cell == 'rnn' else f'of the {gate} gate '}of "
            f"{lead.format(inputs=inputs, units=units, law=shown.text)}; the spectral radius of "
            f"W_hh is {rho} ({reference} {theory}), the {name} {bias} on average{end}."
        ),
    )


def _ordered(framework: str, cell: str, gate: str) -> str:
    """Name the gates as they are stacked, with the chosen one in brackets."""
    order = ", ".join(f"[{g}]" if g == gate else g for g in rule(framework, cell).gate_order)
    return f"not stacked: {order}" if framework == "flax" and cell != "rnn" else order


def compute(settings: Settings) -> GateWeights:
    """Draw a new layer as the library does, and look into one of its gates. Pure."""
    framework, cell, gate = settings["framework"], settings["cell"], settings["gate"]
    seed, told = settings["seed"], rule(framework, cell)
    layer = (framework, cell, settings["input_size"], settings["hidden_size"], seed)
    drawn, memory = _drawn(*layer), MEMORY.get(cell, "hidden")
    by = "its rule" if drawn.drawn_by == "rule" else drawn.drawn_by
    zero = framework != "equinox"  # whose cells must be given a state
    return _beside_default(
        drawn,
        gate,
        settings["weights"],
        _eigenvalues(gate, *layer),
        reference="theory",
        lead=(
            f"a new {LIBRARIES[framework]} {cell.upper()} with {{inputs}} and {{units}} (drawn by "
            f"{by}, seed {seed}) has the law: {{law}}"
        ),
        end=f", and the state {'starts at zero' if zero else 'has no default start'}",
        facts=(
            ("W_ih", told.input_weights),
            ("W_hh", told.recurrent_weights),
            ("bias", told.bias),
            *([(f"{memory} bias", told.forget_bias)] if cell != "rnn" else []),
            ("gate order", _ordered(framework, cell, gate)),
            ("state", f"{told.state_order}, {'zero at the start' if zero else 'no default'}"),
            ("drawn by", by),
        ),
    )


def posters(start: Settings) -> list[Settings]:
    """Return three libraries that differ, the one that the lab opens with first."""
    others = [f for f in ("torch", "keras", "flax") if f != start["framework"]]
    return [{"framework": f} for f in (start["framework"], *others[:2])]


def limits(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Offer the cells that the library has, and the gates of the cell."""
    return {"cell": cells_of(settings["framework"]), "gate": GATES[settings["cell"]]}


ALL_GATES = tuple(gate for gates in GATES.values() for gate in gates)

SPEC = Spec(
    name="fresh_from_the_box",
    controls=(
        Choice("framework", "framework", "torch", FRAMEWORKS),
        Choice("cell", "cell", "lstm", CELLS),
        Choice("gate", "gate", "forget", ALL_GATES, KIN),
        Choice("weights", "weights", "W_hh", tuple(PARTS)),
        Slider("input_size", "input_size", 64, 1, 256, 1),
        Slider("hidden_size", "hidden_size", 64, 2, 256, 1),
        Slider("seed", "seed", 0, 0, 99, 1),
    ),
    compute=compute,
    picture=WeightsPicture,
    sentence=lambda result: result.said,
    table=table,
    posters=posters,
    limits=limits,
)


def own_layer_spec(model: Any) -> Spec:
    """Make the lab of the reader's own layer, as it is now; the layer itself is never changed."""
    top = read(model, argument="model")
    layers = {"l0": top}
    if (count := getattr(model, "num_layers", 1)) > 1 or getattr(model, "bidirectional", False):
        sides = (False, True) if model.bidirectional else (False,)
        layers = {
            f"l{i}{'_reverse' * side}": read(model, layer=i, reverse=side)
            for i in range(count)
            for side in sides
        }
    for drawn in layers.values():
        arrays = [a for part in PARTS.values() for a in getattr(drawn, part).values()]
        if not all(np.isfinite(array).all() for array in arrays):
            raise bad("model", model, "a layer with finite weights")
    library, cell = LIBRARIES[top.framework], top.cell
    gates, names = GATES[cell], tuple(layers)
    controls = (
        Choice("layer", "layer", f"l{count - 1}", names),
        Choice("gate", "gate", MEMORY.get(cell, "hidden"), gates),
        Choice("weights", "weights", "W_hh", tuple(PARTS)),
    )
    spectrum = functools.lru_cache(lambda layer, gate: _spectrum(layers[layer], gate))

    def compute_own(settings: Settings) -> GateWeights:
        layer = settings.get("layer", "l0")
        drawn, gate, weights = layers[layer], settings["gate"], settings["weights"]
        values = getattr(drawn, PARTS[weights])[gate]
        several = f", {layer}," if len(layers) > 1 else ""
        told = rule(drawn.framework, cell)
        ends = [f"{end:.3g}" for end in (values.min(), values.max())]
        same = values.min() == values.max()
        lies = f"is {ends[0]} everywhere" if same else f"lies between {ends[0]} and {ends[1]}"
        return _beside_default(
            drawn,
            gate,
            weights,
            spectrum(layer, gate),
            reference="default",
            lead=(
                f"your {cell.upper()}{several} with {{inputs}} and {{units}} {lies} "
                f"({library}'s default: {{law}})"
            ),
            end="",
            facts=(
                *([("layer", layer)] if len(layers) > 1 else []),
                ("smallest", ends[0]),
                ("largest", ends[1]),
                ("gate order", _ordered(drawn.framework, cell, gate)),
                ("state order", told.state_order),
                ("read from", drawn.drawn_by),
            ),
        )

    return Spec(
        name="fresh_from_the_box",
        controls=controls if len(layers) > 1 else controls[1:],
        compute=compute_own,
        picture=WeightsPicture,
        sentence=lambda result: result.said,
        table=table,
        arguments="model=model",
    )


def fresh_from_the_box(
    *, model: Any = None, show: Sequence[str] | None = None, **settings: Any
) -> Lab:
    """Open the lab of chapter 01: what do the weights of a new layer look like, library by library?

    settings: framework ("torch", "keras", "tf1", "flax", "haiku", "equinox"), cell ("lstm", "gru"
    or "rnn", which Equinox does not have), gate (of an LSTM "input", "forget", "cell", "output"; of
    a GRU "reset", "update", "new"; of an RNN "hidden"), weights ("W_hh", "W_ih", or "bias", the sum
    of all that is added), input_size (1 to 256), hidden_size (2 to 256), seed. show: names of the
    controls to show, None for all. model: your own PyTorch recurrent layer or cell, or built Keras
    layer or cell; the controls are then gate, weights and, where there are several, layer ("l0",
    ...), and the curve is its library's default. Raises `ValueError` for a bad setting or model.
    """
    return Lab(SPEC if model is None else own_layer_spec(model), settings, show)

"""The presets against real Keras layers, and against the laws that the frameworks' code states."""

import functools
import math
import os
import random
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.testing import assert_close

from teachkit.gates import gates
from teachkit.initializers import initialize, scheme_names
from tests.scheme_checks import (
    DOUBLE,
    check_law,
    check_spread,
    check_uniform,
    fill_with,
    numbers,
    parts,
    truncated_law,
    uniform_law,
)

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras

SIZE, H, DRAWS = 5, 8, 60
CELLS: dict[str, tuple[type, Any, tuple[str, ...]]] = {  # ours, Keras's, and Keras's order of gates
    "lstm": (nn.LSTM, keras.layers.LSTM, ("input", "forget", "cell", "output")),
    "gru": (nn.GRU, keras.layers.GRU, ("update", "reset", "new")),
    "rnn": (nn.RNN, keras.layers.SimpleRNN, ("hidden",)),
}
GATES = [(cell, gate) for cell, (_, _, names) in CELLS.items() for gate in names]
TRUNCATED_STD = stats.truncnorm(-2, 2).std()


def gate_by_gate(module):
    """Return {gate: (W_ih, W_hh, effective bias or None)} of a layer with one layer."""
    named = gates(module)
    W_ih, W_hh = named["weight_ih_l0"], named["weight_hh_l0"]
    first, second = (named.get(f"bias_{kind}_l0") for kind in ("ih", "hh"))
    assert first is not None
    assert second is not None
    return {
        g: tuple(v.clone().numpy() for v in (W_ih[g], W_hh[g], first[g] + second[g])) for g in W_ih
    }


def stack(draws):
    """Stack what draws have in common: {gate: (W_ih, W_hh, bias)}, one draw a row."""
    return {
        gate: tuple(map(np.stack, zip(*(d[gate] for d in draws), strict=True))) for gate in draws[0]
    }


@functools.cache
def ours(cell):
    module, stream = CELLS[cell][0](SIZE, H), numbers()
    return stack(
        [gate_by_gate(initialize(module, "keras", generator=stream)) for _ in range(DRAWS)]
    )


@functools.cache
def theirs(cell):
    """Draw Keras layers; rows are outputs, as in PyTorch."""
    _, kind, order = CELLS[cell]
    random.seed(0)  # from here Keras takes the seeds of its layers

    def draw():
        layer = kind(H)
        layer.build((None, None, SIZE))
        kernel, recurrent, bias = (w.value.detach().numpy() for w in layer.weights)
        bias = bias.reshape(-1, len(order), H).sum(0)  # a GRU has two vectors
        split = (np.split(W.T, len(order)) for W in (kernel, recurrent))
        return dict(zip(order, zip(*split, bias, strict=True), strict=True))

    return stack([draw() for _ in range(DRAWS)])


def radius(W):
    return torch.linalg.eigvals(torch.as_tensor(W)).abs().amax(-1).numpy()


def sigma(W):
    return np.linalg.norm(W, 2, axis=(-2, -1))


def check_same_law(one, other):
    """Compare two samples: constants exactly, others as a whole and in their moments."""
    one, other = (values.astype(float).ravel() for values in (one, other))
    if np.ptp(other) < 1e-5 * np.abs(other).max():
        assert one == pytest.approx(np.full(one.shape, other.mean()), rel=1e-5)
        return
    assert stats.ks_2samp(one, other).pvalue > 1e-3
    error = 5 / math.sqrt(len(one))
    assert one.mean() == pytest.approx(other.mean(), abs=error * other.std())
    assert one.std() == pytest.approx(other.std(), rel=error)


# --- Keras ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "gate"), GATES)
def test_keras_layers_have_the_law_of_the_preset(cell, gate):
    W_ih, W_hh, bias = ours(cell)[gate]
    others = theirs(cell)[gate]
    assert np.array_equal(bias, others[2])
    check_same_law(W_ih, others[0])
    check_same_law(W_hh, others[1])
    check_same_law(sigma(W_ih), sigma(others[0]))
    check_same_law(sigma(W_hh), sigma(others[1]))
    check_same_law(radius(W_hh), radius(others[1]))
    for mine, other in ((W_ih, others[0]), (W_hh, others[1])):
        fourth = [(w**4).mean() / (w**2).mean() ** 2 for w in (mine, other)]
        assert fourth[0] == pytest.approx(fourth[1], rel=0.12)


@pytest.mark.parametrize("cell", CELLS)
def test_keras_matrices_agree_as_a_whole(cell):
    count = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
    for draws in (ours(cell), theirs(cell)):
        W_ih, W_hh = (np.concatenate([draws[g][i] for g in draws], 1) for i in (0, 1))
        eye = np.broadcast_to(np.eye(H), (DRAWS, H, H))
        assert W_hh.swapaxes(1, 2) @ W_hh == pytest.approx(eye, abs=1e-5)
        check_uniform(torch.from_numpy(W_ih), math.sqrt(6 / (SIZE + count * H)))


def test_the_gates_of_a_keras_lstm_are_not_orthogonal():
    # A quarter of the rows of an orthonormal frame: rho -> 1/2, sigma_max -> sqrt(3)/2.
    lstm = initialize(nn.LSTM(1, 200), "keras", generator=numbers())
    blocks = [W.numpy() for W in parts(lstm, "weight_hh")]
    assert np.mean([radius(W) for W in blocks]) == pytest.approx(0.5, rel=0.08)
    assert np.mean([sigma(W) for W in blocks]) == pytest.approx(math.sqrt(3) / 2, rel=0.03)


def test_keras_without_biases():
    lstm = initialize(nn.LSTM(2, 3, bias=False), "keras", generator=numbers())
    other = initialize(nn.LSTM(2, 3), "keras", generator=numbers())
    assert torch.equal(lstm.get_parameter("weight_hh_l0"), other.get_parameter("weight_hh_l0"))


# --- the laws of the code -------------------------------------------------------------------------


def glorot(fan_in, fan_out):
    return uniform_law(math.sqrt(6 / (fan_in + fan_out)))


CASES = [(p, c) for p in scheme_names("preset") for c in CELLS if (p, c) != ("equinox", "rnn")]
CONSTANTS = {  # the effective bias where it is neither 0 nor random
    ("keras", "lstm"): {"forget": 1},
    ("tf1", "lstm"): {"forget": 1},
    ("tf1", "gru"): {"reset": 1, "update": 1},
    ("haiku", "lstm"): {"forget": 1},
}


def dense(preset, columns, rows):
    """Return the law of the framework's dense layer, or of TensorFlow 1's projection."""
    if preset in ("keras", "tf1"):
        return glorot(columns, rows)
    if preset in ("flax", "haiku"):
        return truncated_law((1.0 if preset == "flax" else TRUNCATED_STD) * columns**-0.5)
    return uniform_law(columns**-0.5)


def laws(preset, cell, gate, columns, state, hidden_size):
    """Return the laws of W_ih (hidden_size, columns) and W_hh (hidden_size, state) of one gate.

    None is a part of a matrix with orthonormal columns.
    """
    count = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
    if preset == "keras":
        return glorot(columns, count * hidden_size), None
    if preset == "tf1":
        stacked = {"lstm": 4, "gru": 1 if gate == "new" else 2, "rnn": 1}[cell]
        return (glorot(columns + state, stacked * hidden_size),) * 2
    if preset == "flax":
        return truncated_law(columns**-0.5), None
    if (preset, cell) == ("haiku", "lstm"):
        return (truncated_law(TRUNCATED_STD * (columns + state) ** -0.5),) * 2
    if preset == "haiku":
        lost = TRUNCATED_STD if cell == "rnn" else 1.0
        return tuple(truncated_law(lost * n**-0.5) for n in (columns, state))
    return (uniform_law(hidden_size**-0.5),) * 2


def check_orthonormal(W):
    assert_close(W.T @ W, torch.eye(W.shape[1], dtype=DOUBLE), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("preset", "cell", "proj_size"),
    [*((*case, 0) for case in CASES), *((p, c, 11) for p, c in CASES if c == "lstm")],
)
def test_every_layer_and_direction_has_the_law_of_its_sizes(preset, cell, proj_size):
    size, hidden_size = 30, 20
    state = proj_size or hidden_size
    options = {"proj_size": proj_size} if proj_size else {}
    module = CELLS[cell][0](size, hidden_size, 2, bidirectional=True, dtype=DOUBLE, **options)
    initialize(fill_with(module, 7.0), preset, generator=numbers())
    named, inputs, recurrent = gates(module), [], []
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        columns = size if suffix.startswith("l0") else 2 * state
        for gate, W_ih in named[f"weight_ih_{suffix}"].items():
            W_hh = named[f"weight_hh_{suffix}"][gate]
            law_ih, law_hh = laws(preset, cell, gate, columns, state, hidden_size)
            check_law(W_ih, law_ih)
            inputs.append((W_ih, law_ih))
            if law_hh is not None:
                check_law(W_hh, law_hh)
                recurrent.append((W_hh, law_hh))
            elif preset == "flax":
                check_orthonormal(W_hh)
            if preset not in ("torch", "equinox"):
                constant = CONSTANTS.get((preset, cell), {}).get(gate, 0)
                assert (named[f"bias_ih_{suffix}"][gate] == constant).all()
                assert (named[f"bias_hh_{suffix}"][gate] == 0).all()
        if preset == "keras":
            check_orthonormal(module.get_parameter(f"weight_hh_{suffix}").detach())
        if proj_size:
            check_law(module.get_parameter(f"weight_hr_{suffix}"), dense(preset, 20, proj_size))
    for samples in filter(None, (inputs, recurrent)):
        check_spread(samples)


@pytest.mark.parametrize("preset", ["torch", "equinox"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_biases_that_are_random(preset, cell):
    module = initialize(CELLS[cell][0](2, 900), preset, generator=numbers())
    named = gates(module)
    for gate, values in named["bias_ih_l0"].items():
        check_uniform(values, 1 / 30)
        second = named["bias_hh_l0"][gate]
        if preset == "torch" or gate == "new":
            check_uniform(second, 1 / 30)
            assert abs(np.corrcoef(values, second)[0, 1]) < 0.15
        else:
            assert not second.any()


def test_tensorflow_and_pytorch_have_the_same_weights_where_input_and_state_are_as_wide():
    for size in (1, 7, 30):
        glorot_bound = math.sqrt(6 / (size + size + 4 * size))
        assert glorot_bound == pytest.approx(1 / math.sqrt(size), rel=1e-12)
        lstm = initialize(nn.LSTM(size, size, dtype=DOUBLE), "tf1", generator=numbers())
        for kind in ("weight_ih", "weight_hh"):
            for W in parts(lstm, kind):
                assert W.abs().max() <= glorot_bound
        whole = torch.cat([W.flatten() for W in parts(lstm, "weight_")])
        check_law(whole, uniform_law(1 / math.sqrt(size)))


@pytest.mark.parametrize("cell", CELLS)
def test_torch_is_what_pytorch_draws(cell):
    kind = CELLS[cell][0]
    ours, theirs = (kind(20, 30, 2, bidirectional=True) for _ in range(2))
    initialize(ours, "torch", generator=numbers())
    for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        check_uniform(own, 1 / math.sqrt(30))
        check_uniform(other, 1 / math.sqrt(30))
        assert not torch.equal(own, other), name


@pytest.mark.parametrize("hidden_size", [1, 4, 100])
def test_the_bound_of_torch_is_that_of_the_hidden_size(hidden_size):
    cell = initialize(nn.GRUCell(50, hidden_size), "torch", generator=numbers())
    check_uniform(cell.weight_ih, 1 / math.sqrt(hidden_size))
    assert cell.bias_hh.var().item() < 2 / (3 * hidden_size)


@pytest.mark.parametrize("preset", scheme_names("preset"))
@pytest.mark.parametrize(
    ("cell", "layer"), [(nn.LSTMCell, nn.LSTM), (nn.GRUCell, nn.GRU), (nn.RNNCell, nn.RNN)]
)
def test_a_cell_starts_as_the_layer(preset, cell, layer):
    if preset == "equinox" and cell is nn.RNNCell:
        for kind in (cell, layer):
            message = "^module must be an LSTM or a GRU: Equinox has no plain RNN cell, but"
            with pytest.raises(ValueError, match=message):
                initialize(kind(2, 3), preset)
        return
    one, other = (initialize(k(4, 5), preset, generator=numbers()) for k in (cell, layer))
    for value, expected in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize(
    ("preset", "kinds"),
    [("tf1", [nn.LSTM, nn.GRU, nn.LSTMCell]), ("haiku", [nn.LSTM, nn.LSTMCell])],
)
def test_a_constant_that_has_no_place_is_refused(preset, kinds):
    for kind in kinds:
        module = fill_with(kind(2, 3, bias=False), 7.0)
        message = r"^module must have biases, but it was made with bias=False\.$"
        with pytest.raises(ValueError, match=message):
            initialize(module, preset)
        assert all((parameter == 7).all() for parameter in module.parameters())

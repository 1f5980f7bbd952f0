# mypy: disable-error-code="arg-type"
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from teachkit.gates import (
    LAYOUTS,
    MEMORY,
    cells_of,
    gate_order,
    gates,
    kind_of,
    set_forget_bias,
    split_gates,
    split_inputs,
)

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras

DOUBLE = torch.float64
BIG = 40.0  # saturates a sigmoid to 0 or 1 in float64


def quiet(cell):
    """Zero every weight, so that only the bias under test speaks."""
    for parameter in cell.parameters():
        nn.init.zeros_(parameter)
    return gates(cell)["bias_ih"]


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("lstm", ["input", "forget", "cell", "output"]),
        ("gru", ["reset", "update", "new"]),
        ("rnn", ["hidden"]),
    ],
)
@pytest.mark.parametrize("make", [torch.zeros, np.zeros])
@pytest.mark.parametrize("columns", [(), (2,)])
def test_each_gate_is_a_view(cell, names, make, columns):
    array = make((3 * len(names), *columns))
    views = split_gates(array, cell)
    assert list(views) == names
    for number, view in enumerate(views.values(), 1):
        assert view.shape == (3, *columns)
        view[:] = number
    rows = np.asarray(array).reshape(len(names), 3, -1)
    assert all((rows[i] == i + 1).all() for i in range(len(names)))


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (nn.LSTM(2, 3, num_layers=2, bidirectional=True, proj_size=2), 16),
        (nn.GRU(2, 3, bias=False), 2),
        (nn.RNN(2, 3), 4),
        (nn.LSTMCell(2, 3), 4),
        (nn.GRUCell(2, 3), 4),
        (nn.RNNCell(2, 3, bias=False), 2),
    ],
    ids=lambda value: str(value),
)
def test_every_weight_is_there_and_shares_memory(layer, count):
    table = gates(layer)
    assert len(table) == count
    for name, views in table.items():
        parameter = getattr(layer, name)
        assert torch.equal(torch.cat(list(views.values())), parameter)
        for number, view in enumerate(views.values()):
            view.fill_(number)
        for number, rows in enumerate(parameter.detach().split(3)):
            assert (rows == number).all()


def test_the_forget_gate_keeps_or_drops_c():
    cell = nn.LSTMCell(1, 2, dtype=DOUBLE)
    bias, c = quiet(cell), torch.tensor([[0.3, -2.0]], dtype=DOUBLE)
    x, h = torch.zeros(1, 1, dtype=DOUBLE), torch.zeros(1, 2, dtype=DOUBLE)
    bias["forget"].fill_(BIG)
    torch.testing.assert_close(cell(x, (h, c))[1], c)
    bias["forget"].fill_(-BIG)
    torch.testing.assert_close(cell(x, (h, c))[1], 0 * c)


def test_the_other_lstm_gates_do_what_their_name_says():
    cell = nn.LSTMCell(1, 1, dtype=DOUBLE)
    bias, c = quiet(cell), torch.ones(1, 1, dtype=DOUBLE)
    x = h = torch.zeros(1, 1, dtype=DOUBLE)
    bias["cell"].fill_(0.5)
    bias["forget"].fill_(-BIG)
    for level, opened in ((BIG, 1.0), (-BIG, 0.0)):
        bias["input"].fill_(level)
        assert cell(x, (h, c))[1].item() == pytest.approx(opened * np.tanh(0.5))
    bias["forget"].fill_(BIG)
    for level, opened in ((BIG, 1.0), (-BIG, 0.0)):
        bias["output"].fill_(level)
        assert cell(x, (h, c))[0].item() == pytest.approx(opened * np.tanh(1.0))


def test_the_gru_gates_do_what_their_name_says():
    cell = nn.GRUCell(1, 1, dtype=DOUBLE)
    bias, x = quiet(cell), torch.zeros(1, 1, dtype=DOUBLE)
    h = torch.full((1, 1), 0.7, dtype=DOUBLE)
    bias["new"].fill_(0.5)
    bias["update"].fill_(BIG)
    assert cell(x, h).item() == pytest.approx(0.7)  # kept
    bias["update"].fill_(-BIG)
    assert cell(x, h).item() == pytest.approx(np.tanh(0.5))  # replaced
    gates(cell)["weight_hh"]["new"].fill_(2.0)
    for level, opened in ((BIG, 1.0), (-BIG, 0.0)):
        bias["reset"].fill_(level)
        assert cell(x, h).item() == pytest.approx(np.tanh(0.5 + opened * 1.4))


@pytest.mark.parametrize(
    "lstm",
    [nn.LSTM(2, 3), nn.LSTM(2, 3, num_layers=2, bidirectional=True), nn.LSTMCell(2, 3)],
    ids=["one layer", "two layers, two directions", "cell"],
)
def test_the_effective_forget_bias_is_what_was_asked_for(lstm):
    before = {name: parameter.detach().clone() for name, parameter in lstm.named_parameters()}
    assert set_forget_bias(lstm, 2) is lstm
    after = dict(lstm.named_parameters())
    for name in (n for n in before if n.startswith("bias_ih")):
        total = after[name] + after[name.replace("ih", "hh")]
        assert (total[3:6] == 2).all()
    for name, old in before.items():
        others = [*range(3), *range(6, 12)] if name.startswith("bias") else range(12)
        assert torch.equal(after[name][others], old[others])


# The gates as each framework's documentation spells them; j, g, c, n, h and a are the new content.
ORDERS = {
    "torch": {"lstm": "ifgo", "gru": "rzn", "rnn": "h"},
    "keras": {"lstm": "ifco", "gru": "zrh", "rnn": "h"},
    "tf1": {"lstm": "ijfo", "rnn": "h"},  # the GRUCell is not stacked
    "haiku": {"lstm": "igfo", "gru": "zra", "rnn": "h"},
    "equinox": {"lstm": "ifgo", "gru": "rzn"},
    "onnx": {"lstm": "iofc", "gru": "zrh", "rnn": "h"},
}
STACKED = [(layout, cell) for layout, cells in ORDERS.items() for cell in cells]
NAMES = {
    "lstm": {"i": "input", "f": "forget", **dict.fromkeys("jgc", "cell"), "o": "output"},
    "gru": {"r": "reset", "z": "update", **dict.fromkeys("nha", "new")},
    "rnn": {"h": "hidden"},
}
ROWS = ("torch", "equinox")
I, H, B = 3, 4, 2  # noqa: E741


def in_order(layout, cell):
    return [NAMES[cell][letter] for letter in ORDERS[layout][cell]]


def stacked_shape(layout, what, size, other):
    if layout == "onnx":
        return (2, size, other) if what == "kernel" else (2, 2 * size)
    if what == "kernel":
        return (size, other) if layout in ROWS else (other, size)
    return (2, size) if what == "two biases" and layout == "keras" else (size,)


def blocks(array, layout, count):
    """Cut an array with NumPy's own split."""
    if layout == "onnx" and array.ndim == 2:  # Wb, then Rb
        return np.split(array.reshape(2, 2, -1), count, axis=-1)
    return np.split(array, count, axis=1 if layout == "onnx" else 0 if layout in ROWS else -1)


@settings(max_examples=200)
@given(
    st.sampled_from(STACKED),
    st.sampled_from(["kernel", "bias", "two biases"]),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.booleans(),
    st.booleans(),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_every_layout_is_cut_into_views(where, what, dtype, tensor, turned, hidden_size, other):
    layout, cell = where
    names = in_order(layout, cell)
    size = stacked_shape(layout, what, len(names) * hidden_size, other)
    # every second number of an array twice as large, its dimensions perhaps back to front
    base = np.zeros([2 * n for n in size], dtype, order="F" if turned else "C")
    array = base[tuple(slice(None, None, 2) for _ in size)]
    array[...] = np.arange(array.size).reshape(size)
    views = gates(torch.from_numpy(array) if tensor else array, layout=layout, cell=cell)
    assert list(views) == list(dict.fromkeys(NAMES[cell].values()))  # the same for every layout
    for number, (name, block) in enumerate(
        zip(names, blocks(array, layout, len(names)), strict=True), 1
    ):
        view = views[name].numpy() if tensor else views[name]
        np.testing.assert_array_equal(view, block, strict=True)
        views[name][...] = -number
        assert (block == -number).all()
    assert (base < 0).sum() == array.size  # written everywhere in the array, and nowhere else


@pytest.mark.parametrize(("layout", "cell"), STACKED)
def test_the_order_is_the_one_that_the_framework_documents(layout, cell):
    assert list(gate_order(cell, layout)) == in_order(layout, cell)
    assert set(LAYOUTS) == {*ORDERS, "flax"}


def test_a_parameter_is_written_to_through_its_views():
    weight = nn.Parameter(torch.zeros(8, 2, dtype=DOUBLE))
    (weight**2).sum().backward()
    gates(weight, cell="lstm")["forget"].fill_(1.0)
    assert weight.requires_grad
    assert weight[2:4].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert weight.detach().sum() == 4


@pytest.mark.parametrize(
    ("cell", "keys"),
    [
        ("lstm", ["ii", "if", "ig", "io"]),
        ("lstm", ["hi", "hf", "hg", "ho"]),
        ("gru", ["ir", "iz", "in"]),
        ("gru", ["hr", "hz", "hn"]),
        ("rnn", ["i"]),
        ("rnn", ["h"]),
    ],
)
def test_the_arrays_of_flax_get_our_names(cell, keys):
    arrays = {key: np.zeros((2, 3)) for key in keys}
    named = gates(dict(reversed(arrays.items())), layout="flax", cell=cell)
    assert list(named) == list(gate_order(cell, "flax")) == list(gate_order(cell))
    for array, key in zip(named.values(), keys, strict=True):
        assert array is arrays[key]


@pytest.mark.parametrize("rows", [(), (I + H,)])
def test_both_arrays_of_the_gru_of_tensorflow_1_make_the_gates(rows):
    both, candidate = np.zeros((*rows, 2 * H)), np.zeros((*rows, H))
    views = gates((both, candidate), layout="tf1", cell="gru")
    for number, name in enumerate(["reset", "update", "new"], 1):
        views[name][...] = number
    assert (both[..., :H] == 1).all()
    assert (both[..., H:] == 2).all()
    assert (candidate == 3).all()


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm_step_tf1(kernel, bias, x, h, c, forget_bias=1.0):
    """TensorFlow 1, BasicLSTMCell.call and LSTMCell.call."""
    i, j, f, o = np.split(np.concatenate([x, h], 1) @ kernel + bias, 4, axis=1)
    c = c * sigmoid(f + forget_bias) + sigmoid(i) * np.tanh(j)
    return np.tanh(c) * sigmoid(o), c


def lstm_step_haiku(kernel, bias, x, h, c):
    """Haiku, LSTM.__call__."""
    i, g, f, o = np.split(np.concatenate([x, h], 1) @ kernel + bias, 4, axis=1)
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_step_onnx(W, R, B, x, h, c):
    """The ONNX operator LSTM without peepholes, one direction."""
    Wb, Rb = np.split(B, 2)
    i, o, f, g = np.split(x @ W.T + h @ R.T + Wb + Rb, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_step_equinox(weight_ih, weight_hh, bias, x, h, c):
    """Equinox, LSTMCell.__call__."""
    i, f, g, o = np.split(x @ weight_ih.T + h @ weight_hh.T + bias, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_step_flax(kernels, x, h, c):
    """Flax, LSTMCell.__call__: the bias stands on the recurrent side."""
    pre = {g: x @ kernels["i" + g] + h @ kernels["h" + g] + kernels["b" + g] for g in "ifgo"}
    c = sigmoid(pre["f"]) * c + sigmoid(pre["i"]) * np.tanh(pre["g"])
    return sigmoid(pre["o"]) * np.tanh(c), c


def gru_step_tf1(both, both_bias, candidate, candidate_bias, x, h):
    """TensorFlow 1, GRUCell.call: reset before the matrix product."""
    r, u = np.split(sigmoid(np.concatenate([x, h], 1) @ both + both_bias), 2, axis=1)
    c = np.tanh(np.concatenate([x, r * h], 1) @ candidate + candidate_bias)
    return u * h + (1 - u) * c


def gru_step_haiku(w_i, w_h, b, x, h):
    """Haiku, GRU.__call__: reset before the matrix product, and z = 1 takes the new state."""
    zr = sigmoid((x @ w_i + b)[:, : 2 * H] + h @ w_h[:, : 2 * H])
    z, r = np.split(zr, 2, axis=1)
    a = np.tanh((x @ w_i + b)[:, 2 * H :] + (r * h) @ w_h[:, 2 * H :])
    return (1 - z) * h + z * a


def gru_step_onnx(W, R, B, x, h):
    """The ONNX operator GRU with linear_before_reset=1, one direction."""
    Wb, Rb = np.split(B, 2)
    (xz, xr, xh), (hz, hr, hh) = (
        np.split(v @ M.T + b, 3, axis=1) for v, M, b in ((x, W, Wb), (h, R, Rb))
    )
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    return (1 - z) * np.tanh(xh + r * hh) + z * h


def drawn(*shape):
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape)


def cell_with(kind, columns=True, **arrays):
    """Return a cell of PyTorch's with gates {name: array}; columns: (inputs, outputs) kernels."""
    cell = kind(I, H, dtype=DOUBLE)
    for parameter in cell.parameters():
        nn.init.zeros_(parameter)
    for parameter, views in gates(cell).items():
        for name, array in arrays.get(parameter, {}).items():
            turned = array.T if columns and parameter.startswith("weight") else array
            views[name].copy_(torch.from_numpy(turned))
    return cell


def assert_steps_agree(cell, step):
    x, h, c = (np.random.default_rng(k).normal(size=(B, n)) for k, n in enumerate((I, H, H)))
    state = (h, c) if isinstance(cell, nn.LSTMCell) else (h,)
    theirs = step(x, *state)
    ours = cell(
        torch.from_numpy(x),
        tuple(map(torch.from_numpy, state)) if len(state) == 2 else torch.from_numpy(h),
    )
    for mine, other in zip(
        *((v if isinstance(v, tuple) else (v,)) for v in (ours, theirs)), strict=True
    ):
        np.testing.assert_allclose(mine.detach(), other, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("layout", "step"), [("tf1", lstm_step_tf1), ("haiku", lstm_step_haiku)])
def test_an_lstm_of_one_kernel_steps_like_its_framework(layout, step):
    kernel, bias = drawn(I + H, 4 * H), drawn(4 * H)
    parts = split_inputs(kernel, I)
    cell = cell_with(
        nn.LSTMCell,
        **{name: gates(part, layout=layout, cell="lstm") for name, part in parts.items()},
        bias_ih=gates(bias, layout=layout, cell="lstm"),
    )
    gates(cell)["bias_hh"]["forget"].fill_(1.0)  # what their call adds
    assert_steps_agree(cell, lambda *state: step(kernel, bias, *state))


def test_the_rows_of_one_gate_split_as_well():
    kernel = drawn(I + H, 4 * H)
    forget = gates(kernel, layout="tf1", cell="lstm")["forget"]
    whole = split_inputs(kernel, I)
    for name, rows in split_inputs(forget, I).items():
        rows += 1.0
        np.testing.assert_array_equal(rows, gates(whole[name], layout="tf1", cell="lstm")["forget"])
    assert split_inputs(torch.from_numpy(kernel), I)["weight_hh"].shape == (H, 4 * H)


@pytest.mark.parametrize("direction", [0, 1])
def test_onnx_steps_like_pytorch(direction):
    for kind, cell, count, step in (
        (nn.LSTMCell, "lstm", 4, lstm_step_onnx),
        (nn.GRUCell, "gru", 3, gru_step_onnx),
    ):
        W, R, both = drawn(2, count * H, I), drawn(2, count * H, H), drawn(2, 2 * count * H)
        named = [gates(array, layout="onnx", cell=cell) for array in (W, R, both)]
        weight_ih, weight_hh, biases = (
            {name: view[direction] for name, view in views.items()} for views in named
        )
        ours = cell_with(
            kind,
            columns=False,
            weight_ih=weight_ih,
            weight_hh=weight_hh,
            bias_ih={name: view[0] for name, view in biases.items()},
            bias_hh={name: view[1] for name, view in biases.items()},
        )
        arrays = W[direction], R[direction], both[direction]
        assert_steps_agree(ours, lambda *state, a=arrays, step=step: step(*a, *state))


def test_equinox_steps_like_pytorch():
    arrays = {"weight_ih": drawn(4 * H, I), "weight_hh": drawn(4 * H, H), "bias_ih": drawn(4 * H)}
    named = {name: gates(a, layout="equinox", cell="lstm") for name, a in arrays.items()}
    cell = cell_with(nn.LSTMCell, columns=False, **named)
    assert_steps_agree(cell, lambda *state: lstm_step_equinox(*arrays.values(), *state))


def test_flax_steps_like_pytorch():
    kernels = {"i" + g: drawn(I, H) + k for k, g in enumerate("ifgo")}
    kernels |= {"h" + g: drawn(H, H) - k for k, g in enumerate("ifgo")}
    kernels |= {"b" + g: drawn(H) * k for k, g in enumerate("ifgo")}
    sides = {
        part: gates({k: a for k, a in kernels.items() if k[0] == side}, layout="flax", cell="lstm")
        for part, side in (("weight_ih", "i"), ("weight_hh", "h"))
    }
    bias = {"h" + key[1]: array for key, array in kernels.items() if key[0] == "b"}
    cell = cell_with(nn.LSTMCell, **sides, bias_ih=gates(bias, layout="flax", cell="lstm"))
    assert_steps_agree(cell, lambda *state: lstm_step_flax(kernels, *state))


def test_the_gru_of_tensorflow_1_steps_like_pytorch_where_the_resets_commute():
    both, candidate, biases = drawn(I + H, 2 * H), drawn(I + H, H), (drawn(2 * H), drawn(H))
    candidate[I:] = np.diag(drawn(H))  # r * (W h) = W (r * h)
    named = gates((both, candidate), layout="tf1", cell="gru")
    cell = cell_with(
        nn.GRUCell,
        weight_ih={name: split_inputs(view, I)["weight_ih"] for name, view in named.items()},
        weight_hh={name: split_inputs(view, I)["weight_hh"] for name, view in named.items()},
        bias_ih=gates(biases, layout="tf1", cell="gru"),
    )
    arrays = both, biases[0], candidate, biases[1]
    assert_steps_agree(cell, lambda *state: gru_step_tf1(*arrays, *state))


def test_the_update_gate_of_haiku_is_turned_round():
    w_i, w_h, b = drawn(I, 3 * H), drawn(H, 3 * H), drawn(3 * H)
    w_h[:, 2 * H :] = np.diag(drawn(H))  # r * (W h) = W (r * h)
    named = [gates(array, layout="haiku", cell="gru") for array in (w_i, w_h, b)]
    turned = [{**views, "update": -views["update"]} for views in named]
    arrays = dict(zip(("weight_ih", "weight_hh", "bias_ih"), turned, strict=True))
    cell = cell_with(nn.GRUCell, **arrays)
    assert_steps_agree(cell, lambda *state: gru_step_haiku(w_i, w_h, b, *state))


KERAS = [
    (keras.layers.LSTM, "lstm", {}),
    (keras.layers.LSTM, "lstm", {"use_bias": False}),
    (keras.layers.GRU, "gru", {}),
    (keras.layers.GRU, "gru", {"reset_after": False}),
    (keras.layers.SimpleRNN, "rnn", {}),
    (keras.layers.LSTMCell, "lstm", {}),
    (keras.layers.GRUCell, "gru", {"use_bias": False}),
    (keras.layers.SimpleRNNCell, "rnn", {}),
]


def keras_layer(kind, **options):
    layer = kind(H, **options)
    layer.build((B, I) if kind.__name__.endswith("Cell") else (B, 5, I))
    return layer


@pytest.mark.parametrize(("kind", "cell", "options"), KERAS)
def test_a_keras_layer_is_seen_gate_by_gate(kind, cell, options):
    layer = keras_layer(kind, **options)
    table = gates(layer)
    inner = getattr(layer, "cell", layer)
    weights = {weight.name: weight for weight in inner.weights}
    assert list(table) == list(weights)
    for name, views in table.items():
        assert list(views) == list(gate_order(cell))
        for number, gate in enumerate(gate_order(cell, "keras"), 1):
            views[gate].fill_(number)
        array = weights[name].value.detach().numpy()
        for number, block in enumerate(np.split(array, len(views), axis=-1), 1):
            assert (block == number).all()
    again = gates(layer, layout="keras", cell=cell)
    assert all((again[n][g] == v).all() for n, views in table.items() for g, v in views.items())


def test_the_forget_bias_of_keras_is_in_the_forget_gate():
    bias = gates(keras_layer(keras.layers.LSTM))["bias"]
    assert {name: view.unique().tolist() for name, view in bias.items()} == {
        "input": [0.0],
        "forget": [1.0],
        "cell": [0.0],
        "output": [0.0],
    }


def test_what_is_written_to_a_keras_layer_counts():
    layer = keras_layer(keras.layers.GRU)
    h = torch.full((B, H), 0.7)
    gates(layer)["bias"]["update"].fill_(BIG)  # keep
    torch.testing.assert_close(layer(torch.randn(B, 5, I), initial_state=[h]).detach(), h)


def test_a_keras_layer_whose_weights_cannot_be_shared_is_refused(monkeypatch):
    layer = keras_layer(keras.layers.LSTM)
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    value = property(lambda variable: np.zeros(variable.shape))
    monkeypatch.setattr(type(layer.cell.kernel), "value", value)
    with pytest.raises(ValueError, match=r"^module must be on Keras's backend 'torch', whose .*"):
        gates(layer)


@pytest.mark.parametrize(
    ("module", "kind"),
    [(nn.LSTM(1, 1), "lstm"), (nn.GRUCell(1, 1), "gru"), (nn.RNN(1, 1), "rnn")],
)
def test_a_module_knows_its_own_kind(module, kind):
    assert kind_of(module) == kind
    own, said = gates(module), gates(module, layout="torch", cell=kind)
    assert own.keys() == said.keys()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split_gates(np.zeros(8), "elman"), "cell must be one of 'lstm', 'gru', 'rnn'"),
        (lambda: split_gates([0.0] * 8, "lstm"), "array must be a torch tensor or a NumPy array"),
        (lambda: split_gates(np.zeros(7), "lstm"), "array must be stacked from 4 gates .* shape"),
        (lambda: split_gates(torch.tensor(1.0), "gru"), "array must be stacked from 3 gates"),
        (lambda: split_gates(np.zeros(0), "lstm"), "array must be stacked from 4 gates in its fir"),
        (
            lambda: split_gates(np.zeros((4, 6)), "lstm", "keras"),
            "array must be .* in its last dim",
        ),
        (lambda: split_gates(np.zeros(()), "lstm", "keras"), "array must be .* in its last dim"),
        (
            lambda: split_gates(np.zeros((1, 6, 4)), "lstm", "onnx"),
            "array must be .* its second dim",
        ),
        (
            lambda: split_gates(np.zeros((1, 12)), "lstm", "onnx"),
            "array must be stacked from 2 x 4",
        ),
        (
            lambda: split_gates(np.zeros(16), "lstm", "onnx"),
            "array must be W or R with 3 dimensions",
        ),
        (
            lambda: split_gates(np.zeros(8), "lstm", "mxnet"),
            "layout must be one of 'torch', 'keras'",
        ),
        (
            lambda: gate_order("rnn", "equinox"),
            "cell must be 'lstm' or 'gru': Equinox has no plain RNN cell, but",
        ),
        (
            lambda: gates(np.zeros(12), layout="keras"),
            "cell must be 'lstm', 'gru' or 'rnn' for a bare",
        ),
        (
            lambda: gates("lstm"),
            "module_or_array must be an nn.RNN, nn.LSTM or nn.GRU, a Keras SimpleRNN",
        ),
        (
            lambda: gates(np.zeros((2, 12)), layout="flax", cell="lstm"),
            "array must be a dict with the keys ii, if, ig, io or hi, hf, hg, ho in the layout",
        ),
        (
            lambda: gates({"ir": np.zeros(2), "iz": np.zeros(2)}, layout="flax", cell="gru"),
            r"array must be a dict with the keys ir, iz, in or hr, .* but \['ir', 'iz'\] was",
        ),
        (
            lambda: gates({"i": [0.0]}, layout="flax", cell="rnn"),
            "array must be a torch tensor or a NumPy array",
        ),
        *(
            (
                lambda arrays=arrays: gates(arrays, layout="tf1", cell="gru"),
                r"array must be the pair \(gates, candidate\) of TensorFlow 1's GRUCell, of widths",
            )
            for arrays in (
                np.zeros((7, 8)),
                (np.zeros((7, 4)), np.zeros((7, 8))),
                (np.zeros((7, 8)), np.zeros((6, 4))),
                (np.zeros(8), np.zeros(())),
                (np.zeros((7, 8)),),
            )
        ),
        (
            lambda: split_inputs(np.zeros((5, 12)), 5),
            "kernel must be a matrix with more than input_s",
        ),
        (
            lambda: split_inputs(np.zeros(12), 2),
            "kernel must be a matrix with more than input_size",
        ),
        (
            lambda: split_inputs(np.zeros((5, 12)), 0),
            "input_size must be a whole number of at least 1",
        ),
        (lambda: split_inputs([[1.0]], 1), "kernel must be a torch tensor or a NumPy array"),
        (
            lambda: gates(nn.Linear(1, 1)),
            "module must be an nn.RNN, nn.LSTM or nn.GRU, a Keras .* but",
        ),
        (
            lambda: gates(nn.GRU(1, 1), cell="lstm"),
            "layout and cell must be 'torch' and 'gru' here, ",
        ),
        (
            lambda: gates(nn.GRU(1, 1), "keras"),
            "layout and cell must be 'torch' and 'gru' here, or",
        ),
        (
            lambda: gates(keras.layers.LSTM(1)),
            "module must be built before it has weights: call it",
        ),
        (
            lambda: gates(keras.layers.Bidirectional(keras.layers.LSTM(1))),
            r"module must be .* a Keras SimpleRNN, .* \(of a Bidirectional, its forward_layer or",
        ),
        (
            lambda: gates(keras.layers.RNN(keras.layers.LSTMCell(1))),
            "module must be .* of an RNN, its cell; of a model, one of its layers",
        ),
        (
            lambda: gates(nn.LSTM(1, 1).state_dict(), cell="lstm"),
            r"module_or_array must be one array, such as state_dict\['weight_hh_l0'\], .*'weight",
        ),
        (
            lambda: set_forget_bias(None, 1.0),  # type: ignore[type-var]
            "lstm must be an nn.LSTM or nn.LSTMCell, but .*NoneType",
        ),
        (lambda: kind_of(3, "model"), "model must be an nn.RNN, nn.LSTM or nn.GRU, or one of"),
        (
            lambda: gates(orthogonal(nn.GRUCell(2, 2), "weight_hh")),
            "module must have plain weights, ",
        ),
        (lambda: set_forget_bias(nn.GRU(1, 1), 1.0), "lstm must be an nn.LSTM or nn.LSTMCell, but"),
        (lambda: set_forget_bias(nn.LSTM(1, 1, bias=False), 1.0), "lstm must have biases"),
        (lambda: set_forget_bias(nn.LSTM(1, 1), float("nan")), "bias must be a finite number"),
        (lambda: set_forget_bias(nn.LSTM(1, 1), "one"), "bias must be a finite number, but 'one'"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (torch.nn.utils.weight_norm, "weight_hh_l0"),
        (torch.nn.utils.spectral_norm, "weight_ih_l0"),
        (orthogonal, "weight_hh_l0"),
    ],
)
def test_weights_that_are_computed_are_refused(wrap, name):
    lstm = wrap(nn.LSTM(2, 3), name)
    said = rf"must have plain weights, but one has a parametrization: {name}\.$"
    with pytest.raises(ValueError, match=f"^module {said}"):
        gates(lstm)
    with pytest.raises(ValueError, match=f"^lstm {said}"):
        set_forget_bias(lstm, 1.0)


def test_what_a_subclass_calls_its_own_parameters_does_not_matter():
    class Scaled(nn.LSTM):
        def __init__(self):
            super().__init__(2, 3)
            self.weight_x = nn.Parameter(torch.ones(5))
            self.bias_y = nn.Parameter(torch.ones(5))

    assert list(gates(Scaled())) == list(gates(nn.LSTM(2, 3)))


@pytest.mark.parametrize(("cell", "gate"), MEMORY.items())
def test_the_gate_of_memory_keeps_the_state(cell, gate):
    assert gate in gate_order(cell)
    made = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}[cell](I, H, dtype=DOUBLE)
    with torch.no_grad():
        quiet(made)[gate].fill_(BIG)
    states = [torch.randn(B, H, dtype=DOUBLE) for _ in range(2)]
    x = torch.randn(B, I, dtype=DOUBLE)
    if cell == "gru":
        torch.testing.assert_close(made(x, states[0]), states[0])
    else:
        torch.testing.assert_close(made(x, (states[0], states[1]))[1], states[1])


def test_every_layout_has_every_cell_but_one():
    assert {layout: cells_of(layout) for layout in LAYOUTS if layout != "equinox"} == dict.fromkeys(
        [layout for layout in LAYOUTS if layout != "equinox"], ("lstm", "gru", "rnn")
    )
    assert cells_of("equinox") == ("lstm", "gru")

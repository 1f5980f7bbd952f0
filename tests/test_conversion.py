"""Against the real Keras layers, on Keras's PyTorch backend."""

# mypy: disable-error-code="arg-type"
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from teachkit.conversion import from_keras, to_keras
from teachkit.drop_ins import LSTM
from teachkit.gates import gates

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras

# Keras reads a tensor into NumPy 2 through the protocol of NumPy 1.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
DOUBLE = torch.float64
PRECISIONS = [torch.float32, DOUBLE]
I, H, B, T = 3, 4, 2, 5  # noqa: E741
CASES = {
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
    "rnn": (nn.RNN, {"nonlinearity": "tanh"}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
}
CELLS = {nn.LSTMCell: nn.LSTM, nn.GRUCell: nn.GRU, nn.RNNCell: nn.RNN}
every_case = pytest.mark.parametrize("name", CASES)


def make(name, input_size=I, hidden_size=H, dtype=DOUBLE, **options):
    """Return a layer with every weight and every bias drawn, so that each of them counts."""
    kind, own = CASES[name]
    module = kind(input_size, hidden_size, batch_first=True, dtype=dtype, **own, **options)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return module


def tolerance(module, fused=True):
    """Return how far outputs may differ. On PyTorch, Keras 3.15 multiplies in float32 at most.

    That is how `keras.ops.matmul` rounds (keras-team/keras issue 23704); the fused LSTM and GRU do
    without it.
    """
    exact = fused and not isinstance(module, nn.RNN) and module.weight_ih_l0.dtype is DOUBLE
    return 1e-12 if exact else 1e-6


def keras_layers(module, fused=True):
    """Return built Keras layers with random weights that stand where the module's layers stand.

    fused: on PyTorch's kernels where Keras has them, otherwise on Keras's own steps.
    """
    dtype = str(module.weight_ih_l0.dtype).removeprefix("torch.")
    options = {"use_bias": module.bias, "dtype": dtype, "bias_initializer": "uniform"}
    options |= {"return_sequences": True, "return_state": True}
    if isinstance(module, nn.RNN):
        options["activation"] = module.nonlinearity
    else:
        options["use_cudnn"] = "auto" if fused else False
    if isinstance(module, nn.LSTM):
        options["unit_forget_bias"] = False
    kinds = {nn.LSTM: keras.layers.LSTM, nn.GRU: keras.layers.GRU, nn.RNN: keras.layers.SimpleRNN}
    layers, size = [], module.input_size
    for _ in range(module.num_layers):
        layer = kinds[type(module)](module.hidden_size, **options)
        layer = keras.layers.Bidirectional(layer, dtype=dtype) if module.bidirectional else layer
        layer.build((None, None, size))
        layers.append(layer)
        size = module.hidden_size * (1 + module.bidirectional)
    return layers


def draw(module, batch_size=B, seq_len=T):
    """Return a batch and an initial state, (h,) or (h, c), in the module's precision."""
    dtype = module.weight_ih_l0.dtype
    x = torch.randn(batch_size, seq_len, module.input_size, dtype=dtype)
    count = module.num_layers * (1 + module.bidirectional)
    shape = (count, batch_size, module.hidden_size)
    return x, [torch.randn(shape, dtype=dtype) for _ in range(1 + isinstance(module, nn.LSTM))]


@torch.no_grad()
def run_torch(module, x, state):
    out, last = module(x, tuple(state) if isinstance(module, nn.LSTM) else state[0])
    return [out, *(last if isinstance(module, nn.LSTM) else [last])]


@torch.no_grad()
def run_keras(layers, x, state):
    """Run the stack; return what `run_torch` returns. Keras lists forward h, c, then backward."""
    lasts, at = [], 0
    for layer in layers:
        directions = 1 + isinstance(layer, keras.layers.Bidirectional)
        initial = [part[at + d] for d in range(directions) for part in state]
        x, *last = layer(x, initial_state=initial)
        lasts += [last[i : i + len(state)] for i in range(0, len(last), len(state))]
        at += directions
    return [x, *(torch.stack(parts) for parts in zip(*lasts, strict=True))]


def assert_same_outputs(module, layers, fused=True, **sizes):
    x, state = draw(module, **sizes)
    atol = tolerance(module, fused)
    for ours, theirs in zip(run_torch(module, x, state), run_keras(layers, x, state), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=atol, atol=atol)


def assert_equal_weights(ours, theirs):
    assert [[a.shape for a in layer] for layer in ours] == [[a.shape for a in w] for w in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


@every_case
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("num_layers", "bias"), [(1, False), (1, True), (3, True)])
def test_keras_gives_the_outputs_of_pytorch(name, dtype, bidirectional, num_layers, bias):
    options = {"num_layers": num_layers, "bias": bias, "bidirectional": bidirectional}
    module = make(name, dtype=dtype, **options)
    layers = keras_layers(module)
    weights = to_keras(module)
    assert len(weights) == num_layers
    for layer, arrays in zip(layers, weights, strict=True):
        layer.set_weights(arrays)
    assert_same_outputs(module, layers)


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("bias", [False, True])
def test_outputs_agree_with_the_steps_that_keras_takes_itself(name, bias):
    module = make(name, dtype=torch.float32, num_layers=2, bidirectional=True, bias=bias)
    layers = keras_layers(module, fused=False)
    for layer, arrays in zip(layers, to_keras(module), strict=True):
        layer.set_weights(arrays)
    assert_same_outputs(module, layers, fused=False)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def keras_step(name, weights, x, h, c=None):
    """One step as the Keras documentation has it: LSTM i, f, c, o; GRU z, r, h, reset after."""
    kernel, recurrent_kernel, bias = weights
    if name == "gru":
        xz, xr, xh = np.split(x @ kernel + bias[0], 3, axis=-1)
        hz, hr, hh = np.split(h @ recurrent_kernel + bias[1], 3, axis=-1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        return [z * h + (1 - z) * np.tanh(xh + r * hh)]
    total = x @ kernel + h @ recurrent_kernel + bias
    if name != "lstm":
        return [np.tanh(total) if name == "rnn" else np.maximum(total, 0)]
    i, f, g, o = np.split(total, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


@every_case
def test_outputs_agree_with_the_equations_in_double_precision(name):
    module = make(name)
    x, state = draw(module)
    out, *last = run_torch(module, x, state)
    states = [part[0].numpy() for part in state]
    for t in range(T):
        states = keras_step(name, to_keras(module)[0], x[:, t].numpy(), *states)
        np.testing.assert_allclose(out[:, t], states[0], rtol=0, atol=1e-12)
    for ours, theirs in zip(last, states, strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=0, atol=1e-12)


@every_case
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("num_layers", "bias"), [(1, False), (1, True), (2, True)])
def test_pytorch_gives_the_outputs_of_keras(name, dtype, bidirectional, num_layers, bias):
    options = {"num_layers": num_layers, "bias": bias, "bidirectional": bidirectional}
    module = make(name, dtype=dtype, **options)
    layers = keras_layers(module)
    weights = [layer.get_weights() for layer in layers]
    assert from_keras(module, weights) is module
    assert_same_outputs(module, layers)
    assert_equal_weights(to_keras(module), weights)  # there and back, to the bit


@settings(max_examples=25)
@given(
    st.sampled_from(list(CASES)),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.integers(1, 7),
    st.integers(1, 3),
)
def test_outputs_agree_at_any_size(name, input_size, H, num_layers, twice, bias, steps, batch_size):
    options = {"num_layers": num_layers, "bias": bias, "bidirectional": twice}
    module = make(name, input_size, H, **options)
    layers = keras_layers(module)
    for layer, arrays in zip(layers, to_keras(module), strict=True):
        layer.set_weights(arrays)
    assert_same_outputs(module, layers, batch_size=batch_size, seq_len=steps)
    other = from_keras(make(name, input_size, H, **options), [w.get_weights() for w in layers])
    assert_same_outputs(other, layers, batch_size=batch_size, seq_len=steps)


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *PRECISIONS])
@pytest.mark.parametrize("bias", [False, True])
def test_weights_come_back_to_the_bit(name, dtype, bias):
    options = {"num_layers": 2, "bias": bias, "bidirectional": True}
    module = make(name, dtype=dtype, **options)
    weights = to_keras(module)
    other = from_keras(make(name, dtype=torch.float32, **options), weights)
    if dtype is DOUBLE:
        other = from_keras(other.double(), weights)
    theirs = dict(other.named_parameters())
    for key, value in module.named_parameters():
        if name == "gru" or key.startswith("weight"):
            assert torch.equal(theirs[key], value.to(theirs[key].dtype)), key
        elif key.startswith("bias_hh"):
            assert not theirs[key].any()
    assert_equal_weights(to_keras(other), [[a.astype(theirs_dtype(a)) for a in w] for w in weights])


def theirs_dtype(array):
    return np.float64 if array.dtype == np.float64 else np.float32


def test_the_one_bias_of_keras_goes_to_bias_ih():
    lstm = make("lstm")
    total = (lstm.bias_ih_l0 + lstm.bias_hh_l0).tolist()
    from_keras(lstm, to_keras(lstm))
    assert lstm.bias_ih_l0.tolist() == total
    assert lstm.bias_hh_l0.tolist() == [0.0] * 4 * H


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bias", [False, True])
def test_a_cell_converts_as_a_layer_of_its_own(kind, bias):
    cell, layer = kind(I, H, bias=bias), CELLS[kind](I, H, bias=bias)
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    assert_equal_weights(to_keras(cell), to_keras(layer))
    other = kind(I, H, bias=bias)
    before = [parameter.data_ptr() for parameter in other.parameters()]
    assert from_keras(other, to_keras(cell)) is other
    assert_equal_weights(to_keras(other), to_keras(cell))
    assert before == [parameter.data_ptr() for parameter in other.parameters()]


def test_the_arrays_are_copies():
    gru = make("gru")
    weights = to_keras(gru)
    before = {name: value.clone() for name, value in gru.state_dict().items()}
    for array in weights[0]:
        array += 1.0
    assert all(torch.equal(before[name], value) for name, value in gru.state_dict().items())
    from_keras(gru, weights)
    kept = gru.weight_ih_l0.detach().clone()
    weights[0][0] += 1.0
    assert torch.equal(gru.weight_ih_l0, kept)


def test_arrays_of_any_kind_are_taken():
    rnn, (kernel, recurrent_kernel, bias) = make("rnn"), to_keras(make("rnn"))[0]
    kernel.flags.writeable = False
    odd = [kernel, np.asfortranarray(recurrent_kernel)[::-1], torch.from_numpy(bias).tolist()]
    from_keras(rnn, (tuple(odd),))
    assert_equal_weights(to_keras(rnn), [[kernel, recurrent_kernel[::-1], bias]])


def test_the_gates_of_keras_get_their_names():
    lstm = keras.layers.LSTM(H)  # unit_forget_bias is Keras's default
    lstm.build((None, None, I))
    bias = gates(from_keras(nn.LSTM(I, H), [lstm.get_weights()]))["bias_ih_l0"]
    assert {name: view.tolist() for name, view in bias.items()} == {
        "input": [0.0] * H,
        "forget": [1.0] * H,
        "cell": [0.0] * H,
        "output": [0.0] * H,
    }


def test_a_drop_in_keeps_its_initial_state():
    lstm = LSTM(I, H, initial_state="learned")
    before = {name: value.clone() for name, value in lstm.state_dict().items()}
    weights = to_keras(make("lstm", dtype=torch.float32))
    assert_equal_weights(to_keras(from_keras(lstm, weights)), weights)
    assert all(torch.equal(before[name], lstm.state_dict()[name]) for name in ("h0", "c0"))


def test_nothing_is_written_where_something_is_refused():
    lstm = make("lstm", num_layers=2)
    weights = to_keras(make("lstm", num_layers=2))
    weights[1][2] = weights[1][2][:-1]
    before = {name: value.clone() for name, value in lstm.state_dict().items()}
    with pytest.raises(ValueError, match=r"weights\[1\]\[2\]"):
        from_keras(lstm, weights)
    assert all(torch.equal(before[name], value) for name, value in lstm.state_dict().items())


def reset_before():
    gru = keras.layers.GRU(H, reset_after=False)
    gru.build((None, None, I))
    return [gru.get_weights()]


def changed(index, value):
    weights = to_keras(make("gru"))
    weights[0][index] = value
    return weights


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: to_keras(nn.Linear(1, 1)), "module must be an nn.RNN, nn.LSTM or nn.GRU, or one"),
        (
            lambda: to_keras(nn.LSTM(I, H, proj_size=2)),
            "module must have no projection, which Keras does not have, but proj_size is 2.",
        ),
        (
            lambda: from_keras(nn.LSTM(I, H, proj_size=2), to_keras(nn.LSTM(I, H))),
            "module must have no projection",
        ),
        (
            lambda: to_keras(orthogonal(nn.LSTMCell(I, H), "weight_hh")),
            "module must have plain weights, but one has a parametrization.",
        ),
        (
            lambda: from_keras(make("gru"), reset_before()),
            r"weights\[0\]\[2\] must be a bias of shape \(2, 12\), but one of shape \(12,\) was "
            "given: this Keras GRU has reset_after=False and resets h before the matrix product, "
            "PyTorch after it",
        ),
        (
            lambda: from_keras(make("gru"), to_keras(make("gru"))[0]),
            "weights must be a list with one list of arrays a layer",
        ),
        (lambda: from_keras(make("gru"), None), "weights must be a list with one list of arrays"),
        (
            lambda: from_keras(make("lstm", num_layers=2), to_keras(make("lstm"))),
            "weights must have one entry for each of the 2 layers of module, .*, but 1 were given",
        ),
        (
            lambda: from_keras(make("lstm", bias=False), to_keras(make("lstm"))),
            r"weights\[0\] must hold 2 arrays \(kernel, recurrent_kernel\) for this module, but 3 ",
        ),
        (
            lambda: from_keras(make("rnn", bidirectional=True), to_keras(make("rnn"))),
            r"weights\[0\] must hold 6 arrays \(kernel, recurrent_kernel, bias\) for forward and "
            "backward for this module, but 3 were given",
        ),
        (
            lambda: from_keras(make("lstm"), to_keras(make("gru"))),
            r"weights\[0\]\[0\] must be the kernel, an array of numbers of shape \(3, 16\), but "
            r"Tensor of shape \(3, 12\) was given",
        ),
        (
            lambda: from_keras(make("gru"), changed(1, np.zeros((12, 4)))),
            r"weights\[0\]\[1\] must be the recurrent_kernel, .* of shape \(4, 12\), but Tensor of",
        ),
        (
            lambda: from_keras(make("gru"), changed(2, np.zeros((2, 12), dtype=complex))),
            r"weights\[0\]\[2\] must be the bias",
        ),
        (lambda: from_keras(make("gru"), changed(0, "kernel")), r"weights\[0\]\[0\] must be the"),
        (lambda: from_keras(make("gru"), changed(0, [[1.0], []])), r"weights\[0\]\[0\] must be"),
        (
            lambda: from_keras(make("gru"), changed(0, np.full((3, 12), "a"))),
            r"weights\[0\]\[0\] must be",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

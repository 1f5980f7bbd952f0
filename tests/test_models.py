from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from teachkit import models, spectra
from teachkit.models import ACTIVATIONS, ElmanRNN, SequenceModel, make_elman, recurrent_matrix

DOUBLE = torch.float64


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


NUMPY: dict[str, Callable[[Any], Any]] = {
    "linear": lambda a: a,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_slope_and_steepest_slope(name):
    activation = ACTIVATIONS[name]
    a = torch.linspace(-4, 4, 401, dtype=DOUBLE, requires_grad=True)
    h = activation.function(a)
    np.testing.assert_allclose(h.detach().numpy(), NUMPY[name](a.detach().numpy()), atol=1e-15)
    (slope,) = torch.autograd.grad(h.sum(), a)
    assert_close(activation.slope(h.detach()), slope)
    assert slope.max().item() == pytest.approx(activation.max_slope)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True, "bias": False}]
)
def test_tanh_and_relu_are_pytorch_bit_for_bit(nonlinearity, options):
    torch.manual_seed(1)
    own = ElmanRNN(3, 4, nonlinearity=nonlinearity, **options)
    torch.manual_seed(1)
    theirs = nn.RNN(3, 4, nonlinearity=nonlinearity, **options)
    x = torch.randn(5, 2, 3)
    for a, b in zip(own(x), theirs(x), strict=True):
        assert torch.equal(a, b)
    theirs.load_state_dict(own.state_dict(), strict=True)


@pytest.mark.parametrize("nonlinearity", ACTIVATIONS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("with_h0", [False, True])
def test_every_activation_is_the_loop_in_numpy(nonlinearity, batch_first, batched, bias, with_h0):
    T, B, size, H = 6, 3, 2, 4
    rnn = ElmanRNN(
        size, H, nonlinearity=nonlinearity, batch_first=batch_first, bias=bias, dtype=DOUBLE
    )
    p = {name: value.detach().numpy() for name, value in rnn.named_parameters()}
    b = p["bias_ih_l0"] + p["bias_hh_l0"] if bias else 0.0
    x, hx = torch.randn(T, B, size, dtype=DOUBLE), torch.randn(1, B, H, dtype=DOUBLE)
    h, expected = hx[0].numpy() if with_h0 else np.zeros((B, H)), []
    for x_t in x.numpy():
        h = NUMPY[nonlinearity](x_t @ p["weight_ih_l0"].T + h @ p["weight_hh_l0"].T + b)
        expected.append(h)
    outputs = torch.from_numpy(np.stack(expected))
    if not batched:
        x, hx, outputs = x[:, 0], hx[:, 0], outputs[:, 0]
    elif batch_first:
        x, outputs = x.transpose(0, 1), outputs.transpose(0, 1)

    output, last = rnn(x, hx if with_h0 else None)
    assert_close(output, outputs)
    assert_close(last, torch.from_numpy(h)[None] if batched else torch.from_numpy(h)[None, 0])


@pytest.mark.parametrize("nonlinearity", ACTIVATIONS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_a_learned_initial_state_is_the_same_as_passing_it(nonlinearity, batch_first, batched):
    rnn = ElmanRNN(
        2, 4, nonlinearity=nonlinearity, batch_first=batch_first, initial_state="learned"
    )
    learned = rnn.get_parameter("h0")
    assert learned.tolist() == [[[0] * 4]]
    nn.init.uniform_(learned, 0.1, 1)
    plain = ElmanRNN(2, 4, nonlinearity=nonlinearity, batch_first=batch_first)
    weights = {name: value for name, value in rnn.state_dict().items() if name != "h0"}
    plain.load_state_dict(weights, strict=True)
    x = torch.randn(6, 3, 2) if batched else torch.randn(6, 2)
    h0 = learned.detach().clone()
    B = x.shape[0 if batch_first else 1]
    h0 = (h0.expand(-1, B, -1).contiguous() if batched else h0[0]).requires_grad_()
    (output, last), (expected, expected_last) = rnn(x), plain(x, h0)
    assert torch.equal(output, expected)
    assert torch.equal(last, expected_last)
    assert not torch.equal(output, plain(x)[0])
    output.square().sum().backward()
    expected.square().sum().backward()
    assert learned.grad is not None
    assert h0.grad is not None
    assert_close(learned.grad.sum(1), h0.grad.sum(1) if batched else h0.grad)
    assert f"initial_state={rnn.initial_state}" in repr(rnn)


def test_a_sigmoid_network_is_a_tanh_network_with_a_quarter_of_the_weights():
    # sigmoid(a) = (1 + tanh(a / 2)) / 2, so u = 2h - 1 follows tanh(W_ih x / 2 + W_hh u / 4 + ...)
    ours = make_elman(8, 6.0, activation="sigmoid", input_size=2, dtype=DOUBLE)
    nn.init.normal_(ours.bias_ih_l0)
    theirs = nn.RNN(2, 8, dtype=DOUBLE)
    weights = {name: value / 2 for name, value in ours.state_dict().items()}
    weights["weight_hh_l0"] /= 2
    weights["bias_ih_l0"] += weights["weight_hh_l0"].sum(1)
    theirs.load_state_dict(weights)
    x, h0 = torch.randn(20, 3, 2, dtype=DOUBLE), torch.rand(1, 3, 8, dtype=DOUBLE)
    assert_close(2 * ours(x, h0)[0] - 1, theirs(x, 2 * h0 - 1)[0])


@pytest.mark.parametrize("nonlinearity", ACTIVATIONS)
def test_options_by_position_as_for_nn_rnn(nonlinearity):
    rnn = ElmanRNN(1, 2, 1, nonlinearity, False, True)
    assert (rnn.nonlinearity, rnn.bias, rnn.batch_first) == (nonlinearity, False, True)
    torch.manual_seed(0)
    by_name = ElmanRNN(1, 2, nonlinearity=nonlinearity, bias=False, batch_first=True)
    by_name.load_state_dict(rnn.state_dict())
    x = torch.randn(2, 3, 1)
    assert torch.equal(rnn(x)[0], by_name(x)[0])


@pytest.mark.parametrize("non_normality", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("rho", [0.0, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("hidden_size", [1, 2, 24])
def test_the_radius_is_exactly_rho(hidden_size, rho, non_normality):
    W = recurrent_matrix(hidden_size, rho, non_normality=non_normality, seed=3)
    found = np.abs(np.linalg.eigvals(W.numpy())).max()
    assert found == pytest.approx(rho, rel=1e-7, abs=1e-12)


def test_a_gaussian_matrix_and_its_normal_twin():
    W, normal = (recurrent_matrix(30, 1.5, non_normality=s) for s in (1.0, 0.0))
    gaussian = spectra.gaussian_matrix(30)
    assert_close(W, gaussian * (1.5 / spectra.spectral_radius(gaussian)))
    assert_close(normal @ normal.T, normal.T @ normal)
    moduli = np.sort(np.abs(np.linalg.eigvals(W.numpy())))[::-1]
    np.testing.assert_allclose(np.linalg.svd(normal.numpy())[1], moduli, rtol=1e-9)


def test_unit_spectrum_and_sigma_max_belong_to_rho_1():
    parts, values = models.unit_spectrum(12, 5)
    W = recurrent_matrix(12, 1.0, seed=5)
    assert_close(parts.matrix(), W)
    expected = np.sort(np.abs(np.linalg.eigvals(W.numpy())))
    np.testing.assert_allclose(np.sort(values.abs().numpy()), expected)
    for level in (0.0, 1.0, 2.0):
        W = recurrent_matrix(12, 3.0, non_normality=level, seed=5)
        assert 3 * models.unit_sigma_max(12, 5, level) == pytest.approx(np.linalg.norm(W, 2))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_make_elman_sets_every_weight(activation, dtype):
    rnn = make_elman(
        16, 1.2, activation=activation, non_normality=0.5, input_size=5, seed=2, dtype=dtype
    )
    assert (rnn.nonlinearity, rnn.input_size) == (activation, 5)
    expected = recurrent_matrix(16, 1.2, non_normality=0.5, seed=2).to(dtype)
    assert torch.equal(rnn.weight_hh_l0, expected)
    assert not rnn.bias_ih_l0.any()
    assert not rnn.bias_hh_l0.any()


def test_inputs_of_unit_variance_reach_each_unit_with_unit_variance():
    rnn = make_elman(64, 0.0, input_size=100, activation="linear")
    outputs, _ = rnn(torch.randn(1, 500, 100))
    assert outputs.var().item() == pytest.approx(1, rel=0.05)


def test_a_seed_sets_the_weights_and_the_global_state_stays():
    expected = torch.rand(1)
    torch.manual_seed(0)
    one, same, other = (make_elman(4, seed=s) for s in (0, 0, 1))
    heads = [SequenceModel(one, 2, seed=s).head.weight for s in (0, 0, 1)]
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.weight_ih_l0, same.weight_ih_l0)
    assert not torch.equal(one.weight_hh_l0, other.weight_hh_l0)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize(
    "rnn",
    [
        nn.LSTM(3, 4, proj_size=2, bidirectional=True, dtype=DOUBLE),
        nn.GRU(3, 4, num_layers=2, batch_first=True),
        ElmanRNN(3, 4, nonlinearity="sigmoid", dtype=DOUBLE),
    ],
    ids=["lstm", "gru", "sigmoid"],
)
def test_the_model_reads_the_last_output(rnn):
    model = SequenceModel(rnn, 5)
    x = torch.randn(6, 2, 3, dtype=rnn.weight_hh_l0.dtype)
    outputs, _ = rnn(x)
    last = outputs.select(1 if rnn.batch_first else 0, -1)
    assert_close(model(x), last @ model.head.weight.T)
    assert model(x).shape == (6 if rnn.batch_first else 2, 5)


def test_the_head_has_the_stated_deviation():
    model = SequenceModel(nn.RNN(1, 400), 50)
    assert model.head.weight.std().item() == pytest.approx(1 / 20, rel=0.05)
    assert not model.head.bias.any()


def test_the_counterexample_stands_at_a_fixed_point():
    rnn, h0 = models.nilpotent_counterexample()
    assert torch.equal(rnn.weight_hh_l0, torch.tensor([[8.0, 8], [-8, -8]], dtype=DOUBLE))
    assert_close(rnn(torch.zeros(1, 1, 1, dtype=DOUBLE), h0)[1], h0, rtol=0, atol=1e-15)
    expected = torch.tensor([-4, 4 + np.arctanh(0.5)], dtype=DOUBLE)  # (-4, 4.5493)
    assert_close(rnn.bias_ih_l0.detach(), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ElmanRNN(1, 2, nonlinearity="gelu"), "nonlinearity must be one of 'linear', "),
        (lambda: ElmanRNN(1, 2, 2, nonlinearity="linear"), ".*one layer in one direction, but num"),
        (lambda: ElmanRNN(1, 2, nonlinearity="sigmoid", bidirectional=True), ".*one direction"),
        (lambda: recurrent_matrix(0, 1), "hidden_size must be a whole number of at least 1, but 0"),
        (lambda: recurrent_matrix(2, -1), "rho must be a number of at least 0, but -1 was given"),
        (lambda: recurrent_matrix(2, float("nan")), "rho must be a number of at least 0, but nan"),
        (lambda: recurrent_matrix(2, 1, non_normality=-1), "non_normality must be a number of at"),
        (lambda: recurrent_matrix(2, 1, seed=-1), "seed must be a whole number of at least 0"),
        (lambda: make_elman(activation="gelu"), "activation must be one of 'linear', 'sigmoid', "),
        (lambda: make_elman(input_size=0), "input_size must be a whole number of at least 1, but"),
        (lambda: make_elman(rho=-0.1), "rho must be a number of at least 0, but -0.1 was given"),
        (lambda: SequenceModel(nn.RNN(1, 2), 0), "output_size must be a whole number of at least"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


@pytest.mark.parametrize(
    ("x", "hx", "message"),
    [
        ([1.0], None, "input must be a tensor of shape"),
        (torch.zeros(3), None, "input must be a tensor of shape"),
        (torch.zeros(3, 2, 5), None, "input must be of input_size 1"),
        (torch.zeros(3, 2, 1), torch.zeros(1, 2, 5), r"hx must be a tensor of shape \(1, 2, 4\)"),
        (torch.zeros(3, 2, 1), torch.zeros(2, 2, 4), r"hx must be a tensor of shape \(1, 2, 4\)"),
        (torch.zeros(3, 1), torch.zeros(1, 1, 4), r"hx must be a tensor of shape \(1, 4\)"),
        (torch.zeros(3, 1), 5, r"hx must be a tensor of shape \(1, 4\), but 5 was given"),
    ],
)
def test_bad_inputs_of_the_python_loop_are_named(x, hx, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ElmanRNN(1, 4, nonlinearity="linear")(x, hx)

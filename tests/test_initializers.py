import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.testing import assert_close

import teachkit as tk
from teachkit import initializers
from teachkit.gates import gates
from teachkit.initial_states import LearnedState
from teachkit.initializers import SCHEMES, initialize, scheme

DOUBLE = torch.float64
SIZE, H = 3, 12
MODULES: dict[str, tuple[type, dict[str, Any]]] = {
    "rnn": (nn.RNN, {}),
    "lstm": (nn.LSTM, {}),
    "gru without bias": (nn.GRU, {"bias": False}),
    "deep lstm": (nn.LSTM, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    "deep gru": (nn.GRU, {"num_layers": 3}),
    "linear": (tk.ElmanRNN, {"nonlinearity": "linear", "initial_state": "learned"}),
    "drop-in lstm": (tk.LSTM, {"initial_state": LearnedState(init_std=1.0), "num_layers": 2}),
    "drop-in gru": (tk.GRU, {"initial_state": "noisy", "bidirectional": True}),
    "rnn cell": (nn.RNNCell, {}),
    "lstm cell": (nn.LSTMCell, {"bias": False}),
    "gru cell": (nn.GRUCell, {}),
    "drop-in cell": (tk.LSTMCell, {"initial_state": LearnedState(init_std=1.0)}),
}
precise = pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])


@pytest.fixture(params=MODULES)
def module(request):
    kind, options = MODULES[request.param]
    return kind(SIZE, H, **options)


def W_hh(module):
    return module.get_parameter("weight_hh_l0").detach()


def numbers(seed=0):
    return torch.Generator().manual_seed(seed)


def parts(module, kind):
    """Return all gates of the parameters of a kind, each a matrix or a vector."""
    named = gates(module).items()
    found = [v for name, views in named if name.startswith(kind) for v in views.values()]
    assert found or kind == "bias"
    return found


def check_uniform(values, bound):
    """Compare with U(-bound, bound) in its limits and its distribution."""
    values = values.detach().double().flatten().numpy()
    assert np.abs(values).max() <= bound * (1 + 1e-6)
    assert stats.kstest(values, stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3
    assert np.abs(values).max() > bound * (1 - 20 / len(values))


def check_glorot_inputs_and_zero_biases(module):
    for W in parts(module, "weight_ih"):
        bound = math.sqrt(6 / (W.shape[0] + W.shape[1]))
        assert W.abs().max() <= bound
        assert W.abs().max() > 0.7 * bound
    for bias in parts(module, "bias"):
        assert (bias == 0).all()


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_writes_every_weight_and_returns_the_module(module, name):
    for parameter in module.parameters():
        nn.init.constant_(parameter, 7.0)
    assert initialize(module, name, generator=numbers()) is module
    for parameter_name, parameter in module.named_parameters():
        if parameter_name.startswith(("weight", "bias")):
            assert (parameter != 7).all(), parameter_name
            assert parameter.requires_grad
            assert parameter.grad_fn is None
        else:
            assert (parameter == 7).all(), parameter_name  # a learned state stays


@pytest.mark.parametrize("name", SCHEMES)
def test_the_generator_sets_every_number(module, name):
    def weights(seed):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        made = initialize(copy.deepcopy(module), name, generator=numbers(seed))
        assert torch.equal(torch.get_rng_state(), before)
        return made.state_dict()

    one, again, other = weights(1), weights(1), weights(2)
    for key, value in one.items():
        assert torch.equal(value, again[key])
        assert not torch.equal(value, other[key]) or not key.startswith("weight"), key


@pytest.mark.parametrize("name", SCHEMES)
def test_without_a_generator_pytorch_draws(name):
    def weights(seed):
        torch.manual_seed(seed)
        return W_hh(initialize(nn.GRU(SIZE, H), name)).clone()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("name", SCHEMES)
def test_no_two_gates_or_layers_are_the_same(name):
    lstm = initialize(nn.LSTM(H, H, num_layers=2), name, generator=numbers())
    blocks = [W.flatten() for kind in ("weight_hh", "weight_ih") for W in parts(lstm, kind)]
    correlations = np.corrcoef(torch.stack(blocks).detach().numpy()) - np.eye(len(blocks))
    assert np.abs(correlations).max() < 0.5


@pytest.mark.parametrize("name", SCHEMES)
def test_both_precisions_get_the_same_numbers(name):
    single, double = nn.LSTM(SIZE, H), nn.LSTM(SIZE, H, dtype=DOUBLE)
    for lstm in (single, double):
        initialize(lstm, name, generator=numbers())
    for one, other in zip(single.parameters(), double.parameters(), strict=True):
        assert_close(one.double(), other, rtol=0, atol=1e-6)


# --- PyTorch's default ----------------------------------------------------------------------------


def test_torch_is_what_pytorch_draws():
    ours, theirs = nn.LSTM(20, 30, num_layers=2), nn.LSTM(20, 30, num_layers=2)
    initialize(ours, "torch", generator=numbers())
    for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        check_uniform(own, 1 / math.sqrt(30))
        check_uniform(other, 1 / math.sqrt(30))
        assert not torch.equal(own, other), name


def test_torch_is_the_default_and_draws_projections_too():
    lstm = nn.LSTM(4, 30, proj_size=20)
    for parameter in lstm.parameters():
        nn.init.constant_(parameter, 7.0)
    tk.initialize(lstm)
    for parameter in lstm.parameters():
        check_uniform(parameter, 1 / math.sqrt(30))


@pytest.mark.parametrize("hidden_size", [1, 4, 100])
def test_the_bound_is_that_of_the_hidden_size(hidden_size):
    cell = initialize(nn.GRUCell(50, hidden_size), "torch", generator=numbers())
    check_uniform(cell.weight_ih, 1 / math.sqrt(hidden_size))
    assert cell.bias_hh.var().item() < 2 / (3 * hidden_size)


# --- orthogonal -----------------------------------------------------------------------------------


@precise
@pytest.mark.parametrize("gain", [0.0, 0.9, 1, 2.5])
def test_orthogonal_gate_by_gate(module, gain, dtype):
    module.to(dtype)
    initialize(module, "orthogonal", gain=gain, generator=numbers())
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for W in parts(module, "weight_hh"):
        assert_close(W @ W.T, gain**2 * torch.eye(H, dtype=dtype), rtol=0, atol=tolerance)
    check_glorot_inputs_and_zero_biases(module)


def test_orthogonal_matrices_are_drawn_uniformly():
    # Of a uniform one every entry has mean 0 and variance 1 / H, and half have determinant 1.
    H, count = 4, 500
    layer = nn.RNN(1, H)
    stream = numbers()
    drawn = []
    for _ in range(count):
        initialize(layer, "orthogonal", generator=stream)
        drawn.append(W_hh(layer).clone())
    W = torch.stack(drawn)
    assert (W.mean(0).abs() < 5 / math.sqrt(H * count)).all()
    assert_close(W.var(0), torch.full((H, H), 1 / H), rtol=0.3, atol=0)
    assert 0.4 < (torch.linalg.det(W) > 0).float().mean() < 0.6


def test_orthogonal_is_the_default_gain_of_one():
    one, other = (nn.GRU(SIZE, H) for _ in range(2))
    initialize(one, "orthogonal", generator=numbers())
    initialize(other, "orthogonal", gain=1.0, generator=numbers())
    assert torch.equal(W_hh(one), W_hh(other))


def test_orthogonal_leaves_a_projection_alone():
    lstm = nn.LSTM(SIZE, H, proj_size=5)
    before = lstm.get_parameter("weight_hr_l0").detach().clone()
    initialize(lstm, "orthogonal", generator=numbers())
    assert torch.equal(lstm.get_parameter("weight_hr_l0"), before)
    for W in parts(lstm, "weight_hh"):
        assert_close(W.T @ W, torch.eye(5), rtol=0, atol=1e-5)


# --- Gaussian with a spectral radius --------------------------------------------------------------


@precise
@pytest.mark.parametrize("rho", [0.0, 0.5, 1, 1.7])
def test_the_spectral_radius_is_rho_gate_by_gate(module, rho, dtype):
    module.to(dtype)
    initialize(module, "gaussian", rho=rho, generator=numbers())
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for W in parts(module, "weight_hh"):
        found = np.abs(np.linalg.eigvals(W.double().numpy())).max()
        assert found == pytest.approx(rho, rel=tolerance, abs=tolerance)
        assert rho == 0 or not torch.allclose(W @ W.T, W.T @ W, atol=0.01)  # not orthogonal
    check_glorot_inputs_and_zero_biases(module)


def test_the_entries_are_gaussian():
    layer = initialize(nn.RNN(1, 60), "gaussian", rho=1.0, generator=numbers())
    W = W_hh(layer).double().flatten().numpy()
    assert stats.kstest(W / W.std(), "norm").pvalue > 1e-3
    assert W.std() == pytest.approx(1 / math.sqrt(60), rel=0.15)  # the circular law
    default = initialize(nn.RNN(1, 60), "gaussian", generator=numbers())
    assert torch.equal(W_hh(default), W_hh(layer))


def test_input_weights_are_glorot_uniform():
    for name in ("orthogonal", "gaussian"):
        lstm = initialize(nn.LSTM(40, 20), name, generator=numbers())
        for W in parts(lstm, "weight_ih"):
            check_uniform(W, math.sqrt(6 / 60))  # of one gate, not of four that are stacked


def test_a_projection_has_no_eigenvalues():
    lstm = nn.LSTM(SIZE, H, proj_size=5)
    message = r"^module must be without a projection: .*, but Tensor of shape \(12, 5\) was given"
    with pytest.raises(ValueError, match=message):
        initialize(lstm, "gaussian")


# --- schemes of one's own, and bad input ----------------------------------------------------------


def ones(module, generator, size=1.0):
    for parameter in module.parameters():
        nn.init.constant_(parameter, size)


def test_a_function_is_a_scheme():
    layer = nn.RNN(1, 2)
    initialize(layer, ones, size=3.0)
    assert W_hh(layer).tolist() == [[3, 3], [3, 3]]
    layer.get_parameter("weight_hh_l0").sum().backward()  # it was written without a trace


def test_a_scheme_can_be_entered_under_a_name(monkeypatch):
    monkeypatch.setattr("teachkit.initializers.SCHEMES", dict(SCHEMES))
    assert scheme("ones")(ones) is ones
    assert initializers.SCHEMES["ones"] is ones
    assert W_hh(initialize(nn.RNN(1, 2), "ones")).tolist() == [[1, 1], [1, 1]]
    with pytest.raises(ValueError, match=r"scheme 'ones' \(size\), but 'rho' was given"):
        initialize(nn.RNN(1, 2), "ones", rho=1)


def test_what_the_schemes_are_called():
    assert list(SCHEMES) == ["torch", "orthogonal", "gaussian"]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            (nn.RNN(1, 2), "magic"),
            {},
            "scheme must be one of 'torch', 'orthogonal', 'gaussian', but",
        ),
        ((nn.RNN(1, 2), None), {}, "scheme must be one of 'torch', .*, but None was given"),
        (
            (nn.RNN(1, 2), "torch"),
            {"gain": 1},
            r"options must be those of the scheme 'torch' \(none\), but 'gain' was given",
        ),
        (
            (nn.RNN(1, 2), "orthogonal"),
            {"rho": 1},
            r"options must be those of the scheme 'orthogonal' \(gain\), but 'rho' was given",
        ),
        ((nn.RNN(1, 2), "orthogonal"), {"gain": -1}, "gain must be a number of at least 0, but -1"),
        ((nn.RNN(1, 2), "gaussian"), {"rho": -0.5}, "rho must be a number of at least 0, but -0.5"),
        (
            (nn.RNN(1, 2), "gaussian"),
            {"rho": "big"},
            "rho must be a number of at least 0, but 'big",
        ),
        (
            (nn.RNN(1, 2), "gaussian"),
            {"rho": math.nan},
            "rho must be a number of at least 0, but n",
        ),
        ((nn.Linear(1, 2), "torch"), {}, "module must be an nn.RNN, nn.LSTM or nn.GRU, or one of"),
        ((nn.Linear(1, 2), ones), {}, "module must be an nn.RNN, nn.LSTM or nn.GRU, or one of"),
        (("lstm", "torch"), {}, "module must be an nn.RNN, nn.LSTM or nn.GRU, or one of their cel"),
    ],
)
def test_bad_input_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        initialize(*arguments, **options)

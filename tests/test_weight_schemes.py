"""The laws of the weight schemes, against SciPy, torch.nn.init and closed forms."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.testing import assert_close

import teachkit as tk
from teachkit.initializers import initialize
from teachkit.laws import TRUNCATED_STD
from tests.scheme_checks import (
    DOUBLE,
    check_glorot_inputs_and_zero_biases,
    check_law,
    check_spread,
    check_uniform,
    fill_with,
    flat,
    normal_law,
    numbers,
    parts,
    truncated_law,
    uniform_law,
)

SIZE, H, P = 40, 24, 10
precise = pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])


def W_hh(module):
    return module.get_parameter("weight_hh_l0").detach()


def radius(W):
    return torch.linalg.eigvals(W.double()).abs().max().item()


# The law of an entry, from the fans of its matrix and the hidden size.
FANS: dict[str, tuple[dict[str, Any], Callable[[int, int], Any]]] = {
    "uniform": ({}, lambda i, o: uniform_law(1 / math.sqrt(H))),
    "uniform, bound": ({"bound": 0.2}, lambda i, o: uniform_law(0.2)),
    "normal": ({"std": 0.3}, lambda i, o: normal_law(0.3)),
    "truncated_normal": (
        {"std": 0.3},
        lambda i, o: truncated_law(0.3 * stats.truncnorm(-2, 2).std()),
    ),
    "truncated_normal, corrected": (
        {"std": 0.3, "corrected": True},
        lambda i, o: truncated_law(0.3),
    ),
    "xavier_uniform": ({}, lambda i, o: uniform_law(math.sqrt(6 / (i + o)))),
    "xavier_uniform, gain": (
        {"gain": 5 / 3},
        lambda i, o: uniform_law(5 / 3 * (6 / (i + o)) ** 0.5),
    ),
    "xavier_normal": ({}, lambda i, o: normal_law(math.sqrt(2 / (i + o)))),
    "xavier_normal, gain": ({"gain": 0.5}, lambda i, o: normal_law(0.5 * (2 / (i + o)) ** 0.5)),
    "kaiming_uniform": ({}, lambda i, o: uniform_law(math.sqrt(6 / i))),
    "kaiming_uniform, tanh": (
        {"nonlinearity": "tanh"},
        lambda i, o: uniform_law(5 / 3 * math.sqrt(3 / i)),
    ),
    "kaiming_normal": ({}, lambda i, o: normal_law(math.sqrt(2 / i))),
    "kaiming_normal, linear": ({"nonlinearity": "linear"}, lambda i, o: normal_law(i**-0.5)),
    "lecun_uniform": ({}, lambda i, o: uniform_law(math.sqrt(3 / i))),
    "lecun_uniform, gain": ({"gain": 2.0}, lambda i, o: uniform_law(2 * math.sqrt(3 / i))),
    "lecun_normal": ({}, lambda i, o: normal_law(math.sqrt(1 / i))),
    "lecun_normal, gain": ({"gain": 2.0}, lambda i, o: normal_law(2 * math.sqrt(1 / i))),
}
TAKE_FUSED = ("xavier", "kaiming", "lecun")


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", FANS)
def test_every_entry_has_the_law_of_its_fans(name, fused):
    scheme = name.split(",")[0]
    options, law = FANS[name]
    if fused and not scheme.startswith(TAKE_FUSED):
        with pytest.raises(ValueError, match=rf"^options must be those of .*'{scheme}' .*'fused'"):
            initialize(nn.LSTM(SIZE, H), scheme, **options, fused=True)
        return
    extra = {"fused": True} if fused else {}
    lstm = fill_with(nn.LSTM(SIZE, H, 2, bidirectional=True, proj_size=P), 7.0)
    initialize(lstm, scheme, generator=numbers(), **options, **extra)
    rows = 4 * H if fused else H
    fans = {"weight_ih_l0": SIZE, "weight_ih_l1": 2 * P, "weight_hh": P}
    samples = []
    for kind, columns in fans.items():
        for W in parts(lstm, kind):
            assert W.shape == (H, columns)
            check_law(W, law(columns, rows))
            samples.append((W, law(columns, rows)))
    check_spread(samples)
    for parameter_name, W in lstm.named_parameters():
        if "weight_hr" in parameter_name:
            check_law(W, law(H, P))
        if "bias" in parameter_name:
            assert (W == 0).all()


@pytest.mark.parametrize(
    "name", ["xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"]
)
def test_fused_is_what_torch_nn_init_writes_to_the_stacked_matrix(name):
    lstm = initialize(nn.LSTM(5, 6, dtype=DOUBLE), name, fused=True, generator=numbers())
    other, stream = nn.LSTM(5, 6, dtype=DOUBLE), numbers()
    for kind in ("weight_ih_l0", "weight_hh_l0"):
        more = {"nonlinearity": "relu"} if "kaiming" in name else {}
        getattr(nn.init, f"{name}_")(other.get_parameter(kind), generator=stream, **more)
        assert torch.equal(lstm.get_parameter(kind), other.get_parameter(kind))


@pytest.mark.parametrize("name", ["normal", "truncated_normal"])
def test_a_standard_deviation_of_zero_is_zero(name):
    gru = initialize(fill_with(nn.GRU(2, 3), 7.0), name, std=0)
    assert all((parameter == 0).all() for parameter in gru.parameters())


def test_the_cut_costs_twelve_percent():
    assert stats.truncnorm(-2, 2).std() == pytest.approx(TRUNCATED_STD, rel=1e-12)
    for corrected, factor in ((False, 0.8796), (True, 1.0)):
        rnn = nn.RNN(1, 300)
        initialize(rnn, "truncated_normal", std=0.5, corrected=corrected, generator=numbers())
        assert W_hh(rnn).std().item() == pytest.approx(0.5 * factor, rel=0.01)


@pytest.mark.parametrize(
    ("name", "options", "rho", "sigma"),
    [
        ("uniform", {}, 1 / math.sqrt(3), 2 / math.sqrt(3)),
        ("xavier_uniform", {}, 1.0, 2.0),
        ("xavier_uniform", {"fused": True}, math.sqrt(2 / 5), 2 * math.sqrt(2 / 5)),
        ("kaiming_uniform", {}, math.sqrt(2), 2 * math.sqrt(2)),
        ("kaiming_normal", {"fused": True}, math.sqrt(2), 2 * math.sqrt(2)),
        ("lecun_normal", {}, 1.0, 2.0),
        ("orthogonal", {}, 1.0, 1.0),
        ("orthogonal", {"fused": True}, 0.5, math.sqrt(3) / 2),
    ],
)
def test_the_spectrum_of_a_gate(name, options, rho, sigma):
    # The limits for a large hidden size; at 200 the radius is a few percent above its limit.
    lstm = initialize(nn.LSTM(1, 200), name, generator=numbers(), **options)
    found = [radius(W) for W in parts(lstm, "weight_hh")]
    largest = [torch.linalg.matrix_norm(W, 2).item() for W in parts(lstm, "weight_hh")]
    assert np.mean(found) == pytest.approx(rho, rel=0.08)
    assert np.mean(largest) == pytest.approx(sigma, rel=0.04)


# --- orthogonal -----------------------------------------------------------------------------------


@precise
@pytest.mark.parametrize("haar", [True, False])
@pytest.mark.parametrize("gain", [0.0, 0.9, 1, 2.5])
def test_orthogonal_gate_by_gate(gain, haar, dtype):
    module = nn.LSTM(3, 12, 2, bidirectional=True, dtype=dtype)
    initialize(module, "orthogonal", gain=gain, haar=haar, generator=numbers())
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for W in parts(module, "weight_hh"):
        assert_close(W @ W.T, gain**2 * torch.eye(12, dtype=dtype), rtol=0, atol=tolerance)
    check_glorot_inputs_and_zero_biases(module)


@pytest.mark.parametrize("haar", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_fused_orthogonal_has_orthonormal_columns_and_no_orthogonal_gate(kind, haar):
    module = kind(5, 12, 2, dtype=DOUBLE)
    options = {"fused": True, "haar": haar, "gain": 2.0}
    initialize(module, "orthogonal", generator=numbers(), **options)
    count = 4 if kind is nn.LSTM else 3
    for layer, columns in ((0, 5), (1, 12)):
        W = module.get_parameter(f"weight_hh_l{layer}").detach()
        assert_close(W.T @ W, 4 * torch.eye(12, dtype=DOUBLE), rtol=0, atol=1e-12)
        check_uniform(
            module.get_parameter(f"weight_ih_l{layer}"),
            math.sqrt(6 / (columns + count * 12)),
        )
    for W in parts(module, "weight_hh"):
        assert torch.linalg.svdvals(W).min() < 1.5


@pytest.mark.parametrize("haar", [True, False])
def test_only_with_the_signs_corrected_are_orthogonal_matrices_drawn_uniformly(haar):
    # Of a uniform one every entry has mean 0 and variance 1 / H, and half have determinant 1.
    H, count = 4, 500
    layer = nn.RNN(1, H)
    stream = numbers()
    drawn = []
    for _ in range(count):
        initialize(layer, "orthogonal", haar=haar, generator=stream)
        drawn.append(W_hh(layer).clone())
    W = torch.stack(drawn)
    first_is_negative = (W[:, 0, 0] < 0).float().mean().item()
    is_rotation = (torch.linalg.det(W) > 0).float().mean().item()
    if not haar:
        assert (first_is_negative, is_rotation) == (1.0, 0.0)
        return
    assert 0.4 < first_is_negative < 0.6
    assert 0.4 < is_rotation < 0.6
    assert (W.mean(0).abs() < 5 / math.sqrt(H * count)).all()
    assert_close(W.var(0), torch.full((H, H), 1 / H), rtol=0.3, atol=0)


def test_orthogonal_leaves_a_projection_alone():
    lstm = nn.LSTM(3, 12, proj_size=5)
    before = lstm.get_parameter("weight_hr_l0").detach().clone()
    initialize(lstm, "orthogonal", generator=numbers())
    assert torch.equal(lstm.get_parameter("weight_hr_l0"), before)
    for W in parts(lstm, "weight_hh"):
        assert_close(W.T @ W, torch.eye(5), rtol=0, atol=1e-5)


# --- Gaussian with a spectral radius --------------------------------------------------------------


@precise
@pytest.mark.parametrize("rho", [0.0, 0.5, 1, 1.7])
def test_the_spectral_radius_is_rho_gate_by_gate(rho, dtype):
    module = nn.GRU(3, 12, 2, dtype=dtype)
    initialize(module, "gaussian", rho=rho, generator=numbers())
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for W in parts(module, "weight_hh"):
        assert radius(W) == pytest.approx(rho, rel=tolerance, abs=tolerance)
        assert rho == 0 or not torch.allclose(W @ W.T, W.T @ W, atol=0.01)  # not orthogonal
    check_glorot_inputs_and_zero_biases(module)


def test_the_entries_are_gaussian():
    layer = initialize(nn.RNN(1, 60), "gaussian", generator=numbers())
    W = flat(W_hh(layer))
    assert stats.kstest(W / W.std(), "norm").pvalue > 1e-3
    assert W.std() == pytest.approx(1 / math.sqrt(60), rel=0.15)  # the circular law


@pytest.mark.parametrize("name", ["orthogonal", "gaussian", "identity", "sparse"])
def test_input_weights_are_glorot_uniform(name):
    lstm = initialize(nn.LSTM(40, 20), name, generator=numbers())
    for W in parts(lstm, "weight_ih"):
        check_uniform(W, math.sqrt(6 / 60))  # of one gate, not of four that are stacked


# --- identity -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 0.01, -2])
def test_every_gate_is_the_identity(scale):
    lstm = initialize(nn.LSTM(3, 5, 2), "identity", scale=scale)
    for W in parts(lstm, "weight_hh"):
        assert torch.equal(W, scale * torch.eye(5))
    check_glorot_inputs_and_zero_biases(lstm)


def test_the_fused_identity_is_that_of_torch_nn_init():
    gru = initialize(nn.GRU(3, 5), "identity", fused=True, scale=2.0)
    assert torch.equal(W_hh(gru), 2 * nn.init.eye_(torch.empty(15, 5)))
    reset, update, new = parts(gru, "weight_hh")
    assert torch.equal(reset, 2 * torch.eye(5))
    assert not update.any()
    assert not new.any()


def test_a_relu_network_that_starts_at_the_identity_keeps_its_state():
    rnn = initialize(tk.ElmanRNN(1, 6, nonlinearity="relu"), "identity")
    h0 = torch.rand(1, 1, 6)
    output, _ = rnn(torch.zeros(100, 1, 1), h0)
    assert torch.equal(output, h0.expand(100, 1, 6))


# --- sparse ---------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 9))
def test_every_unit_has_its_number_of_inputs(hidden_size, connections, seed):
    gru = nn.GRU(2, hidden_size)
    initialize(gru, "sparse", connections=connections, generator=numbers(seed))
    for W in parts(gru, "weight_hh"):
        assert (W.count_nonzero(1) == min(connections, hidden_size)).all()


def test_sparse_inputs_are_normal_and_come_from_anywhere():
    lstm = initialize(nn.LSTM(1, 100), "sparse", std=0.3, generator=numbers())
    W = torch.stack(parts(lstm, "weight_hh"))
    check_law(W[W != 0], normal_law(0.3))
    outputs = W.count_nonzero(1).double()  # of each unit; binomial, where the inputs are 15
    assert outputs.mean() == 15
    assert outputs.var().item() == pytest.approx(100 * 0.15 * 0.85, rel=0.2)
    assert not torch.equal(W[0] != 0, W[1] != 0)


@precise
def test_sparse_with_a_spectral_radius(dtype):
    rnn = initialize(nn.RNN(2, 50, dtype=dtype), "sparse", rho=0.95, generator=numbers())
    assert radius(W_hh(rnn)) == pytest.approx(0.95, rel=1e-5)
    assert (W_hh(rnn).count_nonzero(1) == 15).all()
    faint = initialize(nn.RNN(2, 50), "sparse", generator=numbers())
    assert radius(W_hh(faint)) < 0.06  # with the std of the sources


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("gaussian", {}, "only a square W_hh has eigenvalues"),
        ("sparse", {"rho": 0.9}, "only a square W_hh has eigenvalues"),
        ("identity", {}, "only a square W_hh can be the identity"),
        ("identity", {"fused": True}, "only a square W_hh can be the identity"),
    ],
)
def test_a_projection_is_refused(name, options, what):
    lstm = fill_with(nn.LSTM(3, 12, proj_size=5), 7.0)
    message = rf"^proj_size must be 0 for this scheme, as {what}, but 5 was given"
    with pytest.raises(ValueError, match=message):
        initialize(lstm, name, **options)
    assert all((parameter == 7).all() for parameter in lstm.parameters())


def test_sparse_leaves_a_projection_alone():
    lstm = fill_with(nn.LSTM(3, 12, proj_size=5), 7.0)
    initialize(lstm, "sparse", connections=2)
    assert (lstm.get_parameter("weight_hr_l0") == 7).all()
    assert all((W.count_nonzero(1) == 2).all() for W in parts(lstm, "weight_hh"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("uniform", {"bound": -1}, "bound must be a number of at least 0, but -1 was given"),
        ("normal", {"std": -1}, "std must be a number of at least 0, but -1 was given"),
        ("normal", {"std": None}, "std must be a number of at least 0, but None was given"),
        ("truncated_normal", {"std": math.nan}, "std must be a number of at least 0, but nan was"),
        (
            "truncated_normal",
            {"std": 1, "corrected": "no"},
            "corrected must be one of True, False, but 'no' was given",
        ),
        ("xavier_uniform", {"gain": -1}, "gain must be a number of at least 0, but -1 was given"),
        ("xavier_normal", {"gain": "big"}, "gain must be a number of at least 0, but 'big' was"),
        ("xavier_normal", {"fused": 2}, "fused must be one of True, False, but 2 was given"),
        (
            "kaiming_uniform",
            {"nonlinearity": "gelu"},
            "nonlinearity must be one of 'linear', .* 'selu', but 'gelu' was given",
        ),
        ("kaiming_normal", {"nonlinearity": None}, "nonlinearity must be one of 'linear', .* None"),
        ("kaiming_normal", {"gain": 1}, "options must be those of the scheme 'kaiming_normal'"),
        ("lecun_uniform", {"gain": -1}, "gain must be a number of at least 0, but -1 was given"),
        ("lecun_normal", {"gain": -1}, "gain must be a number of at least 0, but -1 was given"),
        ("orthogonal", {"gain": -1}, "gain must be a number of at least 0, but -1 was given"),
        ("orthogonal", {"haar": "yes"}, "haar must be one of True, False, but 'yes' was given"),
        ("orthogonal", {"fused": None}, "fused must be one of True, False, but None was given"),
        ("gaussian", {"rho": -0.5}, "rho must be a number of at least 0, but -0.5 was given"),
        ("gaussian", {"rho": "big"}, "rho must be a number of at least 0, but 'big' was given"),
        ("gaussian", {"rho": math.nan}, "rho must be a number of at least 0, but nan was given"),
        ("identity", {"scale": math.inf}, "scale must be a finite number, but inf was given"),
        ("sparse", {"connections": 0}, "connections must be a whole number of at least 1, but 0"),
        ("sparse", {"connections": 1.5}, "connections must be a whole number of at least 1, but"),
        ("sparse", {"std": -1}, "std must be a number of at least 0, but -1 was given"),
        ("sparse", {"rho": -1}, "rho must be a number of at least 0, but -1 was given"),
    ],
)
def test_a_bad_option_is_named_before_anything_is_written(name, options, message):
    rnn = fill_with(nn.RNN(1, 2), 7.0)
    with pytest.raises(ValueError, match=f"^{message}"):
        initialize(rnn, name, **options)
    assert all((parameter == 7).all() for parameter in rnn.parameters())

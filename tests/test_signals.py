"""Signals at initialisation: against autograd, PyTorch's layers, closed forms and simulation."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erfc, expit
from torch import nn
from torch.testing import assert_close

import teachkit as tk
from teachkit.device import generator
from teachkit.signals import (
    expected_signal,
    saturated_share,
    signal_of,
    signal_through_depth,
    signal_through_time,
)
from teachkit.square_schemes import SQUARE_SCHEMES, square_matrices, variance_factor

ACTIVATIONS = {"linear": lambda a: a, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
ACTIVATIONS["relu"] = torch.relu
OWN_SCHEME = {"scheme": "normal", "std": 0.2}
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def start(purpose, shape, seed):
    drawn = torch.randn(shape, generator=generator(seed, purpose), dtype=torch.float64)
    return drawn / drawn.square().mean(-1, keepdim=True).sqrt()


def mean_squares(tensors):
    return torch.stack([t.detach().square().mean() for t in tensors])


# -- measured -----------------------------------------------------------------------------------


@each_activation
@pytest.mark.parametrize("scheme", ["kaiming_normal", "orthogonal", "sparse", OWN_SCHEME])
def test_layers_and_gradients_are_those_of_autograd(scheme, activation):
    H, L, B, gain, seed = 12, 7, 5, 1.3, 3
    h = start("h0", (B, H), seed).requires_grad_()
    states = [h]
    for W in square_matrices(scheme, H, L, seed=seed):
        states.append(ACTIVATIONS[activation](states[-1] @ (gain * W).T))
    arriving = start("gradient", (B, H), seed)
    gradients = torch.autograd.grad(states[-1], states, arriving)
    found = signal_through_depth(
        scheme, gain=gain, activation=activation, hidden_size=H, depth=L, batch_size=B, seed=seed
    )
    assert_close(found.activations, mean_squares(states), rtol=1e-12, atol=0)
    assert_close(found.gradients, mean_squares(gradients), rtol=1e-12, atol=0)
    assert_close(found.values, states[-1].detach().flatten())


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "sigmoid", "linear"])
@pytest.mark.parametrize("driven", [False, True])
def test_steps_and_gradients_are_those_of_a_recurrent_layer(nonlinearity, driven):
    H, T, B, gain, seed = 9, 8, 4, 1.7, 5
    rnn = tk.ElmanRNN(H, H, bias=False, nonlinearity=nonlinearity, dtype=torch.float64)
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(torch.eye(H))
        rnn.weight_hh_l0.copy_(gain * square_matrices("xavier_uniform", H, 1, seed=seed)[0])
    x = torch.zeros(T, B, H, dtype=torch.float64)
    if driven:
        x = torch.randn(x.shape, generator=generator(seed, "input"), dtype=torch.float64)
    h0 = start("h0", (1, B, H), seed)
    arriving = start("gradient", (B, H), seed)
    loss = lambda outputs: (outputs[-1] * arriving).sum()  # noqa: E731
    back = tk.gradient_through_time(rnn, x, h0, loss)
    found = signal_through_time(
        "xavier_uniform", gain=gain, activation=nonlinearity, hidden_size=H, seq_len=T,
        input=driven, batch_size=B, seed=seed,
    )  # fmt: skip
    assert_close(found.activations, mean_squares([h0[0], *rnn(x, h0)[0]]), rtol=1e-10, atol=0)
    assert_close(found.gradients, back.growth.flip(0) ** 2, rtol=1e-10, atol=0)


def test_time_meets_the_first_matrix_of_depth_at_every_step():
    shared: dict[str, Any] = {"gain": 1.4, "hidden_size": 10, "seed": 2}
    depth = signal_through_depth("lecun_normal", depth=6, **shared)
    time = signal_through_time("lecun_normal", seq_len=6, **shared)
    assert_close(depth.activations[:2], time.activations[:2])
    assert_close(depth.eigenvalues, time.eigenvalues)
    assert not torch.allclose(depth.activations[2:], time.activations[2:])
    # One layer is one step, and its gradient too.
    one = signal_through_depth("lecun_normal", depth=1, **shared)
    assert_close(one.gradients, signal_through_time("lecun_normal", seq_len=1, **shared).gradients)


@pytest.mark.parametrize("through", [signal_through_depth, signal_through_time])
def test_a_linear_orthogonal_network_keeps_both_exactly(through):
    steps = {"depth" if through is signal_through_depth else "seq_len": 100}
    for scheme in ("orthogonal", "identity"):
        found = through(scheme, activation="linear", hidden_size=16, **steps)
        assert_close(found.activations, torch.ones(101, dtype=torch.float64), rtol=1e-11, atol=0)
        assert_close(found.gradients, torch.ones(101, dtype=torch.float64), rtol=1e-11, atol=0)
        assert (found.rho, found.sigma_max) == (pytest.approx(1), pytest.approx(1))


def test_the_identity_is_each_activation_again_and_again():
    h = start("h0", (64, 30), 1)
    expected = [h]
    for _ in range(4):
        expected.append(torch.tanh(1.5 * expected[-1]))
    found = signal_through_depth("identity", gain=1.5, hidden_size=30, depth=4, seed=1)
    assert_close(found.activations, mean_squares(expected))
    relu = signal_through_depth("identity", activation="relu", hidden_size=30, depth=4, seed=1)
    assert_close(relu.activations[1:], relu.activations[1].expand(4))  # the first turns half off
    assert_close(relu.saturated[1:], (h <= 0).double().mean().expand(4))


@pytest.mark.parametrize("scheme", ["uniform", "sparse", OWN_SCHEME, ["orthogonal"]])
def test_whatever_initialize_takes_is_sent_through(scheme):
    rnn = tk.ElmanRNN(1, 16, dtype=torch.float64)
    tk.initialize(rnn, scheme, generator=generator(4, "W of layer 1"))
    W = rnn.weight_hh_l0.detach()
    found = signal_through_time(scheme, gain=1.5, hidden_size=16, seq_len=3, seed=4)
    h = [start("h0", (64, 16), 4)]
    for _ in range(3):
        h.append(torch.tanh(1.5 * h[-1] @ W.T))
    assert_close(found.activations, mean_squares(h))
    assert found.rho == pytest.approx(1.5 * tk.spectral_radius(W).item())
    assert found.sigma_max == pytest.approx(1.5 * tk.sigma_max(W).item())
    one = signal_through_depth(scheme, gain=1.5, hidden_size=16, depth=1, seed=4)
    assert_close(one.activations, found.activations[:2])


@settings(max_examples=20)
@given(
    factor=st.floats(0.05, 20.0),
    activation=st.sampled_from(["linear", "relu"]),
    scheme=st.sampled_from([*SQUARE_SCHEMES]),
    seed=st.integers(0, 3),
)
def test_where_nothing_saturates_a_gain_is_a_power(factor, activation, scheme, seed):
    shared = {"activation": activation, "hidden_size": 8, "depth": 5, "seed": seed}
    one = signal_through_depth(scheme, **shared)
    other = signal_through_depth(scheme, gain=factor, **shared)
    power = 2 * math.log10(factor) * torch.arange(6, dtype=torch.float64)
    assert_close(other.log10_activations, one.log10_activations + power)
    assert_close(other.log10_gradients, one.log10_gradients + power.flip(0))
    assert_close(other.eigenvalues, factor * one.eigenvalues)
    assert other.sigma_max == pytest.approx(factor * one.sigma_max)
    assert_close(other.saturated, one.saturated)


@settings(max_examples=15)
@given(gain=st.floats(0.1, 3.0), seed=st.integers(0, 3), driven=st.booleans())
def test_no_gradient_grows_faster_than_the_largest_singular_value(gain, seed, driven):
    for activation, slope in (("tanh", 1.0), ("sigmoid", 0.25), ("relu", 1.0)):
        found = signal_through_time(
            "kaiming_uniform", gain=gain, activation=activation, hidden_size=8, seq_len=10,
            input=driven, seed=seed,
        )  # fmt: skip
        most = 2 * math.log10(slope * found.sigma_max) * torch.arange(10, -1, -1)
        assert (found.log10_gradients <= most + 1e-9).all()


def test_the_trap_of_the_variance_taken_for_a_standard_deviation():
    shared: dict[str, Any] = {"activation": "relu", "hidden_size": 256, "depth": 20}
    ends = {
        scheme: torch.tensor(
            [
                signal_through_depth(scheme, seed=seed, **shared).log10_activations[-1]
                for seed in range(3)
            ]
        )
        for scheme in ("kaiming_normal", "std = 2/H")
    }
    # (1/2 * 256 * (2/256)^2)^20 = 7e-43, and a factor of a few up and down from seed to seed
    assert (ends["std = 2/H"] + 42.14).abs().max() < 1.0
    assert ends["kaiming_normal"].abs().max() < 1.0


def test_saturated_is_a_slope_below_a_twentieth_of_the_steepest():
    edge = math.sqrt(0.95)
    assert saturated_share([edge - 1e-6, edge + 1e-6, -1.0, 0.0]).item() == 0.5
    a = math.log(0.0125)  # sigmoid' = 0.0125 is a twentieth of 1/4
    h = torch.sigmoid(torch.tensor([[a - 0.1, 0.0], [a + 0.1, 3.0]], dtype=torch.float64))
    assert saturated_share(h, "sigmoid").tolist() == [0.5, 0.0]
    assert saturated_share([0.0, 1e-9, 5.0, 0.0], "relu").item() == 0.5
    assert saturated_share([0.0, 100.0], "linear").item() == 0.0
    with pytest.raises(ValueError, match=r"^activation must be one of .*'gelu' was given"):
        saturated_share([0.0], "gelu")
    with pytest.raises(ValueError, match=r"^activation must be one of .*, but 3 was given"):
        saturated_share([0.0], 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("h", [None, "h", [], 0.5])
def test_saturated_units_must_be_numbers(h):
    with pytest.raises(ValueError, match=r"^h must be numbers of shape \(\.\.\., H\), the outputs"):
        saturated_share(h)


def test_saturation_by_layer_is_that_of_the_states():
    h = start("h0", (64, 40), 6)
    shares = [0.0]
    for W in square_matrices("kaiming_normal", 40, 3, seed=6):
        h = torch.tanh(2.5 * h @ W.T)
        shares.append((1 - h**2 < 0.05).double().mean().item())
    found = signal_through_depth("kaiming_normal", gain=2.5, hidden_size=40, depth=3, seed=6)
    np.testing.assert_allclose(found.saturated, shares)
    assert found.saturated[-1] > 0.3


# -- float range --------------------------------------------------------------------------------


@each_activation
@pytest.mark.parametrize("through", [signal_through_depth, signal_through_time])
def test_gain_3_after_200_steps_is_a_number(activation, through):
    steps = {"depth" if through is signal_through_depth else "seq_len": 200}
    found = through("kaiming_normal", gain=3.0, activation=activation, hidden_size=32, **steps)
    assert torch.isfinite(found.log10_activations).all()
    assert torch.isfinite(found.log10_gradients).all()
    if activation == "linear":
        assert found.log10_activations[-1] > 200


def test_mean_squares_below_float_range_are_numbers_too():
    found = signal_through_depth("std = 2/H", gain=0.1, hidden_size=256, depth=100)
    assert found.log10_activations[-1] == pytest.approx(100 * math.log10(0.01 * 4 / 256), abs=1)
    assert found.activations[-1] == 0  # 1e-381 is no float
    assert found.gradients[0] == 0
    theory = expected_signal(0.01 * 4 / 256, "tanh", 100)
    assert theory.log10_activations[-1] == pytest.approx(100 * math.log10(0.01 * 4 / 256), abs=0.5)


def test_beyond_that_it_is_infinity_or_zero_and_no_error():
    up = signal_through_time(
        "identity", gain=100.0, activation="linear", seq_len=200, hidden_size=4
    )
    assert up.log10_activations[-1] == up.log10_gradients[0] == math.inf
    assert up.activations[-1] == math.inf
    down = signal_through_time("identity", gain=0.0, activation="relu", seq_len=3, hidden_size=4)
    assert down.log10_activations.tolist() == [pytest.approx(0), *[-math.inf] * 3]
    assert down.gradients.tolist() == [0, 0, 0, pytest.approx(1)]


# -- theory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize(
    "variance", [1e-20, 1e-13, 1e-6, 0.3, 1.0, 4.9, 5.0, 18.0, 21.0, 900.0, 1e4, 9e4, 1e6, 1e12]
)
def test_one_layer_of_theory_is_the_integral(activation, variance):
    def phi(a):
        return math.tanh(a) if activation == "tanh" else expit(a)

    def slope(a):
        if activation == "sigmoid":
            return expit(a) * expit(-a)
        return 4 * expit(2 * a) * expit(-2 * a)  # without the rounding of 1 - tanh^2

    def mean(f):
        # Piece by piece in a = sqrt(variance) z: what is narrow at a large variance is near 0.
        s = math.sqrt(variance)
        cuts = sorted({c for c in (0.0, 1.0, 4.0, 20.0, 60.0) if c < 9 * s} | {s, 3 * s, 9 * s})
        inner = lambda a: f(a) ** 2 * math.exp(-((a / s) ** 2) / 2)  # noqa: E731
        both = lambda a: inner(a) + inner(-a)  # noqa: E731
        pieces = [quad(both, *ends, epsabs=0, epsrel=1e-11)[0] for ends in pairwise(cuts)]
        return sum(pieces) / (s * math.sqrt(2 * math.pi))

    found = expected_signal(variance, activation, 1)
    assert found.activations[1].item() == pytest.approx(mean(phi), rel=1e-9)
    assert found.gradients[0].item() == pytest.approx(variance * mean(slope), rel=1e-9)


@pytest.mark.parametrize("s", [1e6, 1e100, 1e150])
def test_theory_of_a_step_is_a_closed_form(s):
    # The integrals of tanh'^2 and sigmoid'^2 are 4 / 3 and 1 / 6; the density is flat beneath them.
    for activation, area, square in (("tanh", 4 / 3, 1.0), ("sigmoid", 1 / 6, 0.5)):
        found = expected_signal(s**2, activation, 1)
        assert found.activations[1].item() == pytest.approx(square, rel=1e-5)
        expected = math.log10(s * area / math.sqrt(2 * math.pi))
        assert found.log10_gradients[0].item() == pytest.approx(expected, abs=1e-10)


def test_theory_of_a_steep_tanh_is_what_a_network_does():
    found = [
        signal_through_depth("xavier_normal", gain=500, hidden_size=512, depth=3, seed=seed)
        for seed in range(8)
    ]
    # The few units that are not flat carry it, so that networks differ by a factor of three or so.
    theory = expected_signal(500**2, "tanh", 3).log10_gradients
    measured = torch.stack([one.gradients for one in found]).mean(0).log10()
    assert ((measured - theory).abs() < torch.tensor([0.5, 0.25, 0.1, 1e-9])).all()


@pytest.mark.parametrize(("activation", "half"), [("linear", 1.0), ("relu", 0.5)])
def test_theory_of_linear_and_relu_is_a_power(activation, half):
    found = expected_signal(3.0, activation, 400)
    powers = np.arange(401) * math.log10(3.0 * half)
    np.testing.assert_allclose(found.log10_activations, powers, atol=1e-9)
    np.testing.assert_allclose(found.log10_gradients, powers[::-1], atol=1e-9)


def test_theory_with_input_adds_its_variance_in_every_step():
    found = expected_signal(0.5, "linear", 60, input_variance=1.0)
    expected = [1.0]
    for _ in range(60):
        expected.append(0.5 * expected[-1] + 1.0)
    np.testing.assert_allclose(found.activations, expected)
    np.testing.assert_allclose(found.gradients, 0.5 ** np.arange(60, -1, -1.0))


def test_theory_of_a_dead_layer():
    found = expected_signal(0.0, "tanh", 2)
    assert found.activations.tolist() == [1, 0, 0]
    assert found.gradients.tolist() == [0, 0, 1]
    assert expected_signal(0.0, "sigmoid", 2).activations.tolist() == pytest.approx([1, 0.25, 0.25])


@pytest.mark.parametrize("through", ["depth", "time", "time, with input"])
@pytest.mark.parametrize(
    ("activation", "scheme", "gain"),
    [
        ("linear", "xavier_uniform", 1.1),
        ("tanh", "xavier_normal", 1.5),
        ("tanh", "orthogonal", 1.0),
        ("tanh", "sparse, std = 1/sqrt(15)", 2.0),
        ("sigmoid", "kaiming_uniform", 2.0),
        ("relu", "kaiming_normal", 1.0),
        ("relu", "truncated_normal, std = 1/sqrt(H)", 1.2),
    ],
)
def test_wide_networks_do_what_theory_expects(activation, scheme, gain, through):
    H, L = 512, 5
    # One relu matrix at every step is another matter: its states share a mean direction.
    if activation == "relu" and through != "depth":
        L = 2
    shared = {"gain": gain, "activation": activation, "hidden_size": H, "batch_size": 16}
    driven = through == "time, with input"
    found = [
        signal_through_depth(scheme, depth=L, seed=seed, **shared)
        if through == "depth"
        else signal_through_time(scheme, seq_len=L, input=driven, seed=seed, **shared)
        for seed in range(2)
    ]
    factor = variance_factor(scheme, H, gain)
    theory = expected_signal(factor, activation, L, input_variance=float(driven))
    for name in ("log10_activations", "log10_gradients"):
        measured = torch.stack([getattr(one, name) for one in found]).mean(0)
        assert (measured - getattr(theory, name)).abs().max() < (
            0.2 if activation == "relu" else 0.06
        )


def test_relu_with_the_variance_of_he_keeps_the_mean_square_on_average():
    # Exact at any width: half of the mean square is lost, and the weights double it.
    ends = torch.stack(
        [
            signal_through_depth(
                "kaiming_normal", activation="relu", hidden_size=16, depth=3, seed=seed
            ).activations[-1]
            for seed in range(200)
        ]
    )
    error = ends.std().item() / 200**0.5
    assert ends.mean().item() == pytest.approx(1.0, abs=4 * error)
    assert error < 0.12


def test_the_saturated_share_is_that_of_a_normal_pre_activation():
    found = signal_through_depth("kaiming_normal", gain=2.0, hidden_size=512, depth=6)
    q = expected_signal(8.0, "tanh", 6).activations
    edge = math.atanh(math.sqrt(0.95))
    expected = [0.0, *(erfc(edge / math.sqrt(2 * 8.0 * before)) for before in q[:-1])]
    np.testing.assert_allclose(found.saturated, expected, atol=0.02)


# -- the reader's own network -------------------------------------------------------------------

OWN = {
    "RNN": lambda: (nn.RNN(3, 8), torch.randn(20, 2, 3)),
    "ElmanRNN": lambda: (tk.ElmanRNN(3, 8, nonlinearity="sigmoid"), torch.randn(20, 2, 3)),
    "relu, unbatched": lambda: (nn.RNN(3, 8, nonlinearity="relu"), torch.randn(20, 3)),
    "LSTM": lambda: (nn.LSTM(3, 8, batch_first=True), torch.randn(2, 20, 3)),
    "GRU": lambda: (nn.GRU(3, 8, num_layers=2), torch.randn(20, 2, 3)),
    "projection": lambda: (nn.LSTM(3, 8, proj_size=4), torch.randn(20, 2, 3)),
}


def full_lstm():
    """An LSTM that adds nearly 1 to its cells at every step and forgets next to nothing."""
    rnn = nn.LSTM(1, 4).double()
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        biases = rnn.get_parameter("bias_ih_l0")
        biases[:4], biases[4:8], biases[8:12] = 5.0, 6.0, 5.0
    return rnn


@pytest.mark.parametrize("kind", OWN)
def test_an_own_network_is_measured_as_its_layer_runs(kind):
    torch.manual_seed(3)
    rnn, x = OWN[kind]()
    rnn, x = rnn.double(), x.double()
    found = signal_of(rnn, x)
    outputs = rnn(x)[0].detach()
    outputs = outputs.transpose(0, 1) if rnn.batch_first else outputs.reshape(20, -1)
    expected = outputs.reshape(20, -1).square().mean(-1)
    assert_close(found.activations[1:], expected)
    assert found.activations[0] == 0  # the layer starts from zeros
    assert_close(found.values, outputs[-1].flatten())
    back = tk.gradient_through_time(rnn, x)
    growth = back.growth if back.growth_c is None else back.growth_c
    assert_close(found.gradients, growth.flip(0) ** 2)
    if isinstance(rnn, nn.LSTM):
        return
    flat = {"relu, unbatched": outputs <= 0, "ElmanRNN": outputs * (1 - outputs) < 0.0125}.get(
        kind, outputs**2 > 0.95
    )
    assert_close(found.saturated[1:], flat.reshape(20, -1).double().mean(-1))
    assert found.saturated[0] == 0


@pytest.mark.parametrize("options", [{}, {"proj_size": 2}])
def test_saturated_in_an_lstm_are_the_cells(options):
    torch.manual_seed(3)
    rnn, x = nn.LSTM(3, 8, **options).double(), torch.randn(12, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        biases = rnn.get_parameter("bias_ih_l0")
        biases[:16] += 4.0
        biases[20:24] += 2.0  # half of the cells fill
        biases[24:] -= 3.0  # nearly closed: h stays small
    cells = torch.stack([rnn(x[:t])[1][1][0].detach() for t in range(1, 13)])
    expected = (1 - cells.tanh() ** 2 < 0.05).double().mean((1, 2))
    assert 0.4 < expected[-1] < 0.9
    found = signal_of(rnn, x)
    assert_close(found.saturated, torch.cat([torch.zeros(1, dtype=torch.float64), expected]))
    assert found.values.abs().max() < 0.9


def test_a_ratio_to_a_last_gradient_of_0_is_not_defined():
    rnn = full_lstm()
    x = torch.zeros(60, 1, dtype=torch.float64)
    cell = rnn(x)[1][1]
    assert (1 - cell.tanh() ** 2 == 0).all()  # the case is real
    found = signal_of(rnn, x)
    assert found.log10_gradients.isnan().all()
    assert found.gradients.isnan().all()
    assert found.saturated[-1] == 1
    short = signal_of(rnn, x[:5])
    assert short.log10_gradients[-1] == 0
    assert torch.isfinite(short.log10_gradients).all()


def test_the_matrix_of_an_elman_layer_is_w_hh_and_of_others_a_jacobian():
    rnn, x = nn.RNN(3, 8, num_layers=2).double(), torch.randn(20, 2, 3, dtype=torch.float64)
    for layer in (0, 1):
        found = signal_of(rnn, x, layer=layer)
        W = rnn.get_parameter(f"weight_hh_l{layer}").detach()
        assert found.rho == pytest.approx(tk.spectral_radius(W).item())
        assert found.sigma_max == pytest.approx(tk.sigma_max(W).item())
    gru = nn.GRU(3, 5).double()
    h = gru(x)[0].detach()

    def last_step(state):
        return gru(x[-1:, 0], state[None])[1][0]

    J = torch.autograd.functional.jacobian(last_step, h[-2, 0])
    assert signal_of(gru, x).rho == pytest.approx(tk.spectral_radius(J).item())
    assert signal_of(gru, x).sigma_max == pytest.approx(tk.sigma_max(J).item())


def test_an_own_initial_state_and_direction_are_taken():
    rnn, x = nn.GRU(3, 8, bidirectional=True), torch.randn(20, 2, 3)
    h0 = torch.full((2, 2, 8), 0.5)
    found = signal_of(rnn, x, h0, reverse=True)
    assert found.activations[0].item() == pytest.approx(0.25)
    backwards = rnn(x, h0)[0][..., 8:].detach().flip(0).flatten(1).double()
    assert_close(found.activations[1:], backwards.square().mean(-1), rtol=1e-5, atol=0)


def test_an_own_network_that_leaves_float_range_is_a_result():
    rnn = tk.ElmanRNN(2, 4, nonlinearity="relu")
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(100 * torch.eye(4))
        rnn.weight_ih_l0.fill_(1.0)
    found = signal_of(rnn, torch.ones(60, 2))
    assert found.log10_activations[-1] == found.log10_gradients[0] == math.inf
    assert found.saturated[-1] == 0


# -- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scheme": "he"}, r"^scheme must be one of .*, but 'he' was given\.$"),
        ({"gain": -0.1}, r"^gain must be a number of at least 0, but -0\.1 was given\.$"),
        ({"gain": math.nan}, r"^gain must be a number of at least 0, but nan was given\.$"),
        ({"activation": "gelu"}, r"^activation must be one of .*, but 'gelu' was given\.$"),
        ({"hidden_size": 0}, r"^hidden_size must be a whole number of at least 1, but 0 was"),
        ({"depth": 1.5}, r"^depth must be a whole number of at least 1, but 1\.5 was given\.$"),
        ({"batch_size": 0}, r"^batch_size must be a whole number of at least 1, but 0 was given"),
        ({"seed": -1}, r"^seed must be a whole number of at least 0, but -1 was given\.$"),
    ],
)
def test_bad_settings_are_named(given, said):
    settings = {"scheme": "orthogonal", "hidden_size": 4, **given}
    with pytest.raises(ValueError, match=said):
        signal_through_depth(settings.pop("scheme"), **settings)
    settings = {"seq_len" if k == "depth" else k: v for k, v in settings.items()}
    with pytest.raises(ValueError, match=said.replace("depth", "seq_len")):
        signal_through_time(given.get("scheme", "orthogonal"), input=True, **settings)


@pytest.mark.parametrize("value", ["x", 1, None, torch.zeros(3, 2)])
def test_the_input_of_a_recurrent_network_is_on_or_off(value):
    with pytest.raises(ValueError, match=r"^input must be True or False, but .* was given\.$"):
        signal_through_time("orthogonal", input=value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"variance_factor": -1}, "^variance_factor must be a number of at least 0, but -1 was"),
        ({"activation": "elu"}, "^activation must be one of .* but 'elu' was given"),
        ({"steps": -1}, "^steps must be a whole number of at least 0, but -1 was given"),
        ({"input_variance": "much"}, "^input_variance must be a number of at least 0, but 'much'"),
    ],
)
def test_bad_settings_of_the_theory_are_named(given, said):
    with pytest.raises(ValueError, match=said):
        expected_signal(**{"variance_factor": 1.0, "activation": "tanh", "steps": 3, **given})


def test_a_bad_own_network_is_named():
    with pytest.raises(ValueError, match=r"^rnn must be an nn\.RNN, nn\.LSTM or nn\.GRU layer"):
        signal_of(nn.Linear(2, 2), torch.zeros(3, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^x must be of shape"):
        signal_of(nn.RNN(1, 2), torch.zeros(3, 5))


def test_measuring_leaves_the_readers_random_numbers_and_results_alone():
    state = torch.get_rng_state()
    one = signal_through_time("sparse", hidden_size=20, input=True)
    assert torch.equal(torch.get_rng_state(), state)
    one.values.zero_()
    one.eigenvalues.zero_()
    other = signal_through_time("sparse", hidden_size=20, input=True)
    assert other.values.any()
    assert other.rho > 0

# mypy: disable-error-code="arg-type"
"""Every measurement against a slow reference that runs the real layer one step at a time."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from teachkit import dynamics
from teachkit.dynamics import (
    gradient_bound,
    gradient_map,
    gradient_through_time,
    jacobian_products,
    linear_prediction,
    lyapunov_exponents,
    memory_horizon,
)
from teachkit.models import ACTIVATIONS, ElmanRNN, make_elman, nilpotent_counterexample
from teachkit.spectra import (
    gaussian_matrix,
    haar_orthogonal,
    matrix_with_eigenvalues,
    with_spectral_radius,
)
from tests.reference import DOUBLE, PLACES, SIZE, B, H, T, elman, make, silence, walk


def reference_gradients(rnn, x, state, watched, loss):
    """Return L and the norms of dL/dh_t and dL/dc_t for t = 0 ... T."""
    delta_h = torch.zeros(T + 1, B, rnn.proj_size or H, dtype=DOUBLE, requires_grad=True)
    delta_c = torch.zeros(T + 1, B, H, dtype=DOUBLE, requires_grad=True)
    outputs, _ = walk(rnn, x, state, watched, delta_h, delta_c)
    value = loss(outputs)
    grads = torch.autograd.grad(value, (delta_h, delta_c), allow_unused=True)
    return value.item(), *(None if g is None else g.flatten(1).norm(dim=1) for g in grads)


def default_loss(rnn, reverse):
    """Return the sum of the last h of the top layer, in its own order of time."""
    half = rnn.proj_size or H

    def loss(outputs):
        y = outputs.transpose(0, 1) if rnn.batch_first else outputs
        return y[0, :, half:].sum() if reverse else y[-1, :, :half].sum()

    return loss


# --- true gradients --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "layer", "reverse"), PLACES)
@pytest.mark.parametrize("loss", [None, lambda y: y.pow(3).sum()], ids=["default", "every step"])
def test_gradients_are_those_of_injected_deltas(name, layer, reverse, loss):
    rnn, x, state = make(name)
    found = gradient_through_time(rnn, x, state, loss, layer=layer, reverse=reverse)
    value, dh, dc = reference_gradients(
        rnn, x, state, (layer, reverse), loss or default_loss(rnn, reverse)
    )
    assert found.loss == pytest.approx(value)
    assert_close(found.dL_dh, dh[1:])
    assert found.dL_dh0 == pytest.approx(dh[0].item())
    if isinstance(rnn, nn.LSTM):
        assert_close(found.dL_dc, dc[1:])
        assert found.dL_dc0 == pytest.approx(dc[0].item())
    else:
        assert found.dL_dc is None
        assert found.dL_dc0 is None
    assert_close(found.growth, dh.flip(0) / dh[-1])
    assert not found.beyond_float_range


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_gradients_are_those_of_finite_differences(kind):
    rnn = kind(SIZE, H, dtype=DOUBLE)
    x, step = torch.randn(T, 1, SIZE, dtype=DOUBLE), 1e-5

    def loss_after_a_nudge(t, unit, nudge):
        _, state = rnn(x[:t])
        h = (state[0] if kind is nn.LSTM else state).clone()
        h[..., unit] += nudge
        return rnn(x[t:], (h, state[1]) if kind is nn.LSTM else h)[0][-1].sum().item()

    found = gradient_through_time(rnn, x)
    for t in range(1, T):
        slopes = [
            (loss_after_a_nudge(t, u, step) - loss_after_a_nudge(t, u, -step)) / (2 * step)
            for u in range(H)
        ]
        assert found.dL_dh[t - 1].item() == pytest.approx(np.linalg.norm(slopes), rel=1e-7)


def test_unbatched_and_default_state():
    rnn, x, _ = make("deep gru")
    single = gradient_through_time(rnn, x[1])
    zeros = torch.zeros(4, 1, H, dtype=DOUBLE)
    assert_close(single.dL_dh, gradient_through_time(rnn, x[1:], zeros).dL_dh)
    assert single.h.shape == (T + 1, 1, H)


def test_measuring_leaves_the_model_alone():
    rnn, x, state = make("deep lstm")
    before = copy.deepcopy(rnn.state_dict())
    with torch.no_grad():
        found = gradient_through_time(rnn, x, state)
    assert found.dL_dh.all()
    assert all(p.grad is None for p in rnn.parameters())
    assert all(torch.equal(before[k], v) for k, v in rnn.state_dict().items())


def test_a_loss_at_an_early_step_leaves_later_states_without_gradient():
    rnn, x, state = make("rnn")
    found = gradient_through_time(rnn, x, state, lambda y: y[2].sum())
    assert found.dL_dh.nonzero().flatten().tolist() == [0, 1, 2]
    assert torch.isnan(found.growth).all()  # nothing to compare with


# --- known answers ---------------------------------------------------------------------------


def test_eigenvalues_0_and_a_gradient_that_doubles():
    rnn, h0 = nilpotent_counterexample()
    norms = gradient_through_time(rnn, silence(31), h0).jacobian_norm.flip(0)
    expected = math.sqrt(200) * 2.0 ** torch.arange(30, dtype=DOUBLE)
    assert_close(norms[1:], expected, rtol=1e-5, atol=0)
    for steps, value in {1: 14.142, 5: 226.27, 10: 7240.77, 20: 7.4146e6, 30: 7.5925e9}.items():
        assert norms[steps].item() == pytest.approx(value, rel=1e-4)
    from_zero = jacobian_products(rnn, silence(30)).singular_values[0].max().item()
    assert from_zero == pytest.approx(1.2e-61, rel=0.05)


def test_a_non_normal_matrix_grows_before_it_vanishes():
    rnn = elman([[0.9, 5.0], [0.0, 0.9]], nonlinearity="linear")
    norms = jacobian_products(rnn, silence(100)).singular_values[:, 0, 0].flip(0)
    powers = [
        np.linalg.norm(np.linalg.matrix_power([[0.9, 5], [0, 0.9]], t), 2) for t in range(101)
    ]
    assert_close(norms, torch.tensor(powers, dtype=DOUBLE))
    assert norms.argmax() == 9
    assert norms[9].item() == pytest.approx(19.38, abs=0.005)
    assert norms[100].item() == pytest.approx(0.015, abs=0.0005)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize(("rho", "limit"), [(3.0, math.inf), (0.3, 0.0)])
def test_beyond_float_range(dtype, rho, limit):
    rnn = elman(rho * haar_orthogonal(8), nonlinearity="linear", dtype=dtype)
    products = jacobian_products(rnn, silence(1000, dtype))
    expected = torch.arange(1000, -1, -1, dtype=DOUBLE)[:, None] * math.log(rho)
    tolerance = 1e-12 if dtype == DOUBLE else 1e-6
    assert_close(
        products.log_singular_values[:, 0], expected.expand(-1, 8), rtol=tolerance, atol=1e-5
    )
    assert (products.singular_values[0] == limit).all()

    found = gradient_through_time(rnn, silence(1000, dtype))
    assert found.beyond_float_range
    assert found.dL_dh0 == found.growth[-1] == found.jacobian_norm[0] == limit
    assert found.growth[10].item() == pytest.approx(rho**10, rel=1e-5)
    assert linear_prediction(rho, 1000)[-1] == limit
    assert gradient_bound(rho, 1000)[-1] == limit


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_states_beyond_float_range_do_not_hide_the_explosion(activation):
    rnn = make_elman(8, 3.0, activation=activation)
    found = gradient_through_time(rnn, torch.randn(1000, 1, 1))
    assert found.beyond_float_range
    assert found.dL_dh0 == math.inf
    assert found.jacobian_norm[0] == math.inf


def test_norms_of_huge_entries_do_not_overflow():
    norms = dynamics._norms([torch.tensor([3e200, 4e200], dtype=DOUBLE), torch.zeros(2)])
    assert norms.tolist() == pytest.approx([5e200, 0])


@pytest.mark.parametrize("bias", [-1.0, 0.0, 1.0, 5.0])
def test_memory_horizon_of_an_lstm_without_weights(bias):
    lstm = nn.LSTM(1, 3, dtype=DOUBLE)
    for parameter in lstm.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(lstm.get_parameter("bias_ih_l0")[3:6], bias)
    kept = gradient_through_time(lstm, silence(51)).jacobian_norm_c[0].item()
    keep = 1 / (1 + math.exp(-bias))
    assert kept == pytest.approx(keep**50)
    assert memory_horizon(bias).item() == pytest.approx(1 / (1 - keep))
    assert kept == pytest.approx((1 - 1 / memory_horizon(bias).item()) ** 50)


def test_memory_horizon_keeps_the_shape():
    assert memory_horizon(torch.zeros(2, 3)).shape == (2, 3)
    assert memory_horizon([0.0]).dtype == DOUBLE


# --- predictions and bounds ------------------------------------------------------------------


@settings(max_examples=25)
@given(st.floats(0, 5), st.integers(0, 60))
def test_the_linear_prediction_is_a_power(rho, steps):
    assert linear_prediction(rho, steps).tolist() == pytest.approx(
        [rho**k for k in range(steps + 1)]
    )


def test_the_linear_prediction_is_exact_for_a_normal_matrix():
    rnn = elman(haar_orthogonal(6) * 1.3, nonlinearity="linear")
    assert_close(gradient_through_time(rnn, silence(40)).growth, linear_prediction(1.3, 40))


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(ACTIVATIONS)),
    st.floats(0, 8),
    st.floats(0, 3),
    st.integers(0, 10**6),
)
def test_no_gradient_exceeds_the_bound(activation, rho, non_normality, seed):
    rnn = make_elman(
        5, rho, activation=activation, non_normality=non_normality, seed=seed, dtype=DOUBLE
    )
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(12, 2, 1, generator=generator, dtype=DOUBLE)
    h0 = torch.randn(1, 2, 5, generator=generator, dtype=DOUBLE)
    found = gradient_through_time(rnn, x, h0)
    stretch = np.linalg.norm(rnn.weight_hh_l0.detach().numpy(), 2)
    bound = gradient_bound(stretch, 12, activation=activation) * (1 + 1e-9) + 1e-300
    assert (found.growth <= bound).all()
    assert (found.jacobian_norm.flip(0) <= bound[:12]).all()


@pytest.mark.parametrize(("activation", "gamma"), [("sigmoid", 0.25), ("tanh", 1), ("relu", 1)])
def test_the_bound_is_the_power_of_gamma_sigma(activation, gamma):
    expected = torch.tensor([(gamma * 3.0) ** k for k in range(21)], dtype=DOUBLE)
    assert_close(gradient_bound(3.0, 20, activation=activation), expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(T, 3, 2), (3, T, 2), (T, 2)], ids=["time", "batch", "single"])
@pytest.mark.parametrize("with_h0", [False, True])
def test_each_row_of_the_map_is_one_rescaled_network(activation, shape, with_h0):
    own = make_elman(6, 1.0, input_size=2, dtype=DOUBLE, seed=4)
    nn.init.normal_(own.bias_hh_l0)
    own.batch_first = shape[0] == 3
    x = torch.randn(shape, dtype=DOUBLE)
    h0 = torch.randn((1, 3, 6) if len(shape) == 3 else (1, 6), dtype=DOUBLE) if with_h0 else None
    rhos = [0.0, 0.5, 1.0, 2.5]
    rows = gradient_map(own, rhos, x, h0, activation=activation)
    assert rows.shape == (4, T + 1)
    for rho, row in zip(rhos, rows, strict=True):
        rnn = ElmanRNN(2, 6, nonlinearity=activation, batch_first=own.batch_first, dtype=DOUBLE)
        rnn.load_state_dict(own.state_dict())
        with torch.no_grad():
            rnn.weight_hh_l0.copy_(with_spectral_radius(own.weight_hh_l0, rho))
        assert_close(row, gradient_through_time(rnn, x, h0).growth)
        if activation == own.nonlinearity:
            assert_close(gradient_map(own, rho, x, h0)[0], row)


# --- Lyapunov exponents ----------------------------------------------------------------------


@pytest.mark.parametrize("non_normality", [0.0, 2.0])
def test_exponents_of_a_linear_network_are_the_log_moduli(non_normality):
    values = [1.5, 0.8 + 0.6j, 0.8 - 0.6j, -0.5, 0.1]
    W = matrix_with_eigenvalues(values, non_normality=non_normality)
    rnn = elman(W, nonlinearity="linear")
    found = lyapunov_exponents(rnn, silence(1000), count=5, warmup=500)
    expected = sorted((math.log(abs(v)) for v in values), reverse=True)
    assert found.tolist() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_exponents_come_largest_first(count):
    rnn = elman(torch.diag(torch.tensor([0.1, 2.0, 0.5])), nonlinearity="linear")
    found = lyapunov_exponents(rnn, silence(300), count=count, warmup=100)
    assert found.tolist() == pytest.approx([math.log(2), math.log(0.5), math.log(0.1)][:count])


@pytest.mark.parametrize("w", [0.3, 1.0, 2.0, 5.0])
def test_exponent_of_one_tanh_unit_at_its_fixed_point(w):
    h = 1.0
    for _ in range(20_000):
        h = math.tanh(w * h)
    found = lyapunov_exponents(elman([[w]]), silence(50), torch.full((1, 1, 1), h, dtype=DOUBLE))
    assert found.item() == pytest.approx(math.log(w * (1 - h * h)), rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("w", [1.0, 4.0, 4.2])
def test_exponent_of_one_sigmoid_unit_at_one_half(w):
    rnn = ElmanRNN(1, 1, nonlinearity="sigmoid", dtype=DOUBLE)
    for name, value in {
        "weight_hh": w,
        "bias_hh": 0.0,
        "weight_ih": 0.0,
        "bias_ih": -w / 2,
    }.items():
        nn.init.constant_(getattr(rnn, f"{name}_l0"), value)
    half = torch.full((1, 1, 1), 0.5, dtype=DOUBLE)
    assert lyapunov_exponents(rnn, silence(20), half).item() == pytest.approx(math.log(w / 4))


def test_exponents_of_gated_layers_without_weights():
    gru, lstm = nn.GRU(1, 2, dtype=DOUBLE), nn.LSTM(1, 2, dtype=DOUBLE)
    for parameter in (*gru.parameters(), *lstm.parameters()):
        nn.init.zeros_(parameter)
    half = math.log(0.5)  # every gate stands half open
    assert lyapunov_exponents(gru, silence(20), count=2).tolist() == pytest.approx([half, half])
    found = lyapunov_exponents(lstm, silence(200), count=4, warmup=100).tolist()
    assert found[:2] == pytest.approx([half, half])
    assert max(found[2:]) < -30  # h passes nothing on: the logarithm of rounding


def test_exponents_are_averaged_over_the_batch():
    rnn, x, state = make("rnn")
    alone = [lyapunov_exponents(rnn, x[:, [b]], state[:, [b]]).item() for b in range(B)]
    assert lyapunov_exponents(rnn, x, state).item() == pytest.approx(np.mean(alone))


@pytest.mark.parametrize(
    ("g", "quiet", "driven"), [(0.577, -0.516, -0.963), (2.0, 0.135, 0.030), (4.0, 0.410, 0.388)]
)
def test_input_delays_the_onset_of_chaos(g, quiet, driven):
    found = []
    for seed in range(3):
        rnn = elman(g * gaussian_matrix(128, seed))
        rnn.input_size, rnn.weight_ih_l0 = 128, nn.Parameter(torch.eye(128, dtype=DOUBLE))
        x, h0 = torch.randn(400, 1, 128, dtype=DOUBLE), torch.randn(1, 1, 128, dtype=DOUBLE)
        found.append([lyapunov_exponents(rnn, y, h0).item() for y in (0 * x, x)])
    assert np.mean(found, 0) == pytest.approx([quiet, driven], abs=0.05)


# --- bad input -------------------------------------------------------------------------------

RNN = nn.RNN(1, 2)
X = torch.zeros(3, 1, 1)


@pytest.mark.parametrize("measure", [gradient_through_time, jacobian_products])
@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((nn.Linear(1, 1), X), {}, "rnn must be an nn.RNN, nn.LSTM or nn.GRU layer, but"),
        (
            (RNN, torch.zeros(3, 1, 2)),
            {},
            "x must be of shape .* input_size 1, but Tensor of shape",
        ),
        ((RNN, X / 0), {}, "x must be finite, but it contains NaN or infinity"),
        ((RNN, X, torch.zeros(1, 2, 2)), {}, r"h0 must be a tensor of shape \(1, 1, 2\), but"),
        ((RNN, X), {"layer": 1}, "layer must be a layer of rnn, 0 to 0, but 1 was given"),
        ((RNN, X), {"layer": -2}, "layer must be a layer of rnn, 0 to 0, but -2 was given"),
        ((RNN, X), {"reverse": True}, "reverse=True needs a bidirectional layer, but rnn has one"),
    ],
)
def test_a_bad_argument_is_named(measure, arguments, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        measure(*arguments, **options)


@pytest.mark.parametrize("loss", [lambda y: y, lambda y: 1.0, lambda y: y.detach().sum()])
def test_a_loss_that_is_not_a_scalar_with_a_gradient_is_named(loss):
    with pytest.raises(ValueError, match=r"^loss must be a function of the outputs that returns a"):
        gradient_through_time(RNN, X, loss=loss)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gradient_through_time(RNN, X).jacobian_norm_c,
            "jacobian_norm_c needs an nn.LSTM; this layer has no cell state",
        ),
        (lambda: lyapunov_exponents(nn.Linear(1, 1), X), "rnn must be an nn.RNN, nn.LSTM or"),
        (lambda: lyapunov_exponents(RNN, X, count=3), "count must be a whole number .* at most 2"),
        (lambda: lyapunov_exponents(RNN, X, count=0), "count must be a whole number of at least 1"),
        (
            lambda: lyapunov_exponents(RNN, X, warmup=3),
            "warmup must be a whole .* at most 2, but 3",
        ),
        (lambda: linear_prediction(-1, 3), "rho must be a number of at least 0, but -1 was given"),
        (lambda: linear_prediction(1, -1), "steps must be a whole number of at least 0, but -1"),
        (lambda: linear_prediction(1, 2.5), "steps must be a whole number of at least 0, but 2.5"),
        (lambda: gradient_bound(-1, 3), "sigma_max must be a number of at least 0, but -1 was"),
        (lambda: gradient_bound(1, 3, activation="gelu"), "activation must be one of 'linear', "),
        (lambda: memory_horizon("long"), "forget_bias must be a number or several, but 'long'"),
        (lambda: gradient_map(nn.GRU(1, 2), [1], X), "rnn must be an nn.RNN with one layer in one"),
        (lambda: gradient_map(nn.RNN(1, 2, 2), [1], X), "rnn must be an nn.RNN with one layer"),
        (lambda: gradient_map(RNN, [-1], X), r"rhos must be a .* at least 0, but \[-1\] was given"),
        (lambda: gradient_map(RNN, [], X), "rhos must be a non-empty list of finite numbers"),
        (lambda: gradient_map(RNN, "all", X), "rhos must be a non-empty list of finite numbers"),
        (lambda: gradient_map(RNN, [math.nan], X), "rhos must be a non-empty list of finite"),
        (lambda: gradient_map(RNN, [1], "x"), "x must be a tensor of shape"),
        (lambda: gradient_map(RNN, [1], torch.tensor([[1.0], [math.nan]])), "x must be finite"),
        (lambda: gradient_map(RNN, [1], X, activation="gelu"), "activation must be one of"),
    ],
)
def test_other_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

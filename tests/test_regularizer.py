# mypy: disable-error-code="arg-type,misc,operator"
import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

import teachkit as tk
from teachkit.models import ACTIVATIONS, ElmanRNN, SequenceModel, make_elman
from teachkit.regularizer import vanishing_regularizer
from teachkit.spectra import haar_orthogonal

DOUBLE = torch.float64
T, B, SIZE, H = 5, 3, 2, 4


def layer(activation="tanh", hidden_size=H, **options):
    rnn = ElmanRNN(SIZE, hidden_size, nonlinearity=activation, dtype=DOUBLE, **options)
    for parameter in rnn.parameters():
        nn.init.uniform_(parameter, -1, 1)
    return rnn


def read(outputs):
    """A loss that reads every step, and none of them alike."""
    return (outputs.pow(3) * torch.arange(1.0, len(outputs) + 1)[:, None, None]).mean()


def constants(rnn, x, loss):
    """dE/dh_t and h_t for t = 1 ... T, from a loop in plain PyTorch: (T, B, H) each."""
    activate = ACTIVATIONS[rnn.nonlinearity].function
    h, states = torch.zeros(x.shape[1], rnn.hidden_size, dtype=DOUBLE), []
    for x_t in x:
        a = x_t @ rnn.weight_ih_l0.T + h @ rnn.weight_hh_l0.T
        h = activate(a + rnn.bias_ih_l0 + rnn.bias_hh_l0)
        h.retain_grad()
        states.append(h)
    loss(torch.stack(states)).backward()
    found = torch.stack([s.grad for s in states]), torch.stack(states).detach()
    rnn.zero_grad()
    return found


SLOPES = {
    "tanh": lambda h: 1 - h**2,
    "sigmoid": lambda h: h * (1 - h),
    "relu": lambda h: (h > 0).double(),
    "linear": lambda h: 0 * h + 1,
}


def omega_by_hand(W, error, h, activation):
    """Equation (9), one sequence and one step at a time."""
    total = 0.0
    for b in range(error.shape[1]):
        for t in range(len(error)):
            jacobian = torch.diag(SLOPES[activation](h[t, b])) @ W
            before, after = error[t, b].norm(), (error[t, b] @ jacobian).norm()
            if before > 0:
                total += (after / before - 1).item() ** 2
    return total / error.shape[1]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equation_nine_and_its_immediate_derivative(activation):
    """Finite differences with respect to W_hh, with errors and states held constant."""
    rnn, x = layer(activation), torch.randn(T, B, SIZE, dtype=DOUBLE)
    error, h = constants(rnn, x, read)
    omega = vanishing_regularizer(rnn, x, loss=read)
    W = rnn.weight_hh_l0.detach()
    assert omega.item() == pytest.approx(omega_by_hand(W, error, h, activation), rel=1e-9)
    omega.backward()
    for i in range(H):
        for j in range(H):
            ends = []
            for sign in (1, -1):
                moved = W.clone()
                moved[i, j] += sign * 1e-6
                ends.append(omega_by_hand(moved, error, h, activation))
            slope = (ends[0] - ends[1]) / 2e-6
            assert rnn.weight_hh_l0.grad[i, j].item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_a_gradient_reaches_the_recurrent_matrix_alone():
    rnn = layer()
    model = SequenceModel(rnn, 2).double()
    x, h0 = (torch.randn(*size, dtype=DOUBLE) for size in [(T, B, SIZE), (1, B, H)])
    x.requires_grad_()
    h0.requires_grad_()
    omega = vanishing_regularizer(rnn, x, h0, lambda outputs: model(x).sum() + read(outputs))
    assert omega.ndim == 0
    omega.backward()
    given = {name for name, p in model.named_parameters() if p.grad is not None}
    assert given == {"rnn.weight_hh_l0"}
    assert x.grad is None
    assert h0.grad is None
    assert not vanishing_regularizer(rnn, x, h0).detach().requires_grad


@settings(max_examples=30)
@given(
    w=st.just(0.0) | st.floats(1e-3, 3) | st.floats(-3, -1e-3),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    size=st.floats(1e-3, 1),
)
def test_one_unit_in_closed_form(w, activation, size):
    """|dE/dh_t| cancels in a single unit: each step gives (|w| slope - 1)^2."""
    rnn = layer(activation, hidden_size=1)
    nn.init.constant_(rnn.weight_hh_l0, w)
    x = size * torch.randn(T, 1, SIZE, dtype=DOUBLE)
    outputs = rnn(x)[0].detach().flatten()
    slopes = SLOPES[activation](outputs)
    # what reaches step t passed w and the slopes after it: a zero among them leaves t out
    used = [all(w * slopes[s] != 0 for s in range(t + 1, T)) for t in range(T)]
    terms = [(abs(w * slopes[t].item()) - 1) ** 2 for t in range(T) if used[t]]
    found = vanishing_regularizer(rnn, x).item()
    assert found == pytest.approx(math.fsum(terms), rel=1e-6, abs=1e-9)


@settings(max_examples=20)
@given(rho=st.floats(0.1, 4), seed=st.integers(0, 1000))
def test_an_orthogonal_linear_network_keeps_every_error(rho, seed):
    rnn = layer("linear")
    torch.manual_seed(seed)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(rho * haar_orthogonal(H, seed))
    x = torch.randn(T, B, SIZE, dtype=DOUBLE)
    found = vanishing_regularizer(rnn, x).item()
    assert found == pytest.approx(T * (rho - 1) ** 2, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("seed", range(2))
def test_descending_omega_brings_vanishing_errors_back(seed):
    rnn = make_elman(20, 0.5, seed=seed, dtype=DOUBLE)
    x = torch.randn(20, 8, 1, dtype=DOUBLE)
    start, before = vanishing_regularizer(rnn, x).item(), tk.gradient_through_time(rnn, x)
    for _ in range(100):
        rnn.zero_grad()
        vanishing_regularizer(rnn, x).backward()
        with torch.no_grad():
            rnn.weight_hh_l0 -= 0.05 * rnn.weight_hh_l0.grad
    assert vanishing_regularizer(rnn, x).item() < 0.2 * start
    assert tk.gradient_through_time(rnn, x).growth[-1] > 100 * before.growth[-1]


def test_sequences_count_alike_however_large_their_errors():
    rnn, x = layer(), torch.randn(T, B, SIZE, dtype=DOUBLE)
    alone = [vanishing_regularizer(rnn, x[:, [b]]) for b in range(B)]
    scales = torch.tensor([1e-150, 1.0, 1e100], dtype=DOUBLE)[:, None]
    together = vanishing_regularizer(rnn, x, loss=lambda out: (out[-1] * scales).sum())
    assert_close(together, sum(alone) / B)


def test_errors_too_small_to_be_squared_count():
    rnn, x = layer().float(), torch.randn(T, B, SIZE)
    small = vanishing_regularizer(rnn, x, loss=lambda out: 1e-30 * out[-1].sum())
    assert small.dtype == torch.float32
    assert_close(small, vanishing_regularizer(rnn, x), rtol=1e-4, atol=0)


def test_steps_without_an_error_are_left_out():
    rnn, x = layer(), torch.randn(T, B, SIZE, dtype=DOUBLE)
    early = vanishing_regularizer(rnn, x, loss=lambda out: out[1].sum())
    assert_close(early, vanishing_regularizer(rnn, x[:2]))
    nothing = vanishing_regularizer(rnn, x, loss=lambda out: 0 * out.sum())
    assert nothing.item() == 0
    nothing.backward()
    assert (rnn.weight_hh_l0.grad == 0).all()


def test_a_relu_network_that_is_off_has_a_finite_gradient():
    rnn, x = layer("relu"), torch.randn(T, B, SIZE, dtype=DOUBLE)
    nn.init.constant_(rnn.bias_hh_l0, -100.0)
    omega = vanishing_regularizer(rnn, x)
    assert omega.item() == 1  # of the last step, whose error is 1 and goes no further
    omega.backward()
    assert (rnn.weight_hh_l0.grad == 0).all()


@pytest.mark.parametrize("scale", [math.inf, math.nan])
def test_an_error_that_is_not_finite_shows(scale):
    rnn, x = layer(), torch.randn(T, B, SIZE, dtype=DOUBLE)
    assert vanishing_regularizer(rnn, x, loss=lambda out: scale * out[-1].sum()).isnan()


@pytest.mark.parametrize("kind", [nn.RNN, tk.RNN, tk.ElmanRNN])
def test_layouts_and_layers_agree(kind):
    rnn = kind(SIZE, H, batch_first=True, dtype=DOUBLE)
    x = torch.randn(B, T, SIZE, dtype=DOUBLE)
    found = vanishing_regularizer(rnn, x, loss=lambda out: out[:, -1].sum())
    assert_close(found, vanishing_regularizer(rnn, x))
    singles = [vanishing_regularizer(rnn, x[b]) for b in range(B)]  # unbatched: (T, input_size)
    assert_close(found, sum(singles) / B)
    with torch.no_grad():
        assert vanishing_regularizer(rnn, x).item() == found.item()


def test_it_starts_where_the_layer_does():
    rnn = tk.RNN(SIZE, H, dtype=DOUBLE, initial_state="learned")
    nn.init.normal_(rnn.h0)
    x, plain = torch.randn(T, B, SIZE, dtype=DOUBLE), copy.deepcopy(rnn)
    nn.init.zeros_(plain.h0)
    found = vanishing_regularizer(rnn, x)
    assert_close(found, vanishing_regularizer(plain, x, rnn.h0.expand(1, B, H).contiguous()))
    assert not torch.allclose(found, vanishing_regularizer(plain, x))


def test_it_adds_to_the_gradient_of_a_loss():
    rnn, x = layer(), torch.randn(T, B, SIZE, dtype=DOUBLE)
    parts = []
    for weights in [(1, 0), (0, 1), (1, 0.5)]:
        rnn.zero_grad()
        omega = vanishing_regularizer(rnn, x, loss=read)
        (weights[0] * read(rnn(x)[0]) + weights[1] * omega).backward()
        parts.append(rnn.weight_hh_l0.grad.clone())
    assert_close(parts[2], parts[0] + 0.5 * parts[1])


@pytest.mark.parametrize(
    "other",
    [nn.LSTM(1, 2), nn.GRU(1, 2), nn.RNN(1, 2, num_layers=2), nn.RNN(1, 2, bidirectional=True)],
    ids=str,
)
def test_another_layer_is_refused(other):
    message = r"^rnn must be an nn\.RNN or ElmanRNN with one layer in one direction, but"
    with pytest.raises(ValueError, match=message):
        vanishing_regularizer(other, torch.zeros(3, 1))


@pytest.mark.parametrize("loss", [lambda out: out, lambda out: 1.0, lambda out: out.detach().sum()])
def test_a_loss_that_is_none_is_refused(loss):
    with pytest.raises(ValueError, match="loss must be a function of the outputs that returns"):
        vanishing_regularizer(nn.RNN(1, 2), torch.zeros(3, 1), loss=loss)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"rnn must be .* \(it holds one: pass model.rnn\)"):
        vanishing_regularizer(SequenceModel(nn.RNN(1, 1), 1), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="x must be a tensor of shape"):
        vanishing_regularizer(nn.RNN(1, 1), torch.zeros(3))

# mypy: disable-error-code="arg-type,assignment,attr-defined,index,union-attr"
import copy
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

import teachkit as tk
from teachkit.error_clipping import ErrorClipping
from teachkit.initial_states import CarriedState, LearnedState
from teachkit.models import ElmanRNN, SequenceModel, make_elman
from tests.reference import UNROLLED

DOUBLE = torch.float64
T, B, SIZE, H = 6, 2, 3, 4
LAYERS = {
    **UNROLLED,
    "dropout": (nn.GRU, {"num_layers": 3, "dropout": 0.5}),
    "noisy": (tk.LSTM, {"initial_state": "noisy", "num_layers": 2}),
    "learned": (tk.LSTM, {"initial_state": LearnedState(init_std=1.0), "batch_first": True}),
    "learned+noisy": (tk.ElmanRNN, {"initial_state": LearnedState(init_std=1.0, noise_std=0.5)}),
    "adaptive": (tk.GRU, {"initial_state": "adaptive"}),
    "carried": (tk.RNN, {"initial_state": "carried", "bidirectional": True}),
}


def make(name):
    kind, options = LAYERS[name]
    rnn = kind(SIZE, H, dtype=DOUBLE, **options)
    for name, parameter in rnn.named_parameters():
        if name not in ("h0", "c0"):
            nn.init.uniform_(parameter, -1, 1)
    return rnn


def inputs(rnn, batched=True):
    x = torch.randn(T, B, SIZE, dtype=DOUBLE)
    return (x.transpose(0, 1) if rnn.batch_first else x) if batched else x[:, 0]


def everything(rnn, x, hx=None, passes=1):
    """Results and gradients of a pass (or several) with a loss that reads all that comes out."""
    x = x.clone().requires_grad_()
    states = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
    states = tuple(s.clone().requires_grad_() for s in states)
    given = None if hx is None else states if isinstance(hx, tuple) else states[0]
    torch.manual_seed(1)  # noise and dropout
    found = []
    for _ in range(passes):
        outputs, final = rnn(x, given)
        final = final if isinstance(final, tuple) else (final,)
        loss = outputs.square().sum() + sum(f.sin().sum() for f in final)
        loss.backward()
        found += [outputs, *final]
    leaves = [x, *states, *rnn.parameters()]
    return [f.detach() for f in found] + [p.grad.clone() for p in leaves if p.grad is not None]


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("at", ["state", "gates"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_huge_threshold_changes_nothing(name, at, batched):
    rnn = make(name)
    x = inputs(rnn, batched)
    plain = copy.deepcopy(rnn)
    expected = everything(plain, x, passes=2)
    with ErrorClipping(rnn, 1e9, at) as errors:
        found = everything(rnn, x, passes=2)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(rnn.buffers(), plain.buffers(), strict=True):
        assert_close(ours, theirs, rtol=1e-12, atol=1e-12)  # a carried state, sizes of the noise
    assert errors.fraction() == 0


@pytest.mark.parametrize("name", ["deep lstm", "deep gru", "rnn", "projected lstm", "learned"])
@pytest.mark.parametrize("batched", [True, False])
def test_a_state_that_is_passed_gets_its_gradient(name, batched):
    rnn = make(name)
    count = rnn.num_layers * (1 + rnn.bidirectional)
    shape = (count, B) if batched else (count,)
    hx = torch.randn(*shape, rnn.proj_size or H, dtype=DOUBLE)
    if isinstance(rnn, nn.LSTM):
        hx = (hx, torch.randn(*shape, H, dtype=DOUBLE))
    expected = everything(copy.deepcopy(rnn), inputs_ := inputs(rnn, batched), hx)
    with ErrorClipping(rnn, 1e9):
        found = everything(rnn, inputs_, hx)
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_float32_too():
    rnn = nn.LSTM(SIZE, H, num_layers=2)
    x = torch.randn(T, B, SIZE)
    expected = everything(copy.deepcopy(rnn), x)
    with ErrorClipping(rnn, 1e9):
        found = everything(rnn, x)
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def rnn_backward(W_ih, W_hh, x, h, local, at, limit):
    """Backpropagate through a tanh layer by hand, clamping on the way. All arrays of NumPy."""
    grads = {"weight_ih_l0": 0 * W_ih, "weight_hh_l0": 0 * W_hh, "bias_hh_l0": 0 * W_hh[:, 0]}
    carry, clamped = 0 * h[0], 0
    for t in range(len(x), 0, -1):
        error = local[t - 1] + carry
        if at == "state":
            clamped += (abs(error) > limit).sum()
            error = np.clip(error, -limit, limit)
        delta = error * (1 - h[t] ** 2)
        if at == "gates":
            clamped += (abs(delta) > limit).sum()
            delta = np.clip(delta, -limit, limit)
        grads["weight_ih_l0"] += delta.T @ x[t - 1]
        grads["weight_hh_l0"] += delta.T @ h[t - 1]
        grads["bias_hh_l0"] += delta.sum(0)
        carry = delta @ W_hh
    return grads, carry, clamped / local.size


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm_backward(W_ih, W_hh, b, x, h0, c0, read, at, limit):
    """Run an LSTM and backpropagate by hand; read: h (T, B, H) -> dL/dh_t of the loss itself."""
    h, c, gates = [h0], [c0], []
    for x_t in x:
        i, f, g, o = np.split(x_t @ W_ih.T + h[-1] @ W_hh.T + b, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c.append(f * c[-1] + i * g)
        h.append(o * np.tanh(c[-1]))
        gates.append((i, f, g, o))
    local = read(np.stack(h[1:]))
    grads = {"weight_ih_l0": 0 * W_ih, "weight_hh_l0": 0 * W_hh, "bias_hh_l0": 0 * b}
    dh, dc, clamped, total = 0 * h0, 0 * c0, 0, 0
    for t in range(len(x), 0, -1):
        i, f, g, o = gates[t - 1]
        error = local[t - 1] + dh
        if at == "state":
            clamped, total = clamped + (abs(error) > limit).sum(), total + error.size
            error = np.clip(error, -limit, limit)
        memory = np.tanh(c[t])
        dc = dc + error * o * (1 - memory**2)
        parts = [dc * g * i * (1 - i), dc * c[t - 1] * f * (1 - f)]
        parts += [dc * i * (1 - g**2), error * memory * o * (1 - o)]
        delta = np.concatenate(parts, -1)
        if at == "gates":
            clamped, total = clamped + (abs(delta) > limit).sum(), total + delta.size
            delta = np.clip(delta, -limit, limit)
        grads["weight_ih_l0"] += delta.T @ x[t - 1]
        grads["weight_hh_l0"] += delta.T @ h[t - 1]
        grads["bias_hh_l0"] += delta.sum(0)
        dh, dc = delta @ W_hh, dc * f
    return grads, dh, dc, clamped / total


@pytest.mark.parametrize("at", ["state", "gates"])
@pytest.mark.parametrize("limit", [0.03, 0.3, 3.0])
def test_a_tanh_layer_against_backpropagation_by_hand(at, limit):
    rnn = make("rnn")
    x, h0 = inputs(rnn), torch.randn(1, B, H, dtype=DOUBLE, requires_grad=True)
    with ErrorClipping(rnn, limit, at) as errors:
        outputs, _ = rnn(x, h0)
        outputs.pow(3).sum().backward()
    h = torch.cat([h0, outputs]).detach().numpy()
    weights = (rnn.weight_ih_l0.detach().numpy(), rnn.weight_hh_l0.detach().numpy())
    grads, carry, share = rnn_backward(*weights, x.numpy(), h, 3 * h[1:] ** 2, at, limit)
    for name, expected in grads.items():
        np.testing.assert_allclose(rnn.get_parameter(name).grad, expected, rtol=1e-10)
    np.testing.assert_allclose(h0.grad[0], carry, rtol=1e-10)
    assert errors.fraction() == pytest.approx(share)
    assert 0 < share < 1 or limit > 1


@pytest.mark.parametrize("at", ["state", "gates"])
@pytest.mark.parametrize("limit", [0.01, 0.1, 1.0])
def test_an_lstm_against_backpropagation_by_hand(at, limit):
    lstm = make("lstm")
    x = inputs(lstm)
    states = [torch.randn(1, B, H, dtype=DOUBLE, requires_grad=True) for _ in "hc"]
    with ErrorClipping(lstm, limit, at) as errors:
        outputs, _ = lstm(x, tuple(states))
        outputs.pow(3).sum().backward()
    W_ih, W_hh, b_ih, b_hh = (p.detach().numpy() for p in lstm.parameters())
    h0, c0 = (s.detach()[0].numpy() for s in states)
    grads, dh, dc, share = lstm_backward(
        W_ih, W_hh, b_ih + b_hh, x.numpy(), h0, c0, lambda h: 3 * h**2, at, limit
    )
    for name, expected in grads.items():
        np.testing.assert_allclose(lstm.get_parameter(name).grad, expected, rtol=1e-9)
    np.testing.assert_allclose(states[0].grad[0], dh, rtol=1e-9)
    np.testing.assert_allclose(states[1].grad[0], dc, rtol=1e-9)
    assert errors.fraction() == pytest.approx(share)
    assert 0 < share < 1 or limit == 1


@pytest.mark.parametrize("cell_kind", [nn.GRUCell, nn.LSTMCell, nn.RNNCell, tk.GRUCell])
def test_cells_in_a_loop_of_ones_own_are_layers(cell_kind):
    """A cell with a hook and a layer that is unrolled take two ways to the same gradient."""
    layer_kind = {"GRU": nn.GRU, "LST": nn.LSTM, "RNN": nn.RNN}[cell_kind.__name__[:3]]
    layer = layer_kind(SIZE, H, dtype=DOUBLE)
    cell = cell_kind(SIZE, H, dtype=DOUBLE)
    own = dict(cell.named_parameters())
    for name, parameter in layer.named_parameters():
        nn.init.uniform_(parameter, -1, 1)
        own[name.removesuffix("_l0")].data.copy_(parameter.detach())
    x = inputs(layer)
    with ErrorClipping(layer, 0.5) as errors:
        layer(x)[0].pow(2).sum().backward()
    with ErrorClipping(nn.ModuleList([cell]), 0.5) as loop:
        state, loss = None, 0
        for x_t in x:
            state = cell(x_t, state)
            loss = loss + (state[0] if isinstance(state, tuple) else state).pow(2).sum()
        loss.backward()
    for name, parameter in layer.named_parameters():
        assert_close(own[name.removesuffix("_l0")].grad, parameter.grad, rtol=1e-10, atol=0)
    share = errors.fraction()
    assert 0 < share < 1
    assert loop.fraction() == share


def gru_gates_by_autograd(gru, x, limit):
    """The gradient of a GRU with its gates clamped, from a custom function in plain PyTorch."""

    class Clamp(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a.clone()

        @staticmethod
        def backward(ctx, g):
            return g.clamp(-limit, limit)

    weights = [p.detach().clone().requires_grad_() for p in gru.parameters()]
    W_ih, W_hh = weights
    h, loss = torch.zeros(B, H, dtype=DOUBLE), 0
    for x_t in x:
        i_r, i_z, i_n = (x_t @ W_ih.T).chunk(3, -1)
        h_r, h_z, h_n = (h @ W_hh.T).chunk(3, -1)
        r, z = (torch.sigmoid(Clamp.apply(a)) for a in (i_r + h_r, i_z + h_z))
        n = torch.tanh(Clamp.apply(i_n + r * h_n))
        h = (1 - z) * n + z * h
        loss = loss + h.pow(2).sum()
    loss.backward()
    return [w.grad for w in weights]


@pytest.mark.parametrize("limit", [0.01, 0.1])
def test_the_gates_of_a_gru(limit):
    gru = make("gru")
    x = inputs(gru)
    expected = gru_gates_by_autograd(gru, x, limit)
    with ErrorClipping(gru, limit, "gates") as errors:
        gru(x)[0].pow(2).sum().backward()
    assert 0 < errors.fraction() < 1
    for parameter, theirs in zip(gru.parameters(), expected, strict=True):
        assert_close(parameter.grad, theirs, rtol=1e-10, atol=1e-12)


def test_layers_on_top_of_each_other_are_clamped_each():
    deep = nn.RNN(SIZE, H, num_layers=2, dtype=DOUBLE)
    single = [nn.RNN(size, H, dtype=DOUBLE) for size in (SIZE, H)]
    for n, layer in enumerate(single):
        for name, parameter in layer.named_parameters():
            own = deep.get_parameter(name.replace("l0", f"l{n}"))
            nn.init.uniform_(own, -1.5, 1.5)
            parameter.data.copy_(own.detach())
    x = inputs(deep)
    apart = nn.ModuleList(single)
    with ErrorClipping(deep, 0.2), ErrorClipping(apart, 0.2):
        deep(x)[0].square().sum().backward()
        single[1](single[0](x)[0])[0].square().sum().backward()
    for n, layer in enumerate(single):
        for name, parameter in layer.named_parameters():
            own = deep.get_parameter(name.replace("l0", f"l{n}"))
            assert_close(own.grad, parameter.grad)


def flat(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_the_direction_of_the_gradient_changes():
    rnn = make_elman(20, 3.0, seed=1, dtype=DOUBLE)
    x = torch.randn(30, 4, 1, dtype=DOUBLE)
    rnn(x)[0][-1].sum().backward()
    true = flat(rnn)
    rnn.zero_grad()
    with ErrorClipping(rnn, 0.5) as errors:
        rnn(x)[0][-1].sum().backward()
    assert errors.fraction() > 0.1
    assert flat(rnn).norm() < 0.1 * true.norm()
    cosine = nn.functional.cosine_similarity(flat(rnn), true, dim=0)
    assert cosine < 0.9  # which no clipping of the norm could do


@settings(max_examples=25)
@given(rho=st.floats(0, 20), limit=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_no_step_adds_more_than_the_threshold(rho, limit, seed):
    rnn = make_elman(5, rho, seed=seed, dtype=DOUBLE)
    x = torch.randn(20, 3, 1, dtype=DOUBLE)
    for at in ("state", "gates"):
        rnn.zero_grad()
        with ErrorClipping(rnn, limit, at):
            (100 * rnn(x)[0]).sum().backward()
        # slopes and states of tanh are at most 1: dL/db sums at most T * B errors
        assert rnn.bias_hh_l0.grad.abs().max() <= 60 * limit * (1 + 1e-9)
        assert rnn.weight_hh_l0.grad.abs().max() <= 60 * limit * (1 + 1e-9)


def model_of(kind=tk.LSTM, **options):
    return SequenceModel(kind(SIZE, H, **options), 2).double()


@pytest.mark.parametrize("output", [None, "head"])
def test_the_error_of_the_output_layer(output):
    model, x = model_of(), torch.randn(T, B, SIZE, dtype=DOUBLE)
    with ErrorClipping(model, 1e9, output_threshold=0.5, output=output) as errors:
        out = model(x)
        (out * torch.tensor([3.0, 0.25], dtype=DOUBLE)).sum().backward()
    assert errors.output_fraction() == 0.5
    assert math.isnan(errors.output_fraction())
    assert errors.fraction() == 0
    assert_close(model.head.bias.grad, torch.tensor([0.5, 0.25], dtype=DOUBLE) * B)
    found = flat(model)
    model.zero_grad()
    (model(x) * torch.tensor([0.5, 0.25], dtype=DOUBLE)).sum().backward()
    assert_close(found, flat(model))


def test_fractions_count_from_call_to_call():
    rnn = ElmanRNN(1, 1, bias=False, nonlinearity="linear", dtype=DOUBLE)
    nn.init.ones_(rnn.weight_ih_l0)
    nn.init.ones_(rnn.weight_hh_l0)
    x = torch.ones(4, 1, dtype=DOUBLE)
    errors = ErrorClipping(rnn, 2.0)
    assert math.isnan(errors.fraction())
    rnn(x)[0].sum().backward()  # 1, 2, 3 -> 2, 3 -> 2
    assert errors.fraction() == 0.5
    assert math.isnan(errors.fraction())
    (10 * rnn(x)[0][-1]).sum().backward()  # 10 -> 2, 2, 2, 2
    with torch.no_grad():
        rnn(x)
    assert errors.fraction() == 0.25
    (rnn(x)[0][-1]).sum().backward()
    rnn(x)[0].sum().backward()
    assert errors.fraction() == 0.25


@pytest.mark.parametrize("at", ["state", "gates"])
def test_infinite_errors_become_finite_and_nan_stays(at):
    rnn = make("rnn")
    x = inputs(rnn)
    errors = ErrorClipping(rnn, 0.1, at)
    (rnn(x)[0][-1] * torch.tensor([1.0, math.inf, -math.inf, 0.0])).sum().backward()
    assert flat(rnn).isfinite().all()
    clamped = errors.fraction()
    assert clamped >= 4 / (T * B * H)
    rnn.zero_grad()
    (rnn(x)[0][-1] * math.nan).sum().backward()
    assert flat(rnn).isnan().any()
    errors.remove()
    rnn.zero_grad()
    (rnn(x)[0][-1] * math.inf).sum().backward()
    assert not flat(rnn).isfinite().all()


def test_a_network_that_has_diverged_is_run_and_not_refused():
    rnn = make("rnn")
    nn.init.constant_(rnn.weight_hh_l0, math.nan)
    with ErrorClipping(rnn, 1.0):
        assert rnn(inputs(rnn))[0][-1].isnan().all()


def test_nothing_stays_behind():
    model = model_of()
    before = {name: dict(module.__dict__) for name, module in model.named_modules()}
    hooks = {n: len(m._forward_hooks) for n, m in model.named_modules()}
    keys = list(model.state_dict())
    with ErrorClipping(model, 1.0, output_threshold=1.0) as errors:
        assert list(model.state_dict()) == keys
        assert "forward" in model.rnn.__dict__
    errors.remove()  # again: nothing happens
    for name, module in model.named_modules():
        assert module.__dict__.keys() == before[name].keys()
        assert len(module._forward_hooks) == hooks[name]
    assert model.rnn.forward.__func__ is tk.LSTM.forward


def test_an_exception_inside_removes_it_too():
    rnn = make("rnn")
    with pytest.raises(KeyError), ErrorClipping(rnn, 1.0):
        raise KeyError
    assert "forward" not in rnn.__dict__


def pickled(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_copy_is_clipped_by_itself(copied):
    model, x = model_of(), torch.randn(T, B, SIZE, dtype=DOUBLE)
    plain = copy.deepcopy(model)
    errors = ErrorClipping(model, 1e-3, output_threshold=1e-2)
    twin = copied(model)
    for other in (model, twin):
        other(x).sum().backward()
    assert_close(flat(twin), flat(model))
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    assert all(p.grad is not q.grad for p, q in pairs)
    assert errors.fraction() > 0
    errors.remove()  # of the model, not of its copy
    for other in (plain, model, twin):
        other.zero_grad()
        other(x).sum().backward()
    assert_close(flat(model), flat(plain))
    assert not torch.allclose(flat(twin), flat(plain))
    # the state of an attached model is the state of a plain one
    plain.load_state_dict(twin.state_dict())


def test_a_carried_state_is_carried_and_can_keep_its_graph():
    rnn = tk.GRU(SIZE, H, dtype=DOUBLE, initial_state=CarriedState(detach=False))
    plain, x = copy.deepcopy(rnn), torch.randn(T, B, SIZE, dtype=DOUBLE)
    with ErrorClipping(rnn, 1e9):
        for each in (rnn, plain):
            each(x)
            each(x)[0].sum().backward()
    assert_close(flat(rnn), flat(plain))
    with ErrorClipping(rnn, 1e-3) as errors:
        rnn.reset_state()
        rnn(x)
        rnn(x)[0].sum().backward()
        assert errors.fraction() == 0.5  # errors reach the first pass, too, but small ones


class OwnForward(nn.LSTM):
    def forward(self, input, hx=None):
        return super().forward(2 * input, hx)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.RNN(1, 1), 0.0), "threshold must be above 0, but 0.0 was given"),
        ((nn.RNN(1, 1), -1), "threshold must be a number of at least 0, but -1 was given"),
        ((nn.RNN(1, 1), math.nan), "threshold must be a number of at least 0"),
        ((nn.RNN(1, 1), 1.0, "cell"), "at must be one of 'state', 'gates', but 'cell' was given"),
        ((nn.RNN(1, 1), 1.0, "state", 0), "output_threshold must be above 0, but 0 was given"),
        ((nn.RNN(1, 1), 1.0, "state", 1.0), "output_threshold needs a model with an output layer"),
        ((nn.Linear(1, 1), 1.0), "model must be an nn.Module with a recurrent layer or cell"),
        (("rnn", 1.0), "model must be an nn.Module, but 'rnn' was given"),
        ((nn.LSTMCell(1, 1), 1.0, "gates"), "at='gates' needs recurrent layers.* LSTMCell"),
        ((OwnForward(1, 1), 1.0), "model must be one whose recurrent layers run as PyTorch's do"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ErrorClipping(*arguments)


def test_an_unknown_output_layer_is_named():
    with pytest.raises(ValueError, match=r"output must be the name of a layer .*'head'"):
        ErrorClipping(model_of(), 1.0, output_threshold=1.0, output="nonsense")


def test_an_output_layer_without_a_threshold_is_refused():
    with pytest.raises(
        ValueError, match=r"^output='head' needs an output_threshold, without which"
    ):
        ErrorClipping(model_of(), 1.0, output="head")


def test_an_output_layer_that_returns_no_tensor_is_named():
    model = nn.ModuleDict({"rnn": nn.GRU(SIZE, H), "last": nn.GRU(H, 1)})
    with ErrorClipping(model, 1.0, output_threshold=1.0, output="last"):
        hidden = model["rnn"](torch.zeros(T, B, SIZE))[0]
        with pytest.raises(ValueError, match=r"^output must be a layer that .* GRU returned \("):
            model["last"](hidden)


def test_a_copy_of_a_model_can_be_freed():
    model, x = nn.ModuleList([model_of(), nn.GRUCell(SIZE, H).double()]), torch.ones(T, B, SIZE)
    plain, x = copy.deepcopy(model), x.double()
    assert ErrorClipping.of(model) == []
    errors = ErrorClipping(model, 1e-3, output_threshold=1e-3)
    twin = pickled(copy.deepcopy(model))
    assert ErrorClipping.of(model) == ErrorClipping.of(model[0].rnn) == [errors]
    assert errors not in ErrorClipping.of(twin)
    for found in ErrorClipping.of(twin):
        found.remove()
    assert ErrorClipping.of(twin) == []
    for each in (plain, twin):
        (each[0](x).sum() + each[1](x[0]).sum()).backward()
    assert_close(flat(twin), flat(plain))
    assert ErrorClipping.of(model) == [errors]  # which is still clipped
    errors.remove()
    with ErrorClipping(model[0], 1.0) as one, ErrorClipping(model[1], 1.0) as other:
        assert ErrorClipping.of(model) == [one, other]


def test_autocast_is_taken_while_the_types_fit():
    model, x = nn.Sequential(nn.Linear(SIZE, SIZE), nn.GRU(SIZE, H)), torch.randn(T, B, SIZE)
    with ErrorClipping(model, 0.1) as errors, torch.autocast("cpu", torch.bfloat16):
        model[1](x)[0].float().sum().backward()
        assert errors.fraction() > 0
        with pytest.raises(
            ValueError, match=r"dtype of rnn, torch.float32, but torch.bfloat16 was"
        ):
            model(x)


def test_a_model_is_clipped_once():
    model = model_of()
    with ErrorClipping(model, 1.0):
        with pytest.raises(ValueError, match="LSTM has; call remove"):
            ErrorClipping(model.rnn, 1.0)
        cell = nn.GRUCell(1, 1)
        with ErrorClipping(cell, 1.0), pytest.raises(ValueError, match="GRUCell has; call remove"):
            ErrorClipping(cell, 1.0)
    with ErrorClipping(model.rnn, 1.0):  # a second one after the first
        pass


def test_what_cannot_be_run_step_by_step_is_refused():
    rnn = nn.GRU(SIZE, H)
    packed = nn.utils.rnn.pack_sequence([torch.randn(3, SIZE)])
    with ErrorClipping(rnn, 1.0):
        with pytest.raises(ValueError, match=r"input must be a tensor: .* no PackedSequence"):
            rnn(packed)
        with pytest.raises(ValueError, match=f"with input_size {SIZE}"):
            rnn(torch.zeros(T, B, SIZE + 1))
    half = nn.GRU(SIZE, H).half()
    with ErrorClipping(half, 1.0), pytest.raises(ValueError, match="in float32 or float64"):
        half(torch.zeros(T, B, SIZE).half())

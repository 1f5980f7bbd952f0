# mypy: disable-error-code="arg-type,index"
import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import teachkit as tk
from teachkit import unroll as module
from teachkit.initial_states import LearnedState
from teachkit.models import ACTIVATIONS, ElmanRNN, SequenceModel
from teachkit.unroll import activation_of, check_layer, unroll
from tests.reference import UNROLLED as LAYERS

DOUBLE = torch.float64
T, B, SIZE, H = 5, 2, 3, 4


@pytest.fixture(params=LAYERS)
def rnn(request):
    kind, options = LAYERS[request.param]
    return kind(SIZE, H, dtype=DOUBLE, **options)


def inputs(rnn, batched=True):
    """Draw x and an initial state for a layer, as the layer takes them."""
    count = rnn.num_layers * (1 + rnn.bidirectional)
    h0 = torch.randn(count, B, rnn.proj_size or H, dtype=DOUBLE)
    state = (h0, torch.randn(count, B, H, dtype=DOUBLE)) if isinstance(rnn, nn.LSTM) else h0
    x = torch.randn(T, B, SIZE, dtype=DOUBLE)
    if batched:
        return (x.transpose(0, 1) if rnn.batch_first else x), state
    single = (state[0][:, 0], state[1][:, 0]) if isinstance(state, tuple) else state[:, 0]
    return x[:, 0], single


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("with_h0", [True, False])
def test_outputs_and_last_states_are_the_layers_own(rnn, batched, with_h0):
    x, state = inputs(rnn, batched)
    state = state if with_h0 else None
    outputs, last = rnn(x, state)
    run = unroll(rnn, x, state)
    assert_close(run.outputs, outputs)
    lasts = last if isinstance(last, tuple) else (last,)
    for index, trace in enumerate(run.traces.values()):
        found = (trace.h[-1], trace.c[-1]) if trace.c is not None else (trace.h[-1],)
        for ours, theirs in zip(found, lasts, strict=True):
            assert_close(ours if batched else ours[0], theirs[index])


def test_the_traces_are_keyed_by_layer_and_direction(rnn):
    x, state = inputs(rnn)
    traces = unroll(rnn, x, state).traces
    directions = (False, True)[: 1 + rnn.bidirectional]
    assert list(traces) == [(n, d) for n in range(rnn.num_layers) for d in directions]
    for index, ((layer, reverse), trace) in enumerate(traces.items()):
        suffix = f"l{layer}" + ("_reverse" if reverse else "")
        assert torch.equal(trace.W_hh, getattr(rnn, f"weight_hh_{suffix}"))
        assert len(trace.h) == T + 1
        assert (trace.c is not None) == isinstance(rnn, nn.LSTM)
        assert torch.equal(trace.h[0], (state[0] if trace.c else state)[index])
        assert trace.activation is activation_of(rnn)


def test_a_reverse_direction_is_read_in_its_own_time():
    rnn = nn.GRU(SIZE, H, bidirectional=True, dtype=DOUBLE)
    x, state = inputs(rnn)
    outputs, _ = rnn(x, state)
    reverse = unroll(rnn, x, state).traces[0, True]
    assert_close(torch.stack(reverse.h[1:]), outputs[..., H:].flip(0))


def test_gradients_reach_every_state_and_no_weight(rnn):
    x, state = inputs(rnn)
    run = unroll(rnn, x, state)
    states = [s for trace in run.traces.values() for s in (*trace.h, *(trace.c or ()))]
    assert all(s.requires_grad for s in states)
    run.outputs.sum().backward()
    assert all(p.grad is None for p in rnn.parameters())
    given = state if isinstance(state, tuple) else (state,)
    assert not any(s.requires_grad for s in given)


def test_the_step_works_on_one_vector(rnn):
    x, state = inputs(rnn)
    for trace in unroll(rnn, x, state).traces.values():
        memory = trace.c[0][1] if trace.c is not None else None
        h, c = trace.step(trace.pre[0, 1], trace.h[0][1], memory)
        assert_close(h, trace.h[1][1])
        if trace.c is not None:
            assert_close(c, trace.c[1][1])


STARTS = ["noisy", "learned", "learned+noisy", "adaptive", LearnedState(c0=False, layers=(0,))]


@pytest.mark.parametrize("kind", [tk.LSTM, tk.GRU, tk.RNN, tk.ElmanRNN])
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"num_layers": 2}])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("initial_state", STARTS, ids=str)
def test_a_drop_in_starts_at_its_own_initial_state_without_noise(
    kind, options, batched, initial_state
):
    rnn = kind(SIZE, H, dtype=DOUBLE, initial_state=initial_state, **options)
    for state in tk.initial_state_parameters(rnn):
        nn.init.normal_(state)
    x, other = inputs(rnn, batched)
    expected = copy.deepcopy(rnn).eval()(x)[0]
    assert rnn.training
    assert_close(unroll(rnn, x).outputs, expected)
    found = tk.gradient_through_time(rnn, x, loss=lambda outputs: outputs.square().sum())
    assert found.loss == pytest.approx(expected.square().sum().item())
    plain = unroll(rnn, x, other).outputs  # a state that is passed goes before
    assert_close(plain, copy.deepcopy(rnn).eval()(x, other)[0])
    learned = [p for p in tk.initial_state_parameters(rnn) if (p != 0).any()]
    assert bool(learned) == ("earned" in str(initial_state))
    zero = tuple(0 * s for s in other) if isinstance(other, tuple) else 0 * other
    assert torch.allclose(expected, unroll(rnn, x, zero).outputs) != bool(learned)


def test_the_gradient_reaches_the_learned_state():
    rnn = tk.GRU(SIZE, H, dtype=DOUBLE, initial_state=LearnedState(init_std=1.0))
    x, _ = inputs(rnn, batched=False)
    rnn(x)[0][-1].sum().backward()
    found = tk.gradient_through_time(rnn, x)
    assert found.dL_dh0 == pytest.approx(rnn.h0.grad.norm().item())
    assert rnn.h0.requires_grad
    assert_close(found.h[0], rnn.h0.detach()[0])


def test_a_carried_state_is_where_it_starts():
    rnn = tk.LSTM(SIZE, H, dtype=DOUBLE, initial_state="carried")
    x, _ = inputs(rnn)
    _, carried = rnn(x)
    expected = copy.deepcopy(rnn)(x, carried)[0]
    assert_close(unroll(rnn, x).outputs, expected)
    assert_close(unroll(rnn, x).outputs, expected)  # to look does not carry it on
    with pytest.raises(ValueError, match="the batch size of the carried state, 2, but 1 was given"):
        unroll(rnn, x[:, :1])


def test_a_gradient_map_starts_there_too():
    rnn = tk.RNN(SIZE, H, dtype=DOUBLE, initial_state=LearnedState(init_std=1.0))
    rnn = tk.initialize(rnn, "gaussian", rho=1.0)
    x, _ = inputs(rnn)
    found = tk.dynamics.gradient_map(rnn, [0.5, 1.0], x)
    assert_close(found[1], tk.gradient_through_time(rnn, x).growth, rtol=1e-6, atol=0)
    own = rnn.h0.detach().expand(-1, B, -1)
    assert_close(found, tk.dynamics.gradient_map(rnn, [0.5, 1.0], x, own))


def test_dropout_between_layers_is_left_out():
    rnn = nn.RNN(SIZE, H, num_layers=2, dropout=0.9, dtype=DOUBLE)
    x, state = inputs(rnn)
    assert_close(unroll(rnn, x, state).outputs, copy.deepcopy(rnn).eval()(x, state)[0])


def test_a_trace_does_not_change_when_the_model_trains_on():
    rnn = nn.RNN(SIZE, H, dtype=DOUBLE)
    trace = unroll(rnn, *inputs(rnn)).traces[0, False]
    before = trace.W_hh.clone()
    nn.init.zeros_(rnn.weight_hh_l0)
    assert torch.equal(trace.W_hh, before)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_of_an_elman_layer(name):
    assert activation_of(ElmanRNN(1, 2, nonlinearity=name)) is ACTIVATIONS[name]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_gated_layer_has_no_single_activation(kind):
    assert activation_of(kind(1, 2)) is None


def test_the_check_of_the_input_tells_whether_it_is_batched():
    rnn = nn.RNN(SIZE, H, dtype=DOUBLE)
    assert module.check_input(rnn, inputs(rnn)[0])
    assert not module.check_input(rnn, inputs(rnn, batched=False)[0])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Linear(1, 1), "rnn must be an nn.RNN, nn.LSTM or nn.GRU layer, but"),
        (nn.LSTMCell(1, 1), "rnn must be an nn.RNN, nn.LSTM or nn.GRU layer, but"),
        ("lstm", "rnn must be an nn.RNN, nn.LSTM or nn.GRU layer, but"),
        (SequenceModel(nn.GRU(1, 1), 1), r"rnn must be .* \(it holds one: pass model.rnn\), but"),
    ],
)
def test_another_layer_is_named(layer, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        check_layer(layer)


def test_a_message_calls_the_layer_what_its_caller_does():
    with pytest.raises(ValueError, match=r"^model must be an nn\.RNN, nn\.LSTM or nn\.GRU layer"):
        check_layer(nn.LSTMCell(1, 1), "model")
    rnn = nn.RNN(1, 2)
    nn.init.constant_(rnn.get_parameter("bias_hh_l0"), float("nan"))
    with pytest.raises(ValueError, match=r"^model must have finite weights, but bias_hh_l0"):
        check_layer(rnn, "model")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value):
    rnn = nn.GRU(1, 2, num_layers=2)
    nn.init.constant_(rnn.get_parameter("bias_hh_l1")[1:2], value)
    with pytest.raises(ValueError, match=r"^rnn must have finite weights, but bias_hh_l1 contains"):
        unroll(rnn, torch.zeros(3, 1))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0]], r"x must be a tensor of shape \(T, B, input_size\), or \(T, input_size\)"),
        (torch.zeros(3), r"x must be a tensor of shape .* Tensor of shape \(3,\) was given"),
        (torch.zeros(3, 2, 5), r"x must be of shape .* with input_size 1, but Tensor of shape"),
        (torch.zeros(0, 2, 1), "x must be of shape .* not empty"),
        (torch.zeros(3, 2, 1, dtype=DOUBLE), "x must have the dtype of rnn, torch.float32, but"),
        (torch.full((3, 2, 1), float("nan")), "x must be finite, but it contains NaN or infinity"),
    ],
)
def test_a_bad_input_is_named(x, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        unroll(nn.RNN(1, 4), x)


def test_the_layout_in_the_message_is_that_of_the_layer():
    with pytest.raises(ValueError, match=r"^x must be a tensor of shape \(B, T, input_size\)"):
        unroll(nn.RNN(1, 4, batch_first=True), torch.zeros(3))


@pytest.mark.parametrize(
    ("kind", "h0", "message"),
    [
        (nn.RNN, torch.zeros(1, 3, 4), r"h0 must be a tensor of shape \(1, 2, 4\), but Tensor of"),
        (nn.GRU, (torch.zeros(1, 2, 4),), r"h0 must be a tensor of shape \(1, 2, 4\), but"),
        (nn.LSTM, torch.zeros(1, 2, 4), r"h0 must be a pair \(h0, c0\) of shape \(1, 2, 4\) and"),
        (nn.LSTM, (torch.zeros(1, 2, 4), None), r"h0 must be a pair \(h0, c0\) of shape"),
        (nn.RNN, "zero", r"h0 must be a tensor of shape \(1, 2, 4\), but 'zero' was given"),
        (nn.RNN, torch.full((1, 2, 4), float("inf")), "h0 must be finite, but it contains NaN or"),
    ],
)
def test_a_bad_initial_state_is_named(kind, h0, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        unroll(kind(1, 4), torch.zeros(3, 2, 1), h0)


def test_with_weights_gradients_are_those_of_the_layer(rnn):
    x, state = inputs(rnn)
    leaves = [x, *(state if isinstance(state, tuple) else (state,)), *rnn.parameters()]
    for leaf in leaves[: len(leaves) - len(list(rnn.parameters()))]:
        leaf.requires_grad_()
    expected = torch.autograd.grad(rnn(x, state)[0].sin().sum(), leaves)
    run = unroll(rnn, x, state, weights=True)
    assert_close(torch.autograd.grad(run.outputs.sin().sum(), leaves), expected)


def test_with_weights_a_drop_in_has_its_noise_and_a_layer_its_dropout():
    rnn = tk.GRU(SIZE, H, num_layers=2, dropout=0.5, dtype=DOUBLE, initial_state="noisy")
    x, _ = inputs(rnn)
    for training in (True, False):
        rnn.train(training)
        torch.manual_seed(3)
        expected = rnn(x)[0]
        torch.manual_seed(3)
        assert_close(unroll(rnn, x, weights=True).outputs, expected)
        assert training != torch.allclose(unroll(rnn, x).outputs, expected)


def test_with_weights_values_are_not_checked():
    rnn = nn.RNN(SIZE, H, dtype=DOUBLE)
    x, state = inputs(rnn)
    for values in (x[0, 0], state[0], rnn.weight_ih_l0.data[0]):
        kept = values.clone()
        values.fill_(float("inf"))
        assert unroll(rnn, x, state, weights=True).outputs.shape == (T, B, H)
        with pytest.raises(ValueError, match=r"must (be|have) finite"):
            unroll(rnn, x, state)
        values.copy_(kept)


@pytest.mark.parametrize(
    ("kind", "widths"), [(nn.RNN, [H]), (nn.LSTM, [4 * H]), (nn.GRU, [H, H, H])]
)
def test_what_goes_into_the_gates_is_seen_at_every_step(kind, widths):
    rnn = kind(SIZE, H, dtype=DOUBLE)
    seen: list[torch.Tensor] = []
    run = unroll(rnn, inputs(rnn)[0], on_gates=seen.append)
    assert [tuple(a.shape) for a in seen] == [(B, width) for width in widths] * T
    trace = run.traces[0, False]
    if kind is nn.RNN:
        assert_close(torch.stack(seen).tanh(), torch.stack(trace.h[1:]))
    elif kind is nn.LSTM:
        i, f, g, o = seen[0].chunk(4, -1)
        c = f.sigmoid() * trace.c[0] + i.sigmoid() * g.tanh()
        assert_close(c, trace.c[1])
        assert_close(o.sigmoid() * c.tanh(), trace.h[1])
    else:
        update, _, new = seen[:3]
        z = update.sigmoid()
        assert_close((1 - z) * new.tanh() + z * trace.h[0], trace.h[1])

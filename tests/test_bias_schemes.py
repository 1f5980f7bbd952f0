"""The biases that let a unit remember, against closed forms and gradients of the real layers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from teachkit.gates import gates, set_forget_bias
from teachkit.initializers import initialize
from tests.scheme_checks import DOUBLE, fill_with, flat, numbers, parts

GATED = [nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell]
NAMES: dict[str, dict[str, Any]] = {
    "forget_bias": {},
    "memory_bias": {"bias": 1.0},
    "chrono": {"max_steps": 9},
}


def biases(module):
    """Return the effective biases, gate by gate, of every layer and direction in turn."""
    named = gates(module)
    first = [views for name, views in named.items() if name.startswith("bias_ih")]
    second = [views for name, views in named.items() if name.startswith("bias_hh")]
    return [{g: a[g] + b[g] for g in a} for a, b in zip(first, second, strict=True)]


def memory(module, steps):
    """Return what is left of a state after some steps of a layer without weights: a gradient."""
    lstm = isinstance(module, nn.LSTM)
    start = torch.ones(1, 1, module.hidden_size, dtype=DOUBLE, requires_grad=True)
    hx = (torch.zeros_like(start), start) if lstm else start
    _, last = module(torch.zeros(steps, 1, module.input_size, dtype=DOUBLE), hx)
    last = last[1] if lstm else last
    (gradient,) = torch.autograd.grad(last.sum(), start)
    return gradient.flatten()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bias", [-5, 0, 1, 5.0])
def test_a_positive_bias_remembers_in_both(kind, bias):
    # With zero weights the state shrinks by sigmoid(b) at each step.
    module = fill_with(kind(1, 3, dtype=DOUBLE), 0.0)
    initialize(module, "memory_bias", bias=bias)
    expected = (1 / (1 + math.exp(-bias))) ** 50
    assert memory(module, 50).tolist() == pytest.approx([expected] * 3, rel=1e-9)


@pytest.mark.parametrize(
    ("kind", "gate"), [(nn.LSTM, "forget"), (nn.GRU, "update"), (nn.LSTMCell, "forget")]
)
def test_memory_bias_writes_one_gate_of_both_vectors(kind, gate):
    module = fill_with(kind(2, 3), 7.0)
    initialize(module, "memory_bias", bias=2)
    for name, views in gates(module).items():
        for own, values in views.items():
            changed = own == gate and name.startswith("bias")
            wanted = (2 if name.startswith("bias_ih") else 0) if changed else 7
            assert (values == wanted).all(), (name, own)


@pytest.mark.parametrize(("options", "bias"), [({}, 1.0), ({"bias": 2.5}, 2.5)])
def test_forget_bias_is_set_forget_bias(options, bias):
    lstm, other = (nn.LSTM(2, 3, 2, bidirectional=True) for _ in range(2))
    for one in (lstm, other):
        initialize(one, "torch", generator=numbers())
    initialize(lstm, "forget_bias", **options)
    set_forget_bias(other, bias)
    for value, expected in zip(lstm.parameters(), other.parameters(), strict=True):
        assert torch.equal(value, expected)
    assert all((found["forget"] == bias).all() for found in biases(lstm))


# --- chrono ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "gate"), [(nn.LSTM, "forget"), (nn.GRU, "update"), (nn.LSTMCell, "forget")]
)
@pytest.mark.parametrize("max_steps", [5, 100])
def test_every_horizon_is_as_likely(kind, gate, max_steps):
    module = initialize(
        kind(1, 2000, dtype=DOUBLE), "chrono", max_steps=max_steps, generator=numbers()
    )
    (found,) = biases(module)
    horizons = 1 + np.exp(flat(found[gate]))
    assert 2 <= horizons.min() <= horizons.max() <= max_steps
    assert stats.kstest(horizons, stats.uniform(2, max_steps - 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_the_horizon_is_how_long_the_layer_remembers(kind):
    # What is left after n steps is sigmoid(b)^n = (1 - 1 / horizon)^n.
    module = fill_with(kind(1, 20, dtype=DOUBLE), 0.0)
    initialize(module, "chrono", max_steps=30, generator=numbers())
    gate = "forget" if kind is nn.LSTM else "update"
    horizons = 1 + np.exp(flat(biases(module)[0][gate]))
    assert memory(module, 10).tolist() == pytest.approx((1 - 1 / horizons) ** 10, rel=1e-9)


def test_chrono_in_an_lstm_closes_the_input_gate_as_far_as_it_opens_the_other():
    lstm = fill_with(nn.LSTM(2, 3, 2, bidirectional=True), 7.0)
    initialize(lstm, "chrono", max_steps=50, generator=numbers())
    for name, views in gates(lstm).items():
        if name.startswith("bias_ih"):
            assert torch.equal(views["input"], -views["forget"])
            assert not views["cell"].any()
            assert not views["output"].any()
        elif name.startswith("bias_hh"):
            assert all(not values.any() for values in views.values())
        else:
            assert all((values == 7).all() for values in views.values())
    drawn = [tuple(found["forget"].tolist()) for found in biases(lstm)]
    assert len(set(drawn)) == 4  # every layer and direction has its own


def test_chrono_in_a_gru_writes_the_update_gate_alone():
    gru = fill_with(nn.GRU(2, 3), 7.0)
    initialize(gru, "chrono", max_steps=50, generator=numbers())
    named = gates(gru)
    assert not named["bias_hh_l0"]["update"].any()
    assert (named["bias_ih_l0"]["update"] >= 0).all()
    for name, views in named.items():
        for gate, values in views.items():
            assert (values == 7).all() or (gate == "update" and name.startswith("bias"))


@settings(max_examples=30)
@given(st.integers(2, 10**6), st.integers(0, 99))
def test_chrono_never_leaves_its_range(max_steps, seed):
    gru = nn.GRUCell(1, 30, dtype=DOUBLE)
    initialize(gru, "chrono", max_steps=max_steps, generator=numbers(seed))
    horizons = 1 + np.exp(flat(biases(gru)[0]["update"]))
    assert horizons.min() >= 2
    assert horizons.max() <= max_steps * (1 + 1e-12)


def test_two_steps_leave_no_choice():
    lstm = initialize(nn.LSTM(1, 4), "chrono", max_steps=2)
    assert all(not bias.any() for bias in parts(lstm, "bias"))


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", GATED)
def test_a_module_without_biases_is_refused(kind, name):
    if name == "forget_bias" and kind in (nn.GRU, nn.GRUCell):
        message = "^module must be an nn.LSTM or nn.LSTMCell: no other has a forget gate, but"
    else:
        message = "^module must have biases, but it was made with bias=False.$"
    with pytest.raises(ValueError, match=message):
        initialize(kind(2, 3, bias=False), name, **NAMES[name])


@pytest.mark.parametrize("name", ["memory_bias", "chrono"])
@pytest.mark.parametrize("kind", [nn.RNN, nn.RNNCell])
def test_a_plain_rnn_is_refused(kind, name):
    message = "^module must be an LSTM or a GRU: a plain RNN has no gate, but .*RNN.* was given"
    with pytest.raises(ValueError, match=message):
        initialize(kind(2, 3), name, **NAMES[name])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("forget_bias", {"bias": math.nan}, "bias must be a finite number, but nan was given"),
        ("memory_bias", {"bias": "big"}, "bias must be a finite number, but 'big' was given"),
        ("memory_bias", {}, "options must include 'bias' for the scheme 'memory_bias', but it was"),
        ("chrono", {}, "options must include 'max_steps' for the scheme 'chrono', but it was not"),
        ("chrono", {"max_steps": 1}, "max_steps must be a whole number of at least 2, but 1 was"),
        ("chrono", {"max_steps": 2.5}, "max_steps must be a whole number of at least 2, but 2.5"),
        ("chrono", {"steps": 5}, r"options must be those of the scheme 'chrono' \(max_steps\)"),
    ],
)
def test_a_bad_option_is_named(name, options, message):
    lstm = fill_with(nn.LSTM(1, 2), 7.0)
    with pytest.raises(ValueError, match=f"^{message}"):
        initialize(lstm, name, **options)
    assert all((parameter == 7).all() for parameter in lstm.parameters())

"""What the tests of initialisation schemes share: modules of every kind, and checks of laws."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import teachkit as tk
from teachkit.gates import gates
from teachkit.initial_states import LearnedState

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
NEEDED: dict[str, dict[str, Any]] = {  # options that have no default
    "normal": {"std": 0.3},
    "truncated_normal": {"std": 0.3},
    "memory_bias": {"bias": 2.0},
    "chrono": {"max_steps": 50},
}


def numbers(seed=0):
    return torch.Generator().manual_seed(seed)


def parts(module, kind):
    """Return all gates of the parameters of a kind, each a matrix or a vector."""
    named = gates(module).items()
    found = [v for name, views in named if name.startswith(kind) for v in views.values()]
    assert found or kind == "bias"
    return found


def fill_with(module, value):
    for parameter in module.parameters():
        nn.init.constant_(parameter, value)
    return module


def flat(values):
    return values.detach().double().flatten().numpy()


def check_law(values, law):
    """Compare with a distribution of SciPy in its limits and as a whole."""
    values = flat(values)
    low, high = law.support()
    slack = 1e-6 * law.std()
    assert low - slack <= values.min() <= values.max() <= high + slack
    assert stats.kstest(values, law.cdf).pvalue > 1e-3


def check_spread(samples):
    """Compare the width of many (values, law) with their laws', all of them pooled."""
    pooled = np.concatenate([flat(values) / law.std() for values, law in samples])
    assert pooled.std() == pytest.approx(1, rel=4 / math.sqrt(len(pooled)))
    uniform = np.concatenate([law.cdf(flat(values)) for values, law in samples])
    assert uniform.min() < 10 / len(uniform)
    assert uniform.max() > 1 - 10 / len(uniform)


def uniform_law(bound):
    return stats.uniform(-bound, 2 * bound)


def normal_law(std):
    return stats.norm(0, std)


def truncated_law(std):
    """N(0, s^2) cut at two s, scaled to the standard deviation `std` after the cut."""
    return stats.truncnorm(-2, 2, scale=std / stats.truncnorm(-2, 2).std())


def check_uniform(values, bound):
    """Compare with U(-bound, bound) in its limits and its distribution."""
    check_law(values, uniform_law(bound))
    values = flat(values)
    assert np.abs(values).max() > bound * (1 - 20 / len(values))


def check_glorot_inputs_and_zero_biases(module):
    for W in parts(module, "weight_ih"):
        bound = math.sqrt(6 / (W.shape[0] + W.shape[1]))
        assert W.abs().max() <= bound
        assert W.abs().max() > 0.7 * bound
    for bias in parts(module, "bias"):
        assert (bias == 0).all()

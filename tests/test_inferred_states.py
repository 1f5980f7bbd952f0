"""A state inferred from a context: shapes, where it starts, and that it learns what it should."""

from typing import Any

import pytest
import torch
from torch import nn

import teachkit as tk
from teachkit.inferred_states import InferredState

LAYERS: list[tuple[Any, dict[str, Any]]] = [
    (nn.LSTM, {}),
    (nn.GRU, {"num_layers": 2, "bidirectional": True}),
    (nn.RNN, {"nonlinearity": "relu"}),
    (nn.LSTM, {"proj_size": 3, "num_layers": 2}),
    (nn.LSTM, {"batch_first": True, "dtype": torch.float64}),
    (tk.GRU, {"initial_state": "learned"}),
]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_a_layer_takes_it_and_training_begins_at_zero(kind, options):
    rnn = kind(2, 5, **options)
    dtype = next(rnn.parameters()).dtype
    infer = InferredState(rnn, 4)
    batch = (6, 7, 2) if rnn.batch_first else (7, 6, 2)
    x, context = torch.randn(batch, dtype=dtype), torch.randn(6, 4, dtype=dtype)
    output, _ = rnn(x, infer(context))
    h0 = torch.zeros(infer.rows, 6, rnn.proj_size or 5, dtype=dtype)
    c0 = torch.zeros(infer.rows, 6, 5, dtype=dtype)
    expected, _ = rnn(x, (h0, c0) if isinstance(rnn, nn.LSTM) else h0)
    assert torch.equal(output, expected)


def test_each_sequence_gets_the_state_of_its_own_context():
    rnn = nn.LSTM(2, 5, num_layers=2)
    infer = InferredState(rnn, 4)
    for parameter in infer.parameters():
        nn.init.normal_(parameter)
    context = torch.randn(3, 4)
    h0, c0 = infer(context)
    hidden = torch.tanh(context @ infer.hidden.weight.T + infer.hidden.bias)
    for name, state in (("h0", h0), ("c0", c0)):
        linear: Any = infer.states[name]
        flat = hidden @ linear.weight.T + linear.bias
        rows = flat.reshape(3, 2, 5).transpose(0, 1)
        torch.testing.assert_close(state, rows.tanh() if name == "h0" else rows)
    assert h0.abs().max() <= 1 < c0.abs().max()
    assert h0.is_contiguous()
    assert c0.is_contiguous()


@pytest.mark.parametrize(
    "rnn",
    [
        nn.RNN(1, 40, nonlinearity="relu"),
        tk.ElmanRNN(1, 40, nonlinearity="linear"),
        nn.LSTM(1, 40, proj_size=20),
    ],
    ids=["relu", "linear", "projected"],
)
def test_a_layer_without_bounds_may_start_beyond_one(rnn):
    infer = InferredState(rnn, 4)
    for parameter in infer.parameters():
        nn.init.normal_(parameter)
    found = infer(torch.randn(30, 4))
    h0 = found[0] if isinstance(found, tuple) else found
    assert h0.abs().max() > 1


def test_a_width_may_be_a_float_that_is_whole():
    assert InferredState(nn.GRU(1, 2), 3, width=8.0).hidden.out_features == 8  # type: ignore[arg-type]


def test_it_learns_what_the_context_says():
    """The target is the context: only the initial state can carry it past a silent input."""
    torch.manual_seed(0)
    rnn, head = nn.GRU(1, 8), nn.Linear(8, 1)
    infer = InferredState(rnn, 1)
    parameters = [p for module in (rnn, head, infer) for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(150):
        context = torch.rand(64, 1) - 0.5
        output, _ = rnn(torch.zeros(3, 64, 1), infer(context))
        loss = (head(output[-1]) - context).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01  # 1/12 for whoever does not know the context


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: InferredState(nn.Linear(1, 2), 3), "rnn must be an nn.LSTM, nn.GRU or nn.RNN"),  # type: ignore[arg-type]
        (lambda: InferredState(nn.GRU(1, 2), 0), "context_size must be"),
        (lambda: InferredState(nn.GRU(1, 2), 3, width=0), "width must be"),
        (
            lambda: InferredState(nn.GRU(1, 2), 3)(torch.zeros(4, 2)),
            r"context must be a tensor of shape \(B, 3\)",
        ),
        (
            lambda: InferredState(nn.GRU(1, 2), 3)(torch.zeros(4, 3, dtype=torch.long)),
            "context must be of dtype torch.float32, but torch.int64 was given",
        ),
    ],
)
def test_bad_input_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()

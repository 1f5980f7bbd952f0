# mypy: disable-error-code="arg-type"
import numpy as np
import pytest
import torch
from torch import nn

from teachkit.gates import gates, set_forget_bias, split_gates

DOUBLE = torch.float64
BIG = 40.0  # saturates a sigmoid to 0 or 1 in float64


def quiet(cell):
    """Zero every weight, so that only the bias under test speaks."""
    for parameter in cell.parameters():
        nn.init.zeros_(parameter)
    return gates(cell)["bias_ih"]


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("lstm", ["input", "forget", "cell", "output"]),
        ("gru", ["reset", "update", "new"]),
        ("rnn", ["hidden"]),
    ],
)
@pytest.mark.parametrize("make", [torch.zeros, np.zeros])
@pytest.mark.parametrize("columns", [(), (2,)])
def test_each_gate_is_a_view(cell, names, make, columns):
    array = make((3 * len(names), *columns))
    views = split_gates(array, cell)
    assert list(views) == names
    for number, view in enumerate(views.values(), 1):
        assert view.shape == (3, *columns)
        view[:] = number
    rows = np.asarray(array).reshape(len(names), 3, -1)
    assert all((rows[i] == i + 1).all() for i in range(len(names)))


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (nn.LSTM(2, 3, num_layers=2, bidirectional=True, proj_size=2), 16),
        (nn.GRU(2, 3, bias=False), 2),
        (nn.RNN(2, 3), 4),
        (nn.LSTMCell(2, 3), 4),
        (nn.GRUCell(2, 3), 4),
        (nn.RNNCell(2, 3, bias=False), 2),
    ],
    ids=lambda value: str(value),
)
def test_every_weight_is_there_and_shares_memory(layer, count):
    table = gates(layer)
    assert len(table) == count
    for name, views in table.items():
        parameter = getattr(layer, name)
        assert torch.equal(torch.cat(list(views.values())), parameter)
        for number, view in enumerate(views.values()):
            view.fill_(number)
        for number, rows in enumerate(parameter.detach().split(3)):
            assert (rows == number).all()


def test_the_forget_gate_keeps_or_drops_c():
    cell = nn.LSTMCell(1, 2, dtype=DOUBLE)
    bias, c = quiet(cell), torch.tensor([[0.3, -2.0]], dtype=DOUBLE)
    x, h = torch.zeros(1, 1, dtype=DOUBLE), torch.zeros(1, 2, dtype=DOUBLE)
    bias["forget"].fill_(BIG)
    torch.testing.assert_close(cell(x, (h, c))[1], c)
    bias["forget"].fill_(-BIG)
    torch.testing.assert_close(cell(x, (h, c))[1], 0 * c)


def test_the_other_lstm_gates_do_what_their_name_says():
    cell = nn.LSTMCell(1, 1, dtype=DOUBLE)
    bias, c = quiet(cell), torch.ones(1, 1, dtype=DOUBLE)
    x = h = torch.zeros(1, 1, dtype=DOUBLE)
    bias["cell"].fill_(0.5)
    bias["forget"].fill_(-BIG)
    for level, opened in ((BIG, 1.0), (-BIG, 0.0)):
        bias["input"].fill_(level)
        assert cell(x, (h, c))[1].item() == pytest.approx(opened * np.tanh(0.5))
    bias["forget"].fill_(BIG)
    for level, opened in ((BIG, 1.0), (-BIG, 0.0)):
        bias["output"].fill_(level)
        assert cell(x, (h, c))[0].item() == pytest.approx(opened * np.tanh(1.0))


def test_the_gru_gates_do_what_their_name_says():
    cell = nn.GRUCell(1, 1, dtype=DOUBLE)
    bias, x = quiet(cell), torch.zeros(1, 1, dtype=DOUBLE)
    h = torch.full((1, 1), 0.7, dtype=DOUBLE)
    bias["new"].fill_(0.5)
    bias["update"].fill_(BIG)
    assert cell(x, h).item() == pytest.approx(0.7)  # kept
    bias["update"].fill_(-BIG)
    assert cell(x, h).item() == pytest.approx(np.tanh(0.5))  # replaced
    gates(cell)["weight_hh"]["new"].fill_(2.0)
    for level, opened in ((BIG, 1.0), (-BIG, 0.0)):
        bias["reset"].fill_(level)
        assert cell(x, h).item() == pytest.approx(np.tanh(0.5 + opened * 1.4))


@pytest.mark.parametrize(
    "lstm",
    [nn.LSTM(2, 3), nn.LSTM(2, 3, num_layers=2, bidirectional=True), nn.LSTMCell(2, 3)],
    ids=["one layer", "two layers, two directions", "cell"],
)
def test_the_effective_forget_bias_is_what_was_asked_for(lstm):
    before = {name: parameter.detach().clone() for name, parameter in lstm.named_parameters()}
    assert set_forget_bias(lstm, 2) is lstm
    after = dict(lstm.named_parameters())
    for name in (n for n in before if n.startswith("bias_ih")):
        total = after[name] + after[name.replace("ih", "hh")]
        assert (total[3:6] == 2).all()
    for name, old in before.items():
        others = [*range(3), *range(6, 12)] if name.startswith("bias") else range(12)
        assert torch.equal(after[name][others], old[others])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split_gates(np.zeros(8), "elman"), "cell must be one of 'lstm', 'gru', 'rnn'"),
        (lambda: split_gates([0.0] * 8, "lstm"), "array must be a torch tensor or a NumPy array"),
        (lambda: split_gates(np.zeros(7), "lstm"), "array must be stacked from 4 gates .* shape"),
        (lambda: split_gates(torch.tensor(1.0), "gru"), "array must be stacked from 3 gates"),
        (lambda: gates(nn.Linear(1, 1)), "module must be an nn.RNN, nn.LSTM or nn.GRU, or one"),
        (lambda: set_forget_bias(nn.GRU(1, 1), 1.0), "lstm must be an nn.LSTM or nn.LSTMCell, but"),
        (lambda: set_forget_bias(nn.LSTM(1, 1, bias=False), 1.0), "lstm must have biases"),
        (lambda: set_forget_bias(nn.LSTM(1, 1), float("nan")), "bias must be a finite number"),
        (lambda: set_forget_bias(nn.LSTM(1, 1), "one"), "bias must be a finite number, but 'one'"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

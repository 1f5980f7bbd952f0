import pytest
import torch
from torch import nn
from torch.testing import assert_close

import teachkit as tk


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = tk.LSTM(2, 3, initial_state="carried")
        self.second = tk.GRUCell(3, 4, initial_state="carried")
        self.learned = tk.GRU(2, 3, initial_state="learned")

    def forward(self, x):
        h = None
        for step in self.first(x)[0]:
            h = self.second(step, h)
        return h


def test_fresh_states_are_for_a_while():
    torch.manual_seed(0)
    model, twin = Model(), Model()
    twin.load_state_dict(model.state_dict())
    one, other, two = torch.randn(3, 5, 8, 2).unbind()
    model(one)
    with tk.fresh_states(model):
        inside = model(other[:, :3])  # another batch size, from zero
        assert_close(inside, twin(other[:, :3]), rtol=0, atol=0)
        assert not torch.equal(model(other[:, :3]), inside)  # carried on within the block
    tk.reset_states(twin)
    twin(one)
    assert_close(model(two), twin(two), rtol=0, atol=0)  # as if nothing had been between


def test_fresh_states_come_back_after_an_error():
    layer = tk.GRU(2, 3, initial_state="carried")
    layer(torch.randn(4, 5, 2))
    carried = layer.h0_carried

    def fail():
        with tk.fresh_states(layer):
            layer(torch.randn(4, 6, 2))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert layer.h0_carried is carried


def test_reset_states_reach_every_drop_in():
    model = Model()
    model(torch.randn(5, 8, 2))
    before = model.learned.h0.clone()
    tk.reset_states(model)
    assert model.first.h0_carried is model.first.c0_carried is model.second.h0_carried is None
    assert torch.equal(model.learned.h0, before)


@pytest.mark.parametrize("use", [tk.reset_states, lambda m: tk.fresh_states(m).__enter__()])
def test_only_modules_have_states(use):
    with pytest.raises(ValueError, match=r"^model must be an nn.Module, but 5 was given"):
        use(5)

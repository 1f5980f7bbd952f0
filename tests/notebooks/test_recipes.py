"""The recipes run as they are printed, and do what they promise."""

import re
from typing import Any

import pytest
import torch

import teachkit as tk
from tools.notebooks import NOTEBOOKS


def recipes(chapter):
    """The code blocks of a chapter's recipe, in order."""
    (path,) = (NOTEBOOKS / "source").glob(f"{chapter}_*.py")
    text = re.sub(r"(?m)^# ?", "", path.read_text(encoding="utf-8"))
    recipe = text.partition("## Recipe")[2].partition("## What you saw")[0]
    return re.findall(r"```python\n(.*?)```", recipe, re.DOTALL)


def test_the_radius_and_clipping_recipe():
    code = recipes("04")[0]
    build, _, step = code.partition("loss.backward()")
    names: dict[str, Any] = {"torch": torch, "input_size": 3, "hidden_size": 20}
    exec(build, names)
    rnn = names["rnn"]
    assert tk.spectral_radius(rnn.weight_hh_l0.detach()).item() == pytest.approx(1.2, abs=1e-3)
    names["model"] = rnn
    names["optimizer"] = torch.optim.SGD(rnn.parameters(), lr=0.1)
    names["loss"] = 1e3 * rnn(torch.randn(5, 2, 3))[0].sum()
    before = torch.nn.utils.parameters_to_vector(rnn.parameters()).detach().clone()
    exec("loss.backward()" + step, names)
    after = torch.nn.utils.parameters_to_vector(rnn.parameters()).detach()
    assert names["norm"] > 1
    assert (after - before).norm().item() == pytest.approx(0.1, rel=1e-3)


def test_the_forget_bias_recipe_is_the_helper_s():
    lstm = torch.nn.LSTM(2, 5)
    twin = torch.nn.LSTM(2, 5)
    twin.load_state_dict(lstm.state_dict())
    exec(recipes("04")[1], {"torch": torch, "lstm": lstm})
    tk.set_forget_bias(twin, 2.0)
    for mine, theirs in zip(lstm.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, theirs)

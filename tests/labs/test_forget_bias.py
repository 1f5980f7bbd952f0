"""The lab of the forget bias: PyTorch's own LSTM, and what its forget gate alone predicts."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import teachkit as tk
from tests.labs.driving import open_lab

SMALL = {"hidden_size": 6, "seq_len": 15, "seed": 2}


@pytest.mark.parametrize("bias", [-3.0, 0.0, 2.5, 8.0])
def test_the_curve_is_that_of_pytorchs_lstm(bias):
    lab = open_lab("forget_bias", forget_bias=bias, **SMALL)
    torch.manual_seed(2)
    lstm = tk.set_forget_bias(nn.LSTM(1, 6, dtype=torch.float64), bias)
    found = tk.gradient_through_time(lstm, torch.randn(15, 1, 1, dtype=torch.float64))
    expected = np.array([*found.dL_dc.flip(0).tolist(), found.dL_dc0]) / found.dL_dc[-1].item()
    np.testing.assert_allclose(lab.result.growth, expected, rtol=1e-12)
    keep = 1 / (1 + np.exp(-bias))
    np.testing.assert_allclose(lab.result.prediction, keep ** np.arange(16), rtol=1e-12)
    assert lab.result.horizon == pytest.approx(1 + np.exp(bias))


def test_a_larger_forget_bias_reaches_further_back():
    lab = open_lab("forget_bias")
    reached = []
    for bias in (-3.0, 0.0, 2.0, 4.0, 6.0):
        lab.controls["forget_bias"].value = bias
        reached.append(lab.result.growth[-1])
    assert reached == sorted(reached)


def test_where_all_cells_are_flat_at_the_end_there_is_nothing_to_compare_with():
    lab = open_lab("forget_bias", forget_bias=8.0, hidden_size=2, seq_len=300)
    assert np.isnan(lab.result.growth).all()
    assert (
        "the gradient to the cell state is not defined (it is 0 at the last step)" in lab.sentence
    )
    picture: Any = lab.spec.picture()
    picture.update(lab.result)
    assert np.isfinite(picture.figure.axes[0].get_ylim()).all()
    lab.controls["forget_bias"].value = 0.0
    assert "not defined" not in lab.sentence


def test_the_horizon_is_said_and_drawn():
    lab = open_lab("forget_bias", forget_bias=3.0)
    assert lab.sentence.startswith("forget bias = 3.0 (horizon 1 + e^b = 21.1 steps): after 50")
    picture: Any = lab.spec.picture()
    picture.update(lab.result)
    at = [line.get_xdata()[0] for line in picture.artists if line.get_label().startswith("horizon")]
    assert at == [pytest.approx(21.0855, rel=1e-4)]


def test_a_gradient_far_below_single_precision_is_not_called_zero():
    lab = open_lab("forget_bias", forget_bias=-3.0, seq_len=300)
    assert 0 < lab.result.growth[-1] < 1e-200
    assert re.search(r"the gradient to the cell state is \d\.\de2\d\d times smaller", lab.sentence)
    assert "the forget gate alone predicts exactly 0 (dead, or below float range)" in lab.sentence

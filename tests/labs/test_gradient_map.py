"""The lab of the gradient map: its four maps, and the line at the chosen radius."""

import numpy as np
import pytest
import torch

import teachkit as tk
from teachkit.labs.canvas import Canvas
from teachkit.labs.network import drive
from teachkit.labs.spectrum import in_words
from tests.labs.driving import check_shown, open_lab

SMALL = {"hidden_size": 10, "seq_len": 20, "seed": 2}


@pytest.mark.parametrize("activation", ["linear", "sigmoid", "tanh", "relu"])
def test_each_row_is_the_gradient_of_a_network(activation):
    lab = open_lab("gradient_map", **SMALL, input=True)
    rhos, growth = lab.result.rhos[activation], lab.result.growth[activation]
    assert growth.shape == (len(rhos), 21)
    assert rhos[0] == 0.0
    assert rhos[-1] == (20.0 if activation == "sigmoid" else 3.0)
    x, h0 = drive(lab.settings, 1)
    for row in (0, 7, len(rhos) - 1):
        rnn = tk.make_elman(10, rhos[row], activation=activation, seed=2, dtype=torch.float64)
        expected = tk.gradient_through_time(rnn, x, h0).growth
        np.testing.assert_allclose(growth[row], expected, rtol=1e-6, atol=1e-300)


def test_the_sentence_is_measured_at_the_slider_and_not_at_the_nearest_row():
    lab = open_lab("gradient_map", **SMALL)
    lab.controls["rho"].value = 1.23
    rnn = tk.make_elman(10, 1.23, activation="linear", seed=2, dtype=torch.float64)
    x, h0 = drive(lab.settings, 1)
    last = tk.gradient_through_time(rnn, x, h0).growth[-1].item()
    assert f"rho = 1.23, after 20 steps the gradient is: linear {in_words(last)};" in lab.sentence


def test_moving_rho_keeps_the_maps():
    lab = open_lab("gradient_map", **SMALL)
    maps = lab.result.growth
    lab.controls["rho"].value = 0.4
    assert lab.result.growth is maps
    lab.controls["seed"].value = 3
    assert lab.result.growth is not maps


def test_the_table_holds_every_cell():
    lab = open_lab("gradient_map", **SMALL)
    table = lab.spec.table(lab.result)
    assert list(table.columns) == ["activation", "rho", "steps_back", "growth"]
    assert set(table["activation"]) == {"linear", "sigmoid", "tanh", "relu"}
    chosen = table[(table["activation"] == "tanh") & (table["steps_back"] == 0)]
    assert (chosen["growth"] == 1).all()
    np.testing.assert_array_equal(chosen["rho"], lab.result.rhos["tanh"])


def test_every_map_is_drawn_with_its_radii_on_the_axis():
    lab = open_lab("gradient_map", **SMALL)
    canvas = Canvas(lab.spec.picture())
    assert canvas.png(lab.result)
    *maps, bar = canvas.picture.figure.axes
    assert [ax.get_title(loc="left") for ax in maps] == ["linear", "sigmoid", "tanh", "relu"]
    assert [round(ax.get_ylim()[1]) for ax in maps] == [3, 20, 3, 3]
    assert bar.get_ylabel() == "gradient norm"
    assert all(len(ax.images) == 1 for ax in maps)


def test_the_longest_sequence_at_the_largest_radius():
    lab = open_lab("gradient_map", hidden_size=10, seq_len=200, rho=3.0)
    check_shown(lab)
    assert "linear" in lab.sentence

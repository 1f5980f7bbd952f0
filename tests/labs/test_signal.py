"""The lab of the signal: its numbers, its words, its picture, and the reader's own layer."""

import copy
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

import teachkit as tk
from teachkit.labs.canvas import Canvas
from teachkit.labs.signal import what_is_left
from teachkit.labs.signal_picture import histogram
from teachkit.signals import expected_signal, signal_through_depth, signal_through_time
from teachkit.square_schemes import SQUARE_SCHEMES, variance_factor
from tests.labs.driving import BAD_OWN_MODELS, check_shown, ends, open_lab, pixels, recreate

SMALL = {"hidden_size": 12, "depth": 6, "seed": 3}


def lab_of(model, x, **settings):
    lab = tk.labs.signal(model=model, x=x, **settings)
    assert lab.widget is not None
    return lab


def drawn(lab):
    """The picture of a lab's result: its axes, and its lines by label."""
    canvas = Canvas(lab.spec.picture())
    assert canvas.png(lab.spec.compute(lab.settings))
    return canvas.picture, canvas.picture.figure.axes


def levels(line):
    return line.get_xydata()


# -- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["depth", "time", "time, with input"])
@pytest.mark.parametrize("activation", ["linear", "sigmoid", "tanh", "relu"])
def test_the_numbers_are_those_of_the_network_and_of_theory(mode, activation):
    lab = tk.labs.signal(
        mode=mode, activation=activation, scheme="kaiming_uniform", gain=1.3, **SMALL
    )
    table = lab.spec.table(lab.spec.compute(lab.settings))
    driven = mode == "time, with input"
    if mode == "depth":
        found = signal_through_depth(
            "kaiming_uniform", gain=1.3, activation=activation, hidden_size=12, depth=6, seed=3
        )
    else:
        found = signal_through_time(
            "kaiming_uniform", gain=1.3, activation=activation, hidden_size=12, seq_len=6,
            input=driven, seed=3,
        )  # fmt: skip
    factor = variance_factor("kaiming_uniform", 12, 1.3)
    theory = expected_signal(factor, activation, 6, input_variance=float(driven))
    assert table.columns[0] == ("layer" if mode == "depth" else "step")
    assert table.iloc[:, 0].tolist() == list(range(7))
    np.testing.assert_array_equal(table["log10_signal"], found.log10_activations)
    np.testing.assert_array_equal(table["log10_gradient"], found.log10_gradients)
    np.testing.assert_array_equal(table["saturated"], found.saturated)
    np.testing.assert_array_equal(table["log10_signal_expected"], theory.log10_activations)
    np.testing.assert_array_equal(table["log10_gradient_expected"], theory.log10_gradients)


def test_theory_is_left_out_where_units_do_not_mix():
    lab = open_lab("signal", scheme="identity", **SMALL)
    assert "log10_signal_expected" not in lab.spec.table(lab.result)
    _, (curves, *_) = drawn(lab)
    assert [t.get_text() for t in curves.get_legend().get_texts()] == [
        "signal \N{RIGHTWARDS ARROW}",
        "\N{LEFTWARDS ARROW} gradient",
    ]
    lab.controls["scheme"].value = "orthogonal"
    check_shown(lab)
    assert "log10_signal_expected" in lab.spec.table(lab.result)


def test_moving_the_gain_factorises_and_draws_nothing(monkeypatch):
    lab = open_lab("signal", **SMALL)
    calls: list[str] = []

    def count(name, function):
        def counted(*arguments, **options):
            calls.append(name)
            return function(*arguments, **options)

        return counted

    for name in ("eig", "eigvals", "svd", "svdvals", "qr", "matrix_norm"):
        monkeypatch.setattr(torch.linalg, name, count(name, getattr(torch.linalg, name)))
    monkeypatch.setattr("teachkit.square_schemes.initialize", count("initialize", tk.initialize))
    for gain in (0.1, 0.9, 2.2, 3.0):
        lab.controls["gain"].value = gain
        check_shown(lab)
    assert calls == []
    lab.controls["depth"].value = 8
    assert calls == ["initialize"] * 2  # two layers more
    lab.controls["seed"].value = 77  # the count is real
    assert "eigvals" in calls


# -- words ------------------------------------------------------------------------------------


def test_the_sentence_says_what_is_left():
    lab = open_lab("signal", hidden_size=64)
    signal = lab.result.signal
    left, back = signal.activations[-1].item(), signal.gradients[0].item()
    off = 100 * signal.saturated[-1].item()
    assert lab.sentence == (
        f"kaiming_normal, relu, 20 layers, gain 1.00: the signal {what_is_left(math.log10(left))}; "
        f"the gradient on its way back {what_is_left(math.log10(back))}; {off:.0f} % of the units "
        f"are off; spectral radius {signal.rho:.2f}."
    )
    assert 0.05 < left < 20
    lab.controls["mode"].value = "time, with input"
    assert lab.sentence.startswith(
        "kaiming_normal, relu, one matrix at 20 steps, with input, gain 1.00: the signal "
    )
    lab.controls["activation"].value = "tanh"
    assert re.search(r"; \d+(\.\d)? % of the units are saturated; ", lab.sentence)
    lab.controls["activation"].value = "linear"
    assert "of the units" not in lab.sentence


@pytest.mark.parametrize(
    ("log10", "said"),
    [
        (0.0, "keeps its mean square"),
        (math.log10(0.6), "keeps 0.6 of its mean square"),
        (-3.02, "keeps 9.5e-4 of its mean square"),
        (-42.14, "keeps 7.2e-43 of its mean square"),
        (-500.0001, "keeps 1.0e-500 of its mean square"),
        (math.log10(9.99e-4), "keeps 1.0e-3 of its mean square"),
        (1.0, "has 10 times its mean square"),
        (250.3, "has 2.0e250 times its mean square"),
        (math.nan, "is not defined (it is 0 at the last step)"),
        (math.inf, "is beyond float range"),
        (-math.inf, "is exactly 0 (dead, or below float range)"),
    ],
)
def test_what_is_left_in_words(log10, said):
    assert what_is_left(log10) == said


# -- picture ----------------------------------------------------------------------------------


def test_the_histogram_holds_every_unit_that_is_not_off():
    values = np.array([-9.0, -0.99, -0.01, 0.0, 0.26, 0.99, 7.0, np.inf])
    shares, edges = histogram(values, "linear")
    assert (edges[0], edges[-1]) == (-4, 4)
    assert shares.sum() == pytest.approx(1)
    assert (shares[0], shares[-1]) == (1 / 8, 2 / 8)
    shares, edges = histogram(np.array([0.0, 0.0, 0.0, 0.05, 9.0]), "relu")
    assert (edges[0], edges[-1]) == (0, 4)
    assert (shares[0], shares[-1], shares.sum()) == pytest.approx((0.2, 0.2, 0.4))
    shares, edges = histogram(np.array([-1.0, 0.12, 0.98, 0.99]), "tanh")
    assert shares[-1] == 0.5
    assert histogram(np.array([np.nan]), "linear")[0][-1] == 1  # infinity minus infinity


@pytest.mark.parametrize("scheme", ["xavier_normal", "std = 2/H"])
def test_the_curves_drawn_are_the_result(scheme):
    lab = open_lab("signal", scheme=scheme, **SMALL)
    picture, (curves, units, plane) = drawn(lab)
    result = lab.result
    named = picture._lines
    for name, exponents in (
        ("signal", result.signal.log10_activations),
        ("gradient", result.signal.log10_gradients),
        ("expected signal", result.expected.log10_activations),
        ("expected gradient", result.expected.log10_gradients),
    ):
        np.testing.assert_array_equal(levels(named[name])[:, 1], exponents)
        np.testing.assert_array_equal(levels(named[name])[:, 0], np.arange(7))
        low, high = curves.get_ylim()
        assert low <= exponents.min()
        assert exponents.max() <= high
    assert curves.get_xlim() == (0, 6)
    dots = levels(picture._dots)
    np.testing.assert_allclose(dots[:, 0] + 1j * dots[:, 1], result.signal.eigenvalues)
    assert (curves.get_xlabel(), units.get_xlabel()) == ("layer", "h in the last layer")
    assert plane.get_xlabel() == "eigenvalues of W (layer 1)"


def test_circles_are_round():
    _, (_, _, plane) = drawn(open_lab("signal", **SMALL))
    box = plane.get_window_extent()
    (left, right), (low, high) = plane.get_xlim(), plane.get_ylim()
    assert box.width / (right - left) == pytest.approx(box.height / (high - low), rel=0.01)


@pytest.mark.parametrize(
    ("activation", "limits", "radius"),
    [
        ("linear", (-4.0, 4.0), None),
        ("relu", (0.0, 4.0), "radius 1.41"),
        ("tanh", (-1.12, 1.12), None),
        ("sigmoid", (-0.06, 1.06), "radius 4"),
    ],
)
def test_each_activation_has_its_axes_and_its_keeping_radius(activation, limits, radius):
    picture, (_, units, plane) = drawn(open_lab("signal", activation=activation, **SMALL))
    assert units.get_xlim() == pytest.approx(limits)
    labels = [t.get_text() for t in plane.get_legend().get_texts()]
    assert labels == (["radius 1", radius] if radius else ["radius 1"])
    flat = [patch.get_x() + patch.get_width() for patch in picture._flat]
    if activation == "tanh":
        assert flat == pytest.approx([-math.sqrt(0.95), 1.12])
    elif activation == "sigmoid":
        h = flat[0]
        assert h * (1 - h) == pytest.approx(0.0125)
    else:
        assert flat == []


def test_a_relu_turns_half_of_the_units_off_and_keeps_at_radius_sqrt_2():
    lab = open_lab("signal", hidden_size=256)
    signal = lab.result.signal
    assert signal.saturated[-1].item() == pytest.approx(0.5, abs=0.07)
    assert signal.rho == pytest.approx(2**0.5, rel=0.1)


def test_the_posters_are_the_scheme_that_dies_that_holds_and_the_trap():
    lab = tk.labs.signal()
    dies, holds, trap = lab.poster_text().splitlines()
    assert dies.startswith("xavier_uniform, relu, 20 layers, gain 1.00: the signal keeps ")
    assert re.search(r"signal keeps \d\.\de-[67] of", dies)
    assert re.search(r"signal (keeps 0\.\d+ of|has \d(\.\d+)? times)", holds)
    assert trap.startswith("std = 2/H, relu")
    assert re.search(r"signal keeps \d\.\de-3\d of", trap)
    gains = [s["gain"] for s in lab.spec.posters({**lab.start, "activation": "tanh"})]
    assert gains == [0.5, 1.0, 2.0]
    for gain in (0.1, 3.0):  # the ends of the slider have posters too
        assert tk.labs.signal(activation="tanh", gain=gain, depth=5).poster_text()


@pytest.mark.parametrize("scheme", SQUARE_SCHEMES)
def test_every_scheme_shows_at_the_ends_of_the_gain(scheme):
    lab = open_lab("signal", scheme=scheme, gain=0.1, hidden_size=16, depth=5)
    check_shown(lab)
    assert lab.sentence.startswith(f"{scheme}, relu, 5 layers, gain 0.10: ")
    lab.controls["gain"].value = 3.0
    check_shown(lab)
    assert lab.sentence.startswith(f"{scheme}, relu, 5 layers, gain 3.00: ")


def test_far_below_float_range_is_drawn_and_said():
    lab = open_lab("signal", scheme="std = 2/H", gain=0.1, hidden_size=256, depth=100)
    check_shown(lab)
    assert re.search(r"the signal keeps \d\.\de-4\d\d of its mean square", lab.sentence)
    _, (curves, *_) = drawn(lab)
    assert curves.get_ylim()[0] < lab.result.signal.log10_activations[-1]


def test_a_network_whose_units_all_die_is_a_result():
    dead = next(
        lab
        for lab in (tk.labs.signal(hidden_size=8, depth=100, seed=seed) for seed in range(100))
        if math.isinf(lab.spec.compute(lab.settings).signal.log10_activations[-1])
    )
    assert dead.widget is not None
    check_shown(dead)
    assert "the signal is exactly 0 (dead, or below float range)" in dead.sentence
    assert "100 % of the units are off" in dead.sentence
    picture, _ = drawn(dead)
    assert picture._note.get_text() == "exactly 0"


# -- the reader's own model ---------------------------------------------------------------------

OWN = {
    "RNN": lambda: (nn.RNN(3, 8), torch.randn(20, 2, 3)),
    "RNN relu": lambda: (nn.RNN(3, 8, nonlinearity="relu", bias=False), torch.randn(20, 3)),
    "ElmanRNN": lambda: (tk.ElmanRNN(3, 8, nonlinearity="sigmoid"), torch.randn(20, 2, 3)),
    "LSTM": lambda: (
        nn.LSTM(3, 8, num_layers=2, bidirectional=True, batch_first=True),
        torch.randn(2, 20, 3),
    ),
    "projection": lambda: (nn.LSTM(3, 8, proj_size=4), torch.randn(20, 2, 3)),
    "GRU": lambda: (tk.GRU(3, 8, initial_state="learned"), torch.randn(20, 2, 3)),
}


@pytest.mark.parametrize("kind", OWN)
def test_an_own_model_is_measured_and_left_alone(kind):
    torch.manual_seed(1)
    model, x = OWN[kind]()
    weights, given = copy.deepcopy(model.state_dict()), x.clone()
    lab = lab_of(model, x)
    check_shown(lab)
    assert lab.settings_line == "tk.labs.signal(model=model, x=x)"
    found = tk.gradient_through_time(copy.deepcopy(model).double(), x.double())
    growth = found.growth if found.growth_c is None else found.growth_c
    np.testing.assert_allclose(lab.result.signal.gradients, growth.flip(0) ** 2, rtol=1e-9)
    last = found.h[-1].square().mean().item()
    assert lab.result.signal.activations[-1].item() == pytest.approx(last)
    assert "the state has mean square " in lab.sentence
    for control in lab.spec.controls:
        for end in ends(control):
            lab.controls[control.name].value = end
            check_shown(lab)
            assert recreate(lab.settings_line, model=model, x=x).sentence == lab.sentence
    assert all(torch.equal(model.state_dict()[k], v) for k, v in weights.items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert torch.equal(x, given)
    lab.reset()
    np.testing.assert_allclose(lab.result.signal.gradients, growth.flip(0) ** 2, rtol=1e-9)


def test_scale_and_forget_bias_turn_the_weights_of_a_copy():
    model, x = nn.LSTM(3, 8), torch.randn(20, 2, 3)
    lab = lab_of(model, x, scale=1.5, forget_bias=2.0)
    with torch.no_grad():
        model.get_parameter("weight_hh_l0").mul_(1.5)
        model.get_parameter("bias_ih_l0")[8:16] += 2.0
    twin = tk.signals.signal_of(model.double(), x.double())
    np.testing.assert_allclose(lab.result.signal.gradients, twin.gradients, rtol=1e-5)
    np.testing.assert_allclose(lab.result.signal.eigenvalues, twin.eigenvalues, rtol=1e-5)
    assert lab.sentence.startswith(
        "LSTM, 20 steps, gradient to the cell state, recurrent weights x 1.50, forget bias +2.0: "
    )


def test_the_matrix_of_an_own_rnn_is_scaled_and_not_factorised_again(monkeypatch):
    model, x = nn.RNN(3, 8, num_layers=2), torch.randn(20, 2, 3)
    lab = lab_of(model, x)
    monkeypatch.setattr(torch.linalg, "eigvals", lambda W: 1 / 0)
    lab.controls["scale"].value = 2.5
    check_shown(lab)
    rho = np.abs(
        np.linalg.eigvals(model.get_parameter("weight_hh_l1").detach().double().numpy())
    ).max()
    assert lab.result.signal.rho == pytest.approx(2.5 * rho, rel=1e-6)
    _, (_, units, plane) = drawn(lab)
    assert plane.get_xlabel() == "eigenvalues of weight_hh_l1"
    assert units.get_xlabel() == "h at the last step"


def test_an_lstm_whose_last_gradient_is_0_has_no_ratio_to_it():
    model = nn.LSTM(1, 4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        biases = model.get_parameter("bias_ih_l0")
        biases[:12] = 5.0  # input, forget, cell
    lab = lab_of(model, torch.zeros(60, 1))
    check_shown(lab)
    assert (
        "; the gradient on its way back is not defined (it is 0 at the last step); "
        "100 % of the cells are saturated; " in lab.sentence
    )
    picture, _ = drawn(lab)
    assert picture._note.get_text() == "gradient not defined"
    assert picture._flat == []  # the cells are flat, and the histogram is of h
    assert lab.spec.table(lab.result)["log10_gradient"].isna().all()
    lab.controls["forget_bias"].value = -3.0
    check_shown(lab)
    assert "not defined" not in lab.sentence
    picture, _ = drawn(lab)
    assert picture._note.get_text() == ""


def test_the_title_follows_where_no_axis_changes():
    lab = open_lab("signal", gain=2.18, mode="time, with input", hidden_size=8, depth=58, seed=99)
    for control, value in (("mode", "time"), ("scheme", "kaiming_uniform")):
        lab.controls[control].value = value
        anew = Canvas(lab.spec.picture()).png(lab.spec.compute(lab.settings))
        np.testing.assert_array_equal(pixels(lab.view.value), pixels(anew))


def test_a_gru_is_said_to_be_near_the_ends():
    model = nn.GRU(3, 8)
    with torch.no_grad():
        model.get_parameter("bias_ih_l0")[16:20] += 20.0
        model.get_parameter("bias_ih_l0")[8:16] -= 5.0
    lab = lab_of(model, torch.randn(10, 2, 3))
    assert "; 50 % of the units are near \N{PLUS-MINUS SIGN}1; " in lab.sentence
    picture, _ = drawn(lab)
    assert len(picture._flat) == 2


def test_a_zero_initial_state_of_an_own_model_does_not_stretch_the_axis():
    lab = lab_of(nn.RNN(3, 8), torch.randn(10, 2, 3))
    assert lab.result.signal.activations[0] == 0
    picture, (curves, *_) = drawn(lab)
    assert curves.get_ylim()[0] > -20
    assert picture._note.get_text() == ""
    before = pixels(lab.view.value)
    lab.controls["scale"].value = 0.0  # now the gradient really is 0
    picture, _ = drawn(lab)
    assert picture._note.get_text() == "exactly 0"
    assert not np.array_equal(pixels(lab.view.value), before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *BAD_OWN_MODELS,
        (
            {"model": nn.LSTMCell(1, 2), "x": torch.zeros(3, 1)},
            "^model must be an nn.RNN, nn.LSTM or nn.GRU",
        ),
        (
            {"model": nn.GRU(1, 2), "x": torch.zeros(3, 1), "gain": 1.0},
            "setting must be one of 'scale', but 'gain' was given",
        ),
        (
            {"model": nn.RNN(1, 2), "x": torch.zeros(3, 1), "scale": 9},
            "scale must be a number from 0 to 3, but 9 was given",
        ),
    ],
)
def test_a_bad_own_model_is_refused_at_once(arguments, said):
    with pytest.raises(ValueError, match=said):
        tk.labs.signal(**arguments)

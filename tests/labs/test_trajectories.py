"""The lab of the trajectories: its paths, what is left, the words, the picture, own models."""

import copy
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import gmean
from torch import nn

import teachkit as tk
from teachkit.experiments import trained_network
from teachkit.forgetting import noisy_starts, own_start, state_parts, steps_until
from teachkit.labs.canvas import Canvas
from teachkit.labs.trajectories_networks import network
from teachkit.labs.trajectories_picture import KINDS, Paths, Trajectories, TrajectoriesPicture
from teachkit.labs.trajectories_words import number, sentence, table
from teachkit.models import random_input
from teachkit.plots import COLORS
from tests.labs.driving import BAD_OWN_MODELS, check_shown, ends, open_lab, recreate

DOUBLE = torch.float64
TRAINED, RESCALED, COUNTEREXAMPLE = "trained on sunspots", "trained, rescaled", "counterexample"
SMALL = {"hidden_size": 12, "seq_len": 10, "seed": 3}


def opened(**settings):
    """The result of a lab that nobody looks at, and its numbers."""
    lab = tk.labs.trajectories(**settings)
    result = lab.spec.compute(lab.settings)
    return result, lab.spec.table(result)


def lab_of(model, x, **settings):
    lab = tk.labs.trajectories(model=model, x=x, **settings)
    assert lab.widget is not None
    return lab


def drawn(result):
    """The picture of a result, drawn, with its two axes."""
    canvas = Canvas(TrajectoriesPicture())
    assert canvas.png(result)
    return canvas.picture, canvas.picture.figure.axes


def run(rnn: Any, x, h0):
    """The states of a real layer from one start, (T + 1, H)."""
    with torch.no_grad():
        outputs, _ = rnn(x, h0)
    return torch.cat([h0[0], outputs[:, 0]]).numpy()


def relative(path, reference):
    apart = np.linalg.norm(path - reference, axis=1)
    return apart / apart[0]


def noise_of(rnn, std, seed):
    """The noisy starts of a layer that has one state, (1, 8, H)."""
    return state_parts(noisy_starts(rnn, 8, std, seed))[0]


def check_columns(table, kind, expected):
    for i, left in enumerate(expected, 1):
        np.testing.assert_allclose(table[f"{kind}_{i}_left"], left, rtol=1e-7, atol=1e-13)
    mean = table[f"{kind}_mean_left"]
    np.testing.assert_allclose(mean, gmean(expected), rtol=1e-7, atol=1e-13)


# -- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("driven", [False, True])
@pytest.mark.parametrize("rho", [0.4, 1.1])
def test_the_numbers_are_those_of_the_random_network(driven, rho):
    """Oracle: PyTorch's own forward pass of `make_elman`, one start at a time."""
    _, table = opened(rho=rho, noise_std=0.7, input=driven, **SMALL)
    rnn = tk.make_elman(12, rho, seed=3, dtype=DOUBLE)
    x = random_input(10, 1, 3) * driven
    zero = run(rnn, x, torch.zeros(1, 1, 12, dtype=DOUBLE))
    noise = noise_of(rnn, 0.7, 3)
    paths = [run(rnn, x, noise[:, i : i + 1]) for i in range(8)]
    check_columns(table, "noisy", [relative(path, zero) for path in paths])
    np.testing.assert_allclose(table["prediction"], rho ** np.arange(11))
    assert table["step"].tolist() == list(range(11))
    assert not any(column.startswith("learned") for column in table)


@pytest.mark.parametrize("hidden_size", [2, 3, 50])
def test_the_network_is_that_of_make_elman(hidden_size):
    settings = {"network": "random", "hidden_size": hidden_size, "seed": 5, "rho": 1.7}
    found, made = network(settings), tk.make_elman(hidden_size, 1.7, seed=5, dtype=DOUBLE)
    for name in ("weight_hh_l0", "weight_ih_l0"):
        torch.testing.assert_close(getattr(found, name), getattr(made, name))
    x, h0 = torch.randn(4, 1, 1, dtype=DOUBLE), torch.randn(1, 1, hidden_size, dtype=DOUBLE)
    torch.testing.assert_close(found(x, h0), made(x, h0))  # no biases, as theirs are zero


@pytest.mark.parametrize("driven", [False, True])
def test_the_numbers_are_those_of_the_trained_network_and_its_learned_start(driven):
    _, table = opened(network=TRAINED, seed=4, seq_len=25, input=driven)
    rnn = trained_network(4).double()
    h0 = rnn.get_parameter("h0").detach()
    x = tk.make_task("sunspots", 25).held_out()[0][:, :1].double() * driven
    zero = run(rnn, x, torch.zeros(1, 1, 16, dtype=DOUBLE))
    learned = run(rnn, x, h0)
    np.testing.assert_allclose(table["learned_left"], relative(learned, zero), rtol=1e-7)
    noise = noise_of(rnn, 0.3, 4)
    paths = [run(rnn, x, noise[:, i : i + 1]) for i in range(8)]
    check_columns(table, "noisy", [relative(path, zero) for path in paths])
    radius = tk.spectral_radius(rnn.weight_hh_l0).item()
    np.testing.assert_allclose(table["prediction"], radius ** np.arange(26), rtol=1e-4)


def test_a_trained_network_is_rescaled_to_the_radius():
    result, table = opened(network=RESCALED, rho=1.8, seed=4, seq_len=25)
    rnn = trained_network(4).double()
    h0 = rnn.get_parameter("h0").detach()
    with torch.no_grad():
        W = rnn.get_parameter("weight_hh_l0")
        W.copy_(tk.with_spectral_radius(W, 1.8))
    x = torch.zeros(25, 1, 1, dtype=DOUBLE)
    zero = run(rnn, x, torch.zeros(1, 1, 16, dtype=DOUBLE))
    learned = run(rnn, x, h0)
    np.testing.assert_allclose(table["learned_left"], relative(learned, zero), rtol=1e-4)
    assert [paths.kind for paths in result.paths] == ["noisy", "learned", "zero"]
    assert trained_network(4).get_parameter("weight_hh_l0").abs().max() < W.abs().max()


def two_units(h, steps):
    """Oracle: the counterexample in plain Python, h_t = tanh(W h + b)."""
    b = -4.0, math.atanh(0.5) + 4.0
    path = [h]
    for _ in range(steps):
        s = 8 * (h[0] + h[1])
        h = math.tanh(s + b[0]), math.tanh(b[1] - s)
        path.append(h)
    return np.array(path)


def test_the_counterexample_doubles_near_its_fixed_point_and_forgets_near_zero():
    result, table = opened(network=COUNTEREXAMPLE, noise_std=0.5, seq_len=15, seed=6)
    by_kind = {paths.kind: paths for paths in result.paths}
    noise = noise_of(nn.RNN(1, 2, dtype=DOUBLE), 0.5e-6, 6)[0].numpy()
    fixed, zero = two_units((0.0, 0.5), 15), two_units((0.0, 0.0), 15)
    near = [two_units((n[0], 0.5 + n[1]), 15) for n in noise[4:]]
    grown = [relative(path, fixed) for path in near]
    kind = "near_the_fixed_point"
    for i, left in enumerate(grown, 1):
        np.testing.assert_allclose(table[f"{kind}_{i}_left"], left, rtol=1e-4)
    doubling = table[f"{kind}_mean_left"].to_numpy()
    np.testing.assert_allclose(doubling[2:12] / doubling[1:11], 2.0, rtol=0.01)
    np.testing.assert_array_equal(table["prediction"], 2.0 ** np.arange(16))
    np.testing.assert_allclose(by_kind["zero"].xy[:, 0], zero, atol=1e-12)
    assert by_kind["noisy"].mean[-1] == 0  # not small: the same to the last bit
    assert result.std == pytest.approx(0.5e-6)
    np.testing.assert_allclose(table["fixed_point_x"], 0.0, atol=1e-6)


def test_the_fixed_point_holds_for_as_many_steps_as_are_offered():
    result, _ = opened(network=COUNTEREXAMPLE)
    by_kind = {paths.kind: paths for paths in result.paths}
    assert len(by_kind["fixed point"].xy) == 41
    np.testing.assert_allclose(by_kind["fixed point"].xy[:, 0], [[0.0, 0.5]] * 41, atol=0.01)
    assert by_kind["near the fixed point"].mean[-1] > 1e5


# -- a picture that holds still ----------------------------------------------------------------


@pytest.mark.parametrize("chosen", [{}, {"network": RESCALED, "seed": 3}, {"input": True}])
def test_the_plane_stays_while_radius_noise_and_length_move(chosen):
    start, _ = opened(**chosen)
    origins = {paths.kind: paths.xy[0] for paths in start.paths}
    for moved in ({"rho": 0.0}, {"rho": 1.21}, {"rho": 3.0}, {"seq_len": 5}, {"seq_len": 200}):
        result, _ = opened(**chosen, **moved)
        for paths in result.paths:
            np.testing.assert_allclose(paths.xy[0], origins[paths.kind], atol=1e-12)
    wider, _ = opened(**chosen, noise_std=0.6)
    np.testing.assert_allclose(wider.paths[0].xy[0], 2 * origins["noisy"], atol=1e-12)


def test_the_plane_of_two_units_is_theirs():
    result, _ = opened(hidden_size=2, seed=2, rho=0.9, seq_len=20)
    rnn = tk.make_elman(2, 0.9, seed=2, dtype=DOUBLE)
    start = noise_of(rnn, 0.3, 2)[:, :1]
    expected = run(rnn, torch.zeros(20, 1, 1, dtype=DOUBLE), start)
    np.testing.assert_allclose(result.paths[0].xy[:, 0], expected, atol=1e-12)
    assert (result.axes, result.share) == (("$h_1$", "$h_2$"), None)


def test_the_plane_shows_most_where_states_lie_close_to_one():
    share = {rho: opened(rho=rho, input=True)[0].share for rho in (0.3, 3.0)}
    assert 0 < share[3.0] < share[0.3] <= 1
    result, _ = opened(network=TRAINED, input=True)
    assert result.share > 0.6


def test_dragging_rarely_changes_the_axes_and_factorises_nothing(monkeypatch):
    lab = open_lab("trajectories", rho=0.8)
    calls: list[str] = []
    for name in ("eig", "eigvals", "eigh", "svd", "svdvals", "qr", "matrix_norm"):
        function = getattr(torch.linalg, name)

        def counted(*arguments, function=function, name=name, **options):
            calls.append(name)
            return function(*arguments, **options)

        monkeypatch.setattr(torch.linalg, name, counted)
    changes = 0
    canvas: Any = lab._canvas
    picture = canvas.picture
    for step in range(1, 41):
        frame = picture._frame
        lab.controls["rho"].value = 0.8 + 0.01 * step
        check_shown(lab)
        changes += frame != picture._frame
    assert calls == []
    assert changes <= 8
    lab.controls["seed"].value = 41  # the count is real
    assert "eigvals" in calls
    assert "eigh" in calls


# -- what a network leaves to choose ------------------------------------------------------------


def test_a_trained_network_opens_at_its_own_radius_and_goes_on_from_there():
    lab = open_lab("trajectories", seed=6)
    own = tk.spectral_radius(trained_network(6).weight_hh_l0).item()
    rho, hidden_size = lab.controls["rho"], lab.controls["hidden_size"]
    assert not rho.disabled
    lab.controls["network"].value = TRAINED
    check_shown(lab)
    assert rho.value == pytest.approx(own, abs=1e-5)
    assert rho.disabled
    assert hidden_size.disabled
    assert lab.settings["hidden_size"] == 16
    trained = lab.spec.table(lab.result)
    lab.controls["network"].value = RESCALED
    check_shown(lab)
    assert not rho.disabled
    assert rho.value == pytest.approx(own, abs=1e-5)
    assert lab.spec.table(lab.result).equals(trained)  # only from here on it is another network
    rho.value = 2.0
    check_shown(lab)
    assert not lab.spec.table(lab.result).equals(trained)
    lab.controls["network"].value = TRAINED
    lab.controls["seed"].value = 9  # another network, with a radius of its own
    other = tk.spectral_radius(trained_network(9).weight_hh_l0).item()
    assert rho.value == pytest.approx(other, abs=1e-5)
    assert abs(other - own) > 0.1


def test_there_are_sixteen_trained_networks():
    lab = open_lab("trajectories", seed=70)
    lab.controls["network"].value = TRAINED
    check_shown(lab)
    assert lab.settings["seed"] == lab.controls["seed"].max == 15
    with pytest.raises(ValueError, match=r"seed must be a number from 0 to 15, but 16 was given"):
        tk.labs.trajectories(network=RESCALED, seed=16)


def test_the_counterexample_leaves_noise_steps_and_seed():
    lab = open_lab("trajectories", network=COUNTEREXAMPLE)
    off = [name for name in ("rho", "hidden_size") if lab.controls[name].disabled]
    assert off == ["rho", "hidden_size"]
    assert lab.settings == {
        "rho": 0.0, "network": COUNTEREXAMPLE, "noise_std": 0.3, "hidden_size": 2, "seq_len": 40,
        "input": False, "seed": 2,
    }  # fmt: skip
    assert [value for _, value in lab.controls["input"].options] == [False]
    for name, value in (("noise_std", 2.0), ("seq_len", 5), ("seed", 8)):
        before = lab.sentence
        lab.controls[name].value = value
        check_shown(lab)
        assert lab.sentence != before
        assert recreate(lab.settings_line).sentence == lab.sentence
    with pytest.raises(ValueError, match=r"seq_len must be a number from 5 to 40, but 45 was"):
        tk.labs.trajectories(network=COUNTEREXAMPLE, seq_len=45)
    with pytest.raises(ValueError, match=r"^rho must be 0 here, but 1\.0 was given\.$"):
        tk.labs.trajectories(network=COUNTEREXAMPLE, rho=1)


@pytest.mark.parametrize("start", [{}, {"rho": 0.7, "hidden_size": 30, "input": True, "seed": 40}])
def test_who_leaves_the_counterexample_has_the_network_from_before(start):
    lab = open_lab("trajectories", **start)
    before, shown = dict(lab.settings), lab.view.value
    lab.controls["network"].value = COUNTEREXAMPLE
    check_shown(lab)
    assert (lab.settings["rho"], lab.settings["hidden_size"], lab.settings["seq_len"]) == (0, 2, 40)
    lab.controls["network"].value = "random"
    check_shown(lab)
    assert lab.settings == before
    assert lab.view.value == shown
    aside = open_lab("trajectories", network=COUNTEREXAMPLE)
    aside.controls["network"].value = "random"
    check_shown(aside)
    assert aside.settings == tk.labs.trajectories().settings


@pytest.mark.parametrize("kind", ["random", TRAINED, RESCALED])
def test_a_network_may_be_changed_without_changing_the_next(kind):
    settings = tk.labs.trajectories(network=kind).settings
    first, expected = network(settings), copy.deepcopy(network(settings))
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    for name, value in network(settings).named_parameters():
        assert torch.equal(value, expected.get_parameter(name))


# -- words ------------------------------------------------------------------------------------


def made_up(*groups, std=0.3, T=None):
    """A result whose starts of each kind leave what is given, {kind: curves (S, T + 1)}."""
    paths = []
    for kind, left in groups:
        values = None if left is None else np.array(left, dtype=float).T
        steps, count = (T + 1, 1) if values is None else values.shape
        paths.append(Paths(kind, np.zeros((steps, count, 2)), values))
    return Trajectories(
        paths=tuple(paths), prediction=None, base="rho", axes=("", ""), share=None, std=std,
        lead="tanh, without input", knob="rho = 0.90",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("curves", "said"),
    [
        (
            [[1, 0.5, 0.09, 0.0021]],
            "it takes 2 steps to forget nine tenths of the difference that a noisy start "
            "(std 0.3) makes; after 3 steps 2.1e-3 of it is left.",
        ),
        (
            [[1, 0.05]],
            "it takes 1 step to forget nine tenths of the difference that a noisy start "
            "(std 0.3) makes; after 1 step 0.05 of it is left.",
        ),
        ([[1, 0.05, 0.43]], "after 2 steps 0.43 of the difference that a noisy start (std 0.3) "),
        (
            [[1, 3.0, 1.3]],
            "the difference that a noisy start (std 0.3) makes is not forgotten: after 2 steps it "
            "is 1.3 times larger.",
        ),
        ([[1, 0.97]], "is not forgotten: after 1 step it is unchanged."),
        ([[1, math.inf]], "after 1 step it is beyond float range (above 1.8e308)."),
        (
            [[1, 0, 0]],
            "after 1 step nothing is left of the difference that a noisy start (std 0.3) makes.",
        ),
        ([[1, 0.05, 1e-9, 0, 0]], "(std 0.3) makes; after 3 steps nothing of it is left."),
        (
            [[1, 1e-4], [1, 1e-9], [1, 0.9]],
            "after 1 step less than 0.001 of the difference is left for 2 of 3 noisy starts "
            "(std 0.3), more than a tenth for 1.",
        ),
        ([[1, 0.05], [1, 0.0]], "after 1 step 0.05 of it is left."),
    ],
)
def test_the_sentence_says_what_is_left(curves, said):
    text = sentence(made_up(("noisy", curves)))
    assert text.startswith("rho = 0.90, tanh, without input: ")
    assert said in text


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        ([1, 0.5, 0.09, 3e-4], "the learned start: nine tenths in 2 steps, 3.0e-4 left after 3"),
        ([1, 0.05, 0, 0], "the learned start: nine tenths in 1 step, nothing left after 3 steps."),
        ([1, 0.05, 0.5, 0.6], "the learned start: 0.6 left after 3 steps."),
        ([1, 2, 3, 4], "the learned start: 4.0 times larger after 3 steps."),
    ],
)
def test_the_sentence_says_what_becomes_of_the_learned_start(curve, said):
    text = sentence(made_up(("noisy", [[1, 0.5, 0.2, 0.05]]), ("learned", [curve])))
    assert f"0.05 of it is left; {said}" in text


def test_ten_starts_share_the_name_of_their_mean():
    numbers = table(made_up(("near the fixed point", [[1, 0.5]] * 10), ("zero", None), T=1))
    stem = "near_the_fixed_point"
    lefts = [name for name in map(str, numbers) if name.endswith("_left")]
    assert lefts == [*(f"{stem}_{i}_left" for i in range(1, 11)), f"{stem}_mean_left"]


def test_a_learned_start_with_nothing_to_compare_is_not_spoken_of():
    assert "learned" not in sentence(made_up(("noisy", [[1, 0.5]]), ("learned", None), T=1))


def test_the_sentence_of_a_network_holds_its_numbers():
    lab = open_lab("trajectories", rho=0.85)
    mean = lab.result.paths[0].mean
    steps = steps_until(mean, 0.1)
    assert steps is not None
    assert lab.sentence == (
        f"rho = 0.85, tanh, without input: it takes {steps} steps to forget nine tenths of the "
        f"difference that a noisy start (std 0.3) makes; after 50 steps {number(mean[-1])} of it "
        "is left."
    )
    assert mean[steps] <= 0.1 < mean[steps - 1]
    lab.controls["network"].value = COUNTEREXAMPLE
    assert re.fullmatch(
        r"rho = 0, counterexample: near zero it takes 1 step to forget nine tenths of .* "
        r"\(std 3\.0e-7\) makes; after \d steps nothing of it is left; near the fixed point the "
        r"difference .* is not forgotten: after 40 steps it is \d\.\de\d times larger\.",
        lab.sentence,
    )
    lab.controls["network"].value = TRAINED
    assert lab.sentence.startswith(f"rho = {lab.settings['rho']:.2f}, trained on sunspots, without")
    assert "; the learned start: nine tenths in " in lab.sentence


def test_the_posters_show_the_lab_as_it_opens_a_kept_start_and_a_trained_network():
    lab = tk.labs.trajectories()
    opened, keeps, trained = lab.poster_text().splitlines()
    assert opened == lab.sentence
    assert re.search(r"is not forgotten: after 50 steps it is \d\.\d times larger", keeps)
    assert trained.startswith("rho = 1.04, trained on sunspots, with input: it takes 4 steps")
    assert "the learned start: nine tenths in" in trained
    driven = tk.labs.trajectories(input=True, seed=99).poster_text().splitlines()
    assert ["is not forgotten" in line for line in driven] == [False, True, False]
    for kind in (TRAINED, COUNTEREXAMPLE):
        assert len(tk.labs.trajectories(network=kind).poster_text().splitlines()) == 1


# -- picture ----------------------------------------------------------------------------------


def curve_of(line):
    x, y = line.get_data()
    return np.asarray(x), np.asarray(y)


@pytest.mark.parametrize(
    "chosen", [{}, {"network": TRAINED, "input": True}, {"network": COUNTEREXAMPLE}]
)
def test_what_is_drawn_is_the_result(chosen):
    result, _ = opened(**chosen)
    picture, (_, curve) = drawn(result)
    T = len(result.paths[0].xy) - 1
    assert curve.get_xlim() == (0, T)
    for paths in result.paths:
        color = KINDS[paths.kind].color
        starts, last = picture._starts[paths.kind], picture._ends[paths.kind]
        np.testing.assert_array_equal(starts.get_xydata(), paths.xy[0])
        np.testing.assert_array_equal(last.get_xydata(), paths.xy[-1])
        assert {starts.get_color(), last.get_color()} == {color}
        way = np.concatenate([picture._ways[paths.kind].get_xydata(),
                              picture._tangles[paths.kind].get_xydata()])  # fmt: skip
        way = way[~np.isnan(way).any(1)]
        assert {tuple(p) for p in way} == {tuple(p) for p in paths.xy.reshape(-1, 2)}
        x, y = curve_of(picture._lines[paths.kind])
        if paths.left is None:
            assert np.isnan(y).all()
            continue
        seen = paths.mean > 0
        np.testing.assert_allclose(10 ** y[seen], paths.mean[seen])
        assert x.tolist() == list(range(T + 1))
        if KINDS[paths.kind].noise:
            thin = curve_of(picture._thin[paths.kind])[1].reshape(-1, T + 2)[:, :-1].T
            np.testing.assert_allclose(10 ** thin[paths.left > 0], paths.left[paths.left > 0])
    absent = set(KINDS) - {paths.kind for paths in result.paths}
    for kind in absent:
        assert picture._starts[kind].get_xydata().size == 0
        assert np.isnan(curve_of(picture._lines[kind])[1]).all()
    np.testing.assert_allclose(10 ** curve_of(picture._predicted)[1], result.prediction)


@pytest.mark.parametrize(
    ("chosen", "left", "right"),
    [
        ({}, ["zero", "noisy"], ["noisy starts (mean)", "rho$^t$"]),
        (
            {"network": TRAINED},
            ["zero", "learned", "noisy"],
            ["noisy starts (mean)", "learned", "rho$^t$"],
        ),
        (
            {"network": COUNTEREXAMPLE},
            ["zero", "fixed point", "noisy"],
            ["noisy starts (mean)", "near the fixed point", "2$^t$"],
        ),
    ],
)
def test_the_legends_name_what_is_there(chosen, left, right):
    picture, axes = drawn(opened(**chosen)[0])
    named = [[t.get_text() for t in ax.get_legend().get_texts()] for ax in axes]
    assert named == [[*left, "end"], right]
    whole = picture.figure.bbox
    for ax in axes:
        box = ax.get_legend().get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= whole.x1
        assert len({t.get_window_extent().y0 for t in ax.get_legend().get_texts()}) <= 2  # one row
    boxes = [ax.get_legend().get_window_extent() for ax in axes]
    assert boxes[0].x1 < boxes[1].x0


def test_a_colour_means_one_strategy_everywhere():
    for kind in ("zero", "noisy", "learned", "carried"):
        assert KINDS[kind].color == COLORS[kind]


def test_a_difference_of_exactly_0_leaves_the_picture_downwards():
    result, _ = opened(rho=0.0)
    assert result.paths[0].mean[1:].tolist() == [0.0] * 50
    picture, (_, curve) = drawn(result)
    for line in (picture._lines["noisy"], picture._predicted):
        _, y = curve_of(line)
        assert y[0] == 0
        assert y[1] <= curve.get_ylim()[0]
        assert np.isnan(y[2:]).all()
    assert picture._note.get_text() == "forgotten entirely"
    picture.update(opened(rho=0.9)[0])
    assert picture._note.get_text() == ""


def test_what_comes_back_from_0_is_drawn_again():
    """At the end of float resolution two states may agree and differ again."""
    result = made_up(("noisy", [[1, 1e-15, 0, 0, 1e-16, 0]]), ("zero", None), T=5)
    picture, _ = drawn(result)
    _, y = curve_of(picture._lines["noisy"])
    assert y[[0, 1, 4]] == pytest.approx([0, -15, -16])
    assert (y[[2, 5]] < -20).all()
    assert np.isnan(y[3])


@pytest.mark.parametrize(
    "chosen",
    [
        {"rho": 3.0, "seq_len": 200, "hidden_size": 128, "noise_std": 2.0},
        {"rho": 0.05, "seq_len": 200, "noise_std": 0.05},
        {"network": TRAINED, "input": True},
        {"hidden_size": 2, "rho": 3.0},
    ],
)
def test_every_path_and_mean_is_within_the_axes(chosen):
    result, _ = opened(**chosen)
    _, (plane, curve) = drawn(result)
    xy = np.concatenate([paths.xy.reshape(-1, 2) for paths in result.paths])
    (left, right), (bottom, top) = plane.get_xlim(), plane.get_ylim()
    assert left < xy[:, 0].min() <= xy[:, 0].max() < right
    # what share of the spread is seen stands at the bottom, free of paths
    assert bottom + 0.06 * (top - bottom) < xy[:, 1].min() <= xy[:, 1].max() < top
    low, high = curve.get_ylim()
    levels = np.log10(result.paths[0].left[result.paths[0].left > 0])
    assert low <= levels.min() <= levels.max() <= high
    box = plane.get_window_extent()
    assert box.width / (right - left) == pytest.approx(box.height / (top - bottom), rel=0.01)


# -- the reader's own model ---------------------------------------------------------------------

LEARNED = tk.LearnedState(init_std=0.5)
OWN = {
    "RNN": lambda: (nn.RNN(3, 8), torch.randn(20, 2, 3)),
    "RNN relu": lambda: (nn.RNN(3, 8, nonlinearity="relu", bias=False), torch.randn(20, 3)),
    "one unit": lambda: (nn.RNN(3, 1), torch.randn(20, 2, 3)),
    "ElmanRNN": lambda: (tk.ElmanRNN(3, 8, nonlinearity="sigmoid"), torch.randn(20, 2, 3)),
    "LSTM": lambda: (
        tk.LSTM(3, 8, num_layers=2, bidirectional=True, batch_first=True, initial_state=LEARNED),
        torch.randn(2, 20, 3),
    ),
    "projection": lambda: (nn.LSTM(3, 8, proj_size=4), torch.randn(20, 2, 3)),
    "GRU": lambda: (tk.GRU(3, 8, initial_state=LEARNED), torch.randn(20, 3)),
}


def own_paths(model, x, std, seed):
    """Oracle: PyTorch's own forward pass; (zero, own or None, noisy ones), (T + 1, H) each."""
    rnn = copy.deepcopy(model).double()
    given = x.double()
    own = own_start(rnn, given)
    if given.ndim == 2:
        one = given[None] if rnn.batch_first else given[:, None]
    else:
        one = given[:1] if rnn.batch_first else given[:, :1]
    row = (rnn.num_layers - 1) * (1 + rnn.bidirectional)
    width = rnn.proj_size or rnn.hidden_size

    def follow(parts):
        if own is not None and rnn.bidirectional:
            parts = [part.clone() for part in parts]
            for part, like in zip(parts, state_parts(own.state), strict=True):
                part[1::2] = like[1::2]
        with torch.no_grad():
            outputs, _ = rnn(one, tuple(parts) if len(parts) > 1 else parts[0])
        outputs = outputs[0] if rnn.batch_first else outputs[:, 0]
        return torch.cat([parts[0][row], outputs[:, :width]]).numpy()

    noise = state_parts(noisy_starts(rnn, 8, std, seed))
    noisy = [follow([p[:, i : i + 1].contiguous() for p in noise]) for i in range(8)]
    zero = follow([torch.zeros_like(p[:, :1]) for p in noise])
    return zero, None if own is None else follow(list(state_parts(own.state))), noisy


@pytest.mark.parametrize("kind", OWN)
def test_an_own_model_is_followed_and_left_alone(kind):
    torch.manual_seed(1)
    model, x = OWN[kind]()
    weights, given = copy.deepcopy(model.state_dict()), x.clone()
    lab = lab_of(model, x, noise_std=0.5, seed=4)
    check_shown(lab)
    assert lab.settings_line == "tk.labs.trajectories(model=model, x=x, noise_std=0.5, seed=4)"
    zero, own, noisy = own_paths(model, x, 0.5, 4)
    table = lab.spec.table(lab.result)
    check_columns(table, "noisy", [relative(path, zero) for path in noisy])
    assert ("learned_left" in table) == (own is not None)
    if own is not None:
        np.testing.assert_allclose(table["learned_left"], relative(own, zero), rtol=1e-7)
        assert "; the learned start: " in lab.sentence
    for control in lab.spec.controls:
        for end in ends(control):
            lab.controls[control.name].value = end
            check_shown(lab)
            assert recreate(lab.settings_line, model=model, x=x).sentence == lab.sentence
    assert all(torch.equal(model.state_dict()[k], v) for k, v in weights.items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert torch.equal(x, given)
    lab.reset()
    assert lab.spec.table(lab.result).equals(table)


def test_scale_and_forget_bias_turn_the_weights_of_a_copy():
    torch.manual_seed(2)
    model, x = nn.LSTM(3, 8), torch.randn(20, 2, 3)
    lab = lab_of(model, x, scale=1.5, forget_bias=2.0)
    with torch.no_grad():
        model.get_parameter("weight_hh_l0").mul_(1.5)
        model.get_parameter("bias_ih_l0")[8:16] += 2.0
    zero, _, noisy = own_paths(model, x, 0.3, 0)
    expected = gmean([relative(path, zero) for path in noisy])
    np.testing.assert_allclose(lab.result.paths[0].mean, expected, rtol=1e-4)
    assert lab.sentence.startswith("recurrent weights x 1.50, forget bias +2.0, LSTM, the first ")
    assert lab.result.prediction is None


@pytest.mark.parametrize(
    ("make", "base", "factor"),
    [
        (lambda: nn.RNN(3, 8), "rho", 1.0),
        (lambda: tk.ElmanRNN(3, 8, nonlinearity="sigmoid"), "(rho / 4)", 0.25),
        (lambda: nn.RNN(3, 8, num_layers=2), "rho", None),  # its layers have a radius each
        (lambda: nn.GRU(3, 8), "rho", None),
    ],
)
def test_what_the_radius_says_is_drawn_where_it_says_something(make, base, factor):
    model = make()
    result = lab_of(model, torch.randn(9, 2, 3), scale=2.0).result
    if factor is None:
        assert result.prediction is None
        _, (_, curve) = drawn(result)
        assert "rho$^t$" not in [t.get_text() for t in curve.get_legend().get_texts()]
        return
    radius = 2 * tk.spectral_radius(model.weight_hh_l0).item()
    np.testing.assert_allclose(result.prediction, (factor * radius) ** np.arange(10), rtol=1e-5)
    assert (result.base, f"(rho = {radius:.2f})" in result.knob) == (base, True)


def test_a_carried_state_is_followed_and_kept():
    model = tk.GRU(3, 8, batch_first=True, initial_state="carried")
    x = torch.randn(2, 15, 3)
    model(x)
    carried = model.h0_carried.clone()
    lab = lab_of(model, x)
    check_shown(lab)
    assert "; the carried start: " in lab.sentence
    assert [paths.kind for paths in lab.result.paths] == ["noisy", "carried", "zero"]
    assert torch.equal(model.h0_carried, carried)
    assert torch.isfinite(torch.tensor(lab.result.paths[1].xy)).all()


def test_a_learned_start_that_is_still_zero_is_the_zero_start():
    lab = lab_of(tk.LSTM(3, 8, initial_state="learned"), torch.randn(9, 2, 3))
    check_shown(lab)
    assert [paths.kind for paths in lab.result.paths] == ["noisy", "zero"]


def test_a_start_that_another_layer_learned_is_drawn_without_a_curve():
    first = tk.LearnedState(init_std=1.0, layers=(0,))
    lab = lab_of(tk.GRU(3, 8, num_layers=2, initial_state=first), torch.randn(9, 2, 3))
    check_shown(lab)
    learned = lab.result.paths[1]
    assert (learned.kind, learned.left) == ("learned", None)
    assert not np.allclose(learned.xy, lab.result.paths[2].xy)  # the first layer moves the second
    assert "learned" not in lab.sentence


def test_an_explosion_leaves_the_picture_and_is_said():
    model = tk.make_elman(8, 1.0, activation="linear")
    lab = lab_of(model, torch.zeros(1000, 1), scale=3.0)
    check_shown(lab)
    assert "after 1000 steps it is beyond float range (above 1.8e308)" in lab.sentence
    picture, (plane, curve) = drawn(lab.result)
    assert picture._note.get_text() == "beyond float range"
    assert plane.get_xlim() == (-800, 800)
    assert curve.get_ylim()[1] > 308
    lab.controls["scale"].value = 0.5
    check_shown(lab)
    assert drawn(lab.result)[0]._note.get_text() == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *BAD_OWN_MODELS,
        (
            {"model": nn.LSTMCell(1, 2), "x": torch.zeros(3, 1)},
            "^model must be an nn.RNN, nn.LSTM or nn.GRU",
        ),
        (
            {"model": nn.GRU(1, 2), "x": torch.zeros(3, 1), "rho": 1.0},
            "setting must be one of 'scale', 'noise_std', 'seed', but 'rho' was given",
        ),
        (
            {"model": nn.RNN(1, 2), "x": torch.zeros(3, 1), "noise_std": 0},
            "noise_std must be a number from 0.05 to 2, but 0 was given",
        ),
    ],
)
def test_a_bad_own_model_is_refused_at_once(arguments, said):
    with pytest.raises(ValueError, match=said):
        tk.labs.trajectories(**arguments)

"""The lab of the spectral radius: what its numbers are, own models, limits, and Train now."""

import copy
import math
import re
import threading
import time
from dataclasses import replace
from itertools import islice

import matplotlib
import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

import teachkit as tk
from teachkit.labs.network import drive
from teachkit.labs.race import STEPS
from teachkit.labs.spectrum import in_words
from tests.labs.driving import BAD_OWN_MODELS, check_shown, open_lab, pixels, recreate, words

spectral_radius = tk.labs.spectral_radius


def lab_of(model, x, **settings):
    lab = spectral_radius(model=model, x=x, **settings)
    assert lab.widget is not None
    return lab


# -- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["linear", "sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("with_input", [False, True])
def test_the_curves_are_those_of_the_network(activation, with_input):
    rho, H, T, seed = 1.4, 12, 30, 3
    lab = spectral_radius(
        rho=rho, activation=activation, hidden_size=H, seq_len=T, input=with_input, seed=seed
    )
    table = lab.spec.table(lab.spec.compute(lab.settings))
    rnn = tk.make_elman(H, rho, activation=activation, input_size=6, seed=seed, dtype=torch.float64)
    x, h0 = drive(lab.settings, 6)
    assert bool(x.any()) == with_input
    growth = tk.gradient_through_time(rnn, x, h0).growth
    np.testing.assert_allclose(table["growth"], growth, rtol=1e-12)
    gamma = 0.25 if activation == "sigmoid" else 1.0
    np.testing.assert_allclose(table["prediction"], (gamma * rho) ** np.arange(T + 1))
    sigma = tk.sigma_max(rnn.weight_hh_l0).item()
    np.testing.assert_allclose(table["bound"], (gamma * sigma) ** np.arange(T + 1), rtol=1e-9)
    eigenvalues = np.abs(lab.spec.compute(lab.settings).eigenvalues)
    assert eigenvalues.max() == pytest.approx(rho)
    assert table["steps_back"].tolist() == list(range(T + 1))


@pytest.mark.parametrize("rho", [0.5, 1.2, 2.9])
def test_the_gradient_keeps_below_its_bound(rho):
    for activation in ("linear", "sigmoid", "tanh", "relu"):
        lab = spectral_radius(rho=rho, activation=activation, non_normality=2.0)
        result = lab.spec.compute(lab.settings)
        # growth is relative to a unit vector, which each step stretches by sigma_max at most
        assert (result.growth <= result.bound * (1 + 1e-9)).all()


def test_a_normal_linear_network_does_what_its_eigenvalues_say_at_most():
    lab = spectral_radius(activation="linear", non_normality=0.0, rho=1.1)
    result = lab.spec.compute(lab.settings)
    np.testing.assert_allclose(result.bound, result.prediction, rtol=1e-9)


def counting(name, function, calls):
    def counted(*arguments, **options):
        calls.append(name)
        return function(*arguments, **options)

    return counted


def test_moving_rho_factorises_nothing(monkeypatch):
    lab = open_lab("spectral_radius")
    calls: list[str] = []
    for place, names in (
        (
            torch.linalg,
            ("eig", "eigvals", "eigh", "eigvalsh", "svd", "svdvals", "qr", "matrix_norm"),
        ),
        (scipy.linalg, ("schur", "eig", "eigvals", "svd", "svdvals")),
        (np.linalg, ("eig", "eigvals", "svd", "svdvals")),
    ):
        for name in names:
            monkeypatch.setattr(place, name, counting(name, getattr(place, name), calls))
    for rho in (0.0, 0.31, 1.0, 2.5, 3.0):
        lab.controls["rho"].value = rho
        check_shown(lab)
    assert calls == []
    lab.controls["seed"].value = 41  # another matrix has to be factorised: the count is real
    assert "eigvals" in calls


# -- limits -----------------------------------------------------------------------------------


def test_a_sigmoid_goes_further_and_switching_back_clamps():
    lab = open_lab("spectral_radius")
    rho, activation = lab.controls["rho"], lab.controls["activation"]
    assert rho.max == 3.0
    activation.value = "sigmoid"
    assert rho.max == 20.0
    rho.value = 17.5
    check_shown(lab)
    assert lab.settings["rho"] == 17.5
    assert lab.sentence.startswith("rho = 17.50, sigmoid")
    activation.value = "tanh"
    check_shown(lab)
    assert (rho.value, rho.max, lab.settings["rho"]) == (3.0, 3.0, 3.0)
    assert lab.sentence.startswith("rho = 3.00, tanh")


def test_reset_leaves_the_wide_range_of_a_sigmoid():
    lab = open_lab("spectral_radius")
    lab.controls["activation"].value = "sigmoid"
    lab.controls["rho"].value = 20.0
    lab.reset()
    assert (lab.controls["rho"].value, lab.controls["rho"].max) == (1.2, 3.0)


def test_the_limit_depends_on_the_activation():
    assert spectral_radius(rho=20.0, activation="sigmoid").settings["rho"] == 20.0
    with pytest.raises(ValueError, match=r"rho must be a number from 0 to 3, but 20\.0 was given"):
        spectral_radius(rho=20.0, activation="tanh")
    with pytest.raises(ValueError, match=r"rho must be a number from 0 to 20, but 20\.5 was given"):
        spectral_radius(rho=20.5, activation="sigmoid")
    with pytest.raises(ValueError, match=r"rho must be a number from 0 to 20, but -0\.1 was given"):
        spectral_radius(rho=-0.1)


# -- beyond float range -----------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_overflow_is_a_result_in_words(activation):
    lab = open_lab("spectral_radius", rho=3.0, activation=activation, seq_len=1000)
    check_shown(lab)
    if activation == "linear":
        assert "after 1000 steps the gradient is beyond float range (above 1.8e308)" in lab.sentence
    assert re.search("eigenvalues alone predict [^;]*beyond float range", lab.sentence)
    assert np.isinf(lab.result.prediction[-1])


@pytest.mark.parametrize(("rho", "activation"), [(0.1, "tanh"), (0.3, "sigmoid"), (0.0, "linear")])
def test_underflow_is_a_result_in_words(rho, activation):
    lab = open_lab("spectral_radius", rho=rho, activation=activation, seq_len=1000)
    check_shown(lab)
    assert "after 1000 steps the gradient is exactly 0 (dead, or below float range)" in lab.sentence


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1.0, "unchanged"),
        (0.5, "2.0 times smaller"),
        (9100.4, "9.1e3 times larger"),
        (1e-12, "1.0e12 times smaller"),
        (1e200, "1.0e200 times larger"),
        (5e-324, "2.0e323 times smaller"),
        (0.0, "exactly 0 (dead, or below float range)"),
        (math.inf, "beyond float range (above 1.8e308)"),
        (math.nan, "beyond float range (above 1.8e308)"),
    ],
)
def test_factors_in_words(factor, said):
    assert in_words(factor) == said


# -- the reader's own model ---------------------------------------------------------------------

OWN = {
    "RNN": lambda: (nn.RNN(3, 8), torch.randn(20, 2, 3)),
    "RNN relu": lambda: (nn.RNN(3, 8, nonlinearity="relu", bias=False), torch.randn(20, 3)),
    "ElmanRNN": lambda: (tk.ElmanRNN(3, 8, nonlinearity="sigmoid"), torch.randn(20, 2, 3)),
    "LSTM": lambda: (
        nn.LSTM(3, 8, num_layers=2, bidirectional=True, batch_first=True),
        torch.randn(2, 20, 3),
    ),
    "LSTM with a projection": lambda: (nn.LSTM(3, 8, proj_size=4), torch.randn(20, 2, 3)),
    "GRU": lambda: (nn.GRU(3, 8, num_layers=2, dropout=0.5), torch.randn(20, 2, 3)),
}


@pytest.mark.parametrize("kind", OWN)
def test_an_own_model_is_measured_and_left_alone(kind):
    torch.manual_seed(1)
    model, x = OWN[kind]()
    weights, given = copy.deepcopy(model.state_dict()), x.clone()
    lab = lab_of(model, x)
    check_shown(lab)
    found = tk.gradient_through_time(copy.deepcopy(model).double(), x.double())
    # An LSTM carries its gradient in the cell state.
    expected = found.growth if found.growth_c is None else found.growth_c
    np.testing.assert_allclose(lab.result.growth, expected, rtol=1e-9)
    for control in lab.spec.controls:
        for end in (control.low, control.high):
            lab.controls[control.name].value = end
            check_shown(lab)
            assert recreate(lab.settings_line, model=model, x=x).sentence == lab.sentence
    assert all(torch.equal(model.state_dict()[k], v) for k, v in weights.items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert torch.equal(x, given)
    assert model.training
    lab.reset()
    np.testing.assert_allclose(lab.result.growth, expected, rtol=1e-9)


def test_scale_multiplies_all_recurrent_weights():
    model, x = nn.RNN(3, 8, num_layers=2), torch.randn(20, 2, 3)
    lab = lab_of(model, x, scale=1.5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("weight_hh"):
                parameter.mul_(1.5)
    expected = tk.gradient_through_time(model.double(), x.double()).growth
    np.testing.assert_allclose(lab.result.growth, expected, rtol=1e-6)
    rho = tk.spectral_radius(model.weight_hh_l1).item()
    assert f"recurrent weights x 1.50 (rho = {rho:.2f})" in lab.sentence


def test_forget_bias_is_added_to_that_of_an_lstm():
    model, x = nn.LSTM(3, 8), torch.randn(20, 2, 3)
    lab = lab_of(model, x, forget_bias=2.0)
    with torch.no_grad():
        model.get_parameter("bias_ih_l0")[8:16] += 2.0
    expected = tk.gradient_through_time(model.double(), x.double()).growth_c
    np.testing.assert_allclose(lab.result.growth, expected, rtol=1e-6)
    assert "gradient to the cell state" in lab.sentence


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *BAD_OWN_MODELS,
        (
            {"model": nn.Linear(1, 2), "x": torch.zeros(3, 1)},
            "must be an nn.RNN, nn.LSTM or nn.GRU",
        ),
        ({"model": nn.RNN(1, 2), "x": torch.zeros(3, 1) / 0}, "x must be finite"),
        (
            {"model": nn.GRU(1, 2), "x": torch.zeros(3, 1), "rho": 1.0},
            "setting must be one of 'scale', but 'rho' was given",
        ),
        (
            {"model": nn.RNN(1, 2), "x": torch.zeros(3, 1), "scale": -1},
            "scale must be a number from 0 to 3, but -1 was given",
        ),
    ],
)
def test_a_bad_own_model_is_refused_at_once(arguments, said):
    with pytest.raises(ValueError, match=said):
        spectral_radius(**arguments)


# -- Train now ----------------------------------------------------------------------------------


def recorded(lab):
    """Open a lab whose training also goes into a list."""
    seen, training = [], lab.training

    def start(settings):
        for done, race in training.start(settings):
            seen.append((done, race))
            yield done, race

    lab.training = replace(training, start=start)
    assert lab.widget is not None
    return lab, seen


def finish(lab, seconds=60):
    lab.worker.join(timeout=seconds)
    assert not lab.worker.is_alive()


def wait_for(condition, seconds=20.0):
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, "this did not happen in time"
        time.sleep(0.01)


def test_train_now_really_trains_and_clipping_saves_the_run():
    lab, seen = recorded(spectral_radius(rho=1.2, seq_len=30))
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    lab.train_button.click()
    assert (lab.train_button.disabled, lab.stop_button.disabled) == (True, False)
    finish(lab)
    assert lab.error is lab.training_error is None
    done, race = seen[-1]
    assert (done, len(race.clipped)) == (1.0, STEPS)
    chance = race.task.chance
    assert np.mean(race.clipped.loss[:10]) > 0.5 * chance
    assert np.mean(race.clipped.loss[-50:]) < 0.2 * chance
    assert 0.0 < np.mean(race.clipped.clipped) < 1.0
    # Without clipping the same start and the same batches do worse.
    assert race.plain.loss[0] == race.clipped.loss[0]
    assert np.mean(race.plain.loss[-50:]) > 2 * np.mean(race.clipped.loss[-50:])
    said = words(lab.training_view.value)
    assert said == lab.training.sentence(race)
    assert said.startswith("rho = 1.20, tanh, seed 0, temporal order: after 1000 steps")
    assert lab.progress.value == 1.0
    assert lab.estimate.value.startswith("done in ")
    assert (lab.train_button.disabled, lab.stop_button.disabled) == (False, True)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_training_is_the_same_every_time():
    settings = spectral_radius(seq_len=10, hidden_size=8, seed=4).settings
    losses = []
    for _ in range(2):
        steps = spectral_radius().training.start(settings)
        losses.append([list(race.plain.loss) for _, race in islice(steps, 5)][-1])
    assert losses[0] == losses[1]


def test_sliders_move_while_a_training_runs_and_stop_keeps_what_it_reached():
    lab, seen = recorded(spectral_radius(seq_len=100))
    settings = dict(lab.settings)
    lab.train_button.click()
    wait_for(lambda: lab.training_view.value and lab.progress.value > 0)
    first_picture = pixels(lab.training_view.value)
    for rho in (0.4, 1.7, 2.2):
        start = time.perf_counter()
        lab.controls["rho"].value = rho
        assert time.perf_counter() - start < 2.0
        check_shown(lab)
        assert lab.sentence.startswith(f"rho = {rho:.2f}, tanh")
    assert lab.worker.is_alive()
    wait_for(lambda: not np.array_equal(pixels(lab.training_view.value), first_picture))
    start = time.perf_counter()
    lab.stop_button.click()
    assert time.perf_counter() - start < 1.0
    assert not lab.worker.is_alive()
    reached = len(seen[-1][1].clipped)
    assert 0 < reached < STEPS
    assert f"after {reached} steps" in words(lab.training_view.value)
    assert lab.estimate.value.startswith("stopped after ")
    assert 0 < lab.progress.value < 1
    assert lab.error is None
    # The training kept the settings that it was started with.
    _, again = next(spectral_radius().training.start(settings))
    assert seen[0][1].plain.loss[0] == again.plain.loss[0]
    time.sleep(0.2)
    assert len(seen[-1][1].clipped) == reached  # nothing goes on in the background


def test_train_again_after_stop_and_after_reset():
    lab, seen = recorded(spectral_radius(seq_len=20, hidden_size=8))
    lab.train()
    worker = lab.worker
    lab.train()  # a second press while it runs changes nothing
    assert lab.worker is worker
    wait_for(lambda: len(seen) > 3)
    lab.stop()
    reached = len(seen)
    lab.train()
    assert lab.worker is not worker
    wait_for(lambda: len(seen) > reached + 3)
    lab.reset()
    assert not lab.worker.is_alive()
    assert lab.train_button.disabled is False
    lab.train()
    finish(lab)
    assert len(seen[-1][1].clipped) == STEPS
    assert lab.error is None


def test_stop_without_a_training_does_nothing():
    lab = open_lab("spectral_radius")
    lab.stop()
    check_shown(lab)


def test_a_lab_that_hides_the_task_has_no_training():
    lab = open_lab("spectral_radius", show=["rho", "activation"])
    assert not hasattr(lab, "train_button")
    with pytest.raises(ValueError, match="nothing to train"):
        lab.train()


def test_sunspots_can_be_trained_on_too():
    lab, seen = recorded(spectral_radius(task="sunspots", seq_len=30, hidden_size=8))
    lab.train()
    finish(lab)
    race = seen[-1][1]
    assert race.task.name == "sunspots"
    assert np.mean(race.clipped.loss[-50:]) < 0.5 * race.task.chance
    assert "sunspots: after 1000 steps" in words(lab.training_view.value)


def test_a_run_that_leaves_float_range_is_told_and_drawn():
    lab, seen = recorded(spectral_radius(activation="linear", rho=3.0, seq_len=200, hidden_size=8))
    lab.train()
    wait_for(lambda: seen and seen[-1][1].plain.status == "diverged")
    wait_for(lambda: "the loss left float range at step" in lab.training_view.value)
    lab.stop()
    assert lab.error is None


def test_an_error_in_training_is_one_sentence_and_the_lab_goes_on():
    lab = spectral_radius(seq_len=10, hidden_size=8)

    def start(settings):
        yield from islice(training.start(settings), 2)
        raise RuntimeError("out of <memory>")

    training = lab.training
    lab.training = replace(training, start=start)
    shown = lab.widget.children[1].value
    lab.train()
    finish(lab)
    assert "class='teachkit-error'" in lab.training_view.value
    assert "RuntimeError: out of &lt;memory&gt;" in lab.training_view.value
    assert "Traceback" not in lab.training_view.value
    assert isinstance(lab.training_error, RuntimeError)
    assert lab.view.value == shown
    assert (lab.train_button.disabled, lab.stop_button.disabled) == (False, True)
    lab.controls["rho"].value = 0.5
    check_shown(lab)
    lab.training = training
    lab.train()
    lab.stop()
    assert lab.training_error is None
    assert "teachkit-error" not in lab.training_view.value


def test_a_training_leaves_the_readers_figure_settings_alone():
    lab = spectral_radius(hidden_size=8)
    lab.train()
    with matplotlib.rc_context():
        for width in range(1, 60):
            matplotlib.rcParams["lines.linewidth"] = width
            time.sleep(0.01)
            assert matplotlib.rcParams["lines.linewidth"] == width
    assert lab.training_view.value, "the training drew nothing meanwhile"
    lab.stop()


def test_nothing_is_saved_under_settings_that_it_does_not_belong_to(tmp_path):
    lab = open_lab("spectral_radius", hidden_size=8)
    lab.error = ValueError("the last move failed")
    assert lab.save(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_moves_from_many_threads_end_at_the_last():
    # A kernel handles one message at a time; a script may not.
    lab = open_lab("spectral_radius", hidden_size=8)
    errors = []

    def drag(seed):
        for rho in np.linspace(0, 3, 20):
            lab.controls["rho"].value = float(rho) * (1 - 0.01 * seed)
            errors.append(lab.error)

    workers = [threading.Thread(target=drag, args=(i,)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(errors) == {None}
    lab.controls["rho"].value = 1.0
    check_shown(lab)
    assert lab.sentence.startswith("rho = 1.00, tanh")


def test_the_estimate_is_a_time_on_this_machine():
    lab = open_lab("spectral_radius", seq_len=30)
    assert lab.training is not None
    seconds = lab.training.seconds(lab.settings)
    assert 0.5 < seconds < 120
    assert lab.estimate.value.startswith("takes about ")
    assert lab.training.seconds({**lab.settings, "seq_len": 60}) == pytest.approx(2 * seconds)


def test_a_gradient_that_is_0_at_the_last_step_has_no_growth():
    lstm = torch.nn.LSTM(1, 4)
    with torch.no_grad():
        for name, gate in tk.gates(lstm).items():
            if name.startswith("bias_ih"):
                for kind, bias in (("input", 5.0), ("cell", 5.0), ("forget", 6.0)):
                    gate[kind].fill_(bias)
    lab = tk.labs.spectral_radius(model=lstm, x=torch.zeros(60, 1, 1))
    assert lab.widget is not None
    assert lab.error is None
    assert "the gradient is not defined (it is 0 at the last step)" in lab.sentence

"""The lab of chapter 06: its numbers, its words, its picture, Train now, and an own series."""

import importlib
import itertools
import re
import time

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import teachkit as tk
from teachkit.baselines import chosen_linear_forecast, rmse, seasonal_naive
from teachkit.clipping import Clipper
from teachkit.experiments.ablation import ABLATION, SWITCHES, Combination, ablation_baselines
from teachkit.forecasting import SeriesForecast
from teachkit.labs.canvas import Canvas
from teachkit.labs.forecast_picture import ROWS, ForecastPicture, TrainingPicture
from teachkit.labs.forecast_scene import words_of
from teachkit.results import load_results
from teachkit.statistics import t_interval
from teachkit.tasks import batches
from tests.labs.driving import check_shown, open_lab, picture_bytes, pixels, recreate, words

module = importlib.import_module("teachkit.labs.forecast")  # the lab itself has the same name
training = importlib.import_module("teachkit.labs.forecast_training")
forecast = tk.labs.forecast
TASK = SeriesForecast()
INDEX = pd.period_range("2001-01", periods=240, freq="M")
OWN = pd.Series(
    20 + 5 * np.sin(np.arange(240) * np.pi / 6) + np.random.default_rng(0).normal(size=240),
    INDEX,
    name="visitors",
)
SMALL = {"series": OWN, "seq_len": 24, "horizon": 6, "period": 12}


def result_of(**settings):
    lab = forecast(**settings)
    return lab.spec.compute(lab.settings)


# -- numbers ----------------------------------------------------------------------------------

SOME = [
    {},
    {"preset": "keras", "forget_bias": "3", "initial_state": "noisy", "lr": 0.03, "seed": 7},
    {"clipping": "norm 1", "initial_state": "learned", "lr": 0.003, "origin": 600, "seed": 15},
]


@pytest.mark.parametrize("given", SOME)
def test_the_errors_are_those_of_the_table(given):
    lab = forecast(**given)
    result, chosen = lab.spec.compute(lab.settings), load_results("ablation")
    for name in (*SWITCHES, "lr"):
        chosen = chosen[chosen[name] == lab.settings[name]]
    expected = chosen.sort_values("seed")["test"].to_numpy()
    assert len(expected) == 16
    np.testing.assert_array_equal(result.errors, expected)
    assert result.interval == pytest.approx((expected.mean(), *t_interval(expected)))
    saved = load_results("ablation")
    means = saved[saved["lr"] == lab.settings["lr"]].groupby(list(SWITCHES))["test"].mean()
    np.testing.assert_allclose(np.sort(result.others), np.sort(means))
    baselines = ablation_baselines().set_index("baseline")["test"]
    assert result.baselines == pytest.approx(baselines.to_dict())


@pytest.mark.parametrize("origin", [0, 240, 600])
def test_what_surrounds_the_origin_is_the_series(origin):
    around = result_of(origin=origin).around
    place, values = 2496 + origin, TASK.values
    np.testing.assert_allclose(around.past, values.iloc[place - 72 : place], atol=1e-9)
    np.testing.assert_allclose(around.truth, values.iloc[place : place + 24], atol=1e-9)
    assert around.label == str(TASK.dates[place])
    naive = seasonal_naive(TASK.scaled[None, place - 132 : place], 24)
    np.testing.assert_allclose(
        around.forecasts["seasonal naive"], values.iloc[place - 132 : place - 108], atol=1e-9
    )
    linear = chosen_linear_forecast(TASK.arrays("train"), TASK.arrays("validation", 151))
    made = linear(TASK.scaled[None, place - 132 : place])
    unscaled = TASK.scaling.unscale(made[0])
    np.testing.assert_allclose(around.forecasts["linear autoregression"], unscaled)
    here, target = result_of(origin=origin).here, TASK.scaled[None, place : place + 24]
    assert here["seasonal naive"] == pytest.approx(rmse(naive, target))
    assert here["linear autoregression"] == pytest.approx(rmse(made, target))


def test_every_setting_that_is_offered_was_computed():
    spec = forecast().spec
    controls = {c.name: c.options for c in spec.controls if c.name not in ("seed", "origin")}
    said = set()
    for values in itertools.product(*controls.values()):
        text = spec.sentence(spec.compute(spec.check(dict(zip(controls, values, strict=True)))))
        assert not re.search(r"\b(nan|inf)\b", text)
        said.add(text)
    assert len(said) == 2 * 3 * 3 * 2 * 3


def test_a_move_is_looked_up():
    lab = forecast()
    spec, took = lab.spec, []
    spec.compute(lab.settings)
    for origin in range(0, 601, 20):
        start = time.perf_counter()
        spec.compute(lab.settings | {"origin": origin})
        took.append(time.perf_counter() - start)
    assert sorted(took)[len(took) // 2] < 0.01


# -- in words ---------------------------------------------------------------------------------


def test_the_sentence_says_what_the_numbers_are():
    lab = forecast(forget_bias="3", seed=3, origin=240)
    result = lab.spec.compute(lab.settings)
    mean, low, high = result.interval
    linear, naive = (result.baselines[n] for n in ("linear autoregression", "seasonal naive"))
    near = (result.here[n] for n in ("linear autoregression", "seasonal naive"))
    said = "linear autoregression has {:.3f}, the seasonal naive forecast {:.3f}"
    assert lab.sentence == (
        "torch, forget bias 3, zero state, clipping none, lr 0.01: over 16 seeds the test error is "
        f"{mean:.3f} [{low:.3f}, {high:.3f}] standard deviations, seed 3 alone "
        f"{result.errors[3]:.3f}; "
        f"{said.format(linear, naive)}; from 1977-01 alone {said.format(*near)}."
    )


def test_the_forget_bias_of_the_preset_is_named():
    assert "forget bias of the preset, learned state" in words_of(
        forecast(initial_state="learned").settings
    )


# -- the picture ------------------------------------------------------------------------------


def drawn(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


@pytest.mark.parametrize("given", [*SOME, SMALL], ids=str)
def test_nothing_overlaps_or_leaves_the_picture(given):
    lab = forecast(**given)
    picture = ForecastPicture()
    picture.update(lab.spec.compute(lab.settings))
    check_texts(picture.figure)


def check_texts(figure):
    renderer = drawn(figure)
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    for ax in figure.axes:
        boxes.append(ax.get_legend().get_window_extent(renderer))
        for axis in (ax.xaxis, ax.yaxis):
            boxes.append(axis.label.get_window_extent(renderer))
            boxes += [
                label.get_window_extent(renderer)
                for place, label in zip(
                    axis.get_majorticklocs(), axis.get_ticklabels(), strict=True
                )
                if min(axis.get_view_interval()) <= place <= max(axis.get_view_interval())
            ]
    boxes = [box for box in boxes if box.width > 0]
    whole = figure.bbox
    for box in boxes:
        assert box.x0 >= whole.x0
        assert box.x1 <= whole.x1
        assert box.y0 >= whole.y0
        assert box.y1 <= whole.y1
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


def test_all_errors_of_the_table_fit_on_the_axis():
    low, high = result_of().limits
    table = load_results("ablation")
    assert low < table["test"].min()
    assert table["test"].max() < high
    result = result_of(lr=0.03, preset="keras")
    for name in ROWS[2:]:
        assert low < result.baselines[name] < high


def test_only_the_origin_and_the_seed_move_without_new_axes():
    lab = forecast()
    picture = ForecastPicture()
    assert picture.update(lab.spec.compute(lab.settings))
    assert not picture.update(lab.spec.compute(lab.settings | {"origin": 0, "seed": 9}))
    assert picture.update(lab.spec.compute(lab.settings | {"preset": "keras"}))


def test_dragging_draws_fast():
    lab = forecast()
    canvas = Canvas(lab.spec.picture())
    results = [lab.spec.compute(lab.settings | {"origin": n}) for n in range(0, 600, 20)]
    canvas.png(results[0])
    took = []
    for result in results:
        start = time.process_time()  # of this process: others may be busy
        canvas.png(result)
        took.append(time.process_time() - start)
    assert np.percentile(took, 95) < 0.04  # 15 ms on an idle machine


# -- train now --------------------------------------------------------------------------------


def steps_of(lab, count):
    """The result after `count` training steps of a lab."""
    run = lab.spec.training.start(lab.settings)
    return next(itertools.islice(run, count, None))


@pytest.mark.parametrize("given", [{"forget_bias": "3", "clipping": "norm 1"}, {"preset": "keras"}])
def test_training_is_that_of_plain_pytorch(given):
    lab = forecast(seed=2, origin=100, **given)
    done, result = steps_of(lab, 25)
    assert done == 25 / 600
    combination = Combination(*(lab.settings[name] for name in SWITCHES))
    model = combination.variant(16, 0.01).model(TASK, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    clip = Clipper("norm", 1.0) if "clipping" in given else None
    stream = batches(TASK, 32, seed=2)
    for _ in range(25):
        x, target = next(stream)
        optimizer.zero_grad()
        TASK.loss(model(x), target).backward()
        if clip is not None:
            clip(model)
        optimizer.step()
    with torch.no_grad():
        x, target = TASK.held_out(151)
        expected = TASK.loss(model(x), target).item() ** 0.5
        own = model(TASK.at(torch.tensor([2596]))[0])[0].numpy()
    assert result.steps == [0, 25]
    assert result.validation[-1] == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(result.forecast, TASK.scaling.unscale(own), rtol=2e-2)


def test_noise_is_that_of_the_seed_and_the_readers_numbers_are_left_alone():
    state = torch.get_rng_state()
    # with a forget bias of 3; else nothing is left of the noise after 132 steps, not even a bit
    lab = forecast(initial_state="noisy", forget_bias="3", seed=1)
    one, other = (steps_of(lab, 26)[1] for _ in range(2))
    assert one.validation == other.validation
    zero = steps_of(forecast(forget_bias="3", seed=1), 26)[1]
    assert zero.validation[-1] != one.validation[-1]
    assert zero.validation[0] == one.validation[0]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_training_is_shown_stopped_and_kept(monkeypatch):
    lab = open_lab("forecast", origin=300, seed=4)
    lab.train()
    deadline = time.time() + 60
    while "after" not in lab.training_view.value and time.time() < deadline:
        time.sleep(0.05)
    lab.controls["seed"].value = 5  # usable meanwhile
    lab.stop()
    assert lab.training_error is None
    assert "stopped after" in lab.estimate.value
    assert not lab.train_button.disabled
    said = words(lab.training_view.value)
    assert "seed 4: after " in said
    assert "of 600 updates the validation error is" in said
    assert picture_bytes(lab.training_view.value)
    check_shown(lab)


def test_a_whole_training_ends_with_the_best_step(monkeypatch):
    monkeypatch.setattr(training, "STEPS", 55)
    lab = forecast(**SMALL)
    results = list(training.train(lab.spec.compute.args[0], lab.settings))
    assert [done for done, _ in results] == [n / 55 for n in range(56)]
    last = results[-1][1]
    assert last.steps == [0, 25, 50, 55]
    assert last.validation[last.best] == min(last.validation)
    said = lab.spec.training.sentence(last)
    assert f"the least {min(last.validation):.3f} after {last.steps[last.best]}, where" in said
    assert f"{last.test[last.best]:.3f}; on validation" in said
    picture = TrainingPicture()
    assert picture.update(last)
    assert not picture.update(last)
    check_texts(picture.figure)
    height, width, _ = pixels(Canvas(TrainingPicture()).png(last)).shape
    # 9.2 inches are 919 pixels in Matplotlib 3.10, and 920 in others
    expected = FigureCanvasAgg(Figure(figsize=(9.2, 3.5), dpi=100)).get_width_height()
    assert (width, height) == expected


def test_a_training_that_diverges_says_so(monkeypatch):
    lab = forecast()
    scene = lab.spec.compute.args[0]
    monkeypatch.setattr(
        type(scene.task), "loss", lambda _, output, target: (output - target).sum() * torch.inf
    )
    results = list(training.train(scene, lab.settings))
    assert len(results) == 2
    said = lab.spec.training.sentence(results[-1][1])
    assert "after 1 of 600 updates and left float range there" in said


def test_the_estimate_is_a_number_of_seconds():
    lab = forecast(**SMALL)
    assert lab.training is not None
    assert 0.1 < lab.training.seconds(lab.settings) < 300


# -- a series of one's own --------------------------------------------------------------------


def test_an_own_series_has_its_baselines_and_no_precomputed_runs():
    lab = forecast(**SMALL)
    task = SeriesForecast(OWN, 24, 6)
    result = lab.spec.compute(lab.settings)
    assert result.errors.size == 0
    windows, targets = task.arrays("test")
    naive = rmse(seasonal_naive(windows, 6, 12), targets)
    assert result.baselines["seasonal naive"] == pytest.approx(naive)
    assert lab.sentence.startswith(
        "torch, forget bias of the preset, zero state, clipping none, lr 0.01: Train now trains "
        "the network of seed 0 on visitors; on test linear autoregression has "
    )
    place = task.origins("test").start + lab.settings["origin"]
    assert f"from {INDEX[place]} alone" in lab.sentence
    assert result.around.step == "months"
    twin = recreate(lab.settings_line, series=OWN)
    assert twin.sentence == lab.sentence
    assert lab.settings_line == "tk.labs.forecast(series=series, seq_len=24, horizon=6, period=12)"


def test_an_own_series_can_be_moved_and_trained():
    lab = forecast(**SMALL)
    assert lab.widget is not None
    for name, value in (("origin", 0), ("origin", 42), ("preset", "keras"), ("seed", 15)):
        lab.controls[name].value = value
        check_shown(lab)
    assert lab.controls["origin"].max == 42  # 48 months, the last of which begins six
    _, result = steps_of(lab, 30)
    assert result.steps == [0, 25]
    assert result.forecast.shape == (6,)
    assert len(lab.poster_text().splitlines()) == 2


def test_without_a_period_persistence_takes_the_place_of_the_seasonal_naive_forecast():
    days = pd.Series(OWN.to_numpy(), pd.date_range("2020-02-01", periods=240), name="visitors")
    lab = forecast(series=days, seq_len=24, horizon=6)
    result = lab.spec.compute(lab.settings)
    assert "seasonal naive" not in result.baselines
    assert "persistence" in lab.sentence
    assert "seasonal" not in lab.sentence
    assert result.around.label == "2020-08-27"
    assert result.around.step == "steps"
    assert Canvas(lab.spec.picture()).png(result)
    assert "seasonal" not in lab.spec.training.sentence(steps_of(lab, 1)[1])
    assert "from 208 alone" in forecast(series=OWN.to_numpy(), seq_len=24, horizon=6).sentence


def test_the_shortest_series_has_a_single_origin():
    short = np.arange(30.0) % 4 + np.arange(30.0) / 10
    lab = forecast(series=short, seq_len=4, horizon=6, period=4)
    assert lab.widget is not None
    check_shown(lab)
    assert lab.controls["origin"].disabled
    assert steps_of(lab, 2)[1].done == 2
    tiny = forecast(series=short, seq_len=1, horizon=1)
    assert Canvas(tiny.spec.picture()).png(tiny.spec.compute(tiny.settings))


def test_large_numbers_have_short_labels():
    lab = forecast(**SMALL | {"series": 1e5 * OWN})
    picture = ForecastPicture()
    picture.update(lab.spec.compute(lab.settings))
    check_texts(picture.figure)
    labels = [label.get_text() for label in picture.figure.axes[0].get_yticklabels()]
    assert "2M" in labels


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seq_len": 24}, "seq_len must be left out, or given with a series of your own, but 24"),
        ({"period": 12}, "period must be left out, or given with a series of your own, but 12"),
        (SMALL | {"period": 25}, "period must be a whole number of at least 1 and at most 24, but"),
        (SMALL | {"seq_len": 600}, "seq_len + horizon must be at most 144, the first 60 % of 240"),
        (SMALL | {"series": [1.0, np.nan] * 60}, "series must be finite numbers, but nan is among"),
        (SMALL | {"origin": 43}, "origin must be a number from 0 to 42, but 43 was given."),
        ({"origin": 601}, "origin must be a number from 0 to 600, but 601 was given."),
    ],
)
def test_bad_input_is_one_clear_sentence(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        forecast(**given)


def test_it_offers_what_was_computed():
    offered = {c.name: c for c in forecast().spec.controls}
    for name in SWITCHES:
        assert list(offered[name].options) == ABLATION[name]
    assert list(offered["lr"].options) == ABLATION["lrs"]
    assert offered["seed"].high == ABLATION["seeds"] - 1
    assert offered["origin"].high == len(TASK.origins("test")) - 1

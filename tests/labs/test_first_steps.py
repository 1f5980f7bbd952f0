"""The lab of the first steps: its numbers, its words, its picture, and Train now."""

import importlib
import itertools
import math
import re
import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

import teachkit as tk
from teachkit.comparison import Comparison, compare
from teachkit.experiments.first_steps import (
    FIRST_STEPS,
    training_options,
    variant_name,
    variants_of,
    window_task,
)
from teachkit.experiments.runs import gains
from teachkit.labs.first_steps import STEPS, in_words
from teachkit.labs.first_steps_picture import FirstStepsPicture, mean_interval, round_ends
from teachkit.plots import COLORS
from teachkit.results import load_results
from teachkit.statistics import loss_by_time, select, t_interval
from tests.labs.driving import check_shown, open_lab, picture_bytes, recreate, words

module = importlib.import_module("teachkit.labs.first_steps")  # the lab itself has the same name
first_steps = tk.labs.first_steps


def result_of(**settings):
    lab = first_steps(**settings)
    return lab.spec.compute(lab.settings)


def runs_of(settings):
    """The rows of the table for a lab's settings, of zero and of its strategy."""
    table = load_results("first_steps")
    name = variant_name(settings["strategy"], settings["noise_std"])
    count = 0 if settings["sequences"] == "all" else settings["sequences"]
    for column, value in (
        ("task", settings["task"]),
        ("sequences", count),
        ("seq_len", settings["seq_len"]),
        ("hidden_size", settings["hidden_size"]),
    ):
        table = table[table[column] == value]
    return table[table["variant"].isin(["zero", name])], name


# -- numbers ----------------------------------------------------------------------------------

SOME = [
    {},
    {"task": "names", "strategy": "learned", "sequences": 16, "hidden_size": 32, "seed": 7},
    {"task": "characters", "strategy": "learned+noisy", "noise_std": 1.0, "seq_len": 20},
    {"strategy": "adaptive", "noise_std": 0.1, "sequences": 1024, "seq_len": 5, "seed": 15},
]


@pytest.mark.parametrize("given", SOME)
def test_the_curves_are_the_means_and_differences_of_the_table(given):
    lab = first_steps(**given)
    result, seed = lab.spec.compute(lab.settings), lab.settings["seed"]
    runs, name = runs_of(lab.settings)
    curves = lab.spec.table(result).set_index(["by", "step"])
    by_time = [c for c in runs if c.startswith("t_") and runs[c].notna().any()]
    by_step = [c for c in runs if c.startswith("at_")]
    assert len(curves) == len(by_time) + len(by_step)
    places = [("time step", c) for c in by_time] + [("training step", c) for c in by_step]
    for by, column in places:
        at = curves.loc[(by, int(column.rpartition("_")[2]))]
        wide = runs.pivot(index="seed", columns="variant", values=column)
        assert len(wide) == 16
        for variant, ours in (("zero", "zero"), (name, "strategy")):
            values = wide[variant].to_numpy()
            low, high = t_interval(values)
            assert at[ours] == pytest.approx(values.mean(), rel=1e-12)
            assert (at[f"{ours}_low"], at[f"{ours}_high"]) == pytest.approx((low, high), rel=1e-9)
            assert at[f"{ours}_seed_{seed}"] == wide[variant][seed]
        (gain,) = gains(runs, column, ["task"]).to_dict("records")
        found = [at["difference"], at["difference_low"], at["difference_high"]]
        expected = [gain["difference"], gain["low"], gain["high"]]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@given(arrays(float, (5, 3), elements=st.floats(-10, 10)))
def test_intervals_of_all_columns_are_those_of_each(values):
    mean, low, high = mean_interval(values)
    np.testing.assert_allclose(mean, values.mean(0), atol=1e-12)
    expected = np.array([t_interval(column) for column in values.T])
    np.testing.assert_allclose(np.stack([low, high], 1), expected, rtol=1e-9, atol=1e-9)


def test_a_run_that_diverged_counts_in_no_interval():
    values = np.array([[1.0, 2.0], [np.nan, 2.0], [3.0, 4.0], [0.0, np.inf]])
    np.testing.assert_allclose(mean_interval(values), mean_interval(values[[0, 2]]))
    assert np.isnan(mean_interval(values[:2])).all()
    assert mean_interval(values[:2]).shape == (3, 2)


def test_every_setting_that_is_offered_was_computed():
    spec = first_steps().spec
    controls = {c.name: c.options for c in spec.controls if c.name != "seed"}
    start = spec.defaults
    said = set()
    for values in itertools.product(*controls.values()):
        settings = spec.fit(start | dict(zip(controls, values, strict=True)))
        result = spec.compute(settings)
        text = spec.sentence(result)
        assert not re.search(r"\b(nan|inf)\b|known|-0\.0+ ", text)
        assert ", 16 paired seeds: after 300 updates the loss at the first step " in text
        assert all(np.isfinite(v).all() for v in (result.zero.by_time, result.other.by_step))
        said.add(text)
    # windows of two tasks at three lengths, and names; "learned" has no noise
    assert len(said) == 7 * 4 * 2 * (3 * 3 + 1)


def test_the_table_was_computed_by_the_settings_of_train_now():
    attrs = load_results("first_steps").attrs
    assert {name: attrs[name] for name in FIRST_STEPS} == FIRST_STEPS


def test_a_move_is_looked_up():
    lab = first_steps()
    lab.spec.compute(lab.settings)
    took = []
    for chosen in [lab.spec.check(some) for some in SOME] * 5:
        start = time.perf_counter()
        lab.spec.compute(chosen)
        took.append(time.perf_counter() - start)
    assert sorted(took)[len(took) // 2] < 0.01


# -- in words ---------------------------------------------------------------------------------

ZERO = np.array([0.4, 0.5, 0.6, 0.5])


@pytest.mark.parametrize(
    ("differences", "said", "alone"),
    [
        (
            [-0.1, -0.12, -0.08, -0.1],
            "is 0.100 lower (95 % interval 0.074 to 0.126)",
            "0.100 lower",
        ),
        ([0.1, 0.12, 0.08, 0.1], "is 0.100 higher (95 % interval 0.074 to 0.126)", "0.100 higher"),
        (
            [0.1, -0.1, 0.02, -0.02],
            "cannot be told apart from that of zero (95 % interval -0.132 to 0.132)",
            "0.100 higher",
        ),
        # two digits of the half width, where three decimals would be too few
        (
            [-1e-4, -1.2e-4, -0.8e-4, -1e-4],
            "is 0.000100 lower (95 % interval 0.000074 to 0.000126)",
            "0.000100 lower",
        ),
        ([1e-5, -0.1, -0.12, -0.08], "cannot be told apart from that of zero (", "the same"),
        ([0.0, 0.0, 0.0, 0.0], "is the same in every pair", "the same"),
        ([1e-8, 0.0, -1e-8, 0.0], "is the same in every pair", "the same"),
        ([0.1, 0.1, 0.1, 0.1], "is 0.1000000 higher", "0.1000000 higher"),
        (
            [np.nan, -0.1, -0.12, -0.08],
            "is 0.100 lower (95 % interval 0.050 to 0.150)",
            "not known",
        ),
        (
            [-0.1, np.nan, np.nan, np.nan],
            "is not known, as fewer than two pairs stayed finite",
            "not known",
        ),
    ],
)
def test_differences_in_words(differences, said, alone):
    found = in_words(ZERO, ZERO + np.array(differences), 0)
    assert found[0].startswith(said)
    assert found[1] == alone


@given(arrays(float, 6, elements=st.floats(-2, 2)))
def test_the_words_agree_with_the_interval(differences):
    zero = np.linspace(3, 4, 6)
    said, _ = in_words(zero, zero + differences, 0)
    low, high = t_interval((zero + differences) - zero)
    assert "nan" not in said
    if "same" in said:
        assert np.abs(differences).max() < 1e-5
    else:
        assert ("lower" in said, "higher" in said) == (high < 0, low > 0)
        ((*ends,),) = re.findall(r"interval (\S+) to (\S+)\)", said)
        sign = -1 if high < 0 else 1
        expected = sorted((sign * low, sign * high))
        assert list(map(float, ends)) == pytest.approx(expected, abs=0.06 * (high - low) + 1e-6)


def test_the_sentence_names_its_settings():
    assert first_steps(strategy="learned+noisy", noise_std=1.0, sequences=128, seed=3).sentence[
        : len("learned+noisy (std 1) against zero, sunspots, 128 sequences, windows of 10, ")
    ] == ("learned+noisy (std 1) against zero, sunspots, 128 sequences, windows of 10, ")
    assert first_steps(strategy="adaptive").sentence.startswith("adaptive (std up to 0.3) against")
    names = first_steps(task="names").sentence
    assert "against zero, names, all sequences, hidden_size" in names
    assert "window" not in names
    assert re.search(
        r"; seed 3 alone: 0\.\d+ (lower|higher) and 0\.\d+ (lower|higher)\.$",
        first_steps(seed=3).sentence,
    )


@pytest.mark.parametrize("given", SOME)
def test_the_sentence_is_of_the_first_step_and_of_all(given):
    lab = first_steps(**given)
    runs, name = runs_of(lab.settings)
    said = []
    for column in ("t_1", "at_300"):
        wide = runs.pivot(index="seed", columns="variant", values=column)
        zero, other = (wide[variant].to_numpy() for variant in ("zero", name))
        said.append(in_words(zero, other, lab.settings["seed"]))
    (first, first_alone), (whole, whole_alone) = said
    assert lab.sentence.endswith(
        f": after 300 updates the loss at the first step {first}; over all steps it {whole}; "
        f"seed {lab.settings['seed']} alone: {first_alone} and {whole_alone}."
    )


def test_noise_means_nothing_to_a_learned_state():
    lab = open_lab("first_steps", strategy="learned", noise_std=0.1)
    shown = lab.view.value
    lab.controls["noise_std"].value = 1.0
    check_shown(lab)
    assert lab.sentence in shown
    assert picture_bytes(lab.view.value) == picture_bytes(shown)
    assert "std" not in lab.sentence
    assert "noise_std=1.0" in lab.settings_line  # it counts again with the next strategy


# -- limits -------------------------------------------------------------------------------------


def test_names_have_their_own_length_and_windows_come_back_at_10():
    lab = open_lab("first_steps", seq_len=20)
    slider = lab.controls["seq_len"]
    lab.controls["task"].value = "names"
    check_shown(lab)
    assert (slider.value, lab.settings["seq_len"], len(slider.options)) == (12, 12, 1)
    twin = recreate(lab.settings_line)
    assert twin.settings == lab.settings
    lab.controls["task"].value = "characters"
    check_shown(lab)
    assert (slider.value, lab.settings["seq_len"], len(slider.options)) == (10, 10, 3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "names", "seq_len": 10}, "seq_len must be 12 here, but 10 was given."),
        ({"seq_len": 12}, "seq_len must be one of 5, 10, 20, but 12 was given."),
        ({"noise_std": 0.2}, "noise_std must be one of 0.1, 0.3, 1.0, but 0.2 was given."),
        ({"sequences": 0}, "sequences must be one of 16, 128, 1024, 'all', but 0 was given."),
        ({"strategy": "zero"}, "strategy must be one of 'noisy', 'learned', 'learned+noisy', "),
    ],
)
def test_what_was_not_computed_is_refused(settings, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        first_steps(**settings)


# -- picture ------------------------------------------------------------------------------------


def test_the_picture_shows_the_means_the_intervals_and_the_pair_of_the_seed():
    result = result_of(strategy="learned", seed=5)
    picture = FirstStepsPicture()
    assert picture.update(result)
    runs, _ = runs_of(first_steps(strategy="learned").settings)
    wide = {
        c: runs.pivot(index="seed", columns="variant", values=c) for c in ("t_1", "t_10", "at_300")
    }
    (levels, course), others = picture._zero, picture._other
    for curve, column, place, values in (
        (levels, "t_1", 0, wide["t_1"]["zero"]),
        (levels, "t_10", -1, wide["t_10"]["zero"]),
        (course, "at_300", -1, wide["at_300"]["zero"]),
        (others[0], "t_1", 0, wide["t_1"]["learned"]),
        (others[1], "t_1", 0, wide["t_1"]["learned"] - wide["t_1"]["zero"]),
        (others[2], "at_300", -1, wide["at_300"]["learned"]),
    ):
        x, y = map(np.asarray, curve.mean.get_data())
        assert x[place] == int(column.rpartition("_")[2])
        assert y[place] == pytest.approx(values.mean())
        assert np.asarray(curve.one.get_ydata())[place] == pytest.approx(values[5])
        corners = curve.band.get_xy()
        at = corners[corners[:, 0] == x[place], 1]
        assert (at.min(), at.max()) == pytest.approx(t_interval(values.to_numpy()))
    assert picture._seed.get_text() == "thin: seed 5 alone"


def legend_of(ax):
    """The texts of the legend."""
    assert ax.get_legend() is not None
    return ax.get_legend().get_texts()


LONG = {"task": "characters", "sequences": 1024, "seq_len": 20}
LONG |= {"strategy": "learned+noisy", "seed": 15}


@pytest.mark.parametrize("given", [*SOME, LONG, LONG | {"strategy": "adaptive", "noise_std": 0.1}])
def test_no_words_lie_on_others(given):
    picture = FirstStepsPicture()
    picture.update(result_of(**given))
    canvas = FigureCanvasAgg(picture.figure)
    canvas.draw()
    boxes: list[Artist] = [picture._lead, picture._seed]
    for ax in picture.figure.axes:
        boxes += [ax, ax.xaxis.label, ax.yaxis.label, *legend_of(ax)]
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            low, high = limits
            # An older Matplotlib also has ticks beyond the limits, which it does not draw.
            boxes += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    found = [box.get_window_extent(canvas.get_renderer()) for box in boxes]
    for one, other in itertools.combinations(found, 2):
        assert not one.overlaps(other)
    width, height = canvas.get_width_height()
    assert all(box.x0 > 0 and box.y0 > 0 and box.x1 < width and box.y1 < height for box in found)


@pytest.mark.parametrize("strategy", ["noisy", "learned", "learned+noisy", "adaptive"])
def test_a_strategy_has_its_colour(strategy):
    picture = FirstStepsPicture()
    picture.update(result_of(strategy=strategy))
    for curve in picture._other:
        for part in (curve.mean.get_color(), curve.one.get_color(), curve.band.get_facecolor()):
            assert to_hex(part) == COLORS[strategy].lower()
    for curve in picture._zero:
        assert to_hex(curve.mean.get_color()) == COLORS["zero"].lower()
    legends = [[text.get_text() for text in legend_of(ax)] for ax in picture.figure.axes]
    assert legends[:2] == [["zero", strategy], [f"{strategy} \N{MINUS SIGN} zero"]]


def test_another_seed_moves_lines_and_keeps_the_axes():
    lab = first_steps()
    picture = FirstStepsPicture()
    assert picture.update(result_of(seed=0))
    assert not any(picture.update(result_of(seed=seed)) for seed in range(1, 16))
    assert picture.update(result_of(noise_std=1.0))
    assert lab.settings["seed"] == 0


@pytest.mark.parametrize("given", [*SOME, {"task": "names", "seq_len": 12}])
def test_what_is_drawn_is_within_the_axes(given):
    result = result_of(**given)
    picture = FirstStepsPicture()
    picture.update(result)
    zero, other = result.zero, result.other
    gaps = other.by_time - zero.by_time
    drawn = [
        [zero.by_time, other.by_time],
        [mean_interval(gaps), np.percentile(gaps, [12.5, 87.5], axis=0), 0.0],
        [zero.by_step, other.by_step],
    ]
    for ax, values in zip(picture.figure.axes, drawn, strict=True):
        low, high = ax.get_ylim()
        for value in values:
            assert low <= np.min(value)
            assert np.max(value) <= high
    for ax in picture.figure.axes[:2]:
        left, right = ax.get_xlim()
        assert left < 1
        assert right > zero.by_time.shape[1]
        assert ax.get_xticks()[0] == 1  # the step that the lab is about
    assert picture.figure.axes[2].get_xlim() == (0, STEPS)


def test_the_line_of_no_difference_is_always_there():
    result, picture = result_of(), FirstStepsPicture()
    for shift in (0.5, -0.5):
        other = replace(result.other, by_time=result.zero.by_time + shift)
        picture.update(replace(result, other=other))
        low, high = picture.figure.axes[1].get_ylim()
        assert low <= 0 <= high
    picture.update(replace(result, other=result.zero))
    assert picture.figure.axes[1].get_ylim() == (-0.0006, 0.0006)


@given(arrays(float, st.integers(1, 8), elements=st.floats(-1e3, 1e3)), st.booleans())
def test_round_ends_hold_all_and_not_much_more(values, gap):
    low, high = round_ends(np.append(values, np.nan) if gap else values)
    span = np.ptp(values)
    slack = 1e-6 * max(span, np.abs(values).max() * 1e-3, 1e-9)
    assert low <= values.min() + slack
    assert high >= values.max() - slack
    assert low < high
    if span > 1e-3 * np.abs(values).max():
        assert high - low <= span + 2 * max(span / 2, 1e-9)


def test_pairs_that_diverged_are_told_and_drawn():
    result = result_of(seed=2)
    by_step, by_time = result.other.by_step.copy(), result.other.by_time.copy()
    by_step[2, 3:], by_time[2] = np.nan, np.nan
    other = replace(result.other, by_step=by_step, by_time=by_time)
    lab, picture = first_steps(), FirstStepsPicture()
    one = replace(result, other=other)
    assert lab.spec.sentence(one).endswith("; seed 2 alone: not known and not known.")
    assert picture.update(one)
    mean = np.asarray(picture._other[0].mean.get_ydata())
    np.testing.assert_allclose(mean, np.delete(result.other.by_time, 2, axis=0).mean(0))
    nothing = replace(
        result,
        other=replace(other, by_step=by_step * np.nan, by_time=by_time * np.nan),
    )
    picture.update(nothing)
    assert "is not known, as fewer than two pairs stayed finite" in lab.spec.sentence(nothing)
    assert all(math.isfinite(end) for ax in picture.figure.axes for end in ax.get_ylim())


def test_the_poster_tells_where_a_learned_state_overfits_and_noise_guards():
    lab = first_steps(strategy="learned")
    opened, few, noise = lab.poster_text().splitlines()
    assert opened == lab.sentence
    assert few.startswith("learned against zero, names, 16 sequences, hidden_size")
    assert re.search(r"at the first step is 0\.\d+ higher", few)
    assert noise.startswith("noisy (std 1) against zero, names, 16 sequences, hidden_size")
    assert re.search(r"over all steps it is 0\.\d+ lower", noise)


# -- a missing table ----------------------------------------------------------------------------


@pytest.fixture
def forgotten():
    """Whatever was read of the table is read again, before and after."""
    module._precomputed.cache_clear()
    yield
    module._precomputed.cache_clear()


@pytest.mark.parametrize("kind", [FileNotFoundError, ValueError])
def test_a_missing_table_is_one_sentence_and_comes_back(kind, forgotten, monkeypatch):
    def missing(name):
        raise kind(f"data/results/{name}.csv is missing.")

    with monkeypatch.context() as patch:
        patch.setattr(module, "load_results", missing)
        lab = first_steps()  # the table is not read before it is shown
        assert lab.widget is not None
        assert isinstance(lab.error, kind)
        assert "teachkit-error" in lab.message.value
        assert "data/results/first_steps.csv is missing." in lab.message.value
        assert "Traceback" not in lab.message.value
    lab.controls["seed"].value = 1
    check_shown(lab)


def test_runs_that_the_table_does_not_hold_are_named(forgotten, monkeypatch):
    table = load_results("first_steps")
    monkeypatch.setattr(module, "load_results", lambda _: table[table["variant"] != "noisy 1"])
    lab = open_lab("first_steps")
    lab.controls["noise_std"].value = 1.0
    said = "The results first_steps hold no runs of noisy 1 on sunspots with all sequences of 10 "
    assert said in lab.message.value
    lab.controls["noise_std"].value = 0.1
    check_shown(lab)


def test_the_table_is_read_once(forgotten, monkeypatch):
    read = []

    def loaded(name):
        read.append(name)
        return load_results(name)

    monkeypatch.setattr(module, "load_results", loaded)
    for seed in range(3):
        check_shown(open_lab("first_steps", seed=seed))
    assert read == ["first_steps"]


# -- Train now ----------------------------------------------------------------------------------

QUICK = {"hidden_size": 8, "seq_len": 5}


def training_of(**settings):
    lab = first_steps(**settings)
    return lab.spec.training.start(lab.settings)


def finish(lab, seconds=120):
    lab.worker.join(timeout=seconds)
    assert not lab.worker.is_alive()


def wait_for(condition, seconds=30.0):
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, "this did not happen in time"
        time.sleep(0.01)


def test_train_now_measures_what_compare_does():
    steps = training_of(**QUICK, strategy="learned", seed=1, sequences=16)
    shares, results = zip(*islice(steps, 51), strict=True)
    result = results[-1]
    np.testing.assert_allclose(shares, np.arange(51) / STEPS)
    assert result.seeds == tuple(range(32, 48))
    assert result.steps == (0, 25, 50)
    variants = variants_of([0.3])
    table = compare(
        window_task("sunspots", 5, 16),
        {name: variants[name] for name in ("zero", "learned")},
        seeds=range(32, 48),
        steps=50,
        score_every=25,
        progress=False,
        **training_options(8),
    )
    for name, losses in (("zero", result.zero), ("learned", result.other)):
        for place, step in enumerate(result.steps):
            np.testing.assert_array_equal(
                losses.by_step[:, place], select(table, "test_loss", step)[name]
            )
        by_time = loss_by_time(table).query("variant == @name")
        np.testing.assert_array_equal(
            losses.by_time, by_time.pivot(index="seed", columns="t", values="value")
        )


@pytest.mark.parametrize("diverged", [["learned"], ["zero"], ["zero", "learned"]])
def test_runs_that_all_diverge_keep_their_time_steps(diverged):
    lab = first_steps(seq_len=5, hidden_size=8, strategy="learned")
    variants = {
        name: {"initial_state": name, "lr": 1e38 if name in diverged else 3e-3}
        for name in ("zero", "learned")
    }
    options = {n: v for n, v in training_options(8).items() if n != "lr"}
    comparison = Comparison(window_task("sunspots", 5), variants, seeds=range(16, 32), **options)
    picture = FirstStepsPicture()
    for _ in range(3):
        result = module._measured(lab.settings, comparison)
        assert result.zero.by_time.shape == result.other.by_time.shape == (16, 5)
        picture.update(result)
        comparison.step()
    for name, losses in (("zero", result.zero), ("learned", result.other)):
        assert np.isnan(losses.by_time).all() == (name in diverged)
    assert "the first step is not known, as fewer than two pairs" in lab.spec.sentence(result)
    assert len(lab.spec.table(result)) == 5 + 3


@pytest.mark.parametrize("strategy", ["noisy", "learned+noisy", "adaptive"])
def test_train_now_trains_what_the_table_holds(strategy):
    lab = first_steps(strategy=strategy, seq_len=10, hidden_size=8, noise_std=1.0)
    # One before the first: the seeds of the table.
    *_, (_, result) = islice(lab.spec.training.start(lab.settings | {"seed": -1}), 51)
    assert result.seeds == tuple(range(16))
    runs, name = runs_of(lab.settings)
    wide = runs.pivot(index="seed", columns="variant", values="at_50")
    np.testing.assert_allclose(result.zero.by_step[:, -1], wide["zero"], rtol=2e-3)
    np.testing.assert_allclose(result.other.by_step[:, -1], wide[name], rtol=2e-3)
    assert np.abs(wide[name] / wide["zero"] - 1).median() > 2e-3  # noise is more than rounding


def test_the_seeds_of_train_now_are_fresh():
    seen = [next(training_of(**QUICK, seed=seed))[1].seeds for seed in (0, 1, 15)]
    assert seen == [tuple(range(16, 32)), tuple(range(32, 48)), tuple(range(256, 272))]


def test_a_training_is_the_same_every_time():
    first, again = (list(islice(training_of(**QUICK), 26))[-1][1] for _ in range(2))
    np.testing.assert_array_equal(first.other.by_time, again.other.by_time)
    np.testing.assert_array_equal(first.zero.by_step, again.zero.by_step)


def test_train_now_grows_to_the_picture_of_the_table():
    lab = open_lab("first_steps", **QUICK, strategy="learned")
    sentence = lab.sentence
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    lab.train_button.click()
    wait_for(lambda: lab.training_view.value)
    assert "16 fresh seeds (16 to 31): after " in words(lab.training_view.value)
    lab.controls["seed"].value = 3  # sliders stay usable meanwhile
    check_shown(lab)
    finish(lab)
    assert lab.training_error is lab.error is None
    said = words(lab.training_view.value)
    assert said.startswith("learned against zero, sunspots, all sequences, windows of 5, hidden")
    assert ", 16 fresh seeds (16 to 31): after 300 updates the loss at the first step " in said
    # What sixteen seeds told holds for sixteen others.
    lower = r"at the first step is 0\.\d+ lower"
    assert re.search(lower, said)
    assert re.search(lower, sentence)
    assert lab.progress.value == 1.0
    assert lab.estimate.value.startswith("done in ")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_stop_keeps_what_it_reached():
    lab = open_lab("first_steps", task="characters", seq_len=20)
    lab.train_button.click()
    wait_for(lambda: "after 25 of 300" in lab.training_view.value)
    start = time.perf_counter()
    lab.stop_button.click()
    assert time.perf_counter() - start < 3.0
    finish(lab)
    reached = re.search(r"after (\d+) of 300 updates", words(lab.training_view.value))
    assert reached is not None
    assert 25 <= int(reached[1]) < 300
    assert lab.estimate.value.startswith("stopped after ")
    assert 0 < lab.progress.value < 1
    assert lab.training_error is None
    check_shown(lab)


def test_before_its_first_update_a_training_shows_that_the_starts_are_the_same():
    _, result = next(training_of(**QUICK, strategy="learned+noisy"))
    said = first_steps().spec.sentence(result)
    assert "after 0 of 300 updates the loss at the first step is the same in every pair" in said
    assert said.endswith("seed 16 alone: the same and the same.")
    picture = FirstStepsPicture()
    assert picture.update(result)
    assert picture._seed.get_text() == "thin: seed 16 alone"


def test_the_estimate_is_measured_once_for_each_size(monkeypatch):
    lab = first_steps(**QUICK)
    seconds = lab.spec.training.seconds(lab.settings)
    assert 0.3 < seconds < 300
    monkeypatch.setattr(module, "_comparison", lambda _: 1 / 0)
    other = {"strategy": "learned", "sequences": 16, "seed": 9}
    assert lab.spec.training.seconds(lab.settings | other) == seconds
    with pytest.raises(ZeroDivisionError):
        lab.spec.training.seconds(lab.settings | {"seq_len": 7})

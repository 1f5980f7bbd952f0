"""No number stands in the prose of chapter 06 that is not measured here.

Its exercises and its recipes have tests of their own.
"""

import functools
import json
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.signal import find_peaks

import teachkit as tk
from teachkit.baselines import chosen_linear_forecast, linear_forecast
from teachkit.datasets import data_folder
from teachkit.experiments import (
    ABLATION,
    DECADES,
    SWITCHES,
    ablation_baselines,
    ablation_task,
    at_validated_rate,
    combination_errors,
    distinct_runs,
    gains,
    main_effects,
    recalled,
    runs_at_best_rate,
)
from teachkit.models import random_input
from teachkit.results import load_results
from teachkit.statistics import t_interval
from tests.notebooks.claims import check, each, geometric_mean, prose
from tools.notebooks import NOTEBOOKS

TASK = ablation_task()
LINEAR, SEASONAL = "linear autoregression", "seasonal naive"
CHOSEN, PLAIN = (", ".join(switches) for *switches, _ in DECADES["combinations"])
CALM, HIGH = (1967, 1997), (1957, 1977, 1987)  # the first years of decades
PARTS = ("validation", "test")
LEADS = [f"test_{lead}" for lead in ABLATION["leads"]]
# settings with an effect on the validation part, and without one that can be seen
SEEN = [("forget_bias", "3"), ("forget_bias", "1"), ("clipping", "norm 1")]
KERAS, LEARNED, NOISY = UNSEEN = [
    ("preset", "keras"),
    ("initial_state", "learned"),
    ("initial_state", "noisy"),
]
STARTS = "a learned start, a noisy start"
STOPPING = "stopping at the best validation error"


# -- the series --------------------------------------------------------------------------------


def peaks():
    """Where the cycles are highest, places in the series, and how high they are there.

    Heights are means of 13 months; two peaks lie at least seven years apart.
    """
    heights = TASK.values.rolling(13, center=True).mean().dropna()
    found, _ = find_peaks(heights, distance=84, prominence=20)
    return found + 6, heights.to_numpy()[found]


def years_of_a_cycle():
    places, _ = peaks()
    return np.diff(places).mean() / 12


def highest_cycle():
    """Where the highest cycle peaks, in years after the test part begins."""
    places, heights = peaks()
    return (places[heights.argmax()] - TASK.bounds[2]) / 12


def highest_trained_on():
    """The highest cycle of the training part as a share of the one at the start of the test."""
    places, heights = peaks()
    return heights[places < TASK.bounds[1]].max() / heights.max()


def highest_from(year):
    """The highest cycle from a year on as a share of the one at the start of the test."""
    places, heights = peaks()
    years = np.array([TASK.dates[place].year for place in places])
    return heights[years >= year].max() / heights.max()


def noise(values):
    """The noise in the upper third of heights, as a multiple of that in the lower third."""
    heights = TASK.values.rolling(13, center=True).mean()
    thirds = pd.qcut(heights.dropna(), 3, labels=False)
    left = (values - values.rolling(13, center=True).mean()).dropna()
    found = left.groupby(thirds).std()
    return found[2] / found[0]


def highest_month(start):
    years = np.array([date.year for date in TASK.dates])
    return TASK.values[(years >= start) & (years < start + DECADES["years"])].max()


def year_and_month(place):
    date: Any = TASK.dates[place]
    return date.year + date.month / 100


# -- the rivals --------------------------------------------------------------------------------


@functools.cache
def rivals() -> pd.DataFrame:
    return ablation_baselines().set_index("baseline")


def rival(name, column) -> Any:
    return rivals().loc[name, column]


def seconds_to_fit():
    """The seconds that the linear forecast takes which validation chooses."""
    train = TASK.arrays("train")
    rule = chosen_linear_forecast(train, TASK.arrays("validation", ABLATION["windows"]))
    start = time.process_time()
    again = linear_forecast(*train, rule.lags, rule.ridge)
    seconds = time.process_time() - start
    np.testing.assert_allclose(again.weights, rule.weights)
    return seconds


def rivals_ahead_of_persistence():
    errors = rivals()["test_1"]
    return (errors < errors["persistence"]).sum()


# -- the switches ------------------------------------------------------------------------------


@functools.cache
def runs() -> pd.DataFrame:
    return load_results("ablation")


@functools.cache
def distinct() -> pd.DataFrame:
    return distinct_runs(runs())


@functools.cache
def chosen() -> pd.DataFrame:
    return at_validated_rate(distinct())


@functools.cache
def effects(part) -> pd.DataFrame:
    return main_effects(runs(), part).set_index(["switch", "setting"])


def effect(switch: str, setting: str, part: str = "test", what: str = "difference") -> Any:
    return effects(part).loc[(switch, setting), what]


def largest_effect(part):
    return effects(part)["difference"].abs().max()


def not_told(switch, setting, part="test"):
    """Whether the interval of an effect is around 0."""
    return effect(switch, setting, part, "low") < 0 < effect(switch, setting, part, "high")


def of_pytorch_s_own(part):
    """The error of the networks that a forget bias is compared with."""
    return chosen().query("preset == 'torch' and forget_bias == 'preset'")[part].mean()


def stopping():
    """What stopping at the best validation error changes in the test error, seed by seed."""
    rows = chosen()
    return (rows["test"] - rows["last_test"]).groupby(rows["seed"]).mean().to_numpy()


def by_rate(column):
    """How far a kind's mean errors at its best and its worst rate are apart."""
    means = distinct().groupby([*SWITCHES, "lr"])[column].mean().unstack()
    return means.max(axis=1) - means.min(axis=1)


def of_the_rate():
    """What a rate of 0.03 instead of 0.003 changes in the test error, seed by seed."""
    means = distinct().groupby(["seed", "lr"])["test"].mean().unstack()
    return (means[0.03] - means[0.003]).to_numpy()


def of_a_forget_bias_of_1():
    """What it changes in the test error of PyTorch's preset, seed by seed."""
    rows = chosen().query("preset == 'torch'")
    means = rows.groupby(["seed", "forget_bias"])["test"].mean().unstack()
    found = (means["1"] - means["preset"]).to_numpy()
    assert found.mean() == pytest.approx(largest_effect("test"))
    return found


def larger_than_any_other(costs):
    """By how much the largest effect of a switch is above these, at the low end of the interval."""
    return t_interval(of_a_forget_bias_of_1() - costs)[0]


def cut(lr):
    """The share of steps that clipping cuts."""
    return distinct().query(f"clipping != 'none' and lr == {lr}")["clipped"].mean()


def moves_of_clipping():
    """What clipping changes in the mean test error, at each rate and setting of the others."""
    others = ["lr", *SWITCHES[:-1]]
    means = distinct().groupby([*others, "clipping"])["test"].mean().unstack()
    return means["norm 1"] - means["none"]


# -- the combinations --------------------------------------------------------------------------


@functools.cache
def combinations(column="test") -> pd.DataFrame:
    return combination_errors(distinct(), column)


def first(what) -> Any:
    """The test error of the combination that validation chooses first."""
    return combinations().loc[0, what]


def ahead_of(name, column):
    """How many kinds have a smaller mean error than a rival."""
    found = combinations()["validation"] if column == "validation" else combinations(column)["mean"]
    return (found < rival(name, column)).sum()


def ahead(column):
    """The mean error of all kinds so many months ahead."""
    return combinations(column)["mean"].mean()


# -- the decades -------------------------------------------------------------------------------


@functools.cache
def decades() -> pd.DataFrame:
    """Mean errors over seeds (start x forecast)."""
    return load_results("decades").groupby(["start", "forecast"])["error"].mean().unstack()


def decade(start, name, averaged=False) -> Any:
    return decades().loc[start, f"{name}, mean of 16" if averaged else name]


def behind(start, name, averaged=False):
    """The error of networks minus that of the linear rule."""
    return decade(start, name, averaged) - decade(start, LINEAR)


def gain_of_averages():
    gains_ = [decades()[name] - decades()[f"{name}, mean of 16"] for name in (CHOSEN, PLAIN)]
    return pd.concat(gains_)


def cell_of_section_6():
    (path,) = (NOTEBOOKS / "source").glob("06_*.py")
    cells = path.read_text(encoding="utf-8").split("# %%")
    (cell,) = (c for c in cells if c.startswith("\nmodel = tk.SequenceModel("))
    return cell


@functools.cache
def scores() -> dict[int, float]:
    """The validation errors of section 6 by step."""
    names: dict[str, Any] = {"tk": tk, "torch": torch, "task": TASK}
    exec(cell_of_section_6(), names)
    return {step + 1: error for step, error in names["history"].score.items()}


# -- what the quiz takes for granted -----------------------------------------------------------


def sunspots(lr, what="difference") -> Any:
    """A learned start against zeros on the sunspots, and the loss of zeros."""
    table = load_results("states").query("task == 'sunspots'")
    rows = runs_at_best_rate(table, {"sunspots": "at_600"})
    rows = rows if lr is None else table[table["lr"] == lr]
    if what == "zero":
        return rows.loc[rows["variant"] == "zero", "at_600"].mean()
    return gains(rows, "at_600", ["task"]).set_index("variant").loc["learned", what]


def carried(column, what) -> Any:
    table = load_results("streams").query("seq_len == 5").assign(task="text")
    rows = runs_at_best_rate(table, {"text": column})
    return gains(rows, column, ["task"]).set_index("variant").loc["carried", what]


def gained_by_zeros():
    """How many more of 16 seeds recall with zeros in the other biases, at each rate."""
    counts = recalled(load_results("recall"))
    others = counts.loc["PyTorch, forget 1, others 0"] - counts.loc["PyTorch, forget bias 1"]
    return others.to_numpy()


def gradient_after_50():
    """Of driven networks with a radius of 1.2, from a random state."""
    found = []
    for seed in range(1000, 1020):
        rnn = tk.make_elman(64, 1.2, seed=seed, dtype=torch.float64)
        h0 = random_input(1, 64, seed + 1000)[:1]
        found.append(tk.gradient_through_time(rnn, random_input(50, 1, seed), h0).growth[-1].item())
    return geometric_mean(found)


def near(
    words: str, measure: Callable[[], Any], value: float, digits: int
) -> tuple[str, Callable[[], Any], float, float]:
    """A claim that holds where the measurement, rounded to so many digits, is the value."""
    half = 0.5 * 10**-digits
    return words, measure, value - half, value + half


def exact(
    words: str, measure: Callable[[], Any], value: float
) -> tuple[str, Callable[[], Any], float, float]:
    return words, measure, value, value


def true(words: str, measure: Callable[[], Any]) -> tuple[str, Callable[[], Any], float, float]:
    return words, measure, 1, 1


CLAIMS = [
    # 1: one series
    exact("One series of 260 years", lambda: len(TASK.values) / 12, 260),
    exact("every month since 1749: 3,120 numbers", lambda: TASK.dates[0].year, 1749),
    exact("every month since 1749: 3,120 numbers", lambda: len(TASK.values), 3120),
    near("in cycles of about eleven years", years_of_a_cycle, 11, 0),
    exact(
        "the next 24 months from the last 132, that is, two years from eleven",
        lambda: TASK.horizon / 12,
        2,
    ),
    exact(
        "the next 24 months from the last 132, that is, two years from eleven",
        lambda: TASK.seq_len / 12,
        11,
    ),
    exact("The first 60 % are there to train on", lambda: TASK.bounds[1] / TASK.bounds[3], 0.6),
    exact(
        "the next 20 % to choose by",
        lambda: (TASK.bounds[2] - TASK.bounds[1]) / TASK.bounds[3],
        0.2,
    ),
    exact("the last 20 %, from January 1957 on", lambda: year_and_month(TASK.bounds[2]), 1957.01),
    ("make the noise about equal at all heights", lambda: noise(TASK.values**0.5), 0.9, 1.1),
    ("make the noise about equal at all heights", lambda: noise(TASK.values), 3, 4),
    ("The test part opens with the highest cycle of the whole series", highest_cycle, 0, 3),
    # 2: rivals
    exact("only the linear one beats repeating the last month", rivals_ahead_of_persistence, 1),
    (
        "only the linear one beats repeating the last month",
        lambda: rival("persistence", "test_1") - rival(LINEAR, "test_1"),
        0,
        0.06,
    ),
    true(
        "two years ahead the season is better",
        lambda: rival(SEASONAL, "test_24") < rival("persistence", "test_24"),
    ),
    (
        "the mean is no worse than persistence",
        lambda: rival("mean", "test_24") / rival("persistence", "test_24"),
        0.95,
        1,
    ),
    true(
        "The linear forecast is best at every distance",
        lambda: rivals()[LEADS].idxmin().eq(LINEAR).all(),
    ),
    exact(
        "those 1, 6, 12 and 24 months ahead",
        lambda: rivals().columns.tolist() == [*PARTS, "test_1", "test_6", "test_12", "test_24"],
        1,
    ),
    # 3: switches
    exact("An LSTM with 16 units", lambda: runs().attrs["hidden_size"], 16),
    exact("reads the 132 months", lambda: runs().attrs["seq_len"], 132),
    exact("turns its last state into the next 24", lambda: runs().attrs["horizon"], 24),
    true(
        "the learning rate of Adam: 0.003, 0.01, 0.03",
        lambda: sorted(runs()["lr"].unique()) == [0.003, 0.01, 0.03],
    ),
    exact("36 combinations at three rates", lambda: runs().groupby(list(SWITCHES)).ngroups, 36),
    exact("each from 16 seeds", lambda: runs()["seed"].nunique(), 16),
    # 4: which choices paid off
    near("now *costs* 0.021", lambda: effect("forget_bias", "3"), 0.021, 3),
    near("the one of 1 costs 0.034", lambda: effect("forget_bias", "1"), 0.034, 3),
    near("clipping costs 0.013", lambda: effect("clipping", "norm 1"), 0.013, 3),
    near("Keras's preset by 0.018", lambda: -effect("preset", "keras"), 0.018, 3),
    near("a learned start by 0.014", lambda: -effect("initial_state", "learned"), 0.014, 3),
    near(
        "instead of PyTorch's own lowers the error by 0.034",
        lambda: -effect("forget_bias", "3", "validation"),
        0.034,
        3,
    ),
    near("one of 1 by 0.010", lambda: -effect("forget_bias", "1", "validation"), 0.010, 3),
    near("clipping by 0.003", lambda: -effect("clipping", "norm 1", "validation"), 0.003, 3),
    exact(
        "The preset, at equal forget biases, and the initial state change nothing that can be seen",
        lambda: sum(not_told(*setting, "validation") for setting in UNSEEN),
        3,
    ),
    true(
        "**On the test part** each of these turns round",
        lambda: (
            max(effect(*setting, "validation", "high") for setting in SEEN) < 0
            and min(effect(*setting, "test", "low") for setting in SEEN) > 0
        ),
    ),
    true(
        "what did nothing before is ahead",
        lambda: max(effect(*setting, "test", "high") for setting in UNSEEN[:2]) < 0,
    ),
    exact(
        "Nobody could have chosen these two",
        lambda: sum(not_told(*setting, "validation") for setting in UNSEEN[:2]),
        2,
    ),
    near("with the same 50 years", lambda: (TASK.bounds[2] - TASK.bounds[1]) / 120, 5, 0),
    near("with the same 50 years", lambda: (TASK.bounds[3] - TASK.bounds[2]) / 120, 5, 0),
    exact(
        "it turned the sign of everything that was chosen",
        lambda: sum(
            np.sign(effect(*setting, "test")) == -np.sign(effect(*setting, "validation"))
            for setting in SEEN
        ),
        3,
    ),
    exact(
        "the least of 13 measurements",
        lambda: len(range(0, runs().attrs["steps"] + 1, runs().attrs["score_every"])),
        13,
    ),
    near(
        "After the last update, without that choice, a forget bias of 3 saves 0.018",
        lambda: -effect("forget_bias", "3", "last_validation"),
        0.018,
        3,
    ),
    *[
        near(f"| {words} |", functools.partial(effect, *setting, part), value, 3)
        for words, setting, values in [
            ("forget bias 3, not PyTorch's own | -0.034 | +0.021", SEEN[0], (-0.034, 0.021)),
            ("forget bias 1, not PyTorch's own | -0.010 | +0.034", SEEN[1], (-0.010, 0.034)),
            ("clipping at 1 | -0.003 | +0.013", SEEN[2], (-0.003, 0.013)),
            ("Keras's preset, at equal forget biases | -0.001 | -0.018", KERAS, (-0.001, -0.018)),
            (f"{STARTS} | -0.001, -0.001 | -0.014, -0.009", LEARNED, (-0.001, -0.014)),
            (f"{STARTS} | -0.001, -0.001 | -0.014, -0.009", NOISY, (-0.001, -0.009)),
        ]
        for part, value in zip(PARTS, values, strict=True)
    ],
    true(
        "the largest effect where it was chosen, of the other sign where it counts",
        lambda: (
            -effect("forget_bias", "3", "validation") == largest_effect("validation")
            and effect("forget_bias", "3", "test", "low") > 0
        ),
    ),
    exact("did not pay: no run diverged", lambda: runs()["diverged"].sum(), 0),
    near("at a rate of 0.003 it cut 47 % of the steps", lambda: cut(0.003), 0.47, 2),
    exact(
        "likewise; the noisy one cannot be told from zero",
        lambda: [not_told("initial_state", s) for s in ("learned", "noisy")] == [False, True],
        1,
    ),
    near(
        "| learning rate 0.03, not 0.003 | | +0.022 |",
        lambda: of_the_rate().mean(),
        0.022,
        3,
    ),
    ("| learning rate 0.03, not 0.003 | | +0.022 |", lambda: t_interval(of_the_rate())[0], 0, 1),
    near(
        "the three rates are 0.007 apart on the validation part, on average, and 0.029 on the test",
        lambda: by_rate("validation").mean(),
        0.007,
        3,
    ),
    near(
        "the three rates are 0.007 apart on the validation part, on average, and 0.029 on the test",
        lambda: by_rate("test").mean(),
        0.029,
        3,
    ),
    near(f"| {STOPPING} | | -0.024 |", lambda: stopping().mean(), -0.024, 3),
    (f"| {STOPPING} | | -0.024 |", lambda: t_interval(stopping())[1], -0.024, -0.01),
    exact("against 600 updates for all", lambda: runs().attrs["steps"], 600),
    # neither can be told from the largest effect, which is larger in the mean: a forget bias of 1
    (
        "| +0.022 | about as much as a switch;",
        lambda: larger_than_any_other(of_the_rate()),
        -1,
        0,
    ),
    ("| -0.024 | about as much as a switch,", lambda: larger_than_any_other(-stopping()), -1, 0),
    (
        "A single move in the lab, at one rate and with all other switches as they are, can go",
        lambda: (moves_of_clipping() < 0).mean(),
        0.05,
        0.45,
    ),
    (
        "A single move in the lab, at one rate and with all other switches as they are, can go",
        lambda: moves_of_clipping()[(0.01, "torch", "preset", "zero")],  # as the lab opens
        -1,
        -0.01,
    ),
    exact("they count once, so 30 kinds are left of the 36", lambda: len(combinations()), 30),
    exact(
        "they count once, so 30 kinds are left of the 36",
        lambda: runs().groupby(list(SWITCHES)).ngroups,
        36,
    ),
    # 5: and the rivals
    exact('what = tk.plots.COLORS, "30 kinds of network', lambda: len(combinations()), 30),
    exact("22 of the 30 kinds beat", lambda: ahead_of(LINEAR, "validation"), 22),
    exact("On the test part **none** does", lambda: ahead_of(LINEAR, "test"), 0),
    exact("(Of 480 single runs 13 beat it.)", lambda: len(chosen()), 480),
    exact(
        "(Of 480 single runs 13 beat it.)",
        lambda: (chosen()["test"] < rival(LINEAR, "test")).sum(),
        13,
    ),
    near("0.544 to 0.629", lambda: combinations()["mean"].min(), 0.544, 3),
    near("0.544 to 0.629", lambda: combinations()["mean"].max(), 0.629, 3),
    near("the linear one's is 0.509", lambda: rival(LINEAR, "test"), 0.509, 3),
    true(
        "chooses first (Keras, forget bias 3, noisy, clipped)",
        lambda: [first(name) for name in SWITCHES] == ["keras", "3", "noisy", "norm 1"],
    ),
    near("has 0.571", lambda: first("mean"), 0.571, 3),
    exact(
        "All are better than the seasonal naive forecast over the 24 months",
        lambda: min(ahead_of(SEASONAL, part) for part in PARTS),
        30,
    ),
    near("(0.408 on average against 0.404)", lambda: ahead("test_1"), 0.408, 3),
    near("(0.408 on average against 0.404)", lambda: rival("persistence", "test_1"), 0.404, 3),
    near("two years ahead no better than the season (0.778", lambda: ahead("test_24"), 0.778, 3),
    near("(0.778 against 0.766)", lambda: rival(SEASONAL, "test_24"), 0.766, 3),
    exact("the 16 seeds of two kinds", lambda: load_results("decades").attrs["seeds"], 16),
    true(
        "In the calm decades (1967 to 1976, 1997 to 2006)",
        lambda: max(map(highest_month, CALM)) < min(map(highest_month, HIGH)),
    ),
    (
        "networks and linear rule are within 0.03 of each other",
        lambda: max(abs(behind(start, name)) for start in CALM for name in (CHOSEN, PLAIN)),
        0,
        0.03,
    ),
    (
        "averages of 16 networks within 0.01 or ahead",
        lambda: max(behind(start, name, True) for start in CALM for name in (CHOSEN, PLAIN)),
        -1,
        0.01,
    ),
    near(
        "(0.41 and 0.44 against 0.44 in the last decade)",
        lambda: decade(1997, CHOSEN, True),
        0.41,
        2,
    ),
    near(
        "(0.41 and 0.44 against 0.44 in the last decade)",
        lambda: decade(1997, PLAIN, True),
        0.44,
        2,
    ),
    near("(0.41 and 0.44 against 0.44 in the last decade)", lambda: decade(1997, LINEAR), 0.44, 2),
    (
        "They lose most where the cycles are high",
        lambda: min(behind(start, name) for start in HIGH for name in (CHOSEN, PLAIN)),
        0.04,
        1,
    ),
    near("0.57 and 0.58 against 0.41", lambda: decade(1957, CHOSEN), 0.57, 2),
    near("0.57 and 0.58 against 0.41", lambda: decade(1957, PLAIN), 0.58, 2),
    near("0.57 and 0.58 against 0.41", lambda: decade(1957, LINEAR), 0.41, 2),
    ("whose cycle is higher than any that they were trained on", highest_trained_on, 0, 0.9),
    # later cycles are hardly higher than the highest of the training part
    near(
        "after the last update the learned start is 0.011 behind",
        lambda: effect("initial_state", "learned", "last_test"),
        0.011,
        3,
    ),
    (
        "It hardly explains the decades from 1977 on",
        lambda: highest_from(1977) / highest_trained_on(),
        0.9,
        1.05,
    ),
    true(
        "It hardly explains the decades from 1977 on",
        lambda: all(behind(start, name) > 0.03 for start in HIGH[1:] for name in (CHOSEN, PLAIN)),
    ),
    exact(
        '**Verdict on "use an LSTM":** not shown for this series,',
        lambda: max(ahead_of(LINEAR, lead) for lead in LEADS),
        0,
    ),
    exact("with 16 units and 600 updates", lambda: runs().attrs["steps"], 600),
    exact("with 16 units and 600 updates", lambda: runs().attrs["hidden_size"], 16),
    ("A least-squares fit that takes a second is ahead", seconds_to_fit, 0, 1),
    near("that gains 0.02 to 0.04 in each decade", lambda: gain_of_averages().min(), 0.02, 2),
    near("that gains 0.02 to 0.04 in each decade", lambda: gain_of_averages().max(), 0.04, 2),
    # 6: train one
    (
        "when the validation error stops falling",
        lambda: min(scores(), key=scores().__getitem__),
        100,
        250,
    ),
    true(
        "One network, Keras's preset and nothing else",
        lambda: (
            'tk.initialize(tk.LSTM(1, 16), "keras")' in cell_of_section_6()
            and "clipper" not in cell_of_section_6()
        ),
    ),
    # the quiz
    near(
        "a learned start lowers the loss on sunspots by a tenth",
        lambda: -sunspots(0.001) / sunspots(0.001, "zero"),
        0.10,
        2,
    ),
    true(
        "At the rate at which zeros end best no gain is left",
        lambda: sunspots(None, "low") < 0 < sunspots(None, "high"),
    ),
    ("it is better in a long run without resets", lambda: carried("long_run", "high"), -1, 0),
    ("and worse at cold starts", lambda: carried("cold", "low"), 0, 1),
    (
        "the one with zeros, with far more seeds",
        lambda: gained_by_zeros().max(),
        8,
        16,
    ),
    ("with far more seeds", lambda: gained_by_zeros().min(), 0, 16),
    ("**c)** very much smaller", gradient_after_50, 0, 1e-3),
    # the recipe
    true(
        "on this chapter's series the forget bias and clipping cost something",
        lambda: min(effect(*setting, "test", "low") for setting in SEEN) > 0,
    ),
    # what you saw
    exact("22 of 30 kinds of network beat", lambda: ahead_of(LINEAR, "validation"), 22),
    exact("none on the part that came after", lambda: ahead_of(LINEAR, "test"), 0),
    true(
        "the forget bias mattered most where it was chosen, and had the other sign afterwards",
        lambda: (
            effects("validation")["difference"].idxmin() == ("forget_bias", "3")
            and min(effect("forget_bias", bias, "test", "low") for bias in ("1", "3")) > 0
        ),
    ),
    true("clipping did not pay;", lambda: effect("clipping", "norm 1", "test", "low") > 0),
    true(
        "what helped on the test part, Keras's preset and a learned start, could not have been",
        lambda: (
            effects("test").query("high < 0").index.tolist() == UNSEEN[:2]
            and all(not_told(*setting, "validation") for setting in UNSEEN[:2])
        ),
    ),
    (
        "The learning rate and stopping in time mattered about as much",
        lambda: max(map(larger_than_any_other, (of_the_rate(), -stopping()))),
        -1,
        0,
    ),
]


def of_seeds(switch, setting, part="test", sign=1):
    """The interval of an effect; with a sign of -1 that of what is saved."""
    ends = ["low", "high"][::sign]
    return lambda: [sign * effect(switch, setting, part, end) for end in ends]


# Intervals in brackets: the words, and what they hold
INTERVALS = [
    ("0.034 (0.027 to 0.041)", of_seeds("forget_bias", "3", "validation", sign=-1)),
    ("0.010 (0.005 to 0.015)", of_seeds("forget_bias", "1", "validation", sign=-1)),
    ("0.003 (0.001 to 0.006)", of_seeds("clipping", "norm 1", "validation", sign=-1)),
    ("0.021 (0.001 to 0.041)", of_seeds("forget_bias", "3")),
    ("0.034 (0.013 to 0.054)", of_seeds("forget_bias", "1")),
    ("0.013 (0.006 to 0.021)", of_seeds("clipping", "norm 1")),
    ("0.018 (0.006 to 0.030)", of_seeds("preset", "keras", sign=-1)),
    ("0.014 (0.001 to 0.028)", of_seeds("initial_state", "learned", sign=-1)),
    ("0.018 (0.011 to 0.025)", of_seeds("forget_bias", "3", "last_validation", sign=-1)),
    ("0.571 (0.545 to 0.598)", lambda: [first("low"), first("high")]),
]


@each([("06", *claim) for claim in CLAIMS])
def test_claim(chapter, words, measure, low, high):
    check(chapter, words, measure, low, high)


@pytest.mark.parametrize(("words", "measure"), INTERVALS, ids=[words for words, _ in INTERVALS])
def test_interval(words, measure):
    assert words in prose("06"), "the chapter no longer says this: change the interval with it"
    printed = re.findall(r"(-?[\d.]+) to (-?[\d.]+)\)", words)[0]
    assert tuple(f"{end:.3f}" for end in measure()) == printed


# -- the numbers that a sentence says itself ---------------------------------------------------

OF_SOME = r"of some (0\.\d+);"


def test_the_error_that_the_savings_are_of():
    ((printed),) = re.findall(OF_SOME, prose("06"))
    assert f"{of_pytorch_s_own('validation'):.2f}" == printed


def test_no_decimal_number_is_without_a_claim():
    """Of sections 1 to 5, the exercises apart, and of what the reader saw."""
    sections = re.split(r" (?=## [1-6W])", prose("06"))
    read = [part for part in sections if re.match(r"## [1-5W]", part)]
    assert len(read) == 6
    cells = [cell for part in read for cell in part.partition("**Sources.**")[0].split(" %% ")]
    cells = [re.sub(r"^\[markdown\] ", "", cell) for cell in cells if not code(cell)]
    text = " ".join(c for c in cells if not c.startswith(("### Exercise", "<details>")))
    claimed = {re.escape(claim[0]) for claim in CLAIMS} | {re.escape(i[0]) for i in INTERVALS}
    spans = [m.span() for words in claimed | {OF_SOME} for m in re.finditer(words, text)]
    left = [
        number[0]
        for number in re.finditer(r"\d+[.,]\d+", text)
        if not any(low <= number.start() and number.end() <= high for low, high in spans)
    ]
    assert left == []
    assert len(re.findall(r"\d+[.,]\d+", text)) > 50  # the text was there


def code(cell):
    return not cell.startswith(("## ", "[markdown] "))


# -- the tables --------------------------------------------------------------------------------


def test_the_saved_runs_are_those_of_the_table_of_switches():
    table = runs()
    assert {name: list(table[name].unique()) for name in SWITCHES} == {
        "preset": ["torch", "keras"],
        "forget_bias": ["preset", "1", "3"],
        "initial_state": ["zero", "learned", "noisy"],
        "clipping": ["none", "norm 1"],
    }
    assert table.groupby([*SWITCHES, "lr"])["seed"].apply(list).map(sorted).tolist() == (
        [list(range(16))] * 36 * 3
    )
    assert table.notna().all(axis=None)
    assert all(table.attrs[name] == value for name, value in ABLATION.items())
    text = prose("06")
    for row in (
        "| preset of the weights | PyTorch's, Keras's | 01 |",
        "(about 0 in PyTorch, 1 in Keras), 1, 3 |",
        "| initial state | zero, learned, noisy | 03 |",
        "| clipping | none, global norm 1 | 05 |",
    ):
        assert row in text


@pytest.mark.parametrize(("preset", "expected"), [("torch", 0.0), ("keras", 1.0)])
def test_the_forget_bias_that_a_preset_has(preset, expected):
    assert "as the preset has it (about 0 in PyTorch, 1 in Keras)" in prose("06")
    means = []
    for seed in range(1000, 1010):
        lstm = tk.LSTM(1, 16)
        tk.initialize(lstm, preset, generator=torch.Generator().manual_seed(seed))
        biases = tk.gates(lstm)
        means.append(sum(biases[f"bias_{k}_l0"]["forget"].mean().item() for k in ("ih", "hh")))
    assert np.mean(means) == pytest.approx(expected, abs=0.1)


def test_keras_s_preset_and_a_forget_bias_of_1_are_the_same_network():
    assert "are the same networks; they count once" in prose("06")
    keras = runs()[runs()["preset"] == "keras"].drop(columns="preset")
    preset, one, three = (
        keras[keras["forget_bias"] == bias].drop(columns="forget_bias").reset_index(drop=True)
        for bias in ("preset", "1", "3")
    )
    pd.testing.assert_frame_equal(preset, one)
    assert not one.equals(three)


def test_the_decades_are_complete_and_of_the_combinations_that_the_chapter_names():
    assert "the one that validation chose and PyTorch's layer as it comes" in prose("06")
    table = load_results("decades")
    assert table.attrs["seeds"] == 16
    assert list(decades().index) == [1957, 1967, 1977, 1987, 1997]
    assert table["error"].notna().all()
    networks = table[table["seed"] >= 0].groupby(["forecast", "start"])["seed"].apply(sorted)
    assert networks.tolist() == [list(range(16))] * 10
    assert set(table.loc[table["seed"] < 0, "forecast"]) == {
        LINEAR,
        f"{CHOSEN}, mean of 16",
        f"{PLAIN}, mean of 16",
    }
    # at the rates that validation chose
    rates = combinations().set_index(list(SWITCHES))["lr"]
    for *switches, lr in table.attrs["combinations"]:
        assert rates[tuple(switches)] == lr
    assert tuple(table.attrs["combinations"][0][:4]) == rates.index[0]


def test_the_source_of_the_series():
    assert "statsmodels 0.15.0; public domain" in prose("06")
    manifest = json.loads((data_folder() / "manifest.json").read_text(encoding="utf-8"))
    entry = manifest["sunspots_monthly.csv"]
    assert "statsmodels 0.15.0" in entry["origin"]
    assert "National Geophysical Data Center" in entry["origin"]
    assert "public domain" in entry["licence"].lower()

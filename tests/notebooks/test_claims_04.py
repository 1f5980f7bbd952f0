"""No number stands in the prose of chapters 00 and 04 that is not measured here."""

import functools
import re

import numpy as np
import torch
from scipy.stats import t as student

import teachkit as tk
from teachkit.experiments import (
    TEMPORAL_ORDER,
    TEMPORAL_ORDER_VARIANTS,
    final_rows,
    paired_difference,
    solved_share,
)
from teachkit.labs.forget_bias import SPEC as FORGET_BIAS
from teachkit.labs.spectral_radius import SPEC as SPECTRAL_RADIUS
from tests.notebooks.claims import check, each, geometric_mean
from tools.notebooks import NOTEBOOKS

SEEDS = range(1000, 1100)


@functools.cache
def runs(lab, **settings):
    """The gradient after 50 steps of 100 networks, in the lab's own terms."""
    spec = {"spectral_radius": SPECTRAL_RADIUS, "forget_bias": FORGET_BIAS}[lab]
    start = spec.check({"seq_len": 50, **settings})
    return [float(spec.compute(start | {"seed": seed}).growth[-1]) for seed in SEEDS]


def growth(**settings):
    return geometric_mean(runs("spectral_radius", **{"rho": 1.2, **settings}))


def shrinks(**settings):
    return 1 / growth(**settings)


def spread(**settings):
    """The geometric standard deviation over networks."""
    return float(np.exp(np.std(np.log(runs("spectral_radius", **{"rho": 1.2, **settings})))))


def memory(forget_bias):
    return geometric_mean(runs("forget_bias", forget_bias=forget_bias))


@functools.cache
def parameter_gradient(rho, name):
    """Geometric mean of one parameter's gradient norm, temporal order of 50 steps."""
    task = tk.TemporalOrder(50)

    def norm(seed):
        model = tk.SequenceModel(tk.make_elman(64, rho, input_size=6, seed=seed), 4, seed=seed)
        x, target = next(tk.batches(task, 32, seed=seed))
        task.loss(model(x), target).backward()
        return model.get_parameter(name).grad.norm().item()

    return geometric_mean(map(norm, SEEDS))


def head_ratios():
    """How far apart the two curves of section 7 are, over all steps of 20 networks."""
    task, ratios = tk.TemporalOrder(50), []
    for seed in SEEDS[:20]:
        model = tk.SequenceModel(tk.make_elman(64, 2.0, input_size=6, seed=seed), 4, seed=seed)
        x, target = next(tk.batches(task, 32, seed=seed))
        curves = []
        for factor in (1, 10):
            with torch.no_grad():
                model.head.weight.mul_(factor)
            result = tk.gradient_through_time(
                model.rnn, x, loss=lambda out, m=model, y=target: task.loss(m.head(out[-1]), y)
            )
            curves.append(result.dL_dh)
        ratios.append(curves[1] / curves[0])
    return torch.stack(ratios)


def below_the_power(percent):
    """How many times lower than rho^50 a linear gradient ends, at a percentile of 100 networks."""
    ends = runs("spectral_radius", activation="linear", rho=1.1)
    return float(np.percentile(1.1**50 / np.array(ends), percent))


def drawn_below_the_power():
    """The same for the network that section 1 draws."""
    rnn = tk.make_elman(64, 1.1, activation="linear")
    return 1.1**50 / tk.gradient_through_time(rnn, torch.zeros(50, 1, 1)).growth[-1].item()


def lstm_with_larger_weights(factor):
    torch.manual_seed(0)
    lstm = tk.set_forget_bias(torch.nn.LSTM(1, 32, dtype=torch.float64), 2.0)
    with torch.no_grad():
        lstm.weight_hh_l0.mul_(factor)
    return tk.gradient_through_time(lstm, torch.randn(50, 1, 1, dtype=torch.float64)).growth_c[-1]


def first_steps_without_clipping(rho):
    """By how much W_hh grows and which share of units saturates in 50 unclipped steps."""
    task = tk.TemporalOrder(30)
    model = tk.SequenceModel(tk.make_elman(50, rho, input_size=6), 4)
    before = model.rnn.weight_hh_l0.norm().item()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tk.fit(model, tk.batches(task), loss=task.loss, optimizer=optimizer, steps=50, progress=False)
    h, _ = model.rnn(next(tk.batches(task, 64, seed=1))[0])
    return model.rnn.weight_hh_l0.norm().item() / before, (h.abs() > 0.99).double().mean().item()


def counterexample(start):
    rnn, h_star = tk.nilpotent_counterexample()
    h0 = h_star if start == "fixed point" else torch.zeros_like(h_star)
    return tk.gradient_through_time(rnn, torch.zeros(30, 1, 1, dtype=torch.float64), h0).growth


def powers():
    A = torch.tensor([[0.9, 5.0], [0.0, 0.9]], dtype=torch.float64)
    return [torch.linalg.matrix_norm(torch.linalg.matrix_power(A, t), 2).item() for t in range(101)]


def solved(variant, rho):
    table = solved_share(tk.load_results("temporal_order"))
    return table[(table["variant"] == variant) & (table["rho"] == rho)]["solved"].item()


def lyapunov(rho, drive):
    table = tk.load_results("lyapunov")
    chosen = table[(table["rho"] == rho) & (table["input"] == drive)]["exponent"]
    half = student.ppf(0.975, len(chosen) - 1) * chosen.sem()
    return chosen.mean() - half, chosen.mean() + half


def final_rho(variant, rho):
    runs = final_rows(tk.load_results("temporal_order"))
    return runs[(runs["variant"] == variant) & (runs["rho"] == rho)]["final_rho"].mean()


def largest_norms(variant, rho):
    table = tk.load_results("temporal_order")
    chosen = table[(table["variant"] == variant) & (table["rho"] == rho)]
    return chosen.groupby("seed")["grad_norm"].max()


def ends_above_1(variant, rho):
    runs = final_rows(tk.load_results("temporal_order"))
    return (runs[(runs["variant"] == variant) & (runs["rho"] == rho)]["final_rho"] > 1).sum()


VARIANTS = list(TEMPORAL_ORDER_VARIANTS)
PLAIN, _, SMALL, CLIP = VARIANTS
RHOS = TEMPORAL_ORDER["rhos"]

# (chapter, words in its source, measurement, lowest, highest)
CLAIMS = [
    ("00", "$0.9^{50}$ is 0.005", lambda: 0.9**50, 0.0045, 0.0055),
    ("00", "$1.1^{50}$ is 117", lambda: 1.1**50, 116.5, 117.5),
    ("04", "$1.1^{50}$ is 117", lambda: 1.1**50, 116.5, 117.5),
    ("04", "$0.9^{50}$ is 0.005", lambda: 0.9**50, 0.0045, 0.0055),
    ("04", "random networks 1.3 to 14 times", lambda: below_the_power(5), 1.1, 1.9),
    ("04", "random networks 1.3 to 14 times", lambda: below_the_power(95), 8, 16),
    ("04", "about 2,700 times larger", lambda: growth(activation="linear"), 2300, 3100),
    ("04", "about 4 times *smaller*; with", shrinks, 3, 5.5),
    ("04", "about 50 million times smaller. (Geometric", lambda: shrinks(input=True), 3e7, 8e7),
    ("04", "by a factor of 2, 6 and 8", lambda: spread(activation="linear"), 1.7, 2.3),
    ("04", "by a factor of 2, 6 and 8", spread, 4.5, 7.5),
    ("04", "by a factor of 2, 6 and 8", lambda: spread(input=True), 6, 10),
    (
        "04",
        "exactly like the linear network",
        lambda: growth(h0="zero") / growth(activation="linear"),
        0.999,
        1.001,
    ),
    (
        "04",
        "A radius below 1 did make the gradient vanish, and faster",
        lambda: growth(rho=0.8) / 0.8**50,
        0,
        1,
    ),
    ("04", "It climbs to 19.38 at", lambda: max(powers()), 19.375, 19.385),
    ("04", "at $t = 9$ first", lambda: int(np.argmax(powers())), 9, 9),
    ("04", "here about 5.2", lambda: powers()[1], 5.1, 5.2),
    (
        "04",
        "radius 1 has `sigma_max` near 2",
        lambda: tk.sigma_max(tk.recurrent_matrix(128, 1.0)),
        1.7,
        2.1,
    ),
    (
        "04",
        "the gradient **doubles** at every step",
        lambda: counterexample("fixed point")[-1] / 2**30,
        0.999,
        1.001,
    ),
    ("04", "the same network's gradient vanishes", lambda: counterexample("zero")[-1], 0, 1e-60),
    ("04", "linear just above 1", lambda: growth(activation="linear", rho=1.1), 1, 100),
    ("04", "between 1.4 and 1.5", lambda: growth(rho=1.4), 0.3, 1.2),
    ("04", "between 1.4 and 1.5", lambda: growth(rho=1.5), 1, 4),
    ("04", "between 1.4 and 1.5", lambda: growth(activation="relu", rho=1.38), 0, 1),
    ("04", "between 1.4 and 1.5", lambda: growth(activation="relu", rho=1.5), 1, 100),
    (
        "04",
        "thousands of times *smaller* after 50",
        lambda: shrinks(activation="sigmoid", rho=8.0),
        1e3,
        1e4,
    ),
    (
        "04",
        "grows from somewhere between 12 and 14",
        lambda: growth(activation="sigmoid", rho=12.0),
        0,
        1,
    ),
    (
        "04",
        "grows from somewhere between 12 and 14",
        lambda: growth(activation="sigmoid", rho=14.0),
        1,
        20,
    ),
    (
        "04",
        "a factor of more than a hundred",
        lambda: spread(activation="sigmoid", rho=8.0),
        100,
        1000,
    ),
    (
        "04",
        "about 50 million times smaller after 50",
        lambda: shrinks(activation="relu", rho=1.0),
        2e7,
        1.2e8,
    ),
    ("04", "Gaussian matrix is $\\sqrt 2$", lambda: growth(activation="relu", rho=2**0.5), 0.2, 5),
    (
        "04",
        "stays close to 0 from `rho = 1` to 1.4",
        lambda: abs(lyapunov(1.2, "no input")[0]),
        0,
        0.05,
    ),
    ("04", "positive from 1.6 on", lambda: lyapunov(1.6, "no input")[0], 0, 0.1),
    ("04", "still 0 at `rho = 2`", lambda: np.prod(lyapunov(2.0, "N(0, 1) input")), -1, 0),
    (
        "04",
        "turns positive between 1.6 and 1.8",
        lambda: lyapunov(1.6, "temporal order")[0],
        -0.1,
        0,
    ),
    (
        "04",
        "turns positive between 1.6 and 1.8",
        lambda: lyapunov(1.8, "temporal order")[0],
        0,
        0.1,
    ),
    ("04", "8 to 18, over 20 networks", lambda: head_ratios().min(), 6.5, 10),
    ("04", "8 to 18, over 20 networks", lambda: head_ratios().max(), 14, 20),
    ("04", "`W_hh` goes from 0.8", lambda: parameter_gradient(1.0, "rnn.weight_hh_l0"), 0.7, 0.85),
    ("04", "to about 300,000", lambda: parameter_gradient(3.0, "rnn.weight_hh_l0"), 1.5e5, 4.5e5),
    ("04", "goes from 0.65 to 1.2", lambda: parameter_gradient(1.0, "head.weight"), 0.6, 0.7),
    ("04", "goes from 0.65 to 1.2", lambda: parameter_gradient(3.0, "head.weight"), 1.1, 1.3),
    ("04", "about 3e-11 is left", lambda: memory(0.0), 2e-11, 5e-11),
    ("04", "predicts 8.9e-16", lambda: 0.5**50, 8.85e-16, 8.95e-16),
    ("04", "At $b = 2$ about 12 % is left", lambda: memory(2.0), 0.09, 0.15),
    ("04", "at $b = 3$ it neither vanishes nor explodes", lambda: memory(3.0), 0.5, 3),
    (
        "04",
        "four times as large and $b = 2$, the gradient grows",
        lambda: lstm_with_larger_weights(4),
        2,
        1e4,
    ),
    (
        "04",
        "more than a hundred times larger",
        lambda: first_steps_without_clipping(3.0)[0],
        100,
        1e12,
    ),
    ("04", "nearly all units saturate", lambda: first_steps_without_clipping(3.0)[1], 0.95, 1),
    (
        "04",
        "At 1.2 nothing so dramatic happens",
        lambda: first_steps_without_clipping(1.2)[0],
        0.9,
        1.1,
    ),
    ("04", "$\\ln 4 = 1.386$", lambda: tk.TemporalOrder().chance, 1.3855, 1.3865),
    ("04", "From `rho = 0.5` nothing does", lambda: sum(solved(v, 0.5) for v in VARIANTS), 0, 0),
    ("04", "2 of 16 at 0.8, 7 at 0.9", lambda: solved(CLIP, 0.8), 2, 2),
    ("04", "2 of 16 at 0.8, 7 at 0.9", lambda: solved(CLIP, 0.9), 7, 7),
    ("04", "11, 14 and 15 at 1, 1.2 and 1.5", lambda: solved(CLIP, 1.0), 11, 11),
    ("04", "11, 14 and 15 at 1, 1.2 and 1.5", lambda: solved(CLIP, 1.2), 14, 14),
    ("04", "11, 14 and 15 at 1, 1.2 and 1.5", lambda: solved(CLIP, 1.5), 15, 15),
    ("04", "At 2 it is 4, at 3 none", lambda: solved(CLIP, 2.0), 4, 4),
    ("04", "At 2 it is 4, at 3 none", lambda: solved(CLIP, 3.0), 0, 0),
    ("04", "no unclipped run solves the task", lambda: sum(solved(PLAIN, r) for r in RHOS), 0, 0),
    ("04", "7 at `rho = 1.2`", lambda: solved(SMALL, 1.2), 7, 7),
    ("04", "7 at 1.5", lambda: solved(SMALL, 1.5), 7, 7),
    ("04", "at most 7 at the best", lambda: max(solved(SMALL, r) for r in RHOS), 7, 7),
    (
        "04",
        "11 to 15 of 16 runs solved",
        lambda: min(solved(CLIP, r) for r in (1.0, 1.2, 1.5)),
        11,
        11,
    ),
    ("04", "15 of 16 end above 1", lambda: ends_above_1(CLIP, 0.8), 15, 15),
    ("04", "at 1.6 on average", lambda: final_rho(CLIP, 0.8), 1.55, 1.65),
    ("04", "reach about 60 (the median)", lambda: largest_norms(CLIP, 0.8).median(), 50, 70),
    ("04", "and up to 210", lambda: largest_norms(CLIP, 0.8).max(), 205, 215),
    ("04", "start at 0.5 learn nothing and stay", lambda: final_rho(CLIP, 0.5), 0.44, 0.56),
    ("04", "end about 4 times lower", drawn_below_the_power, 3.5, 5),
]


def sunspots_race():
    """Final loss of the copies of Train now on the sunspot series: without over with clipping."""
    settings = SPECTRAL_RADIUS.check(
        {"rho": 1.2, "seq_len": 30, "hidden_size": 50, "task": "sunspots"}
    )
    assert SPECTRAL_RADIUS.training is not None
    *_, (_, race) = SPECTRAL_RADIUS.training.start(settings)
    return np.mean(race.plain.loss[-100:]) / np.mean(race.clipped.loss[-100:])


@each(CLAIMS)
def test_claim(chapter, words, measure, low, high):
    check(chapter, words, measure, low, high)


def test_clipping_is_ahead_of_the_small_step_from_08_to_15():
    difference = paired_difference(tk.load_results("temporal_order"), CLIP, SMALL)
    ahead = difference[difference["low"] > 0]["rho"]
    assert set(ahead) >= {0.8, 0.9, 1.0, 1.2, 1.5}
    at_2 = difference[difference["rho"] == 2.0]
    assert at_2["low"].item() < 0 < at_2["high"].item()


def test_a_normal_sigmoid_network_cannot_explode_below_4():
    for rho in (1.0, 2.0, 4.0):
        assert max(runs("spectral_radius", activation="sigmoid", rho=rho, non_normality=0.0)) < 1


def test_the_saved_study_is_complete():
    table = tk.load_results("temporal_order")
    runs = final_rows(table)
    assert len(runs) == 4 * 8 * 16
    assert (runs["step"] == table.attrs["steps"]).all()
    assert runs.groupby(["variant", "rho"])["seed"].nunique().eq(16).all()


def test_no_formula_breaks_a_line_before_a_name():
    """A doubled backslash, left from an escape, is a line break to MathJax."""
    for path in (NOTEBOOKS / "source").glob("*.py"):
        for formula in re.findall(r"\$[^$\n]+\$", path.read_text(encoding="utf-8")):
            assert not re.search(r"\\\\[a-z]{2}", formula), formula

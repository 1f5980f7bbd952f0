"""No number stands in the prose that is not measured here.

A claim names the words in the chapter's source and the measurement behind them, with the band that
those words allow. All claims about random networks rest on 16 seeds.
"""

import re

import numpy as np
import pytest
import torch

import teachkit as tk
from teachkit.experiments import final_rows, mean_lyapunov, paired_difference, solved_share
from teachkit.labs.forget_bias import SPEC as FORGET_BIAS
from teachkit.labs.spectral_radius import SPEC as SPECTRAL_RADIUS
from tools.notebooks import NOTEBOOKS

SEEDS = range(16)


def growth(**settings):
    """Geometric mean over seeds of the gradient after 50 steps, in the lab's own network."""
    runs = [
        SPECTRAL_RADIUS.compute(SPECTRAL_RADIUS.check({"seq_len": 50, "seed": s, **settings}))
        for s in SEEDS
    ]
    return float(np.exp(np.mean([np.log(run.growth[-1]) for run in runs])))


def shrinks(**settings):
    return 1 / growth(**settings)


def memory(forget_bias):
    runs = [
        FORGET_BIAS.compute(FORGET_BIAS.check({"forget_bias": forget_bias, "seed": s}))
        for s in SEEDS
    ]
    return float(np.exp(np.mean([np.log(run.growth[-1]) for run in runs])))


def parameter_gradient(rho, name):
    """Geometric mean over seeds of one parameter's gradient norm, temporal order of 50 steps."""
    task = tk.TemporalOrder(50)
    norms = []
    for seed in SEEDS:
        model = tk.SequenceModel(tk.make_elman(64, rho, input_size=6, seed=seed), 4, seed=seed)
        x, target = next(tk.batches(task, 32, seed=seed))
        task.loss(model(x), target).backward()
        norms.append(model.get_parameter(name).grad.norm().item())
    return float(np.exp(np.mean(np.log(norms))))


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


def lyapunov(rho, input_std):
    return mean_lyapunov([rho], input_std=input_std)[0]


CLIP, PLAIN, SMALL = "clip at norm 1", "no clipping", "no clipping, lr / 10"

# (chapter, words in its source, measurement, lowest, highest)
CLAIMS = [
    ("00", "$0.9^{50}$ is 0.005", lambda: 0.9**50, 0.0045, 0.0055),
    ("00", "$1.1^{50}$ is 117", lambda: 1.1**50, 116.5, 117.5),
    ("04", "$1.1^{50}$ is 117", lambda: 1.1**50, 116.5, 117.5),
    ("04", "$0.9^{50}$ is 0.005", lambda: 0.9**50, 0.0045, 0.0055),
    (
        "04",
        "linear gradient is about 2,700 times larger",
        lambda: growth(activation="linear"),
        2300,
        3100,
    ),
    ("04", "tanh gradient about 4 times *smaller*", shrinks, 3, 5.5),
    (
        "04",
        "tanh gradient is about 80 million times smaller",
        lambda: shrinks(input=True),
        6e7,
        1e8,
    ),
    (
        "04",
        "A radius below 1 does make them vanish here, and faster",
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
    (
        "04",
        "still about 500 times *smaller*",
        lambda: shrinks(activation="sigmoid", rho=8.0),
        400,
        600,
    ),
    ("04", "somewhere between 12 and 16", lambda: growth(activation="sigmoid", rho=12.0), 0, 1),
    ("04", "somewhere between 12 and 16", lambda: growth(activation="sigmoid", rho=16.0), 1, 1e6),
    ("04", "about 70 million times smaller", lambda: shrinks(activation="relu", rho=1.0), 6e7, 8e7),
    (
        "04",
        "critical radius of a large Gaussian matrix is $\\sqrt 2$",
        lambda: growth(activation="relu", rho=2**0.5),
        0.01,
        100,
    ),
    ("04", "stays close to 0 from `rho = 1` on", lambda: lyapunov(1.2, 0.0), -0.03, 0.03),
    ("04", "turns positive around 1.5", lambda: lyapunov(1.4, 0.0), -0.03, 0.03),
    ("04", "turns positive around 1.5", lambda: lyapunov(1.6, 0.0), 0.02, 0.1),
    ("04", "only near `rho = 2`", lambda: lyapunov(1.8, 1.0), -0.1, 0),
    ("04", "only near `rho = 2`", lambda: lyapunov(2.0, 1.0), 0, 0.1),
    (
        "04",
        "gradient norm of `W_hh` goes from 0.74",
        lambda: parameter_gradient(1.0, "rnn.weight_hh_l0"),
        0.735,
        0.755,
    ),
    ("04", "to about 210,000", lambda: parameter_gradient(3.0, "rnn.weight_hh_l0"), 1.9e5, 2.4e5),
    ("04", "the head goes from 0.60", lambda: parameter_gradient(1.0, "head.weight"), 0.595, 0.61),
    ("04", "0.60 to 1.14", lambda: parameter_gradient(3.0, "head.weight"), 1.135, 1.15),
    ("04", "about 3e-11 is left", lambda: memory(0.0), 2e-11, 5e-11),
    ("04", "predicts 8.9e-16", lambda: 0.5**50, 8.85e-16, 8.95e-16),
    ("04", "At $b = 2$ about a tenth is left", lambda: memory(2.0), 0.07, 0.14),
    ("04", "at $b = 3$ it neither vanishes nor explodes", lambda: memory(3.0), 0.5, 3),
    ("04", "$\\ln 4 = 1.386$", lambda: tk.TemporalOrder().chance, 1.3855, 1.3865),
    ("04", "At `rho = 0.5` nothing does", lambda: solved(CLIP, 0.5) + solved(PLAIN, 0.5), 0, 0),
    ("04", "0 of 16 solved runs into 12, 14 and 14", lambda: solved(CLIP, 1.0), 12, 12),
    ("04", "0 of 16 solved runs into 12, 14 and 14", lambda: solved(CLIP, 1.2), 14, 14),
    ("04", "0 of 16 solved runs into 12, 14 and 14", lambda: solved(CLIP, 1.5), 14, 14),
    (
        "04",
        "0 of 16 solved runs into",
        lambda: sum(solved(PLAIN, r) for r in (1.0, 1.2, 1.5)),
        0,
        0,
    ),
    ("04", "At 2 it is 6, at 3 none", lambda: solved(CLIP, 2.0), 6, 6),
    ("04", "At 2 it is 6, at 3 none", lambda: solved(CLIP, 3.0), 0, 0),
    ("04", "8 of 16 runs succeed at `rho = 1.5`", lambda: solved(SMALL, 1.5), 8, 8),
    ("04", "1.2 it is 3", lambda: solved(SMALL, 1.2), 3, 3),
    ("04", "5 at 0.8", lambda: solved(CLIP, 0.8), 5, 5),
    ("04", "0 against 12 to 14 of 16 runs", lambda: solved(CLIP, 1.2), 12, 14),
]


def prose(chapter):
    (path,) = (NOTEBOOKS / "source").glob(f"{chapter}_*.py")
    text = re.sub(r"\n# ?", " ", path.read_text(encoding="utf-8"))
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    ("chapter", "words", "measure", "low", "high"),
    CLAIMS,
    ids=[f"{c[0]}: {c[1]} #{i}" for i, c in enumerate(CLAIMS)],
)
def test_claim(chapter, words, measure, low, high):
    assert words in prose(chapter), "the chapter no longer says this: change the claim with it"
    assert low <= float(measure()) <= high


def test_clipping_beats_the_small_step_at_every_radius_that_learns():
    difference = paired_difference(tk.load_results("temporal_order"), CLIP, SMALL)
    learns = difference[difference["rho"].between(0.8, 2.0)]
    assert (learns["low"] > 0).all()


def test_a_normal_sigmoid_network_cannot_explode_below_4():
    for rho in (1.0, 2.0, 4.0):
        assert growth(activation="sigmoid", rho=rho, non_normality=0.0) < 1


def test_the_saved_study_is_complete():
    table = tk.load_results("temporal_order")
    runs = final_rows(table)
    assert len(runs) == 3 * 7 * 16
    assert (runs["step"] == table.attrs["steps"]).all()
    assert runs.groupby(["variant", "rho"])["seed"].nunique().eq(16).all()

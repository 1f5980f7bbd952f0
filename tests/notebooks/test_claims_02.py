"""No number stands in the prose of chapter 02 that is not measured here."""

import functools
import math

import numpy as np
import torch

import teachkit as tk
from teachkit.experiments import at_best_rate, pretraining_gain
from teachkit.experiments.weights import DEFAULT
from tests.notebooks.claims import check, each, geometric_mean

SEEDS = range(1000, 1020)
SLIDER = range(20)  # "the first twenty networks of the slider", which a reader can see


@functools.cache
def signals(scheme, activation, mode="depth", hidden_size=128):
    if mode == "depth":
        options = {"activation": activation, "hidden_size": hidden_size, "depth": 20}
        return [tk.signal_through_depth(scheme, seed=seed, **options) for seed in SEEDS]
    options = {"activation": activation, "hidden_size": hidden_size, "seq_len": 50}
    return [tk.signal_through_time(scheme, seed=seed, **options) for seed in SLIDER]


def arrives(*settings):
    return geometric_mean(signal.activations[-1].item() for signal in signals(*settings))


def returns(*settings):
    return geometric_mean(signal.gradients[0].item() for signal in signals(*settings))


def ends(*settings):
    return [signal.activations[-1].item() for signal in signals(*settings)]


def wander(*settings):
    return math.exp(np.std(np.log(ends(*settings))))


def radius(scheme):
    return np.mean([signal.rho for signal in signals(scheme, "linear", "time")])


def he_in_time(low=0.0, high=math.inf):
    return sum(low < end < high for end in ends("kaiming_normal", "relu", "time"))


def decades_lost():
    """By He's variance passed as a standard deviation, in 20 ReLU layers of 128 units."""
    trap = [s.log10_activations[-1].item() for s in signals("std = 2/H", "relu")]
    return -np.mean(trap)


def block(measure, *, fused):
    """The mean of a measure over the forget gates of ten layers, 128 units."""
    drawn = []
    for seed in range(10):
        generator = torch.Generator().manual_seed(1000 + seed)
        lstm = torch.nn.LSTM(128, 128)
        tk.initialize(lstm, "orthogonal", fused=fused, generator=generator)
        drawn.append(measure(tk.gates(lstm)["weight_hh_l0"]["forget"]).item())
    return np.mean(drawn)


def rotations(kind):
    A = torch.randn(4000, 4, 4, generator=torch.Generator().manual_seed(1000))
    Q, R = torch.linalg.qr(A)
    signs = R.diagonal(dim1=-2, dim2=-1).sign()
    draws = {"raw": Q, "svd": torch.linalg.svd(A)[0], "fixed": Q * signs[:, None]}
    return (torch.linalg.det(draws[kind]) > 0).double().mean()


@functools.cache
def best(task, activation, scheme, column, baseline="uniform"):
    table = at_best_rate(tk.load_results("rates"), baseline).set_index(
        ["task", "activation", "scheme"]
    )
    return table.loc[(task, activation, scheme), column]


DIGITS, ADDING = "digit pixels", "adding"
OTHERS = ("kaiming_normal", "orthogonal", "sparse", "xavier_uniform", "std = 2/H")


def mean_score(task, activation, scheme, lr):
    t = tk.load_results("rates")
    rows = t[(t["task"] == task) & (t["activation"] == activation)]
    return rows[(rows["scheme"] == scheme) & (rows["lr"] == lr)]["score"].mean()


def learned_adding(scheme):
    """Of 16 seeds, how many explain 95 % at the scheme's best rate."""
    t = tk.load_results("rates")
    lr = best(ADDING, "relu", scheme, "lr")
    rows = t[(t["task"] == ADDING) & (t["scheme"] == scheme) & (t["lr"] == lr)]
    return (rows["score"] > 0.95).sum()


def best_at(lr):
    """The highest mean of any scheme at a learning rate, over the best of all."""
    t = tk.load_results("rates")
    means = t.groupby(["task", "activation", "scheme", "lr"])["score"].mean().unstack()
    return (means[lr].groupby(["task", "activation"]).max()
            / means.max(axis=1).groupby(["task", "activation"]).max()).max()  # fmt: skip


def solved(bias, seq_len):
    t = tk.load_results("horizon")
    rows = t[(t["forget_bias"].astype(str) == str(bias)) & (t["seq_len"] == seq_len)]
    return (rows["score"] >= 0.99).sum()


def always_solved(bias, *seq_lens):
    return min(solved(bias, T) for T in seq_lens)


def gain(size, column="gain"):
    return pretraining_gain(tk.load_results("pretraining")).set_index("size").loc[size, column]


def at_the_end(size, start, column):
    t = tk.load_results("pretraining")
    return t[(t["size"] == size) & (t["start"] == start)][column].mean()


CLAIMS = [
    (
        "02",
        "on the digits the worst",
        lambda: min(
            best(DIGITS, a, n, "score") - best(DIGITS, a, "identity", "score")
            for a in ("tanh", "relu")
            for n in (*OTHERS, DEFAULT, "uniform")
        ),
        0,
        1,
    ),
    (
        "02",
        "0.83 with tanh and 0.70 with ReLU",
        lambda: best(DIGITS, "tanh", "orthogonal", "score"),
        0.825,
        0.835,
    ),
    (
        "02",
        "0.83 with tanh and 0.70 with ReLU",
        lambda: best(DIGITS, "relu", "orthogonal", "score"),
        0.695,
        0.705,
    ),
    (
        "02",
        "0.14 (95 % interval 0.09 to 0.18)",
        lambda: best(DIGITS, "tanh", "orthogonal", "difference"),
        0.13,
        0.14,
    ),
    (
        "02",
        "0.14 (95 % interval 0.09 to 0.18)",
        lambda: best(DIGITS, "tanh", "orthogonal", "low"),
        0.085,
        0.095,
    ),
    (
        "02",
        "0.14 (95 % interval 0.09 to 0.18)",
        lambda: best(DIGITS, "tanh", "orthogonal", "high"),
        0.175,
        0.185,
    ),
    (
        "02",
        "0.07 (0.03 to 0.11) above",
        lambda: best(DIGITS, "relu", "orthogonal", "difference"),
        0.065,
        0.075,
    ),
    (
        "02",
        "0.07 (0.03 to 0.11) above",
        lambda: best(DIGITS, "relu", "orthogonal", "low"),
        0.025,
        0.035,
    ),
    (
        "02",
        "0.07 (0.03 to 0.11) above",
        lambda: best(DIGITS, "relu", "orthogonal", "high"),
        0.105,
        0.115,
    ),
    *(
        (
            "02",
            "Xavier's matrix is 0.11 (0.03 to 0.19) ahead of He's",
            lambda column=column: best(DIGITS, "tanh", "kaiming_normal", column, "xavier_uniform"),
            -middle - 0.005,
            -middle + 0.005,
        )
        for column, middle in {"difference": 0.11, "high": 0.03, "low": 0.19}.items()
    ),
    (
        "02",
        "He's matrix stays 0.13 *behind*",
        lambda: best(DIGITS, "relu", "kaiming_normal", "difference", "xavier_uniform"),
        -0.135,
        -0.12,
    ),
    (
        "02",
        "(0.06 to 0.19)",
        lambda: best(DIGITS, "relu", "kaiming_normal", "low", "xavier_uniform"),
        -0.2,
        -0.185,
    ),
    (
        "02",
        "(0.06 to 0.19)",
        lambda: best(DIGITS, "relu", "kaiming_normal", "high", "xavier_uniform"),
        -0.065,
        -0.055,
    ),
    ("02", "has a mean of 0.96", lambda: best(ADDING, "relu", "identity", "score"), 0.955, 0.965),
    ("02", "above 0.95 for 11 of 16 seeds", lambda: learned_adding("identity"), 11, 11),
    (
        "02",
        "0.14 (0.06 to 0.23) above",
        lambda: best(ADDING, "relu", "identity", "difference"),
        0.14,
        0.15,
    ),
    (
        "02",
        "0.14 (0.06 to 0.23) above",
        lambda: best(ADDING, "relu", "identity", "low"),
        0.055,
        0.065,
    ),
    (
        "02",
        "0.14 (0.06 to 0.23) above",
        lambda: best(ADDING, "relu", "identity", "high"),
        0.22,
        0.23,
    ),
    (
        "02",
        "cannot be told from that",
        lambda: max(best(ADDING, "relu", n, "low") for n in OTHERS),
        -1,
        0,
    ),
    (
        "02",
        "cannot be told from that",
        lambda: min(best(ADDING, "relu", n, "high") for n in OTHERS),
        0,
        1,
    ),
    (
        "02",
        "*behind* PyTorch's matrix, with both",
        lambda: max(best(DIGITS, a, "identity", "high") for a in ("tanh", "relu")),
        -1,
        0,
    ),
    (
        "02",
        "default as a whole reaches 0.20",
        lambda: best(ADDING, "relu", DEFAULT, "score"),
        0.19,
        0.205,
    ),
    ("02", "and no biases 0.82", lambda: best(ADDING, "relu", "uniform", "score"), 0.815, 0.825),
    (
        "02",
        "gains 0.12 from 0.001",
        lambda: (
            mean_score(DIGITS, "tanh", DEFAULT, 0.003) - mean_score(DIGITS, "tanh", DEFAULT, 0.001)
        ),
        0.115,
        0.125,
    ),
    (
        "02",
        "adds to the default is 0.15",
        lambda: best(DIGITS, "tanh", "orthogonal", "difference", DEFAULT),
        0.145,
        0.155,
    ),
    ("02", "At 0.03 little is left", lambda: best_at(0.03), 0, 0.6),
    (
        "02",
        "+0.15 accuracy (0.10 to 0.20)",
        lambda: best(DIGITS, "tanh", "orthogonal", "low", DEFAULT),
        0.095,
        0.105,
    ),
    (
        "02",
        "+0.15 accuracy (0.10 to 0.20)",
        lambda: best(DIGITS, "tanh", "orthogonal", "high", DEFAULT),
        0.195,
        0.205,
    ),
    (
        "02",
        "+0.13 (0.09 to 0.16)",
        lambda: best(DIGITS, "relu", "orthogonal", "difference", DEFAULT),
        0.125,
        0.135,
    ),
    (
        "02",
        "+0.13 (0.09 to 0.16)",
        lambda: best(DIGITS, "relu", "orthogonal", "low", DEFAULT),
        0.085,
        0.095,
    ),
    (
        "02",
        "+0.13 (0.09 to 0.16)",
        lambda: best(DIGITS, "relu", "orthogonal", "high", DEFAULT),
        0.155,
        0.165,
    ),
    (
        "02",
        "+0.77 $R^2$ (0.60 to 0.93)",
        lambda: best(ADDING, "relu", "identity", "difference", DEFAULT),
        0.765,
        0.775,
    ),
    (
        "02",
        "+0.77 $R^2$ (0.60 to 0.93)",
        lambda: best(ADDING, "relu", "identity", "low", DEFAULT),
        0.595,
        0.605,
    ),
    (
        "02",
        "+0.77 $R^2$ (0.60 to 0.93)",
        lambda: best(ADDING, "relu", "identity", "high", DEFAULT),
        0.93,
        0.94,
    ),
    ("02", "for 10 steps, 1 for 25, 2 for 50", lambda: always_solved(1, 10, 25), 16, 16),
    ("02", "for 10 steps, 1 for 25, 2 for 50", lambda: solved(1, 50), 0, 15),
    ("02", "for 10 steps, 1 for 25, 2 for 50", lambda: always_solved(2, 10, 25, 50), 16, 16),
    ("02", "horizons of 2, 3.7 and 8.4 steps", lambda: tk.memory_horizon(1.0).item(), 3.65, 3.75),
    ("02", "horizons of 2, 3.7 and 8.4 steps", lambda: tk.memory_horizon(2.0).item(), 8.35, 8.45),
    (
        "02",
        "2 and 3 still serve 11 to 15 of 16 seeds",
        lambda: min(always_solved(b, 100, 200) for b in (2, 3)),
        11,
        11,
    ),
    (
        "02",
        "2 and 3 still serve 11 to 15 of 16 seeds",
        lambda: max(solved(b, T) for b in (2, 3) for T in (100, 200)),
        15,
        15,
    ),
    ("02", "5 all but one", lambda: always_solved(5, 10, 25, 50, 100, 200), 15, 15),
    (
        "02",
        "Both chronos solve every length with every seed",
        lambda: min(always_solved(f"chrono({n})", 10, 25, 50, 100, 200) for n in ("T", 200)),
        16,
        16,
    ),
    ("02", "costs 36 decades", decades_lost, 35.5, 36.9),
    ("02", "means 130 times more in 50 steps", lambda: 1.05**100, 129, 133),
    ("02", "170 times less", lambda: 0.95**-100, 165, 172),
    (
        "02",
        "end between 0.2 and 2e7",
        lambda: min(ends("xavier_uniform", "linear", "time")),
        0.2,
        0.25,
    ),
    (
        "02",
        "end between 0.2 and 2e7",
        lambda: max(ends("xavier_uniform", "linear", "time")),
        1.9e7,
        2.4e7,
    ),
    ("02", "twelve lose more than 90 %", lambda: he_in_time(high=0.1), 12, 12),
    ("02", "three grow more than tenfold", lambda: he_in_time(low=10), 3, 3),
    (
        "02",
        "the ends are 6e-7 and 800",
        lambda: min(ends("kaiming_normal", "relu", "time")),
        5e-7,
        6.5e-7,
    ),
    (
        "02",
        "the ends are 6e-7 and 800",
        lambda: max(ends("kaiming_normal", "relu", "time")),
        750,
        850,
    ),
    ("02", "a little above for small ones", lambda: radius("xavier_uniform"), 1.01, 1.1),
    (
        "02",
        "is a millionth, in both directions",
        lambda: arrives("xavier_uniform", "relu"),
        3e-7,
        3e-6,
    ),
    (
        "02",
        "is a millionth, in both directions",
        lambda: returns("xavier_uniform", "relu"),
        3e-7,
        3e-6,
    ),
    ("02", "Now ReLU holds its signal", lambda: arrives("kaiming_normal", "relu"), 0.4, 1.6),
    ("02", "wander by a factor of two or so", lambda: wander("kaiming_normal", "relu"), 1.6, 2.7),
    (
        "02",
        "some 2 % is left after 20 layers",
        lambda: arrives("xavier_uniform", "tanh"),
        0.015,
        0.035,
    ),
    ("02", "near 0.3; its gradient", lambda: arrives("kaiming_normal", "tanh"), 0.27, 0.35),
    ("02", "its gradient grows threefold", lambda: returns("kaiming_normal", "tanh"), 2.6, 4),
    (
        "02",
        "less than 1e-24 of the gradient",
        lambda: max(s.gradients[0].item() for s in signals("xavier_uniform", "sigmoid")),
        0,
        1e-24,
    ),
    (
        "02",
        "Exactly 1, in both directions",
        lambda: np.ptp([1.0, *ends("orthogonal", "linear")]),
        0,
        1e-9,
    ),
    ("02", "with a radius near 0.6", lambda: radius("uniform 1/sqrt(H)"), 0.58, 0.63),
    (
        "02",
        "Less than 1e-18 is left",
        lambda: max(ends("uniform 1/sqrt(H)", "linear", "time")),
        0,
        1e-18,
    ),
    (
        "02",
        "it fades, but slowly: to 0.01",
        lambda: arrives("orthogonal", "tanh", "time"),
        0.009,
        0.0115,
    ),
    (
        "02",
        "The first step cuts off what is negative",
        lambda: arrives("identity", "relu", "time"),
        0.45,
        0.55,
    ),
    (
        "02",
        "its spectral radius is about one half",
        lambda: block(tk.spectral_radius, fused=True),
        0.48,
        0.56,
    ),
    (
        "02",
        "make each gate orthogonal",
        lambda: block(tk.sigma_max, fused=False),
        1 - 1e-5,
        1 + 1e-5,
    ),
    ("02", "never gives a rotation", lambda: rotations("raw"), 0, 0),
    ("02", "better, and still not uniform", lambda: rotations("svd"), 0.1, 0.16),
    ("02", "Half of all orthogonal matrices are rotations", lambda: rotations("fixed"), 0.47, 0.53),
    ("02", "its spectral radius is 1.41", lambda: math.sqrt(2), 1.405, 1.415),
    ("02", "A bias of 0 does for 10 steps", lambda: solved(0, 10) - solved(0, 25), 16, 16),
    (
        "02",
        "7,760 words to train on",
        lambda: tk.Words().train_sequences,
        7760,
        7760,
    ),
    ("02", "by 0.17 nats per letter", lambda: gain(50), 0.165, 0.175),
    ("02", "(95 % interval 0.13 to 0.21)", lambda: gain(50, "low"), 0.125, 0.135),
    ("02", "(95 % interval 0.13 to 0.21)", lambda: gain(50, "high"), 0.205, 0.215),
    ("02", "with 500 by 0.05, with 1,500 by 0.02", lambda: gain(500), 0.045, 0.055),
    ("02", "with 500 by 0.05, with 1,500 by 0.02", lambda: gain(1500), 0.015, 0.025),
    (
        "02",
        "150 names from scratch beat 50 names with it",
        lambda: gain(50, "pre_trained") - gain(150, "from_scratch"),
        0.02,
        0.2,
    ),
    (
        "02",
        "validation stops after 42 updates",
        lambda: at_the_end(50, "pre-trained", "step"),
        41.5,
        42.5,
    ),
    (
        "02",
        "instead of 136, on average",
        lambda: at_the_end(50, "from scratch", "step"),
        135.5,
        136.5,
    ),
    (
        "02",
        "neither had finished after 1,000 updates",
        lambda: at_the_end(4131, "pre-trained", "step"),
        930,
        1000,
    ),
    ("02", "the gain of 0.05 there", lambda: gain(4131), 0.045, 0.055),
    (
        "02",
        "losses are 4.3 with pre-training and 4.7 without",
        lambda: at_the_end(50, "pre-trained", "last_test"),
        4.25,
        4.35,
    ),
    (
        "02",
        "losses are 4.3 with pre-training and 4.7 without",
        lambda: at_the_end(50, "from scratch", "last_test"),
        4.65,
        4.75,
    ),
    (
        "02",
        "16 of 16 seeds learn at 25 steps instead of 0",
        lambda: solved(1, 25) - solved(0, 25),
        16,
        16,
    ),
    (
        "02",
        "16 of 16 instead of 0, at 25 to 200 steps",
        lambda: max(solved(0, T) for T in (25, 50, 100, 200)),
        0,
        0,
    ),
]


@each(CLAIMS)
def test_claim(chapter, words, measure, low, high):
    check(chapter, words, measure, low, high)

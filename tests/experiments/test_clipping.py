"""The studies of clipping against plain PyTorch, and their saved tables against a second run."""

import itertools
import math
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from teachkit.experiments import (
    CLIP_GRID,
    CLIP_TEXT,
    CLIP_WHAT,
    INSIDE_BACKPROP,
    INSIDE_BACKPROP_VARIANTS,
    clip_grid_study,
    clip_text_study,
    clip_what_study,
    error_clipping_cosines,
    inside_backprop_study,
    solved_at_best_rate,
    solved_runs,
)
from teachkit.experiments.clipped_runs import clippers, make_clipper, train_settings
from teachkit.models import SequenceModel, make_elman
from teachkit.results import load_results
from teachkit.tasks import TemporalOrder, batches

SETTING = ["method", "threshold", "lr", "optimizer"]
COLUMNS = ["loss", "test_loss", "score", "norm_mean", "norm_median", "norm_max", "clipped"]


# Which settings


def test_every_method_has_each_of_its_thresholds_and_none_has_no_clipper():
    assert clippers({"none": [], "norm": [0.1, 1.0], "agc": [0.01]}) == [
        ("none", None), ("norm", 0.1), ("norm", 1.0), ("agc", 0.01),
    ]  # fmt: skip
    assert make_clipper("none", None) is None
    clipper = make_clipper("recurrent", 3.0)
    assert clipper is not None
    assert (clipper.method, clipper.threshold) == ("recurrent", 3.0)


def settings_of(methods, lrs, optimizers):
    """Every setting of a study: method, threshold (NaN where there is none), lr, optimizer."""
    pairs = [
        (method, limit)
        for method, limits in methods.items()
        for limit in (limits if len(limits) else [math.nan])
    ]
    return [(*pair, lr, optimizer) for pair in pairs for lr in lrs for optimizer in optimizers]


def check_complete(table, wanted, by, seeds):
    """Every setting from every seed, once, with numbers unless the run diverged."""
    keys = pd.DataFrame(wanted, columns=by).merge(pd.Series(range(seeds), name="seed"), how="cross")
    both = keys.merge(table, on=[*by, "seed"], how="outer", indicator=True)
    assert (both["_merge"] == "both").all()
    assert len(table) == len(wanted) * seeds
    diverged = table["diverged"] >= 0
    ended = ["loss", "test_loss", "score", "clipped"]
    assert table.loc[~diverged, COLUMNS].notna().all(axis=None)
    assert table.loc[diverged, ended].isna().all(axis=None)
    assert (table["score"].dropna() <= 1).all()
    assert (table.loc[table["method"] == "none", "clipped"].dropna() == 0).all()


def test_the_saved_grid_is_complete():
    table = load_results("clip_grid")
    assert table.attrs.items() >= CLIP_GRID.items()
    limits = [t for t in CLIP_GRID["thresholds"] if t is not None]
    methods = {"norm": limits, "none": []}
    wanted = settings_of(methods, [CLIP_GRID["lr"]], ["sgd"])
    wanted = [(rho, *setting) for rho in CLIP_GRID["rhos"] for setting in wanted]
    check_complete(table, wanted, ["rho", *SETTING], CLIP_GRID["seeds"])


def test_the_saved_table_of_methods_is_complete():
    table = load_results("clip_what")
    assert table.attrs.items() >= CLIP_WHAT.items()
    wanted = [
        (name, *setting)
        for name, case in CLIP_WHAT["cases"].items()
        for setting in settings_of(case["methods"], case["lrs"], [case["optimizer"]])
    ]
    check_complete(table, wanted, ["case", *SETTING], CLIP_WHAT["seeds"])


def test_the_saved_table_of_the_text_is_complete():
    table = load_results("clip_text")
    assert table.attrs.items() >= CLIP_TEXT.items()
    wanted = [
        setting
        for optimizer in ("sgd", "adam")
        for setting in settings_of(
            CLIP_TEXT[optimizer]["methods"], CLIP_TEXT[optimizer]["lrs"], [optimizer]
        )
    ]
    check_complete(table, wanted, SETTING, CLIP_TEXT["seeds"])


def test_the_saved_table_of_error_clipping_is_complete():
    table = load_results("inside_backprop")
    assert table.attrs.items() >= INSIDE_BACKPROP.items()
    keys = list(table[["lr", "variant", "seed"]].itertuples(index=False, name=None))
    seeds = range(INSIDE_BACKPROP["seeds"])
    wanted = itertools.product(INSIDE_BACKPROP["lrs"], INSIDE_BACKPROP_VARIANTS, seeds)
    assert sorted(keys) == sorted(wanted)
    finished = table["status"] == "finished"
    assert (table.loc[finished, "step"] == INSIDE_BACKPROP["steps"]).all()
    assert table.loc[finished, ["loss", "largest_norm", "final_rho"]].notna().all(axis=None)
    assert set(table.loc[~finished, "status"]) <= {"diverged"}
    clamped = table["variant"].map(lambda name: "error" in INSIDE_BACKPROP_VARIANTS[name])
    assert (table["fraction"].notna() == clamped).all()
    assert table["fraction"].dropna().between(0, 1).all()


# The studies again: runs that are stable, for an unstable one multiplies its rounding, which
# differs from machine to machine


def same_again(again, name, by, rtol):
    saved = load_results(name)
    again = again.astype({"threshold": float})
    both = again.merge(saved, on=[*by, "seed"], suffixes=("", "_saved"), how="left")
    assert len(both) == len(again) > 0
    for column in COLUMNS:
        assert both[f"{column}_saved"].notna().all(), column
        np.testing.assert_allclose(
            both[column], both[f"{column}_saved"], rtol=rtol, atol=1e-3, err_msg=column
        )


def test_the_grid_again():
    again = clip_grid_study(rhos=[1.2], thresholds=[0.1, None], seeds=1)
    same_again(again, "clip_grid", ["rho", *SETTING], 0.01)


def test_the_methods_again():
    case = CLIP_WHAT["cases"]["temporal order"]
    small = {**case, "methods": {"none": [], "value": [0.03]}, "lrs": [0.03]}
    again = clip_what_study(cases={"temporal order": small}, seeds=1)
    same_again(again, "clip_what", ["case", *SETTING], 0.01)


def test_the_orthogonal_network_with_adam_again():
    name = "adding, ReLU, Adam"
    case = CLIP_WHAT["cases"][name]
    small = {**case, "methods": {"none": []}, "lrs": [0.0003]}
    again = clip_what_study(cases={name: small}, seeds=1)
    same_again(again, "clip_what", ["case", *SETTING], 0.05)


def test_the_text_again():
    again = clip_text_study(
        sgd={"lrs": [1.0], "methods": {"norm": [0.1]}},
        adam={"lrs": [0.003], "methods": {"none": []}},
        seeds=1,
    )
    same_again(again, "clip_text", SETTING, 0.01)


def test_inside_backpropagation_again():
    again = inside_backprop_study(lrs=[0.03], seeds=1, variants={"none": {}})
    both = again.merge(
        load_results("inside_backprop"), on=["lr", "variant", "seed"], suffixes=("", "_saved")
    )
    assert len(both) == 1
    assert (both["status"] == both["status_saved"]).all()
    for column in ("loss", "largest_norm", "final_rho"):
        np.testing.assert_allclose(both[column], both[f"{column}_saved"], rtol=0.01, err_msg=column)
    np.testing.assert_allclose(both["accuracy"], both["accuracy_saved"], atol=0.01)


# A run in plain PyTorch

TASK = TemporalOrder(12)
SETTINGS: list[dict[str, Any]] = [
    {"method": "none", "threshold": None, "lr": 0.1, "optimizer": "sgd"},
    {"method": "norm", "threshold": 2.0, "lr": 0.1, "optimizer": "sgd"},
    {"method": "recurrent", "threshold": 2.0, "lr": 0.1, "optimizer": "sgd"},
    {"method": "output", "threshold": 0.6, "lr": 0.1, "optimizer": "sgd"},
    {"method": "per_parameter", "threshold": 1.0, "lr": 0.1, "optimizer": "sgd"},
    {"method": "value", "threshold": 0.2, "lr": 0.1, "optimizer": "sgd"},
    {"method": "norm", "threshold": 2.0, "lr": 0.01, "optimizer": "adam"},
]
STEPS = 40


def network(seed, activation="tanh"):
    rnn = make_elman(20, 1.5, activation=activation, input_size=6, seed=seed)
    return SequenceModel(rnn, 4, seed=seed)


@pytest.fixture(scope="module")
def table():
    return train_settings(
        TASK, network, SETTINGS, seeds=2, steps=STEPS, batch_size=8, test_size=200, last=15
    )


def alone(method, threshold, lr, optimizer, seed):
    """Train the network in plain PyTorch; return its row."""
    given = network(seed)
    rnn, head = nn.RNN(6, 20), nn.Linear(20, 4)
    rnn.load_state_dict(given.rnn.state_dict())
    head.load_state_dict(given.head.state_dict())
    recurrent: list[Any] = list(rnn.parameters())
    output: list[Any] = list(head.parameters())
    everything = recurrent + output
    together = {
        "none": [],
        "norm": [everything],
        "recurrent": [recurrent],
        "output": [output],
        "per_parameter": [[p] for p in everything],
    }
    make: Any = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    step_by = make(everything, lr=lr)
    losses, norms, changed = [], [], []
    for x, target in itertools.islice(batches(TASK, 8, seed=seed), STEPS):
        step_by.zero_grad()
        loss = F.cross_entropy(head(rnn(x)[0][-1]), target)
        loss.backward()
        losses.append(loss.item())
        norms.append(torch.cat([p.grad.flatten() for p in everything]).double().norm().item())
        if method == "value":
            changed.append(max(p.grad.abs().max().item() for p in everything) > threshold)
            nn.utils.clip_grad_value_(everything, threshold)
        else:
            before = [nn.utils.clip_grad_norm_(p, threshold).item() for p in together[method]]
            changed.append(any(norm > threshold for norm in before))
        step_by.step()
    x, target = TASK.held_out(200)
    with torch.no_grad():
        outputs = head(rnn(x)[0][-1])
    return {
        "loss": statistics.mean(losses[-15:]),
        "test_loss": F.cross_entropy(outputs, target).item(),
        "score": (outputs.argmax(-1) == target).double().mean().item(),
        "norm_mean": statistics.mean(norms),
        "norm_median": statistics.median_low(norms),
        "norm_max": max(norms),
        "clipped": statistics.mean(map(float, changed)),
    }


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_a_run_is_that_of_plain_pytorch(table, number):
    row = table.iloc[2 * number + 1]  # the second seed
    given = row[SETTING].to_dict()
    assert {k: None if v != v else v for k, v in given.items()} == SETTINGS[number]
    assert (row["seed"], row["diverged"]) == (1, -1)
    expected = alone(**SETTINGS[number], seed=1)
    for name in set(COLUMNS) - {"score"}:
        assert row[name] == pytest.approx(expected[name], rel=2e-3), name
    assert row["score"] == pytest.approx(expected["score"], abs=0.0051)


def test_the_methods_differ_and_some_steps_are_clipped(table):
    own = table[table["seed"] == 1]
    assert own["loss"].round(4).is_unique
    assert own["clipped"].iloc[0] == 0
    assert own["clipped"].iloc[1:].between(0, 1, inclusive="neither").all()


def test_all_settings_begin_with_the_weights_and_the_batch_of_their_seed():
    first = train_settings(TASK, network, SETTINGS, seeds=3, steps=1, batch_size=8, test_size=10)
    one = first.groupby("seed")[["loss", "norm_max"]]
    np.testing.assert_allclose(one.max(), one.min(), rtol=1e-5)
    assert one.mean().nunique().eq(3).all()


def test_a_run_that_diverges_leaves_its_norms_and_the_other_runs_alone():
    def relu(seed):
        return network(seed, "relu")

    thrown = {"method": "none", "threshold": None, "lr": 1.0, "optimizer": "sgd"}
    options: Any = {"seeds": 2, "steps": 12, "batch_size": 8, "test_size": 50, "last": 5}
    both = train_settings(TASK, relu, [SETTINGS[1], thrown], **options)
    calm = train_settings(TASK, relu, SETTINGS[1:2], **options)
    pd.testing.assert_frame_equal(both.iloc[:2].astype({"threshold": float}), calm, rtol=1e-4)
    lost = both.iloc[2:]
    assert (lost["diverged"] > 1).all()
    assert lost[["loss", "test_loss", "score", "clipped"]].isna().all(axis=None)
    norms = ["norm_mean", "norm_median", "norm_max"]
    for seed, (step, *found) in enumerate(lost[["diverged", *norms]].to_numpy()):
        until = train_settings(TASK, relu, [thrown], **{**options, "steps": int(step)})
        assert until.loc[seed, "diverged"] == -1
        assert found == pytest.approx(until[norms].to_numpy()[seed])


# Counting


def made_up(seed=0):
    """Runs of two methods with thresholds and one without, with ties and runs that diverged."""
    rng = np.random.default_rng(seed)
    settings = [("none", None), ("norm", 0.1), ("norm", 1.0), ("agc", 0.01)]
    rows = [
        {"method": m, "threshold": t, "lr": lr, "seed": s, "score": score, "test_loss": loss}
        for m, t in settings
        for lr in (0.1, 0.03, 0.3)
        for s in range(5)
        for score, loss in [(rng.choice([0.5, 0.95, 0.99, 1.0]), round(rng.random(), 2))]
    ]
    table = pd.DataFrame(rows).sample(frac=1, random_state=seed, ignore_index=True)
    table.loc[rng.random(len(table)) < 0.2, ["score", "test_loss"]] = np.nan
    return table


def by_hand(table, method, threshold, score):
    """The best rate of a method, (solved, runs, lr, median loss), by loops."""
    found = []
    for lr in table["lr"].unique():
        own = [
            row
            for row in table.to_dict("records")
            if (row["method"], row["lr"]) == (method, lr)
            and (row["threshold"] == threshold or (threshold is None and row["method"] == "none"))
        ]
        losses = [math.inf if math.isnan(r["test_loss"]) else r["test_loss"] for r in own]
        solved = sum(not math.isnan(r["score"]) and r["score"] >= score for r in own)
        found.append((solved, len(own), lr, statistics.median(losses)))
    return max(found, key=lambda rate: (rate[0], -rate[3]))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("score", [0.9, 0.99])
def test_the_best_rate_is_that_of_a_loop(seed, score):
    table = made_up(seed)
    found = solved_at_best_rate(table, score)
    assert set(zip(found["method"], found["name"], strict=True)) == {
        ("none", "none"), ("norm", "norm 0.1"), ("norm", "norm 1"), ("agc", "agc 0.01"),
    }  # fmt: skip
    assert len(found) == 4
    for row in found.to_dict("records"):
        threshold = None if math.isnan(row["threshold"]) else row["threshold"]
        solved, runs, lr, median = by_hand(table, row["method"], threshold, score)
        assert (row["solved"], row["runs"]) == (solved, runs)
        assert (row["lr"], row["median_loss"]) == (lr, median)
        assert row["share"] == solved / runs


def rates(ends):
    rows = [
        {"method": "norm", "threshold": 1.0, "lr": lr, "seed": n, "score": score, "test_loss": loss}
        for lr, runs in ends.items()
        for n, (score, loss) in enumerate(runs)
    ]
    return pd.DataFrame(rows)


def test_of_rates_that_solve_as_many_the_lower_median_loss_wins():
    lost = (math.nan, math.nan)
    ends = {0.1: [(1.0, 0.3), (0.5, 0.9), (0.5, 0.8)], 0.2: [(1.0, 0.5), (0.9, 0.6), (0.8, 0.7)]}
    assert solved_at_best_rate(rates(ends))["lr"].tolist() == [0.2]
    # two runs that diverged are the worst, not left out
    ends = {0.1: [(1.0, 0.1), lost, lost], 0.2: [(1.0, 0.2), (0.5, 2.0), (0.5, 2.1)]}
    assert solved_at_best_rate(rates(ends))["lr"].tolist() == [0.2]
    # more runs that solve it win over any loss
    ends = {0.1: [(0.5, 0.1), (0.98, 0.1)], 0.2: [(1.0, 3.0), lost]}
    assert solved_at_best_rate(rates(ends))["lr"].tolist() == [0.2]
    assert solved_at_best_rate(rates(ends), 0.5)["lr"].tolist() == [0.1]


def test_methods_stay_in_the_order_of_their_table():
    names = ["zclip", "none", "agc", "norm"]
    one = rates({0.1: [(1.0, 0.1)], 0.2: [(0.0, 1.0)]})
    table = pd.concat([one.assign(method=m, threshold=None if m == "none" else 1.0) for m in names])
    assert solved_at_best_rate(table)["method"].tolist() == names


def test_solved_runs_are_counted_with_their_interval():
    table = made_up(3)
    found = solved_runs(table, ["method", "lr"], 0.95)
    assert len(found) == 9
    assert found["runs"].sum() == len(table)
    first = table.drop_duplicates(["method", "lr"])[["method", "lr"]]
    assert found[["method", "lr"]].to_numpy().tolist() == first.to_numpy().tolist()
    z = 1.959963984540054
    for row in found.to_dict("records"):
        own = table[(table["method"] == row["method"]) & (table["lr"] == row["lr"])]["score"]
        n, solved = len(own), sum(score >= 0.95 for score in own)
        assert (row["solved"], row["runs"], row["share"]) == (solved, n, solved / n)
        centre = (solved + z * z / 2) / (n + z * z)
        half = z / (n + z * z) * math.sqrt(solved * (n - solved) / n + z * z / 4)
        assert (row["low"], row["high"]) == pytest.approx((centre - half, centre + half), abs=1e-9)


# Error clipping


def test_cosines_are_those_of_gradients_by_hooks():
    """The clipped gradient by a loop of cells, with a hook at each state."""
    task = TemporalOrder(10)
    found = error_clipping_cosines(task, 2.0, [0.01, 1e-3, 1e9], hidden_size=12, seeds=[1, 4])
    expected: dict[float, list[float]] = {limit: [] for limit in found}
    for seed in (1, 4):
        model: Any = SequenceModel(make_elman(12, 2.0, input_size=6, seed=seed), 4, seed=seed)
        x, target = next(batches(task, 32, seed=seed))

        def gradient(limit, model=model, x=x, target=target):
            rnn = model.rnn
            h = torch.zeros(32, 12)
            for x_t in x:
                own = nn.functional.linear(x_t, rnn.weight_ih_l0, rnn.bias_ih_l0)
                h = torch.tanh(own + nn.functional.linear(h, rnn.weight_hh_l0, rnn.bias_hh_l0))
                h.register_hook(lambda error: error.clamp(-limit, limit))
            loss = F.cross_entropy(model.head(h), target)
            grads = torch.autograd.grad(loss, list(model.parameters()))
            return torch.cat([g.flatten().double() for g in grads])

        true = gradient(math.inf)
        for limit, cosines in expected.items():
            clipped = gradient(limit)
            cosines.append((true @ clipped / true.norm() / clipped.norm()).item())
    for limit, cosines in expected.items():
        assert found[limit] == pytest.approx(statistics.mean(cosines), abs=1e-4)
    assert found[1e-3] < found[0.01] < found[1e9] == pytest.approx(1)


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clip_what_study(sead=3), "a setting must be one of .*, but 'sead' was given"),
        (lambda: clip_grid_study(rho=1), "a setting must be one of .*, but 'rho' was given"),
        (lambda: clip_text_study(rhos=[1]), "a setting must be one of .*, but 'rhos' was given"),
        (lambda: solved_runs(made_up(), ["task"]), "by must be one of .*, but 'task' was given"),
        (lambda: make_clipper("norms", 1.0), "method must be one of .*, but 'norms' was given"),
        (lambda: error_clipping_cosines(TASK, 1.0, [0.0], seeds=[0]), "above 0"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""The study of all switches on one series: against plain PyTorch, complete, and well averaged."""

import itertools
import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from teachkit import datasets
from teachkit.device import generator
from teachkit.experiments import (
    ABLATION,
    SWITCHES,
    ablation_baselines,
    ablation_study,
    ablation_task,
    at_validated_rate,
    combination_errors,
    distinct_runs,
    main_effects,
)
from teachkit.experiments.ablation import Combination
from teachkit.gates import gates
from teachkit.results import load_results

ERRORS = ["validation", "test", "last_validation", "last_test"]
LEADS = [f"test_{lead}" for lead in ABLATION["leads"]]
SMALL: dict[str, Any] = {"windows": 21, "steps": 24, "score_every": 8, "progress": False}


# -- what is trained --------------------------------------------------------------------------


def alone(combination, lr, seed, steps, every, windows):
    """One run in plain PyTorch, with arrays of its own from the series: its errors by step."""
    roots = datasets.sunspots().to_numpy() ** 0.5
    train = roots[:1872]
    values = torch.tensor((roots - train.mean()) / train.std(ddof=1), dtype=torch.float32)

    def pairs(origins):
        x = torch.stack([values[o - 132 : o] for o in origins], 1)[..., None]
        return x, torch.stack([values[o : o + 24] for o in origins])

    given = combination.variant(16, lr).model(ablation_task(), seed)
    lstm, head = nn.LSTM(1, 16), nn.Linear(16, 24)
    weights = {k: v for k, v in given.rnn.state_dict().items() if k not in ("h0", "c0")}
    lstm.load_state_dict(weights)
    head.load_state_dict(given.head.state_dict())
    starts = [nn.Parameter(torch.zeros(1, 1, 16)) for _ in range(2)]
    parameters = [*lstm.parameters(), *head.parameters(), *starts]
    optimizer = torch.optim.Adam(parameters, lr=lr)

    def outputs(x):
        states = tuple(start.expand(1, x.shape[1], 16).contiguous() for start in starts)
        return head(lstm(x, states)[0][-1])

    def errors():
        found = []
        for first in (1872, 2496):
            x, target = pairs(first + np.arange(windows) * 601 // windows)
            with torch.no_grad():
                found.append((outputs(x) - target).double().square().mean(0).numpy())
        return np.array(found)

    draw = generator(seed, "batches")
    course, norms = {0: errors()}, []
    for step in range(1, steps + 1):
        x, target = pairs(132 + torch.randint(1717, (32,), generator=draw))
        optimizer.zero_grad()
        nn.functional.mse_loss(outputs(x), target).backward()
        limit = 1.0 if combination.clipping == "norm 1" else math.inf
        norms.append(nn.utils.clip_grad_norm_(parameters, limit).item())
        optimizer.step()
        if step % every == 0:
            course[step] = errors()
    best = min(course, key=lambda step: course[step][0].mean())
    row = dict(zip(ERRORS, np.sqrt([*course[best].mean(1), *course[steps].mean(1)]), strict=True))
    row |= {f"test_{lead}": course[best][1, lead - 1] ** 0.5 for lead in ABLATION["leads"]}
    clipped = np.mean([norm > limit for norm in norms])
    return row | {"step": best, "grad_norm_max": max(norms), "clipped": clipped}


@pytest.mark.parametrize(
    "switches", [("torch", "3", "learned", "norm 1"), ("keras", "1", "learned", "none")]
)
def test_a_run_is_that_of_plain_pytorch(switches):
    chosen: dict[str, Any] = {name: [value] for name, value in zip(SWITCHES, switches, strict=True)}
    table = ablation_study(**chosen, lrs=[0.01], seeds=2, **SMALL)
    row = table[table["seed"] == 1].iloc[0]
    expected = alone(Combination(*switches), 0.01, 1, 24, 8, 21)
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=2e-3), name
    assert row["diverged"] == 0
    assert tuple(row[list(SWITCHES)]) == switches


def test_each_switch_does_what_it_says():
    def network(*switches):
        return Combination(*switches).variant(16, 0.01).model(ablation_task(), 0).rnn

    def forget(rnn):
        found = gates(rnn)
        return found["bias_ih_l0"]["forget"] + found["bias_hh_l0"]["forget"]

    base = network("torch", "preset", "zero", "none")
    assert forget(network("torch", "3", "zero", "none")).tolist() == pytest.approx([3.0] * 16)
    assert forget(network("keras", "preset", "zero", "none")).tolist() == [1.0] * 16
    assert abs(forget(base).mean().item()) < 0.5
    assert torch.equal(network("torch", "1", "noisy", "none").weight_hh_l0, base.weight_hh_l0)
    assert {name for name, _ in network("torch", "1", "learned", "none").named_parameters()} > {
        "h0",
        "c0",
    }
    clipper = Combination("torch", "1", "zero", "norm 1").variant(16, 0.01).clipper
    assert clipper is not None
    assert (clipper.method, clipper.threshold) == ("norm", 1.0)
    assert Combination("torch", "1", "zero", "none").variant(16, 0.01).clipper is None


def test_keras_has_a_forget_bias_of_one_and_is_trained_once():
    one, other = (Combination("keras", bias, "noisy", "none") for bias in ("preset", "1"))
    assert one.trained_as == other.trained_as == other
    assert Combination("torch", "preset", "zero", "none").trained_as[1] == "preset"
    models = [c.variant(16, 0.01).model(ablation_task(), 4) for c in (one, other)]
    x, _ = ablation_task().held_out(3)
    outputs = [model.eval()(x) for model in models]
    assert torch.equal(*outputs)


def test_runs_share_weights_and_batches_by_seed_alone():
    chosen: dict[str, Any] = {"preset": ["torch"], "forget_bias": ["preset"]}
    chosen["initial_state"] = ["zero"]
    small = {**SMALL, "lrs": [0.01, 0.03], "windows": 5, "steps": 2, "score_every": 1}
    both = ablation_study(**chosen, seeds=3, **small)
    alone_ = ablation_study(**chosen, clipping=["none"], seeds=3, **small)
    same = both[both["clipping"] == "none"].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, alone_, rtol=1e-4)
    # nothing is clipped in two steps: pairs are equal
    norm = both[both["clipping"] == "norm 1"].reset_index(drop=True)
    assert (norm["clipped"] == 0).all()
    np.testing.assert_allclose(norm["last_test"], same["last_test"], rtol=1e-5)
    assert same.groupby("lr")["last_test"].nunique().eq(3).all()


# -- what is saved ----------------------------------------------------------------------------


def test_the_saved_study_is_complete():
    table = load_results("ablation")
    keys = [*SWITCHES, "lr", "seed"]
    wanted = itertools.product(
        *(ABLATION[name] for name in SWITCHES), ABLATION["lrs"], range(ABLATION["seeds"])
    )
    assert set(table[keys].itertuples(index=False, name=None)) == set(wanted)
    assert not table.duplicated(keys).any()
    assert table[[*ERRORS[:2], *LEADS]].notna().all(axis=None)
    assert (table["step"] % ABLATION["score_every"] == 0).all()
    done = table[table["diverged"] == 0]
    assert (done["validation"] <= done["last_validation"]).all()


def test_the_study_again():
    saved = load_results("ablation")
    s = saved.attrs
    chosen: dict[str, Any] = {"preset": ["torch"], "forget_bias": ["3"]}
    chosen["initial_state"] = ["noisy"]
    again = ablation_study(
        **chosen, clipping=["none"], lrs=[0.003], seeds=1, steps=s["steps"], progress=False
    )
    keys = [*SWITCHES, "lr", "seed"]
    both = again.merge(saved, on=keys, suffixes=("", "_saved"))
    assert len(both) == 1
    # rounding differs between machines, and as many steps amplify it
    for name in ("validation", "test"):
        np.testing.assert_allclose(both[name], both[f"{name}_saved"], rtol=0.15)


# -- baselines and averages -------------------------------------------------------------------


def test_baselines_are_measured_on_the_windows_of_the_study():
    table = ablation_baselines({**ABLATION, "windows": 7}).set_index("baseline")
    values, origins = ablation_task().scaled, 2496 + np.arange(7) * 601 // 7
    errors = np.array([values[o - 1] - values[o : o + 24] for o in origins])
    assert table.loc["persistence", "test"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    for lead in ABLATION["leads"]:
        expected = np.sqrt(np.mean(errors[:, lead - 1] ** 2))
        assert table.loc["persistence", f"test_{lead}"] == pytest.approx(expected)
    first = np.array([values[o - 132 : o - 108] - values[o : o + 24] for o in origins - 624])
    expected = np.sqrt(np.mean(first**2))
    assert table.loc["seasonal naive", "validation"] == pytest.approx(expected)


def runs(seed=0, lrs=(0.1, 0.2)):
    """A made-up table, in which the second rate is better on validation and worse on test."""
    rng = np.random.default_rng(seed)
    keys = itertools.product(*(ABLATION[name] for name in SWITCHES), lrs, range(5))
    table = pd.DataFrame(list(keys), columns=[*SWITCHES, "lr", "seed"])
    table["validation"] = 1 + rng.random(len(table)) / 10 - (table["lr"] == lrs[-1])
    return table.assign(test=lambda t: 2 + rng.random(len(t)) + (t["lr"] == lrs[-1]))


def test_validation_chooses_the_rate_of_each_combination():
    table = runs()
    one = table["preset"].eq("keras") & table["clipping"].eq("none")
    table.loc[one, "validation"] = 1 - table.loc[one, "validation"]  # here the first is better
    found = at_validated_rate(table)
    assert len(found) == 36 * 5
    best = found["preset"].eq("keras") & found["clipping"].eq("none")
    assert (found.loc[best, "lr"] == 0.1).all()
    assert (found.loc[~best, "lr"] == 0.2).all()


def test_errors_of_combinations_have_the_interval_of_scipy():
    table = runs()
    found = combination_errors(table)
    assert len(found) == 36
    assert found["validation"].is_monotonic_increasing
    for row in (found.iloc[0], found.iloc[-1]):
        chosen = table[table["lr"] == 0.2]
        for name in SWITCHES:
            chosen = chosen[chosen[name] == row[name]]
        values = chosen["test"].to_numpy()
        interval = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
        assert (row["low"], row["high"]) == pytest.approx(interval)
        assert (row["mean"], row["seeds"]) == (pytest.approx(values.mean()), 5)


def test_a_main_effect_is_found_and_paired():
    table = runs()
    table.loc[table["forget_bias"] == "3", "test"] -= 1
    table["test"] += 10 * table["seed"]  # which pairs take out
    found = main_effects(table).set_index(["switch", "setting"])
    assert list(found.index) == [
        ("preset", "keras"), ("forget_bias", "1"), ("forget_bias", "3"),
        ("initial_state", "learned"), ("initial_state", "noisy"), ("clipping", "norm 1"),
    ]  # fmt: skip
    row: Any = found.loc[("forget_bias", "3")]
    assert row["high"] < -0.7
    # of PyTorch's preset alone: "preset" is a copy of "1" in Keras's
    assert (row["baseline"], row["pairs"], row["seeds"]) == ("preset", 30, 5)
    assert found.loc[("preset", "keras"), "pairs"] == 60, "at forget biases 1 and 3"
    chosen: Any = table[table["lr"] == 0.2].set_index([*SWITCHES, "seed"])["test"]
    differences = []
    for seed in range(5):
        each = [
            chosen[("torch", "3", i, c, seed)] - chosen[("torch", "preset", i, c, seed)]
            for i, c in itertools.product(ABLATION["initial_state"], ABLATION["clipping"])
        ]
        differences.append(np.mean(each))
    expected = stats.t.interval(0.95, 4, np.mean(differences), stats.sem(differences))
    assert (row["low"], row["high"]) == pytest.approx(expected)
    assert row["difference"] == pytest.approx(np.mean(differences))
    others = found.drop(("forget_bias", "3"))
    assert (others["low"] < others["high"]).all()


def test_a_run_that_diverged_makes_no_pair():
    table = runs()
    lost = (table["clipping"] == "none") & (table["seed"] == 2)
    table.loc[lost, "test"] = np.nan
    row: Any = main_effects(table).set_index("switch").loc["clipping"]
    assert (row["seeds"], row["pairs"]) == (4, 60)


def test_copies_are_left_out_and_nothing_else():
    table = load_results("ablation")
    found = distinct_runs(table)
    # by brute force: of networks that measured the same in every column, one is left. Keras's
    # "as it has it" is the copy, which all its pairs of rows show
    measured = [name for name in table.columns if name not in SWITCHES]
    keys = [*measured, "initial_state", "clipping", "preset"]
    groups = table.groupby(keys)["forget_bias"].apply(sorted)
    assert {tuple(biases) for biases in groups} == {("1", "preset"), ("1",), ("3",), ("preset",)}
    assert len(found) == len(groups) == 1440
    assert not found.duplicated(keys).any()
    gone = table.merge(found, on=list(table.columns), how="left", indicator=True)
    gone = gone[gone["_merge"] == "left_only"]
    assert set(gone["forget_bias"]) == {"preset"}
    assert set(gone["preset"]) == {"keras"}
    # the rows that stay are as they were, in their order, and nothing is left to drop
    kept = table[~table.duplicated(keys, keep="last")].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, kept)
    pd.testing.assert_frame_equal(distinct_runs(found), found)
    assert distinct_runs(runs()).groupby(list(SWITCHES)).ngroups == 30


def test_a_main_effect_knows_no_copies():
    """Whatever copies measured, no effect changes, and presets are at equal forget biases."""
    table = runs()
    copies = (table["preset"] == "keras") & (table["forget_bias"] == "preset")
    expected = main_effects(table)
    assert expected.set_index("switch").loc["preset", "pairs"] == 2 * 3 * 2 * 5
    table.loc[copies, "test"] += 100
    pd.testing.assert_frame_equal(main_effects(table), expected)


def test_distinct_runs_are_those_that_were_trained():
    found = distinct_runs(runs())
    copies = (found["preset"] == "keras") & (found["forget_bias"] == "preset")
    assert not copies.any()
    assert len(found) == 30 * 2 * 5
    assert found["forget_bias"].eq("preset").sum() == 6 * 2 * 5
    pd.testing.assert_frame_equal(distinct_runs(found), found)


# -- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ablation_study(sead=3), "a setting must be one of "),
        (lambda: ablation_study(preset=["tf"]), "preset must be one of 'torch', 'keras', but"),
        (lambda: ablation_study(forget_bias=[1]), "forget_bias must be one of 'preset', '1', '3'"),
        (lambda: ablation_study(steps=3, score_every=2), "score_every must be a divisor of steps"),
        (lambda: main_effects(runs(), "tests"), "column must be one of "),
        (lambda: combination_errors(runs(), "tests"), "column must be one of "),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()

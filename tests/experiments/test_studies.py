"""Every study: what is saved is complete, and running a part of it again gives the same."""

import itertools
import json
import re
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from teachkit import datasets, experiments, results
from teachkit.device import generator
from teachkit.experiments import (
    HORIZON,
    PRESETS,
    PRETRAINING,
    RATES,
    RECALL,
    STARTS,
    STUDIES,
    Study,
    at_best_rate,
    horizon_study,
    preset_gradients,
    pretraining_gain,
    pretraining_study,
    rates_study,
    recall_study,
    recalled,
    run_studies,
    studies,
)
from teachkit.experiments.weights import DEFAULT, starts_with
from teachkit.models import random_input
from teachkit.results import load_results
from teachkit.spectra import spectral_radius
from teachkit.tasks import Names, RecallFirst, Words, batches, make_task
from teachkit.variants import Variant


def runs_of(table, *columns):
    return set(table[list(columns)].itertuples(index=False, name=None))


@pytest.mark.parametrize("name", STUDIES)
def test_a_saved_study_tells_its_settings(name):
    table = load_results(name)
    settings = json.loads(json.dumps(STUDIES[name].settings))
    assert table.attrs.items() >= settings.items()
    assert table.attrs["seconds"] >= 0


def test_the_saved_studies_are_complete():
    recall = load_results("recall")
    steps = range(0, RECALL["steps"] + 1, RECALL["score_every"])
    seeds = range(16)
    wanted = set(itertools.product(RECALL["lrs"], PRESETS, seeds, steps))
    assert runs_of(recall, "lr", "variant", "seed", "step") == wanted
    assert set(recall["metric"]) == {"score"}
    rates = load_results("rates")
    cases = [(task, activation) for task, _, activation, _ in RATES["cases"]]
    wanted = set(itertools.product(cases, RATES["schemes"], RATES["lrs"], seeds))
    found = runs_of(rates, "task", "activation", "scheme", "lr", "seed")
    assert {((task, activation), *rest) for task, activation, *rest in found} == wanted
    horizon = load_results("horizon").astype({"forget_bias": str})
    biases = [*map(str, HORIZON["biases"]), "chrono(T)", "chrono(200)"]
    wanted = set(itertools.product(HORIZON["seq_lens"], biases, seeds))
    assert runs_of(horizon, "seq_len", "forget_bias", "seed") == wanted
    pretraining = load_results("pretraining")
    wanted = set(itertools.product(STARTS, PRETRAINING["sizes"], seeds))
    assert runs_of(pretraining, "start", "size", "seed") == wanted
    assert pretraining.notna().all(axis=None)


def test_recall_again():
    again = recall_study(seeds=2, steps=50, lrs=[0.001])
    keys = ["lr", "variant", "seed", "step", "metric"]
    both = again.merge(load_results("recall"), on=keys, suffixes=("", "_saved"))
    assert len(both) == len(PRESETS) * 2 * 3
    # Rounding differs between plans and machines, and 50 steps amplify it a little.
    both = both[both["step"] <= 25]
    np.testing.assert_allclose(both["value"], both["value_saved"], atol=0.02)


def test_recalled_counts_the_seeds_that_end_well():
    rows = [
        (lr, variant, seed, step, value)
        for lr, variant, ends in [
            (0.1, "b", [0.99, 1.0]), (0.1, "a", [0.5, 0.98]),
            (0.2, "b", [0.99, 0.2]), (0.2, "a", [0.5, 0.5]),
        ]
        for seed, end in enumerate(ends)
        for step, value in [(0, 1.0), (5, end)]
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["lr", "variant", "seed", "step", "value"])
    counts = recalled(table)
    assert counts.to_numpy().tolist() == [[2, 1], [0, 0]]
    assert counts.index.tolist() == ["b", "a"]
    assert counts.columns.astype(float).tolist() == [0.1, 0.2]


def test_rates_again():
    case = RATES["cases"][0]
    again = rates_study(cases=[case], schemes={"orthogonal": "orthogonal"}, lrs=[0.0003], seeds=2)
    keys = ["task", "activation", "scheme", "lr", "seed"]
    both = again.merge(load_results("rates"), on=keys, suffixes=("", "_saved"))
    assert len(both) == 2
    # At this small rate 600 steps amplify rounding little.
    np.testing.assert_allclose(both["test_loss"], both["test_loss_saved"], rtol=0.01)
    np.testing.assert_allclose(both["score"], both["score_saved"], atol=0.01)
    assert (both["diverged"] == 0).all()


def test_schemes_differ_in_nothing_but_their_recurrent_matrix():
    task = make_task("digit pixels")
    models: dict[str, Any] = {
        name: Variant(cell="rnn", initializer=starts_with(name, scheme)).model(task, 3).rnn
        for name, scheme in RATES["schemes"].items()
    }
    default = models.pop(DEFAULT)
    shared = models["orthogonal"].weight_ih_l0
    for rnn in models.values():
        assert torch.equal(rnn.weight_ih_l0, shared)
        assert not rnn.bias_ih_l0.any()
        assert not rnn.bias_hh_l0.any()
    assert not torch.equal(default.weight_ih_l0, shared)
    assert default.bias_ih_l0.any()
    radii = {name: spectral_radius(rnn.weight_hh_l0).item() for name, rnn in models.items()}
    assert radii["orthogonal"] == pytest.approx(radii["identity"], abs=1e-5)
    assert radii["sparse"] == pytest.approx(0.95, abs=1e-5)
    assert len({round(radius, 3) for radius in radii.values()}) == len(radii) - 1


def test_horizon_again():
    again = horizon_study(seq_lens=[10], biases=[2], seeds=2)
    saved = load_results("horizon").astype({"forget_bias": str})
    both = again.merge(saved, on=["seq_len", "forget_bias", "seed"], suffixes=("", "_saved"))
    assert set(both["forget_bias"]) == {"2", "chrono(T)", "chrono(200)"}
    assert (both[["test_loss", "test_loss_saved"]] < 0.05).all(axis=None)


def test_gradients_of_presets_are_those_of_autograd():
    table = preset_gradients(seeds=2, hidden_size=8, seq_len=6, first_seed=3)
    assert runs_of(table, "variant", "seed") == set(itertools.product(PRESETS, [3, 4]))
    row = table[(table["variant"] == "Keras") & (table["seed"] == 4)]
    lstm = nn.LSTM(1, 8, dtype=torch.float64)
    given = Variant(hidden_size=8, initializer="keras").model(RecallFirst(), 4).rnn
    lstm.load_state_dict(given.double().state_dict())
    start = torch.zeros(1, 1, 8, dtype=torch.float64, requires_grad=True)
    out, (h, c) = lstm(random_input(6, 1, 4), (torch.zeros_like(start), start))
    out[-1].sum().backward()
    assert start.grad is not None
    at_the_end = h / c.tanh() * (1 - c.tanh() ** 2)  # h = o tanh(c), so dh/dc = o (1 - tanh(c)^2)
    expected = (start.grad.norm() / at_the_end.norm()).item()
    assert row["growth"].item() == pytest.approx(expected, rel=1e-9)


def pretrained_alone(seed, size, lr, pretraining_steps, steps):
    """One pre-trained run of the study in plain PyTorch: test and validation loss by step."""
    model = Variant(hidden_size=16).model(Words(), seed)

    def train(loader, rate, count):
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        for x, target in itertools.islice(loader, count):
            optimizer.zero_grad()
            flat = model(x).reshape(-1, 27), target.reshape(-1)
            nn.functional.cross_entropy(*flat, ignore_index=-100).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    def loss(x, target):
        with torch.no_grad():
            flat = model(x).reshape(-1, 27), target.reshape(-1)
            return nn.functional.cross_entropy(*flat, ignore_index=-100).item()

    train(batches(Words(), 32, seed=seed), PRETRAINING["pretraining_lr"], pretraining_steps)
    x, target = Names().training_part()
    chosen = torch.randperm(x.shape[1], generator=generator(seed, "names"))[:size]
    kept, used = chosen[: size // 5], chosen[size // 5 :]
    draw = generator(seed, "batches")

    def loader():
        while True:
            indices = used[torch.randint(len(used), (32,), generator=draw)]
            yield x[:, indices], target[:, indices]

    before = loss(x[:, kept], target[:, kept]), loss(*Names().held_out(10**6))
    train(loader(), lr, steps)
    return before, (loss(x[:, kept], target[:, kept]), loss(*Names().held_out(10**6)))


def test_pretraining_is_that_of_plain_pytorch():
    settings = {"pretraining_steps": 12, "steps": 10, "score_every": 10, "hidden_size": 16}
    table = pretraining_study(seeds=2, sizes=[40], lrs=[3e-3], **settings)
    row = table[(table["start"] == "pre-trained") & (table["seed"] == 1)].iloc[0]
    before, after = pretrained_alone(1, 40, 3e-3, 12, 10)
    best = min((before, 0), (after, 10))
    assert (row["validation"], row["test"]) == pytest.approx(best[0], rel=1e-4)
    assert row["step"] == best[1]
    assert row["last_test"] == pytest.approx(after[1], rel=1e-4)
    scratch = table[(table["start"] == "from scratch") & (table["seed"] == 1)].iloc[0]
    assert scratch["test"] > row["test"]


def test_validation_chooses_the_rate_and_the_step():
    rows = [
        ("a", 0.1, 0, 0, 3.0, 9.0), ("a", 0.1, 0, 5, 2.0, 8.0), ("a", 0.1, 0, 10, 2.5, 7.0),
        ("a", 0.2, 0, 0, 3.0, 9.0), ("a", 0.2, 0, 5, 2.9, 6.0), ("a", 0.2, 0, 10, 2.1, 1.0),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["start", "lr", "seed", "step", "validation", "test"])
    (found,) = experiments.pretraining._chosen_by_validation(table.assign(size=4)).to_dict(
        "records"
    )
    assert (found["lr"], found["step"], found["test"], found["last_test"]) == (0.1, 5, 8.0, 7.0)


def test_running_saves_each_chosen_study_with_its_settings(tmp_path, monkeypatch):
    copy = shutil.copytree(datasets.data_folder(), tmp_path / "data")
    for module in (datasets, results):
        monkeypatch.setattr(module, "data_folder", lambda: copy)
    before = (copy / "results" / "lyapunov.csv").read_bytes()
    short = pd.DataFrame({"seed": [0, 1], "value": [0.5, 0.25]})
    entry = {"recall": Study(lambda: short, {"steps": 3})}
    monkeypatch.setattr(studies, "STUDIES", {**STUDIES, **entry})
    run_studies(["recall"])
    table = load_results("recall")
    pd.testing.assert_frame_equal(table, short)
    assert table.attrs["steps"] == 3
    assert (copy / "results" / "lyapunov.csv").read_bytes() == before


def test_an_unknown_study_is_refused_before_anything_runs(monkeypatch):
    ran = []

    def run():
        ran.append(1)
        return pd.DataFrame({"seed": [0]})

    entry = {"recall": Study(run, {})}
    monkeypatch.setattr(studies, "STUDIES", {**STUDIES, **entry})
    with pytest.raises(ValueError, match=r"name must be one of .*, but 'recal' was given"):
        run_studies(["recall", "recal"])
    assert not ran


def test_the_best_rate_is_chosen_and_compared_seed_by_seed():
    rng = np.random.default_rng(0)
    rows = [
        {"task": "t", "activation": "a", "scheme": scheme, "lr": lr, "seed": seed}
        for scheme, lr, seed in itertools.product([DEFAULT, "other"], [0.1, 0.2], range(6))
    ]
    table = pd.DataFrame(rows).assign(score=lambda t: rng.random(len(t)) + (t["lr"] == 0.2))
    one, other = at_best_rate(table).to_dict("records")
    assert (one["scheme"], one["lr"], one["difference"]) == (DEFAULT, 0.2, 0.0)
    runs = {
        s: table.query("scheme == @s and lr == 0.2")["score"].to_numpy() for s in (DEFAULT, "other")
    }
    difference = runs["other"] - runs[DEFAULT]
    interval = stats.t.interval(0.95, 5, difference.mean(), stats.sem(difference))
    assert (other["low"], other["high"]) == pytest.approx(interval)
    assert other["score"] == pytest.approx(runs["other"].mean())
    with pytest.raises(ValueError, match=r"baseline must be one of .*'other', but 'x'"):
        at_best_rate(table, "x")


def test_the_gain_of_pretraining_is_paired():
    values = [(50, s, start, t) for s, *pair in [(0, 3.0, 2.0), (1, 2.5, 2.25), (2, 4.0, 2.5)]
              for start, t in zip(STARTS, pair, strict=True)]  # fmt: skip
    table = pd.DataFrame(values, columns=["size", "seed", "start", "test"])
    (row,) = pretraining_gain(table.sample(frac=1, random_state=0)).to_dict("records")
    interval = stats.t.interval(0.95, 2, np.mean([1.0, 0.25, 1.5]), stats.sem([1.0, 0.25, 1.5]))
    assert (row["low"], row["high"]) == pytest.approx(interval)
    assert (row["size"], row["from_scratch"], row["pre_trained"]) == (50, 9.5 / 3, 2.25)


@pytest.mark.parametrize("study", [recall_study, rates_study, horizon_study, pretraining_study])
def test_a_setting_that_no_study_has_is_refused(study):
    with pytest.raises(ValueError, match=r"^a setting must be one of .*, but 'sead' was given"):
        study(sead=3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"sizes": [9000]},
            "sizes must be a whole number of at least 5 and at most 4131, but 9000 was given",
        ),
        (
            {"sizes": [4]},
            "sizes must be a whole number of at least 5 and at most 4131, but 4 was given",
        ),
        ({"steps": 3, "score_every": 2}, "score_every must be a divisor of steps = 3, but 2 was"),
    ],
)
def test_a_pretraining_that_cannot_be_is_refused(changes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        pretraining_study(**changes)


def test_a_rate_that_diverged_is_never_the_best():
    rows = [(DEFAULT, lr, s, 0.6 - lr) for lr in (0.1, 0.3) for s in range(4)]
    rows += [("other", 0.1, s, 0.6) for s in range(4)]
    rows += [("other", 0.3, s, 0.99 if s == 0 else np.nan) for s in range(4)]
    table = pd.DataFrame(rows, columns=["scheme", "lr", "seed", "score"])
    table = table.assign(task="t", activation="a")
    found = at_best_rate(table).set_index("scheme")
    assert found.loc["other", "lr"] == 0.1
    assert found.loc["other", "difference"] == pytest.approx(0.1)
    never = table.assign(score=table["score"].where(table["scheme"] == DEFAULT))
    with pytest.raises(ValueError, match="some rate on 't' never diverges, but 'other' was given"):
        at_best_rate(never)

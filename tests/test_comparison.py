"""`compare` against each replica trained and measured alone, by plain PyTorch."""

import copy
import itertools
import json
import math
import platform
import shutil
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import teachkit as tk
import teachkit.replicas
from teachkit import datasets, results
from teachkit.clipping import Clipper
from teachkit.comparison import Comparison, compare
from teachkit.device import generator
from teachkit.groups import LONGEST_BY_TIME, STREAMS
from teachkit.initial_states import LearnedState
from teachkit.plans import Plan, choose_plan
from teachkit.tasks import Forecast, Names, RecallFirst, batches
from teachkit.variants import Variant

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
SMALL: dict[str, Any] = {
    "seeds": [0, 1, 4],
    "batch_size": 4,
    "test_size": 10,
    "hidden_size": 4,
    "progress": False,
    "workers": 1,
}
TASK = RecallFirst(6)
SERIES = Forecast(5, "co2", every_step=True)
COLUMNS = ["variant", "seed", "step", "metric", "value"]


def small(variants, task=TASK, **options):
    return compare(task, variants, **{**SMALL, "cell": "gru", "steps": 4, **options})


def pick(table, metric, **where):
    rows = table[table["metric"] == metric]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def values(table, metric, **where):
    return pick(table, metric, **where)["value"].to_numpy()


@pytest.fixture(autouse=True)
def plan(monkeypatch):
    """Compute all replicas at once, instead of what is measured to be the fastest."""
    forced = lambda key, count, *_, **__: Plan(count)  # noqa: E731
    monkeypatch.setattr(teachkit.replicas, "choose_plan", forced)


def interrupting(method, at, base=RecallFirst):
    """A task one of whose methods is interrupted at its call number `at`, counted from 0."""
    calls = itertools.count()

    def interrupted(self, *arguments):
        if next(calls) == at:
            raise KeyboardInterrupt
        return getattr(base, method)(self, *arguments)

    return type("Interrupting", (base,), {method: interrupted})(6)


# --- the oracle: each network alone --------------------------------------------------------------


def evaluated(model, x, hx=None):
    """Return the outputs from the model's own initial state or a given one, and the final state."""
    model = copy.deepcopy(model).eval()
    model.rnn.reset_state()
    with torch.no_grad():
        h, final = model.rnn(x, hx)
        return model.head(h if model.every_step else h[-1]), final


def loss_at(task, output, target, t):
    """Return the mean loss of one time step, from 0, where there are targets."""
    if output.shape == target.shape:
        return F.mse_loss(output[t], target[t]).item()
    used = target[t] != -100
    return F.cross_entropy(output[t][used], target[t][used]).item() if used.any() else math.nan


def alone(task, settings, seed, *, steps, every, stream=False):
    """Train one replica by itself; return {(step, metric): value}."""
    variant = Variant(**settings)
    model = variant.model(task, seed)
    clipper, noise = settings.get("clipper"), generator(seed, "noise")
    optimizer = OPTIMIZERS[settings.get("optimizer", "adam")](model.parameters(), lr=variant.lr)
    loader = batches(task, SMALL["batch_size"], seed=seed)
    if stream:
        loader = task.stream(SMALL["batch_size"], generator(seed, "batches"))
    found: dict[tuple[int, str], float] = {}
    x_test, y_test = task.held_out(SMALL["test_size"])
    losses: list[float] = []
    norms: list[float] = []
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            output, _ = evaluated(model, x_test)
            found[step, "test_loss"] = task.loss(output, y_test).item()
            found[step, "score"] = task.score(output, y_test)
            found[step, "diverged"] = 0.0
            for t in range(len(output) if task.every_step else 0):
                found[step, f"test_loss@{t + 1}"] = loss_at(task, output, y_test, t)
            if stream:
                read, hx = [], None
                for x, y in itertools.islice(
                    task.held_out_stream(STREAMS), SMALL["test_size"] // STREAMS
                ):
                    output, hx = evaluated(model, x, hx)
                    read.append(task.loss(output, y).item())
                found[step, "stream_loss"] = sum(read) / len(read)
            if step:
                found[step, "loss"] = sum(losses) / len(losses)
                found[step, "grad_norm"] = max(norms)
                limit = clipper.threshold if clipper else math.inf
                found[step, "clipped"] = sum(norm > limit for norm in norms) / len(norms)
            losses, norms = [], []
        if step < steps:
            x, target = next(loader)
            optimizer.zero_grad()
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(noise.get_state())
                output = model.train()(x)
                noise.set_state(torch.get_rng_state())
            loss = task.loss(output, target)
            loss.backward()
            limit = clipper.threshold if clipper else math.inf
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), limit).item())
            optimizer.step()
            losses.append(loss.item())
    return found


EVERY_STATE: dict[str, dict[str, Any]] = {
    "zero": {},
    "learned": {"initial_state": "learned"},
    "noisy": {"initial_state": "noisy"},
    "adaptive": {"initial_state": "adaptive"},
    "random": {"initial_state": LearnedState(init_std=0.5), "lr": 0.02},
}
CASES: dict[str, tuple[Any, dict[str, dict[str, Any]], dict[str, Any]]] = {
    "lstm, last step": (
        TASK,
        {
            **EVERY_STATE,
            "clipped": {"clipper": Clipper(threshold=0.2), "optimizer": "sgd", "lr": 0.1},
            "forget": {"forget_bias": 2.0, "initializer": "orthogonal"},
        },
        {"cell": "lstm"},
    ),
    "gru, every step": (
        Names(),
        {**EVERY_STATE, "clipped": {"clipper": Clipper(threshold=0.4)}},
        {"cell": "gru", "lr": 0.01},
    ),
    "rnn, a series": (
        SERIES,
        {
            "tanh": {"clipper": Clipper(threshold=0.5), "lr": 0.05},
            "sigmoid": {"nonlinearity": "sigmoid", "initial_state": "learned"},
            "relu": {"nonlinearity": "relu", "initializer": "orthogonal"},
            "linear": {"nonlinearity": "linear", "initializer": {"scheme": "gaussian", "rho": 0.5}},
            "wide": {"hidden_size": 6},
            "lstm": {"cell": "lstm"},
        },
        {"cell": "rnn", "optimizer": "sgd"},
    ),
    "a carried state in a stream": (
        SERIES,
        {
            "carried": {"initial_state": "carried"},
            "zero": {},
            "learned": {"initial_state": "learned", "clipper": Clipper(threshold=0.5)},
        },
        {"cell": "lstm", "stream": True, "lr": 0.02},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_number_is_that_of_a_network_trained_alone(case):
    task, variants, common = CASES[case]
    steps, every = 5, 2
    table = compare(task, variants, steps=steps, score_every=every, **SMALL, **common)
    assert table["step"].unique().tolist() == [0, 2, 4, 5]
    common = {**common, "hidden_size": 4}
    stream = common.pop("stream", False)
    clipped = set()
    for (name, seed), run in table.groupby(["variant", "seed"], sort=False):
        settings = {**common, **variants[str(name)]}
        expected = alone(task, settings, seed, steps=steps, every=every, stream=stream)
        found = {(step, m): v for step, m, v in run[COLUMNS[2:]].to_numpy()}
        assert found.keys() == expected.keys()
        order = list(expected)
        np.testing.assert_allclose(
            [found[key] for key in order], [expected[key] for key in order], rtol=1e-4, atol=1e-5
        )
        clipped |= {found[5, "clipped"], found[4, "clipped"]}
    assert len(clipped) > 1  # some were clipped, some not
    assert ("stream_loss" in set(table["metric"])) == stream
    assert set(table["variant"]) == set(variants)


# --- pairs: the same weights, batches and noise ---------------------------------------------------


def test_variants_of_a_seed_see_the_same_batches_from_the_same_weights():
    variants = {
        "slow": {"lr": 0.001},
        "fast": {"lr": 0.1, "optimizer": "sgd"},
        "learned": {"initial_state": "learned"},  # from zero, so that its first loss is the same
        "clipped": {"clipper": Clipper(threshold=1e-3)},
    }
    table = small(variants, score_every=1)
    for step, metric in [(0, "test_loss"), (1, "loss")]:
        wide = pick(table, metric, step=step).pivot(index="seed", columns="variant", values="value")
        np.testing.assert_allclose(wide.T.to_numpy() - wide["slow"].to_numpy(), 0, atol=1e-6)
        assert wide["slow"].nunique() == 3  # and other seeds see others
    assert pick(table, "loss", step=4).groupby("seed")["value"].nunique().tolist() == [4, 4, 4]


def test_a_seed_gets_the_same_numbers_in_any_company():
    variants = {"zero": {}, "noisy": {"initial_state": "noisy", "clipper": Clipper(threshold=0.1)}}
    alone = small(variants, seeds=[5])
    together = small({"first": {"lr": 0.5}, **variants}, seeds=[3, 5])
    rows = together[(together["seed"] == 5) & (together["variant"] != "first")]
    pd.testing.assert_frame_equal(alone, rows.reset_index(drop=True), rtol=1e-5, atol=1e-5)


def test_two_runs_are_the_same_to_the_last_bit():
    variants = {"noisy": {"initial_state": "noisy"}, "lstm": {"cell": "lstm"}}
    one, two = (small(variants, progress=p) for p in (False, True))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_a_number_of_seeds_counts_from_zero():
    table = small({"zero": {}}, seeds=3, steps=1)
    assert table["seed"].unique().tolist() == table.attrs["seeds"] == [0, 1, 2]
    pd.testing.assert_frame_equal(table, small({"zero": {}}, seeds=range(3), steps=1))
    assert len(small({"zero": {}}, steps=1, seeds=(s for s in (7, 9)))["seed"].unique()) == 2


def test_what_a_variant_says_goes_before_what_all_have_in_common():
    table = small({"own": {"lr": 0.0}, "common": {}}, lr=0.5, steps=3)
    change = {
        name: np.abs(
            values(table, "test_loss", variant=name, step=3)
            - values(table, "test_loss", variant=name, step=0)
        ).min()
        for name in ("own", "common")
    }
    assert change["own"] == 0 < change["common"]


# --- the table ------------------------------------------------------------------------------------


def test_the_table_is_tidy_and_in_order():
    variants: dict[str, dict[str, Any]] = {"z": {}, "b": {"cell": "lstm"}, "a": {"lr": 0.1}}
    table = small(variants, seeds=[4, 1], steps=3, score_every=2)
    assert list(table.columns) == COLUMNS
    assert [table[c].dtype.kind for c in ("seed", "step", "value")] == ["i", "i", "f"]
    assert table["value"].dtype == np.float64
    assert all(isinstance(text, str) for text in (*table["variant"], *table["metric"]))
    assert isinstance(table.index, pd.RangeIndex)
    later = ["loss", "grad_norm", "clipped", "test_loss", "score", "diverged"]
    cells = [(0, m) for m in later[3:]] + [(step, m) for step in (2, 3) for m in later]
    keys = [(v, seed, *cell) for v in variants for seed in (1, 4) for cell in cells]
    assert list(table[COLUMNS[:-1]].itertuples(index=False, name=None)) == keys
    assert table["value"].notna().all()


@pytest.mark.parametrize(
    ("steps", "score_every", "expected"),
    [
        (1, None, [0, 1]),
        (41, None, [*range(0, 41, 2), 41]),
        (4, 2, [0, 2, 4]),
        (3, 5, [0, 3]),
    ],
)
def test_when_it_is_measured(steps, score_every, expected):
    table = small({"zero": {}}, steps=steps, score_every=score_every, seeds=1)
    assert table["step"].unique().tolist() == expected
    assert table.attrs["score_every"] == (score_every or max(1, steps // 20))


def test_losses_by_time_step_are_told_where_they_say_something():
    table = small({"zero": {}}, Names(), steps=1, seeds=1)
    assert {m for m in table["metric"] if "@" in m} == {f"test_loss@{t + 1}" for t in range(12)}
    long = small({"zero": {}}, Forecast(LONGEST_BY_TIME + 1, every_step=True), steps=1, seeds=1)
    assert not long["metric"].str.contains("@").any()
    longest = small({"zero": {}}, Forecast(LONGEST_BY_TIME, every_step=True), steps=1, seeds=1)
    assert tk.loss_by_time(longest)["t"].max() == LONGEST_BY_TIME


def test_the_settings_stand_in_the_table_as_json_holds_them():
    variants: dict[str, dict[str, Any]] = {
        "a": {"clipper": Clipper("value", 0.5), "initial_state": LearnedState(init_std=0.5)},
        "b": {"hidden_size": np.int64(3), "optimizer": torch.optim.AdamW, "lr": np.float32(0.5)},
        "c": {"cell": "lstm", "forget_bias": 1, "initializer": {"scheme": "gaussian", "rho": 0.9}},
    }
    table = small(variants, seeds=np.arange(2), steps=3)
    found = table.attrs
    assert json.loads(json.dumps(found)) == found
    told = {key: found[key] for key in ("task", "seeds", "steps", "score_every", "batch_size")}
    assert told == {
        "task": "RecallFirst(seq_len=6, noise=0.1)",
        "seeds": [0, 1],
        "steps": 3,
        "score_every": 1,
        "batch_size": 4,
    }
    assert (found["test_size"], found["stream"], found["status"]) == (10, False, "finished")
    assert (found["torch"], found["python"]) == (torch.__version__, platform.python_version())
    assert found["device"] == f"cpu ({platform.machine()})"
    assert found["seconds"] >= 0
    assert found["variants"]["a"] == {
        "cell": "gru",
        "hidden_size": 4,
        "nonlinearity": "tanh",
        "initial_state": "LearnedState(init_std=0.5)",
        "initializer": "torch",
        "forget_bias": None,
        "optimizer": "adam",
        "lr": 3e-3,
        "state_lr": None,
        "clipper": "Clipper(method='value', threshold=0.5)",
    }
    b, c = found["variants"]["b"], found["variants"]["c"]
    assert (b["hidden_size"], b["optimizer"], b["lr"]) == (3, "AdamW", 0.5)
    assert (c["forget_bias"], c["initializer"]) == (1.0, "{'scheme': 'gaussian', 'rho': 0.9}")


def test_a_table_is_saved_and_loaded_with_its_settings(tmp_path, monkeypatch):
    folder = shutil.copytree(datasets.data_folder(), tmp_path / "data")
    for module in (datasets, results):
        monkeypatch.setattr(module, "data_folder", lambda: folder)
    table = small({"zero": {}, "wild": {"cell": "rnn", "nonlinearity": "linear", **WILD}})
    table.attrs["device"] = "cuda (x86_64)"  # of the machine that made it
    results.save_results("trial", table, table.attrs)
    loaded = tk.load_results("trial")
    pd.testing.assert_frame_equal(loaded, table, rtol=1e-5)
    assert loaded.attrs == table.attrs
    assert loaded["value"].isna().any()
    again = tk.paired_differences(loaded, "zero")
    pd.testing.assert_frame_equal(again, tk.paired_differences(table, "zero"), rtol=1e-4)


# --- stop, interrupt, progress --------------------------------------------------------------------


def test_stop_before_the_start_leaves_what_was_measured():
    stop = threading.Event()
    stop.set()
    table = small({"zero": {}}, stop=stop)
    assert table["step"].unique().tolist() == [0]
    assert (table.attrs["status"], table.attrs["steps"]) == ("stopped", 0)


def test_stop_from_another_thread_keeps_what_is_done(monkeypatch):
    stop = threading.Event()
    step = Comparison.step

    def counted(self):
        step(self)
        if self.steps == 3:
            other = threading.Thread(target=stop.set)
            other.start()
            other.join()

    monkeypatch.setattr(Comparison, "step", counted)
    table = small({"zero": {}}, steps=1000, score_every=2, stop=stop)
    assert table["step"].unique().tolist() == [0, 2, 3]
    assert (table.attrs["status"], table.attrs["steps"]) == ("stopped", 3)
    monkeypatch.undo()
    whole = small({"zero": {}}, steps=3, score_every=2)
    pd.testing.assert_frame_equal(table, whole, rtol=1e-5, atol=1e-6)


def test_a_stop_that_comes_too_late_stops_nothing(monkeypatch):
    stop = threading.Event()
    step = Comparison.step

    def last(self):
        step(self)
        if self.steps == 4:
            stop.set()

    monkeypatch.setattr(Comparison, "step", last)
    assert small({"zero": {}}, stop=stop).attrs["status"] == "finished"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_interrupt_keeps_what_is_done(seed):
    # one call for the held-out sequences, then one for each of three seeds in each step
    task = interrupting("batch", 1 + 3 * 3 + seed)
    table = small({"zero": {}, "lstm": {"cell": "lstm"}}, task, steps=100, score_every=2)
    assert (table.attrs["status"], table.attrs["steps"]) == ("interrupted", 3)
    whole = small({"zero": {}, "lstm": {"cell": "lstm"}}, steps=3, score_every=2)
    pd.testing.assert_frame_equal(table, whole, rtol=1e-5, atol=1e-6)
    assert small({"zero": {}}).attrs["status"] == "finished"  # the kernel goes on


@pytest.mark.parametrize("at", range(6))
def test_an_interrupt_while_it_is_measured_loses_nothing(at):
    # 6 scores at step 0: the interrupt comes at step 2, in the first architecture or the second
    task = interrupting("score", 6 + at)
    table = small({"zero": {}, "lstm": {"cell": "lstm"}}, task, steps=100, score_every=2)
    assert (table.attrs["status"], table.attrs["steps"]) == ("interrupted", 2)
    whole = small({"zero": {}, "lstm": {"cell": "lstm"}}, steps=2, score_every=2)
    pd.testing.assert_frame_equal(table, whole, rtol=1e-5, atol=1e-6)


def test_progress_is_shown_where_it_is_asked_for(capsys):
    small({"zero": {}}, progress=False)
    assert capsys.readouterr() == ("", "")
    small({"zero": {}}, progress=True)
    shown = capsys.readouterr()
    assert "0/4" in shown.err
    assert "step" in shown.err
    assert shown.out == ""
    compare(TASK, {"zero": {}}, seeds=1, steps=1, workers=1)
    assert "0/1" in capsys.readouterr().err  # as it is by default


# --- divergence -----------------------------------------------------------------------------------

WILD: dict[str, Any] = {"optimizer": "sgd", "lr": 1e6}


def test_what_diverges_is_told_and_leaves_the_others_alone():
    rnn: dict[str, Any] = {"cell": "rnn", "nonlinearity": "linear"}
    tame = {"before": {**rnn}, "after": {**rnn, "lr": 0.01}, "gru": {}}
    series = Forecast(5, "co2", every_step=True)
    options: dict[str, Any] = {"steps": 12, "score_every": 4, "stream": True}
    mixed = {"before": tame["before"], "wild": {**rnn, **WILD}, **tame}
    table = small(mixed, series, **options)
    wild = table[table["variant"] == "wild"]
    assert values(wild, "diverged", step=0).tolist() == [0, 0, 0]
    assert values(wild, "diverged", step=12).tolist() == [1, 1, 1]
    for _, run in wild.groupby("seed"):
        metrics = run.pivot(index="step", columns="metric", values="value")
        gone = metrics.pop("diverged") == 1
        assert metrics[gone].isna().all(axis=None)
        # the training metrics of step 0 do not exist
        assert metrics[~gone].drop(columns=["loss", "grad_norm", "clipped"]).notna().all(axis=None)
        assert gone.is_monotonic_increasing
    others = table[table["variant"] != "wild"].reset_index(drop=True)
    assert (values(others, "diverged") == 0).all()
    assert others["value"].notna().all()
    pd.testing.assert_frame_equal(others, small(tame, series, **options), rtol=1e-5, atol=1e-6)
    pairs = tk.paired_differences(table, "before").set_index("variant")["pairs"]
    assert pairs.to_dict() == {"wild": 0, "after": 3, "gru": 3}


# --- from the task to the verdict, as a reader writes it ------------------------------------------


def test_the_whole_way_from_names_to_intervals(monkeypatch):
    monkeypatch.setattr(teachkit.replicas, "choose_plan", choose_plan)  # measured, as for a reader
    variants = {"zero": {}, "learned": {"initial_state": "learned", "lr": 0.03}}
    table = tk.compare("names", variants, seeds=4, steps=10, lr=0.03, progress=False)
    found = tk.paired_differences(table, "zero")
    assert found["variant"].tolist() == ["learned"]
    assert found["pairs"].tolist() == [4]
    assert (found["low"] <= found["difference"]).all()
    assert (found["difference"] <= found["high"]).all()
    threshold = tk.threshold_between(table, "zero", 0.5)
    steps = tk.steps_to_threshold(table, threshold)
    assert steps["steps"].between(0, 10).all()
    assert (tk.steps_ratio(table, "zero", threshold)["ratio"] > 0).all()
    assert tk.loss_by_time(table)["t"].unique().tolist() == list(range(1, 13))


def test_a_comparison_grows_as_a_lab_draws_it():
    comparison = Comparison(
        TASK, {"zero": {}, "lstm": {"cell": "lstm"}}, seeds=2, hidden_size=4, cell="gru"
    )
    comparison.measure()
    comparison.measure()  # nothing was trained: nothing is added
    assert (len(comparison.table()), comparison.status) == (2 * 2 * 3, "running")
    for _ in range(3):
        comparison.step()
    comparison.measure()
    table = comparison.table()
    assert table["step"].unique().tolist() == [0, 3]
    assert table.attrs["steps"] == comparison.steps == 3
    assert not table.duplicated(COLUMNS[:-1]).any()


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "nmes"}, "task must be one of 'temporal order', .*, but 'nmes' was given"),
        ({"task": 3}, "task must be a task, or the name of one, but 3 was given"),
        ({"variants": {}}, "variants must be a dict of one or more: .*, but {} was given"),
        ({"variants": ["zero"]}, "variants must be a dict of one or more: .* was given"),
        ({"variants": {"a": "learned"}}, r"variants\['a'\] must be a dict of settings, but 'lear"),
        ({"variants": {"a": {"stat": 1}}}, "a setting of 'a' must be one of 'cell', .* 'stat' was"),
        ({"learning_rate": 1}, "a setting of 'zero' must be one of .*, but 'learning_rate' was"),
        ({"seeds": 0}, "seeds must be a whole number of at least 1, but 0 was given"),
        ({"seeds": True}, "seeds must be a whole number of at least 1, but True was given"),
        ({"seeds": None}, "seeds must be a whole number of at least 1, but None was given"),
        ({"seeds": [1, 2, 1]}, r"seeds must be a number of seeds, or diff.*, but \[1, 2, 1\] was"),
        ({"seeds": [1, 1.0]}, "seeds must be a number of seeds, or different whole numbers"),
        ({"seeds": []}, r"seeds must be a number of seeds, or different .*, but \[\] was given"),
        ({"seeds": [-1]}, "seeds must be a whole number of at least 0, but -1 was given"),
        ({"seeds": "12a"}, "seeds must be a whole number of at least 0, but '1' was given"),
        ({"steps": 0}, "steps must be a whole number of at least 1, but 0 was given"),
        ({"steps": 1.5}, "steps must be a whole number of at least 1, but 1.5 was given"),
        ({"score_every": 0}, "score_every must be a whole number of at least 1, but 0 was given"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, but 0 was given"),
        ({"test_size": 0}, "test_size must be a whole number of at least 1, but 0 was given"),
        ({"workers": 0}, "workers must be a whole number of at least 1, but 0 was given"),
        ({"stream": True}, r"task must be a long series where stream=True, but RecallFirst\(seq_l"),
        ({"device": "tpu"}, "device must be one of 'cpu', 'cuda', 'mps', but 'tpu' was given"),
        ({"device": "cuda"}, "device must be available here, but 'cuda' was given; this machine"),
        ({"cell": "gated"}, "cell must be one of 'lstm', 'gru', 'rnn', but 'gated' was given"),
        ({"initial_state": "zeros"}, "initial_state must be one of 'zero', .* but 'zeros' was"),
        ({"initial_state": LearnedState(layers=(1,))}, r"layers must be layer numbers from 0 to 0"),
        ({"initializer": {"scheme": "gaussian", "gain": 1}}, "options must be those of the scheme"),
    ],
)
def test_bad_input_is_named_before_anything_is_trained(options, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Comparison, "step", lambda self: pytest.fail("it was trained"))
    options = {"task": TASK, "variants": {"zero": {}}, **SMALL, **options}
    with pytest.raises(ValueError, match=f"^{message}"):
        compare(options.pop("task"), options.pop("variants"), **options)


def test_a_carried_state_needs_a_stream():
    carried = {"a": {}, "b": {"initial_state": "carried"}}
    with pytest.raises(ValueError, match=r"^stream must be True, for variant 'b' carries its"):
        compare(Forecast(4), carried, seeds=1, steps=1, progress=False)


def test_a_short_series_is_read_in_fewer_streams():
    task = Forecast(150, "co2")  # too long for four windows of it side by side
    table = compare(task, {"a": {}}, seeds=1, steps=1, stream=True, hidden_size=2, progress=False)
    assert table[table["metric"] == "stream_loss"]["value"].between(0, 10).all()


def test_a_stream_is_whole():
    with pytest.raises(ValueError, match=r"^task must be without a train_size where stream=True"):
        compare(Forecast(4, train_size=5), {"a": {}}, stream=True, steps=1, progress=False)


def test_a_class_of_tasks_is_no_task():
    with pytest.raises(ValueError, match=r"^task must be a task, or the name of one"):
        compare(Forecast, {"a": {}}, steps=1, progress=False)  # type: ignore[arg-type]


def test_an_interrupt_within_a_step_leaves_no_row_of_it(monkeypatch):
    both = {"lstm": {}, "gru": {"cell": "gru"}}
    taken = []
    step = teachkit.replicas.Replicas.step

    def interrupted(self, *batch):
        taken.append(self)
        if len(taken) == 6:  # the third step of the second architecture
            raise KeyboardInterrupt
        return step(self, *batch)

    monkeypatch.setattr(teachkit.replicas.Replicas, "step", interrupted)
    table = compare(
        Forecast(4), both, seeds=2, steps=5, score_every=1, hidden_size=2, progress=False
    )
    assert table.attrs["status"] == "interrupted"
    assert table["step"].max() == 2  # the last that all variants took

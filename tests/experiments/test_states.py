"""The studies of chapter 03 against plain PyTorch, and their saved tables against a second run."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

import teachkit as tk
from teachkit.device import generator
from teachkit.experiments import (
    FIRST_STEPS,
    INFERRED,
    PERTURBED,
    STATE_RATES,
    STATE_TUNING,
    STATES,
    STREAMS,
    TRAINED_STATES,
    first_steps_study,
    gains,
    harm,
    inferred_study,
    melted,
    perturbed_study,
    runs_at_best_rate,
    speed,
    state_rates_study,
    state_tuning_study,
    states_study,
    streams_study,
    trained_network,
    trained_states_study,
    window_task,
)
from teachkit.experiments.first_steps import training_options, variant_name, variants_of
from teachkit.experiments.inferred import Forecaster
from teachkit.experiments.runs import as_runs, gains_by_time, together
from teachkit.experiments.states import LEFT_OVER
from teachkit.initial_states import AdaptiveState, LearnedState, NoisyState, ZeroState
from teachkit.results import load_results
from teachkit.tasks import Characters, Digits, Forecast, Names, Words, batches
from teachkit.variants import Variant

SEEDS = range(16)


def cross_entropy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(output.flatten(0, -2), target.flatten(), ignore_index=-100)


def keys(table: pd.DataFrame, *columns: str) -> set[Any]:
    return set(table[list(columns)].itertuples(index=False, name=None))


def same_again(again: pd.DataFrame, name: str, by: list[str], columns: list[str], atol: float):
    """A part of a study that runs again gives the numbers of its saved table."""
    saved = load_results(name)
    both = again.merge(saved, on=by, suffixes=("", "_saved"), how="left")
    for column in columns:
        assert both[f"{column}_saved"].notna().all()
        np.testing.assert_allclose(both[column], both[f"{column}_saved"], atol=atol)


# Tables


def small_comparison() -> pd.DataFrame:
    task = Forecast(4, every_step=True)
    variants: dict[str, Any] = {"zero": {}, "learned": {"initial_state": "learned"}}
    return tk.compare(
        task, variants, seeds=2, steps=4, score_every=2, hidden_size=3, test_size=20, progress=False
    )


def test_a_row_a_run_holds_what_was_measured():
    table = small_comparison()
    runs = as_runs(table, task="sunspots", lr=0.1)
    assert list(runs.columns) == [
        "task", "lr", "variant", "seed", "at_0", "at_2", "at_4", "t_1", "t_2", "t_3", "t_4",
    ]  # fmt: skip
    assert runs["variant"].tolist() == ["zero", "zero", "learned", "learned"]
    for _, row in runs.iterrows():
        own = table.query(f"variant == '{row['variant']}' and seed == {row['seed']}")
        for step in (0, 2, 4):
            found = own.query(f"metric == 'test_loss' and step == {step}")["value"].item()
            assert row[f"at_{step}"] == found
        for t in (1, 4):
            found = own.query(f"metric == 'test_loss@{t}' and step == 4")["value"].item()
            assert row[f"t_{t}"] == found


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda runs: gains(runs, "at_9", ["task"]), "column must be one of .* but 'at_9' was"),
        (lambda runs: gains(runs, "at_0", ["tusk"]), "column must be one of .* but 'tusk' was"),
        (
            lambda runs: gains(runs, "at_0", ["task"], baseline="none"),
            "baseline must be one of .* but 'none' was given",
        ),
        (
            lambda runs: gains(pd.concat([runs, runs]), "at_0", ["task"]),
            "by must be columns that leave one row for each variant and seed",
        ),
        (lambda runs: speed(pd.concat([runs, runs]), ["task"]), "by must be columns that leave"),
        (
            lambda runs: gains_by_time(runs.filter(regex="^[^t]|task"), ["task"]),
            "column must be one of .* but 't_1' was given",
        ),
        (lambda runs: runs_at_best_rate(runs, {}), "a task of columns must be one of"),
        (
            lambda runs: runs_at_best_rate(runs, {"sunspots": "at_4"}, variant="none"),
            "variant must be one of .* but 'none' was given",
        ),
        (lambda runs: states_study(variants=["noisy 7"]), "variants must be one of"),
        (lambda runs: Forecaster("infered", 5, 6, 0), "start must be one of .* but 'infered'"),
        (
            lambda runs: harm(pd.DataFrame({"perturbation": ["left over"]})),
            "table must be one with a perturbation of 0",
        ),
    ],
)
def test_bad_requests_are_named(call, message):
    runs = as_runs(small_comparison(), task="sunspots", lr=0.1)
    with pytest.raises(ValueError, match=message):
        call(runs)


def test_shorter_sequences_leave_gaps_that_melting_skips():
    short = pd.DataFrame({"task": "a", "seed": [0], "at_0": 1.0, "t_1": 5.0, "t_2": 6.0})
    long = pd.DataFrame({"task": "b", "seed": [0], "at_0": 2.0, "at_10": 3.0, "t_1": 7.0})
    runs = together([short, long])
    assert list(runs.columns) == ["task", "seed", "at_0", "at_10", "t_1", "t_2"]
    found = melted(runs, "at_", "step")
    assert found.to_numpy().tolist() == [["a", 0, 0, 1.0], ["b", 0, 0, 2.0], ["b", 0, 10, 3.0]]
    by_time = melted(runs.assign(loss=9.0), "t_", "t")
    assert by_time["loss"].tolist() == [5.0, 7.0, 6.0]
    assert list(by_time.columns) == ["task", "seed", "t", "loss"]


def test_gains_are_paired_by_seed():
    values = {"learned": [1.0, 2.5, 2.0, np.nan], "zero": [2.0, 3.0, 2.5, 1.0]}
    rows = [
        ("a", variant, seed, value)
        for variant in values
        for seed, value in enumerate(values[variant])
    ]
    table = pd.DataFrame(rows, columns=["task", "variant", "seed", "loss"])
    (row,) = gains(table.sample(frac=1, random_state=1), "loss", ["task"]).to_dict("records")
    low, high = stats.t.interval(0.95, 2, np.mean([-1, -0.5, -0.5]), stats.sem([-1, -0.5, -0.5]))
    assert (row["task"], row["variant"], row["pairs"]) == ("a", "learned", 3)
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((-2 / 3, low, high))
    assert row["mean"] == pytest.approx(5.5 / 3)


def test_gains_by_time_leave_out_steps_that_are_not_there():
    columns = {"task": ["a"] * 4 + ["b"] * 4, "variant": ["zero", "zero", "x", "x"] * 2}
    table = pd.DataFrame({**columns, "seed": [0, 1] * 4})
    table["t_1"] = [1.0, 2.0, 2.0, 4.0, 5.0, 5.0, 6.0, 8.0]
    table["t_2"] = [1.0, 1.0, 0.5, 0.5, np.nan, np.nan, np.nan, np.nan]
    found = gains_by_time(table, ["task"])
    assert found[["task", "t", "difference"]].to_numpy().tolist() == [
        ["a", 1, 1.5], ["b", 1, 2.0], ["a", 2, -0.5],
    ]  # fmt: skip


def rates_table() -> pd.DataFrame:
    ends = {("zero", 0.1): [3.0, 3.0], ("zero", 0.2): [2.0, 2.5], ("zero", 0.3): [0.0, np.nan]}
    ends |= {("x", lr): [1.0, 1.0] for lr in (0.1, 0.2, 0.3)}
    rows = [
        ("a", lr, variant, seed, 10.0, 6.0 if variant == "zero" else 4.0, end)
        for (variant, lr), values in ends.items()
        for seed, end in enumerate(values)
    ]
    columns = ["task", "lr", "variant", "seed", "at_0", "at_5", "at_10"]
    return pd.DataFrame(rows, columns=columns)


def test_the_rate_is_the_best_one_of_zero_and_never_one_that_diverged():
    found = runs_at_best_rate(rates_table(), {"a": "at_10"})
    assert found["lr"].unique().tolist() == [0.2]
    assert found["variant"].tolist() == ["zero", "zero", "x", "x"]
    assert runs_at_best_rate(rates_table(), {"a": "at_10"}, variant="x")["lr"].unique() == [0.1]


def test_speed_compares_updates_to_the_same_loss():
    (row,) = speed(rates_table().query("lr == 0.1"), ["task"], share=0.5).to_dict("records")
    # zero falls from 10 by 6 to 4 and then by 3 to 3: half of its gain of 7 is at 6.5
    assert row["baseline_mean"] == pytest.approx(5 * 3.5 / 4)
    assert row["mean"] == pytest.approx(5 * 3.5 / 6)
    assert (row["task"], row["variant"], row["pairs"]) == ("a", "x", 2)
    assert row["ratio"] == pytest.approx(4 / 6)


def test_harm_is_what_a_wrong_start_adds():
    table = pd.DataFrame({"task": "a", "variant": "zero", "seed": [0, 0, 1, 1]})
    table = table.assign(perturbation=["0.0", "left over"] * 2, loss=[1.0, 1.5, 2.0, 2.25])
    found = harm(table.sample(frac=1, random_state=3)).sort_values("seed")
    assert found["harm"].tolist() == [0.5, 0.25]
    assert found["perturbation"].tolist() == ["left over"] * 2


# What is trained


def test_window_tasks():
    assert window_task("sunspots", 7, 16) == Forecast(7, every_step=True, train_size=16)
    assert window_task("characters", 5) == Characters(5)
    assert window_task("names", 12, 16) == Names(16)
    assert window_task("digit rows") == Digits("rows")
    with pytest.raises(ValueError, match=r"^task must be one of .* but 'tides' was given"):
        window_task("tides")


def test_every_strategy_has_its_name():
    found = {name: settings["initial_state"] for name, settings in variants_of([0.1, 1.0]).items()}
    assert found == {
        "zero": ZeroState(),
        "learned": LearnedState(),
        "noisy 0.1": NoisyState(std=0.1),
        "learned+noisy 0.1": LearnedState(noise_std=0.1),
        "adaptive 0.1": AdaptiveState(scale=0.1),
        "noisy 1": NoisyState(std=1.0),
        "learned+noisy 1": LearnedState(noise_std=1.0),
        "adaptive 1": AdaptiveState(scale=1.0),
    }
    assert (variant_name("noisy", 0.3), variant_name("learned", 0.3)) == ("noisy 0.3", "learned")


def test_the_saved_tables_are_complete():
    found = load_results("first_steps")
    s = FIRST_STEPS
    variants = list(variants_of(s["stds"]))
    configurations = [
        (task, count, T, H)
        for task, count, H in itertools.product(s["tasks"], s["sequences"], s["hidden_sizes"])
        for T in ([12] if task == "names" else s["seq_lens"])
    ]
    wanted: set[Any] = {(*c, v, n) for c in configurations for v in variants for n in SEEDS}
    columns = ("task", "sequences", "seq_len", "hidden_size", "variant", "seed")
    assert keys(found, *columns) == wanted
    assert len(found) == len(wanted)
    assert found.filter(like="at_").notna().all(axis=None)
    found = load_results("states")
    wanted = {
        (task, lr, v, n)
        for (task, *_), lr, v, n in itertools.product(
            STATES["cases"], STATES["lrs"], STATES["variants"], SEEDS
        )
    }
    assert keys(found, "task", "lr", "variant", "seed") == wanted
    counts = found.filter(like="at_").notna().sum(axis=1).groupby(found["task"]).unique()
    assert {task: list(n) for task, n in counts.items()} == {
        task: [1 + steps // every] for task, _, _, steps, every in STATES["cases"]
    }
    streams = load_results("streams")
    starts = ["zero", "noisy 0.3", "noisy 1", "learned", "carried"]
    wanted = set(itertools.product(STREAMS["seq_lens"], STREAMS["lrs"], starts, SEEDS))
    assert keys(streams, "seq_len", "lr", "variant", "seed") == wanted
    perturbed = load_results("perturbed").astype({"perturbation": str})
    tasks = [task for task, *_ in PERTURBED["cases"]]
    changes = [*map(str, PERTURBED["stds"]), LEFT_OVER]
    wanted = set(itertools.product(tasks, PERTURBED["variants"], SEEDS, changes))
    assert keys(perturbed, "task", "variant", "seed", "perturbation") == wanted
    rates = load_results("state_rates")
    tasks = [task for task, *_ in STATE_RATES["cases"]]
    variants = ["zero", *(f"{rate:g}" for rate in STATE_RATES["state_lrs"])]
    assert keys(rates, "task", "variant", "seed") == set(itertools.product(tasks, variants, SEEDS))
    tuning = load_results("state_tuning")
    wanted = set(itertools.product(STATE_TUNING["sizes"], STATE_TUNING["state_lrs"], SEEDS))
    assert keys(tuning, "size", "state_lr", "seed") == wanted
    inferred = load_results("inferred")
    wanted = set(itertools.product(INFERRED["series"], INFERRED["lrs"], INFERRED["starts"], SEEDS))
    assert keys(inferred, "task", "lr", "variant", "seed") == wanted
    for table in (streams, perturbed, tuning, inferred, rates.filter(regex="at_600$|t_[15]$")):
        assert table.notna().all(axis=None)


# The studies again


def test_first_steps_again():
    small = {"tasks": ["sunspots"], "sequences": [16], "seq_lens": [5], "hidden_sizes": [8]}
    again = first_steps_study(**small, stds=[0.3], seeds=2)
    by = ["task", "sequences", "seq_len", "hidden_size", "variant", "seed"]
    same_again(again, "first_steps", by, ["at_0", "at_150", "at_300", "t_1", "t_5"], 6e-4)


def test_the_lab_trains_as_the_study_does():
    options = training_options(8)
    table = tk.compare(
        window_task("sunspots", 5, 16), {"zero": {}}, seeds=[1], steps=300, score_every=300,
        progress=False, **options,
    )  # fmt: skip
    runs = as_runs(table, task="sunspots", sequences=16, seq_len=5, hidden_size=8)
    by = ["task", "sequences", "seq_len", "hidden_size", "variant", "seed"]
    same_again(runs, "first_steps", by, ["at_300", "t_1"], 6e-4)


def test_states_again():
    again = states_study(
        cases=[["sunspots", 20, 16, 600, 300]], variants=["zero", "learned"], lrs=[1e-3], seeds=2
    )
    same_again(
        again, "states", ["task", "lr", "variant", "seed"], ["at_0", "at_300", "at_600"], 0.003
    )


def test_state_rates_again():
    again = state_rates_study(
        cases=[["sunspots", 20, 16, 600, 300]], state_lrs=[0.003, 0.03], seeds=2
    )
    same_again(again, "state_rates", ["task", "variant", "seed"], ["at_0", "at_300"], 2e-4)


def test_perturbed_again():
    again = perturbed_study(
        cases=[["sunspots", 20, 16, 600]], variants=["zero", "noisy 1"], seeds=1
    )
    again = again.assign(perturbation=again["perturbation"].astype(str))
    same_again(again, "perturbed", ["task", "variant", "seed", "perturbation"], ["loss"], 2e-4)


def test_streams_again():
    again = streams_study(seq_lens=[5], lrs=[3e-3], seeds=1)
    by = ["seq_len", "lr", "variant", "seed"]
    same_again(again, "streams", by, ["cold", "long_run"], 1e-3)


def test_state_tuning_again():
    again = state_tuning_study(sizes=[50], state_lrs=[0.1], seeds=1, steps=50)
    same_again(again, "state_tuning", ["size", "state_lr", "seed"], ["at_0", "at_50"], 2e-3)


def test_inferred_again():
    again = inferred_study(series=["sunspots"], lrs=[3e-3], seeds=1)
    same_again(again, "inferred", ["task", "lr", "variant", "seed"], ["loss", "t_1", "t_20"], 2e-4)


def test_trained_states_again():
    again = trained_states_study(seeds=2)
    same_again(again, "trained_states", ["seed", "unit"], ["h0", "bias", "W_ih", "W_hh_3"], 1e-3)


# The studies in plain PyTorch


def trained_alone(variant: Variant, task: Any, seed: int, steps: int, lr: float = 3e-3) -> Any:
    """A model of a study, trained by a loop of plain PyTorch."""
    model = variant.model(task, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for x, target in itertools.islice(batches(task, 32, seed=seed), steps):
        optimizer.zero_grad()
        task.loss(model(x), target).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def test_a_long_run_goes_on_from_state_to_state():
    settings = {"seq_lens": [5], "lrs": [0.003], "hidden_size": 6, "seeds": 1}
    table = streams_study(**settings, steps=2, test_steps=400).set_index("variant")
    task = Characters(5)
    for variant, initial_state in (("zero", "zero"), ("carried", "carried")):
        model: Any = Variant(hidden_size=6, initial_state=initial_state).model(task, 0)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
        state = None
        for x, target in itertools.islice(task.stream(32, generator(0, "batches")), 2):
            optimizer.zero_grad()
            given = state if variant == "carried" else None
            output, (h, c) = nn.LSTM.forward(model.rnn, x, given)
            state = (h.detach(), c.detach())
            cross_entropy(model.head(output), target).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        with torch.no_grad():
            x, target = task.held_out(80)
            zeros = torch.zeros(1, 80, 6)
            output, _ = nn.LSTM.forward(model.rnn, x, (zeros, zeros))
            cold = cross_entropy(model.head(output), target).item()
            losses, state = [], None
            for x, target in itertools.islice(task.held_out_stream(4), 20):
                output, state = nn.LSTM.forward(model.rnn, x, state)
                losses.append(cross_entropy(model.head(output), target).item())
        assert table.loc[variant, "cold"] == pytest.approx(cold, abs=1e-5)
        assert table.loc[variant, "long_run"] == pytest.approx(np.mean(losses), abs=1e-5)


def test_perturbed_starts_in_plain_pytorch():
    cases = [["sunspots", 6, 5, 4]]
    table = perturbed_study(cases=cases, variants=["zero", "learned"], stds=[0.0, 0.5], seeds=2)
    task = Forecast(6, every_step=True)
    x, target = task.held_out(500)
    noise = [torch.randn(500, 5, generator=generator(0, name)) for name in ("h0", "c0")]
    for variant, initial_state in (("zero", "zero"), ("learned", "learned")):
        model = trained_alone(Variant(hidden_size=5, initial_state=initial_state), task, 1, 4)
        with torch.no_grad():
            own = [
                getattr(model.rnn, n, torch.zeros(1, 1, 5)).expand(1, 500, 5) for n in ("h0", "c0")
            ]
            _, ends = model.rnn(x)
            starts: dict[str, Any] = {
                "0.0": own,
                "0.5": [state + 0.5 * z for state, z in zip(own, noise, strict=True)],
                LEFT_OVER: [torch.cat([end[:, 250:], end[:, :250]], 1) for end in ends],
            }
            for name, states in starts.items():
                output, _ = model.rnn(x, tuple(s.contiguous() for s in states))
                expected = (model.head(output) - target).square().mean().item()
                row = table.query(
                    f"variant == '{variant}' and seed == 1 and perturbation == '{name}'"
                )
                assert row["loss"].item() == pytest.approx(expected, abs=1e-5)
    wide = table.pivot_table(index="perturbation", columns="variant", values="loss")
    assert wide.nunique().min() == 3


def test_state_tuning_trains_the_state_alone():
    settings = {"hidden_size": 8, "pretraining_steps": 15, "sizes": [40], "state_lrs": [0.1]}
    table = state_tuning_study(**settings, steps=10, score_every=5, seeds=2)
    pretrained = trained_alone(Variant(hidden_size=8), Words(), 1, 15)
    rnn, head = pretrained.rnn, pretrained.head
    x, target = Names().training_part()
    own = torch.randperm(x.shape[1], generator=generator(1, "names"))[:40]
    draw = generator(1, "batches")
    h0, c0 = (torch.zeros(1, 1, 8, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.Adam([h0, c0], lr=0.1)
    losses = []
    x_test, target_test = Names().held_out(10**6)
    for step in range(11):
        if step:
            chosen = own[torch.randint(40, (32,), generator=draw)]
            optimizer.zero_grad()
            states = [s.expand(1, 32, 8).contiguous() for s in (h0, c0)]
            output, _ = rnn(x[:, chosen], tuple(states))
            cross_entropy(head(output), target[:, chosen]).backward()
            optimizer.step()
        with torch.no_grad():
            states = [s.expand(1, x_test.shape[1], 8).contiguous() for s in (h0, c0)]
            output, _ = rnn(x_test, tuple(states))
            losses.append(cross_entropy(head(output), target_test).item())
    row = table.query("seed == 1").iloc[0]
    found = [row["at_0"], row["at_5"], row["at_10"]]
    assert found == pytest.approx([losses[0], losses[5], losses[10]], abs=2e-4)
    assert found[2] < found[0]


def test_what_each_start_knows():
    x = torch.randn(9, 4, 1)
    changed = x.clone()
    changed[:5] += 1.0  # the context
    for start, knows in {
        "zero": False,
        "learned": False,
        "inferred": True,
        "warm-up": True,
    }.items():
        model = Forecaster(start, 5, 6, seed=0)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        with torch.no_grad():
            one, other = model(x), model(changed)
        assert one.shape == (4, 4, 1)
        assert (not torch.equal(one, other)) == knows
    zero, warm = (Forecaster(start, 5, 6, seed=0) for start in ("zero", "warm-up"))
    with torch.no_grad():
        assert torch.equal(zero(x), zero.head(nn.LSTM.forward(zero.rnn, x[5:])[0]))
        assert torch.equal(warm(x), warm.head(nn.LSTM.forward(warm.rnn, x)[0])[5:])


def test_all_starts_share_their_weights():
    models = [Forecaster(start, 5, 6, seed=3) for start in INFERRED["starts"]]
    for name, value in models[0].state_dict().items():
        assert all(torch.equal(model.state_dict()[name], value) for model in models)


def test_a_trained_network_is_that_of_its_row():
    table = load_results("trained_states")
    rnn: Any = trained_network(5)
    rows = table[table["seed"] == 5].reset_index(drop=True)
    assert len(rows) == TRAINED_STATES["hidden_size"]
    assert rnn.h0.flatten().tolist() == pytest.approx(rows["h0"].tolist(), rel=1e-6)
    assert rnn.weight_hh_l0[2, 7].item() == pytest.approx(rows.loc[2, "W_hh_7"], rel=1e-6)
    assert rnn.weight_ih_l0[4, 0].item() == pytest.approx(rows.loc[4, "W_ih"], rel=1e-6)
    total = rnn.bias_ih_l0 + rnn.bias_hh_l0
    assert total.tolist() == pytest.approx(rows["bias"].tolist(), rel=1e-6)
    with pytest.raises(
        ValueError, match="seed must be a whole number of at least 0 and at most 15"
    ):
        trained_network(16)


@pytest.mark.parametrize(
    "study",
    [
        first_steps_study, inferred_study, perturbed_study, state_rates_study, state_tuning_study,
        states_study, streams_study, trained_states_study,
    ],
)  # fmt: skip
def test_a_setting_that_no_study_has_is_refused(study):
    with pytest.raises(ValueError, match=r"^a setting must be one of .*, but 'sead' was given"):
        study(sead=3)

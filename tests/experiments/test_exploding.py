# mypy: disable-error-code="arg-type"
import itertools
import math
import statistics

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from teachkit.device import generator
from teachkit.experiments import (
    TEMPORAL_ORDER,
    TEMPORAL_ORDER_VARIANTS,
    exploding,
    final_rows,
    paired_difference,
    solved_share,
    temporal_order_study,
)
from teachkit.models import SequenceModel, make_elman
from teachkit.results import load_results
from teachkit.spectra import spectral_radius
from teachkit.tasks import TemporalOrder, batches


@pytest.fixture(scope="module")
def saved():
    return load_results("temporal_order")


def made_up(seeds=6):
    """Return a small study with accuracies that are known, two rows a run, in no order."""
    rng = np.random.default_rng(0)
    rows = [
        {"variant": v, "rho": rho, "seed": seed, "step": step, "accuracy": rng.random() ** 0.02}
        for v, rho, seed, step in itertools.product("ab", [0.5, 1.0], range(seeds), [100, 200])
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)


def test_the_saved_study_is_complete_and_tells_its_settings(saved):
    assert saved.attrs.items() >= TEMPORAL_ORDER.items()
    runs = final_rows(saved).groupby(["variant", "rho"])["seed"].apply(sorted)
    expected = set(itertools.product(TEMPORAL_ORDER_VARIANTS, TEMPORAL_ORDER["rhos"]))
    assert set(runs.index) == expected
    assert (runs.map(len) == TEMPORAL_ORDER["seeds"]).all()
    finished = saved[saved["status"] == "finished"]
    assert (final_rows(finished)["step"] == TEMPORAL_ORDER["steps"]).all()
    assert saved["accuracy"].dropna().between(0, 1).all()


def alone(rho, seed, lr, threshold, steps):
    """Train one network of the study by itself, in plain PyTorch; loss and norm of each step."""
    task = TemporalOrder(TEMPORAL_ORDER["seq_len"])
    rnn = make_elman(TEMPORAL_ORDER["hidden_size"], rho, input_size=6, seed=seed)
    model = SequenceModel(rnn, 4, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses, norms = [], []
    loader = batches(task, TEMPORAL_ORDER["batch_size"], seed=seed)
    for x, target in itertools.islice(loader, steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        limit = math.inf if threshold is None else threshold
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), limit).item())
        losses.append(loss.item())
        optimizer.step()
    x, target = task.batch(TEMPORAL_ORDER["test_size"], generator(0, "test"))
    accuracy = (model(x).argmax(-1) == target).double().mean().item()
    return np.array(losses), np.array(norms), accuracy, spectral_radius(rnn.weight_hh_l0).item()


@pytest.mark.parametrize("variant", TEMPORAL_ORDER_VARIANTS)
def test_runs_are_those_of_networks_trained_alone(variant):
    table = temporal_order_study([0.9], [3], steps=130, progress=False)
    run = table[table["variant"] == variant]
    losses, norms, accuracy, radius = alone(0.9, 3, **TEMPORAL_ORDER_VARIANTS[variant], steps=130)
    assert run["step"].tolist() == [100, 130]
    assert set(run["status"]) == {"finished"}
    np.testing.assert_allclose(run["loss"], [losses[:100].mean(), losses[100:].mean()], rtol=1e-4)
    np.testing.assert_allclose(run["grad_norm"], [norms[:100].max(), norms[100:].max()], rtol=1e-3)
    assert run["accuracy"].iloc[-1] == pytest.approx(accuracy, abs=0.002)
    assert run["final_rho"].to_numpy() == pytest.approx(radius, rel=1e-4)


def test_the_first_steps_of_a_study_are_those_that_were_saved(saved):
    again = temporal_order_study([1.2], [3], steps=200, progress=False)
    assert set(again["step"]) == {100, 200}
    run = saved[(saved["rho"] == 1.2) & (saved["seed"] == 3) & (saved["step"] <= 200)]
    both = again.merge(run, on=["variant", "rho", "seed", "step"], suffixes=("", "_saved"))
    assert len(both) == 2 * len(TEMPORAL_ORDER_VARIANTS)
    # An explosion multiplies rounding, which differs from machine to machine.
    np.testing.assert_allclose(both["loss"], both["loss_saved"], rtol=0.01)
    np.testing.assert_allclose(both["accuracy"], both["accuracy_saved"], atol=0.05)


def test_a_run_that_diverges_ends_there(monkeypatch):
    lr = {"lr": 1e45, "threshold": None}
    variants = {"no clipping": lr, "clip at norm 1": {"lr": 0.1, "threshold": 1.0}}
    monkeypatch.setattr(exploding, "TEMPORAL_ORDER_VARIANTS", variants)
    table = temporal_order_study([1.0], [0, 1], steps=120, progress=False)
    for (variant, _), run in table.groupby(["variant", "seed"]):
        if variant == "clip at norm 1":
            assert run["step"].tolist() == [100, 120]
            assert set(run["status"]) == {"finished"}
            assert run["final_rho"].notna().all()
        else:
            assert run["step"].tolist() == [2]
            assert set(run["status"]) == {"diverged"}
            assert run["final_rho"].isna().all()  # the first step left float range


def test_a_study_runs_every_variant_from_every_seed():
    table = temporal_order_study([0.5, 1.5], [0, 7], steps=2, progress=False)
    runs = set(table[["variant", "rho", "seed"]].itertuples(index=False, name=None))
    assert runs == set(itertools.product(TEMPORAL_ORDER_VARIANTS, [0.5, 1.5], [0, 7]))
    assert (table["step"] == 2).all()
    first = table.groupby(["rho", "seed"])["loss"].agg(["min", "max"])
    assert (first["max"] - first["min"] < 0.5).all()  # same weights and batches in every variant


def test_final_rows_are_the_last_of_each_run():
    table = made_up()
    final = final_rows(table)
    assert (final["step"] == 200).all()
    assert len(final) == 2 * 2 * 6


def test_solved_share_counts_with_a_wilson_interval():
    table, z = made_up(), stats.norm.ppf(0.975)
    shares = solved_share(table)
    assert list(shares.columns) == ["variant", "rho", "solved", "runs", "share", "low", "high"]
    assert len(shares) == 4
    for row in shares.itertuples():
        mine = (table["variant"] == row.variant) & (table["rho"] == row.rho)
        ends = table[mine & (table["step"] == 200)]["accuracy"]
        n, solved = len(ends), sum(a >= 0.99 for a in ends)
        assert (row.solved, row.runs, row.share) == (solved, n, solved / n)
        centre = (solved + z * z / 2) / (n + z * z)
        half = z / (n + z * z) * math.sqrt(solved * (n - solved) / n + z * z / 4)
        assert (row.low, row.high) == pytest.approx((centre - half, centre + half), abs=1e-9)
    assert shares["solved"].nunique() > 1  # the case is not trivial
    assert (solved_share(table, accuracy=0)["share"] == 1).all()


def test_paired_differences_with_a_t_interval():
    table = made_up()
    summary = paired_difference(table, "a", "b")
    assert summary["rho"].tolist() == [0.5, 1.0]
    final = final_rows(table).set_index(["variant", "rho", "seed"])["accuracy"].to_dict()
    for row in summary.itertuples():
        d = [final["a", row.rho, seed] - final["b", row.rho, seed] for seed in range(6)]
        half = stats.t.ppf(0.975, 5) * statistics.stdev(d) / math.sqrt(6)
        mean = statistics.mean(d)
        assert (row.mean, row.low, row.high) == pytest.approx((mean, mean - half, mean + half))
    swapped = paired_difference(table, "b", "a")
    assert swapped["mean"].to_numpy() == pytest.approx(-summary["mean"].to_numpy())


@pytest.mark.parametrize("arguments", [("z", "b"), ("a", "z")])
def test_an_unknown_variant_is_named(arguments):
    with pytest.raises(ValueError, match=r"^(variant|baseline) must be one of 'a', 'b', but 'z'"):
        paired_difference(made_up(), *arguments)

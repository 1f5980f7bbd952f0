# mypy: disable-error-code="arg-type"
import hashlib
import json
import math
import shutil
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from teachkit import datasets
from teachkit.datasets import Forecast, TemporalOrder, batches, make_task


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Put a copy of the data folder in place of the real one."""
    folder = shutil.copytree(datasets.data_folder(), tmp_path / "data")
    monkeypatch.setattr(datasets, "data_folder", lambda: folder)
    return folder


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_every_shipped_file_is_listed_with_origin_licence_and_checksum():
    folder = datasets.data_folder()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    own = {"manifest.json", "README.md"}
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files - own == set(manifest)
    for name, facts in manifest.items():
        content = datasets.data_file(name).read_bytes()
        assert facts["bytes"] == len(content)
        assert facts["sha256"] == hashlib.sha256(content).hexdigest()
        assert facts["origin"]
        assert facts["licence"]


def test_sunspots_are_the_months_of_260_years():
    series = datasets.sunspots()
    assert len(series) == 3120
    assert series.index.equals(pd.period_range("1749-01", "2008-12", freq="M"))
    assert series.iloc[[0, 1, -2, -1]].tolist() == [58.0, 62.6, 4.1, 0.8]
    assert series.dtype == float
    assert series.between(0, 300).all()


def test_a_damaged_file_is_named_and_refused(copy):
    path = copy / "sunspots_monthly.csv"
    path.write_bytes(path.read_bytes().replace(b"1749-01,58.0", b"1749-01,58.1"))
    with pytest.raises(ValueError, match=r"^Data file sunspots_monthly.csv is damaged: its SHA"):
        datasets.sunspots()


def test_a_missing_file_is_named_and_refused(copy):
    (copy / "sunspots_monthly.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"^Data file sunspots_monthly.csv is missing from"):
        datasets.sunspots()


@pytest.mark.parametrize("name", ["names.csv", "../pyproject.toml", "manifest.json", None])
def test_a_file_that_is_not_shipped_is_refused(name):
    with pytest.raises(ValueError, match=r"^name must be one of 'sunspots_monthly.csv'.* but .*"):
        datasets.data_file(name)


def test_a_missing_folder_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "teachkit" / "datasets.py"))
    with pytest.raises(FileNotFoundError, match=r"^The data of teachkit is missing: no manifest"):
        datasets.data_folder.__wrapped__()


@pytest.mark.parametrize("task", [TemporalOrder(20), Forecast(20)], ids=lambda task: task.name)
def test_a_seed_sets_the_batches(task):
    one, same, other = (list(islice(batches(task, 4, seed=s), 3)) for s in (5, 5, 6))
    for (x, target), (x_same, target_same) in zip(one, same, strict=True):
        assert torch.equal(x, x_same)
        assert torch.equal(target, target_same)
    assert not torch.equal(one[0][0], other[0][0])
    assert not torch.equal(one[0][0], one[1][0])
    assert one[0][0].shape == (20, 4, task.input_size)


@settings(deadline=None, max_examples=30)
@given(st.integers(10, 120), st.integers(0, 10**6))
def test_temporal_order_decoded_symbol_by_symbol(T, seed):
    x, target = TemporalOrder(T).batch(16, generator(seed))
    assert x.shape == (T, 16, 6)
    assert x.dtype == torch.float32
    for b in range(16):
        shown = ["ABcdef"[row.index(1.0)] for row in x[:, b].tolist()]
        assert all(sorted(row) == [0, 0, 0, 0, 0, 1] for row in x[:, b].tolist())
        (first, one), (second, two) = [(t, s) for t, s in enumerate(shown) if s in "AB"]
        assert T // 10 <= first < 2 * (T // 10)
        assert T // 2 <= second < T // 2 + T // 10
        assert ["AA", "BA", "AB", "BB"][target[b]] == one + two


def test_temporal_order_draws_evenly():
    x, target = TemporalOrder(30).batch(8000, generator())
    np.testing.assert_allclose(np.bincount(target) / 8000, 1 / 4, atol=0.02)
    places = x[:, :, :2].sum(-1).mean(1)
    expected = torch.zeros(30)
    expected[[3, 4, 5, 15, 16, 17]] = 1 / 3
    torch.testing.assert_close(places, expected, rtol=0, atol=0.03)
    others = x[:, :, 2:].sum(1)
    assert (others[0] / 8000).numpy() == pytest.approx(0.25, abs=0.02)


def test_temporal_order_scores():
    task = TemporalOrder(10)
    target = torch.tensor([0, 1, 2, 3])
    assert task.score(torch.eye(4), target) == 1
    assert task.score(torch.eye(4).roll(1, 0), target) == 0
    assert task.loss(torch.zeros(4, 4), target).item() == pytest.approx(math.log(4))


def standard(part):
    """Standardise square roots by the first 2,496 months (80 %), in NumPy."""
    root = np.sqrt(datasets.sunspots().to_numpy())
    scaled = (root - root[:2496].mean()) / root[:2496].std(ddof=1)
    return scaled[:2496] if part == "train" else scaled[2496:]


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 600), st.integers(0, 10**6))
def test_training_windows_are_pieces_of_the_training_part(T, seed):
    x, target = Forecast(T).batch(4, generator(seed))
    assert x.shape == (T, 4, 1)
    assert target.shape == (4, 1)
    windows = np.lib.stride_tricks.sliding_window_view(standard("train"), T + 1)
    for b in range(4):
        drawn = torch.cat([x[:, b, 0], target[b]]).numpy()
        assert np.abs(windows - drawn).max(1).min() < 1e-5


@pytest.mark.parametrize("T", [2, 30, 600])
def test_held_out_windows_follow_each_other_and_never_reach_training(T):
    x, target = Forecast(T).test()
    windows = np.lib.stride_tricks.sliding_window_view(standard("test"), T + 1)
    assert x.shape == (T, 624 - T, 1)
    np.testing.assert_allclose(x[:, :, 0].T, windows[:, :-1], atol=1e-5)
    np.testing.assert_allclose(target[:, 0], windows[:, -1], atol=1e-5)


def test_training_reaches_both_ends_of_its_part():
    task = Forecast(600)
    x, target = task.batch(40_000, generator())
    train = torch.from_numpy(standard("train")).float()
    torch.testing.assert_close(x[0].min(), train[: 2496 - 600].min())
    assert (x[0, :, 0] - train[0]).abs().min() < 1e-6
    last = torch.isclose(target[:, 0], train[-1], atol=1e-6)
    assert torch.isclose(x[-1, last, 0], train[-2], atol=1e-6).any()


def test_forecast_scores():
    task = Forecast(10)
    target = torch.randn(50, 1)
    assert task.score(target, target) == pytest.approx(1)
    assert task.score(target.mean().expand(50, 1), target) == pytest.approx(0, abs=1e-6)
    expected = 1 - F.mse_loss(0.5 * target, target) / target.var(correction=0)
    assert task.score(0.5 * target, target) == pytest.approx(expected.item())
    assert task.loss(target + 2, target).item() == pytest.approx(4, rel=1e-5)


@pytest.mark.parametrize("kind", [TemporalOrder, Forecast])
def test_make_task_by_name(kind):
    assert make_task(kind().name, 40) == kind(40)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: TemporalOrder(9),
            "seq_len must be a whole number of at least 10, but 9 was given",
        ),
        (lambda: TemporalOrder(20.5), "seq_len must be a whole number of at least 10, but 20.5"),
        (
            lambda: Forecast(1),
            "seq_len must be a whole number of at least 2 and at most 600, but 1",
        ),
        (lambda: Forecast(601), "seq_len must be a whole number of at least 2 and at most 600"),
        (lambda: make_task("adding", 30), "name must be one of 'temporal order', 'sunspots', but"),
        (lambda: make_task(["sunspots"], 30), "name must be the name of a task, but"),
        (lambda: next(batches(Forecast(), 0)), "batch_size must be a whole number of at least 1"),
        (lambda: next(batches(Forecast(), seed=-1)), "seed must be a whole number of at least 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

"""The exercises of chapter 06: what their checks call right, by other means than theirs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

import teachkit as tk
from teachkit.exercises import check
from teachkit.exercises.forecasting import _hint
from teachkit.exercises.leaks import LEAKING, leaking_errors
from teachkit.exercises.saved_forecast import new_model
from tests.forecasting_answers import load, seasonal_naive, step_by_step
from tools.notebooks import NOTEBOOKS


@given(st.integers(1, 8), st.integers(0, 9), st.integers(1, 30))
def test_the_last_known_value_of_each_place_in_the_period(period, more, horizon):
    series = np.arange(period + more) + 0.5
    expected = step_by_step(series, period, horizon).numpy()
    assert np.array_equal(seasonal_naive(series, period, horizon), expected)
    assert _hint(expected, series, period, horizon) is None


@settings(max_examples=200)
@given(st.data())
def test_a_forecast_with_another_value_anywhere_gets_a_hint(data):
    series = np.random.default_rng(0).permutation(25) + 0.5
    forecast = np.array(seasonal_naive(series, 7, 16))
    place, value = data.draw(st.integers(0, 15)), data.draw(st.sampled_from(series.tolist()))
    if forecast[place] != value:
        forecast[place] = value
        assert _hint(forecast, series, 7, 16)


def by_tree(cut_share, past, ahead, k, *, across):
    """The nearest-neighbour error of a split in time, by a search tree and window by window."""
    roots = np.sqrt(tk.datasets.sunspots().to_numpy())
    cut, count = int(cut_share * len(roots)), len(roots) - past - ahead + 1
    reach = past if across else past + ahead
    known = [s for s in range(count) if s + reach <= cut]
    tree = cKDTree([roots[s : s + past] for s in known])
    squares = []
    for s in range(cut - past, count):
        _, nearest = tree.query(roots[s : s + past], k)
        forecast = np.mean([roots[known[n] + past :][:ahead] for n in nearest], axis=0)
        squares.append(np.square(forecast - roots[s + past : s + past + ahead]))
    return np.sqrt(np.mean(squares))


@pytest.mark.parametrize(("name", "across"), [("honest", False), ("across", True)])
def test_the_error_of_a_split_in_time(name, across):
    expected = by_tree(0.8, 132, 24, 5, across=across)
    assert leaking_errors()[name] == pytest.approx(expected, rel=1e-9)


def test_shuffled_windows_gain_by_the_months_they_share_alone():
    for seed in range(4):
        errors = leaking_errors(seed)
        assert errors["shuffled"] < 0.65 * errors["honest"]
        assert errors["apart"] == pytest.approx(errors["honest"], rel=0.1)
        assert errors["across"] < errors["honest"]


def test_nearly_all_shuffled_windows_have_a_neighbour_a_month_away():
    count = 3120 - 155
    shuffled = np.random.default_rng(0).permutation(count)
    tested, known = shuffled[: count // 5], set(shuffled[count // 5 :].tolist())
    assert np.mean([{s - 1, s + 1} & known != set() for s in tested.tolist()]) > 0.9


def test_the_numbers_of_the_feedback_are_measured():
    text = check.leaks(LEAKING).message
    roots = np.sqrt(tk.datasets.sunspots().to_numpy())
    for value in (*[leaking_errors()[k] for k in ("shuffled", "honest", "apart")], roots.mean()):
        assert f"{value:.2f}" in text
    assert f"first 80 % {roots[:2496].mean():.2f}" in text


def test_the_bars_of_leaks_that_were_not_found_stay_hidden():
    pictures = {
        letters: check.leaks(letters).png for letters in ("e", "ae", "ce", "ace", "be", "d")
    }
    assert pictures["e"] == pictures["be"] == pictures["d"]
    assert len({pictures["e"], pictures["ae"], pictures["ce"], pictures["ace"]}) == 4


def test_a_model_comes_back_bit_for_bit(tmp_path):
    model = new_model(5)
    for name in ("h0", "c0"):
        torch.nn.init.normal_(model.rnn.get_parameter(name))
    state = {"state_dict": model.state_dict(), "hidden_size": 5, "mean": 2.0, "std": 3.0}
    torch.save(state, tmp_path / "model.pt")
    values = 2 + 3 * torch.randn(7, 4, 1)
    with torch.no_grad():
        expected = model.eval()((values - 2.0) / 3.0) * 3.0 + 2.0
    assert torch.equal(load(tmp_path / "model.pt")(values), expected)


def test_the_check_leaves_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []

    def watching(path):
        seen.append((path.parent.parent, path.is_file()))
        return load(path)

    assert check.same_forecast(watching)
    assert seen == [(tmp_path, True)] * 2
    assert not list(tmp_path.iterdir())


def test_the_chapter_lists_the_six_ways():
    text = (NOTEBOOKS / "source" / "06_forecasting.py").read_text(encoding="utf-8")
    part = text.partition("what leaks?")[2].partition("leaks")[0]
    assert [letter for letter in "abcdefg" if f"# - **{letter})** " in part] == list("abcdef")

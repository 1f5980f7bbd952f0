"""The study of the decades against plain PyTorch, and its saved table against two other ones."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from teachkit import datasets
from teachkit.baselines import chosen_linear_forecast
from teachkit.device import generator
from teachkit.experiments import ABLATION, DECADES, SWITCHES, ablation_task, decades_study
from teachkit.experiments.ablation import Combination
from teachkit.experiments.decades import LINEAR
from teachkit.replicas import Replicas
from teachkit.results import load_results

YEARS = [1957, 1967, 1977, 1987, 1997]
PLAIN: list[Any] = ["torch", "preset", "zero", "none", 0.03]


def names(seeds):
    """Every forecast of the study with its seed."""
    networks = [", ".join(switches) for *switches, _ in DECADES["combinations"]]
    found = [(name, seed) for name in networks for seed in range(seeds)]
    return [(LINEAR, -1), *found, *((f"{name}, mean of {seeds}", -1) for name in networks)]


def test_the_saved_table_is_complete():
    table = load_results("decades")
    assert table.attrs.items() >= DECADES.items()
    wanted = [(*key, year) for key, year in itertools.product(names(DECADES["seeds"]), YEARS)]
    found = list(table[["forecast", "seed", "start"]].itertuples(index=False, name=None))
    assert sorted(found) == sorted(wanted)
    assert table["error"].between(0.2, 2).all()


@pytest.mark.parametrize("combination", DECADES["combinations"], ids=str)
def test_the_decades_together_are_the_errors_of_the_ablation(combination):
    """Its windows are some of these, so the errors are alike, seed by seed."""
    *switches, lr = combination
    runs = load_results("ablation")
    runs = runs[(runs[list(SWITCHES)] == switches).all(axis=1) & (runs["lr"] == lr)]
    table = load_results("decades")
    own = table[table["forecast"] == ", ".join(switches)]
    together = own.assign(square=own["error"] ** 2).groupby("seed")["square"].mean() ** 0.5
    expected = runs.set_index("seed")["test"].sort_index()
    assert expected.index.tolist() == together.index.tolist() == list(range(DECADES["seeds"]))
    np.testing.assert_allclose(together, expected, rtol=0.03)
    # seeds differ far more than that: no run stands in another's place
    assert expected.std() > 0.05 * expected.mean()


def test_the_study_again():
    again = decades_study(combinations=[PLAIN], seeds=1)
    saved = load_results("decades")
    both = again.merge(saved, on=["forecast", "seed", "start"], suffixes=("", "_saved"))
    assert len(both) == 10  # the linear forecast and the network of seed 0; not their mean
    linear = both["forecast"] == LINEAR
    np.testing.assert_allclose(both["error"][linear], both["error_saved"][linear], rtol=1e-4)
    # rounding differs between machines, and as many steps amplify it
    np.testing.assert_allclose(both["error"][~linear], both["error_saved"][~linear], rtol=0.15)


def errors_by_hand(forecasts, targets, origins, years):
    """The root mean square error of each whole span of years, by loops over the windows."""
    found: dict[int, list[float]] = {}
    for forecast, target, origin in zip(forecasts, targets, origins, strict=True):
        year = 1749 + origin // 12
        start = 1957 + (year - 1957) // years * years
        if start + years <= 2007:  # of 2007 there is one window
            found.setdefault(start, []).extend((forecast - target) ** 2)
    return {start: np.mean(squares) ** 0.5 for start, squares in found.items()}


def of(table, forecast, seed):
    rows = table[(table["forecast"] == forecast) & (table["seed"] == seed)]
    return dict(zip(rows["start"], rows["error"], strict=True))


def test_networks_are_those_of_plain_pytorch_at_their_least_validation_error():
    table = decades_study(combinations=[PLAIN], seeds=2, steps=6, score_every=2, years=25)
    roots = datasets.sunspots().to_numpy() ** 0.5
    values = (roots - roots[:1872].mean()) / roots[:1872].std(ddof=1)
    series = torch.tensor(values, dtype=torch.float32)

    def windows(origins):
        x = torch.stack([series[o - 132 : o] for o in origins], 1)[..., None]
        return x, torch.stack([series[o : o + 24] for o in origins])

    count = ABLATION["windows"]
    validation = windows(1872 + np.arange(count) * 601 // count)
    origins = np.arange(2496, 3097)
    targets = np.array([values[o : o + 24] for o in origins])
    kept = []
    for seed in range(2):
        *switches, lr = PLAIN
        given = network(switches, lr, seed)
        lstm, head = nn.LSTM(1, 16), nn.Linear(16, 24)
        lstm.load_state_dict(given.rnn.state_dict())
        head.load_state_dict(given.head.state_dict())
        optimizer = torch.optim.Adam([*lstm.parameters(), *head.parameters()], lr=lr)
        draw = generator(seed, "batches")
        course = []
        for step in range(7):
            if step % 2 == 0:
                with torch.no_grad():
                    x, target = validation
                    error = (head(lstm(x)[0][-1]) - target).square().mean().item()
                    forecasts = head(lstm(windows(origins)[0])[0][-1]).double().numpy()
                course.append((error, step, forecasts))
            x, target = windows(132 + torch.randint(1717, (32,), generator=draw))
            optimizer.zero_grad()
            nn.functional.mse_loss(head(lstm(x)[0][-1]), target).backward()
            optimizer.step()
        kept.append(min(course)[2])
        name = ", ".join(switches)
        expected = errors_by_hand(kept[-1], targets, origins, 25)
        assert of(table, name, seed) == pytest.approx(expected, rel=1e-3)
    expected = errors_by_hand(np.mean(kept, 0), targets, origins, 25)
    assert of(table, f"{name}, mean of 2", -1) == pytest.approx(expected, rel=1e-3)
    assert list(expected) == [1957, 1982]


def network(switches, lr, seed) -> Any:
    return Combination(*switches).variant(16, lr).model(ablation_task(), seed)


def test_the_rival_is_the_linear_forecast_that_validation_chose():
    task = ablation_task()
    table = decades_study(combinations=[], years=10)
    assert set(table["forecast"]) == {LINEAR}
    validation = task.arrays("validation", ABLATION["windows"])
    linear = chosen_linear_forecast(task.arrays("train"), validation)
    windows, targets = task.arrays("test")
    expected = errors_by_hand(linear(windows), targets, np.arange(2496, 3097), 10)
    assert of(table, LINEAR, -1) == pytest.approx(expected, rel=1e-9)
    assert list(expected) == YEARS


def test_the_best_is_kept_and_not_the_last():
    """At an absurd rate training only harms: what is kept is the network before it."""
    wild = [*PLAIN[:4], 30.0]
    options: dict[str, Any] = {"seeds": 1, "score_every": 1}
    untrained = decades_study(combinations=[wild], steps=0, **options)
    trained = decades_study(combinations=[wild], steps=2, **options)
    pd.testing.assert_frame_equal(trained, untrained, rtol=1e-5)


def test_a_run_that_diverged_is_over(monkeypatch):
    """However well the weights that it froze at would do."""
    options: dict[str, Any] = {"combinations": [PLAIN], "seeds": 2, "score_every": 1, "years": 25}
    untrained = decades_study(steps=0, **options)
    trained = decades_study(steps=3, **options)
    ordinary = Replicas.step

    def step(self, x, target, loss):
        record = ordinary(self, x, target, loss)
        self.diverged[0] = 0
        return record

    monkeypatch.setattr(Replicas, "step", step)
    table = decades_study(steps=3, **options)
    name = ", ".join(PLAIN[:4])
    assert of(table, name, 0) == pytest.approx(of(untrained, name, 0), rel=1e-6)
    assert of(table, name, 1) == pytest.approx(of(trained, name, 1), rel=1e-6)
    assert of(trained, name, 0) != pytest.approx(of(untrained, name, 0), rel=1e-3)


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match=r"^a setting must be one of .*, but 'sead' was given"):
        decades_study(sead=3)

# mypy: disable-error-code="arg-type"
"""The task on one long series, its split in time, and the forecaster that is saved."""

import contextlib
import dataclasses
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from teachkit import datasets
from teachkit.device import generator
from teachkit.drop_ins import GRU, LSTM, RNN
from teachkit.error_clipping import ErrorClipping
from teachkit.forecaster import Forecaster
from teachkit.forecasting import PARTS, TRANSFORMS, Scaling, SeriesForecast
from teachkit.initial_states import AdaptiveState, LearnedState, NoisyState
from teachkit.models import ElmanRNN, SequenceModel
from teachkit.tasks import batches
from teachkit.variants import Variant

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
TASK = SeriesForecast()
OWN = SeriesForecast(np.sin(np.arange(300.0)), seq_len=20, horizon=7)
INDEX = pd.period_range("1990-01", periods=120, freq="M")
TINY = pd.Series(np.arange(120.0) % 17 + 1, INDEX, name="sales")


# -- the split --------------------------------------------------------------------------------


def test_the_sunspots_are_split_in_time():
    first = [str(TASK.dates[n]) for n in TASK.bounds[:3]]
    last = [str(TASK.dates[n - 1]) for n in TASK.bounds[1:]]
    assert first == ["1749-01", "1905-01", "1957-01"]
    assert last == ["1904-12", "1956-12", "2008-12"]


def test_values_are_square_roots_scaled_by_the_training_part_alone():
    roots = datasets.sunspots().to_numpy() ** 0.5
    train = roots[:1872]
    np.testing.assert_allclose(TASK.scaled, (roots - train.mean()) / train.std(ddof=1))
    assert TASK.scaled[:1872].mean() == pytest.approx(0, abs=1e-12)
    changed = datasets.sunspots()
    changed.iloc[1872:] = 7.0  # what comes later changes nothing before
    other = SeriesForecast(changed, transform="sqrt")
    assert other.scaling == TASK.scaling
    np.testing.assert_array_equal(other.scaled[:1872], TASK.scaled[:1872])
    for one, same in zip(TASK.arrays("train"), other.arrays("train"), strict=True):
        np.testing.assert_array_equal(one, same)
    stream, twin = batches(TASK, 64, seed=1), batches(other, 64, seed=1)
    for _ in range(20):
        for drawn, again in zip(next(stream), next(twin), strict=True):
            assert torch.equal(drawn, again)


@pytest.mark.parametrize("task", [TASK, OWN], ids=["sunspots", "own"])
def test_each_part_holds_its_targets_and_nothing_of_the_next(task):
    T, h, values = task.seq_len, task.horizon, task.scaled
    for n, part in enumerate(PARTS):
        begin, end = task.bounds[n], task.bounds[n + 1]
        wanted = [o for o in range(len(values)) if o >= max(begin, T) and o + h <= end]
        assert list(task.origins(part)) == wanted
        windows, targets = task.arrays(part)
        np.testing.assert_array_equal(windows, [values[o - T : o] for o in wanted])
        np.testing.assert_array_equal(targets, [values[o : o + h] for o in wanted])


def test_batches_are_windows_of_the_training_part_alone():
    values = torch.tensor(OWN.scaled, dtype=torch.float32)
    pairs = {
        (tuple(values[o - 20 : o].tolist()), tuple(values[o : o + 7].tolist()))
        for o in range(20, 180 - 7 + 1)
    }
    seen = set()
    for x, target in (next(batches(OWN, 256, seed=s)) for s in range(12)):
        assert x.shape == (20, 256, 1)
        assert target.shape == (256, 7)
        for b in range(256):
            seen.add((tuple(x[:, b, 0].tolist()), tuple(target[b].tolist())))
    assert seen == pairs  # all of them, and no other
    assert OWN.train_sequences == len(pairs)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_evaluation_windows_are_evenly_spread(part):
    draw = TASK.held_out if part == "validation" else TASK.test_windows
    windows, targets = TASK.arrays(part)
    for size, wanted in ((1000, np.arange(601)), (10, np.arange(10) * 601 // 10)):
        x, target = draw(size)
        np.testing.assert_allclose(x[..., 0].T, windows[wanted], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(target, targets[wanted], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(TASK.arrays(part, size)[0], windows[wanted])


def test_the_inputs_of_validation_reach_back_and_its_targets_do_not():
    x, _ = TASK.held_out(1)
    last = TASK.scaled[1872 - 132 : 1872]
    np.testing.assert_allclose(x[:, 0, 0], last, rtol=1e-6, atol=1e-6)


# -- the protocol of a task -------------------------------------------------------------------


def test_it_is_a_task():
    assert (TASK.name, TASK.input_size, TASK.output_size) == ("sunspots", 1, 24)
    assert TASK.every_step is False
    x, target = TASK.batch(5, generator(3, "batches"))
    again, _ = TASK.batch(5, generator(3, "batches"))
    assert (x.dtype, x.shape, target.shape) == (torch.float32, (132, 5, 1), (5, 24))
    assert torch.equal(x, again)
    output = torch.zeros(5, 24)
    assert TASK.loss(output, target).item() == pytest.approx(target.square().mean().item())


def test_chance_is_the_loss_of_the_best_constant_forecast():
    _, targets = TASK.arrays("train")
    losses = [np.mean((targets - guess) ** 2) for guess in (targets.mean(0), 0.0, 0.1)]
    assert TASK.chance == pytest.approx(losses[0])
    assert losses[0] < min(losses[1:])


def test_equal_tasks_are_equal():
    one, same = SeriesForecast(TINY, 12, 3), SeriesForecast(TINY.copy(), 12, 3)
    assert one == same
    assert len({one, same, SeriesForecast(TINY, 12, 4), SeriesForecast(TINY + 1, 12, 3)}) == 3
    assert SeriesForecast("sunspots", transform="sqrt") == TASK
    later = SeriesForecast(TINY.set_axis(INDEX + 12), 12, 3)  # the same numbers, other dates
    assert later != one
    assert [str(task.dates[0]) for task in (one, later)] == ["1990-01", "1991-01"]
    longer = dataclasses.replace(one, seq_len=13)
    assert (longer.series, longer.seq_len) == (one.series, 13)
    assert len(repr(one)) < 200  # which a comparison saves


def test_an_own_series_keeps_its_name_its_dates_and_its_numbers():
    given = TINY.copy()
    task = SeriesForecast(given, 12, 3)
    assert task.name == "sales"
    assert task.transform == "identity"
    pd.testing.assert_index_equal(task.dates, INDEX)
    given.iloc[:] = 0  # later changes by the reader, and to what we hand out, change nothing
    handed = task.values
    handed.iloc[:] = 1
    task.scaled[:] = 2
    pd.testing.assert_series_equal(task.values, TINY)
    expected = (TINY - TINY[:72].mean()) / TINY[:72].std()
    np.testing.assert_allclose(task.scaled, expected)
    assert SeriesForecast(list(range(60)), 5, 2).name == "own series"
    assert SeriesForecast(torch.arange(60), 5, 2).dates.tolist() == list(range(60))


@pytest.mark.parametrize("name", ["co2", "seattle temperatures"])
def test_other_known_series(name):
    task = SeriesForecast(name, 20, 5)
    assert task.name == name
    assert len(task.scaled) == len(task.dates) == task.bounds[-1]


def test_a_network_learns_it():
    task = SeriesForecast(np.sin(np.arange(400.0) / 3), 12, 3)
    model = Variant(hidden_size=8).model(task, 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    stream = batches(task, 16)
    for _ in range(100):
        x, target = next(stream)
        optimizer.zero_grad()
        task.loss(model(x), target).backward()
        optimizer.step()
    x, target = task.test_windows()
    assert task.loss(model(x), target).item() < 0.1 * task.chance


# -- scaling ----------------------------------------------------------------------------------


@given(st.sampled_from(list(TRANSFORMS)), arrays(float, 5, elements=st.floats(0.01, 1e4)))
def test_scaling_there_and_back(transform, values):
    scaling = Scaling(transform, 2.0, 3.0)
    np.testing.assert_allclose(scaling.unscale(scaling.scale(values)), values, rtol=1e-9)


def test_a_forecast_below_zero_returns_as_zero_under_a_square_root():
    scaling = Scaling("sqrt", 1.0, 2.0)
    np.testing.assert_array_equal(scaling.unscale([-0.5, -3.0, 1.0]), [0.0, 0.0, 9.0])
    np.testing.assert_array_equal(scaling.scale([9.0]), [1.0])


# -- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SeriesForecast("sunspot"), "series must be one of 'sunspots', 'co2', 'seattle "
         "temperatures', but 'sunspot' was given."),
        (lambda: SeriesForecast(np.r_[TINY, np.nan], 12, 3), "series must be finite numbers, but "
         "nan is among them."),
        (lambda: SeriesForecast(np.zeros((50, 2)), 5, 2), "series must be the name of a series, "
         "or one of your own, of shape (n,), but ndarray of shape (50, 2) was given."),
        (lambda: SeriesForecast(["a", "b"], 5, 2), "series must be finite numbers, but "),
        (lambda: SeriesForecast(None, 5, 2), "series must be the name of a series, or one of your "
         "own, of shape (n,), but None was given."),
        (lambda: SeriesForecast(TINY[::-1], 12, 3), "series must have dates that increase from "
         "each value to the next, but 1999-11 comes after 1999-12."),
        (lambda: SeriesForecast(TINY.set_axis(INDEX[:60].append(INDEX[59:119])), 12, 3), "but "
         "1994-12 comes after 1994-12."),
        (lambda: SeriesForecast(TINY.set_axis(INDEX.to_timestamp()[::-1]), 12, 3), "but 1999-11-01 "
         "00:00:00 comes after 1999-12-01 00:00:00."),
        (lambda: SeriesForecast(TINY.set_axis(INDEX.to_timestamp().where(TINY > 1)), 12, 3), "serie"
         "s must have dates that increase from each value to the next, but one date is missing."),
        (lambda: SeriesForecast(TINY, 70, 3), "seq_len + horizon must be at most 72, the first "
         "60 % of 120 values, but 70 + 3 was given."),
        (lambda: SeriesForecast(TINY, 5, 25), "horizon must be at most 24, a fifth of 120 values, "
         "but 25 was given."),
        (lambda: SeriesForecast(TINY[:3], 1, 1), "series must vary in its first 60 %, but one of "
         "1 values was given."),
        (lambda: SeriesForecast([], 1, 1), "series must vary in its first 60 %, but one of 0"),
        (lambda: SeriesForecast(np.ones(99), 5, 2), "one of 59 values without any change was"),
        (lambda: SeriesForecast(TINY, 0, 3), "seq_len must be a whole number of at least 1"),
        (lambda: SeriesForecast(TINY, 5, 1.5), "horizon must be a whole number of at least 1"),
        (lambda: SeriesForecast(-TINY, 5, 2, "sqrt"), "series must be finite numbers that sqrt "
         "takes, but -1.0 is among them."),
        (lambda: SeriesForecast(TINY - 1, 5, 2, "log"), "numbers that log takes, but 0.0 is"),
        (lambda: SeriesForecast(TINY, 5, 2, "cube"), "transform must be one of 'identity', "),
        (lambda: TASK.origins("later"), "part must be one of 'train', 'validation', 'test', but"),
        (lambda: TASK.held_out(0), "size must be a whole number of at least 1"),
        (lambda: Scaling("cube"), "transform must be one of 'identity', 'sqrt', 'log', but"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_sentence(call, words):
    with pytest.raises(ValueError, match=re.escape(words)) as raised:
        call()
    assert "\n" not in str(raised.value)


# -- the forecaster ---------------------------------------------------------------------------


def forecaster(rnn=None, task=OWN):
    torch.manual_seed(0)
    rnn = LSTM(1, 5) if rnn is None else rnn
    return Forecaster(SequenceModel(rnn, task.horizon), task)


def test_a_forecast_is_the_models_in_the_units_of_the_series():
    made = forecaster(task=TASK)
    values = datasets.sunspots()
    found = made.forecast(values)
    roots = values.to_numpy()[-132:] ** 0.5
    train = datasets.sunspots().to_numpy()[:1872] ** 0.5
    x = torch.tensor((roots - train.mean()) / train.std(ddof=1), dtype=torch.float32)
    plain = nn.LSTM(1, 5)
    plain.load_state_dict(made.model.rnn.state_dict())
    with torch.no_grad():
        output = made.model.head(plain(x[:, None, None])[0][-1])[0].numpy().astype(float)
    expected = np.maximum(output * train.std(ddof=1) + train.mean(), 0) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(made.forecast(list(values[-132:])), found)


LAYERS: list[Any] = [
    lambda: LSTM(1, 5),
    lambda: LSTM(1, 5, num_layers=2, initial_state=LearnedState(init_std=0.5, noise_std=0.2)),
    lambda: LSTM(1, 5, proj_size=3, bidirectional=True, initial_state="learned"),
    lambda: LSTM(1, 5, batch_first=True, bias=False, initial_state=NoisyState(std=0.1)),
    lambda: LSTM(1, 5, initial_state=AdaptiveState(scale=0.2, c0=False)),
    lambda: LSTM(1, 5, num_layers=2, dropout=0.5, initial_state=LearnedState(layers=(1,))),
    lambda: GRU(1, 5, initial_state="learned").double(),
    lambda: RNN(1, 5, nonlinearity="relu"),
    lambda: ElmanRNN(1, 5, nonlinearity="sigmoid"),
    lambda: nn.LSTM(1, 5),
    lambda: nn.GRU(1, 5),
    lambda: nn.RNN(1, 5),
]


@pytest.mark.parametrize("make", LAYERS)
def test_a_saved_forecaster_forecasts_the_same_bit_for_bit(make, tmp_path):
    torch.manual_seed(1)
    rnn = make()
    model = SequenceModel(rnn, OWN.horizon).to(next(rnn.parameters()).dtype)
    made = Forecaster(model, OWN)
    loaded = Forecaster.load(made.save(tmp_path / "model.pt"))
    state = torch.get_rng_state()
    values = np.sin(np.arange(50.0))
    found = made.forecast(values)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(loaded.forecast(values), found)
    np.testing.assert_array_equal(made.forecast(values), found)  # neither noise nor dropout
    assert torch.equal(torch.get_rng_state(), state)
    for name, weights in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weights)
    assert repr(getattr(loaded.model.rnn, "initial_state", None)) == repr(
        getattr(rnn, "initial_state", getattr(loaded.model.rnn, "initial_state", None))
    )
    assert Forecaster.load(loaded.save(str(tmp_path / "again.pt"))).scaling == OWN.scaling


def test_the_forecaster_is_a_copy_in_evaluation():
    model = SequenceModel(LSTM(1, 5, initial_state="noisy"), 7)
    made = Forecaster(model, OWN)
    before = made.forecast(OWN.values)
    with torch.no_grad():
        model.head.bias.add_(1)
    assert model.training
    np.testing.assert_array_equal(made.forecast(OWN.values), before)


@pytest.mark.parametrize("at", ["state", "gates"])
def test_the_copy_has_no_error_clipping_and_the_model_keeps_its_own(at, tmp_path):
    torch.manual_seed(0)
    model = SequenceModel(LSTM(1, 5, initial_state="learned"), 7)
    plain = Forecaster(model, OWN).forecast(OWN.values)
    errors = ErrorClipping(model, 1e-5, at, output_threshold=1e-3)
    made = Forecaster(model, OWN)
    assert not any("_error_clipping" in m.__dict__ for m in made.model.modules())
    assert not made.model.head._forward_hooks
    assert "forward" not in made.model.rnn.__dict__
    np.testing.assert_array_equal(made.forecast(OWN.values), plain)
    loaded = Forecaster.load(made.save(tmp_path / "model.pt"))
    np.testing.assert_array_equal(loaded.forecast(OWN.values), plain)
    model(torch.ones(4, 2, 1)).sum().backward()
    assert errors.fraction() > 0
    assert errors.output_fraction() == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_floats_forecast_and_are_saved(dtype, tmp_path):
    torch.manual_seed(0)
    model = SequenceModel(nn.GRU(1, 5), 7)
    exact = Forecaster(model, OWN).forecast(OWN.values)
    made = Forecaster(model.to(dtype), OWN)
    found = made.forecast(OWN.values)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, exact, atol=8 * torch.finfo(dtype).eps + 1e-6)
    loaded = Forecaster.load(made.save(tmp_path / "model.pt"))
    assert next(loaded.model.parameters()).dtype == dtype
    np.testing.assert_array_equal(loaded.forecast(OWN.values), found)


def test_a_missing_folder_is_named(tmp_path):
    words = r"^path must lie in a folder that exists, but there is none at .*nowhere\.$"
    with pytest.raises(FileNotFoundError, match=words):
        forecaster().save(tmp_path / "nowhere" / "model.pt")


def test_the_file_holds_data_alone(tmp_path):
    content = torch.load(forecaster().save(tmp_path / "model.pt"), weights_only=True)
    assert content["seq_len"] == 20
    assert content["scaling"] == dataclasses.asdict(OWN.scaling)


REFUSED = re.escape(
    "path must be a file that Forecaster.save wrote, but other.pt is damaged or something else."
)


@settings(max_examples=30)
@given(st.data())
def test_any_damaged_byte_is_noticed(data):
    made, values = forecaster(), OWN.values
    expected = made.forecast(values)
    with tempfile.TemporaryDirectory() as where:
        path = made.save(Path(where) / "other.pt")
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(bytes(content))
        with contextlib.suppress(ValueError):  # a byte that says nothing may be read over
            np.testing.assert_array_equal(Forecaster.load(path).forecast(values), expected)


@pytest.mark.parametrize("kind", ["empty", "text", "half", "foreign", "weights", "other format"])
def test_another_file_is_refused(kind, tmp_path):
    path = tmp_path / "other.pt"
    whole = forecaster().save(path).read_bytes()
    content = torch.load(path, weights_only=True)
    if kind == "foreign":
        torch.save({"weights": 1}, path)
    elif kind == "weights":
        torch.save(nn.LSTM(1, 5).state_dict(), path)
    elif kind == "other format":
        torch.save({**content, "format": "teachkit forecaster 2"}, path)
    else:
        path.write_bytes({"empty": b"", "text": b"hello\n", "half": whole[: len(whole) // 2]}[kind])
    with pytest.raises(ValueError, match=REFUSED):
        Forecaster.load(path)


def test_nothing_in_a_file_is_run(tmp_path):
    path, trap = tmp_path / "other.pt", tmp_path / "trap"

    class Trap:
        def __reduce__(self):
            return Path.touch, (trap,)

    torch.save({"format": Trap()}, path)
    with pytest.raises(ValueError, match=REFUSED):
        Forecaster.load(path)
    assert not trap.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path must be a file, but there is none at .*\.$"):
        Forecaster.load(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Forecaster(nn.LSTM(1, 5), OWN), "model must be a SequenceModel, but LSTM(1, 5)"),
        (lambda: Forecaster(SequenceModel(LSTM(2, 5), 7), OWN), "model must be one of input_size "
         "1, but 'input_size 2' was given."),
        (lambda: Forecaster(SequenceModel(LSTM(1, 5), 8), OWN), "model must be one with "
         "output_size 7 after the last step, but 'output_size 8' was given."),
        (lambda: Forecaster(SequenceModel(LSTM(1, 5), 7, every_step=True), OWN), "at each step'"),
        (lambda: Forecaster(SequenceModel(LSTM(1, 5), 7), "sunspots"), "task must be a Series"),
        (lambda: forecaster().forecast([1.0] * 19), "values must be of shape (n,) with n of at "
         "least 20, but [1.0, "),
        (lambda: forecaster().forecast(np.zeros((30, 1))), "values must be of shape (n,) with n"),
        (lambda: forecaster().forecast([np.inf] * 20), "values must be finite numbers, but inf"),
        (lambda: forecaster(task=TASK).forecast([-1.0] * 132), "finite numbers that sqrt takes"),
        (lambda: forecaster(LSTM(1, 5, initial_state="carried")).save("x.pt"), "model must be one "
         "with an initial state among ZeroState, "),
    ],
)  # fmt: skip
def test_a_bad_forecast_is_one_clear_sentence(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()

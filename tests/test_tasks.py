# mypy: disable-error-code="arg-type"
import functools
import hashlib
import itertools
import math
import re
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from teachkit import datasets
from teachkit.tasks import (
    TASKS,
    AddingProblem,
    Characters,
    Digits,
    Forecast,
    Names,
    RecallFirst,
    SeriesTask,
    TemporalOrder,
    Vowels,
    Words,
    batches,
    make_task,
)

ALL = [make_task(name) for name in TASKS]
EVERY = [
    Characters(7),
    Names(),
    Words(),
    Vowels(),
    Forecast(7, every_step=True),
    Forecast(7, "co2", every_step=True),
]
SERIES: list[SeriesTask] = [
    Forecast(5),
    Forecast(5, every_step=True),
    Forecast(5, "co2", True),
    Forecast(5, "seattle temperatures", True),
    Characters(5),
]
FINITE = [Names(), Words(), Vowels(), Digits(), Digits("pixels")]


def ids(task):
    return f"{task.name}{' every step' if task.every_step else ''}"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(x):
    """Each sequence of a batch as bytes, to compare whole sequences."""
    return [x[:, b].contiguous().numpy().tobytes() for b in range(x.shape[1])]


# -- every task -------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ALL + EVERY, ids=ids)
def test_shapes_and_types(task):
    x, target = task.batch(6, generator())
    assert x.shape == (task.seq_len, 6, task.input_size)
    assert x.dtype == torch.float32
    leading = (task.seq_len, 6) if task.every_step else (6,)
    if target.dtype == torch.int64:
        assert target.shape == leading
        assert ((target == -100) | (target >= 0) & (target < task.output_size)).all()
        assert (target != -100).any(0).all()
    else:
        assert target.dtype == torch.float32
        assert target.shape == (*leading, task.output_size)


@pytest.mark.parametrize("task", ALL, ids=ids)
def test_a_seed_sets_the_batches(task):
    one, same, other = (list(islice(batches(task, 4, seed=s), 3)) for s in (5, 5, 6))
    for (x, target), (x_same, target_same) in zip(one, same, strict=True):
        assert torch.equal(x, x_same)
        assert torch.equal(target, target_same)
    assert not torch.equal(one[0][0], other[0][0])
    assert not torch.equal(one[0][0], one[1][0])
    torch.rand(3)  # nothing is drawn from the global generator
    assert torch.equal(next(batches(task, 4, seed=5))[0], one[0][0])


@pytest.mark.parametrize("task", ALL + EVERY, ids=ids)
def test_the_held_out_set_is_fixed_and_capped(task):
    x, target = task.held_out(9)
    again, target_again = task.held_out(9)
    assert x.shape == (task.seq_len, 9, task.input_size)
    assert torch.equal(x, again)
    assert torch.equal(target, target_again)
    assert not torch.equal(x, task.batch(9, generator())[0])
    assert len(set(rows(x))) == 9


@pytest.mark.parametrize("task", ALL, ids=ids)
def test_make_task_finds_each_by_its_name(task):
    assert make_task(task.name) == task
    assert make_task(task.name, task.seq_len).seq_len == task.seq_len


def test_make_task_sets_the_length():
    assert make_task("co2", 40) == Forecast(40, "co2")
    assert make_task("characters", 40) == Characters(40)
    assert make_task("adding", 40) == AddingProblem(40)
    assert make_task("digit pixels") == Digits("pixels")


def test_temporal_order_is_what_the_saved_results_were_computed_with():
    digest, stream = hashlib.sha256(), generator(3)
    for task in (TemporalOrder(10), TemporalOrder(37)):
        for _ in range(3):
            for part in task.batch(16, stream):
                digest.update(part.contiguous().numpy().tobytes())
    assert digest.hexdigest().startswith("2a679e13")


# -- losses and scores ------------------------------------------------------------------------


def log_softmax(output):
    shifted = output - output.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def by_hand(task, output, target):
    """Loss, losses by step and score of one batch, one number after the other."""
    output, target = output.double().numpy(), target.numpy()
    losses, right, T = {}, [], len(output)
    for place in np.ndindex(*target.shape[: output.ndim - 1]):
        if target.dtype == np.int64:
            label = target[place]
            if label == -100:
                continue
            losses[place] = -log_softmax(output[place])[label]
            right.append(output[place].argmax() == label)
        else:
            losses[place] = ((output[place] - target[place]) ** 2).mean()
    steps = [[v for place, v in losses.items() if place[0] == t] for t in range(T)]
    by_step = [np.mean(values) if values else np.nan for values in steps]
    loss = np.mean(list(losses.values()))
    score = np.mean(right) if right else 1 - loss / target.astype(float).var()
    return loss, by_step, score


@pytest.mark.parametrize("task", ALL + EVERY, ids=ids)
def test_losses_and_scores_computed_by_hand(task):
    x, target = task.batch(5, generator())
    shape = (*x.shape[:2], task.output_size) if task.every_step else (5, task.output_size)
    output = torch.randn(shape)
    loss, by_step, score = by_hand(task, output, target)
    assert task.loss(output, target).item() == pytest.approx(loss, rel=1e-5)
    assert task.score(output, target) == pytest.approx(score, rel=1e-4, abs=1e-6)
    if task.every_step:
        np.testing.assert_allclose(task.step_losses(output, target), by_step, rtol=1e-4)


@pytest.mark.parametrize("task", ALL + EVERY, ids=ids)
def test_losses_of_replicas_are_those_of_each_alone(task):
    drawn = [task.batch(5, generator(seed)) for seed in range(3)]
    target = torch.stack([t for _, t in drawn])
    T, B = drawn[0][0].shape[:2]
    output = torch.randn(3, *((T, B) if task.every_step else (B,)), task.output_size)
    for function in [task.loss, task.step_losses] if task.every_step else [task.loss]:
        together = torch.vmap(function)(output, target)
        alone = torch.stack([function(o, t) for o, t in zip(output, target, strict=True)])
        torch.testing.assert_close(together, alone, equal_nan=True)
        shared = torch.vmap(function, in_dims=(0, None))(output, target[0])
        alone = torch.stack([function(o, target[0]) for o in output])
        torch.testing.assert_close(shared, alone, equal_nan=True)


@pytest.mark.parametrize("task", ALL + EVERY, ids=ids)
def test_gradients_of_replicas_are_those_of_each_alone(task):
    _, target = task.batch(4, generator())
    shape = (*target.shape[: 1 + task.every_step], task.output_size)
    output = torch.randn(2, *shape)
    together = torch.vmap(torch.func.grad(lambda o: task.loss(o, target)))(output)
    for gradient, one in zip(together, output, strict=True):
        one = one.requires_grad_()
        (expected,) = torch.autograd.grad(task.loss(one, target), one)
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("task", ALL + EVERY, ids=ids)
def test_a_perfect_output_scores_one(task):
    _, target = task.batch(40, generator())
    if target.dtype == torch.int64:
        perfect = 30 * F.one_hot(target.clamp(min=0), task.output_size).float()
    else:
        perfect = target
    assert task.score(perfect, target) == pytest.approx(1)
    assert task.loss(perfect, target).item() < 1e-6
    assert task.score(-perfect, target) < 0.9


@pytest.mark.parametrize("task", ALL + EVERY, ids=ids)
def test_no_constant_output_beats_chance(task):
    """The constant output that fits a large batch best loses as much as `chance` says."""
    _, target = task.batch(20_000, generator())
    if target.dtype == torch.int64:
        counts = torch.bincount(target[target != -100], minlength=task.output_size)
        constant = (counts / counts.sum()).log().clamp(min=-30)
    else:
        constant = target.mean(tuple(range(target.ndim - 1)))
    output = constant.expand(*target.shape[: 1 + task.every_step], task.output_size)
    assert task.loss(output, target).item() == pytest.approx(task.chance, rel=0.05)


@pytest.mark.parametrize("task", [TemporalOrder(), Forecast(), Digits(), AddingProblem()], ids=ids)
def test_losses_by_step_need_an_output_at_each_step(task):
    _, target = task.batch(5, generator())
    message = r"^output must be of shape \(seq_len, batch_size, output_size\), but Tensor of shape"
    with pytest.raises(ValueError, match=message):
        task.step_losses(torch.randn(5, task.output_size), target)


# -- temporal order, adding, recalling --------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(10, 120), st.integers(0, 10**6))
def test_temporal_order_decoded_symbol_by_symbol(T, seed):
    x, target = TemporalOrder(T).batch(16, generator(seed))
    assert x.shape == (T, 16, 6)
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


@settings(max_examples=30)
@given(st.integers(2, 80), st.integers(0, 10**6))
def test_adding_added_by_hand(T, seed):
    x, target = AddingProblem(T).batch(8, generator(seed))
    assert ((x[..., 0] >= 0) & (x[..., 0] < 1)).all()
    for b in range(8):
        marked = [(t, number) for t, (number, marker) in enumerate(x[:, b].tolist()) if marker]
        (first, one), (second, two) = marked
        assert first < T // 2 <= second
        assert target[b].item() == pytest.approx(one + two)
        assert set(x[:, b, 1].tolist()) == {0.0, 1.0} if T > 2 else {1.0}


def test_adding_marks_every_step():
    x, _ = AddingProblem(7).batch(6000, generator())
    expected = torch.tensor([1 / 3] * 3 + [1 / 4] * 4)
    torch.testing.assert_close(x[..., 1].mean(1), expected, rtol=0, atol=0.03)


@settings(max_examples=30)
@given(st.integers(2, 80), st.floats(0, 2), st.integers(0, 10**6))
def test_the_first_step_alone_tells_what_to_recall(T, noise, seed):
    x, target = RecallFirst(T, noise).batch(32, generator(seed))
    assert x[0, :, 0].tolist() == [[-1.0, 1.0][label] for label in target.tolist()]
    assert set(target.tolist()) <= {0, 1}
    if noise == 0:
        assert not x[1:].any()


def test_recalling_draws_evenly_and_the_noise_says_nothing():
    x, target = RecallFirst(20, 0.5).batch(4000, generator())
    assert target.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert x[1:].std().item() == pytest.approx(0.5, abs=0.01)
    noise = x[1:, :, 0].sum(0)
    correlation = torch.corrcoef(torch.stack([noise, target.float()]))[0, 1]
    assert abs(correlation.item()) < 0.06


# -- one long series --------------------------------------------------------------------------


def values(task):
    """The training and held-out parts, in NumPy; characters as numbers."""
    return parts_of(task.name)


@functools.cache
def parts_of(name):
    if name == "characters":
        text = datasets.tragedies()
        alphabet = {c: i for i, c in enumerate(sorted(set(text)))}
        codes = np.array([alphabet[c] for c in text])
        split = len(codes) * 9 // 10
        return codes[:split], codes[split:]
    series = {
        "sunspots": lambda: np.sqrt(datasets.sunspots().to_numpy()),
        "co2": lambda: np.diff(datasets.co2().to_numpy()),
        "seattle temperatures": lambda: datasets.seattle_temperatures().to_numpy(),
    }[name]()
    split = len(series) * 4 // 5
    series = (series - series[:split].mean()) / series[:split].std(ddof=1)
    return series[:split], series[split:]


def numbers(task, x, target):
    """The windows of a batch with what follows them, (B, T + 1), or (B, T) inputs and targets."""
    if task.name == "characters":
        assert ((x == 0) | (x == 1)).all()
        assert (x.sum(-1) == 1).all()
        x = x.argmax(-1)
    else:
        x, target = x[..., 0], target[..., 0]
    if task.every_step:
        assert torch.equal(x[1:], target[:-1])
        target = target[-1]
    return torch.cat([x, target[None]]).T.numpy()


def found(windows, series):
    """Where each window stands in a series: all places of its first value."""
    places = np.lib.stride_tricks.sliding_window_view(series, windows.shape[1])
    for window in windows:
        near = np.flatnonzero(np.abs(places[:, 0] - window[0]) < 2e-5)
        yield near[np.abs(places[near] - window).max(1) < 2e-5]


@pytest.mark.parametrize("task", SERIES, ids=ids)
def test_training_windows_are_pieces_of_the_training_part(task):
    train, _ = values(task)
    for window in found(numbers(task, *task.batch(8, generator())), train):
        assert len(window) >= 1


@settings(max_examples=20)
@given(st.integers(2, 600), st.integers(0, 10**6))
def test_windows_of_any_length(T, seed):
    task = Forecast(T)
    windows = numbers(task, *task.batch(4, generator(seed)))
    assert windows.shape == (4, T + 1)
    assert all(len(place) for place in found(windows, values(task)[0]))


@pytest.mark.parametrize("task", [Forecast(2), Forecast(30), Forecast(600), Forecast(9, "co2")])
def test_all_held_out_windows_follow_each_other_and_never_reach_training(task):
    _, held_out = values(task)
    windows = np.lib.stride_tricks.sliding_window_view(held_out, task.seq_len + 1)
    np.testing.assert_allclose(numbers(task, *task.held_out(10**6)), windows, atol=2e-5)


@pytest.mark.parametrize("task", SERIES, ids=ids)
def test_held_out_windows_are_spread_over_the_held_out_part(task):
    _, held_out = values(task)
    windows = numbers(task, *task.held_out(10))
    count = len(held_out) - task.seq_len
    for i, place in enumerate(found(windows, held_out)):
        assert i * count // 10 in place


def test_training_reaches_both_ends_of_its_part():
    task = Forecast(600)
    x, target = task.batch(40_000, generator())
    train = torch.from_numpy(values(task)[0]).float()
    torch.testing.assert_close(x[0].min(), train[: 2496 - 600].min())
    assert (x[0, :, 0] - train[0]).abs().min() < 1e-6
    last = torch.isclose(target[:, 0], train[-1], atol=1e-6)
    assert torch.isclose(x[-1, last, 0], train[-2], atol=1e-6).any()


@pytest.mark.parametrize("task", [Forecast(30), Characters(30)], ids=ids)
def test_few_windows_are_evenly_spread(task):
    few = type(task)(30, train_size=4)
    train, _ = values(task)
    windows = np.unique(numbers(few, *few.batch(200, generator())), axis=0)
    assert (few.train_sequences, len(windows)) == (4, 4)
    assert task.train_sequences == len(train) - 30
    starts = sorted(int(place[0]) for place in found(windows, train))
    assert starts == [i * (len(train) - 30) // 4 for i in range(4)]


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("task", SERIES, ids=ids)
def test_streams_follow_the_training_part_step_by_step(task, batch_size):
    train, _ = values(task)
    pieces = list(islice(task.stream(batch_size, generator(4)), 6))
    windows = [numbers(task, *piece) for piece in pieces]
    for one, two in itertools.pairwise(windows):
        np.testing.assert_array_equal(one[:, -1], two[:, 0])
    whole = np.concatenate([w[:, :-1] for w in windows], axis=1)
    places = list(found(whole, np.concatenate([train, train[: whole.shape[1]]])))
    assert all(len(place) for place in places)
    if batch_size == 3 and task.name == "characters":  # where no window occurs twice
        gaps = np.diff(sorted(int(place[0]) for place in places))
        assert all(abs(gap - len(train) / 3) < 2 for gap in gaps)


def test_a_stream_goes_round_and_shows_every_value_once():
    task = Forecast(24)  # 2,496 months are 104 windows
    train, _ = values(task)
    x = torch.cat([x for x, _ in islice(task.stream(1, generator(1)), 104)])[:, 0, 0]
    start = int(
        np.abs(x[:40].numpy() - np.stack([np.roll(train, -i)[:40] for i in range(2496)]))
        .max(1)
        .argmin()
    )
    np.testing.assert_allclose(x, np.roll(train, -start), atol=2e-5)
    again, _ = next(islice(task.stream(1, generator(1)), 104, None))
    torch.testing.assert_close(again[:, 0, 0], x[:24])


def test_streams_start_at_seeded_places():
    task = Characters(50)
    first, same, other = (next(task.stream(4, generator(seed)))[0] for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("task", SERIES, ids=ids)
def test_held_out_streams_cut_the_held_out_part(task, batch_size):
    _, held_out = values(task)
    windows = [numbers(task, *piece) for piece in task.held_out_stream(batch_size)]
    length = len(held_out) // batch_size
    assert len(windows) == (length - 1) // 5
    shown = np.concatenate([*(w[:, :-1] for w in windows), windows[-1][:, -1:]], axis=1)
    expected = held_out[: batch_size * length].reshape(batch_size, length)[:, : shown.shape[1]]
    np.testing.assert_allclose(shown, expected, atol=2e-5)


def test_a_window_that_just_fits_a_held_out_stream_is_shown():
    pieces = Forecast(103).held_out_stream(6)  # 624 months: streams of 104
    assert [x.shape for x, _ in pieces] == [(103, 6, 1)]


def test_characters_spell_the_text():
    task = Characters(40)
    alphabet = task.alphabet()
    assert list(alphabet) == sorted(set(datasets.tragedies()))
    x, target = task.batch(5, generator())
    for b in range(5):
        shown = "".join(alphabet[i] for i in x[:, b].argmax(-1))
        following = "".join(alphabet[i] for i in target[:, b])
        assert shown[1:] == following[:-1]
        assert shown + following[-1] in datasets.tragedies()


def test_chance_on_characters_is_the_entropy_of_their_frequencies():
    text = datasets.tragedies()
    counts = Counter(text[: len(text) * 9 // 10])
    total = sum(counts.values())
    expected = -sum(n / total * math.log(n / total) for n in counts.values())
    assert Characters().chance == pytest.approx(expected)


def test_co2_changes_have_no_trend_where_its_values_do():
    train, held_out = values(Forecast(5, "co2"))
    assert abs(held_out.mean()) < 0.1
    level = datasets.co2().to_numpy()
    split = len(level) * 4 // 5
    assert np.mean(level[split:] > level[:split].max()) > 0.5
    assert len(train) + len(held_out) == 2283


# -- many short sequences ---------------------------------------------------------------------


def whole(task):
    """All training and held-out sequences; those to train on are found by drawing."""
    x, _ = task.batch(15 * task.train_sequences, generator())
    return set(rows(x)), set(rows(task.held_out(10**6)[0]))


@pytest.mark.parametrize(
    ("task", "train_size", "test_size"),
    [(Vowels(), 270, 370), (Digits(), 1438, 359), (Digits("pixels"), 1438, 359)],
    ids=str,
)
def test_every_sequence_is_in_one_part(task, train_size, test_size):
    train, held_out = whole(task)
    assert (len(train), len(held_out)) == (train_size, test_size)
    assert task.train_sequences == train_size
    assert not train & held_out


def spelled(x, target):
    letters = ".abcdefghijklmnopqrstuvwxyz"
    for b in range(x.shape[1]):
        length = int((target[:, b] != -100).sum())
        assert (target[length:, b] == -100).all()
        assert not x[length:, b].any()
        assert (x[:length, b].sum(-1) == 1).all()
        shown = "".join(letters[i] for i in x[:length, b].argmax(-1))
        following = "".join(letters[i] for i in target[:length, b])
        assert shown[0] == following[-1] == "."
        assert shown[1:] == following[:-1]
        yield shown[1:]


def test_names_are_spelled_and_every_name_is_in_one_part():
    task = Names()
    train = set(spelled(*task.batch(12 * 4131, generator())))
    held_out = list(spelled(*task.held_out(10**6)))
    assert (task.train_sequences, len(held_out)) == (4131, 1032)
    assert len(train) == 4131
    assert train | set(held_out) == set(datasets.names())
    assert not train & set(held_out)
    assert task.seq_len == 1 + max(map(len, datasets.names()))


def test_words_are_shakespeares_and_no_names():
    task = Words()
    train = set(spelled(*task.batch(12 * task.train_sequences, generator())))
    held_out = set(spelled(*task.held_out(10**6)))
    assert len(train) == task.train_sequences
    assert not train & held_out
    plays = re.split("[^a-z]+", datasets.tragedies().lower())
    names = set(datasets.names())
    assert train | held_out == {w for w in plays if 2 <= len(w) <= 11} - names
    assert {"juliet", "hamlet", "the"} & (train | held_out) == {"hamlet", "the"}
    assert task.seq_len == Names().seq_len


def test_vowels_end_with_their_speaker():
    task = Vowels()
    parts = {"train": task.batch(2000, generator()), "test": task.held_out(10**6)}
    for part, (x, target) in parts.items():
        utterances, speakers = datasets.japanese_vowels(part)
        known = {(u.shape[0], u.tobytes()): s for u, s in zip(utterances, speakers, strict=True)}
        assert len(known) == len(utterances)
        seen = set()
        for b in range(x.shape[1]):
            (last,) = (target[:, b] != -100).nonzero()[:, 0].tolist()
            key = (last + 1, x[: last + 1, b].contiguous().numpy().tobytes())
            assert known[key] == target[last, b]
            assert not x[last + 1 :, b].any()
            seen.add(key)
        assert seen == set(known)


@pytest.mark.parametrize("task", [Digits(), Digits("pixels")], ids=ids)
def test_digits_are_read_from_the_top_left(task):
    images, labels = datasets.digits()
    known = {image.tobytes(): int(label) for image, label in zip(images, labels, strict=True)}
    for x, target in (task.batch(300, generator()), task.held_out()):
        for b in range(x.shape[1]):
            image = np.array([pixel for step in x[:, b].tolist() for pixel in step], np.float32)
            assert known[image.tobytes()] == target[b]


def test_both_ways_of_reading_hold_out_the_same_digits():
    by_row, by_pixel = Digits().held_out()[0], Digits("pixels").held_out()[0]
    assert torch.equal(by_row.transpose(0, 1).flatten(1), by_pixel.transpose(0, 1).flatten(1))


@pytest.mark.parametrize("task", FINITE, ids=ids)
def test_few_sequences_are_some_of_all(task):
    few = type(task)(*((task.by,) if isinstance(task, Digits) else ()), train_size=10)
    drawn = set(rows(few.batch(500, generator())[0]))
    assert len(drawn) == few.train_sequences == 10
    assert drawn <= whole(task)[0]
    assert torch.equal(few.held_out()[0], task.held_out()[0])
    assert few.chance == task.chance


def test_few_vowels_are_of_several_speakers():
    _, target = Vowels(train_size=20).batch(500, generator())
    assert len(set(target[target != -100].tolist())) >= 6


@pytest.mark.parametrize("task", FINITE, ids=ids)
def test_drawing_is_even(task):
    few = type(task)(*((task.by,) if isinstance(task, Digits) else ()), train_size=5)
    counts = Counter(rows(few.batch(5000, generator())[0]))
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_chance_of_vowels_and_digits():
    assert Vowels().chance == pytest.approx(math.log(9))
    assert math.log(10) - 0.01 < Digits().chance < math.log(10)


def test_endless_tasks_count_no_sequences():
    endless = [task.name for task in ALL if task.train_sequences is None]
    assert endless == ["temporal order", "adding", "recall first"]


# -- bad input --------------------------------------------------------------------------------


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
        (lambda: Forecast(401, "co2"), "seq_len must be a whole number .* at most 400, but 401"),
        (
            lambda: Forecast(20, "moon"),
            "series must be one of 'sunspots', 'co2', 'seattle temperatures', but 'moon' was",
        ),
        (lambda: Forecast(20, train_size=0), "train_size must be a whole number of at least 1"),
        (lambda: Forecast(20, train_size=2477), "train_size must be .* at most 2476, but 2477"),
        (lambda: Characters(1001), "seq_len must be a whole number .* at most 1000, but 1001"),
        (lambda: Names(4132), "train_size must be a whole number .* at most 4131, but 4132"),
        (lambda: Vowels(271), "train_size must be a whole number .* at most 270, but 271"),
        (lambda: Digits(train_size=-1), "train_size must be a whole number .* at most 1438, but"),
        (lambda: Digits("columns"), "by must be one of 'rows', 'pixels', but 'columns' was given"),
        (lambda: AddingProblem(1), "seq_len must be a whole number of at least 2, but 1 was"),
        (lambda: RecallFirst(1), "seq_len must be a whole number of at least 2, but 1 was"),
        (lambda: RecallFirst(5, -1), "noise must be a number of at least 0, but -1 was given"),
        (lambda: make_task("moon", 30), "name must be one of 'temporal order', 'sunspots', .* but"),
        (lambda: make_task(["sunspots"], 30), "name must be the name of a task, but"),
        (
            lambda: make_task("names", 30),
            "seq_len must be 12, the length of names, or left out, but 30 was given",
        ),
        (lambda: next(batches(Forecast(), 0)), "batch_size must be a whole number of at least 1"),
        (lambda: next(batches(Forecast(), seed=-1)), "seed must be a whole number of at least 0"),
        (lambda: Names().held_out(0), "size must be a whole number of at least 1, but 0 was"),
        (lambda: TemporalOrder().held_out(0.5), "size must be a whole number of at least 1, but"),
        (lambda: Forecast().stream(0, generator()), "batch_size must be .* at most 2496, but 0"),
        (lambda: Forecast().held_out_stream(21), "batch_size must be .* at most 20, but 21 was"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

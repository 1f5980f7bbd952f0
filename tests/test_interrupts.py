"""The notebook's stop button, at any moment of a training: what is left, and how soon.

A second is measured as the processor time of this process, on which other programs do not count.
"""

import _thread
import threading
import time
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from tqdm import tqdm

import teachkit as tk
from teachkit import comparison, device, training
from teachkit.groups import Group
from teachkit.labs import base
from teachkit.models import SequenceModel
from teachkit.replicas import Replicas
from teachkit.tasks import Forecast, RecallFirst, batches
from tests.labs.driving import check_shown, open_lab

SOON = 1.0  # seconds from the stop button to the next cell
SMALL = {"seeds": 3, "batch_size": 4, "test_size": 20, "hidden_size": 4, "steps": 10**6}


class Button:
    """The stop button, pressed by another thread as soon as a training is under way."""

    waiting: ClassVar[list["Button"]] = []

    def __init__(self, delay=0.0):
        self.begun, self.delay, self.at = threading.Event(), delay, float("nan")
        self.cancelled = False
        self.waiting.append(self)
        threading.Thread(target=self._press, daemon=True).start()

    def _press(self):
        self.begun.wait(300)  # or press anyway: nothing else would end the training
        time.sleep(self.delay)
        if self.cancelled:
            return
        self.waiting.remove(self)
        self.at = time.process_time()
        _thread.interrupt_main()

    def cancel(self):
        """Never press."""
        self.cancelled = True
        self.begun.set()

    @property
    def seconds(self):
        """Processor time since it was pressed."""
        return time.process_time() - self.at


class Told(RecallFirst):
    """A task that tells when a training on it is under way."""

    button: Button

    def batch(self, *arguments):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > 20:
            self.button.begun.set()
        return super().batch(*arguments)


class ToldSeries(Forecast):
    """The same of a long series."""

    button: Button

    def stream(self, *arguments):
        for n, batch in enumerate(super().stream(*arguments)):
            if n > 5:
                self.button.begun.set()
            yield batch


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """What every interrupt leaves as it was: the thread count, no bar, no thread at work."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    running = set(threading.enumerate())
    yield
    while Button.waiting:  # a test that failed before its training began
        Button.waiting.pop().cancel()
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)
    assert not device._open
    assert not list(getattr(tqdm, "_instances", []))
    left = {t for t in set(threading.enumerate()) - running if not t.name.startswith("replicas")}
    # tqdm has one that watches its bars, for as long as Python runs
    assert all(type(t).__name__ == "TMonitor" for t in left if t.is_alive())


def small_model():
    return SequenceModel(tk.GRU(1, 4), 2, seed=0)


def train(model, button=None, steps=10**6, **options):
    def under_way(history):
        if button is not None and len(history) >= 5:
            button.begun.set()

    return tk.fit(
        model,
        batches(RecallFirst(6), 4, seed=0),
        loss=F.cross_entropy,
        optimizer=torch.optim.Adam(model.parameters()),
        steps=steps,
        on_step=under_way,
        **options,
    )


# -- fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"score": lambda model: 0.5, "score_every": 1}])
def test_an_interrupt_ends_fit_with_its_history(options):
    model, button = small_model(), Button()
    history = train(model, button, **options)
    assert button.seconds < SOON
    assert history.status == "interrupted"
    assert len(history) >= 5
    assert len(history.frame) == len(history)
    assert np.isfinite(history.frame["loss"]).all()
    assert train(model, steps=2).status == "finished"


def test_at_any_moment_nothing_is_left_behind():
    for n in range(25):
        history = train(small_model(), Button(delay=n * 7e-4), progress=n % 2 == 0)
        assert history.status == "interrupted"
        assert len(history.frame) == len(history)
        assert torch.get_num_threads() == 3


def test_a_step_that_was_cut_off_between_two_entries_is_left_out(monkeypatch):
    class CutOff(list[float]):
        def append(self, value):
            if len(self) == 3:
                raise KeyboardInterrupt
            super().append(value)

    history = training.History(grad_norm=CutOff())
    monkeypatch.setattr(training, "History", lambda: history)
    assert train(small_model(), progress=False) is history
    assert history.status == "interrupted"
    assert len(history.loss) == 3
    assert len(history.frame) == 3


# -- compare and replicas -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variants", "options"),
    [
        ({"zero": {}, "learned": {"initial_state": "learned"}}, {"score_every": 3}),
        ({"lstm": {}, "gru": {"cell": "gru"}}, {"score_every": 10**5}),
        ({"zero": {}}, {"workers": 2}),
    ],
)
def test_an_interrupt_ends_compare_with_its_table(variants, options):
    task = Told(6)
    task.__dict__["button"] = button = Button(delay=0.02)
    table = tk.compare(task, variants, **SMALL, **options)
    assert button.seconds < SOON
    assert table.attrs["status"] == "interrupted"
    assert set(table["variant"]) == set(variants)
    assert table["step"].max() <= table.attrs["steps"]
    assert table.attrs["steps"] > 0
    assert tk.paired_differences(table, next(iter(variants)))["pairs"].eq(3).all()


def test_an_interrupt_ends_a_stream():
    task = ToldSeries(4)
    task.__dict__["button"] = button = Button(delay=0.02)
    states = {name: {"initial_state": name} for name in ("zero", "carried")}
    table = tk.compare(task, states, stream=True, **SMALL)
    assert button.seconds < SOON
    assert table.attrs["status"] == "interrupted"
    assert "stream_loss" in set(table["metric"])


def test_what_takes_long_to_measure_is_left_out_after_an_interrupt(monkeypatch):
    monkeypatch.setattr(comparison, "SOON", 0.0)
    draw = comparison.Comparison._loader
    left = iter(range(3 * 4))

    def ending(self, seed):
        for batch in draw(self, seed):
            if next(left, None) is None:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(comparison.Comparison, "_loader", ending)
    table = tk.compare("names", {"zero": {}}, **SMALL, score_every=3, progress=False)
    assert table.attrs["status"] == "interrupted"
    assert table.attrs["steps"] == 4
    last = {metric: rows["step"].max() for metric, rows in table.groupby("metric")}
    assert last["loss"] == last["diverged"] == 4
    assert last["test_loss"] == last["score"] == 3


@pytest.mark.parametrize("presses", [1, 2])
def test_an_interrupt_of_the_last_measurement_keeps_the_table(presses, monkeypatch):
    measure = Group.measure
    calls = []

    def pressed(self, *arguments):
        calls.append(1)
        if 2 <= len(calls) < 2 + presses:  # the first is before training
            raise KeyboardInterrupt
        return measure(self, *arguments)

    monkeypatch.setattr(Group, "measure", pressed)
    few = {**SMALL, "steps": 2, "score_every": 2, "progress": False}
    table = tk.compare("names", {"zero": {}}, **few)
    assert table.attrs["status"] == "interrupted"
    assert table["step"].max() == (2 if presses == 1 else 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_replicas_in_a_loop_of_ones_own_train_on_after_an_interrupt(workers):
    replicas = Replicas([small_model() for _ in range(8)], workers=workers)
    x, target = torch.zeros(8, 6, 4, 1), torch.zeros(8, 4, dtype=torch.long)
    button = Button(delay=0.01)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 (the loop is what is interrupted)
        while True:
            replicas.step(x, target, F.cross_entropy)
            if replicas.steps > 3:
                button.begun.set()
    assert button.seconds < SOON
    steps = replicas.steps
    record = replicas.step(x, target, F.cross_entropy)
    assert record.loss.isfinite().all()
    assert replicas.steps == steps + 1


# -- labs ---------------------------------------------------------------------------------------

LARGE = {"hidden_size": 128, "seq_len": 1000}
TRAINED = [
    ("clip_what", {"hidden_size": 64, "seq_len": 100}),
    ("first_steps", {"task": "characters", "seq_len": 20}),
    ("forecast", {}),
    ("spectral_radius", LARGE),
]


def test_every_lab_that_trains_is_here():
    found = [name for name in tk.labs.__all__ if getattr(tk.labs, name)().training]
    assert found == [name for name, _ in TRAINED]


@pytest.mark.parametrize("button", ["stop", "reset"])
@pytest.mark.parametrize(("name", "settings"), TRAINED)
def test_a_lab_is_usable_soon_after_its_button(name, settings, button):
    lab = open_lab(name, **settings)
    lab.train()
    deadline = time.time() + 120
    while not lab.training_view.value and time.time() < deadline:
        time.sleep(0.01)
    begun = time.thread_time()
    getattr(lab, button)()
    # What it works itself, and the longest that it waits for the thread that trains.
    assert time.thread_time() - begun + base._STOP_SECONDS < SOON
    assert lab.worker is not None
    lab.worker.join(60)  # a busy machine may take long to end its step
    assert not lab.worker.is_alive()
    assert (lab.train_button.disabled, lab.stop_button.disabled) == (False, True)
    assert lab.training_error is None
    if button == "stop":
        assert "stopped after" in lab.estimate.value
        assert "<img" in lab.training_view.value
    else:
        assert lab.training_view.value == ""
        assert lab.progress.value == 0
        assert "left" not in lab.estimate.value
    lab.controls["seed"].value = 7
    check_shown(lab)


def test_a_move_that_was_interrupted_leaves_a_lab_that_moves_on(monkeypatch):
    lab = open_lab("wall")
    compute = lab.spec.compute

    def pressed(settings):
        raise KeyboardInterrupt

    object.__setattr__(lab.spec, "compute", pressed)
    try:
        with pytest.raises(KeyboardInterrupt):
            lab.controls["seed"].value = 3
    finally:
        object.__setattr__(lab.spec, "compute", compute)
    lab.controls["seed"].value = 4
    check_shown(lab)

"""Tasks that need a memory, synthetic and on real data, behind one protocol."""

from __future__ import annotations

import abc
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from .device import generator
from .errors import bad, check_choice, check_count, check_number
from .objectives import Classification, Regression
from .sequence_tasks import Digits, Names, Vowels, Words
from .series_tasks import Characters, Forecast

__all__ = [
    "TASKS",
    "AddingProblem",
    "Characters",
    "Digits",
    "Forecast",
    "Names",
    "RecallFirst",
    "SeriesTask",
    "Task",
    "TemporalOrder",
    "Vowels",
    "Words",
    "batches",
    "make_task",
]


class Task(Protocol):
    """What a network can be trained on: batches, a loss and a score.

    Sequences have shape (seq_len, batch_size, input_size). The head reads the last hidden state,
    output (batch_size, output_size), or where `every_step` is true each of them, output (seq_len,
    batch_size, output_size). Classes are int64, with -100 at steps that do not count.
    """

    @property
    def name(self) -> str:
        """The name that `make_task` knows."""
        ...

    @property
    def seq_len(self) -> int:
        """Time steps of a sequence."""
        ...

    @property
    def input_size(self) -> int:
        """Features of a step."""
        ...

    @property
    def output_size(self) -> int:
        """Outputs of the head."""
        ...

    @property
    def chance(self) -> float:
        """The loss on the training part of the best guess that ignores the input."""
        ...

    @property
    def every_step(self) -> bool:
        """Whether there is an output at each step, not at the last one alone."""
        ...

    @property
    def train_sequences(self) -> int | None:
        """How many sequences training draws from; None where they never repeat."""
        ...

    def batch(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw inputs (seq_len, batch_size, input_size) and their targets."""
        ...

    def held_out(self, size: int = 1000) -> tuple[Tensor, Tensor]:
        """Return at most `size` sequences and targets for evaluation, always the same.

        They come from a part of the data that batches leave out, or from random numbers of their
        own. There is no third part: whoever chooses settings by them has chosen on the test set.
        """
        ...

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return what training minimises, a scalar."""
        ...

    def step_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss at each step, (seq_len,), where `every_step` is true."""
        ...

    def score(self, output: Tensor, target: Tensor) -> float:
        """Return how good the outputs are; 1 is perfect."""
        ...


class SeriesTask(Task, Protocol):
    """A task on one long series, which can also be read from one end to the other."""

    def stream(
        self, batch_size: int, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an endless iterator over windows that follow each other, for a carried state."""
        ...

    def held_out_stream(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over the held-out part as `batch_size` parallel streams."""
        ...


def batches(task: Task, batch_size: int = 32, *, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Return an endless iterator over batches of a task; the same seed gives the same batches."""
    batch_size = check_count("batch_size", batch_size)
    stream = generator(seed, "batches")
    return (task.batch(batch_size, stream) for _ in itertools.count())


class _Endless:
    """A task whose sequences are drawn anew each time."""

    train_sequences: ClassVar[None] = None

    @abc.abstractmethod
    def batch(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw inputs (seq_len, batch_size, input_size) and their targets."""

    def held_out(self, size: int = 1000) -> tuple[Tensor, Tensor]:
        """Return a batch of `size` from a random stream of its own."""
        return self.batch(check_count("size", size), generator(0, "held out"))


@dataclass(frozen=True)
class TemporalOrder(_Endless, Classification):
    """Name two marked symbols in their order: a task that needs a memory of most of its length.

    Each step shows one of six symbols, one-hot. Two of them, at random places in
    [T/10, 2T/10) and [5T/10, 6T/10), are A or B; all others are drawn from c, d, e, f. The target
    is the class: AA, BA, AB or BB as 0 to 3 (first symbol + 2 * second). Chance is a loss of
    ln 4 = 1.386 and an accuracy of 1/4. Raises `ValueError` for seq_len below 10. Source:
    Hochreiter and Schmidhuber 1997, experiment 6a; positions as in the code of Pascanu et al.
    2013 (pascanur/trainingRNNs, tempOrder.py). Used in chapter 04.
    """

    seq_len: int = 30
    name: ClassVar[str] = "temporal order"
    input_size: ClassVar[int] = 6
    output_size: ClassVar[int] = 4
    chance: ClassVar[float] = math.log(4)
    every_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "seq_len", check_count("seq_len", self.seq_len, low=10))

    def batch(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a batch: x (T, B, 6) float32, target (B,) int64."""
        T, width = self.seq_len, self.seq_len // 10

        def draw(high: int, *shape: int) -> Tensor:
            return torch.randint(high, shape, generator=generator)

        symbols = 2 + draw(4, T, batch_size)
        first, second = draw(2, batch_size), draw(2, batch_size)
        rows = torch.arange(batch_size)
        symbols[width + draw(width, batch_size), rows] = first
        symbols[T // 2 + draw(width, batch_size), rows] = second
        return F.one_hot(symbols, 6).float(), first + 2 * second


@dataclass(frozen=True)
class AddingProblem(_Endless, Regression):
    """Add two marked numbers of a long row.

    Each step shows a number from [0, 1) and a marker: x (T, B, 2). The marker is 1 at one random
    step of the first half and one of the second, else 0; the target (B, 1) is the sum of those two
    numbers. Chance is the variance of the sum, 1/6: the loss of always saying 1. Raises
    `ValueError` for seq_len below 2. Source: Hochreiter and Schmidhuber 1997, experiment 4, in the
    form of Le, Jaitly and Hinton 2015.
    """

    seq_len: int = 50
    name: ClassVar[str] = "adding"
    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    chance: ClassVar[float] = 1 / 6
    every_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "seq_len", check_count("seq_len", self.seq_len, low=2))

    def batch(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a batch: x (T, B, 2) float32, target (B, 1) float32."""
        T, half = self.seq_len, self.seq_len // 2
        x = torch.rand(T, batch_size, 2, generator=generator)
        first = torch.randint(half, (batch_size,), generator=generator)
        second = torch.randint(half, T, (batch_size,), generator=generator)
        rows = torch.arange(batch_size)
        x[..., 1] = 0
        x[first, rows, 1] = 1
        x[second, rows, 1] = 1
        return x, (x[first, rows, 0] + x[second, rows, 0])[:, None]


@dataclass(frozen=True)
class RecallFirst(_Endless, Classification):
    """Name at the last step what the first one showed.

    x (T, B, 1) is -1 or 1 at the first step, then noise with standard deviation `noise`; the target
    (B,) is 0 or 1. Chance is a loss of ln 2 = 0.693 and an accuracy of 1/2. Without noise there are
    only two sequences. Raises `ValueError` for seq_len below 2 and a negative noise. After the
    latching task of Bengio, Simard and Frasconi 1994.
    """

    seq_len: int = 30
    noise: float = 0.1
    name: ClassVar[str] = "recall first"
    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 2
    chance: ClassVar[float] = math.log(2)
    every_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "seq_len", check_count("seq_len", self.seq_len, low=2))
        object.__setattr__(self, "noise", check_number("noise", self.noise, low=0))

    def batch(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a batch: x (T, B, 1) float32, target (B,) int64."""
        target = torch.randint(2, (batch_size,), generator=generator)
        x = self.noise * torch.randn(self.seq_len, batch_size, 1, generator=generator)
        x[0, :, 0] = 2 * target - 1
        return x, target


# Tasks of any length, and those whose data sets it.
_ANY_LENGTH: dict[str, Callable[..., Task]] = {
    "temporal order": TemporalOrder,
    "sunspots": Forecast,
    "co2": functools.partial(Forecast, series="co2"),
    "seattle temperatures": functools.partial(Forecast, series="seattle temperatures"),
    "characters": Characters,
    "adding": AddingProblem,
    "recall first": RecallFirst,
}
_OWN_LENGTH: dict[str, Callable[[], Task]] = {
    "names": Names,
    "words": Words,
    "vowels": Vowels,
    "digit rows": Digits,
    "digit pixels": functools.partial(Digits, "pixels"),
}
TASKS = (*_ANY_LENGTH, *_OWN_LENGTH)


def make_task(name: str, seq_len: int | None = None) -> Task:
    """Return a task by its name, one of `TASKS`.

    seq_len: leave it out for the usual length, and always for a task whose data sets the length.
    Raises `ValueError` for another name, and for a length that the task cannot have.
    """
    if not isinstance(name, str):
        raise bad("name", name, "the name of a task")
    check_choice("name", name, TASKS)
    if name in _ANY_LENGTH:
        kind = _ANY_LENGTH[name]
        return kind() if seq_len is None else kind(seq_len)
    task = _OWN_LENGTH[name]()
    if seq_len not in (None, task.seq_len):
        raise bad("seq_len", seq_len, f"{task.seq_len}, the length of {name}, or left out")
    return task

"""Tasks on one long series: windows at random places, or streams that follow it step by step."""

from __future__ import annotations

import abc
import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from . import datasets
from .errors import check_choice, check_count
from .objectives import Classification, Regression, entropy, evenly


class _Series(NamedTuple):
    """The values (T,) of the first part, to train on, and of the rest, and a guess's loss."""

    train: Tensor
    held_out: Tensor
    chance: float


class _Windows:
    """Draw windows of `seq_len` steps and what follows them; a subclass says of which series."""

    seq_len: int
    train_size: int | None

    @abc.abstractmethod
    def _series(self) -> _Series:
        """Return the data; a subclass says which."""

    @abc.abstractmethod
    def _pair(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Turn the values of seq_len + 1 steps, (T + 1, B), into input and target."""

    def _check(self, longest: int) -> None:
        seq_len = check_count("seq_len", self.seq_len, low=2, high=longest)
        object.__setattr__(self, "seq_len", seq_len)
        if self.train_size is not None:
            high = self._series().train.numel() - seq_len
            object.__setattr__(
                self, "train_size", check_count("train_size", self.train_size, high=high)
            )

    @property
    def chance(self) -> float:
        """Return the loss of the best constant guess, measured on the training part."""
        return self._series().chance

    @property
    def train_sequences(self) -> int:
        """Return how many windows `batch` draws from."""
        return self.train_size or self._series().train.numel() - self.seq_len

    @functools.cached_property
    def _steps(self) -> Tensor:
        return torch.arange(self.seq_len + 1)[:, None]

    def batch(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw windows at random places of the training part: x (T, B, input_size) and targets."""
        train = self._series().train
        starts = torch.randint(self.train_sequences, (batch_size,), generator=generator)
        if self.train_size:
            starts = starts * (train.numel() - self.seq_len) // self.train_size
        return self._pair(train[starts + self._steps])

    def held_out(self, size: int = 1000) -> tuple[Tensor, Tensor]:
        """Return windows of the held-out part in order, at most `size` of them, evenly spread."""
        held_out = self._series().held_out
        starts = evenly(held_out.numel() - self.seq_len, size)
        return self._pair(held_out[starts + self._steps])

    def stream(
        self, batch_size: int, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an endless iterator over windows that follow each other, for a carried state.

        Each of `batch_size` streams reads the whole training part, whatever train_size is; at its
        end it goes on at its beginning. The streams start evenly spread, from a random place on.
        """
        train = self._series().train
        length = train.numel()
        batch_size = check_count("batch_size", batch_size, high=length)
        offset = torch.randint(length, (1,), generator=generator)
        steps = offset + torch.arange(batch_size) * length // batch_size + self._steps
        shifts = itertools.count(0, self.seq_len)
        return (self._pair(train[(steps + shift) % length]) for shift in shifts)

    def held_out_stream(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over the held-out part, cut into `batch_size` streams.

        Consecutive windows follow each other; what is left at the end of a stream and does not fill
        a window is not shown. Raises `ValueError` where a stream is shorter than a window.
        """
        held_out = self._series().held_out
        high = held_out.numel() // (self.seq_len + 1)
        batch_size = check_count("batch_size", batch_size, high=high)
        length = held_out.numel() // batch_size
        steps = torch.arange(batch_size) * length + self._steps
        shifts = range(0, length - self.seq_len, self.seq_len)
        return (self._pair(held_out[steps + shift]) for shift in shifts)


@dataclass(frozen=True)
class Forecast(_Windows, Regression):
    """Forecast the next value of a real series from the `seq_len` values before it.

    series: "sunspots", the square roots of the monthly numbers; "co2", the change from week to
    week, since a network could not follow the rising values beyond those it was trained on; or
    "seattle temperatures", hour by hour. All are centred and scaled by their first 80 %, which
    batches come from; `held_out()` is from the rest. x is (T, B, 1). every_step: the target is the
    next value at each step, (T, B, 1), instead of after the last, (B, 1). train_size: use only so
    many windows, evenly spread over the training part. Raises `ValueError` for seq_len outside 2 to
    600 (400 for "co2") and for another series. Used in chapter 04.
    """

    seq_len: int = 30
    series: str = "sunspots"
    every_step: bool = False
    train_size: int | None = None
    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_choice("series", self.series, SERIES)
        self._check(400 if self.series == "co2" else 600)

    @property
    def name(self) -> str:
        """Return the name of the series."""
        return self.series

    def _series(self) -> _Series:
        return _standard(self.series)

    def _pair(self, window: Tensor) -> tuple[Tensor, Tensor]:
        window = window[..., None]
        return window[:-1], window[1:] if self.every_step else window[-1]


@dataclass(frozen=True)
class Characters(_Windows, Classification):
    """Name the next character of Shakespeare's tragedies at each step.

    x (T, B, 63) float32 shows the characters one-hot, target (T, B) int64 is the next one, in the
    order of `alphabet()`. Batches come from the first 90 % of the text; `held_out()` is from the
    rest, all of it from Timon of Athens. train_size: use only so many windows, evenly spread.
    Chance is the entropy of the character frequencies. Raises `ValueError` for seq_len outside 2
    to 1000.
    """

    seq_len: int = 25
    train_size: int | None = None
    name: ClassVar[str] = "characters"
    input_size: ClassVar[int] = 63
    output_size: ClassVar[int] = 63
    every_step: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._check(1000)

    @staticmethod
    def alphabet() -> str:
        """Return the characters of the text in the order of their classes."""
        return _text()[1]

    def _series(self) -> _Series:
        return _text()[0]

    def _pair(self, window: Tensor) -> tuple[Tensor, Tensor]:
        codes = window.long()
        return torch.eye(self.input_size)[codes[:-1]], codes[1:]


SERIES: dict[str, Callable[[], Tensor]] = {
    "sunspots": lambda: _values(datasets.sunspots()).sqrt(),
    "co2": lambda: _values(datasets.co2().diff().iloc[1:]),
    "seattle temperatures": lambda: _values(datasets.seattle_temperatures()),
}


def _values(series: pd.Series) -> Tensor:
    return torch.tensor(series.to_numpy(), dtype=torch.float32)


@functools.cache
def _standard(series: str) -> _Series:
    """Return a series centred and scaled by its training part, so that chance is 1."""
    values = SERIES[series]()
    split = int(0.8 * values.numel())
    mean, std = values[:split].mean(), values[:split].std()
    standard = (values - mean) / std
    return _Series(standard[:split], standard[split:], 1.0)


@functools.cache
def _text() -> tuple[_Series, str]:
    """Return the tragedies as codes, one byte a character, and the characters in code order."""
    characters = np.frombuffer(datasets.tragedies().encode("ascii"), np.uint8)
    alphabet, codes = np.unique(characters, return_inverse=True)
    values = torch.from_numpy(codes.astype(np.uint8))
    split = int(0.9 * values.numel())
    train, held_out = values[:split], values[split:]
    return _Series(train, held_out, entropy(train)), alphabet.tobytes().decode()

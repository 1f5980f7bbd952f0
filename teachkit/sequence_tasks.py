"""Tasks on many short sequences: names, words, vowels and digits."""

from __future__ import annotations

import abc
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from . import datasets
from .device import generator
from .errors import check_choice, check_count
from .objectives import UNUSED, Classification, entropy, evenly

LETTERS = ".abcdefghijklmnopqrstuvwxyz"  # the dot stands before and after a name


class _Part(NamedTuple):
    """Inputs (T, N, I) of N sequences, and their classes (N,) or (T, N)."""

    x: Tensor
    target: Tensor

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return some of the sequences, in this order."""
        return self.x[:, indices], self.target[..., indices]


class _Parts(NamedTuple):
    """The part to train on, in random order, the part to test on, and a guess's loss."""

    train: _Part
    held_out: _Part
    chance: float


def _split(data: _Part, held_out: _Part | None = None) -> _Parts:
    """Shuffle the sequences, and hold a random fifth out unless there is a part for that."""
    order = torch.randperm(data.x.shape[1], generator=generator(0, "held out"))
    if held_out is None:
        count = len(order) // 5
        held_out, order = _Part(*data.take(order[:count])), order[count:]
    train = _Part(*data.take(order))
    return _Parts(train, held_out, entropy(train.target))


class _Sequences(Classification):
    """Draw from a fixed set of sequences; a subclass says from which."""

    train_size: int | None

    @abc.abstractmethod
    def _parts(self) -> _Parts:
        """Return the data; a subclass says which."""

    def __post_init__(self) -> None:
        if self.train_size is not None:
            high = self._parts().train.x.shape[1]
            size = check_count("train_size", self.train_size, high=high)
            object.__setattr__(self, "train_size", size)

    @property
    def seq_len(self) -> int:
        """Return the time steps of the longest sequence."""
        return self._parts().train.x.shape[0]

    @property
    def chance(self) -> float:
        """Return the entropy in nats of the class frequencies in the whole training part."""
        return self._parts().chance

    @property
    def train_sequences(self) -> int:
        """Return how many sequences `batch` draws from."""
        return self.train_size or self._parts().train.x.shape[1]

    def batch(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw sequences of the training part, with replacement: x (T, B, input_size), targets."""
        indices = torch.randint(self.train_sequences, (batch_size,), generator=generator)
        return self._parts().train.take(indices)

    def training_part(self) -> tuple[Tensor, Tensor]:
        """Return the sequences that `batch` draws from: x (T, N, input_size), targets."""
        return self._parts().train.take(torch.arange(self.train_sequences))

    def held_out(self, size: int = 1000) -> tuple[Tensor, Tensor]:
        """Return sequences of the held-out part, at most `size` of them, evenly spread."""
        held_out = self._parts().held_out
        return held_out.take(evenly(held_out.x.shape[1], size))


@dataclass(frozen=True)
class Names(_Sequences):
    """Name the next letter of first names at each step, and where they end.

    Inputs and classes are `LETTERS`: a dot, then a to z. A name is shown as a dot and its letters,
    x (12, B, 27) one-hot, and its targets are its letters and a dot; after that x is 0 and the
    target -100. A fifth of the 5,163 different names is held out. train_size: draw from only so
    many names. Chance is the entropy of the letter frequencies. Raises `ValueError` for a
    train_size outside 1 to 4131.
    """

    train_size: int | None = None
    name: ClassVar[str] = "names"
    input_size: ClassVar[int] = 27
    output_size: ClassVar[int] = 27
    every_step: ClassVar[bool] = True

    def _parts(self) -> _Parts:
        return _names()


@dataclass(frozen=True)
class Words(_Sequences):
    """Name the next letter of Shakespeare's words at each step, and where they end.

    The different words of 2 to 11 letters in `datasets.tragedies`, shown as `Names` shows names, of
    which none is in them: a network that has learned these words has seen no name. A fifth is held
    out. train_size: draw from only so many words. Chance is the entropy of the letter frequencies.
    Raises `ValueError` for a train_size that is not from 1 to `train_sequences`.
    """

    train_size: int | None = None
    name: ClassVar[str] = "words"
    input_size: ClassVar[int] = 27
    output_size: ClassVar[int] = 27
    every_step: ClassVar[bool] = True

    def _parts(self) -> _Parts:
        return _words()


@dataclass(frozen=True)
class Vowels(_Sequences):
    """Name the speaker, one of nine, after an utterance of 7 to 29 frames.

    x (29, B, 12) float32 is 0 after the last frame of an utterance; target (29, B) int64 is the
    speaker 0 to 8 at its last frame and -100 at all others. The data's own split: 270 utterances to
    train on, 370 held out. train_size: draw from only so many. Raises `ValueError` for a train_size
    outside 1 to 270.
    """

    train_size: int | None = None
    name: ClassVar[str] = "vowels"
    input_size: ClassVar[int] = 12
    output_size: ClassVar[int] = 9
    every_step: ClassVar[bool] = True

    def _parts(self) -> _Parts:
        return _vowels()


@dataclass(frozen=True)
class Digits(_Sequences):
    """Name a handwritten digit after reading its 8x8 pixels row by row or pixel by pixel.

    by: "rows", x (8, B, 8), or "pixels", x (64, B, 1); values from 0 (paper) to 1 (ink). The target
    (B,) is the digit. A fifth of the 1,797 images is held out. train_size: draw from only so many.
    Raises `ValueError` for another `by` and for a train_size outside 1 to 1438.
    """

    by: str = "rows"
    train_size: int | None = None
    output_size: ClassVar[int] = 10
    every_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_choice("by", self.by, ["rows", "pixels"])
        super().__post_init__()

    @property
    def name(self) -> str:
        """Return "digit rows" or "digit pixels"."""
        return f"digit {self.by}"

    @property
    def input_size(self) -> int:
        """Return the pixels of a step."""
        return 8 if self.by == "rows" else 1

    def _parts(self) -> _Parts:
        return _digits(self.input_size)


@functools.cache
def _names() -> _Parts:
    return _spelled(datasets.names())


@functools.cache
def _words() -> _Parts:
    words = set(re.findall(r"\b[a-z]{2,11}\b", datasets.tragedies().lower()))
    return _spelled(sorted(words - set(datasets.names())))


def _spelled(words: Iterable[str]) -> _Parts:
    codes = [torch.tensor([LETTERS.index(c) for c in f".{word}."]) for word in words]
    shown = pad_sequence([code[:-1] for code in codes], padding_value=len(LETTERS))
    x = F.one_hot(shown, len(LETTERS) + 1)[..., :-1].float()
    return _split(_Part(x, pad_sequence([code[1:] for code in codes], padding_value=UNUSED)))


@functools.cache
def _vowels() -> _Parts:
    train, test = (_utterances(part) for part in ("train", "test"))
    return _split(train, test)


def _utterances(part: str) -> _Part:
    utterances, speakers = datasets.japanese_vowels(part)
    x = torch.zeros(29, len(utterances), 12)
    target = torch.full(x.shape[:2], UNUSED)
    for i, (frames, speaker) in enumerate(zip(utterances, speakers, strict=True)):
        x[: len(frames), i] = torch.from_numpy(frames)
        target[len(frames) - 1, i] = int(speaker)
    return _Part(x, target)


@functools.cache
def _digits(width: int) -> _Parts:
    images, labels = map(torch.from_numpy, datasets.digits())
    x = images.reshape(len(images), -1, width).transpose(0, 1).contiguous()
    return _split(_Part(x, labels))

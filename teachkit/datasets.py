"""Real data that ships with the project, checked on load, and synthetic long-memory tasks."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from .device import generator
from .errors import bad, check_choice, check_count


@functools.cache
def data_folder() -> Path:
    """Return the folder with the data: `data/` of a checkout, or the copy inside the wheel.

    Raises `FileNotFoundError` when neither is there.
    """
    inside = Path(__file__).parent / "data"
    for folder in (inside, inside.parent.parent / "data"):
        if (folder / "manifest.json").is_file():
            return folder
    raise FileNotFoundError(
        f"The data of teachkit is missing: no manifest.json in {inside}. Install teachkit again."
    )


def data_file(name: str) -> Path:
    """Return the path of a shipped file after checking its SHA-256 against the manifest.

    Raises `ValueError` for a name that is not shipped or a file that was altered, and
    `FileNotFoundError` for one that is missing.
    """
    folder = data_folder()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    check_choice("name", name, manifest)
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"Data file {name} is missing from {folder}. Restore it.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != manifest[name]["sha256"]:
        raise ValueError(
            f"Data file {name} is damaged: its SHA-256 is {digest[:12]}..., but "
            f"{manifest[name]['sha256'][:12]}... is expected. Restore the file."
        )
    return path


def sunspots() -> pd.Series:
    """Load the monthly mean sunspot numbers, January 1749 to December 2008: 3,120 months.

    Returns a float Series with a monthly PeriodIndex. Source: National Geophysical Data Center,
    by way of statsmodels 0.15.0; public domain. Used in chapter 04.
    """
    table = pd.read_csv(data_file("sunspots_monthly.csv"))
    index = pd.PeriodIndex(table["month"], freq="M", name="month")
    return pd.Series(table["sunspots"].to_numpy(float), index=index, name="sunspots")


class Task(Protocol):
    """What a network can be trained on: batches, a loss and a score.

    Sequences have shape (seq_len, batch_size, input_size).
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
        """The loss of the best guess that ignores the input."""
        ...

    def batch(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw inputs (seq_len, batch_size, input_size) and their targets."""
        ...

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return what training minimises, a scalar."""
        ...

    def score(self, output: Tensor, target: Tensor) -> float:
        """Return how good the outputs are; 1 is perfect."""
        ...


def batches(task: Task, batch_size: int = 32, *, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Return an endless iterator over batches of a task; the same seed gives the same batches."""
    batch_size = check_count("batch_size", batch_size)
    stream = generator(seed, "batches")
    return (task.batch(batch_size, stream) for _ in itertools.count())


@dataclass(frozen=True)
class TemporalOrder:
    """Name two marked symbols in their order: a task that needs a memory of most of its length.

    Each step shows one of six symbols, one-hot. Two of them, at random places in
    [T/10, 2T/10) and [5T/10, 6T/10), are A or B; all others are drawn from c, d, e, f. The target
    is the class: AA, BA, AB or BB as 0 to 3 (first symbol + 2 * second). Chance is a loss of
    ln 4 = 1.386 and an accuracy of 1/4. Raises `ValueError` for seq_len below 10. Source:
    Hochreiter and Schmidhuber 1997, experiment 6a; positions as in the code of Pascanu et al.
    2013 (pascanur/trainingRNNs, tempOrder.py). Used in chapter 04.
    """

    seq_len: int = 30
    name: str = "temporal order"
    input_size: int = 6
    output_size: int = 4
    chance: float = math.log(4)

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

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats."""
        return F.cross_entropy(output, target)

    def score(self, output: Tensor, target: Tensor) -> float:
        """Return the accuracy, 0 to 1."""
        return (output.argmax(-1) == target).float().mean().item()


@dataclass(frozen=True)
class Forecast:
    """Forecast the next month of the sunspot series from the `seq_len` months before it.

    x (T, B, 1) and target (B, 1) are square roots of the monthly numbers, centred and scaled by
    the training part; batches come from the first 80 % of the months, `test()` from the rest.
    Raises `ValueError` for seq_len outside 2 to 600. Used in chapter 04.
    """

    seq_len: int = 30
    name: str = "sunspots"
    input_size: int = 1
    output_size: int = 1
    chance: float = 1.0  # the variance of the standardised series

    def __post_init__(self) -> None:
        object.__setattr__(self, "seq_len", check_count("seq_len", self.seq_len, low=2, high=600))

    def batch(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw windows of the training part: x (T, B, 1) float32, target (B, 1) float32."""
        train, _ = _standard_sunspots()
        last = train.numel() - self.seq_len
        return self._windows(train, torch.randint(last, (batch_size,), generator=generator))

    def test(self) -> tuple[Tensor, Tensor]:
        """Return every window of the held-out part, in order of time."""
        _, held_out = _standard_sunspots()
        return self._windows(held_out, torch.arange(held_out.numel() - self.seq_len))

    def _windows(self, series: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        steps = starts + torch.arange(self.seq_len + 1)[:, None]
        window = series[steps][..., None]
        return window[:-1], window[-1]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error, in units of the training variance."""
        return F.mse_loss(output, target)

    def score(self, output: Tensor, target: Tensor) -> float:
        """Return the share of the target's variance that is explained (1 is perfect)."""
        residual = (output - target).pow(2).sum()
        return (1 - residual / (target - target.mean()).pow(2).sum()).item()


@functools.cache
def _standard_sunspots() -> tuple[Tensor, Tensor]:
    """Return the training and held-out parts: square roots, standardised by the training part."""
    root = torch.tensor(sunspots().to_numpy(), dtype=torch.float32).sqrt()
    split = int(0.8 * root.numel())
    mean, std = root[:split].mean(), root[:split].std()
    standard = (root - mean) / std
    return standard[:split], standard[split:]


TASKS: dict[str, Callable[[int], Task]] = {"temporal order": TemporalOrder, "sunspots": Forecast}


def make_task(name: str, seq_len: int) -> Task:
    """Return a task by name: "temporal order" or "sunspots". Raises `ValueError` for another."""
    if not isinstance(name, str):
        raise bad("name", name, "the name of a task")
    check_choice("name", name, TASKS)
    return TASKS[name](seq_len)

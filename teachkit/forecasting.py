"""One long series, split in time: train on its first 60 %, choose on the next 20, test on the rest.

`SeriesForecast` is the task, `Forecaster` (module `forecaster`) what is left of it to use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from . import datasets
from .errors import bad, check_choice, check_count
from .objectives import Regression, evenly

PARTS = ("train", "validation", "test")
# Each a function, its inverse, and the least value that it takes.
TRANSFORMS: dict[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray], float]] = {
    "identity": (np.asarray, np.asarray, -np.inf),
    "sqrt": (np.sqrt, lambda values: np.square(np.maximum(values, 0.0)), 0.0),
    "log": (np.log, np.exp, np.nextafter(0.0, 1.0)),
}
_KNOWN: dict[str, tuple[Callable[[], pd.Series], str]] = {
    "sunspots": (datasets.sunspots, "sqrt"),
    "co2": (datasets.co2, "identity"),
    "seattle temperatures": (datasets.seattle_temperatures, "identity"),
}


@dataclass(frozen=True)
class Scaling:
    """How the values of a series become those that a network sees, and back.

    transform: "identity", "sqrt" or "log"; mean and std: of the transformed training part. A
    forecast below 0 under a square root returns as 0. Raises `ValueError` for another transform.
    """

    transform: str = "identity"
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        check_choice("transform", self.transform, TRANSFORMS)

    def scale(self, values: Any) -> np.ndarray:
        """Return values in units of the series as scaled ones, in float64.

        Raises `ValueError` for values that are not finite numbers or that the transform lacks.
        """
        return (transformed("values", values, self.transform) - self.mean) / self.std

    def unscale(self, scaled: Any) -> np.ndarray:
        """Return scaled values in units of the series, in float64."""
        values = np.asarray(scaled, float) * self.std + self.mean
        return TRANSFORMS[self.transform][1](values)


def transformed(argument: str, given: Any, transform: str) -> np.ndarray:
    """Return finite numbers after a transform, or raise `ValueError` in terms of `argument`."""
    forward, _, low = TRANSFORMS[transform]
    numbers = "finite numbers" if np.isinf(low) else f"finite numbers that {transform} takes"
    try:
        values = np.asarray(given, float)
    except (TypeError, ValueError):
        raise bad(argument, given, numbers) from None
    wrong = ~np.isfinite(values) | (values < low)
    if wrong.any():
        raise ValueError(f"{argument} must be {numbers}, but {values[wrong][0]} is among them.")
    return forward(values)


@dataclass(frozen=True)
class OwnSeries:
    """A series of the reader's own, so that two tasks on the same numbers are equal.

    data: the values as bytes of float64; index: their dates or places; marks: what an index of
    other dates has not, since an index itself cannot be hashed.
    """

    name: str
    data: bytes = field(repr=False)
    index: pd.Index = field(repr=False, compare=False)
    marks: tuple[str, ...] = field(repr=False)

    @property
    def values(self) -> np.ndarray:
        """The values, (n,)."""
        return np.frombuffer(self.data)


def _own(series: Any) -> OwnSeries:
    values = None if series is None else transformed("series", series, "identity")
    if values is None or values.ndim != 1:
        raise bad("series", series, "the name of a series, or one of your own, of shape (n,)")
    index = series.index if isinstance(series, pd.Series) else pd.RangeIndex(len(values))
    _check_order(index)
    name = getattr(series, "name", None)
    marks = (str(index.dtype), *map(str, index))
    return OwnSeries("own series" if name is None else str(name), values.tobytes(), index, marks)


def _check_order(index: pd.Index) -> None:
    """Raise `ValueError` for dates that do not increase: a split in time would not be one."""
    if not isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)):
        return
    allowed = "series must have dates that increase from each value to the next"
    if index.hasnans:
        raise ValueError(f"{allowed}, but one date is missing.")
    order = index.asi8
    (wrong,) = np.nonzero(order[1:] <= order[:-1])
    if len(wrong):
        raise ValueError(f"{allowed}, but {index[wrong[0] + 1]} comes after {index[wrong[0]]}.")


@dataclass(frozen=True)
class _Prepared:
    """A series after its transform, centred and scaled: values (n,), and where the parts begin."""

    values: np.ndarray
    tensor: Tensor
    scaling: Scaling
    raw: pd.Series
    bounds: tuple[int, int, int, int]


@functools.lru_cache(maxsize=16)
def _prepared(series: str | OwnSeries, transform: str) -> _Prepared:
    if isinstance(series, OwnSeries):
        raw = pd.Series(series.values, index=series.index, name=series.name)
    else:
        raw = _KNOWN[series][0]()
    values = transformed("series", raw.to_numpy(float), transform)
    n = len(values)
    bounds = (0, 3 * n // 5, 4 * n // 5, n)
    train = values[: bounds[1]]
    if len(train) < 2 or not np.ptp(train):
        raise ValueError(
            f"series must vary in its first 60 %, but one of {len(train)} values "
            f"{'without any change ' if len(train) > 1 else ''}was given."
        )
    scaling = Scaling(transform, float(train.mean()), float(train.std(ddof=1)))
    scaled = (values - scaling.mean) / scaling.std
    return _Prepared(scaled, torch.tensor(scaled, dtype=torch.float32), scaling, raw, bounds)


@dataclass(frozen=True)
class SeriesForecast(Regression):
    """Forecast the next `horizon` values of a series at once from the `seq_len` values before.

    series: "sunspots" (3,120 months), "co2" or "seattle temperatures", or one of your own: a
    pandas Series or an array (n,). transform: "identity", "sqrt" or "log"; None is "sqrt" for the
    sunspots, else "identity". Values are then centred and scaled by the training part alone.

    The series is split in time: the first 60 % to train on, the next 20 % for validation, the rest
    to test on. A window belongs to the part that its targets lie in; its inputs may reach back into
    the part before, as they do in use, but nothing of `batch` lies later than the training part. x
    is (T, B, 1), the target (B, horizon): a direct forecast of all steps ahead, in scaled units,
    where 1 is a standard deviation of the training part. Raises `ValueError` for an unknown name,
    values that are not finite or that the transform lacks, dates that do not increase, and windows
    that the parts do not hold. Taught in chapter 06.

    >>> task = SeriesForecast()
    >>> [str(task.dates[n]) for n in task.bounds[:3]]
    ['1749-01', '1905-01', '1957-01']
    """

    series: Any = "sunspots"
    seq_len: int = 132
    horizon: int = 24
    transform: str | None = None
    input_size: ClassVar[int] = 1
    every_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        set_field = functools.partial(object.__setattr__, self)  # frozen for everyone else
        if isinstance(self.series, str):
            check_choice("series", self.series, _KNOWN)
            usual = _KNOWN[self.series][1]
        else:
            usual = "identity"
            if not isinstance(self.series, OwnSeries):
                set_field("series", _own(self.series))
        if self.transform is None:
            set_field("transform", usual)
        check_choice("transform", self.transform, TRANSFORMS)
        set_field("seq_len", check_count("seq_len", self.seq_len))
        set_field("horizon", check_count("horizon", self.horizon))
        _, train, validation, end = self.bounds
        high = min(validation - train, end - validation)
        if self.horizon > high:
            raise bad("horizon", self.horizon, f"at most {high}, a fifth of {end} values")
        if self.seq_len + self.horizon > train:
            window = f"{self.seq_len} + {self.horizon}"
            raise ValueError(
                f"seq_len + horizon must be at most {train}, the first 60 % of {end} values, "
                f"but {window} was given."
            )

    @property
    def name(self) -> str:
        """Return the name of the series."""
        return self.series if isinstance(self.series, str) else self.series.name

    @property
    def output_size(self) -> int:
        """Return the steps ahead that are forecast."""
        return self.horizon

    @property
    def _data(self) -> _Prepared:
        assert self.transform is not None
        return _prepared(self.series, self.transform)

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Return where the three parts begin, and the length of the series."""
        return self._data.bounds

    @property
    def scaling(self) -> Scaling:
        """Return how values become scaled ones, by the training part alone."""
        return self._data.scaling

    @property
    def values(self) -> pd.Series:
        """Return the whole series in its own units, with its dates."""
        return self._data.raw.copy()

    @property
    def scaled(self) -> np.ndarray:
        """Return the whole series in scaled units, (n,), in float64."""
        return self._data.values.copy()

    @property
    def dates(self) -> pd.Index:
        """Return the dates of the series, or the places 0, 1, ... of an array."""
        return self._data.raw.index

    @functools.cached_property
    def chance(self) -> float:
        """Return the loss of the best guess that ignores the input: each step's own mean."""
        return float(self.arrays("train")[1].var(axis=0).mean())

    @property
    def train_sequences(self) -> int:
        """Return how many windows `batch` draws from."""
        return len(self.origins("train"))

    def origins(self, part: str) -> range:
        """Return where the targets of the windows of a part may begin, places in the series.

        part: "train", "validation" or "test". Raises `ValueError` for another one.
        """
        check_choice("part", part, PARTS)
        place = PARTS.index(part)
        first, after = self.bounds[place : place + 2]
        return range(max(first, self.seq_len), after - self.horizon + 1)

    def arrays(self, part: str, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return windows (N, T) and targets (N, horizon) of a part in order, in float64.

        size: at most so many, evenly spread; None is all. In scaled units. `baselines` takes them.
        """
        origins = self._spread(part, size).numpy()[:, None]
        inputs = origins + np.arange(-self.seq_len, 0)
        return self._data.values[inputs], self._data.values[origins + np.arange(self.horizon)]

    def at(self, origins: Tensor) -> tuple[Tensor, Tensor]:
        """Return the windows whose targets begin at these places: x (T, B, 1), target (B, horizon).

        origins: (B,), whole numbers. They must leave room for a window on both sides.
        """
        values = self._data.tensor
        x = values[origins + torch.arange(-self.seq_len, 0)[:, None]]
        return x[..., None], values[origins[:, None] + torch.arange(self.horizon)]

    def batch(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw windows at random places of the training part: x (T, B, 1), target (B, horizon)."""
        origins = self.origins("train")
        drawn = torch.randint(len(origins), (batch_size,), generator=generator)
        return self.at(origins.start + drawn)

    def held_out(self, size: int = 1000) -> tuple[Tensor, Tensor]:
        """Return windows of the validation part in order, at most `size` of them, evenly spread."""
        return self.at(self._spread("validation", size))

    def test_windows(self, size: int = 1000) -> tuple[Tensor, Tensor]:
        """Return windows of the test part in order, at most `size` of them, evenly spread."""
        return self.at(self._spread("test", size))

    def _spread(self, part: str, size: int | None) -> Tensor:
        origins = self.origins(part)
        return origins.start + evenly(len(origins), len(origins) if size is None else size)

"""What makes one lab: its controls and its pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..errors import check_choice, check_number
from .canvas import Picture
from .controls import Choice, Slider

Settings = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """How a lab trains for its settings.

    start(settings) yields (done, result) pairs: the share of the work done so far and what the
    picture draws. seconds(settings) estimates the wall time on this machine. needs: controls
    without which a lab shows no training.
    """

    start: Callable[[Settings], Iterator[tuple[float, Any]]]
    picture: Callable[[], Picture]
    sentence: Callable[[Any], str]
    seconds: Callable[[Settings], float]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """What makes one lab: its controls and pure functions.

    table: the numbers of a result, for Save. posters: changes to the settings for the still
    pictures in a saved notebook (low, critical, high). limits: new slider ends for some settings,
    {name: (low, high)}. arguments: written first in the settings line, for a lab of the reader's
    own model.
    """

    name: str
    controls: tuple[Slider | Choice, ...]
    compute: Callable[[Settings], Any]
    picture: Callable[[], Picture]
    sentence: Callable[[Any], str]
    table: Callable[[Any], pd.DataFrame]
    posters: Callable[[Settings], Sequence[Settings]] = field(default=lambda _: ({},))
    limits: Callable[[Settings], dict[str, tuple[float, float]]] = field(default=lambda _: {})
    training: Training | None = None
    arguments: str = ""

    @property
    def defaults(self) -> Settings:
        """The settings at which the lab opens."""
        return {c.name: c.value for c in self.controls}

    def check(self, settings: Settings) -> Settings:
        """Return complete settings, or raise `ValueError` that names the bad one."""
        known = {c.name: c for c in self.controls}
        for name in settings:
            check_choice("setting", name, known)
        full = {**self.defaults, **{n: known[n].check(v) for n, v in settings.items()}}
        for name, (low, high) in self.limits(full).items():
            if not low <= full[name] <= high:
                if name in settings:
                    check_number(name, full[name], low, high)
                full[name] = min(max(full[name], low), high)
        return full

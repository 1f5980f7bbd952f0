"""What makes one lab: its controls and its pure functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..errors import check_choice
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
    pictures in a saved notebook (low, critical, high). limits: what some controls offer at these
    settings, {name: (low, high) of a slider, or options of a choice}; one that depends on another
    limited control stands below it in `controls`. aside: whether these settings are a place to come
    back from, to the values that were moved to fit in there. arguments: written first in the
    settings line, for a lab of the reader's own model.
    """

    name: str
    controls: tuple[Slider | Choice, ...]
    compute: Callable[[Settings], Any]
    picture: Callable[[], Picture]
    sentence: Callable[[Any], str]
    table: Callable[[Any], pd.DataFrame]
    posters: Callable[[Settings], Sequence[Settings]] = field(default=lambda _: ({},))
    limits: Callable[[Settings], dict[str, tuple[Any, ...]]] = field(default=lambda _: {})
    aside: Callable[[Settings], bool] = field(default=lambda _: False)
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
        return self.fit(full, refuse=settings)

    def fit(self, settings: Settings, refuse: Collection[str] = ()) -> Settings:
        """Return settings with each value moved to the nearest that its limit allows.

        Raises `ValueError` for one that would have to move and is named in `refuse`.
        """
        full = dict(settings)
        for control in self.controls:
            limit = self.limits(full).get(control.name)
            if limit is not None:
                if control.name in refuse:
                    control.check(full[control.name], limit)
                full[control.name] = control.nearest(full[control.name], limit)
        return full

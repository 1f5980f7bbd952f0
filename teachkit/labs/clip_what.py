"""Lab: which gradients a clipping method shortens, at which threshold, and what becomes of them."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from ..clip_rules import CLIPPED_GROUPS, GROUPS, METHODS, StackedParameter
from ..clipping import Clipper
from .base import Lab
from .clip_what_gradients import clipped_batches, network_gradients, own_gradients, tanh_model
from .clip_what_picture import Clipping, ClippingPicture, short
from .controls import Choice, Slider, Stops
from .network import task_of
from .race import STEPS, Race, RacePicture, race_seconds, race_sentence, run_race
from .spec import Settings, Spec, Training

TASKS = ("temporal order", "adding", "sunspots")
# What a threshold counts, and the stops of its control, by method; the others count norms.
NORMS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
UNITS = {"agc": "ratio ", "autoclip": "percentile ", "zclip": "z = "}
OWN_STOPS: dict[str, tuple[float, ...]] = {
    "agc": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "autoclip": (5.0, 10.0, 25.0, 50.0, 75.0, 90.0),
    "zclip": (1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0),
}
RATES = {"sgd": (0.01, 0.03, 0.1, 0.3), "adam": (0.0003, 0.001, 0.003, 0.01)}
USUAL_RATES = (0.1, 0.003)


@dataclass(frozen=True)
class StopsOfUnits(Stops):
    """Stops of several units: a unit puts its usual value, in `kin`, for one that it lacks."""

    def nearest(self, value: Any, limit: tuple[Any, ...]) -> Any:
        """Return the value, or the first of its kin that is offered."""
        return Choice.nearest(self, value, limit)


def _stops(name: str, label: str, value: float, usual: tuple[float, ...], *rows: Any) -> Stops:
    options = tuple(dict.fromkeys(itertools.chain(*rows)))
    return StopsOfUnits(name, label, value, options, kin=((*usual, *options),))


_THRESHOLD = _stops(
    "threshold", "threshold", 1.0, tuple(METHODS.values()), NORMS, *OWN_STOPS.values()
)


def name_of(method: str, threshold: float) -> str:
    """Say a method and its threshold, with its unit where that is no norm.

    >>> name_of("norm", 1.0), name_of("agc", 0.01)
    ('norm at 1', 'agc at ratio 0.01')
    """
    return f"{method} at {UNITS.get(method, '')}{threshold:g}"


def compute(settings: Settings) -> Clipping:
    """Clip the true gradients of the settings' network, batch by batch. Pure."""
    names = ("task", "rho", "hidden_size", "seq_len", "seed")
    parameters = network_gradients(*(settings[name] for name in names))
    return _clipping(settings, parameters, f"rho = {settings['rho']:.2f}", settings["task"])


def _clipping(
    settings: Settings, parameters: Sequence[StackedParameter], knob: str, lead: str
) -> Clipping:
    method, threshold = settings["method"], settings["threshold"]
    return Clipping(
        method=method,
        frame=clipped_batches(Clipper(method, threshold), parameters),
        groups=tuple(group for group in GROUPS if any(p.group == group for p in parameters)),
        name=name_of(method, threshold),
        knob=knob,
        lead=lead,
    )


# -- in words ---------------------------------------------------------------------------------

_PARTS = {
    "recurrent": "the recurrent gradient",
    "output": "the output layer's",
    "other": "that of the rest",
}


def sentence(result: Clipping) -> str:
    """State what becomes of the gradients: how many are clipped, their norms, their direction."""
    count = len(result.frame)
    beyond = int((~result.finite).sum())
    lead = ", ".join(filter(None, (result.name, result.knob, result.lead)))
    text = f"{lead}: {result.clipped} of {count} batches clipped"
    if beyond:
        text += f", {beyond} of {count} gradients are beyond float range"
    if beyond == count:
        return text + "."
    changes, said = [], ""
    for group in result.groups:
        before, after = (result.typical(group, when) for when in ("before", "after"))
        verb, ends = "goes", f"from {short(before)} to {short(after)}"
        if np.isclose(after, before, rtol=1e-3, atol=0):
            verb, ends = "stays", f"at {short(before)}"
        changes.append(f"{_PARTS[group]} {ends if verb == said else f'{verb} {ends}'}")
        said = verb
    return f"{text}; {', '.join(changes)}; {_direction(result)}."


def _direction(result: Clipping) -> str:
    cosine = result.cosine()
    if np.isnan(cosine):
        return "there is no direction to compare"
    if result.clipped == 0:
        return "nothing changes"
    kept = result.frame["cosine"].min() > 0.9995
    return f"the direction {'is kept' if kept else 'turns'} (cosine {cosine:.3f})"


def table(result: Clipping) -> pd.DataFrame:
    """Return the numbers of each batch, a row a batch."""
    return result.frame.drop(columns="finite")


# -- training ---------------------------------------------------------------------------------


def _race(settings: Settings) -> Iterator[tuple[float, Race]]:
    task = task_of(settings)
    model = tanh_model(settings, task)
    method, threshold = settings["method"], settings["threshold"]
    how = f"{settings['optimizer']} with lr {settings['lr']:g}"
    return run_race(
        model,
        copy.deepcopy(model),
        task,
        lambda: Clipper(method, threshold),
        lr=settings["lr"],
        optimizer=settings["optimizer"],
        seed=settings["seed"],
        steps=STEPS,
        start=f"rho = {settings['rho']:.2f}, seed {settings['seed']}, {how}",
        how=f"with {name_of(method, threshold)}",
    )


@functools.lru_cache(maxsize=64)
def _seconds_per_time_step(task: str, hidden_size: int, optimizer: str) -> float:
    probe: Settings = {"task": task, "hidden_size": hidden_size, "rho": 1.0, "seed": 0}
    probe["seq_len"] = 20
    made = task_of(probe)
    return race_seconds(tanh_model(probe, made), made, optimizer=optimizer) / 20


def _seconds(settings: Settings) -> float:
    names = ("task", "hidden_size", "optimizer")
    return _seconds_per_time_step(*(settings[n] for n in names)) * settings["seq_len"]


# -- the lab ----------------------------------------------------------------------------------


def limits(settings: Settings) -> dict[str, tuple[Any, ...]]:
    """Return the thresholds of the method and, where it trains, the rates of the optimiser."""
    found: dict[str, tuple[Any, ...]] = {"threshold": OWN_STOPS.get(settings["method"], NORMS)}
    if "optimizer" in settings:
        found["lr"] = RATES[settings["optimizer"]]
    return found


def posters(start: Settings) -> list[Settings]:
    """Return a mild explosion, a strong one, and what another method makes of that."""
    others: Settings = {"method": "recurrent" if start["method"] == "norm" else "norm"}
    if start["method"] in OWN_STOPS:
        others["threshold"] = METHODS["norm"]
    return [{"rho": 1.2}, {"rho": 3.0}, {"rho": 3.0, **others}]


OFFERED = ("norm", "per_parameter", "value", "recurrent", "output", "agc", "autoclip", "zclip")
SPEC = Spec(
    name="clip_what",
    controls=(
        Choice("method", "method", "norm", OFFERED),
        _THRESHOLD,
        Slider("rho", "rho", 2.0, 0.1, 3.0, 0.05),
        Choice("task", "task", "temporal order", TASKS),
        Stops("seq_len", "seq_len", 30, (10, 20, 30, 50, 100)),
        Stops("hidden_size", "hidden_size", 50, (16, 32, 50, 64)),
        Slider("seed", "seed", 0, 0, 99, 1),
        Choice("optimizer", "optimizer", "sgd", tuple(RATES)),
        _stops("lr", "learning rate", 0.1, USUAL_RATES, *RATES.values()),
    ),
    compute=compute,
    picture=ClippingPicture,
    sentence=sentence,
    table=table,
    posters=posters,
    limits=limits,
    aside=lambda s: s["method"] in OWN_STOPS,
    training=Training(_race, RacePicture, race_sentence, _seconds, needs=("lr",)),
)


# -- the reader's own model ---------------------------------------------------------------------


def own_clip_what_spec(
    model: nn.Module, batches: Any, loss: Callable[..., Any], output: str | None
) -> Spec:
    """Make the lab of the reader's own model."""
    parameters = own_gradients(model, batches, loss, output)
    groups = {p.group for p in parameters}
    offered = tuple(
        m for m in METHODS if m != "error" and groups.intersection(CLIPPED_GROUPS.get(m, GROUPS))
    )
    given = "model=model, batches=batches, loss=loss"
    return Spec(
        name="clip_what",
        controls=(Choice("method", "method", "norm", offered), _THRESHOLD),
        compute=lambda s: _clipping(s, parameters, "", type(model).__name__),
        picture=ClippingPicture,
        sentence=sentence,
        table=table,
        limits=limits,
        aside=lambda s: s["method"] in OWN_STOPS,
        arguments=given if output is None else f"{given}, output={output!r}",
    )


def clip_what(
    *,
    model: nn.Module | None = None,
    batches: Sequence[tuple[Any, Any]] | None = None,
    loss: Callable[..., Any] | None = None,
    output: str | None = None,
    show: Sequence[str] | None = None,
    **settings: Any,
) -> Lab:
    """Open the lab of chapter 05: what does a clipping method do to the gradient of 64 batches?

    The network is that of chapter 04 with tanh, before training. Left, the norm that the method
    looks at, by batch, before and after; in the middle the norms of the recurrent layer and of the
    output layer; right the cosine between the gradient before and after. Methods that remember
    norms see the batches in this order. Train now trains two copies, without and with clipping.

    settings: method ("norm", "per_parameter", "value", "recurrent", "output", "agc", "autoclip" or
    "zclip", as of `Clipper`), threshold (of the method: a norm or an entry from 0.01 to 100, a
    ratio, a percentile, a z score), rho (0.1 to 3), task ("temporal order", "adding" or
    "sunspots"), seq_len, hidden_size, seed; for Train now optimizer ("sgd" or "adam") and lr. show:
    names of the controls to show, None for all; Train now is there when `lr` is.

    model, batches, loss: your own nn.Module, a list of (x, target) pairs, and a function of
    (model(x), target) that returns a scalar. output: the name of its output layer, None for its
    last nn.Linear outside recurrent layers. The controls are then method and threshold. Raises
    `ValueError` for a bad setting.
    """
    if model is None and batches is None and loss is None and output is None:
        return Lab(SPEC, settings, show)
    if model is None or batches is None or loss is None:
        raise ValueError("model, batches and loss must be given together.")
    return Lab(own_clip_what_spec(model, batches, loss, output), settings, show)

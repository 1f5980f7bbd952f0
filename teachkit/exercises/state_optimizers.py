"""The check of chapter 03 on the optimiser of learned initial states."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from ..drop_ins import LSTM
from ..plots import COLORS
from .answers import call, exercise, first, wrong
from .feedback import OPEN, Feedback, draw

_LIST = "Return a list of dicts, each with a list of parameters under the key 'params'."


class _Setting(NamedTuple):
    """How an optimiser treats a parameter."""

    lr: float
    decay: float


_REST, _STATE = _Setting(1e-3, 0.1), _Setting(1e-2, 0.0)


class _Model(nn.Module):
    """A learned initial state among parameters whose names contain h0 and c0, too."""

    def __init__(self) -> None:
        super().__init__()
        self.path0 = nn.Parameter(torch.zeros(2))
        self.lstm = LSTM(3, 4, initial_state="learned")
        self.branch0 = nn.Linear(4, 2)


class _Other(nn.Module):
    """The same under other names, so that those of the first cannot be written down."""

    def __init__(self) -> None:
        super().__init__()
        self.sync0 = nn.Parameter(torch.zeros(2))
        self.encoder = LSTM(3, 4, initial_state="learned")
        self.head = nn.Linear(4, 2)


@exercise
def state_groups(function: Any) -> Feedback:
    """Chapter 03: give AdamW a group of its own for the learned initial states."""
    hint = None
    for model in (_Model(), _Other()):
        given = call(function, "(model)", model, advice=_ADVICE)
        if given is None:
            return OPEN
        found = _settings(given, model)
        hint = _hint(found)
        if hint is not None:
            break

    def paint(ax: Axes) -> None:
        places = np.arange(len(found))
        for values, key, marker, size, label in (
            ([_wanted(name) for name in found], "critical", "o", 9, "asked for"),
            (list(found.values()), "prediction", "s", 5, "yours"),
        ):
            rates = np.clip([value.lr for value in values], 1e-5, 1e2)
            decays = np.array([value.decay != 0 for value in values])
            for with_decay, face in ((True, COLORS[key]), (False, "white")):
                here = decays == with_decay
                ax.plot(
                    rates[here], places[here], marker, color=COLORS[key], markersize=size,
                    markerfacecolor=face, label=label if with_decay else None,
                )  # fmt: skip
        ax.plot([], [], "o", color="#666666", markerfacecolor="white", label="no weight decay")
        ax.set_yticks(places, list(found), fontsize=8)
        ax.set(xlabel="learning rate", xscale="log", ylim=(len(found) - 0.5, -0.5))
        ax.margins(x=0.2)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3)

    png = draw(paint, (5.6, 3.3))
    if hint is not None:
        return Feedback("wrong", hint, png)
    text = "h0 and c0 learn at 0.01 without weight decay, everything else at 0.001 with 0.1."
    return Feedback("right", text, png)


# Words of a common error -> what to do about it.
_ADVICE = {
    "must match the size of tensor": (
        "`p in states` compares numbers: compare names, or objects with `is`."
    )
}


def _is_state(name: str) -> bool:
    return name.rpartition(".")[2] in ("h0", "c0")


def _wanted(name: str) -> _Setting:
    return _STATE if _is_state(name) else _REST


def _settings(given: Any, model: nn.Module) -> dict[str, _Setting]:
    """Return how AdamW treats each parameter; raises `Stop` where it cannot treat each once."""
    if isinstance(given, torch.optim.Optimizer):
        raise wrong("Return the groups, not the optimiser: the check makes one from them.")
    groups = [_group(group) for group in given] if isinstance(given, Iterable) else []
    if not groups:
        raise wrong(_LIST)
    names = {parameter: name for name, parameter in model.named_parameters()}
    counts = Counter(parameter for group in groups for parameter in group["params"])
    twice = [names.get(parameter, "?") for parameter, count in counts.items() if count > 1]
    missing = [name for parameter, name in names.items() if parameter not in counts]
    hint = first(
        (counts.keys() - names.keys(), "Some of your tensors are no parameters of the model."),
        (twice, f"Each parameter may be there once only. Twice: {', '.join(twice)}."),
        (missing, f"Never to be updated, since they are in no group: {', '.join(missing)}."),
    )
    if hint is not None:
        raise wrong(hint)
    optimizer = torch.optim.AdamW(groups, lr=_REST.lr, weight_decay=_REST.decay)
    unknown = {key for group in groups for key in group} - {*optimizer.defaults, "params"}
    if unknown:
        raise wrong(
            f"AdamW does not know {', '.join(map(repr, sorted(unknown)))}, and says nothing."
        )
    return {
        names[parameter]: _Setting(group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def _group(group: Any) -> dict[str, Any]:
    """Return a group with its parameters as a list; raises `Stop` for anything else."""
    if isinstance(group, Tensor):
        raise wrong(f"These are parameters without groups. {_LIST}")
    if not isinstance(group, Mapping) or "params" not in group:
        raise wrong(_LIST)
    parameters = group["params"]
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    if isinstance(parameters, (str, Mapping)) or not isinstance(parameters, Iterable):
        raise wrong(_LIST)
    # PyTorch takes pairs (name, parameter) as well
    parameters = [p[1] if isinstance(p, tuple) and len(p) == 2 else p for p in parameters]
    if not all(isinstance(parameter, Tensor) for parameter in parameters):
        raise wrong(_LIST)
    for key in ("lr", "weight_decay"):
        value = group.get(key, 0.0)
        if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise wrong(f"{key!r} must be a number of at least 0, but it is {value!r}.")
    return {**group, "params": parameters}


def _hint(found: Mapping[str, _Setting]) -> str | None:
    """Say what is wrong with the settings of the parameters, or return None."""
    if all(_same(setting, _wanted(name)) for name, setting in found.items()):
        return None
    states = {name: setting for name, setting in found.items() if _is_state(name)}
    rest = {name: setting for name, setting in found.items() if name not in states}
    decayed = [name for name, setting in states.items() if setting.decay]
    slow = [name for name, setting in states.items() if _close(setting.lr, _REST.lr)]
    spared = [name for name, setting in rest.items() if not setting.decay]
    fast = [name for name, setting in rest.items() if not _close(setting.lr, _REST.lr)]
    posing = [name for name in rest if name in spared or name in fast]
    alike = len(set(found.values())) == 1
    rates = sorted({setting.lr for setting in states.values()})
    exchanged = len(decayed) == len(states) and len(spared) == len(rest)
    return first(
        (alike, "One setting for all: make a group for the states, and one for the rest."),
        (exchanged, "The groups are exchanged: the states are those that go without weight decay."),
        (0 < len(posing) < len(rest), f"{', '.join(posing)}: {_POSING}"),
        (spared, "The rest must keep its weight decay of 0.1: that is the optimiser's own."),
        (fast, "The rest learns at the optimiser's rate of 0.001: give 'lr' to the states alone."),
        (decayed, f"Weight decay still acts on {', '.join(decayed)}. {_DECAY}"),
        (slow, f"{', '.join(slow)}: the learning rate is still 0.001, and 0.01 is asked for."),
        (10 in rates, "'lr': 10 is a rate of 10. Ten times 0.001 is 0.01."),
        (len(rates) > 1, f"The states learn at different rates: {rates}."),
        (True, f"The states learn at {rates[0]:g}. Ten times 0.001 is 0.01."),
    )


def _same(one: _Setting, two: _Setting) -> bool:
    return _close(one.lr, two.lr) and _close(one.decay, two.decay)


def _close(one: float, two: float) -> bool:
    return math.isclose(one, two, rel_tol=1e-6, abs_tol=1e-12)


_DECAY = "It pulls the state to 0 at every step: give the group 'weight_decay': 0.0."
_POSING = (
    "no initial state, only something with h0 or c0 in its name. The last part of a parameter's "
    "name must be h0 or c0: name.split('.')[-1]."
)

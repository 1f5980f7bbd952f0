"""What learning or carrying the initial state takes: parameter groups, resets, fresh starts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from .drop_ins import STATES
from .errors import bad, check_count, check_number
from .initial_states import InitialState


def _owners(model: nn.Module) -> list[nn.Module]:
    """Return the drop-ins of a model."""
    if not isinstance(model, nn.Module):
        raise bad("model", model, "an nn.Module")
    return [m for m in model.modules() if isinstance(getattr(m, "initial_state", 0), InitialState)]


def initial_state_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the learned initial states of all drop-in layers and cells in a model.

    Raises `ValueError` for anything but a module. Taught in chapter 03.
    """
    found = (owner._parameters.get(name) for owner in _owners(model) for name in STATES)
    return list(dict.fromkeys(state for state in found if state is not None))


def parameter_groups(model: nn.Module, *, state_lr: float | None = None) -> list[dict[str, Any]]:
    """Return the parameters of a model as groups for any `torch.optim` optimiser.

    The learned initial states form a group without weight decay, which would pull them to zero.
    state_lr: their learning rate; None is that of the optimiser. Raises `ValueError` for a negative
    rate. Sources: Mamba-2 spares its initial states weight decay; RWKV tunes them at a learning
    rate of up to 1. Taught in chapter 03.

    `torch.optim.AdamW(parameter_groups(model), lr=1e-3, weight_decay=0.1)`
    """
    states = initial_state_parameters(model)
    known = set(states)
    groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if p not in known]}]
    if states:
        groups.append({"params": states, "weight_decay": 0.0})
        if state_lr is not None:
            groups[1]["lr"] = check_number("state_lr", state_lr, low=0)
    return groups


@dataclass(frozen=True)
class ResetRatio:
    """How often data start a network afresh; see `reset_ratio`.

    resets: sequences, each of which starts once. steps: time steps in all. reaching: those whose
    error reaches the initial state. learned: numbers in the learned initial states of the model.
    """

    resets: int
    steps: int
    reaching: int
    learned: int

    @property
    def resets_per_step(self) -> float:
        """Pitis's ratio of resets to observations: what noise and learning the state act on."""
        return self.resets / self.steps

    @property
    def resets_per_learned(self) -> float:
        """Examples for each learned number: with few of them the state fits these alone."""
        return self.resets / self.learned if self.learned else float("inf")


def reset_ratio(
    lengths: Iterable[int], model: nn.Module | None = None, *, bptt: int | None = None
) -> ResetRatio:
    """Count the resets that data give: what decides whether learning the initial state can pay.

    lengths: of all training sequences, in steps. model: one with a learned initial state. bptt: the
    steps of truncated backpropagation, if any; the error of later steps never reaches the initial
    state. Pitis expects learning to pay for many short sequences, and to overfit the beginnings of
    a few long ones; no threshold holds everywhere. Raises `ValueError` for an empty list or lengths
    that are no positive whole numbers. Source: Pitis,
    "Non-Zero Initial States for Recurrent Neural Networks" (r2rt.com, 2016). Taught in chapter 03.

    >>> reset_ratio([1_000_000], bptt=30)
    ResetRatio(resets=1, steps=1000000, reaching=30, learned=0)
    """
    counts = [check_count("lengths", n) for n in lengths] if isinstance(lengths, Iterable) else []
    if not counts:
        raise bad("lengths", lengths, "the lengths of one or more sequences")
    reach = max(counts) if bptt is None else check_count("bptt", bptt)
    states = [] if model is None else initial_state_parameters(model)
    return ResetRatio(
        resets=len(counts),
        steps=sum(counts),
        reaching=sum(min(length, reach) for length in counts),
        learned=sum(state.numel() for state in states),
    )


def reset_states(model: nn.Module) -> None:
    """Forget the carried states of all drop-ins in a model, as is due before another series.

    Raises `ValueError` for what is no module. Taught in chapter 03.
    """
    for owner in _owners(model):
        strategy = owner.initial_state
        assert isinstance(strategy, InitialState)
        strategy.reset(owner)


@contextlib.contextmanager
def fresh_states(model: nn.Module) -> Iterator[None]:
    """Run a block, an evaluation say, without the carried states of a model.

    Within it they begin at zero, for any batch size; after it they are what they were before.
    Raises `ValueError` for what is no module. Taught in chapter 03.
    """
    carried = [
        (owner, name, value)
        for owner in _owners(model)
        for name, value in owner._buffers.items()
        if name.endswith("_carried")
    ]
    reset_states(model)
    try:
        yield
    finally:
        for owner, name, value in carried:
            setattr(owner, name, value)

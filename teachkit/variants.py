"""What an experiment varies: everything about one network but its seed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .clipping import Clipper
from .device import generator
from .drop_ins import GRU, LSTM
from .errors import bad, check_choice, check_count, check_number
from .gates import set_forget_bias
from .initial_states import InitialState, LearnedState, make_initial_state
from .initializers import SchemeLike, initialize
from .models import ACTIVATIONS, ElmanRNN, SequenceModel
from .optimizers import OPTIMIZERS
from .schemes import is_sequence, steps
from .tasks import Task

CELLS = ("lstm", "gru", "rnn")


@dataclass(frozen=True)
class Variant:
    """One way to make and train a network; every seed of it is a replica.

    cell: "lstm", "gru" or "rnn". nonlinearity: of an "rnn". initial_state: as of the drop-ins.
    initializer: what `initialize` takes as scheme: a name, a function, a dict of "scheme" and its
    options, or a sequence of these. forget_bias: of an LSTM, set after it; None leaves it.
    optimizer: "sgd", "adam" or a function of (parameters, lr=...) that treats each number by
    itself. state_lr: of a learned initial state; None is lr. Raises `ValueError` for bad settings.

    >>> Variant(cell="rnn", initializer={"scheme": "gaussian", "rho": 1.2}).lr
    0.003
    """

    cell: str = "lstm"
    hidden_size: int = 32
    nonlinearity: str = "tanh"
    initial_state: str | InitialState = "zero"
    initializer: SchemeLike | Sequence[SchemeLike] = "torch"
    forget_bias: float | None = None
    optimizer: str | Callable[..., torch.optim.Optimizer] = "adam"
    lr: float = 3e-3
    state_lr: float | None = None
    clipper: Clipper | None = None

    def __post_init__(self) -> None:
        check_choice("cell", self.cell, CELLS)
        set_field = functools.partial(object.__setattr__, self)  # frozen for everyone else
        set_field("hidden_size", check_count("hidden_size", self.hidden_size))
        check_choice("nonlinearity", self.nonlinearity, ACTIVATIONS)
        if self.cell != "rnn" and self.nonlinearity != "tanh":
            raise bad("nonlinearity", self.nonlinearity, f"'tanh' for a cell={self.cell!r}")
        make_initial_state(self.initial_state)
        steps("initializer", self.initializer)
        if is_sequence(self.initializer):
            set_field("initializer", tuple(self.initializer))
        if self.forget_bias is not None:
            set_field("forget_bias", check_number("forget_bias", self.forget_bias))
            if self.cell != "lstm":
                raise bad("forget_bias", self.forget_bias, f"None for a cell={self.cell!r}")
        if not callable(self.optimizer):
            check_choice("optimizer", self.optimizer, OPTIMIZERS)
        set_field("lr", check_number("lr", self.lr, low=0))
        if self.state_lr is not None:
            set_field("state_lr", check_number("state_lr", self.state_lr, low=0))
            if not isinstance(make_initial_state(self.initial_state), LearnedState):
                raise bad("state_lr", self.state_lr, "given to variants with a learned state alone")
        if self.clipper is not None and not isinstance(self.clipper, Clipper):
            raise bad("clipper", self.clipper, "a Clipper or None")

    @property
    def architecture(self) -> tuple[str, int, str]:
        """What variants must share to be trained in one stack."""
        return self.cell, self.hidden_size, self.nonlinearity if self.cell == "rnn" else ""

    def model(self, task: Task, seed: int) -> SequenceModel:
        """Make the network of one seed for a task; variants of a seed share random numbers."""
        kinds: dict[str, Callable[..., nn.RNNBase]] = {"lstm": LSTM, "gru": GRU, "rnn": ElmanRNN}
        options: dict[str, Any] = {"initial_state": self.initial_state}
        if self.cell == "rnn":
            options["nonlinearity"] = self.nonlinearity
        with torch.random.fork_rng(devices=[]):  # a learned state may begin at random numbers
            # of the CPU alone: torch.manual_seed would reach the reader's GPU
            torch.default_generator.manual_seed(generator(seed, "initial state").initial_seed())
            rnn = kinds[self.cell](task.input_size, self.hidden_size, **options)
        initialize(rnn, self.initializer, generator=generator(seed, "weights"))
        if self.forget_bias is not None:
            set_forget_bias(rnn, self.forget_bias)
        return SequenceModel(rnn, task.output_size, every_step=task.every_step, seed=seed)

    def describe(self) -> dict[str, Any]:
        """Return the settings as what JSON can hold."""
        plain = (str, int, float, type(None))
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: v if isinstance(v, plain) else _text(v) for k, v in values.items()}


def _text(value: Any) -> str:
    """Return what a value is called: a function's name, else its repr with such names inside."""
    if name := getattr(value, "__qualname__", None):
        return name
    return repr(_named(value))


def _named(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _named(part) for key, part in value.items()}
    if is_sequence(value):
        return [_named(part) for part in value]
    return getattr(value, "__qualname__", value)


def make_variants(
    variants: Mapping[str, Mapping[str, Any]], common: Mapping[str, Any]
) -> dict[str, Variant]:
    """Make the variants of an experiment from what they differ in and what they have in common.

    Raises `ValueError` for an unknown setting, and for no variant at all.
    """
    if not isinstance(variants, Mapping) or not variants:
        raise bad("variants", variants, "a dict of one or more: {name: {setting: value}}")
    known = [field.name for field in dataclasses.fields(Variant)]
    made = {}
    for name, settings in variants.items():
        if not isinstance(name, str):
            raise bad("variants", name, "named by strings")
        if not isinstance(settings, Mapping):
            raise bad(f"variants[{name!r}]", settings, "a dict of settings")
        for setting in (*common, *settings):
            check_choice(f"a setting of {name!r}", setting, known)
        made[name] = Variant(**{**common, **settings})
    return made

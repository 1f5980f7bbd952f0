"""Where a recurrent network begins: strategies for the state before the first step.

A strategy is a value. What it keeps (learned parameters, gradient sizes, a carried state) stands on
its owner, the module that runs the recurrence, one row a layer and direction, or one row a replica.
Rows never meet: those of several owners may be concatenated along dimension 0, and each goes on as
if it were alone. `drop_ins` has the PyTorch layers that use them; chapter 03 compares them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor, nn

from .errors import bad, check_choice, check_count, check_number

Randn = Callable[[tuple[int, int, int]], Tensor]
Generator = torch.Generator | None
_is_exporting = getattr(torch.compiler, "is_exporting", bool)  # bool() for an older PyTorch: False


@dataclass(frozen=True, kw_only=True, repr=False)
class InitialState:
    """A strategy for the initial state: a base class, and where most of the work is done.

    layers: the layers that get this state, counted from 0; the others start at zero. None is all.
    c0: False leaves the memory cell of an LSTM at zero. Raises `ValueError` for bad options.

    In all methods `sizes` maps the states to their widths, {"h0": H_out} and "c0": H for an LSTM,
    and `layers` gives the layer of each row: [0, 0, 1, 1] for two bidirectional layers, [0] * R for
    R replicas. All that an owner keeps has its rows first: (rows, 1, size) or (rows, 1, 1).
    """

    suffixes: ClassVar[tuple[str, ...]] = ()  # of what is kept: the learned state has h0 + ""

    layers: tuple[int, ...] | None = None
    c0: bool = True

    def __post_init__(self) -> None:
        set_field = functools.partial(object.__setattr__, self)  # frozen for everyone else
        for option in fields(self):  # every number is at least 0, every switch True or False
            given = getattr(self, option.name)
            if isinstance(option.default, float):
                set_field(option.name, check_number(option.name, given, low=0))
            elif isinstance(option.default, bool):
                check_choice(option.name, given, (True, False))
        if self.layers is not None:
            if not isinstance(self.layers, Sequence) or not self.layers:
                raise bad("layers", self.layers, "a tuple of layers, counted from 0, or None")
            set_field("layers", tuple(check_count("layers", n, low=0) for n in self.layers))

    def __repr__(self) -> str:
        given = ((f, getattr(self, f.name)) for f in fields(self))
        options = ", ".join(f"{f.name}={value!r}" for f, value in given if value != f.default)
        return f"{type(self).__name__}({options})"

    def names(self, sizes: Mapping[str, int]) -> tuple[str, ...]:
        """Return the states that this strategy sets: "h0", and "c0" unless it is left at zero."""
        return tuple(name for name in sizes if name == "h0" or self.c0)

    def kept(self, sizes: Mapping[str, int]) -> tuple[str, ...]:
        """Return the names of all that `register` puts on the owner."""
        return tuple(name + suffix for name in self.names(sizes) for suffix in self.suffixes)

    def register(
        self,
        owner: nn.Module,
        sizes: Mapping[str, int],
        layers: Sequence[int],
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: Generator = None,
    ) -> None:
        """Put what this strategy keeps on `owner`; raise `ValueError` for layers that it lacks."""
        if self.layers is not None and max(self.layers) > max(layers):
            raise bad("layers", self.layers, f"layer numbers from 0 to {max(layers)}")
        for name in self.names(sizes):
            zeros = torch.zeros(len(layers), 1, sizes[name], dtype=dtype, device=device)
            self.keep(owner, name, zeros, generator)

    def keep(self, owner: nn.Module, name: str, zeros: Tensor, generator: Generator) -> None:
        """Register what one state needs, made from `zeros` (rows, 1, size)."""

    def start(
        self,
        owner: nn.Module,
        sizes: Mapping[str, int],
        layers: Sequence[int],
        batch_size: int,
        *,
        training: bool,
        like: Tensor,
        randn: Randn | None = None,
    ) -> tuple[Tensor, ...] | None:
        """Return the states to start from, each (rows, batch_size, size), or None for all zero.

        like: has the dtype and device of the states. randn: draws the noise, N(0, 1) of a shape.
        """
        if randn is None:
            randn = functools.partial(torch.randn, dtype=like.dtype, device=like.device)
        own = self.names(sizes)
        centres = {name: self.centre(owner, name, batch_size) for name in own}
        spreads = {name: self.spread(owner, name) if training else None for name in own}
        if all(part is None for part in (*centres.values(), *spreads.values())):
            return None
        states = []
        for name, size in sizes.items():
            shape = (len(layers), batch_size, size)
            centre, spread = centres.get(name), spreads.get(name)
            state = like.new_zeros(shape)  # contiguous, as cuDNN needs it, and nobody else's
            if centre is not None:  # the learned state of a cell has no dimension for the batch
                state = state + centre.reshape(len(layers), -1, size).to(like.dtype)
            if spread is not None:
                state = (state + spread * randn(shape)).to(like.dtype)
            if self.layers is not None:
                chosen = [[[layer in self.layers]] for layer in layers]
                state = torch.where(torch.tensor(chosen, device=like.device), state, 0.0)
            states.append(self.watch(owner, name, state) if training and name in own else state)
        return tuple(states)

    def centre(self, owner: nn.Module, name: str, batch_size: int) -> Tensor | None:
        """Return the state without noise, (rows, 1 or batch_size, size), or None for zero."""
        return None

    def spread(self, owner: nn.Module, name: str) -> Tensor | float | None:
        """Return the standard deviation of the noise, or None. There is noise only in training."""
        return None

    def watch(self, owner: nn.Module, name: str, state: Tensor) -> Tensor:
        """Return the state that training starts from, after arranging to learn from it."""
        return state

    def finish(self, owner: nn.Module, sizes: Mapping[str, int], final: Sequence[Tensor]) -> None:
        """Take note of the final states of a pass, each (rows, batch_size, size)."""

    def reset(self, owner: nn.Module) -> None:
        """Forget a carried state."""


@dataclass(frozen=True, repr=False)
class ZeroState(InitialState):
    """Start at zero, as PyTorch does."""


@dataclass(frozen=True, repr=False)
class NoisyState(InitialState):
    """Start at N(0, std**2) noise in training, drawn anew for each sequence, and at zero otherwise.

    std: 0.3 by default, as in Pitis, "Non-Zero Initial States for Recurrent Neural Networks"
    (r2rt.com, 2016). Raises `ValueError` for a negative std. Taught in chapter 03.
    """

    std: float = 0.3

    def spread(self, owner: nn.Module, name: str) -> float | None:
        """Return std."""
        return self.std or None


@dataclass(frozen=True, repr=False)
class LearnedState(InitialState):
    """Start at a state that is learned like a weight: the same for every sequence.

    init_std: where learning starts, 0 or N(0, init_std**2). noise_std: of noise around it in
    training. The h of an LSTM, a GRU or a tanh network stays within (-1, 1); a learned h0 need not.
    Weight decay would pull it back to 0: `parameter_groups` spares it. Sources: Gers, Schraudolph
    and Schmidhuber, JMLR 3 (2002); Pitis (r2rt.com, 2016). Taught in chapter 03.

    >>> strategy, owner = LearnedState(), nn.Module()
    >>> strategy.register(owner, {"h0": 3}, [0, 1])
    >>> owner.h0.shape
    torch.Size([2, 1, 3])
    """

    suffixes = ("",)
    init_std: float = 0.0
    noise_std: float = 0.0

    def keep(self, owner: nn.Module, name: str, zeros: Tensor, generator: Generator) -> None:
        """Register the parameter, (rows, 1, size)."""
        if self.init_std:
            device = generator.device if generator else zeros.device
            drawn = torch.empty_like(zeros, device=device)
            zeros.copy_(drawn.normal_(0.0, self.init_std, generator=generator))
        owner.register_parameter(name, nn.Parameter(zeros))

    def centre(self, owner: nn.Module, name: str, batch_size: int) -> Tensor:
        """Return the parameter."""
        return getattr(owner, name)

    def spread(self, owner: nn.Module, name: str) -> float | None:
        """Return noise_std."""
        return self.noise_std or None


@dataclass(frozen=True, repr=False)
class AdaptiveState(InitialState):
    """Start at noise in training whose size follows the error that reaches the initial state.

    The standard deviation of each unit is scale * r / (largest r of the row so far), where r is
    the root mean square over the batch of dE/dh0, averaged over batches: noise shrinks for units
    and at times that matter less to the error. Multiplying the loss by a constant changes nothing
    (a mean loss has gradients far too small to be noise themselves). The first batch has no noise,
    since no gradient is known yet. Gradients that are not finite do not count.

    scale: the largest std. decay: of the moving average over batches, with bias correction. Raises
    `ValueError` for a negative scale, or a decay outside [0, 1).

    One reading, from second hand, of Zimmermann, Tietz and Grothmann, "Forecasting with Recurrent
    Neural Networks: 12 Tricks" (2012). Taught in chapter 03.
    """

    suffixes = ("_rms", "_seen", "_peak")
    scale: float = 0.3
    decay: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay >= 1:
            raise bad("decay", self.decay, "a number of at least 0 and below 1")

    def keep(self, owner: nn.Module, name: str, zeros: Tensor, generator: Generator) -> None:
        """Register the buffers: rms (rows, 1, size), seen and peak (rows, 1, 1)."""
        owner.register_buffer(f"{name}_rms", zeros)
        for part in ("seen", "peak"):
            owner.register_buffer(f"{name}_{part}", zeros[..., :1].clone())

    def spread(self, owner: nn.Module, name: str) -> Tensor:
        """Return the standard deviations, (rows, 1, size)."""
        rms, _, peak = (getattr(owner, name + suffix) for suffix in self.suffixes)
        return torch.where(peak > 0, self.scale * (rms / peak), 0.0)

    def watch(self, owner: nn.Module, name: str, state: Tensor) -> Tensor:
        """Return a state whose gradient updates the buffers in the backward pass."""
        if torch.is_grad_enabled():
            state = state.detach().requires_grad_()
            state.register_hook(functools.partial(self._update, owner, name))
        return state

    @torch.no_grad()
    def _update(self, owner: nn.Module, name: str, gradient: Tensor) -> None:
        rms, seen, peak = (getattr(owner, name + suffix) for suffix in self.suffixes)
        wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))  # half underflows
        new = wide.square().mean(1, keepdim=True).sqrt().to(rms.dtype)
        weight = self.decay * seen + (1 - self.decay)  # the share of all batches that are seen
        average = rms + (1 - self.decay) / weight * (new - rms)
        largest = torch.maximum(peak, average.amax(-1, keepdim=True))
        finite = new.isfinite().all(-1, keepdim=True)
        for kept, value in ((rms, average), (seen, weight), (peak, largest)):
            kept.copy_(torch.where(finite, value, kept))


@dataclass(frozen=True, repr=False)
class CarriedState(InitialState):
    """Start where the last pass ended, in training and in evaluation; the first starts at zero.

    For truncated backpropagation through a long series: batch i of one call must go on where batch
    i of the call before ended. A state that the caller passes wins, and is carried on from there.
    `reset_state()` of the layer forgets it, as is due before another series. It is no part of the
    state_dict, nor of what `torch.export` makes. A state that is not finite is carried on too. The
    backward direction of a bidirectional layer ends where its input begins: carry it with care.

    detach: True cuts the graph between calls; False lets gradients flow on into the last call,
    whose graph must then still exist (`retain_graph=True`). Taught in chapter 03.
    """

    suffixes = ("_carried",)
    detach: bool = True

    def keep(self, owner: nn.Module, name: str, zeros: Tensor, generator: Generator) -> None:
        """Register a buffer (rows, batch_size, size), None so far, which is not saved."""
        owner.register_buffer(f"{name}_carried", None, persistent=False)

    def centre(self, owner: nn.Module, name: str, batch_size: int) -> Tensor | None:
        """Return the carried state, or None; raise `ValueError` where the batch size differs."""
        carried = getattr(owner, f"{name}_carried")
        if carried is None:
            return None
        if carried.shape[1] != batch_size:
            raise ValueError(
                f"input must have the batch size of the carried state, {carried.shape[1]}, but "
                f"{batch_size} was given; reset_state() forgets it, fresh_states sets it aside."
            )
        return carried

    def finish(self, owner: nn.Module, sizes: Mapping[str, int], final: Sequence[Tensor]) -> None:
        """Keep a copy of the final states, since the caller may change what the layer returned."""
        if _is_exporting():  # these tensors hold no numbers
            return
        for name, state in zip(sizes, final, strict=True):
            if name in self.names(sizes):
                carried = state.detach() if self.detach else state
                setattr(owner, f"{name}_carried", carried.clone())

    def reset(self, owner: nn.Module) -> None:
        """Forget the carried state."""
        for name in owner._buffers.keys() & {"h0_carried", "c0_carried"}:
            setattr(owner, name, None)


NAMED: dict[str, InitialState] = {
    "zero": ZeroState(),
    "noisy": NoisyState(),
    "learned": LearnedState(),
    "learned+noisy": LearnedState(noise_std=0.3),
    "adaptive": AdaptiveState(),
    "carried": CarriedState(),
}


def make_initial_state(initial_state: str | InitialState) -> InitialState:
    """Return the strategy of a name, or an `InitialState` as it is.

    Raises `ValueError` for anything else; the names are those of `NAMED`. Taught in chapter 03.

    >>> make_initial_state("learned+noisy")
    LearnedState(noise_std=0.3)
    """
    if isinstance(initial_state, InitialState):
        return initial_state
    if not isinstance(initial_state, str) or initial_state not in NAMED:
        names = ", ".join(map(repr, NAMED))
        raise bad("initial_state", initial_state, f"one of {names}, or an InitialState")
    return NAMED[initial_state]

"""Neighbouring replicas that start alike: one initial-state strategy for all their rows."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .drop_ins import state_sizes
from .errors import bad
from .initial_states import CarriedState, InitialState, Randn, ZeroState
from .models import SequenceModel
from .stacks import Stack, States


def strategy_of(rnn: nn.RNNBase) -> InitialState:
    """Return how a layer starts: at zero, unless it is a drop-in."""
    return getattr(rnn, "initial_state", ZeroState())


def draw_noise(noise: list[torch.Generator], like: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Draw the noise of each replica from its own stream."""
    own = (shape[0] // len(noise), *shape[1:])
    return torch.cat([torch.randn(own, generator=g, dtype=like.dtype) for g in noise]).to(
        like.device
    )


class Block(nn.Module):
    """Neighbouring replicas with one initial-state strategy; owns what that keeps."""

    def __init__(self, stack: Stack, part: slice, models: Sequence[SequenceModel]) -> None:
        super().__init__()
        self.stack, self.part = stack, part
        self._template = [copy.deepcopy(models[0])]  # in a list: its parameters are not ours
        self.strategy = strategy_of(models[0].rnn)
        self.strategy.reset(self.template.rnn)  # what it carries belongs to another batch
        self.sizes = state_sizes(stack.rnn)
        self.layers = stack.layers * len(models)
        if isinstance(self.strategy, CarriedState) and not self.strategy.detach:
            raise bad("initial_state", self.strategy, "one whose graph ends with the pass: detach")
        like = next(iter(stack.weights.values()))
        self.strategy.register(self, self.sizes, self.layers, dtype=like.dtype, device=like.device)
        with torch.no_grad():
            for name in self._kept():
                getattr(self, name).copy_(torch.cat([getattr(m.rnn, name) for m in models]))
        for state in self.parameters():
            state.grad = torch.zeros_like(state)

    def _kept(self) -> list[str]:
        """Name what the strategy keeps, except a carried state: that belongs to a batch."""
        carries = isinstance(self.strategy, CarriedState)
        return [] if carries else list(self.strategy.kept(self.sizes))

    @property
    def template(self) -> SequenceModel:
        """The first model."""
        return self._template[0]

    def start(self, x: Tensor, training: bool, draw: Randn) -> States | None:
        """Return the initial states, (rows, B, size), or None for zero."""
        if not training and isinstance(self.strategy, CarriedState):
            return None  # what training carries is no start for other data
        with torch.set_grad_enabled(training):
            return self.strategy.start(
                self,
                self.sizes,
                self.layers,
                x.shape[2],
                training=training,
                like=x,
                randn=draw,
            )

    def learned(self, part: slice) -> list[tuple[Tensor, Tensor]]:
        """Return the learned states of those of `part` that are here, and their gradients."""
        start, stop = max(part.start, self.part.start), min(part.stop, self.part.stop)
        if start >= stop:
            return []
        rows = self.stack.rows(slice(start - self.part.start, stop - self.part.start))
        shape = (stop - start, len(self.stack.layers), -1)
        found = []
        for state in self.parameters():
            assert state.grad is not None  # made with the block, and never taken away
            found.append((state.detach()[rows].view(shape), state.grad[rows].view(shape)))
        return found

    def copy_to(self, model: SequenceModel, replica: int) -> None:
        """Write what the strategy keeps for one replica into a model."""
        first = replica - self.part.start
        with torch.no_grad():
            for name in self._kept():
                rows = self.stack.rows(slice(first, first + 1))
                getattr(model.rnn, name).copy_(getattr(self, name)[rows])


def with_gradients(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Return the values as leaves that an optimiser takes, each with its gradient."""
    leaves = []
    for values, gradient in pairs:
        leaf = values.detach().requires_grad_()
        leaf.grad = gradient
        leaves.append(leaf)
    return leaves

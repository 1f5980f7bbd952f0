"""What the comparison of replicas trains: sizes, a loop over PyTorch's layers, and ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from teachkit.device import threads
from teachkit.models import SequenceModel
from teachkit.replicas import Replicas

LAYERS: dict[str, Callable[..., nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
LOOPED = 8  # models that the loop trains in turn: their number does not change the time of one


class Turn(NamedTuple):
    """Milliseconds a replica-step took, by the wall's clock and by the processor's."""

    wall: float
    processor: float


@dataclass(frozen=True)
class Case:
    """Sizes to compare at. bar: how much faster than the loop our one worker has to be."""

    kind: str
    sizes: tuple[int, int, int, int]  # input, hidden, steps, batch
    bar: float
    replicas: int
    rounds: int = 7

    def __str__(self) -> str:
        width, hidden, steps, batch = self.sizes
        return (
            f"{self.kind}, input {width}, hidden {hidden}, {steps} steps, batch {batch}; "
            f"{self.replicas} replicas"
        )

    @property
    def operations(self) -> int:
        """Floating-point operations of the matrix products in one training step of one replica.

        Forward 2 B T G H (I + H) for G gates; backward as much again for the weights, and the part
        of H for the state. An input needs no gradient.
        """
        width, hidden, steps, batch = self.sizes
        return batch * steps * GATES[self.kind] * hidden * (4 * width + 6 * hidden)

    def models(self) -> list[SequenceModel]:
        """Models with weights of their own."""
        width, hidden, *_ = self.sizes
        torch.manual_seed(0)
        return [
            SequenceModel(LAYERS[self.kind](width, hidden), 1, seed=seed)
            for seed in range(self.replicas)
        ]

    def batches(self) -> tuple[Tensor, Tensor]:
        """A batch for each replica: x (R, T, B, I) and the target (R, B, 1)."""
        width, _, steps, batch = self.sizes
        torch.manual_seed(1)
        R = self.replicas
        return torch.randn(R, steps, batch, width), torch.randn(R, batch, 1)

    def save(self, path: Path) -> None:
        """Write the weights and the batches to a file, for a peer."""
        named = [dict(model.named_parameters()) for model in self.models()]
        weights = {k: np.stack([w[k].detach().numpy() for w in named]) for k in named[0]}
        x, y = self.batches()
        arrays: dict[str, Any] = {"x": x.numpy(), "y": y.numpy(), **weights}
        np.savez(path, **arrays)


class Loop:
    """The baseline: one model after the other, with PyTorch's own layer and Adam."""

    def __init__(self, case: Case, looped: int = LOOPED) -> None:
        x, y = case.batches()
        self.models = case.models()[:looped]
        self.optimizers = [torch.optim.Adam(model.parameters()) for model in self.models]
        self.batches = list(zip(x, y, strict=True))[:looped]

    def step(self) -> list[float]:
        """Train each model by one step; returns the losses before it."""
        losses = []
        for model, optimizer, (x, y) in zip(
            self.models, self.optimizers, self.batches, strict=True
        ):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return [loss.item() for loss in losses]

    def turn(self, seconds: float, count: int = 1) -> Turn:
        """Time a replica-step on `count` PyTorch threads."""
        with threads(count):
            return turn(self.step, 1, seconds, len(self.models))


class Ours:
    """`Replicas`, with the plan it chose at its first step and the time that took."""

    def __init__(self, case: Case, workers: int | None) -> None:
        self.replicas = Replicas(case.models(), workers=workers)
        self.batch = case.batches()
        start = time.perf_counter()
        self.losses = [self.step()]
        self.first = time.perf_counter() - start
        assert self.replicas.plan is not None
        self.plan = self.replicas.plan

    def step(self) -> Tensor:
        """Train all replicas by one step; returns the losses before it."""
        return self.replicas.step(*self.batch, F.mse_loss).loss

    def turn(self, seconds: float) -> Turn:
        """Time a replica-step, by at least five steps."""
        return turn(self.step, 5, seconds, len(self.replicas))


def turn(step: Callable[[], object], least: int, seconds: float, parts: float = 1) -> Turn:
    """Time a step: the mean over at least so many and so long, divided by its parts."""
    steps, wall, processor = 0, time.perf_counter(), time.process_time()
    while steps < least or time.perf_counter() - wall < seconds:
        step()
        steps += 1
    scale = 1e3 / (steps * parts)
    return Turn(scale * (time.perf_counter() - wall), scale * (time.process_time() - processor))


def products(operations: int) -> Turn:
    """Time so many operations at the speed of a large matrix product on one thread."""
    size = 1024
    a, b, out = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    with threads(1):
        return turn(lambda: torch.mm(a, b, out=out), 2, 0.03, 2 * size**3 / operations)

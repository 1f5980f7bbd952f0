"""Variants of one architecture, each from every seed, trained and measured as one stack."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .plans import Plan
from .replicas import Replicas, StepRecord
from .stacks import States
from .tasks import Task
from .variants import Variant

LONGEST_BY_TIME = 100  # steps of a sequence up to which the loss is told by time step
STREAMS = 4  # in which the held-out part of a series is read


class Group:
    """Variants of one architecture, each from every seed, as one stack: variant by variant."""

    def __init__(
        self,
        variants: Mapping[str, Variant],
        task: Task,
        seeds: list[int],
        device: torch.device,
        workers: int | None,
        plan: Plan | None,
    ) -> None:
        self.names = list(variants)
        each = [(variant, seed) for variant in variants.values() for seed in seeds]
        self.replicas = Replicas(
            [variant.model(task, seed).to(device) for variant, seed in each],
            optimizer=[variant.optimizer for variant, _ in each],
            lr=[variant.lr for variant, _ in each],
            state_lr=[variant.state_lr for variant, _ in each],
            clipper=[variant.clipper for variant, _ in each],
            seeds=[seed for _, seed in each],
            workers=workers,
            plan=plan,
        )

    def step(self, x: Tensor, target: Tensor, task: Task) -> StepRecord:
        """Train on the batches of the seeds, (seeds, ...), the same for all variants."""
        count = len(self.names)
        x, target = (v.repeat(count, *[1] * (v.ndim - 1)) for v in (x, target))
        return self.replicas.step(x, target, task.loss)

    def measure(self, x: Tensor, target: Tensor, task: Task) -> dict[str, np.ndarray]:
        """Measure on the held-out sequences."""
        measures: dict[str, Any] = {"test_loss": task.loss, "score": task.score}
        if task.every_step and task.seq_len <= LONGEST_BY_TIME:
            measures["by_time"] = task.step_losses
        found, _ = self.replicas.measure(x[None], target[None], measures)
        values = {name: _numbers(value) for name, value in found.items()}
        for t, losses in enumerate(values.pop("by_time", np.empty((0, 0))).T, start=1):
            values[f"test_loss@{t}"] = losses
        return values

    def read(self, task: Any, test_size: int) -> np.ndarray:
        """Return the mean loss on the held-out series, read on and on in parallel streams."""
        losses: list[np.ndarray] = []
        states: States | None = None
        windows = _held_out_stream(task)
        for x, target in itertools.islice(windows, max(1, test_size // STREAMS)):
            found, states = self.replicas.measure(
                x[None], target[None], {"loss": task.loss}, states
            )
            losses.append(_numbers(found["loss"]))
        return np.mean(losses, axis=0)


def _held_out_stream(task: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Read the held-out part in parallel streams, fewer where it is short."""
    for count in range(STREAMS, 1, -1):
        with contextlib.suppress(ValueError):
            return task.held_out_stream(count)
    return task.held_out_stream(1)


def by_architecture(variants: Mapping[str, Variant]) -> list[dict[str, Variant]]:
    """Put variants together that one stack can train."""
    groups: dict[Any, dict[str, Variant]] = {}
    for name, variant in variants.items():
        groups.setdefault(variant.architecture, {})[name] = variant
    return list(groups.values())


def training_metrics(records: list[StepRecord]) -> dict[str, np.ndarray]:
    """Summarise training since the last measurement; there is nothing before the first step."""
    if not records:
        return {}
    return {
        "loss": _numbers(torch.stack([record.loss for record in records]).mean(0)),
        "grad_norm": _numbers(torch.stack([r.grad_norm for r in records]).max(0).values),
        "clipped": _numbers(torch.stack([r.clipped for r in records]).double().mean(0)),
    }


def _numbers(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()

"""Gradients of many batches, of a lab's network or of the reader's model, and their clipping."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..clip_rules import GROUPS, StackedParameter
from ..clipping import Clipper
from ..device import as_double
from ..errors import bad
from ..models import SequenceModel
from ..parameter_parts import parts_of
from ..plans import Plan
from ..stacks import Stack
from ..tasks import Task, batches
from .network import network, task_of
from .race import BATCH_SIZE
from .spec import Settings

BATCHES = 64


@functools.lru_cache(maxsize=4)
def _drawn(name: str, seq_len: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw the batches that a training would begin with: (N, T, B, I) and their targets."""
    task = task_of({"task": name, "seq_len": seq_len})
    pairs = itertools.islice(batches(task, BATCH_SIZE, seed=seed), BATCHES)
    x, target = zip(*pairs, strict=True)
    return torch.stack(x), torch.stack(target)


def tanh_model(settings: Settings, task: Task) -> SequenceModel:
    """Make the network of the settings."""
    rnn = network({"activation": "tanh", "non_normality": 1.0, **settings}, torch.float32)
    return SequenceModel(rnn, task.output_size, every_step=task.every_step, seed=settings["seed"])


@functools.lru_cache(maxsize=16)
def network_gradients(
    name: str, rho: float, hidden_size: int, seq_len: int, seed: int
) -> list[StackedParameter]:
    """Differentiate the network on each batch: 64 copies of one network, in one pass."""
    settings: Settings = {"task": name, "rho": rho, "hidden_size": hidden_size}
    settings |= {"seq_len": seq_len, "seed": seed}
    task = task_of(settings)
    stack = Stack([tanh_model(settings, task)] * BATCHES)
    stack.differentiate(Plan(BATCHES), *_drawn(name, seq_len, seed), task.loss)
    return stack.clipped(slice(0, BATCHES))


def clipped_batches(clipper: Clipper, parameters: Sequence[StackedParameter]) -> pd.DataFrame:
    """Clip the gradients of N batches one after the other, all of the same network.

    parameters: values and gradients, (N, ...), which stay as they are. Returns what `Clipper.frame`
    would tell, a row a batch.
    """
    after = [replace(p, gradient=p.gradient.clone()) for p in parameters]
    count = len(after[0].gradient)
    limits: list[Tensor] = []

    def in_order(norms: Tensor) -> Tensor:
        # the rows are steps of one network here, not networks: what is remembered goes down
        one = clipper.make_limits()
        limits.append(torch.cat([one(norm[None]) for norm in norms]))
        return limits[-1]

    clipper.clip_stacked(after, limits=in_order)
    limit = limits[-1] if limits else torch.full((count,), clipper.threshold or torch.inf)
    groups = [p.group for p in parameters]
    pairs = {
        group: [
            torch.cat([as_double(p.gradient.flatten(1)) for p in of if p.group == group], dim=1)
            for of in (parameters, after)
        ]
        for group in GROUPS
        if group in groups
    }
    old, new = (torch.cat(parts, dim=1) for parts in zip(*pairs.values(), strict=True))
    columns = {"norm_" * (k != "cosine" and k != "fraction") + k: v for k, v in _change(old, new)}
    columns |= {"finite": old.isfinite().all(1), "limit": limit}
    for group, pair in pairs.items():
        columns |= {f"{group}_{k}": v for k, v in _change(*pair)}
    table = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
    table.insert(0, "batch", np.arange(1, count + 1))
    return table


def _change(before: Tensor, after: Tensor) -> list[tuple[str, Tensor]]:
    """Compare gradients as `clip_records.compare_gradients` does, a row (N, n) each."""
    old, new = before.norm(dim=1), after.norm(dim=1)
    along = ((before / old[:, None]) * (after / new[:, None])).sum(1).clamp(max=1.0)
    known = old.isfinite() & new.isfinite() & (old > 0) & (new > 0)
    same = (before == after) | (before.isnan() & after.isnan())
    cosine = torch.where(known, along, torch.nan)
    return [("before", old), ("after", new), ("cosine", cosine),
            ("fraction", 1 - same.double().mean(1))]  # fmt: skip


def own_gradients(
    model: nn.Module, batches: Any, loss: Callable[..., Any], output: str | None
) -> list[StackedParameter]:
    """Differentiate a copy of the reader's model on each batch; the model itself is left alone.

    Raises `ValueError` for what cannot be differentiated.
    """
    if not isinstance(model, nn.Module):
        raise bad("model", model, "an nn.Module")
    pairs = list(batches) if isinstance(batches, (list, tuple)) else []
    if not pairs or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise bad("batches", batches, "a list of one or more (x, target) pairs")
    if not callable(loss):
        raise bad("loss", loss, "a function of (output, target) that returns a scalar tensor")
    twin = copy.deepcopy(model)
    parts = [(group, p) for group, p in parts_of(twin, output) if p.requires_grad]
    found: list[list[Tensor | None]] = []
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # dropout draws numbers
        for n, (x, target) in enumerate(pairs):
            twin.zero_grad(set_to_none=True)
            try:
                loss(twin(x), target).backward()
            except Exception as error:
                raise ValueError(
                    f"model and loss must take all batches, but with number {n} came: {error}"
                ) from error
            found.append([None if p.grad is None else p.grad.detach().cpu() for _, p in parts])
    clipped = []
    for (group, p), gradients in zip(parts, zip(*found, strict=True), strict=True):
        if any(g is not None for g in gradients):  # the optimiser leaves out the others
            values = p.detach().cpu()
            full = [torch.zeros_like(values) if g is None else g for g in gradients]
            clipped.append(
                StackedParameter(group, values.expand(len(full), *p.shape), torch.stack(full))
            )
    if not clipped:
        raise ValueError("model must have a parameter that the loss depends on, but it has none.")
    return clipped

"""Variants of a network on one task, from many seeds, trained side by side.

Every seed sets the batches, which are the same for every variant, and the weights, which are the
same where shapes and initialiser agree. `statistics` draws its intervals from such pairs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .device import choose_device, generator, provenance, threads
from .errors import bad, check_choice, check_count
from .groups import Group, by_architecture, training_metrics
from .initial_states import CarriedState, make_initial_state
from .plans import Plan
from .replicas import StepRecord
from .tasks import TASKS, Task, batches, make_task
from .variants import make_variants

SOON = 0.5  # seconds that may pass after an interrupt, for a last measurement


def compare(
    task: Task | str,
    variants: Mapping[str, Mapping[str, Any]],
    *,
    seeds: int | Iterable[int] = 16,
    steps: int = 500,
    batch_size: int = 32,
    score_every: int | None = None,
    test_size: int = 500,
    stream: bool = False,
    device: str | torch.device | None = "cpu",
    workers: int | None = None,
    plan: Plan | None = None,
    progress: bool = True,
    stop: threading.Event | None = None,
    **common: Any,
) -> pd.DataFrame:
    """Train every variant from every seed on a task, in one pass, and return a tidy table.

    task: of `tasks`, or its name. variants: {name: settings}, the settings of `variants.Variant`
    that differ; those in `common` are the same for all. seeds: how many, or which. score_every:
    steps between two measurements; None is a twentieth of `steps`. test_size: at most so many
    held-out sequences. stream: train on consecutive windows of a long series (truncated
    backpropagation) instead of windows at random places: a "carried" state needs that. device: None
    takes a GPU if there is one. workers, plan: as of `Replicas`.

    The table has the columns variant, seed, step, metric and value. Metrics: "loss" (mean of the
    training batches since the last measurement), "grad_norm" (their largest), "clipped" (share of
    the steps), "diverged" (0 or 1), "test_loss" and "score" on held-out sequences, each begun from
    the variant's own initial state; where the task has an output at each step also "test_loss@t",
    by the steps since that state; and in a stream "stream_loss" on the first test_size / 4 windows
    of four streams (fewer where it is short) through the held-out part, the state carried on. After
    a divergence all but "diverged" are NaN. The settings, versions and device stand in `.attrs`;
    `attrs["status"]` is "finished", or "stopped" or "interrupted" where `stop` or the notebook's
    stop button ended it: then the table holds what was done. An interrupt leaves the held-out
    metrics of the last steps out where they take long. Raises `ValueError` for bad settings. Used
    from chapter 03 on.

    >>> states = {"zero": {}, "learned": {"initial_state": "learned"}}
    >>> table = compare("names", states, seeds=2, steps=2, cell="gru", progress=False)
    >>> table["variant"].unique().tolist()
    ['zero', 'learned']
    """
    from tqdm.auto import tqdm

    steps = check_count("steps", steps)
    every = max(1, steps // 20) if score_every is None else check_count("score_every", score_every)
    comparison = Comparison(
        task,
        variants,
        seeds=seeds,
        batch_size=batch_size,
        test_size=test_size,
        stream=stream,
        device=device,
        workers=workers,
        plan=plan,
        **common,
    )
    comparison.measure()
    with tqdm(total=steps, disable=not progress, leave=False, unit="step") as bar:
        try:
            while comparison.steps < steps:
                if stop is not None and stop.is_set():
                    comparison.status = "stopped"
                    break
                comparison.step()
                bar.update()
                if comparison.steps % every == 0:
                    comparison.measure()
            comparison.measure()
        except KeyboardInterrupt:
            comparison.status = "interrupted"
            with contextlib.suppress(KeyboardInterrupt):  # pressed once more
                comparison.measure(held_out=comparison.measured_in < SOON)
    if comparison.status == "running":
        comparison.status = "finished"
    table = comparison.table()
    table.attrs["score_every"] = every
    return table


class Comparison:
    """An experiment under way: `compare` drives one to its end, a lab draws it while it grows.

    Arguments are those of `compare`.
    """

    def __init__(
        self,
        task: Task | str,
        variants: Mapping[str, Mapping[str, Any]],
        *,
        seeds: int | Iterable[int] = 16,
        batch_size: int = 32,
        test_size: int = 500,
        stream: bool = False,
        device: str | torch.device | None = "cpu",
        workers: int | None = None,
        plan: Plan | None = None,
        **common: Any,
    ) -> None:
        self.task = _check_task(task)
        self.seeds = _check_seeds(seeds)
        self.variants = make_variants(variants, common)
        self.batch_size = check_count("batch_size", batch_size)
        self.test_size = check_count("test_size", test_size)
        if stream and not hasattr(self.task, "stream"):
            raise bad("task", self.task, "a long series where stream=True")
        if stream and getattr(self.task, "train_size", None) is not None:
            raise bad(
                "task", self.task, "without a train_size where stream=True: a stream is whole"
            )
        for name, variant in self.variants.items():
            if not stream and isinstance(make_initial_state(variant.initial_state), CarriedState):
                raise bad("stream", stream, f"True, for variant {name!r} carries its state on")
        self.stream = stream
        self.device = choose_device(device)
        self._batches = [self._loader(seed) for seed in self.seeds]
        self._test = self.task.held_out(self.test_size)
        self._groups = [
            Group(named, self.task, self.seeds, self.device, workers, plan)
            for named in by_architecture(self.variants)
        ]
        self._records: list[list[StepRecord]] = [[] for _ in self._groups]
        self._rows: list[tuple[int, str, np.ndarray]] = []
        self._whole = True
        self._begun = time.perf_counter()
        self.measured_in = 0.0  # seconds that the longest measurement took
        self.steps = 0
        self.status = "running"

    def step(self) -> None:
        """Train every replica by one step."""
        with threads(1):  # beside a browser, a second thread is waited for
            drawn = [next(batches) for batches in self._batches]
            x, target = (torch.stack(tensors) for tensors in zip(*drawn, strict=True))
        self._whole = False  # an interrupt here leaves groups at different steps
        done = [group.step(x, target, self.task) for group in self._groups]
        for records, record in zip(self._records, done, strict=True):
            records.append(record)
        self.steps += 1
        self._whole = True

    def measure(self, held_out: bool = True) -> None:
        """Add a row a metric to the table, unless nothing was trained since the last.

        held_out: also those on held-out sequences. After an interrupt within a step, which the
        variants may have taken or not, there is none.
        """
        if not self._whole or (self._rows and self._rows[-1][0] == self.steps):
            return
        start = time.perf_counter()
        measured: list[dict[str, np.ndarray]] = []
        for group, records in zip(self._groups, self._records, strict=True):
            values = training_metrics(records)
            if held_out:
                values |= group.measure(*self._test, self.task)
            if held_out and self.stream:
                values["stream_loss"] = group.read(self.task, self.test_size)
            diverged = (group.replicas.diverged >= 0).numpy()
            for found in values.values():
                found[diverged] = np.nan
            measured.append(values | {"diverged": diverged.astype(float)})
        self._rows += [  # all at once: an interrupt must not leave a step without some metrics
            (self.steps, metric, np.concatenate([metrics[metric] for metrics in measured]))
            for metric in measured[0]
        ]
        for records in self._records:  # not before: an interrupt may come while it is measured
            records.clear()
        self.measured_in = max(self.measured_in, time.perf_counter() - start)

    def table(self) -> pd.DataFrame:
        """Return what was measured so far: columns variant, seed, step, metric and value."""
        names = [name for group in self._groups for name in group.names for _ in self.seeds]
        seeds = [seed for group in self._groups for _ in group.names for seed in self.seeds]
        order = {name: n for n, name in enumerate(self.variants)}
        frames = [
            pd.DataFrame(
                {"variant": names, "seed": seeds, "step": step, "metric": metric, "value": values}
            )
            for step, metric, values in self._rows
        ]
        table = pd.concat(frames, ignore_index=True)
        rank = table["variant"].map(order)
        table = table.iloc[np.lexsort((table.index, table["seed"], rank))].reset_index(drop=True)
        table.attrs.update(self.settings())
        return table

    def settings(self) -> dict[str, Any]:
        """Return the settings of the experiment as JSON can hold them; functions by their name."""
        return {
            "task": repr(self.task),
            "variants": {name: variant.describe() for name, variant in self.variants.items()},
            "seeds": self.seeds,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "test_size": self.test_size,
            "stream": self.stream,
            "status": self.status,
            "seconds": round(time.perf_counter() - self._begun, 1),
            "plans": [str(group.replicas.plan) for group in self._groups],
            **provenance(self.device),
        }

    def _loader(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        if not self.stream:
            return batches(self.task, self.batch_size, seed=seed)
        numbers = generator(seed, "batches")
        return self.task.stream(self.batch_size, numbers)  # type: ignore[attr-defined]


def _check_task(task: Any) -> Task:
    if isinstance(task, str):
        check_choice("task", task, TASKS)
        return make_task(task)
    if isinstance(task, type) or not hasattr(task, "held_out"):
        raise bad("task", task, "a task, or the name of one")
    return task


def _check_seeds(seeds: int | Iterable[int]) -> list[int]:
    if not isinstance(seeds, Iterable):
        return list(range(check_count("seeds", seeds)))
    found = [check_count("seeds", seed, low=0) for seed in seeds]
    if not found or len(set(found)) < len(found):
        raise bad("seeds", found, "a number of seeds, or different whole numbers")
    return found

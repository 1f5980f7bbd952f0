"""How to compute a stack fastest on this machine: all at once, in turns, by how many threads.

The answer depends on the sizes, so that it is measured and not guessed.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from .device import threads


@dataclass(frozen=True)
class Plan:
    """How to compute R replicas: `chunk` at once, by `workers` threads that each take chunks.

    fused: one replica at a time through PyTorch's own layer instead. Chunks are independent: a
    small one stays in the processor's cache, and workers never wait for each other within a pass,
    so that a busy core slows only its own chunk.
    """

    chunk: int
    fused: bool = False
    workers: int = 1

    def parts(self, count: int) -> list[slice]:
        """Cut `count` replicas into chunks."""
        starts = range(0, count, self.chunk)
        return [slice(start, min(start + self.chunk, count)) for start in starts]


FUSED = Plan(1, fused=True)
_plans: dict[Hashable, Plan] = {}


def choose_plan(
    key: Hashable,
    count: int,
    run: Callable[[Plan, int], None],
    *,
    can_stack: bool = True,
    can_fuse: bool = True,
    workers: int | None = None,
) -> Plan:
    """Measure the plans for `count` replicas, and return the fastest; once for each `key`.

    run: computes a training step of so many replicas by a plan, without changing anything.
    can_stack, can_fuse: which kinds work. workers: how many threads; None measures that too.
    """
    known = (key, count, workers)
    if known in _plans:
        return _plans[known]

    def seconds(plan: Plan, trained: int) -> float:
        """Time a step, a replica: the best of three, for other programs can only slow it down."""
        times = []
        for _ in range(4):  # the first makes the workspace
            start = time.perf_counter()
            run(plan, trained)
            times.append(time.perf_counter() - start)
            if sum(times) > 2:
                break
        return min(times[1:] or times) / trained

    forms: dict[Plan, float] = {}
    if can_stack:
        best = float("inf")
        halves = [-(-count // 2**n) for n in range(count.bit_length())]
        for chunk in sorted({c for c in halves if c >= 4} | {count}):
            forms[Plan(chunk)] = seconds(Plan(chunk), chunk)
            if forms[Plan(chunk)] > 1.1 * best:  # too large for the cache: so are all larger ones
                break
            best = min(best, forms[Plan(chunk)])
    if can_fuse:
        forms[FUSED] = seconds(FUSED, min(count, 4))
    found = min(forms, key=forms.__getitem__)
    cores = min(os.cpu_count() or 1, 8) if workers is None else workers
    if cores > 1 and count > 1:
        # Python itself runs in one thread: side by side pays where its share is small.
        wide = Plan(min(found.chunk, -(-count // cores)), found.fused, cores)
        trained = min(count, 2 * cores * wide.chunk)
        if workers is not None or seconds(wide, trained) < 0.8 * forms[found]:
            found = wide
    _plans[known] = found
    return found


def run_jobs(plan: Plan, jobs: Sequence[Callable[[], None]]) -> None:
    """Run independent jobs by the workers of a plan, each on one PyTorch thread."""
    with threads(1):
        if plan.workers == 1 or len(jobs) == 1:
            for job in jobs:
                job()
            return
        for running in [_pool(plan.workers).submit(job) for job in jobs]:
            running.result()


@functools.lru_cache(maxsize=4)
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "replicas", initializer=torch.set_num_threads, initargs=(1,))

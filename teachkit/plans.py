"""How to compute a stack fastest on this machine: all at once, in turns, by how many threads.

The answer depends on the sizes, so that it is measured and not guessed.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import torch

from .device import threads
from .stacked import release_workspaces


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
TURNS = 4  # of each plan when plans are compared
LONG_ENOUGH = 0.5  # seconds of a chunk, beside which what it costs to start one is nothing
_plans: dict[Hashable, Plan] = {}


def choose_plan(
    key: Hashable,
    count: int,
    run: Callable[[Plan, int], None],
    *,
    can_stack: bool = True,
    can_fuse: bool = True,
    workers: int | None = None,
    clock: Callable[[], float] | None = None,
) -> Plan:
    """Measure the plans for `count` replicas, and return the fastest; once for each `key`.

    run: computes a training step of so many replicas by a plan, without changing anything.
    can_stack, can_fuse: which kinds work. workers: how many threads; None measures that too. clock:
    of one worker; None is the processor's, on which what other programs do meanwhile does not
    count.
    """
    known = (key, count, workers)
    if known not in _plans:
        _plans[known] = _fastest(
            count, run, can_stack, can_fuse, workers, clock or time.thread_time
        )
        release_workspaces()  # of the plans that were not chosen
    return _plans[known]


def _fastest(
    count: int,
    run: Callable[[Plan, int], None],
    can_stack: bool,
    can_fuse: bool,
    workers: int | None,
    clock: Callable[[], float],
) -> Plan:
    halves = {-(-count // 2**n) for n in range(count.bit_length())}
    chunks = sorted({c for c in halves if c >= 4} | {count}) if can_stack else []
    forms = [Plan(chunk) for chunk in chunks] + [FUSED] * can_fuse
    alone = _seconds(forms, count, run, clock)
    found = min(alone, key=alone.__getitem__)
    cores = min(_cores(), 8) if workers is None else workers
    if cores == 1 or count == 1:
        return found
    # Python itself runs in one thread: side by side pays where its share is small.
    wide = Plan(min(found.chunk, -(-count // cores)), found.fused, cores)
    if workers is not None:
        return wide
    wall = _seconds([found, wide], count, run, time.perf_counter)
    return wide if wall[wide] < 0.8 * wall[found] else found


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _seconds(
    plans: Sequence[Plan],
    count: int,
    run: Callable[[Plan, int], None],
    clock: Callable[[], float],
) -> dict[Plan, float]:
    """Time a step of a replica by each plan: its best turn, for others can only slow it down.

    Plans take turns, so that a busy moment meets them all; those far behind after two get no more.
    A chunk so large that starting one costs next to nothing is as good as those before it.
    """
    best: dict[Plan, float] = {}

    def measure(plan: Plan, replicas: int) -> None:
        start = clock()
        run(plan, replicas)
        best[plan] = min(best.get(plan, math.inf), (clock() - start) / replicas)

    for turn in range(TURNS):
        for plan in plans:
            turns_of_worker = 4 if plan.fused else 1 if plan.workers == 1 else 2
            replicas = min(count, turns_of_worker * plan.workers * plan.chunk)
            leader = min(best.values(), default=0.0)
            if turn == 0:
                if plan.workers == 1 and plan.chunk > 4 and leader * replicas > LONG_ENOUGH:
                    continue
                run(plan, replicas)  # makes the workspace
            else:
                so_far = best.get(plan, math.inf)
                if so_far > LONG_ENOUGH / replicas or (turn > 1 and so_far > 1.3 * leader):
                    continue
            measure(plan, replicas)
    return best


def run_jobs(plan: Plan, jobs: Sequence[Callable[[], None]]) -> None:
    """Run independent jobs by the workers of a plan, each on one PyTorch thread."""
    with threads(1):
        if plan.workers == 1 or len(jobs) == 1:
            for job in jobs:
                job()
            return
        running = [_pool(plan.workers).submit(job) for job in jobs]
        try:
            for future in running:
                future.result()
        finally:  # after an error or an interrupt no job may run on into the next step
            for future in running:
                future.cancel()
            wait(running)


@functools.lru_cache(maxsize=4)
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "replicas", initializer=torch.set_num_threads, initargs=(1,))

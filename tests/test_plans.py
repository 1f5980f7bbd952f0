import os
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from teachkit import plans
from teachkit.plans import FUSED, Plan, choose_plan, run_jobs


class Machine:
    """A machine that takes as long as we say: `seconds(plan, replicas)` for a training step."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.calls: list[tuple[Plan, int]] = []
        self.now = 0.0

    def clock(self):
        return self.now

    def run(self, plan, count):
        self.calls.append((plan, count))
        self.now += self.seconds(plan, count)


@pytest.fixture
def choose(monkeypatch):
    """Choose a plan on a machine; every test starts without known plans, on two cores."""
    monkeypatch.setattr(plans, "_plans", {})
    monkeypatch.setattr(plans, "_cores", lambda: 2)

    def chosen(machine, count, *, key="sizes", **options):
        clocks = SimpleNamespace(perf_counter=machine.clock, thread_time=machine.clock)
        monkeypatch.setattr(plans, "time", clocks)
        return choose_plan(key, count, machine.run, **options)

    return chosen


def stacking_pays(plan, count):
    """Steps cost 4 ms and a little for each replica; 20 ms each where fused."""
    return 20e-3 * count if plan.fused else 4e-3 + 1e-3 * count


def fusing_pays(plan, count):
    return 1e-3 * count if plan.fused else 1e-3 + 10e-3 * count


def cache_of(size):
    """Stacking pays as long as a chunk has no more than `size` replicas."""

    def seconds(plan, count):
        if plan.fused:
            return 20e-3 * count
        return 4e-3 + 1e-3 * count * (1 if plan.chunk <= size else 5)

    return seconds


def test_the_fastest_way_is_taken(choose):
    assert choose(Machine(stacking_pays), 64, key="a", workers=1) == Plan(64)
    assert choose(Machine(fusing_pays), 64, key="b", workers=1) == FUSED
    assert choose(Machine(cache_of(16)), 64, key="c", workers=1) == Plan(16)
    assert choose(Machine(cache_of(9)), 35, key="d", workers=1) == Plan(9)  # not a power of two
    assert choose(Machine(stacking_pays), 3, key="e", workers=1) == Plan(3)
    assert choose(Machine(stacking_pays), 1, key="f", workers=1) == Plan(1)
    assert choose(Machine(fusing_pays), 1, key="g", workers=1) == FUSED


def test_the_fastest_way_on_a_real_clock(monkeypatch):
    monkeypatch.setattr(plans, "_plans", {})
    for fused_is_slower in (True, False):

        def run(plan, count, slower=fused_is_slower):
            end = time.thread_time() + 1e-4 + 5e-3 * count * (plan.fused == slower)
            while time.thread_time() < end:
                pass

        found = choose_plan(fused_is_slower, 4, run, workers=1)
        assert found == (Plan(4) if fused_is_slower else FUSED)


def test_only_what_works_is_tried(choose):
    stacked, fused = Machine(fusing_pays), Machine(stacking_pays)
    assert choose(stacked, 8, key="a", can_fuse=False, workers=1) == Plan(8)
    assert not any(plan.fused for plan, _ in stacked.calls)
    assert choose(fused, 8, key="b", can_stack=False, workers=1) == FUSED
    assert all(plan.fused for plan, _ in fused.calls)


def test_an_answer_is_measured_once_for_each_question(choose):
    machine = Machine(stacking_pays)
    questions = [("a", 8, 1), ("b", 8, 1), ("a", 9, 1), ("a", 8, 2), ("a", 8, None)]
    for key, count, workers in questions:
        before = len(machine.calls)
        first = choose(machine, count, key=key, workers=workers)
        measured = len(machine.calls)
        assert measured > before
        assert choose(machine, count, key=key, workers=workers) is first
        assert len(machine.calls) == measured


def test_no_more_is_measured_than_needed(choose):
    machine = Machine(cache_of(8))
    assert choose(machine, 2048, workers=1) == Plan(8)
    tried = [plan.chunk for plan, _ in machine.calls if not plan.fused]
    assert set(tried) == {4, 8, 16, 32, 64, 128, 256}  # larger ones take half a second and more
    far_behind = {chunk: tried.count(chunk) for chunk in (16, 32, 64, 128, 256)}
    assert far_behind == {16: 3, 32: 3, 64: 3, 128: 2, 256: 2}  # the first makes the workspace
    assert {count for plan, count in machine.calls if plan.fused} == {4}


def test_what_other_programs_do_does_not_count(monkeypatch):
    monkeypatch.setattr(plans, "_plans", {})

    def run(plan, count):
        end = time.thread_time() + 1e-3 * count * (1 + plan.fused)
        while time.thread_time() < end:
            pass
        if not plan.fused:
            time.sleep(0.02)  # another program has the core

    assert choose_plan("sizes", 4, run, workers=1) == Plan(4)
    by_the_wall = choose_plan("other sizes", 4, run, workers=1, clock=time.perf_counter)
    assert by_the_wall == FUSED


def test_a_first_step_and_a_disturbed_step_do_not_count(choose):
    seen: dict[Plan, int] = {}

    def seconds(plan, count):
        seen[plan] = seen.get(plan, 0) + 1
        disturbed = not plan.fused and seen[plan] in (1, 2, 4)
        return stacking_pays(plan, count) + 0.03 * disturbed

    assert choose(Machine(seconds), 8, workers=1) == Plan(8)


def test_only_the_first_step_makes_the_workspace(choose):
    seen: set[Plan] = set()

    def seconds(plan, count):
        first = plan not in seen
        seen.add(plan)
        return 0.0 if first else stacking_pays(plan, count)  # a first step would win by far

    machine = Machine(lambda plan, count: seconds(plan, count) if plan.fused else 10e-3)
    assert choose(machine, 8, workers=1) == Plan(8)


def test_slow_steps_get_one_turn(choose):
    machine = Machine(lambda plan, count: 3.0 + plan.fused)
    assert choose(machine, 1) == Plan(1)
    assert machine.calls == [(Plan(1), 1)] * 2 + [(FUSED, 1)] * 2


def test_large_networks_are_tried_one_by_one_too(choose):
    machine = Machine(lambda plan, count: count * (1.0 if plan.fused else 2.0))
    assert choose(machine, 64, workers=1) == FUSED
    assert {plan.chunk for plan, _ in machine.calls} == {1, 4}


@pytest.mark.parametrize(("gain", "pays"), [(1.9, True), (1.3, True), (1.2, False), (0.7, False)])
@pytest.mark.parametrize("best", [stacking_pays, fusing_pays])
def test_side_by_side_only_where_it_clearly_pays(choose, gain, pays, best):
    def seconds(plan, count):
        if plan.workers == 1:
            return best(plan, count)
        one = Plan(64, plan.fused)  # as fast a replica as the best of the others, and by the gain
        return best(one, 64) / 64 * count / gain

    found = choose(Machine(seconds), 64)
    assert found.fused == (best is fusing_pays)
    assert found.workers == (2 if pays else 1)
    if pays and not found.fused:
        assert found.chunk <= 32  # or the second worker has nothing to do


def test_a_number_of_workers_is_an_order(choose):
    machine = Machine(stacking_pays)
    assert choose(machine, 9, workers=2) == Plan(5, workers=2)
    assert choose(machine, 9, workers=4) == Plan(3, workers=4)
    assert choose(machine, 1, workers=4) == Plan(1)
    assert choose(Machine(fusing_pays), 9, key="fused", workers=3) == Plan(1, True, 3)
    assert all(plan.workers == 1 for plan, _ in machine.calls)


def test_one_core_has_one_worker(choose, monkeypatch):
    monkeypatch.setattr(plans, "_cores", lambda: 1)
    machine = Machine(lambda plan, count: 1e-3 / plan.workers)
    assert choose(machine, 8).workers == 1
    monkeypatch.setattr(plans, "_cores", lambda: 96)
    assert choose(machine, 64, key="many").workers == 8


def test_cores_that_the_process_may_not_use_do_not_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert plans._cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert plans._cores() == 1


@given(st.integers(1, 80), st.integers(1, 100))
def test_chunks_hold_every_replica_once(count, chunk):
    parts = Plan(chunk).parts(count)
    assert [n for part in parts for n in range(part.start, part.stop)] == list(range(count))
    assert all(0 < part.stop - part.start <= chunk for part in parts)
    assert len(parts) == -(-count // chunk)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_job_runs_once_on_one_thread(workers):
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(before + 1)
    try:
        jobs = [lambda n=n: seen.append((n, torch.get_num_threads())) for n in range(20)]
        run_jobs(Plan(1, workers=workers), jobs)
        assert sorted(seen) == [(n, 1) for n in range(20)]
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_workers_work_side_by_side():
    meeting = threading.Barrier(2, timeout=20)

    def meet():
        meeting.wait()

    run_jobs(Plan(1, workers=2), [meet] * 4)


@pytest.mark.parametrize(("workers", "jobs"), [(1, 3), (2, 1)])
def test_one_worker_or_one_job_needs_no_other_thread(workers, jobs):
    seen = []
    run_jobs(Plan(1, workers=workers), [lambda: seen.append(threading.get_ident())] * jobs)
    assert seen == [threading.get_ident()] * jobs


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_comes_out_and_nothing_runs_on(workers, error):
    before, done = torch.get_num_threads(), []

    def fail():
        raise error

    def later():
        time.sleep(0.05)
        done.append(torch.get_num_threads())

    torch.set_num_threads(before + 1)
    try:
        with pytest.raises(error):
            run_jobs(Plan(1, workers=workers), [fail, *[later] * 6])
        count = len(done)
        assert count <= 4  # those that had not begun never do
        assert torch.get_num_threads() == before + 1
        time.sleep(0.2)
        assert len(done) == count  # what runs on would write into the next step
    finally:
        torch.set_num_threads(before)
    run_jobs(Plan(1, workers=workers), [later])
    assert done[-1] == 1

"""Training many replicas: ours against a loop over PyTorch's layers, JAX and Keras.

    python -m benchmarks.replicas [--quick]

All take turns within each round, and a ratio compares turns of the same round, so that a busy
moment meets both sides; shown are medians over the rounds, and the middle half of the ratios. What
runs on one core is compared by the processor's clock, which stops while another program has the
core; the rest, and all beside busy processes, by the wall's. A training step is forward, mean
squared error of a head at the last step, backward, Adam. JAX and Keras come with `make bench`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers import LIBRARIES, Peer, busy
from benchmarks.report import Row, at_least, show
from benchmarks.trainers import Case, Loop, Ours, Turn, products

NOT_SLOWER = 0.97  # of the loop: where ours is a loop as well, a measurement can tell no more
SMALL, ROWS, MIDDLE = (1, 16, 20, 16), (8, 32, 8, 64), (1, 32, 50, 32)
QUICK = [
    Case("LSTM", SMALL, 7, 80, 9),
    Case("LSTM", ROWS, 3.2, 80),
    Case("LSTM", MIDDLE, 1.3, 80),
    Case("RNN", SMALL, 22, 64, 9),
    Case("RNN", MIDDLE, 4, 64),
]
FULL = [
    *QUICK,
    Case("LSTM", (1, 32, 200, 32), NOT_SLOWER, 16, 5),
    Case("LSTM", (1, 64, 64, 64), NOT_SLOWER, 8, 5),
    Case("LSTM", (64, 128, 100, 32), NOT_SLOWER, 4, 5),
    Case("RNN", ROWS, NOT_SLOWER, 64),
    Case("GRU", SMALL, NOT_SLOWER, 80, 9),
    Case("GRU", ROWS, NOT_SLOWER, 80),
    Case("GRU", MIDDLE, NOT_SLOWER, 80),
]
JAX_BAR = 0.95
LOSS_BARS = 1e-5, 1e-4  # largest relative difference of the losses of one step, and of ten
# One core, without tying the process to one, which might be the core another program is on.
ONE_CORE = {
    "NPROC": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
DEFAULT_THREADS = torch.get_num_threads()
Times = dict[str, list[Turn]]
Contenders = dict[str, Callable[[], Turn]]


def rounds(contenders: Contenders, count: int) -> Times:
    """Give each contender a turn in every round, there and back."""
    times: Times = {name: [] for name in contenders}
    for number in range(count):
        names = list(contenders)
        for name in names[:: -1 if number % 2 else 1]:
            times[name].append(contenders[name]())
    return times


class Figures:
    """Ratios and times of the contenders, as text for a table and as numbers."""

    def __init__(self, times: Times, clock: str) -> None:
        self.times = {
            name: np.array([getattr(turn, clock) for turn in turns])
            for name, turns in times.items()
        }

    def ratio(self, slower: str, faster: str) -> float:
        """How many times faster one is than another: the median over the rounds."""
        return float(np.median(self.times[slower] / self.times[faster]))

    def text(self, name: str, slower: str = "", faster: str = "") -> str:
        """The time of one, and a ratio with the middle half of its rounds."""
        text = f"{np.median(self.times[name]):8.4f} ms"
        if not slower:
            return f"{text:<34}"
        rounds = self.times[slower] / self.times[faster]
        low, middle, high = np.percentile(rounds, [25, 50, 75])
        spread = f"({low:.2f} to {high:.2f})"
        return f"{text}  {middle:6.2f}x {spread:<15}"


def asked(peer: Peer, **arguments: object) -> Turn:
    """Give a peer a turn; where its threads overlap, they are not counted twice."""
    answer = peer.ask("turn", **arguments)
    return Turn(answer["wall"], min(answer["wall"], answer["processor"]))


class Jax:
    """JAX on one core or on all, in its best form for a case."""

    def __init__(self, name: str, peer: Peer) -> None:
        self.name, self.peer = name, peer
        self.losses: dict[str, list[list[float]]] = {}
        self.form, self.seconds = "", 0.0

    def prepare(self) -> None:
        """Take the answer to "prepare", and find the best form by two turns of each."""
        answer = self.peer.receive()
        self.losses = answer["losses"]
        best = {form: self.turn(form).processor for form in self.losses}
        best = {form: min(time, self.turn(form).processor) for form, time in best.items()}
        self.form = min(best, key=best.__getitem__)
        self.seconds = answer["seconds"][self.form]

    def turn(self, form: str = "") -> Turn:
        """Time a replica-step by one call, which trains ten steps."""
        return asked(self.peer, form=form or self.form, calls=1)

    def __str__(self) -> str:
        return f"JAX on {self.name} ({self.form}; compiled in {self.seconds:.1f} s)"


class Comparison:
    """One case: all contenders, made ready."""

    def __init__(self, case: Case, jaxes: Sequence[Jax], keras: Peer, seconds: float) -> None:
        self.case, self.jaxes, self.keras, self.seconds = case, jaxes, keras, seconds
        self.prepare_peers()
        self.loop, self.one, self.measured = Loop(case), Ours(case, 1), Ours(case, None)

    def prepare_peers(self) -> None:
        """Let all compile at once, which is not timed, then find JAX's best forms."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "case.npz"
            self.case.save(path)
            for jax in self.jaxes:
                jax.peer.send("prepare", kind=self.case.kind, path=str(path))
            self.keras.ask("prepare", kind=self.case.kind, sizes=self.case.sizes)
            for jax in self.jaxes:
                jax.prepare()

    def agreement(self) -> Row:
        """Whether all train the same models: the losses of ten steps, which warm up as well."""
        expected = np.array([self.loop.step() for _ in range(10)])  # (10, looped)
        found = []
        for ours in (self.one, self.measured):
            ours.losses += [ours.step() for _ in range(9)]
            found.append(torch.stack(ours.losses).numpy())
        for jax in self.jaxes:
            found += [np.array(losses).T for losses in jax.losses.values()]
        errors = [np.abs(losses[:, : expected.shape[1]] / expected - 1) for losses in found]
        first, ten = max(e[0].max() for e in errors), max(e.max() for e in errors)
        return Row(
            "losses of ours and JAX against the loop's: first step, ten steps",
            f"{first:.0e}, {ten:.0e}",
            "at most {:.0e}, {:.0e}".format(*LOSS_BARS),
            bool(first <= LOSS_BARS[0] and ten <= LOSS_BARS[1]),
        )

    def rows(self) -> list[Row]:
        """Measure, and say how it went."""
        agreement = self.agreement()
        one_core, all_cores = self.jaxes
        times = rounds(
            {
                "loop": lambda: self.loop.turn(self.seconds),
                "ours": lambda: self.one.turn(self.seconds),
                "JAX": one_core.turn,
                "all JAX": all_cores.turn,
                "measured": lambda: self.measured.turn(self.seconds),
                "Keras": lambda: asked(self.keras),
                "limit": lambda: products(self.case.operations),
            },
            self.case.rounds,
        )
        core, wall = Figures(times, "processor"), Figures(times, "wall")
        return [
            Row(f"a loop over nn.{self.case.kind}, 1 thread", core.text("loop")),
            at_least(
                f"ours, 1 worker, over the loop ({plan(self.one)})",
                core.text("ours", "loop", "ours"),
                core.ratio("loop", "ours"),
                self.case.bar,
            ),
            Row(
                f"ours, workers measured, over the loop ({plan(self.measured)})",
                wall.text("measured", "loop", "measured"),
            ),
            Row(
                "the limit of arithmetic on one core, over the loop",
                core.text("limit", "loop", "limit"),
            ),
            at_least(
                f"ours, 1 worker, over {one_core}",
                core.text("JAX", "JAX", "ours"),
                core.ratio("JAX", "ours"),
                JAX_BAR,
            ),
            Row(
                f"ours, workers measured, over {all_cores}",
                wall.text("all JAX", "all JAX", "measured"),
            ),
            Row("ours, 1 worker, over Keras 3 on PyTorch", core.text("Keras", "Keras", "ours")),
            agreement,
        ]

    def beside_others(self, count: int) -> list[Row]:
        """Measure beside busy processes: what the loop is on one thread, and by default."""
        few = Loop(self.case, 2)  # waiting threads can take half a second a model
        contenders: Contenders = {
            "loop": lambda: self.loop.turn(self.seconds),
            "default": lambda: few.turn(self.seconds, DEFAULT_THREADS),
            "1 worker": lambda: self.one.turn(self.seconds),
            "workers measured": lambda: self.measured.turn(self.seconds),
        }
        with busy(count):
            wall = Figures(rounds(contenders, self.case.rounds), "wall")
        rows = [
            Row("the loop, 1 thread", wall.text("loop")),
            Row(
                f"the loop, PyTorch's default of {DEFAULT_THREADS} threads; 1 thread over it",
                wall.text("default", "default", "loop"),
            ),
        ]
        for name in ("1 worker", "workers measured"):
            for other, called in (("loop", "1 thread"), ("default", "default threads")):
                what = f"ours, {name}, over the loop, {called}"
                rows.append(Row(what, wall.text(name, other, name)))
        return rows


def plan(ours: Ours) -> str:
    """The plan in words, and how long the first step took, which found it."""
    plan = ours.plan
    form = "one by one" if plan.fused else f"{plan.chunk} at once"
    workers = f"{plan.workers} worker" + "s" * (plan.workers > 1)
    return f"{form}, {workers}, found in {ours.first:.1f} s"


def memory() -> list[Row]:
    """Extra peak memory of 64 replicas, each way in a fresh process."""
    ways: dict[str, dict[str, Any]] = {
        "a loop over nn.LSTM": {"trainer": "loop"},
        "ours, 1 worker": {"trainer": "ours", "workers": 1},
        "ours, workers measured": {"trainer": "ours"},
    }
    rows = []
    for name, way in ways.items():
        with Peer("memory") as peer:
            answer = peer.ask("extra", kind="LSTM", sizes=MIDDLE, replicas=64, **way)
        rows.append(Row(name, f"{answer['megabytes']:.0f} MB"))
    return rows


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the sizes with bars of their own")
    quick = parser.parse_args().quick
    if not LIBRARIES.exists():
        raise SystemExit("JAX is missing: `make bench` installs it, into .oracles.")
    status, seconds = 0, 0.1 if quick else 0.2
    with (
        Peer("jax_replicas", **ONE_CORE) as one,
        Peer("jax_replicas") as every,
        Peer("keras_replicas", KERAS_BACKEND="torch", OMP_NUM_THREADS="1") as keras,
    ):
        jaxes = [Jax("one core", one), Jax("all cores", every)]
        for case in QUICK if quick else FULL:
            comparison = Comparison(case, jaxes, keras, seconds)
            status |= show(f"{case}; time of a replica-step", comparison.rows())
            if case.kind == "LSTM" and case.sizes in ((SMALL,) if quick else (SMALL, MIDDLE)):
                for count in (1,) if quick else (1, 2):
                    title = f"The same beside {count} busy process" + "es" * (count > 1)
                    status |= show(title, comparison.beside_others(count))
    title = "Peak memory of 64 replicas (LSTM 1, 32, 50, 32), above what PyTorch takes"
    return status | show(title, memory())


if __name__ == "__main__":
    sys.exit(main())

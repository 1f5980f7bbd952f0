"""The machine: which device to use, how many threads, which seeds, and what to report."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from .errors import check_choice, check_count

# Seconds that one training step of `_probe_step` took where the chapters' run times were
# measured (two cores at about 3.3 GHz, one thread, torch 2.13.0).
REFERENCE_STEP_SECONDS = 1.3e-3


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Choose where to train: the GPU if there is one, else the CPU.

    device: "cpu", "cuda" or "mps" to insist. Raises `ValueError` when that device is unknown or
    this machine has none. `fit` and `compare` take the answer as `device`.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if device is None:
        return torch.device(available[0])
    kind = str(device).split(":")[0]
    check_choice("device", kind, ["cpu", "cuda", "mps"])
    if kind not in available:
        raise ValueError(
            f"device must be available here, but {kind!r} was given; "
            f"this machine has {', '.join(available)}."
        )
    return torch.device(device)


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, NumPy and PyTorch, and return a fresh CPU generator with the same seed.

    Raises `ValueError` unless seed is a whole number from 0 to 2**32 - 1.
    """
    seed = check_count("seed", seed, low=0, high=2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (other libraries draw from it)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return a CPU generator for one purpose of one seed.

    Each purpose ("W_hh", "h0", "batches", ...) has a stream of its own: two draws from the same
    seed that shared a stream would share their numbers. Raises `ValueError` for a negative seed.
    """
    seed = check_count("seed", seed, low=0)
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def as_double(values: torch.Tensor) -> torch.Tensor:
    """Return a tensor in float64, on the CPU where its own device has none (Apple's MPS)."""
    return (values.cpu() if values.device.type == "mps" else values).double()


_known = threading.local()  # .seen: whether this thread has been in a block before
_open: set[object] = set()  # blocks open in any thread
_process = {"count": 1}  # threads before the first of them
_process_lock = threading.Lock()


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Run a block with `count` PyTorch threads and restore the old count afterwards.

    A thread that starts while another is inside such a block inherits that block's count; it
    restores the count from outside all blocks instead. Raises `ValueError` for a count below 1.
    """
    count = check_count("count", count)
    block, before = object(), 0
    # An interrupt can come between any two of these lines, and must not leave the count behind.
    try:
        with _process_lock:
            found = torch.get_num_threads()
            if not _open:
                _process["count"] = found
            elif not hasattr(_known, "seen"):
                found = _process["count"]
            _known.seen = True
            before = found
            _open.add(block)
            torch.set_num_threads(count)
        yield
    finally:
        if before:
            with _process_lock:
                torch.set_num_threads(before)
                _open.discard(block)


def fastest_thread_count(step: Callable[[], object], repeats: int = 3) -> int:
    """Measure `step` on one thread and on all, and return the faster count.

    Small recurrent networks run fastest on one thread; this finds out instead of guessing. The
    old thread count is restored.
    """
    every = torch.get_num_threads()
    if every == 1:
        return 1
    best: dict[int, float] = {}
    for count in (1, every, 1, every):
        with threads(count):
            step()
            start = time.perf_counter()
            for _ in range(repeats):
                step()
            elapsed = time.perf_counter() - start
        best[count] = min(elapsed, best.get(count, elapsed))
    # All cores must win clearly: a browser beside the kernel takes one of them.
    return every if best[every] < 0.8 * best[1] else 1


def _probe_step() -> Callable[[], object]:
    """Return one training step of a typical small network: LSTM, hidden 32, 50 steps, batch 32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lstm = torch.nn.LSTM(1, 32)
        x = torch.randn(50, 32, 1)
    optimizer = torch.optim.SGD(lstm.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        lstm(x)[0].pow(2).mean().backward()
        optimizer.step()

    return step


def step_seconds(repeats: int = 20) -> float:
    """Measure the seconds that one training step of a typical small LSTM takes here, on the CPU.

    Hidden size 32, 50 time steps, batch 32, one thread; the median over `repeats` steps.
    """
    step = _probe_step()
    times = []
    with threads(1):
        step()
        for _ in range(repeats):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    return float(np.median(times))


def _relative_speed(seconds: float) -> float:
    return REFERENCE_STEP_SECONDS / seconds


@dataclass(frozen=True)
class EnvironmentReport:
    """What this machine is and how fast it trains; displays as a short table."""

    rows: tuple[tuple[str, str], ...]
    step_seconds: float

    @property
    def relative_speed(self) -> float:
        """Speed against the machine on which the chapters' run times were measured."""
        return _relative_speed(self.step_seconds)

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.rows)

    __repr__ = __str__


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def provenance(device: str | torch.device = "cpu") -> dict[str, str]:
    """Return what a saved result must tell of the machine: versions of torch and Python, device."""
    return {
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "device": f"{device} ({platform.machine()})",
    }


def environment_report() -> EnvironmentReport:
    """Report versions, device and speed of this machine, in about 0.2 s. Used in chapter 00."""
    device = choose_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    seconds = step_seconds()
    packages = ("numpy", "pandas", "matplotlib", "ipywidgets", "ipython")
    where = "Google Colab" if "google.colab" in sys.modules else platform.system()
    rows = (
        ("Python", f"{platform.python_version()} on {where} ({platform.machine()})"),
        ("torch", str(torch.__version__)),
        *((package, _version(package)) for package in packages),
        ("device", f"{name}; {os.cpu_count()} CPU cores"),
        ("one training step", f"{1e3 * seconds:.1f} ms (small LSTM, CPU, one thread)"),
        ("speed", f"{_relative_speed(seconds):.1f}x the machine on which the chapters were timed"),
    )
    return EnvironmentReport(rows, seconds)

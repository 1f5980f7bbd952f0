"""The memory that training takes, in a process of its own (see `peers`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.peers import serve
from benchmarks.trainers import Case, Loop, Ours

STATUS = Path("/proc/self/status")  # Linux keeps it
RESET_PEAK = Path("/proc/self/clear_refs")


def megabytes(field: str) -> float:
    """Read how much of this process is in memory (VmRSS), or was at most (VmHWM)."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def extra(
    trainer: str, kind: str, sizes: list[int], replicas: int, workers: int | None = None
) -> dict[str, Any]:
    """Megabytes by which some steps raise the peak, models and batches included."""
    width, hidden, steps, batch = sizes
    small = Case(kind, (width, hidden, 2, 2), 0, 2)
    Loop(small).step()  # what PyTorch loads at its first step is none of it
    Ours(small, 1)
    RESET_PEAK.write_text("5")
    before = megabytes("VmRSS")
    case = Case(kind, (width, hidden, steps, batch), 0, replicas)
    trained: Loop | Ours = Loop(case, replicas) if trainer == "loop" else Ours(case, workers)
    for _ in range(5):
        trained.step()
    return {"megabytes": megabytes("VmHWM") - before}


if __name__ == "__main__":
    serve({"extra": extra})

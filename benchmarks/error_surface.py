"""The error surface of chapter 05 with its gradient field, and descents on it.

python -m benchmarks.error_surface
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from benchmarks.report import Row, milliseconds, p50_p95, show
from teachkit.device import threads
from teachkit.surfaces import descend, error_surface

CELLS = 200
BAR = 4.5  # ms
ROUNDS = 5  # each job gets a turn in each, so that a busy moment meets all of them


def rows() -> list[Row]:
    """Medians of all jobs, on one thread of PyTorch."""
    w, b = torch.linspace(3, 8, CELLS), torch.linspace(-5, -1, CELLS)[:, None]
    near = 5.5 + 1e-3 * np.arange(16)
    limits = np.array([[np.inf], [1.0]])
    size = f"{CELLS} x {CELLS} x 50"
    jobs = {
        f"surface and gradient field, {size}, float32": (lambda: error_surface(w, b), BAR),
        f"surface and gradient field, {size}, float64": (
            lambda: error_surface(w, b, dtype="float64"),
            None,
        ),
        "a descent of 200 steps": (lambda: descend(5.5, -2.8, lr=0.1), None),
        "32 descents of 200 steps": (
            lambda: descend(near, -2.8, lr=0.1, threshold=limits),
            None,
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    with threads(1):
        for _ in range(ROUNDS):
            for name, (job, _) in jobs.items():
                times[name] += milliseconds(job, repeats=10)
    found = []
    for name, (_, bar) in jobs.items():
        median = p50_p95(times[name])[0]
        limit = "" if bar is None else f"{bar:g} ms"
        found.append(Row(name, f"{median:.1f} ms", limit, bar is None or median <= bar))
    return found


def main() -> int:
    """Measure and print; returns the exit status."""
    return show("The error surface with one thread of PyTorch, medians", rows())


if __name__ == "__main__":
    sys.exit(main())

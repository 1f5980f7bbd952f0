"""The analyses behind the labs, and the import of the package.

python -m benchmarks.analyses
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import torch

import teachkit as tk
from benchmarks.report import Row, milliseconds, show
from teachkit.device import threads

HIDDEN, STEPS = 64, 100
ROUNDS = 5  # each analysis gets a turn in each, so that a busy moment meets all of them
IMPORTS = 9


def analyses() -> list[Row]:
    """Medians of all analyses, on one thread of PyTorch."""
    rnn = tk.make_elman(HIDDEN, 1.1)
    x = torch.randn(STEPS, 1, 1)
    h0 = torch.randn(1, 1, HIDDEN)
    rhos = torch.linspace(0, 3, 32)

    def four_maps() -> None:
        for activation in ("linear", "sigmoid", "tanh", "relu"):
            tk.gradient_map(rnn, rhos, x, h0, activation=activation)

    jobs = {
        f"all singular values of all Jacobian products, hidden {HIDDEN}, {STEPS} steps": (
            lambda: tk.jacobian_products(rnn, x, h0).log_singular_values,
            16.0,
        ),
        f"a gradient-norm curve, hidden {HIDDEN}, {STEPS} steps": (
            lambda: tk.gradient_through_time(rnn, x, h0).growth,
            5.0,
        ),
        "the map of 32 radii x 4 activations, the same size": (four_maps, None),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    with threads(1):
        for _ in range(ROUNDS):
            for name, (job, _) in jobs.items():
                times[name] += milliseconds(job, repeats=8)
    rows = []
    for name, (_, bar) in jobs.items():
        median = statistics.median(times[name])
        limit = "" if bar is None else f"{bar:g} ms"
        rows.append(Row(name, f"{median:.1f} ms", limit, bar is None or median <= bar))
    return rows


def import_seconds(code: str) -> float:
    """Wall time of a fresh Python that runs `code`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def imports() -> Row:
    """How much longer importing teachkit takes than torch and pandas."""
    base = "import torch, pandas"
    ours = "import teachkit as tk; tk.spectral_radius, tk.fit, tk.sunspots"
    times: dict[str, list[float]] = {base: [], ours: []}
    for _ in range(IMPORTS):
        for code, found in times.items():
            found.append(import_seconds(code))
    medians = [statistics.median(found) for found in times.values()]
    more = 100 * (medians[1] / medians[0] - 1)
    return Row(
        f"import teachkit ({medians[1]:.2f} s) over torch and pandas ({medians[0]:.2f} s)",
        f"{more:+.0f} %",
        "at most +10 %",
        more <= 10,
    )


def main() -> int:
    """Measure and print; returns the exit status."""
    return show("Analyses with one thread of PyTorch, medians", [*analyses(), imports()])


if __name__ == "__main__":
    sys.exit(main())

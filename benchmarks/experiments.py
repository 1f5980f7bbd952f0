"""How long whole experiments take: 16 seeds x 5 initial-state strategies, evaluation included.

python -m benchmarks.experiments
"""

from __future__ import annotations

import sys
from typing import Any

import teachkit as tk
from benchmarks.report import Row, show

STRATEGIES: dict[str, dict[str, Any]] = {
    name: {"initial_state": name}
    for name in ("zero", "noisy", "learned", "learned+noisy", "adaptive")
}
# sizes of the studies of initial states: an LSTM, 600 steps, measured 20 times
CASES: dict[str, tuple[tk.tasks.Task, dict[str, Any], float | None]] = {
    "sunspots, windows of 20, hidden 16, batch 16": (
        tk.Forecast(20),
        {"hidden_size": 16, "batch_size": 16},
        10.0,
    ),
    "the same with a forecast at every step": (
        tk.Forecast(20, every_step=True),
        {"hidden_size": 16, "batch_size": 16},
        None,
    ),
    "names, hidden 32, batch 32": (tk.Names(), {"hidden_size": 32, "batch_size": 32}, 60.0),
}


def main() -> int:
    """Measure and print; returns the exit status."""
    rows = []
    for name, (task, settings, bar) in CASES.items():
        table = tk.compare(task, STRATEGIES, steps=600, lr=0.01, progress=False, **settings)
        seconds = table.attrs["seconds"]
        limit = "" if bar is None else f"{bar:g} s"
        rows.append(Row(name, f"{seconds:.1f} s", limit, bar is None or seconds <= bar))
    return show("16 seeds x 5 strategies, 600 steps", rows)


if __name__ == "__main__":
    sys.exit(main())

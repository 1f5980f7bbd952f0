"""Time things side by side and print them against their bars."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, the figure, and the bar where there is one.

    margin: by how much the bar is held or missed, as " by 9 %".
    """

    what: str
    figure: str
    bar: str = ""
    holds: bool = True
    margin: str = ""


def at_least(what: str, figure: str, ratio: float, bar: float) -> Row:
    """One line about a ratio that has to reach its bar."""
    margin = f" by {100 * abs(ratio / bar - 1):.0f} %"
    return Row(what, figure, f"{bar:g}x or more", ratio >= bar, margin)


def show(title: str, rows: list[Row]) -> int:
    """Print a table; returns the exit status, 1 where a bar is missed."""
    print(f"\n{title}\n")
    what, figure = (max(len(getattr(row, name)) for row in rows) for name in ("what", "figure"))
    for row in rows:
        held = ("held" if row.holds else "MISSED") + row.margin
        verdict = f"  bar {row.bar}: {held}" if row.bar else ""
        print(f"  {row.what:<{what}}  {row.figure:>{figure}}{verdict}", flush=True)
    return int(not all(row.holds for row in rows))


def milliseconds(step: Callable[[], object], repeats: int = 50) -> list[float]:
    """Time `step` after one call that warms it up."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def p50_p95(times: list[float]) -> tuple[float, float]:
    """The median and the 95th percentile."""
    return float(np.median(times)), float(np.percentile(times, 95))

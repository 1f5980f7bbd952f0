"""The slowest frames of each lab over random settings, computing and drawing apart.

    python -m benchmarks.frames

A frame is what a slider waits for: the result is computed, then drawn, encoded and put into words.
Settings are drawn one after the other as by a reader who moves everything, so that what a lab
remembers helps it as much as it would help a reader. It lists and judges nothing: the bar of the
drawing at usual settings is that of `benchmarks.slider`.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass

import numpy as np

import teachkit as tk
from benchmarks.report import Row, show
from teachkit.device import threads
from teachkit.labs.canvas import Canvas, image_html
from teachkit.labs.spec import Settings, Spec
from tests.labs.driving import NAMES
from tests.labs.fuzzing import anywhere

COUNT = 100  # random settings of each lab
WORST = 3  # of them are listed


@dataclass(frozen=True)
class Frame:
    """How long one frame took, in milliseconds, and the line that opens it."""

    compute: float
    draw: float
    line: str

    @property
    def whole(self) -> float:
        """Milliseconds of both."""
        return self.compute + self.draw


def random_settings(spec: Spec, rng: random.Random) -> Settings:
    """Draw any place of every control, and what fits of it."""
    return spec.fit({c.name: anywhere(c, c.widget(), rng) for c in spec.controls})


def frames(name: str, count: int, seed: int = 0) -> list[Frame]:
    """Time random frames of a lab, after one at its default settings."""
    spec: Spec = getattr(tk.labs, name)().spec
    rng, canvas = random.Random(f"{name} {seed}"), Canvas(spec.picture())
    found = []
    for settings in [spec.defaults, *(random_settings(spec, rng) for _ in range(count))]:
        line = getattr(tk.labs, name)(**settings).settings_line
        with threads(1):
            start = time.perf_counter()
            result = spec.compute(settings)
            computed = time.perf_counter()
            image_html(canvas.png(result), spec.sentence(result))
            end = time.perf_counter()
        found.append(Frame(1e3 * (computed - start), 1e3 * (end - computed), line))
    return found[1:]  # the first one loads what all need


def rows(name: str, found: list[Frame], worst: int = WORST) -> list[Row]:
    """Return the middle of all frames and the slowest ones."""
    middle = np.median([[f.compute, f.draw] for f in found], axis=0)
    table = [Row(f"{name}, p50 of {len(found)}", "{:.0f} + {:.0f} ms".format(*middle))]
    for frame in sorted(found, key=lambda f: f.whole, reverse=True)[:worst]:
        table.append(Row(f"  {frame.line}", f"{frame.compute:.0f} + {frame.draw:.0f} ms"))
    return table


def main(count: int = COUNT) -> int:
    """Measure and print; returns the exit status."""
    for name in NAMES:
        show(f"{name}: compute + draw, the slowest frames", rows(name, frames(name, count)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

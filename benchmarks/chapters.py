"""Run All of each chapter in a fresh kernel.

python -m benchmarks.chapters
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import nbformat

from benchmarks.report import Row, show
from tools.notebooks import NOTEBOOKS, execute

CHAPTER_BAR, BOOK_BAR = 60.0, 300.0  # seconds


def main() -> int:
    """Measure and print; returns the exit status."""
    rows, total = [], 0.0
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            execute(notebook, Path(folder))
            seconds = time.perf_counter() - start
        total += seconds
        bar = f"{CHAPTER_BAR:g} s"
        rows.append(Row(path.stem, f"{seconds:.1f} s", bar, seconds <= CHAPTER_BAR))
    rows.append(Row("the book", f"{total:.1f} s", f"{BOOK_BAR:g} s", total <= BOOK_BAR))
    return show("Run All, start of the kernel included", rows)


if __name__ == "__main__":
    sys.exit(main())

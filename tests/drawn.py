"""Every picture that the project draws, as Matplotlib figures: for tests of what readers see."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import teachkit as tk
from teachkit.exercises import feedback
from teachkit.labs.canvas import Canvas
from tools import notebooks
from tools.student import is_exercise, solution_codes

CHAPTERS = sorted((notebooks.NOTEBOOKS / "source").glob("*.py"))
# Settings at which a lab draws what its own and its posters' do not: {lab: changes}.
MORE: dict[str, list[dict[str, Any]]] = {
    "fresh_from_the_box": [{"weights": "bias"}],
    "signal": [{"mode": "time", "gain": 3.0}],
    "spectral_radius": [{"activation": "sigmoid", "rho": 4.0}],
    "trajectories": [{"network": "trained on sunspots"}, {"network": "counterexample"}],
}
TRAINING_STEPS = 3


def of_labs() -> Iterator[tuple[str, Figure]]:
    """Yield the picture of every lab at its start, at its posters, and of its training."""
    for name in tk.labs.__all__:
        lab = getattr(tk.labs, name)()
        spec = lab.spec
        posters = [spec.check({**lab.start, **change}) for change in spec.posters(lab.start)]
        more = [getattr(tk.labs, name)(**settings).start for settings in MORE.get(name, [])]
        for settings in [lab.start, *posters, *more]:
            picture = spec.picture()
            Canvas(picture).png(spec.compute(settings))
            yield f"{name} {settings}", picture.figure
        if spec.training is not None:
            picture = spec.training.picture()
            canvas = Canvas(picture)
            for _, result in itertools.islice(spec.training.start(lab.start), TRAINING_STEPS):
                canvas.png(result)
            yield f"{name}, training", picture.figure


def names(code: str) -> tuple[set[str], set[str]]:
    """Return which names a cell takes from others and which it makes."""
    tree = ast.walk(ast.parse(code))
    found = [(n.id, isinstance(n.ctx, ast.Store)) for n in tree if isinstance(n, ast.Name)]
    made = {name for name, stored in found if stored}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return {name for name, stored in found if not stored} - made, made


def needed(cells: list[str], last: int) -> list[int]:
    """Return the cells that a cell needs, in order, itself the last one."""
    kept, wanted = [last], names(cells[last])[0]
    for i in range(last - 1, -1, -1):
        reads, makes = names(cells[i])
        if makes & wanted:
            kept.append(i)
            wanted = (wanted - makes) | reads
    return kept[::-1]


def of_chapter(source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Figure]]:
    """Run the cells of a chapter that draw, with what they need, and yield their figures.

    Its exercises are solved: the pictures of their checks are among the figures.
    """
    found: list[Figure] = []

    class Kept(FigureCanvasAgg):
        def __init__(self, figure: Figure) -> None:
            super().__init__(figure)
            found.append(figure)

    monkeypatch.setattr(feedback, "FigureCanvasAgg", Kept)
    monkeypatch.setattr(plt, "show", lambda: found.append(plt.gcf()))
    chapter = notebooks.from_source(source.read_text(encoding="utf-8"))
    solutions = solution_codes(chapter)
    cells = [
        next(solutions) if is_exercise(cell) else cell.source
        for cell in chapter.cells
        if cell.cell_type == "code"
    ]
    space: dict[str, Any] = {}
    run = set()
    with mpl.rc_context():
        for last, code in enumerate(cells):
            if "plt.subplots" not in code and not code.startswith("tk.check"):
                continue
            for i in needed(cells, last):
                if i not in run:
                    run.add(i)
                    exec(compile(cells[i], f"{source.stem}, cell {i}", "exec"), space)
                    if i == last:
                        for figure in found:
                            yield f"{source.stem}: {code[:60]!r}", figure
                    found.clear()
            plt.close("all")

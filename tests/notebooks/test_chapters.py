"""Every chapter as readers run it: fresh, twice in a row, and with every exercise solved."""

import ast
import copy
import re

import pytest

from tools import badges, notebooks
from tools.student import is_exercise, solution_codes

SOURCES = sorted((notebooks.NOTEBOOKS / "source").glob("*.py"))
BUDGET_SECONDS = 60


def chapter(source):
    return notebooks.from_source(source.read_text(encoding="utf-8"))


def feedback(notebook):
    """The answer of every check cell, in order."""
    cells = [c for c in notebook.cells if c.cell_type == "code" and c.source.startswith("tk.check")]
    return [cell.outputs[-1]["data"]["text/plain"] for cell in cells]


def solved(notebook):
    """The notebook with each solution in the place of its stub."""
    notebook = copy.deepcopy(notebook)
    solutions = solution_codes(notebook)
    for cell in notebook.cells:
        if is_exercise(cell):
            cell.source = next(solutions)
    return notebook


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_runs_twice_in_a_fresh_kernel_with_live_labs(source, tmp_path):
    notebook = chapter(source)
    count = len(notebook.cells)
    again = copy.deepcopy(notebook.cells)
    for cell in again:
        cell.id += "-again"
    notebook.cells += again
    notebooks.execute(notebook, tmp_path)
    answers = feedback(notebook)
    assert answers, f"{source.stem} has no exercise"
    assert all(answer.startswith("Still open.") for answer in answers)
    assert len(notebook.cells) == 2 * count
    # The labs were there as widgets, and the scan for hidden errors saw their state.
    assert "teachkit-sentence" in str(notebook.metadata.widgets)
    assert not list(tmp_path.iterdir()), "a chapter leaves files behind"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_solution_is_right(source, tmp_path):
    stub = chapter(source)
    notebook = solved(stub)
    assert sum(map(is_exercise, stub.cells)) == len(
        [cell for cell in notebook.cells if cell.source.startswith("tk.check")]
    )
    notebooks.execute(notebook, tmp_path, env={"TEACHKIT_POSTER": "1"})
    assert all(answer.startswith("Right.") for answer in feedback(notebook)), feedback(notebook)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_cells_are_short_and_the_frame_is_complete(source):
    notebook = chapter(source)
    code = [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and not badges.is_setup(cell.source)
    ]
    lines = [sum(bool(line.strip()) for line in text.splitlines()) for text in code]
    assert max(lines) <= 25
    assert sorted(lines)[len(lines) // 2] <= 10
    assert lines[0] <= 8, "the set-up cell"
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert prose.startswith(f"# {source.stem[:2]} ")
    for part in ("In this chapter:", "to read", "**Predict.**", "## What you saw", ".ipynb)"):
        assert part in prose


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_link_to_a_chapter_leads_to_one(source):
    for target in re.findall(r"\]\((?!https:)([^)]+\.ipynb)\)", source.read_text(encoding="utf-8")):
        assert (notebooks.NOTEBOOKS / target).is_file()


def test_every_network_that_a_chapter_trains_uses_the_gpu_where_there_is_one():
    devices = {
        source.stem[:2]: {
            ast.unparse(keyword.value)
            for call in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "tk.fit"
            for keyword in call.keywords
            if keyword.arg == "device"
        }
        for source in SOURCES
        if re.search(r"(?m)^(history = )?tk\.fit\(", source.read_text(encoding="utf-8"))
    }
    assert devices == {
        "04": {"tk.choose_device()"},
        "05": {"tk.choose_device()"},
        "06": {"device"},  # tk.choose_device(), a line before
    }

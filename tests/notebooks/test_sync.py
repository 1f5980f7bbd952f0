"""The saved chapters: they follow from their sources, hold their outputs and stay small."""

import nbformat
import pytest

from tools import notebooks
from tools.hidden_errors import hidden_errors

CHAPTERS = sorted(notebooks.NOTEBOOKS.glob("*.ipynb"))


def test_sources_and_notebooks_agree():
    assert notebooks.check() == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_is_saved_as_executed(path):
    chapter = nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in chapter.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run `make notebooks`"
    assert hidden_errors(chapter) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_has_pictures_instead_of_widgets_and_stays_under_a_megabyte(path):
    assert "jupyter.widget" not in path.read_text(encoding="utf-8")
    assert path.stat().st_size < 1_000_000

"""The saved chapters: they follow from their sources, hold their outputs and stay small."""

import re

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


def outputs(path):
    """Every output of a saved chapter that shows something."""
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if "data" in output:
                yield cell.source, output


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_picture_says_in_words_what_it_shows(path):
    texts = []
    for _, output in outputs(path):
        if "image/png" in output.data:
            texts.append(output.metadata.get("image/png", {}).get("alt", ""))
            assert output.data["text/plain"] == texts[-1]
        texts += re.findall(r"<img(?: alt=\"([^\"]*)\")?", output.data.get("text/html", ""))
    assert texts, "a chapter without a picture"
    for text in texts:
        assert len(text) >= 40, f"a picture without words: {text!r}"
        assert re.match(r"\S.*\.$", text, re.DOTALL), text
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_words_of_a_lab_stand_below_its_poster(path):
    shown = list(outputs(path))
    labs = [i for i, (source, output) in enumerate(shown) if "tk.labs." in source]
    posters = [i for i in labs if "image/png" in shown[i][1].data]
    assert posters
    for i in posters:
        below = shown[i + 1][1].data["text/markdown"].replace("\\", "")
        for sentence in shown[i][1].metadata["image/png"]["alt"].splitlines():
            assert sentence in below


@pytest.mark.parametrize(
    "source", sorted((notebooks.NOTEBOOKS / "source").glob("*.py")), ids=lambda path: path.stem
)
def test_figures_are_shown_with_words(source):
    assert "plt.show()" not in source.read_text(encoding="utf-8")

"""A whole chapter in a real JupyterLab: text, code, figures, labs, exercises and their checks."""

import pytest

from tests.browser.jupyter import LabOnPage
from tests.browser.looks import SCREENSHOTS, lay_out, serious, untidy

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chapter(open_notebook):
    SCREENSHOTS.mkdir(exist_ok=True)
    opened = open_notebook("04_exploding_gradients.ipynb")
    lay_out(opened)
    return opened


def test_the_chapter_ran_without_an_error(chapter):
    assert chapter.errors() == []


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_axe_finds_nothing_serious_of_ours_on_the_page(chapter, theme):
    chapter.theme(f"JupyterLab {theme}")
    assert serious(chapter.page, ".jp-Notebook") == []


@pytest.mark.parametrize("width", [700, 1100])
def test_its_labs_with_their_own_arguments_are_tidy(chapter, width):
    boxes = chapter.page.locator(".jp-OutputArea-output .widget-vbox").filter(
        has=chapter.page.locator("img[alt]")
    )
    assert boxes.count() > 2
    labs = {f"chapter lab {i}": LabOnPage(box) for i, box in enumerate(boxes.all())}
    assert untidy(labs, width) == {}

"""The labs of chapters 01 and 02 in a real JupyterLab: every control, and choices that depend."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SIZE
from tests.browser.jupyter import LabOnPage
from tests.browser.looks import SCREENSHOTS, cut_off, serious

pytestmark = pytest.mark.browser

# chapter, a control that its lab has, the beginning of its sentence
LABS = {
    "01_framework_defaults": ("framework", "The W_hh of the forget gate of a new PyTorch LSTM"),
    "02_weight_initialization": ("scheme", "xavier_uniform, relu, 20 layers"),
}


@pytest.fixture(scope="module", params=LABS)
def chapter(request, open_notebook):
    SCREENSHOTS.mkdir(exist_ok=True)
    opened = open_notebook(f"{request.param}.ipynb")
    opened.stem = request.param
    return opened


@pytest.fixture
def lab(chapter):
    """The first lab of the chapter, back at its start."""
    chapter.page.set_viewport_size(SIZE)
    label, begins = LABS[chapter.stem]
    found = LabOnPage.find(chapter, label)
    found.box.get_by_role("button", name="Reset").click()
    expect(found.sentence).to_have_text(re.compile("^" + re.escape(begins)))
    yield found
    assert chapter.errors() == []


def test_the_chapter_ran_without_an_error(chapter):
    assert chapter.errors() == []


def test_every_slider_and_every_option_moves_without_an_error(lab, chapter):
    for handle in lab.box.locator(".noUi-handle").all():
        handle.focus()
        for key in ("End", "Home"):
            handle.press(key)
    all_moves_are_done(chapter)
    for choice in lab.box.locator("select").all():
        for option in choice.locator("option").all_inner_texts():
            before = lab.sentence.inner_text()
            if choice.locator("option:checked").inner_text() != option:
                choice.select_option(label=option)
                expect(lab.sentence).not_to_have_text(before, timeout=20_000)
                all_moves_are_done(chapter)
    assert lab.box.locator(".teachkit-error").count() == 0


def all_moves_are_done(chapter):
    """Wait for the kernel, which answers in turn, and for the page, which shows its answers."""
    assert chapter.run_code("print(1)").strip() == "1"
    chapter.page.wait_for_timeout(500)


def test_picture_and_sentence_change_together(lab, chapter):
    source = lab.picture.get_attribute("src")
    lab.drag("hidden_size", [0.4, 0.7, 0.3])
    all_moves_are_done(chapter)
    expect(lab.picture).not_to_have_attribute("src", source)
    text = lab.sentence.inner_text().partition("\ntk.labs")[0]
    assert lab.picture.get_attribute("alt") == text.strip()


@pytest.mark.parametrize("width", [700, 1100])
def test_nothing_is_cut_on_a_narrow_page(lab, chapter, width):
    assert cut_off(lab, width, chapter.stem) == []


def test_axe_finds_nothing_serious_of_ours(lab):
    assert serious(lab) == []


def test_the_gates_follow_the_cell(lab, chapter):
    if chapter.stem.startswith("01"):
        cell, gate = (lab.box.get_by_label(name, exact=True) for name in ("cell", "gate"))
        cell.select_option("gru")
        expect(gate.locator("option")).to_have_text(["reset", "update", "new"])
        expect(lab.sentence).to_have_text(re.compile("update gate of a new PyTorch GRU"))
        cell.select_option("lstm")
        expect(gate.locator("option")).to_have_text(["input", "forget", "cell", "output"])
        expect(lab.sentence).to_have_text(re.compile("forget gate of a new PyTorch LSTM"))
    else:
        lab.box.get_by_label("through", exact=True).select_option("time")
        expect(lab.sentence).to_have_text(re.compile("20 steps"))

"""The saved chapters as readers without a kernel see them: each as HTML, in Chromium."""

import html

import nbformat
import pytest
from nbconvert import HTMLExporter

from tools import notebooks

pytestmark = pytest.mark.browser

CHAPTERS = sorted(notebooks.NOTEBOOKS.glob("*.ipynb"))
WIDTHS = (700, 1100)
# What a widget without its kernel, or an error, would leave on the page.
BROKEN = ("model not found", "Error displaying widget", "Traceback (most recent call last)")
WIDGETS = ("application/vnd.jupyter.widget", "jupyter-widgets", "html-manager")
PICTURES = """() => Array.from(document.images).map(img => {
    const box = img.getBoundingClientRect();
    return {alt: img.alt, loaded: img.complete && img.naturalWidth > 0,
            left: box.left, right: box.right, width: box.width};
})"""


@pytest.fixture
def opened(browser, tmp_path):
    """Open a saved chapter, as nbconvert writes it with a template, in a page without network."""
    page = browser.new_page()
    page.route(lambda url: not url.startswith(("file:", "data:")), lambda route: route.abort())

    def open_chapter(path, template, **options):
        body, _ = HTMLExporter(template_name=template, **options).from_filename(str(path))
        file = tmp_path / f"{path.stem}_{template}.html"
        file.write_text(body, encoding="utf-8")
        page.goto(file.as_uri(), wait_until="load")
        page.wait_for_function("() => Array.from(document.images).every(img => img.complete)")
        return page

    yield open_chapter
    page.close()


def posters(path):
    """The alternative texts of the pictures, in order; one of a lab has its sentences as lines."""
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        own = [o.metadata["image/png"]["alt"] for o in cell.get("outputs", []) if is_picture(o)]
        found += own
        if "tk.labs." in cell.source and cell.cell_type == "code":
            assert len(own) == 1, f"a lab without its poster: {cell.source}"
    return found


def is_picture(output):
    return "image/png" in output.get("data", {})


@pytest.mark.parametrize("template", ["lab", "classic"])
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_saved_chapter_reads_well_without_a_kernel(path, template, opened):
    page = opened(path, template)
    expected = posters(path)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        shown = page.evaluate(PICTURES)
        assert len(shown) == len(expected)
        for picture in shown:
            assert picture["loaded"]
            assert 0 <= picture["left"] < picture["right"] <= width
            assert picture["width"] >= 350, "a picture too small to read"
    if template == "classic":  # the one that shows what the metadata has
        assert [html.unescape(picture["alt"]) for picture in shown] == expected

    text, source = page.inner_text("body"), page.content()
    assert [word for word in BROKEN if word in text] == []
    assert [word for word in WIDGETS if word in source] == []
    assert page.locator("[data-mime-type*=stderr], .output_stderr, .output_error").count() == 0
    for alt in expected:
        if "\n" in alt:  # a lab says below its poster what each of its pictures shows
            assert all(sentence in text for sentence in alt.splitlines())

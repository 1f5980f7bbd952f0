"""Every lab in a real front end of ipywidgets 7, with Colab's versions in the kernel."""

import json
import re
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

from teachkit.labs import __all__ as LABS
from tests.browser.classic import ClassicLab, ClassicNotebook, classic_notebook
from tests.browser.conftest import SIZE
from tests.browser.looks import SCREENSHOTS, cut_now
from tools.notebooks import METADATA

pytestmark = pytest.mark.browser

SECONDS = 60  # on a busy machine
START = "import json, ipywidgets, IPython, teachkit as tk"
# The slider to drive, where the picture does not follow from the first one.
SLIDERS = {"first_steps": "seed"}
WITHOUT_CHOICES = ("forget_bias", "wall")
VERSIONS = "print(ipywidgets.__version__, IPython.__version__)"
# What the kernel has: a lab's sentence, and each control as the page words it.
STATE = """
print(json.dumps([{name}.sentence, {{
    control.description:
        getattr(control, "label", None) or format(control.value, control.readout_format)
    for control in {name}.controls.values()
}}]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classic")
    cells = [new_code_cell(START)]
    cells += [new_code_cell(f"{name} = tk.labs.{name}()\n{name}") for name in LABS]
    nbformat.write(new_notebook(cells=cells, metadata=METADATA), folder / "labs.ipynb")
    with classic_notebook(folder) as started:
        yield started


@pytest.fixture(scope="module")
def notebook(server, browser):
    """One notebook with a cell for each lab, all run."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page = browser.new_page(viewport=SIZE)
    opened = ClassicNotebook(page, server.page("labs.ipynb"))
    opened.run_all()
    yield opened
    page.close()


@pytest.fixture
def find(notebook):
    """Find a lab by its name, back at its start; in the end nothing has gone wrong on the page."""

    def found(name):
        lab = on_page(notebook, name)
        lab.box.scroll_into_view_if_needed()
        lab.box.get_by_role("button", name="Reset").click()
        settled(notebook, name)
        return lab

    yield found
    assert notebook.errors() == []


def on_page(notebook, name):
    cell = notebook.page.locator(".code_cell").nth(1 + LABS.index(name))
    return ClassicLab(cell.locator(f"{ClassicLab.OUTPUT} .widget-vbox").first)


def settled(notebook, name):
    """Wait until the page shows what the kernel has; returns the picture and the controls."""
    lab, end = on_page(notebook, name), time.monotonic() + SECONDS
    while True:
        sentence, controls = json.loads(notebook.run_code(STATE.format(name=name)))
        source, alt, words, _ = lab.shown()
        kernel, page = (sentence, controls), (words, lab.controls())
        if kernel == page or time.monotonic() > end:
            assert kernel == page
            assert alt == sentence
            return source, controls
        time.sleep(0.1)


def line(lab):
    """The settings line of a lab, which every move of a control changes."""
    return lab.sentence.locator("code")


def test_the_kernel_has_colabs_versions(notebook):
    assert notebook.run_code(VERSIONS).split() == ["7.7.1", "7.34.0"]


@pytest.mark.parametrize("name", LABS)
def test_mouse_and_arrow_keys_move_a_slider(name, find, notebook):
    lab = find(name)
    first = lab.box.locator(".widget-hslider .widget-label").first
    label = SLIDERS.get(name) or first.inner_text()
    start, before = settled(notebook, name)
    lab.drag(label, [0.9, 0.3, 0.62])
    expect(line(lab)).to_contain_text("=")
    dragged, controls = settled(notebook, name)
    assert controls[label] != before[label]
    assert dragged != start
    moved = line(lab).inner_text()
    lab.slider(label).press("ArrowRight")
    expect(line(lab)).not_to_have_text(moved)
    _, now = settled(notebook, name)
    assert float(now.pop(label)) > float(controls.pop(label))
    assert now == controls


@pytest.mark.parametrize("name", [name for name in LABS if name not in WITHOUT_CHOICES])
def test_every_choice_changes_what_is_shown(name, find, notebook):
    lab = find(name)
    start, _ = settled(notebook, name)
    choices = lab.box.locator("select:enabled")
    assert choices.count() > 0
    for choice in choices.all():
        before = line(lab).inner_text()
        choice.select_option(label=choice.locator("option:not(:checked)").first.inner_text())
        expect(line(lab)).not_to_have_text(before)
        source, _ = settled(notebook, name)
    assert source != start


def number(pattern, text):
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1])


def test_train_now_beside_a_moving_slider_stop_and_reset(find, notebook):
    lab = find("spectral_radius")
    train, stop = (lab.box.get_by_role("button", name=n) for n in ("Train now", "Stop"))
    trained = lab.box.locator(".teachkit-sentence").nth(1)

    def steps():
        return number(r"after (\d+) steps", trained.inner_text())

    train.click()
    expect(trained).to_be_visible()
    expect(stop).to_be_enabled()
    first = steps()
    lab.drag("rho", [0.3, 0.62])
    expect(line(lab)).to_contain_text("rho=1.")
    expect(trained).not_to_contain_text(f"after {first:.0f} steps")
    lab.box.screenshot(path=SCREENSHOTS / "classic_training.png")
    stop.click()
    expect(lab.box).to_contain_text("stopped after")
    expect(train).to_be_enabled()
    expect(stop).to_be_disabled()
    assert first < steps() < 1000
    style = lab.box.locator(".progress-bar").get_attribute("style")
    assert 0 < number(r"width: ([\d.]+)%", style) < 100
    assert lab.box.locator("img[alt]").nth(1).get_attribute("alt") == trained.inner_text().strip()
    settled(notebook, "spectral_radius")
    lab.box.get_by_role("button", name="Reset").click()
    expect(trained).to_have_count(0)
    assert settled(notebook, "spectral_radius")[1]["rho"] == "1.20"


def test_save_writes_beside_the_notebook(find, server):
    lab = find("wall")
    lab.box.get_by_role("button", name="Save").click()
    expect(lab.box.get_by_text(re.compile(r"^Saved wall.*\.png and .*\.csv"))).to_be_visible()
    assert sorted(f.suffix for f in server.folder.glob("wall*")) == [".csv", ".png"]


def test_nothing_is_cut_on_a_narrow_page(find, notebook):
    for name in LABS:
        find(name)
    cut = {}
    for width in (700, 1100):
        notebook.page.set_viewport_size({"width": width, "height": 1000})
        time.sleep(0.5)  # the page lays itself out anew
        for name in LABS:
            lab = on_page(notebook, name)
            lab.box.screenshot(path=SCREENSHOTS / f"classic_{name}_{width}.png")
            if found := cut_now(lab):
                cut[name, width] = found
    notebook.page.set_viewport_size(SIZE)
    assert cut == {}

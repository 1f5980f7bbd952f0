"""The labs of all chapters but 04 in a real JupyterLab: controls, and choices that depend."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SIZE
from tests.browser.jupyter import LabOnPage
from tests.browser.looks import SCREENSHOTS, cut_off, serious

pytestmark = pytest.mark.browser

# lab: its chapter, a control that no other lab there has, how its sentence begins, what to drag
LABS = {
    "fresh_from_the_box": (
        "01_framework_defaults", "framework",
        "The W_hh of the forget gate of a new PyTorch LSTM", "hidden_size",
    ),
    "signal": (
        "02_weight_initialization", "scheme", "xavier_uniform, relu, 20 layers", "hidden_size",
    ),
    "first_steps": ("03_initial_states", "strategy", "learned against zero", "seed"),
    "trajectories": (
        "03_initial_states", "network", "rho = 0.90, tanh, without input", "noise std",
    ),
    "wall": ("05_gradient_clipping", "start: w", "Start (5.50, -2.80), lr 0.3, 200", "start: w"),
    "clip_what": (
        "05_gradient_clipping", "method", "norm at 1, rho = 2.00, temporal order", "rho",
    ),
    "forecast": (
        "06_forecasting", "forget bias", "torch, forget bias of the preset, zero state", "seed",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def chapters(open_notebook):
    """Open a chapter by its name, and keep it open for its other labs."""
    SCREENSHOTS.mkdir(exist_ok=True)
    opened = {}

    def open_chapter(stem):
        if stem not in opened:
            opened[stem] = open_notebook(f"{stem}.ipynb")
        return opened[stem]

    return open_chapter


@pytest.fixture(params=LABS)
def name(request):
    return request.param


@pytest.fixture
def chapter(name, chapters):
    return chapters(LABS[name][0])


@pytest.fixture
def lab(name, chapter):
    """The lab, back at its start."""
    chapter.page.set_viewport_size(SIZE)
    _, label, begins, _ = LABS[name]
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


def test_picture_and_sentence_change_together(lab, name, chapter):
    source = lab.picture.get_attribute("src")
    lab.drag(LABS[name][3], [0.4, 0.7, 0.3])
    all_moves_are_done(chapter)
    expect(lab.picture).not_to_have_attribute("src", source)
    text = lab.sentence.inner_text().partition("\ntk.labs")[0]
    assert lab.picture.get_attribute("alt") == text.strip()


@pytest.mark.parametrize("width", [700, 1100])
def test_nothing_is_cut_on_a_narrow_page(lab, name, width):
    assert cut_off(lab, width, name) == []


def test_axe_finds_nothing_serious_of_ours(lab):
    assert serious(lab) == []


def pick(lab, label, option):
    lab.box.get_by_label(label, exact=True).select_option(option)


@pytest.mark.parametrize("name", ["fresh_from_the_box"], indirect=True)
def test_the_gates_follow_the_cell(lab):
    gate = lab.box.get_by_label("gate", exact=True)
    pick(lab, "cell", "gru")
    expect(gate.locator("option")).to_have_text(["reset", "update", "new"])
    expect(lab.sentence).to_have_text(re.compile("update gate of a new PyTorch GRU"))
    pick(lab, "cell", "lstm")
    expect(gate.locator("option")).to_have_text(["input", "forget", "cell", "output"])
    expect(lab.sentence).to_have_text(re.compile("forget gate of a new PyTorch LSTM"))


@pytest.mark.parametrize("name", ["signal"], indirect=True)
def test_a_signal_also_travels_through_time(lab):
    pick(lab, "through", "time")
    expect(lab.sentence).to_have_text(re.compile("20 steps"))


@pytest.mark.parametrize("name", ["first_steps"], indirect=True)
def test_the_window_follows_the_task_and_comes_back(lab):
    window = lab.box.locator(".widget-hslider", has_text="window length").locator(".widget-readout")
    expect(window).to_have_text("10")
    pick(lab, "task", "names")
    expect(window).to_have_text("12")
    pick(lab, "task", "sunspots")
    expect(window).to_have_text("10")


@pytest.mark.parametrize("name", ["first_steps", "clip_what", "forecast"], indirect=True)
def test_training_starts_and_stops(lab):
    lab.box.get_by_role("button", name="Train now").click()
    expect(lab.box).to_contain_text("left", timeout=20_000)
    lab.box.get_by_role("button", name="Stop").click()
    expect(lab.box).to_contain_text("stopped after", timeout=20_000)
    expect(lab.box.locator("img")).to_have_count(2)


@pytest.mark.parametrize("name", ["trajectories"], indirect=True)
def test_a_trained_network_shows_its_own_radius(lab):
    pick(lab, "network", "trained on sunspots")
    expect(lab.sentence).to_have_text(re.compile("^rho = 1.04, trained on sunspots"))
    pick(lab, "network", "counterexample")
    expect(lab.sentence).to_have_text(re.compile("near the fixed point .* is not forgotten"))


@pytest.mark.parametrize("name", ["clip_what"], indirect=True)
def test_the_threshold_follows_the_method_and_comes_back(lab):
    threshold = lab.box.locator(".widget-hslider", has_text="threshold").locator(".widget-readout")
    expect(threshold).to_have_text("1.0")
    pick(lab, "method", "agc")
    expect(threshold).to_have_text("0.01")
    expect(lab.sentence).to_have_text(re.compile("^agc at ratio 0.01"))
    pick(lab, "method", "norm")
    expect(threshold).to_have_text("1.0")
    expect(lab.sentence).to_have_text(re.compile("^norm at 1, "))


@pytest.mark.parametrize("name", ["forecast"], indirect=True)
def test_the_switches_of_the_forecast_are_looked_up(lab):
    pick(lab, "forget bias", "3")
    pick(lab, "clipping", "norm 1")
    begins = "torch, forget bias 3, zero state, clipping norm 1, lr 0.01: over 16 seeds"
    expect(lab.sentence).to_have_text(re.compile("^" + re.escape(begins)))

"""Every lab in one notebook of a real JupyterLab: looks, names, keyboard, dependent choices."""

import re

import pytest
from playwright.sync_api import expect

import teachkit as tk
from tests.browser import looks
from tests.browser.conftest import SIZE
from tests.browser.looks import NAMES, OWN, lab_called, serious, tab_stops, untidy

pytestmark = pytest.mark.browser

THEMES = ("Light", "Dark")
DRAGGED = {  # in each lab, a slider
    "fresh_from_the_box": "hidden_size", "signal": "hidden_size", "first_steps": "seed",
    "trajectories": "noise std", "wall": "start: w", "clip_what": "rho", "forecast": "seed",
    "forget_bias": "forget bias", "gradient_map": "rho", "spectral_radius": "rho",
}  # fmt: skip


@pytest.fixture(params=tk.labs.__all__)
def name(request):
    return request.param


@pytest.fixture
def lab(name, labs):
    """The lab, back at its start."""
    labs.page.set_viewport_size(SIZE)
    found = lab_called(labs, name)
    found.box.scroll_into_view_if_needed()
    found.box.get_by_role("button", name="Reset").click()
    start = getattr(tk.labs, name)().settings_line
    expect(found.sentence.locator("code")).to_have_text(start)
    yield found
    assert labs.errors() == []


def all_moves_are_done(labs):
    """Wait for the kernel, which answers in turn, and for the page, which shows its answers."""
    assert labs.run_code("print(1)").strip() == "1"
    labs.page.wait_for_timeout(100)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", [700, 1100])
def test_nothing_is_cut_and_nothing_overlaps(labs, theme, width):
    labs.theme(f"JupyterLab {theme}")
    every = {name: lab_called(labs, name) for name in NAMES}
    assert untidy(every, width, f"_{theme.lower()}") == {}


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious_of_ours(labs, theme):
    """In the labs, in the answers of a check, in a table and in an error."""
    labs.theme(f"JupyterLab {theme}")
    try:
        labs.run_code(looks.SHOW_ERROR)
        expect(labs.page.locator(".teachkit-error")).to_have_count(1)
        assert serious(labs.page, ".jp-OutputArea-output") == []
    finally:
        labs.run_code("box.value = ''")
        expect(labs.page.locator(".teachkit-error")).to_have_count(0)


def test_axe_would_find_pale_words_and_a_button_without_a_name(labs):
    try:
        labs.run_code(
            "box.value = '<p style=\"color:#aaa;background:#fff\">pale</p><button></button>'"
        )
        expect(labs.page.locator("text=pale")).to_have_count(1)
        found = serious(labs.page, ".jp-CodeCell:last-child .jp-OutputArea-output")
    finally:
        labs.run_code("box.value = ''")
    assert {problem.partition(":")[0] for problem in found} == {"color-contrast", "button-name"}


@pytest.mark.parametrize("theme", THEMES)
def test_pictures_and_sentences_are_light_cards_on_every_theme(labs, theme):
    labs.theme(f"JupyterLab {theme}")
    grounds = labs.page.locator(".widget-vbox img[alt], .teachkit-sentence").evaluate_all(
        "all => all.map(e => getComputedStyle(e).backgroundColor)"
    )
    assert len(grounds) == 2 * len(NAMES)
    assert set(grounds) == {"rgb(255, 255, 255)"}


def test_tab_goes_through_every_control_and_button_in_order(lab, name):
    spec = getattr(tk.labs, name)().spec
    buttons = [*(["Train now"] if spec.training else []), "Reset", "Save"]
    assert tab_stops(lab) == [*(control.label for control in spec.controls), *buttons]


def test_keys_move_every_slider_and_press_the_buttons(lab, name, labs):
    start = lab.sentence.text_content() or ""
    for handle in lab.box.locator(".noUi-handle").all():
        handle.focus()
        before = handle.get_attribute("aria-valuetext")
        low = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemin")
        handle.press("ArrowRight")
        if handle.get_attribute("aria-valuetext") == before:  # at its upper end
            assert not low
            handle.press("ArrowLeft")
        expect(handle).not_to_have_attribute("aria-valuetext", before or "")
    all_moves_are_done(labs)
    for key in ("Enter", "Space"):
        lab.slider(DRAGGED[name]).press("End")
        expect(lab.sentence).not_to_have_text(start)
        all_moves_are_done(labs)
        lab.box.get_by_role("button", name="Reset").press(key)
        expect(lab.sentence.locator("code")).to_have_text(f"tk.labs.{name}()")


def test_every_slider_and_every_option_moves_without_an_error(lab, labs):
    for handle in lab.box.locator(".noUi-handle").all():
        handle.focus()
        for key in ("End", "Home"):
            handle.press(key)
    all_moves_are_done(labs)
    for choice in lab.box.locator("select").all():
        for option in choice.locator("option").all_inner_texts():
            before = lab.sentence.text_content() or ""
            if choice.locator("option:checked").inner_text() != option:
                choice.select_option(label=option)
                expect(lab.sentence).not_to_have_text(before, timeout=20_000)
                all_moves_are_done(labs)
    assert lab.box.locator(".teachkit-error").count() == 0


def test_picture_and_sentence_change_together(lab, name, labs):
    source = lab.picture.get_attribute("src")
    lab.drag(DRAGGED[name], [0.4, 0.7, 0.3])
    expect(lab.picture).not_to_have_attribute("src", source or "")
    all_moves_are_done(labs)
    # Read at once: a late move would change one between two questions.
    alt, text = lab.box.evaluate(
        """box => [box.querySelector('img[alt]').alt,
                   box.querySelector('.teachkit-sentence').innerText]"""
    )
    assert alt == text.partition("\ntk.labs")[0].strip()


@pytest.mark.parametrize("own", OWN)
def test_the_lab_of_an_own_model_moves_without_an_error(labs, own):
    lab = lab_called(labs, own)
    before = lab.sentence.text_content() or ""
    if own == "own spectral_radius":
        lab.slider("scale").press("End")
    else:
        lab.box.get_by_label("gate", exact=True).select_option("input")
    expect(lab.sentence).not_to_have_text(before)
    assert labs.errors() == []


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
def test_training_starts_and_stops(lab, name):
    lab.box.get_by_role("button", name="Train now").click()
    expect(lab.box).to_contain_text("left", timeout=20_000)
    lab.box.get_by_role("button", name="Stop").click()
    expect(lab.box).to_contain_text("stopped after", timeout=20_000)
    expect(lab.box.locator("img")).to_have_count(2)
    assert untidy({name: lab}, 700, "_trained") == {}


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

"""The lab of the spectral radius in a real JupyterLab: what a reader's hand and eye get."""

import base64
import re
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser import jupyter
from tests.browser.conftest import SIZE
from tests.browser.looks import SCREENSHOTS, lab_called

pytestmark = pytest.mark.browser

START_RHO = 1.2


@pytest.fixture
def lab(labs):
    """The lab, back at its start and on the light theme."""
    labs.page.set_viewport_size(SIZE)
    labs.theme("JupyterLab Light")
    found = lab_called(labs, "spectral_radius")
    found.box.scroll_into_view_if_needed()
    found.box.get_by_role("button", name="Reset").click()
    expect_rho(found, START_RHO)
    yield found
    assert labs.errors() == []


def pixels(lab):
    """The picture as the browser got it."""
    source = lab.picture.get_attribute("src")
    return np.asarray(
        Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")
    )


def expect_rho(lab, rho):
    """Wait until the sentence names this rho, then compare slider, picture and sentence."""
    expect(lab.sentence).to_have_text(re.compile(rf"^rho = {rho:.2f}, "))
    assert lab.value("rho") == pytest.approx(rho)
    text = lab.sentence.inner_text().partition("\ntk.labs")[0]
    assert lab.picture.get_attribute("alt") == text.strip()


def test_the_mouse_drags_rho_and_the_last_position_wins(lab):
    before, sentence = pixels(lab), lab.sentence.inner_text()
    lab.drag("rho", [*np.linspace(0.4, 0.95, 25), *np.linspace(0.95, 0.2, 25), 0.62])
    rho = lab.value("rho")
    assert rho == pytest.approx(0.62 * 3, abs=0.05)
    expect_rho(lab, rho)
    assert lab.sentence.inner_text() != sentence
    assert not np.array_equal(pixels(lab), before)
    time.sleep(0.5)  # nothing is left in a queue
    expect_rho(lab, rho)


def test_a_slow_setting_does_not_queue_up(lab):
    lab.drag("seq_len", [0.3, 0.6, 1.0])
    lab.drag("rho", list(np.linspace(0.1, 0.9, 40)), pause=0.01)
    end = time.perf_counter()
    expect_rho(lab, lab.value("rho"))
    assert time.perf_counter() - end < 10  # a queue of 40 moves at 1,000 steps would take longer


def test_arrow_keys_move_rho(lab):
    before = pixels(lab)
    handle = lab.slider("rho")
    handle.focus()
    for _ in range(5):
        handle.press("ArrowRight")
    expect_rho(lab, START_RHO + 0.05)
    assert not np.array_equal(pixels(lab), before)
    for _ in range(10):
        handle.press("ArrowLeft")
    expect_rho(lab, START_RHO - 0.05)


def test_reset_returns(lab):
    before = pixels(lab)
    lab.drag("rho", [0.9, 1.0])
    expect_rho(lab, 3.0)
    lab.box.get_by_role("button", name="Reset").click()
    expect_rho(lab, START_RHO)
    np.testing.assert_array_equal(pixels(lab), before)


def test_the_choice_of_sigmoid_widens_the_slider(lab):
    lab.box.get_by_label("activation").select_option("sigmoid")
    expect(lab.sentence).to_have_text(re.compile("^rho = .*, sigmoid"))
    lab.drag("rho", [0.5, 1.0])
    expect_rho(lab, 20.0)
    lab.box.get_by_label("activation").select_option("tanh")
    expect_rho(lab, 3.0)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_picture_and_sentence_are_light_cards_on_every_theme(lab, labs, theme):
    labs.theme(f"JupyterLab {theme}")
    lab.picture.scroll_into_view_if_needed()
    time.sleep(0.3)
    shot = lab.box.screenshot(path=SCREENSHOTS / f"spectral_radius_{theme.lower()}.png")
    seen = np.asarray(Image.open(BytesIO(shot)).convert("RGB")).astype(int)
    box = lab.box.bounding_box()
    for part in (lab.picture, lab.sentence):
        place = part.bounding_box()
        left, top = round(place["x"] - box["x"]), round(place["y"] - box["y"])
        card = seen[top + 8 : top + int(place["height"]) - 8]
        card = card[:, left + 8 : left + int(place["width"]) - 8]
        assert np.median(card, axis=(0, 1)).min() > 240  # light
        for corner in (card[0, 0], card[0, -1], card[-1, 0], card[-1, -1]):
            assert corner.min() > 245  # up to its edges
    page = seen[2, -2]  # beside the controls
    assert (page.max() < 60) if theme == "Dark" else (page.min() > 240)
    # The picture itself is opaque: the theme does not shine through.
    assert Image.open(BytesIO(base64_png(lab))).mode in ("P", "RGB")


def base64_png(lab):
    return base64.b64decode(lab.picture.get_attribute("src").partition(",")[2])


def number(pattern, text):
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1])


def test_train_now_beside_a_moving_slider_and_stop(lab, labs):
    train, stop = (lab.box.get_by_role("button", name=n) for n in ("Train now", "Stop"))
    expect(stop).to_be_disabled()
    train.click()
    expect(stop).to_be_enabled()
    progress = lab.box.locator(".progress-bar")
    trained = lab.box.locator(".teachkit-sentence").nth(1)

    def share():
        return number(r"width: ([\d.]+)%", progress.get_attribute("style"))

    def steps():
        return number(r"after (\d+) steps", trained.inner_text())

    expect(trained).to_be_visible()
    share_before, steps_before = share(), steps()
    lab.drag("rho", list(np.linspace(0.3, 0.8, 20)))
    expect_rho(lab, lab.value("rho"))
    expect(progress).not_to_have_attribute("style", progress.get_attribute("style"))
    assert share() > share_before
    assert steps() > steps_before
    lab.box.screenshot(path=SCREENSHOTS / "spectral_radius_training.png")
    stop.click()
    start = time.perf_counter()
    assert labs.run_code("print(6 * 7)").strip() == "42"
    assert time.perf_counter() - start < 5
    expect(stop).to_be_disabled()
    expect(train).to_be_enabled()
    reached = steps()
    assert 0 < reached < 1000
    time.sleep(0.5)
    assert steps() == reached


def test_save_writes_beside_the_notebook(lab, lab_server):
    lab.box.get_by_role("button", name="Save").click()
    expect(
        lab.box.get_by_text(re.compile(r"^Saved spectral_radius.*\.png and .*\.csv"))
    ).to_be_visible()
    saved = sorted(f.suffix for f in lab_server.folder.glob("spectral_radius*"))
    assert saved == [".csv", ".png"]


def test_a_missing_browser_is_one_clear_sentence(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    with pytest.raises(RuntimeError, match="need Chromium, but /nowhere/chromium was found"):
        jupyter.chromium_path()
    monkeypatch.delenv("CHROMIUM")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RuntimeError, match="set CHROMIUM to its path"):
        jupyter.chromium_path()

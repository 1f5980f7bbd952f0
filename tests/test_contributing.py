"""The lab in CONTRIBUTING.md is a complete one."""

import re
from pathlib import Path

import numpy as np
import pytest

from teachkit.plots import log10
from tests.labs.driving import check_shown, pixels, saved_equals

ROOT = Path(__file__).resolve().parent.parent
(CODE,) = re.findall(
    r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.fixture
def powers():
    names = {"__name__": "powers"}
    exec(CODE, names)
    return names["powers"]


def test_the_smallest_lab_is_small():
    assert len([line for line in CODE.splitlines() if line.strip()]) <= 50


@pytest.mark.parametrize("rho", [0.5, 1.0, 2.0])
def test_its_slider_moves_the_picture_and_the_sentence(powers, rho):
    lab = powers(rho=1.2)
    assert lab.widget is not None  # builds it, as displaying does
    opened = lab.view.value
    lab.controls["rho"].value = rho
    check_shown(lab)
    assert lab.view.value != opened
    np.testing.assert_allclose(lab.result, rho ** np.arange(51))
    assert lab.sentence.startswith(f"rho = {rho:.2f}: after 50 steps a gradient is ")
    picture = lab.spec.picture()
    picture.update(lab.result)
    low, high = picture.figure.axes[0].get_ylim()
    drawn = picture.artists[0].get_ydata()
    np.testing.assert_allclose(drawn, log10(lab.result))
    assert low <= drawn.min() <= drawn.max() <= high


def test_its_poster_has_three_pictures_and_three_sentences(powers):
    lab = powers()
    sentences = lab.poster_text().splitlines()
    assert [sentence[:10] for sentence in sentences] == ["rho = 0.90", "rho = 1.00", "rho = 1.10"]
    assert sentences[1].endswith("a gradient is unchanged.")
    assert sentences[2].endswith("a gradient is 117 times larger.")
    assert pixels(lab.poster_png()).shape == (3 * 310 + 2 * 8, 920, 3)


def test_it_saves_and_resets_and_refuses(powers, tmp_path):
    lab = powers(rho=1.2)
    png, table = lab.save(tmp_path)
    assert pixels(png.read_bytes()).shape == (310, 920, 3)
    assert saved_equals(table, lab.spec.table(lab.result))
    lab.controls["rho"].value = 0.7
    lab.reset()
    assert lab.settings == {"rho": 1.2}
    assert lab.settings_line == "tk.labs.powers(rho=1.2)"
    with pytest.raises(ValueError, match=r"rho must be a number from 0\.5 to 2, but 3 was given"):
        powers(rho=3)

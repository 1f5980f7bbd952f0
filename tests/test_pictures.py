"""Pictures that say what they show: `tk.show` in a real kernel and outside, and small PNGs."""

import base64
import html
import os
import re
import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from nbconvert.filters import markdown2html
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

import teachkit as tk
from teachkit import pictures
from teachkit.labs.canvas import sentences_markdown
from tools import notebooks

COLAB = Path(__file__).resolve().parent.parent / ".colab"
prepared = pytest.mark.skipif(
    not list(COLAB.glob(".installed-*")), reason="`make colab-env` prepares the stand-in for Colab"
)

ALT = 'A line that rises\nfrom 0 to 1, & "bends" <twice>.'
SPOKEN = " ".join(ALT.split())
CELLS = [
    """
import os
import IPython, ipykernel
import matplotlib.pyplot as plt
import teachkit as tk

tk.plots.use_style()

def draw():
    figure, ax = plt.subplots(figsize=(6, 2.5))
    ax.plot([0, 1, 2], [0, 0.2, 1], color=tk.plots.COLORS["explode"], label="rising")
    ax.set(title="a title", xlabel="steps")
    figure.legend(loc="center left", bbox_to_anchor=(1, 0.5))  # beyond the figure's edge

print(IPython.__version__, ipykernel.__version__)
""",
    "draw()\nplt.show()",
    f"draw()\ntk.show({ALT!r})\nprint(plt.get_fignums())",
    f"os.environ['TEACHKIT_POSTER'] = '1'\ndraw()\ntk.show({ALT!r})\nprint(plt.get_fignums())",
    "plt.get_fignums()",
]


@pytest.fixture(scope="module", params=["", pytest.param(str(COLAB), marks=prepared)])
def outputs(request, tmp_path_factory):
    """What each cell left, on this environment's versions and on Colab's."""
    notebook = new_notebook(cells=list(map(new_code_cell, CELLS)), metadata=notebooks.METADATA)
    env = {"TEACHKIT_POSTER": "", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    if request.param:
        env["PYTHONPATH"] = os.pathsep.join([request.param, str(COLAB.parent)])
    notebooks.execute(notebook, tmp_path_factory.mktemp("show"), env=env)
    versions = notebook.cells[0].outputs[-1]["text"].split()
    assert (versions == ["7.34.0", "6.17.1"]) == bool(request.param)
    return [cell.outputs for cell in notebook.cells[1:]]


def decoded(png):
    return Image.open(BytesIO(png if isinstance(png, bytes) else base64.b64decode(png)))


def rgb(picture):
    return np.asarray(picture.convert("RGB")).astype(int)


def test_a_live_kernel_shows_an_img_with_its_text_once(outputs):
    _, (shown, printed), _, rest = outputs
    assert printed["text"].strip() == "[]"
    assert rest[0]["data"]["text/plain"] == "[]"
    assert set(shown["data"]) == {"text/html", "text/plain"}
    assert shown["data"]["text/plain"] == SPOKEN
    markup = shown["data"]["text/html"]
    assert html.unescape(re.findall(r'alt="([^"]*)"', markup)[0]) == SPOKEN
    assert "max-width:100%" in markup
    assert "background:#fff" in markup


def test_a_saved_notebook_keeps_a_png_with_its_text(outputs):
    _, _, (shown, printed), _ = outputs
    assert printed["text"].strip() == "[]"
    assert set(shown["data"]) == {"image/png", "text/plain"}
    assert shown["data"]["text/plain"] == SPOKEN
    assert shown["metadata"] == {"image/png": {"alt": SPOKEN}}


def test_the_picture_is_that_of_pyplot_and_smaller(outputs):
    (plain,), (live, _), (saved, _), _ = outputs
    (inside,) = re.findall(r"base64,([^\"]*)", live["data"]["text/html"])
    assert inside == saved["data"]["image/png"]
    expected, found = rgb(decoded(plain["data"]["image/png"])), rgb(decoded(inside))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 16
    assert len(inside) < 0.4 * len(plain["data"]["image/png"])


@pytest.fixture
def windows(monkeypatch):
    """Pyplot with windows of its own; what it has shown in them."""
    shown: list[list[int]] = []
    backend = ModuleType("windows_of_a_test")
    backend.FigureCanvas = FigureCanvasAgg  # type: ignore[attr-defined]
    backend.show = lambda: shown.append(plt.get_fignums())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    before = plt.get_backend()
    plt.switch_backend(f"module://{backend.__name__}")
    yield shown
    plt.close("all")
    plt.switch_backend(before)


@pytest.mark.parametrize("alt", ["", " \n", None, 3])
def test_a_text_is_asked_for(alt, windows):
    plt.figure()
    with pytest.raises(ValueError, match=r"^alt must be a sentence .*\.$") as raised:
        tk.show(alt)
    assert f"{alt!r} was given." in str(raised.value)
    assert windows == []


def test_a_figure_is_asked_for(windows):
    with pytest.raises(ValueError, match=r"^tk\.show needs an open figure, .*\.$"):
        tk.show("Nothing at all.")
    assert windows == []


def test_outside_a_notebook_it_is_plain_show_and_closes_its_figure(windows):
    plt.figure()
    plt.figure()
    tk.show("Two windows, of which the second is the current one.")
    assert windows == [[1, 2]]
    assert plt.get_fignums() == [1]


def test_a_window_that_does_not_wait_stays_open(windows):
    with plt.ion():
        plt.figure()
        tk.show("A window beside an interactive prompt.")
    assert windows == [[1]]
    assert plt.get_fignums() == [1]


# -- encoding ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("fast", "colours"), [(False, 256), (True, 64)])
def test_a_palette_of_few_colours_stays_near_them(fast, colours):
    ramp = np.linspace(0, 255, 400).astype(np.uint8)
    picture = Image.fromarray(np.stack([np.tile(ramp, (40, 1))] * 3, axis=-1))
    found = decoded(pictures.encode(picture, fast=fast))
    assert found.mode == "P"
    assert len(found.getcolors()) <= colours
    assert np.abs(rgb(found) - rgb(picture)).max() <= (16 if colours == 256 else 32)


def test_what_is_transparent_becomes_white():
    clear = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    assert rgb(decoded(pictures.encode(clear))).min() >= 254


# -- below a poster ---------------------------------------------------------------------------


def test_a_sentence_keeps_its_marks_where_it_becomes_markdown():
    sentence = "a * b * c_d_ < `e` ~~f~~ and $g$, \\ [1, 2]."
    (paragraph,) = re.findall("<p>(.*)</p>", markdown2html(sentences_markdown([sentence])))
    assert html.unescape(paragraph) == f"<strong>In the picture:</strong> {sentence}"

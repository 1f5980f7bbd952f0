"""Film the flagship lab in JupyterLab for the README: docs/spectral_radius.gif, and a still.

    python -m tools.screenshot   # needs Chromium

The slider goes from a gradient that vanishes over the critical radius to one that explodes.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from io import BytesIO
from operator import sub
from pathlib import Path
from typing import TypeVar

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from playwright.sync_api import ViewportSize, expect

from tests.browser.jupyter import LabOnPage, Notebook, chromium, jupyterlab
from tools.notebooks import METADATA

T = TypeVar("T")
DOCS = Path(__file__).resolve().parent.parent / "docs"
LOW, CRITICAL, HIGH = 90, 100, 110  # hundredths of rho, and so steps of its slider
RADII = range(LOW, HIGH + 1)
CELL = f"""
import teachkit as tk
tk.labs.spectral_radius(rho={LOW / 100}, activation="linear", seq_len=50, show=["rho"])
"""
# As wide as GitHub shows a README: the lab gets some 710 of these pixels.
VIEWPORT: ViewportSize = {"width": 880, "height": 900}
MOVE, HOLD = 90, 900  # milliseconds a frame: on the way, and at the three radii of the story
COLOURS = 256  # as many as a GIF can have
APART = 8  # how far two colours of the palette differ, in one of red, green and blue


def film() -> list[Image.Image]:
    """Move the slider and return one picture of the lab for each radius."""
    notebook = new_notebook(cells=[new_code_cell(CELL.strip())], metadata=METADATA)
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(notebook, Path(folder) / "lab.ipynb")
        with jupyterlab(Path(folder)) as server, chromium() as browser:
            opened = Notebook(browser.new_page(viewport=VIEWPORT), server.page("lab.ipynb"))
            opened.run_all()
            lab = LabOnPage.find(opened, "rho")
            lab.slider("rho").focus()
            frames = []
            for radius in RADII:
                while round(100 * lab.value("rho")) < radius:
                    opened.page.keyboard.press("ArrowRight")
                expect(lab.sentence).to_have_text(re.compile(rf"^rho = {radius / 100:.2f}, "))
                opened.page.wait_for_timeout(100)  # the picture is decoded
                frames.append(_picture(lab))
            if problems := opened.errors():
                raise RuntimeError("\n".join(problems))
    return frames


def _picture(lab: LabOnPage) -> Image.Image:
    """The lab as it is on the page, down to its sentence: the buttons have nothing to tell here."""
    whole = Image.open(BytesIO(lab.box.screenshot())).convert("RGB")
    box, sentence = lab.box.bounding_box(), lab.sentence.bounding_box()
    assert box is not None
    assert sentence is not None
    return whole.crop((0, 0, whole.width, int(sentence["y"] + sentence["height"] - box["y"])))


def durations() -> list[int]:
    """Milliseconds that each frame is shown, on the way up and then back."""
    up = [HOLD if radius in (LOW, CRITICAL, HIGH) else MOVE for radius in RADII]
    return up + [MOVE] * len(back(up))


def back(frames: Sequence[T]) -> list[T]:
    """The frames of the way back, at twice the speed and without the two ends."""
    return list(frames[-3:0:-2])


def save(frames: Sequence[Image.Image], folder: Path) -> list[Path]:
    """Save the animation, which never ends, and its last radius as a still; returns their paths.

    All frames share one palette, so that a colour does not flicker and most pixels never change.
    """
    middle = frames[len(frames) // 2]
    sheet = Image.new("RGB", (middle.width, 3 * middle.height))
    for place, frame in enumerate([frames[0], middle, frames[-1]]):
        sheet.paste(frame, (0, place * middle.height))
    palette = _palette(sheet)
    plain = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    animation, still = folder / "spectral_radius.gif", folder / "spectral_radius.png"
    first, *rest = [*plain, *back(plain)]
    first.save(animation, save_all=True, append_images=rest, duration=durations(), loop=0)
    plain[-1].save(still, optimize=True)
    return [animation, still]


def _palette(picture: Image.Image) -> Image.Image:
    """A palette of the most frequent colours: areas and lines keep theirs, and no mean is shown."""
    counted = sorted(picture.getcolors(picture.width * picture.height) or [], reverse=True)
    chosen: list[tuple[int, ...]] = []
    for _, colour in counted:
        assert isinstance(colour, tuple)
        if all(max(map(abs, map(sub, colour, other))) >= APART for other in chosen):
            chosen.append(colour)
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in chosen[:COLOURS] for part in colour])
    return palette


def main() -> int:
    """Film and save; returns the exit status."""
    DOCS.mkdir(exist_ok=True)
    for path in save(film(), DOCS):
        print(f"{path.relative_to(DOCS.parent)}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""From the slider to the pixels, in JupyterLab and Chromium: our lab against `interact`.

    python -m benchmarks.slider

Both draw the same figure with the same numbers; `interact` makes it anew for every value, as its
tutorials do. The two take turns in one page and one kernel, so that a busy machine slows both.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Locator

from benchmarks.report import Row, milliseconds, p50_p95, show
from tests.browser.jupyter import LabOnPage, Notebook, chromium, jupyterlab
from tools.notebooks import METADATA

ROUNDS = 6  # of a block of presses for each
PRESSES = 12
BAR = 4.0  # times faster than interact
DRAWING_BAR = 15.0  # ms, 95th percentile

OURS = """
import teachkit as tk
tk.labs.spectral_radius(show=["rho"])
"""
INTERACT = """
%matplotlib inline
import ipywidgets
from IPython.display import display
from teachkit.labs.spectral_radius import SPEC
from teachkit.plots import style

def draw(rho):
    with style():
        picture = SPEC.picture()
        result = SPEC.compute({**SPEC.defaults, "rho": rho})
        picture.update(result)
        display(picture.figure)  # what plt.show() does for a figure of pyplot's
        print(SPEC.sentence(result))

ipywidgets.interact(draw, rho=ipywidgets.FloatSlider(1.2, min=0, max=3, step=0.01));
"""
# From the press of a key to the end of the frame that shows the new picture.
LATENCY = """
([handle, box]) => {
    const old = box.querySelector('img')?.src;
    window.latency = new Promise(resolve => {
        let pressed = null;
        handle.addEventListener(
            'keydown', () => { pressed = performance.now(); }, {once: true, capture: true});
        const look = new MutationObserver(async () => {
            const image = box.querySelector('img');
            if (!image || image.src === old || pressed === null) return;
            look.disconnect();
            await image.decode();
            requestAnimationFrame(() => {  // a message sent from a frame arrives after its paint
                const channel = new MessageChannel();
                channel.port1.onmessage = () => resolve(performance.now() - pressed);
                channel.port2.postMessage(null);
            });
        });
        look.observe(box, {subtree: true, childList: true, attributes: true});
    });
}
"""


def latencies(handle: Locator, box: Locator, key: str) -> list[float]:
    """Milliseconds from slider to pixels, for a block of key presses."""
    page, times = box.page, []
    box.scroll_into_view_if_needed()
    handle.focus()
    for _ in range(PRESSES):
        page.evaluate(LATENCY, [handle.element_handle(), box.element_handle()])
        page.keyboard.press(key)
        times.append(float(page.evaluate("() => window.latency")))
    return times


def in_browser() -> tuple[list[float], list[float]]:
    """Milliseconds from slider to pixels: our lab, and interact."""
    notebook = new_notebook(cells=[new_code_cell(OURS), new_code_cell(INTERACT)], metadata=METADATA)
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(notebook, Path(folder) / "slider.ipynb")
        with jupyterlab(Path(folder)) as server, chromium() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            opened = Notebook(page, server.page("slider.ipynb"))
            opened.run_all()
            lab = LabOnPage.find(opened, "rho")
            other = page.locator(".widget-interact")
            other.locator("img").wait_for()
            pairs = (
                (lab.slider("rho"), lab.box),
                (other.locator(".noUi-handle"), other),
            )
            times: tuple[list[float], list[float]] = ([], [])
            for turn in range(ROUNDS + 1):
                key = "ArrowLeft" if turn % 2 else "ArrowRight"
                for found, (handle, box) in zip(times, pairs, strict=True):
                    block = latencies(handle, box, key)
                    if turn:  # the first round warms up
                        found += block
            if problems := opened.errors():
                raise RuntimeError("\n".join(problems))
    return times


def in_kernel() -> list[float]:
    """Milliseconds to draw and encode at the default settings; results are computed before."""
    from teachkit.labs.canvas import Canvas, image_html
    from teachkit.labs.spectral_radius import SPEC

    results = [SPEC.compute({**SPEC.defaults, "rho": 1.2 + 0.002 * i}) for i in range(20)]
    canvas, place = Canvas(SPEC.picture()), iter(range(10**6))

    def draw() -> None:
        result = results[next(place) % len(results)]
        image_html(canvas.png(result), SPEC.sentence(result))

    return milliseconds(draw, repeats=300)


def main() -> int:
    """Measure and print; returns the exit status."""
    drawing = p50_p95(in_kernel())
    ours, interact = (p50_p95(times) for times in in_browser())
    ratio = interact[0] / ours[0]
    rows = [
        Row("our lab, p50 / p95", "{:.0f} / {:.0f} ms".format(*ours)),
        Row("interact, p50 / p95", "{:.0f} / {:.0f} ms".format(*interact)),
        Row("times faster (p50)", f"{ratio:.1f}", f"{BAR:g} or more", ratio >= BAR),
        Row(
            "drawing in the kernel, p50 / p95",
            "{:.1f} / {:.1f} ms".format(*drawing),
            f"p95 {DRAWING_BAR:g} ms",
            drawing[1] <= DRAWING_BAR,
        ),
    ]
    return show("Slider to pixels, spectral_radius at its defaults", rows)


if __name__ == "__main__":
    sys.exit(main())

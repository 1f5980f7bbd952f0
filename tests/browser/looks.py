"""What must hold for the looks of every lab on a page, and a notebook with all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from axe_playwright_python.sync_playwright import Axe
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Page

from teachkit.labs import __all__ as LABS
from tests.browser.jupyter import ROOT, LabOnPage, Notebook
from tools.notebooks import METADATA

# Known faults of others: (axe's rule, what its element looks like).
UPSTREAM = (
    ("aria-input-field-name", "noUi-handle"),  # ipywidgets: the handle of a slider has no name
    ("aria-input-field-name", "cm-content"),  # JupyterLab: nor has the editor of a cell
    ("aria-required-children", 'role="feed"'),  # JupyterLab: cells are no articles to it
    ("button-name", "jp-collapseHeadingButton"),  # JupyterLab: beside a heading
    ("link-in-text-block", 'target="_blank"'),  # JupyterLab: links in prose have no underline
    ("color-contrast", "jp-InputPrompt"),  # JupyterLab: the pale numbers beside cells
    ("color-contrast", "jp-OutputPrompt"),
    ("color-contrast", '<span class="\u037c'),  # JupyterLab: the colours of code in an editor
)
# JupyterLab cuts off what leaves a body without height, and axe takes all of that for hidden: it
# would measure no contrast at all.
SHOWN = "body, .jp-LabShell { overflow: visible !important; }"
TALL = {"width": 1100, "height": 14_000}  # what is scrolled out of sight is not measured either
SCREENSHOTS = ROOT / "tests" / "browser" / "screenshots"
START = """
import ipywidgets
import pandas as pd
import torch
import teachkit as tk

lstm, x = torch.nn.LSTM(3, 16, 2), torch.randn(20, 4, 3)
""".strip()
# Labs of a reader's own model, whose controls and pictures are others.
OWN = {
    "own spectral_radius": "tk.labs.spectral_radius(model=lstm, x=x)",
    "own fresh_from_the_box": "tk.labs.fresh_from_the_box(model=lstm)",
}
NAMES = (*LABS, *OWN)
CHECKS = """
for answer in (..., 0.5, 0.5 ** (1 / 50)):  # open, not yet, right
    display(tk.check.half_after_50(answer))
""".strip()
TABLE = 'pd.DataFrame({"rho": [0.9, 1.1], "gradient": [0.005, 117.4]})'
BOX = "box = ipywidgets.HTML()\nbox"  # for what an error looks like
SHOW_ERROR = """
from teachkit.labs.canvas import error_html
box.value = error_html(ValueError("rho must be a number from 0 to 3, but 7 was given."))
"""


def notebook_of_labs() -> NotebookNode:
    """Every lab as it opens, in a cell each, and whatever else chapters show."""
    labs = [f"tk.labs.{name}()" for name in LABS]
    cells = [START, *labs, *OWN.values(), CHECKS, TABLE, BOX]
    return new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=METADATA)


def lab_called(notebook: Notebook, name: str) -> LabOnPage:
    """A lab of `notebook_of_labs`."""
    cell = notebook.page.locator(".jp-CodeCell").nth(1 + NAMES.index(name))
    found = cell.locator(".widget-vbox").filter(has=notebook.page.locator("img[alt]")).first
    found.wait_for(state="attached")
    return LabOnPage(found)


def lay_out(notebook: Notebook) -> None:
    """Lay out all cells, also those far from what is seen, which JupyterLab takes off the page."""
    notebook.page.evaluate(
        """() => {
            const content = window.jupyterapp.shell.currentWidget.content;
            content.notebookConfig = {...content.notebookConfig, windowingMode: 'none'};
        }"""
    )


def untidy(labs: dict[str, LabOnPage], width: int, mark: str = "") -> dict[str, list[str]]:
    """Everything of these labs that is cut off, or overlaps, on a page of this width.

    What is so while the page lays itself out anew does not count. Leaves a screenshot of each such
    lab, {name}{mark}_{width}.png.
    """
    page = next(iter(labs.values())).box.page
    page.set_viewport_size({"width": width, "height": 1000})
    end = time.perf_counter() + 10
    while True:
        time.sleep(0.5)
        found = {name: cut_now(lab) + overlaps_now(lab) for name, lab in labs.items()}
        found = {name: problems for name, problems in found.items() if problems}
        if not found or time.perf_counter() > end:
            break
    for name in found:
        labs[name].box.screenshot(path=SCREENSHOTS / f"{name}{mark}_{width}.png")
    return found


def cut_now(lab: LabOnPage) -> list[str]:
    """Everything of a lab that its cell or its own box cuts off now."""
    found: list[str] = lab.box.evaluate(
        """box => {
            const right = box.closest('.jp-Cell, .cell').getBoundingClientRect().right;
            const names = [];
            const parts = 'img, button, label, select, .widget-readout, div';
            for (const e of box.querySelectorAll(parts)) {
                const r = e.getBoundingClientRect();
                if (r.width && r.right > right + 1 && !e.closest('.noUi-target, .ui-slider'))
                    names.push(e.className || e.tagName);
                const words = e.tagName === 'LABEL' || e.classList.contains('widget-readout');
                if (words && e.scrollWidth > e.clientWidth + 1)
                    names.push('label ' + e.textContent);
            }
            if (box.scrollWidth > box.clientWidth + 1) names.push('the box scrolls');
            return names;
        }"""
    )
    return found


def overlaps_now(lab: LabOnPage) -> list[str]:
    """Parts of a lab that lie on each other now."""
    found: list[str] = lab.box.evaluate(
        """box => {
            const kinds = '.widget-hslider, .widget-dropdown, button, .widget-hprogress, img, ' +
                '.teachkit-sentence, .teachkit-error';
            const parts = Array.from(box.querySelectorAll(kinds)).map(
                e => [e.title || e.className || e.tagName, e.getBoundingClientRect()]);
            const names = [];
            parts.forEach(([one, a], i) => parts.slice(i + 1).forEach(([other, b]) => {
                const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                if (across > 1 && down > 1) names.push(`${one} on ${other}`);
            }));
            return names;
        }"""
    )
    return found


def serious(page: Page, within: str | Sequence[str]) -> list[str]:
    """What keeps eyes, a keyboard or a screen reader out (axe), without faults upstream."""
    before = page.viewport_size
    page.set_viewport_size(TALL)  # type: ignore[arg-type]
    style = page.add_style_tag(content=SHOWN)
    time.sleep(0.5)
    try:
        answer = Axe().run(page, context=within).response
    finally:
        style.evaluate("tag => tag.remove()")
        if before is not None:
            page.set_viewport_size(before)
    found = answer["violations"]
    measured = {rule["id"] for rule in [*answer["passes"], *found]}
    assert "color-contrast" in measured, "axe saw no words on the page"
    return sorted(
        {
            f"{violation['id']}: {node['html'][:200]}"
            for violation in found
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
            if not any(violation["id"] == rule and part in node["html"] for rule, part in UPSTREAM)
        }
    )


def tab_stops(lab: LabOnPage, most: int = 60) -> list[str]:
    """Press Tab from the first control on until it leaves the lab; the name of each stop.

    A slider has two, its handle and its number, which count as one.
    """
    stops: list[str] = []
    lab.box.locator(".noUi-handle, select").first.focus()
    for _ in range(most):
        name = lab.box.evaluate(
            """box => {
                const e = document.activeElement;
                if (!box.contains(e)) return null;
                const label = e.closest('.widget-inline-hbox')?.querySelector('.widget-label');
                return e.tagName === 'BUTTON' ? e.innerText.trim() : label?.innerText ?? '?';
            }"""
        )
        if name is None:
            return stops
        stops += [] if stops[-1:] == [name] else [name]
        lab.box.page.keyboard.press("Tab")
    return [*stops, "Tab does not leave the lab"]

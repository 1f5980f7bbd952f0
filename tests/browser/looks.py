"""What must hold for the looks of every lab on a page."""

from __future__ import annotations

import time

from axe_playwright_python.sync_playwright import Axe

from tests.browser.jupyter import ROOT, LabOnPage

# Known faults of ipywidgets itself: (axe's rule, what its element looks like).
UPSTREAM = (
    ("aria-input-field-name", "noUi-handle"),  # the handle of a slider has no name
)


SCREENSHOTS = ROOT / "tests" / "browser" / "screenshots"


def cut_off(lab: LabOnPage, width: int, name: str) -> list[str]:
    """Everything of a lab that its cell or its own box cuts off on a page of this width.

    What is cut while the page lays itself out anew does not count. Leaves a screenshot,
    {name}_{width}.png.
    """
    lab.box.page.set_viewport_size({"width": width, "height": 1000})
    lab.box.scroll_into_view_if_needed()  # the picture may be replaced meanwhile
    time.sleep(0.5)
    end = time.perf_counter() + 10
    while (found := _cut_now(lab)) and time.perf_counter() < end:
        time.sleep(0.5)
    lab.box.screenshot(path=SCREENSHOTS / f"{name}_{width}.png")
    return found


def _cut_now(lab: LabOnPage) -> list[str]:
    found: list[str] = lab.box.evaluate(
        """box => {
            const right = box.closest('.jp-Cell').getBoundingClientRect().right;
            const names = [];
            const parts = 'img, button, label, select, .widget-readout, div';
            for (const e of box.querySelectorAll(parts)) {
                const r = e.getBoundingClientRect();
                if (r.width && r.right > right + 1 && !e.closest('.noUi-target'))
                    names.push(e.className || e.tagName);
                if (e.tagName === 'LABEL' && e.scrollWidth > e.clientWidth + 1)
                    names.push('label ' + e.textContent);
            }
            if (box.scrollWidth > box.clientWidth + 1) names.push('the box scrolls');
            return names;
        }"""
    )
    return found


def serious(lab: LabOnPage) -> list[str]:
    """What keeps a keyboard or a screen reader from using a lab (axe), without faults upstream."""
    lab.box.evaluate("box => box.setAttribute('data-axe', 'lab')")
    found = Axe().run(lab.box.page, context="[data-axe=lab]").response["violations"]
    ours = [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
        if not any(violation["id"] == rule and part in node["html"] for rule, part in UPSTREAM)
    ]
    return ours

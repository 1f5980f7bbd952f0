"""JupyterLab and Chromium for the browser tests and the slider benchmark: start, open, run, end."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.browser.servers import ROOT as ROOT
from tests.browser.servers import START_SECONDS, Server, as_root, serve

(PROMPT,) = re.findall(
    r"^PROMPT := (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
)
RUN_SECONDS = 240  # Run All of the slowest chapter on a busy machine
CHROMIUM_FLAGS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# What JupyterLab itself writes to the console, whatever a notebook holds. The last, once in a
# while: it takes cells out of a long page and puts them in again, and no code of ours does.
JUPYTER_NOISE = (
    "favicon",
    "source map",
    "ResizeObserver loop",
    "Failed to load resource",
    "Failed to execute 'removeChild' on 'Node'",
)


def chromium_path() -> str:
    """Find Chromium; raises `RuntimeError` where there is none."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not found or not Path(found).exists():
        raise RuntimeError(
            f"The browser tests need Chromium, but {found or 'no chromium on PATH'} was found: "
            "install it (apt install chromium), or set CHROMIUM to its path."
        )
    return found


@contextmanager
def jupyterlab(notebooks: Path) -> Iterator[Server]:
    """Start JupyterLab in a folder, with settings of its own; end it with all its kernels."""
    # It would ask the network for news, and lay a dialog over the page.
    disabled = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    options = ["--ServerApp.root_dir={folder}", "--IdentityProvider.token={token}"]
    options += ["--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True", PROMPT]
    config = {"labconfig/page_config.json": disabled}
    with serve("jupyterlab", notebooks, options, pages="doc/tree", config=config, env={}) as server:
        yield server


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium."""
    with sync_playwright() as playwright:
        flags = [*CHROMIUM_FLAGS, *(["--no-sandbox"] if as_root() else [])]
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=flags)
        try:
            yield browser
        finally:
            browser.close()


class Notebook:
    """One notebook open in one page of JupyterLab, with its kernel ready.

    Another front end has other answers to the same questions, in JavaScript.
    """

    # Without a ready session "run all cells" is lost without a word.
    READY: ClassVar = """() => {
        const session = window.jupyterapp?.shell?.currentWidget?.sessionContext;
        return session?.isReady && session.session?.kernel?.status === 'idle';
    }"""
    RUN_ALL: ClassVar = "() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
    HAS_RUN: ClassVar = """() => {  // or an error has ended the run
        const panel = window.jupyterapp.shell.currentWidget;
        const cells = Array.from(panel.content.model.cells);
        const code = cells.filter(c => c.type === 'code' && c.sharedModel.source.trim());
        const failed = code.some(c => Array.from(
            {length: c.outputs.length}, (_, k) => c.outputs.get(k).type).includes('error'));
        return failed || code.every(c => c.executionCount !== null)
            && panel.sessionContext.session.kernel.status === 'idle';
    }"""
    RUN_CODE: ClassVar = """async code => {
        const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        const future = kernel.requestExecute({code});
        let text = '';
        future.onIOPub = m => { text += m.content.text ?? (m.content.evalue ?? ''); };
        await future.done;
        return text;
    }"""
    OUTPUTS: ClassVar = """() =>  // [the place of a cell, one of its outputs]
        Array.from(window.jupyterapp.shell.currentWidget.content.model.cells).flatMap(
            (cell, i) => cell.type !== 'code' ? [] : Array.from(
                {length: cell.outputs.length}, (_, k) => [i, cell.outputs.get(k).toJSON()]))"""
    PAGE: ClassVar = ".jp-Notebook"  # all cells
    NOISE: ClassVar = JUPYTER_NOISE

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.console: list[str] = []
        page.on("console", lambda m: self._heard(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self._heard(str(error)))
        page.goto(address)
        page.wait_for_function(self.READY, timeout=START_SECONDS * 1000)

    def _heard(self, text: str) -> None:
        if not any(noise in text for noise in self.NOISE):
            self.console.append(text)

    def command(self, name: str, **arguments: Any) -> None:
        """Start a command of JupyterLab, and do not wait for its end."""
        self.page.evaluate(
            "([name, given]) => { window.jupyterapp.commands.execute(name, given); }",
            [name, arguments],
        )

    def theme(self, name: str) -> None:
        """Switch to "JupyterLab Light" or "JupyterLab Dark"."""
        self.command("apputils:change-theme", theme=name)
        light = str("Light" in name).lower()
        self.page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached")

    def run_all(self) -> None:
        """Run all cells and wait until each has been counted and the kernel is idle."""
        self.page.evaluate(self.RUN_ALL)
        self.wait_until_run()

    def wait_until_run(self) -> None:
        """Wait until no cell waits for the kernel; raises `RuntimeError` with what went wrong."""
        self.page.wait_for_function(self.HAS_RUN, timeout=RUN_SECONDS * 1000)
        if problems := self.errors():  # an error ends the run: the cells below wait for ever
            raise RuntimeError("\n".join(problems))

    def run_code(self, code: str) -> str:
        """Run code in the notebook's kernel, beside its cells; returns what it prints."""
        printed: str = self.page.evaluate(self.RUN_CODE, code)
        return printed

    def errors(self) -> list[str]:
        """Everything on the page that looks like an error, in a cell, a widget or the console."""
        found = []
        bad = "o => o.output_type === 'error' || o.name === 'stderr'"
        outputs = f"() => ({self.OUTPUTS})().filter(([, output]) => ({bad})(output))"
        for place, output in self.page.evaluate(outputs):
            if output["output_type"] == "error":
                found.append(f"cell {place}: {output['ename']}: {output['evalue']}")
            else:
                found.append(f"cell {place}: stderr: {output['text']}")
        found += [f"a lab: {e}" for e in self.page.locator(".teachkit-error").all_text_contents()]
        text = self.page.locator(self.PAGE).first.inner_text()
        bad_words = ("Traceback (most recent call last)", "displaying widget", "model not found")
        found += [f"on the page: {words}" for words in bad_words if words in text]
        heard, self.console = self.console, []  # each is told once, in the test that caused it
        return found + [f"console: {text}" for text in heard]


def _label(page: Page, text: str) -> Locator:
    return page.locator(".widget-label", has_text=re.compile(f"^{re.escape(text)}$"))


@dataclass(frozen=True)
class LabOnPage:
    """A lab on the page: its box of widgets, and what a reader sees and touches there."""

    box: Locator

    OUTPUT: ClassVar = ".jp-OutputArea-output"
    HANDLE: ClassVar = ".noUi-handle"
    TRACK: ClassVar = "noUi-target"

    @classmethod
    def find(cls, notebook: Notebook, label: str, *, trains: bool = False) -> Self:
        """The first lab with a control of this label, and with Train now where asked."""
        box = notebook.page.locator(f"{cls.OUTPUT} .widget-vbox").filter(
            has=notebook.page.locator("img[alt]")
        )
        box = box.filter(has=_label(notebook.page, label))
        if trains:
            box = box.filter(has=notebook.page.get_by_role("button", name="Train now"))
        found = box.first
        found.wait_for(state="attached")
        found.scroll_into_view_if_needed()
        return cls(found)

    def slider(self, label: str) -> Locator:
        """The handle of a slider."""
        named = self.box.locator(".widget-hslider").filter(has=_label(self.box.page, label))
        return named.locator(self.HANDLE).first

    def value(self, label: str) -> float:
        """The value of a slider; `aria-valuenow` would be rounded to one decimal."""
        return float(self.slider(label).get_attribute("aria-valuetext") or "nan")

    @property
    def picture(self) -> Locator:
        """The picture of the lab, above that of its training."""
        return self.box.locator("img[alt]").first

    @property
    def sentence(self) -> Locator:
        """The sentence under the picture."""
        return self.box.locator(".teachkit-sentence").first

    def drag(self, label: str, shares: list[float], pause: float = 0.03) -> None:
        """Take a handle with the mouse and move it along the track: 0 is its left end, 1 right."""
        handle, mouse = self.slider(label), self.box.page.mouse
        handle.scroll_into_view_if_needed()
        grip = handle.bounding_box()
        track = handle.locator(
            f"xpath=ancestor::*[contains(@class,'{self.TRACK}')][1]"
        ).bounding_box()
        assert grip is not None
        assert track is not None
        y = grip["y"] + grip["height"] / 2
        mouse.move(grip["x"] + grip["width"] / 2, y)
        mouse.down()
        for share in shares:
            mouse.move(track["x"] + share * track["width"], y)
            time.sleep(pause)
        mouse.up()

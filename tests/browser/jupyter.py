"""JupyterLab and Chromium for the browser tests and the slider benchmark: start, open, run, end."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
(PROMPT,) = re.findall(r"^PROMPT := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
RUN_SECONDS = 240  # Run All of the slowest chapter on a busy machine
CHROMIUM_FLAGS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# What JupyterLab itself writes to the console, whatever a notebook holds.
JUPYTER_NOISE = ("favicon", "source map", "ResizeObserver loop", "Failed to load resource")


@dataclass(frozen=True)
class Server:
    """A running JupyterLab: its address and token, and the folder with its notebooks."""

    url: str
    token: str
    folder: Path

    def page(self, notebook: str) -> str:
        """The address that opens one notebook alone, without the file browser beside it."""
        return f"{self.url}/doc/tree/{notebook}?token={self.token}&reset"


def chromium_path() -> str:
    """Find Chromium; raises `RuntimeError` where there is none."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not found or not Path(found).exists():
        raise RuntimeError(
            f"The browser tests need Chromium, but {found or 'no chromium on PATH'} was found: "
            "install it (apt install chromium), or set CHROMIUM to its path."
        )
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def jupyterlab(notebooks: Path) -> Iterator[Server]:
    """Start JupyterLab in a folder, with settings of its own; end it with all its kernels."""
    with tempfile.TemporaryDirectory(prefix="jupyterlab-") as name:
        home = Path(name)
        config = home / "config" / "labconfig"
        config.mkdir(parents=True)
        # It would ask the network for news, and lay a dialog over the page.
        disabled = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
        (config / "page_config.json").write_text(json.dumps(disabled))
        folders = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        env = {**os.environ, **{key: str(home / value) for key, value in folders.items()}}
        env.pop("TEACHKIT_POSTER", None)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
        port, token = _free_port(), secrets.token_hex(16)
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}"]
        command += [f"--ServerApp.root_dir={notebooks}", f"--IdentityProvider.token={token}"]
        command += ["--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True"]
        command += [PROMPT]
        if os.geteuid() == 0:
            command.append("--allow-root")
        log = home / "log"
        with log.open("w") as out:
            process = subprocess.Popen(
                command, env=env, cwd=notebooks, stdout=out, stderr=out, start_new_session=True
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for_server(f"{url}/api/status?token={token}", process, log)
            yield Server(url, token, notebooks)
        finally:
            _end(process)


def _wait_for_server(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end its kernels, and end what is left of its process group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium."""
    with sync_playwright() as playwright:
        flags = [*CHROMIUM_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=flags)
        try:
            yield browser
        finally:
            browser.close()


class Notebook:
    """One notebook open in one page, with its kernel ready."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.console: list[str] = []
        page.on("console", lambda m: self._heard(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self._heard(str(error)))
        page.goto(address)
        # Without a ready session "run all cells" is lost without a word.
        page.wait_for_function(
            """() => {
                const session = window.jupyterapp?.shell?.currentWidget?.sessionContext;
                return session?.isReady && session.session?.kernel?.status === 'idle';
            }""",
            timeout=START_SECONDS * 1000,
        )

    def _heard(self, text: str) -> None:
        if not any(noise in text for noise in JUPYTER_NOISE):
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
        self.command("notebook:run-all-cells")
        self.wait_until_run()

    def wait_until_run(self) -> None:
        """Wait until no cell waits for the kernel; raises `RuntimeError` with what went wrong."""
        self.page.wait_for_function(
            """() => {
                const panel = window.jupyterapp.shell.currentWidget;
                const cells = Array.from(panel.content.model.cells);
                const code = cells.filter(c => c.type === 'code' && c.sharedModel.source.trim());
                const failed = code.some(c => Array.from(
                    {length: c.outputs.length}, (_, k) => c.outputs.get(k).type).includes('error'));
                return failed || code.every(c => c.executionCount !== null)
                    && panel.sessionContext.session.kernel.status === 'idle';
            }""",
            timeout=RUN_SECONDS * 1000,
        )
        if problems := self.errors():  # an error ends the run: the cells below wait for ever
            raise RuntimeError("\n".join(problems))

    def run_code(self, code: str) -> str:
        """Run code in the notebook's kernel, beside its cells; returns what it prints."""
        printed: str = self.page.evaluate(
            """async code => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({code});
                let text = '';
                future.onIOPub = m => { text += m.content.text ?? (m.content.evalue ?? ''); };
                await future.done;
                return text;
            }""",
            code,
        )
        return printed

    def errors(self) -> list[str]:
        """Everything on the page that looks like an error, in a cell, a widget or the console."""
        found: list[str] = self.page.evaluate(
            """() => {
                const panel = window.jupyterapp.shell.currentWidget;
                const found = [];
                Array.from(panel.content.model.cells).forEach((cell, i) => {
                    if (cell.type !== 'code') return;
                    for (let k = 0; k < cell.outputs.length; k++) {
                        const output = cell.outputs.get(k).toJSON();
                        if (output.output_type === 'error')
                            found.push(`cell ${i}: ${output.ename}: ${output.evalue}`);
                        if (output.name === 'stderr')
                            found.push(`cell ${i}: stderr: ${output.text}`);
                    }
                });
                document.querySelectorAll('.teachkit-error').forEach(
                    e => found.push(`a lab: ${e.textContent}`));
                const text = panel.content.node.innerText;
                if (text.includes('Traceback (most recent call last)'))
                    found.push('a traceback on the page');
                return found;
            }"""
        )
        return found + [f"console: {text}" for text in self.console]


def _label(page: Page, text: str) -> Locator:
    return page.locator(".widget-label", has_text=re.compile(f"^{re.escape(text)}$"))


@dataclass(frozen=True)
class LabOnPage:
    """A lab on the page: its box of widgets, and what a reader sees and touches there."""

    box: Locator

    @classmethod
    def find(cls, notebook: Notebook, label: str, *, trains: bool = False) -> LabOnPage:
        """The first lab with a control of this label, and with Train now where asked."""
        box = notebook.page.locator(".jp-OutputArea-output .widget-vbox").filter(
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
        return named.locator(".noUi-handle").first

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
        track = handle.locator("xpath=ancestor::*[contains(@class,'noUi-target')]").bounding_box()
        assert grip is not None
        assert track is not None
        y = grip["y"] + grip["height"] / 2
        mouse.move(grip["x"] + grip["width"] / 2, y)
        mouse.down()
        for share in shares:
            mouse.move(track["x"] + share * track["width"], y)
            time.sleep(pause)
        mouse.up()

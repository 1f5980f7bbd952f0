"""Jupyter servers for the browser: each with settings of its own, ended with all its kernels."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120  # on a busy machine


@dataclass(frozen=True)
class Server:
    """A running server: its address, token and folder, and where it opens a notebook alone."""

    url: str
    token: str
    folder: Path
    pages: str

    def page(self, notebook: str) -> str:
        """The address that opens one notebook alone, without the file browser beside it."""
        return f"{self.url}/{self.pages}/{notebook}?token={self.token}&reset"


def as_root() -> bool:
    """Whether root runs this, whom Jupyter and Chromium refuse unless asked."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


@contextmanager
def serve(
    module: str,
    folder: Path,
    options: Sequence[str],
    *,
    pages: str,
    config: Mapping[str, Any],
    env: Mapping[str, str],
    libraries: Sequence[Path] = (),
) -> Iterator[Server]:
    """Start a Jupyter server in a folder and end it; raises `RuntimeError` where it does not start.

    Args:
        module: What `python -m` starts.
        folder: The folder with the notebooks.
        options: More command line options; {folder}, {port} and {token} are filled in.
        pages: Where the server opens a notebook alone.
        config: JSON files below Jupyter's configuration folder, and what they hold.
        env: More environment variables, of the server and its kernels.
        libraries: Folders that come first on their Python path.
    """
    with tempfile.TemporaryDirectory(prefix="jupyter-") as name:
        home = Path(name)
        own = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        for file, content in config.items():
            path = home / own["JUPYTER_CONFIG_DIR"] / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content), encoding="utf-8")
        given = {**os.environ, **{key: str(home / value) for key, value in own.items()}, **env}
        given.pop("TEACHKIT_POSTER", None)
        path_parts = [*map(str, libraries), str(ROOT), os.environ.get("PYTHONPATH")]
        given["PYTHONPATH"] = os.pathsep.join(filter(None, path_parts))
        port, token = _free_port(), secrets.token_hex(16)
        command = [sys.executable, "-m", module, "--no-browser", f"--port={port}"]
        command += [option.format(folder=folder, port=port, token=token) for option in options]
        if as_root():
            command.append("--allow-root")
        log = home / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, env=given, cwd=folder, stdout=out, stderr=out, start_new_session=True
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(f"{url}/api/status?token={token}", module, process, log)
            yield Server(url, token, folder, pages)
        finally:
            _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(address: str, module: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    said = log.read_text(encoding="utf-8", errors="replace")[-3000:]
    raise RuntimeError(f"The server {module} did not start:\n{said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end its kernels, and end what is left of its process group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    if sys.platform != "win32":  # as mypy knows it
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()

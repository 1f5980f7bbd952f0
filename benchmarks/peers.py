"""Programs that are measured in a process of their own and take turns with ours.

A peer reads requests from its standard input and answers on its standard output, a line of JSON
each, so that it runs when it is asked to and rests in between.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ROOT / ".oracles"  # JAX and what runs on it (requirements-oracles.txt)

# Ends with the process that started it, even where that one was killed.
BUSY = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(range(10_000))
"""


class Peer:
    """A module of `benchmarks` that runs beside this process and does what it is asked."""

    def __init__(self, module: str, **env: str) -> None:
        self.module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(LIBRARIES), **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, job: str, **arguments: Any) -> None:
        """Ask for something, and do not wait."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([job, arguments]) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for the answer. Raises `RuntimeError` where the peer ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"benchmarks.{self.module} ended; its message stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Ask and wait."""
        self.send(job, **arguments)
        return self.receive()

    def close(self) -> None:
        """End the peer."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(timeout=60)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(jobs: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """Answer requests until there are no more; what libraries print goes to standard error."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            job, arguments = json.loads(line)
            answers.write(json.dumps(jobs[job](**arguments)) + "\n")
            answers.flush()


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep some processes of plain Python busy beside a block, as another program would."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()

"""Other versions of the libraries in front of this environment's: folders that `make` fills."""

from __future__ import annotations

import os
import subprocess
import sys
from ast import literal_eval
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

# What can differ with the versions, once for every lab: widgets, the binding, drawing, the layout
# of text, files, the poster, and a training beside the main thread. What a lab computes does not.
BASE = "tests/labs/test_base.py::"
LABS = [
    BASE + "test_all_controls_at_their_ends_together",
    BASE + "test_controls_have_a_label_and_their_range",
    BASE + "test_save_writes_the_picture_and_its_numbers",
    BASE + "test_the_poster_is_a_picture_for_each_of_its_sentences",
    BASE + "test_a_live_kernel_shows_the_widget",
    "tests/labs/test_controls.py",
    "tests/labs/test_forecast.py::test_nothing_overlaps_or_leaves_the_picture",
    "tests/labs/test_wall.py::test_every_text_is_large_enough_and_within_the_picture",
    "tests/labs/test_spectral_radius.py::test_train_now_really_trains_and_clipping_saves_the_run",
]

RUN = """
import importlib.metadata, sys
import pytest
code = pytest.main(sys.argv[1:])
found = list(importlib.metadata.distributions())
versions = {d.metadata["Name"]: d.version for d in reversed(found)}  # the first on the path counts
tops = [(n, m) for n, m in list(sys.modules.items()) if "." not in n]
imported = {n: m.__file__ for n, m in tops if getattr(m, "__file__", None)}
print("\\n" + repr((versions, imported)))
sys.exit(code)
"""


def pins(name: str) -> dict[str, str]:
    """The exact version of each package that a requirements file names, each package once."""
    found: dict[str, str] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if not line or line.startswith(("#", "-r ")):
            continue
        requirement = Requirement(line.partition("#")[0])
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        package = canonicalize_name(requirement.name)
        assert package not in found, f"{package} stands twice in {name}"
        found[package] = specifier.version
    return found


def run_tests(
    folder: Path, tests: Sequence[str], *options: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Run tests with the libraries of `folder` in front; they must pass.

    Returns the version of each package as those tests find it, and the file of each package that
    they import.
    """
    ran = subprocess.run(
        [sys.executable, "-c", RUN, *tests, "-q", "-p", "no:cacheprovider", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
    assert " skipped" not in ran.stdout
    versions, imported = literal_eval(ran.stdout.splitlines()[-1])
    return {canonicalize_name(name): version for name, version in versions.items()}, imported

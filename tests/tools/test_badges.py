"""Badges and the cell that installs teachkit, stamped on a copy of the chapters."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools import badges, notebooks

ROOT = Path(__file__).resolve().parent.parent.parent
REPO = "some-owner/their.name"
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{}/blob/main/notebooks/{}.ipynb)"
)


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """A copy of README.md and of the chapters, without stamps."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "README.md", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(
        ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*", "__*")
    )
    (folder / "teachkit").mkdir()
    (folder / "teachkit" / "__init__.py").touch()  # ruff sorts imports by what is ours
    if badges.stamped(folder):
        badges.stamp(None, folder)
    return folder


@pytest.fixture(scope="module")
def stamped(without, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stamped") / "copy"
    shutil.copytree(without, folder)
    badges.stamp(REPO, folder)
    return folder


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".py", ".md", ".ipynb")
    }


def test_every_chapter_gets_its_badge_and_stays_in_step_with_its_source(stamped):
    assert notebooks.check(stamped / "notebooks") == []
    chapters = sorted((stamped / "notebooks").glob("*.ipynb"))
    assert chapters
    for path in chapters:
        title, *_ = nbformat.read(path, as_version=4).cells
        heading, _, badge = title.source.splitlines()[:3]
        assert heading.startswith("# ")
        assert badge == BADGE.format(REPO, path.stem)
    readme = (stamped / "README.md").read_text(encoding="utf-8").splitlines()
    assert readme[2] == BADGE.format(REPO, "00_start_here")


def test_outputs_stay_and_the_counts_go_on(stamped, without):
    for path in (stamped / "notebooks").glob("*.ipynb"):
        old = nbformat.read(without / "notebooks" / path.name, as_version=4)
        new = nbformat.read(path, as_version=4)
        before, after = ([c for c in n.cells if c.cell_type == "code"] for n in (old, new))
        assert badges.is_setup(after[0].source)
        assert [c.source for c in after[1:]] == [c.source for c in before]
        assert [c.execution_count for c in after] == list(range(1, len(after) + 1))
        shown = [[output.get("data", output.get("text")) for output in c.outputs] for c in after]
        assert shown == [
            [],
            *[[output.get("data", output.get("text")) for output in c.outputs] for c in before],
        ]


def test_the_cell_is_short_hidden_and_plain_python(stamped):
    notebook = nbformat.read(stamped / "notebooks" / "00_start_here.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    compile(cell.source, "cell", "exec")
    assert cell.metadata == {"cellView": "form", "jupyter": {"source_hidden": True}}
    assert sum(bool(line.strip()) for line in cell.source.splitlines()) <= 8


def test_stamped_sources_are_in_style(stamped):
    for command in (["check"], ["format", "--check"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "notebooks"],
            cwd=stamped,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stdout


def test_again_changes_nothing_another_replaces_and_none_restores(stamped, without, tmp_path):
    folder = shutil.copytree(stamped, tmp_path / "copy")
    badges.stamp(REPO, folder)
    assert contents(folder) == contents(stamped)
    badges.stamp("other/place", folder)
    assert badges.stamped(folder) == "other/place"
    assert not [path for path, text in contents(folder).items() if REPO.encode() in text]
    assert notebooks.check(folder / "notebooks") == []
    badges.stamp(None, folder)
    assert badges.stamped(folder) is None
    assert contents(folder) == contents(without)


def test_a_chapter_that_differs_from_its_source_is_not_stamped(without, tmp_path):
    folder = shutil.copytree(without, tmp_path / "copy")
    source = folder / "notebooks" / "source" / "00_start_here.py"
    source.write_text(source.read_text(encoding="utf-8") + "#\n# More.\n", encoding="utf-8")
    before = contents(folder)
    with pytest.raises(ValueError, match=r"^00_start_here\.ipynb differs from its source"):
        badges.stamp(REPO, folder)
    assert contents(folder) == before


def test_a_text_without_a_title_cannot_be_stamped():
    with pytest.raises(ValueError, match=r"^Nothing to stamp: "):
        badges.stamped_readme("No title.\n", REPO)


@pytest.fixture(scope="module")
def github(tmp_path_factory):
    """A repository with this working tree's package, in the place of the one on GitHub: for git."""
    folder = tmp_path_factory.mktemp("github")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("teachkit", "data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{folder.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{REPO}",
    }


def test_the_cell_installs_teachkit_alone_and_only_where_it_is_missing(stamped, github, tmp_path):
    notebook = nbformat.read(stamped / "notebooks" / "00_start_here.ipynb", as_version=4)
    cell = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    target, work = tmp_path / "target", tmp_path / "work"
    target.mkdir()
    work.mkdir()
    pip = {"PIP_TARGET": str(target), "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
    env = {**os.environ, **pip, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": str(target)}

    def run(code, *options, **more):
        return subprocess.run(
            [sys.executable, *options, "-c", code],
            cwd=work,
            env=env | more,
            capture_output=True,
            text=True,
        )

    # -S leaves out this environment's packages, and with them the checkout.
    ran = run(cell, "-S", **github)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    assert {re.split("[-.]", path.name)[0] for path in target.iterdir()} == {"teachkit"}
    show = "import teachkit as tk; print(tk.__file__, len(tk.sunspots()))"
    again = run(f"{cell}\n{show}")  # without GitHub: it would fail to install
    assert again.stdout.split() == [str(target / "teachkit" / "__init__.py"), "3120"], again.stderr
    assert list(work.iterdir()) == []

"""Stamp "Open in Colab" badges and a cell that installs teachkit, or take them off again.

`make colab REPO=owner/name` calls it once the repository has a public address on GitHub, and
`make colab REPO=none` takes back what it did. The sources, the saved notebooks (with their outputs)
and README.md change together.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from teachkit.errors import bad
from tools.notebooks import check, from_source

BRANCH = "main"
COLAB = "https://colab.research.google.com"
PICTURE = f"{COLAB}/assets/colab-badge.svg"
TITLE = "# @title Install teachkit where it is missing, as on Colab"
HEADER = '# %% cellView="form" jupyter={"source_hidden": true}'
# An installed package needs no network and no change; --no-deps leaves Colab's own packages alone.
SETUP = f"""\
{HEADER}
{TITLE}
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("teachkit") is None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*command, "git+https://github.com/REPO"], check=True)

"""
_SETUP = re.compile(re.escape(SETUP).replace("REPO", r"[\w./-]+"))
_BADGE = re.compile(r"(?m)^(# |)\[!\[Open in Colab\]\(.*\n(?:#?\n)?")
_REPO = re.compile(rf"\[!\[Open in Colab\]\([^)]*\)\]\({re.escape(COLAB)}/github/([^/]+/[^/]+)/")
_NAME = r"[A-Za-z0-9](?:[\w.-]*[\w-])?"


def address(repo: str, chapter: str) -> str:
    """Return where Colab opens a chapter, such as "04_exploding_gradients", of a repository."""
    return f"{COLAB}/github/{repo}/blob/{BRANCH}/notebooks/{chapter}.ipynb"


def badge(repo: str, chapter: str) -> str:
    """Return the Markdown of a badge that opens a chapter."""
    return f"[![Open in Colab]({PICTURE})]({address(repo, chapter)})"


def is_setup(source: str) -> bool:
    """Whether this is the text of the cell that installs teachkit."""
    return source.startswith(TITLE)


def without_badge(text: str) -> str:
    """Return a text, of Markdown or of a source, without its badge."""
    return _BADGE.sub("", text)


def stamped(root: Path) -> str | None:
    """Return the repository, "owner/name", that README.md is stamped with, if any."""
    found = _REPO.search((root / "README.md").read_text(encoding="utf-8"))
    return found[1] if found else None


def stamped_readme(text: str, repo: str | None) -> str:
    """Return README.md with the badge of the first chapter below its title, or without any."""
    text = without_badge(text)
    if repo is None:
        return text
    return _after(r"(?m)^# .*\n\n", f"{badge(repo, '00_start_here')}\n\n", text)


def stamped_source(text: str, chapter: str, repo: str | None) -> str:
    """Return a chapter's source with its badge and its cell, or without them."""
    text = without_badge(_SETUP.sub("", text))
    if repo is None:
        return text
    text = _after(r"(?m)^# # .*\n#\n", f"# {badge(repo, chapter)}\n#\n", text)
    return _after(r"(?m)^(?=# %%(?! \[markdown\]))", SETUP.replace("REPO", repo), text)


def _after(place: str, addition: str, text: str) -> str:
    """Add something behind the first match of a pattern."""
    found = re.search(place, text)
    if found is None:
        raise ValueError(f"Nothing to stamp: no {place!r} in the text that starts {text[:60]!r}.")
    return text[: found.end()] + addition + text[found.end() :]


def rebuilt(source: str, saved: NotebookNode) -> NotebookNode:
    """Return the notebook of a source with the outputs that a saved one has for the same cells."""
    notebook = from_source(source)
    outputs = {cell.id: cell.outputs for cell in saved.cells if cell.cell_type == "code"}
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = outputs.get(cell.id, [])
            for output in cell.outputs:
                if "execution_count" in output:
                    output["execution_count"] = count
    return notebook


def stamp(repo: str | None, root: Path) -> None:
    """Stamp README.md and all chapters of a checkout, or take the stamps off.

    repo: "owner/name" on GitHub, or None for no badges. Raises `ValueError` for another form, and
    where a chapter differs from its source, since its outputs belong to other cells then.
    """
    if repo is not None and not re.fullmatch(f"{_NAME}/{_NAME}", repo):
        raise bad("REPO", repo, "owner/name, as on GitHub, or none")
    if problems := check(root / "notebooks"):
        raise ValueError("; ".join(problems))
    readme = root / "README.md"
    texts = {readme: stamped_readme(readme.read_text(encoding="utf-8"), repo)}
    for path in sorted((root / "notebooks" / "source").glob("*.py")):
        texts[path] = stamped_source(path.read_text(encoding="utf-8"), path.stem, repo)
    # Nothing is written before every text is known to have its place for a stamp.
    _write(readme, texts.pop(readme))
    for path, source in texts.items():
        _write(path, source)
        target = root / "notebooks" / f"{path.stem}.ipynb"
        nbformat.write(rebuilt(source, nbformat.read(target, as_version=4)), target)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")

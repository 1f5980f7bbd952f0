"""Write dist/colab/NN_topic.ipynb: each chapter as one file, without repository and download.

    python -m tools.colab                     # the files alone
    python -m tools.colab --repo owner/name   # first stamp badges: see tools.badges
    python -m tools.colab --repo none         # first take them off again
    python -m tools.colab --student           # without the solutions, into dist/colab-student

The first code cell of such a file carries teachkit and the data that its chapter opens.
"""

from __future__ import annotations

import argparse
import base64
import copy
import gzip
import hashlib
import inspect
import io
import json
import lzma
import re
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from teachkit.datasets import manifest_files
from tools import badges
from tools.colab_cell import set_up
from tools.student import StudentError, student_copy

ROOT = Path(__file__).resolve().parent.parent
LINE = 500  # characters of payload in a line; an editor stumbles over one that is much longer

# What a chapter opens: its cells, its labs with all their options, the solutions of its exercises.
# tests/tools/test_colab.py watches which files those open.
DATA_SETS: dict[str, tuple[str, ...]] = {
    "00": ("sunspots_monthly.csv",),
    "01": (),
    "02": ("digits.txt",),
    "03": ("names.csv", "sunspots_monthly.csv", "tragedies.txt.gz"),
    "04": ("sunspots_monthly.csv",),
    "05": ("sunspots_monthly.csv",),
    "06": ("sunspots_monthly.csv",),
}
RESULTS: dict[str, tuple[str, ...]] = {
    "00": (),
    "01": ("recall",),
    "02": ("horizon", "pretraining", "rates"),
    "03": (
        "first_steps",
        "inferred",
        "perturbed",
        "state_rates",
        "state_tuning",
        "states",
        "streams",
        "trained_states",
    ),
    "04": ("lyapunov", "temporal_order"),
    "05": ("clip_grid", "clip_text", "clip_what", "inside_backprop"),
    "06": ("ablation", "decades"),
}


def data_of(chapter: str, folder: Path = ROOT / "data") -> list[str]:
    """Return the files of the data folder that a chapter's notebook carries.

    chapter: its number, such as "04". Raises `ValueError` where no line here names its data.
    """
    if chapter not in DATA_SETS or chapter not in RESULTS:
        raise ValueError(
            f"Chapter {chapter} needs a line in DATA_SETS and in RESULTS of tools/colab.py."
        )
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    tables = {f"results/{name}" for name in RESULTS[chapter]}
    return sorted(
        name for name in manifest if name in DATA_SETS[chapter] or name.partition(".")[0] in tables
    )


def files_of(chapter: str, root: Path = ROOT) -> dict[str, bytes]:
    """Return what a chapter's notebook carries, by path: teachkit, its data and the licences.

    A file that is compressed by gzip is stored in that format without compression, since xz packs
    the plain text better. The manifest has the new checksums, and names the notebook that carries
    what this one does not.
    """
    data, names = root / "data", data_of(chapter, root / "data")
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted((root / "teachkit").rglob("*.py"))
    }
    files["teachkit/LICENSE"] = (root / "LICENSE").read_bytes()
    files["teachkit/data/NOTICES.md"] = (data / "NOTICES.md").read_bytes()
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    for name, facts in manifest.items():
        if name not in names:
            facts["elsewhere"] = [other for other in DATA_SETS if name in data_of(other, data)]
            continue
        content = (data / name).read_bytes()
        if name.endswith(".gz"):
            content = gzip.compress(gzip.decompress(content), compresslevel=0, mtime=0)
        facts |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        files[f"teachkit/data/{name}"] = content
    for name, content in manifest_files(manifest).items():
        files[f"teachkit/data/{name}"] = content
    return files


def pack(files: Mapping[str, bytes]) -> tuple[str, str]:
    """Return files as the payload that `colab_cell.set_up` unpacks, in lines, and its checksum."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)  # its time is 0: the same files give the same payload
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    packed = lzma.compress(archive.getvalue(), preset=9)
    text = base64.b85encode(packed).decode("ascii")
    lines = [text[start : start + LINE] for start in range(0, len(text), LINE)]
    return "\n".join(lines), hashlib.sha256(packed).hexdigest()


def setup_cell(files: Mapping[str, bytes]) -> NotebookNode:
    """Return the cell that unpacks files; Colab and JupyterLab hide its text."""
    payload, checksum = pack(files)
    source = f'''\
# @title Set up: run this cell first, or everything at once with Runtime > Run all
# PAYLOAD is the package teachkit with the data of this chapter. Nothing is downloaded.
{inspect.getsource(set_up)}

PAYLOAD = """
{payload}
"""
set_up(PAYLOAD, "{checksum}")
del PAYLOAD, set_up'''
    metadata = {"cellView": "form", "jupyter": {"source_hidden": True}}
    return new_code_cell(source, id="set-up", metadata=metadata)


def note_cell(chapter: str, repo: str | None) -> NotebookNode:
    """Return the words at the top of a file: what it is, and where its links lead."""
    links = (
        "Links to other chapters open them on Colab."
        if repo
        else "Links to other chapters work in JupyterLab, where their files lie beside this one; "
        "on Colab, upload the file of the other chapter instead."
    )
    return new_markdown_cell(
        f"*This is chapter {chapter} of* Where Recurrent Networks Begin *as a single file, for "
        "Google Colab or any Jupyter: the hidden cell below carries the helper package `teachkit` "
        f"and the chapter's data. Run it first. {links}*",
        id="note",
    )


def standalone(notebook: NotebookNode, chapter: str, repo: str | None = None) -> NotebookNode:
    """Return a copy of a saved chapter that carries all it needs, with its outputs.

    repo: "owner/name", to which the links between chapters lead, or None to leave them.
    """
    alone = copy.deepcopy(notebook)
    alone.cells = [cell for cell in alone.cells if not badges.is_setup(cell.source)]
    for cell in alone.cells:
        if cell.cell_type == "markdown":
            cell.source = _relinked(badges.without_badge(cell.source), repo)
    alone.cells = [note_cell(chapter, repo), setup_cell(files_of(chapter)), *alone.cells]
    return alone


def _relinked(text: str, repo: str | None) -> str:
    """Return Markdown without links that would lead nowhere; with a repository they lead there."""
    if repo is None:
        return re.sub(r"(?<!!)\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", text)
    text = re.sub(
        r"\]\((\w+)\.ipynb(#[^)]*)?\)",
        lambda link: f"]({badges.address(repo, link[1])}{link[2] or ''})",
        text,
    )
    return re.sub(r"\]\(\.\./", f"](https://github.com/{repo}/blob/{badges.BRANCH}/", text)


def build(target: Path = ROOT / "dist" / "colab", *, student: bool = False) -> list[Path]:
    """Write the file of every saved chapter, and return their paths.

    student: without the solutions. Raises `StudentError` where they cannot be taken out.
    """
    repo = badges.stamped(ROOT)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        chapter = nbformat.read(path, as_version=4)
        if student:
            chapter = student_copy(chapter)
        notebook = standalone(chapter, path.stem[:2], repo)
        nbformat.validate(notebook)
        paths.append(target / path.name)
        nbformat.write(notebook, paths[-1])
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.colab",
        description="Write each chapter as one file for Google Colab into dist/colab.",
    )
    parser.add_argument(
        "--repo",
        metavar="OWNER/NAME",
        help="stamp 'Open in Colab' badges with this address on GitHub; none removes them",
    )
    parser.add_argument(
        "--student",
        action="store_true",
        help="leave the solutions out, and write to dist/colab-student",
    )
    options = parser.parse_args(arguments)
    target = ROOT / "dist" / ("colab-student" if options.student else "colab")
    try:
        if options.repo is not None:
            badges.stamp(None if options.repo == "none" else options.repo, ROOT)
        paths = build(target=target, student=options.student)
    except (ValueError, StudentError) as error:
        print(error, file=sys.stderr)
        return 1
    for path in paths:
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Build notebooks/*.ipynb from notebooks/source/*.py, and check that the two agree.

    python -m tools.notebooks build [04 ...]   # all chapters, or those whose names start like this
    python -m tools.notebooks check

A notebook without its outputs follows from its source alone, cell ids and metadata included. So a
rebuild changes only what was edited, and a check is a comparison.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from tools.hidden_errors import hidden_errors

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
CELL_METADATA = ("cellView", "jupyter", "tags")  # as in [tool.jupytext] of pyproject.toml
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CELL_TIMEOUT = 120  # seconds: twice what a whole chapter may take
ATTEMPTS = 2  # kernels to start before giving up


class NotebookError(Exception):
    """A chapter raised an error, openly or in a widget's callback."""


def from_source(text: str) -> NotebookNode:
    """The notebook, without outputs, that a source in the py:percent format describes."""
    notebook = jupytext.reads(text, fmt="py:percent")
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in CELL_METADATA if key in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        # The id follows from the text and, between equal cells, from their order.
        text_hash = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[text_hash] += 1
        cell.id = text_hash if seen[text_hash] == 1 else f"{text_hash}-{seen[text_hash]}"
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: NotebookNode, folder: Path, env: Mapping[str, str] | None = None) -> None:
    """Run all cells in a fresh kernel started in `folder`; outputs and widget state stay in place.

    Args:
        notebook: executed in place.
        folder: the kernel's working directory.
        env: variables for the kernel, added to those of this process.

    Raises:
        NotebookError: names every cell and widget that holds an error.
    """
    for attempt in range(ATTEMPTS):
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        )
        try:
            with suppress(CellExecutionError):  # hidden_errors finds this one as well
                client.execute(env={**os.environ, **(env or {})})
            break
        except (CellTimeoutError, DeadKernelError):
            # On a busy machine a kernel may lose its first message, and wait for it for ever.
            if attempt == ATTEMPTS - 1:
                raise
    if errors := hidden_errors(notebook):
        raise NotebookError("\n".join(errors))


def strip(notebook: NotebookNode) -> None:
    """Remove what is of no use in a saved notebook: widgets without a kernel, kernel versions."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_widget(output)]


def _is_widget(output: NotebookNode) -> bool:
    return WIDGET_VIEW in output.get("data", {})


def build(source: Path, target: Path) -> None:
    """Build `target` from `source` and execute it; the labs leave their posters."""
    notebook = from_source(source.read_text(encoding="utf-8"))
    execute(notebook, target.parent, env={"TEACHKIT_POSTER": "1"})
    strip(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, target)


def check(folder: Path = NOTEBOOKS) -> list[str]:
    """One sentence for every chapter whose source and notebook differ in more than outputs."""
    sources = {path.stem: path for path in (folder / "source").glob("*.py")}
    notebooks = {path.stem: path for path in folder.glob("*.ipynb")}
    problems = []
    for name in sorted(sources.keys() | notebooks.keys()):
        if name not in notebooks:
            problems.append(f"{name}.ipynb is missing: run `make notebooks`")
        elif name not in sources:
            problems.append(f"source/{name}.py is missing: {name}.ipynb cannot be rebuilt")
        else:
            expected = from_source(sources[name].read_text(encoding="utf-8"))
            built = nbformat.read(notebooks[name], as_version=4)
            if place := _first_difference(expected, built):
                problems.append(
                    f"{name}.ipynb differs from its source in {place}: run `make notebooks`"
                )
    return problems


def _first_difference(expected: NotebookNode, built: NotebookNode) -> str | None:
    for number, (one, other) in enumerate(zip(expected.cells, built.cells, strict=False), start=1):
        if _without_outputs(one) != _without_outputs(other):
            return f"cell {number}"
    if len(expected.cells) != len(built.cells):
        return f"the number of cells ({len(built.cells)}, source {len(expected.cells)})"
    return "its metadata" if expected.metadata != built.metadata else None


def _without_outputs(cell: NotebookNode) -> dict[str, object]:
    return {key: cell[key] for key in cell if key not in ("outputs", "execution_count")}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.notebooks",
        description="Build notebooks/*.ipynb from notebooks/source/*.py, or check that they agree.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="say which notebooks differ from their sources")
    build_parser = commands.add_parser("build", help="build and execute notebooks")
    build_parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="such as 04")
    options = parser.parse_args(arguments)

    if options.command == "check":
        problems = check()
        print(*problems, sep="\n", end="\n" if problems else "")
        return 1 if problems else 0

    sources = sorted((NOTEBOOKS / "source").glob("*.py"))
    if chapters := tuple(options.chapters):
        sources = [source for source in sources if source.stem.startswith(chapters)]
    if not sources:
        print("no chapter has such a name", file=sys.stderr)
        return 1
    for source in sources:
        print(f"{source.stem} ...", flush=True)
        try:
            build(source, NOTEBOOKS / f"{source.stem}.ipynb")
        except NotebookError as error:
            print(f"{source.stem}.ipynb was not saved:\n{error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

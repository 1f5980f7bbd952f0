"""Copies of the chapters for a class: dist/student/NN_topic.ipynb, without the solutions.

    python -m tools.student [04 ...]   # all chapters, or those whose names start like this

Hints, exercises, checks and saved outputs stay. The checks know the answers from `teachkit`, which
must be installed where the copies run.
"""

from __future__ import annotations

import argparse
import copy
import html
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools import badges  # its badge opens the chapter with its solutions
from tools.notebooks import NOTEBOOKS

COPIES = Path("dist", "student")
BLOCK = re.compile(r"<details>\s*<summary>Solution</summary>(.*?)</details>\s*", re.DOTALL)
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
TELLING = 6  # characters: the right side of "rho = 20" alone would be found in many a number


class StudentError(Exception):
    """A chapter from which no copy without solutions can be made."""


def student_copy(chapter: NotebookNode) -> NotebookNode:
    """Return the chapter without its solutions; the chapter stays as it is.

    Raises:
        StudentError: an exercise has no solution block or no `...` left, or a solution stands
            somewhere else too, in a cell or in a saved output.
    """
    _check_exercises(chapter)
    solutions = list(solution_codes(chapter))
    copied = copy.deepcopy(chapter)
    for cell in copied.cells:
        if cell.cell_type == "markdown":
            cell.source = badges.without_badge(BLOCK.sub("", cell.source)).rstrip()
    copied.cells = [cell for cell in copied.cells if cell.cell_type == "code" or cell.source]
    if leaks := [leak for code in solutions for leak in _places(code, copied)]:
        raise StudentError("; ".join(leaks))
    return copied


def solution_codes(chapter: NotebookNode) -> Iterator[str]:
    """The code of each solution of a chapter, in order."""
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            for block in BLOCK.findall(cell.source):
                yield "".join(CODE.findall(block))


def is_exercise(cell: NotebookNode) -> bool:
    """Whether readers fill in this cell."""
    return "exercise" in cell.metadata.get("tags", [])


def _check_exercises(chapter: NotebookNode) -> None:
    exercises = [cell for cell in chapter.cells if is_exercise(cell)]
    solutions = len(list(solution_codes(chapter)))
    if solutions != len(exercises):
        raise StudentError(f"{len(exercises)} exercises have {solutions} solution blocks")
    for cell in exercises:
        if "..." not in cell.source:
            raise StudentError(f"no `...` is left in the exercise {_first_line(cell)!r}")


def _places(code: str, notebook: NotebookNode) -> Iterator[str]:
    """One sentence for each cell of a notebook that tells this solution."""
    exercises = [cell for cell in notebook.cells if is_exercise(cell)]
    given = {part for cell in exercises for part in _parts(cell.source)}
    parts = [part for part in _parts(code) if part not in given]
    if not parts:
        return  # words alone, and they are gone with their block
    # Of an assignment, its right side gives the answer away, wherever it stands.
    if len(parts) == 1 and len(value := parts[0].partition("=")[2]) >= TELLING:
        parts = [value]
    for number, cell in enumerate(notebook.cells, start=1):
        if any(all(part in text for part in parts) for text in map(_squeezed, _texts(cell))):
            first = code.partition("\n")[0]
            yield f"cell {number} ({_first_line(cell)}) tells the solution {first!r}"


def _parts(code: str) -> list[str]:
    """The lines of a code without comments and white space."""
    return [part for line in code.splitlines() if (part := _squeezed(line.partition("#")[0]))]


def _texts(cell: NotebookNode) -> Iterator[str]:
    """What a reader sees of a cell: its source, and the texts in its outputs."""
    yield cell.source
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        # Markup is text, with the alt texts in it; pictures come as base64.
        data = output.get("data", {})
        yield from (str(text) for kind, text in data.items() if not kind.endswith("png"))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", html.unescape(text))


def _first_line(cell: NotebookNode) -> str:
    return str(cell.source).strip().partition("\n")[0]


def make(folder: Path, chapters: Sequence[str] = ()) -> list[Path]:
    """Write the copies of the chapters whose names start like one of these, or of all.

    Raises:
        StudentError: no chapter has such a name, or one cannot be copied; it is named.
    """
    starts = tuple(chapters) or ("",)
    found = sorted(path for path in NOTEBOOKS.glob("*.ipynb") if path.name.startswith(starts))
    if not found:
        names = " or ".join(map(repr, chapters))
        raise StudentError(f"no chapter has a name that starts with {names}")
    folder.mkdir(parents=True, exist_ok=True)
    for path in found:
        try:
            copied = student_copy(nbformat.read(path, as_version=4))
        except StudentError as error:
            raise StudentError(f"{path.name}: {error}") from None
        nbformat.validate(copied)
        nbformat.write(copied, folder / path.name)
    return [folder / path.name for path in found]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.student",
        description="Copy the chapters for a class, without the solutions.",
    )
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="such as 04")
    parser.add_argument("--to", type=Path, default=COPIES, metavar="FOLDER", help=str(COPIES))
    options = parser.parse_args(arguments)
    try:
        print(*make(options.to, options.chapters), sep="\n")
    except StudentError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The copies for a class: no solution is left in them, and everything else is."""

import html
import re

import nbformat
import pytest
from nbformat.v4 import new_output

from tools import badges, notebooks, student

CHAPTERS = sorted(notebooks.NOTEBOOKS.glob("*.ipynb"))
# Found on its own, not by the tool's own pattern: all of a source from a solution to its end.
SOLUTION = re.compile(r"Solution</summary>(.*?)</details>", re.DOTALL)

SOURCE = """\
# %% [markdown]
# # A chapter

# %% tags=["exercise"]
n = ...

# %%
tk.check.state_size(n)

# %% [markdown]
# <details><summary>Hint 1</summary>Count.</details>
# <details><summary>Solution</summary>
#
# ```python
# n = 4 * 5 + 4 * 20  # both
# ```
#
# Because it counts both.
#
# </details>
#
# ## 2. What comes next
"""


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    student.make(folder)
    return folder


@pytest.fixture
def chapter():
    return notebooks.from_source(SOURCE)


def squeezed(text):
    return re.sub(r"\s+", "", html.unescape(text))


def texts(notebook):
    """All that can be read in a notebook: cells, outputs, alt texts; without spaces, by place."""
    for cell in notebook.cells:
        yield squeezed(cell.source)
        for output in cell.get("outputs", []):
            yield squeezed(str({k: v for k, v in output.items() if k != "metadata"}))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_solution_is_left(path, copies):
    source = (notebooks.NOTEBOOKS / "source" / f"{path.stem}.py").read_text(encoding="utf-8")
    solutions = [re.sub(r"(?m)^# ?", "", text) for text in SOLUTION.findall(source)]
    assert solutions, "a chapter without a solution"
    copy = nbformat.read(copies / path.name, as_version=4)
    nbformat.validate(copy)
    found = list(texts(copy))
    assert not any("<summary>Solution" in text for text in found)
    for solution in solutions:
        _, code, explanation = re.split(r"```(?:python)?\n", solution)
        lines = [line.partition("#")[0] for line in code.splitlines() if line[:4] != "def "]
        assert not any(all(squeezed(line) in text for line in lines) for text in found), code
        for paragraph in filter(None, map(squeezed, explanation.split("\n\n"))):
            assert not any(paragraph in text for text in found), paragraph


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_everything_else_is_still_there(path, copies):
    chapter = nbformat.read(path, as_version=4)
    copy = nbformat.read(copies / path.name, as_version=4)

    def code(notebook):
        return [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert code(copy) == code(chapter)  # exercises, checks, and all that is saved below them
    assert copy.metadata == chapter.metadata
    before = "\n\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    after = "\n\n".join(cell.source for cell in copy.cells if cell.cell_type == "markdown")
    assert after.count("<summary>Hint") == before.count("<summary>Hint")
    assert after.count("<details>") == after.count("</details>") == after.count("<summary>Hint")
    kept = SOLUTION.sub("", before).replace("<details><summary>", "")
    assert squeezed(after.replace("<details><summary>", "")) == squeezed(kept)


def test_an_exercise_of_a_copy_runs_and_its_check_knows_the_answer(copies, tmp_path):
    """Set-up, stub and check; tests/notebooks runs all cells of the chapters, the same as here."""
    copy = nbformat.read(copies / "00_start_here.ipynb", as_version=4)
    code = [
        cell for cell in copy.cells if cell.cell_type == "code" and not badges.is_setup(cell.source)
    ]
    (place,) = [i for i, cell in enumerate(code) if student.is_exercise(cell)]
    stub, check = code[place : place + 2]
    answer = stub.source.replace("...", "0.5 ** (1 / 50)")
    again = notebooks.from_source(f"# %%\n{answer}\n\n# %%\n{check.source}\n\n").cells
    again[1].id += "-again"
    copy.cells = [code[0], stub, check, *again]
    notebooks.execute(copy, tmp_path)
    open_, right = (cell.outputs[-1]["data"]["text/plain"] for cell in (check, again[1]))
    assert open_.startswith("Still open.")
    assert right.startswith("Right.")


def test_hints_and_the_text_after_the_solution_stay(chapter):
    copy = student.student_copy(chapter)
    assert copy.cells[-1].source == (
        "<details><summary>Hint 1</summary>Count.</details>\n## 2. What comes next"
    )
    assert "Solution" in chapter.cells[-1].source  # the chapter itself is not changed


def test_a_cell_with_nothing_but_the_solution_goes(chapter):
    block = chapter.cells[-1].source
    chapter.cells[-1].source = block[block.index("<details><summary>Sol") : block.index("##")]
    assert len(student.student_copy(chapter).cells) == 3


@pytest.mark.parametrize(
    "output",
    [
        new_output("stream", name="stdout", text="you typed 4*5 + 4*20"),
        new_output("display_data", {"text/html": '<img alt="n = 4 * 5 &#43; 4 * 20">'}),
    ],
)
def test_a_solution_in_a_saved_output_is_refused(output, chapter):
    chapter.cells[2].outputs = [output]
    with pytest.raises(
        student.StudentError, match=r"^cell 3 \(tk\.check.* tells the solution 'n ="
    ):
        student.student_copy(chapter)


def test_a_solution_in_another_cell_is_refused(chapter):
    chapter.cells[0].source += "\n\nThe answer is `n = 4 * 5 + 4 * 20`."
    with pytest.raises(student.StudentError, match=r"^cell 1 \(# A chapter\) tells"):
        student.student_copy(chapter)


def test_an_answered_exercise_is_refused(chapter):
    chapter.cells[1].source = "n = 100"
    with pytest.raises(
        student.StudentError, match=r"no `\.\.\.` is left in the exercise 'n = 100'"
    ):
        student.student_copy(chapter)


def test_a_solution_under_another_name_is_refused(chapter):
    chapter.cells[-1].source = chapter.cells[-1].source.replace("Solution", "The solution")
    with pytest.raises(student.StudentError, match=r"^1 exercises have 0 solution blocks"):
        student.student_copy(chapter)


def test_the_command_line_copies_one_chapter_or_says_what_is_wrong(tmp_path, capsys):
    to = ["--to", str(tmp_path)]
    assert student.main(["05", *to]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["05_gradient_clipping.ipynb"]
    assert capsys.readouterr().out == f"{tmp_path / '05_gradient_clipping.ipynb'}\n"
    assert student.main(["77", *to]) == 1
    assert capsys.readouterr().err == "no chapter has a name that starts with '77'\n"

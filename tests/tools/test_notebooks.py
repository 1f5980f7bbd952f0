import nbformat
import pytest

from tools import notebooks

SOURCE = """\
# %% [markdown]
# # A chapter

# %% tags=["exercise"]
answer = ...

# %% A title that Jupyter does not show
print("twice")


# %%
print("twice")

# %%
import ipywidgets
ipywidgets.FloatSlider()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "00_a.py").write_text(SOURCE)
    return tmp_path


def build(folder):
    notebooks.build(folder / "source" / "00_a.py", folder / "00_a.ipynb")
    return (folder / "00_a.ipynb").read_text()


def rewrite(path, change):
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def test_the_same_source_gives_the_same_notebook():
    one, other = notebooks.from_source(SOURCE), notebooks.from_source(SOURCE)
    assert one == other
    assert len({cell.id for cell in one.cells}) == len(one.cells)


def test_an_edit_changes_the_id_of_its_own_cell_only():
    before = [cell.id for cell in notebooks.from_source(SOURCE).cells]
    edited = SOURCE.replace("answer = ...", "answer = 0.9")
    after = [cell.id for cell in notebooks.from_source(edited).cells]
    assert [one == other for one, other in zip(before, after, strict=True)] == [
        True,
        False,
        True,
        True,
        True,
    ]


def test_only_metadata_with_a_meaning_for_readers_is_kept():
    cells = notebooks.from_source(SOURCE).cells
    assert [dict(cell.metadata) for cell in cells] == [{}, {"tags": ["exercise"]}, {}, {}, {}]


def test_build_saves_outputs_without_widgets_and_repeats_itself(folder):
    saved = build(folder)
    assert notebooks.check(folder) == []
    assert "twice\\n" in saved
    assert "widget" not in saved.replace("ipywidgets", "")
    assert build(folder) == saved


def test_build_asks_the_labs_for_posters(folder):
    source = folder / "source" / "00_a.py"
    source.write_text('# %%\nimport os\nprint("poster", os.environ["TEACHKIT_POSTER"])\n')
    assert "poster 1" in build(folder)


def test_build_names_the_failing_cell_and_saves_nothing(folder):
    source = folder / "source" / "00_a.py"
    source.write_text("# %%\nrho = 0\n\n# %%\n1 / rho\n")
    with pytest.raises(notebooks.NotebookError, match=r"cell 2 \(1 / rho\): ZeroDivisionError"):
        build(folder)
    assert not (folder / "00_a.ipynb").exists()


def test_check_names_missing_twins(folder):
    assert notebooks.check(folder) == ["00_a.ipynb is missing: run `make notebooks`"]
    nbformat.write(notebooks.from_source(SOURCE), folder / "00_a.ipynb")
    assert notebooks.check(folder) == []
    (folder / "source" / "00_a.py").unlink()
    assert notebooks.check(folder) == ["source/00_a.py is missing: 00_a.ipynb cannot be rebuilt"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda notebook: notebook.cells[1].update(source="answer = 2"), "cell 2"),
        (lambda notebook: notebook.cells[1].metadata.update(tags=[]), "cell 2"),
        (lambda notebook: notebook.cells[3].update(id="other"), "cell 4"),
        (lambda notebook: notebook.cells.pop(), "the number of cells (4, source 5)"),
        (lambda notebook: notebook.metadata.update(widgets={}), "its metadata"),
    ],
)
def test_check_names_the_first_difference(folder, change, place):
    path = folder / "00_a.ipynb"
    nbformat.write(notebooks.from_source(SOURCE), path)
    rewrite(path, change)
    assert notebooks.check(folder) == [
        f"00_a.ipynb differs from its source in {place}: run `make notebooks`"
    ]


def test_check_overlooks_outputs(folder):
    path = folder / "00_a.ipynb"
    nbformat.write(notebooks.from_source(SOURCE), path)
    rewrite(path, lambda notebook: notebook.cells[1].update(execution_count=7))
    assert notebooks.check(folder) == []


def test_the_command_line_reports_and_fails(folder, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "NOTEBOOKS", folder)
    monkeypatch.setattr(notebooks, "check", lambda: ["one", "two"])
    assert notebooks.main(["check"]) == 1
    assert capsys.readouterr().out == "one\ntwo\n"
    assert notebooks.main(["build", "99"]) == 1
    (folder / "source" / "00_a.py").write_text("# %%\n1 / 0\n")
    assert notebooks.main(["build", "00"]) == 1
    assert "00_a.ipynb was not saved:\ncell 1 (1 / 0): ZeroDiv" in capsys.readouterr().err


def test_a_kernel_that_gets_stuck_is_replaced_once(tmp_path, monkeypatch):
    """The first kernel hangs, as one that lost a message does; the second finds its mark."""
    code = (
        "import pathlib, time\n"
        "mark = pathlib.Path('mark')\n"
        "if not mark.exists():\n"
        "    mark.touch()\n"
        "    time.sleep(60)\n"
        "print('through')"
    )
    monkeypatch.setattr(notebooks, "CELL_TIMEOUT", 3)
    stuck = notebooks.from_source("# %%\n" + code)
    notebooks.execute(stuck, tmp_path)
    assert stuck.cells[0].outputs[0]["text"] == "through\n"

    monkeypatch.setattr(notebooks, "ATTEMPTS", 1)
    (tmp_path / "mark").unlink()
    with pytest.raises(TimeoutError):
        notebooks.execute(notebooks.from_source("# %%\n" + code), tmp_path)

"""The files of `make colab`, run as on Colab: its versions, no checkout, no network."""

import ast
import copy
import json
import os
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from teachkit import datasets
from tools import badges, colab, notebooks
from tools.colab_cell import set_up
from tools.student import is_exercise, solution_codes

ROOT = Path(__file__).resolve().parent.parent.parent
COLAB = ROOT / ".colab"
CHAPTERS = sorted(path.stem for path in notebooks.NOTEBOOKS.glob("*.ipynb"))

# Python imports it at its start: no checkout, no network, and a list of the data that is opened.
SITE = """
import os
import sys

opened, refused = set(), set()
HERE = {None, "", "localhost", "127.0.0.1", "::1"}


def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        path = os.fspath(arguments[0]).replace(os.sep, "/")
        if "/teachkit/data/" in path:
            opened.add(path.partition("/teachkit/data/")[2])
    hosts = {"socket.connect": lambda: arguments[1], "socket.getaddrinfo": lambda: arguments}
    if event in hosts and isinstance(host := hosts[event](), tuple) and host[0] not in HERE:
        refused.add(host[0])
        raise OSError(f"no network: {host[0]}")


sys.addaudithook(watch)
sys.path[:] = [p for p in sys.path if not os.path.isfile(f"{p}/teachkit/__init__.py")]
"""
FORGET = "import sitecustomize\nsitecustomize.opened.clear()"
# Every option of every list, and the first step of each training.
DRIVE = """
for name in LABS:
    lab = getattr(tk.labs, name)()
    assert lab.widget is not None
    for control in lab.spec.controls:
        for value in getattr(control, "options", ()):
            fitted = lab.spec.fit({**lab.settings, control.name: value})
            lab.controls[control.name].value = fitted[control.name]
            assert lab.error is None, (name, lab.settings, lab.trace)
            if lab.training is not None:
                next(iter(lab.training.start(dict(lab.settings))))
"""
REPORT = """
import IPython, ipywidgets, sitecustomize
print(repr({
    "place": tk.__file__,
    "versions": (ipywidgets.__version__, IPython.__version__),
    "opened": sorted(sitecustomize.opened),
    "refused": sorted(sitecustomize.refused),
}))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    target = tmp_path_factory.mktemp("dist")
    return {path.stem: path for path in colab.build(target=target)}


def as_on_colab(path):
    """The chapter as a reader runs it, solved, with its labs driven and a report at the end."""
    notebook = nbformat.read(path, as_version=4)
    solutions = solution_codes(notebook)
    for cell in notebook.cells:
        if is_exercise(cell):
            cell.source = next(solutions)
    labs = sorted(
        set(re.findall(r"tk\.labs\.(\w+)\(", "\n".join(c.source for c in notebook.cells)))
    )
    note, setup, *chapter = notebook.cells
    again, once_more = copy.deepcopy(setup), copy.deepcopy(setup)
    again.id, once_more.id = "again", "once-more"
    added = [FORGET, DRIVE.replace("LABS", repr(labs)), REPORT]
    forget, drive, report = [new_code_cell(source) for source in added]
    notebook.cells = [note, setup, again, forget, *chapter, drive, report, once_more]
    return notebook


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_runs_on_colabs_versions_without_checkout_and_network(chapter, built, tmp_path):
    empty, unpacked, site = (tmp_path / name for name in ("empty", "unpacked", "site"))
    for folder in (empty, unpacked, site):
        folder.mkdir()
    (site / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    notebook = as_on_colab(built[chapter])
    path = os.pathsep.join([str(site), str(COLAB)])
    notebooks.execute(notebook, empty, env={"PYTHONPATH": path, "TMPDIR": str(unpacked)})

    report = ast.literal_eval(notebook.cells[-2].outputs[-1]["text"])
    assert list(empty.iterdir()) == []
    (home,) = [place for place in unpacked.iterdir() if place.name.startswith("teachkit-")]
    assert Path(report["place"]) == home.resolve() / "teachkit" / "__init__.py"
    assert report["versions"] == ("7.7.1", "7.34.0")
    assert report["refused"] == []
    opened = set(report["opened"]) - {datasets.MANIFEST, datasets.CHECKSUM}
    assert opened == set(colab.data_of(chapter[:2]))
    answers = [
        cell.outputs[-1]["data"]["text/plain"]
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.source.startswith("tk.check")
    ]
    assert answers
    assert all(answer.startswith("Right.") for answer in answers), answers


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_file_is_the_saved_chapter_behind_a_note_and_a_hidden_cell(chapter, built):
    assert built[chapter].stat().st_size < 2_000_000
    note, setup, *cells = nbformat.read(built[chapter], as_version=4).cells
    assert note.source.startswith(f"*This is chapter {chapter[:2]} of*")
    assert setup.source.startswith("# @title Set up: ")
    assert setup.metadata == {"cellView": "form", "jupyter": {"source_hidden": True}}
    assert max(map(len, setup.source.splitlines())) <= colab.LINE
    saved = nbformat.read(notebooks.NOTEBOOKS / f"{chapter}.ipynb", as_version=4).cells
    kept = [cell for cell in saved if not badges.is_setup(cell.source)]
    assert [cell.get("outputs") for cell in cells] == [cell.get("outputs") for cell in kept]
    code = [cell.source for cell in kept if cell.cell_type == "code"]
    assert [cell.source for cell in cells if cell.cell_type == "code"] == code
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert "](../" not in prose


LINKS = "[Next](05_gradient_clipping.ipynb#a) [words](../docs/glossary.md) ![a picture](../a.png)"


def test_files_for_a_class_have_no_solutions(tmp_path):
    paths = colab.build(target=tmp_path, student=True)
    assert [path.stem for path in paths] == CHAPTERS
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        assert notebook.cells[1].id == "set-up"
        assert "<summary>Solution</summary>" not in str(notebook.cells)
        assert any("exercise" in cell.metadata.get("tags", []) for cell in notebook.cells)


@pytest.fixture
def linked(monkeypatch):
    """Some links in the files of `make colab`, without the payload."""
    monkeypatch.setattr(colab, "files_of", lambda chapter: {})
    cells = [nbformat.v4.new_markdown_cell(LINKS), new_code_cell(f"{badges.TITLE}\nimport sys")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    return lambda repo: colab.standalone(notebook, "00", repo).cells


def test_links_lead_to_colab_and_github_where_the_repository_is_known(linked):
    note, _, prose = linked("owner/name")
    assert "open them on Colab" in note.source
    assert prose.source == (
        "[Next](https://colab.research.google.com/github/owner/name/blob/main/notebooks/"
        "05_gradient_clipping.ipynb#a) [words](https://github.com/owner/name/blob/main/docs/"
        "glossary.md) ![a picture](https://github.com/owner/name/blob/main/a.png)"
    )


def test_links_that_would_lead_nowhere_are_words_and_the_note_tells_of_the_others(linked):
    note, _, prose = linked(None)
    assert "on Colab, upload the file of the other chapter" in note.source
    assert prose.source.startswith("[Next](05_gradient_clipping.ipynb#a) words ")


def test_the_same_files_give_the_same_payload():
    assert colab.pack({"teachkit/a.py": b"1"}) == colab.pack({"teachkit/a.py": b"1"})


def test_a_new_chapter_has_to_name_its_data():
    with pytest.raises(ValueError, match=r"^Chapter 99 needs a line in DATA_SETS and in RESULTS"):
        colab.data_of("99")
    for table in (colab.DATA_SETS, colab.RESULTS):
        assert set(table) == {chapter[:2] for chapter in CHAPTERS}
    manifest = json.loads((ROOT / "data" / "manifest.json").read_text(encoding="utf-8"))
    tables = {Path(name).name.partition(".")[0] for name in manifest if "results/" in name}
    assert {name for names in colab.DATA_SETS.values() for name in names} <= set(manifest)
    assert {name for names in colab.RESULTS.values() for name in names} <= tables


# --- the data of one chapter ---------------------------------------------------------------------


@pytest.fixture
def data_of_chapter_3(tmp_path, monkeypatch):
    files = colab.files_of("03")
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    monkeypatch.setattr(datasets, "data_folder", lambda: tmp_path / "teachkit" / "data")
    return files


def test_a_file_carries_python_licences_and_data_only(data_of_chapter_3):
    kinds = {Path(name).suffix for name in data_of_chapter_3 if "/data/" not in name}
    assert kinds == {".py", ""}
    assert {"teachkit/LICENSE", "teachkit/data/NOTICES.md"} <= set(data_of_chapter_3)


def test_data_are_what_they_are_in_the_checkout(data_of_chapter_3, monkeypatch):
    carried = datasets.tragedies(), datasets.names()
    monkeypatch.undo()
    assert carried[0] == datasets.tragedies()
    assert carried[1].equals(datasets.names())


def test_one_sentence_says_who_has_the_data_that_a_chapter_lacks(data_of_chapter_3):
    with pytest.raises(FileNotFoundError) as found:
        datasets.digits()
    assert str(found.value) == (
        "Data file digits.txt is not in this notebook: use the notebook of chapter 02, "
        "or a checkout."
    )
    with pytest.raises(FileNotFoundError, match=r"is not in this notebook: use a checkout\.$"):
        datasets.japanese_vowels()


# --- the cell that unpacks -----------------------------------------------------------------------

FILES = {"teachkit/__init__.py": b"one = 1\n", "teachkit/data/manifest.json": b"{}"}
PAYLOAD, CHECKSUM = colab.pack(FILES)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder, an empty working folder, and a session without teachkit."""
    (tmp_path / "work").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "teachkit", raising=False)
    return tmp_path / "temporary"


def unpacked(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_cell_unpacks_once_and_puts_the_place_on_the_path(temporary, capsys):
    set_up(PAYLOAD, CHECKSUM)
    (home,) = temporary.iterdir()
    assert home.name.startswith(f"teachkit-{CHECKSUM[:16]}")
    assert unpacked(home) == FILES
    assert sys.path[0] == str(home)
    times = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    set_up(PAYLOAD, CHECKSUM)
    assert sys.path.count(str(home)) == 1
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert list(Path.cwd().iterdir()) == []
    assert capsys.readouterr().out.count(f"are in {home}; nothing was downloaded.\n") == 2


def test_what_was_cleaned_or_altered_comes_back(temporary):
    set_up(PAYLOAD, CHECKSUM)
    (home,) = temporary.iterdir()
    (home / "teachkit" / "__init__.py").write_text("one = 2", encoding="utf-8")
    (home / "teachkit" / "data" / "manifest.json").unlink()
    set_up(PAYLOAD, CHECKSUM)
    assert unpacked(home) == FILES


def test_many_kernels_may_unpack_at_once(temporary):
    files = {f"teachkit/{number}.py": bytes(10_000) for number in range(40)}
    payload, checksum = colab.pack(files)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: set_up(payload, checksum), range(8))) == [None] * 8
    (home,) = temporary.iterdir()
    assert unpacked(home) == files


@pytest.mark.parametrize(
    "damaged",
    [PAYLOAD[:-5], PAYLOAD.replace(PAYLOAD[60], "0"), PAYLOAD + "\N{SNOWMAN}", ""],
    ids=["cut", "altered", "not base 85", "empty"],
)
def test_a_damaged_payload_is_refused_in_one_sentence(damaged, temporary):
    with pytest.raises(ValueError, match=r"^This notebook's first cell was altered or cut short: "):
        set_up(damaged, CHECKSUM)
    assert list(temporary.iterdir()) == []


def test_another_teachkit_in_the_session_asks_for_a_restart(temporary, monkeypatch):
    monkeypatch.setitem(sys.modules, "teachkit", datasets)
    with pytest.raises(RuntimeError, match=r"^This session has imported another teachkit, from "):
        set_up(PAYLOAD, CHECKSUM)
    assert list(temporary.iterdir()) == []


def test_the_same_teachkit_in_the_session_is_used(temporary, monkeypatch):
    set_up(PAYLOAD, CHECKSUM)
    (home,) = temporary.iterdir()
    monkeypatch.setattr(datasets, "__file__", str(home / "teachkit" / "__init__.py"))
    monkeypatch.setitem(sys.modules, "teachkit", datasets)
    set_up(PAYLOAD, CHECKSUM)


@pytest.mark.skipif(
    not hasattr(os, "getuid"), reason="Windows has a temporary folder for each user"
)
def test_a_place_of_another_user_is_not_trusted(temporary, monkeypatch):
    other = temporary.stat().st_uid + 1
    monkeypatch.setattr(os, "getuid", lambda: other, raising=False)  # Windows has none
    with pytest.raises(PermissionError, match="belongs to another user"):
        set_up(PAYLOAD, CHECKSUM)


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize("repo", ["", "name", "a/b/c", "https://github.com/a/b", "a b/c", "a/b;ls"])
def test_a_bad_repository_is_refused_in_one_sentence(repo, monkeypatch, capsys):
    monkeypatch.setattr(colab, "build", lambda: pytest.fail("nothing is to be built"))
    assert colab.main(["--repo", repo]) == 1
    shown = f"REPO must be owner/name, as on GitHub, or none, but {repo!r} was given.\n"
    assert capsys.readouterr().err == shown

"""The changelog and the release checklist tell what is there."""

import re
import tomllib
from datetime import date
from pathlib import Path

import yaml
from packaging.version import Version

import teachkit as tk
from tools import notebooks, student

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
RELEASE = (ROOT / "docs" / "release.md").read_text(encoding="utf-8")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
HEADINGS = re.findall(r"^## \[(.+?)\] - (.+)$", CHANGELOG, re.MULTILINE)


def first_entry():
    return CHANGELOG.split("\n## ")[1]


def test_one_version_in_four_places():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    top, _ = HEADINGS[0]
    assert top == project["version"] == tk.__version__ == CITATION["version"]


def test_versions_go_down_and_all_but_the_first_have_a_date():
    assert len(HEADINGS) == CHANGELOG.count("\n## ")
    versions = [Version(version) for version, _ in HEADINGS]
    assert versions == sorted(set(versions), reverse=True)
    when = [told for _, told in HEADINGS]
    released = when[1:] if when[0] == "unreleased" else when
    dates = [date.fromisoformat(told) for told in released]
    assert dates == sorted(dates, reverse=True)
    if when[0] != "unreleased":
        assert str(CITATION["date-released"]) == when[0]


def test_the_first_version_names_every_chapter_lab_and_exercise():
    text = CHANGELOG[CHANGELOG.index("## [0.1.0]") :]
    sources = sorted((notebooks.NOTEBOOKS / "source").glob("*.py"))
    chapters = [notebooks.from_source(path.read_text(encoding="utf-8")) for path in sources]
    for chapter in chapters:
        assert f"- **{chapter.cells[0].source.partition(chr(10))[0].removeprefix('# ')}**" in text
    exercises = sum(student.is_exercise(cell) for chapter in chapters for cell in chapter.cells)
    assert f"- {exercises} exercises" in text
    (labs,) = re.findall(r"^- Ten labs,.*?:(.*?)\.$", text, re.MULTILINE | re.DOTALL)
    assert sorted(re.findall(r"`(\w+)`", labs)) == sorted(tk.labs.__all__)
    assert len(tk.labs.__all__) == 10


def test_names_and_commands_in_both_exist():
    text = CHANGELOG + RELEASE
    for name in re.findall(r"\btk\.([\w.]+)", text):
        thing = tk
        for part in name.rstrip(".").split("."):
            thing = getattr(thing, part)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = set(re.findall(r"(?:^ *|`)make ([a-z-]+)", text, re.MULTILINE))
    assert commands <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"notebooks", "screenshot", "results", "test-oldest", "bench", "colab"} <= commands
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", RELEASE):
        assert (ROOT / "docs" / link).is_file(), link
    files = re.findall(r"`([\w/.-]+\.(?:toml|py|cff|md|txt))`", RELEASE)
    assert len(files) >= 5
    assert [file for file in files if not (ROOT / file).is_file()] == []

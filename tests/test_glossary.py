"""The glossary: its code runs, its chapters use its terms, and it lacks nothing that has a name."""

import functools
import inspect
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import teachkit as tk
from teachkit.clip_rules import METHODS
from teachkit.schemes import SCHEMES
from tests.notebooks.claims import prose

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| term |")
]
CODE = sorted({code for row in ROWS for code in re.findall(r"`([^`]+)`", row[1])})
STATES = ("zero", "noisy", "learned", "learned+noisy", "adaptive", "carried")


def terms(cell):
    """The spellings in a row's first cell, as a chapter may have them."""
    cell = re.sub(r"\((?:of|matrix).*?\)", "", cell).replace("`", "").replace("$", "")
    return [cell.strip()] if cell.startswith("(") else re.split(r",\s+(?![^(]*\))", cell)


def plain(text):
    """Text as terms are looked for in it: no marks of Markdown, no case."""
    return re.sub(r"[`$*\\]", "", text).lower()


@functools.cache
def text_of(chapter):
    return plain(prose(chapter))


def used(term, chapter):
    """Whether a chapter has a term; one letter of mathematics must stand alone."""
    found = re.escape(plain(term).strip())
    alone = len(term.replace("\\", "")) < 4
    return re.search(rf"(?<!\w){found}(?!\w)" if alone else found, text_of(chapter))


@functools.cache
def arguments():
    """Names that a reader can write: arguments of what is public, and controls of the labs."""
    values = [getattr(tk, name) for name in tk.__all__]
    values += [getattr(tk.statistics, name) for name in dir(tk.statistics)]
    callables = [value for value in values if callable(value)]
    names = {name for value in callables for name in inspect.signature(value).parameters}
    labs = [getattr(tk.labs, name)() for name in tk.labs.__all__]
    return names | {control.name for lab in labs for control in lab.spec.controls}


@pytest.fixture(scope="module")
def names():
    """What the code of the glossary may use."""
    tk.seed_everything(0)
    model = tk.SequenceModel(tk.LSTM(3, 8, initial_state="learned"), 1)
    model(torch.randn(5, 2, 3)).sum().backward()
    table = tk.compare(
        "names", {"zero": {}, "learned": {"initial_state": "learned"}},
        seeds=2, steps=2, hidden_size=4, progress=False,
    )  # fmt: skip
    return {
        "tk": tk,
        "torch": torch,
        "lstm": tk.LSTM(3, 8),
        "gru": nn.GRU(3, 8),
        "rnn": nn.RNN(3, 8),
        "x": torch.randn(5, 2, 3),
        "W": torch.randn(8, 8),
        "w": torch.tensor([5.0]),
        "b": torch.tensor([-2.0]),
        "model": model,
        "table": table,
        "values": torch.randn(16).numpy(),
    }


@pytest.mark.parametrize("code", CODE)
def test_every_name_in_code_exists(code, names):
    if code.isidentifier():
        assert code in arguments()
    else:
        eval(code, names)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_linked_chapter_uses_the_term(row):
    term, code, meaning, links = row
    assert meaning
    chapters = re.findall(r"\[(\d\d)\]", links)
    assert links == ", ".join(f"[{chapter}]" for chapter in chapters)
    assert chapters or code, "a term that no chapter has must be found in the package"
    for chapter in chapters:
        assert any(used(spelling, chapter) for spelling in terms(term)), chapter
    for spelling in terms(term) if chapters else ():
        assert any(used(spelling, chapter) for chapter in chapters), spelling


def test_no_term_stands_twice():
    spellings = [row[0] for row in ROWS]
    assert len(spellings) == len(set(spellings)) > 100


def test_every_chapter_link_leads_to_a_chapter():
    links = dict(re.findall(r"^\[(\d\d)\]: (\S+)$", TEXT, flags=re.MULTILINE))
    assert set(links) == {path.name[:2] for path in (ROOT / "notebooks").glob("*.ipynb")}
    for number, target in links.items():
        assert (ROOT / "docs" / target).is_file()
        assert Path(target).name.startswith(number)


def test_the_words_of_contributing_are_in_it():
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    words = contributing.partition("\n## Words\n")[2].partition("\n## ")[0].partition(":")[2]
    words = re.sub(r"\([^)]*\)|\band\b", "", words)  # what a word means, and the last comma
    wanted = {*re.findall(r"`([^`]+)`", words), *re.split(r"[,.]|`[^`]*`", words)}
    wanted = {re.sub(r"\s+", " ", word).strip() for word in wanted} - {""}
    assert {"hidden_size", "spectral radius", "rho", "clip threshold", "replica"} <= wanted
    assert wanted <= {spelling for row in ROWS for spelling in terms(row[0])}


def test_every_scheme_method_and_state_is_in_it():
    assert tk.initializers is not None  # its import enters the schemes
    assert len(SCHEMES) > 20
    assert [name for name in (*SCHEMES, *METHODS, *STATES) if f'"{name}"' not in TEXT] == []

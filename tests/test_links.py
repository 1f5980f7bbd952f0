"""Every link in a page or a chapter leads somewhere: to a file, to a heading in it, or to https."""

import functools
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "data").glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]
FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
DEFINED = re.compile(r"^\[([^\]]+)\]: +(\S+)", re.MULTILINE)
HTML = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)=[\"']([^\"']+)[\"']")
AUTO = re.compile(r"<(\w+:[^>\s]+)>")


@functools.cache
def text_of(path):
    """The Markdown of a page or of a chapter's cells; what code shows like a link is none."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"`[^`\n]*`", lambda code: re.sub(r"[\[\]<>]", "", code[0]), FENCE.sub("", text))


def targets(text):
    """Where the links of a text lead."""
    found = [*INLINE.findall(text), *HTML.findall(text), *AUTO.findall(text)]
    return found + [target for _, target in DEFINED.findall(text)]


def anchors(text):
    """The anchors that GitHub gives to the headings of a text, in order."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, flags=re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(name if not seen[name] else f"{name}-{seen[name]}")
        seen[name] += 1
    return found


def exists(path):
    """Whether a file is there under exactly this name, on a system that ignores case, too."""
    return path.exists() and (path == ROOT or path.name in {p.name for p in path.parent.iterdir()})


def problem(target, page):
    """What is wrong with a link of a page, or None."""
    if re.match(r"\w+:", target):
        return None if re.match(r"https://[\w.-]+\.\w+(/|$)", target) else "no https address"
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.is_relative_to(ROOT) or not exists(path):
        return "no such file"
    if anchor and anchor not in anchors(text_of(path)):
        return "no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    text = text_of(page)
    found = {target: problem(target, page) for target in targets(text)}
    assert {target: wrong for target, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_reference_is_defined_and_every_definition_used(page):
    text = text_of(page)
    defined = {name for name, _ in DEFINED.findall(text)}
    used = {m[2] or m[1] for m in re.finditer(r"\[([^\]\[]+)\]\[([^\]]*)\]", text)}
    assert used <= defined
    rest = DEFINED.sub("", text)
    assert [name for name in defined if f"[{name}]" not in rest] == []


def test_every_page_can_be_reached_from_the_readme():
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        for target in targets(text_of(page)):
            path = (page.parent / target.partition("#")[0]).resolve()
            if path in PAGES and path not in reached:
                left.append(path)
    assert [path.relative_to(ROOT).as_posix() for path in PAGES if path not in reached] == []


BROKEN = {
    "[a](docs/nowhere.md)": "no such file",
    "[a](DOCS/glossary.md)": "no such file",
    "[a](../README.md)": "no such file",
    "[a](README.md#nowhere)": "no such heading",
    "[a](#nowhere)": "no such heading",
    "![a](docs/nowhere.gif)": "no such file",
    "<img src='docs/nowhere.png'>": "no such file",
    "[a]: docs/nowhere.md": "no such file",
    "[a](http://example.org/)": "no https address",
    "[a](https://)": "no https address",
    "<file:///nowhere>": "no https address",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_link_is_found(text):
    (target,) = targets(text)
    assert problem(target, ROOT / "CONTRIBUTING.md") == BROKEN[text]


def test_headings_get_github_s_anchors():
    text = "# A `b` (c), d?\n## Same\n## Same\n## [Link](x.md) and more ##\n"
    assert anchors(text) == {"a-b-c-d", "same", "same-1", "link-and-more"}

"""Cells in any order: no lab and no exercise needs more than the set-up cell."""

import ast
import builtins
import functools
import symtable

import pytest

from tools import badges, notebooks

SOURCES = sorted((notebooks.NOTEBOOKS / "source").glob("*.py"))


def reads_and_writes(source):
    """The global names that some code reads, in functions too, and those that it binds."""
    reads, writes = set(), set()

    def look(table, top):
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (top or symbol.is_global()):
                reads.add(symbol.get_name())
            if top and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
                writes.add(symbol.get_name())
        for inner in table.get_children():
            look(inner, False)

    look(symtable.symtable(source, "cell", "exec"), True)
    return {name for name in reads if not hasattr(builtins, name)}, writes


def loaded(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def needs_and_binds(source):
    """The names that a cell reads before it binds them, and those that it leaves behind."""
    needs: set[str] = set()
    bound: set[str] = set()
    for statement in ast.parse(source).body:
        reads, writes = reads_and_writes(ast.unparse(statement))
        # `x = x + 1` needs an x; a loop or a comprehension binds its own before it reads it.
        own = statement.value if isinstance(statement, (ast.Assign, ast.AugAssign)) else None
        again = loaded(own) & writes if own is not None else set()
        inner = {
            n.id
            for c in ast.walk(statement)
            if isinstance(c, ast.comprehension)
            for n in ast.walk(c.target)
            if isinstance(n, ast.Name)
        }
        needs |= ((reads - writes) | (again - inner)) - bound
        bound |= writes
    return needs, bound


@functools.cache
def cells(source):
    """For each code cell: its text, whether it is an exercise, what it needs, what it binds."""
    notebook = notebooks.from_source(source.read_text(encoding="utf-8"))
    return [
        (c.source, "exercise" in c.metadata.get("tags", []), *needs_and_binds(c.source))
        for c in notebook.cells
        if c.cell_type == "code" and not badges.is_setup(c.source)
    ]


@pytest.mark.parametrize(
    ("source", "needs", "binds"),
    [
        ("a = b + len(c)", {"b", "c"}, {"a"}),
        ("a = 1\nb = a", set(), {"a", "b"}),
        ("a = a + 1", {"a"}, {"a"}),
        ("for a in b:\n    a.c()", {"b"}, {"a"}),
        ("d = [a.e for a in b]", {"b"}, {"d"}),
        ("def f(x):\n    return x + y", {"y"}, {"f"}),
        ("import a.b as c\nc.d", set(), {"c"}),
        ("with a() as b:\n    b[c] = 1", {"a", "c"}, {"b"}),
    ],
)
def test_what_a_cell_needs(source, needs, binds):
    assert needs_and_binds(source) == (needs, binds)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_labs_and_exercises_need_the_set_up_cell_alone(source):
    (_, _, nothing, known), *others = cells(source)
    assert not nothing
    alone = [(text, needs) for text, exercise, needs, _ in others if exercise or "tk.labs." in text]
    assert alone
    for text, needs in alone:
        assert needs <= known, f"{needs - known} in: {text}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_what_a_cell_needs_stands_above_it(source):
    known: set[str] = set()
    for text, _, needs, binds in cells(source):
        assert needs <= known, f"{needs - known} in: {text}"
        known |= binds

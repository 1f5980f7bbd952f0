"""Find the errors that an executed notebook hides.

A callback that raises does not fail its cell: ipywidgets catches the error and puts it into an
`Output` widget, whose contents are kept in the notebook's metadata and not in the cell. Most
notebook runners therefore pass such a notebook.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nbformat import NotebookNode

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
LAB_ERROR = "teachkit-error"  # the CSS class that our labs give to the sentence about an error
TRACEBACK = "Traceback (most recent call last)"


def hidden_errors(notebook: NotebookNode) -> list[str]:
    """One sentence for every error in the cells' outputs and in the widgets' state."""
    found = []
    for number, cell in enumerate(notebook.cells, start=1):
        first_line = cell.source.strip().partition("\n")[0]
        for output in cell.get("outputs", []):
            found += [f"cell {number} ({first_line}): {error}" for error in _in_output(output)]
    for model in _widget_models(notebook):
        name, state = model["model_name"], model["state"]
        for output in state.get("outputs", []):
            found += [f"{name}: {error}" for error in _in_output(output)]
        found += [f"{name}: {error}" for error in _in_text(state.get("value"))]
    return found


def _widget_models(notebook: NotebookNode) -> list[dict[str, Any]]:
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    return list(state.values())


def _in_output(output: dict[str, Any]) -> Iterator[str]:
    if output["output_type"] == "error":
        yield f"{output['ename']}: {output['evalue']}"
    elif output["output_type"] == "stream":
        if output["name"] == "stderr":
            yield from _in_text(output["text"])
    else:
        for content in output["data"].values():
            yield from _in_text(content)


def _in_text(text: object) -> Iterator[str]:
    if not isinstance(text, str):
        return
    if TRACEBACK in text:
        yield f"a traceback that ends in {text.strip().splitlines()[-1]!r}"
    if LAB_ERROR in text:
        yield f"a lab shows an error: {text[text.index(LAB_ERROR) :][:300]!r}"

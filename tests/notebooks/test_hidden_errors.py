"""Each way in which a notebook can hide an error, executed for real."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools import notebooks
from tools.hidden_errors import WIDGET_STATE, hidden_errors

SETUP = """
import ipywidgets as widgets
from IPython.display import display

slider = widgets.FloatSlider(value=1.0, min=0.0, max=2.0)

def show(rho):
    print(1 / rho)
"""

# name: code whose callback divides by zero, and where the error is found
HIDING_PLACES = {
    "interactive": (
        "display(widgets.interactive(show, rho=slider))\nslider.value = 0.0",
        "OutputModel: ZeroDivisionError",
    ),
    "interactive_output": (
        "display(widgets.interactive_output(show, {'rho': slider}))\nslider.value = 0.0",
        "OutputModel: ZeroDivisionError",
    ),
    "with Output()": (
        "out = widgets.Output()\ndisplay(out)\nwith out:\n    show(0.0)",
        "OutputModel: ZeroDivisionError",
    ),
    "Button.click": (
        "button = widgets.Button()\nbutton.on_click(lambda _: show(0.0))\nbutton.click()",
        "cell 2 .*: ZeroDivisionError",
    ),
    "observe": (
        "slider.observe(lambda change: show(change.new), 'value')\nslider.value = 0.0",
        "cell 2 .*: ZeroDivisionError",
    ),
    "a lab's own message": (
        "display(widgets.HTML('<p class=\"teachkit-error\">rho must be positive</p>'))",
        "HTMLModel: a lab shows an error: .*rho must be positive",
    ),
    "a printed traceback": (
        "import traceback\ntry:\n    show(0.0)\nexcept ZeroDivisionError:\n"
        "    traceback.print_exc()",
        "cell 2 .*: a traceback that ends in 'ZeroDivisionError: float division by zero'",
    ),
    "a printed traceback inside Output()": (
        "import traceback\nout = widgets.Output()\ndisplay(out)\nwith out:\n"
        "    try:\n        show(0.0)\n    except ZeroDivisionError:\n        traceback.print_exc()",
        "OutputModel: a traceback that ends in 'ZeroDivisionError",
    ),
}


def notebook(*sources):
    return new_notebook(
        cells=[new_code_cell(source) for source in sources],
        metadata=nbformat.from_dict(notebooks.METADATA),
    )


@pytest.mark.parametrize("name", HIDING_PLACES)
def test_finds_the_error(name, tmp_path):
    code, expected = HIDING_PLACES[name]
    with pytest.raises(notebooks.NotebookError, match=expected):
        notebooks.execute(notebook(SETUP, code), tmp_path)


def test_a_notebook_without_errors_passes(tmp_path):
    healthy = notebook(
        SETUP,
        "import sys\nprint('a warning', file=sys.stderr)\n"
        "display(widgets.interactive(show, rho=slider))\nslider.value = 0.5",
    )
    notebooks.execute(healthy, tmp_path)
    # The state that would hold the errors was there to be searched.
    assert "2.0" in str(healthy.metadata.widgets[WIDGET_STATE])


def test_finds_a_lab_message_in_a_saved_output():
    html = new_output("display_data", {"text/html": '<p class="teachkit-error">no data</p>'})
    saved = notebook("1")
    saved.cells[0].outputs = [html]
    assert hidden_errors(saved) == [
        "cell 1 (1): a lab shows an error: 'teachkit-error\">no data</p>'"
    ]

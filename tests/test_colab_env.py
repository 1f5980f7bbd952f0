"""The stand-in for Colab: a kernel with Colab's versions in front of this environment's."""

import sys

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.stand_ins import LABS, ROOT, pins, run_tests
from tools import notebooks

COLAB = ROOT / ".colab"

pytestmark = pytest.mark.skipif(
    not list(COLAB.glob(".installed-*")), reason="`make colab-env` prepares the stand-in for Colab"
)

CODE = """
import importlib.metadata
import sys

import ipywidgets
import IPython
import ipykernel
import matplotlib
import numpy
import pandas
import scipy
import torch
import traitlets

moved = []
slider = ipywidgets.FloatSlider(description="rho")
slider.observe(lambda change: moved.append(change.new), "value")
slider.value = 1.5
assert moved == [1.5]

modules = [ipywidgets, IPython, ipykernel, matplotlib, numpy, pandas, scipy, traitlets]
versions = {module.__name__.lower(): module.__version__ for module in modules}
places = {module.__name__.lower(): module.__file__ for module in [*modules, torch]}
print(sys.executable)
print(repr((versions, places)))
"""


def test_a_notebook_runs_on_colabs_versions(tmp_path):
    notebook = new_notebook(cells=[new_code_cell(CODE)], metadata=notebooks.METADATA)
    notebooks.execute(notebook, tmp_path, env={"PYTHONPATH": str(COLAB)})

    executable, printed = notebook.cells[0].outputs[0].text.splitlines()
    versions, places = eval(printed)
    expected = pins("requirements-colab.txt")
    assert versions == {name: expected[name] for name in versions}
    assert executable == sys.executable
    assert not places.pop("torch").startswith(str(COLAB))
    assert all(place.startswith(str(COLAB)) for place in places.values())


def test_the_labs_bind_draw_save_and_train_on_colabs_versions():
    # Colab's Matplotlib calls pyparsing by names that a newer pyparsing warns of, in quotes; its
    # jupyter_client reads a day without a year while it is imported, of which Python 3.13 warns.
    options = ["-W", "ignore:':DeprecationWarning"]
    options += ["-W", "ignore:Parsing dates involving a day of month:DeprecationWarning"]
    versions, _ = run_tests(COLAB, LABS, *options)
    expected = pins("requirements-colab.txt")
    assert {name: versions[name] for name in expected} == expected

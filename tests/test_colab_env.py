"""The stand-in for Colab: a kernel with Colab's versions in front of this environment's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook
from packaging.requirements import Requirement

from tools import notebooks

ROOT = Path(__file__).resolve().parent.parent
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
    pins = [
        Requirement(line.partition("#")[0])
        for line in (ROOT / "requirements-colab.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    expected = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}
    assert versions == {name: expected[name] for name in versions}
    assert executable == sys.executable
    assert not places.pop("torch").startswith(str(COLAB))
    assert all(place.startswith(str(COLAB)) for place in places.values())


def test_the_labs_pass_their_tests_on_colabs_versions():
    run = """
import ipywidgets, IPython, pytest, sys
code = pytest.main(sys.argv[1:])
print("ipywidgets", ipywidgets.__version__, "IPython", IPython.__version__)
sys.exit(code)
"""
    # Colab's Matplotlib calls pyparsing by names that a newer pyparsing warns of, in quotes.
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore:':DeprecationWarning"]
    ran = subprocess.run(
        [sys.executable, "-c", run, "tests/labs", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(COLAB)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "ipywidgets 7.7.1 IPython 7.34.0" in ran.stdout
    assert " passed" in ran.stdout

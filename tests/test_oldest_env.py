"""The oldest versions of the libraries, but for torch: what draws, computes and reads with them."""

import pytest

from tests.stand_ins import LABS, ROOT, pins, run_tests

OLDEST = ROOT / ".oldest"

# What has no folder in tests/labs: figures, tables, files and a training, each by its own module.
OTHERS = [
    f"tests/test_{name}.py" for name in ("plots", "statistics", "datasets", "results", "training")
]


@pytest.mark.skipif(
    not (OLDEST / "numpy").is_dir(),
    reason="`make oldest-env` prepares the oldest libraries, on Python 3.11 alone",
)
def test_figures_tables_files_and_labs_pass_on_the_oldest_libraries():
    versions, imported = run_tests(OLDEST, [*LABS, *OTHERS])
    expected = pins("requirements-oldest.txt")
    del expected["torch"]  # this environment's
    assert {name: versions[name] for name in expected} == expected
    modules = ["numpy", "pandas", "matplotlib", "seaborn", "scipy", "ipywidgets", "IPython"]
    elsewhere = [m for m in [*modules, "tqdm", "PIL"] if not imported[m].startswith(str(OLDEST))]
    assert elsewhere == []

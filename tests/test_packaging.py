"""What has to agree about installing teachkit, and that the wheel works on its own."""

import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import stand_ins

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "docs/install.md", "docs/troubleshooting.md"]


def bounds(*groups):
    requirements = [Requirement(line) for group in groups for line in group]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def pins(name):
    """The exact versions that a requirements file names."""
    return {package: Version(version) for package, version in stand_ins.pins(name).items()}


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("requirements.txt", [PROJECT["dependencies"], EXTRAS["lab"], EXTRAS["keras"]]),
        ("requirements-dev.txt", [EXTRAS["dev"]]),
    ],
)
def test_every_dependency_is_pinned_within_its_bound_and_nothing_else_is(name, groups):
    wanted, pinned = bounds(*groups), pins(name)
    assert pinned.keys() == wanted.keys()
    outside = [package for package, pin in pinned.items() if pin not in wanted[package].specifier]
    assert outside == []


def test_dependencies_have_lower_bounds_only():
    requirements = bounds(PROJECT["dependencies"], *EXTRAS.values()).values()
    operators = {
        specifier.operator for requirement in requirements for specifier in requirement.specifier
    }
    assert operators == {">="}


def test_the_oldest_versions_are_the_lower_bounds_and_what_they_need():
    wanted = bounds(PROJECT["dependencies"], EXTRAS["keras"])
    lower = {
        name: Version(specifier.version)
        for name, requirement in wanted.items()
        for specifier in requirement.specifier
    }
    oldest = pins("requirements-oldest.txt")
    assert {name: oldest.get(name) for name in lower} == lower
    lines = (ROOT / "requirements-oldest.txt").read_text(encoding="utf-8").splitlines()
    reasons = {canonicalize_name(line.split("==")[0]): line for line in lines if "==" in line}
    assert [name for name in oldest.keys() - lower if "# needed by " not in reasons[name]] == []


def test_colab_has_what_teachkit_needs():
    colab, wanted = pins("requirements-colab.txt"), bounds(PROJECT["dependencies"])
    common = colab.keys() & wanted.keys()
    assert {"ipywidgets", "ipython", "numpy", "pandas", "matplotlib"} <= common
    assert [package for package in common if colab[package] not in wanted[package].specifier] == []


def test_a_developer_gets_what_a_learner_gets():
    assert "-r requirements.txt" in (ROOT / "requirements-dev.txt").read_text().splitlines()


def test_keras_is_offered_but_teachkit_works_without_it():
    assert bounds(EXTRAS["keras"]).keys() == {"keras"}
    assert "keras" not in bounds(PROJECT["dependencies"], EXTRAS["lab"])


def test_the_page_that_stands_in_for_colabs_has_the_widgets_of_ipywidgets_7():
    pinned = pins("requirements-classic.txt")
    assert pinned["notebook"] < Version("7")
    assert Version("3.6") <= pinned["widgetsnbextension"] < Version("3.6.10")
    assert pinned.keys().isdisjoint(pins("requirements-colab.txt"))


def test_what_the_project_is_only_compared_with_is_pinned_and_gets_a_reason_each():
    lines = (ROOT / "requirements-oracles.txt").read_text().splitlines()
    pinned = pins("requirements-oracles.txt").keys()
    assert {"jax", "flax", "dm-haiku", "equinox"} <= pinned
    assert all("#" in line for line in lines if line)
    assert pinned.isdisjoint(pins("requirements.txt").keys() | pins("requirements-dev.txt").keys())


def test_conda_installs_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, from_pip = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    assert pip == "pip"
    assert from_pip == {"pip": ["-r requirements.txt", "-e ."]}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_targets_that_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE)
    commands = set(re.findall(r"(?:^|`|&& )make ([a-z-]+)", text, flags=re.MULTILINE))
    assert commands
    assert commands <= set(targets)


def test_documents_name_the_pinned_torch():
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    named = re.findall(r"torch==([\w.]+)", text)
    assert named
    assert {Version(version) for version in named} == {pins("requirements.txt")["torch"]}


def test_no_file_names_a_machine_or_a_registry():
    """The project must read the same everywhere, and take packages from where pip is told to."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("this copy of the project is not a git checkout")
    machine_path = re.compile(rb"(?<![\w.~/-])/(?:work|opt|root|home)/")
    registry = re.compile(rb"pypi[.]org|pythonhosted[.]org|npmjs[.]org|anaconda[.]org")
    torch_index = re.compile(rb"download[.]pytorch[.]org/(?!whl/cpu\b)")
    found = []
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if not path.is_file() or b"\0" in (content := path.read_bytes()):
            continue  # removed but not yet committed, or binary
        for pattern in (machine_path, registry, torch_index):
            found += [f"{name}: {match.group().decode()}" for match in pattern.finditer(content)]
    assert found == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (path,) = folder.glob("teachkit-*.whl")
    return path


def run(*arguments, cwd=None):
    ran = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_wheel_carries_the_package_the_data_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if ".dist-info/" not in name}
    code = {path.relative_to(ROOT) for path in (ROOT / "teachkit").rglob("*.py")}
    data = {path.relative_to(ROOT) for path in (ROOT / "data").rglob("*") if path.is_file()}
    assert data
    assert carried == {path.as_posix() for path in code} | {
        f"teachkit/{path.as_posix()}" for path in data
    }


# Run with neither the checkout nor its editable install on the path: -I leaves out the working
# directory and PYTHONPATH, -S the .pth files, so that only the libraries are put back.
USE_INSTALLED = """
import sys
target, *libraries = sys.argv[1:]
sys.path = [target, *sys.path, *libraries]

import teachkit as tk

assert tk.__file__.startswith(target), tk.__file__
assert len(tk.datasets.sunspots()) > 0
assert tk.labs.spectral_radius().poster_png().startswith(b"\\x89PNG")
"""


def test_the_installed_wheel_loads_data_and_draws_a_lab(wheel, tmp_path):
    target, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    run("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", target, wheel)
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    run("-I", "-S", "-c", USE_INSTALLED, target, *libraries, cwd=empty)

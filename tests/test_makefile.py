"""The Makefile's set-up, with a Python that only writes down what it was asked to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(
    sys.platform == "win32",
    reason="the commands that stand in for others here are shell scripts",
)

FAKE_PYTHON = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in
    *"version_info[:2]"*) exit ${NOT_OLDEST:-0} ;;
    *version_info*) exit ${TOO_OLD:-0} ;;
    "-m venv --clear .venv")
        python=.venv/bin/python
        [ "$OS" = Windows_NT ] && python=.venv/Scripts/python.exe
        mkdir -p "${python%/*}" && cp "$0" "$python" ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *--index-url*) exit ${NO_TORCH_INDEX:-0} ;;
    *"--target .colab"*) mkdir .colab ;;
    *"--target .classic"*) mkdir .classic ;;
    *"--target .oracles"*) mkdir .oracles ;;
esac
"""

PARALLEL = "--numprocesses=auto --maxprocesses=4 --dist=loadfile"


class Project:
    """A copy of the set-up files, in a folder with a space in its name."""

    def __init__(self, folder):
        self.folder = folder / "a project"
        self.log = folder / "log"
        self.bin = folder / "bin"
        self.folder.mkdir()
        self.bin.mkdir()
        for path in [ROOT / "Makefile", ROOT / "pyproject.toml", *ROOT.glob("requirements*.txt")]:
            shutil.copy(path, self.folder)
        self.command("python3", FAKE_PYTHON)
        self.command("uname", "#!/bin/sh\necho Linux\n")

    def command(self, name, script):
        path = self.bin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    def make(self, *arguments, **env):
        """What Python was asked to do, and the finished process; `env` is all that is set."""
        self.log.write_text("")
        base = {"PATH": f"{self.bin}:/usr/bin:/bin", "LOG": str(self.log)}
        ran = subprocess.run(
            ["make", *arguments], cwd=self.folder, env=base | env, capture_output=True, text=True
        )
        calls = [call.rstrip() for call in self.log.read_text().splitlines()]
        return [call for call in calls if "version_info" not in call], ran


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_make_alone_lists_every_target():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True).stdout
    (phony,) = [
        line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:")
    ]
    assert [line.split()[1] for line in listed.splitlines()] == phony.split()[1:]


def test_lab_sets_up_once_and_opens_the_first_chapter(project):
    first, ran = project.make("lab")
    assert ran.returncode == 0, ran.stderr
    assert first[0] == "-m venv --clear .venv"
    assert "--index-url https://download.pytorch.org/whl/cpu torch==" in first[1]
    assert first[2].endswith("install --requirement requirements.txt --editable .")
    assert first[3].startswith("-m jupyterlab --ServerApp.kernel_websocket_connection_class=tools.")
    assert first[3].endswith(" notebooks/00_start_here.ipynb")
    again, _ = project.make("lab")
    assert again == first[3:]


def test_test_sets_up_the_rest_once(project):
    calls, ran = project.make("test", "ARGS=-k gates")
    assert ran.returncode == 0, ran.stderr
    assert calls[3].endswith("install --requirement requirements-dev.txt")
    assert "--target .colab --requirement requirements-colab.txt" in calls[4]
    assert "--no-deps --target .classic --requirement requirements-classic.txt" in calls[5]
    assert "--no-deps --target .oldest --requirement .oldest/requirements.txt" in calls[6]
    assert "--no-deps --target .oracles --requirement requirements-oracles.txt" in calls[-2]
    assert calls[-1] == f"-m pytest {PARALLEL} -k gates"
    again, _ = project.make("test")
    assert again == [f"-m pytest {PARALLEL}"]


@pytest.mark.parametrize("folder", [".colab", ".oldest", ".oracles"])
def test_another_environment_installs_what_fits_its_python(folder, project, tmp_path):
    install = f"--target {folder} "
    project.make("test")
    project.command(tmp_path / "other" / "bin" / "python", FAKE_PYTHON)
    calls, ran = project.make("test", VIRTUAL_ENV=str(tmp_path / "other"))
    assert ran.returncode == 0, ran.stderr
    assert len([call for call in calls if install in call]) == 1
    calls, _ = project.make("test")
    assert len([call for call in calls if install in call]) == 1
    calls, _ = project.make("test", VIRTUAL_ENV=str(project.folder / ".venv"))
    assert not any(install in call for call in calls)


def oldest_pins(folder):
    """The requirements that were installed into .oldest, without comments."""
    lines = (folder / ".oldest" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def test_the_oldest_libraries_leave_torch_out(project):
    calls, ran = project.make("oldest-env")
    assert ran.returncode == 0, ran.stderr
    assert "--no-deps --target .oldest --requirement .oldest/requirements.txt" in calls[-1]
    names = [pin.partition("==")[0] for pin in oldest_pins(project.folder)]
    assert "numpy" in names
    assert "torch" not in names


def test_a_python_without_wheels_of_the_oldest_libraries_goes_without(project):
    calls, ran = project.make("test", NOT_OLDEST="1")
    assert ran.returncode == 0, ran.stderr
    assert not any("--target .oldest" in call for call in calls)
    assert calls[-1] == f"-m pytest {PARALLEL}"
    again, _ = project.make("test", NOT_OLDEST="1")
    assert again == [f"-m pytest {PARALLEL}"]


def test_the_oldest_libraries_with_torch_have_an_environment_of_their_own(project):
    calls, ran = project.make("test-oldest", "ARGS=-k gates")
    assert ran.returncode == 0, ran.stderr
    assert calls[0] == "-m venv .venv-oldest"
    assert calls[1].endswith("torch==2.4.0")
    assert calls[2].endswith("install --requirement requirements-oldest.txt --editable .")
    (ran_tests,) = [call for call in calls if call.startswith("-m pytest")]
    assert "--ignore=tests/browser" in ran_tests
    assert ran_tests.endswith(" -k gates")
    assert not any("requirements.txt" in call or "--target" in call for call in calls)
    dev = (project.folder / ".venv-oldest" / "dev.txt").read_text(encoding="utf-8")
    assert "pytest==" in dev
    assert "-r requirements.txt" not in dev
    assert not (project.folder / ".venv").exists()


def test_the_oldest_libraries_ask_for_their_python(project):
    calls, ran = project.make("test-oldest", NOT_OLDEST="1")
    assert ran.returncode != 0
    assert calls == []
    assert ran.stderr.startswith("The oldest libraries need Python 3.11, and python3 is")


def test_bench_has_what_it_compares_with_in_a_folder_of_its_own(project):
    calls, ran = project.make("bench")
    assert ran.returncode == 0, ran.stderr
    (installed,) = [call for call in calls if "requirements-oracles.txt" in call]
    assert "--no-deps --target .oracles" in installed
    names = ["analyses", "error_surface", "replicas", "experiments", "slider", "frames", "chapters"]
    measured = [f"-m benchmarks.{name}" for name in names]
    assert calls[-7:] == measured
    again, _ = project.make("bench")
    assert again == measured


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ([], "-m tools.colab"),
        (["REPO=owner/name"], "-m tools.colab --repo owner/name"),
        (["REPO=none"], "-m tools.colab --repo none"),
        (["REPO=a b; touch x"], "-m tools.colab --repo a b; touch x"),
        (["REPO="], "-m tools.colab --repo"),
    ],
)
def test_colab_takes_a_repository_from_the_command_line_alone(arguments, call, project):
    calls, ran = project.make("colab", *arguments, REPO="of another program")
    assert ran.returncode == 0, ran.stderr
    assert calls[-1] == call
    assert not (project.folder / "x").exists()


def test_changed_requirements_are_installed(project):
    project.make("lab")
    requirements = project.folder / "requirements.txt"
    later = requirements.stat().st_mtime + 3600
    os.utime(requirements, (later, later))
    calls, _ = project.make("lab")
    assert any("--requirement requirements.txt" in call for call in calls)


def test_a_moved_folder_is_installed_again(project):
    project.make("lab")
    project.folder = project.folder.rename(project.folder.with_name("moved"))
    calls, _ = project.make("lab")
    assert any("--editable ." in call for call in calls)


def test_without_pytorchs_index_pips_own_is_used(project):
    calls, ran = project.make("lab", NO_TORCH_INDEX="1")
    assert ran.returncode == 0
    assert "PyTorch's CPU index cannot be reached" in ran.stdout
    assert any("--requirement requirements.txt" in call for call in calls)


@pytest.mark.parametrize("reason", ["an NVIDIA driver", "macOS"])
def test_pips_own_torch_is_right_with(reason, project):
    if reason == "macOS":
        project.command("uname", "#!/bin/sh\necho Darwin\n")
    else:
        project.command("nvidia-smi", "#!/bin/sh\n")
    calls, _ = project.make("lab")
    assert not any("--index-url" in call for call in calls)


@pytest.mark.parametrize(
    ("variables", "used"),
    [
        (["VIRTUAL_ENV"], True),
        (["CONDA_PREFIX"], True),
        (["CONDA_PREFIX", "base"], False),
    ],
)
def test_an_active_environment_is_used(variables, used, project, tmp_path):
    active = tmp_path / "my env"
    project.command(active / "bin" / "python", FAKE_PYTHON)
    name = "base" if "base" in variables else "course"
    env = {variables[0]: str(active)} | (
        {"CONDA_DEFAULT_ENV": name} if variables[0] == "CONDA_PREFIX" else {}
    )
    calls, ran = project.make("lab", **env)
    assert ran.returncode == 0, ran.stderr
    assert ("-m venv --clear .venv" not in calls) == used
    assert any(active.glob(".teachkit-*")) == used
    assert (project.folder / ".venv").exists() != used


def test_windows_has_its_python_elsewhere(project):
    project.command("python", FAKE_PYTHON)
    (project.bin / "python3").unlink()  # there it opens the shop
    calls, ran = project.make("lab", OS="Windows_NT")
    assert ran.returncode == 0, ran.stderr
    assert calls[0] == "-m venv --clear .venv"
    assert calls[-1].endswith(" notebooks/00_start_here.ipynb")
    assert not (project.folder / ".venv" / "bin").exists()
    again, _ = project.make("lab", OS="Windows_NT")
    assert again == calls[-1:]


@pytest.mark.parametrize(
    ("variable", "python"),
    [("VIRTUAL_ENV", "Scripts/python.exe"), ("CONDA_PREFIX", "python.exe")],
)
def test_an_active_environment_is_used_on_windows(variable, python, project, tmp_path):
    project.command(tmp_path / "my env" / python, FAKE_PYTHON)
    env = {variable: f"{tmp_path}\\my env", "CONDA_DEFAULT_ENV": "course", "OS": "Windows_NT"}
    calls, ran = project.make("student", "ARGS=05", **env)
    assert ran.returncode == 0, ran.stderr
    assert calls[-1] == "-m tools.student 05"
    assert any((tmp_path / "my env").glob(".teachkit-*"))


@pytest.mark.parametrize("env", [{}, {"VIRTUAL_ENV": "/nowhere"}])
def test_an_old_or_missing_python_gets_one_sentence(env, project):
    calls, ran = project.make("lab", TOO_OLD="1", **env)
    assert ran.returncode != 0
    assert calls == []
    sentence, *rest = ran.stderr.splitlines()
    assert sentence.startswith("Python 3.11 or later is needed")
    assert all(line.startswith("make: ***") for line in rest)
    assert not (project.folder / ".venv").exists()

"""The Makefile's set-up, with a Python that only writes down what it was asked to do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FAKE_PYTHON = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in
    *version_info*) exit ${TOO_OLD:-0} ;;
    "-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *--index-url*) exit ${NO_TORCH_INDEX:-0} ;;
    *"--target .colab"*) mkdir .colab ;;
    *"--target .oracles"*) mkdir .oracles ;;
esac
"""


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
    assert "--no-deps --target .oracles --requirement requirements-oracles.txt" in calls[5]
    assert calls[6:] == ["-m pytest -k gates"]
    again, _ = project.make("test")
    assert again == ["-m pytest"]


@pytest.mark.parametrize("folder", [".colab", ".oracles"])
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


def test_bench_has_what_it_compares_with_in_a_folder_of_its_own(project):
    calls, ran = project.make("bench")
    assert ran.returncode == 0, ran.stderr
    (installed,) = [call for call in calls if "requirements-oracles.txt" in call]
    assert "--no-deps --target .oracles" in installed
    names = ["analyses", "error_surface", "replicas", "experiments", "slider", "chapters"]
    measured = [f"-m benchmarks.{name}" for name in names]
    assert calls[-6:] == measured
    again, _ = project.make("bench")
    assert again == measured


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


@pytest.mark.parametrize("env", [{}, {"VIRTUAL_ENV": "/nowhere"}])
def test_an_old_or_missing_python_gets_one_sentence(env, project):
    calls, ran = project.make("lab", TOO_OLD="1", **env)
    assert ran.returncode != 0
    assert calls == []
    sentence, *rest = ran.stderr.splitlines()
    assert sentence.startswith("Python 3.11 or later is needed")
    assert all(line.startswith("make: ***") for line in rest)
    assert not (project.folder / ".venv").exists()

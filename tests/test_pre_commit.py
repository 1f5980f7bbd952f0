"""The hooks: nothing to download, and each command does what it is there for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
HOOKS = {hook["id"]: hook for repository in CONFIG["repos"] for hook in repository["hooks"]}


def run(hook, *files, cwd=ROOT):
    python, *arguments = HOOKS[hook]["entry"].split()
    assert python == "python"
    command = [sys.executable, *arguments, *map(str, files)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_nothing_is_downloaded():
    assert {repository["repo"] for repository in CONFIG["repos"]} == {"local"}
    assert {hook["language"] for hook in HOOKS.values()} == {"system", "pygrep"}
    assert not any("additional_dependencies" in hook for hook in HOOKS.values())


def test_what_takes_long_waits_for_a_push():
    late = {name for name, hook in HOOKS.items() if hook.get("stages") == ["pre-push"]}
    assert late == {"types"}
    assert CONFIG["default_stages"] == ["pre-commit"]
    assert {*CONFIG["default_install_hook_types"]} == {"pre-commit", "pre-push"}


def test_style_and_format_complain(tmp_path):
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text('"""A module."""\n', encoding="utf-8")
    bad.write_text("import os\nx = {  'a':1}\n", encoding="utf-8")
    settings = ["--config", ROOT / "pyproject.toml"]
    assert run("ruff-check", good, *settings).returncode == 0
    found = run("ruff-check", bad, *settings)
    assert found.returncode == 1
    assert "F401" in found.stdout
    assert run("ruff-format", good, bad, *settings).stdout.startswith("1 file reformatted")
    assert bad.read_text(encoding="utf-8") == 'import os\n\nx = {"a": 1}\n'


def test_what_the_project_excludes_stays_excluded():
    """A hook names its files, which would overrule `extend-exclude`."""
    ran = run("ruff-check", ROOT / "notebooks" / "00_start_here.ipynb")
    assert ran.returncode == 0
    assert "No Python files found" in ran.stderr


def test_chapters_are_compared_when_one_changes():
    hook = HOOKS["chapters"]
    for changed in ["notebooks/04_exploding_gradients.ipynb", "notebooks/source/00_a.py"]:
        assert re.search(hook["files"], changed)
    assert not re.search(hook["files"], "tests/notebooks/test_sync.py")
    ran = run("chapters")
    assert ran.stderr == ""
    assert ran.returncode == bool(ran.stdout)  # tests/notebooks looks for differences


@pytest.mark.parametrize(
    ("kind", "found"),
    [("widget-state+json", True), ("widget-view+json", True), ("other+json", False)],
)
def test_widgets_are_found_in_a_saved_chapter(kind, found):
    hook = HOOKS["widgets"]
    text = f'"metadata": {{"application/vnd.jupyter.{kind}": {{}}}}'
    assert bool(re.search(hook["entry"], text)) == found
    assert re.search(hook["files"], "notebooks/00_start_here.ipynb")


def test_types_are_those_of_make_types():
    assert f"$(RUN) {HOOKS['types']['entry'].removeprefix('python -m ')}" in (
        ROOT / "Makefile"
    ).read_text(encoding="utf-8")

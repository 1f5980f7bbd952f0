"""The workflow on GitHub: valid, and the tests of home wherever the project claims to run."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import check_jsonschema
import pytest
import yaml
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "test.yml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def workflow():
    # YAML 1.1 reads the key `on` as true; as text all scalars stay what is written.
    return yaml.load(WORKFLOW.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


@pytest.fixture
def steps(workflow):
    return workflow["jobs"]["test"]["steps"]


@pytest.fixture
def all_steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize(
    ("schema", "path"),
    [("vendor.github-workflows", WORKFLOW), ("vendor.citation-file-format", ROOT / "CITATION.cff")],
)
def test_file_follows_its_schema(schema, path, tmp_path):
    def check(file):
        return CliRunner().invoke(check_jsonschema.main, ["--builtin-schema", schema, str(file)])

    checked = check(path)
    assert checked.exit_code == 0, checked.output
    wrong = tmp_path / path.name
    wrong.write_text(path.read_text(encoding="utf-8") + "\nunheard-of: 1\n", encoding="utf-8")
    assert "unheard-of" in check(wrong).output


def test_it_runs_on_every_change_and_once_a_month(workflow):
    assert {"push", "pull_request", "schedule"} <= workflow["on"].keys()
    assert workflow["on"]["push"] == workflow["on"]["pull_request"] == ""  # whatever the branch
    (entry,) = workflow["on"]["schedule"]
    minute, hour, day, month, weekday = entry["cron"].split()
    assert minute.isdigit()
    assert hour.isdigit()
    assert 1 <= int(day) <= 28
    assert month == weekday == "*"


def test_every_python_of_the_project_on_every_system(workflow):
    job = workflow["jobs"]["test"]
    matrix = job["strategy"]["matrix"]
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    claimed = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if " 3." in c]
    assert matrix["python"] == claimed
    assert PROJECT["requires-python"] == f">={claimed[0]}"
    assert "exclude" not in matrix
    assert job["strategy"]["fail-fast"] == "false"


def test_it_calls_make_test_and_names_a_browser_for_it(steps):
    runs = [step.get("run", "") for step in steps]
    assert any(run.startswith("make test") for run in runs)
    (browser,) = [run for run in runs if "GITHUB_ENV" in run]
    assert browser.index("CHROMIUM=") < browser.index("exit 1")


@pytest.mark.skipif(sys.platform == "win32", reason="there no mode makes a file a program")
def test_the_search_for_a_browser_takes_the_first_and_fails_without_one(steps, tmp_path):
    (script,) = [step["run"] for step in steps if "GITHUB_ENV" in step.get("run", "")]
    place = tmp_path / "a chrome.exe"
    script = script.replace("C:/Program Files/Google/Chrome/Application/chrome.exe", str(place))
    first = tmp_path / "chrome"
    mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    script = script.replace("/usr/bin/google-chrome", str(first)).replace(mac, "/nowhere/chrome")
    env = {"GITHUB_ENV": str(tmp_path / "env"), "PATH": "/usr/bin:/bin"}

    def run():
        return subprocess.run(["bash", "-e", "-c", script], env=env, capture_output=True).returncode

    assert run() == 1
    place.write_text("", encoding="utf-8")
    place.chmod(0o755)
    assert run() == 0
    shutil.copy(place, first)
    assert run() == 0
    assert (tmp_path / "env").read_text(encoding="utf-8") == f"CHROMIUM={place}\nCHROMIUM={first}\n"


def test_the_oldest_libraries_have_a_run_of_their_own_on_the_oldest_python(workflow):
    *_, python, last = workflow["jobs"]["oldest"]["steps"]
    assert PROJECT["requires-python"] == f">={python['with']['python-version']}"
    assert last["run"].startswith("make test-oldest ")


def test_what_it_runs_are_commands_of_the_makefile(all_steps):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    runs = [step["run"].split()[1] for step in all_steps if step.get("run", "")[:5] == "make "]
    assert len(runs) == 2
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in runs)


def test_it_may_read_and_nothing_else(workflow, all_steps):
    text = WORKFLOW.read_text(encoding="utf-8")
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets" not in text
    assert "pull_request_target" not in text
    checkouts = [step for step in all_steps if "actions/checkout@" in step.get("uses", "")]
    assert len(checkouts) == len(workflow["jobs"])
    assert all(step["with"]["persist-credentials"] == "false" for step in checkouts)


def test_actions_are_githubs_own_and_pinned_to_a_major_version(all_steps):
    used = [step["uses"] for step in all_steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used), used


def test_no_run_goes_on_for_ever_or_beside_a_newer_one(workflow):
    assert all(int(job["timeout-minutes"]) <= 180 for job in workflow["jobs"].values())
    assert "github.ref" in workflow["concurrency"]["group"]
    assert "schedule" in workflow["concurrency"]["cancel-in-progress"]

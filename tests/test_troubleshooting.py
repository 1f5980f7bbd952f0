"""The troubleshooting page: each symptom has a remedy, and each message reads as it is quoted."""

import re
import shutil
from pathlib import Path

import pytest
import torch

import teachkit as tk
from teachkit import datasets
from tests.browser.jupyter import chromium_path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### ([^\n]+)\n\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("symptom", SECTIONS)
def test_every_symptom_has_a_cause_or_a_sight_and_a_remedy(symptom):
    section = SECTIONS[symptom]
    assert "*Do:*" in section or "*Why, and do:*" in section
    assert re.match(r"\*(Why|You see|Why, and do):\*|\(Not tried here;", section)


def test_the_contents_have_every_symptom_once():
    contents = TEXT.partition("\n## ")[0]
    listed = re.findall(r"\]\(#([^)]+)\)", contents)
    headings = re.findall(r"^##+ (.+)$", TEXT, re.MULTILINE)
    assert listed == [re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings]


def quoted(message, symptom):
    """Whether a section quotes a message, or the beginning of it."""
    section = re.sub(r"\s+", " ", SECTIONS[symptom])
    return any(
        len(quote) > 20 and message.startswith(quote.removesuffix(" ..."))
        for quote in re.findall(r"`([^`]+)`", section)
    )


def test_what_make_says():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for symptom, message in {
        "Python is too old": "Python 3.11 or later is needed",
        "PyTorch downloads gigabytes": "PyTorch's CPU index cannot be reached",
    }.items():
        assert message in makefile
        assert quoted(message, symptom)


def test_what_a_lab_without_widgets_looks_like():
    shown = repr(tk.labs.spectral_radius(rho=1.2, show=["rho"]).widget)
    assert quoted(shown, "No widgets are shown")


def test_what_a_missing_device_is_answered():
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ValueError, match=f"'{missing}'") as refused:
        tk.choose_device(missing)
    assert quoted(str(refused.value).replace(missing, "cuda"), "The GPU is not used")


def test_what_a_damaged_file_is_answered(tmp_path, monkeypatch):
    for name in (datasets.MANIFEST, datasets.CHECKSUM, "names.csv"):
        shutil.copy(datasets.data_folder() / name, tmp_path)
    (tmp_path / "names.csv").write_text("list,name\n", encoding="utf-8")
    monkeypatch.setattr(datasets, "data_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match="damaged") as refused:
        tk.names()
    assert quoted(str(refused.value), "A data file is damaged")


def test_what_an_open_exercise_is_answered():
    def still_open(W, rho):
        return ...

    for answer in (..., still_open):
        assert quoted(repr(tk.check.rescale(answer)), "The check says still open")


def test_what_tests_without_chromium_say(tmp_path, monkeypatch):
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "nowhere"))
    with pytest.raises(RuntimeError) as refused:
        chromium_path()
    assert quoted(str(refused.value), "The browser tests find no Chromium")


def test_training_needs_the_controls_that_the_page_speaks_of():
    lab = tk.labs.spectral_radius(show=["rho"])
    assert lab.training is None
    controls = {control.name: control.label for control in lab.spec.controls}
    section = SECTIONS["The slider moves, but the picture does not"]
    for name in ("clip_threshold", "task"):
        assert f"`{controls[name]}`" in section

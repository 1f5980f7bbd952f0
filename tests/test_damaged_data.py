"""Every shipped file truncated, altered, emptied and missing: refused by name, in one sentence."""

import re
import shutil
from pathlib import Path

import pytest

from teachkit import datasets, labs, results
from tests.labs.driving import check_shown
from tests.test_datasets import LOADERS

SHIPPED = list(datasets.manifest())


def altered(content, at):
    """The content with another byte there."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES = {
    "truncated": lambda content: content[:-1],
    "cut in half": lambda content: content[: len(content) // 2],
    "altered": lambda content: altered(content, len(content) // 2),
    "altered at its start": lambda content: altered(content, 0),
    "altered at its end": lambda content: altered(content, -1 % len(content)),
    "longer": lambda content: content + b"\n",
    "empty": lambda content: b"",
}


def loader(name):
    """What reads a shipped file: the loader of a data set, or of a result."""
    if name in LOADERS:
        return LOADERS[name]
    return lambda: results.load_results(Path(name).name.partition(".")[0])


def link(source, target):
    """Put a file in place of a copy, without copying it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # another file system
        shutil.copy(source, target)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the data, in place of the real one."""
    real = datasets.data_folder()
    for name in (datasets.MANIFEST, datasets.CHECKSUM, *SHIPPED):
        link(real / name, tmp_path / name)
    monkeypatch.setattr(datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(results, "data_folder", lambda: tmp_path)
    return tmp_path


def replace(path, content):
    """Give a file other content, or remove it; what it was linked to stays as it is."""
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def refusal(kind, load):
    with pytest.raises(kind) as raised:
        load()
    said = str(raised.value)
    assert "\n" not in said
    assert re.search(r"Restore (it|the file|both files)\.$", said)
    return said


@pytest.mark.parametrize("name", SHIPPED)
def test_a_damaged_file_is_refused_by_name_and_a_restored_one_is_read(name, folder):
    path, content = folder / name, (datasets.data_folder() / name).read_bytes()
    for damage in DAMAGES.values():
        replace(path, damage(content))
        said = refusal(ValueError, loader(name))
        assert said.startswith(f"Data file {name} is damaged: its SHA-256 is ")
    replace(path, None)
    said = refusal(FileNotFoundError, loader(name))
    assert said.startswith(f"Data file {name} is missing from {folder}.")
    path.write_bytes(content)
    assert loader(name)() is not None


@pytest.mark.parametrize("reader", ["sunspots_monthly.csv", "results/rates.csv"])
@pytest.mark.parametrize("name", [datasets.MANIFEST, datasets.CHECKSUM])
def test_a_damaged_manifest_is_refused_by_name(name, reader, folder):
    path = folder / name
    content = path.read_bytes()
    places = range(0, len(content), max(1, len(content) // 40))
    damages = [damage(content) for damage in DAMAGES.values()]
    for damaged in [*damages, *(altered(content, at) for at in places)]:
        replace(path, damaged)
        said = refusal(ValueError, loader(reader))
        assert said.startswith("Data file manifest.json is damaged: its SHA-256 is not the one in ")
    replace(path, None)
    said = refusal(FileNotFoundError, loader(reader))
    assert said.startswith(f"Data file {name} is missing from ")


@pytest.mark.parametrize("name", ["forecast", "first_steps"])
def test_a_lab_says_which_file_is_damaged(name, folder):
    table = {"forecast": "ablation", "first_steps": "first_steps"}[name]
    module = __import__(f"teachkit.labs.{name}", fromlist=["_precomputed"])
    module._precomputed.cache_clear()
    if name == "forecast":
        module._known.cache_clear()
    path = folder / "results" / f"{table}.csv.gz"
    content = path.read_bytes()
    try:
        replace(path, content[:-1])
        lab = getattr(labs, name)()
        assert lab.widget is not None
        assert f"Data file results/{table}.csv.gz is damaged" in lab.message.value
        assert "Traceback" not in lab.message.value
        replace(path, content)
        lab.controls["seed"].value = 1
        check_shown(lab)
    finally:
        module._precomputed.cache_clear()

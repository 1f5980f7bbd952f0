import json
import shutil

import pandas as pd
import pytest
import torch

from teachkit import datasets, results

TABLE = pd.DataFrame({"variant": ["a", "b"], "seed": [0, 1], "loss": [1.25, float("nan")]})
SETTINGS = {"steps": 3, "rhos": [0.5, 1.0], "threshold": None}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Put a copy of the data folder in place of the real one."""
    copy = shutil.copytree(datasets.data_folder(), tmp_path / "data")
    monkeypatch.setattr(datasets, "data_folder", lambda: copy)
    monkeypatch.setattr(results, "data_folder", lambda: copy)
    return copy


def test_what_is_saved_is_loaded_with_its_settings(folder):
    path = results.save_results("trial", TABLE, SETTINGS)
    assert path == folder / "results" / "trial.csv"
    table = results.load_results("trial")
    pd.testing.assert_frame_equal(table, TABLE)
    assert {key: table.attrs[key] for key in SETTINGS} == SETTINGS
    assert table.attrs["torch"] == torch.__version__
    assert {"python", "device"} <= set(table.attrs)


def test_a_large_table_is_saved_compressed_with_fewer_digits(folder):
    table = pd.DataFrame({"seed": range(500), "loss": [n / 7 for n in range(500)]})
    path = results.save_results("trial", table, SETTINGS, digits=4, compress=True)
    assert path == folder / "results" / "trial.csv.gz"
    assert path.stat().st_size < len(table.to_csv()) / 3
    first = path.read_bytes()
    found = results.load_results("trial")
    assert found.attrs["steps"] == 3
    pd.testing.assert_frame_equal(found, table, check_exact=False, rtol=5e-4)
    assert found["loss"][1] == 0.1429
    results.save_results("trial", table, SETTINGS, digits=4, compress=True)
    assert path.read_bytes() == first
    path.write_bytes(first[:-1])
    with pytest.raises(ValueError, match=r"^Data file results/trial\.csv\.gz is damaged"):
        results.load_results("trial")


def test_the_other_format_is_replaced_too(folder):
    for n, compress in enumerate([False, True, False]):
        results.save_results("trial", TABLE.assign(loss=n), SETTINGS, compress=compress)
        assert results.load_results("trial")["loss"].tolist() == [n, n]
    assert not (folder / "results" / "trial.csv.gz").exists()


def test_saving_again_replaces_and_keeps_all_other_files(folder):
    before = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    results.save_results("trial", TABLE, SETTINGS)
    results.save_results("trial", TABLE.head(1), SETTINGS)
    assert len(results.load_results("trial")) == 1
    after = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert set(after) - set(before) == {"results/trial.csv", "results/trial.json"}
    assert {name: after[name] for name in before} == before
    datasets.sunspots()


def test_the_same_table_gives_the_same_bytes(folder):
    first = results.save_results("trial", TABLE, SETTINGS).read_bytes()
    assert results.save_results("trial", TABLE, SETTINGS).read_bytes() == first
    assert b"\r" not in first


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_a_damaged_or_missing_file_is_named(folder, suffix):
    path = results.save_results("trial", TABLE, SETTINGS).with_suffix(f".{suffix}")
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(ValueError, match=f"^Data file results/trial.{suffix} is damaged"):
        results.load_results("trial")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"^Data file results/trial.{suffix} is missing"):
        results.load_results("trial")


@pytest.mark.parametrize("name", ["no such result", "sunspots_monthly", "../manifest", None])
def test_an_unknown_result_is_named(folder, name):
    results.save_results("trial", TABLE, SETTINGS)
    with pytest.raises(ValueError, match=r"^name must be one of .*'trial', but .* was given"):
        results.load_results(name)

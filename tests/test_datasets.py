import csv
import gzip
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from teachkit import datasets

LOADERS: dict[str, Callable[[], object]] = {
    "sunspots_monthly.csv": datasets.sunspots,
    "co2_weekly.csv": datasets.co2,
    "seattle_temperatures.csv": datasets.seattle_temperatures,
    "names.csv": datasets.names,
    "japanese_vowels.csv.gz": datasets.japanese_vowels,
    "tragedies.txt.gz": datasets.tragedies,
    "digits.txt": datasets.digits,
}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Put a copy of the data folder in place of the real one."""
    folder = shutil.copytree(datasets.data_folder(), tmp_path / "data")
    monkeypatch.setattr(datasets, "data_folder", lambda: folder)
    return folder


def raw(name):
    return (datasets.data_folder() / name).read_text(encoding="ascii").splitlines()


def test_every_shipped_file_is_listed_with_origin_licence_and_checksum():
    folder = datasets.data_folder()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    own = {"manifest.json", "manifest.sha256", "README.md", "NOTICES.md"}
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files - own == set(manifest)
    for name, facts in manifest.items():
        content = datasets.data_file(name).read_bytes()
        assert facts["bytes"] == len(content)
        assert facts["sha256"] == hashlib.sha256(content).hexdigest()
        assert facts["origin"]
        assert facts["licence"]


def test_sunspots_are_the_months_of_260_years():
    series = datasets.sunspots()
    assert len(series) == 3120
    assert series.index.equals(pd.period_range("1749-01", "2008-12", freq="M"))
    assert series.iloc[[0, 1, -2, -1]].tolist() == [58.0, 62.6, 4.1, 0.8]
    assert series.dtype == float
    assert series.between(0, 300).all()


def test_the_readme_repeats_the_manifest():
    folder = datasets.data_folder()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    rows = re.findall(
        r"(?m)^\| `(\S+)` .* (\d+) \| `(\w+)` \|$", (folder / "README.md").read_text()
    )
    expected = {n: f for n, f in manifest.items() if not n.startswith("results/")}
    assert set(expected) == set(LOADERS)
    assert {name: (int(size), digest) for name, size, digest in rows} == {
        name: (facts["bytes"], facts["sha256"][:12]) for name, facts in expected.items()
    }


def test_all_files_together_stay_under_three_megabytes():
    sizes = [p.stat().st_size for p in datasets.data_folder().rglob("*") if p.is_file()]
    assert 1e6 < sum(sizes) < 3e6


def test_co2_is_known_but_for_59_weeks_on_straight_lines():
    series = datasets.co2()
    assert series.index.equals(pd.date_range("1958-03-29", "2001-12-29", freq="W-SAT"))
    rows = [line.split(",") for line in raw("co2_weekly.csv")[1:]]
    known = {pd.Timestamp(week): float(value) for week, value in rows if value}
    assert len(series) - len(known) == 59
    assert series[list(known)].to_dict() == known
    assert sum(week.year < 1965 for week in series.index if week not in known) == 47
    for week in series.index.difference(list(known)):
        before, after = (max(w for w in known if w < week), min(w for w in known if w > week))
        share = (week - before) / (after - before)
        assert series[week] == pytest.approx(known[before] + share * (known[after] - known[before]))


def test_temperatures_of_every_hour_of_a_year():
    series = datasets.seattle_temperatures()
    assert series.index.equals(pd.date_range("2010-01-01", "2010-12-31 23:00", freq="h"))
    table = list(csv.reader(raw("seattle_temperatures.csv")))
    for row in (table[1], table[73], table[200], table[365]):
        for hour, value in enumerate(row[1:]):
            if value:
                assert series[f"{row[0]} {hour:02d}:00"] == float(value)
    missing = [(row[0], hour) for row in table for hour, v in enumerate(row[1:]) if not v]
    assert missing == [("2010-03-14", 3)]
    assert series["2010-03-14 03:00"] == pytest.approx((43.0 + 42.2) / 2)
    assert (series.min(), series.max()) == (37.5, 75.9)
    assert series.diff().abs().max() == pytest.approx(3.5)


def test_names_are_different_words_in_lower_case():
    names = datasets.names()
    assert len(names) == names.nunique() == 5163
    assert all(re.fullmatch("[a-z]{2,11}", name) for name in names)
    # as many as the Census counts on its two lists
    counts = names.index.value_counts()
    assert counts["female"] + counts["both"] == 4275
    assert counts["male"] + counts["both"] == 1219
    assert names.iloc[:3].tolist() == ["mary", "patricia", "linda"]
    assert "nan" in set(names)  # which pandas takes for a missing value, unless told not to
    assert "linda" in set(names["female"])
    assert "xavier" in set(names["male"])


def test_vowels_have_the_speakers_and_lengths_that_their_authors_state():
    counts = {"train": [30] * 9, "test": [31, 35, 88, 44, 29, 24, 40, 50, 29]}
    with gzip.open(datasets.data_folder() / "japanese_vowels.csv.gz", "rt") as file:
        frames = [line.strip().split(",") for line in file][1:]
    lengths = set()
    for part, expected in counts.items():
        utterances, speakers = datasets.japanese_vowels(part)
        assert Counter(speakers.tolist()) == dict(enumerate(expected))
        assert speakers.dtype == np.int64
        assert len(utterances) == sum(expected)
        assert {(u.dtype, u.shape[1]) for u in utterances} == {(np.dtype(np.float32), 12)}
        lengths |= {len(u) for u in utterances}
        values = [list(map(float, frame[3:])) for frame in frames if frame[0] == part]
        np.testing.assert_array_equal(np.concatenate(utterances), np.array(values, np.float32))
        runs = list(dict.fromkeys(frame[1] for frame in frames if frame[0] == part))
        for i in (0, 1, len(runs) // 2, len(runs) - 1):
            assert len(utterances[i]) == sum(frame[1] == runs[i] for frame in frames)
            assert {int(f[2]) - 1 for f in frames if f[1] == runs[i]} == {int(speakers[i])}
    assert (min(lengths), max(lengths)) == (7, 29)


def test_tragedies_are_speeches_only():
    text = datasets.tragedies()
    assert len(text) == 800_676
    assert len(set(text)) == 63
    assert text.startswith("BERNARDO:\nWho's there?\n\nFRANCISCO:\nNay, answer me")
    assert not set("_*#[]\\") & set(text)
    lines = (
        "To be, or not to be",
        "Out, out, brief candle!",
        "O Romeo, Romeo!",
        "Nothing, my lord.",
    )
    for line in (*lines, "I am not what I am.", "Good day, sir."):
        assert line in text
    assert "Exeunt" not in text
    assert "SCENE" not in text


def test_digits_are_those_their_authors_counted():
    images, labels = datasets.digits()
    assert images.shape == (1797, 8, 8)
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert set(np.unique(images * 16)) == set(range(17))
    rows = [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]  # in scikit-learn's docs
    np.testing.assert_array_equal(images[0, :2] * 16, rows)
    assert labels[:10].tolist() == list(range(10))


@pytest.mark.parametrize("name", LOADERS)
def test_a_damaged_file_is_named_and_refused(copy, name):
    path = copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^Data file {re.escape(name)} is damaged: its SHA-256 "):
        LOADERS[name]()


@pytest.mark.parametrize("name", LOADERS)
def test_a_missing_file_is_named_and_refused(copy, name):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"^Data file {re.escape(name)} is missing from"):
        LOADERS[name]()


def test_another_part_of_the_vowels_is_refused():
    with pytest.raises(ValueError, match=r"^part must be one of 'train', 'test', but 'all' was"):
        datasets.japanese_vowels("all")


@pytest.mark.parametrize("name", ["cities.csv", "../pyproject.toml", "manifest.json", None])
def test_a_file_that_is_not_shipped_is_refused(name):
    with pytest.raises(ValueError, match=r"^name must be one of 'sunspots_monthly.csv'.* but .*"):
        datasets.data_file(name)


def test_a_missing_folder_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "teachkit" / "datasets.py"))
    with pytest.raises(FileNotFoundError, match=r"^The data of teachkit is missing: no manifest"):
        datasets.data_folder.__wrapped__()

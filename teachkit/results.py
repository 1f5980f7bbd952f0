"""Precomputed results: saved with every setting, version and device inside, checked on load."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from .datasets import data_file, data_folder, manifest, manifest_files
from .device import provenance
from .errors import check_choice


def save_results(
    name: str,
    frame: pd.DataFrame,
    settings: dict[str, Any],
    *,
    digits: int = 6,
    compress: bool = False,
) -> Path:
    """Write a result table as data/results/<name>.csv, its settings beside it, and its checksums.

    settings: everything needed to run it again; versions and device are added where they are not
    among them. digits: of a number. compress: write <name>.csv.gz, for a large table. Returns the
    path of the table. `make results` calls it.
    """
    folder = data_folder()
    facts = {**settings, **{k: v for k, v in provenance().items() if k not in settings}}
    text = frame.to_csv(index=False, float_format=f"%.{digits}g", lineterminator="\n")
    table = f"{name}.csv.gz" if compress else f"{name}.csv"
    contents = {
        # no time of day inside: the same table gives the same bytes
        table: gzip.compress(text.encode(), mtime=0) if compress else text.encode(),
        f"{name}.json": (json.dumps(facts, indent=2) + "\n").encode(),
    }
    (folder / "results").mkdir(exist_ok=True)
    entries = manifest()
    for other in {f"{name}.csv", f"{name}.csv.gz"} - {table}:  # of an earlier run
        (folder / "results" / other).unlink(missing_ok=True)
        entries.pop(f"results/{other}", None)
    for file, content in contents.items():
        (folder / "results" / file).write_bytes(content)
        entries[f"results/{file}"] = {
            "title": f"Precomputed result {name}",
            "origin": "this project, make results",
            "licence": "MIT",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    for file, content in manifest_files(entries).items():
        (folder / file).write_bytes(content)
    return folder / "results" / table


def load_results(name: str) -> pd.DataFrame:
    """Load a precomputed table; its settings are in `.attrs`.

    Raises `ValueError` for an unknown name or a damaged file and `FileNotFoundError` for a missing
    one. `make results` computes all of them again.
    """
    tables = {
        Path(file).name.partition(".")[0]: file
        for file in manifest()
        if file.startswith("results/") and not file.endswith(".json")
    }
    check_choice("name", name, tables)
    table = pd.read_csv(data_file(tables[name]))
    table.attrs = json.loads(data_file(f"results/{name}.json").read_text(encoding="utf-8"))
    return table

"""Drive a lab as a reader does, and read what it shows: for the tests of all labs."""

from __future__ import annotations

import base64
import csv
import html
import math
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

import teachkit as tk
from teachkit.labs.base import Lab
from teachkit.labs.controls import Choice, Slider

NAMES = list(tk.labs.__all__)
# Controls that only a training in the background reads: the picture of the gradient stays.
FOR_TRAINING = {
    "clip_what": {"optimizer", "lr"},
    "spectral_radius": {"task", "clip_threshold"},
}
# What every lab of an own model refuses: the arguments, and the words that say so.
BAD_OWN_MODELS: list[tuple[dict[str, Any], str]] = [
    ({"model": nn.RNN(1, 2)}, "model and x must be given together"),
    ({"x": torch.zeros(3, 1)}, "model and x must be given together"),
    ({"model": nn.RNN(1, 2), "x": [1, 2]}, "x must be a batch that model takes"),
    ({"model": nn.RNN(1, 2), "x": torch.zeros(3, 5)}, "x must be of shape"),
]


def open_lab(name: str, **settings: Any) -> Lab:
    """Open a lab and build its widget, as displaying it does."""
    lab: Lab = getattr(tk.labs, name)(**settings)
    assert lab.widget is not None
    assert lab.error is None, lab.trace
    return lab


def ends(control: Slider | Choice) -> list[Any]:
    """Both ends of a slider, or every option of a choice; `reach` says what of it a lab offers."""
    if isinstance(control, Choice):
        return list(control.options)
    return [control.low, control.high]


def every_end() -> list[Any]:
    """(lab, control, value) for every control of every lab."""
    return [
        (name, control.name, value)
        for name in NAMES
        for control in getattr(tk.labs, name)().spec.controls
        for value in ends(control)
    ]


def reach(lab: Lab, control: str, value: Any) -> Any:
    """Move a control to a value, or as near as it goes at the other settings; returns where."""
    reached = lab.spec.fit({**lab.settings, control: value})[control]
    lab.controls[control].value = reached
    return reached


def picture_bytes(shown: str) -> bytes:
    """The PNG of the picture in a widget's HTML."""
    found = re.search(r'src="data:image/png;base64,([^"]+)"', shown)
    assert found is not None
    return base64.b64decode(found[1])


def pixels(shown: str | bytes) -> np.ndarray:
    """The picture in a widget's HTML, or in a PNG, as (height, width, 3)."""
    png = picture_bytes(shown) if isinstance(shown, str) else shown
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def alternative(shown: str) -> str:
    """The alternative text of the picture."""
    found = re.search(r'<img alt="([^"]*)"', shown)
    assert found is not None
    return html.unescape(found[1])


def words(shown: str) -> str:
    """The sentence under the picture."""
    found = re.search(r"class='teachkit-sentence'>(.*?)(?:<br>|</div>)", shown)
    assert found is not None
    return html.unescape(found[1])


def line(shown: str) -> str:
    """The settings line under the sentence."""
    found = re.search(r"<code[^>]*>(.*?)</code>", shown)
    assert found is not None
    return html.unescape(found[1])


def recreate(settings_line: str, **names: Any) -> Lab:
    """Run a settings line as a reader would paste it."""
    lab = eval(settings_line, {"tk": tk, **names})
    assert isinstance(lab, Lab)
    return lab


def check_shown(lab: Lab, size: tuple[int, int] | None = None) -> None:
    """What holds at every setting: no error, a picture of the right size, a readable sentence.

    size: of the picture, (width, height), where it is known already.
    """
    assert lab.error is None, lab.trace
    assert lab.message.value == ""
    shown = lab.view.value
    assert words(shown) == lab.sentence == alternative(shown)
    assert not re.search(r"\b(nan|inf)\b", lab.sentence.lower())
    assert line(shown) == lab.settings_line
    width, height = size or lab.spec.picture().figure.canvas.get_width_height()
    assert pixels(shown).shape == (height, width, 3)


def same_settings(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two settings are equal; a slider's 0.30000000000000004 is 0.3."""
    return one.keys() == other.keys() and all(
        math.isclose(v, other[k], abs_tol=1e-6) if isinstance(v, float) else v == other[k]
        for k, v in one.items()
    )


def saved_equals(file: Path, table: pd.DataFrame) -> bool:
    """Whether a CSV file holds a table to the last digit; pandas reads floats less exactly."""
    with file.open(newline="", encoding="utf-8") as lines:
        header, *rows = csv.reader(lines)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    return list(columns) == list(table.columns) and all(
        [float(v) for v in columns[c]] == table[c].tolist()
        if pd.api.types.is_numeric_dtype(table[c])
        else list(columns[c]) == table[c].tolist()
        for c in map(str, table.columns)
    )

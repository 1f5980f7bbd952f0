"""What the tests of a chapter's claims share.

A claim names the words in the chapter's source and the measurement behind them, with the band that
those words allow. Claims about random networks are measured on networks with *other* seeds than
those they were first written from, so that the words hold for networks and not for seeds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tools.notebooks import NOTEBOOKS

# chapter, words, measurement, the least and the most that the words allow
Claim = tuple[str, str, Callable[[], Any], float, float]


def geometric_mean(values: Any) -> float:
    """exp of the mean logarithm."""
    return float(np.exp(np.mean(np.log(list(values)))))


def prose(chapter: str) -> str:
    """The text of a chapter's source in one line."""
    (path,) = (NOTEBOOKS / "source").glob(f"{chapter}_*.py")
    text = re.sub(r"\n# ?", " ", path.read_text(encoding="utf-8"))
    return re.sub(r"\s+", " ", text)


def each(claims: Sequence[Claim]) -> Any:
    """Parametrise a test by claims."""
    return pytest.mark.parametrize(
        ("chapter", "words", "measure", "low", "high"),
        claims,
        ids=[f"{c[0]}-{i}-{c[1][:30]}" for i, c in enumerate(claims)],
    )


def check(chapter: str, words: str, measure: Callable[[], Any], low: float, high: float) -> None:
    """Fail where the chapter no longer says the words, or where they are not true."""
    assert words in prose(chapter), "the chapter no longer says this: change the claim with it"
    assert low <= float(measure()) <= high

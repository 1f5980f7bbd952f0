"""The check of chapter 06 that asks which ways to split, scale and choose leak."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from .. import datasets
from ..plots import COLORS
from .answers import Stop, exercise, wrong
from .feedback import OPEN, Feedback, draw

LEAKING = frozenset("abce")
_LETTERS = "abcdef"
# What to say where a letter is missing, and where one is named without reason.
_MISSED = {
    "a": "Two windows that start a month apart share all months but one. Where do they "
    "go, if windows are shuffled before they are split?",
    "b": "Which months has the mean of the whole series seen? (This leak is small: it tells the "
    "level of the test part, no more.)",
    "c": "Look at the end of the last training windows: in which part are the months that they "
    "learn to forecast?",
    "e": "No weight has seen the test part. But something was chosen by it.",
}
_INNOCENT = {
    "d": "d is fine: whoever forecasts knows the past, whichever part it lies in. Only the months "
    "to be forecast must be new.",
    "f": "f is fine: that is what a validation part is for.",
}
_PAST, _AHEAD, _NEIGHBOURS, _SHARE = 132, 24, 5, 0.8
_SOLVED = (
    "a, b, c and e let the test part speak. The picture has a forecaster without any training: the "
    "mean of what followed the {k} most similar windows. With shuffled windows its error is "
    "{shuffled:.2f} instead of {honest:.2f}; on the very same windows without neighbours that "
    "share a month {apart:.2f}. So nearly all of the gain is leak. (b: the mean of the whole "
    "series is {whole:.2f}, that of its first 80 % {train:.2f}.)"
)


@exercise
def leaks(letters: Any) -> Feedback:
    """Chapter 06: which ways to split, scale and choose let the test part leak?"""
    named = _named(letters)
    found = named & LEAKING
    accused, missed = sorted(named - LEAKING), sorted(LEAKING - named)
    errors = leaking_errors()
    bars = {"split in time": errors["honest"]}
    if "c" in named:
        bars["c: training windows\nreach into the test part"] = errors["across"]
    if "a" in named:
        bars["a: shuffled windows"] = errors["shuffled"]
        bars["the same windows, without\nneighbours that share months"] = errors["apart"]

    def paint(ax: Axes) -> None:
        colors = [COLORS["explode" if name[1] == ":" else "critical"] for name in bars]
        drawn = ax.barh(list(bars), list(bars.values()), color=colors, height=0.6)
        ax.bar_label(drawn, fmt="%.2f", padding=3, fontsize=8)
        ax.set(xlim=(0, 2.8), xlabel="error (roots of sunspot numbers), 1 to 24 months ahead")
        ax.tick_params(axis="y", labelsize=8)
        ax.invert_yaxis()

    png = draw(paint, (6.9, 0.9 + 0.5 * len(bars)))
    if not accused and not missed:
        whole, train = _means()
        text = _SOLVED.format(k=_NEIGHBOURS, whole=whole, train=train, **errors)
        return Feedback("right", text, png)
    hint = f"{len(found)} of the {len(LEAKING)} leaks found."
    if accused:
        hint += f" {_INNOCENT[accused[0]]}"
    if missed:
        hint += f" {_MISSED[missed[0]]}"
    return Feedback("wrong", hint, png)


@functools.cache
def leaking_errors(seed: int = 0) -> dict[str, float]:
    """Return the root mean squared errors of a nearest-neighbour forecaster of the sunspots.

    It forecasts 24 months from 132 by the mean of what followed the 5 most similar windows. honest:
    the last fifth of the months is the test part. across: the same, but training windows may end in
    it. shuffled: a random fifth of all windows. apart: the same fifth, without neighbours that
    share a month with the window. In square roots of sunspot numbers. Taught in chapter 06.
    """
    roots = _roots()
    windows = np.lib.stride_tricks.sliding_window_view(roots, _PAST + _AHEAD)
    start, cut = np.arange(len(windows)), int(_SHARE * len(roots))
    shuffled = np.random.default_rng(seed).permutation(len(windows))
    rest, tested = shuffled[len(windows) // 5 :], shuffled[: len(windows) // 5]
    late, early = start[start + _PAST >= cut], start[start + _PAST + _AHEAD <= cut]
    return {
        "honest": _error(windows, early, late),
        "across": _error(windows, start[start + _PAST <= cut], late),
        "shuffled": _error(windows, rest, tested),
        "apart": _error(windows, rest, tested, apart=True),
    }


def _error(
    windows: np.ndarray, known: np.ndarray, tested: np.ndarray, *, apart: bool = False
) -> float:
    past, ahead = torch.tensor(windows).split([_PAST, _AHEAD], dim=1)
    distance = torch.cdist(past[tested], past[known])
    if apart:
        gap = torch.tensor(np.abs(tested[:, None] - known))
        distance[gap < _PAST + _AHEAD] = torch.inf
    nearest = distance.topk(_NEIGHBOURS, largest=False).indices
    forecast = ahead[known][nearest].mean(1)
    return (forecast - ahead[tested]).square().mean().sqrt().item()


def _roots() -> np.ndarray:
    return np.sqrt(datasets.sunspots().to_numpy())


def _means() -> tuple[float, float]:
    """Return the mean of the whole series and that of its training part."""
    roots = _roots()
    return float(roots.mean()), float(roots[: int(_SHARE * len(roots))].mean())


def _named(answer: Any) -> frozenset[str]:
    """Return the letters of an answer such as {"a", "b"} or "ab"; raises `Stop` for others."""
    expected = wrong('A set of letters is expected, such as {"a", "b"}.')
    if not isinstance(answer, (str, set, frozenset, list, tuple)):
        raise expected
    if isinstance(answer, str):
        answer = answer.replace(",", "").replace(" ", "")
    letters = list(answer)
    if any(letter is ... for letter in letters):
        raise Stop(OPEN)
    if not letters or not all(isinstance(letter, str) for letter in letters):
        raise expected
    named = frozenset(letter.strip().rstrip(")").lower() for letter in letters)
    unknown = sorted(named - set(_LETTERS))
    if unknown:
        raise wrong(f"The ways have the letters a to f; {unknown[0][:20]!r} is none of them.")
    return named

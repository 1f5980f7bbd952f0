"""What the lab of the trajectories says of its paths, and their numbers as a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..forgetting import steps_until
from .spectrum import in_words
from .trajectories_picture import Paths, Trajectories

_FORGOTTEN, _TENTH = 1e-3, 0.1


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"


def number(share: float) -> str:
    """Write a share with two digits.

    >>> number(0.0841), number(0.00214), number(3e-7)
    ('0.084', '2.1e-3', '3.0e-7')
    """
    if share >= 0.01:
        return f"{share:.2g}"
    mantissa, _, exponent = f"{share:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _of_noisy(paths: Paths, std: float) -> str:
    """Say what becomes of the difference that noisy starts make."""
    assert paths.left is not None
    T, S = len(paths.left) - 1, paths.left.shape[1]
    gone, apart = (paths.left[-1] <= _FORGOTTEN).sum(), (paths.left[-1] > _TENTH).sum()
    if gone and apart:
        return (
            f"after {_steps(T)} less than {_FORGOTTEN:g} of the difference is left for {gone} of "
            f"{S} noisy starts (std {number(std)}), more than a tenth for {apart}"
        )
    made = f"the difference that a noisy start (std {number(std)}) makes"
    last = float(paths.mean[-1])
    tenth, nothing = steps_until(paths.mean, _TENTH), steps_until(paths.mean, 0.0)
    if tenth is None and last < 0.95:
        return f"after {_steps(T)} {number(last)} of {made} is left"
    if tenth is None:
        return f"{made} is not forgotten: after {_steps(T)} it is {in_words(last)}"
    if tenth == nothing:
        return f"after {_steps(tenth)} nothing is left of {made}"
    begun = f"it takes {_steps(tenth)} to forget nine tenths of {made}; after "
    if nothing is None:
        return f"{begun}{_steps(T)} {number(last)} of it is left"
    return f"{begun}{_steps(nothing)} nothing of it is left"


def _of_own(paths: Paths) -> str:
    """Say the same of the layer's own start, in short."""
    T, last = len(paths.mean) - 1, float(paths.mean[-1])
    tenth = steps_until(paths.mean, _TENTH)
    if tenth is not None:
        rest = f"{number(last) if last else 'nothing'} left after {_steps(T)}"
        return f"nine tenths in {_steps(tenth)}, {rest}"
    if last < 0.95:
        return f"{number(last)} left after {_steps(T)}"
    return f"{in_words(last)} after {_steps(T)}"


def sentence(result: Trajectories) -> str:
    """State how fast the starts are forgotten."""
    paths = {p.kind: p for p in result.paths}
    said = _of_noisy(paths["noisy"], result.std)
    if "near the fixed point" in paths:
        near = _of_noisy(paths["near the fixed point"], result.std)
        said = f"near zero {said}; near the fixed point {near}"
    for kind in ("learned", "carried"):
        if kind in paths and paths[kind].left is not None:
            said += f"; the {kind} start: {_of_own(paths[kind])}"
    return f"{result.knob}, {result.lead}: {said}."


def table(result: Trajectories) -> pd.DataFrame:
    """Return a row a step: the place of each path in the plane, and what is left."""
    columns: dict[str, Any] = {"step": np.arange(len(result.paths[0].xy))}
    for paths in reversed(result.paths):
        kind, many = paths.kind.replace(" ", "_"), paths.xy.shape[1] > 1
        for i in range(paths.xy.shape[1]):
            name = f"{kind}_{i + 1}" if many else kind
            columns[f"{name}_x"], columns[f"{name}_y"] = paths.xy[:, i, 0], paths.xy[:, i, 1]
            if paths.left is not None:
                columns[f"{name}_left"] = paths.left[:, i]
        if many:
            columns[f"{kind}_mean_left"] = paths.mean
    if result.prediction is not None:
        columns["prediction"] = result.prediction
    return pd.DataFrame(columns)

"""Lab: gradient descent before the wall in the error surface, with and without clipping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..device import generator
from ..surfaces import Path, descend
from .base import Lab
from .controls import Slider, Stops
from .spec import Settings, Spec
from .wall_picture import Descents, WallPicture, outside

STARTS = 16  # the start itself and neighbours
SPREAD = 1e-3  # standard deviation of the neighbours around it


def compute(settings: Settings) -> Descents:
    """Descend from the start and its neighbours, without clipping and with it. Pure."""
    w, b, threshold = (settings[name] for name in ("w", "b", "threshold"))
    stream = generator(settings["seed"], "neighbours of the start")
    near = SPREAD * torch.randn(2, STARTS, generator=stream, dtype=torch.float64).numpy()
    near[:, 0] = 0.0
    limits = np.array([[math.inf], [threshold]])
    lr, steps = settings["lr"], settings["steps"]
    both = descend(w + near[0], b + near[1], lr=lr, threshold=limits, steps=steps)
    rows = (both.w, both.b, both.error, both.norm, both.clipped)
    free, clipped = (Path(*(row[:, i] for row in rows)) for i in range(2))
    return Descents(w, b, lr, threshold, steps, {"no clipping": free, "clipped": clipped})


def number(value: float) -> str:
    """Write a number at least 0 with two digits.

    >>> number(0.0841), number(190.0), number(2345.0), number(3e-7), number(math.inf)
    ('0.084', '190', '2.3e3', '3.0e-7', 'beyond float range')
    """
    if not math.isfinite(value):
        return "beyond float range"
    if value == 0 or 0.01 <= value < 999.5:
        return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _fate(path: Path) -> str:
    """Say how many runs were thrown out, and how the middle one ends."""
    last = np.nan_to_num(path.error[-1], nan=np.inf)
    out = int(outside(path).sum())
    said = f"{out or 'no'} run{'' if out == 1 else 's'} end{'s' if out == 1 else ''} outside"
    return f"{said} the picture, and the median E ends at {number(float(np.median(last)))}"


def sentence(result: Descents) -> str:
    """State what the descents met, and where they end with and without clipping."""
    free, clipped = result.paths["no clipping"], result.paths["clipped"]
    longest = float(np.nanmax(free.lengths, initial=0.0))
    largest = float(np.nanmax(free.norm, initial=0.0))
    share = 100 * clipped.clipped[:-1].mean()
    percent = f"{share:.0f}" if share >= 1 or share == 0 else f"{share:.1g}"
    return (
        f"Start ({result.w:.2f}, {result.b:.2f}), lr {result.lr:g}, {result.steps} steps, "
        f"{STARTS} runs from within about {SPREAD:g} of it: without clipping the gradient norm "
        f"reaches {number(largest)}, one step goes {number(longest)} far, {_fate(free)}; "
        f"clipped at norm {result.threshold:g} no step is longer than "
        f"{number(result.lr * result.threshold)}, {_fate(clipped)} ({percent} % of the steps were "
        "clipped)."
    )


def table(result: Descents) -> pd.DataFrame:
    """Return a row a step, start and kind: the place, E, the gradient norm, clipped as 0 or 1."""
    tables = []
    for kind, path in result.paths.items():
        length, starts = path.w.shape
        columns = {
            "kind": kind,
            "start": np.tile(np.arange(starts), length),
            "step": np.repeat(np.arange(length), starts),
        }
        for name in ("w", "b", "error", "norm", "clipped"):
            values = getattr(path, name).ravel()
            columns[name] = values.astype(int) if name == "clipped" else values
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def posters(start: Settings) -> list[Settings]:
    """Return a descent that meets no wall, the lab as it opens, and too large a threshold."""
    return [{"w": 4.0, "b": -3.0, "lr": 0.1}, {}, {"threshold": 10.0}]


SPEC = Spec(
    name="wall",
    controls=(
        Slider("w", "start: w", 5.5, 3.0, 8.0, 0.05),
        Slider("b", "start: b", -2.8, -5.0, -1.0, 0.05),
        Stops("lr", "lr", 0.3, (0.01, 0.03, 0.1, 0.3, 1.0)),
        Stops("threshold", "clip threshold", 1.0, (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)),
        Slider("steps", "steps", 200, 20, 300, 10),
        Slider("seed", "seed", 0, 0, 99, 1),
    ),
    compute=compute,
    picture=WallPicture,
    sentence=sentence,
    table=table,
    posters=posters,
)


def wall(*, show: Sequence[str] | None = None, **settings: Any) -> Lab:
    """Open the lab of chapter 05: gradient descent before the wall in an error surface.

    The surface is that of one unit over its weight and bias (`tk.error_surface`; Pascanu, Mikolov
    and Bengio 2013, arXiv:1211.5063, Fig. 6), so that there is no lab of the reader's own model.
    Left, the descent from the start with and without clipping, and where 16 starts next to it end;
    right, the error and the gradient norm along the way.

    settings: w (3 to 8) and b (-5 to -1), the start; lr (0.01, 0.03, 0.1, 0.3 or 1.0); threshold
    (0.03, 0.1, 0.3, 1.0, 3.0 or 10.0), of the gradient norm; steps (20 to 300); seed, of the
    neighbours. show: names of the controls to show, None for all. Raises `ValueError` for a bad
    setting.
    """
    return Lab(SPEC, settings, show)

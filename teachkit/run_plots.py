"""Figures of chapters 05 and 06: how many runs solved a task, and a series in its parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from .errors import bad
from .forecasting import PARTS, SeriesForecast
from .plots import COLORS, INK, legend

NO_CLIPPING = "none"
MEAN_OF = ", mean of "  # in the name of an averaged forecast
NETWORK_COLORS = [COLORS[k] for k in ("learned", "noisy", "carried", "inferred", "warm-up")]


def solved_shares(ax: Axes, rows: pd.DataFrame, names: list[str]) -> Axes:
    """Draw the share of solved runs as points with their intervals, a row a name.

    rows: of `experiments.solved_runs`, with a column name. names: from top to bottom; one that
    `rows` lacks is left empty; "none", what the others are compared with, has a colour of its own.
    Returns the axes.
    """
    shown = rows.set_index("name").reindex(names)
    places = range(len(names))
    colors = [COLORS["no clipping" if name == NO_CLIPPING else "clip at norm 1"] for name in names]
    ax.hlines(places, shown["low"], shown["high"], color=colors, linewidth=4)
    ax.scatter(shown["share"], places, color=INK, s=26, zorder=3)
    for place, (_, row) in zip(places, shown.iterrows(), strict=True):
        if row["runs"] > 0:
            text = f"{row['solved']:.0f}/{row['runs']:.0f}"
            ax.text(1.06, place, text, va="center", fontsize=9, color=INK)
    ax.set(xlim=(-0.04, 1.26), ylim=(len(names) - 0.5, -0.5), xticks=(0, 0.5, 1))
    ax.set_yticks(list(places), list(names))
    ax.grid(axis="y", visible=False)
    return ax


def parts_of_series(ax: Axes, task: SeriesForecast) -> Axes:
    """Draw a series in its own units against time, its three parts named, the middle one shaded.

    That is the validation part. Returns the axes.
    """
    values = task.values
    dates = task.dates.to_timestamp() if hasattr(task.dates, "to_timestamp") else task.dates
    ax.plot(dates, values.to_numpy(), color=INK, linewidth=0.7)
    for part, first, after in zip(PARTS, task.bounds, task.bounds[1:], strict=False):
        ends = dates[first], dates[after - 1]
        shade = COLORS["clip at norm 1"] if part == "validation" else "white"
        ax.axvspan(*ends, color=shade, alpha=0.3, zorder=0, linewidth=0)
        ax.text(ends[0], 1.01, f" {part}", transform=ax.get_xaxis_transform(), fontsize=9)
    ax.margins(x=0.01)
    ax.set_ylim(bottom=min(0.0, values.min()))
    return ax


def errors_by_decade(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw test errors by the years that are forecast: each seed, their mean forecast, the rival.

    table: of `experiments.decades_study`, in units of a standard deviation of the training part.
    Returns the axes. Raises `ValueError` for more networks than there are colours.
    """
    kinds = _kinds(table)
    seeds, means, rivals = (table[kinds == kind] for kind in ("seed", "mean", "rival"))
    networks = list(seeds["forecast"].unique())
    if len(networks) > len(NETWORK_COLORS):
        allowed = f"of at most {len(NETWORK_COLORS)} networks, each in a colour of its own"
        raise bad("table", len(networks), allowed)
    starts = sorted(table["start"].unique())
    width = starts[1] - starts[0] if len(starts) > 1 else 10
    step = min(0.2, 0.7 / max(1, len(networks) - 1))  # all stay left of the next rival
    for n, (name, color) in enumerate(zip(networks, NETWORK_COLORS, strict=False)):
        shift = width * (0.12 + step * n)
        own = seeds[seeds["forecast"] == name]
        ax.plot(own["start"] + shift, own["error"], ".", color=color, alpha=0.5, label=name)
        mean = means[means["forecast"].str.startswith(f"{name}{MEAN_OF}")]
        label = "their mean forecasts" if n == 0 else None
        ax.plot(mean["start"] + shift, mean["error"], "D", color=color, markeredgecolor=INK)
        ax.plot([], [], "D", color="white", markeredgecolor=INK, label=label)
    for rival, own in rivals.groupby("forecast", sort=False):
        places = own["start"] - width * 0.1
        ax.plot(places, own["error"], "s", color=COLORS["prediction"], label=str(rival))
    # one span of years alone does not tell how long it is
    ends = [f"{year} to {year + width - 1}" for year in starts]
    ax.set_xticks(starts, ends if len(starts) > 1 else [f"from {year}" for year in starts])
    ax.set(ylabel="test error (standard deviations)", ylim=(0, None))
    legend(ax, *ax.get_legend_handles_labels()[0])
    return ax


def _kinds(table: pd.DataFrame) -> np.ndarray:
    """Return what each row is: of one "seed", the "mean" forecast of all, or the "rival"."""
    means = table["forecast"].str.contains(MEAN_OF, regex=False)
    return np.where(table["seed"] >= 0, "seed", np.where(means, "mean", "rival"))

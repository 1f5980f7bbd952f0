"""Figures of chapters 05 and 06: how many runs solved a task, and a series in its parts."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from .forecasting import PARTS, SeriesForecast
from .plots import COLORS, INK, legend


def solved_shares(ax: Axes, rows: pd.DataFrame, names: list[str]) -> Axes:
    """Draw the share of solved runs as points with their intervals, a row a name.

    rows: of `experiments.solved_runs`, with a column name. names: from top to bottom; one that
    `rows` lacks is left empty. Returns the axes.
    """
    shown = rows.set_index("name").reindex(names)
    places = range(len(names))
    colors = [COLORS["no clipping" if n == 0 else "clip at norm 1"] for n in places]
    ax.hlines(places, shown["low"], shown["high"], color=colors, linewidth=5, alpha=0.55)
    ax.scatter(shown["share"], places, color=INK, s=26, zorder=3)
    for place, (_, row) in zip(places, shown.iterrows(), strict=True):
        if row["runs"] > 0:
            text = f"{row['solved']:.0f}/{row['runs']:.0f}"
            ax.text(1.06, place, text, va="center", fontsize=8, color=INK)
    ax.set(xlim=(-0.04, 1.26), ylim=(len(names) - 0.5, -0.5), xticks=(0, 0.5, 1))
    ax.set_yticks(list(places), list(names))
    ax.grid(axis="y", visible=False)
    return ax


def parts_of_series(ax: Axes, task: SeriesForecast) -> Axes:
    """Draw a series in its own units against time, the three parts in turns shaded and named.

    Returns the axes.
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

    table: of `experiments.decades_study`. Returns the axes.
    """
    seeds = table[table["seed"] >= 0]
    networks = list(seeds["forecast"].unique())
    colors = [COLORS["learned"], COLORS["noisy"]]
    years = sorted(table["start"].unique())
    width = years[1] - years[0]
    for n, (name, color) in enumerate(zip(networks, colors, strict=True)):
        shift = width * (0.12 + 0.2 * n)
        own = seeds[seeds["forecast"] == name]
        ax.plot(own["start"] + shift, own["error"], ".", color=color, alpha=0.5, label=name)
        mean = table[table["forecast"].str.startswith(f"{name}, mean")]
        label = "their mean forecasts" if n == 0 else None
        ax.plot(mean["start"] + shift, mean["error"], "D", color=color, markeredgecolor=INK)
        ax.plot([], [], "D", color="white", markeredgecolor=INK, label=label)
    linear = table[(table["seed"] < 0) & ~table["forecast"].str.contains(", mean of")]
    rival = str(linear["forecast"].iloc[0])
    ax.plot(
        linear["start"] - width * 0.1, linear["error"], "s", color=COLORS["prediction"], label=rival
    )
    ax.set_xticks(years, [f"{year} to {year + width - 1}" for year in years])
    ax.set(ylabel="test error", ylim=(0, None))
    legend(ax, *ax.get_legend_handles_labels()[0])
    return ax

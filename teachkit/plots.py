"""Data in, drawn `Axes` out: one style, and one palette in which a colour means one thing.

Figures are opaque and light, so that they read the same on a dark theme.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .palette import COLORS as COLORS
from .palette import FAINT as FAINT
from .palette import GROWTH_MAP as GROWTH_MAP
from .palette import INK as INK
from .palette import INKS as INKS

FLOAT_DECADES = 308.0  # float64 ends at about 1.8e308

STYLE: Any = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "font.size": 10,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "none",
    "legend.fontsize": 9,
    "lines.linewidth": 2.0,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw a block of figures in the project's style."""
    with mpl.rc_context(STYLE):
        yield


def use_style() -> None:
    """Switch a notebook to the project's style: opaque light figures that read on any theme."""
    mpl.rcParams.update(STYLE)


def legend(ax: Axes, *handles: Artist | None, **options: Any) -> None:
    """Put a legend above the axes: inside, it would hide something at some setting or other.

    It is in the project's style without `style` too. handles: what is shown, None for nothing.
    options: passed to `Axes.legend`, in place of those here.
    """
    above: dict[str, Any] = {
        "loc": "lower left", "bbox_to_anchor": (0.0, 1.02), "borderpad": 0, "borderaxespad": 0,
        "ncols": 3, "handlelength": 1.8, "handletextpad": 0.4, "columnspacing": 0.9,
        "frameon": False, "fontsize": STYLE["legend.fontsize"], "labelcolor": STYLE["text.color"],
    }  # fmt: skip
    ax.legend(handles=[handle for handle in handles if handle is not None], **above | options)


def power_of_ten(exponent: float, _: object = None) -> str:
    """Format an exponent as a tick label: 10 to that power."""
    return "1" if exponent == 0 else f"$10^{{{exponent:.0f}}}$"


def log10(values: Any) -> np.ndarray:
    """Return log10 with 0 as -infinity and infinity as itself, without warnings."""
    with np.errstate(divide="ignore"):
        return np.log10(np.asarray(values, dtype=float))


def decades_axis(ax: Axes, label: str = "gradient norm (1 at the last step)") -> None:
    """Set up a y axis that holds exponents of ten, with a line at 1."""
    ax.yaxis.set_major_locator(MaxNLocator(7, integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
    ax.axhline(0, color=COLORS["critical"], linewidth=1.2, zorder=1)
    ax.set_ylabel(label)


def gradient_curves(
    ax: Axes,
    curves: dict[str, Any],
    *,
    colors: Sequence[str] | None = None,
    styles: Sequence[str] | None = None,
) -> Axes:
    """Draw growth against the number of steps back in time, on a log axis.

    curves: {label: (T + 1,) values}, 1 at the last step. Values beyond float range end the line.
    """
    decades_axis(ax)
    for i, (label, values) in enumerate(curves.items()):
        y = log10(values)
        y[~np.isfinite(y)] = np.nan
        color = colors[i] if colors else None
        ax.plot(y, label=label, color=color, linestyle=styles[i] if styles else "-")
    ax.set_xlabel("steps back in time, k")
    ax.margins(x=0.02)
    return ax


def growth_image(ax: Axes, growth: Any, rhos: Any, *, decades: float = 20.0, **labels: Any) -> Any:
    """Draw a heatmap of growth, rho by steps back: blue shrinks, orange grows, white keeps.

    growth: (R, T + 1); rhos: (R,), evenly spaced. Returns the image, for a colour bar.
    """
    rhos = np.asarray(rhos, dtype=float)
    half = (rhos[1] - rhos[0]) / 2
    T = np.asarray(growth).shape[1] - 1
    values = np.clip(np.nan_to_num(log10(growth), posinf=400, neginf=-400), -400, 400)
    image = ax.imshow(
        values,
        origin="lower",
        aspect="auto",
        extent=(-0.5, T + 0.5, rhos[0] - half, rhos[-1] + half),
        cmap=GROWTH_MAP,
        norm=Normalize(-decades, decades),
        interpolation="nearest",
    )
    ax.grid(False)
    ax.set(xlabel="steps back in time, k", ylabel="spectral radius rho")
    ax.set(**labels)
    return image


def solved_by_rho(ax: Axes, summary: pd.DataFrame, variants: Sequence[str]) -> Axes:
    """Draw the share of solved runs by spectral radius with 95 % Wilson intervals.

    summary: rows of `experiments.solved_share`.
    """
    rhos = sorted(summary["rho"].unique())
    for i, variant in enumerate(variants):
        rows = summary[summary["variant"] == variant].sort_values("rho")
        # Side by side: runs that share a value would hide each other.
        x = np.array([rhos.index(r) for r in rows["rho"]]) + 0.14 * (i - (len(variants) - 1) / 2)
        spread = np.abs(rows[["low", "high"]].to_numpy().T - rows["share"].to_numpy())
        marker = "osD^"[i % 4]
        ax.errorbar(
            x, rows["share"], spread, fmt=marker, color=COLORS[variant], label=variant,
            markersize=7, capsize=3, linewidth=1.6,
        )  # fmt: skip
    ax.set_xticks(range(len(rhos)), [f"{r:g}" for r in rhos])
    ax.set(xlabel="spectral radius rho of the initial W_hh", ylabel="share of seeds that solve it")
    ax.set_ylim(-0.06, 1.06)
    return ax


def curves_with_intervals(
    ax: Axes,
    table: pd.DataFrame,
    y: str,
    variants: Sequence[str],
    *,
    x: str = "step",
    hue: str = "variant",
    **labels: Any,
) -> Axes:
    """Draw the mean over seeds of `y` against `x` with its 95 % bootstrap interval.

    table: a row a seed and x, columns `x`, `y` and `hue`; variants: the values of hue to draw.
    labels: passed to `Axes.set`.
    """
    import seaborn as sns  # slow to import, and needed here only

    sns.lineplot(
        table, x=x, y=y, hue=hue, hue_order=variants, palette=COLORS,
        errorbar=("ci", 95), seed=0, ax=ax,
    )  # fmt: skip
    ax.set(xlabel="training step" if x == "step" else x, ylabel=y.replace("_", " "))
    ax.set(**labels)
    ax.legend(title=None)
    return ax


def decades_by_variant(ax: Axes, table: pd.DataFrame, x: str, label: str) -> Axes:
    """Draw a row a variant: a point a seed on a log axis, and a bar at their geometric mean.

    table: columns variant and `x`, positive. label: of the x axis.
    """
    variants = list(dict.fromkeys(table["variant"]))
    for row, variant in enumerate(variants):
        y = log10(table.loc[table["variant"] == variant, x])
        offsets = np.linspace(-0.22, 0.22, len(y))  # side by side: none hides another
        ax.plot(y, row + offsets, "o", color=COLORS["vanish"], markersize=3.5, alpha=0.7)
        ax.plot([y.mean()] * 2, [row - 0.36, row + 0.36], color=INK, linewidth=2.2)
    ax.set_yticks(range(len(variants)), variants)
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(power_of_ten))
    ax.axvline(0, color=COLORS["critical"], linewidth=1.2, zorder=1)
    ax.set_xlabel(label)
    return ax


def every_run(axes: Any, table: pd.DataFrame, metric: str, reached: float, chance: float) -> None:
    """Draw each seed as a line, a panel a variant; those that end at `reached` stand out.

    axes: as many as variants, of any shape. table: of `compare`. Each title counts the seeds that
    reach it.
    """
    rows = table[table["metric"] == metric]
    for ax, (variant, runs) in zip(
        np.ravel(axes), rows.groupby("variant", sort=False), strict=True
    ):
        wide = runs.pivot(index="step", columns="seed", values="value")
        good = wide.iloc[-1] >= reached
        for seed in wide.columns[np.argsort(good, kind="stable")]:
            color, width = (COLORS["critical"], 1.3) if good[seed] else (COLORS["explode"], 0.9)
            ax.plot(wide.index, wide[seed], color=color, linewidth=width)
        ax.axhline(chance, color=INK, linestyle=":", linewidth=1.0)
        ax.set_title(f"{variant}: {good.sum()} of {len(good)}", fontsize=10)


def color_of(variant: str) -> str:
    """Return the colour of a variant; "noisy 0.3" has that of "noisy", an unknown one is grey."""
    return COLORS.get(variant) or COLORS.get(variant.rpartition(" ")[0], COLORS["bound"])


def differences(
    ax: Axes, rows: pd.DataFrame, names: str, label: str, *, lower_is_better: bool = False
) -> Axes:
    """Draw mean differences as points with their intervals, a row each; 0 is the baseline.

    rows: columns `names`, difference, low and high. An interval on the better side of 0 is green,
    one on the worse side orange, one that holds 0 grey. label: of the x axis.
    """
    above, below = ("explode", "critical") if lower_is_better else ("critical", "explode")
    for y, (mean, low, high) in enumerate(rows[["difference", "low", "high"]].to_numpy()):
        verdict = above if low > 0 else below if high < 0 else "bound"
        ax.plot([low, high], [y, y], color=COLORS[verdict], linewidth=2.2)
        ax.plot(mean, y, "o", color=COLORS[verdict], markersize=6)
    ax.axvline(0, color=INK, linewidth=1.0, zorder=1)
    ax.set_yticks(range(len(rows)), list(rows[names]))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(label)
    return ax


def difference_curves(ax: Axes, rows: pd.DataFrame, x: str) -> Axes:
    """Draw mean differences against `x` with their intervals, a line a variant in its colour.

    rows: columns variant, `x`, difference, low and high.
    """
    ax.axhline(0, color=INK, linewidth=1.0, zorder=1)
    for variant, own in rows.groupby("variant", sort=False):
        color = color_of(str(variant))
        ax.plot(own[x], own["difference"], marker="o", markersize=3, color=color, label=variant)
        ax.fill_between(own[x], own["low"], own["high"], color=color, alpha=0.18, linewidth=0)
    ax.set_xlabel(x)
    return ax


def annotated_heatmap(
    ax: Axes, wide: pd.DataFrame, *, low: float = 0.0, high: float = 1.0, form: str = "z.2f"
) -> Axes:
    """Draw a table of numbers as a heatmap with the numbers in its cells; dark is high.

    wide: rows and columns by name. low, high: ends of the colours. form: of the numbers.
    """
    import seaborn as sns  # slow to import, and needed here only

    sns.heatmap(
        wide, vmin=low, vmax=high, cmap="cividis_r", annot=True, fmt=form, cbar=False,
        linewidths=1.5, linecolor="white", annot_kws={"fontsize": 9}, ax=ax,
    )  # fmt: skip
    for text, ground in zip(ax.texts, ax.collections[0].get_facecolor(), strict=False):
        text.set_color(readable_on(ground))
    ax.tick_params(length=0, rotation=0)
    return ax


def readable_on(ground: Any) -> str:
    """Return "black" or "white", whichever stands out more from this colour (as in WCAG)."""
    channels = np.array(to_rgb(ground))
    light = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = light @ (0.2126, 0.7152, 0.0722)
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def snap_decades(highest: float, lowest: float) -> tuple[float, float]:
    """Choose y limits, in decades, from a few fixed ranges, so that they rarely change.

    A lab redraws its axes only when its limits do; both ends include 0 (a norm of 1).
    """

    def snap(value: float) -> float:
        ends = (2, 5, 10, 20, 40, 80, 160)
        return next((end for end in ends if value <= 0.9 * end), FLOAT_DECADES + 12)

    finite = [v if math.isfinite(v) else math.copysign(FLOAT_DECADES, v) for v in (highest, lowest)]
    return -snap(max(0.0, -finite[1])), snap(max(0.0, finite[0]))

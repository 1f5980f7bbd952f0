"""Data in, drawn `Axes` out: one style, and one palette in which a colour means one thing.

The palette is Okabe and Ito's, which stays distinct for colour-blind readers. Figures are opaque
and light, so that they read the same on a dark theme.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator

COLORS = {
    "vanish": "#0072B2",
    "critical": "#009E73",
    "explode": "#D55E00",
    "gradient": "#1A1A1A",
    "prediction": "#CC79A7",
    "bound": "#5E5E5E",
    "no input": "#1A1A1A",
    "N(0, 1) input": "#882255",
    "temporal order": "#0072B2",
    "no clipping": "#E69F00",
    "no clipping, lr 0.03": "#9A6324",
    "no clipping, lr 0.01": "#5E5E5E",
    "clip at norm 1": "#56B4E9",
}
INK = "#1A1A1A"
# Diverging around 1: what shrinks is blue, what grows is orange.
GROWTH_MAP = LinearSegmentedColormap.from_list(
    "growth", ["#003B5C", COLORS["vanish"], "#FFFFFF", COLORS["explode"], "#6B2500"]
)
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


def snap_decades(highest: float, lowest: float) -> tuple[float, float]:
    """Choose y limits, in decades, from a few fixed ranges, so that they rarely change.

    A lab redraws its axes only when its limits do; both ends include 0 (a norm of 1).
    """

    def snap(value: float) -> float:
        for end in (2, 5, 10, 20, 40, 80, 160):
            if value <= 0.9 * end:
                return end
        return FLOAT_DECADES + 12

    finite = [v if math.isfinite(v) else math.copysign(FLOAT_DECADES, v) for v in (highest, lowest)]
    return -snap(max(0.0, -finite[1])), snap(max(0.0, finite[0]))

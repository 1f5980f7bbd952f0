"""The check of chapter 00."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..plots import COLORS
from .answers import exercise, number, wrong
from .feedback import Feedback, draw


@exercise
def half_after_50(rho: Any) -> Feedback:
    """Chapter 00: which rho halves the gradient of a linear network in 50 steps?"""
    value = number(rho)
    if not 0 <= value <= 10:
        raise wrong("A rho from 0 to 10 is expected.")
    after = value**50

    def paint(ax: Axes) -> None:
        k = np.arange(51)
        ax.plot(k, 0.5 ** (k / 50), color=COLORS["critical"], label="halved after 50 steps")
        ax.plot(k, np.minimum(value**k, 3), "--", color=COLORS["prediction"], label="yours")
        ax.set(xlabel="steps back in time, k", ylabel="gradient", ylim=(0, 1.6))
        ax.legend()

    png = draw(paint)
    if abs(after - 0.5) < 0.02:
        return Feedback("right", f"rho = {value:.4f}, and {value:.4f}^50 = {after:.3f}.", png)
    if math.isclose(value, 0.5):
        hint = "0.5 halves it at every step: 50 halvings leave 9e-16. Ask for one in 50 steps."
    elif math.isclose(value, 0.99, abs_tol=5e-4):
        hint = f"Taking away 1 % fifty times compounds: 0.99^50 = {0.99**50:.3f}, not 0.5."
    else:
        hint = (
            f"{value:g}^50 = {after:.3g}. Solve rho^50 = 0.5 for rho. (In the lab this is the "
            "dashed line; the true gradient lies below it.)"
        )
    return Feedback("wrong", hint, png)

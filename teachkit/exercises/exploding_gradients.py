"""The checks of chapter 04."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from ..dynamics import gradient_through_time, linear_prediction, memory_horizon
from ..models import make_elman, random_state
from ..plots import COLORS, decades_axis, gradient_curves
from ..spectra import eigenvalues, gaussian_matrix, spectral_radius
from .answers import call, exercise, number, tensor
from .feedback import OPEN, Feedback, draw


@exercise
def rescale(function: Any) -> Feedback:
    """Chapter 04: write with_spectral_radius(W, rho) yourself."""
    W = gaussian_matrix(12, seed=9)  # its leading eigenvalues are a complex pair
    rho = 1.5
    advice = {"Complex": "Complex numbers have no order: take .abs() before .max()."}
    given = call(function, "(W, rho)", W.clone(), rho, advice=advice)
    if given is None:
        return OPEN
    if not isinstance(given, Tensor) or given.shape != W.shape or given.is_complex():
        return Feedback("wrong", "Return a real torch tensor of the same shape as W.")
    if not torch.isfinite(given).all():
        return Feedback("wrong", "Your matrix contains NaN or infinity.")
    found = spectral_radius(given).item()

    def paint(ax: Axes) -> None:
        turn = np.linspace(0, 2 * np.pi, 100)
        circles = [(rho, "critical", "-", "asked for"), (found, "prediction", "--", "yours")]
        for radius, key, line, label in circles:
            x, y = radius * np.cos(turn), radius * np.sin(turn)
            ax.plot(x, y, line, color=COLORS[key], label=label)
        dots = eigenvalues(given.detach()).numpy()
        ax.plot(dots.real, dots.imag, "o", color="#333333", markersize=4)
        ax.set(aspect="equal", xlabel="real part", ylabel="imaginary part")
        ax.legend(loc="upper left", bbox_to_anchor=(1.05, 1))

    png = draw(paint, (5.6, 3.2))
    given = given.detach().to(W)
    real = eigenvalues(W).real.max().item()
    if torch.allclose(given, W * rho / spectral_radius(W), rtol=1e-5):
        return Feedback("right", f"The largest absolute eigenvalue is {found:.4f}.", png)
    if torch.allclose(given, W * rho, rtol=1e-4):
        hint = "You multiplied by rho. Divide by the radius that W has first."
    elif torch.allclose(given, W * rho / torch.linalg.matrix_norm(W, 2), rtol=1e-4):
        hint = (
            f"You divided by the largest singular value, and the radius is now {found:.3f}. "
            "For a matrix that is not normal the two differ: use eigenvalues."
        )
    elif torch.allclose(given, W * rho / torch.linalg.matrix_norm(W), rtol=1e-4):
        hint = f"You divided by the Frobenius norm, and the radius is now {found:.3f}."
    elif torch.allclose(given, W * rho / real, rtol=1e-4):
        hint = "You took the largest real part. Eigenvalues are complex: use their abs()."
    elif abs(found - rho) < 1e-4:
        hint = "The radius is right, but the matrix is no longer a multiple of W."
    else:
        hint = f"The largest absolute eigenvalue of your matrix is {found:.3f}, not {rho}."
    return Feedback("wrong", hint, png)


@exercise
def hidden_growth(W: Any) -> Feedback:
    """Chapter 04: a 2 x 2 matrix with both eigenvalues 0.5 that first grows tenfold."""
    matrix = tensor(W, "A 2 x 2 matrix is expected, such as [[0.5, 0], [0, 0.5]].")
    if matrix.shape != (2, 2) or not torch.isfinite(matrix).all():
        return Feedback("wrong", "A 2 x 2 matrix of finite numbers is expected.")
    norms = [
        torch.linalg.matrix_norm(torch.linalg.matrix_power(matrix, k), 2).item() for k in range(61)
    ]
    peak = max(range(61), key=norms.__getitem__)

    def paint(ax: Axes) -> None:
        curves = {"0.5$^k$": linear_prediction(0.5, 60), "norm of your W$^k$": np.array(norms)}
        colors = [COLORS["prediction"], COLORS["gradient"]]
        gradient_curves(ax, curves, colors=colors, styles=["--", "-"])
        ax.axhline(1, color=COLORS["explode"], linestyle=":")
        ax.set_ylabel("norm of the power")
        ax.legend()

    png = draw(paint)
    # Both eigenvalues are 0.5 where the trace is 1 and the determinant 1/4; eigenvalues
    # themselves are known only to 1e-8 here, because the matrix is defective.
    trace, determinant = matrix.trace().item(), torch.linalg.det(matrix).item()
    products = (matrix[0, 0] * matrix[1, 1]).abs() + (matrix[0, 1] * matrix[1, 0]).abs()
    if abs(trace - 1) > 1e-6 or abs(determinant - 0.25) > 1e-6 + 1e-12 * products.item():
        values = ", ".join(f"{v:.3f}" for v in eigenvalues(matrix).numpy())
        return Feedback("wrong", f"The eigenvalues are {values}; both must be 0.5.", png)
    if norms[peak] < 10:
        hint = f"Both eigenvalues are 0.5, but the largest norm is {norms[peak]:.2f}. "
        if abs(matrix[0, 1]) + abs(matrix[1, 0]) < 1e-9:
            hint += "A diagonal matrix is normal. What can you add above the diagonal?"
        else:
            hint += "In a triangular matrix a larger entry off the diagonal changes no eigenvalue."
        return Feedback("wrong", hint, png)
    text = f"The norm climbs to {norms[peak]:.4g} at step {peak} before 0.5^k wins."
    return Feedback("right", text, png)


@exercise
def exploding_sigmoid(rho: Any) -> Feedback:
    """Chapter 04: find a spectral radius at which a sigmoid network's gradient grows."""
    value = number(rho)
    if not 0 <= value <= 1000:
        return Feedback("wrong", "rho from 0 to 1000 is expected.")
    rnn = make_elman(64, value, activation="sigmoid", dtype=torch.float64)
    silence = torch.zeros(50, 1, 1, dtype=torch.float64)
    growth = gradient_through_time(rnn, silence, random_state(64)).growth
    factor = growth[-1].item()

    def paint(ax: Axes) -> None:
        gradient_curves(
            ax,
            {"eigenvalues alone": linear_prediction(value / 4, 50), "true gradient": growth},
            colors=[COLORS["prediction"], COLORS["gradient"]],
            styles=["--", "-"],
        )
        ax.set_ylabel("gradient norm")
        ax.legend()

    png = draw(paint)
    text = f"At rho = {value:g} the gradient after 50 steps is {factor:.2g} times what it was."
    if factor > 1:
        return Feedback("right", text, png)
    if value <= 4:
        text += " Up to 4 not even (rho / 4)^k grows: the slope of a sigmoid is at most 1/4."
    else:
        text += " Above 4 is not enough: most units are saturated, where the slope is near 0."
    return Feedback("wrong", text, png)


@exercise
def horizon_100(forget_bias: Any) -> Feedback:
    """Chapter 04: which forget bias remembers for 100 steps?"""
    value = number(forget_bias)
    horizon = memory_horizon(value).item()

    def paint(ax: Axes) -> None:
        b = np.linspace(-1, 8, 200)
        ax.plot(b, np.log10(1 + np.exp(b)), color=COLORS["gradient"])
        decades_axis(ax, "horizon 1 + e$^b$, steps")
        ax.axhline(2, color=COLORS["critical"], linestyle="--", label="100 steps")
        ax.plot(
            min(max(value, -1), 8), min(np.log10(horizon), 3.5), "o", color=COLORS["explode"],
            label="yours",
        )  # fmt: skip
        ax.set_xlabel("forget bias b")
        ax.legend()

    png = draw(paint)
    text = f"b = {value:g} gives a horizon of {horizon:.4g} steps."
    if abs(horizon - 100) < 0.6:
        return Feedback("right", text, png)
    if math.isclose(value, math.log(100), abs_tol=5e-3):
        text += " Close: you forgot the 1 in 1 + e^b."
    elif math.isclose(value, 100):
        text += " The bias goes through a sigmoid: the horizon is 1 + e^b, not b."
    elif math.isclose(value, 0.99):
        text += " 0.99 is what the gate should be; the bias is what goes into the sigmoid."
    else:
        text += " Solve 1 + e^b = 100 for b."
    return Feedback("wrong", text, png)

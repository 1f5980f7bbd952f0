"""The check of chapter 05 on the order of the lines in a training step."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from ..clipping import gradient_norm
from ..models import SequenceModel, make_elman
from ..plots import COLORS
from .answers import Stop, exercise, first, wrong
from .feedback import OPEN, Feedback, draw

# In the order of the alphabet; two of them do not belong into a training step.
LINES = {
    "backward": "loss.backward()",
    "bound": "for p in model.parameters(): p.data.clamp_(-1.0, 1.0)",
    "cap": "loss = loss.clamp(max=1.0)",
    "clip": "torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)",
    "forward": "loss = criterion(model(x), target)",
    "step": "optimizer.step()",
    "zero": "optimizer.zero_grad()",
}
_REFERENCE = ("zero", "forward", "backward", "clip", "step")
_BATCHES = 4
_ALIASES = {"zero_grad": "zero", "loss": "forward", "clip_grad_norm_": "clip"}
_EXPECTED = "Five of these words are expected, with commas between them: " + ", ".join(LINES) + "."


def listing() -> str:
    """Return the lines with their names, as chapter 05 prints them.

    >>> print(listing().splitlines()[0])
    backward  loss.backward()
    """
    return "\n".join(f"{name:8}  {line}" for name, line in LINES.items())


@dataclass
class Run:
    """A few training steps: the parameters after them, and the gradient norms that step() used."""

    parameters: Tensor
    norms: list[float] = field(default_factory=list)


def run(names: tuple[str, ...], batches: int = _BATCHES) -> Run:
    """Run the lines of these names on each of a few batches, with a real network and SGD.

    Raises whatever the lines raise.
    """
    model = SequenceModel(make_elman(4, 1.5, input_size=2, seed=0), 1, seed=0).double()
    with torch.no_grad():
        model.head.weight.fill_(2.0)  # large, so that all gradients are, and so that bound cuts it
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scope: dict[str, Any] = {"torch": torch, "model": model, "optimizer": optimizer}
    scope["criterion"] = nn.MSELoss()
    stream = torch.Generator().manual_seed(0)
    norms: list[float] = []
    with torch.enable_grad():
        for _ in range(batches):
            x = torch.randn(6, 8, 2, generator=stream, dtype=torch.float64)
            scope |= {"x": x, "target": 5 * x[0, :, :1] - 3}
            for name in names:
                if name == "step":
                    norms.append(gradient_norm(model))
                exec(LINES[name], scope)
    return Run(torch.cat([p.detach().flatten() for p in model.parameters()]), norms)


@exercise
def where_to_clip(order: Any) -> Feedback:
    """Chapter 05: put the lines of a training step with clipping into their order."""
    names = _names(order)
    wanted, yours, hint = run(_REFERENCE), None, _missing(names)
    try:
        yours = run(names)
    except (NameError, RuntimeError) as error:
        hint = hint or first(
            (
                isinstance(error, NameError),
                "In the first pass there is no loss yet: forward first.",
            ),
            (names.count("backward") > 1, "backward() runs once a forward pass."),
            ("modified by an inplace" in str(error), _MOVED),
            (True, f"PyTorch raises {type(error).__name__}: {error}"),
        )
    if yours is not None:
        hint = hint or explain(names, yours, wanted)

    def paint(ax: Axes) -> None:
        for found, key, marker, size, label in (
            (wanted, "critical", "o", 9, "asked for"),
            (yours, "prediction", "s", 5, "yours"),
        ):
            norms = np.nan_to_num(np.array([] if found is None else found.norms)).clip(0, 300)
            steps = np.arange(1, len(norms) + 1)
            ax.plot(steps, norms, marker, color=COLORS[key], markersize=size, label=label)
        ax.axhline(1, color=COLORS["bound"], linestyle=":", label="max_norm")
        ax.set(xlabel="call of step()", ylabel="gradient norm")
        ax.set(yscale="symlog", ylim=(-0.2, 500), xticks=range(1, _BATCHES + 1))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3)

    png = draw(paint)
    if hint is not None:
        return Feedback("wrong", hint, png)
    text = (
        f"Run on {_BATCHES} batches, this gives the parameters that it should: each step has its "
        "own gradient, cut to a norm of 1. zero may stand anywhere but between backward and step."
    )
    return Feedback("right", text, png)


def _names(answer: Any) -> tuple[str, ...]:
    """Return the names of an answer, a string or a list; raises `Stop` where it has others."""
    if isinstance(answer, str):
        answer = re.split(r"[\s,;>]+", answer.strip(" ,;>"))
    if not isinstance(answer, (list, tuple)) or not answer:
        raise wrong(_EXPECTED)
    if any(name is ... or name == "..." for name in answer):
        raise Stop(OPEN)
    words = [str(name).strip().lower() for name in answer]
    names = tuple(_ALIASES.get(word, word) for word in words)
    unknown = [name for name in names if name not in LINES]
    if unknown or len(names) > 2 * len(LINES):
        raise wrong(_EXPECTED)
    return names


def _missing(names: tuple[str, ...]) -> str | None:
    """Say what happens without the first line that is missing, or return None."""
    without = {
        "forward": "Without forward there is no loss.",
        "backward": "Without backward there is no gradient.",
        "step": "Without step nothing is learned.",
        "clip": "Without clip the step is as long as the gradient.",
        "zero": "Without zero the gradients of all batches so far add up.",
    }
    return next((hint for name, hint in without.items() if name not in names), None)


def explain(names: tuple[str, ...], yours: Run, wanted: Run) -> str | None:
    """Say what is wrong with lines that ran, with all five among them, or return None."""
    decoys = [name for name in ("cap", "bound") if name in names]
    twice = [name for name in names if names.count(name) > 1 and name != "zero"]
    if "step" in twice:
        return "step twice a batch goes twice as far."
    if twice:
        return f"{twice[0]} stands there twice: once is enough."
    if _agree(yours, wanted):
        return f"{decoys[0]} does nothing at that place: leave it out." if decoys else None
    backward, clip, step = (names.index(name) for name in ("backward", "clip", "step"))
    longest = f"{max(yours.norms):.3g}."
    return first(
        ("cap" in decoys, _CAP),
        ("bound" in decoys, _BOUND),
        (_agree(yours, run(_REFERENCE, _BATCHES - 1)), _LATE),
        (step < backward, "step before backward has no gradient of this batch."),
        ("zero" in names[backward:step], _EMPTIED),
        (clip < backward, f"{_EARLY} {longest}"),
        (True, f"{_TOO_LATE} {longest}"),
    )


def _agree(one: Run, two: Run) -> bool:
    """Whether both end with the same parameters."""
    return torch.allclose(one.parameters, two.parameters, rtol=1e-5)


_NO_LOSS = "In the first pass there is no loss yet: forward first."
_MOVED = "step between forward and backward changes weights that backward still needs."
_CAP = (
    "cap cuts the loss, not its gradient: where the loss is above 1 its gradient becomes 0, and "
    "nothing is learned from the worst batches."
)
_BOUND = "bound cuts the weights, not the gradient: it forbids the network weights beyond 1."
_LATE = (
    "That works as a circle, but each step comes one pass late, and the gradient of the last "
    "batch is never used. Let the pass end with step, or with step and zero."
)
_EMPTIED = "zero between backward and step deletes the gradient, so that nothing is learned."
_EARLY = (
    "clip before backward finds no gradient yet, or that of the last batch. The new one reaches "
    "step uncut: here with a norm of up to"
)
_TOO_LATE = (
    "clip after step is too late: the step is made already, here with a gradient norm of up to"
)

"""The check of chapter 06 on loading a forecaster: all that makes the forecast must come back."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from ..drop_ins import LSTM
from ..models import SequenceModel
from ..plots import COLORS
from .answers import call, exercise, first, wrong
from .feedback import OPEN, Feedback, draw

_HIDDEN, _HORIZON, _MONTHS = 8, 24, 4  # so few months that the start still counts
_MEAN, _STD = 6.0, 3.0  # like those of the square roots of sunspot numbers
_ADVICE = {
    "Unexpected key": "The start was learned: build the layer that was saved, with h0 and c0.",
    "size mismatch": "The file holds hidden_size.",
    "object has no attribute": "torch.load returns the dict that was saved, not a model.",
    "Missing key": "The weights are those of SequenceModel, under 'state_dict'.",
}
_FUNCTION = "Return a function of the values, (T, B, 1), that returns the forecasts, (B, 24)."


def new_model(hidden_size: int) -> SequenceModel:
    """Return a new model as it was saved: a learned start, with noise around it in training.

    >>> list(new_model(3).state_dict())[4:6]
    ['rnn.h0', 'rnn.c0']
    """
    return SequenceModel(LSTM(1, hidden_size, initial_state="learned+noisy"), _HORIZON)


@exercise
def same_forecast(function: Any) -> Feedback:
    """Chapter 06: load a saved forecaster so that it forecasts what it did before."""
    model = _trained()
    phase = torch.arange(_MONTHS)[:, None, None] / 8 + torch.arange(3)[:, None]
    values = (_MEAN + 2 + 1.5 * _STD * torch.sin(phase)).float()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forecaster.pt"
        saved = {
            "hidden_size": _HIDDEN,
            "state_dict": model.state_dict(),
            "mean": _MEAN,
            "std": _STD,
        }
        torch.save(saved, path)
        first_load = _two_forecasts(function, path, values)
        second_load = _two_forecasts(function, path, values)
    if first_load is None or second_load is None:
        return OPEN
    (given, again), (fresh, _) = first_load, second_load
    with torch.no_grad():
        scaled = (values - _MEAN) / _STD
        wanted = model(scaled) * _STD + _MEAN

    def paint(ax: Axes) -> None:
        months = range(1, _HORIZON + 1)
        ax.plot(range(1 - _MONTHS, 1), values[:, 0, 0], color=COLORS["gradient"], label="known")
        ax.plot(
            months, wanted[0], color=COLORS["critical"], linewidth=4,
            label="forecast before saving",
        )  # fmt: skip
        ax.plot(months, given[0], "--", color=COLORS["explode"], label="after loading")
        if not torch.equal(given, again):
            ax.plot(months, again[0], ":", color=COLORS["explode"], label="the same, once more")
        ax.set(xlabel="months ahead", ylabel="root of the number")
        ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1))

    png = draw(paint, (6.6, 2.6))
    if torch.equal(given, wanted):
        return Feedback("right", "The forecasts are equal bit for bit.", png)
    if _close(given, wanted):
        text = "Equal to a few roundings. Bit for bit takes the same operations in the same order."
        return Feedback("right", text, png)
    return Feedback("wrong", _hint(given, again, fresh, values, model), png)


@torch.no_grad()
def _trained() -> SequenceModel:
    """Return a model whose weights and start are no longer those of a new one."""
    model = new_model(_HIDDEN).float()
    for parameter in model.parameters():
        parameter.copy_(torch.randn_like(parameter) / 2)
    model.head.weight /= 2
    model.head.bias.copy_(torch.cos(torch.arange(_HORIZON) / 8))
    return model.eval()


def _two_forecasts(function: Any, path: Path, values: Tensor) -> tuple[Tensor, Tensor] | None:
    """Load once and forecast twice; None where it is open."""
    loaded = call(function, "(path)", path, advice=_ADVICE)
    if loaded is None:
        return None
    if not callable(loaded):
        raise wrong(_FUNCTION)
    found = []
    for _ in range(2):
        handed = values.to(torch.get_default_dtype())
        given = call(loaded, "values", handed, advice=_ADVICE)
        if not isinstance(given, Tensor) or given.is_complex():
            raise wrong(_FUNCTION)
        if given.shape != (values.shape[1], _HORIZON):
            raise wrong(f"{_FUNCTION} Yours have shape {tuple(given.shape)}.")
        if not torch.isfinite(given).all():
            raise wrong("Your forecast contains NaN or infinity.")
        found.append(given.detach().float())
    return found[0], found[1]


@torch.no_grad()
def _hint(given: Tensor, again: Tensor, fresh: Tensor, values: Tensor, model: SequenceModel) -> str:
    """Return what the loaded forecaster lacks, told by what it forecasts."""
    scaled = (values - _MEAN) / _STD
    own = (values - values.mean()) / values.std()
    raw = model(scaled)
    from_zero = _plain(model)
    mended = [from_zero(scaled) * _STD + _MEAN, from_zero(scaled), from_zero(values)]
    hint = first(
        (
            not torch.equal(given, again),
            "Two forecasts of the same values differ: the model still draws noise for its start. "
            "A new model is in training mode; call eval().",
        ),
        (
            not torch.equal(given, fresh),
            "Loaded twice, it forecasts two things: its weights are those of a new model. Use "
            "load_state_dict.",
        ),
        (
            any(_close(given, other) for other in mended),
            "The learned start is lost: yours begins at zero, as nn.LSTM does, which has no h0 "
            "and c0. (strict=False hides that.)",
        ),
        (
            _close(given, model(values)),
            "The scaling is lost: the model knows values with mean 0 and standard deviation 1. "
            "The file has the mean and std.",
        ),
        (
            _close(given, raw),
            "That is the forecast in the model's units. Undo the scaling: times std, plus mean.",
        ),
        (
            _close(given, model(values) * _STD + _MEAN),
            "You scaled the output back, but not the values that go in.",
        ),
        (
            any(_close(given, model(own) * s + m) for s, m in _own_scales(values)),
            "You scaled by the values at hand. Use the mean and std of the training part, which "
            "the file has.",
        ),
    )
    return hint or f"Yours differ from the forecasts before saving by up to {_gap(given, raw):.2g}."


def _own_scales(values: Tensor) -> list[tuple[float, float]]:
    return [(values.std().item(), values.mean().item()), (_STD, _MEAN), (1.0, 0.0)]


def _gap(given: Tensor, raw: Tensor) -> float:
    return (given - (raw * _STD + _MEAN)).abs().max().item()


def _plain(model: SequenceModel) -> SequenceModel:
    """Return the model with a plain `nn.LSTM` in the place of its layer."""
    plain = SequenceModel(nn.LSTM(1, _HIDDEN, dtype=torch.float32), _HORIZON)
    plain.load_state_dict(
        {name: p for name, p in model.state_dict().items() if name not in ("rnn.h0", "rnn.c0")}
    )
    return plain


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-4)

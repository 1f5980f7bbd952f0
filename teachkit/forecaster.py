"""A trained network and the scaling of its series in one object: values in, forecasts out."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .drop_ins import GRU, LSTM
from .errors import bad, check_choice, check_count
from .forecasting import Scaling, SeriesForecast
from .initial_states import AdaptiveState, InitialState, LearnedState, NoisyState, ZeroState
from .models import ElmanRNN, SequenceModel

_FORMAT = "teachkit forecaster 1"
_CELLS: dict[str, tuple[type[nn.RNNBase], type[nn.RNNBase]]] = {
    "lstm": (nn.LSTM, LSTM),
    "gru": (nn.GRU, GRU),
    "rnn": (nn.RNN, ElmanRNN),
}
_STATES = {kind.__name__: kind for kind in (ZeroState, NoisyState, LearnedState, AdaptiveState)}
_OPTIONS = ("input_size", "hidden_size", "num_layers", "bias", "dropout", "bidirectional")


class Forecaster:
    """Forecast in the units of a series: a model, the scaling of its task, and nothing else.

    model: a `SequenceModel` trained on `task`; it is copied, and forecasts as in evaluation: from
    its initial state without noise, without dropout and without error clipping. Raises `ValueError`
    for a model that does not fit the task. Taught in chapter 06.

    >>> task = SeriesForecast(horizon=6)
    >>> forecaster = Forecaster(SequenceModel(LSTM(1, 4), 6), task)
    >>> forecaster.forecast(task.values).shape
    (6,)
    """

    def __init__(self, model: SequenceModel, task: SeriesForecast) -> None:
        if not isinstance(task, SeriesForecast):
            raise bad("task", task, "a SeriesForecast")
        _check_model(model, task.horizon)
        self.model = _without_error_clipping(copy.deepcopy(model)).eval()
        self.scaling: Scaling = task.scaling
        self.seq_len: int = task.seq_len
        self.horizon: int = task.horizon

    def forecast(self, values: Any) -> np.ndarray:
        """Return the next `horizon` values after these, (horizon,), in the units of the series.

        values: the last `seq_len` values known, or more of them, (n,), the newest last. Raises
        `ValueError` for fewer, and for values that the scaling lacks.
        """
        scaled = self.scaling.scale(values)
        if scaled.ndim != 1 or len(scaled) < self.seq_len:
            raise bad("values", values, f"of shape (n,) with n of at least {self.seq_len}")
        like = next(self.model.parameters())
        x = torch.tensor(scaled[-self.seq_len :], dtype=like.dtype, device=like.device)
        with torch.no_grad():
            output = self.model(
                x[None, :, None] if self.model.rnn.batch_first else x[:, None, None]
            )
        return self.scaling.unscale(output[0].double().cpu().numpy())  # NumPy has no bfloat16

    def save(self, path: str | Path) -> Path:
        """Write the weights and the settings to a file that `Forecaster.load` reads.

        By `torch.save`, and of plain values alone, so that it loads with weights_only=True. Raises
        `ValueError` for a model that it cannot describe, and `FileNotFoundError` for a folder that
        does not exist.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"path must lie in a folder that exists, but there is none at {path.parent}."
            )
        content = {
            "format": _FORMAT,
            "layer": _layer_of(self.model.rnn),
            "output_size": self.model.head.out_features,
            "dtype": str(next(self.model.parameters()).dtype).removeprefix("torch."),
            "scaling": dataclasses.asdict(self.scaling),
            "seq_len": self.seq_len,
            "horizon": self.horizon,
            "weights": {name: v.cpu() for name, v in self.model.state_dict().items()},
        }
        torch.save({**content, "digest": _digest(content)}, path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Forecaster:
        """Read a file that `save` wrote; its forecasts are the same, bit for bit.

        The file is read as data: nothing in it is run (weights_only=True). Raises
        `FileNotFoundError` where there is none, and `ValueError` for one that is damaged or that
        something else wrote.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"path must be a file, but there is none at {path}.")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            return cls._restored(content)
        except Exception as error:  # a damaged file fails in many ways, from zip to pickle
            raise ValueError(
                f"path must be a file that Forecaster.save wrote, but {path.name} is damaged or "
                "something else."
            ) from error

    @classmethod
    def _restored(cls, content: dict[str, Any]) -> Forecaster:
        check_choice("format", content["format"], [_FORMAT])
        check_choice("digest", content.pop("digest"), [_digest(content)])
        layer = dict(content["layer"])
        kind: Any = _CELLS[layer.pop("cell")][1]
        options = layer.pop("initial_state")
        state = _STATES[options.pop("kind")](**options)
        with torch.random.fork_rng(devices=[]):  # the layer draws weights that are replaced
            model = SequenceModel(kind(**layer, initial_state=state), content["output_size"])
        model.to(getattr(torch, content["dtype"])).load_state_dict(content["weights"])
        made = cls.__new__(cls)
        made.scaling = Scaling(**content["scaling"])
        made.seq_len = check_count("seq_len", content["seq_len"])
        made.horizon = check_count("horizon", content["horizon"])
        _check_model(model, made.horizon)
        made.model = model.eval()
        return made


def _digest(content: dict[str, Any]) -> str:
    """Return a checksum of all that is saved: PyTorch reads altered weights without a word."""
    settings = sorted((name, value) for name, value in content.items() if name != "weights")
    found = hashlib.sha256(repr(settings).encode())
    for name, weights in sorted(content["weights"].items()):
        found.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
        found.update(weights.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _without_error_clipping(model: SequenceModel) -> SequenceModel:
    """Return the model after it has lost its `ErrorClipping`, if it has one."""
    for module in model.modules():
        attached = module.__dict__.get("_error_clipping")  # that module is in a higher layer
        if attached is not None:
            attached.remove()
    return model


def _check_model(model: Any, horizon: int) -> None:
    if not isinstance(model, SequenceModel):
        raise bad("model", model, "a SequenceModel")
    if model.rnn.input_size != 1:
        raise bad("model", f"input_size {model.rnn.input_size}", "one of input_size 1")
    if model.every_step or model.head.out_features != horizon:
        shape = f"output_size {model.head.out_features}"
        given = f"{shape} at each step" if model.every_step else shape
        raise bad("model", given, f"one with output_size {horizon} after the last step")


def _layer_of(rnn: nn.RNNBase) -> dict[str, Any]:
    """Return what it takes to make a layer like this one, as plain values."""
    cell = next((name for name, (kind, _) in _CELLS.items() if isinstance(rnn, kind)), None)
    if cell is None:
        raise bad("model", type(rnn), "one with an nn.LSTM, nn.GRU or nn.RNN")
    found: dict[str, Any] = {name: getattr(rnn, name) for name in _OPTIONS}
    found |= {"cell": cell, "batch_first": rnn.batch_first}
    if rnn.proj_size:
        found["proj_size"] = rnn.proj_size
    if isinstance(rnn, nn.RNN):
        found["nonlinearity"] = rnn.nonlinearity
    state = getattr(rnn, "initial_state", ZeroState())
    if not isinstance(state, InitialState) or type(state).__name__ not in _STATES:
        raise bad("model", state, f"one with an initial state among {', '.join(_STATES)}")
    options = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    return found | {"initial_state": {"kind": type(state).__name__, **options}}

"""What readers may bring to a lab, drawn at random, as Python source: a failure can be pasted.

`THINGS[lab](rng)` draws the arguments of a lab: layers, cells, batches and series that are large,
small, deep, in other precisions, or damaged. `NAMES` holds what the source needs besides `tk`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import teachkit as tk
from teachkit.frameworks import load_keras

CELLS = ("RNN", "LSTM", "GRU")
STATES = ("zero", "noisy", "learned", "learned+noisy", "adaptive")
PRECISIONS = ("float64", "float16", "bfloat16")


@dataclass(frozen=True)
class Own:
    """Arguments of a lab as source, and whether the lab has to take them.

    sound: nothing is damaged and everything fits, so that a refusal is a fault too.
    """

    source: dict[str, str]
    sound: bool

    def values(self) -> dict[str, Any]:
        """Run the source."""
        return {name: eval(source, dict(NAMES)) for name, source in self.source.items()}

    def __str__(self) -> str:
        return "; ".join(f"{name} = {source}" for name, source in self.source.items())


# -- what the source calls ----------------------------------------------------------------------


def weighted(module: nn.Module, seed: int, scale: float = 1.0, spoilt: float = 0.0) -> nn.Module:
    """Draw the weights anew, with `scale` / sqrt(fan-in) entries; `spoilt` replaces one of them."""
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            drawn = torch.randn(p.shape, generator=numbers, dtype=torch.float64)
            p.copy_((drawn * scale / max(p.shape[-1], 1) ** 0.5).to(p.dtype))
        if spoilt:
            next(iter(module.parameters())).view(-1)[0] = spoilt
    return module


def normal(*shape: int, seed: int, scale: float = 1.0, dtype: str = "float32") -> Tensor:
    """Draw a batch."""
    numbers = torch.Generator().manual_seed(seed)
    drawn = torch.randn(shape, generator=numbers, dtype=torch.float64)
    return (scale * drawn).to(getattr(torch, dtype))


def walk(n: int, seed: int, scale: float = 1.0, step: float = 1.0) -> np.ndarray:
    """Draw a series: a random walk, or without `step` one that never changes."""
    return scale * np.cumsum(step * np.random.default_rng(seed).standard_normal(n))


def keras_layer(name: str, inputs: int, units: int, seed: int, **options: Any) -> Any:
    """Build a Keras layer or cell with the weights of a seed."""
    keras = load_keras()
    state = random.getstate()  # Keras draws seeds from it
    layer = getattr(keras.layers, name)(units, **options)
    layer.build((None, inputs) if name.endswith("Cell") else (None, None, inputs))
    random.setstate(state)
    numbers = np.random.default_rng(seed)
    layer.set_weights([numbers.standard_normal(w.shape) for w in layer.weights])
    return layer


NAMES: dict[str, Any] = {
    "tk": tk,
    "torch": torch,
    "nn": nn,
    "weighted": weighted,
    "normal": normal,
    "walk": walk,
    "keras_layer": keras_layer,
}

# -- drawing the source -------------------------------------------------------------------------


def _size(rng: random.Random, high: int) -> int:
    return rng.choice([1, 2, rng.randint(3, high)])


def _scale(rng: random.Random) -> tuple[str, bool]:
    """Draw how large the weights are; and whether they are finite numbers of a usual size."""
    kind = rng.random()
    if kind < 0.7:
        return "", True
    if kind < 0.9:
        return f", scale={rng.choice([0.0, 1e-30, 10.0, 1e3, 1e30])}", False
    return f", spoilt=float('{rng.choice(['nan', 'inf'])}')", False


@dataclass(frozen=True)
class _Layer:
    source: str
    inputs: int
    outputs: int
    first: bool
    dtype: str
    sound: bool


def _layer(rng: random.Random) -> _Layer:
    """Draw a recurrent layer: of PyTorch or a drop-in, deep, of two directions, projected."""
    cell, inputs, hidden = rng.choice(CELLS), _size(rng, 8), _size(rng, 24)
    options: dict[str, Any] = {}
    home = "nn"
    if rng.random() < 0.35:
        home, options["initial_state"] = "tk", rng.choice(STATES)
    if (layers := rng.choice([1, 1, 2, 3])) > 1:
        options["num_layers"] = layers
        if rng.random() < 0.3:
            options["dropout"] = 0.3
    for name, chance in (("bidirectional", 0.25), ("batch_first", 0.4)):
        if rng.random() < chance:
            options[name] = True
    if rng.random() < 0.15:
        options["bias"] = False
    if cell == "RNN" and rng.random() < 0.4:
        options["nonlinearity"] = "relu"
    outputs = hidden
    if cell == "LSTM" and hidden > 2 and rng.random() < 0.2:
        outputs = options["proj_size"] = hidden // 2
    scale, usual = _scale(rng)
    given = "".join(f", {name}={value!r}" for name, value in options.items())
    source = f"weighted({home}.{cell}({inputs}, {hidden}{given}), seed={rng.randint(0, 999)}{scale}"
    dtype = rng.choice(PRECISIONS) if rng.random() < 0.3 else "float32"
    source += ")" if dtype == "float32" else f").to(torch.{dtype})"
    sides = 1 + bool(options.get("bidirectional"))
    first = bool(options.get("batch_first"))
    sound = usual and dtype in ("float32", "float64")
    return _Layer(source, inputs, sides * outputs, first, dtype, sound)


def layer_and_batch(rng: random.Random) -> Own:
    """Draw a layer, and a batch for it; or a cell, which these labs refuse."""
    if rng.random() < 0.05:
        cell = f"nn.{rng.choice(CELLS)}Cell(2, 3)"
        return Own({"model": cell, "x": "normal(5, 2, 2, seed=0)"}, sound=False)
    layer = _layer(rng)
    T, B = rng.choice([1, 2, rng.randint(3, 60)]), _size(rng, 5)
    shape: list[Any] = [B, T] if layer.first else [T, B]
    if rng.random() < 0.15:
        shape = [T]  # one sequence, without a dimension for the batch
    usual = rng.random() < 0.85
    width = layer.inputs if rng.random() < 0.95 else layer.inputs + 1
    scale = "" if usual else ", scale=" + rng.choice(["0.0", "1e30", "float('nan')"])
    sizes = ", ".join(map(str, [*shape, width]))
    x = f"normal({sizes}, seed={rng.randint(0, 999)}{scale}, dtype={layer.dtype!r})"
    sound = layer.sound and usual and width == layer.inputs and T > 1
    return Own({"model": layer.source, "x": x}, sound)


def model_batches_loss(rng: random.Random) -> Own:
    """Draw a model with a loss: a recurrent one with a head, or a plain network."""
    sound, dtype, out = True, "float32", rng.randint(1, 3)
    T, B = rng.randint(1, 20), _size(rng, 8)
    if rng.random() < 0.75:
        layer = _layer(rng)
        dtype, sound = layer.dtype, layer.sound
        every = rng.random() < 0.3
        cast = "" if dtype == "float32" else f".to(torch.{dtype})"
        model = f"tk.SequenceModel({layer.source}, {out}, every_step={every}, seed=1){cast}"
        shape = [B, T, layer.inputs] if layer.first else [T, B, layer.inputs]
        wanted = [*shape[:2], out] if every else [B, out]
    else:
        scale, sound = _scale(rng)
        layers = f"nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, {out})"
        model = f"weighted(nn.Sequential({layers}), seed={rng.randint(0, 999)}{scale})"
        shape, wanted = [B, 3], [B, out]
    pairs = []
    for n in range(rng.choice([1, 2, 5])):
        x, y = (
            f"normal({', '.join(map(str, sizes))}, seed={10 * n + k}, dtype={dtype!r})"
            for k, sizes in enumerate((shape, wanted))
        )
        pairs.append(f"({x}, {y})")
    loss = rng.choice(["nn.functional.mse_loss", "nn.functional.l1_loss"])
    source = {"model": model, "batches": f"[{', '.join(pairs)}]", "loss": loss}
    return Own(source, sound)


def any_layer(rng: random.Random) -> Own:
    """Draw a layer or a cell, of PyTorch or of Keras."""
    kind, seed = rng.random(), rng.randint(0, 999)
    inputs, units = _size(rng, 40), _size(rng, 60)
    scale, sound = _scale(rng)
    if kind < 0.5:
        layer = _layer(rng)
        return Own({"model": layer.source}, layer.sound)
    if kind < 0.75:
        home = rng.choice(["nn", "tk"])
        cell = f"{home}.{rng.choice(CELLS)}Cell({inputs}, {units})"
        return Own({"model": f"weighted({cell}, seed={seed}{scale})"}, sound)
    name = rng.choice(["LSTM", "GRU", "SimpleRNN"]) + rng.choice(["", "Cell"])
    bias = ", use_bias=False" if rng.random() < 0.3 else ""
    return Own({"model": f"keras_layer('{name}', {inputs}, {units}, seed={seed}{bias})"}, True)


def own_series(rng: random.Random) -> Own:
    """Draw a series with its windows: short, long, large, constant, or with a gap."""
    seq_len, horizon = rng.choice([1, 12, rng.randint(2, 60)]), rng.choice([1, rng.randint(2, 12)])
    n = rng.choice([20, 5 * (seq_len + horizon), rng.randint(100, 600)])
    kind, sound = rng.random(), 3 * n // 5 >= seq_len + horizon and n >= 5 * horizon + 5
    options = ""
    if kind < 0.2:
        options = f", scale={rng.choice([1e-12, 1e9])}"
    elif kind < 0.4:
        options, sound = f", {rng.choice(['step=0.0', 'scale=1e200', 'scale=1e-200'])}", False
    source = {"series": f"walk({n}, seed={rng.randint(0, 999)}{options})"}
    if kind > 0.9:
        source["series"], sound = f"[*{source['series']}, float('nan')]", False
    source |= {"seq_len": str(seq_len), "horizon": str(horizon)}
    if rng.random() < 0.5:
        source["period"] = str(rng.randint(1, seq_len))
    return Own(source, sound)


THINGS: dict[str, Callable[[random.Random], Own]] = {
    "clip_what": model_batches_loss,
    "forecast": own_series,
    "fresh_from_the_box": any_layer,
    "signal": layer_and_batch,
    "spectral_radius": layer_and_batch,
    "trajectories": layer_and_batch,
}

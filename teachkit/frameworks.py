"""New weights as six libraries draw them, and the weights of a layer that a reader brings.

PyTorch and Keras draw with their own layers. TensorFlow 1, Flax, Haiku and Equinox are not needed:
their weights are drawn by rule, and the tests hold the rules to the libraries themselves.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from .device import generator
from .errors import bad, check_count
from .framework_rules import CELLS, FRAMEWORKS, Rule, law, rule, rules
from .gates import KERAS, gates, keras_weights, library_and_kind, split_gates
from .initializers import initialize
from .spectra import sigma_max, spectral_radius

__all__ = [
    "CELLS",
    "FRAMEWORKS",
    "DrawnWeights",
    "Rule",
    "draw",
    "law",
    "load_keras",
    "read",
    "rule",
    "rules",
    "summary",
]

_TORCH: dict[str, Callable[..., nn.Module]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}

_HOW_TO_INSTALL = 'install it with `pip install "keras>=3.4"`'

# Python's and PyTorch's global random states are set and put back: one draw at a time.
_drawing = threading.Lock()
_importing = threading.Lock()


@dataclass(frozen=True)
class DrawnWeights:
    """The weights of one layer, in one direction, gate by gate, as float64 arrays.

    weight_ih: {gate: (H, I)} and weight_hh: {gate: (H, H)}; rows are outputs (W_hh @ h) whatever
    the library. bias: {gate: (H,)}, the effective one: the sum of all bias vectors and of what the
    cell adds in its call. Where a GRU has two vectors, that of the new gate acts in full only while
    the reset gate is open. drawn_by: the library and its version, or "rule".
    """

    framework: str
    cell: str
    input_size: int
    hidden_size: int
    weight_ih: dict[str, np.ndarray]
    weight_hh: dict[str, np.ndarray]
    bias: dict[str, np.ndarray]
    drawn_by: str

    @property
    def forget_bias(self) -> float | None:
        """The mean effective bias of the forget gate; None for a GRU or a plain RNN."""
        return float(self.bias["forget"].mean()) if "forget" in self.bias else None


def load_keras() -> Any:
    """Return Keras 3: the one that is imported already, else imported now.

    It is then imported on the backend "torch" (`KERAS_BACKEND` in the environment decides where it
    is set), which is loaded anyway, and keeps that backend until Python ends: to have another one,
    import Keras first. Raises `ImportError` with one sentence where Keras is missing, older than
    3, or fails to import. Chapter 01 draws weights with it.
    """
    with _importing, _backend_by_default("torch"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what other people's modules say while they load
        try:
            import keras
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ImportError(
                f"Keras could not be imported ({reason}): {_HOW_TO_INSTALL}, and let KERAS_BACKEND "
                "name a library that is installed."
            ) from error
    version = str(getattr(keras, "__version__", "2"))
    if int(version.partition(".")[0]) < 3:
        raise ImportError(f"Keras must be 3.4 or later, but it is {version}: {_HOW_TO_INSTALL}.")
    return keras


@contextmanager
def _backend_by_default(name: str) -> Iterator[None]:
    """Set KERAS_BACKEND inside the block where it is not set."""
    if "KERAS_BACKEND" in os.environ:
        yield
        return
    os.environ["KERAS_BACKEND"] = name
    try:
        yield
    finally:
        del os.environ["KERAS_BACKEND"]


def draw(
    framework: str,
    cell: str = "lstm",
    input_size: int = 32,
    hidden_size: int = 64,
    seed: int = 0,
) -> DrawnWeights:
    """Draw the weights of a new cell as a library does by default.

    framework: one of `FRAMEWORKS`. cell: "lstm", "gru" or "rnn" (Equinox has no "rnn"). "torch" and
    "keras" draw with the library's own layer: the same numbers as after `torch.manual_seed(seed)`
    or `keras.utils.set_random_seed(seed)`; a Keras that is missing is replaced by its rule, which
    `drawn_by` tells. The others are drawn by rule. The same seed gives the same weights, and the
    global random states stay as they were. Raises `ValueError` for another framework, cell, size
    or seed. Taught in chapter 01.

    >>> draw("tf1", input_size=3, hidden_size=4).forget_bias
    1.0
    """
    rule(framework, cell)  # refuses what does not exist
    I = check_count("input_size", input_size)  # noqa: E741
    H = check_count("hidden_size", hidden_size)
    seed = check_count("seed", seed, low=0, high=2**32 - 1)
    # whatever device a reader made the default
    with _drawing, torch.device("cpu"):
        if framework == "torch":
            return _torch_draw(cell, I, H, seed)
        keras = _keras_or_none() if framework == "keras" else None
        if keras is not None:
            return _keras_draw(keras, cell, I, H, seed)
        return _rule_draw(framework, cell, I, H, seed)


def _keras_or_none() -> Any:
    try:
        return load_keras()
    except ImportError:
        return None


def _torch_draw(cell: str, input_size: int, hidden_size: int, seed: int) -> DrawnWeights:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module = _TORCH[cell](input_size, hidden_size, device="cpu", dtype=torch.float32)
    return _collect(
        "torch", cell, *_torch_parts(module, "_l0"), f"torch {_plain(torch.__version__)}"
    )


def _keras_draw(
    keras: Any, cell: str, input_size: int, hidden_size: int, seed: int
) -> DrawnWeights:
    before = random.getstate()
    random.seed(seed)  # where Keras's initialisers take their seeds from
    try:
        with keras.device("cpu"):
            layer = getattr(keras.layers, KERAS[cell])(hidden_size, dtype="float32", name="drawn")
            layer.build((None, None, input_size))
            return _collect("keras", cell, *_keras_parts(layer, cell), _keras_version(keras))
    finally:
        random.setstate(before)


def _rule_draw(
    framework: str, cell: str, input_size: int, hidden_size: int, seed: int
) -> DrawnWeights:
    with torch.random.fork_rng(devices=[]):  # the constructor draws too
        module = _TORCH[cell](input_size, hidden_size, device="cpu", dtype=torch.float32)
    initialize(module, framework, generator=generator(seed, framework))
    return _collect(framework, cell, *_torch_parts(module, "_l0"), "rule")


def read(
    module: Any, *, layer: int = -1, reverse: bool = False, argument: str = "module"
) -> DrawnWeights:
    """Return the weights of a recurrent layer that somebody made, whatever its library.

    module: an nn.RNN, nn.LSTM or nn.GRU, one of their cells, or a built Keras SimpleRNN, LSTM or
    GRU, or cell of theirs, on any backend. layer: of a stack, the last by default. reverse: the
    backward direction of a bidirectional layer. argument: what messages call the module. The arrays
    are copies. Raises `ValueError` for another module, a layer or
    direction that it does not have, a projection, and a Keras layer that is not built yet. Taught
    in chapter 01.

    >>> read(nn.LSTM(2, 3, num_layers=2)).weight_ih["forget"].shape
    (3, 3)
    """
    library, cell = library_and_kind(module, argument)
    stack = int(module.num_layers) if isinstance(module, nn.RNNBase) else 1
    number = check_count("layer", layer, low=-stack, high=stack - 1) % stack
    if reverse and (library == "keras" or not getattr(module, "bidirectional", False)):
        raise bad("reverse", reverse, "False for a layer that is not bidirectional")
    if library == "keras":
        made_by = f"your layer, {_keras_version(sys.modules['keras'])}"
        return _collect("keras", cell, *_keras_parts(module, cell, argument), made_by)
    suffix = ""
    if isinstance(module, nn.RNNBase):
        suffix = f"_l{number}" + "_reverse" * bool(reverse)
    made_by = f"your layer, torch {_plain(torch.__version__)}"
    return _collect("torch", cell, *_torch_parts(module, suffix, argument), made_by)


_Parts = tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]


def _collect(
    framework: str,
    cell: str,
    weight_ih: dict[str, np.ndarray],
    weight_hh: dict[str, np.ndarray],
    bias: dict[str, np.ndarray],
    drawn_by: str,
) -> DrawnWeights:
    H, I = next(iter(weight_ih.values())).shape  # noqa: E741
    return DrawnWeights(framework, cell, I, H, weight_ih, weight_hh, bias, drawn_by)


def _torch_parts(module: nn.Module, suffix: str, argument: str = "module") -> _Parts:
    """Return weight_ih, weight_hh and the effective bias of one layer and direction."""
    if getattr(module, "proj_size", 0):
        raise ValueError(
            f"{argument} must have no projection, which leaves no square W_hh, but proj_size is "
            f"{module.proj_size}."
        )
    table = gates(module)

    def part(name: str) -> dict[str, np.ndarray]:
        return {gate: _array(view) for gate, view in table[name + suffix].items()}

    weight_ih, weight_hh = part("weight_ih"), part("weight_hh")
    if f"bias_ih{suffix}" not in table:
        return weight_ih, weight_hh, {gate: np.zeros(len(W)) for gate, W in weight_hh.items()}
    bias_ih, bias_hh = part("bias_ih"), part("bias_hh")
    return weight_ih, weight_hh, {gate: b + bias_hh[gate] for gate, b in bias_ih.items()}


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy().copy()


def _keras_parts(module: Any, cell: str, argument: str = "module") -> _Parts:
    """Return weight_ih, weight_hh and the effective bias, turned as in PyTorch."""
    values = keras_weights(module, argument)

    def part(name: str) -> dict[str, np.ndarray]:
        value = values[name]
        if isinstance(value, Tensor):  # which Keras itself converts with a warning
            numbers = _array(value)
        else:
            convert = sys.modules["keras"].ops.convert_to_numpy
            numbers = np.array(convert(value), dtype=np.float64)
        return split_gates(numbers, cell, "keras")

    weight_ih = {gate: W.T.copy() for gate, W in part("kernel").items()}
    weight_hh = {gate: W.T.copy() for gate, W in part("recurrent_kernel").items()}
    if "bias" not in values:
        return weight_ih, weight_hh, {gate: np.zeros(len(W)) for gate, W in weight_hh.items()}
    # a GRU with reset_after=True has two vectors, (2, H) a gate
    bias = {gate: b.reshape(-1, b.shape[-1]).sum(0) for gate, b in part("bias").items()}
    return weight_ih, weight_hh, bias


def _keras_version(keras: Any) -> str:
    return f"keras {keras.__version__} on {keras.config.backend()}"


def _plain(version: str) -> str:
    return version.partition("+")[0]


def summary(drawn: Any) -> pd.DataFrame:
    """Return what the weights of each gate are like, one row a gate.

    drawn: what `draw` or `read` returns, or a layer or cell for `read`.

    Columns: gate; std of W_ih and of W_hh; the spectral radius and the largest singular value of
    W_hh; bias, the mean of the effective bias (of an LSTM's forget gate: what it adds to forget
    less). Taught in chapter 01.
    """
    drawn = drawn if isinstance(drawn, DrawnWeights) else read(drawn, argument="drawn")
    rows = [
        {
            "gate": gate,
            "std of W_ih": drawn.weight_ih[gate].std(),
            "std of W_hh": W.std(),
            "spectral radius": float(spectral_radius(W)),
            "sigma_max": float(sigma_max(W)),
            "bias": drawn.bias[gate].mean(),
        }
        for gate, W in drawn.weight_hh.items()
    ]
    return pd.DataFrame(rows)

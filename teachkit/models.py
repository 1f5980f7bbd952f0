"""The small networks that the chapters look into and train: an Elman RNN and a head on top."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .device import generator
from .drop_ins import DropInLayer
from .errors import bad, check_choice, check_count, check_number
from .spectra import SchurParts, eigenvalues, gaussian_matrix, schur_parts, sigma_max


@dataclass(frozen=True)
class Activation:
    """An activation with its slope, written as a function of its own output h.

    max_slope is gamma in Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063): 1 for tanh and 1/4
    for sigmoid. Taught in chapter 04.
    """

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    max_slope: float


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(lambda a: a, torch.ones_like, 1.0),
    "sigmoid": Activation(torch.sigmoid, lambda h: h * (1 - h), 0.25),
    "tanh": Activation(torch.tanh, lambda h: 1 - h * h, 1.0),
    # ~(h <= 0), as in PyTorch: a state that overflowed to NaN still counts as active
    "relu": Activation(torch.relu, lambda h: (~(h <= 0)).to(h.dtype), 1.0),
}


class _FourActivations(nn.RNN):
    """`nn.RNN` with two more activations."""

    # nn.RNN registers these under computed names, which type checkers cannot see.
    nonlinearity: str
    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter
    bias_hh_l0: nn.Parameter

    def __init__(self, *args: Any, nonlinearity: str = "tanh", **kwargs: Any) -> None:
        if len(args) > 3:  # by position, as nn.RNN takes it
            nonlinearity = args[3]
        check_choice("nonlinearity", nonlinearity, ACTIVATIONS)
        native = nonlinearity in ("tanh", "relu")
        if len(args) > 3:
            args = (*args[:3], nonlinearity if native else "tanh", *args[4:])
        else:
            kwargs["nonlinearity"] = nonlinearity if native else "tanh"
        super().__init__(*args, **kwargs)
        self.nonlinearity = nonlinearity
        if not native and (self.num_layers > 1 or self.bidirectional):
            raise ValueError(
                f"nonlinearity={nonlinearity!r} takes one layer in one direction, but "
                f"num_layers={self.num_layers}, bidirectional={self.bidirectional} was given."
            )

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """Run the layer as `nn.RNN` does."""
        if self.nonlinearity in ("tanh", "relu"):
            return super().forward(input, hx)
        if not isinstance(input, Tensor) or input.ndim not in (2, 3):
            raise bad("input", input, "a tensor of shape (T, B, input_size) or (T, input_size)")
        if input.shape[-1] != self.input_size:
            raise bad("input", input, f"of input_size {self.input_size} in its last dimension")
        batched, time = input.ndim == 3, int(self.batch_first and input.ndim == 3)
        pre = F.linear(input, self.weight_ih_l0, self.bias_ih_l0 if self.bias else None)
        shape = (pre.shape[1 - time], self.hidden_size) if batched else (self.hidden_size,)
        if hx is not None and getattr(hx, "shape", None) != (1, *shape):
            raise bad("hx", hx, f"a tensor of shape {(1, *shape)}")
        h = pre.new_zeros(shape) if hx is None else hx[0]
        activation = ACTIVATIONS[self.nonlinearity].function
        outputs = []
        for step in pre.unbind(time):
            h = activation(step + F.linear(h, self.weight_hh_l0, getattr(self, "bias_hh_l0", None)))
            outputs.append(h)
        return torch.stack(outputs, time), h.unsqueeze(0)


class ElmanRNN(DropInLayer, _FourActivations):
    """`nn.RNN` with two more activations, so that all four of chapter 04 train alike.

    nonlinearity: "linear", "sigmoid", "tanh" or "relu". The last two are PyTorch's own layer; the
    first two step through time in Python and take one layer in one direction. Shapes, arguments
    and parameter names are those of `nn.RNN`, and `initial_state` is that of `drop_ins.RNN`. Raises
    `ValueError` for another nonlinearity.
    """


@functools.lru_cache(maxsize=64)
def unit_spectrum(hidden_size: int, seed: int = 0) -> tuple[SchurParts, Tensor]:
    """Factorise the Gaussian matrix of a seed once: later moves only scale and mix its parts.

    Returns the Schur parts and the eigenvalues (H,) of the matrix rescaled to spectral radius 1.
    """
    W = gaussian_matrix(hidden_size, seed)
    values = eigenvalues(W)
    radius = values.abs().max().item()
    parts = schur_parts(W)
    return SchurParts(parts.Q, parts.D / radius, parts.N / radius), values / radius


@functools.lru_cache(maxsize=256)
def unit_sigma_max(hidden_size: int, seed: int = 0, non_normality: float = 1.0) -> float:
    """Return sigma_max of `recurrent_matrix` at spectral radius 1; it scales with rho."""
    W = recurrent_matrix(hidden_size, 1.0, non_normality=non_normality, seed=seed)
    return sigma_max(W).item()


def recurrent_matrix(
    hidden_size: int, rho: float, *, non_normality: float = 1.0, seed: int = 0
) -> Tensor:
    """Return a random W_hh with spectral radius exactly `rho`.

    non_normality: 1 is a Gaussian matrix rescaled to `rho`; 0 the normal matrix with the same
    eigenvalues; above 1 more non-normal, again with the same eigenvalues. Returns (H, H) in
    float64. Raises `ValueError` for a negative rho or non_normality. Taught in chapter 04.

    >>> W = recurrent_matrix(8, 1.5, non_normality=0.0)
    >>> torch.linalg.matrix_norm(W, 2)  # normal: the largest singular value is the radius
    tensor(1.5000, dtype=torch.float64)
    """
    hidden_size = check_count("hidden_size", hidden_size)
    rho = check_number("rho", rho, low=0)
    non_normality = check_number("non_normality", non_normality, low=0)
    parts, _ = unit_spectrum(hidden_size, check_count("seed", seed, low=0))
    return parts.matrix(rho, non_normality)


def make_elman(
    hidden_size: int = 64,
    rho: float = 1.0,
    *,
    activation: str = "tanh",
    non_normality: float = 1.0,
    input_size: int = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> ElmanRNN:
    """Make the network of chapter 04: W_hh with spectral radius `rho`, zero biases.

    W_hh comes from `recurrent_matrix`; W_ih has N(0, 1 / input_size) entries, so that inputs of
    unit variance in each feature reach each unit with unit variance. Raises `ValueError` for bad
    settings.
    """
    check_choice("activation", activation, ACTIVATIONS)
    input_size = check_count("input_size", input_size)
    W = recurrent_matrix(hidden_size, rho, non_normality=non_normality, seed=seed)
    stream = generator(seed, "W_ih")
    W_ih = torch.randn(W.shape[0], input_size, generator=stream, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):  # the layer draws weights that we replace
        rnn = ElmanRNN(input_size, W.shape[0], nonlinearity=activation, dtype=dtype)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(W)
        rnn.weight_ih_l0.copy_(W_ih / input_size**0.5)
        rnn.bias_ih_l0.zero_()
        rnn.bias_hh_l0.zero_()
    return rnn


def random_state(hidden_size: int, seed: int = 0) -> Tensor:
    """Draw an initial state with N(0, 1) entries: (1, 1, H) in float64."""
    stream = generator(seed, "h0")
    return torch.randn(1, 1, hidden_size, generator=stream, dtype=torch.float64)


def random_input(seq_len: int, input_size: int = 1, seed: int = 0) -> Tensor:
    """Draw an input sequence with N(0, 1) entries: (T, 1, input_size) in float64."""
    stream = generator(seed, "input")
    return torch.randn(seq_len, 1, input_size, generator=stream, dtype=torch.float64)


class SequenceModel(nn.Module):
    """A recurrent layer and a linear head that reads its last hidden state, or each of them.

    Shapes: x (T, B, input_size), or (B, T, input_size) for a `batch_first` layer ->
    (B, output_size), or where `every_step` one output a step, with the leading dimensions of x. The
    head starts with N(0, 1 / hidden_size) weights from `seed` and zero bias. The last state of a
    bidirectional layer is that of the last step, of which its backward half has seen no other.
    """

    def __init__(
        self, rnn: nn.RNNBase, output_size: int, *, every_step: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.rnn = rnn
        self.every_step = every_step
        width = (rnn.proj_size or rnn.hidden_size) * (1 + rnn.bidirectional)
        output_size = check_count("output_size", output_size)
        weight = torch.randn(output_size, width, generator=generator(seed, "head")) / width**0.5
        with torch.random.fork_rng(devices=[]):
            self.head = nn.Linear(width, output_size)
        first = next(rnn.parameters())
        self.head.to(first.device, first.dtype)
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the head's output for the last step, or for each."""
        output, _ = self.rnn(x)
        if self.every_step:
            return self.head(output)
        return self.head(output[:, -1] if self.rnn.batch_first else output[-1])


def nilpotent_counterexample() -> tuple[ElmanRNN, Tensor]:
    """Return a two-unit tanh network whose W_hh has both eigenvalues 0 and whose gradient doubles.

    W_hh = [[8, 8], [-8, -8]], and h0 is a fixed point: from there every step multiplies the
    gradient by 2. From h0 = 0 the same network's gradient vanishes. The fixed point is unstable:
    in float64 rounding leaves it after some 40 steps. Returns (rnn, h0) with h0 (1, 1, 2).
    Taught in chapter 04, which derives it.
    """
    h0 = torch.tensor([[[0.0, 0.5]]], dtype=torch.float64)
    rnn = ElmanRNN(1, 2, dtype=torch.float64)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(torch.tensor([[8.0, 8.0], [-8.0, -8.0]]))
        rnn.weight_ih_l0.zero_()
        rnn.bias_ih_l0.copy_(torch.atanh(h0[0, 0]) - rnn.weight_hh_l0 @ h0[0, 0])
        rnn.bias_hh_l0.zero_()
    return rnn, h0

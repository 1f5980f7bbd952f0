"""PyTorch's recurrent layers and cells with one more argument: `initial_state`.

Each class is PyTorch's own and takes its whole signature. What happens to a batch is PyTorch's
business; only the state that it starts from, where the caller passes none, is ours.
"""

from __future__ import annotations

import abc
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .initial_states import InitialState, ZeroState, make_initial_state

STATES = ("h0", "c0")


def state_sizes(rnn: nn.RNNBase) -> dict[str, int]:
    """Map the states of a layer to their widths: h0, and c0 for an LSTM."""
    sizes = {"h0": rnn.proj_size or rnn.hidden_size}
    return sizes | {"c0": rnn.hidden_size} if isinstance(rnn, nn.LSTM) else sizes


def state_layers(rnn: nn.RNNBase) -> list[int]:
    """Return the layer of each row of a state: [0, 0, 1, 1] for two bidirectional layers."""
    return [layer for layer in range(rnn.num_layers) for _ in range(1 + rnn.bidirectional)]


class _DropIn(nn.Module):
    """What layers and cells have in common; stands before PyTorch's class among the bases."""

    initial_state: InitialState
    hidden_size: int

    def __init__(
        self, *args: Any, initial_state: str | InitialState = "zero", **kwargs: Any
    ) -> None:
        strategy = make_initial_state(initial_state)
        super().__init__(*args, **kwargs)
        self.initial_state = strategy
        self.reset_initial_state()

    @abc.abstractmethod
    def _sizes(self) -> dict[str, int]:
        """Map each state to its width."""

    @abc.abstractmethod
    def _rows(self) -> list[int]:
        """Return the layer of each row of a state."""

    @abc.abstractmethod
    def _batch_size(self, input: Any) -> int | None:
        """Return the batch size, or None for unbatched input."""

    def reset_initial_state(self) -> None:
        """Make afresh what the initial state keeps: learned values, noise sizes, a carried state.

        Learned states become new parameters: make the optimiser after this. A layer that was made
        on the meta device needs it after `to_empty`.
        """
        weight = next(p for name, p in self.named_parameters() if name not in STATES)
        self.initial_state.register(
            self, self._sizes(), self._rows(), dtype=weight.dtype, device=weight.device
        )

    def reset_state(self) -> None:
        """Forget a carried state: the next pass starts at zero again."""
        self.initial_state.reset(self)

    def reset_parameters(self) -> None:
        """Draw the weights as PyTorch does; a learned initial state stays as it is."""
        # hidden meanwhile, for PyTorch draws every parameter that it finds
        states = {name: self._parameters.pop(name) for name in STATES if name in self._parameters}
        try:
            super().reset_parameters()  # type: ignore[misc]
        finally:
            self._parameters.update(states)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run as PyTorch's class does, from the initial state where `hx` is None."""
        if isinstance(self.initial_state, ZeroState):
            return super().forward(input, hx)
        result = super().forward(input, self.start(input) if hx is None else hx)
        final = result if isinstance(self, nn.RNNCellBase) else result[1]
        rows = len(self._rows())
        states = (final,) if isinstance(final, Tensor) else final
        states = tuple(state.reshape(rows, -1, state.shape[-1]) for state in states)
        self.initial_state.finish(self, self._sizes(), states)
        return result

    def start(self, input: Any, *, training: bool | None = None) -> Any:
        """Return the state that a pass over `input` starts from, as an `hx`; None for zero.

        training: False leaves out the noise; None is the mode of the module.
        """
        like = input.data if isinstance(input, PackedSequence) else input
        if not isinstance(like, Tensor) or not like.is_floating_point():
            return None  # PyTorch has the words for it
        batch_size = self._batch_size(input)
        states = self.initial_state.start(
            self,
            self._sizes(),
            self._rows(),
            1 if batch_size is None else batch_size,
            training=self.training if training is None else training,
            like=like,
        )
        if states is None:
            return None
        if isinstance(self, nn.RNNCellBase):
            states = tuple(state[0] for state in states)
        if batch_size is None:
            states = tuple(state.select(-2, 0) for state in states)
        return states if len(states) > 1 else states[0]

    def extra_repr(self) -> str:
        """Name the initial state, unless it is zero."""
        text = super().extra_repr()
        if isinstance(self.initial_state, ZeroState):
            return text
        return f"{text}, initial_state={self.initial_state}"

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing: Any, *rest: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, *rest)
        own = {prefix + name for name in self.initial_state.kept(self._sizes())}
        if own.isdisjoint(state_dict):  # the weights of PyTorch's class: our state stays as it is
            missing[:] = [name for name in missing if name not in own]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        # a carried state may hang on a graph, which can be neither copied nor pickled
        kept = self._buffers.items()
        state["_buffers"] = {
            name: None if value is None else value.detach() for name, value in kept
        }
        return state


class DropInLayer(_DropIn):
    """What the layers have in common."""

    num_layers: int
    bidirectional: bool
    batch_first: bool
    proj_size: int

    def _sizes(self) -> dict[str, int]:
        return state_sizes(self)  # type: ignore[arg-type]

    def _rows(self) -> list[int]:
        return state_layers(self)  # type: ignore[arg-type]

    def _batch_size(self, input: Any) -> int | None:
        if isinstance(input, PackedSequence):
            return int(input.batch_sizes[0])
        return input.shape[0 if self.batch_first else 1] if input.dim() == 3 else None


class _Cell(_DropIn):
    def _sizes(self) -> dict[str, int]:
        names = STATES if isinstance(self, nn.LSTMCell) else STATES[:1]
        return dict.fromkeys(names, self.hidden_size)

    def _rows(self) -> list[int]:
        return [0]

    def _batch_size(self, input: Any) -> int | None:
        return input.shape[0] if input.dim() == 2 else None

    def reset_initial_state(self) -> None:
        super().reset_initial_state()
        for name in STATES:  # (1, H) for a cell, whose states are (B, H)
            if name in self._parameters:
                setattr(self, name, nn.Parameter(getattr(self, name).detach()[0]))


class LSTM(DropInLayer, nn.LSTM):
    """`nn.LSTM` that starts where you say: at zero, at noise, at a learned or a carried state.

    LSTM(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, proj_size=0, device=None, dtype=None, *, initial_state="zero")

    initial_state: "zero", "noisy", "learned", "learned+noisy", "adaptive", "carried", or an
    instance with options, such as `NoisyState(std=0.1)`. It counts where no state is passed: an
    `hx` of yours, (h, c) in this order, wins. Everything else is PyTorch's, bit for bit.

    Learned states are the parameters `h0` (layers * directions, 1, H_out), where H_out is proj_size
    or else hidden_size, and `c0` (layers * directions, 1, hidden_size). The weights of an nn.LSTM
    load with strict=True and leave them alone; the other way, strict=False drops them. Raises
    `ValueError` for another initial state. Taught in chapter 03.

    >>> lstm = LSTM(3, 4, num_layers=2, initial_state="learned")
    >>> lstm.h0.shape
    torch.Size([2, 1, 4])
    """


class GRU(DropInLayer, nn.GRU):
    """`nn.GRU` with an initial state; see `LSTM`.

    GRU(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, device=None, dtype=None, *, initial_state="zero")
    """


class RNN(DropInLayer, nn.RNN):
    """`nn.RNN` with an initial state; see `LSTM`.

    RNN(input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False,
    dropout=0.0, bidirectional=False, device=None, dtype=None, *, initial_state="zero")
    """


class LSTMCell(_Cell, nn.LSTMCell):
    """`nn.LSTMCell` with an initial state; see `LSTM`. Pass None for the state of the first step.

    LSTMCell(input_size, hidden_size, bias=True, device=None, dtype=None, *, initial_state="zero")

    Learned states are the parameters `h0` and `c0` (1, hidden_size).

    >>> LSTMCell(3, 4, initial_state="learned").c0.shape
    torch.Size([1, 4])
    """


class GRUCell(_Cell, nn.GRUCell):
    """`nn.GRUCell` with an initial state; see `LSTMCell`.

    GRUCell(input_size, hidden_size, bias=True, device=None, dtype=None, *, initial_state="zero")
    """


class RNNCell(_Cell, nn.RNNCell):
    """`nn.RNNCell` with an initial state; see `LSTMCell`.

    RNNCell(input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None, *,
    initial_state="zero")
    """

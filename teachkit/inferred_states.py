"""An initial state that a small network infers from what came before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .drop_ins import state_layers, state_sizes
from .errors import bad, check_count


class InferredState(nn.Module):
    """Infer the initial state of a recurrent layer from a context, one state a sequence.

    rnn: the nn.LSTM, nn.GRU or nn.RNN to start; it is not kept. context_size: numbers of a context:
    past values, a class, an embedding. width: units of the one hidden layer. Training begins at the
    zero state. The h of a layer that squashes its state stays within (-1, 1); that of a ReLU layer,
    a projected one and every c0 need not.

    context (B, context_size), of the layer's dtype -> h0 (layers * directions, B, H_out), or
    (h0, c0) for an LSTM: what the layer takes as its second argument. Raises `ValueError` for
    another layer (cells have no such argument), bad sizes, and a context of another shape or dtype.
    Source: Mohajerin and Waslander, "State initialization for recurrent neural network modeling of
    time-series data", IJCNN 2017. Taught in chapter 03.

    >>> lstm = nn.LSTM(1, 16)
    >>> infer = InferredState(lstm, context_size=20)
    >>> past, x = torch.randn(8, 20), torch.randn(30, 8, 1)
    >>> output, _ = lstm(x, infer(past))
    """

    def __init__(self, rnn: nn.RNNBase, context_size: int, *, width: int = 32) -> None:
        super().__init__()
        if not isinstance(rnn, nn.RNNBase):
            raise bad("rnn", rnn, "an nn.LSTM, nn.GRU or nn.RNN")
        self.context_size = check_count("context_size", context_size)
        self.rows = len(state_layers(rnn))
        squashes = getattr(rnn, "nonlinearity", "tanh") in ("tanh", "sigmoid")
        self.squashed = squashes and not rnn.proj_size
        width = check_count("width", width)
        self.hidden = nn.Linear(self.context_size, width)
        self.states = nn.ModuleDict(
            {name: nn.Linear(width, self.rows * size) for name, size in state_sizes(rnn).items()}
        )
        for parameter in self.states.parameters():
            nn.init.zeros_(parameter)
        first = next(rnn.parameters())
        self.to(first.device, first.dtype)

    def forward(self, context: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the initial states for a batch of contexts."""
        if not isinstance(context, Tensor) or context.shape[1:] != (self.context_size,):
            raise bad("context", context, f"a tensor of shape (B, {self.context_size})")
        if context.dtype != self.hidden.weight.dtype:
            raise bad("context", context.dtype, f"of dtype {self.hidden.weight.dtype}")
        hidden = torch.tanh(self.hidden(context))
        states = []
        for name, linear in self.states.items():
            state = linear(hidden).unflatten(1, (self.rows, -1)).transpose(0, 1).contiguous()
            states.append(state.tanh() if name == "h0" and self.squashed else state)
        return states[0] if len(states) == 1 else tuple(states)

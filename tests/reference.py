"""A slow reference for measurements: the real layers, run one step at a time."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from teachkit.models import ElmanRNN

DOUBLE = torch.float64
T, B, SIZE, H = 6, 2, 3, 4
LAYERS: dict[str, tuple[type, dict[str, Any]]] = {
    "rnn": (nn.RNN, {}),
    "relu, no bias": (nn.RNN, {"nonlinearity": "relu", "bias": False}),
    "deep rnn": (nn.RNN, {"num_layers": 2, "bidirectional": True}),
    "lstm": (nn.LSTM, {}),
    "deep lstm": (nn.LSTM, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    "projected lstm": (nn.LSTM, {"num_layers": 2, "proj_size": 2}),
    "gru": (nn.GRU, {"bias": False}),
    "deep gru": (nn.GRU, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    "sigmoid": (ElmanRNN, {"nonlinearity": "sigmoid", "batch_first": True}),
    "linear": (ElmanRNN, {"nonlinearity": "linear"}),
}
# deeper ones, for what unrolls them
UNROLLED: dict[str, tuple[type, dict[str, Any]]] = {
    "rnn": (nn.RNN, {}),
    "relu, no bias": (nn.RNN, {"nonlinearity": "relu", "bias": False}),
    "deep rnn": (nn.RNN, {"num_layers": 3, "bidirectional": True}),
    "lstm": (nn.LSTM, {}),
    "deep lstm": (nn.LSTM, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    "projected lstm": (nn.LSTM, {"num_layers": 2, "proj_size": 2, "bidirectional": True}),
    "gru": (nn.GRU, {"bias": False}),
    "deep gru": (nn.GRU, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    "linear": (ElmanRNN, {"nonlinearity": "linear", "batch_first": True}),
    "sigmoid": (ElmanRNN, {"nonlinearity": "sigmoid"}),
}
PLACES = [
    (name, layer, reverse)
    for name, (_, options) in LAYERS.items()
    for layer in range(options.get("num_layers", 1))
    for reverse in (False, True)[: 1 + options.get("bidirectional", False)]
]


def make(name):
    """Return a layer, a batch in the layer's layout, and a random initial state."""
    kind, options = LAYERS[name]
    rnn = kind(SIZE, H, dtype=DOUBLE, **options)
    for parameter in rnn.parameters():
        nn.init.uniform_(parameter, -1, 1)
    count = rnn.num_layers * (1 + rnn.bidirectional)
    h0 = torch.randn(count, B, rnn.proj_size or H, dtype=DOUBLE)
    state = (h0, torch.randn(count, B, H, dtype=DOUBLE)) if kind is nn.LSTM else h0
    shape = (B, T, SIZE) if rnn.batch_first else (T, B, SIZE)
    return rnn, torch.randn(shape, dtype=DOUBLE), state


def elman(W, **options):
    """Return an Elman layer without input or bias around a given W_hh."""
    W = torch.as_tensor(W, dtype=options.pop("dtype", DOUBLE))
    rnn = ElmanRNN(1, len(W), bias=False, dtype=W.dtype, **options)
    with torch.no_grad():
        rnn.weight_ih_l0.zero_()
        rnn.weight_hh_l0.copy_(W)
    return rnn


def silence(steps, dtype=DOUBLE):
    return torch.zeros(steps, 1, 1, dtype=dtype)


def part(rnn, layer, reverse):
    """Return one layer in one direction as a real PyTorch layer of its own."""
    suffix = f"_l{layer}" + ("_reverse" if reverse else "")
    weights = {
        name.removesuffix(suffix) + "_l0": value
        for name, value in rnn.state_dict().items()
        if name.endswith(suffix)
    }
    options = {"proj_size": rnn.proj_size} if isinstance(rnn, nn.LSTM) else {}
    if isinstance(rnn, nn.RNN):
        options = {"nonlinearity": rnn.nonlinearity}
    size = weights["weight_ih_l0"].shape[1]
    single = type(rnn)(size, rnn.hidden_size, bias=rnn.bias, dtype=DOUBLE, **options)
    single.load_state_dict(weights)
    return single


def forget_gate(single, x_t, h):
    gates = x_t @ single.weight_ih_l0.T + h @ single.weight_hh_l0.T
    gates = gates + single.bias_ih_l0 + single.bias_hh_l0
    return torch.sigmoid(gates.chunk(4, -1)[1]).detach()


def walk(rnn, x, state, watched, delta_h, delta_c):
    """Run the layer step by step and add delta_h[t] to h_t and delta_c[t] to c_t of one part.

    Returns the outputs, and the input and the states of the watched part.
    """
    sequence = x.transpose(0, 1) if rnn.batch_first else x
    seen = None
    for layer in range(rnn.num_layers):
        halves = []
        for reverse in (False, True)[: 1 + rnn.bidirectional]:
            here = (layer, reverse) == watched
            single = part(rnn, layer, reverse)
            index = layer * (1 + rnn.bidirectional) + reverse
            lstm = isinstance(rnn, nn.LSTM)
            h = (state[0] if lstm else state)[index][None]
            c = state[1][index][None] if lstm else None
            if here:
                h, c = h + delta_h[0], c + delta_c[0] if lstm else None
            own = sequence.flip(0) if reverse else sequence
            hs, cs = [h], [c]
            for t, x_t in enumerate(own, 1):
                if here and lstm:  # what f times larger c_(t-1) adds to c_t reaches h_t as well
                    c = c + delta_c[t] / forget_gate(single, x_t, h)
                _, after = single(x_t[None], (h, c) if lstm else h)
                h, c = after if lstm else (after, None)
                h = h + delta_h[t] if here else h
                hs.append(h)
                cs.append(c)
            if here:
                seen = own.detach(), hs, cs
            out = torch.cat(hs[1:])
            halves.append(out.flip(0) if reverse else out)
        sequence = torch.cat(halves, -1)
    return (sequence.transpose(0, 1) if rnn.batch_first else sequence), seen


def total_norm(gradients: Iterable[torch.Tensor]) -> torch.Tensor:
    """The joint norm; `nn.utils.get_total_norm` is younger than the oldest torch."""
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))

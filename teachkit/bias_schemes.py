"""Schemes for the biases of gated layers: how long a unit remembers before it has learned to.

They write the biases that they are about, leave all others and every weight as they are, and follow
a scheme for the weights: `initialize(lstm, ["orthogonal", "forget_bias"])`. PyTorch adds two bias
vectors: the value goes to `bias_ih`, and `bias_hh` of that gate becomes 0. Chapter 02 compares
forget biases with "chrono"; "memory_bias" is what its exercise on a GRU writes by hand.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .errors import bad, check_count, check_number
from .gates import MEMORY, kind_of, set_forget_bias
from .schemes import Generator, check_biases, scheme, set_biases


def _remembering_gate(module: nn.Module) -> str:
    """Return the gate that keeps the state where it is open."""
    cell = kind_of(module)
    if cell not in MEMORY:
        raise bad("module", type(module), "an LSTM or a GRU: a plain RNN has no gate")
    check_biases(module)
    return MEMORY[cell]


@scheme("forget_bias", "bias", gates=["forget"])
def forget_bias(module: nn.Module, generator: Generator, bias: float = 1.0) -> None:
    """Set the forget bias of an LSTM, as `set_forget_bias` does.

    Raises `ValueError` for another module or one without biases. Source: Jozefowicz, Zaremba and
    Sutskever, ICML 2015, recommend 1 or 2.
    """
    if kind_of(module) != "lstm":
        raise bad("module", type(module), "an nn.LSTM or nn.LSTMCell: no other has a forget gate")
    check_biases(module)
    set_forget_bias(module, bias)


@scheme("memory_bias", "bias", gates=MEMORY.values())
def memory_bias(module: nn.Module, generator: Generator, bias: float) -> None:
    """Set the bias of the gate that keeps the state: forget in an LSTM, update in a GRU.

    A positive bias remembers, in a GRU too: PyTorch's update gate keeps, h' = (1 - z) n + z h (in
    Haiku's it replaces, and the sign is the other one). Raises `ValueError` for a plain RNN or a
    module without biases. Source: the documentation of torch.nn.GRU.
    """
    bias = check_number("bias", bias)
    gate = _remembering_gate(module)
    set_biases(module, lambda hidden_size: {gate: bias})


@scheme("chrono", "bias", gates=["input", "forget", "cell", "output", "update"])
def chrono(module: nn.Module, generator: Generator, max_steps: int) -> None:
    """Draw biases such that units forget after 2 to `max_steps` steps, each horizon as likely.

    A unit whose forget gate has the bias b remembers for 1 / (1 - sigmoid(b)) = 1 + e^b steps.
    LSTM: forget gate log U(1, max_steps - 1), input gate minus that, cell and output 0. GRU: update
    gate plus log U(1, max_steps - 1) with PyTorch's sign (see "memory_bias"); reset and new stay.
    Raises `ValueError` for a plain RNN or a module without biases. Source: Tallec and Ollivier,
    ICLR 2018 (arXiv:1804.11188).
    """
    max_steps = check_count("max_steps", max_steps, low=2)
    gate = _remembering_gate(module)

    def draw(hidden_size: int) -> dict[str, float | Tensor]:
        horizon = torch.empty(hidden_size, dtype=torch.float64, device="cpu")  # less one step
        memory = horizon.uniform_(1.0, max_steps - 1.0, generator=generator).log_()
        if gate == "update":
            return {"update": memory}
        return {"input": -memory, "forget": memory, "cell": 0.0, "output": 0.0}

    set_biases(module, draw)

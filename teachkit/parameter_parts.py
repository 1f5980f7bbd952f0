"""Which parameters of a model belong to its recurrent layers, to its output layer, to the rest."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from .errors import bad

# what torch.compile and nn.DataParallel put before the names of a model's layers
_WRAPPERS = ("_orig_mod.", "module.")


Parameters = nn.Module | Tensor | Iterable[Tensor]


def tensors_of(parameters: Parameters) -> list[Tensor]:
    """Return the parameters of a model, or those given; raise `ValueError` for anything else."""
    if isinstance(parameters, nn.Module):
        return list(parameters.parameters())
    allowed = "a model, or tensors such as its parameters()"
    try:
        listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    except TypeError:
        raise bad("parameters", parameters, allowed) from None
    for p in listed:
        if not isinstance(p, Tensor):
            raise bad("parameters", p, allowed)
    return listed


def parts_of(model: nn.Module, output: str | None = None) -> list[tuple[str, Tensor]]:
    """Return the parameters of a model, each with its part: "recurrent", "output" or "other".

    recurrent: all of nn.RNN, nn.LSTM, nn.GRU and their cells, learned initial states too. output:
    of the layer of this name, also within torch.compile or nn.DataParallel; None is the last
    nn.Linear outside recurrent layers, if there is one. A parameter that two layers share counts as
    the output layer's. Raises `ValueError` for a name that the model does not have. Taught in
    chapter 05.

    >>> model = nn.ModuleDict({"rnn": nn.GRU(3, 4, bias=False), "head": nn.Linear(4, 2)})
    >>> [part for part, _ in parts_of(model)]
    ['recurrent', 'recurrent', 'output', 'output']
    """
    recurrent = {id(p) for layer in _recurrent_layers(model) for p in layer.parameters()}
    head = output_layer(model, output)
    last = set() if head is None else {id(p) for p in head.parameters()}

    def part(p: Tensor) -> str:
        return "output" if id(p) in last else "recurrent" if id(p) in recurrent else "other"

    return [(part(p), p) for p in model.parameters()]


def _recurrent_layers(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, (nn.RNNBase, nn.RNNCellBase))]


def _unwrapped(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


def output_layer(model: nn.Module, name: str | None = None) -> nn.Module | None:
    """Return the layer of this name; for None the last nn.Linear outside recurrent layers, if any.

    Raises `ValueError` for a name that the model does not have.
    """
    layers = dict(model.named_modules())
    if name is not None:
        inside = [layer for own, layer in layers.items() if _unwrapped(own) == name]
        if name not in layers and len(inside) == 1:
            return inside[0]
        if name not in layers:
            known = ", ".join(repr(n) for n in layers if n) or "none"
            raise bad("output", name, f"the name of a layer of the model: {known}")
        return layers[name]
    in_layers = {id(m) for layer in _recurrent_layers(model) for m in layer.modules()}
    linear = [m for m in layers.values() if isinstance(m, nn.Linear) and id(m) not in in_layers]
    return linear[-1] if linear else None

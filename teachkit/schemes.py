"""The register of initialisation schemes, and what they are made of.

`weight_schemes`, `bias_schemes` and `presets` enter their schemes here; `initialize` runs them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from .errors import bad, check_choice
from .gates import gates, kind_of, split_gates, weights_of
from .laws import TRUNCATED_STD

Scheme = Callable[..., None]
Generator = torch.Generator | None

KINDS = ("preset", "weights", "bias")
SCHEMES: dict[str, Scheme] = {}
KIND: dict[str, str] = {}
GATES: dict[str, frozenset[str]] = {}  # of a bias scheme: whose biases it writes


def scheme(
    name: str, kind: str | None = None, *, gates: Iterable[str] = ()
) -> Callable[[Scheme], Scheme]:
    """Enter a function as the scheme `name`.

    It is called with a layer or cell, a generator of random numbers and its own options, and writes
    to the weights and biases, gate by gate where that matters (`gates.gates`). kind: what it
    writes: "preset" (weights and biases, as one framework does), "weights" (and zero biases) or
    "bias" (biases alone); None where that does not matter. gates: of kind "bias", the gates that it
    writes. Raises `ValueError` for another kind, a name that is no text or that another scheme has
    (the same function may be defined again, as a cell of a notebook does), and a function that
    cannot be called with a module and a generator.
    """
    if not isinstance(name, str) or not name:
        raise bad("name", name, "a text")
    check_choice("kind", kind, (*KINDS, None))

    def enter(function: Scheme) -> Scheme:
        _check_function("a scheme", function)
        if name in SCHEMES and _home(SCHEMES[name]) != _home(function):
            raise bad("name", name, "one that no other scheme has")
        SCHEMES[name] = function
        KIND.pop(name, None)
        if kind is not None:
            KIND[name] = kind
        GATES[name] = frozenset(gates) or frozenset([name])
        return function

    return enter


def _home(function: Scheme) -> tuple[Any, Any]:
    return getattr(function, "__module__", None), getattr(function, "__qualname__", function)


def _check_function(argument: str, function: Any) -> None:
    """Raise `ValueError` unless a function takes a module and a generator."""
    try:
        inspect.signature(function).bind_partial(None, None)
        fits = not isinstance(function, type)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise bad(argument, function, "a function of (module, generator) and its options")


def registered(kind: str | None = None) -> list[str]:
    """Return the names of all schemes that were entered, or of one kind."""
    if kind is not None:
        return [name for name in SCHEMES if KIND.get(name) == kind]
    rest = [name for name in SCHEMES if name not in KIND]
    return [name for kind in KINDS for name in registered(kind)] + rest


@dataclass(frozen=True)
class Step:
    """One scheme with its options; label names it in messages."""

    label: str
    function: Scheme
    options: dict[str, Any]

    def check_options(self) -> None:
        """Raise `ValueError` for an option that the scheme does not have, or one that is missing.

        Also for a function that is no scheme: its first two arguments are the module and the
        generator.
        """
        _check_function("scheme", self.function)
        every = inspect.signature(self.function).parameters.values()
        known = [p for p in every if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)][2:]
        names = [p.name for p in known]
        odd = [name for name in self.options if name not in names]
        if odd and not any(p.kind == p.VAR_KEYWORD for p in every):
            allowed = ", ".join(names) or "none"
            raise bad("options", odd[0], f"those of the scheme {self.label!r} ({allowed})")
        for p in known:
            if p.default is p.empty and p.name not in self.options:
                raise ValueError(
                    f"options must include {p.name!r} for the scheme {self.label!r}, "
                    "but it was not given."
                )


def _step(argument: str, given: Any) -> Step:
    label, options = given, {}
    if isinstance(given, Mapping):
        options = dict(given)
        if "scheme" not in options:
            raise bad(argument, given, 'a scheme, or a dict with a "scheme"')
        label = options.pop("scheme")
    if callable(label):
        return Step(getattr(label, "__name__", None) or repr(label), label, options)
    check_choice(argument, label, registered())
    return Step(label, SCHEMES[label], options)


def is_sequence(given: Any) -> TypeGuard[Sequence[Any]]:
    """Tell a sequence of steps from one step."""
    return isinstance(given, Sequence) and not isinstance(given, str)


def steps(argument: str, given: Any) -> list[Step]:
    """Return the steps of a scheme: a name, a function, a dict with a "scheme", or a list of these.

    argument: what a message calls it. Raises `ValueError` for no step at all, an unknown scheme, a
    bias scheme before a scheme that would write its biases again, and two schemes of which the
    second would write over the first: two for the weights, or two for the bias of one gate.
    """
    if not is_sequence(given):
        return [_step(argument, given)]
    if not given:
        raise bad(argument, given, "a scheme, or a sequence of one or more")
    made = [_step(argument, one) for one in given]
    before: list[str] = []
    for step in made:
        # by what it is, since a function may have another name than its scheme
        name = next((name for name, made in SCHEMES.items() if made is step.function), None)
        if name in KIND:
            _check_order(argument, before, name)
            before.append(name)
    return made


def _check_order(argument: str, before: list[str], name: str) -> None:
    """Raise `ValueError` where a scheme would write over what an earlier one wrote."""
    for other in before:
        if KIND[name] != "bias" and KIND[other] == "bias":
            raise ValueError(
                f"{argument} must have its bias schemes last, but {name!r} after {other!r} "
                "was given and would write the biases again."
            )
        if KIND[name] != "bias":
            what, lost = "one scheme for the weights", True
        else:
            what, lost = "one scheme for the bias of a gate", bool(GATES[name] & GATES[other])
        if lost and (KIND[name] == "bias") == (KIND[other] == "bias"):
            raise ValueError(
                f"{argument} must have {what}, but {name!r} after {other!r} was given and would "
                "write over it."
            )


# --- what schemes are made of ---------------------------------------------------------------------


def parameters(module: nn.Module, kind: str, *, fused: bool = False) -> list[Tensor]:
    """Return the parameters whose name begins with `kind`, as views to write to.

    One a gate, (H, ...), or fused: the stacked ones, (gates * H, ...). A projection has no gates
    and is one of the "weight_" either way.
    """
    check_choice("fused", fused, (True, False))
    cell = kind_of(module)
    found: list[Tensor] = []
    for name, parameter in weights_of(module).items():
        if name.startswith(kind):
            whole = fused or name.startswith("weight_hr")
            value = parameter.detach()
            found += [value] if whole else split_gates(value, cell).values()
    return found


def fill(tensor: Tensor, draw: Callable[[Tensor], object]) -> None:
    """Write to a parameter what `draw` writes to float64 on the CPU, where the generator is."""
    scratch = torch.empty(tensor.shape, dtype=torch.float64, device="cpu")
    draw(scratch)
    tensor.copy_(scratch)


def draw_uniform(tensor: Tensor, bound: float, generator: Generator) -> None:
    """Draw from U(-bound, bound)."""
    # whatever dtype and device a reader made the default
    drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float32, device="cpu")
    tensor.copy_((2 * drawn - 1) * bound)


def draw_glorot(
    tensor: Tensor, generator: Generator, *, fan_in: int | None = None, fan_out: int | None = None
) -> None:
    """Draw from U(-b, b) with b = sqrt(6 / (fan_in + fan_out)), by default of the tensor itself.

    Source: Glorot and Bengio 2010.
    """
    rows, columns = tensor.shape
    draw_uniform(tensor, math.sqrt(6 / ((fan_in or columns) + (fan_out or rows))), generator)


def draw_truncated_normal(
    tensor: Tensor, std: float, generator: Generator, *, corrected: bool
) -> None:
    """Draw from N(0, s^2) cut at 2 s, where s is `std`.

    corrected: make s larger, so that it is the standard deviation after the cut that is `std`.
    """
    s = std / TRUNCATED_STD if corrected else std
    if s == 0:
        tensor.zero_()
        return
    fill(tensor, lambda t: nn.init.trunc_normal_(t, 0.0, s, -2 * s, 2 * s, generator=generator))


def draw_orthogonal(
    tensor: Tensor, gain: float, generator: Generator, *, haar: bool = True
) -> None:
    """Draw a matrix with orthonormal columns (or rows, where it has more columns), times `gain`.

    haar: from all of them uniformly; False leaves out the correction of signs that makes it so.
    """
    if haar:
        fill(tensor, lambda t: nn.init.orthogonal_(t, gain, generator=generator))
        return
    rows, columns = tensor.shape
    shape = (max(rows, columns), min(rows, columns))
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    q = torch.linalg.qr(drawn).Q
    tensor.copy_(gain * (q if rows >= columns else q.T))


def glorot_inputs_zero_biases(
    module: nn.Module, generator: Generator, *, fused: bool = False
) -> None:
    """Write Glorot uniform W_ih and zero biases, as the schemes that are about W_hh do."""
    for W in parameters(module, "weight_ih", fused=fused):
        draw_glorot(W, generator)
    zero_biases(module)


def zero_biases(module: nn.Module) -> None:
    """Write 0 to all biases, of which there may be none."""
    for bias in parameters(module, "bias_", fused=True):
        bias.zero_()


def check_biases(module: nn.Module) -> None:
    """Raise `ValueError` for a module without biases."""
    if not module.bias:
        raise ValueError("module must have biases, but it was made with bias=False.")


def set_biases(module: nn.Module, make: Callable[[int], Mapping[str, float | Tensor]]) -> None:
    """Write biases to `bias_ih` and 0 to `bias_hh`, which PyTorch adds to it; others stay.

    make: called with hidden_size for each layer and direction, returns {gate: a number or (H,)}.
    Does nothing where there are no biases.
    """
    named = gates(module)
    for name, views in named.items():
        if name.startswith("bias_ih"):
            second = named[name.replace("bias_ih", "bias_hh")]
            for gate, value in make(next(iter(views.values())).shape[0]).items():
                views[gate].copy_(torch.as_tensor(value, dtype=torch.float64, device="cpu"))
                second[gate].zero_()

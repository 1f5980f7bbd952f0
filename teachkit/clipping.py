"""Gradient clipping between `backward()` and `step()`, and the record of what it did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .device import as_double
from .errors import bad, check_choice, check_number


@dataclass(frozen=True)
class ClipRecord:
    """What one call of a `Clipper` did to the gradient.

    norm_before, norm_after: global L2 norms; cosine: between the gradient before and after (1 when
    only the length changed, NaN when a norm is 0 or not finite); fraction: share of the gradient
    entries that changed; finite: whether every gradient entry was finite.
    """

    norm_before: float
    norm_after: float
    cosine: float
    fraction: float
    finite: bool

    @property
    def clipped(self) -> bool:
        """Whether the gradient was changed."""
        return self.fraction > 0


Parameters = nn.Module | Tensor | Iterable[Tensor]


def _with_gradients(parameters: Parameters) -> list[Tensor]:
    if isinstance(parameters, nn.Module):
        parameters = parameters.parameters()
    elif isinstance(parameters, Tensor):
        parameters = [parameters]
    return [p for p in parameters if p.grad is not None]


def _flat_gradient(parameters: list[Tensor]) -> Tensor:
    """Return all gradients as one vector, in float64, where squares of float32 stay in range."""
    grads = [as_double(p.grad.flatten()) for p in parameters if p.grad is not None]
    return torch.cat(grads) if grads else torch.zeros(0, dtype=torch.float64)


def gradient_norm(parameters: Parameters) -> float:
    """Return the global L2 norm of all gradients of a module or of parameters: 0 without any."""
    return _flat_gradient(_with_gradients(parameters)).norm().item()


@dataclass
class Clipper:
    """Clip gradients between `backward()` and `step()`, and keep a record.

    method: "norm" scales all gradients together so that their global L2 norm is at most
    `threshold` (`torch.nn.utils.clip_grad_norm_`; the direction stays); "value" clamps each entry
    to [-threshold, threshold] (`torch.nn.utils.clip_grad_value_`; the direction changes).
    `threshold` is in the units of the gradient. A non-finite gradient is treated as PyTorch treats
    it and reported as `finite=False`. Raises `ValueError` for an unknown method or a threshold
    that is not above 0. Source: Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063), algorithm 1.
    Taught in chapter 04; chapter 05 is about nothing else.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> layer.weight.grad = torch.tensor([[3.0, 4.0]])
    >>> Clipper("norm", threshold=1.0)(layer).norm_before
    5.0
    >>> [round(g, 4) for g in layer.weight.grad.flatten().tolist()]
    [0.6, 0.8]
    """

    method: str = "norm"
    threshold: float = 1.0
    records: list[ClipRecord] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        check_choice("method", self.method, ["norm", "value"])
        self.threshold = check_number("threshold", self.threshold, low=0)
        if self.threshold == 0:
            raise bad("threshold", self.threshold, "above 0")

    @property
    def rule(self) -> tuple[str, float]:
        """What two clippers that do the same have in common."""
        return self.method, self.threshold

    def __call__(self, parameters: Parameters) -> ClipRecord:
        """Clip the gradients of a module or of parameters in place; return and keep the record."""
        clipped = _with_gradients(parameters)
        before = _flat_gradient(clipped)
        if clipped:
            # one network is a stack of one
            self.clip_stacked([p.grad[None] for p in clipped if p.grad is not None])
        record = _compare(before, _flat_gradient(clipped))
        self.records.append(record)
        return record

    @torch.no_grad()
    def clip_stacked(self, gradients: Sequence[Tensor], norms: Tensor | None = None) -> Tensor:
        """Clip the gradients of R networks, each as if it were alone, in place.

        gradients: one tensor (R, ...) a parameter. norms: from `stacked_norms`, where known.
        Returns (R,), whether the gradient of a network was changed. Keeps no record.
        """
        if self.method == "norm":
            norms = stacked_norms(gradients) if norms is None else norms
            # as torch.nn.utils.clip_grad_norm_ has it, for each network
            scale = (self.threshold / (norms + 1e-6)).clamp(max=1.0)
            for g in gradients:
                g.mul_(scale.to(g.dtype).view(-1, *[1] * (g.ndim - 1)))
            return scale != 1
        limit = self.threshold
        changed = [(~(g.abs() <= limit) & ~g.isnan()).reshape(len(g), -1).any(1) for g in gradients]
        for g in gradients:
            g.clamp_(-limit, limit)
        return torch.stack(changed).any(0)


def stacked_norms(gradients: Sequence[Tensor]) -> Tensor:
    """Return the global L2 norm of each of R networks, (R,), from one tensor (R, ...) a parameter.

    Squares are summed in the precision of the gradients, as `torch.nn.utils.clip_grad_norm_` does.
    """
    norms = [torch.linalg.vector_norm(g.reshape(len(g), -1), dim=1) for g in gradients]
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)


def _compare(before: Tensor, after: Tensor) -> ClipRecord:
    old, new = before.norm().item(), after.norm().item()
    cosine = math.nan
    if 0 < old < math.inf and 0 < new < math.inf:
        cosine = min(1.0, ((before / old) @ (after / new)).item())
    same = (before == after) | (before.isnan() & after.isnan())
    return ClipRecord(
        norm_before=old,
        norm_after=new,
        cosine=cosine,
        fraction=1 - same.double().mean().item() if before.numel() else 0.0,
        finite=bool(torch.isfinite(before).all()),
    )

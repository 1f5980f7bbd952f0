"""What clipping did to a gradient, in numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .clip_rules import GROUPS
from .device import as_double


@dataclass(frozen=True)
class Change:
    """What clipping did to a gradient, or to a part of one.

    norm_before, norm_after: L2 norms; cosine: between the gradient before and after (1 when only
    the length changed, NaN when a norm is 0 or not finite); fraction: share of the entries that
    changed.
    """

    norm_before: float
    norm_after: float
    cosine: float
    fraction: float

    @property
    def clipped(self) -> bool:
        """Whether the gradient was changed."""
        return self.fraction > 0


@dataclass(frozen=True)
class ClipRecord(Change):
    """What one call of a `Clipper` did to the whole gradient.

    finite: whether every gradient entry was finite. skipped: whether the gradients were taken away
    because one was not, so that the optimiser skips these parameters; such a step is not called
    clipped. limit: the norm, entry or ratio at which this step was clipped; infinity where there
    was no limit. groups: the same for each part that there is: "recurrent", "output" and "other";
    empty where no model was given.

    Method "error" clips before a gradient is there: norm_before equals norm_after, fraction counts
    the errors that were clamped (0 where none has arrived since the last call), and no cosine is
    known, nor a fraction of a group: they are NaN.
    """

    finite: bool = True
    skipped: bool = False
    limit: float = math.inf
    groups: dict[str, Change] = field(default_factory=dict)

    @property
    def clipped(self) -> bool:
        """Whether the gradient was changed, but not taken away."""
        return super().clipped and not self.skipped


def flat_gradient(parameters: Sequence[Tensor]) -> Tensor:
    """Return all gradients as one vector, in float64, where squares of float32 stay in range."""
    grads = [as_double(p.grad.flatten()) for p in parameters if p.grad is not None]
    return torch.cat(grads) if grads else torch.zeros(0, dtype=torch.float64)


def compare_gradients(before: Tensor, after: Tensor) -> Change:
    """Say what became of a gradient, from it before and after, each as one vector."""
    old, new = before.norm().item(), after.norm().item()
    cosine = math.nan
    if 0 < old < math.inf and 0 < new < math.inf:
        cosine = min(1.0, ((before / old) @ (after / new)).item())
    same = (before == after) | (before.isnan() & after.isnan())
    fraction = 1 - same.double().mean().item() if before.numel() else 0.0
    return Change(old, new, cosine, fraction)


def compare_groups(
    groups: Sequence[str], sizes: Sequence[int], before: Tensor, after: Tensor
) -> dict[str, Change]:
    """Say what became of each group of parameters, of their groups and sizes in the vectors."""
    places = torch.tensor([GROUPS.index(group) for group in groups], dtype=torch.long)
    counts = torch.tensor(sizes, dtype=torch.long)
    of = places.to(before.device).repeat_interleave(counts.to(before.device))
    return {
        group: compare_gradients(before[of == n], after[of == n])
        for n, group in enumerate(GROUPS)
        if group in groups
    }

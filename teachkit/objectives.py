"""What training minimises and how good an output is: for classes and for numbers.

A task inherits one of the two. Outputs have shape (B, O), for the last step alone, or (T, B, O),
one at each step. Everything but `score` works under `torch.vmap` over replicas.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import bad, check_count

UNUSED = -100  # the class of a step that has no target: `ignore_index` of PyTorch's losses


def _check_every_step(output: Tensor) -> None:
    if output.ndim != 3:
        raise bad("output", output, "of shape (seq_len, batch_size, output_size)")


class Classification:
    """Cross-entropy against classes (B,) or (T, B); steps whose class is -100 do not count."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats."""
        return F.cross_entropy(output.flatten(0, -2), target.flatten())

    def step_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy at each step, (T,); NaN where no sequence has a target.

        Raises `ValueError` unless output has shape (T, B, output_size).
        """
        _check_every_step(output)
        losses = F.cross_entropy(output.movedim(-1, 1), target, reduction="none")
        return losses.sum(1) / (target != UNUSED).sum(1)

    def score(self, output: Tensor, target: Tensor) -> float:
        """Return the accuracy, 0 to 1."""
        right, used = output.argmax(-1) == target, target != UNUSED
        return (right.sum() / used.sum()).item()


class Regression:
    """Squared error against numbers of the output's shape."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error."""
        return F.mse_loss(output, target)

    def step_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error at each step, (T,).

        Raises `ValueError` unless output has shape (T, B, output_size).
        """
        _check_every_step(output)
        return (output - target).square().mean((1, 2))

    def score(self, output: Tensor, target: Tensor) -> float:
        """Return the share of the target's variance that is explained (1 is perfect)."""
        residual = (output - target).pow(2).sum()
        return (1 - residual / (target - target.mean()).pow(2).sum()).item()


def entropy(classes: Tensor) -> float:
    """Return the entropy in nats of the class frequencies, -100 left out.

    That is the cross-entropy of the best guess that knows only how frequent each class is.
    """
    share = torch.bincount(classes[classes != UNUSED]).double()
    share = share[share > 0] / share.sum()
    return -(share * share.log()).sum().item()


def evenly(count: int, size: int) -> Tensor:
    """Return at most `size` of the indices 0 to count - 1, evenly spread."""
    size = min(check_count("size", size), count)
    return torch.arange(size) * count // size

"""A penalty on gradients that grow or shrink from step to step, after Pascanu et al. 2013."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .errors import bad
from .unroll import activation_of, check_layer, unroll


def vanishing_regularizer(
    rnn: nn.RNN, x: Tensor, h0: Any = None, loss: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return Omega, how far the error is from keeping its norm at every step back.

    Omega = sum over t of (|dE/dh_t dh_t/dh_(t-1)| / |dE/dh_t| - 1)^2, for t = 1 ... T, with L2
    norms over the units of one sequence, and the mean over the batch: sequences whose errors differ
    in size count alike. Steps whose dE/dh_t is 0 are left out. As in the paper, dE/dh_t and the
    states are constants, so that a gradient reaches W_hh alone: add weight * Omega to the loss, and
    the step takes one more pass forward and back. Omega says nothing about the other weights, and
    does not keep a gradient from exploding by itself: the paper uses it with clipping.

    rnn: an nn.RNN or `ElmanRNN` with one layer in one direction. x, h0: as `rnn` takes them. loss:
    E, which maps the outputs (in the layout of `rnn`) to a scalar; None is the sum of the last h.
    NaN where an error is not finite. Raises `ValueError` for another layer, shapes that do not fit,
    values that are not finite, or a loss that is not a scalar.

    Source: Pascanu, Mikolov and Bengio, ICML 2013 (arXiv:1211.5063), equations (9) and (10). Their
    code (pascanur/trainingRNNs) takes squared norms, and the mean over steps instead of the sum:
    weights such as their 4 mean something else here. Taught in chapter 05.

    >>> rnn = nn.RNN(1, 2, nonlinearity="relu", bias=False)
    >>> _ = nn.init.ones_(rnn.weight_ih_l0), nn.init.eye_(rnn.weight_hh_l0)
    >>> x = torch.ones(5, 1)
    >>> vanishing_regularizer(rnn, x).item()  # the identity keeps every error as it is
    0.0
    >>> _ = rnn.weight_hh_l0.data.mul_(1.5)
    >>> vanishing_regularizer(rnn, x).item()  # 5 * (1.5 - 1)^2
    1.25
    """
    check_layer(rnn)
    if not isinstance(rnn, nn.RNN) or rnn.num_layers > 1 or rnn.bidirectional:
        raise bad("rnn", rnn, "an nn.RNN or ElmanRNN with one layer in one direction")
    activation = activation_of(rnn)
    assert activation is not None
    with torch.enable_grad():
        run = unroll(rnn, x, h0)
        trace = run.traces[0, False]
        value = trace.h[-1].sum() if loss is None else loss(run.outputs)
        if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
            raise bad("loss", value, "a function of the outputs that returns a scalar tensor")
        grads = torch.autograd.grad(value, trace.h[1:], allow_unused=True)
    h = torch.stack(trace.h[1:]).detach()
    error = torch.stack([torch.zeros_like(h[0]) if g is None else g.detach() for g in grads])
    # A ratio does not depend on the scale, and squares of a vanished error would underflow.
    largest = error.abs().amax(-1, keepdim=True)
    error = error / torch.where(largest == 0, 1, largest)
    back = (error * activation.slope(h)) @ getattr(rnn, "weight_hh_l0")  # noqa: B009
    norms = [torch.linalg.vector_norm(v, dim=-1) for v in (back, error)]
    used = largest.squeeze(-1) != 0
    ratio = norms[0] / torch.where(used, norms[1], 1)
    return torch.where(used, (ratio - 1).square(), 0).sum(0).mean()

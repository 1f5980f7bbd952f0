"""R models of one architecture as one: their weights stacked, their outputs and gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import bad
from .models import SequenceModel
from .plans import Plan, run_jobs
from .stacked import LONGEST, run_stacked

Loss = Callable[[Tensor, Tensor], Tensor]
States = tuple[Tensor, ...]
FUSED_KERNELS: dict[str, Callable[..., Any]] = {
    "lstm": torch.lstm,
    "gru": torch.gru,
    "tanh": torch.rnn_tanh,
    "relu": torch.rnn_relu,
}
EVALUATED_AT_ONCE = 1 << 24  # numbers in the workspace of an evaluation: 64 MB in float32
STATES = ("rnn.h0", "rnn.c0")  # learned initial states are no weights of the recurrence


def cell_kind(rnn: nn.RNNBase) -> str:
    """Return "lstm", "gru", or the nonlinearity of an Elman network.

    Raises `ValueError` for another layer.
    """
    if isinstance(rnn, nn.LSTM):
        return "lstm"
    if isinstance(rnn, nn.GRU):
        return "gru"
    if isinstance(rnn, nn.RNN):
        return rnn.nonlinearity
    raise bad("models", type(rnn), "made with an nn.LSTM, an nn.GRU or an nn.RNN")


def state_sizes(rnn: nn.RNNBase) -> dict[str, int]:
    """Map the states of a layer to their widths: h0, and c0 for an LSTM."""
    sizes = {"h0": rnn.proj_size or rnn.hidden_size}
    return sizes | {"c0": rnn.hidden_size} if isinstance(rnn, nn.LSTM) else sizes


def _architecture(model: SequenceModel) -> tuple[Hashable, ...]:
    rnn, first = model.rnn, next(model.parameters())
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout")
    settings = tuple(getattr(rnn, name) for name in (*names, "bidirectional", "proj_size"))
    head = (model.head.out_features, model.every_step)
    return (cell_kind(rnn), *settings, *head, first.dtype, first.device)


def _weights(model: SequenceModel) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if name not in STATES}


class Stack:
    """The weights of R models, one tensor (R, ...) a parameter, and what they compute.

    models: as of `Replicas`. `gradients` has the shapes of `weights`. Raises `ValueError` for
    models that are not alike.
    """

    def __init__(self, models: Sequence[SequenceModel]) -> None:
        if not models or not all(isinstance(model, SequenceModel) for model in models):
            raise bad("models", models, "a list of one or more SequenceModels")
        kinds = [_architecture(model) for model in models]
        if odd := [n for n, kind in enumerate(kinds) if kind != kinds[0]]:
            raise ValueError(
                "models must all have the same layer, sizes, head, precision and device, but "
                f"number {odd[0]} differs from number 0."
            )
        self.architecture, self.count = kinds[0], len(models)
        self.rnn, self.every_step = models[0].rnn, models[0].every_step
        self.kind = cell_kind(self.rnn)
        # the layer and direction of each row of a state
        self.layers = [
            n for n in range(self.rnn.num_layers) for _ in range(1 + self.rnn.bidirectional)
        ]
        named = [_weights(model) for model in models]
        self.weights = {k: torch.stack([w[k] for w in named]) for k in named[0]}
        self.gradients = {k: torch.zeros_like(w) for k, w in self.weights.items()}
        self._leaves: dict[tuple[int, int], dict[str, Tensor]] = {}

    @property
    def can_stack(self) -> bool:
        """Whether all can be computed in one pass: one layer, one direction, no projection."""
        return len(self.layers) == 1 and not self.rnn.proj_size

    @property
    def can_fuse(self) -> bool:
        """Whether PyTorch has a fused kernel for the layer."""
        return self.kind in FUSED_KERNELS

    def rows(self, part: slice) -> slice:
        """Return the rows that some replicas have in a state."""
        return slice(part.start * len(self.layers), part.stop * len(self.layers))

    def zero_states(self, count: int, batch_size: int) -> States:
        """Return the zero states of `count` replicas, each (rows, batch_size, size)."""
        like = next(iter(self.weights.values()))
        rows = count * len(self.layers)
        return tuple(like.new_zeros(rows, batch_size, n) for n in state_sizes(self.rnn).values())

    def batch(self, x: Tensor, target: Tensor | None = None) -> tuple[Tensor, Any]:
        """Check a batch, put time first, and spread over the replicas what they share.

        Returns x (R, T, B, I) and target (R, ...). Raises `ValueError` for other shapes.
        """
        width, like = self.rnn.input_size, next(iter(self.weights.values()))
        shape = f"a tensor of shape (R, T, B, {width}) with R = {self.count} or 1"
        first = f"a tensor with R = {self.count} or 1 in its first dimension"
        self._check_count("x", x, shape)
        if x.ndim != 4 or x.shape[3] != width:
            raise bad("x", x, shape)
        if target is not None:
            self._check_count("target", target, first)
            target = target.to(like.device).expand(self.count, *target.shape[1:])
        x = x.to(like).expand(self.count, *x.shape[1:])
        return (x.transpose(1, 2) if self.rnn.batch_first else x), target

    def _check_count(self, name: str, given: Any, allowed: str) -> None:
        fits = isinstance(given, Tensor) and given.ndim > 0
        if not fits or given.shape[0] not in (1, self.count):
            raise bad(name, given, allowed)

    def differentiate(
        self, plan: Plan, x: Tensor, target: Tensor, loss: Loss, states: States | None = None
    ) -> tuple[Tensor, States, States]:
        """Put the gradients of the first len(x) replicas in place.

        x: (R, T, B, I); target: (R, ...); loss: (output, target) of one replica -> scalar; states:
        each (rows, B, size), or None for zero. Returns the losses (R,), the gradients of `states`
        and the final states, both () where states is None.
        """
        losses = x.new_empty(len(x))
        dstates = tuple(map(torch.zeros_like, states or ()))
        finals = tuple(map(torch.zeros_like, states or ()))

        def job(part: slice) -> None:
            leaves, rows = self._leaf(part), self.rows(part)
            own = tuple(state[rows].detach().requires_grad_() for state in states or ())
            with torch.enable_grad():
                output, final = self._run(leaves, x[part], own, plan.fused, part=part)
                values = _each(loss, output, target[part])
                values.sum().backward()
            losses[part] = values.detach()
            for name, leaf in leaves.items():
                if leaf.grad is not None:  # the others are in their place already
                    self.gradients[name][part] = leaf.grad
                    leaf.grad = None
            for state, dstate, end, last in zip(own, dstates, finals, final, strict=False):
                end[rows] = last.detach()
                if state.grad is not None:
                    dstate[rows] = state.grad

        run_jobs(plan, [functools.partial(job, part) for part in plan.parts(len(x))])
        return losses, dstates, finals

    @torch.no_grad()
    def outputs(self, x: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Return what all replicas make of x (R, T, B, I), and their final states.

        Outputs are (R, B, O), or (R, T, B, O) where the models give one at each step.
        """
        _, T, B, _ = x.shape
        numbers = B * min(T, LONGEST) * (self.rnn.input_size + 8 * self.rnn.hidden_size)
        chunk = max(1, EVALUATED_AT_ONCE // numbers) if self.can_stack else 1
        found = []
        for part in Plan(chunk).parts(self.count):
            weights = {name: w[part] for name, w in self.weights.items()}
            own = tuple(state[self.rows(part)] for state in states or ())
            found.append(self._run(weights, x[part], own, not self.can_stack))
        outputs, finals = zip(*found, strict=True)
        return torch.cat(outputs), tuple(map(torch.cat, zip(*finals, strict=True)))

    def copy_to(self, model: SequenceModel, replica: int) -> None:
        """Write the weights of one replica into a model."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self.weights:
                    parameter.copy_(self.weights[name][replica])

    def _leaf(self, part: slice) -> dict[str, Tensor]:
        """Return views of the weights of some replicas that a graph can begin with."""
        key = (part.start, part.stop)
        if key not in self._leaves:
            self._leaves[key] = {
                name: weight[part].detach().requires_grad_()
                for name, weight in self.weights.items()
            }
        return self._leaves[key]

    def _run(
        self,
        weights: dict[str, Tensor],
        x: Tensor,
        states: States,
        fused: bool,
        *,
        part: slice | None = None,
    ) -> tuple[Tensor, States]:
        """Return the outputs and the final states of the replicas that `weights` has.

        part: which they are, in training.
        """
        names = [name for name in weights if name.startswith("rnn.")]
        recurrent = [weights[name] for name in names]
        head, bias = weights["head.weight"], weights["head.bias"]
        if fused:
            flat = [w[0] for w in recurrent]
            y, final = self._fused(
                flat, x[0], states or self.zero_states(1, x.shape[2]), part is not None
            )
            output = F.linear(y if self.every_step else y[-1], head[0], bias[0])[None]
        else:
            into = None if part is None else [self.gradients[name][part] for name in names]
            y, final = run_stacked(
                self.kind, x, states or None, recurrent, every_step=self.every_step, into=into
            )
            output = torch.baddbmm(bias[..., None], head, y.flatten(2))
            output = output.unflatten(2, y.shape[2:]).movedim(1, -1)
        turned = self.every_step and self.rnn.batch_first
        return output.transpose(1, 2) if turned else output, final

    def _fused(
        self, weights: list[Tensor], x: Tensor, states: States, training: bool
    ) -> tuple[Tensor, States]:
        """Run one replica through PyTorch's own kernels: x (T, B, I) -> (T, B, H)."""
        rnn = self.rnn
        y, *final = FUSED_KERNELS[self.kind](
            x,
            states if self.kind == "lstm" else states[0],
            weights,
            rnn.bias,
            rnn.num_layers,
            rnn.dropout,
            training,
            rnn.bidirectional,
            False,
        )
        return y, tuple(final)


def _each(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each replica, (R,)."""
    if len(outputs) == 1:
        values = loss(outputs[0], targets[0])
        values = values[None] if isinstance(values, Tensor) else values
    else:
        values = torch.vmap(loss)(outputs, targets)
    if not isinstance(values, Tensor) or values.ndim != 1:
        raise bad("loss", loss, "a function of (output, target) that returns a scalar tensor")
    return values

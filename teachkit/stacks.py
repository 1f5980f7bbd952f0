"""R models of one architecture as one: their weights stacked, their outputs and gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from .clip_rules import StackedParameter
from .drop_ins import GRU, LSTM, RNN, state_layers, state_sizes
from .errors import bad
from .models import ElmanRNN, SequenceModel
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
EVALUATED_AT_ONCE = 1 << 21  # numbers in the workspace of an evaluation: 8 MB in float32
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


def _architecture(model: SequenceModel) -> tuple[Hashable, ...]:
    rnn, first = model.rnn, next(model.parameters())
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout")
    settings = tuple(getattr(rnn, name) for name in (*names, "bidirectional", "proj_size"))
    head = (model.head.out_features, model.every_step)
    return (cell_kind(rnn), *settings, *head, first.dtype, first.device)


LAYERS = (nn.LSTM, nn.GRU, nn.RNN, LSTM, GRU, RNN, ElmanRNN)


def _check_plain(model: SequenceModel) -> None:
    """Refuse what a stack would silently train differently."""
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    if frozen:
        raise ValueError(f"models must train all their parameters, but {frozen[0]} is frozen.")
    if any(is_parametrized(module) for module in model.modules()):
        raise ValueError("models must have plain weights, but one has a parametrization.")
    parts = {name for name, _ in model.named_children()}
    own = type(model).forward is SequenceModel.forward and parts == {"rnn", "head"}
    if not own or type(model.rnn) not in LAYERS:
        raise bad(
            "models",
            f"{type(model).__name__} with {type(model.rnn).__name__}",
            "SequenceModels of a layer of PyTorch's, a drop-in or an ElmanRNN, as they come",
        )
    if type(model.head) is not nn.Linear or model.head.bias is None:
        raise bad("models", model.head, "SequenceModels whose head is an nn.Linear with a bias")


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
        for model in models:
            _check_plain(model)
        kinds = [_architecture(model) for model in models]
        if odd := [n for n, kind in enumerate(kinds) if kind != kinds[0]]:
            raise ValueError(
                "models must all have the same layer, sizes, head, precision and device, but "
                f"number {odd[0]} differs from number 0."
            )
        self.architecture, self.count = kinds[0], len(models)
        self.rnn, self.every_step = models[0].rnn, models[0].every_step
        self.kind = cell_kind(self.rnn)
        self.layers = state_layers(self.rnn)  # of each row that a replica has in a state
        named = [_weights(model) for model in models]
        self.weights = {k: torch.stack([w[k] for w in named]) for k in named[0]}
        self.gradients = {k: torch.zeros_like(w) for k, w in self.weights.items()}
        self._leaves: dict[tuple[int, int], dict[str, Tensor]] = {}

    def clipped(self, part: slice) -> list[StackedParameter]:
        """Return the weights of some models as a clipper takes them."""
        found = []
        for name, gradient in self.gradients.items():
            group = {"rnn": "recurrent", "head": "output"}[name.partition(".")[0]]
            found.append(StackedParameter(group, self.weights[name][part], gradient[part]))
        return found

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(iter(self.weights.values())).device

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

    def batch(self, x: Tensor, *target: Tensor) -> tuple[Tensor, ...]:
        """Check a batch, put time first, and spread over the replicas what they share.

        Returns x (R, T, B, I), and target (R, ...) where it is given. Raises `ValueError` for other
        shapes.
        """
        width, like = self.rnn.input_size, next(iter(self.weights.values()))
        sizes = "B, T" if self.rnn.batch_first else "T, B"
        shape = f"a tensor of shape (R, {sizes}, {width}) with R = {self.count} or 1"
        first = f"a tensor with R = {self.count} or 1 in its first dimension"
        self._check_count("x", x, shape)
        if x.ndim != 4 or x.shape[3] != width or 0 in x.shape:
            raise bad("x", x, shape)
        for given in target:
            self._check_count("target", given, first)
        spread = (t.to(like.device).expand(self.count, *t.shape[1:]) for t in target)
        x = x.to(like).expand(self.count, *x.shape[1:])
        return (x.transpose(1, 2) if self.rnn.batch_first else x), *spread

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
            for leaf in leaves.values():
                leaf.grad = None  # an interrupted step may have left one
            with torch.enable_grad():
                output, final = self._run(leaves, x[part], own, plan.fused, part=part)
                values = _each(loss, output, target[part])
                for end, last in zip(finals, final, strict=False):
                    end[rows] = last.detach()  # the backward pass gives its memory away
                values.sum().backward()
            losses[part] = values.detach()
            for name, leaf in leaves.items():
                if leaf.grad is not None:  # the others are in their place already
                    self.gradients[name][part] = leaf.grad
                    leaf.grad = None
            for state, dstate in zip(own, dstates, strict=True):
                if state.grad is not None:
                    dstate[rows] = state.grad

        run_jobs(plan, [functools.partial(job, part) for part in plan.parts(len(x))])
        return losses, dstates, finals

    def evaluate(
        self, x: Tensor, states: States | None = None
    ) -> Iterator[tuple[slice, Tensor, States]]:
        """Yield, for some replicas at a time, what they make of x (R, T, B, I).

        Yields the part of the replicas, their outputs (n, B, O), or (n, T, B, O) where the models
        give one at each step, and their final states.
        """
        _, T, B, _ = x.shape
        numbers = B * min(T, LONGEST) * (self.rnn.input_size + 8 * self.rnn.hidden_size)
        chunk = max(1, EVALUATED_AT_ONCE // numbers) if self.can_stack else 1
        for part in Plan(chunk).parts(self.count):
            weights = {name: w[part] for name, w in self.weights.items()}
            own = tuple(state[self.rows(part)] for state in states or ())
            with torch.no_grad():
                outputs, finals = self._run(weights, x[part], own, not self.can_stack)
            yield part, outputs, finals

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

    def checked(output: Tensor, target: Tensor) -> Tensor:
        value = loss(output, target)
        if not isinstance(value, Tensor) or value.ndim:
            raise bad("loss", value, "a function of (output, target) that returns a scalar tensor")
        return value

    if len(outputs) == 1:
        return checked(outputs[0], targets[0])[None]
    return torch.vmap(checked)(outputs, targets)

"""Many copies of one model, each an experiment of its own, trained in one pass.

What is stacked is ordinary: `SequenceModel`s, their initial states, a clipper, an optimiser of
`torch.optim`. Each replica ends where it would have ended alone; only dropout between layers draws
from numbers that all share.
"""

from __future__ import annotations

import copy
import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .blocks import Block, draw_noise, strategy_of, with_gradients
from .clip_rules import StackedParameter, norms_of
from .clipping import Clipper
from .device import as_double, generator, threads
from .errors import bad, check_count, check_number
from .initial_states import CarriedState
from .models import SequenceModel
from .optimizers import optimizer_for
from .plans import Plan, choose_plan
from .stacks import Loss, Stack, States


@dataclass(frozen=True)
class StepRecord:
    """What one training step did, a value for each replica, (R,).

    loss: of the batch, before the update. grad_norm: global L2 norm before clipping. Both are NaN
    for a replica that diverged in an earlier step. clipped: whether the clipper changed the
    gradient.
    """

    loss: Tensor
    grad_norm: Tensor
    clipped: Tensor


class Replicas:
    """R independent models of one architecture, trained together, each on its own batches.

    models: `SequenceModel`s alike in everything but their numbers and their initial state; they are
    copied. Their layer is an nn.LSTM, nn.GRU or nn.RNN, a drop-in of `drop_ins`, or an `ElmanRNN`;
    training takes place on their device. optimizer: "sgd", "adam" or a function of (parameters,
    lr=...) that treats each number by itself (Adafactor and Muon do not); weight decay spares
    learned states. state_lr: of learned states, None is lr. lr, state_lr, optimizer and clipper:
    one for all, or R of them. seeds: of the noise of each replica, 0 to R - 1 by default. workers:
    threads that train replicas side by side; None measures how many are fastest. plan: how to
    compute them, if that shall not be measured: plans differ in rounding, which an unstable network
    makes visible.

    A replica whose loss or gradient is not finite has diverged: it stays as it was before that
    step, `diverged` says which step that was (-1: none), and the others go on. Small networks are
    computed all at once, larger ones in turns by PyTorch's fused kernels: whichever is faster for
    these sizes on this machine, measured at the first step. Raises `ValueError` for models that
    differ. Chapter 03 is built on it.

    >>> models = [SequenceModel(torch.nn.GRU(1, 4), 2, seed=seed) for seed in range(3)]
    >>> replicas = Replicas(models, optimizer="sgd", lr=[0.1, 0.1, 0.01])
    >>> x, target = torch.zeros(3, 5, 8, 1), torch.zeros(3, 8, dtype=torch.long)
    >>> replicas.step(x, target, torch.nn.functional.cross_entropy).loss.shape
    torch.Size([3])
    """

    def __init__(
        self,
        models: Sequence[SequenceModel],
        *,
        optimizer: Any = "adam",
        lr: float | Sequence[float] = 1e-3,
        state_lr: float | Sequence[float | None] | None = None,
        clipper: Clipper | Sequence[Clipper | None] | None = None,
        seeds: Sequence[int] | None = None,
        workers: int | None = None,
        plan: Plan | None = None,
    ) -> None:
        models = list(models)
        self.stack = Stack(models)
        R = self.stack.count
        given = _one_each("optimizer", optimizer, R)
        optimizers = [optimizer_for(o, self.stack.device) for o in given]
        rates = [check_number("lr", rate, low=0) for rate in _one_each("lr", lr, R)]
        state_rates = [
            rate if rate is None else check_number("state_lr", rate, low=0)
            for rate in _one_each("state_lr", state_lr, R)
        ]
        self._clippers = [_check_clipper(c) for c in _one_each("clipper", clipper, R)]
        self._noise = [
            generator(s, "noise")
            for s in _one_each("seeds", range(R) if seeds is None else seeds, R)
        ]
        self._workers = None if workers is None else check_count("workers", workers)
        strategies = [strategy_of(model.rnn) for model in models]
        rules = [None if c is None else c.rule for c in self._clippers]
        limits = [None if c is None else c.make_limits() for c in self._clippers]
        self._blocks = [Block(self.stack, part, models[part]) for part in _runs(strategies)]
        # each a part of the replicas, its parameters, and what its clipper remembers of them
        parts = _runs(zip(strategies, rules, strict=True))
        self._clipped = [(p, self._parameters(p), limits[p.start]) for p in parts]
        self._optimizers = [
            optimizers[part.start](
                self._parameter_groups(part, state_rates[part.start]), lr=rates[part.start]
            )
            for part in _runs(zip(optimizers, rates, state_rates, strict=True))
        ]
        self._carries = any(isinstance(s, CarriedState) for s in strategies)
        if plan is not None and not isinstance(plan, Plan):
            raise bad("plan", plan, "a Plan or None")
        self._given_plan = self.plan = plan  # `plan` is what the last step went by
        self.steps = 0
        self.diverged = torch.full((R,), -1)

    def __len__(self) -> int:
        return self.stack.count

    def step(self, x: Tensor, target: Tensor, loss: Loss) -> StepRecord:
        """Train each replica by one step of its optimiser.

        x: (R, T, B, I), a batch for each, or (R, B, T, I) for `batch_first` layers; target:
        (R, ...). An R of 1 is shared by all. loss: (output, target) of one replica -> scalar; it
        runs under `torch.vmap`. Raises `ValueError` for a batch that does not fit.
        """
        x, target = self.stack.batch(x, target)
        self.plan = plan = self._plan(x, target, loss)
        with threads(1):  # the workers of the plan are the threads that pay
            states = self._start(x, training=True)
            losses, *found = self.stack.differentiate(plan, x, target, loss, states)
            self._learn(states, *found)
            return self._update(losses)

    def _update(self, losses: Tensor) -> StepRecord:
        gradients = [[p.gradient for p in parameters] for _, parameters, _ in self._clipped]
        norms = torch.cat(list(map(norms_of, gradients)))
        true_norms = norms
        if not norms.isfinite().all():  # squares leave float32 long before the gradient does
            doubled = [list(map(as_double, own)) for own in gradients]
            true_norms = torch.cat(list(map(norms_of, doubled))).to(norms.device)
        clipped = torch.zeros_like(norms, dtype=torch.bool)
        for part, parameters, limits in self._clipped:
            clipper = self._clippers[part.start]
            if clipper is not None:
                clipped[part] = clipper.clip_stacked(parameters, norms[part], limits)
        earlier = (self.diverged >= 0).to(norms.device)
        kept = self._retire((losses.isfinite() & true_norms.isfinite()).cpu())
        for optimizer in self._optimizers:
            optimizer.step()
        for place, values in kept:
            place.copy_(values)
        self.steps += 1
        losses, norms = (v.masked_fill(earlier, torch.nan) for v in (losses, true_norms))
        return StepRecord(losses, norms, clipped & ~earlier)

    def outputs(self, x: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Return what all replicas make of x, (R, T, B, I) or shared (1, T, B, I), without noise.

        states: to start from, each (R, B, H); None is each replica's own initial state, or zero for
        one that carries its state on in training. Returns the outputs, (R, B, O), or (R, T, B, O)
        from models with an output at each step, and the final states.
        """
        (x,) = self.stack.batch(x)
        states = self._given(states, x)
        _, outputs, finals = zip(*self.stack.evaluate(x, states), strict=True)
        return torch.cat(outputs), _join(finals)

    def measure(
        self,
        x: Tensor,
        target: Tensor,
        measures: Mapping[str, Callable[[Tensor, Tensor], Tensor | float]],
        states: States | None = None,
    ) -> tuple[dict[str, Tensor], States]:
        """Return functions of (output, target) for each replica, (R, ...), and the final states.

        x, target, states: as in `step` and `outputs`; the outputs of large batches are never all in
        memory.
        """
        x, target = self.stack.batch(x, target)
        states = self._given(states, x)
        found: dict[str, list[Tensor]] = {name: [] for name in measures}
        finals = []
        with threads(1):
            for part, outputs, final in self.stack.evaluate(x, states):
                finals.append(final)
                for output, own in zip(outputs, target[part], strict=True):
                    for name, function in measures.items():
                        found[name].append(torch.as_tensor(function(output, own)))
        return {name: torch.stack(values) for name, values in found.items()}, _join(finals)

    def models(self) -> list[SequenceModel]:
        """Return copies of all replicas as ordinary models."""
        made = []
        for block in self._blocks:
            for replica in range(block.part.start, block.part.stop):
                model = copy.deepcopy(block.template)
                self.stack.copy_to(model, replica)
                block.copy_to(model, replica)
                made.append(model)
        return made

    def reset_states(self) -> None:
        """Forget all carried states, as is due before another series."""
        for block in self._blocks:
            block.strategy.reset(block)

    def _plan(self, x: Tensor, target: Tensor, loss: Loss) -> Plan:
        """Find out how to compute these sizes, once."""
        if self._given_plan is not None:
            return self._given_plan
        cpu = x.device.type == "cpu"

        def timed(plan: Plan, count: int) -> None:
            self.stack.differentiate(plan, x[:count], target[:count], loss)
            if x.device.type == "cuda":
                torch.cuda.synchronize(x.device)

        return choose_plan(
            (self.stack.architecture, x.shape[1:], target.shape[1:]),
            len(self),
            timed,
            can_stack=self.stack.can_stack,
            can_fuse=self.stack.can_fuse,
            workers=self._workers if cpu else 1,
            clock=None if cpu else time.perf_counter,
        )

    def _start(self, x: Tensor, *, training: bool) -> States | None:
        """Return the initial states of all replicas, (rows, B, size), or None for zero."""
        found = []
        for block in self._blocks:
            draw = functools.partial(draw_noise, self._noise[block.part], x)
            found.append(block.start(x, training, draw))
        if all(states is None for states in found) and not (training and self._carries):
            return None
        full = [
            states or self.stack.zero_states(block.part.stop - block.part.start, x.shape[2])
            for block, states in zip(self._blocks, found, strict=True)
        ]
        return tuple(map(torch.cat, zip(*full, strict=True)))

    def _given(self, states: States | None, x: Tensor) -> States | None:
        """Check the states that an evaluation shall start from, or find its own."""
        if states is None:
            return self._start(x, training=False)
        shapes = [state.shape for state in self.stack.zero_states(len(self), x.shape[2])]
        if [getattr(state, "shape", None) for state in states] != shapes:
            allowed = " and ".join(str(tuple(shape)) for shape in shapes)
            raise bad("states", states, f"a tuple of tensors of shape {allowed}")
        return states

    def _learn(self, states: States | None, dstates: States, finals: States) -> None:
        """Hand the gradients and the final states to the strategies."""
        if states is None:
            return
        for block in self._blocks:
            for parameter in block.parameters():
                assert parameter.grad is not None
                parameter.grad.zero_()
            rows = self.stack.rows(block.part)
            final = tuple(state[rows] for state in finals)
            block.strategy.finish(block, block.sizes, final)
        traced = [n for n, state in enumerate(states) if state.requires_grad]
        torch.autograd.backward([states[n] for n in traced], [dstates[n] for n in traced])

    def _parameters(self, part: slice) -> list[StackedParameter]:
        """Return the parameters of some replicas and their gradients, each (R, ...)."""
        found = self.stack.clipped(part)
        learned = [pair for block in self._blocks for pair in block.learned(part)]
        return found + [StackedParameter("recurrent", *pair) for pair in learned]

    def _leaves(self, part: slice) -> tuple[list[Tensor], list[Tensor]]:
        """Return the weights and the learned states of some replicas, with their gradients."""
        weights = [(self.stack.weights[k][part], g[part]) for k, g in self.stack.gradients.items()]
        states = [pair for block in self._blocks for pair in block.learned(part)]
        return with_gradients(weights), with_gradients(states)

    def _parameter_groups(self, part: slice, state_lr: float | None) -> list[dict[str, Any]]:
        """Return the parameters of some replicas as `learned_states.parameter_groups` does."""
        weights, states = self._leaves(part)
        groups: list[dict[str, Any]] = [{"params": weights}]
        if states:
            groups.append({"params": states, "weight_decay": 0.0})
            groups[1] |= {} if state_lr is None else {"lr": state_lr}
        return groups

    def _retire(self, finite: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Take out the replicas that diverged; return what has to stay, and its values."""
        self.diverged[(self.diverged < 0) & ~finite] = self.steps
        kept = []
        for replica in (self.diverged >= 0).nonzero().flatten().tolist():
            for leaf in itertools.chain(*self._leaves(slice(replica, replica + 1))):
                assert leaf.grad is not None
                leaf.grad.zero_()  # the optimiser must not remember a NaN
                kept.append((leaf.detach(), leaf.detach().clone()))
        return kept


def _join(parts: Sequence[States]) -> States:
    return tuple(map(torch.cat, zip(*parts, strict=True)))


def _one_each(argument: str, given: Any, count: int) -> list[Any]:
    """Return `count` values: the one given for all, or a sequence of so many."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        return [given] * count
    if len(given) != count:
        raise bad(argument, f"{len(given)} values", f"one value, or one for each of {count} models")
    return list(given)


def _check_clipper(given: Any) -> Clipper | None:
    if given is not None:
        if not isinstance(given, Clipper):
            raise bad("clipper", given, "a Clipper or None")
        given.check_stackable()
    return given


def _runs(settings: Any) -> list[slice]:
    """Cut the replicas where a setting changes from one to the next."""
    settings = list(settings)
    cuts = [n for n in range(1, len(settings)) if settings[n] != settings[n - 1]]
    return [slice(a, b) for a, b in zip([0, *cuts], [*cuts, len(settings)], strict=True)]

"""One real training loop, with progress, clipping, a stop switch and a history."""

from __future__ import annotations

import copy
import inspect
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from .clipping import Clipper, gradient_norm
from .device import choose_device, fastest_thread_count, threads
from .errors import bad, check_count

Batch = tuple[Tensor, Tensor]


@dataclass
class History:
    """What happened in training, one entry a step.

    loss: of each batch, before the update. grad_norm: global L2 norm before clipping. clipped:
    whether the clipper changed the gradient. skipped: whether it had the optimiser skip the step.
    score: {step: value}, where a score was asked for. status: "running", "finished", "stopped",
    "interrupted", "exhausted" (the loader was an iterator and ended) or "diverged" (the loss or the
    gradient left float range, and another step would spread that; a clipper with `skip_nonfinite`
    skips such steps instead). seconds: wall time.
    """

    loss: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    clipped: list[bool] = field(default_factory=list)
    skipped: list[bool] = field(default_factory=list)
    score: dict[int, float] = field(default_factory=dict)
    status: str = "running"
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def frame(self) -> pd.DataFrame:
        """The history as a table with a row a step."""
        table = pd.DataFrame(
            {
                "loss": self.loss,
                "grad_norm": self.grad_norm,
                "clipped": self.clipped,
                "skipped": self.skipped,
            }
        )
        table["score"] = pd.Series(self.score, dtype=float)
        return table.rename_axis("step")

    def __repr__(self) -> str:
        last = f"loss {self.loss[0]:.4g} -> {self.loss[-1]:.4g}" if self.loss else "no step"
        return f"History({self.status} after {len(self)} steps in {self.seconds:.1f} s: {last})"


def fit(
    model: nn.Module,
    loader: Iterable[Batch],
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    clipper: Clipper | None = None,
    steps: int,
    score: Callable[[nn.Module], float] | None = None,
    score_every: int = 100,
    device: str | torch.device | None = None,
    num_threads: int | None = 1,
    progress: bool = True,
    on_step: Callable[[History], None] | None = None,
    stop: threading.Event | None = None,
) -> History:
    """Train `model` for `steps` updates and return what happened.

    loader: yields (x, target); it is started again when it ends, unless it is an iterator. loss:
    (output, target) -> scalar. clipper: called between `backward()` and `step()`. score: called on
    the model every `score_every` steps and at the end. device: None keeps the model where it is;
    "cuda" and the like move it. num_threads: CPU threads (1 is fastest for small networks; None
    measures, on a loader that can be started again), restored afterwards. on_step: sees the growing
    history after each step. Setting `stop`, or the notebook's stop button, ends training with the
    history so far. A loss or gradient that is not finite ends it as "diverged". Raises `ValueError`
    for steps below 1, an empty loader, a loss that is not a scalar, or an optimiser such as LBFGS,
    whose step needs a closure: it would compute the loss again where clipping cannot reach. Taught
    in chapter 04.
    """
    _check_optimizer(optimizer)
    steps = check_count("steps", steps)
    score_every = check_count("score_every", score_every)
    if device is not None:
        model.to(choose_device(device))
    if num_threads is not None:
        check_count("num_threads", num_threads)
    else:
        num_threads = _measure_threads(model, loader, loss)
    history = History()
    run = train_steps(
        model, loader, loss=loss, optimizer=optimizer, clipper=clipper, history=history
    )
    with threads(num_threads), _bar(steps, progress) as bar:
        try:
            while len(history) < steps:
                if stop is not None and stop.is_set():
                    history.status = "stopped"
                    break
                if next(run, None) is None:
                    break
                if score is not None and len(history) % score_every == 0:
                    history.score[len(history) - 1] = _evaluate(model, score)
                bar.update()
                if on_step is not None:
                    on_step(history)
            last = len(history) - 1
            if score is not None and last >= 0 and last not in history.score:
                history.score[last] = _evaluate(model, score)
        except KeyboardInterrupt:
            history.status = "interrupted"
            _even_out(history)
    if history.status == "running":
        history.status = "finished"
    return history


def train_steps(
    model: nn.Module,
    loader: Iterable[Batch],
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    clipper: Clipper | None = None,
    history: History | None = None,
) -> Iterator[History]:
    """Train step by step: yield the growing history after each update, without end.

    `fit` drives this to a number of steps; a lab drives two at once to compare them live. Ends
    only when the loss or the gradient is not finite ("diverged"), or a loader that is an iterator
    has no more batches ("exhausted"). Arguments are those of `fit`.
    """
    _check_optimizer(optimizer)
    history = History() if history is None else history
    where = next((p.device for p in model.parameters()), torch.device("cpu"))
    model.train()
    start = time.perf_counter()
    for x, target in _cycle(loader):
        _step(model, x.to(where), target.to(where), loss, optimizer, clipper, history)
        history.seconds = time.perf_counter() - start
        yield history
        if history.status == "diverged":
            return
    history.status = "exhausted"


def _check_optimizer(optimizer: Any) -> None:
    """Raise `ValueError` for one whose `step` cannot be called without a closure."""
    if not callable(getattr(optimizer, "step", None)):
        raise bad("optimizer", optimizer, "a torch.optim.Optimizer")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise bad("optimizer", type(optimizer), "one whose step() needs no closure")


def _step(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    clipper: Clipper | None,
    history: History,
) -> None:
    optimizer.zero_grad()
    value = loss(model(x), target)
    if not isinstance(value, Tensor) or value.ndim:
        raise bad("loss", value, "a function of (output, target) that returns a scalar tensor")
    value.backward()
    record = None if clipper is None else clipper(model)
    norm = gradient_norm(model) if record is None else record.norm_before
    history.loss.append(value.item())
    history.grad_norm.append(norm)
    history.clipped.append(record is not None and record.clipped)
    history.skipped.append(record is not None and record.skipped)
    if history.skipped[-1]:
        return
    if math.isfinite(history.loss[-1]) and math.isfinite(norm):
        optimizer.step()
    else:
        history.status = "diverged"


def _even_out(history: History) -> None:
    """Leave out a step that an interrupt cut off between one entry and the next."""
    columns = history.loss, history.grad_norm, history.clipped, history.skipped
    whole = min(len(column) for column in columns)
    for column in columns:
        del column[whole:]


def _evaluate(model: nn.Module, score: Callable[[nn.Module], float]) -> float:
    model.eval()
    try:
        with torch.no_grad():
            return float(score(model))
    finally:
        model.train()


def _cycle(loader: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise ValueError("loader must yield at least one (x, target) batch, but it is empty.")
        if isinstance(loader, Iterator):
            return


def _measure_threads(
    model: nn.Module, loader: Iterable[Batch], loss: Callable[[Tensor, Tensor], Tensor]
) -> int:
    """Measure on one batch and a copy of the model; the training itself is left untouched."""
    if isinstance(loader, Iterator):  # a batch taken from it would be lost to training
        return 1
    with torch.random.fork_rng(devices=[]):  # shuffling and dropout draw numbers
        twin = copy.deepcopy(model).cpu()
        x, target = next(_cycle(loader))
        return fastest_thread_count(lambda: loss(twin(x.cpu()), target.cpu()).backward())


def _bar(steps: int, progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=steps, disable=not progress, leave=False, desc="training", unit="step")

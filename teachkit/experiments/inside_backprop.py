"""Chapter 05: clipping inside backpropagation, and a penalty on what clipping cannot repair."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..clipping import gradient_norm
from ..device import generator, threads
from ..error_clipping import ErrorClipping
from ..models import SequenceModel, make_elman
from ..regularizer import vanishing_regularizer
from ..spectra import spectral_radius
from ..tasks import Task, TemporalOrder, batches
from .settings import changed

# norm: threshold of norm clipping; error: of error clipping, where an entry of the error at the
# last step is at most about 0.01; weight: of the regulariser, which near its minimum does what 4
# does in the code of Pascanu et al., where norms are squared and the 30 steps averaged
INSIDE_BACKPROP_VARIANTS: dict[str, dict[str, Any]] = {
    "none": {},
    "norm 1": {"norm": 1.0},
    "error 0.01": {"error": 0.01},
    "error 0.001": {"error": 0.001},
    "regulariser": {"weight": 0.5},
    "regulariser, norm 1": {"norm": 1.0, "weight": 0.5},
}
INSIDE_BACKPROP: dict[str, Any] = {
    "seq_len": 30,
    "hidden_size": 50,
    "activation": "tanh",
    "rho": 1.2,
    "batch_size": 32,
    "steps": 1500,
    "test_size": 1000,
    "lrs": [0.1, 0.03],
    "seeds": 16,
    "variants": INSIDE_BACKPROP_VARIANTS,
}


def inside_backprop_study(**changes: Any) -> pd.DataFrame:
    """Train tanh networks on temporal order with SGD by every variant, rate and seed.

    changes: to `INSIDE_BACKPROP`, for a smaller study. Returns a row a run: lr, variant, seed, step
    (updates made), status ("finished" or "diverged": a loss or gradient was not finite, and no
    update follows), loss (mean over the last 100 updates), accuracy (on `test_size` held-out
    sequences), largest_norm (of the gradient before norm clipping), fraction (mean share of errors
    clamped; NaN without error clipping), final_rho (spectral radius of the trained W_hh) and
    milliseconds (of processor time, the mean of an update on one thread). A run without any update
    has NaN for what the updates tell. Raises `ValueError` for a setting that `INSIDE_BACKPROP` does
    not have. Taught in chapter 05.
    """
    from tqdm.auto import tqdm

    s = changed(INSIDE_BACKPROP, changes)
    plan = list(itertools.product(s["lrs"], s["variants"], range(s["seeds"])))
    rows = []
    with threads(1):
        for lr, variant, seed in tqdm(plan, desc="inside backpropagation", unit="run"):
            run = _run(s, lr, seed, **s["variants"][variant])
            rows.append({"lr": lr, "variant": variant, "seed": seed, **run})
    return pd.DataFrame(rows)


def _run(
    s: dict[str, Any],
    lr: float,
    seed: int,
    *,
    norm: float | None = None,
    error: float | None = None,
    weight: float = 0.0,
) -> dict[str, Any]:
    """Train one network; return its row."""
    task = TemporalOrder(s["seq_len"])
    rnn = make_elman(
        s["hidden_size"],
        s["rho"],
        activation=s["activation"],
        input_size=task.input_size,
        seed=seed,
    )
    model = SequenceModel(rnn, task.output_size, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses, norms, shares = [], [], []
    status = "finished"
    start = time.process_time()
    attached = nullcontext() if error is None else ErrorClipping(model, error)
    with attached as errors:
        for x, target in itertools.islice(batches(task, s["batch_size"], seed=seed), s["steps"]):
            loss, size = train_step(model, optimizer, task, x, target, norm=norm, weight=weight)
            if not math.isfinite(loss) or not math.isfinite(size):
                status = "diverged"
                break
            losses.append(loss)
            norms.append(size)
            if errors is not None:
                shares.append(errors.fraction())
    seconds = time.process_time() - start
    x, target = task.batch(s["test_size"], generator(0, "test"))
    with torch.no_grad():
        accuracy = task.score(model(x), target)
    W = rnn.weight_hh_l0
    return {
        "step": len(losses),
        "status": status,
        "loss": _mean(losses[-100:]),
        "accuracy": accuracy,
        "largest_norm": max(norms, default=math.nan),
        "fraction": _mean(shares),
        "final_rho": spectral_radius(W).item() if W.isfinite().all() else math.nan,
        "milliseconds": 1000 * seconds / len(losses) if losses else math.nan,
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def train_step(
    model: SequenceModel,
    optimizer: torch.optim.Optimizer,
    task: Task,
    x: Tensor,
    target: Tensor,
    *,
    norm: float | None = None,
    weight: float = 0.0,
) -> tuple[float, float]:
    """Train a model by one step; return the loss and the norm of the gradient before clipping.

    norm: of the gradient after clipping, at most. weight: of `vanishing_regularizer`, whose
    gradient is clipped with the rest. No step is taken where a result is not finite; the norm is
    taken in float64, as `training.fit` does, for squares leave float32 long before the gradient.
    """
    optimizer.zero_grad()
    loss = task.loss(model(x), target)
    loss.backward()
    if weight and loss.isfinite():
        omega = vanishing_regularizer(
            model.rnn,  # type: ignore[arg-type]
            x,
            loss=lambda outputs: task.loss(model.head(outputs[-1]), target),
        )
        (weight * omega).backward()
    size = gradient_norm(model)
    if norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), norm)
    if loss.isfinite() and math.isfinite(size):
        optimizer.step()
    return loss.item(), size


def error_clipping_cosines(
    task: Task,
    rho: float,
    limits: Sequence[float],
    *,
    hidden_size: int = INSIDE_BACKPROP["hidden_size"],
    seeds: Iterable[int] = range(8),
) -> dict[float, float]:
    """Say how far error clipping turns the gradient of untrained tanh networks.

    limits: of the errors. Returns {limit: mean cosine between the clipped and the true gradient},
    over networks with these seeds, each on a batch of 32 of its own. Taught in chapter 05.
    """
    found: dict[float, list[float]] = {limit: [] for limit in limits}
    for seed in seeds:
        rnn = make_elman(hidden_size, rho, input_size=task.input_size, seed=seed)
        model = SequenceModel(rnn, task.output_size, seed=seed)
        x, target = next(batches(task, 32, seed=seed))
        true = _gradient(model, task, x, target)
        for limit in limits:
            with ErrorClipping(model, limit):
                clipped = _gradient(model, task, x, target)
            found[limit].append(torch.cosine_similarity(true, clipped, dim=0).item())
    return {limit: sum(values) / len(values) for limit, values in found.items()}


def _gradient(model: SequenceModel, task: Task, x: Tensor, target: Tensor) -> Tensor:
    grads = torch.autograd.grad(task.loss(model(x), target), list(model.parameters()))
    return torch.cat([g.flatten().double() for g in grads])

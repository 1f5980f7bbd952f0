"""Train one network of the forecast lab live, step by step, with exactly the switches chosen."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

import numpy as np
import torch

from ..device import threads
from ..experiments.ablation import ABLATION, SWITCHES, Combination
from ..forecasting import SeriesForecast
from ..plans import FUSED
from ..replicas import Replicas
from ..tasks import batches
from .forecast_picture import Trained
from .forecast_scene import Scene, baselines_in_words, make_scene, surroundings, words_of
from .spec import Settings

STEPS, EVERY = ABLATION["steps"], 25


def training_sentence(result: Trained) -> str:
    """Say how the training is doing, and how the baselines do."""
    best = result.best
    ended = " and left float range there" if result.diverged else ""
    validation = {name: error for name, (error, _) in result.baselines.items()}
    test = {name: error for name, (_, error) in result.baselines.items()}
    return (
        f"{result.words}: after {result.done} of {result.updates} updates{ended} the validation "
        f"error is {result.validation[-1]:.3f}, the least {result.validation[best]:.3f} after "
        f"{result.steps[best]}, where the test error is {result.test[best]:.3f}; on validation "
        f"{baselines_in_words(validation)}, on test {baselines_in_words(test)}."
    )


def _network(task: SeriesForecast, settings: Settings) -> Replicas:
    """Make the network of one seed, as the study does: the same weights, batches and noise."""
    combination = Combination(*(settings[name] for name in SWITCHES))
    variant = combination.variant(ABLATION["hidden_size"], settings["lr"])
    return Replicas(
        [variant.model(task, settings["seed"])],
        lr=variant.lr,
        clipper=variant.clipper,
        seeds=[settings["seed"]],
        plan=FUSED,
    )


def train(scene: Scene, settings: Settings) -> Iterator[tuple[float, Trained]]:
    """Train one network with exactly these switches; yield the share done and what is drawn."""
    task, size = scene.task, ABLATION["windows"]
    around, _ = surroundings(scene, settings["origin"])
    network = _network(task, settings)
    origin = torch.tensor([task.origins("test").start + settings["origin"]])
    parts = [task.held_out(size), task.test_windows(size)]
    loader = batches(task, ABLATION["batch_size"], seed=settings["seed"])
    words = f"{words_of(settings)}, seed {settings['seed']}"
    result = Trained(words, around, STEPS, scene.baselines, np.empty(0))

    def look() -> None:
        output, _ = network.outputs(task.at(origin)[0][None])
        result.forecast = task.scaling.unscale(output[0, 0].numpy())

    def measure() -> None:
        losses = [
            network.measure(x[None], target[None], {"loss": task.loss})[0]["loss"].item()
            for x, target in parts
        ]
        result.steps.append(network.steps)
        result.validation.append(losses[0] ** 0.5)
        result.test.append(losses[1] ** 0.5)

    with threads(1):
        measure()
        look()
    yield 0.0, result
    while result.done < STEPS and not result.diverged:
        with threads(1):
            x, target = next(loader)
            network.step(x[None], target[None], task.loss)
            result.done = network.steps
            result.diverged = bool(network.diverged[0] >= 0)
            if not result.diverged and (result.done % EVERY == 0 or result.done == STEPS):
                measure()
            if result.done % 5 == 0:
                look()
        yield result.done / STEPS, result


@functools.lru_cache(maxsize=4)
def training_seconds(task: SeriesForecast, period: int | None) -> float:
    """Estimate the seconds of a training by timing steps on this machine, after a warm-up."""
    probe = dict(zip(SWITCHES, ("torch", "preset", "zero", "none"), strict=True))
    run = train(make_scene(task, period), {**probe, "lr": 0.01, "seed": 0, "origin": 0})
    next(run), next(run)
    start = time.perf_counter()
    for _ in range(5):  # one look at the origin among them
        next(run)
    # To measure and to draw takes about as long as three steps.
    return (time.perf_counter() - start) / 5 * (STEPS + 3 * STEPS / EVERY)

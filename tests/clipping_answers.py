"""Answers to the exercises of chapter 05: right ones, wrong ones with their hints, stubs."""

import math
from typing import Any

import numpy as np
import pandas as pd
import torch


class Given(tuple):
    """The arguments of a check that takes several."""


# Gradients at a threshold.


def global_norm(gradients):
    return torch.stack([g.norm() for g in gradients]).norm()


def clip_by_norm(gradients, threshold):
    norm = sum(g.square().sum() for g in gradients) ** 0.5
    if norm <= threshold:
        return gradients
    return [g * threshold / norm for g in gradients]


def clip_in_place(gradients, threshold):
    factor = (threshold / (global_norm(gradients) + 1e-6)).clamp(max=1.0)
    for g in gradients:
        g.mul_(factor)


def clip_by_torch(gradients, threshold):
    parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients]
    for parameter, g in zip(parameters, gradients, strict=True):
        parameter.grad = g
    torch.nn.utils.clip_grad_norm_(parameters, threshold)
    return tuple(p.grad for p in parameters)


def divided_by(size, *, always=False):
    """Clip with another size than the global norm."""

    def clip(gradients, threshold):
        measured = size(gradients)
        if measured <= threshold and not always:
            return gradients
        return [g * threshold / measured for g in gradients]

    return clip


def each(gradients, threshold):
    return [g * min(1.0, threshold / max(g.norm().item(), 1e-30)) for g in gradients]


def entries(gradients):
    return torch.cat([g.flatten() for g in gradients])


def late_root(gradients, threshold):
    """Compare the squared norm, and divide by the norm."""
    norm = global_norm(gradients)
    return [g * threshold / norm for g in gradients] if norm**2 > threshold else gradients


# Norms: the average is 5, and one step is far longer.
NORMS = np.array([1.0] * 5 + [2.0] * 4 + [3.0] * 10 + [4.0] * 5 + [62.0])
STEADY = [1.0, 1.5, 2.0, 2.5, 3.0]


def norms(*answers):
    return [Given((NORMS, answer)) for answer in answers]


def threshold_wrong(pairs):
    return [(Given((NORMS, answer)), hint) for answer, hint in pairs]


# Hooks.


def clip_errors(h, limit):
    h.register_hook(lambda g: g.clamp(-limit, limit))


def clip_errors_in_full(h, limit):
    def hook(g):
        return torch.minimum(torch.maximum(g, torch.tensor(-limit)), torch.tensor(limit))

    h.register_hook(hook)
    return h


class Clamped(torch.autograd.Function):
    """The identity, with a clamped way back."""

    @staticmethod
    def forward(ctx, h, limit):
        ctx.limit = limit
        return h.clone()

    @staticmethod
    def backward(ctx, *errors):
        return errors[0].clamp(-ctx.limit, ctx.limit), None


def hook(change):
    """A function that registers a hook: what it makes of the gradient and the limit."""

    def register(h, limit):
        h.register_hook(lambda g: change(g, limit))

    return register


def changes_its_argument(h, limit):
    def clamp(g):
        g.clamp_(-limit, limit)

    h.register_hook(clamp)


def clamps_the_state(h, limit):
    with torch.no_grad():
        h.clamp_(-limit, limit)
    return h


def only_the_first(h, limit, seen=[]):  # noqa: B006
    if len(seen) % 14 == 0:
        clip_errors(h, limit)
    seen.append(1)


RIGHT: dict[str, list[Any]] = {
    "clip_by_norm": [
        clip_by_norm,
        clip_in_place,
        clip_by_torch,
        divided_by(global_norm),
        lambda gs, t: [g * min(1.0, t / max(global_norm(gs).item(), 1e-12)) for g in gs],
        lambda gs, t: [(g * t / max(global_norm(gs), t)).numpy() for g in gs],
    ],
    "direction": [17 / 13 / math.sqrt(2), 0.9247, "0.92", [0.925], torch.tensor(0.9247)],
    "where_to_clip": [
        "zero, forward, backward, clip, step",
        "forward,zero,backward,clip,step",
        "forward backward clip step zero",
        "Zero > Forward > Backward > Clip > Step",
        ["zero", "forward", "backward", "clip", "step"],
        ("zero_grad", "loss", "backward", "clip_grad_norm_", "step"),
        "zero, forward, zero, backward, clip, step, zero",
    ],
    "threshold": [
        *norms(5, 2.5, 50, "5.0", NORMS.mean(), [10.0], torch.tensor(20.0)),
        Given((NORMS.tolist(), 5.0)),
        Given((torch.tensor(NORMS), 5.0)),
        Given((pd.Series(NORMS), 5.0)),
        Given((STEADY, max(STEADY))),
        Given((STEADY, 10.0)),
    ],
    "error_hook": [
        clip_errors,
        clip_errors_in_full,
        Clamped.apply,
        lambda h, limit: h.register_hook(lambda g: g.clamp(-limit, limit)),
        hook(lambda g, limit: torch.clip(g, -limit, limit)),
    ],
}
WRONG: dict[str, list[tuple[Any, str]]] = {
    "clip_by_norm": [
        (each, "as clipnorm does in Keras"),
        (lambda gs, t: [g * t / g.norm() for g in gs], "as clipnorm does in Keras"),
        (lambda gs, t: [g.clamp(-t, t) for g in gs], "You clamped each entry"),
        (lambda gs, t: [g.clamp(max=t) for g in gs], "You clamped each entry"),
        (divided_by(global_norm, always=True), "the factor is at most 1"),
        (divided_by(lambda gs: global_norm(gs) ** 2), "the squared norm: take the root"),
        (lambda gs, t: [g / global_norm(gs) for g in gs], "Multiply by the threshold"),
        (lambda gs, t: [g * global_norm(gs) / t for g in gs], "Upside down"),
        (divided_by(lambda gs: max(g.norm() for g in gs)), "You divided by the largest"),
        (divided_by(lambda gs: max(g.abs().max() for g in gs)), "You divided by the largest"),
        (divided_by(lambda gs: sum(g.norm() for g in gs)), "added up the norms"),
        (divided_by(lambda gs: entries(gs).abs().sum()), "added up absolute values"),
        (divided_by(lambda gs: entries(gs).square().mean().sqrt()), "no mean of them"),
        (divided_by(lambda gs: entries(gs).sum()), "added up absolute values"),
        (divided_by(lambda gs: 2 * global_norm(gs)), "but the norm is now 1.3"),
        (lambda gs, t: [g.sign() for g in gs], "The gradient has turned"),
        (lambda gs, t: gs, "above the threshold of 2.6: clip it"),
        (late_root, "above the threshold of 0.6: clip it"),
        (
            lambda gs, t: clip_by_norm(gs, t) if any(map(torch.any, gs)) else [g / 0 for g in gs],
            "Gradients of 0 must stay 0",
        ),
        (lambda gs, t: [g * math.nan for g in gs], "NaN or infinity"),
        (lambda gs, t: (clip_by_norm(gs, t), global_norm(gs)), "Leave out the norm"),
        (lambda gs, t: entries(clip_by_norm(gs, t)), "all in one vector"),
        (lambda gs, t: clip_by_norm(gs, t)[:1], "You returned 1"),
        (lambda gs, t: [g.sum() for g in gs], "Each keeps its shape, as (2,)"),
        (lambda gs, t: global_norm(gs), "a list of 2 tensors"),
        (lambda gs, t: (g for g in gs), "a list of 2 tensors"),
        (lambda gs, t: torch.nn.utils.clip_grad_norm_(gs, t), "a list of 2 tensors"),
        (lambda gs, t: gs * t, "raised TypeError"),
        (lambda gs: gs, "raised TypeError"),
        (1.0, "A function of (gradients, threshold)"),
    ],
    "direction": [
        (1, "by the global norm"),
        (0.8438, "by value"),
        (0.84, "by value"),
        (22.38, "That is the angle"),
        (0.3906, "That is the angle"),
        (17, "scalar product"),
        (17 / 13, "lengths of both"),
        (17 / math.sqrt(2), "lengths of both"),
        (math.sqrt(2), "the root of 1 + 1"),
        (math.sqrt(2) / 13, "not the directions"),
        (0.381, "the sine"),
        (-0.9247, "sign is wrong"),
        (5, "between -1 and 1"),
        (0.5, "Not 0.5. Shorten"),
        (0, "Not 0. Shorten"),
        ("left", "single finite number"),
        ((0.6, 0.8), "single finite number"),
    ],
    "where_to_clip": [
        ("zero, forward, clip, backward, step", "finds no gradient yet"),
        ("forward, clip, backward, step, zero", "norm of up to 92.4"),
        ("clip, zero, forward, backward, step", "finds no gradient yet"),
        ("zero, forward, backward, step, clip", "too late"),
        ("forward, backward, step, clip, zero", "too late"),
        ("forward, backward, zero, clip, step", "deletes the gradient"),
        ("forward, backward, clip, zero, step", "deletes the gradient"),
        ("zero, forward, step, backward, clip", "no gradient of this batch"),
        ("forward, step, zero, backward, clip", "weights that backward still needs"),
        ("backward, forward, clip, step, zero", "no loss yet"),
        ("step, zero, forward, backward, clip", "one pass late"),
        ("clip, step, zero, forward, backward", "one pass late"),
        ("zero, forward, cap, backward, clip, step", "cap cuts the loss"),
        ("zero, forward, backward, clip, step, cap", "cap does nothing at that place"),
        ("zero, forward, backward, bound, step", "Without clip the step"),
        ("zero, forward, backward, clip, bound, step", "bound cuts the weights"),
        ("zero, forward, backward, step", "Without clip the step"),
        ("forward, backward, clip, step", "all batches so far add up"),
        ("zero, forward, backward, clip", "Without step nothing"),
        ("zero, forward, clip, step", "Without backward there is no gradient"),
        ("zero, backward, clip, step", "Without forward there is no loss"),
        ("zero, forward, backward, backward, clip, step", "once a forward pass"),
        ("zero, forward, backward, clip, step, step", "goes twice as far"),
        ("zero, forward, backward, forward, backward, clip, step", "forward stands there twice"),
        ("zero, forward, backward, unscale, step", "with commas between them: backward, bound"),
        ("z f b c s", "Five of these words"),
        ("zero, " * 20, "Five of these words"),
        ("zero, forward, backward, zero, clip, step", "deletes the gradient"),
        ("zero, forward, backward, clip, clip, step", "clip stands there twice"),
        ("", "Five of these words"),
        ([1, 2, 3, 4, 5], "Five of these words"),
        (5, "Five of these words"),
    ],
    "threshold": [
        *threshold_wrong(
            [
                (0.5, "Every step is clipped, so all steps have the same length"),
                (1.7, "less than half the average: steps are cut"),
                (1.0, "smallest norm"),
                (62, "You took the largest norm"),
                (60, "more than ten times the average"),
                (100, "No step here is as long as that"),
                (100, "is 20 times the average norm, which is 5; it clips 0%"),
                (125.0, "the sum of the norms"),
                (NORMS.sum(), "the sum of the norms"),
                (np.square(NORMS).mean(), "the mean of the squares"),
                (0, "above 0"),
                (-1, "above 0"),
                (math.nan, "single finite number"),
                (NORMS, "single finite number"),
                ("large", "single finite number"),
            ]
        ),
        (Given(([1.0] * 6 + [4.0] * 3 + [50.0], 1.0)), "smallest norm"),
        (Given(([0.9] + [1.0] * 5 + [4.0] * 3 + [50.0], 1.0)), "That is the median"),
        (Given(([0.1] + [1.0] * 18 + [1.1] + [100.0], 100.0)), "You took the largest"),
        (Given((np.linspace(1, 101, 101), 11.0)), "10th percentile"),
        (Given(([0.01] * 999 + [100.0], np.std([0.01] * 999 + [100.0], ddof=1))), "deviation"),
        (Given(([1.0, math.nan, 2.0], 1.0)), "1 of the 3 norms are NaN"),
        (Given(([1.0, math.inf, math.nan], 1.0)), "2 of the 3 norms"),
        (Given(([1.0, -2.0], 1.0)), "not negative"),
        (Given(([0.0, 0.0], 1.0)), "not all of them 0"),
        (Given((1.0, STEADY)), "The norms come first"),
        (Given(([], 1.0)), "The norms come first"),
        (Given(("norms", 1.0)), "The norms come first"),
    ],
    "error_hook": [
        (changes_its_argument, "must not change the gradient"),
        (hook(lambda g, limit: g.clamp_(-limit, limit)), "must not change the gradient"),
        (hook(lambda g, limit: None), "What the hook returns takes its place"),
        (hook(lambda g, limit: g), "What the hook returns takes its place"),
        (lambda h, limit: h.clamp_(-limit, limit), "The states themselves changed"),
        (lambda h, limit: h.clamp(-limit, limit), "The states themselves changed"),
        (clamps_the_state, "The states themselves changed"),
        (lambda h, limit: h.data.clamp_(-limit, limit), "The states themselves changed"),
        (hook(lambda g, t: g * min(1.0, t / g.norm())), "shortened each error by its norm"),
        (
            hook(lambda g, t: g * (t / g.norm(dim=1, keepdim=True)).clamp(max=1)),
            "shortened each error by its norm",
        ),
        (hook(lambda g, t: g.clamp(max=t)), "below -0.5 pass"),
        (hook(lambda g, t: g.clamp(min=-t)), "above 0.5 pass"),
        (hook(lambda g, t: g.clamp(0, t)), "Negative entries became 0"),
        (hook(lambda g, t: t * g.sign()), "leave small ones alone"),
        (hook(lambda g, t: g.clamp(-0.5, 0.5)), "Right for a limit of 0.5, but not"),
        (hook(lambda g, t: g.clamp(-1, 1)), "The largest entry is 1, but the errors differ"),
        (hook(lambda g, t: 0 * g), "No gradient reaches the weights"),
        (hook(lambda g, t: g * math.nan), "NaN or infinity"),
        (hook(lambda g, t: g[:1]), "of the same shape"),
        (hook(lambda g, t: t), "of the same shape"),
        (lambda h, limit: h.register_hook(lambda: limit), "gets one argument"),
        (only_the_first, "The largest entry is"),
        (lambda h, limit: h.detach(), "without its history"),
        (lambda h, limit: h * 1.0, "h has no hook"),
        (lambda h, limit: h[:1], "You returned shape (1, 5)"),
        (lambda h, limit: h.register_hook(None), "raised TypeError"),
        (lambda h: h, "raised TypeError"),
        (lambda h, limit: 1 / 0, "raised ZeroDivisionError"),
        (0.5, "A function of (h, limit)"),
    ],
}
STUBS: dict[str, list[Any]] = {
    "clip_by_norm": [lambda gs, t: ..., lambda gs, t: None, lambda gs, t: [...]],
    "where_to_clip": [[...], "...", ("zero", ...)],
    "threshold": [Given((NORMS, ...))],
    "error_hook": [
        lambda h, limit: ...,
        lambda h, limit: None,
        lambda h, limit: h.register_hook(...),
    ],
}

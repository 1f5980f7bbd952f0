"""Gradient clipping between `backward()` and `step()`, and the record of what it did.

One `Clipper` holds every method of chapter 05, for one network or, in `replicas`, for many at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .clip_records import Change, ClipRecord, compare_gradients, compare_groups, flat_gradient
from .clip_rules import (
    CLIPPED_GROUPS,
    METHODS,
    FixedLimit,
    Limits,
    OwnLimits,
    PercentileLimit,
    StackedParameter,
    ZScoreLimit,
    adapt_to_weights,
    check_threshold,
    clamp_to,
    clipped_together,
    limits_where_exceeded,
    norms_of,
    scale_to,
)
from .error_clipping import ErrorClipping
from .errors import bad, check_choice, check_count, check_number
from .parameter_parts import Parameters, parts_of, tensors_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(repr=False)
class Clipper:
    """Clip gradients between `backward()` and `step()`, and keep a record.

    method, and what `threshold` means for it (None is the number in brackets):

    - "norm" (1): the global L2 norm of all gradients; the direction stays.
    - "per_parameter" (1): the L2 norm of each parameter by itself, as Keras' `clipnorm`.
    - "value" (1): each entry is clamped to [-threshold, threshold].
    - "recurrent", "all_but_output", "output" (1): the joint L2 norm of the recurrent layers, of
      everything but the output layer, or of the output layer; the rest stays as it is.
    - "agc" (0.01): for each unit, the norm of its gradient over that of its weights. Leaves the
      output layer alone, as its authors advise, unless `include_output`.
    - "autoclip" (10): the percentile of all global norms so far that becomes the limit.
    - "zclip" (2.5): standard deviations above the running mean at which a norm is a spike. alpha,
      warmup, max_norm: of `clip_rules.ZScoreLimit`.
    - "error" (1): each entry of a back-propagated error, inside backpropagation: `attach` it.

    output: the name of the output layer in the model; None is the last nn.Linear outside recurrent
    layers. skip_nonfinite: take all gradients away where one is not finite, so that the optimiser
    skips these parameters; otherwise such a gradient is treated as PyTorch treats it. Either way
    the record tells. A finite gradient whose norm its own precision cannot hold becomes 0, as in
    PyTorch, with finite=True in the record: in float32 one with an entry above about 1.8e19, in
    float16 one with a norm above 65504.

    A new `threshold` counts from the next call on; for other settings make a new Clipper. Methods
    that remember norms do so for one model: use a new clipper for the next. A copy is attached to
    nothing. Each call makes and keeps a record, which costs two copies of the gradient in float64
    and waits for a GPU.

    Raises `ValueError` for an unknown method or a setting that it does not have. Source: Pascanu,
    Mikolov and Bengio 2013 (arXiv:1211.5063), algorithm 1, for "norm"; the others are named in
    chapter 05, which teaches all of them.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> layer.weight.grad = torch.tensor([[3.0, 4.0]])
    >>> Clipper("norm", threshold=1.0)(layer).norm_before
    5.0
    >>> [round(g, 4) for g in layer.weight.grad.flatten().tolist()]
    [0.6, 0.8]
    """

    method: str = "norm"
    threshold: float | None = None
    output: str | None = field(default=None, kw_only=True)
    include_output: bool = field(default=False, kw_only=True)
    skip_nonfinite: bool = field(default=False, kw_only=True)
    alpha: float = field(default=0.97, kw_only=True)
    warmup: int = field(default=25, kw_only=True)
    max_norm: float | None = field(default=None, kw_only=True)
    records: list[ClipRecord] = field(default_factory=list, init=False, compare=False)

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        self.threshold = check_threshold(self.method, self.threshold)
        for name in ("include_output", "skip_nonfinite"):
            if not isinstance(getattr(self, name), bool):
                raise bad(name, getattr(self, name), "True or False")
        for name, method in _OF_ONE_METHOD.items():
            value = getattr(self, name)
            if self.method != method and value != _DEFAULTS[name]:
                raise bad(name, value, f"given to method={method!r} alone")
        self.alpha = check_number("alpha", self.alpha, low=0, high=1)
        self.warmup = check_count("warmup", self.warmup, low=2)
        if self.max_norm is not None:
            self.max_norm = check_number("max_norm", self.max_norm, low=0)
            if self.max_norm == 0:
                raise bad("max_norm", self.max_norm, "above 0, or None")
        if self.output is not None and not isinstance(self.output, str):
            raise bad("output", self.output, "the name of a layer, or None")
        self._errors: ErrorClipping | None = None
        self._limits = self.make_limits()

    def __setattr__(self, name: str, value: Any) -> None:
        if "_limits" in vars(self):  # it is made, and may remember norms
            if name == "method" or name in _DEFAULTS:
                raise AttributeError(f"{name} of a Clipper cannot change: make a new Clipper.")
            if name == "threshold":
                value = self._limits.threshold = check_threshold(self.method, value)
                if self._errors is not None:
                    self._errors.threshold = value
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_errors": None}  # a copy is not what a model is attached to

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in _DEFAULTS}
        told = "".join(f", {k}={v!r}" for k, v in given.items() if v != _DEFAULTS[k])
        return f"Clipper(method={self.method!r}, threshold={self.threshold}{told})"

    @property
    def rule(self) -> tuple[Any, ...]:
        """What two clippers that do the same have in common."""
        return self.method, self.threshold, *(getattr(self, name) for name in _DEFAULTS)

    @property
    def frame(self) -> pd.DataFrame:
        """The records as a table with a row a call; `recurrent_before` and the like by group."""
        import pandas as pd

        rows = []
        for record in self.records:
            row = {k: v for k, v in vars(record).items() if k != "groups"}
            for group, change in record.groups.items():
                row |= {f"{group}_{k.removeprefix('norm_')}": v for k, v in vars(change).items()}
            rows.append(row)
        return pd.DataFrame(rows).rename_axis("call")

    def make_limits(self) -> OwnLimits:
        """Return the limits of this method with nothing remembered yet."""
        threshold = check_threshold(self.method, self.threshold)
        if self.method == "autoclip":
            return PercentileLimit(threshold)
        if self.method == "zclip":
            return ZScoreLimit(threshold, self.alpha, self.warmup, self.max_norm)
        return FixedLimit(threshold)

    def attach(
        self, model: nn.Module, at: str = "state", output_threshold: float | None = None
    ) -> ErrorClipping:
        """Clip the errors on their way back through a model, from now on: method "error" alone.

        at, output_threshold: of `ErrorClipping`, whose `remove()` ends it. Raises `ValueError` for
        another method and where `ErrorClipping` does.
        """
        if self.method != "error":
            raise ValueError(
                f"method={self.method!r} clips between backward() and step(): call clip(model) "
                "there. Only method='error' is attached."
            )
        output = None if output_threshold is None else self.output
        errors = ErrorClipping(model, self._limits.threshold, at, output_threshold, output=output)
        self._errors = errors
        return errors

    def __call__(self, parameters: Parameters) -> ClipRecord:
        """Clip the gradients of a module or of parameters in place; return and keep the record.

        Raises `ValueError` for a method that needs the model and gets parameters, for a model
        without the layer that it needs or that it is not attached to, and for what has no gradient.
        """
        groups, clipped = self._grouped(parameters)
        before = flat_gradient(clipped)
        finite = bool(torch.isfinite(before).all())
        limit = math.inf
        if self.skip_nonfinite and not finite:
            for p in clipped:
                p.grad = None
        elif clipped:
            limit = self._clip(groups, clipped)
        skipped = self.skip_nonfinite and not finite
        after = torch.zeros_like(before) if skipped else flat_gradient(clipped)
        parts: dict[str, Change] = {}
        if isinstance(parameters, nn.Module):
            parts = compare_groups(groups, [p.numel() for p in clipped], before, after)
        record = ClipRecord(
            **vars(compare_gradients(before, after)),
            finite=finite,
            skipped=skipped,
            limit=limit,
            groups=parts,
        )
        if self._errors is not None:
            share = self._errors.fraction()
            share = 0.0 if math.isnan(share) else share  # no error has arrived
            unknown = {"cosine": math.nan, "fraction": math.nan}
            parts = {group: dataclasses.replace(c, **unknown) for group, c in parts.items()}
            record = dataclasses.replace(record, fraction=share, cosine=math.nan, groups=parts)
        self.records.append(record)
        return record

    def _grouped(self, parameters: Parameters) -> tuple[list[str], list[Tensor]]:
        """Return the parameters with a gradient and the group of each."""
        if isinstance(parameters, nn.Module):
            pairs = parts_of(parameters, self.output)
            needed = CLIPPED_GROUPS.get(self.method, ()) if self.method != "agc" else ()
            if needed and not any(group in needed for group, _ in pairs):
                raise ValueError(
                    f"method={self.method!r} needs a model with {_NEEDED[self.method]}, but "
                    f"{type(parameters).__name__} has none"
                    + (" (name its output layer with output=)." if "output" in needed else ".")
                )
            if self.method == "error" and self._errors not in ErrorClipping.of(parameters):
                raise ValueError(
                    "method='error' clips inside backward(): call attach(model) of this clipper "
                    "first, with the model that is trained."
                )
        else:
            in_groups = self.method in CLIPPED_GROUPS and not self.include_output
            if in_groups or self.method == "error":
                raise bad("parameters", type(parameters), f"the model for method={self.method!r}")
            pairs = [("other", p) for p in tensors_of(parameters)]
        chosen = [(group, p) for group, p in pairs if p.grad is not None]
        return [group for group, _ in chosen], [p for _, p in chosen]

    def _clip(self, groups: list[str], clipped: list[Tensor]) -> float:
        """Clip the gradients of one network by PyTorch's own functions; return the limit."""
        threshold = self._limits.threshold
        if self.method == "error":
            return threshold
        limit = math.inf
        for places in clipped_together(self.method, groups, self.include_output):
            part = [clipped[n] for n in places]
            stacked = [p.grad[None] for p in part if p.grad is not None]
            if self.method == "value":
                nn.utils.clip_grad_value_(part, threshold)
                limit = threshold
            elif self.method == "agc":
                pairs = zip(part, stacked, strict=True)
                with torch.no_grad():
                    units = [StackedParameter("", p[None], g) for p, g in pairs]
                    adapt_to_weights(units, threshold)
                limit = threshold
            elif isinstance(self._limits, FixedLimit):
                nn.utils.clip_grad_norm_(part, threshold)
                limit = threshold
            else:
                norms = norms_of(stacked)
                limits = self._limits(norms)
                limit = limits.item()
                if limits_where_exceeded(norms, limits).item() < math.inf:
                    nn.utils.clip_grad_norm_(part, limit)
        return limit

    def check_stackable(self) -> None:
        """Raise `ValueError` for a clipper that cannot serve many networks at once."""
        if self.method == "error" or self.skip_nonfinite:
            told = "method='error'" if self.method == "error" else "skip_nonfinite=True"
            raise ValueError(f"clipper must not have {told} in replicas, but {self!r} was given.")
        if self.output not in (None, "head"):
            raise bad("output", self.output, "None or 'head' in replicas")

    @torch.no_grad()
    def clip_stacked(
        self,
        parameters: Sequence[StackedParameter],
        norms: Tensor | None = None,
        limits: Limits | None = None,
    ) -> Tensor:
        """Clip the gradients of R networks, each as if it were alone, in place.

        norms: from `norms_of`, where known. limits: of `make_limits`, which remembers what these
        networks had, with the threshold of this clipper now; None is fresh ones. Returns (R,),
        whether the gradient of a network was changed. Keeps no record.
        """
        limits = self.make_limits() if limits is None else limits
        threshold = self._limits.threshold
        if isinstance(limits, OwnLimits):
            limits.threshold = threshold
        changed = torch.zeros(len(parameters[0].gradient), dtype=torch.bool)
        changed = changed.to(parameters[0].gradient.device)
        groups = [p.group for p in parameters]
        for places in clipped_together(self.method, groups, self.include_output):
            part = [parameters[n] for n in places]
            gradients = [p.gradient for p in part]
            if self.method == "value":
                changed |= clamp_to(gradients, threshold)
            elif self.method == "agc":
                changed |= adapt_to_weights(part, threshold)
            else:
                whole = len(part) == len(parameters)
                own = norms_of(gradients) if norms is None or not whole else norms
                allowed = limits(own)
                if not isinstance(limits, FixedLimit):
                    allowed = limits_where_exceeded(own, allowed)
                changed |= scale_to(gradients, own, allowed)
        return changed


_OF_ONE_METHOD = {"include_output": "agc", "alpha": "zclip", "warmup": "zclip", "max_norm": "zclip"}
_NEEDED = {
    "recurrent": "a recurrent layer",
    "all_but_output": "parameters outside its output layer",
    "output": "an output layer",
}
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Clipper) if f.kw_only and f.init}


def gradient_norm(parameters: Parameters) -> float:
    """Return the global L2 norm of all gradients of a module or of parameters: 0 without any.

    In float64. Raises `ValueError` for what has no gradients.
    """
    return flat_gradient(tensors_of(parameters)).norm().item()

# mypy: disable-error-code="arg-type,index,operator,union-attr"
import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from teachkit.device import generator
from teachkit.error_clipping import ErrorClipping
from teachkit.experiments.inside_backprop import (
    INSIDE_BACKPROP,
    INSIDE_BACKPROP_VARIANTS,
    inside_backprop_study,
    train_step,
)
from teachkit.models import SequenceModel, make_elman
from teachkit.spectra import spectral_radius
from teachkit.tasks import TemporalOrder, batches

STEPS, SEQ_LEN = 4, 12


def parts(seed, rho=1.2):
    task = TemporalOrder(SEQ_LEN)
    rnn = make_elman(50, rho, input_size=6, seed=seed)
    return task, SequenceModel(rnn, 4, seed=seed), batches(task, 32, seed=seed)


def gradient_by_hand(model, x, target, error, weight):
    """The loss and its gradient by backpropagation through time in NumPy, clamps and penalty too.

    One sequence after the other, in float64.
    """
    names = ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "head.weight", "head.bias"]
    W_ih, W_hh, W_out, b_out = (model.get_parameter(n).detach().double().numpy() for n in names)
    bias = (model.rnn.bias_ih_l0 + model.rnn.bias_hh_l0).detach().double().numpy()
    grads: dict[str, Any] = dict.fromkeys([*names, "rnn.bias_ih_l0"], 0.0)
    total, T = 0.0, len(x)
    B = x.shape[1]
    for b in range(B):
        u, h = x[:, b].double().numpy(), [np.zeros(len(W_hh))]
        for u_t in u:
            h.append(np.tanh(W_ih @ u_t + W_hh @ h[-1] + bias))
        out = W_out @ h[-1] + b_out
        p = np.exp(out - out.max())
        p /= p.sum()
        total -= math.log(p[target[b]]) / B
        d_out = (p - np.eye(4)[target[b]]) / B
        grads["head.weight"] += np.outer(d_out, h[-1])
        grads["head.bias"] += d_out
        e = W_out.T @ d_out
        for t in range(T, 0, -1):
            if error is not None:
                e = np.clip(e, -error, error)
            delta = e * (1 - h[t] ** 2)
            grads["rnn.weight_ih_l0"] += np.outer(delta, u[t - 1])
            grads["rnn.weight_hh_l0"] += np.outer(delta, h[t - 1])
            grads["rnn.bias_ih_l0"] += delta
            back = W_hh.T @ delta
            if weight:  # d/dW of (|W^T delta| / |e| - 1)^2, all but W constant, mean of sequences
                ratio = np.linalg.norm(back) / np.linalg.norm(e)
                slope = 2 * (ratio - 1) / (np.linalg.norm(back) * np.linalg.norm(e))
                grads["rnn.weight_hh_l0"] += weight / B * slope * np.outer(delta, back)
            e = back
    return total, {**grads, "rnn.bias_hh_l0": grads["rnn.bias_ih_l0"]}


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"norm": 0.5},
        {"error": 0.002},
        {"weight": 0.3},
        {"norm": 0.5, "weight": 0.3},
    ],
    ids=str,
)
def test_a_step_is_that_of_backpropagation_by_hand(variant):
    task, model, loader = parts(seed=3)
    x, target = next(loader)
    before = {n: p.detach().double().numpy().copy() for n, p in model.named_parameters()}
    error, weight, norm = (variant.get(k) for k in ("error", "weight", "norm"))
    expected, grads = gradient_by_hand(model, x, target, error, weight)
    length = math.sqrt(sum((g**2).sum() for g in grads.values()))
    scale = min(1.0, norm / length) if norm else 1.0
    assert scale < 1 or norm is None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"norm": norm, "weight": weight or 0.0}
    if error is None:
        loss, size = train_step(model, optimizer, task, x, target, **options)
    else:
        with ErrorClipping(model, error) as errors:
            loss, size = train_step(model, optimizer, task, x, target, **options)
        assert 0 < errors.fraction() < 1
    assert loss == pytest.approx(expected, rel=1e-5)
    assert size == pytest.approx(length, rel=1e-4)
    for name, parameter in model.named_parameters():
        moved = parameter.detach().double().numpy() - before[name]
        np.testing.assert_allclose(moved, -0.1 * scale * grads[name], rtol=2e-3, atol=3e-7)


SMALL = {"seq_len": SEQ_LEN, "steps": STEPS, "seeds": 1, "lrs": [0.1], "test_size": 200}


def test_a_run_is_that_of_a_plain_loop():
    table = inside_backprop_study(**SMALL, variants={"norm": {"norm": 0.5}})
    task, model, loader = parts(seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses, norms = [], []
    for x, target in itertools.islice(loader, STEPS):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
        losses.append(loss.item())
        optimizer.step()
    x, target = task.batch(200, generator(0, "test"))
    row = table.iloc[0]
    assert (row["variant"], row["lr"], row["seed"]) == ("norm", 0.1, 0)
    assert (row["step"], row["status"]) == (STEPS, "finished")
    assert row["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert row["largest_norm"] == pytest.approx(max(norms), rel=1e-4)
    assert row["accuracy"] == (model(x).argmax(-1) == target).double().mean().item()
    assert row["final_rho"] == pytest.approx(spectral_radius(model.rnn.weight_hh_l0).item())
    assert math.isnan(row["fraction"])
    assert row["milliseconds"] > 0


def test_a_variant_does_what_it_says():
    variants = {
        "none": {},
        "norm, out of reach": {"norm": 1e9},
        "error, out of reach": {"error": 1e9},
        "norm": {"norm": 0.1},
        "error": {"error": 1e-3},
        "penalty": {"weight": 0.3},
    }
    table = inside_backprop_study(**SMALL, variants=variants).set_index("variant")
    loss = table["loss"]
    assert loss["norm, out of reach"] == loss["none"]
    assert loss["error, out of reach"] == pytest.approx(loss["none"], rel=1e-5)
    others = [loss[name] for name in ("none", "norm", "error", "penalty")]
    assert len({round(value, 4) for value in others}) == 4
    assert table["fraction"]["error, out of reach"] == 0
    assert 0 < table["fraction"]["error"] < 1
    assert table["fraction"].isna().sum() == 4


def test_a_run_that_diverges_ends_there():
    task, model, loader = parts(seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, target = next(loader)
    nn.init.constant_(model.head.weight, math.inf)
    before = copy.deepcopy(model.rnn.state_dict())
    loss, _ = train_step(model, optimizer, task, x, target, norm=1.0, weight=0.1)
    assert not math.isfinite(loss)
    assert all(torch.equal(before[n], p) for n, p in model.rnn.state_dict().items())
    table = inside_backprop_study(**{**SMALL, "lrs": [1e38]}, variants={"none": {}})
    row = table.iloc[0]
    assert row["status"] == "diverged"
    assert row["step"] == 1, "the first update is what leaves float range, the second is not made"
    x, target = next(parts(seed=0)[2])
    _, model, _ = parts(seed=0)
    first = nn.functional.cross_entropy(model(x), target)
    assert row["loss"] == pytest.approx(first.item(), rel=1e-6)
    assert math.isfinite(row["largest_norm"])


def test_a_run_without_any_update_tells_nothing(monkeypatch):
    monkeypatch.setattr(TemporalOrder, "loss", lambda self, y, t: y.sum() * math.nan)
    row = inside_backprop_study(**SMALL, variants={"none": {}, "error": {"error": 0.1}})
    assert (row["step"] == 0).all()
    assert (row["status"] == "diverged").all()
    assert row[["loss", "largest_norm", "fraction", "milliseconds"]].isna().all(axis=None)


@pytest.mark.parametrize("norm", [None, 1.0])
def test_a_gradient_whose_squares_leave_float32_is_no_divergence(norm):
    task, model, loader = parts(seed=0)
    x, target = next(loader)
    before = model.head.weight.detach().clone()
    # the loss stays small, and its gradient is about 1e25
    scaled = copy.copy(task)
    object.__setattr__(scaled, "loss", lambda y, t: 1e25 * (y - y.detach()).mean())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-25)
    loss, size = train_step(model, optimizer, scaled, x, target, norm=norm)
    assert loss == 0
    assert 1e24 < size < 1e27
    # PyTorch's own clipping takes the norm in float32, where it is infinite: nothing is left
    assert torch.equal(model.head.weight, before) == (norm is not None)
    assert model.head.weight.isfinite().all()


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match="a setting must be one of 'seq_len'"):
        inside_backprop_study(rhos=[1.0])


def test_the_variants_change_one_thing_at_a_time():
    assert INSIDE_BACKPROP["variants"] is INSIDE_BACKPROP_VARIANTS
    assert INSIDE_BACKPROP_VARIANTS["none"] == {}
    assert all({"norm", "error", "weight"} >= v.keys() for v in INSIDE_BACKPROP_VARIANTS.values())

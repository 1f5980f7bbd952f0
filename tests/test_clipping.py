"""The clipper against PyTorch, Keras, Optax and loops written by hand."""

import copy
import dataclasses
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from teachkit.clip_rules import METHODS, StackedParameter, norms_of
from teachkit.clipping import Clipper, gradient_norm
from teachkit.error_clipping import ErrorClipping
from teachkit.models import SequenceModel
from teachkit.parameter_parts import parts_of
from tests.clip_cases import CASES, PARTS, Net, fill, flat, grad_of, gradients, parameters
from tests.optax_clipping import LIMIT, RATIO
from tests.reference import total_norm

os.environ.setdefault("KERAS_BACKEND", "torch")

ROOT = Path(__file__).resolve().parent.parent
GROUPED = {
    "recurrent": ("recurrent",),
    "all_but_output": ("recurrent", "other"),
    "output": ("output",),
}
EACH_ALONE = ["norm", "per_parameter", "value"]  # methods without groups and memory
FIXED = [*EACH_ALONE, *GROUPED, "agc"]
BY_LENGTH = ["norm", *GROUPED]  # one factor for all that is clipped
precise = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
numbers = st.just(0.0) | st.floats(1e-100, 1e3) | st.floats(-1e3, -1e-100)
entries = st.lists(st.lists(numbers, min_size=1, max_size=5), min_size=1, max_size=4)
limits = st.floats(1e-3, 1e3)


def by_torch(method, model_or_list, limit):
    """What PyTorch's own functions do for a method."""
    if method == "value":
        nn.utils.clip_grad_value_(own_parameters(model_or_list), limit)
    elif method == "per_parameter":
        for p in own_parameters(model_or_list):
            nn.utils.clip_grad_norm_([p], limit)
    elif method == "norm":
        nn.utils.clip_grad_norm_(own_parameters(model_or_list), limit)
    else:
        layers = [PARTS[group] for group in GROUPED[method]]
        named = model_or_list.named_parameters()
        nn.utils.clip_grad_norm_([p for n, p in named if n.partition(".")[0] in layers], limit)


def own_parameters(given):
    return list(given.parameters()) if isinstance(given, nn.Module) else given


def assert_same(one, other, rtol=0.0):
    assert_close(gradients(one), gradients(other), rtol=rtol, atol=0, equal_nan=True)


# --- PyTorch --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", EACH_ALONE)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("limit", [0.1, 1.5])
@precise
def test_gradients_come_out_as_from_pytorch(method, name, limit, dtype):
    grads = [*CASES[name], None]  # and one without a gradient
    ours, theirs = parameters(grads, dtype), parameters(grads, dtype)
    record = Clipper(method, limit)(ours)
    if CASES[name]:  # PyTorch stumbles over clamping nothing
        by_torch(method, theirs, limit)
    assert ours[-1].grad is None
    assert_close(flat(ours), flat(theirs), rtol=0, atol=0, equal_nan=True)
    before = flat(parameters(grads, dtype))
    assert record.finite == all(math.isfinite(v) for v in before.tolist())
    assert record.clipped == (not torch.equal(flat(ours), before))
    assert record.norm_before == pytest.approx(before.double().norm().item(), nan_ok=True)
    assert record.norm_after == pytest.approx(flat(ours).double().norm().item(), nan_ok=True)
    assert record.limit == (limit if CASES[name] else math.inf)
    assert not record.skipped


@pytest.mark.parametrize("method", [*EACH_ALONE, *GROUPED])
@pytest.mark.parametrize("seed", range(3))
@precise
def test_a_model_is_clipped_as_pytorch_clips_those_parameters(method, seed, dtype):
    for scale in (1e-3, 0.1, 1.0, 30.0, 1e18):
        limit = 10.0**seed / 7
        ours, theirs = fill(Net(dtype), seed, scale), fill(Net(dtype), seed, scale)
        Clipper(method, limit)(ours)
        by_torch(method, theirs, limit)
        assert_same(ours, theirs)


@pytest.mark.parametrize("method", [*EACH_ALONE, *GROUPED])
@pytest.mark.parametrize("entry", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", PARTS)
def test_what_is_not_finite_goes_where_pytorch_lets_it(method, entry, where):
    ours, theirs = fill(Net()), fill(Net())
    for model in (ours, theirs):
        next(getattr(model, PARTS[where]).parameters()).grad[0, 0] = entry
    record = Clipper(method, 1.0)(ours)
    by_torch(method, theirs, 1.0)
    assert_same(ours, theirs)
    assert not record.finite
    assert not record.skipped


def test_one_nan_makes_all_nan_and_one_inf_makes_the_others_zero():
    made = parameters(CASES["nan"])
    Clipper("norm", 1.0)(made)
    assert flat(made).isnan().all()
    made = parameters(CASES["infinite"])
    Clipper("norm", 1.0)(made)
    assert_close(flat(made), torch.tensor([math.nan, 0, 0, 0]).double(), equal_nan=True)
    for case, first in (("nan", math.nan), ("infinite", 1.5)):
        made = parameters(CASES[case])
        Clipper("value", 1.5)(made)
        expected = torch.tensor([first, 1, 1.5, 1.5]).double()
        assert_close(flat(made), expected, equal_nan=True)


def test_a_finite_gradient_whose_norm_leaves_float32_becomes_zero():
    made = parameters([[2e19, 1.0], [3e19, 0.0]], torch.float32)
    record = Clipper("norm", 1.0)(made)
    assert flat(made).tolist() == [0, 0, 0, 0]
    assert record.finite
    assert record.norm_before == pytest.approx(math.hypot(2e19, 3e19), rel=1e-6)
    assert (record.norm_after, record.fraction) == (0, 0.75)
    assert math.isnan(record.cosine)


def test_parameters_that_layers_share_are_clipped_once():
    def tied():
        model = nn.ModuleDict({"embed": nn.Embedding(4, 3), "head": nn.Linear(3, 4)})
        model["head"].weight = model["embed"].weight
        return fill(model)

    ours, theirs = tied(), tied()
    record = Clipper("norm", 0.5)(ours)
    nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
    assert_same(ours, theirs)
    assert list(record.groups) == ["output"]
    before, ours = gradients(tied()), tied()
    Clipper("agc")(ours)
    assert_close(gradients(ours), before, rtol=0, atol=0)


@pytest.mark.parametrize("method", FIXED)
def test_frozen_parameters_are_left_out(method):
    ours, theirs = fill(Net()), fill(Net())
    for model in (ours, theirs):
        for p in model.rnn.parameters():
            p.requires_grad_(False)
            p.grad = None
    record = Clipper(method, 0.01)(ours)
    assert set(record.groups) == {"other", "output"}
    if method != "agc":
        by_torch(method, theirs, 0.01)
        assert_same(ours, theirs)
    assert record.clipped == (method != "recurrent")


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: m.parameters(), lambda m: m.weight])
def test_a_module_a_generator_or_one_tensor(wrap):
    layer = nn.Linear(2, 1)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])  # and none on the bias
    assert gradient_norm(wrap(layer)) == 5
    record = Clipper("norm", 1.0)(wrap(layer))
    assert (record.norm_before, record.fraction) == (5, 1)
    assert_close(layer.weight.grad, torch.tensor([[0.6, 0.8]]))
    assert layer.bias.grad is None


@pytest.mark.parametrize("method", ["norm", "per_parameter", "value", "agc", "autoclip", "zclip"])
def test_no_gradient_at_all(method):
    for model in (nn.Linear(2, 1), nn.Sequential()):
        record = Clipper(method)(model)
        assert gradient_norm(model) == 0
        assert (record.norm_before, record.norm_after, record.clipped) == (0, 0, False)
        assert record.finite
        assert record.groups == {}


@settings(max_examples=30)
@given(entries)
def test_gradient_norm_is_the_definition(grads):
    expected = math.sqrt(sum(g * g for row in grads for g in row))
    assert gradient_norm(parameters(grads)) == pytest.approx(expected)


def test_a_norm_beyond_float32_is_a_number():
    assert gradient_norm(parameters([[3e38], [4e38 / 2]], torch.float32)) == pytest.approx(
        math.hypot(3e38, 2e38)
    )


# --- Keras ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "argument"),
    [("per_parameter", "clipnorm"), ("norm", "global_clipnorm"), ("value", "clipvalue")],
)
@pytest.mark.parametrize("scale", [0.01, 0.3, 40.0])
def test_a_step_of_keras_with_its_own_clipping(method, argument, scale):
    import keras

    shapes = [(3, 4), (4,), (1,), (2, 5)]
    drawn = [scale * np.random.default_rng(n).normal(size=s) for n, s in enumerate(shapes)]
    variables = [keras.Variable(np.zeros(shape), dtype="float64") for shape in shapes]
    optimizer = keras.optimizers.SGD(1.0, **{argument: 0.6})
    given = [keras.ops.convert_to_tensor(g, dtype="float64") for g in drawn]
    optimizer.apply_gradients(zip(given, variables, strict=True))
    ours = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes]
    for p, g in zip(ours, drawn, strict=True):
        p.grad = torch.from_numpy(g.copy())
    Clipper(method, 0.6)(ours)
    for p, variable in zip(ours, variables, strict=True):
        assert p.grad is not None
        moved = -variable.value.detach().cpu()
        # PyTorch adds 1e-6 to a norm, Keras does not; Keras has its limit in float32
        assert_close(p.grad, moved, rtol=3e-6 if method != "value" else 1e-7, atol=0)


# --- Optax ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def optax(tmp_path_factory):
    """Arrays by case, "weight", "gradient" or method, and name."""
    path = tmp_path_factory.mktemp("optax") / "clipped.npz"
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / ".oracles"),
        "OPENBLAS_NUM_THREADS": "1",  # its threads would wait for JAX's on a small machine
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # most of the time goes into compiling
        "JAX_PLATFORMS": "cpu",
    }
    script = str(ROOT / "tests" / "optax_clipping.py")
    command = [sys.executable, "-W", "error", script, str(path)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, f"`make oracles` installs what this needs.\n{ran.stderr}"
    with np.load(path) as saved:
        found: dict = {}
        for key in saved:
            case, what, name = key.split("/")
            found.setdefault((case, what), {})[name] = torch.from_numpy(saved[key])
    return found


class Parts(nn.Module):
    """Parameters named by group, as the Optax arrays are, in layers that the clipper knows."""

    def __init__(self, weights):
        super().__init__()
        for group in ("other", "recurrent", "output"):
            holder = nn.RNNCellBase(1, 1, False, 1) if group == "recurrent" else nn.Module()
            for name in list(holder._parameters):
                del holder._parameters[name]
            for name, value in weights.items():
                if name.startswith(group):
                    setattr(holder, name.partition(".")[2], nn.Parameter(value.clone()))
            setattr(self, group, holder)


@pytest.mark.parametrize("case", ["small", "mixed", "large", "zero"])
@pytest.mark.parametrize("method", FIXED)
def test_optax_makes_the_same_of_it(case, method, optax):
    model = Parts(optax[case, "weight"])
    parts = [part for part, _ in parts_of(model, "output")]
    assert sorted(set(parts)) == ["other", "output", "recurrent"]
    for name, p in model.named_parameters():
        p.grad = optax[case, "gradient"][name].clone()
    options = {"include_output": True} if method == "agc" else {}
    clip = Clipper(method, RATIO if method == "agc" else LIMIT, output="output", **options)
    record = clip(model)
    for name, p in model.named_parameters():
        rtol = 3e-6 if method not in ("value", "agc") else 1e-12  # PyTorch adds 1e-6 to a norm
        assert_close(p.grad, optax[case, method][name], rtol=rtol, atol=0)
    pairs = optax[case, "gradient"], optax[case, method]
    assert record.clipped == any((pairs[0][name] != pairs[1][name]).any() for name in pairs[0])


def test_adaptive_clipping_leaves_the_output_layer_alone_unless_told():
    spared = fill(Net())
    whole, before = copy.deepcopy(spared), gradients(spared)
    for p, q in zip(spared.parameters(), whole.parameters(), strict=True):
        q.grad = p.grad.clone()
    assert not Clipper("agc")(spared).groups["output"].clipped
    assert Clipper("agc", include_output=True)(whole).groups["output"].clipped
    for name, g in gradients(spared).items():
        assert torch.equal(g, before[name]) == name.startswith("head")
        if not name.startswith("head"):
            assert torch.equal(g, gradients(whole)[name])


# --- methods that remember ------------------------------------------------------------------------


def spiky_scales(steps, seed=0):
    rng = np.random.default_rng(seed)
    return rng.lognormal(0, 0.3, steps) * np.where(rng.random(steps) < 0.2, 20.0, 1.0)


@pytest.mark.parametrize("percentile", [10.0, 50.0, 100.0])
def test_autoclip_in_a_loop_by_hand(percentile):
    clip, past = Clipper("autoclip", percentile), []
    for step, scale in enumerate(spiky_scales(60)):
        ours, theirs = fill(Net(), step, scale), fill(Net(), step, scale)
        record = clip(ours)
        past.append(total_norm([p.grad for p in theirs.parameters()]).item())
        limit = float(np.percentile(past, percentile))
        nn.utils.clip_grad_norm_(theirs.parameters(), limit)
        assert_same(ours, theirs, rtol=2e-6)
        assert record.limit == pytest.approx(limit, rel=1e-12)
        assert record.clipped == (past[-1] > limit)
    assert [r.clipped for r in clip.records].count(True) > (10 if percentile < 100 else -1)


@precise
@pytest.mark.parametrize("scale", [1e-7, 1.0])
def test_the_first_step_of_autoclip_is_left_as_it_is(scale, dtype):
    model, before = fill(Net(dtype), scale=scale), gradients(fill(Net(dtype), scale=scale))
    record = Clipper("autoclip")(model)
    assert not record.clipped
    assert_close(gradients(model), before, rtol=0, atol=0)
    assert record.limit == pytest.approx(record.norm_before)


def test_zclip_cuts_spikes_alone():
    scales = spiky_scales(80)
    scales[:10] = np.minimum(scales[:10], 1.5)
    clip = Clipper("zclip", warmup=10)
    for step, scale in enumerate(scales):
        clip(fill(Net(), step, scale))
    table = clip.frame
    spikes = table.index[(scales > 5) & (table.index >= 10)]
    assert len(spikes) > 5
    assert table.loc[:9, "limit"].eq(math.inf).all()
    cut = table[table["fraction"] > 0]
    assert set(spikes) <= set(cut.index)
    assert len(cut) < 40
    assert cut["norm_after"].to_numpy() == pytest.approx(cut["limit"].to_numpy(), rel=1e-5)
    assert (cut["norm_after"] < cut["norm_before"]).all()
    assert table["cosine"].to_numpy() == pytest.approx(1)


def test_zclip_with_a_fixed_limit_too():
    clip = Clipper("zclip", warmup=3, max_norm=0.5)
    records = [clip(fill(Net(), step, scale)) for step, scale in enumerate([1, 1, 1, 1, 50, 1e-3])]
    assert [r.norm_after for r in records[:5]] == pytest.approx([0.5] * 5, rel=1e-5)
    assert not records[5].clipped


def test_a_spike_whose_norm_leaves_float32_does_not_pass():
    for method in ("autoclip", "zclip"):
        clip = Clipper(method, warmup=2) if method == "zclip" else Clipper(method)
        for size in (1.0, 2.0, 1.5):
            clip(parameters([[size, 0.0]], torch.float32))
        made = parameters([[2e19, 3e19]], torch.float32)
        assert clip(made).clipped
        assert flat(made).tolist() == [0, 0]
        after = clip(parameters([[1.5, 0.0]], torch.float32))
        assert math.isfinite(after.norm_after)


@pytest.mark.parametrize("method", ["autoclip", "zclip"])
def test_a_gradient_of_nan_is_not_remembered(method):
    options: dict[str, Any] = {"warmup": 4} if method == "zclip" else {}
    with_nan, without = Clipper(method, **options), Clipper(method, **options)
    for step in range(8):
        if step == (2 if method == "zclip" else 6):  # later, ZClip takes it for the mean
            with_nan(parameters([[math.nan, 1.0]]))
        pair = [clip(fill(Net(), step, 1.0 + step)) for clip in (with_nan, without)]
        assert pair[0].limit == pair[1].limit


# --- laws -----------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(entries, limits)
def test_norm_keeps_the_direction_and_bounds_the_length(grads, limit):
    made = parameters(grads)
    before = flat(made).clone()
    record = Clipper("norm", limit)(made)
    scale = min(1.0, limit / (before.norm().item() + 1e-6))
    assert_close(flat(made), scale * before)
    assert record.norm_after <= limit * (1 + 1e-9)
    assert record.clipped == (not torch.equal(flat(made), before))
    if before.norm() > 0:
        assert record.cosine == pytest.approx(1)


@settings(max_examples=60)
@given(entries, limits)
def test_value_clamps_each_entry(grads, limit):
    made = parameters(grads)
    before = flat(made).clone()
    record = Clipper("value", limit)(made)
    values = [min(max(g, -limit), limit) for g in before.tolist()]
    assert flat(made).tolist() == values
    changed = sum(a != b for a, b in zip(before.tolist(), values, strict=True))
    assert record.fraction == pytest.approx(changed / len(values))


cases = st.tuples(
    st.sampled_from(FIXED), st.integers(0, 10**6), st.floats(1e-4, 1e4), st.floats(1e-3, 1e2)
)


@settings(max_examples=80)
@given(cases)
def test_what_every_method_keeps(case):
    method, seed, scale, limit = case
    model, before = fill(Net(), seed, scale), gradients(fill(Net(), seed, scale))
    record = Clipper(method, limit)(model)
    after = gradients(model)
    assert record.norm_after <= record.norm_before * (1 + 1e-12)
    assert record.cosine >= 0
    for name, g in after.items():
        assert (g * before[name] >= 0).all()  # no entry changes its sign
        assert (g.abs() <= before[name].abs()).all()
    if method in BY_LENGTH:
        touched = {PARTS[group] for group in GROUPED.get(method, PARTS)}
        own = [g.flatten() for name, g in after.items() if name.partition(".")[0] in touched]
        assert torch.cat(own).norm() <= limit * (1 + 1e-6)
        for name, g in after.items():
            assert name.partition(".")[0] in touched or torch.equal(g, before[name])
        for group in GROUPED.get(method, PARTS):
            assert record.groups[group].cosine == pytest.approx(1)
    if method == "norm":
        assert record.cosine == pytest.approx(1)
    if method == "per_parameter":
        assert all(g.norm() <= limit * (1 + 1e-6) for g in after.values())
    if method == "value":
        assert all((g.abs() <= limit).all() for g in after.values())
    if method == "agc":
        assert all(torch.equal(after[n], before[n]) for n in after if n.startswith("head"))


@settings(max_examples=50)
@given(cases)
def test_clipping_twice_changes_no_more(case):
    method, seed, scale, limit = case
    model = fill(Net(), seed, scale)
    clip = Clipper(method, limit)
    clip(model)
    once = gradients(model)
    clip(model)
    for name, g in gradients(model).items():
        assert_close(g, once[name], rtol=2e-6 / limit + 1e-9, atol=0)  # PyTorch adds 1e-6 to a norm


@settings(max_examples=40)
@given(entries, limits, st.sampled_from([*EACH_ALONE, "autoclip"]), st.randoms())
def test_the_order_of_parameters_does_not_matter(grads, limit, method, random):
    limit = min(limit, 100.0)
    order = list(range(len(grads)))
    random.shuffle(order)
    straight, shuffled = parameters(grads), parameters([grads[n] for n in order])
    Clipper(method, limit)(straight)
    Clipper(method, limit)(shuffled)
    for place, n in enumerate(order):
        one, other = shuffled[place].grad, straight[n].grad
        assert one is not None
        assert_close(one, other, rtol=1e-12, atol=0)


@settings(max_examples=40)
@given(st.sampled_from([m for m in FIXED if m != "agc"]), st.floats(1e-6, 0.9))
def test_what_stays_below_the_limit_passes_as_it_is(method, factor):
    model = fill(Net())
    norm = gradient_norm(model)
    for p in model.parameters():
        p.grad *= factor
    before = gradients(model)
    record = Clipper(method, norm)(model)
    assert not record.clipped
    assert_close(gradients(model), before, rtol=0, atol=0)


# --- the examples of the chapter ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "expected", "cosine", "norm"),
    [
        ("norm", [[3 / 13, 4 / 13], [0, 12 / 13]], 1.0, 1.0),
        ("per_parameter", [[0.6, 0.8], [0, 1]], 0.9247, 2**0.5),
        ("value", [[1, 1], [0, 1]], 0.8438, 3**0.5),
    ],
)
def test_one_gradient_by_three_methods(method, expected, cosine, norm):
    made = parameters(CASES["ordinary"])
    record = Clipper(method, 1.0)(made)
    assert_close(flat(made), torch.tensor(expected).double().flatten(), rtol=1e-6, atol=0)
    assert record.norm_before == 13
    assert record.norm_after == pytest.approx(norm, rel=1e-6)
    assert round(record.cosine, 4) == cosine
    assert record.fraction == 0.75


def test_the_length_that_pytorch_leaves_in_float32():
    made = parameters(CASES["ordinary"], torch.float32)
    record = Clipper("norm", 1.0)(made)
    theirs = parameters(CASES["ordinary"], torch.float32)
    assert nn.utils.clip_grad_norm_(theirs, 1.0).item() == record.norm_before == 13.0
    left = total_norm([p.grad for p in made if p.grad is not None]).item()
    assert left == pytest.approx(0.99999994, abs=4e-8)
    assert left < 1


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_a_constant_factor_is_invisible_to_adam(factor):
    def trained(scale, clip=None, optimizer="Adam"):
        model = Net()
        with torch.no_grad():
            for n, p in enumerate(model.parameters()):
                p.fill_(0.1 * n)
        options = {"eps": 1e-30} if optimizer == "Adam" else {}
        step = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01, **options)
        for seed, size in enumerate(spiky_scales(50)):
            fill(model, seed, size)
            if clip is not None:
                clip(model)
            for p in model.parameters():
                p.grad *= scale
            step.step()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    plain = trained(1.0)
    assert_close(trained(factor), plain, rtol=0, atol=1e-11)
    assert (trained(factor, optimizer="SGD") - trained(1.0, optimizer="SGD")).abs().max() > 0.01
    # clipping is not constant: it changes what one step weighs against another
    assert (trained(1.0, Clipper("norm", 1.0)) - plain).abs().max() > 1e-3
    every = [trained(1.0, Clipper("norm", limit)) for limit in (1e-3, 1e-4)]
    assert_close(every[0], every[1], rtol=0, atol=1e-6)  # every step clipped: a factor again


# --- skipping steps -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [m for m in METHODS if m != "error"])
@pytest.mark.parametrize("entry", [math.nan, math.inf])
def test_a_step_is_skipped_with_nothing_moved(method, entry):
    model = fill(Net(torch.float32))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
    clip = Clipper(method, skip_nonfinite=True)
    assert not clip(model).skipped
    optimizer.step()
    weights, memory = copy.deepcopy((model.state_dict(), optimizer.state_dict()["state"]))
    fill(model, 1)
    model.head.bias.grad[0] = entry
    record = clip(model)
    assert all(p.grad is None for p in model.parameters())
    optimizer.step()
    assert_close(model.state_dict(), weights, rtol=0, atol=0)
    assert_close(optimizer.state_dict()["state"], memory, rtol=0, atol=0)
    assert (record.skipped, record.finite, record.norm_after) == (True, False, 0)
    assert record.groups["output"].norm_after == 0
    assert record.groups["recurrent"].norm_before > 0
    assert math.isnan(record.cosine)
    assert record.limit == math.inf
    assert not record.clipped
    assert not clip(fill(model, 2)).skipped
    optimizer.step()
    assert (model.head.bias != weights["head.bias"]).any()


def test_skipped_steps_are_not_remembered():
    clips = Clipper("autoclip", skip_nonfinite=True), Clipper("autoclip")
    for clip in clips:
        for step in range(4):
            clip(fill(Net(), step, 1.0 + step))
            if clip.skip_nonfinite:
                clip(parameters([[math.nan]]))
    assert [r.skipped for r in clips[0].records] == [False, True] * 4
    pairs = zip(clips[0].records[::2], clips[1].records, strict=True)
    assert all(one.limit == other.limit for one, other in pairs)


def test_without_skipping_the_gradients_stay():
    made = parameters(CASES["nan"])
    assert not Clipper("value")(made).skipped
    assert made[0].grad is not None


# --- many networks at once ------------------------------------------------------------------------

STACKABLE: list = [
    ("norm", 0.8, {}),
    ("per_parameter", 0.3, {}),
    ("value", 0.05, {}),
    ("recurrent", 0.5, {}),
    ("all_but_output", 0.5, {}),
    ("output", 0.3, {}),
    ("agc", 0.3, {}),
    ("agc", 0.3, {"include_output": True}),
    ("autoclip", 30.0, {}),
    ("zclip", 1.0, {"warmup": 5, "alpha": 0.9}),
    ("zclip", 2.5, {"warmup": 5, "max_norm": 3.0}),
]


def test_every_stackable_method_is_here():
    assert {method for method, _, _ in STACKABLE} == set(METHODS) - {"error"}


@pytest.mark.parametrize(("method", "threshold", "options"), STACKABLE, ids=str)
@precise
def test_stacked_networks_are_clipped_each_as_if_it_were_alone(method, threshold, options, dtype):
    R, steps = 4, 40
    models = []
    for n in range(R):
        torch.manual_seed(n)
        models.append(Net(dtype))
    alone = [Clipper(method, threshold, **options) for _ in range(R)]
    together = Clipper(method, threshold, **options)
    memory = together.make_limits()
    scales = [spiky_scales(steps, seed) for seed in range(R)]
    seen = 0
    for step in range(steps):
        for n, model in enumerate(models):
            fill(model, 100 * n + step, scales[n][step] * (0.2 if step % 4 else 1e-3))
        if step == 20:
            grad_of(models[1].head.bias)[0] = math.nan
            grad_of(models[2].rnn.bias_hh_l0)[0] = math.inf
        stacked = [
            StackedParameter(
                group,
                torch.stack([list(m.parameters())[place].detach() for m in models]),
                torch.stack([grad_of(list(m.parameters())[place]) for m in models]),
            )
            for place, (group, _) in enumerate(parts_of(models[0]))
        ]
        norms = norms_of([p.gradient for p in stacked]) if step % 2 else None
        changed = together.clip_stacked(stacked, norms, memory)
        assert changed.dtype == torch.bool
        for n, model in enumerate(models):
            record = alone[n](model)
            assert changed[n] == record.clipped
            seen += record.clipped
            for p, whole in zip(model.parameters(), stacked, strict=True):
                tight = 1e-6 if dtype == torch.float32 else 1e-12
                assert_close(whole.gradient[n], p.grad, rtol=tight, atol=0, equal_nan=True)
    assert 0 < seen < R * steps
    assert together.records == []


def stack_of(rows):
    """The gradients of several networks with two parameters."""
    whole = torch.tensor(rows, dtype=torch.float64)
    return [StackedParameter("other", torch.zeros_like(g), g) for g in (whole[:, :1], whole[:, 1:])]


@settings(max_examples=40)
@given(
    st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=5),
    limits,
    st.sampled_from(EACH_ALONE),
)
def test_stacked_clipping_is_that_of_each_row(rows, limit, method):
    stacked = stack_of(rows)
    changed = Clipper(method, limit).clip_stacked(stacked)
    for n, row in enumerate(rows):
        alone = parameters([row[:1], row[1:]])
        record = Clipper(method, limit)(alone)
        own = torch.cat([p.gradient[n].flatten() for p in stacked])
        assert_close(own, flat(alone), rtol=1e-12, atol=0)
        assert bool(changed[n]) == record.clipped


def test_norms_that_are_known_are_not_computed_again():
    stacked = [StackedParameter("other", torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [3.0, 4.0]]))]
    known = torch.tensor([5.0, 0.5])
    changed = Clipper("norm", 1.0).clip_stacked(stacked, known)
    assert changed.tolist() == [True, False]
    assert known.tolist() == [5.0, 0.5]
    assert_close(stacked[0].gradient, torch.tensor([[0.6, 0.8], [3.0, 4.0]]))


def test_norms_of_everything_do_not_serve_a_part():
    ones = torch.ones(1, 4)
    stacked = [StackedParameter(group, ones, 2 * ones) for group in ("recurrent", "output")]
    Clipper("output", 1.0).clip_stacked(stacked, torch.tensor([math.hypot(4, 4)]))
    assert (stacked[0].gradient == 2).all()
    assert stacked[1].gradient.norm().item() == pytest.approx(1, rel=1e-6)


def test_stacked_gradients_may_want_gradients_themselves():
    leaf = torch.full((2, 3), 7.0, requires_grad=True)
    stacked = [StackedParameter("other", leaf, leaf)]
    assert Clipper("value", 1.0).clip_stacked(stacked).tolist() == [True, True]
    assert (leaf == 1).all()


def test_memory_that_is_not_given_is_fresh():
    clip = Clipper("autoclip")
    for size in (1.0, 100.0):
        stacked = [StackedParameter("other", torch.zeros(1, 1), torch.full((1, 1), size))]
        assert clip.clip_stacked(stacked).tolist() == [False]


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (Clipper("error"), "clipper must not have method='error' in replicas, but Clipper"),
        (Clipper(skip_nonfinite=True), "clipper must not have skip_nonfinite=True in replicas"),
        (Clipper("output", output="rnn"), "output must be None or 'head' in replicas, but 'rnn'"),
    ],
)
def test_what_cannot_be_stacked(clip, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        clip.check_stackable()
    for good in (Clipper(), Clipper("output", output="head"), Clipper("zclip", max_norm=1.0)):
        good.check_stackable()


# --- inside backpropagation -----------------------------------------------------------------------


def test_error_clipping_by_the_clipper():
    model = SequenceModel(nn.RNN(2, 3), 1, seed=0)
    clip = Clipper("error", 1e-3)
    errors = clip.attach(model, output_threshold=0.5)
    assert (errors.threshold, errors.output_threshold) == (1e-3, 0.5)
    model(torch.ones(6, 2, 2)).sum().backward()
    before = gradients(model)
    record = clip(model)
    assert_close(gradients(model), before, rtol=0, atol=0)  # all was done on the way
    assert 0 < record.fraction <= 1
    assert record.clipped
    assert math.isnan(record.cosine)
    assert record.limit == 1e-3
    assert record.norm_before == record.norm_after == pytest.approx(gradient_norm(model))
    for change in record.groups.values():  # of which nothing is known
        assert math.isnan(change.fraction)
        assert math.isnan(change.cosine)
        assert change.norm_before == change.norm_after > 0
    assert clip(model).fraction == 0  # no error has arrived since
    errors.remove()


def model_with_errors(threshold=1e-3):
    """A clipper of errors, attached, with the gradient of a sum."""
    model, clip = SequenceModel(nn.RNN(2, 3), 1, seed=0), Clipper("error", threshold)
    clip.attach(model)
    model(torch.ones(6, 2, 2)).sum().backward()
    return clip, model


def test_a_clipper_of_errors_serves_the_model_it_is_attached_to():
    clip, model = model_with_errors()
    assert clip(model).clipped
    assert clip(nn.Sequential(model)).fraction == 0  # within another
    twin, plain = copy.deepcopy(model), SequenceModel(nn.RNN(2, 3), 1, seed=0)
    others = [copy.copy(clip), copy.deepcopy(clip), pickle.loads(pickle.dumps(clip))]
    pairs = [*((other, model) for other in others), (clip, twin), (clip, plain)]
    for other, served in pairs:
        with pytest.raises(
            ValueError, match=r"^method='error' clips .*: call attach\(model\) of th"
        ):
            other(served)
    assert [len(other.records) for other in others[1:]] == [2, 2]
    (errors,) = ErrorClipping.of(model)
    errors.remove()
    with pytest.raises(ValueError, match=r"^method='error' clips .* call attach"):
        clip(model)
    clip.attach(model)
    assert clip(model).fraction == 0


def test_errors_are_clipped_at_a_new_threshold():
    clip, model = model_with_errors(1e9)
    assert clip(model).fraction == 0
    clip.threshold = 1e-6
    model(torch.ones(6, 2, 2)).sum().backward()
    record = clip(model)
    assert record.fraction > 0
    assert record.limit == 1e-6


def test_where_errors_are_clipped():
    model = SequenceModel(nn.LSTM(2, 3), 1, seed=0)
    assert Clipper("error", 0.5).attach(model, at="gates").at == "gates"
    assert Clipper("error", output="head").attach(copy.deepcopy(Net())).output_threshold == math.inf


def test_the_output_layer_that_the_clipper_names_is_the_one_that_is_attached_to():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head, self.other = nn.RNN(1, 2), nn.Linear(2, 1), nn.Linear(2, 1)

        def forward(self, x):
            y = self.rnn(x)[0]
            return self.head(y) + self.other(y)

    model = TwoHeads()
    Clipper("error", output="head").attach(model, output_threshold=0.5)
    model(torch.zeros(1, 1)).sum().backward()
    assert grad_of(model.head.bias).item() == 0.5
    assert grad_of(model.other.bias).item() == 1.0


# --- what a clipper is ----------------------------------------------------------------------------


def test_defaults():
    clip = Clipper()
    assert (clip.method, clip.threshold, clip.records) == ("norm", 1.0, [])
    assert {method: Clipper(method).threshold for method in METHODS} == METHODS
    assert (Clipper("agc").threshold, Clipper("autoclip").threshold) == (0.01, 10.0)
    assert Clipper("zclip").threshold == 2.5


def test_what_a_rule_is():
    assert Clipper("value", 2).rule == Clipper("value", 2.0).rule
    assert Clipper("value", 2) == Clipper("value", 2.0)
    made = [Clipper(m, t) for m in METHODS for t in (1, 2)]
    made += [Clipper(output="head"), Clipper("agc", include_output=True)]
    made += [Clipper(skip_nonfinite=True), Clipper("zclip", alpha=0.5), Clipper("zclip", warmup=3)]
    made += [Clipper("zclip", max_norm=1)]
    assert len({clip.rule for clip in made}) == len(made)
    clip = Clipper()
    clip(parameters([[3.0]]))
    assert clip.rule == Clipper().rule  # the record does not matter
    assert clip == Clipper()


@pytest.mark.parametrize(
    ("clip", "text"),
    [
        (Clipper(), "Clipper(method='norm', threshold=1.0)"),
        (Clipper("agc", output="head"), "Clipper(method='agc', threshold=0.01, output='head')"),
        (
            Clipper("zclip", 3, alpha=0.9, max_norm=1),
            "Clipper(method='zclip', threshold=3.0, alpha=0.9, max_norm=1.0)",
        ),
    ],
)
def test_a_clipper_says_what_was_given(clip, text):
    assert repr(clip) == text
    assert eval(text) == clip


def test_every_call_is_kept_in_order():
    clip = Clipper("norm", 1.0)
    made = [clip(parameters([[length]])) for length in (2.0, 0.5)]
    assert clip.records == made
    assert [record.clipped for record in clip.records] == [True, False]


def test_a_copy_remembers_by_itself():
    clip = Clipper("autoclip", 50)
    clip(parameters([[1.0]]))
    twin = copy.deepcopy(clip)
    clip(parameters([[9.0]]))
    assert twin(parameters([[3.0]])).limit == 2.0
    assert dataclasses.replace(clip, threshold=20).threshold == 20


@pytest.mark.parametrize("method", ["norm", "value", "agc"])
def test_a_schedule_of_thresholds(method):
    clip = Clipper(method)
    for step, limit in enumerate([0.5, 0.2, 0.02]):
        ours = fill(Net(), step, 5.0)
        theirs = fill(copy.deepcopy(ours), step, 5.0)
        clip.threshold = limit
        assert clip(ours) == Clipper(method, limit)(theirs)
        assert clip.records[-1].clipped
        assert clip.records[-1].limit == clip.threshold == limit
        assert_same(ours, theirs)
    assert clip.rule == Clipper(method, 0.02).rule
    assert eval(repr(clip)) == clip


def test_zclip_with_a_new_threshold_keeps_what_it_has_learned():
    clip = Clipper("zclip", warmup=4)
    for length in (1.0, 2.0, 3.0, 4.0):
        clip(parameters([[length]]))
    mean, std = 2.5, 1.25**0.5
    clip.threshold = 1.0
    z = (5.0 - mean) / (std + 1e-6)
    assert clip(parameters([[5.0]])).limit == pytest.approx(mean + std / z)


def test_a_new_percentile_keeps_the_norms_it_knows():
    clip = Clipper("autoclip", 10)
    for length in (1.0, 2.0, 3.0):
        clip(parameters([[length]]))
    clip.threshold = 100
    assert clip(parameters([[0.5]])).limit == 3.0
    clip.threshold = None
    assert clip.threshold == 10.0


def test_stacked_networks_follow_a_new_threshold():
    clip = Clipper("norm", 10.0)
    memory = clip.make_limits()
    assert clip.clip_stacked(stack_of([[3.0, 4.0]]), None, memory).tolist() == [False]
    clip.threshold = 1.0
    stacked = stack_of([[3.0, 4.0]])
    assert clip.clip_stacked(stacked, None, memory).tolist() == [True]
    assert_close(torch.cat([p.gradient for p in stacked], 1), torch.tensor([[0.6, 0.8]]).double())


def test_other_settings_stay_as_they_are():
    clip = Clipper("zclip")
    for name, value in {
        "method": "norm",
        "output": "head",
        "include_output": True,
        "skip_nonfinite": True,
        "alpha": 0.5,
        "warmup": 3,
        "max_norm": 1.0,
    }.items():
        with pytest.raises(AttributeError, match=f"^{name} of a Clipper cannot change"):
            setattr(clip, name, value)
    with pytest.raises(ValueError, match=r"^threshold must be a number of at least 0, but -1 was"):
        clip.threshold = -1
    assert clip == Clipper("zclip")


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "global"},
            "method must be one of " + ", ".join(map(repr, METHODS)) + ", but 'global' was given",
        ),
        ({"method": None}, "method must be one of 'norm', .*, but None was given"),
        ({"threshold": 0}, "threshold must be above 0, but 0 was given"),
        ({"threshold": -1}, "threshold must be a number of at least 0, but -1 was given"),
        ({"threshold": math.inf}, "threshold must be a number of at least 0, but inf was given"),
        ({"threshold": math.nan}, "threshold must be a number of at least 0, but nan was given"),
        ({"threshold": "1 cm"}, "threshold must be a number of at least 0, but '1 cm' was given"),
        (
            {"method": "autoclip", "threshold": 101},
            "threshold must be a number from 0 to 100, but 101 was given",
        ),
        (
            {"method": "autoclip", "threshold": 0},
            "threshold must be above 0 and at most 100, but 0 was given",
        ),
        ({"alpha": 0.5}, "alpha must be given to method='zclip' alone, but 0.5 was given"),
        ({"warmup": 3}, "warmup must be given to method='zclip' alone, but 3 was given"),
        ({"max_norm": 3.0}, "max_norm must be given to method='zclip' alone, but 3.0 was given"),
        (
            {"method": "zclip", "include_output": True},
            "include_output must be given to method='agc' alone, but True was given",
        ),
        ({"method": "zclip", "alpha": 1.5}, "alpha must be a number from 0 to 1, but 1.5"),
        ({"method": "zclip", "warmup": 0}, "warmup must be a whole number of at least 2, but 0"),
        ({"method": "zclip", "warmup": 1}, "warmup must be a whole number of at least 2, but 1"),
        ({"method": "agc", "include_output": 1}, "include_output must be True or False, but 1 was"),
        ({"skip_nonfinite": None}, "skip_nonfinite must be True or False, but None was given"),
        ({"method": "zclip", "max_norm": 0}, "max_norm must be above 0, or None, but 0.0"),
        ({"method": "zclip", "max_norm": -1}, "max_norm must be a number of at least 0, but -1"),
        ({"output": 3}, "output must be the name of a layer, or None, but 3 was given"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Clipper(**settings)


def test_numbers_may_come_as_text():
    clip = Clipper("zclip", "2", max_norm="0.5")  # type: ignore[arg-type]
    assert (clip.threshold, clip.max_norm) == (2.0, 0.5)
    assert clip(parameters([[3.0]])).norm_after == pytest.approx(0.5, rel=1e-5)


def test_adaptive_clipping_of_everything_needs_no_model():
    model = fill(Net())
    whole = fill(copy.deepcopy(model))
    record = Clipper("agc", include_output=True)(list(model.parameters()))
    assert record.clipped
    assert record.groups == {}
    Clipper("agc", include_output=True)(whole)
    assert_same(model, whole)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda m: m.named_parameters(), "tuple|\\("),
        (lambda m: None, "None was given"),
        (lambda m: [{"params": list(m.parameters())}], r"\{'params'"),
        (lambda m: m.state_dict(), "'before.weight' was given"),
        (lambda m: [1.0], "1.0 was given"),
    ],
)
def test_what_has_no_gradients(given, told):
    message = rf"^parameters must be a model, or tensors such as its parameters.*, but .*{told}"
    for method in (Clipper(), gradient_norm):
        with pytest.raises(ValueError, match=message):
            method(given(fill(Net())))


@pytest.mark.parametrize("method", [*GROUPED, "agc", "error"])
def test_methods_that_need_the_model(method):
    made = parameters([[3.0]])
    with pytest.raises(ValueError, match=f"^parameters must be the model for method='{method}'"):
        Clipper(method)(made)
    assert flat(made).tolist() == [3.0]


@pytest.mark.parametrize(
    ("method", "model", "message"),
    [
        (
            "recurrent",
            nn.Linear(2, 1),
            "method='recurrent' needs a model with a recurrent layer, but Linear has none",
        ),
        (
            "output",
            nn.GRU(2, 3),
            r"method='output' needs a model with an output layer, but GRU has none \(name its out",
        ),
        (
            "all_but_output",
            nn.Linear(2, 1),
            "method='all_but_output' needs a model with parameters outside its output layer, but",
        ),
        (
            "error",
            Net(),
            r"method='error' clips inside backward\(\): call attach\(model\) of this clip",
        ),
    ],
)
def test_models_without_what_is_needed(method, model, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Clipper(method)(model)


@pytest.mark.parametrize("method", ["output", "norm", "agc"])
def test_an_output_layer_that_is_not_there(method):
    model, before = fill(Net()), gradients(fill(Net()))
    message = "^output must be the name of a layer of the model: 'before', 'rnn', 'head', but 'x'"
    with pytest.raises(ValueError, match=message):
        Clipper(method, output="x")(model)
    assert_close(gradients(model), before, rtol=0, atol=0)


def test_only_error_clipping_is_attached():
    message = r"^method='norm' clips between backward\(\) and step\(\): call clip\(model\) there"
    with pytest.raises(ValueError, match=message):
        Clipper().attach(Net())

"""What the checks of chapter 05 call right, by other means than theirs."""

import itertools
import os
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

import teachkit as tk
from teachkit.exercises import check
from teachkit.exercises.error_hooks import by_hand, network
from teachkit.exercises.training_loop import LINES, explain, listing, run
from tests.clipping_answers import NORMS, Clamped, clip_by_norm
from tools.notebooks import NOTEBOOKS

os.environ.setdefault("KERAS_BACKEND", "torch")
FIVE = ("zero", "forward", "backward", "clip", "step")


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.floats(0.05, 20))
def test_the_solution_is_what_torch_does(seed, threshold):
    stream = torch.Generator().manual_seed(seed)
    gradients = [torch.randn(shape, generator=stream).double() for shape in [(3, 2), (4,), ()]]
    parameters = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
    for parameter, g in zip(parameters, gradients, strict=True):
        parameter.grad = g.clone()
    torch.nn.utils.clip_grad_norm_(parameters, threshold)
    assert_close(
        clip_by_norm(gradients, threshold), [p.grad for p in parameters], rtol=1e-4, atol=0
    )


def keras_gradient(**clipping):
    """What a Keras optimiser makes of the gradients (3, 4) and (0, 12), by a step of SGD."""
    import keras

    variables = [keras.Variable(np.zeros(2), dtype="float32") for _ in range(2)]
    gradients = [keras.ops.convert_to_tensor(np.array(g, np.float32)) for g in ([3, 4], [0, 12])]
    optimizer = keras.optimizers.SGD(learning_rate=1.0, **clipping)
    optimizer.apply(gradients, variables)
    return -np.array([v.value.tolist() for v in variables]).ravel()


def cosine(clipped):
    gradient = np.array([3.0, 4, 0, 12])
    return gradient @ clipped / np.linalg.norm(gradient) / np.linalg.norm(clipped)


def test_the_direction_is_that_of_kerass_clipnorm():
    turned = cosine(keras_gradient(clipnorm=1.0))
    assert turned == pytest.approx(0.9247, abs=5e-5)
    assert check.direction(turned)
    assert (
        "by the global norm" in check.direction(cosine(keras_gradient(global_clipnorm=1.0))).message
    )
    assert "clipping by value" in check.direction(cosine(keras_gradient(clipvalue=1.0))).message


def trained_by_hand():
    """The four batches of the check in a loop of its own, with the clipping written out."""
    model = tk.SequenceModel(tk.make_elman(4, 1.5, input_size=2, seed=0), 1, seed=0).double()
    nn.init.constant_(model.head.weight, 2.0)
    stream = torch.Generator().manual_seed(0)
    for _ in range(4):
        x = torch.randn(6, 8, 2, generator=stream, dtype=torch.float64)
        loss = (model(x) - (5 * x[0, :, :1] - 3)).square().mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = sum(g.square().sum() for g in gradients) ** 0.5
        assert norm > 1
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradients, strict=True):
                p -= 0.1 * g / (norm + 1e-6)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_three_of_all_orders_train_as_a_loop_by_hand_does():
    wanted, right = trained_by_hand(), set()
    reference = run(FIVE)
    for names in itertools.permutations(FIVE):
        forward, backward, step = (names.index(name) for name in ("forward", "backward", "step"))
        if backward < forward or (forward < step and "zero" in names[step:backward]):
            with pytest.raises((NameError, RuntimeError), match=r"loss|modified by an inplace"):
                run(names)
            continue
        found = run(names)
        if torch.allclose(found.parameters, wanted):
            right.add(names)
        assert (explain(names, found, reference) is None) == (names in right)
    before_backward = {("zero", "forward", *FIVE[2:]), ("forward", "zero", *FIVE[2:])}
    assert right == before_backward | {(*FIVE[1:], "zero")}


def test_no_line_of_the_listing_is_idle():
    """Each of the two strangers changes what is learned, and without one of the five it differs."""
    reference = run(FIVE).parameters
    differ = {
        (name, place)
        for name in ("cap", "bound")
        for place in range(2 if name == "cap" else 0, 6)
        if not torch.allclose(run((*FIVE[:place], name, *FIVE[place:])).parameters, reference)
    }
    assert {place for name, place in differ if name == "cap"} == {2}
    assert {place for name, place in differ if name == "bound"} >= {0, 1, 4, 5}
    for name in FIVE:
        rest = tuple(n for n in FIVE if n != name)
        if name != "forward":
            assert not torch.allclose(run(rest).parameters, reference), name


def test_the_listing_names_its_lines_in_the_order_of_the_alphabet():
    assert list(LINES) == sorted(LINES)
    assert [line.split("  ", 1)[0].strip() for line in listing().splitlines()] == list(LINES)
    for line in LINES.values():
        compile(line, "line", "exec")


@pytest.mark.parametrize("factor", [0.1, 0.49, 0.51, 9.9, 10.1, 90.0])
def test_right_is_half_to_ten_times_the_average(factor):
    found = check.threshold(NORMS, factor * 5.0)
    assert bool(found) == (0.5 <= factor <= 10)
    clipped = sum(norm > factor * 5.0 for norm in NORMS) / len(NORMS)
    assert f"it clips {clipped:.0%} of these steps" in found.message


def test_a_real_record_of_norms_is_judged():
    task = tk.TemporalOrder(seq_len=30)
    model = tk.SequenceModel(tk.make_elman(20, rho=1.2, input_size=6, seed=0), 4, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    history = tk.fit(
        model, tk.batches(task, seed=0), loss=task.loss, optimizer=optimizer, steps=20,
        progress=False,
    )  # fmt: skip
    assert check.threshold(history.frame["grad_norm"], np.mean(history.grad_norm))


@pytest.mark.parametrize("limit", [0.5, 2.0, 1e9])
def test_the_errors_by_hand_are_those_of_autograd(limit):
    W, h = network()
    W.requires_grad_()
    states = []
    for _ in range(14):
        h = h @ W.T
        h.retain_grad()
        states.append(h)
        h = Clamped.apply(h, limit)
    h.sum().backward()
    found = by_hand(lambda g: g.clamp(-limit, limit))
    assert_close(found.errors, torch.stack([h.grad for h in states if h.grad is not None]))
    assert_close(found.W_grad, W.grad)


def test_without_a_hook_the_error_outgrows_both_limits():
    errors = by_hand(lambda g: g).errors.abs()
    assert errors.max() > 20
    assert (errors[-1] == 1).all()


def test_the_chapter_prints_the_listing():
    text = (NOTEBOOKS / "source" / "05_gradient_clipping.py").read_text(encoding="utf-8")
    assert listing() in re.sub(r"(?m)^# ?", "", text)

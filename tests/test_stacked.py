"""The stacked pass against PyTorch's own layers, one after the other, and finite differences."""

import gc
import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

import teachkit.stacked as stacked
from teachkit.cells import Workspace
from teachkit.models import ElmanRNN
from teachkit.stacked import run_stacked

DOUBLE = torch.float64
LAYERS: dict[str, tuple[type, dict[str, Any]]] = {
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
    "tanh": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "sigmoid": (ElmanRNN, {"nonlinearity": "sigmoid"}),
    "linear": (ElmanRNN, {"nonlinearity": "linear"}),
}
kinds = pytest.mark.parametrize("kind", LAYERS)
steps_wanted = pytest.mark.parametrize("every_step", [False, True])
size = st.integers(1, 4)


class Case:
    """Real layers, their input, and weights for the outputs that make one number of them all."""

    def __init__(
        self,
        kind,
        R=3,
        T=5,
        B=2,
        width=3,
        H=4,
        *,
        bias=True,
        given=True,
        dtype=DOUBLE,
        seed=0,
        size=0.9,
    ):
        torch.manual_seed(seed)  # drawn in float32, so that float64 has the same numbers
        make, options = LAYERS[kind]
        self.kind = kind
        self.layers = [make(width, H, bias=bias, **options) for _ in range(R)]
        for layer in self.layers:
            for p in layer.parameters():
                nn.init.uniform_(p, -size, size)
            layer.to(dtype)
        count = 2 if kind == "lstm" else 1
        self.x = torch.randn(R, T, B, width).to(dtype).requires_grad_()
        states = [torch.randn(R, B, H).to(dtype).requires_grad_() for _ in range(count)]
        self.states = states if given else []
        named = [list(layer.parameters()) for layer in self.layers]
        self.weights = [
            torch.stack([p.detach() for p in one]).requires_grad_()
            for one in zip(*named, strict=True)
        ]
        self.cotangents = torch.randn(1 + count, R, H, T, B).to(dtype)

    @property
    def inputs(self):
        return [self.x, *self.states, *self.weights]

    def scalar(self, y, finals):
        """One number that depends on every output."""
        of_y = self.cotangents[0] if y.ndim == 4 else self.cotangents[0, :, :, 0]
        total = (of_y * y).sum()
        for weight, final in zip(self.cotangents[1:, :, :, 0], finals, strict=True):
            total = total + (weight.mT * final).sum()
        return total

    def alone(self, every_step):
        """Outputs and gradients of each layer by itself, by PyTorch."""
        ys, finals = [], []
        for r, layer in enumerate(self.layers):
            own = tuple(state[r][None] for state in self.states)
            hx = (own if self.kind == "lstm" else own[0]) if own else None
            y, final = layer(self.x[r], hx)
            ys.append((y if every_step else y[-1]).movedim(-1, 0))
            finals.append(final if isinstance(final, tuple) else (final,))
        y = torch.stack(ys)
        final = tuple(torch.cat(one) for one in zip(*finals, strict=True))
        parameters = [list(layer.parameters()) for layer in self.layers]
        leaves = [self.x, *self.states, *(p for one in parameters for p in one)]
        found = torch.autograd.grad(self.scalar(y, final), leaves)
        first = 1 + len(self.states)
        each = [
            found[n : n + len(self.weights)] for n in range(first, len(found), len(parameters[0]))
        ]
        stacks = [torch.stack(one) for one in zip(*each, strict=True)]
        return [y.detach(), *(f.detach() for f in final)], [*found[:first], *stacks]

    def run(self, every_step, **options):
        return run_stacked(
            self.kind, self.x, self.states or None, self.weights, every_step=every_step, **options
        )

    def stacked(self, every_step):
        """The same from the stacked pass."""
        y, final = self.run(every_step)
        found = torch.autograd.grad(self.scalar(y, final), self.inputs)
        return [y.detach(), *(f.detach() for f in final)], list(found)

    def check(self, every_step):
        assert_close(self.stacked(every_step), self.alone(every_step), rtol=0, atol=1e-10)


@pytest.fixture
def made(monkeypatch):
    """No workspaces are left from other tests; the ones made meanwhile."""
    found: list[Workspace] = []

    class Counted(Workspace):
        def __init__(self, *args):
            super().__init__(*args)
            found.append(self)

    monkeypatch.setattr(stacked, "Workspace", Counted)
    monkeypatch.setattr(stacked, "_free", type(stacked._free)())
    return found


@kinds
@steps_wanted
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_outputs_and_gradients_are_those_of_pytorch(kind, every_step, given, bias):
    for R, T, B, width, H in [(3, 5, 2, 3, 4), (1, 1, 1, 1, 1), (4, 1, 3, 2, 5), (1, 7, 1, 4, 2)]:
        Case(kind, R, T, B, width, H, bias=bias, given=given).check(every_step)


@settings(max_examples=60)
@given(
    st.sampled_from(list(LAYERS)), size, size, size, size, size, st.booleans(), st.booleans(),
    st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_any_sizes_will_do(kind, R, T, B, width, H, every_step, given, bias, seed):
    Case(kind, R, T, B, width, H, given=given, bias=bias, seed=seed).check(every_step)


@kinds
@steps_wanted
@pytest.mark.parametrize("bias", [False, True])
def test_float32_agrees_with_float64(kind, every_step, bias):
    single, double = (
        Case(kind, 3, 10, 8, 2, 16, bias=bias, size=0.4, dtype=dtype)
        for dtype in (torch.float32, DOUBLE)
    )
    exact = [value for part in double.alone(every_step) for value in part]
    found = [value for part in single.stacked(every_step) for value in part]
    for right, mine in zip(exact, found, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - right).abs().max() <= 1e-6 * right.abs().max()


class Again(torch.autograd.Function):
    """A function that is run again for each backward pass: gradcheck makes several."""

    @staticmethod
    def forward(ctx, function, *inputs):
        ctx.function = function
        ctx.save_for_backward(*inputs)
        return function(*inputs)

    @staticmethod
    def backward(ctx, *gradients):
        leaves = [value.detach().requires_grad_() for value in ctx.saved_tensors]
        with torch.enable_grad():
            outputs = ctx.function(*leaves)
        return None, *torch.autograd.grad(outputs, leaves, gradients)


@kinds
@steps_wanted
@pytest.mark.parametrize("given", [False, True])
def test_gradients_are_finite_differences(kind, every_step, given):
    case = Case(kind, 2, 3, 2, 2, 2, given=given)
    count = len(case.states)

    def function(x, *rest):
        y, final = run_stacked(kind, x, rest[:count] or None, rest[count:], every_step=every_step)
        return y, *final

    assert torch.autograd.gradcheck(lambda *inputs: Again.apply(function, *inputs), case.inputs)


@kinds
@pytest.mark.parametrize("wanted", ["x", "states", "weights", "one weight"])
def test_only_what_is_wanted_gets_a_gradient(kind, wanted):
    case = Case(kind)
    chosen = {
        "x": [case.x],
        "states": case.states,
        "weights": case.weights,
        "one weight": case.weights[2:3],
    }[wanted]
    expected = [
        g
        for value, g in zip(case.inputs, case.alone(True)[1], strict=True)
        if any(value is one for one in chosen)
    ]
    for value in case.inputs:
        value.requires_grad_(any(value is one for one in chosen))
    case.scalar(*case.run(True)).backward()
    assert_close([value.grad for value in chosen], expected, rtol=0, atol=1e-10)
    assert all(value.grad is None for value in case.inputs if not value.requires_grad)


@kinds
@pytest.mark.parametrize("part", ["output", "final"])
def test_a_loss_may_use_the_output_or_the_final_state_alone(kind, part):
    case = Case(kind)

    def loss(y, final):
        return y.square().sum() if part == "output" else final[-1].square().sum()

    found = torch.autograd.grad(loss(*case.run(True)), case.inputs)
    case.scalar = loss  # type: ignore[method-assign]
    assert_close(list(found), case.alone(True)[1], rtol=0, atol=1e-10)


@kinds
@steps_wanted
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_can_go_to_a_place_of_their_own(kind, every_step, bias):
    case = Case(kind, bias=bias)
    whole = [torch.full((5, *w.shape[1:]), 7.0, dtype=DOUBLE) for w in case.weights]
    places = [place[1:4] for place in whole]
    case.scalar(*case.run(every_step, into=places)).backward()
    count = 1 + len(case.states)
    expected = case.alone(every_step)[1]
    assert_close([v.grad for v in case.inputs[:count]], expected[:count], rtol=0, atol=1e-10)
    assert_close(places, expected[count:], rtol=0, atol=1e-10)
    assert all(weight.grad is None for weight in case.weights)
    assert all((place[[0, 4]] == 7).all() for place in whole)


def test_a_second_backward_is_refused():
    case = Case("gru")
    loss = case.scalar(*case.run(True))
    loss.backward(retain_graph=True)
    with pytest.raises(
        RuntimeError, match=r"^A pass over .* can be differentiated once.*Run the f"
    ):
        loss.backward()
    case.check(True)


@kinds
def test_memory_is_used_again_and_leaks_nothing(kind, made):
    for bias, start in [(True, True), (False, False), (True, False), (False, True)] * 2:
        case = Case(kind, bias=bias, given=start, seed=bias + 2 * start)
        assert_close(case.stacked(True), case.alone(True), rtol=0, atol=1e-10)
    assert len(made) == 1


@kinds
@steps_wanted
def test_what_was_returned_outlives_the_next_pass(kind, every_step, made):
    one, other = Case(kind, seed=1), Case(kind, seed=2)
    with torch.no_grad():
        y, final = one.run(every_step)
    kept = [y.clone(), *(state.clone() for state in final)]
    outputs, gradients = one.stacked(every_step)
    expected = one.alone(every_step)
    other.stacked(every_step)
    assert_close([y, *final], kept, rtol=0, atol=0)
    assert_close([outputs, gradients], list(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_several_graphs_live_at_once(kind, order):
    cases = [Case(kind, given=bool(seed), seed=seed) for seed in range(3)]
    losses = [case.scalar(*case.run(True)) for case in cases]
    for n in order:
        found = torch.autograd.grad(losses[n], cases[n].inputs)
        assert_close(list(found), cases[n].alone(True)[1], rtol=0, atol=1e-10)


def test_a_graph_may_be_dropped(made):
    case = Case("lstm")
    for _ in range(3):
        case.run(True)
    gc.collect()
    case.check(True)
    case.check(True)
    assert len(made) == 4  # those of dropped graphs are gone, not kept


def test_memory_is_kept_for_the_last_few_sizes_only(made):
    for T in (1, 2, 3, 4, 1, 5, 1):  # 5 takes the place of 2
        Case("tanh", T=T).check(False)
    assert len(stacked._free) == stacked.KEPT_SHAPES == 4
    assert len(made) == 5
    Case("tanh", T=2).check(False)
    assert len(made) == 6


@kinds
@steps_wanted
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("T", [4, 5, 8, 11])
def test_a_long_evaluation_goes_window_by_window(kind, every_step, given, T, monkeypatch, made):
    case = Case(kind, T=T, given=given)
    y, final = case.run(every_step)
    monkeypatch.setattr(stacked, "LONGEST", 4)
    del made[:]
    with torch.no_grad():
        found = case.run(every_step)
    assert_close(found, (y.detach(), tuple(f.detach() for f in final)), rtol=0, atol=1e-12)
    assert max(work.shape.steps for work in made) <= 4
    del made[:]
    case.check(every_step)
    assert T == 4 or [work.shape.steps for work in made] == [T]  # with a graph it stays one pass


@kinds
@steps_wanted
def test_memory_that_is_given_back_is_no_longer_read(kind, every_step, monkeypatch):
    def to_a_busy_thread(kind, work):
        work.S[:, :, :-1] = torch.nan
        give_back(kind, work)

    give_back = stacked._give_back
    monkeypatch.setattr(stacked, "_give_back", to_a_busy_thread)
    case = Case(kind)
    with torch.no_grad():
        for value in case.inputs:
            value.requires_grad_(False)
        y, final = case.run(every_step)
    assert all(value.isfinite().all() for value in (y, *final))
    for value in case.inputs:
        value.requires_grad_(True)
    case.check(every_step)


def test_evaluation_gives_its_memory_back(made):
    case = Case("gru")
    for value in case.inputs:
        value.requires_grad_(False)
    for _ in range(3):
        case.run(False)
    assert len(made) == 1


def test_threads_do_not_share_memory():
    cases = [Case(kind, seed=seed) for kind in ("lstm", "gru") for seed in range(2)]
    expected = [case.alone(True) for case in cases]
    wrong, barrier = [], threading.Barrier(len(cases), timeout=20)

    def work(case, right):
        try:
            barrier.wait()
            for _ in range(25):
                assert_close(case.stacked(True), right, rtol=0, atol=1e-10)
        except Exception as error:  # a thread would swallow it
            wrong.append(error)

    running = [
        threading.Thread(target=work, args=pair) for pair in zip(cases, expected, strict=True)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert wrong == []

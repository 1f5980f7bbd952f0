import copy
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from teachkit.initial_states import (
    NAMED,
    AdaptiveState,
    CarriedState,
    InitialState,
    LearnedState,
    NoisyState,
    ZeroState,
    make_initial_state,
)

DOUBLE = torch.float64


def wrong(value: Any) -> Any:
    """A value of a type that the type checker would refuse."""
    return value


SIZES = {"h0": 5, "c0": 7}
ROWS = [0, 0, 1, 1]
LIKE = torch.zeros((), dtype=DOUBLE)
OPTIONS: list[InitialState] = [
    ZeroState(),
    NoisyState(0.1, layers=(1,)),
    LearnedState(init_std=0.5),
    LearnedState(init_std=0.5, noise_std=0.2, c0=False),
    LearnedState(init_std=0.5, layers=(0,)),
    AdaptiveState(0.7, 0.9),
    AdaptiveState(c0=False, layers=(0, 1)),
    CarriedState(),
    CarriedState(detach=False, c0=False),
]


def make_owner(strategy, rows=ROWS, sizes=SIZES, seed=0):
    owner = nn.Module()
    stream = torch.Generator().manual_seed(seed)
    strategy.register(owner, sizes, rows, dtype=DOUBLE, generator=stream)
    return owner


def start(strategy, owner, batch_size=3, training=True, rows=ROWS, sizes=SIZES, randn=None):
    return strategy.start(owner, sizes, rows, batch_size, training=training, like=LIKE, randn=randn)


def drawing(*seeds):
    """Noise with one generator a row, or one for all where there is one seed."""
    streams = [torch.Generator().manual_seed(seed) for seed in seeds]

    def randn(shape):
        rows = shape[0] // len(streams)
        drawn = [torch.randn(rows, *shape[1:], generator=g, dtype=DOUBLE) for g in streams]
        return torch.cat(drawn)

    return randn


def kept_on(strategy, owner, sizes=SIZES):
    return {name: getattr(owner, name) for name in strategy.kept(sizes)}


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("zero", ZeroState()),
        ("noisy", NoisyState(std=0.3)),
        ("learned", LearnedState(init_std=0.0, noise_std=0.0)),
        ("learned+noisy", LearnedState(noise_std=0.3)),
        ("adaptive", AdaptiveState(scale=0.3, decay=0.99)),
        ("carried", CarriedState(detach=True)),
    ],
)
def test_the_six_names(name, strategy):
    assert make_initial_state(name) == strategy
    assert make_initial_state(strategy) is strategy
    assert list(NAMED).count(name) == 1
    assert len(NAMED) == 6


@pytest.mark.parametrize("strategy", OPTIONS, ids=repr)
def test_strategies_are_values(strategy):
    twin = eval(repr(strategy))
    assert twin == strategy == pickle.loads(pickle.dumps(strategy)) == copy.deepcopy(strategy)
    assert hash(twin) == hash(strategy)
    assert sum(other == strategy for other in OPTIONS) == 1
    with pytest.raises(FrozenInstanceError):
        strategy.c0 = True


def test_representations_name_what_differs():
    assert repr(NoisyState()) == "NoisyState()"
    assert repr(LearnedState(0.0, 0.1, layers=wrong([0, 2]))) == (
        "LearnedState(layers=(0, 2), noise_std=0.1)"
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_initial_state("zeros"), "initial_state must be one of 'zero', 'noisy', 'lea"),
        (lambda: make_initial_state("zeros"), ".*or an InitialState, but 'zeros' was given"),
        (lambda: make_initial_state(wrong(NoisyState)), "initial_state must be one of"),
        (lambda: make_initial_state(wrong(torch.zeros(2))), "initial_state must .*Tensor of shape"),
        (lambda: make_initial_state(wrong(["noisy"])), "initial_state must be one of"),
        (lambda: NoisyState(-0.1), "std must be a number of at least 0, but -0.1 was given"),
        (lambda: NoisyState(float("nan")), "std must be a number of at least 0"),
        (lambda: NoisyState(wrong("big")), "std must be a number of at least 0, but 'big'"),
        (lambda: LearnedState(-1), "init_std must be a number of at least 0"),
        (lambda: LearnedState(noise_std=-1), "noise_std must be a number of at least 0"),
        (lambda: AdaptiveState(-1), "scale must be a number of at least 0"),
        (lambda: AdaptiveState(decay=1), "decay must be a number of at least 0 and below 1, but"),
        (lambda: AdaptiveState(decay=-0.5), "decay must be a number of at least 0"),
        (
            lambda: CarriedState(wrong("yes")),
            "detach must be one of True, False, but 'yes' was given",
        ),
        (lambda: ZeroState(c0=wrong("no")), "c0 must be one of True, False"),
        (lambda: ZeroState(layers=()), "layers must be a tuple of layers, counted from 0, or None"),
        (lambda: ZeroState(layers=wrong(0)), "layers must be a tuple of layers"),
        (lambda: ZeroState(layers=(-1,)), "layers must be a whole number of at least 0"),
        (lambda: ZeroState(layers=wrong("0")), "layers must be a whole number of at least 0"),
        (lambda: make_owner(NoisyState(layers=(2,))), "layers must be layer numbers from 0 to 1"),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


@pytest.mark.parametrize("strategy", OPTIONS, ids=repr)
def test_all_that_is_kept_has_its_rows_first(strategy):
    owner = make_owner(strategy)
    kept = kept_on(strategy, owner)
    assert set(kept) == {*owner._parameters, *owner._buffers}
    for name, value in kept.items():
        if name.endswith("_carried"):
            assert value is None
        else:
            assert value.dtype == DOUBLE
            assert value.shape in [(4, 1, 1), (4, 1, SIZES[name[:2]])]
    assert not any(name.startswith("c0") for name in kept) or strategy.c0


def test_a_learned_state_starts_at_zero_or_at_small_random_numbers():
    for name, value in kept_on(LearnedState(), make_owner(LearnedState())).items():
        assert not value.any(), name
    strategy, rows, sizes = LearnedState(init_std=0.2), [0] * 50, {"h0": 40}
    one, same, other = (make_owner(strategy, rows, sizes, seed).h0 for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.std().item() == pytest.approx(0.2, rel=0.1)
    torch.manual_seed(3)  # without a generator PyTorch's own seed decides
    owner = nn.Module()
    strategy.register(owner, {"h0": 4}, [0])
    torch.manual_seed(3)
    assert_close(owner.get_parameter("h0").detach(), 0.2 * torch.randn(1, 1, 4))


@pytest.mark.parametrize("strategy", OPTIONS, ids=repr)
@pytest.mark.parametrize("training", [False, True])
def test_shapes_and_dtypes_of_the_start(strategy, training):
    owner = make_owner(strategy)
    like = torch.zeros(1, dtype=torch.float32)  # as under autocast: it need not be the owner's
    states = strategy.start(owner, SIZES, ROWS, 3, training=training, like=like)
    if states is not None:
        assert [s.shape for s in states] == [(4, 3, 5), (4, 3, 7)]
        assert all(s.dtype == torch.float32 and s.is_contiguous() for s in states)
    noisy = isinstance(strategy, (NoisyState, AdaptiveState)) and training
    assert (states is not None) == (noisy or isinstance(strategy, LearnedState))


def test_noise_has_the_stated_deviation_in_training_only():
    strategy = NoisyState(0.4)
    owner = make_owner(strategy)
    torch.manual_seed(0)
    for states in zip(*(start(strategy, owner, 50) for _ in range(40)), strict=True):
        noise = torch.stack(states)
        # standard error of the mean: 0.4 / sqrt(40 * 4 * 50 * 5); of the deviation: a third less
        assert noise.mean().item() == pytest.approx(0, abs=0.01)
        assert noise.std().item() == pytest.approx(0.4, abs=0.01)
        # every sequence, row and call has noise of its own
        assert len(noise.flatten().unique()) == noise.numel()
    assert start(strategy, owner, training=False) is None


def test_noise_follows_the_seed_of_pytorch_and_the_function_given():
    strategy = NoisyState()
    owner = make_owner(strategy)
    torch.manual_seed(5)
    one = start(strategy, owner)
    torch.manual_seed(5)
    for a, size in zip(one, SIZES.values(), strict=True):
        assert torch.equal(a, 0.3 * torch.randn(4, 3, size, dtype=DOUBLE))
    for state in start(strategy, owner, randn=lambda shape: torch.ones(shape, dtype=DOUBLE)):
        assert (state == 0.3).all()


@pytest.mark.parametrize("strategy", [NoisyState(0.0), LearnedState(), LearnedState(1.0)])
def test_no_noise_draws_no_random_numbers(strategy):
    owner = make_owner(strategy)
    before = torch.random.get_rng_state()
    start(strategy, owner)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_noise_around_a_learned_state():
    plain, noisy = LearnedState(init_std=1.0), LearnedState(init_std=1.0, noise_std=0.2)
    owner = make_owner(plain)
    pairs = zip(
        start(plain, owner, randn=drawing(1)), start(noisy, owner, randn=drawing(1)), strict=True
    )
    draw = drawing(1)
    for a, b in pairs:
        assert_close(b - a, 0.2 * draw(a.shape))
    for a, b in zip(
        start(plain, owner, training=False), start(noisy, owner, training=False), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "strategy",
    [NoisyState, lambda **k: LearnedState(1.0, **k), lambda **k: LearnedState(1.0, 0.3, **k)],
    ids=["noisy", "learned", "learned+noisy"],
)
def test_layers_and_c0_choose_where_it_acts(strategy):
    chosen = strategy(layers=(1,))
    for state in start(chosen, make_owner(chosen)):
        assert not state[:2].any()
        assert state[2:].all()
    chosen = strategy(c0=False)
    h, c = start(chosen, make_owner(chosen))
    assert h.all()
    assert not c.any()


def test_the_gradient_of_a_learned_state_is_summed_over_the_batch():
    strategy = LearnedState(init_std=1.0, layers=(1,))
    owner = make_owner(strategy)
    weights = torch.randn(4, 3, 5, dtype=DOUBLE)
    h, _ = start(strategy, owner)
    (h * weights).sum().backward()
    assert_close(owner.h0.grad[2:], weights[2:].sum(1, keepdim=True))
    assert not owner.h0.grad[:2].any()


# The adaptive rule


def train_adaptive(strategy, owner, gradients, seeds, rows=ROWS, sizes=SIZES):
    """Pass the given dE/dh0 through backward, one a batch; return the starts."""
    randn, starts = drawing(*seeds), []
    for batch in gradients:
        states = start(strategy, owner, batch[0].shape[1], rows=rows, sizes=sizes, randn=randn)
        starts.append([s.detach() for s in states])
        sum((s * g).sum() for s, g in zip(states, batch, strict=True)).backward()
    return starts


def random_gradients(steps, batch_size=3, rows=4, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return [
        [torch.randn(rows, batch_size, n, generator=stream, dtype=DOUBLE) for n in SIZES.values()]
        for _ in range(steps)
    ]


@pytest.mark.parametrize("decay", [0.0, 0.6])
def test_adaptive_noise_follows_the_rule_in_numpy(decay):
    strategy = AdaptiveState(0.5, decay)
    owner = make_owner(strategy)
    gradients = random_gradients(6)
    starts = train_adaptive(strategy, owner, gradients, [1])
    noise, mean, peak = drawing(1), [0.0, 0.0], [np.zeros((4, 1, 1))] * 2
    for step, states in enumerate(starts):
        for i, state in enumerate(states):
            z = noise(state.shape).numpy()
            corrected = mean[i] / (1 - decay**step) if step else np.zeros((4, 1, 1))
            if step:
                peak[i] = np.maximum(peak[i], corrected.max(-1, keepdims=True))
            std = 0.5 * corrected / peak[i] if step else 0.0
            np.testing.assert_allclose(state.numpy(), std * z, rtol=1e-12, atol=0)
            g = gradients[step][i].numpy()
            mean[i] = decay * mean[i] + (1 - decay) * np.sqrt((g**2).mean(1, keepdims=True))


def test_the_first_batch_has_no_noise_and_the_largest_unit_has_the_scale():
    strategy = AdaptiveState(0.5)
    owner = make_owner(strategy)
    starts = train_adaptive(strategy, owner, random_gradients(1), [1])
    assert not any(state.any() for state in starts[0])
    for name in SIZES:
        std = strategy.spread(owner, name)
        assert_close(std.amax(-1), torch.full((4, 1), 0.5, dtype=DOUBLE))
        assert (std > 0).all()


def test_noise_shrinks_where_and_when_the_gradient_shrinks():
    strategy = AdaptiveState(decay=0.5, c0=False)
    owner = make_owner(strategy, [0], {"h0": 2})
    stds = []
    for size in (1.0, 0.1, 0.01):
        gradient = [[torch.tensor([[[size, size / 4]]], dtype=DOUBLE)]]
        train_adaptive(strategy, owner, gradient, [1], [0], {"h0": 2})
        stds.append(strategy.spread(owner, "h0"))
    for std in stds:
        assert_close(std[0, 0, 1] * 4, std[0, 0, 0])
    assert stds[0].max() > 1.5 * stds[1].max() > 2 * stds[2].max() > 0


@given(factor=st.floats(1e-30, 1e30), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_scaling_the_loss_changes_nothing(factor, seed):
    strategy = AdaptiveState(decay=0.8)
    gradients = random_gradients(4, seed=seed)
    scaled = [[factor * g for g in batch] for batch in gradients]
    one, other = (
        train_adaptive(strategy, make_owner(strategy), g, [2]) for g in (gradients, scaled)
    )
    for states in zip(one, other, strict=True):
        for a, b in zip(*states, strict=True):
            assert_close(a, b, rtol=1e-9, atol=0)


def test_a_gradient_that_is_not_finite_does_not_count():
    strategy = AdaptiveState()
    owner, clean = make_owner(strategy), make_owner(strategy)
    gradients = random_gradients(3)
    broken = copy.deepcopy(gradients)
    broken[1][0][2, 1, 3] = float("inf")  # row 2 of h0 alone
    train_adaptive(strategy, owner, broken, [1])
    train_adaptive(strategy, clean, gradients, [1])
    assert_close(owner.c0_rms, clean.c0_rms)
    for name in ("h0_rms", "h0_seen", "h0_peak"):
        ours, theirs = getattr(owner, name), getattr(clean, name)
        assert_close(ours[[0, 1, 3]], theirs[[0, 1, 3]])
        assert ours.isfinite().all()
    skipped = make_owner(strategy)
    train_adaptive(strategy, skipped, [gradients[0], gradients[2]], [1])
    assert_close(owner.h0_rms[2], skipped.h0_rms[2])


def test_a_gradient_of_zero_means_no_noise():
    strategy = AdaptiveState()
    owner = make_owner(strategy)
    zeros = [[torch.zeros(4, 3, n, dtype=DOUBLE) for n in SIZES.values()]] * 3
    starts = train_adaptive(strategy, owner, zeros, [1])
    assert not any(state.any() for states in starts for state in states)


def test_adaptive_evaluation_neither_draws_nor_learns():
    strategy = AdaptiveState()
    owner = make_owner(strategy)
    train_adaptive(strategy, owner, random_gradients(2), [1])
    before = copy.deepcopy(kept_on(strategy, owner))
    assert start(strategy, owner, training=False) is None
    with torch.no_grad():  # in training mode without a graph: noise, and nothing to learn from
        states = start(strategy, owner)
    assert all(state.any() and not state.requires_grad for state in states)
    for name, value in kept_on(strategy, owner).items():
        assert torch.equal(value, before[name])


def test_small_gradients_in_half_precision_still_count():
    strategy = AdaptiveState()
    owner = nn.Module()
    strategy.register(owner, {"h0": 2}, [0], dtype=torch.float16)
    like = torch.zeros((), dtype=torch.float16)
    states = strategy.start(owner, {"h0": 2}, [0], 4, training=True, like=like)
    assert states is not None
    (states[0] * torch.tensor([1e-4, 5e-5], dtype=torch.float16)).sum().backward()
    std = strategy.spread(owner, "h0")
    assert_close(std, torch.tensor([[[0.3, 0.15]]], dtype=torch.float16), rtol=0.01, atol=0)


# The carried state


def finals(batch_size=3, seed=0, **options):
    stream = torch.Generator().manual_seed(seed)
    return [
        torch.randn(4, batch_size, n, generator=stream, dtype=DOUBLE).requires_grad_()
        for n in SIZES.values()
    ]


@pytest.mark.parametrize("training", [False, True])
def test_the_last_state_is_the_next_start(training):
    strategy = CarriedState()
    owner = make_owner(strategy)
    for seed in range(3):
        final = finals(seed=seed)
        strategy.finish(owner, SIZES, final)
        states = start(strategy, owner, training=training)
        for a, b in zip(states, final, strict=True):
            assert torch.equal(a, b)
            assert not a.requires_grad
    strategy.reset(owner)
    assert start(strategy, owner) is None


def test_a_carried_state_is_a_copy():
    strategy = CarriedState()
    owner = make_owner(strategy)
    final = finals()
    expected = copy.deepcopy(final)
    strategy.finish(owner, SIZES, final)
    with torch.no_grad():
        final[0].zero_()
        start(strategy, owner)[1].zero_()
    for a, b in zip(start(strategy, owner), expected, strict=True):
        assert torch.equal(a, b)


def test_without_detach_gradients_reach_the_last_pass():
    strategy = CarriedState(detach=False)
    owner = make_owner(strategy)
    final = finals()
    strategy.finish(owner, SIZES, final)
    sum(state.sum() for state in start(strategy, owner)).backward()
    for state in final:
        assert (state.grad == 1).all()


def test_a_state_carried_out_of_inference_mode_can_be_trained_on():
    strategy = CarriedState()
    owner = make_owner(strategy)
    with torch.inference_mode():
        strategy.finish(owner, SIZES, [state * 2 for state in finals()])
    weight = torch.ones(5, dtype=DOUBLE, requires_grad=True)
    (start(strategy, owner)[0] * weight).sum().backward()
    assert_close(weight.grad, 2 * finals()[0].detach().sum((0, 1)))


@pytest.mark.parametrize(("kept", "given"), [(3, 2), (1, 4), (4, 1)])
def test_another_batch_size_names_the_way_out(kept, given):
    strategy = CarriedState()
    owner = make_owner(strategy)
    strategy.finish(owner, SIZES, finals(kept))
    message = f"^input must have the batch size of the carried state, {kept}, but {given} was given"
    with pytest.raises(ValueError, match=message + r"; reset_state\(\) forgets"):
        start(strategy, owner, given)
    strategy.reset(owner)
    assert start(strategy, owner, given) is None


def test_carried_layers_and_c0():
    strategy = CarriedState(layers=(1,), c0=False)
    owner = make_owner(strategy)
    final = finals()
    strategy.finish(owner, SIZES, final)
    h, c = start(strategy, owner)
    assert torch.equal(h[2:], final[0][2:])
    assert not h[:2].any()
    assert not c.any()


def test_reset_forgets_carried_states_only():
    for strategy in OPTIONS:
        owner = make_owner(strategy)
        before = copy.deepcopy(kept_on(strategy, owner))
        strategy.finish(owner, SIZES, finals())
        strategy.reset(owner)
        for name, value in kept_on(strategy, owner).items():
            assert value is before[name] is None or torch.equal(value, before[name])


# Rows


def concatenated(strategy, owners, sizes):
    stack = nn.Module()
    for name in strategy.kept(sizes):
        parts = [getattr(owner, name) for owner in owners]
        if isinstance(parts[0], nn.Parameter):
            stack.register_parameter(name, nn.Parameter(torch.cat(parts).detach()))
        else:
            stack.register_buffer(name, None if parts[0] is None else torch.cat(parts))
    return stack


@pytest.mark.parametrize("strategy", OPTIONS, ids=repr)
@pytest.mark.parametrize("sizes", [{"h0": 5}, SIZES], ids=["gru", "lstm"])
@given(count=st.integers(1, 4), batch_size=st.integers(1, 3), seed=st.integers(0, 100))
@settings(max_examples=8)
def test_rows_never_meet(strategy, sizes, count, batch_size, seed):
    rows = [0, 1]
    owners = [make_owner(strategy, rows, sizes, seed + i) for i in range(count)]
    stack = concatenated(strategy, owners, sizes)
    draws = [drawing(seed + i) for i in range(count)]
    draw_all = drawing(*(seed + i for i in range(count)))

    def train(owner, layers, randn, weights):
        states = start(strategy, owner, batch_size, True, layers, sizes, randn)
        given = states or [w * 0 for w in weights]
        if states is not None and any(s.requires_grad for s in states):
            sum((s * w).sum() for s, w in zip(states, weights, strict=True)).backward()
        strategy.finish(owner, sizes, [s.detach() + w for s, w in zip(given, weights, strict=True)])
        return [s.detach() for s in given]

    for step in range(3):
        stream = torch.Generator().manual_seed(seed + step)
        weights = [
            [torch.randn(2, batch_size, n, generator=stream, dtype=DOUBLE) for n in sizes.values()]
            for _ in owners
        ]
        # one of them far larger than the others: rows that met would show
        weights[0] = [1e6 * w for w in weights[0]]
        alone = [train(o, rows, d, w) for o, d, w in zip(owners, draws, weights, strict=True)]
        joined = [torch.cat(parts) for parts in zip(*weights, strict=True)]
        together = train(stack, rows * count, draw_all, joined)
        for i, state in enumerate(together):
            assert_close(state, torch.cat([states[i] for states in alone]), rtol=0, atol=0)
    for name, value in kept_on(strategy, stack, sizes).items():
        assert_close(value, torch.cat([getattr(owner, name) for owner in owners]), rtol=0, atol=0)
        if value.requires_grad:
            assert_close(value.grad, torch.cat([getattr(o, name).grad for o in owners]))

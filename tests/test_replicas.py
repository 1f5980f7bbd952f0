"""Replicas against the same models, each trained alone by plain PyTorch."""

import copy
import functools
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import teachkit.replicas
from teachkit import drop_ins, learned_states
from teachkit.clipping import Clipper
from teachkit.device import generator
from teachkit.initial_states import CarriedState, LearnedState, NoisyState, make_initial_state
from teachkit.models import ElmanRNN, SequenceModel
from teachkit.plans import FUSED, Plan
from teachkit.replicas import Replicas
from tests.reference import total_norm

DOUBLE = torch.float64
STEPS, WIDTH, HIDDEN, CLASSES = 10, 2, 4, 3
FUSED_BY_TWO = Plan(1, fused=True, workers=2)
PLANS = [Plan(6), Plan(4), Plan(2, workers=2), FUSED, FUSED_BY_TWO]
TORCH_OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
TORCH_CLIPPERS: dict[str, Any] = {
    "norm": nn.utils.clip_grad_norm_,
    "value": nn.utils.clip_grad_value_,
}
OTHER_CLIPPERS: list[tuple[Any, ...]] = [  # method, threshold and options
    ("per_parameter", 0.1),
    ("recurrent", 0.2),
    ("all_but_output", 0.2),
    ("output", 0.2),
    ("agc", 0.1),
    ("agc", 0.1, {"include_output": True}),
    ("autoclip", 30.0),
    ("zclip", 0.2, {"warmup": 3, "alpha": 0.8}),
    ("zclip", 2.5, {"warmup": 2, "max_norm": 0.4}),
]
TOLERANCE = {  # of losses, of parameters
    torch.float32: (1e-6, 1e-5),
    DOUBLE: (1e-10, 1e-10),
}
KINDS: dict[str, Any] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": functools.partial(nn.RNN, nonlinearity="relu"),
    "linear": functools.partial(ElmanRNN, nonlinearity="linear"),
    "sigmoid": functools.partial(ElmanRNN, nonlinearity="sigmoid"),
}
precise = pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
with_optimizers = pytest.mark.parametrize("optimizer", ["sgd", "adam"])


def cross_entropy(output, target):
    return F.cross_entropy(output.flatten(0, -2), target.flatten())


@pytest.fixture
def force(monkeypatch):
    """Let replicas be computed by a given plan."""

    def forced(plan):
        monkeypatch.setattr(teachkit.replicas, "choose_plan", lambda *_, **__: plan)

    return forced


def make_models(make, count=6, *, every_step=False, dtype=torch.float32, classes=CLASSES):
    """Models with weights of their own, the same numbers in each precision."""
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        layer = make(seed) if isinstance(make, Numbered) else make(WIDTH, HIDDEN)
        models.append(SequenceModel(layer, classes, every_step=every_step, seed=seed).to(dtype))
    return models


class Numbered:
    """A function of the number of the replica."""

    def __init__(self, function):
        self.function = function

    def __call__(self, number):
        return self.function(number)


def make_batches(
    count=6, *, every_step=False, dtype=torch.float32, shape=(7, 5), batch_first=False, steps=STEPS
):
    """Batches of noise, each to be told into classes."""
    stream = torch.Generator().manual_seed(1)
    T, B = shape
    made = []
    for _ in range(steps):
        x = torch.randn(count, T, B, WIDTH, generator=stream).to(dtype)
        target = torch.randint(
            CLASSES, (count, T, B) if every_step else (count, B), generator=stream
        )
        if batch_first:
            x = x.transpose(1, 2)
            target = target.transpose(1, 2) if every_step else target
        made.append((x, target))
    return made


def make_clipper(clip):
    """A clipper from (method, threshold) or (method, threshold, options)."""
    method, threshold, *options = clip
    return Clipper(method, threshold, **(options[0] if options else {}))


def train_alone(models, batches, *, optimizers, lrs, clips=None, seeds=None, loss=cross_entropy):
    """Train each model by itself, as one does; return them with losses, norms and who was clipped.

    clips: what `make_clipper` takes, of each, or None. "norm" and "value" are PyTorch's functions,
    the other methods a clipper of one's own. What a layer draws comes from its own stream.
    """
    models = copy.deepcopy(models)
    own_clippers = [clip and make_clipper(clip) for clip in clips or [None] * len(models)]
    losses, norms, clipped = (torch.zeros(len(batches), len(models)) for _ in range(3))
    for r, model in enumerate(models):
        optimizer = optimizers[r](model.parameters(), lr=lrs[r])
        stream = generator(r if seeds is None else seeds[r], "noise")
        for step, (x, target) in enumerate(batches):
            own = [v[r if len(v) > 1 else 0] for v in (x, target)]
            optimizer.zero_grad()
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(stream.get_state())
                output = model(own[0])
                stream.set_state(torch.get_rng_state())
            value = loss(output, own[1])
            value.backward()
            gradients = [p.grad.double().clone() for p in model.parameters()]
            norms[step, r] = total_norm(gradients)
            if clips and clips[r]:
                method, threshold = clips[r][:2]
                if method in TORCH_CLIPPERS:
                    TORCH_CLIPPERS[method](model.parameters(), threshold)
                else:
                    own_clippers[r](model)
            pairs = zip(gradients, model.parameters(), strict=True)
            clipped[step, r] = any(not torch.equal(g, p.grad.double()) for g, p in pairs)
            optimizer.step()
            losses[step, r] = value.detach()
    return models, losses, norms, clipped.bool()


def train_together(models, batches, loss=cross_entropy, **options):
    replicas = Replicas(models, **options)
    records = [replicas.step(x, target, loss) for x, target in batches]
    losses, norms, clipped = (
        torch.stack([getattr(record, name) for record in records])
        for name in ("loss", "grad_norm", "clipped")
    )
    return replicas, losses, norms, clipped


def check_alike(alone, together, dtype):
    """Compare two runs in everything that they leave behind."""
    models, losses, norms, clipped = alone
    replicas, own_losses, own_norms, own_clipped = together
    of_loss, of_weights = TOLERANCE[dtype]
    assert_close(own_losses, losses.to(dtype), rtol=0, atol=max(of_loss, 1e-6))
    assert_close(own_norms.float(), norms, rtol=1e-5, atol=0)
    assert torch.equal(own_clipped, clipped)
    for mine, theirs in zip(replicas.models(), models, strict=True):
        assert_close(mine.state_dict(), theirs.state_dict(), rtol=0, atol=of_weights)
    assert (replicas.diverged == -1).all()
    assert replicas.steps == len(losses)


LRS = [0.01, 0.01, 0.02, 0.05, 0.05, 0.05]
CLIPS = [None, ("norm", 0.5), ("norm", 0.5), ("norm", 0.3), ("value", 0.05), None]


def clippers():
    return [None if clip is None else Clipper(*clip) for clip in CLIPS]


@functools.cache
def alone_once(kind, optimizer, every_step, dtype):
    return train_alone(
        make_models(KINDS[kind], every_step=every_step, dtype=dtype),
        make_batches(every_step=every_step, dtype=dtype),
        optimizers=[TORCH_OPTIMIZERS[optimizer]] * 6,
        lrs=LRS,
        clips=CLIPS,
    )


@pytest.mark.parametrize(
    ("kind", "plan", "dtype"),
    [
        (kind, plan, dtype)
        for kind in KINDS
        for plan in PLANS
        for dtype in (torch.float32, DOUBLE)
        if (plan in (Plan(4), FUSED) or dtype == torch.float32)
        and not (plan.fused and kind in ("linear", "sigmoid"))
    ],
    ids=str,
)
@with_optimizers
@pytest.mark.parametrize("every_step", [False, True])
def test_each_replica_ends_where_it_would_have_ended_alone(
    kind, plan, optimizer, every_step, dtype, force
):
    force(plan)
    together = train_together(
        make_models(KINDS[kind], every_step=every_step, dtype=dtype),
        make_batches(every_step=every_step, dtype=dtype),
        optimizer=optimizer,
        lr=LRS,
        clipper=clippers(),
    )
    check_alike(alone_once(kind, optimizer, every_step, dtype), together, dtype)
    assert together[3].any()  # some were clipped, some not
    assert not together[3].all()


@pytest.mark.parametrize("sizes", [(1, 16, 20, 16), (8, 32, 8, 64), (1, 32, 50, 32)], ids=str)
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@with_optimizers
def test_so_does_one_by_the_plan_that_was_measured(sizes, kind, optimizer):
    width, hidden, T, B = sizes
    models = make_models(Numbered(lambda _: KINDS[kind](width, hidden)), 4)
    stream = torch.Generator().manual_seed(2)
    batches = [
        (
            torch.randn(4, T, B, width, generator=stream),
            torch.randint(CLASSES, (4, B), generator=stream),
        )
        for _ in range(STEPS)
    ]
    alone = train_alone(
        models, batches, optimizers=[TORCH_OPTIMIZERS[optimizer]] * 4, lrs=[1e-3] * 4
    )
    together = train_together(models, batches, optimizer=optimizer, lr=1e-3, workers=1)
    check_alike(alone, together, torch.float32)


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh", "relu"])
def test_gradients_agree_with_float64(plan, kind, force):
    force(plan)
    models, ((x, target),) = make_models(KINDS[kind]), make_batches(steps=1)
    replicas = Replicas(models, optimizer="sgd")
    replicas.step(x, target, cross_entropy)
    for r, model in enumerate(models):
        model.double()
        cross_entropy(model(x[r].double()), target[r]).backward()
        largest = max(p.grad.abs().max() for p in model.parameters())
        for name, p in model.named_parameters():
            error = (replicas.stack.gradients[name][r] - p.grad).abs().max()
            assert error <= 1e-6 * largest


@pytest.mark.parametrize("plan", [Plan(6), Plan(4), FUSED, FUSED_BY_TWO], ids=str)
@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("shared", ["nothing", "x", "target", "both"])
def test_batch_first_and_a_batch_for_all(plan, every_step, shared, force):
    force(plan)
    make = functools.partial(nn.GRU, batch_first=True, bias=False)
    models = make_models(make, every_step=every_step)
    batches = [
        (x[:1] if shared in ("x", "both") else x, t[:1] if shared in ("target", "both") else t)
        for x, t in make_batches(every_step=every_step, batch_first=True)
    ]
    alone = train_alone(models, batches, optimizers=[torch.optim.SGD] * 6, lrs=[0.1] * 6)
    together = train_together(models, batches, optimizer="sgd", lr=0.1)
    check_alike(alone, together, torch.float32)
    x = batches[0][0]
    outputs, _ = together[0].outputs(x)
    wide = x.expand(6, *x.shape[1:])
    expected = torch.stack([m.eval()(own) for m, own in zip(alone[0], wide, strict=True)])
    assert_close(outputs, expected, rtol=0, atol=1e-5)


# PyTorch's own words about its own layer
no_kernel = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


@no_kernel
@pytest.mark.parametrize(("dtype", "workers"), [(torch.float32, 1), (DOUBLE, 2)])
@pytest.mark.parametrize(
    "make",
    [
        functools.partial(drop_ins.LSTM, num_layers=2, proj_size=3, bidirectional=True),
        functools.partial(drop_ins.GRU, num_layers=3, batch_first=True),
        functools.partial(drop_ins.RNN, bidirectional=True, nonlinearity="relu"),
        functools.partial(drop_ins.LSTM, proj_size=2),
    ],
)
def test_deep_wide_and_projected_layers(make, workers, dtype):
    states = ["zero", "learned", LearnedState(init_std=0.5, layers=(0,)), "adaptive", "noisy"]
    states += ["carried"]
    models = make_models(
        Numbered(lambda n: make(WIDTH, HIDDEN, initial_state=states[n])),
        every_step=True,
        dtype=dtype,
    )
    batches = make_batches(every_step=True, dtype=dtype, batch_first=models[0].rnn.batch_first)
    alone = train_alone(models, batches, optimizers=[torch.optim.Adam] * 6, lrs=[0.01] * 6)
    together = train_together(models, batches, optimizer="adam", lr=0.01, workers=workers)
    check_alike(alone, together, dtype)
    forget_carried(alone[0])
    x = batches[0][0]
    expected = torch.stack([m.eval()(own) for m, own in zip(alone[0], x, strict=True)])
    assert_close(together[0].outputs(x)[0], expected, rtol=0, atol=1e-5)


def forget_carried(models):
    for model in models:
        if isinstance(model.rnn, drop_ins._DropIn):
            model.rnn.reset_state()


STATES = [
    "zero",
    "zero",
    "noisy",
    "learned",
    "learned+noisy",
    LearnedState(init_std=0.5),
    LearnedState(init_std=0.5),
    "adaptive",
    "adaptive",
    "carried",
    "zero",
    NoisyState(0.2, c0=False),
    "carried",
]


def drop_in_models(make, states, dtype=torch.float32):
    return make_models(
        Numbered(lambda n: make(WIDTH, HIDDEN, initial_state=states[n])), len(states), dtype=dtype
    )


STRADDLING: dict[str, Any] = {
    "lrs": [0.01] * 4 + [0.02] * 5 + [0.05] * 4,
    "optimizers": ["sgd"] * 2 + ["adam"] * 6 + ["sgd"] * 5,
    "clips": [None, *[("norm", 0.3)] * 4, *[("value", 0.05)] * 2, *[("norm", 0.4)] * 5, None],
    "seeds": [7, 7, 3, 0, 1, 2, 3, 4, 5, 6, 8, 9, 3],
}


@functools.cache
def straddling_alone(kind, dtype):
    return train_alone(
        drop_in_models(getattr(drop_ins, kind), STATES, dtype),
        make_batches(len(STATES), dtype=dtype),
        **STRADDLING | {"optimizers": [TORCH_OPTIMIZERS[o] for o in STRADDLING["optimizers"]]},
    )


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("plan", [Plan(13), Plan(5), Plan(4, workers=2), FUSED], ids=str)
@precise
def test_every_strategy_in_one_stack_with_settings_that_straddle(kind, plan, dtype, force):
    force(plan)
    together = train_together(
        drop_in_models(getattr(drop_ins, kind), STATES, dtype),
        make_batches(len(STATES), dtype=dtype),
        optimizer=STRADDLING["optimizers"],
        lr=STRADDLING["lrs"],
        clipper=[clip and Clipper(*clip) for clip in STRADDLING["clips"]],
        seeds=STRADDLING["seeds"],
    )
    check_alike(straddling_alone(kind, dtype), together, dtype)
    assert any("rnn.h0_rms" in model.state_dict() for model in together[0].models())


def test_one_setting_serves_all():
    models, batches = make_models(nn.GRU), make_batches()
    clip, momentum = Clipper("norm", 0.3), functools.partial(torch.optim.SGD, momentum=0.9)
    alone = train_alone(
        models, batches, optimizers=[momentum] * 6, lrs=[0.03] * 6, clips=[("norm", 0.3)] * 6
    )
    together = train_together(models, batches, optimizer=momentum, lr=0.03, clipper=clip, workers=1)
    check_alike(alone, together, torch.float32)
    assert clip.records == []


CLIPPED_STATES = ["learned", "zero", LearnedState(init_std=0.5), "learned+noisy", "zero", "learned"]
CLIPPED_STATES += ["learned", "learned", "carried"]


@functools.cache
def clipped_alone(kind, dtype):
    return train_alone(
        drop_in_models(getattr(drop_ins, kind), CLIPPED_STATES, dtype),
        make_batches(len(CLIPPED_STATES), dtype=dtype),
        optimizers=[torch.optim.SGD] * 9,
        lrs=[0.3] * 9,
        clips=OTHER_CLIPPERS,
    )


@pytest.mark.parametrize(
    ("kind", "plan", "dtype"),
    [
        ("LSTM", Plan(9), torch.float32),
        ("LSTM", FUSED_BY_TWO, DOUBLE),
        ("GRU", Plan(4, workers=2), DOUBLE),
        ("RNN", FUSED, torch.float32),
    ],
    ids=str,
)
def test_every_way_to_clip_with_learned_states_among_the_recurrent(kind, plan, dtype, force):
    force(plan)
    together = train_together(
        drop_in_models(getattr(drop_ins, kind), CLIPPED_STATES, dtype),
        make_batches(len(CLIPPED_STATES), dtype=dtype),
        optimizer="sgd",
        lr=0.3,
        clipper=[make_clipper(clip) for clip in OTHER_CLIPPERS],
    )
    check_alike(clipped_alone(kind, dtype), together, dtype)
    assert together[3].any(0).all()  # each clipped something


@pytest.mark.parametrize("clip", OTHER_CLIPPERS, ids=str)
def test_one_clipper_for_all_remembers_each_replica_by_itself(clip, force):
    force(Plan(3))
    models = drop_in_models(drop_ins.GRU, ["learned", "zero", "learned"])
    batches = make_batches(3)
    options: dict[str, Any] = {"optimizers": [torch.optim.SGD] * 3, "lrs": [0.3] * 3}
    alone = train_alone(models, batches, clips=[clip] * 3, **options)
    clipper = make_clipper(clip)
    for _ in range(2):  # the second stack starts with nothing remembered
        together = train_together(models, batches, optimizer="sgd", lr=0.3, clipper=clipper)
        check_alike(alone, together, torch.float32)
    assert clipper.records == []


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (Clipper("error"), "clipper must not have method='error' in replicas, but Clipper"),
        (Clipper(skip_nonfinite=True), "clipper must not have skip_nonfinite=True in replicas"),
        (Clipper("output", output="rnn"), "output must be None or 'head' in replicas, but 'rnn'"),
    ],
)
def test_clippers_for_one_network_are_refused(clip, message):
    for given in (clip, [None, clip]):
        with pytest.raises(ValueError, match=f"^{message}"):
            Replicas(make_models(nn.GRU, 2), clipper=given)
    Replicas(make_models(nn.GRU, 2), clipper=Clipper("output", output="head"))


def test_a_step_runs_on_one_thread_and_restores_the_count():
    seen, before = [], torch.get_num_threads()

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            seen.append(torch.get_num_threads())
            return super().step(closure)

    torch.set_num_threads(before + 1)
    try:
        train_together(make_models(nn.GRU), make_batches(steps=2), optimizer=Watched)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1]


def test_other_losses_and_targets():
    models = make_models(nn.LSTM, every_step=True)
    stream = torch.Generator().manual_seed(0)
    batches = [(x, torch.randn(*x.shape[:3], 3, generator=stream)) for x, _ in make_batches()]
    settings = {"loss": F.mse_loss}
    alone = train_alone(
        models, batches, optimizers=[torch.optim.Adam] * 6, lrs=[1e-3] * 6, **settings
    )
    check_alike(alone, train_together(models, batches, **settings), torch.float32)


def test_batches_of_several_sizes_in_turn():
    models = make_models(nn.GRU)
    batches = [
        batch
        for pair in zip(make_batches(steps=4), make_batches(steps=4, shape=(3, 2)), strict=True)
        for batch in pair
    ]
    alone = train_alone(models, batches, optimizers=[torch.optim.SGD] * 6, lrs=[0.1] * 6)
    together = train_together(models, batches, optimizer="sgd", lr=0.1)
    check_alike(alone, together, torch.float32)


def test_the_plan_is_measured_once_for_each_size_and_changes_nothing(monkeypatch):
    asked = []

    def choose(key, count, run, **options):
        asked.append((key, count, options))
        before = [w.clone() for w in replicas.stack.weights.values()]
        run(Plan(2), 2)
        run(FUSED, 3)
        assert all(map(torch.equal, before, replicas.stack.weights.values()))
        return Plan(6)

    monkeypatch.setattr(teachkit.replicas, "choose_plan", choose)
    models = drop_in_models(
        drop_ins.GRU, ["noisy", "adaptive", "carried", "learned", "zero", "zero"]
    )
    batches = [
        *make_batches(steps=3),
        *make_batches(steps=1, shape=(3, 5)),
    ]  # other steps, the same targets
    alone = train_alone(models, batches[:3], optimizers=[torch.optim.SGD] * 6, lrs=[0.1] * 6)
    replicas = Replicas(models, optimizer="sgd", lr=0.1, workers=3)
    for x, target in batches[:3]:
        replicas.step(x, target, cross_entropy)
    for mine, theirs in zip(replicas.models(), alone[0], strict=True):
        assert_close(mine.state_dict(), theirs.state_dict(), rtol=0, atol=1e-6)
    replicas.reset_states()
    x, target = batches[3]
    replicas.step(x, target, cross_entropy)
    assert len({key for key, _, _ in asked}) == 2
    assert all(count == 6 for _, count, _ in asked)
    options = {"can_stack": True, "can_fuse": True, "workers": 3, "clock": None}
    assert asked[0][2] == options


@pytest.mark.parametrize("plan", [Plan(4), FUSED], ids=str)
def test_a_plan_that_is_given_is_not_measured(plan, monkeypatch):
    done = []

    def differentiate(self, given, *args):
        done.append(given)
        return original(self, given, *args)

    original = teachkit.stacks.Stack.differentiate
    monkeypatch.setattr(teachkit.stacks.Stack, "differentiate", differentiate)
    batches = make_batches()
    together = train_together(make_models(nn.GRU), batches, optimizer="sgd", lr=LRS, plan=plan)
    alone = train_alone(make_models(nn.GRU), batches, optimizers=[torch.optim.SGD] * 6, lrs=LRS)
    check_alike(alone, together, torch.float32)
    assert done == [plan] * STEPS


@no_kernel
@pytest.mark.parametrize(
    ("make", "can_stack", "can_fuse"),
    [
        (nn.LSTM, True, True),
        (functools.partial(nn.LSTM, proj_size=2), False, True),
        (functools.partial(nn.GRU, num_layers=2), False, True),
        (functools.partial(nn.RNN, bidirectional=True), False, True),
        (KINDS["linear"], True, False),
        (KINDS["relu"], True, True),
    ],
)
def test_which_ways_there_are(make, can_stack, can_fuse):
    stack = Replicas(make_models(make, 2)).stack
    assert (stack.can_stack, stack.can_fuse) == (can_stack, can_fuse)


# Noise


def states_after(models, seeds, batches, **options):
    replicas, losses, _, _ = train_together(models, batches, seeds=seeds, **options)
    return [m.state_dict() for m in replicas.models()], losses


@pytest.mark.parametrize("state", ["noisy", "learned+noisy", "adaptive"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_noise_depends_on_the_own_seed_only(state, kind, force):
    force(Plan(3))
    others = ["noisy", state, "carried", state, "zero", "learned+noisy"]
    models, batches = drop_in_models(getattr(drop_ins, kind), others), make_batches()
    many, losses = states_after(models, [5, 8, 1, 4, 2, 3], batches)
    for r, seed in ((1, 8), (3, 4)):
        own = [(x[r : r + 1], t[r : r + 1]) for x, t in batches]
        (one,), lone_losses = states_after(models[r : r + 1], [seed], own)
        assert_close(many[r], one, rtol=0, atol=1e-6)
        assert_close(losses[:, r], lone_losses[:, 0], rtol=0, atol=1e-6)
        (other,), _ = states_after(models[r : r + 1], [seed + 20], own)
        name = "rnn.weight_hh_l0"
        assert (one[name] - other[name]).abs().max() > 1e-4


def test_by_default_replicas_have_seeds_from_0_and_repeat():
    models, batches = drop_in_models(drop_ins.GRU, ["noisy"] * 3), make_batches(3)
    runs = [states_after(models, seeds, batches, workers=1)[1] for seeds in (None, range(3), None)]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])
    shared = [(x[:1], t[:1]) for x, t in batches]
    same, _ = states_after([models[0]] * 3, [4, 4, 5], shared, lr=0.05)
    assert_close(same[0], same[1], rtol=0, atol=1e-6)
    assert (same[0]["head.bias"] - same[2]["head.bias"]).abs().max() > 1e-5


def test_the_global_stream_is_left_alone():
    models, batches = drop_in_models(drop_ins.GRU, ["noisy", "adaptive"]), make_batches(2)
    before = torch.get_rng_state()
    train_together(models, batches)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_in_training_has_its_size_and_evaluation_none(force):
    force(Plan(2))
    drawn = []

    def first_outputs(output, target):
        return output.sum()

    make = functools.partial(ElmanRNN, nonlinearity="linear", bias=False)
    layer = make(WIDTH, 50)
    layer.initial_state = NoisyState(0.3)  # as a drop-in has it
    model = SequenceModel(layer, 1)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(torch.eye(50))
        model.head.weight.fill_(1.0)
    replicas = Replicas([model, model], lr=0.0)
    x = torch.zeros(2, 1, 2000, WIDTH)
    for _ in range(2):
        record = replicas.step(x, torch.zeros(2, 1), lambda y, t: y.square().mean())
        drawn.append(record.loss)
    values = torch.stack(drawn)
    assert_close(values, torch.full((2, 2), 50 * 0.3**2), rtol=0.15, atol=0)
    assert len(values.unique()) == 4
    assert (replicas.outputs(x)[0] == 0).all()


# Initial states that depend on training


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("plan", [Plan(2), FUSED, Plan(1, workers=2)], ids=str)
def test_carried_is_a_detached_state_passed_by_hand(kind, plan, force, monkeypatch):
    def give_back_to_a_busy_thread(kind, work):
        for memory in (work.S[:, :, :-1], work.Z, work.D, work.dW, work.dh, work.dc):
            memory.fill_(math.nan)
        give_back(kind, work)

    give_back = teachkit.stacked._give_back
    monkeypatch.setattr(teachkit.stacked, "_give_back", give_back_to_a_busy_thread)
    force(plan)
    drop_in = getattr(drop_ins, kind.__name__)
    models = drop_in_models(drop_in, ["carried", "carried"], DOUBLE)
    batches = make_batches(2, dtype=DOUBLE)
    replicas = Replicas(models, optimizer="sgd", lr=0.1)
    for r, model in enumerate(models):
        layer = kind(WIDTH, HIDDEN, dtype=DOUBLE)
        layer.load_state_dict(model.rnn.state_dict())
        models[r] = SequenceModel(layer, CLASSES, seed=r)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in models]
    carried: list[Any] = [None, None]
    for step, (x, target) in enumerate(batches):
        if step == 6:
            replicas.reset_states()
            carried = [None, None]
        expected = []
        for r, model in enumerate(models):
            output, final = model.rnn(x[r], carried[r])
            carried[r] = (
                tuple(s.detach() for s in final) if isinstance(final, tuple) else final.detach()
            )
            loss = F.cross_entropy(model.head(output[-1]), target[r])
            optimizers[r].zero_grad()
            loss.backward()
            optimizers[r].step()
            expected.append(loss.detach())
        found = replicas.step(x, target, cross_entropy).loss
        assert_close(found, torch.stack(expected), rtol=0, atol=1e-10)


def test_what_is_carried_stays_out_of_evaluation(force):
    force(Plan(2))
    models = drop_in_models(drop_ins.LSTM, ["carried", "learned"])
    (x, target), (other, _) = make_batches(2, steps=2)
    replicas = Replicas(models, lr=0.0)
    start = replicas.step(x, target, cross_entropy).loss
    on = replicas.step(x, target, cross_entropy).loss
    assert start[0] != on[0]
    assert start[1] == on[1]
    outputs, _ = replicas.outputs(other[:, :, :3])  # another batch size
    forget_carried(models)
    expected = torch.stack([m.eval()(own[:, :3]) for m, own in zip(models, other, strict=True)])
    assert_close(outputs, expected, rtol=0, atol=1e-6)
    replicas.reset_states()
    assert torch.equal(replicas.step(x, target, cross_entropy).loss, start)
    with pytest.raises(ValueError, match="batch size of the carried state, 5, but 3 was given"):
        replicas.step(x[:, :, :3], target[:, :3], cross_entropy)


@pytest.mark.parametrize("plan", [Plan(3), Plan(2), FUSED], ids=str)
def test_a_learned_state_gets_its_true_gradient(plan, force):
    force(plan)
    state = LearnedState(init_std=0.5)
    models = drop_in_models(drop_ins.LSTM, [state] * 3, DOUBLE)
    ((x, target),) = make_batches(3, dtype=DOUBLE, steps=1)
    replicas = Replicas(models, optimizer="sgd", lr=1.0)
    replicas.step(x, target, cross_entropy)
    for r, (before, after) in enumerate(zip(models, replicas.models(), strict=True)):

        def loss_from(h0, c0, r=r, rnn=before.rnn, head=before.head):
            weights = dict(rnn.named_parameters()) | {"h0": h0, "c0": c0}
            y, _ = torch.func.functional_call(rnn, weights, (x[r],))
            return cross_entropy(head(y[-1]), target[r])

        own = [getattr(before.rnn, name).detach().clone() for name in ("h0", "c0")]
        gradients = torch.autograd.functional.jacobian(loss_from, tuple(own))
        for name, gradient in zip(("h0", "c0"), gradients, strict=True):
            moved = getattr(before.rnn, name) - getattr(after.rnn, name)
            assert gradient.abs().max() > 1e-4
            assert_close(moved.detach(), gradient, rtol=0, atol=1e-10)


def test_a_learned_state_has_a_rate_of_its_own():
    models = drop_in_models(drop_ins.GRU, ["learned", "learned", "learned", "zero"])
    data = make_batches(4)
    rates = [0.01, 0.02, 0.03, 0.04]
    state_rates = [1.0, None, 0.0, 1.0]
    replicas = Replicas(models, lr=rates, state_lr=state_rates)
    for x, target in data:
        replicas.step(x, target, cross_entropy)
    found = zip(models, rates, state_rates, replicas.models(), strict=True)
    for r, (alone, lr, state_lr, trained) in enumerate(found):
        groups = learned_states.parameter_groups(
            alone, state_lr=lr if state_lr is None else state_lr
        )
        optimizer = torch.optim.Adam(groups, lr=lr)
        for x, target in data:
            optimizer.zero_grad()
            cross_entropy(alone(x[r]), target[r]).backward()
            optimizer.step()
        for name, value in alone.state_dict().items():
            assert_close(trained.state_dict()[name], value, rtol=0, atol=1e-5)
    assert replicas.models()[2].rnn.h0.abs().max() == 0  # type: ignore[operator]


def test_without_a_rate_of_its_own_a_state_follows_the_optimizer():
    def tenfold(parameters, lr):
        return torch.optim.SGD(parameters, lr=10 * lr)

    models = drop_in_models(drop_ins.GRU, ["learned"] * 2)
    ((x, target),) = make_batches(2, steps=1)
    one, ten = (Replicas(models, optimizer=o, lr=0.1) for o in ("sgd", tenfold))
    for replicas in (one, ten):
        replicas.step(x, target, cross_entropy)
    for slow, fast in zip(one.models(), ten.models(), strict=True):
        assert slow.rnn.h0.abs().max() > 0  # type: ignore[operator]
        assert_close(fast.rnn.h0, 10 * slow.rnn.h0)  # type: ignore[operator]


# Divergence


def huge_rate(models, options, batches):
    return {"lr": [0.05, 0.05, 1e30, 0.05, 0.05, 0.05]}, batches


def nan_in_the_batch(models, options, batches):
    return options, [(poisoned(x) if n == 4 else x, t) for n, (x, t) in enumerate(batches)]


def inf_in_the_weights(models, options, batches):
    with torch.no_grad():
        models[2].head.bias.fill_(math.inf)
    return options, batches


def poisoned(x):
    x = x.clone()
    x[2, 3, 1, 0] = math.nan
    return x


OPTIMIZERS = {
    "sgd": "sgd",
    "adam": "adam",
    "momentum": functools.partial(torch.optim.SGD, momentum=0.9, weight_decay=0.01),
    "rmsprop": torch.optim.RMSprop,
}


@pytest.mark.parametrize("trouble", [huge_rate, nan_in_the_batch, inf_in_the_weights])
@pytest.mark.parametrize(
    ("optimizer", "clip"),
    [
        ("sgd", None),
        ("sgd", ("norm", 0.3)),
        ("adam", None),
        ("adam", ("value", 0.05)),
        ("momentum", ("norm", 0.3)),
        ("rmsprop", None),
    ],
)
@pytest.mark.parametrize("plan", [Plan(4), FUSED, Plan(2, workers=2)], ids=str)
def test_one_that_diverges_neither_stops_nor_changes_the_others(
    trouble, optimizer, clip, plan, force
):
    force(plan)

    def trained(make_trouble, steps=STEPS):
        models = drop_in_models(
            drop_ins.GRU, ["learned", "zero", "learned", "learned", "noisy", "adaptive"]
        )
        # a rate of its own in any case: the optimiser sees the same tensors then
        options: dict[str, Any] = {"lr": [0.05, 0.05, 0.01, 0.05, 0.05, 0.05]}
        batches = make_batches()
        if make_trouble:
            options, batches = trouble(models, options, batches)
        options |= {"optimizer": OPTIMIZERS[optimizer], "clipper": clip and Clipper(*clip)}
        replicas = Replicas(models, **options)
        history = [replicas.step(x, target, cross_entropy) for x, target in batches[:steps]]
        return replicas, history

    replicas, history = trained(True)
    healthy, expected = trained(False)
    others = [0, 1, 3, 4, 5]
    for mine, theirs in zip(history, expected, strict=True):
        assert torch.equal(mine.loss[others], theirs.loss[others])
        assert_close(mine.grad_norm[others].float(), theirs.grad_norm[others], rtol=1e-6, atol=0)
        assert torch.equal(mine.clipped[others], theirs.clipped[others])
    found, right = replicas.models(), healthy.models()
    for r in others:
        assert_close(found[r].state_dict(), right[r].state_dict(), rtol=0, atol=0)

    step = int(replicas.diverged[2])
    at = {nan_in_the_batch: [4], inf_in_the_weights: [0], huge_rate: range(1, 5)}
    assert step in at[trouble]
    assert replicas.diverged.tolist() == [-1, -1, step, -1, -1, -1]
    assert (healthy.diverged == -1).all()
    before, _ = trained(True, step)
    assert_close(
        found[2].state_dict(), before.models()[2].state_dict(), rtol=0, atol=0, equal_nan=True
    )
    for n, record in enumerate(history):
        pair = torch.stack([record.loss[2], record.grad_norm[2]])
        assert pair.isfinite().all() == (n < step)
        if n > step:
            assert pair.isnan().all()
            assert not record.clipped[2]


def test_all_may_diverge_each_at_its_step():
    models, batches = make_models(nn.GRU, 3), make_batches(3)
    for n, (x, _) in enumerate(batches):
        for r, step in enumerate((2, 0, 7)):
            if n == step:
                x[r, 0, 0, 0] = math.inf
    replicas, losses, norms, clipped = train_together(models, batches, lr=1e-3)
    assert replicas.diverged.tolist() == [2, 0, 7]
    assert losses.isnan().sum(0).tolist() == [8, 10, 3]
    assert norms.isnan()[3:, 0].all()
    assert not clipped.any()


@pytest.mark.parametrize(
    ("trouble", "bad"), [("loss", math.inf), ("loss", math.nan), ("gradient", 0.0)]
)
def test_a_loss_or_a_gradient_alone_may_leave_the_range(trouble, bad, force):
    force(Plan(3))
    models = make_models(nn.GRU, 3)
    ((x, _),) = make_batches(3, steps=1)
    target = torch.ones(3, 1)
    target[1] = bad

    def loss(output, target):
        if trouble == "loss":
            return output.sum() + target[0]  # whose slope knows nothing of the target
        return ((output - output.detach()).sum() + target[0]).sqrt()  # steep at 0

    replicas = Replicas(models, optimizer="sgd", lr=0.1)
    record = replicas.step(x, target, loss)
    assert record.loss.isfinite().tolist() == [True, trouble == "gradient", True]
    assert record.grad_norm.isfinite().tolist() == [True, trouble == "loss", True]
    assert replicas.diverged.tolist() == [-1, 0, -1]
    before, after = models[1].state_dict(), replicas.models()[1].state_dict()
    assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize("method", [None, "norm", "value"])
def test_a_norm_whose_square_leaves_float32_is_no_divergence(method, force):
    force(Plan(2))
    models = make_models(KINDS["linear"], 2)
    ((x, _),) = make_batches(2, steps=1)
    target = torch.zeros(2, 1)
    clip = None if method is None else Clipper(method, 1.0)
    replicas = Replicas(models, optimizer="sgd", lr=1e-22, clipper=clip)

    def loss(output, target):
        return output.sum() * 1e21

    record = replicas.step(x, target, loss)
    model = models[0].double()
    loss(model(x[0].double()), None).backward()
    norm = total_norm([p.grad for p in model.parameters()]).item()
    assert norm > 1.9e19
    assert record.grad_norm[0].item() == pytest.approx(norm, rel=1e-5)
    assert replicas.diverged.tolist() == [-1, -1]
    moved = (replicas.models()[0].head.bias - model.head.bias).abs().max().item()
    assert replicas.models()[0].head.bias.isfinite().all()
    # PyTorch divides by a norm of inf
    expected = {None: 1e-22 * model.head.bias.grad.abs().max().item(), "norm": 0, "value": 1e-22}
    assert moved == pytest.approx(expected[method], rel=1e-5, abs=0)


# Models out of replicas


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_models_go_in_and_come_out(kind):
    models = drop_in_models(getattr(drop_ins, kind), STATES)
    for model in models:
        model.head.bias.grad = torch.ones(CLASSES)
        model(torch.ones(3, 2, WIDTH)).sum().backward()
    given = [copy.deepcopy(model.state_dict()) for model in models]
    replicas = Replicas(models)
    out = replicas.models()
    assert models[STATES.index("carried")].rnn.h0_carried is not None  # theirs is left alone
    for model, before, after in zip(models, given, out, strict=True):
        assert type(after.rnn) is type(model.rnn)
        assert_close(after.state_dict(), before, rtol=0, atol=0)
        assert learned_states.initial_state_parameters(after) == [
            p for n, p in after.named_parameters() if n in ("rnn.h0", "rnn.c0")
        ]
        assert after.rnn.initial_state == model.rnn.initial_state
        assert all(p.grad is None for p in after.parameters())
        assert all(p.requires_grad for p in after.parameters())
        assert getattr(after.rnn, "h0_carried", None) is None  # that belonged to another batch
    for x, target in make_batches(len(STATES), steps=2):
        replicas.step(x, target, cross_entropy)
    for model, before, early in zip(models, given, out, strict=True):
        assert_close(model.state_dict(), before, rtol=0, atol=0)  # the models given are not ours
        assert_close(early.state_dict(), before, rtol=0, atol=0)  # nor are those handed out
    late = replicas.models()
    assert all((a.head.bias != b.head.bias).any() for a, b in zip(late, out, strict=True))
    with torch.no_grad():
        for parameter in late[0].parameters():
            parameter.fill_(7)
    assert all(
        (p != 7).all() for model in (late[1], replicas.models()[0]) for p in model.parameters()
    )


def test_a_stack_of_stacks_goes_on_where_it_was():
    models, batches = make_models(nn.GRU), make_batches()
    whole, _, _, _ = train_together(models, batches, optimizer="sgd", lr=0.1, workers=1)
    half, _, _, _ = train_together(models, batches[:5], optimizer="sgd", lr=0.1, workers=1)
    rest, _, _, _ = train_together(half.models(), batches[5:], optimizer="sgd", lr=0.1, workers=1)
    for mine, theirs in zip(rest.models(), whole.models(), strict=True):
        assert_close(mine.state_dict(), theirs.state_dict(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("few", [False, True])
def test_outputs_are_those_of_the_models_in_evaluation(kind, every_step, few, monkeypatch):
    if few:  # one replica at a time
        monkeypatch.setattr(teachkit.stacks, "EVALUATED_AT_ONCE", 1)
    models = make_models(KINDS[kind], every_step=every_step)
    replicas = Replicas(models)
    x = torch.randn(6, 300, 2, WIDTH)  # longer than a window of the evaluation
    states = [torch.randn(6, 2, HIDDEN) for _ in range(2 if kind == "lstm" else 1)]
    for given in (None, tuple(states)):
        outputs, finals = replicas.outputs(x, given)
        assert not outputs.requires_grad
        for r, model in enumerate(models):
            own = None if given is None else tuple(state[r][None] for state in given)
            y, final = model.eval().rnn(x[r], own if own is None or kind == "lstm" else own[0])
            expected = model.head(y if every_step else y[-1])
            assert_close(outputs[r], expected, rtol=0, atol=3e-6)
            final = final if isinstance(final, tuple) else (final,)
            assert_close([f[r] for f in finals], [f[0] for f in final], rtol=0, atol=3e-6)
    shared, _ = replicas.outputs(x[:1])
    assert_close(shared[2], models[2](x[0]), rtol=0, atol=3e-6)


def test_outputs_start_at_the_learned_state_without_noise():
    models = drop_in_models(drop_ins.LSTM, STATES)
    replicas = Replicas(models)
    x = torch.randn(len(STATES), 4, 3, WIDTH)
    expected = torch.stack([m.eval()(own) for m, own in zip(models, x, strict=True)])
    for _ in range(2):
        assert_close(replicas.outputs(x)[0], expected, rtol=0, atol=1e-6)


def test_how_many_there_are():
    assert len(Replicas(make_models(nn.GRU, 5))) == 5


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_measures_are_those_of_each_model_alone(kind, few, monkeypatch):
    if few:
        monkeypatch.setattr(teachkit.stacks, "EVALUATED_AT_ONCE", 1)
    models = drop_in_models(getattr(drop_ins, kind), ["learned", "zero", "noisy"])
    replicas = Replicas(models)
    ((x, target),) = make_batches(3, steps=1)
    measures = {
        "loss": cross_entropy,
        "each": lambda y, t: F.cross_entropy(y, t, reduction="none"),
        "number": lambda y, t: y.sum().item(),
    }
    outputs, finals = replicas.outputs(x)
    found, last = replicas.measure(x, target, measures)
    assert list(found) == list(measures)
    assert_close(last, finals, rtol=0, atol=1e-7)
    for name, function in measures.items():
        for r, model in enumerate(models):
            expected = torch.as_tensor(function(model.eval()(x[r]), target[r]))
            assert_close(found[name][r], expected, rtol=0, atol=1e-6)
    on, _ = replicas.measure(x, target[:1], measures, last)
    outputs, _ = replicas.outputs(x, last)
    expected = torch.stack([cross_entropy(y, target[0]) for y in outputs])
    assert_close(on["loss"], expected, rtol=0, atol=1e-6)


# Bad input


def models_that_differ(**changed):
    settings: dict[str, Any] = {
        "hidden": HIDDEN,
        "classes": CLASSES,
        "every_step": False,
        "dtype": torch.float32,
    }
    settings |= changed
    layer = settings.pop("kind", nn.GRU)(WIDTH, settings["hidden"], bias=settings.get("bias", True))
    odd = SequenceModel(layer, settings["classes"], every_step=settings["every_step"])
    return [*make_models(nn.GRU, 2), odd.to(settings["dtype"])]


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden": 5},
        {"classes": 2},
        {"every_step": True},
        {"dtype": DOUBLE},
        {"kind": nn.LSTM},
        {"bias": False},
        {"kind": functools.partial(nn.GRU, batch_first=True)},
        {"kind": functools.partial(nn.GRU, num_layers=2)},
    ],
    ids=str,
)
def test_models_must_be_alike(changed):
    with pytest.raises(ValueError, match=r"^models must all have .* but number 2 differs from num"):
        Replicas(models_that_differ(**changed))
    with pytest.raises(ValueError, match=r"^models must all .* but number 1 differs"):
        Replicas(make_models(nn.RNN, 1) + make_models(KINDS["relu"], 1))


def no_graph(count=2):
    return drop_in_models(drop_ins.GRU, [CarriedState(detach=False)] * count)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"models": []},
            r"models must be a list of one or more SequenceModels, but \[\] was given",
        ),
        ({"models": [nn.GRU(1, 2)]}, "models must be a list of one or more SequenceModels, but"),
        pytest.param(
            {"models": no_graph},
            "initial_state must be one whose graph ends with the pass: detach",
            id="a graph beyond the pass",
        ),
        ({"lr": [0.1] * 3}, "lr must be one value, or one for each of 2 models, but '3 values'"),
        ({"lr": -1}, "lr must be a number of at least 0, but -1 was given"),
        ({"lr": [0.1, math.nan]}, "lr must be a number of at least 0, but nan was given"),
        ({"lr": "fast"}, "lr must be a number of at least 0, but 'fast' was given"),
        ({"state_lr": -1}, "state_lr must be a number of at least 0, but -1 was given"),
        ({"state_lr": [0.1]}, "state_lr must be one value, or one for each of 2 models"),
        ({"optimizer": "adamw"}, "optimizer must be one of 'sgd', 'adam', but 'adamw' was given"),
        ({"optimizer": ["sgd"]}, "optimizer must be one value, or one for each of 2 models"),
        ({"optimizer": None}, "optimizer must be one of 'sgd', 'adam', but None was given"),
        ({"clipper": 1.0}, "clipper must be a Clipper or None, but 1.0 was given"),
        ({"clipper": ["norm", None]}, "clipper must be a Clipper or None, but 'norm' was given"),
        ({"clipper": [None]}, "clipper must be one value, or one for each of 2 models"),
        ({"seeds": [1, 2, 3]}, "seeds must be one value, or one for each of 2 models"),
        ({"seeds": []}, "seeds must be one value, or one for each of 2 models, but '0 values'"),
        ({"seeds": [1, -1]}, "seed must be a whole number of at least 0, but -1 was given"),
        ({"workers": 0}, "workers must be a whole number of at least 1, but 0 was given"),
    ],
    ids=str,
)
def test_bad_settings_are_named(options, message):
    options = dict(options)
    models = options.pop("models", None)
    if models is None:
        models = make_models(nn.GRU, 2)
    with pytest.raises(ValueError, match=f"^{message}"):
        Replicas(models() if callable(models) else models, **options)


X, TARGET = torch.zeros(2, 7, 5, WIDTH), torch.zeros(2, 5, dtype=torch.long)


@pytest.mark.parametrize(
    ("x", "target", "message"),
    [
        (
            X[0],
            TARGET,
            r"x must be a tensor of shape \(R, T, B, 2\) with R = 2 or 1, but Tensor of",
        ),
        (torch.zeros(3, 7, 5, 2), TARGET, r"x must be .* but Tensor of shape \(3, 7, 5, 2\)"),
        (torch.zeros(2, 7, 5, 3), TARGET, r"x must be .* but Tensor of shape \(2, 7, 5, 3\)"),
        (X[0, 0], TARGET, "x must be .* but Tensor of shape"),
        (X.tolist()[0][0][0], TARGET, "x must be a tensor of shape"),
        (torch.tensor(1.0), TARGET, r"x must be .* but Tensor of shape \(\) was given"),
        (torch.zeros(2, 0, 5, 2), TARGET, r"x must be .* but Tensor of shape \(2, 0, 5, 2\)"),
        (
            X,
            torch.zeros(3, 5),
            r"target must be a tensor with R = 2 or 1 in its first dimension, b",
        ),
        (X, torch.tensor(0), r"target must be .* but Tensor of shape \(\) was given"),
        (X, [0, 1], r"target must be .* but \[0, 1\] was given"),
        (X, None, "target must be .* but None was given"),
    ],
)
def test_batches_that_do_not_fit_are_named(x, target, message):
    replicas = Replicas(make_models(nn.GRU, 2))
    with pytest.raises(ValueError, match=f"^{message}"):
        replicas.step(x, target, cross_entropy)
    assert replicas.steps == 0
    if not message.startswith("target"):
        with pytest.raises(ValueError, match=f"^{message}"):
            replicas.outputs(x)


@pytest.mark.parametrize("plan", [Plan(2), Plan(1), FUSED], ids=str)
@pytest.mark.parametrize(
    "loss", [lambda y, t: y, lambda y, t: y.sum((0,)), lambda y, t: y.sum()[None], lambda y, t: 0.5]
)
def test_a_loss_that_is_no_scalar_is_named(plan, loss, force):
    force(plan)
    replicas = Replicas(make_models(nn.GRU, 2))
    before = [m.state_dict() for m in replicas.models()]
    with pytest.raises(ValueError, match=r"^loss must be a function of .* scalar tensor, but "):
        replicas.step(X, TARGET, loss)
    assert replicas.steps == 0
    assert_close([m.state_dict() for m in replicas.models()], before, rtol=0, atol=0)


@pytest.mark.parametrize(
    "states",
    [
        torch.zeros(2, 5, HIDDEN),
        (torch.zeros(1, 5, HIDDEN),),
        (torch.zeros(2, 1, HIDDEN),),
        (torch.zeros(2, 5, HIDDEN + 1),),
        (torch.zeros(2, 5, HIDDEN), torch.zeros(2, 5, HIDDEN)),
        (),
    ],
)
def test_states_that_do_not_fit_are_named(states):
    with pytest.raises(ValueError, match=r"^states must be .* was given\.$"):
        Replicas(make_models(nn.GRU, 2)).outputs(X, states)


def test_other_layers_cannot_be_stacked():
    class Other(nn.RNNBase):
        pass

    with pytest.raises(ValueError, match=r"^models must be SequenceModels of a layer of PyTorch"):
        Replicas([SequenceModel(Other("GRU", 1, 2), 1)])


def test_after_an_error_in_the_loss_training_goes_on(force):
    force(Plan(3, workers=2))
    models, batches = make_models(nn.GRU), make_batches()
    calls: list[None] = []

    def loss(output, target):
        calls.append(None)
        if len(calls) == 5:
            raise ZeroDivisionError
        return cross_entropy(output, target)

    replicas = Replicas(models, optimizer="sgd", lr=0.1)
    done = 0
    for x, target in batches:
        try:
            replicas.step(x, target, loss)
        except ZeroDivisionError:
            replicas.step(x, target, loss)
        done += 1
    alone = train_alone(models, batches, optimizers=[torch.optim.SGD] * 6, lrs=[0.1] * 6)
    assert replicas.steps == done == STEPS
    for mine, theirs in zip(replicas.models(), alone[0], strict=True):
        assert_close(mine.state_dict(), theirs.state_dict(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("plan", [Plan(6), FUSED], ids=str)
def test_a_step_that_was_interrupted_leaves_no_gradient_behind(plan, force, monkeypatch):
    force(plan)
    models, batches = make_models(nn.GRU), make_batches(steps=3)
    whole, losses, _, _ = train_together(models, batches, optimizer="sgd", lr=0.1)
    replicas = Replicas(models, optimizer="sgd", lr=0.1)
    backward = torch.Tensor.backward

    def interrupted(self):
        backward(self)
        raise KeyboardInterrupt

    for n, (x, target) in enumerate(batches):
        monkeypatch.setattr(torch.Tensor, "backward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            replicas.step(x, target, cross_entropy)
        monkeypatch.setattr(torch.Tensor, "backward", backward)
        assert torch.equal(replicas.step(x, target, cross_entropy).loss, losses[n])
    for mine, theirs in zip(replicas.models(), whole.models(), strict=True):
        assert_close(mine.state_dict(), theirs.state_dict(), rtol=0, atol=0)


def test_named_strategies_are_those_of_the_drop_ins():
    for name in ("zero", "noisy", "learned", "learned+noisy", "adaptive", "carried"):
        (model,) = Replicas(drop_in_models(drop_ins.RNN, [name])).models()
        assert model.rnn.initial_state == make_initial_state(name)


def test_what_a_stack_would_train_differently_is_refused():
    frozen = SequenceModel(nn.GRU(1, 3), 1)
    frozen.rnn.get_parameter("weight_hh_l0").requires_grad_(False)
    with pytest.raises(ValueError, match=r"^models must train all .* rnn.weight_hh_l0 is frozen"):
        Replicas([frozen])
    spectral = SequenceModel(nn.GRU(1, 3), 1)
    nn.utils.parametrizations.spectral_norm(spectral.head)
    with pytest.raises(ValueError, match=r"^models must have plain weights, but one has a param"):
        Replicas([spectral])
    with pytest.raises(ValueError, match=r"^plan must be a Plan or None, but 'fast' was given"):
        Replicas([SequenceModel(nn.GRU(1, 3), 1)], plan="fast")  # type: ignore[arg-type]


def test_models_that_compute_something_else_are_refused():
    class Twice(SequenceModel):
        def forward(self, x):
            return 2 * super().forward(x)

    class Louder(nn.LSTM):
        pass

    more = SequenceModel(nn.GRU(1, 3), 1)
    more.dropout = nn.Dropout(0.5)
    bare = SequenceModel(nn.GRU(1, 3), 1)
    bare.head = nn.Linear(3, 1, bias=False)
    for model in (Twice(nn.GRU(1, 3), 1), SequenceModel(Louder(1, 3), 1), more):
        with pytest.raises(ValueError, match=r"^models must be .*, a drop-in or an ElmanRNN, as"):
            Replicas([model])
    with pytest.raises(ValueError, match=r"^models must be .* head is an nn.Linear with a bias"):
        Replicas([bare])


def test_weight_decay_spares_learned_states():
    def make(seed):
        torch.manual_seed(seed)
        return SequenceModel(drop_ins.LSTM(2, 3, initial_state="learned"), 2, seed=seed)

    models = [make(seed) for seed in range(3)]
    decaying = functools.partial(torch.optim.AdamW, weight_decay=2.0)
    together = Replicas(models, optimizer=decaying, lr=0.05)
    optimizers = [decaying(learned_states.parameter_groups(m), lr=0.05) for m in models]
    for _ in range(5):
        x, target = torch.randn(3, 4, 5, 2), torch.randint(2, (3, 5))
        together.step(x, target, cross_entropy)
        for n, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            optimizer.zero_grad()
            cross_entropy(model(x[n]), target[n]).backward()
            optimizer.step()
    for ours, theirs in zip(together.models(), models, strict=True):
        assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=1e-5)

import copy
import io
import itertools
import math
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence
from torch.testing import assert_close

import teachkit as tk
from teachkit.drop_ins import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from teachkit.initial_states import AdaptiveState, CarriedState, LearnedState, NoisyState

# PyTorch says so once, to whoever comes first
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

T, B, WIDTH, H = 6, 3, 2, 5
THEIRS: dict[Any, Any] = {
    LSTM: nn.LSTM,
    GRU: nn.GRU,
    RNN: nn.RNN,
    LSTMCell: nn.LSTMCell,
    GRUCell: nn.GRUCell,
    RNNCell: nn.RNNCell,
}
LAYERS: list[Any] = [LSTM, GRU, RNN]
CELLS: list[Any] = [LSTMCell, GRUCell, RNNCell]
NAMES = ["zero", "noisy", "learned", "learned+noisy", "adaptive", "carried"]
LENGTHS = {"sorted": [6, 4, 1], "unsorted": [2, 6, 3]}


def by_name(value):
    return getattr(value, "__name__", None)


every_layer = pytest.mark.parametrize("kind", LAYERS, ids=by_name)
every_cell = pytest.mark.parametrize("kind", CELLS, ids=by_name)
every_kind = pytest.mark.parametrize("kind", LAYERS + CELLS, ids=by_name)
every_name = pytest.mark.parametrize("name", NAMES)
SHAPING = ("num_layers", "bidirectional", "batch_first", "proj_size")
every_option = pytest.mark.parametrize(
    ("kind", "options"),
    [
        (kind, dict(zip(SHAPING, case, strict=False)))  # only an LSTM has a projection
        for kind in LAYERS
        for case in itertools.product(
            [1, 2], [False, True], [False, True], [0, 4][: 1 + (kind is LSTM)]
        )
    ],
    ids=lambda value: (
        "-".join(map(str, value.values())) if isinstance(value, dict) else by_name(value)
    ),
)
every_input = pytest.mark.parametrize("form", ["batched", "unbatched", "sorted", "unsorted"])


def pair(kind, initial_state: Any = "zero", **options):
    """Return one of ours and PyTorch's own, drawn from the same seed.

    Where ours learns its state, it is somewhere else than at zero.
    """
    if kind is not LSTM:
        options.pop("proj_size", None)  # PyTorch's other layers refuse it, even as 0
    torch.manual_seed(0)
    theirs = THEIRS[kind](WIDTH, H, **options)
    torch.manual_seed(0)
    ours = kind(WIDTH, H, initial_state=initial_state, **options)
    with torch.no_grad():
        for state in tk.initial_state_parameters(ours):
            state.normal_()
    return ours, theirs


def make_input(layer, form="batched", dtype=None, seed=1):
    stream = torch.Generator().manual_seed(seed)
    x = torch.randn(T, B, WIDTH, generator=stream).to(dtype)
    if form in LENGTHS:
        lengths = LENGTHS[form]
        return pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=form == "sorted")
    if isinstance(layer, nn.RNNCellBase):
        return x[0, 0] if form == "unbatched" else x[0]
    if form == "unbatched":
        return x[:, 0]
    return x.transpose(0, 1) if layer.batch_first else x


def shapes(layer, form="batched"):
    """Return the shapes of the states that PyTorch's class takes."""
    batch = () if form == "unbatched" else (B,)
    if isinstance(layer, nn.RNNCellBase):
        return [(*batch, H)] * (1 + isinstance(layer, nn.LSTMCell))
    rows = layer.num_layers * (1 + layer.bidirectional)
    sizes = [layer.proj_size or H] + [H] * isinstance(layer, nn.LSTM)
    return [(rows, *batch, size) for size in sizes]


def as_hx(states):
    return tuple(states) if len(states) > 1 else states[0]


def random_hx(layer, form="batched", seed=2):
    stream = torch.Generator().manual_seed(seed)
    return as_hx([torch.randn(shape, generator=stream) for shape in shapes(layer, form)])


def flat(result):
    """Return all tensors of what a layer or cell returns."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, PackedSequence):
        return [t for t in result if t is not None]
    return [t for part in result for t in flat(part)]


def assert_same(a, b):
    for x, y in zip(flat(a), flat(b), strict=True):
        assert torch.equal(x, y)


def final(layer, result):
    return result if isinstance(layer, nn.RNNCellBase) else result[1]


def backward(result):
    sum(t.square().sum() for t in flat(result) if t.is_floating_point()).backward()


# PyTorch is the oracle


@every_option
@every_input
@pytest.mark.parametrize("explicit", [False, True])
def test_zero_is_pytorch_bit_for_bit(kind, options, form, explicit):
    ours, theirs = pair(kind, **options)
    x = make_input(theirs, form)
    hx = random_hx(theirs, form) if explicit else None
    mine, expected = ours(x, hx), theirs(x, hx)
    assert_same(mine, expected)
    backward(mine)
    backward(expected)
    for (name, a), (other, b) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == other
        assert torch.equal(a.grad, b.grad)


@every_cell
@pytest.mark.parametrize("form", ["batched", "unbatched"])
@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_zero_cell_is_pytorch_bit_for_bit(kind, form, explicit, bias):
    ours, theirs = pair(kind, bias=bias)
    x = make_input(theirs, form)
    hx = random_hx(theirs, form) if explicit else None
    assert_same(ours(x, hx), theirs(x, hx))
    assert list(ours.state_dict()) == list(theirs.state_dict())


def expected_start(ours, form, previous):
    """Work out the start by hand, from parameters, seeded noise or the pass before."""
    name = next(n for n in NAMES if tk.make_initial_state(n) == ours.initial_state)
    batch = 1 if form == "unbatched" else B
    states = []
    for key, shape in zip(("h0", "c0"), shapes(ours, form), strict=False):
        rows = 1 if isinstance(ours, nn.RNNCellBase) else shape[0]
        state = torch.zeros(rows, batch, shape[-1])
        if "learned" in name:
            state += getattr(ours, key).detach().view(rows, 1, -1)
        if ours.training and "noisy" in name:
            state += 0.3 * torch.randn(state.shape)
        if ours.training and name == "adaptive":
            rms, peak = getattr(ours, f"{key}_rms"), getattr(ours, f"{key}_peak")
            assert rms.all()
            state += 0.3 * rms / peak * torch.randn(state.shape)
        states.append(state.reshape(shape))
    return previous if name == "carried" else as_hx(states)


def check_start(both, form):
    ours, theirs = both
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        result = ours(make_input(ours, form, seed=1))  # there is now something to carry or adapt to
        if training:
            backward(result)
        previous = as_hx([state.detach() for state in flat(final(ours, result))])
        x = make_input(ours, form, seed=2)
        torch.manual_seed(2)
        expected = theirs(x, expected_start(ours, form, previous))
        torch.manual_seed(2)
        for a, b in zip(flat(ours(x)), flat(expected), strict=True):
            assert_close(a, b)
        ours.reset_state()


@every_option
@every_input
def test_every_start_is_pytorch_from_that_state(kind, options, form):
    for name in NAMES:
        check_start(pair(kind, name, **options), form)


@every_cell
@pytest.mark.parametrize("form", ["batched", "unbatched"])
@every_name
def test_every_start_of_a_cell_is_pytorch_from_that_state(kind, form, name):
    check_start(pair(kind, name), form)


@every_option
@every_input
def test_a_state_of_the_caller_wins(kind, options, form):
    for name in NAMES:
        ours, theirs = pair(kind, name, **options)
        x, hx = make_input(theirs, form), random_hx(theirs, form)
        before = torch.random.get_rng_state()
        assert_same(ours(x, hx), theirs(x, hx))
        assert torch.equal(torch.random.get_rng_state(), before)


@every_cell
@every_name
def test_a_state_of_the_caller_wins_in_a_cell(kind, name):
    ours, theirs = pair(kind, name)
    x, hx = make_input(theirs), random_hx(theirs)
    assert_same(ours(x, hx), theirs(x, hx))


@every_layer
@every_name
def test_dropout_and_bias_are_pytorchs(kind, name):
    ours, theirs = pair(kind, name, num_layers=2, dropout=0.5, bias=False)
    x, hx = make_input(theirs), random_hx(theirs)
    torch.manual_seed(3)
    expected = theirs(x, hx)
    torch.manual_seed(3)
    assert_same(ours(x, hx), expected)


def test_options_by_position_as_in_pytorch():
    assert RNN(WIDTH, H, 2, "relu", False, True, 0.1, True).nonlinearity == "relu"
    lstm = LSTM(WIDTH, H, 2, False, True, 0.1, True, 4, initial_state="learned")
    assert repr(nn.LSTM(WIDTH, H, 2, False, True, 0.1, True, 4))[:-1] in repr(lstm)
    assert lstm.h0.shape == (4, 1, 4)
    assert RNNCell(WIDTH, H, False, "relu", initial_state="learned").nonlinearity == "relu"


@every_kind
@every_name
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes(kind, name, dtype):
    made, theirs = pair(kind, name, dtype=dtype)
    moved = pair(kind, name)[0].to(dtype)
    x = make_input(theirs, dtype=dtype)
    for ours in (made, moved):
        assert {t.dtype for t in ours.state_dict().values()} == {dtype}
        for _ in range(2):
            result = ours(x)
            assert {t.dtype for t in flat(result)} == {dtype}
            backward(result)
    made.eval().reset_state()
    hx = as_hx([made.h0, made.c0]) if hasattr(made, "c0") else getattr(made, "h0", None)
    if hx is None or isinstance(made, nn.RNNCellBase):
        hx = hx if hx is None else as_hx([s.expand(B, H) for s in flat(hx)])
    else:
        hx = as_hx([s.expand(-1, B, -1).contiguous() for s in flat(hx)])
    assert_same(made(x), theirs_with(made, theirs)(x, hx))


def theirs_with(ours, theirs):
    """PyTorch's own with the weights of ours."""
    own = {name for name in ours.state_dict() if name not in theirs.state_dict()}
    theirs.load_state_dict({k: v for k, v in ours.state_dict().items() if k not in own})
    return theirs.eval()


@every_layer
@every_name
def test_autocast_as_in_pytorch(kind, name):
    ours, theirs = pair(kind, name)
    x = make_input(theirs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = [t.dtype for t in flat(theirs(x.bfloat16()))]
        for _ in range(2):
            result = ours(x.bfloat16())
            assert [t.dtype for t in flat(result)] == expected
    backward(result)


@every_kind
@every_name
def test_wrong_input_gets_pytorchs_own_words(kind, name):
    ours, theirs = pair(kind, name)
    good = make_input(theirs)
    wrong = [
        good[..., :1],
        good[None, None],
        good.long(),
        good.double(),
        torch.tensor(1.0),
        [1.0],
    ]
    for x in wrong:
        assert complaint(ours, x) == complaint(theirs, x) != ""
    hx = [state[..., :-1] for state in flat(random_hx(theirs))]
    assert complaint(ours, good, as_hx(hx)) == complaint(theirs, good, as_hx(hx)) != ""


def complaint(module, *args):
    try:
        module(*args)
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace("torch.Size", "")
    return ""


@every_kind
@every_name
def test_an_empty_batch_is_pytorchs_business(kind, name):
    ours, theirs = pair(kind, name)
    x = make_input(theirs).narrow(-2, 0, 0)
    expected = complaint(theirs, x)
    for _ in range(2):
        assert complaint(ours, x) == expected
    if not expected:
        assert_same(ours(x), theirs(x))


@pytest.mark.parametrize("bad", ["zeros", "", None, 0.3, NoisyState, torch.zeros(1, 1, H)])
@every_kind
def test_an_unknown_initial_state_is_named(kind, bad):
    with pytest.raises(
        ValueError, match=r"^initial_state must be one of 'zero', 'noisy', .* given"
    ):
        kind(WIDTH, H, initial_state=bad)


def test_layers_that_are_not_there_are_named():
    with pytest.raises(ValueError, match=r"^layers must be layer numbers from 0 to 1, but \(2,\)"):
        LSTM(WIDTH, H, 2, initial_state=NoisyState(layers=(2,)))
    with pytest.raises(ValueError, match=r"^layers must be layer numbers from 0 to 0"):
        GRUCell(WIDTH, H, initial_state=LearnedState(layers=(0, 1)))


# The bugs of the widely copied EasyLSTM, which keeps `init_h` and `init_c` as parameters


class EasyLSTM(nn.LSTM):
    """The class as people copy it, for comparison."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        state_size = (self.num_layers * (1 + self.bidirectional), 1, self.hidden_size)
        self.init_h = nn.Parameter(torch.zeros(state_size))
        self.init_c = nn.Parameter(torch.zeros(state_size))

    def forward(self, rnn_input, prev_states=None):
        batch_size = rnn_input.size(1)
        if prev_states is None:
            state_size = (len(self.init_h), batch_size, self.hidden_size)
            init_h = self.init_h.expand(*state_size).contiguous()
            init_c = self.init_c.expand(*state_size).contiguous()
            prev_states = init_h, init_c
        return super().forward(rnn_input, prev_states)


def easy_pair(**options):
    easy = EasyLSTM(WIDTH, H, **options)
    ours, _ = pair(LSTM, "learned", **options)
    own = {"init_h": ours.h0, "init_c": ours.c0} if not options.get("proj_size") else {}
    easy.load_state_dict({**easy.state_dict(), **theirs_state(ours), **own})
    return easy, ours


def theirs_state(ours):
    return {k: v for k, v in ours.state_dict().items() if k.startswith(("weight", "bias"))}


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_where_the_copied_class_works_ours_does_the_same(num_layers, bidirectional):
    easy, ours = easy_pair(num_layers=num_layers, bidirectional=bidirectional)
    for x in (make_input(ours), make_input(ours)[:, :1]):
        a, b = easy(x), ours(x)
        assert_same(a, b)
        backward(a)
        backward(b)
        assert_close(ours.h0.grad, easy.init_h.grad)
        assert_close(ours.c0.grad, easy.init_c.grad)


@pytest.mark.parametrize("batch_size", [2, T])
def test_batch_first_takes_the_batch_from_the_right_dimension(batch_size):
    # with T == B the copied class goes wrong without a word; elsewhere it fails
    ours, theirs = pair(LSTM, "learned", batch_first=True)
    with torch.no_grad():
        x = torch.randn(batch_size, T, WIDTH)
        hx = as_hx([s.expand(-1, batch_size, -1).contiguous() for s in (ours.h0, ours.c0)])
        assert_same(ours(x), theirs(x, hx))
        for i in range(batch_size):  # every sequence starts at the learned state
            assert_close(ours(x)[0][i], ours(x[i])[0])


def test_unbatched_input_works():
    easy, ours = easy_pair()
    x = make_input(ours, "unbatched")
    assert "RuntimeError" in complaint(easy, x)
    assert_close(ours(x)[0], ours(x[:, None])[0][:, 0])


def test_projections_work():
    easy, ours = easy_pair(proj_size=4)
    x = make_input(ours)
    assert "RuntimeError" in complaint(easy, x)
    assert (ours.h0.shape, ours.c0.shape) == ((1, 1, 4), (1, 1, H))
    backward(ours(x))
    assert ours.h0.grad.all()
    assert ours.c0.grad.all()


@every_layer
@pytest.mark.parametrize("form", LENGTHS)
def test_packed_sequences_are_the_sequences_one_by_one(kind, form):
    ours, _ = pair(kind, "learned", num_layers=2)
    x = make_input(ours)
    parts = [x[:length, i] for i, length in enumerate(LENGTHS[form])]
    packed = pack_sequence(parts, enforce_sorted=form == "sorted")
    h, *_ = flat(ours(packed)[1])
    for i, part in enumerate(parts):
        assert_close(h[:, i], flat(ours(part)[1])[0])
    assert "AttributeError" in complaint(easy_pair()[0], packed)


@every_kind
@pytest.mark.parametrize("initial_state", ["learned", "learned+noisy", LearnedState(0.1)])
def test_resetting_the_weights_leaves_the_learned_state(kind, initial_state):
    ours, theirs = pair(kind, initial_state)
    before = [state.clone() for state in tk.initial_state_parameters(ours)]
    order = list(ours.state_dict())
    torch.manual_seed(7)
    ours.reset_parameters()
    torch.manual_seed(7)
    theirs.reset_parameters()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    for a, b in zip(tk.initial_state_parameters(ours), before, strict=True):
        assert torch.equal(a, b)
    assert list(ours.state_dict()) == order


def test_a_loop_that_passes_none_first_learns_its_state():
    # the copied example makes states of its own for every step, so that nothing is learned
    for kind in CELLS:
        ours, theirs = pair(kind, "learned")
        x, state = make_input(LSTM(WIDTH, H)), None
        for x_t in x:
            state = ours(x_t, state)
        hx = as_hx([s.expand(B, H) for s in tk.initial_state_parameters(ours)])
        for x_t in x:
            hx = theirs(x_t, hx)
        assert_same(state, hx)
        backward(state)
        assert all(s.grad.all() for s in tk.initial_state_parameters(ours))
        ours.zero_grad()
        backward(ours(x[0], random_hx(ours)))
        assert all(s.grad is None for s in tk.initial_state_parameters(ours))


def test_the_order_of_the_states_is_h_then_c():
    ours, theirs = pair(LSTM, "learned")
    x, (h, c) = make_input(ours), random_hx(ours)
    assert_same(ours(x, (h, c)), theirs(x, (h, c)))
    assert not torch.equal(ours(x, (c, h))[0], ours(x, (h, c))[0])
    projected, _ = pair(LSTM, "learned", proj_size=4)
    h, c = random_hx(projected)
    assert "Expected hidden[0] size" in complaint(projected, x, (c, h))


@every_kind
def test_learned_states_have_the_stated_shapes_and_gradients_summed_over_the_batch(kind):
    cell = kind in CELLS
    ours, _ = pair(kind, "learned", dtype=torch.float64, **({} if cell else {"num_layers": 2}))
    x = make_input(ours, dtype=torch.float64)
    states = tk.initial_state_parameters(ours)
    assert [s.shape for s in states] == [(1, H) if cell else (2, 1, H)] * len(states)
    assert [n for n, _ in ours.named_parameters()][-len(states) :] == ["h0", "c0"][: len(states)]
    backward(ours(x))

    leaves = [s.detach().expand(*s.shape[:-2], B, H).contiguous().requires_grad_() for s in states]
    backward(ours(x, as_hx(leaves)))
    for state, leaf in zip(states, leaves, strict=True):
        assert_close(state.grad, leaf.grad.sum(-2, keepdim=True))


def test_per_sample_gradients_with_torch_func():
    ours, _ = pair(GRUCell, "learned", dtype=torch.float64)
    x = make_input(ours, dtype=torch.float64)
    parameters = dict(ours.named_parameters())

    def loss(parameters, x):
        return functional_call(ours, parameters, (x,)).square().sum()

    per_sample = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    backward(ours(x))
    for name, parameter in ours.named_parameters():
        assert_close(per_sample[name].sum(0), parameter.grad)


# Saving, loading, copying, moving


@every_kind
@every_name
def test_weights_of_pytorchs_class_load_strictly(kind, name):
    ours, _ = pair(kind, name)
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    torch.manual_seed(5)
    theirs = THEIRS[kind](WIDTH, H)
    outer = nn.Sequential(ours)  # with a prefix too
    outer.load_state_dict(nn.Sequential(theirs).state_dict(), strict=True)
    for key, value in ours.state_dict().items():
        expected = theirs.state_dict().get(key)
        assert torch.equal(value, before[key] if expected is None else expected)
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert missing == unexpected == []


@every_kind
@every_name
def test_state_dict_round_trips(kind, name):
    ours, _ = pair(kind, name)
    x = make_input(ours)
    for _ in range(2):
        backward(ours(x))
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    fresh = kind(WIDTH, H, initial_state=name)
    fresh.load_state_dict(torch.load(file, weights_only=True), strict=True)
    ours.reset_state()
    for a, b in ((ours, fresh), (ours.eval(), fresh.eval())):
        torch.manual_seed(4)
        expected = a(x)
        torch.manual_seed(4)
        assert_same(b(x), expected)
        ours.reset_state()
        fresh.reset_state()


def test_other_mismatches_are_still_errors():
    ours, theirs = pair(LSTM, "learned")
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"h0\", \"c0\""):
        theirs.load_state_dict(ours.state_dict())
    for key in ("c0", "weight_hh_l0"):
        part = {k: v for k, v in ours.state_dict().items() if k != key}
        with pytest.raises(RuntimeError, match=f'Missing key.* "{key}"'):
            ours.load_state_dict(part)
    with pytest.raises(RuntimeError, match="size mismatch for h0"):
        ours.load_state_dict({**ours.state_dict(), "h0": torch.zeros(1, 1, H + 1)})


def through_a_file(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), through_a_file]
)
@pytest.mark.parametrize("initial_state", [*NAMES, CarriedState(detach=False)], ids=str)
@every_kind
def test_copies_go_on_alike_and_apart(kind, initial_state, copied):
    ours, _ = pair(kind, initial_state)
    x = make_input(ours)
    for _ in range(2):
        result = ours(x)
        sum(t.sum() for t in flat(result)).backward(retain_graph=True)
    twin = copied(ours)
    results = []
    for module in (ours, twin):
        torch.manual_seed(6)
        results.append(module(x))
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                tensor.zero_()
    assert_same(*results)
    assert repr(twin) == repr(ours)
    if kind in LAYERS:
        assert [len(w) for w in twin.all_weights] == [4]
        twin.flatten_parameters()


@every_kind
@every_name
def test_everything_moves(kind, name):
    ours, _ = pair(kind, name)
    ours(make_input(ours))
    held = [*ours.parameters(), *ours.buffers()]
    moved = ours.to("meta")
    assert {t.device.type for t in (*moved.parameters(), *moved.buffers())} == {"meta"}
    assert len(held) == len([*moved.parameters(), *moved.buffers()])
    assert flat(moved(make_input(ours).to("meta")))[0].device.type == "meta"


@every_kind
@every_name
def test_a_layer_made_on_the_meta_device_is_ready_after_its_two_resets(kind, name):
    late = kind(WIDTH, H, device="meta", initial_state=name)
    late.to_empty(device="cpu")
    with torch.no_grad():  # whatever memory holds
        for tensor in (*late.parameters(), *late.buffers()):
            tensor.fill_(math.nan)
    torch.manual_seed(0)
    late.reset_parameters()
    late.reset_initial_state()
    torch.manual_seed(0)
    expected = kind(WIDTH, H, initial_state=name)
    assert list(late.state_dict()) == list(expected.state_dict())
    for key, value in late.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key])


@every_kind
def test_the_representation_names_the_state_unless_it_is_zero(kind):
    zero, theirs = pair(kind)
    assert repr(zero) == repr(theirs)
    noisy, _ = pair(kind, NoisyState(0.1))
    assert repr(noisy) == f"{kind.__name__}({WIDTH}, {H}, initial_state=NoisyState(std=0.1))"


# Training


@every_kind
@pytest.mark.parametrize("name", ["learned", "learned+noisy"])
def test_an_optimiser_moves_the_learned_state(kind, name):
    ours = kind(WIDTH, H, initial_state=name)
    optimizer = torch.optim.Adam(tk.parameter_groups(ours), lr=0.1)
    backward(ours(make_input(ours)))
    optimizer.step()
    for state in tk.initial_state_parameters(ours):
        assert_close(state.detach().abs(), torch.full_like(state, 0.1), rtol=1e-3, atol=0)


@every_kind
def test_noise_is_new_in_every_call_of_training_and_absent_in_evaluation(kind):
    ours, theirs = pair(kind, "noisy")
    x = make_input(ours)
    one, other = (flat(ours(x))[0] for _ in range(2))
    assert not torch.equal(one, other)
    assert_same(ours.eval()(x), theirs(x))


@every_kind
def test_adaptive_noise_comes_with_the_first_gradient(kind):
    ours, theirs = pair(kind, "adaptive")
    x = make_input(ours)
    first = ours(x)
    assert_same(first, theirs(x))
    assert_same(ours(x), theirs(x))
    backward(first)
    assert not torch.equal(flat(ours(x))[0], flat(theirs(x))[0])
    rms = ours.h0_rms.clone()
    ours.eval()
    assert_same(ours(x), theirs(x))
    backward(ours(x))
    assert torch.equal(ours.h0_rms, rms)
    hx = [state.requires_grad_() for state in flat(random_hx(theirs))]
    backward(ours.train()(x, as_hx(hx)))  # nor does a state of the caller count
    assert torch.equal(ours.h0_rms, rms)


def test_adaptive_buffers_hold_the_gradient_of_the_start():
    ours, theirs = pair(LSTM, AdaptiveState(decay=0.0), num_layers=2, bidirectional=True)
    x = make_input(ours)
    leaves = [torch.zeros(shape, requires_grad=True) for shape in shapes(ours)]
    backward(ours(x))
    backward(theirs(x, tuple(leaves)))
    for name, leaf in zip(("h0", "c0"), leaves, strict=True):
        assert leaf.grad is not None
        rms = leaf.grad.square().mean(1, keepdim=True).sqrt()
        assert_close(getattr(ours, f"{name}_rms"), rms)
        assert_close(getattr(ours, f"{name}_peak"), rms.amax(-1, keepdim=True))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@every_kind
@every_name
def test_training_mode_without_a_graph(kind, name, mode):
    ours, _ = pair(kind, name)
    x = make_input(ours)
    with mode():
        for _ in range(2):
            assert not any(t.requires_grad for t in flat(ours(x)))
    backward(ours(x))  # and with one again
    assert all(p.grad is not None for p in ours.parameters())


# The carried state


@every_layer
@pytest.mark.parametrize("form", ["batched", "unbatched"])
@pytest.mark.parametrize("training", [True, False])
def test_chunks_of_a_series_are_the_whole_series(kind, form, training):
    ours, theirs = pair(kind, "carried", num_layers=2)
    x = make_input(ours, form)
    whole, _ = theirs(x)
    ours.train(training)
    for _ in range(2):
        chunks = [ours(chunk)[0] for chunk in x.split([1, 3, 2])]
        assert_close(torch.cat(chunks), whole)
        ours.reset_state()


@every_cell
def test_steps_of_a_carried_cell_are_the_whole_series(kind):
    ours, theirs = pair(kind, "carried")
    hx = None
    for x_t in make_input(LSTM(WIDTH, H)):
        hx = theirs(x_t, hx)
        assert_same(ours(x_t), hx)


@every_layer
@pytest.mark.parametrize("form", LENGTHS)
def test_carried_states_keep_the_order_of_the_batch(kind, form):
    ours, theirs = pair(kind, "carried")
    first, second = (make_input(ours, form, seed=seed) for seed in (1, 2))
    _, hx = theirs(first)
    ours(first)
    assert_same(ours(second), theirs(second, hx))


@every_kind
def test_the_graph_ends_at_a_carried_state_unless_asked(kind):
    x = make_input(kind(WIDTH, H)).requires_grad_()
    for detach in (True, False):
        ours, _ = pair(kind, CarriedState(detach=detach))
        ours(x)
        (reached,) = torch.autograd.grad(flat(ours(x.detach()))[0].sum(), x, allow_unused=True)
        assert (reached is None) == detach


@every_kind
def test_a_carried_state_is_neither_saved_nor_kept_from_a_failed_pass(kind):
    ours, theirs = pair(kind, "carried")
    x = make_input(ours)
    hx = final(theirs, theirs(x))
    ours(x)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert complaint(ours, x[..., :1])
    assert_same(ours(x), theirs(x, hx))


@every_kind
def test_a_carried_state_goes_on_from_a_state_of_the_caller(kind):
    ours, theirs = pair(kind, "carried")
    x, hx = make_input(ours), random_hx(ours)
    ours(x)
    ours(x, hx)
    assert_same(ours(x), theirs(x, final(theirs, theirs(x, hx))))


@every_kind
def test_another_batch_size_names_the_way_out(kind):
    ours, theirs = pair(kind, "carried")
    x = make_input(ours)
    ours(x)
    smaller = x.narrow(-2, 0, 2)
    with pytest.raises(ValueError, match=r"carried state, 3, but 2 was given; reset_state\(\)"):
        ours(smaller)
    ours.reset_state()
    assert_same(ours(smaller), theirs(smaller))


@every_kind
def test_a_carried_state_changes_dtype_with_its_layer(kind):
    ours, theirs = pair(kind, "carried")
    x = make_input(ours)
    hx = final(theirs, theirs(x))
    ours(x)
    hx = as_hx([state.double() for state in flat(hx)])
    assert_same(ours.double()(x.double()), theirs.double()(x.double(), hx))


# Compiling and exporting

# PyTorch compiles no nn.RNN, nn.LSTM or nn.GRU: the graph breaks there, for theirs and ours alike
whole_graph = {kind: kind in CELLS for kind in THEIRS}


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_compiler")
# the compiler looks at .grad of every tensor and hides the warning itself, unless it is an error
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("kind", [LSTM, LSTMCell], ids=by_name)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@every_name
def test_compiled_modules_train_alike(kind, backend, name):
    ours, _ = pair(kind, name)
    other = copy.deepcopy(ours)
    whole = whole_graph[kind] and name != "adaptive"  # its hook breaks the graph
    compiled = torch.compile(other, backend=backend, fullgraph=whole)
    for seed in range(3):
        x = make_input(ours, seed=seed)
        results = []
        for module in (ours, compiled):
            torch.manual_seed(seed)
            results.append(module(x))
            backward(results[-1])
        for a, b in zip(*map(flat, results), strict=True):
            assert_close(a, b)
    for (key, a), (_, b) in zip(ours.named_parameters(), other.named_parameters(), strict=True):
        assert_close(a.grad, b.grad, msg=key)
    for (key, a), (_, b) in zip(ours.named_buffers(), other.named_buffers(), strict=True):
        assert_close(a, b, msg=key)


@every_kind
@every_name
@pytest.mark.filterwarnings("ignore:The tensor attributes self._flat_weights")  # nn.LSTM's too
def test_exported_modules_compute_alike(kind, name):
    ours, _ = pair(kind, name)
    ours.eval()
    x = make_input(ours)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(ours, (x,), dynamic_shapes={"input": {x.ndim - 2: batch}})
    for other in (make_input(ours), torch.randn(*x.shape[:-2], 7, WIDTH)):
        ours.reset_state()
        assert_same(program.module()(other), ours(other))


# Parameter groups and the ratio of resets


class Model(nn.Module):
    def __init__(self, initial_state="learned"):
        super().__init__()
        self.rnn = LSTM(WIDTH, H, 2, initial_state=initial_state)
        self.cells = nn.ModuleList([GRUCell(H, H, initial_state=initial_state), nn.Linear(H, 1)])
        self.again = self.rnn  # shared: counted once


def test_the_learned_states_of_a_model():
    model = Model()
    states = tk.initial_state_parameters(model)
    expected = [model.rnn.h0, model.rnn.c0, model.cells[0].h0]
    assert [id(s) for s in states] == [id(s) for s in expected]
    model.cells.append(GRUCell(H, H, initial_state="learned"))
    model.cells[-1].h0 = model.cells[0].h0  # two cells with one state
    assert [id(s) for s in tk.initial_state_parameters(model)] == [id(s) for s in expected]
    for name in ("zero", "noisy", "adaptive", "carried"):
        assert tk.initial_state_parameters(Model(name)) == []
    assert tk.initial_state_parameters(nn.LSTM(WIDTH, H)) == []


@pytest.mark.parametrize("name", NAMES)
def test_groups_hold_every_parameter_once(name):
    model = Model(name)
    groups = tk.parameter_groups(model)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert len(groups) == (2 if "learned" in name else 1)


@pytest.mark.parametrize(
    "optimizer",
    [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop],
    ids=by_name,
)
def test_weight_decay_spares_the_learned_states(optimizer):
    model = Model(LearnedState(init_std=1.0))
    before = copy.deepcopy(model.state_dict())
    step = optimizer(tk.parameter_groups(model), lr=0.1, weight_decay=0.5)
    for parameter in model.parameters():  # nothing pulls but the decay
        parameter.grad = torch.zeros_like(parameter)
    step.step()
    for name, value in model.state_dict().items():
        spared = name.rpartition(".")[2] in ("h0", "c0")
        assert torch.equal(value, before[name]) == spared


def test_learned_states_may_have_a_learning_rate_of_their_own():
    optimizer = torch.optim.SGD(tk.parameter_groups(Model(), state_lr=1.0), lr=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 1.0]
    optimizer = torch.optim.SGD(tk.parameter_groups(Model()), lr=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]
    with pytest.raises(ValueError, match=r"^state_lr must be a number of at least 0, but -1"):
        tk.parameter_groups(Model(), state_lr=-1)


def test_the_ratio_of_resets():
    model = Model()
    ratio = tk.reset_ratio([2, 30, 100], model, bptt=30)
    learned = 2 * 2 * H + H
    assert ratio == tk.ResetRatio(resets=3, steps=132, reaching=62, learned=learned)
    assert ratio.resets_per_step == 3 / 132
    assert ratio.resets_per_learned == 3 / learned
    assert tk.reset_ratio(torch.tensor([4, 4])).reaching == 8
    assert tk.reset_ratio([5], Model("noisy")).resets_per_learned == math.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tk.reset_ratio([]), "lengths must be the lengths of one or more sequences, but"),
        (lambda: tk.reset_ratio([3, 0]), "lengths must be a whole number of at least 1, but 0"),
        (lambda: tk.reset_ratio([2.5]), "lengths must be a whole number of at least 1"),
        (lambda: tk.reset_ratio(3), "lengths must be the lengths of one or more sequences, but 3"),
        (lambda: tk.reset_ratio([3], bptt=0), "bptt must be a whole number of at least 1"),
        (lambda: tk.reset_ratio([3], 5), "model must be an nn.Module, but 5 was given"),
        (lambda: tk.parameter_groups([]), "model must be an nn.Module"),
        (lambda: tk.initial_state_parameters("rnn"), "model must be an nn.Module"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

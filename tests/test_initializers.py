"""`initialize` itself: what holds for every scheme, sequences of them, and bad input."""

import copy
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import teachkit as tk
from teachkit import schemes
from teachkit.gates import gates
from teachkit.initializers import SCHEMES, initialize, scheme, scheme_names
from tests.scheme_checks import DOUBLE, MODULES, NEEDED, SIZE, H, fill_with, numbers, parts

WEIGHTS = [
    *("uniform", "normal", "truncated_normal", "xavier_uniform", "xavier_normal"),
    *("kaiming_uniform", "kaiming_normal", "lecun_uniform", "lecun_normal"),
    *("orthogonal", "gaussian", "identity", "sparse"),
]
BIASES = ["forget_bias", "memory_bias", "chrono"]
PRESETS = ["torch", "keras", "tf1", "flax", "haiku", "equinox"]


@pytest.fixture(params=MODULES)
def module(request):
    kind, options = MODULES[request.param]
    return kind(SIZE, H, **options)


def refusal(module, name):
    """Return why a preset or bias scheme must refuse a module, or None."""
    lstm, gru = (isinstance(module, k) for k in ((nn.LSTM, nn.LSTMCell), (nn.GRU, nn.GRUCell)))
    needs_bias = {"tf1": lstm or gru, "haiku": lstm}.get(name, name in BIASES)
    if (name == "equinox" or name in BIASES) and not (lstm or gru):
        return "module must be an"
    if name == "forget_bias" and not lstm:
        return "module must be an nn.LSTM"
    return "module must have biases" if needs_bias and not module.bias else None


def start(module, name, seed=0):
    return initialize(module, name, generator=numbers(seed), **NEEDED.get(name, {}))


def test_what_the_schemes_are_called():
    assert scheme_names() == [*PRESETS, *WEIGHTS, *BIASES]
    assert set(SCHEMES) == set(scheme_names())
    assert [scheme_names(kind) for kind in ("preset", "weights", "bias")] == [
        PRESETS,
        WEIGHTS,
        BIASES,
    ]
    with pytest.raises(ValueError, match=r"^kind must be one of 'preset', .*, but 'magic' was"):
        scheme_names("magic")


@pytest.mark.parametrize("name", [*WEIGHTS, *PRESETS])
def test_every_scheme_writes_every_weight_and_returns_the_module(module, name):
    fill_with(module, 7.0)
    if message := refusal(module, name):
        with pytest.raises(ValueError, match=f"^{message}"):
            start(module, name)
        assert all((parameter == 7).all() for parameter in module.parameters())
        return
    assert start(module, name) is module
    for parameter_name, parameter in module.named_parameters():
        if parameter_name.startswith(("weight", "bias")):
            assert (parameter != 7).all(), parameter_name
            assert parameter.requires_grad
            assert parameter.grad_fn is None
        else:
            assert (parameter == 7).all(), parameter_name  # a learned state stays
    if name in WEIGHTS:
        assert all((bias == 0).all() for bias in parts(module, "bias"))


@pytest.mark.parametrize("name", BIASES)
def test_bias_schemes_write_no_weight(module, name):
    fill_with(module, 7.0)
    if message := refusal(module, name):
        with pytest.raises(ValueError, match=f"^{message}"):
            start(module, name)
        return
    assert start(module, name) is module
    for parameter_name, parameter in module.named_parameters():
        changed = (parameter != 7).any()
        assert changed == parameter_name.startswith("bias"), parameter_name


@pytest.mark.parametrize("name", [*WEIGHTS, *BIASES, *PRESETS])
def test_the_generator_sets_every_number(module, name):
    if refusal(module, name):
        return

    def weights(seed):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        made = start(fill_with(copy.deepcopy(module), 7.0), name, seed)
        assert torch.equal(torch.get_rng_state(), before)
        return made.state_dict()

    one, again, other = weights(1), weights(1), weights(2)
    same = {key for key, value in one.items() if torch.equal(value, other[key])}
    for key, value in one.items():
        assert torch.equal(value, again[key])
        if key.startswith("weight") and name not in BIASES:
            assert (key in same) == (name == "identity" and "weight_hh" in key), key
        if key.startswith("bias_ih"):
            assert (key in same) == (name not in ("chrono", "torch", "equinox")), key


@pytest.mark.parametrize("name", [*WEIGHTS, *PRESETS])
def test_without_a_generator_pytorch_draws(name):
    def weights(seed):
        torch.manual_seed(seed)
        made = initialize(nn.GRU(SIZE, H), name, **NEEDED.get(name, {}))
        return made.get_parameter("weight_ih_l0").detach().clone()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("name", [*WEIGHTS, *PRESETS])
def test_no_two_gates_or_layers_are_the_same(name):
    lstm = start(nn.LSTM(H, H, num_layers=2), name)
    kinds = ("weight_ih",) if name == "identity" else ("weight_hh", "weight_ih")
    blocks = [W.flatten() for kind in kinds for W in parts(lstm, kind)]
    correlations = np.corrcoef(torch.stack(blocks).detach().numpy()) - np.eye(len(blocks))
    assert np.abs(correlations).max() < 0.5


@pytest.mark.parametrize("name", [*WEIGHTS, *BIASES, *PRESETS])
def test_every_precision_gets_the_same_numbers(name):
    exact, single, half = (
        start(fill_with(nn.LSTM(SIZE, H, dtype=dtype), 0.5), name)
        for dtype in (DOUBLE, torch.float32, torch.bfloat16)
    )
    for one, two, three in zip(*(m.parameters() for m in (exact, single, half)), strict=True):
        assert_close(two.double(), one, rtol=0, atol=1e-6)
        assert_close(three.double(), one, rtol=0.01, atol=0)


# Results that were computed before rest on these streams: the order of the draws must not change.


def test_the_streams_of_torch_orthogonal_and_gaussian():
    lstm, stream = start(nn.LSTM(SIZE, H, 2), "torch"), numbers()
    for parameter in lstm.parameters():
        drawn = 2 * torch.rand(parameter.shape, generator=stream) - 1
        assert torch.equal(parameter, drawn * (1 / math.sqrt(H)))

    def check_inputs(lstm, stream):
        for W in parts(lstm, "weight_ih"):
            drawn = 2 * torch.rand(W.shape, generator=stream) - 1
            assert torch.equal(W, drawn * math.sqrt(6 / sum(W.shape)))

    lstm, stream = start(nn.LSTM(SIZE, H, 2), "orthogonal"), numbers()
    for W in parts(lstm, "weight_hh"):
        drawn = nn.init.orthogonal_(torch.empty(H, H, dtype=DOUBLE), generator=stream)
        assert torch.equal(W, drawn.float())
    check_inputs(lstm, stream)

    lstm, stream = start(nn.LSTM(SIZE, H, 2), "gaussian"), numbers()
    for W in parts(lstm, "weight_hh"):
        drawn = torch.randn(H, H, generator=stream, dtype=DOUBLE)
        radius = np.abs(np.linalg.eigvals(drawn.numpy())).max()
        assert_close(W, (drawn / radius).float(), rtol=1e-6, atol=0)
    check_inputs(lstm, stream)


# --- sequences ------------------------------------------------------------------------------------


def test_steps_are_applied_in_turn_with_one_stream():
    lstm, other = nn.LSTM(SIZE, H), nn.LSTM(SIZE, H)
    sequence: list[Any] = ["orthogonal", {"scheme": "chrono", "max_steps": 30}]
    assert initialize(lstm, sequence, generator=numbers()) is lstm
    stream = numbers()
    initialize(other, "orthogonal", generator=stream)
    initialize(other, "chrono", max_steps=30, generator=stream)
    for one, two in zip(lstm.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
    assert sequence == ["orthogonal", {"scheme": "chrono", "max_steps": 30}]


def test_a_step_is_a_name_a_function_or_a_dict():
    def twice(module, generator, factor=2.0):
        for parameter in module.parameters():
            parameter.mul_(factor)

    lstm, other = nn.LSTM(SIZE, H), nn.LSTM(SIZE, H)
    initialize(lstm, ("torch", twice, {"scheme": twice, "factor": 3.0}), generator=numbers())
    initialize(other, {"scheme": "torch"}, generator=numbers())
    for one, two in zip(lstm.parameters(), other.parameters(), strict=True):
        assert_close(one, 6 * two)


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ([], r"scheme must be a scheme, or a sequence of one or more, but \[\] was given"),
        (["torch", "magic"], "scheme must be one of 'torch', .*, but 'magic' was given"),
        (["torch", ["keras"]], r"scheme must be one of 'torch', .*, but \['keras'\] was given"),
        (["torch", {"bias": 1}], 'scheme must be a scheme, or a dict with a "scheme", but {'),
        (["torch", {"scheme": "magic"}], "scheme must be one of 'torch', .*, but 'magic' was"),
        (
            [{"scheme": "orthogonal", "rho": 1}],
            r"options must be those of the scheme 'orthogonal' \(gain, fused, haar\), but 'rho'",
        ),
        (
            ["torch", "chrono"],
            "options must include 'max_steps' for the scheme 'chrono', but it was not given",
        ),
        (
            ["forget_bias", "orthogonal"],
            "scheme must have its bias schemes last, but 'orthogonal' after 'forget_bias' was "
            "given and would write the biases again",
        ),
        (
            [{"scheme": "chrono", "max_steps": 5}, "keras"],
            "scheme must have its bias schemes last, but 'keras' after 'chrono' was given",
        ),
        (
            [{"scheme": "orthogonal", "gain": 0.5}, "torch"],
            "scheme must have one scheme for the weights, but 'torch' after 'orthogonal' was given "
            "and would write over it",
        ),
        (["keras", SCHEMES["gaussian"]], "scheme must have one scheme for the weights, but 'gauss"),
        (
            [{"scheme": "forget_bias", "bias": 2}, {"scheme": "chrono", "max_steps": 9}],
            "scheme must have one scheme for the bias of a gate, but 'chrono' after 'forget_bias'",
        ),
        (
            [{"scheme": "memory_bias", "bias": 2}, "forget_bias"],
            "scheme must have one scheme for the bias of a gate, but 'forget_bias' after 'memory_",
        ),
    ],
)
def test_a_bad_step_is_named_before_anything_is_written(sequence, message):
    lstm = fill_with(nn.LSTM(SIZE, H), 7.0)
    with pytest.raises(ValueError, match=f"^{message}"):
        initialize(lstm, sequence)
    assert all((parameter == 7).all() for parameter in lstm.parameters())


@pytest.mark.parametrize("scheme", [["orthogonal"], {"scheme": "orthogonal"}])
def test_the_options_of_steps_stand_in_their_dicts(scheme):
    message = "^options must be in the dicts of the steps .*, but 'gain' was given"
    with pytest.raises(ValueError, match=message):
        initialize(nn.LSTM(SIZE, H), scheme, gain=2.0)


def test_bias_schemes_of_different_gates_go_together(own_register):
    @scheme("closed", "bias", gates=["output"])
    def closed(module, generator):
        for name, views in gates(module).items():
            if name.startswith("bias_ih"):
                views["output"].fill_(-1.0)

    lstm = initialize(nn.LSTM(SIZE, H), ["orthogonal", "forget_bias", "closed"])
    bias = gates(lstm)["bias_ih_l0"]
    assert (bias["forget"] == 1).all()
    assert (bias["output"] == -1).all()
    with pytest.raises(ValueError, match=r"one scheme for the bias of a gate, but 'closed' after"):
        initialize(lstm, ["closed", "closed"])


def fails(module, generator):
    fill_with(module, 3.0)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("module", "scheme", "error"),
    [
        (nn.LSTM(SIZE, H, bias=False), ["orthogonal", "forget_bias"], ValueError),
        (
            nn.LSTM(SIZE, H),
            ["orthogonal", {"scheme": "chrono", "max_steps": 1}],
            ValueError,
        ),
        (tk.LSTM(SIZE, H, initial_state="learned"), ["torch", fails], KeyboardInterrupt),
    ],
)
def test_all_steps_are_done_or_none(module, scheme, error):
    fill_with(module, 7.0)
    with pytest.raises(error):
        initialize(module, scheme)
    assert all((parameter == 7).all() for parameter in module.parameters())


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize("wrap", [torch.nn.utils.weight_norm, torch.nn.utils.spectral_norm])
@pytest.mark.parametrize("name", ["orthogonal", "torch"])
def test_weights_that_are_computed_the_old_way_are_refused(wrap, name):
    lstm = fill_with(wrap(nn.LSTM(SIZE, H), "weight_hh_l0"), 7.0)
    message = r"^module must have plain weights, but one has a parametrization: weight_hh_l0\.$"
    with pytest.raises(ValueError, match=message):
        initialize(lstm, name)
    assert all((parameter == 7).all() for parameter in lstm.parameters())


@pytest.mark.parametrize("name", [*WEIGHTS, *BIASES, *PRESETS])
def test_the_defaults_of_a_reader_do_not_matter(name):
    options = {**NEEDED.get(name, {}), **({"rho": 0.9} if name == "sparse" else {})}
    options |= {"haar": False} if name == "orthogonal" else {}

    def made():
        lstm = nn.LSTM(SIZE, H, device="cpu", dtype=torch.float32)
        initialize(fill_with(lstm, 7.0), name, generator=numbers(), **options)
        return [parameter.detach() for parameter in lstm.parameters()]

    expected = made()
    with torch.device("meta"):
        elsewhere = made()
    torch.set_default_dtype(DOUBLE)
    try:
        finer = made()
    finally:
        torch.set_default_dtype(torch.float32)
    for one, two, three in zip(expected, elsewhere, finer, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


# --- schemes of one's own, and bad input ----------------------------------------------------------


def ones(module, generator, size=1.0):
    fill_with(module, size)


@pytest.fixture
def own_register(monkeypatch):
    monkeypatch.setattr(schemes, "SCHEMES", dict(SCHEMES))
    monkeypatch.setattr(schemes, "KIND", dict(schemes.KIND))
    monkeypatch.setattr(schemes, "GATES", dict(schemes.GATES))


def W_hh(module):
    return module.get_parameter("weight_hh_l0").detach()


def test_a_function_is_a_scheme():
    layer = nn.RNN(1, 2)
    initialize(layer, ones, size=3.0)
    assert W_hh(layer).tolist() == [[3, 3], [3, 3]]
    layer.get_parameter("weight_hh_l0").sum().backward()  # it was written without a trace


def test_a_function_may_take_any_options():
    def greedy(module, generator, **options):
        fill_with(module, sum(options.values()))

    assert W_hh(initialize(nn.RNN(1, 1), greedy, a=1, b=2)).item() == 3
    assert W_hh(initialize(nn.RNN(1, 1), lambda *_, **kw: ones(*_, **kw), size=4)).item() == 4


def test_a_scheme_can_be_entered_under_a_name(own_register):
    assert scheme("ones")(ones) is ones
    assert W_hh(initialize(nn.RNN(1, 2), "ones")).tolist() == [[1, 1], [1, 1]]
    assert scheme_names()[-1] == "ones"
    with pytest.raises(ValueError, match=r"scheme 'ones' \(size\), but 'rho' was given"):
        initialize(nn.RNN(1, 2), "ones", rho=1)
    initialize(nn.LSTM(1, 2), ["forget_bias", "ones"])  # of no kind: may stand anywhere
    scheme("ones", "weights")(ones)
    with pytest.raises(ValueError, match=r"'ones' after 'forget_bias' was given"):
        initialize(nn.LSTM(1, 2), ["forget_bias", "ones"])
    with pytest.raises(ValueError, match=r"^kind must be one of 'preset', .*, but 'odd' was given"):
        scheme("ones", "odd")


def test_a_name_belongs_to_one_function(own_register):
    before = SCHEMES["orthogonal"]
    with pytest.raises(ValueError, match=r"^name must be one that no .*, but 'orthogonal' was"):
        scheme("orthogonal")(ones)
    assert schemes.SCHEMES["orthogonal"] is before
    for name in (3, None, ""):
        with pytest.raises(ValueError, match=r"^name must be a text, but"):
            scheme(name)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"^a scheme must be a function of .module, generator. and"
    ):
        scheme("none")(lambda module: None)

    def define(value):  # as a cell of a notebook that runs again
        @scheme("again")
        def again(module, generator):
            fill_with(module, value)

    define(1.0)
    define(2.0)
    assert W_hh(initialize(nn.RNN(1, 1), "again")).item() == 2


def test_names_are_complete_on_their_own():
    code = "from teachkit.initializers import scheme_names; assert len(scheme_names()) == 22"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert not hasattr(schemes, "scheme_names")  # which would be empty until the others load


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        *(
            (
                (nn.RNN(1, 2), "torch"),
                {"generator": given},
                "generator must be a torch.Generator on the CPU, or None, but",
            )
            for given in (3, np.random.default_rng(0), "cpu")
        ),
        *(
            (
                (nn.RNN(1, 2), given),
                {},
                r"scheme must be a function of \(module, generator\) and its options, but",
            )
            for given in (dict, lambda m: None, nn.LSTM)
        ),
        *(
            (
                (nn.RNN(1, 2), "orthogonal"),
                {"fused": given},
                "fused must be one of True, False, but .* of shape",
            )
            for given in (np.array([True, False]), torch.ones(2))
        ),
        ((nn.RNN(1, 2), "magic"), {}, "scheme must be one of 'torch', 'keras', .*, but 'magic'"),
        ((nn.RNN(1, 2), None), {}, "scheme must be one of 'torch', .*, but None was given"),
        (
            (nn.RNN(1, 2), "torch"),
            {"gain": 1},
            r"options must be those of the scheme 'torch' \(none\), but 'gain' was given",
        ),
        (
            (nn.RNN(1, 2), "gaussian"),
            {"gain": 1},
            r"options must be those of the scheme 'gaussian' \(rho\), but 'gain' was given",
        ),
        (
            (nn.RNN(1, 2), ones),
            {"rho": 1},
            r"options must be those of the scheme 'ones' \(size\), but 'rho' was given",
        ),
        (
            (nn.RNN(1, 2), "normal"),
            {},
            "options must include 'std' for the scheme 'normal', but it was not given",
        ),
        ((nn.Linear(1, 2), "torch"), {}, "module must be an nn.RNN, nn.LSTM or nn.GRU, or one of"),
        ((nn.Linear(1, 2), ones), {}, "module must be an nn.RNN, nn.LSTM or nn.GRU, or one of"),
        (
            (torch.nn.utils.parametrizations.weight_norm(nn.RNN(1, 2), "weight_hh_l0"), "torch"),
            {},
            "module must have plain weights, but one has a parametrization",
        ),
        (("lstm", "torch"), {}, "module must be an nn.RNN, nn.LSTM or nn.GRU, or one of their cel"),
    ],
)
def test_bad_input_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        initialize(*arguments, **options)


def test_torch_is_the_default():
    one, other = tk.initialize(nn.GRU(2, 3), generator=numbers()), nn.GRU(2, 3)
    start(other, "torch")
    for name, views in gates(one).items():
        for gate, values in views.items():
            assert torch.equal(values, gates(other)[name][gate])

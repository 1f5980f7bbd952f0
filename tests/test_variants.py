import json
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from teachkit.clipping import Clipper
from teachkit.device import generator
from teachkit.drop_ins import GRU, LSTM
from teachkit.gates import gates
from teachkit.initial_states import NAMED, LearnedState, NoisyState, make_initial_state
from teachkit.initializers import initialize
from teachkit.models import ACTIVATIONS, ElmanRNN
from teachkit.spectra import spectral_radius
from teachkit.tasks import Forecast, Names, RecallFirst
from teachkit.variants import CELLS, Variant, make_variants

TASK = RecallFirst(5)
OTHER_STATES = [LearnedState(init_std=0.5), NoisyState(0.1, c0=False)]
each_cell = pytest.mark.parametrize("cell", CELLS)


def weights(model):
    """Return the weights that every network has, whatever its initial state."""
    shared = ("rnn.weight", "rnn.bias", "head.")
    return {k: v for k, v in model.state_dict().items() if k.startswith(shared)}


def check_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_the_defaults_are_an_lstm_as_pytorch_makes_it():
    assert Variant() == Variant(
        cell="lstm",
        hidden_size=32,
        nonlinearity="tanh",
        initial_state="zero",
        initializer="torch",
        forget_bias=None,
        optimizer="adam",
        lr=0.003,
        clipper=None,
    )


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"cell": "lstm"}, LSTM),
        ({"cell": "gru"}, GRU),
        *(({"cell": "rnn", "nonlinearity": name}, ElmanRNN) for name in ACTIVATIONS),
    ],
)
@pytest.mark.parametrize("task", [TASK, Names(), Forecast(5)])
def test_the_model_fits_the_task(settings, kind, task):
    model = Variant(**settings, hidden_size=3).model(task, 0)
    assert type(model.rnn) is kind
    assert (model.rnn.input_size, model.rnn.hidden_size) == (task.input_size, 3)
    assert (model.rnn.num_layers, model.rnn.bidirectional) == (1, False)
    assert (model.head.out_features, model.every_step) == (task.output_size, task.every_step)
    assert getattr(model.rnn, "nonlinearity", "") == settings.get("nonlinearity", "")
    x, target = task.held_out(2)
    assert torch.isfinite(task.loss(model(x), target))


@each_cell
@pytest.mark.parametrize("initial_state", [*NAMED, *OTHER_STATES], ids=str)
@pytest.mark.parametrize("initializer", ["torch", "orthogonal", {"scheme": "gaussian", "rho": 2}])
def test_a_seed_has_the_same_weights_whatever_the_initial_state(cell, initial_state, initializer):
    variant = Variant(cell=cell, hidden_size=3, initializer=initializer)
    other = replace(variant, initial_state=initial_state, lr=0.5, optimizer="sgd")
    check_same(weights(variant.model(TASK, 3)), weights(other.model(TASK, 3)))
    assert other.model(TASK, 3).rnn.initial_state == make_initial_state(initial_state)


@each_cell
def test_a_seed_sets_every_number_and_leaves_other_random_numbers_alone(cell):
    variant = Variant(cell=cell, hidden_size=3, initial_state=LearnedState(init_std=0.5))
    before = torch.get_rng_state()
    model = variant.model(TASK, 7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    check_same(model.state_dict(), variant.model(TASK, 7).state_dict())
    other = variant.model(TASK, 8).state_dict()
    for name, value in model.state_dict().items():
        assert name == "head.bias" or not torch.equal(value, other[name]), name
    assert model.get_parameter("rnn.h0").count_nonzero() == 3


def test_weights_and_the_initial_state_do_not_share_random_numbers():
    model = Variant(cell="rnn", hidden_size=20, initial_state=LearnedState(init_std=1)).model(
        TASK, 0
    )
    drawn = [p.detach().flatten()[:20] for p in model.parameters() if p.numel() >= 20]
    correlations = np.corrcoef(torch.stack(drawn).numpy()) - np.eye(len(drawn))
    assert np.abs(correlations).max() < 0.8


@each_cell
def test_the_initializer_is_a_scheme_one_with_options_or_a_function(cell):
    variant = Variant(cell=cell, hidden_size=6)

    def recurrent(initializer):
        rnn = replace(variant, initializer=initializer).model(TASK, 0).rnn
        return gates(rnn)["weight_hh_l0"].values()

    for W in recurrent("orthogonal"):
        assert_close(W @ W.T, torch.eye(6), atol=1e-6, rtol=0)
    for W in recurrent({"scheme": "orthogonal", "gain": 2.0}):
        assert_close(W @ W.T, 4 * torch.eye(6), atol=1e-5, rtol=0)
    for W in recurrent({"scheme": "gaussian", "rho": 1.5}):
        assert spectral_radius(W).item() == pytest.approx(1.5, rel=1e-5)
    for W in recurrent(lambda module, generator: nn.init.constant_(module.weight_hh_l0, 0.25)):
        assert (W == 0.25).all()


def test_a_function_gets_the_generator_of_the_seed_and_its_options():
    def scheme(module, generator, std):
        for parameter in module.parameters():
            nn.init.normal_(parameter, 0, std, generator=generator)

    variant = Variant(hidden_size=3, initializer={"scheme": scheme, "std": 0.5})
    check_same(weights(variant.model(TASK, 1)), weights(variant.model(TASK, 1)))
    twice = replace(variant, initializer={"scheme": scheme, "std": 1.0}).model(TASK, 1)
    once = variant.model(TASK, 1)
    name = "rnn.weight_hh_l0"
    assert_close(2 * once.get_parameter(name), twice.get_parameter(name))


STEPS: list[Any] = ["orthogonal", {"scheme": "chrono", "max_steps": 20}]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_initializer_may_be_a_sequence_of_steps(cell):
    variant = Variant(cell=cell, hidden_size=6, initializer=STEPS)
    assert variant == Variant(cell=cell, hidden_size=6, initializer=tuple(STEPS))
    found, other = variant.model(TASK, 3).rnn, Variant(cell=cell, hidden_size=6).model(TASK, 0).rnn
    initialize(other, STEPS, generator=generator(3, "weights"))
    check_same(dict(found.named_parameters()), dict(other.named_parameters()))
    bias = gates(found)["bias_ih_l0"]["forget" if cell == "lstm" else "update"]
    assert ((bias.exp() >= 1) & (bias.exp() <= 19.001)).all()
    for W in gates(found)["weight_hh_l0"].values():
        assert_close(W @ W.T, torch.eye(6), atol=1e-6, rtol=0)


def test_a_forget_bias_comes_after_all_steps():
    rnn = Variant(hidden_size=6, initializer=STEPS, forget_bias=3).model(TASK, 0).rnn
    biases = gates(rnn)["bias_ih_l0"]
    assert (biases["forget"] == 3).all()
    assert (biases["input"] <= 0).all()


def test_a_sequence_that_changes_later_changes_no_variant():
    steps: list[Any] = ["orthogonal"]
    variant = Variant(initializer=steps)
    steps.append("nonsense")
    assert variant == Variant(initializer=("orthogonal",))


@pytest.mark.parametrize(
    ("initializer", "text"),
    [
        ("orthogonal", "orthogonal"),
        ({"scheme": "gaussian", "rho": 2}, "{'scheme': 'gaussian', 'rho': 2}"),
        (
            ("orthogonal", {"scheme": "chrono", "max_steps": 20}),
            "['orthogonal', {'scheme': 'chrono', 'max_steps': 20}]",
        ),
        (["torch", nn.init.ones_], "['torch', 'ones_']"),
        ({"scheme": nn.init.normal_, "std": 2}, "{'scheme': 'normal_', 'std': 2}"),
    ],
)
def test_a_description_names_steps_and_functions(initializer, text):
    found = Variant(initializer=initializer).describe()
    assert found["initializer"] == text
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("initializer", ["torch", "orthogonal"])
@pytest.mark.parametrize("forget_bias", [-1, 0.0, 2.5])
def test_the_forget_bias_is_set_after_the_scheme(initializer, forget_bias):
    variant = Variant(hidden_size=3, initializer=initializer, forget_bias=forget_bias)
    found, plain = (v.model(TASK, 0).rnn for v in (variant, replace(variant, forget_bias=None)))
    for name, views in gates(found).items():
        for gate, values in views.items():
            if name.startswith("bias") and gate == "forget":
                assert (values == (forget_bias if name == "bias_ih_l0" else 0)).all()
            else:
                assert torch.equal(values, gates(plain)[name][gate])


def test_the_architecture_is_what_one_stack_takes():
    lstm = Variant()
    same: list[dict[str, Any]] = [
        {"lr": 0.5},
        {"initial_state": "learned", "state_lr": 0.1},
        {"initializer": "orthogonal"},
        {"forget_bias": 1},
        {"optimizer": "sgd"},
        {"clipper": Clipper()},
    ]
    assert {replace(lstm, **settings).architecture for settings in same} == {lstm.architecture}
    others = [Variant(hidden_size=31), Variant(cell="gru")]
    others += [Variant(cell="rnn", nonlinearity=name) for name in ACTIVATIONS]
    assert len({v.architecture for v in [lstm, *others]}) == 1 + len(others)


def test_a_description_is_json():
    def mine(module, generator):
        pass

    variant = Variant(
        hidden_size=4.0,  # type: ignore[arg-type]
        forget_bias=1,
        initial_state=LearnedState(init_std=0.5),
        initializer=mine,
        optimizer=torch.optim.RMSprop,
        lr=np.float32(0.5),  # type: ignore[arg-type]
        clipper=Clipper("value", 2),
    )
    found = variant.describe()
    assert json.loads(json.dumps(found)) == found
    assert found.pop("initializer").endswith("mine")
    assert found == {
        "cell": "lstm",
        "hidden_size": 4,
        "nonlinearity": "tanh",
        "initial_state": "LearnedState(init_std=0.5)",
        "forget_bias": 1.0,
        "optimizer": "RMSprop",
        "lr": 0.5,
        "state_lr": None,
        "clipper": "Clipper(method='value', threshold=2.0)",
    }
    assert variant.model(TASK, 0).rnn.hidden_size == 4


def test_a_variant_is_a_value():
    variant = Variant(lr=0.5)
    assert variant == Variant(lr=0.5) != Variant(lr=0.4)
    with pytest.raises(FrozenInstanceError):
        variant.lr = 1.0  # type: ignore[misc]


def test_variants_are_made_from_what_they_differ_in_and_what_they_share():
    made = make_variants({"a": {}, "b": {"lr": 0.5, "cell": "lstm"}}, {"cell": "gru", "lr": 0.1})
    assert list(made.items()) == [("a", Variant("gru", lr=0.1)), ("b", Variant("lstm", lr=0.5))]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "LSTM"}, "cell must be one of 'lstm', 'gru', 'rnn', but 'LSTM' was given"),
        ({"hidden_size": 0}, "hidden_size must be a whole number of at least 1, but 0 was given"),
        ({"hidden_size": 2.5}, "hidden_size must be a whole number of at least 1, but 2.5 was"),
        ({"nonlinearity": "cos"}, "nonlinearity must be one of 'linear', .* but 'cos' was given"),
        ({"initial_state": "none"}, "initial_state must be one of 'zero', .* but 'none' was given"),
        ({"initial_state": None}, "initial_state must be one of 'zero', .* but None was given"),
        (
            {"initializer": "magic"},
            "initializer must be one of 'torch', .*'ortho.* 'magic' was given",
        ),
        (
            {"initializer": []},
            r"initializer must be a scheme, or a sequence of one or more, but \[\] was given",
        ),
        (
            {"initializer": ["torch", "magic"]},
            "initializer must be one of 'torch', .*, but 'magic' was given",
        ),
        (
            {"initializer": ["torch", {"max_steps": 5}]},
            'initializer must be a scheme, or a dict with a "scheme", but',
        ),
        (
            {"initializer": ["forget_bias", "orthogonal"]},
            "initializer must have its bias schemes last, but 'orthogonal' after 'forget_bias'",
        ),
        (
            {"initializer": {"rho": 1}},
            'initializer must be a scheme, or a dict with a "scheme", but',
        ),
        ({"initializer": {"scheme": "magic"}}, "initializer must be one of 'torch', .*'magic' was"),
        ({"forget_bias": float("nan")}, "forget_bias must be a finite number, but nan was given"),
        ({"forget_bias": 1, "cell": "gru"}, "forget_bias must be None for a cell='gru', but 1"),
        ({"forget_bias": 0.0, "cell": "rnn"}, "forget_bias must be None for a cell='rnn', but 0"),
        ({"optimizer": "adamw"}, "optimizer must be one of 'sgd', 'adam', but 'adamw' was given"),
        ({"lr": -1}, "lr must be a number of at least 0, but -1 was given"),
        (
            {"state_lr": -1, "initial_state": "learned"},
            "state_lr must be a number of at least 0, but -1 was given",
        ),
        (
            {"state_lr": 0.1, "initial_state": "noisy"},
            "state_lr must be given to variants with a learned state alone, but 0.1 was given",
        ),
        ({"lr": "fast"}, "lr must be a number of at least 0, but 'fast' was given"),
        ({"clipper": 1.0}, "clipper must be a Clipper or None, but 1.0 was given"),
        ({"clipper": "norm"}, "clipper must be a Clipper or None, but 'norm' was given"),
    ],
)
def test_a_bad_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Variant(**settings)
    with pytest.raises(ValueError, match=f"^{message}"):
        make_variants({"a": {}}, settings)


def test_an_option_that_the_scheme_does_not_have_is_named():
    variant = Variant(initializer={"scheme": "gaussian", "gain": 2})
    with pytest.raises(
        ValueError, match=r"^options must be those of the scheme 'gaussian' \(rho\)"
    ):
        variant.model(TASK, 0)


@pytest.mark.parametrize("seed", [-1, 0.5])
def test_a_bad_seed_is_named(seed):
    with pytest.raises(ValueError, match=r"^seed must be a whole number of at least 0"):
        Variant().model(TASK, seed)


@pytest.mark.parametrize(
    ("variants", "common", "message"),
    [
        ({}, {}, "variants must be a dict of one or more: .*, but {} was given"),
        (None, {}, "variants must be a dict of one or more: .*, but None was given"),
        ([{"lr": 1}], {}, "variants must be a dict of one or more: .* was given"),
        ({"a": 0.1}, {}, r"variants\['a'\] must be a dict of settings, but 0.1 was given"),
        ({"a": {"rate": 1}}, {}, "a setting of 'a' must be one of 'cell', 'hidden_size', .*'rate'"),
        ({"a": {}}, {"rate": 1}, "a setting of 'a' must be one of 'cell', .* but 'rate' was given"),
    ],
)
def test_variants_that_are_none_are_named(variants: Any, common, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make_variants(variants, common)


@each_cell
def test_a_model_can_be_trained_by_an_ordinary_loop(cell):
    model = Variant(cell=cell, hidden_size=8, initial_state="learned").model(TASK, 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    x, target = TASK.held_out(50)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimizer.step()
    assert TASK.score(model(x), target) == 1
    assert model.get_parameter("rnn.h0").count_nonzero() > 0


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_gated_cell_has_no_other_nonlinearity(cell):
    with pytest.raises(ValueError, match=rf"^nonlinearity must be 'tanh' for a cell='{cell}', but"):
        Variant(cell=cell, nonlinearity="relu")


def test_variants_are_named_by_strings():
    named: dict[Any, dict[str, Any]] = {3: {}}
    with pytest.raises(ValueError, match=r"^variants must be named by strings, but 3 was given"):
        make_variants(named, {})


def test_models_leave_the_random_numbers_of_the_reader_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Variant(initial_state=LearnedState(init_std=1.0)).model(Names(), 3)
    assert torch.equal(torch.rand(3), expected)

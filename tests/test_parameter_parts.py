import pytest
import torch
from torch import nn

from teachkit import drop_ins
from teachkit.models import SequenceModel, make_elman
from teachkit.parameter_parts import output_layer, parts_of, tensors_of
from tests.clip_cases import PARTS, Net


def by_name(model, output=None):
    """The part of each parameter, by name."""
    part = {id(p): part for part, p in parts_of(model, output)}
    return {name: part[id(p)] for name, p in model.named_parameters()}


def test_every_parameter_once_in_the_order_of_the_model():
    model = Net()
    found = parts_of(model)
    assert [id(p) for _, p in found] == [id(p) for p in model.parameters()]
    layers = {layer: part for part, layer in PARTS.items()}
    assert by_name(model) == {n: layers[n.partition(".")[0]] for n, _ in model.named_parameters()}


@pytest.mark.parametrize(
    "layer",
    [
        nn.RNN(2, 3),
        nn.LSTM(2, 3, proj_size=2),
        nn.GRU(2, 3, num_layers=2, bidirectional=True),
        nn.RNNCell(2, 3),
        nn.LSTMCell(2, 3),
        nn.GRUCell(2, 3),
        drop_ins.LSTM(2, 3, initial_state="learned"),
        make_elman(3, 1.0, input_size=2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_all_recurrent_layers_and_cells_with_learned_states(layer):
    model = nn.ModuleDict({"rnn": layer, "out": nn.Linear(3, 1)})
    parts = by_name(model)
    assert {part for name, part in parts.items() if name.startswith("rnn")} == {"recurrent"}
    assert {part for name, part in parts.items() if name.startswith("out")} == {"output"}
    if isinstance(layer, drop_ins.LSTM):
        assert parts["rnn.h0"] == parts["rnn.c0"] == "recurrent"


def test_the_models_of_the_tutorial():
    parts = by_name(SequenceModel(nn.GRU(2, 3), 4))
    assert set(parts.values()) == {"recurrent", "output"}
    assert {name for name, part in parts.items() if part == "output"} == {
        "head.weight",
        "head.bias",
    }


def test_the_last_linear_is_the_output_unless_another_is_named():
    model = Net()
    assert output_layer(model) is model.head
    assert output_layer(model, "before") is model.before
    parts = by_name(model, "before")
    assert parts["before.weight"] == "output"
    assert parts["head.weight"] == "other"
    assert output_layer(nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 2))), "1.0")


def test_the_output_may_be_a_group_of_layers_or_a_recurrent_one():
    model = nn.ModuleDict({"rnn": nn.RNN(2, 3), "end": nn.Sequential(nn.Linear(3, 3), nn.PReLU())})
    assert set(by_name(model, "end").values()) == {"recurrent", "output"}
    assert set(by_name(model, "rnn").values()) == {"output", "other"}


def test_a_linear_inside_a_recurrent_layer_is_no_output():
    class Attentive(nn.GRU):
        def __init__(self):
            super().__init__(2, 3)
            self.score = nn.Linear(3, 1)

    alone = nn.ModuleDict({"rnn": Attentive()})
    assert output_layer(alone) is None
    assert set(by_name(alone).values()) == {"recurrent"}
    both = nn.ModuleDict({"out": nn.Linear(3, 1), "rnn": Attentive()})
    assert output_layer(both) is both["out"]


def test_no_output_layer():
    model = nn.ModuleDict({"embed": nn.Embedding(4, 2), "rnn": nn.LSTM(2, 3)})
    assert output_layer(model) is None
    assert set(by_name(model).values()) == {"other", "recurrent"}
    assert parts_of(nn.ReLU()) == []


def test_tied_weights_are_one_parameter_of_the_output():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(5, 3)
            self.rnn = nn.RNN(3, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

    model = Tied()
    assert [part for part, _ in parts_of(model)].count("output") == 1
    assert by_name(model)["embed.weight"] == "output"


def test_weights_that_a_recurrent_layer_shares():
    model = nn.ModuleDict(
        {"free": nn.Linear(3, 3), "rnn": nn.RNNCell(3, 3), "out": nn.Linear(3, 1)}
    )
    model["free"].weight = model["rnn"].weight_hh
    parts = by_name(model)
    assert parts["free.weight"] == "recurrent"
    assert parts["free.bias"] == "other"


def test_frozen_parameters_have_a_part_too():
    model = Net()
    model.head.requires_grad_(False)
    assert by_name(model)["head.weight"] == "output"


def test_an_unknown_name_is_told_with_those_there_are():
    message = "^output must be the name of a layer of the model: 'before', 'rnn', 'head', but 'top'"
    for find in (output_layer, parts_of):
        with pytest.raises(ValueError, match=message):
            find(Net(), "top")
    with pytest.raises(ValueError, match="of a layer of the model: none, but 'top' was given"):
        output_layer(nn.Linear(1, 1), "top")


def compiled(model):
    return torch.compile(model, backend="eager")  # the others take seconds to import


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, compiled, lambda m: nn.DataParallel(compiled(m))],
    ids=["DataParallel", "compile", "both"],
)
def test_a_name_is_found_within_a_wrapper(wrap):
    model = Net()
    wrapped = wrap(model)
    assert output_layer(wrapped, "before") is model.before
    found = list(by_name(wrapped, "before").items())
    for (name, part), expected in zip(found, by_name(model, "before").items(), strict=True):
        assert name.endswith(f".{expected[0]}")
        assert part == expected[1]
    with pytest.raises(ValueError, match="'top' was given"):
        output_layer(wrapped, "top")


def test_a_name_that_stands_for_two_layers_is_not_found():
    inner = nn.ModuleDict({"head": nn.Linear(1, 1), "module": nn.ModuleDict()})
    inner["module"]["head"] = nn.Linear(1, 2)  # type: ignore[operator]
    assert output_layer(inner, "head") is inner["head"]
    with pytest.raises(ValueError, match=r"^output must be the name of a layer"):
        output_layer(nn.DataParallel(inner), "head")


@pytest.mark.parametrize("given", [None, 3, [1.0], [("weight", torch.zeros(1))]])
def test_what_is_no_parameter(given):
    with pytest.raises(ValueError, match=r"^parameters must be a model, or tensors such as its p"):
        tensors_of(given)
    assert tensors_of(torch.zeros(1)) == [torch.zeros(1)]


def test_a_single_layer_is_a_model():
    assert [part for part, _ in parts_of(nn.Linear(1, 1))] == ["output"] * 2
    assert {part for part, _ in parts_of(nn.GRU(1, 1))} == {"recurrent"}
    assert [part for part, _ in parts_of(nn.ParameterList([torch.zeros(1)]))] == ["other"]

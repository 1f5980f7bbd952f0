"""The recipes run as they are printed, and do what they promise."""

import re
from typing import Any

import pytest
import torch

import teachkit as tk
from tools.notebooks import NOTEBOOKS


def recipes(chapter):
    """The code blocks of a chapter's recipe, in order."""
    (path,) = (NOTEBOOKS / "source").glob(f"{chapter}_*.py")
    text = re.sub(r"(?m)^# ?", "", path.read_text(encoding="utf-8"))
    recipe = text.partition("## Recipe")[2].partition("## What you saw")[0]
    return re.findall(r"```python\n(.*?)```", recipe, re.DOTALL)


def test_the_radius_and_clipping_recipe():
    code = recipes("04")[0]
    build, _, step = code.partition("loss.backward()")
    names: dict[str, Any] = {"torch": torch, "input_size": 3, "hidden_size": 20}
    exec(build, names)
    rnn = names["rnn"]
    assert tk.spectral_radius(rnn.weight_hh_l0.detach()).item() == pytest.approx(1.2, abs=1e-3)
    names["model"] = rnn
    names["optimizer"] = torch.optim.SGD(rnn.parameters(), lr=0.1)
    names["loss"] = 1e3 * rnn(torch.randn(5, 2, 3))[0].sum()
    before = torch.nn.utils.parameters_to_vector(rnn.parameters()).detach().clone()
    exec("loss.backward()" + step, names)
    after = torch.nn.utils.parameters_to_vector(rnn.parameters()).detach()
    assert names["norm"] > 1
    assert (after - before).norm().item() == pytest.approx(0.1, rel=1e-3)


def test_the_forget_bias_recipe_is_the_helper_s():
    lstm = torch.nn.LSTM(2, 5)
    twin = torch.nn.LSTM(2, 5)
    twin.load_state_dict(lstm.state_dict())
    exec(recipes("04")[1], {"torch": torch, "lstm": lstm})
    tk.set_forget_bias(twin, 2.0)
    for mine, theirs in zip(lstm.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, theirs)


SIZES = {"input_size": 3, "hidden_size": 8}


def made(chapter, number, **names):
    """The names that a recipe leaves behind."""
    left: dict[str, Any] = {"torch": torch, **SIZES, **names}
    exec(recipes(chapter)[number], left)
    return left


def test_an_lstm_that_forgets_by_2_and_has_no_other_bias():
    lstm = made("01", 0)["lstm"]
    biases = {name: gate for name, gate in tk.gates(lstm).items() if name.startswith("bias")}
    for gate in ("input", "forget", "cell", "output"):
        effective = sum(views[gate] for views in biases.values())
        assert torch.equal(effective, torch.full((8,), 2.0 if gate == "forget" else 0.0))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_same_in_keras():
    tk.frameworks.load_keras()  # on PyTorch, wherever this test runs
    layer = made("01", 1)["layer"]
    layer.build((None, 5, 3))
    _, _, bias = layer.get_weights()
    assert bias.tolist() == [0.0] * 8 + [2.0] * 8 + [0.0] * 16
    assert set(tk.frameworks.read(layer).bias["forget"]) == {2.0}


def test_a_gru_that_keeps_its_state():
    gru: Any = made("01", 2)["gru"]
    plain: Any = torch.nn.GRU(3, 8)
    plain.load_state_dict(gru.state_dict())
    with torch.no_grad():
        plain.bias_ih_l0.zero_()
    x, h0 = torch.zeros(20, 64, 3), torch.randn(1, 64, 8)
    kept, lost = gru(x, h0)[1].norm(), plain(x, h0)[1].norm()
    assert kept > 2 * lost
    update = sum(tk.gates(gru)[name]["update"] for name in ("bias_ih_l0", "bias_hh_l0"))
    assert set(update.tolist()) == {2.0}


def test_orthogonal_gates_with_chrono_are_the_helpers():
    lstm = made("02", 0, max_steps=50)["lstm"]
    bound = (6 / (3 + 8)) ** 0.5
    for gate, W in tk.gates(lstm)["weight_hh_l0"].items():
        torch.testing.assert_close(W @ W.T, torch.eye(8), atol=1e-5, rtol=0)
        W_ih = tk.gates(lstm)["weight_ih_l0"][gate]
        assert 0.8 * bound < W_ih.abs().max() <= bound
    bias = tk.gates(lstm)["bias_ih_l0"]
    assert torch.equal(bias["input"], -bias["forget"])
    u = bias["forget"].exp()
    assert ((u >= 1 - 1e-5) & (u <= 49 + 1e-4)).all()
    assert u.max() - u.min() > 5
    for gate in ("cell", "output"):
        assert not bias[gate].any()
    assert not lstm.bias_hh_l0.any()
    one_line = tk.initialize(
        torch.nn.LSTM(3, 8), ["orthogonal", {"scheme": "chrono", "max_steps": 50}]
    )
    for name, theirs in tk.gates(one_line).items():
        for gate, view in theirs.items():
            mine = tk.gates(lstm)[name][gate]
            assert bool(view.any()) == bool(mine.any()), (name, gate)


def test_a_relu_network_that_starts_as_the_identity():
    rnn = made("02", 1)["rnn"]
    h0 = torch.rand(1, 4, 8)
    kept, _ = rnn(torch.zeros(30, 4, 3), h0)
    assert torch.equal(kept[-1], h0[0])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_orthogonal_gates_in_keras():
    tk.frameworks.load_keras()
    layer = made("02", 2)["layer"]
    layer.build((None, 5, 3))
    gates = tk.frameworks.read(layer).weight_hh
    matrices = [torch.as_tensor(W) for W in gates.values()]
    for W in matrices:
        torch.testing.assert_close(W @ W.T, torch.eye(8, dtype=W.dtype), atol=1e-5, rtol=0)
    assert not torch.allclose(matrices[0], matrices[1])


# Chapter 03


def test_a_learned_start_by_hand_is_the_drop_in_s():
    model = made("03", 0)["LearnedStart"](3, 8, num_layers=2)
    twin = tk.LSTM(3, 8, num_layers=2, batch_first=True, initial_state="learned")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    twin.load_state_dict({k.removeprefix("lstm."): v for k, v in model.state_dict().items()})
    for x in (torch.randn(4, 6, 3), torch.randn(5, 5, 3)):
        output, theirs = model(x)[0], twin(x)[0]
        assert torch.equal(output, theirs)
        output.square().sum().backward()
        theirs.square().sum().backward()
    assert torch.equal(model.h0.grad, twin.h0.grad)
    assert torch.equal(model.c0.grad, twin.c0.grad)
    state = torch.randn(2, 4, 8), torch.randn(2, 4, 8)
    x = torch.randn(4, 6, 3)
    assert torch.equal(model(x, state)[0], model.lstm(x, state)[0]), "a state of one's own wins"


def test_its_optimiser_spares_the_states_weight_decay():
    model = made("03", 0)["LearnedStart"](3, 8)
    groups = made("03", 1, model=model)["optimizer"].param_groups
    decay = {p: group["weight_decay"] for group in groups for p in group["params"]}
    assert set(decay) == set(model.parameters())
    assert sum(len(group["params"]) for group in groups) == len(decay)
    assert {name for name, p in model.named_parameters() if not decay[p]} == {"h0", "c0"}
    assert {group["lr"] for group in groups} == {1e-3}


def test_a_noisy_start_is_noise_in_training_only():
    lstm = torch.nn.LSTM(3, 8, num_layers=2, batch_first=True)
    x = torch.randn(64, 5, 3)
    start = made("03", 2, lstm=lstm, x=x)["noisy_start"]
    h0, c0 = start(lstm, x, std=0.5)
    assert h0.shape == c0.shape == (2, 64, 8)
    assert not torch.equal(h0, c0)
    for state in (h0, c0):
        assert state.std().item() == pytest.approx(0.5, rel=0.1)
        assert state.is_contiguous()
    assert made("03", 2, lstm=lstm.eval(), x=x)["output"].equal(lstm(x)[0])


def test_a_carried_state_by_hand_reads_documents_as_one_pass_would():
    """With a learning rate of 0 the windows together are one pass over each document."""
    lstm, head = torch.nn.LSTM(3, 8, batch_first=True), torch.nn.Linear(8, 1)
    x = torch.randn(2, 12, 3)
    seen = []
    begins = [torch.tensor([True, True]), torch.tensor([False, True]), torch.tensor([False, False])]
    windows = [
        (part, torch.zeros(2, 4, 1), b) for part, b in zip(x.split(4, 1), begins, strict=True)
    ]

    def loss_function(output, target):
        seen.append(output)
        return (output - target).square().mean()

    optimizer = torch.optim.SGD([*lstm.parameters(), *head.parameters()], lr=0.0)
    made(
        "03", 3, lstm=lstm, head=head, optimizer=optimizer,
        loss_function=loss_function, windows=windows,
    )  # fmt: skip
    read = torch.cat(seen, 1)
    torch.testing.assert_close(read[:1], head(lstm(x[:1])[0]))
    torch.testing.assert_close(read[1:, :4], head(lstm(x[1:, :4])[0]))
    torch.testing.assert_close(read[1:, 4:], head(lstm(x[1:, 4:])[0]))
    assert all(p.grad is not None for p in lstm.parameters())


def test_a_warm_up_reads_on_and_an_inferred_state_is_learned():
    lstm = torch.nn.LSTM(3, 8, batch_first=True)
    past, x = torch.randn(4, 5, 3), torch.randn(4, 6, 3)
    found = made("03", 4, lstm=lstm, past=past, x=x, tk=tk)
    zero = lstm(x)[0]
    assert torch.equal(found["output"], zero)  # where training begins
    code = recipes("03")[4].partition("infer =")[0]
    names: dict[str, Any] = {"torch": torch, "lstm": lstm, "past": past, "x": x}
    exec(code, names)
    torch.testing.assert_close(names["output"], lstm(x, lstm(past)[1])[0])


def test_state_tuning_moves_the_states_alone():
    model = made("03", 0)["LearnedStart"](3, 8)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = made("03", 5, model=model)["optimizer"]
    model(torch.randn(4, 6, 3))[0].square().mean().backward()
    optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"h0", "c0"}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_learned_start_in_keras(tmp_path):
    keras = tk.frameworks.load_keras()
    model = made("03", 6)["model"]
    start, layer = model.layers[1:]
    twin = tk.LSTM(3, 8, batch_first=True, initial_state="learned")
    with torch.no_grad():
        twin.h0.normal_()
        twin.c0.normal_()
    layer.set_weights(tk.to_keras(twin)[0])
    start.set_weights([twin.h0.detach()[0].numpy(), twin.c0.detach()[0].numpy()])
    x = torch.randn(5, 6, 3)
    found = keras.ops.convert_to_numpy(model(x))
    torch.testing.assert_close(torch.as_tensor(found), twin(x)[0].detach(), atol=1e-5, rtol=1e-4)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = start.get_weights()
    model.train_on_batch(x.numpy(), torch.randn(5, 6, 8).numpy())
    assert all((old != new).any() for old, new in zip(before, start.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")(x)
    assert (keras.ops.convert_to_numpy(again) == keras.ops.convert_to_numpy(model(x))).all()

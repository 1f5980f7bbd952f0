"""The recipes run as they are printed, and do what they promise."""

import re
from typing import Any

import pytest
import torch

import teachkit as tk
from tests.reference import total_norm
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


# Chapter 05


def net(seed=0):
    rnn = torch.nn.RNN(3, 8)
    model = tk.SequenceModel(rnn, 2, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7, generator=torch.Generator().manual_seed(seed))
    return model


def flat(parameters):
    return torch.nn.utils.parameters_to_vector(parameters).detach().clone()


class Batches:
    """Batches of which the third holds a NaN, and the parameters before and after each."""

    def __init__(self, model):
        draw = torch.Generator().manual_seed(1)
        self.model, self.seen = model, []
        self.given = [
            (torch.randn(6, 4, 3, generator=draw), 9 * torch.randn(4, 2, generator=draw))
            for _ in range(5)
        ]
        self.given[2][0][3, 1, 0] = torch.nan

    def __iter__(self):
        for batch in self.given:
            self.seen.append(flat(self.model.parameters()))
            yield batch
        self.seen.append(flat(self.model.parameters()))

    @property
    def steps(self):
        """How long each step was."""
        return [(b - a).norm().item() for a, b in zip(self.seen, self.seen[1:], strict=False)]


def trained(number, **names):
    """What a recipe for a training loop leaves behind, and its batches."""
    model = net()
    batches = Batches(model)
    given = {
        "model": model,
        "batches": batches,
        "criterion": torch.nn.functional.mse_loss,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "max_norm": 2.0,
    }
    return made("05", number, **given, **names), batches


def test_a_clipped_loop_takes_no_step_on_a_bad_batch_and_none_that_is_too_long():
    left, batches = trained(0)
    # no step on the NaN, and else lr * max_norm where the norm is above it
    norms = left["norms"]
    assert len(norms) == 4
    assert max(norms) > 2, "nothing to clip"
    expected = [0.1 * min(norm, 2.0) for norm in norms]
    assert batches.steps == pytest.approx([*expected[:2], 0.0, *expected[2:]], rel=1e-4)
    assert left["average"] == pytest.approx(sum(norms) / 4)
    assert flat(left["model"].parameters()).isfinite().all()


def test_the_package_s_loop_ends_where_the_plain_one_does():
    plain, _ = trained(0)
    left, batches = trained(4, tk=tk)
    assert torch.equal(flat(left["model"].parameters()), flat(plain["model"].parameters()))
    assert batches.steps[2] == 0.0
    table = left["table"]
    assert table["skipped"].tolist() == [False, False, True, False, False]
    assert table["norm_before"].drop(2).tolist() == pytest.approx(plain["norms"])
    assert (table["norm_after"].drop(2) <= 2.0 + 1e-5).all()
    for column in ("cosine", "recurrent_before", "recurrent_after", "output_before"):
        assert column in table


def test_recurrent_and_output_layer_are_clipped_by_themselves():
    model, twin = net(), net()
    x, target = torch.randn(6, 4, 3), 9 * torch.randn(4, 2)
    for one in (model, twin):
        torch.nn.functional.mse_loss(one(x), target).backward()
    before = [[p.grad.clone() for p in part.parameters()] for part in (model.rnn, model.head)]
    norms = [total_norm(grads).item() for grads in before]
    limit = min(norms) / 2
    made("05", 1, model=model, max_norm=limit)
    for part, grads, norm in zip((model.rnn, model.head), before, norms, strict=True):
        for parameter, grad in zip(part.parameters(), grads, strict=True):
            torch.testing.assert_close(parameter.grad, grad * limit / norm)
    for method in ("recurrent", "output"):
        tk.Clipper(method, limit)(twin)
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize("limit", [1e-3, 1e9])
def test_a_hook_in_a_loop_of_cells_does_what_error_clipping_does_in_a_layer(limit):
    cell, layer = torch.nn.RNNCell(3, 8), torch.nn.RNN(3, 8)
    with torch.no_grad():
        for mine, theirs in zip(cell.parameters(), layer.parameters(), strict=True):
            theirs.copy_(mine)
    x, h0 = torch.randn(7, 4, 3), torch.randn(4, 8)
    h = made("05", 2, cell=cell, x=x, h=h0, limit=limit)["h"]
    h.square().mean().backward()
    loss = layer(x, h0[None])[0][-1].square().mean()
    plain = torch.autograd.grad(loss, list(layer.parameters()))
    clipper = tk.Clipper("error", limit)
    errors = clipper.attach(layer)
    layer(x, h0[None])[0][-1].square().mean().backward()
    clamped = errors.fraction() > 0
    errors.remove()
    for mine, theirs, true in zip(cell.parameters(), layer.parameters(), plain, strict=True):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, theirs.grad)
        assert torch.allclose(mine.grad, true) == (not clamped)
    assert clamped == (limit < 1)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_keras_clips_by_the_global_norm_as_pytorch_does():
    keras = tk.frameworks.load_keras()
    optimizer = made("05", 3, lr=0.1, max_norm=0.5)["optimizer"]
    model = keras.Sequential([keras.layers.SimpleRNN(8), keras.layers.Dense(2)])
    model.compile(optimizer, "mse")
    x, target = torch.randn(4, 6, 3), 9 * torch.randn(4, 2)
    model.build((4, 6, 3))
    rnn: Any = torch.nn.RNN(3, 8, batch_first=True)
    head = torch.nn.Linear(8, 2)
    own: list[torch.Tensor] = [
        rnn.weight_ih_l0,
        rnn.weight_hh_l0,
        rnn.bias_ih_l0,
        head.weight,
        head.bias,
    ]
    with torch.no_grad():
        rnn.bias_hh_l0.zero_()
        for parameter, weight in zip(own, model.get_weights(), strict=True):
            parameter.copy_(torch.as_tensor(weight).T if weight.ndim == 2 else torch.tensor(weight))
    torch.nn.functional.mse_loss(head(rnn(x)[0][:, -1]), target).backward()
    assert torch.nn.utils.clip_grad_norm_(own, 0.5).item() > 0.5
    torch.optim.SGD(own, lr=0.1).step()
    model.train_on_batch(x.numpy(), target.numpy())
    for parameter, weight in zip(own, model.get_weights(), strict=True):
        mine = torch.as_tensor(weight)
        mine = mine.T if weight.ndim == 2 else mine
        torch.testing.assert_close(mine, parameter.detach(), atol=1e-5, rtol=1e-4)


# Chapter 06


def page(**changes):
    """What the whole page leaves behind, on windows of the sunspots."""
    task = tk.SeriesForecast(seq_len=24, horizon=6)
    names = {
        "horizon": 6,
        "lr": 0.01,
        "max_norm": 0.5,
        "steps": 251,
        "batches": tk.batches(task, 32, seed=0),
        "validation": task.held_out(200),
        **SIZES,
        "input_size": 1,
        **changes,
    }
    torch.manual_seed(0)
    return made("06", 0, **names), task


def validation_error(left, task):
    x, target = task.held_out(200)
    with torch.no_grad():
        return (left["head"](left["lstm"](x)[0][-1]) - target).square().mean().item()


def test_the_page_begins_with_orthogonal_gates_and_a_forget_bias_of_1():
    begin, _, rest = recipes("06")[0].partition("best, kept")
    assert rest
    names: dict[str, Any] = {"torch": torch, **SIZES, "horizon": 6, "lr": 0.02}
    exec(begin, names)
    lstm = names["lstm"]
    for W in tk.gates(lstm)["weight_hh_l0"].values():
        torch.testing.assert_close(W @ W.T, torch.eye(8), atol=1e-5, rtol=0)
    for gate, bias in tk.gates(lstm)["bias_ih_l0"].items():
        assert set(bias.tolist()) == {1.0 if gate == "forget" else 0.0}
    assert not lstm.bias_hh_l0.any()
    (group,) = names["optimizer"].param_groups
    assert group["lr"] == 0.02
    assert {*group["params"]} == {*lstm.parameters(), *names["head"].parameters()}


def test_the_page_learns_and_clips_everything_by_one_norm():
    left, task = page()
    assert validation_error(left, task) == pytest.approx(left["best"], rel=1e-5)
    assert left["best"] < 0.6 * task.chance
    assert left["norm"] > 0
    small, _ = page(steps=2, max_norm=1e-3)
    assert small["norm"] > 1e-3
    parameters = [*small["lstm"].parameters(), *small["head"].parameters()]
    after = total_norm([p.grad for p in parameters])
    assert after.item() == pytest.approx(1e-3, rel=1e-2)


def test_the_page_ends_with_the_weights_of_the_best_validation_error():
    """The second half of the training unlearns what the first has taught."""
    task = tk.SeriesForecast(seq_len=24, horizon=6)

    def turning():
        for step, (x, target) in enumerate(tk.batches(task, 32, seed=0)):
            yield x, target if step <= 100 else target + 3.0

    left, _ = page(batches=turning())
    assert left["error"] > 2 * left["best"], "the last weights are the best ones"
    until, _ = page(steps=101)
    assert left["best"] == until["best"]
    assert validation_error(left, task) == pytest.approx(left["best"], rel=1e-5)
    for name in ("lstm", "head"):
        assert torch.equal(flat(left[name].parameters()), flat(until[name].parameters()))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_page_in_keras_stops_and_returns_to_its_best_epoch():
    keras = tk.frameworks.load_keras()
    keras.utils.set_random_seed(0)
    x = torch.randn(64, 6, 1).numpy()
    # what is learned passes by what validation asks for
    y, halfway = torch.full((64, 2), 2.0).numpy(), torch.full((64, 2), 1.0).numpy()
    left = made(
        "06", 1, horizon=2, lr=0.05, max_norm=0.7, x=x, y=y, validation=(x, halfway), epochs=40
    )
    model = left["model"]
    assert model.optimizer.global_clipnorm == 0.7
    assert model.optimizer.clipnorm is None
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    errors = model.history.history["val_loss"]
    best = errors.index(min(errors))
    assert best > 0
    assert len(errors) == best + 1 + 5 < 40
    assert model.evaluate(x, halfway, verbose=0) == pytest.approx(min(errors), rel=1e-4)
    assert model.evaluate(x, halfway, verbose=0) < 0.5 * errors[-1]

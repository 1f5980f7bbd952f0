"""What frameworks draws and reads, and what it leaves as it was."""

import os
import random
import subprocess
import sys
import threading
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from teachkit import drop_ins, frameworks
from teachkit.framework_rules import PARTS
from teachkit.frameworks import draw, load_keras, read, summary
from teachkit.gates import gate_order

ROOT = Path(__file__).resolve().parent.parent
CASES = [
    (framework, cell)
    for framework in frameworks.FRAMEWORKS
    for cell in frameworks.CELLS
    if (framework, cell) != ("equinox", "rnn")
]


def same(one, other):
    return all(
        np.array_equal(getattr(one, part)[gate], getattr(other, part)[gate])
        for part in PARTS
        for gate in gate_order(one.cell)
    )


def global_states():
    legacy = np.random.get_state()  # noqa: NPY002 (what Keras and readers may draw from)
    return torch.get_rng_state().tolist(), random.getstate(), [str(part) for part in legacy]


# --- drawing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("framework", "cell"), CASES)
def test_draws_have_the_shapes_of_the_layer(framework, cell):
    drawn = draw(framework, cell, 3, 5, seed=2)
    assert (drawn.framework, drawn.cell) == (framework, cell)
    assert (drawn.input_size, drawn.hidden_size) == (3, 5)
    shapes = {"weight_ih": (5, 3), "weight_hh": (5, 5), "bias": (5,)}
    for part, shape in shapes.items():
        arrays = getattr(drawn, part)
        assert tuple(arrays) == gate_order(cell)
        assert {(array.shape, array.dtype.name) for array in arrays.values()} == {
            (shape, "float64")
        }


@pytest.mark.parametrize(("framework", "cell"), CASES)
def test_the_seed_decides_and_nobody_elses_random_numbers_change(framework, cell):
    before = global_states()
    first = draw(framework, cell, 3, 4, seed=5)
    assert global_states() == before
    torch.manual_seed(99)
    random.seed(99)
    assert same(first, draw(framework, cell, 3, 4, seed=5))
    assert not same(first, draw(framework, cell, 3, 4, seed=6))


def test_torch_draws_what_torch_draws():
    drawn = draw("torch", "gru", 3, 4, seed=7)
    torch.manual_seed(7)
    assert same(drawn, read(nn.GRU(3, 4)))
    assert drawn.drawn_by == f"torch {torch.__version__.partition('+')[0]}"


def test_keras_draws_what_keras_draws():
    keras = load_keras()
    drawn = draw("keras", "lstm", 3, 4, seed=7)
    keras.utils.set_random_seed(7)
    layer = keras.layers.LSTM(4)
    layer.build((None, None, 3))
    assert same(drawn, read(layer))
    assert drawn.drawn_by == f"keras {keras.__version__} on {keras.config.backend()}"


@pytest.mark.parametrize("framework", ["tf1", "flax", "haiku", "equinox"])
def test_the_others_are_drawn_by_rule(framework):
    assert draw(framework, "gru", 2, 2).drawn_by == "rule"


def test_two_frameworks_with_one_law_do_not_share_numbers():
    torch_own, equinox = draw("torch"), draw("equinox")
    ours, theirs = torch_own.weight_hh["input"].ravel(), equinox.weight_hh["input"].ravel()
    assert abs(np.corrcoef(ours, theirs)[0, 1]) < 5 / len(ours) ** 0.5


def test_settings_of_a_reader_do_not_matter():
    plain = draw("haiku", "lstm", 3, 4), draw("torch", "lstm", 3, 4)
    torch.set_default_dtype(torch.float64)
    try:
        assert same(plain[0], draw("haiku", "lstm", 3, 4))
        assert same(plain[1], draw("torch", "lstm", 3, 4))
    finally:
        torch.set_default_dtype(torch.float32)


def test_threads_draw_one_after_the_other():
    expected = {seed: draw("keras", "gru", 3, 4, seed) for seed in range(4)}
    before, wrong = global_states(), []

    def work(seed):
        for _ in range(3):
            if not same(draw("keras", "gru", 3, 4, seed), expected[seed]):
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    assert global_states() == before


@pytest.mark.parametrize("cell", frameworks.CELLS)
def test_without_keras_its_rule_draws(cell, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    drawn = draw("keras", cell, 6, 8, seed=1)
    assert (drawn.framework, drawn.drawn_by) == ("keras", "rule")
    stacked = np.concatenate(list(drawn.weight_hh.values()))
    np.testing.assert_allclose(stacked.T @ stacked, np.eye(8), atol=1e-6)
    assert drawn.forget_bias == (1.0 if cell == "lstm" else None)


# --- Keras ----------------------------------------------------------------------------------------


def test_a_missing_keras_gets_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match="Keras could not be imported") as caught:
        load_keras()
    assert 'pip install "keras>=3.4"' in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_old_keras_gets_one_sentence(monkeypatch):
    old = types.ModuleType("keras")
    old.__version__ = "2.15.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keras", old)
    with pytest.raises(ImportError, match=r"Keras must be 3\.4 or later, but it is 2\.15\.0: inst"):
        load_keras()
    assert draw("keras", "rnn", 2, 3).drawn_by == "rule"


def test_a_keras_that_is_imported_stays(monkeypatch):
    keras = load_keras()
    monkeypatch.setenv("KERAS_BACKEND", "nonsense")
    assert load_keras() is keras
    assert os.environ["KERAS_BACKEND"] == "nonsense"


def in_a_process(code, **env):
    base = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**base, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


FIRST_DRAW = """
import os, sys
from teachkit import frameworks
assert "keras" not in sys.modules
frameworks.read(__import__("torch").nn.LSTM(2, 3))
frameworks.draw("tf1")
assert "keras" not in sys.modules
before = os.environ.get("KERAS_BACKEND")
drawn = frameworks.draw("keras", "gru", 4, 8, seed=3)
assert os.environ.get("KERAS_BACKEND") == before
print(drawn.drawn_by.split()[-1], "tensorflow" in sys.modules, drawn.weight_hh["new"].shape[0])
"""


def test_keras_loads_on_use_and_on_torch():
    assert in_a_process(FIRST_DRAW) == ["torch", "False", "8"]


def test_a_backend_that_a_reader_chose_draws():
    jax = {"KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT / ".oracles"), "JAX_PLATFORMS": "cpu"}
    assert in_a_process(FIRST_DRAW, **jax) == ["jax", "False", "8"]


# --- reading --------------------------------------------------------------------------------------


def step(drawn, x, h, c):
    """One step by hand, of an LSTM."""
    sums = {
        gate: drawn.weight_ih[gate] @ x + drawn.weight_hh[gate] @ h + drawn.bias[gate]
        for gate in drawn.bias
    }
    sigmoid = {gate: 1 / (1 + np.exp(-value)) for gate, value in sums.items()}
    new = sigmoid["forget"] * c + sigmoid["input"] * np.tanh(sums["cell"])
    return sigmoid["output"] * np.tanh(new), new


def test_what_was_read_runs_as_the_layer_of_torch():
    lstm = nn.LSTM(3, 4)
    x, h, c = torch.randn(3), torch.randn(4), torch.randn(4)
    with torch.no_grad():
        _, (new_h, new_c) = lstm(x[None], (h[None], c[None]))
    computed = step(read(lstm), x.numpy(), h.numpy(), c.numpy())
    np.testing.assert_allclose(computed, [new_h[0].numpy(), new_c[0].numpy()], atol=1e-6)


def test_what_was_read_runs_as_the_layer_of_keras():
    keras = load_keras()
    layer = keras.layers.LSTM(4, bias_initializer="glorot_uniform", return_state=True)
    x, h, c = (np.random.default_rng(1).normal(size=n).astype(np.float32) for n in (3, 4, 4))
    _, *new = layer(x[None, None], initial_state=[h[None], c[None]])
    drawn = read(layer)
    computed = step(drawn, x, h, c)
    np.testing.assert_allclose(computed, [v[0].detach().numpy() for v in new], atol=1e-6)
    assert drawn.framework == "keras"
    assert drawn.drawn_by.startswith("your layer, keras 3.")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_every_layer_and_direction_of_a_stack(kind):
    stack = kind(3, 4, num_layers=2, bidirectional=True)
    cell = {nn.LSTM: "lstm", nn.GRU: "gru", nn.RNN: "rnn"}[kind]
    for layer, reverse, suffix in [
        (0, False, "_l0"),
        (0, True, "_l0_reverse"),
        (1, False, "_l1"),
        (-1, True, "_l1_reverse"),
        (-2, False, "_l0"),
    ]:
        drawn = read(stack, layer=layer, reverse=reverse)
        for part in ("weight_ih", "weight_hh"):
            stacked = np.concatenate(list(getattr(drawn, part).values()))
            np.testing.assert_array_equal(stacked, getattr(stack, part + suffix).detach().numpy())
        sums = getattr(stack, "bias_ih" + suffix) + getattr(stack, "bias_hh" + suffix)
        bias = np.concatenate(list(drawn.bias.values()))
        np.testing.assert_allclose(bias, sums.detach().numpy(), rtol=1e-6)
        assert drawn.cell == cell
        assert drawn.input_size == (3 if "l0" in suffix else 8)
    assert same(read(stack), read(stack, layer=1))


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_and_layers_without_biases(kind):
    cell = kind(3, 4, bias=False)
    drawn = read(cell, layer=0)
    assert drawn.drawn_by == f"your layer, torch {torch.__version__.partition('+')[0]}"
    stacked = np.concatenate(list(drawn.weight_hh.values()))
    np.testing.assert_array_equal(
        stacked, dict(cell.named_parameters())["weight_hh"].detach().numpy()
    )
    assert all((bias == np.zeros(4)).all() for bias in drawn.bias.values())


def test_a_drop_in_and_a_half_precise_layer_are_read_like_any_other():
    lstm = drop_ins.LSTM(3, 4, dtype=torch.bfloat16)
    drawn = read(lstm)
    stacked = np.concatenate(list(drawn.weight_hh.values()))
    stored = dict(lstm.named_parameters())["weight_hh_l0"]
    np.testing.assert_array_equal(stacked, stored.detach().double().numpy())


def test_what_was_read_is_a_copy():
    lstm = nn.LSTM(2, 2, dtype=torch.float64)
    original = read(lstm)
    drawn = read(lstm)
    drawn.weight_hh["input"][:] = 7
    assert same(read(lstm), original)
    layer = load_keras().layers.SimpleRNN(2, dtype="float64")
    layer.build((None, None, 2))
    kept = read(layer)
    read(layer).weight_hh["hidden"][:] = 7
    assert same(read(layer), kept)


@pytest.mark.parametrize("options", [{}, {"reset_after": False}, {"use_bias": False}])
def test_every_kind_of_bias_of_a_keras_gru(options):
    keras = load_keras()
    layer = keras.layers.GRU(4, bias_initializer="glorot_uniform", **options)
    layer.build((None, None, 3))
    drawn = read(layer)
    parts = [drawn.bias[gate] for gate in ("update", "reset", "new")]  # Keras's order
    if options.get("use_bias", True):
        stored = layer.cell.bias.value.detach().numpy()
        expected = stored.sum(0) if stored.ndim == 2 else stored
        assert stored.ndim == (1 if options else 2)
        assert expected.any()
    else:
        expected = np.zeros(12)
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-6)
    kernel = layer.cell.kernel.value.detach().numpy()
    np.testing.assert_array_equal(drawn.weight_ih["reset"].T, kernel[:, 4:8])


def test_a_keras_rnn_in_half_precision():
    # on the CPU there is no orthogonal initialiser in this precision
    layer = load_keras().layers.SimpleRNN(4, recurrent_initializer="normal", dtype="bfloat16")
    layer.build((None, None, 3))
    drawn = read(layer)
    assert (drawn.cell, drawn.input_size, drawn.hidden_size) == ("rnn", 3, 4)
    np.testing.assert_array_equal(
        drawn.weight_hh["hidden"].T, layer.cell.recurrent_kernel.value.detach().double().numpy()
    )


# --- summary --------------------------------------------------------------------------------------


def test_the_summary_of_a_keras_lstm():
    drawn = draw("keras", "lstm", 64, 64)
    table = summary(drawn).set_index("gate")
    assert list(table.index) == ["input", "forget", "cell", "output"]
    assert list(table.columns) == [
        "std of W_ih",
        "std of W_hh",
        "spectral radius",
        "sigma_max",
        "bias",
    ]
    assert table["bias"].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert drawn.forget_bias == 1.0
    for gate in table.index:
        W = drawn.weight_hh[gate]
        radius, stretch = np.abs(np.linalg.eigvals(W)).max(), np.linalg.svd(W)[1].max()
        assert table.loc[gate, "spectral radius"] == pytest.approx(radius)
        assert table.loc[gate, "sigma_max"] == pytest.approx(stretch)
        assert table.loc[gate, "std of W_hh"] == pytest.approx(1 / 16, rel=0.05)
        assert table.loc[gate, "std of W_ih"] == pytest.approx(drawn.weight_ih[gate].std())


def test_the_forget_bias_is_what_acts():
    drawn = draw("torch", "lstm", 4, 256)
    assert abs(drawn.forget_bias or 0.0) < 5 * (2 / 3 / 256) ** 0.5 / 16
    assert draw("flax").forget_bias == 0.0
    assert [draw(name).forget_bias for name in ("tf1", "haiku")] == [1.0, 1.0]
    assert draw("torch", "gru").forget_bias is None
    shifted = replace(drawn, bias={**drawn.bias, "forget": np.full(256, 2.0)})
    assert shifted.forget_bias == 2.0


def test_a_layer_is_read_for_its_summary():
    lstm = nn.LSTM(2, 3)
    assert summary(lstm).equals(summary(read(lstm)))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_keras_cell_is_read_like_its_layer(kind, use_bias):
    keras = load_keras()
    layer = getattr(keras.layers, kind)(3, use_bias=use_bias)
    layer.build((None, None, 2))
    one, other = read(layer), read(layer.cell)
    for part in ("weight_ih", "weight_hh", "bias"):
        for gate, array in getattr(one, part).items():
            assert np.array_equal(array, getattr(other, part)[gate])
    with pytest.raises(ValueError, match=r"^module must be built before it has weights"):
        read(getattr(keras.layers, kind + "Cell")(3))


@pytest.mark.parametrize("framework", frameworks.FRAMEWORKS)
def test_the_default_device_does_not_matter(framework):
    expected = draw(framework, input_size=3, hidden_size=4)
    with torch.device("meta"):
        found = draw(framework, input_size=3, hidden_size=4)
    for gate, array in expected.weight_hh.items():
        assert np.array_equal(array, found.weight_hh[gate])


# --- refusals -------------------------------------------------------------------------------------


def bidirectional():
    keras = load_keras()
    layer = keras.layers.Bidirectional(keras.layers.LSTM(3))
    layer.build((None, None, 2))
    return layer


def built():
    layer = load_keras().layers.GRU(3)
    layer.build((None, None, 2))
    return layer


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw("caffe"), "framework must be one of 'torch', 'keras', 'tf1'"),
        (lambda: draw("torch", "LSTM"), "cell must be one of 'lstm', 'gru', 'rnn', but 'LSTM'"),
        (lambda: draw("equinox", "rnn"), "Equinox has no plain RNN cell, but 'rnn' was given."),
        (lambda: draw("torch", input_size=0), "input_size must be a whole number of at least 1"),
        (lambda: draw("torch", hidden_size=True), "hidden_size must be a whole number of at least"),
        (lambda: draw("torch", seed=-1), "seed must be a whole number of at least 0"),
        (lambda: draw("keras", seed=2**32), "seed must be a whole number of at least 0 and at mos"),
        (lambda: read(nn.Linear(2, 3)), "module must be an nn.RNN, nn.LSTM or nn.GRU, a Keras"),
        (
            lambda: read(nn.Sequential(nn.LSTM(2, 3))),
            "a Keras SimpleRNN, LSTM or GRU, or one of their cells, but ",
        ),
        (lambda: read(torch.zeros(8, 2)), "module must be an nn.RNN, nn.LSTM or nn.GRU, a Kera"),
        (lambda: read(bidirectional()), "a Keras .* its forward_layer or .*, but .*Bidirec"),
        (lambda: read(load_keras().layers.LSTM(3)), "module must be built before it has weights"),
        (lambda: summary(3), "drawn must be an nn.RNN, nn.LSTM or nn.GRU, a Keras"),
        (lambda: read(nn.LSTM(2, 3, proj_size=1)), "module must have no projection, .* is 1."),
        (lambda: read(nn.GRU(2, 3), layer=1), "layer must be a whole number of at least -1 and at"),
        (lambda: read(built(), layer=1), "layer must be a whole number of at least -1 and at most"),
        (lambda: read(nn.GRU(2, 3), reverse=True), "reverse must be False for a layer that is not"),
        (lambda: read(nn.GRUCell(2, 3), reverse=True), "reverse must be False for a layer that"),
        (lambda: read(built(), reverse=True), "reverse must be False for a layer that is not bid"),
    ],
)
def test_bad_input_gets_one_sentence(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)

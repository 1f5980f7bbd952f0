"""The rules, laws and presets against what PyTorch, Keras, Flax, Haiku and Equinox really do."""

import functools
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from teachkit import frameworks
from teachkit.framework_rules import CELLS, FRAMEWORKS, PARTS, law, rule, rules
from teachkit.gates import gate_order
from teachkit.initializers import initialize

ROOT = Path(__file__).resolve().parent.parent
INPUTS, HIDDEN, DRAWS = 48, 96, 8  # as in jax_cells.DRAWN
JAX = ("flax", "haiku", "equinox")
KNOWN = [pair for pair in itertools.product(FRAMEWORKS, CELLS) if pair != ("equinox", "rnn")]
REAL = [pair for pair in KNOWN if pair[0] != "tf1"]  # TensorFlow 1 runs on no Python of today
LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


@pytest.fixture(scope="module")
def jax_cells(tmp_path_factory):
    """Arrays by library, cell, "drawn" or "call", and the library's own names."""
    path = tmp_path_factory.mktemp("jax") / "cells.npz"
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / ".oracles"),
        "OPENBLAS_NUM_THREADS": "1",  # its threads would wait for JAX's on a small machine
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # most of the time goes into compiling
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-W", "error", str(ROOT / "tests" / "jax_cells.py"), str(path)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, f"`make oracles` installs what this needs.\n{ran.stderr}"
    with np.load(path) as saved:
        found: dict = {}
        for name in saved:
            library, cell, what, own = name.split("/", 3)
            found.setdefault((library, cell, what), {})[own] = saved[name]
    return found


# --- from each library's arrays to gates ----------------------------------------------------------


def cut(array, framework, cell, axis):
    """Cut a stacked array in the order of the rule."""
    order = rule(framework, cell).gate_order
    return dict(zip(order, np.split(array, len(order), axis), strict=True))


def turned(table):
    return {gate: W.T for gate, W in table.items()}


# The letters in the names of Flax's arrays, in the order of its equations.
FLAX = {"lstm": "ifgo", "gru": "rzn", "rnn": [""]}


def from_flax(raw, cell):
    letters = dict(zip(rule("flax", cell).gate_order, FLAX[cell], strict=True))

    def side(name, kind):
        keys = {gate: f"{name}{letter}/{kind}" for gate, letter in letters.items()}
        return {gate: raw[key] for gate, key in keys.items() if key in raw}

    return {
        "weight_ih": turned(side("i", "kernel")),
        "weight_hh": turned(side("h", "kernel")),
        "bias_ih": side("i", "bias"),
        "bias_hh": side("h", "bias"),
    }


def from_haiku(raw, cell):
    stacked = functools.partial(cut, framework="haiku", cell=cell, axis=-1)
    if cell == "lstm":
        both, b = raw["lstm/linear/w"], raw["lstm/linear/b"]
        inputs = both.shape[0] - both.shape[1] // 4
        x, h = both[:inputs], both[inputs:]
    elif cell == "gru":
        x, h, b = raw["gru/w_i"], raw["gru/w_h"], raw["gru/b"]
    else:
        x, h = raw["vanilla_rnn/linear/w"], raw["vanilla_rnn/linear_1/w"]
        b = raw["vanilla_rnn/linear/b"]
    parts = {
        "weight_ih": turned(stacked(x)),
        "weight_hh": turned(stacked(h)),
        "bias_ih": stacked(b),
    }
    second = {"bias_hh": stacked(raw["vanilla_rnn/linear_1/b"])} if cell == "rnn" else {}
    return parts | second


def from_equinox(raw, cell):
    stacked = functools.partial(cut, framework="equinox", cell=cell, axis=0)
    parts = {
        "weight_ih": stacked(raw["weight_ih"]),
        "weight_hh": stacked(raw["weight_hh"]),
        "bias_ih": stacked(raw["bias"]),
    }
    return parts | ({"bias_hh": {"new": raw["bias_n"]}} if cell == "gru" else {})


def from_keras(raw, cell):
    stacked = functools.partial(cut, framework="keras", cell=cell, axis=-1)
    parts = {
        "weight_ih": turned(stacked(raw["kernel"])),
        "weight_hh": turned(stacked(raw["recurrent_kernel"])),
    }
    if cell == "gru":
        return parts | {"bias_ih": stacked(raw["bias"][0]), "bias_hh": stacked(raw["bias"][1])}
    return parts | {"bias_ih": stacked(raw["bias"])}


FROM = {"flax": from_flax, "haiku": from_haiku, "equinox": from_equinox, "keras": from_keras}


def effective(parts):
    """The sum of the bias vectors, gate by gate."""
    found = {}
    for gate, W in parts["weight_hh"].items():
        zeros = np.zeros(len(W))
        found[gate] = sum(parts.get(name, {}).get(gate, zeros) for name in ("bias_ih", "bias_hh"))
    return found


# --- what is drawn --------------------------------------------------------------------------------


def stack(many):
    """A list of {part: {gate: array}} as {part: {gate: (draws, ...)}}."""
    return {
        part: {gate: np.stack([one[part][gate] for one in many]) for gate in gates}
        for part, gates in many[0].items()
    }


def read(drawn):
    return {part: getattr(drawn, part) for part in PARTS}


@pytest.fixture(scope="module")
def library(jax_cells):
    """What the library draws: {part: {gate: (draws, ...)}}, biases as it stores them."""

    @functools.cache
    def sample(framework, cell):
        if framework not in JAX:
            made = [frameworks.draw(framework, cell, INPUTS, HIDDEN, seed) for seed in range(DRAWS)]
            assert all(drawn.drawn_by.startswith(f"{framework} ") for drawn in made)
            return stack([read(drawn) for drawn in made])
        raw = jax_cells[framework, cell, "drawn"]
        found = []
        for i in range(DRAWS):
            parts = FROM[framework]({name: array[i] for name, array in raw.items()}, cell)
            found.append({"bias": effective(parts), **{name: parts[name] for name in PARTS[:2]}})
        return stack(found)

    return sample


@pytest.fixture(scope="module")
def preset():
    """The same from our preset; biases as they act."""

    @functools.cache
    def sample(framework, cell):
        generator = torch.Generator().manual_seed(17)
        layers = [LAYERS[cell](INPUTS, HIDDEN) for _ in range(DRAWS)]
        made = [initialize(layer, framework, generator=generator) for layer in layers]
        return stack([read(frameworks.read(layer)) for layer in made])

    return sample


class Exact:
    """The distribution function and the moments of a law, by quadrature."""

    def __init__(self, law):
        low, high = law.support
        grid = np.linspace(low, high, 40_001)
        density = law.density(grid)
        density[[0, -1]] = density[[1, -2]]  # rounding may put the ends outside
        self.grid, self.density = grid, density
        step = grid[1] - grid[0]
        self.share = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * step)])
        assert self.share[-1] == pytest.approx(1, abs=1e-3)

    def cdf(self, x):
        return np.interp(x, self.grid, self.share)

    def moment(self, power):
        return np.trapezoid(self.density * self.grid**power, self.grid)


def distance(values, cdf):
    """The Kolmogorov-Smirnov distance times the root of the number of values."""
    values = np.sort(values.ravel())
    n = len(values)
    share = cdf(values)
    above, below = np.arange(1, n + 1) / n - share, share - np.arange(n) / n
    return max(above.max(), below.max()) * n**0.5


def follows(values, law):
    """Check values against a law: bound, mean, variance, fourth moment, distribution function.

    Limits of five standard errors; the entries of an orthogonal matrix depend on each other a
    little, which makes their means more exact, not less.
    """
    exact, n, bound = Exact(law), values.size, law.support[1]
    assert np.abs(values).max() <= bound * (1 + 1e-6)
    # beyond this lie 20 values on average, so that none does once in 5e8 samples
    outermost = np.interp(1 - 20 / n, exact.share / exact.share[-1], exact.grid)
    assert values.max() >= outermost
    assert values.min() <= -outermost
    for power in (1, 2, 4):
        error = ((exact.moment(2 * power) - exact.moment(power) ** 2) / n) ** 0.5
        assert abs((values**power).mean() - exact.moment(power)) < 5 * error, power
    assert exact.moment(2) ** 0.5 == pytest.approx(law.std, rel=1e-3)
    assert distance(values, exact.cdf) < 2.5


def laws(framework, cell):
    for part, gate in itertools.product(PARTS, gate_order(cell)):
        yield part, gate, law(framework, cell, gate, part, INPUTS, HIDDEN)


@pytest.mark.parametrize(("framework", "cell"), KNOWN)
def test_presets_draw_from_the_laws(framework, cell, preset):
    for part, gate, expected in laws(framework, cell):
        values = preset(framework, cell)[part][gate]
        if expected.value is None:
            follows(values, expected)
        else:
            assert (values == expected.value).all()


# What the code of a cell adds to what is stored; `test_cells_compute_...` shows that it does.
ADDED = {("haiku", "lstm", "forget"): 1.0}


@pytest.mark.parametrize(("framework", "cell"), REAL)
def test_libraries_draw_from_the_laws(framework, cell, library):
    for part, gate, expected in laws(framework, cell):
        values = library(framework, cell)[part][gate]
        if expected.value is None:
            follows(values, expected)
        else:
            added = ADDED.get((framework, cell, gate), 0.0) if part == "bias" else 0.0
            assert (values + added == expected.value).all()


@pytest.mark.parametrize(("framework", "cell"), REAL)
def test_presets_and_libraries_draw_alike(framework, cell, library, preset):
    for part, gate, expected in laws(framework, cell):
        if expected.value is not None:
            continue
        ours, theirs = (source(framework, cell)[part][gate] for source in (preset, library))
        assert ours.shape == theirs.shape
        knots = np.sort(theirs.ravel())
        share = np.arange(1, len(knots) + 1) / len(knots)
        assert distance(ours, lambda x, k=knots, s=share: np.interp(x, k, s)) < 2.5 * 2**0.5


@functools.cache
def spectra(source, framework, cell):
    """Spectral radius and largest singular value of every gate of every draw."""
    W = torch.from_numpy(np.concatenate(list(source(framework, cell)["weight_hh"].values())))
    radii, norms = torch.linalg.eigvals(W).abs().amax(-1), torch.linalg.matrix_norm(W, 2)
    return radii.numpy(), norms.numpy()


@pytest.mark.parametrize(("framework", "cell"), REAL)
def test_gates_have_the_same_spectra(framework, cell, library, preset):
    for ours, theirs in zip(
        spectra(preset, framework, cell), spectra(library, framework, cell), strict=True
    ):
        error = (ours.var() / ours.size + theirs.var() / theirs.size) ** 0.5
        assert abs(ours.mean() - theirs.mean()) < 5 * error + 1e-5


@pytest.mark.parametrize(("framework", "cell"), KNOWN)
def test_gates_have_the_spectral_radius_of_the_law(framework, cell, preset):
    radii = spectra(preset, framework, cell)[0].reshape(-1, DRAWS)
    for gate, measured in zip(gate_order(cell), radii, strict=True):
        expected = law(framework, cell, gate, "weight_hh", INPUTS, HIDDEN)
        assert expected.radius is not None
        if expected.text == f"entry of an orthogonal {HIDDEN} x {HIDDEN} matrix":
            np.testing.assert_allclose(measured, 1, atol=1e-5)
        else:  # a few per cent more than in the limit of large H
            assert expected.radius - 0.03 < measured.mean() < 1.1 * expected.radius


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("source", ["library", "preset"])
def test_keras_makes_the_stacked_matrix_orthogonal_and_flax_every_gate(source, cell, request):
    sample = request.getfixturevalue(source)
    for W in sample("flax", cell)["weight_hh"].values():
        np.testing.assert_allclose(W.mT @ W, np.broadcast_to(np.eye(HIDDEN), W.shape), atol=1e-5)
    stacked = np.concatenate(list(sample("keras", cell)["weight_hh"].values()), axis=1)
    gram = stacked.mT @ stacked
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(HIDDEN), gram.shape), atol=1e-5)


# --- what is computed -----------------------------------------------------------------------------


def tensors(table, gates, size):
    return [torch.from_numpy(np.asarray(table.get(gate, np.zeros(size)), float)) for gate in gates]


def ours(framework, cell, parts, x, h, c):
    """The next states of our equations in float64, with the weights of another library's cell."""
    gates, hidden = gate_order(cell), len(h)
    stored = parts | {name: parts.get(name, {}) for name in ("bias_ih", "bias_hh")}
    for gate in gates:
        if added := ADDED.get((framework, cell, gate)):
            stored["bias_ih"] = stored["bias_ih"] | {gate: stored["bias_ih"][gate] + added}
    kinds: dict = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
    module = kinds[cell](len(x), hidden, dtype=torch.float64)
    if (framework, cell) == ("haiku", "rnn"):
        module.nonlinearity = "relu"
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.cat(tensors(stored[name], gates, hidden)))
        x, h, c = (torch.from_numpy(np.asarray(v, float)) for v in (x, h, c))
        if framework == "haiku" and cell == "gru":
            return [haiku_gru(module, x, h).numpy()]
        new = module(x, (h, c) if cell == "lstm" else h)
    return [v.numpy() for v in (new if cell == "lstm" else [new])]


def haiku_gru(module, x, h):
    """A GRU that resets before the recurrent matrix, with z for the new state."""
    W_r, W_z, W_n = module.weight_ih.chunk(3)
    U_r, U_z, U_n = module.weight_hh.chunk(3)
    b_r, b_z, b_n = module.bias_ih.chunk(3)
    r = torch.sigmoid(W_r @ x + U_r @ h + b_r)
    z = torch.sigmoid(W_z @ x + U_z @ h + b_z)
    n = torch.tanh(W_n @ x + U_n @ (r * h) + b_n)
    return (1 - z) * h + z * n


def keras_call(cell):
    """One step of a Keras cell with random weights: what it was given and what it gave back."""
    keras = frameworks.load_keras()
    name = {"lstm": "LSTMCell", "gru": "GRUCell", "rnn": "SimpleRNNCell"}[cell]
    layer = getattr(keras.layers, name)(5)
    layer.build((None, 3))
    rng = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.5, size=shape).astype(np.float32)

    raw = {}
    for own in ("kernel", "recurrent_kernel", "bias"):
        variable = getattr(layer, own)
        raw[own] = random(*variable.shape)
        variable.assign(raw[own])
    x, states = random(3), [random(5) for _ in range(1 + (cell == "lstm"))]
    _, new = layer(x[None], [state[None] for state in states])
    return raw, x, states, [state[0].detach().numpy() for state in new]


@pytest.mark.parametrize(("framework", "cell"), [pair for pair in REAL if pair[0] != "torch"])
def test_cells_compute_what_ours_do_with_the_same_weights(framework, cell, jax_cells):
    """Proves the order of the gates and of the states, what is added in the call, the sign of z."""
    if framework == "keras":
        raw, x, states, expected = keras_call(cell)
    else:
        raw = jax_cells[framework, cell, "call"]
        count = 1 + (cell == "lstm")
        x, states, expected = (
            raw["x"],
            [raw[f"state{i}"] for i in range(count)],
            [raw[f"new{i}"] for i in range(count)],
        )
    order = rule(framework, cell).state_order.strip("()").split(", ")
    given = dict(zip(order, states, strict=True))
    parts = FROM[framework](raw, cell)
    computed = ours(framework, cell, parts, x, given["h"], given.get("c", given["h"]))
    result = dict(zip(["h", "c"], computed, strict=False))
    np.testing.assert_allclose([result[name] for name in order], expected, atol=2e-6)


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_forget_bias_in_words_is_the_one_of_the_law(framework):
    found = law(framework, "lstm", "forget", "bias", 8, 16)
    words = rule(framework).forget_bias
    assert words.startswith("mean 0" if found.value is None else f"{found.value:g}")
    other = law(framework, "lstm", "input", "bias", 8, 16)
    assert (other.value, other.std) == (
        (0.0, 0.0) if found.value is not None else (None, found.std)
    )


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_update_bias_in_words_is_the_one_of_the_law(framework):
    found = law(framework, "gru", "update", "bias", 8, 16)
    words = rule(framework, "gru").forget_bias
    assert words.startswith("mean 0;" if found.value is None else f"{found.value:g};")
    assert ("keeps" in words) == (framework != "haiku")


def test_tensorflow_1_by_hand():
    """Its file says: one kernel for x and h together, Glorot uniform, gates by two in the GRU."""

    def bound(cell, gate, part, inputs=10, hidden=20):
        return law("tf1", cell, gate, part, inputs, hidden).support[1] ** 2

    for part in ("weight_ih", "weight_hh"):
        assert bound("lstm", "cell", part) == pytest.approx(6 / (10 + 20 + 80))
        assert bound("gru", "update", part) == pytest.approx(6 / (10 + 20 + 40))
        assert bound("gru", "new", part) == pytest.approx(6 / (10 + 20 + 20))
        assert bound("rnn", "hidden", part) == pytest.approx(6 / (10 + 20 + 20))
    # as many inputs as units: the bound of PyTorch
    assert bound("lstm", "cell", "weight_hh", 20, 20) == pytest.approx(1 / 20)
    biases = {gate: law("tf1", "gru", gate, "bias", 3, 4).value for gate in gate_order("gru")}
    assert biases == {"reset": 1.0, "update": 1.0, "new": 0.0}


def test_the_table_of_chapter_01():
    table = rules().set_index("framework")
    assert list(table.index) == list(FRAMEWORKS)
    assert list(table.columns) == [
        "input weights",
        "recurrent weights",
        "bias",
        "forget bias",
        "gate order",
        "state order",
    ]
    assert table.loc["torch", "recurrent weights"] == "U(±1/√H)"
    assert table.loc["keras", "input weights"] == "Glorot uniform on (I, 4H)"
    assert table.loc["keras", "recurrent weights"] == "orthogonal on (H, 4H)"
    assert table.loc["tf1", "input weights"] == "Glorot uniform on (I + H, 4H)"
    assert table.loc["flax", "recurrent weights"] == "orthogonal on (H, H), gate by gate"
    assert table.loc["haiku", "input weights"] == "normal cut at 2σ, std 0.88/√(I + H)"
    assert table.loc["haiku", "gate order"] == "input, cell, forget, output"
    assert table.loc["flax", "gate order"] == "not stacked: input, forget, cell, output"
    assert set(table.index[table["state order"] == "(c, h)"]) == {"tf1", "flax"}


def test_the_tables_of_the_other_cells():
    gru, rnn = rules("gru").set_index("framework"), rules("rnn").set_index("framework")
    assert "update bias" in gru
    assert "forget bias" not in gru
    assert gru.loc["haiku", "update bias"] == "0; z = 1 replaces the state"
    assert set(gru["state order"]) == set(rnn["state order"]) == {"h"}
    assert list(rnn.index) == [name for name in FRAMEWORKS if name != "equinox"]
    assert not {"forget bias", "update bias"} & set(rnn.columns)


@pytest.mark.parametrize(("framework", "cell"), KNOWN)
def test_every_rule_names_its_file(framework, cell):
    found = rule(framework, cell)
    assert (found.framework, found.cell) == (framework, cell)
    assert ".py" in found.source
    assert found.gate_order == gate_order(cell, framework)


def test_sources_name_the_versions_that_the_tests_run():
    import importlib.metadata

    pinned = dict(
        line.partition(" ")[0].split("==")
        for line in (ROOT / "requirements-oracles.txt").read_text().splitlines()
        if "==" in line
    )
    versions = {name: importlib.metadata.version(name) for name in ("torch", "keras")}
    versions |= {name: pinned[name] for name in ("flax", "equinox")} | {"haiku": pinned["dm-haiku"]}
    for framework, version in versions.items():
        assert f" {version.partition('+')[0]})" in rule(framework).source


def test_only_recurrent_matrices_have_a_radius():
    assert law("keras", "lstm", "cell", "weight_hh", 8, 16).radius == 0.5
    assert law("keras", "lstm", "cell", "weight_ih", 8, 16).radius is None
    assert law("flax", "gru", "new", "weight_hh", 8, 16).radius == 1
    assert law("torch", "lstm", "cell", "bias", 8, 16).radius is None


def test_the_smallest_layer_has_laws():
    for framework, cell in KNOWN:
        for part, gate in itertools.product(PARTS, gate_order(cell)):
            assert law(framework, cell, gate, part, 1, 1).std >= 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rule("jax"), "framework must be one of 'torch', 'keras', 'tf1', 'flax'"),
        (lambda: rule("torch", "mlp"), "cell must be one of 'lstm', 'gru', 'rnn', but 'mlp'"),
        (lambda: rules("mlp"), "cell must be one of 'lstm', 'gru', 'rnn', but 'mlp'"),
        (
            lambda: rule("equinox", "rnn"),
            "cell must be 'lstm' or 'gru': Equinox has no plain RNN cell, but 'rnn' was given.",
        ),
        (
            lambda: law("torch", "gru", "forget", "bias", 1, 1),
            "gate must be one of 'reset', 'update', 'new', but 'forget' was given.",
        ),
        (
            lambda: law("torch", "gru", "new", "weights", 1, 1),
            "part must be one of 'weight_ih', 'weight_hh', 'bias', but 'weights' was given.",
        ),
        (lambda: law("torch", "gru", "new", "bias", 0, 1), "input_size must be a whole number"),
        (lambda: law("torch", "gru", "new", "bias", 1, True), "hidden_size must be a whole number"),
    ],
)
def test_bad_input_gets_one_sentence(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)

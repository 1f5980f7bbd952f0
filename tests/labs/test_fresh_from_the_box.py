"""The lab of fresh weights: its numbers, its words, its picture, its choices, and own layers."""

import itertools
import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import nn

import teachkit as tk
from teachkit.frameworks import CELLS, FRAMEWORKS, load_keras, rule
from teachkit.labs.canvas import Canvas
from teachkit.labs.fresh_from_the_box import GATES, SPEC
from teachkit.labs.gate_weights import KeptText
from tests.labs.driving import check_shown, open_lab, recreate

fresh_from_the_box = tk.labs.fresh_from_the_box
COMBINATIONS = [c for c in itertools.product(FRAMEWORKS, CELLS) if c != ("equinox", "rnn")]
KERAS = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}
# Row order of the stacked weights, from the documentation of PyTorch and the code of Keras.
TORCH_ROWS = {"input": 0, "forget": 1, "cell": 2, "output": 3, "reset": 0, "update": 1, "new": 2}
KERAS_COLUMNS = {**TORCH_ROWS, "update": 0, "reset": 1}


def result_of(**settings):
    return SPEC.compute(SPEC.check(settings))


def texts(result):
    """The lines at the right of the picture: name and text, measured and theory."""
    return dict(result.facts) | {name: values for name, *values in result.figures}


def drawn(result):
    """A picture of a result, drawn."""
    picture = SPEC.picture()
    Canvas(picture).png(result)
    return picture


def keras_arrays(layer):
    """The weights of a Keras layer; its own get_weights() warns under NumPy 2."""
    return [torch.as_tensor(w.value).detach().double().numpy() for w in layer.weights]


# -- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "gate"), [(cell, gate) for cell, gates in GATES.items() for gate in gates]
)
def test_the_numbers_are_those_of_pytorchs_own_layer(cell, gate):
    result = {
        weights: result_of(
            cell=cell, gate=gate, weights=weights, input_size=3, hidden_size=10, seed=4
        )
        for weights in ("W_hh", "W_ih", "bias")
    }
    torch.manual_seed(4)
    layer = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell](3, 10).double()
    i = TORCH_ROWS.get(gate, 0)
    rows = slice(10 * i, 10 * i + 10)
    W = layer.weight_hh_l0.detach().numpy()[rows]
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().numpy()
    np.testing.assert_array_equal(result["W_hh"].values, W)
    np.testing.assert_array_equal(result["W_ih"].values, layer.weight_ih_l0.detach().numpy()[rows])
    np.testing.assert_allclose(result["bias"].values, bias[rows], rtol=1e-15)
    memory = {"lstm": slice(10, 20), "gru": slice(10, 20), "rnn": slice(0, 10)}[cell]
    name = {"lstm": "forget bias", "gru": "update bias", "rnn": "bias"}[cell]
    rho = np.abs(np.linalg.eigvals(W)).max()
    for weights, found in result.items():
        assert found.rho == pytest.approx(rho)
        assert texts(found)["spectral radius"] == [f"{rho:.2f}", "0.58"]
        assert texts(found)[f"{name}, mean"] == [f"{bias[memory].mean():.2f}", "0.00"]
        assert texts(found)[f"std of {weights}"][0] == f"{found.values.std():.3g}"
    # U(±b) has standard deviation b / sqrt(3), and the sum of two of them sqrt(2) times as much.
    assert texts(result["W_hh"])["std of W_hh"][1] == f"{(1 / 30) ** 0.5:.3g}"
    assert texts(result["bias"])["std of bias"][1] == f"{(2 / 30) ** 0.5:.3g}"


@pytest.mark.parametrize(
    ("cell", "gate"), [("lstm", "forget"), ("lstm", "cell"), ("gru", "update"), ("rnn", "hidden")]
)
def test_the_numbers_are_those_of_kerass_own_layer(cell, gate):
    keras = load_keras()
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    keras.utils.set_random_seed(7)
    layer = getattr(keras.layers, KERAS[cell])(12)
    layer.build((None, None, 5))
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    kernel, recurrent, bias = keras_arrays(layer)
    at = KERAS_COLUMNS.get(gate, 0)
    columns = slice(12 * at, 12 * at + 12)
    settings: dict[str, Any] = {"framework": "keras", "cell": cell, "gate": gate, "seed": 7}
    settings |= {"input_size": 5, "hidden_size": 12}
    np.testing.assert_array_equal(result_of(**settings).values, recurrent[:, columns].T)
    np.testing.assert_array_equal(
        result_of(**settings, weights="W_ih").values, kernel[:, columns].T
    )
    found = result_of(**settings, weights="bias")
    np.testing.assert_array_equal(found.values, np.atleast_2d(bias).sum(0)[columns])
    assert f"drawn by keras {keras.__version__} on {keras.backend.backend()}, seed 7" in found.said


@pytest.mark.parametrize(
    ("settings", "radius", "mean"),
    [
        # Theory: uniform 1/sqrt(3); a block of an orthogonal (H, 4H) matrix 1/2; orthogonal 1.
        ({"framework": "torch"}, 0.58, 0.0),
        ({"framework": "keras"}, 0.50, 1.0),
        ({"framework": "tf1"}, 0.58, 1.0),
        ({"framework": "flax"}, 1.00, 0.0),
        ({"framework": "haiku"}, 0.62, 1.0),
        ({"framework": "equinox"}, 0.58, 0.0),
        ({"framework": "tf1", "cell": "gru"}, 0.71, 1.0),
        ({"framework": "keras", "cell": "rnn"}, 1.00, 0.0),
    ],
)
def test_theory_and_a_real_draw_agree(settings, radius, mean):
    result = result_of(**settings, hidden_size=256, input_size=256)
    measured, theory = texts(result)["spectral radius"]
    assert theory == f"{radius:.2f}"
    assert float(measured) == pytest.approx(radius, rel=0.1)  # finite matrices reach further
    (bias,) = (values for name, *values in result.figures if name.endswith("bias, mean"))
    assert bias[1] == f"{mean:.2f}"
    assert float(bias[0]) == pytest.approx(mean, abs=0.02)
    assert result.values.std() == pytest.approx(result.law.std, rel=0.02)


def test_the_table_holds_all_weights_and_eigenvalues():
    result = result_of(hidden_size=6, input_size=2, weights="W_ih")
    table = SPEC.table(result)
    assert table["quantity"].tolist() == ["weight"] * 12 + ["eigenvalue"] * 6
    np.testing.assert_array_equal(table["real"][:12], result.values.ravel())
    np.testing.assert_array_equal(table["imaginary"][12:], result.eigenvalues.imag)


# -- words ------------------------------------------------------------------------------------


def test_the_sentence_says_what_matters():
    torch.manual_seed(3)
    lstm: Any = nn.LSTM(64, 64)
    rho = np.abs(np.linalg.eigvals(lstm.weight_hh_l0.detach().numpy()[64:128])).max()
    bias = (lstm.bias_ih_l0 + lstm.bias_hh_l0)[64:128].mean().item()
    assert fresh_from_the_box(seed=3).sentence == (
        "The W_hh of the forget gate of a new PyTorch LSTM with 64 inputs and 64 units (drawn by "
        f"torch {torch.__version__.partition('+')[0]}, seed 3) has the law: uniform in ±0.125; the "
        f"spectral radius of W_hh is {rho:.2f} (theory 0.58), the forget bias {bias:.2f} on "
        "average, and the state starts at zero."
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cell": "rnn"}, "The W_hh of a new PyTorch RNN with 64 inputs and 64 units"),
        ({"cell": "gru"}, "The W_hh of the update gate of a new PyTorch GRU"),
        ({"input_size": 1}, "with 1 input and 64 units"),
        ({"framework": "flax"}, "drawn by its rule, seed 0"),
        ({"framework": "equinox"}, "and the state has no default start."),
        ({"framework": "keras", "weights": "bias"}, "has the law: always 1;"),
        ({"framework": "keras", "weights": "bias", "gate": "cell"}, "has the law: always 0;"),
        ({"framework": "keras", "weights": "bias"}, "the forget bias 1.00 on average"),
    ],
)
def test_the_sentence_of_other_settings(settings, said):
    assert said in fresh_from_the_box(**settings).sentence


@pytest.mark.parametrize(
    ("settings", "order"),
    [
        ({}, "input, [forget], cell, output"),
        ({"framework": "tf1"}, "input, cell, [forget], output"),
        ({"framework": "tf1", "gate": "cell"}, "input, [cell], forget, output"),
        ({"framework": "keras", "cell": "gru"}, "[update], reset, new"),
        ({"framework": "flax"}, "not stacked: input, [forget], cell, output"),
        ({"cell": "rnn"}, "[hidden]"),
    ],
)
def test_the_chosen_gate_is_marked_in_the_order_of_the_library(settings, order):
    assert texts(result_of(**settings))["gate order"] == order


@pytest.mark.parametrize(("framework", "cell"), COMBINATIONS)
def test_the_rules_stand_beside_the_picture(framework, cell):
    found, told = texts(result_of(framework=framework, cell=cell)), rule(framework, cell)
    assert found["W_ih"] == told.input_weights
    assert found["W_hh"] == told.recurrent_weights
    assert found["bias"] == told.bias
    assert found["state"].startswith(told.state_order + ", ")
    assert ("no default" in found["state"]) == (framework == "equinox")
    memory = {"lstm": "forget bias", "gru": "update bias"}.get(cell)
    assert memory is None or found[memory] == told.forget_bias


@pytest.mark.parametrize(("framework", "cell"), COMBINATIONS)
@pytest.mark.parametrize(("input_size", "hidden_size"), [(1, 2), (256, 256)])
def test_all_words_are_inside_the_picture_and_apart(framework, cell, input_size, hidden_size):
    picture = SPEC.picture()
    picture.update(
        result_of(framework=framework, cell=cell, input_size=input_size, hidden_size=hidden_size)
    )
    renderer = FigureCanvasAgg(picture.figure).get_renderer()
    written = [t for t in picture.artists if isinstance(t, KeptText) and t.get_text()]
    boxes = [text.get_window_extent(renderer) for text in written]
    assert len(boxes) > 20
    for text, box in zip(written, boxes, strict=True):
        assert box.x0 > 2, text.get_text()
        assert box.x1 < 918, text.get_text()
        assert box.y0 > 2, text.get_text()
        assert box.y1 < 368, text.get_text()
    # Two pixels are kept around each, which must show nothing of another.
    for one, other in itertools.combinations(boxes, 2):
        assert not one.padded(2).overlaps(other)
    lines = [t.get_text() for t in written]
    assert all(line == line.strip() for line in lines)


# -- the picture ------------------------------------------------------------------------------


@pytest.mark.parametrize(("framework", "cell"), COMBINATIONS)
@pytest.mark.parametrize("weights", ["W_hh", "W_ih"])
def test_the_curve_runs_over_the_bars(framework, cell, weights):
    result = result_of(framework=framework, cell=cell, weights=weights, hidden_size=100)
    picture = drawn(result)
    bars, law, *_ = picture.artists
    heights, edges, _ = bars.get_data()
    widths = np.diff(edges)
    assert (heights * widths).sum() == pytest.approx(1)
    x, density = law.get_data()
    below = np.concatenate([[0], np.cumsum(np.diff(x) * (density[1:] + density[:-1]) / 2)])
    assert below[-1] == pytest.approx(1, abs=0.01)
    expected = np.diff(np.interp(edges, x, below))
    assert np.abs(heights * widths - expected).sum() < 0.1  # share of weights in another bar
    low, high = picture.figure.axes[0].get_ylim()
    assert low == 0
    assert heights.max() < high < 2.5 * heights.max()
    assert picture.figure.axes[0].get_xlim()[1] >= np.abs(result.values).max()


def test_the_bars_of_a_few_numbers_are_few():
    heights, _, _ = drawn(result_of(hidden_size=2)).artists[0].get_data()
    assert len(heights) == 6
    assert np.count_nonzero(heights) <= 4


@pytest.mark.parametrize(("gate", "value"), [("forget", 1), ("input", 0)])
def test_a_constant_is_one_bar_with_a_word(gate, value):
    picture = drawn(result_of(framework="keras", weights="bias", gate=gate, hidden_size=7))
    bars, law, stem, note = picture.artists[:4]
    heights, edges, _ = bars.get_data()
    assert heights.tolist() == [1.0]
    assert edges.mean() == value
    assert law.get_xdata().size == 0
    assert set(stem.get_xdata()) == {value}
    assert note.get_text() == f"all 7 are {value}"
    axes = picture.figure.axes[0]
    assert axes.get_ylabel() == "share"
    assert axes.get_xlim()[0] < value < axes.get_xlim()[1]
    picture.update(result_of())
    assert axes.get_ylabel() == "density"
    assert note.get_text() == ""
    assert stem.get_xdata() == []


def test_the_circle_is_that_of_theory_and_the_dots_are_the_eigenvalues():
    result = result_of(framework="keras", seed=2)
    circle, dots = drawn(result).artists[4:6]
    np.testing.assert_allclose(np.hypot(*circle.get_data()), 0.5)
    np.testing.assert_array_equal(dots.get_xdata(), result.eigenvalues.real)
    np.testing.assert_array_equal(dots.get_ydata(), result.eigenvalues.imag)


def test_dragging_the_seed_keeps_the_axes():
    picture = SPEC.picture()
    assert picture.update(result_of()) is True
    assert [picture.update(result_of(seed=seed)) for seed in range(20)] == [False] * 20


def test_kept_words_look_as_if_written_anew():
    canvas = Canvas(SPEC.picture())
    shown = [canvas.png(result_of(seed=seed)) for seed in (1, 2, 1, 2)]
    assert shown[:2] == shown[2:] == [Canvas(SPEC.picture()).png(result_of(seed=s)) for s in (1, 2)]


def test_not_more_words_are_kept_than_some():
    canvas = Canvas(SPEC.picture())
    first = canvas.png(result_of())
    words = [text for text in canvas.picture.artists if isinstance(text, KeptText)]
    for text in words:
        text._pixels |= dict.fromkeys(map(str, range(1000, 1200)))
    canvas.png(result_of(seed=5))
    assert min(len(text._pixels) for text in words) == 1  # those that changed started anew
    assert canvas.png(result_of()) == first


def test_the_posters_are_three_libraries_that_differ():
    lines = fresh_from_the_box().poster_text().splitlines()
    for line, library, radius, bias in zip(
        lines, ("PyTorch", "Keras", "Flax"), ("0.58", "0.50", "1.00"), "010", strict=True
    ):
        assert f"a new {library} LSTM" in line
        assert f"(theory {radius}), the forget bias {bias}.0" in line
    other = fresh_from_the_box(framework="haiku", cell="gru", gate="new").poster_text().splitlines()
    for line, library in zip(other, ("Haiku", "PyTorch", "Keras"), strict=True):
        assert f"the new gate of a new {library} GRU" in line
    assert len(fresh_from_the_box(framework="equinox").poster_text().splitlines()) == 3


# -- choices ----------------------------------------------------------------------------------


def options(lab, name):
    return tuple(value for _, value in lab.controls[name].options)


def test_the_gates_follow_the_cell():
    lab = open_lab("fresh_from_the_box")
    cell, gate = lab.controls["cell"], lab.controls["gate"]
    for kind, chosen in (
        ("gru", "update"), ("lstm", "forget"), ("gru", "update"), ("rnn", "hidden"),
        ("gru", "new"), ("lstm", "cell"), ("rnn", "hidden"), ("lstm", "cell"),
    ):  # fmt: skip
        cell.value = kind
        check_shown(lab)
        assert options(lab, "gate") == GATES[kind]
        assert gate.value == lab.settings["gate"] == chosen
    gate.value = "output"
    cell.value = "gru"  # where nothing is like an output gate
    assert gate.value == "reset"
    check_shown(lab)


def test_every_library_offers_the_cells_that_it_has():
    lab = open_lab("fresh_from_the_box", cell="rnn")
    for framework in FRAMEWORKS:
        lab.controls["framework"].value = framework
        check_shown(lab)
        for cell in CELLS:
            if cell in options(lab, "cell"):
                assert rule(framework, cell).cell == cell
            else:
                with pytest.raises(ValueError, match="no plain RNN"):
                    rule(framework, cell)
    assert (lab.settings["framework"], lab.settings["cell"]) == ("equinox", "lstm")
    assert lab.settings["gate"] == "cell"


def test_settings_come_in_any_order_and_what_cannot_be_is_refused():
    one = fresh_from_the_box(gate="update", cell="gru")
    assert one.settings == fresh_from_the_box(cell="gru", gate="update").settings
    assert fresh_from_the_box(cell="gru").settings["gate"] == "update"
    with pytest.raises(
        ValueError,
        match=r"^gate must be one of 'input', 'forget', 'cell', 'output', but 'update' was given",
    ):
        fresh_from_the_box(gate="update", cell="lstm")
    with pytest.raises(
        ValueError, match=r"^cell must be one of 'lstm', 'gru', but 'rnn' was given\.$"
    ):
        fresh_from_the_box(cell="rnn", framework="equinox")


@pytest.mark.parametrize(("framework", "cell"), COMBINATIONS)
def test_every_gate_and_every_kind_of_weights_can_be_looked_at(framework, cell):
    sizes = {"input_size": 5, "hidden_size": 3}
    picture = SPEC.picture()
    said = set()
    for gate, weights in itertools.product(GATES[cell], ("W_hh", "W_ih", "bias")):
        result = result_of(framework=framework, cell=cell, gate=gate, weights=weights, **sizes)
        assert result.values.shape == {"W_hh": (3, 3), "W_ih": (3, 5), "bias": (3,)}[weights]
        picture.update(result)
        left, right = picture.figure.axes[0].get_xlim()
        assert left < result.values.min() <= result.values.max() < right
        said.add(result.said)
    assert len(said) == 3 * len(GATES[cell])


# -- your own layer ---------------------------------------------------------------------------


def keras_layer(name, *sizes, **options):
    keras = load_keras()
    state = random.getstate()
    layer = getattr(keras.layers, name)(sizes[1], **options)
    layer.build((None, None, sizes[0]))
    random.setstate(state)
    return layer


OWN = {
    "RNN": lambda: nn.RNN(3, 8, nonlinearity="relu"),
    "LSTM, 2 layers": lambda: nn.LSTM(3, 8, num_layers=2, bidirectional=True),
    "GRU, no bias": lambda: nn.GRU(3, 8, num_layers=2, bias=False),
    "RNNCell": lambda: nn.RNNCell(3, 8),
    "LSTMCell of one unit": lambda: nn.LSTMCell(1, 1),
    "Keras LSTM": lambda: keras_layer("LSTM", 3, 8),
    "Keras GRU": lambda: keras_layer("GRU", 3, 8, use_bias=False),
    "Keras SimpleRNN": lambda: keras_layer("SimpleRNN", 3, 8),
}


def weights_of(model):
    if hasattr(model, "built"):
        return keras_arrays(model)
    return [weight.detach().clone() for weight in model.parameters()]


@pytest.mark.parametrize("kind", OWN)
def test_an_own_layer_is_shown_and_left_alone(kind):
    model = OWN[kind]()
    before = weights_of(model)
    lab = fresh_from_the_box(model=model)
    assert lab.widget is not None
    assert repr(lab) == "tk.labs.fresh_from_the_box(model=model)"
    for control in lab.spec.controls:
        for option in control.options:
            lab.controls[control.name].value = option
            check_shown(lab)
            again = recreate(lab.settings_line, model=model)
            assert again.sentence == lab.sentence
    lab.reset()
    check_shown(lab)
    assert lab.poster_text() == lab.sentence
    for now, then in zip(weights_of(model), before, strict=True):
        assert np.array_equal(now, then)


def test_every_layer_and_direction_of_an_own_lstm():
    model = nn.LSTM(3, 8, num_layers=2, bidirectional=True).double()
    lab = fresh_from_the_box(model=model)
    assert lab.spec.controls[0].options == ("l0", "l0_reverse", "l1", "l1_reverse")
    assert lab.settings == {"layer": "l1", "gate": "forget", "weights": "W_hh"}
    for layer, gate in itertools.product(lab.spec.controls[0].options, GATES["lstm"]):
        i = TORCH_ROWS[gate]
        W = getattr(model, f"weight_hh_{layer}").detach().numpy()[8 * i : 8 * i + 8]
        result = fresh_from_the_box(model=model, layer=layer, gate=gate)
        found = result.spec.compute(result.settings)
        np.testing.assert_array_equal(found.values, W)
        rho = np.abs(np.linalg.eigvals(W)).max()
        assert found.rho == pytest.approx(rho)
        assert f"spectral radius of W_hh is {rho:.2f} (default 0.58)" in found.said
        assert f"of your LSTM, {layer}, with" in found.said
        assert texts(found)["layer"] == layer
        assert texts(found)["smallest"] == f"{W.min():.3g}"
        assert texts(found)["largest"] == f"{W.max():.3g}"


def test_an_own_layer_stands_beside_the_default_of_its_library():
    lstm = tk.set_forget_bias(nn.LSTM(5, 16), 2.0)
    lab = fresh_from_the_box(model=lstm, weights="bias")
    assert lab.sentence.startswith(
        "The bias of the forget gate of your LSTM with 5 inputs and 16 units is 2 everywhere "
        "(PyTorch's default: sum of two uniform in ±0.25); the spectral radius of W_hh is "
    )
    assert lab.sentence.endswith("the forget bias 2.00 on average.")
    assert texts(lab.result)["forget bias, mean"] == ["2.00", "0.00"]
    assert lab.result.reference == "default"
    keras = fresh_from_the_box(model=keras_layer("LSTM", 5, 16))
    assert "(Keras's default: entry of an orthogonal 16 x 64 matrix)" in keras.sentence
    assert "keras" in texts(keras.result)["read from"]
    assert keras.result.radius == 0.5


def test_an_own_layer_is_shown_as_it_was_when_the_lab_opened():
    model = nn.RNN(2, 4)
    lab = fresh_from_the_box(model=model)
    said = lab.sentence
    with torch.no_grad():
        model.get_parameter("weight_hh_l0").mul_(5)
    assert lab.spec.compute(lab.settings).said == said
    assert fresh_from_the_box(model=model).sentence != said


def test_very_large_numbers_are_written_short():
    model = nn.GRU(3, 8)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1e30)
    lab = fresh_from_the_box(model=model)
    assert lab.widget is not None
    check_shown(lab)
    assert re.search(r"the spectral radius of W_hh is \d\.\de\+29 ", lab.sentence)
    assert all(len(measured) < 10 for _, measured, _ in lab.result.figures)


def test_far_larger_weights_than_the_default_are_seen():
    model = nn.RNN(2, 32)
    with torch.no_grad():
        model.get_parameter("weight_hh_l0").mul_(30)
    lab = fresh_from_the_box(model=model)
    picture = drawn(lab.spec.compute(lab.settings))
    hist, plane = picture.figure.axes
    assert hist.get_xlim()[1] > 30 / 32**0.5
    assert plane.get_xlim()[1] > 15
    heights = picture.artists[0].get_data()[0]
    assert hist.get_ylim()[1] < 8 * heights.max()  # the curve of the default is cut


def not_finite():
    model = nn.GRU(1, 2)
    with torch.no_grad():
        model.get_parameter("weight_hh_l0")[0, 0] = float("nan")
    return model


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": nn.Linear(1, 2)}, "^model must be an nn.RNN, nn.LSTM or nn.GRU, a Keras Sim"),
        ({"model": 3}, "^model must be an nn.RNN, nn.LSTM or nn.GRU"),
        ({"model": nn.LSTM(2, 4, proj_size=2)}, "^model must have no projection"),
        ({"model": not_finite()}, "^model must be a layer with finite weights"),
        ({"model": nn.RNN(1, 2), "cell": "rnn"}, "^setting must be one of 'gate', 'weights'"),
        ({"model": nn.RNN(1, 2), "layer": "l0"}, "^setting must be one of 'gate', 'weights'"),
        ({"model": nn.RNN(1, 2, 2), "layer": "l2"}, "^layer must be one of 'l0', 'l1'"),
        ({"model": nn.GRU(1, 2), "gate": "input"}, "^gate must be one of 'reset', 'update', 'new'"),
        ({"model": nn.GRU(1, 2), "show": ["seed"]}, "^show must be one of"),
    ],
)  # fmt: skip
def test_a_bad_own_layer_is_refused_at_once(arguments, said):
    with pytest.raises(ValueError, match=said):
        fresh_from_the_box(**arguments)


def test_a_keras_layer_without_weights_is_refused():
    with pytest.raises(ValueError, match=r"^model must be built before it has weights"):
        fresh_from_the_box(model=load_keras().layers.LSTM(3))


def test_a_keras_cell_is_a_layer_of_ones_own():
    cell = load_keras().layers.GRUCell(3)
    cell.build((None, 2))
    lab = fresh_from_the_box(model=cell)
    assert lab.spec.compute(lab.settings).title == "Keras GRU, 2 inputs, 3 units"

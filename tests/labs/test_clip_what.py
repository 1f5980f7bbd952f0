"""The lab of clipping: its numbers, words and picture, own models, and Train now."""

import copy
import itertools
import math
import re

import numpy as np
import pytest
import torch
from scipy.stats import gmean
from torch import nn
from torch.nn import functional as F

import teachkit as tk
from teachkit.clip_rules import METHODS
from teachkit.clipping import Clipper
from teachkit.labs.canvas import Canvas
from teachkit.labs.clip_what import NORMS, OFFERED, OWN_STOPS, compute, name_of, sentence
from teachkit.labs.clip_what_picture import ClippingPicture, decades, short
from teachkit.labs.race import RacePicture, run_race
from teachkit.tasks import batches
from tests.labs.driving import check_shown, ends, open_lab, recreate, words

SMALL = {"hidden_size": 16, "seq_len": 10, "rho": 3.0, "seed": 3}
# A threshold at which a method changes some of the gradients of SMALL.
THRESHOLDS = {
    "norm": 1.0,
    "per_parameter": 0.3,
    "value": 0.01,
    "recurrent": 0.3,
    "output": 0.3,
    "agc": 0.01,
    "autoclip": 50.0,
    "zclip": 1.5,
}


def opened(**settings):
    """The result of a lab that nobody looks at."""
    lab = tk.labs.clip_what(**settings)
    return lab.spec.compute(lab.settings)


def drawn(result):
    canvas = Canvas(ClippingPicture())
    assert canvas.png(result)
    return canvas.picture


def by_hand(method, threshold, task, **settings):
    """Oracle: PyTorch's own backward pass and one real clipper, batch after batch."""
    rnn = tk.make_elman(
        settings["hidden_size"], settings["rho"], input_size=task.input_size, seed=settings["seed"]
    )
    model = tk.SequenceModel(rnn, task.output_size, seed=settings["seed"])
    clipper = Clipper(method, threshold)
    for x, target in itertools.islice(batches(task, 32, seed=settings["seed"]), 64):
        model.zero_grad()
        task.loss(model(x), target).backward()
        clipper(model)
    return clipper.frame


def check_equal(table, frame):
    columns = set(table.columns) - {"batch"}
    assert columns == set(frame.columns) - {"finite", "skipped"}
    for name in columns:
        np.testing.assert_allclose(table[name], frame[name], rtol=1e-3, atol=2e-6, err_msg=name)


# -- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", OFFERED)
def test_the_numbers_are_those_of_the_clipper_on_the_networks_gradients(method):
    threshold = THRESHOLDS[method]
    result = opened(method=method, **SMALL) if method in OWN_STOPS else None
    found = compute({**tk.labs.clip_what(method=method, **SMALL).settings, "threshold": threshold})
    frame = by_hand(method, threshold, tk.make_task("temporal order", 10), **SMALL)
    table = tk.labs.clip_what().spec.table(found)
    assert table["batch"].tolist() == list(range(1, 65))
    check_equal(table, frame)
    assert 0 < (frame["fraction"] > 0).sum() == found.clipped
    assert result is None or result.name == name_of(method, METHODS[method])


@pytest.mark.parametrize("task", ["adding", "sunspots"])
def test_each_task_has_its_gradients(task):
    found = opened(task=task, **SMALL)
    check_equal(
        found.frame.drop(columns="finite"), by_hand("norm", 1.0, tk.make_task(task, 10), **SMALL)
    )


def test_clipping_leaves_the_gradients_for_the_next_move():
    first = opened(threshold=0.01, **SMALL)
    second = opened(method="value", threshold=0.01, **SMALL)
    assert second.frame["norm_before"].equals(first.frame["norm_before"])
    assert (first.frame["norm_after"] < 0.0101).all()


def test_a_joint_limit_freezes_the_head_and_a_separate_one_turns_the_direction():
    joint = opened(rho=3.0, seq_len=50)
    apart = opened(rho=3.0, seq_len=50, method="recurrent", threshold=0.03)
    assert joint.clipped == apart.clipped == 64
    assert joint.typical("recurrent", "before") > 1e4
    for group in ("recurrent", "output"):
        factor = joint.typical(group, "after") / joint.typical(group, "before")
        assert factor < 1e-4
    assert joint.cosine() == pytest.approx(1.0, abs=1e-6)
    assert apart.typical("output", "after") == apart.typical("output", "before")
    assert apart.cosine() < 0.1


# -- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", OWN_STOPS)
def test_a_method_with_a_unit_of_its_own_starts_at_its_usual_threshold(method):
    lab = open_lab("clip_what", hidden_size=16, seq_len=10)
    control = lab.controls["threshold"]
    control.value = 0.3
    lab.controls["method"].value = method
    assert tuple(v for _, v in control.options) == OWN_STOPS[method]
    assert Clipper(method).threshold in OWN_STOPS[method]
    assert control.value == (0.3 if 0.3 in OWN_STOPS[method] else Clipper(method).threshold)
    lab.controls["method"].value = "recurrent"
    assert (control.value, lab.settings["threshold"]) == (0.3, 0.3)  # as before it was left
    check_shown(lab)


def test_methods_that_count_norms_share_their_threshold():
    lab = open_lab("clip_what", threshold=3.0, hidden_size=16, seq_len=10)
    for method in set(OFFERED) - set(OWN_STOPS):
        lab.controls["method"].value = method
        assert lab.settings["threshold"] == 3.0
        assert lab.spec.limits(lab.settings)["threshold"] == NORMS


def test_the_usual_threshold_of_each_method_from_the_default():
    for method in OFFERED:
        assert tk.labs.clip_what(method=method).settings["threshold"] == Clipper(method).threshold
    with pytest.raises(ValueError, match=r"threshold must be one of 5\.0, 10\.0, .* but 1\.0 was"):
        tk.labs.clip_what(method="autoclip", threshold=1.0)


def test_the_learning_rate_follows_the_optimiser():
    lab = open_lab("clip_what", hidden_size=16, seq_len=10)
    lab.controls["optimizer"].value = "adam"
    assert lab.settings["lr"] == 0.003
    lab.controls["optimizer"].value = "sgd"
    assert lab.settings["lr"] == 0.1


# -- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (4211.0, "4.2e3"),
        (123.4, "123"),
        (31.66, "31.7"),
        (1 - 1e-6, "1.0"),
        (0.4612, "0.46"),
        (0.01, "0.01"),
        (2.2e-7, "2.2e-7"),
    ],
)
def test_numbers_in_words(value, said):
    assert short(value) == said


def test_the_sentence_states_counts_norms_and_direction():
    result = opened(**SMALL)
    frame = result.frame
    norms = [gmean(frame[f"{g}_{when}"]) for g in ("recurrent", "output")
             for when in ("before", "after")]  # fmt: skip
    a, b, c, d = map(short, norms)
    assert sentence(result) == (
        f"norm at 1, rho = 3.00, temporal order: {(frame['norm_before'] > 1).sum()} of 64 batches "
        f"clipped; the recurrent gradient goes from {a} to {b}, the output layer's from {c} to "
        f"{d}; the direction is kept (cosine 1.000)."
    )
    turned = sentence(opened(method="recurrent", threshold=0.01, **SMALL))
    assert re.search(r"goes from \S+ to 0\.01, the output layer's stays at \S+; ", turned)
    assert re.search(r"the direction turns \(cosine 0\.\d{3}\)\.$", turned)
    untouched = sentence(opened(threshold=100.0, rho=0.5))
    assert re.search(r"0 of 64 .* stays at \S+, the output layer's at \S+; nothing ch", untouched)


def test_the_posters_show_a_mild_and_a_strong_explosion_and_another_method():
    first, second, third = tk.labs.clip_what().poster_text().splitlines()
    assert first.startswith("norm at 1, rho = 1.20")
    assert second.startswith("norm at 1, rho = 3.00")
    assert third.startswith("recurrent at 1, rho = 3.00")
    assert "the direction turns" in third
    lines = tk.labs.clip_what(method="agc", threshold=0.1).poster_text().splitlines()
    starts = [line.partition(",")[0] for line in lines]
    assert starts == ["agc at ratio 0.1", "agc at ratio 0.1", "norm at 1"]


# -- picture ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", OFFERED)
def test_what_is_drawn_is_the_result(method):
    result = opened(method=method, **SMALL)
    picture, frame = drawn(result), result.frame
    group = {"recurrent": "recurrent", "output": "output"}.get(method, "norm")
    for line, when in ((picture._before, "before"), (picture._after, "after")):
        np.testing.assert_allclose(10 ** line.get_ydata(), frame[f"{group}_{when}"])
    for row, part in enumerate(("recurrent", "output")):
        x = picture._ways[row].get_xdata()
        means = [gmean(frame[f"{part}_{when}"]) for when in ("before", "after")]
        np.testing.assert_allclose(10.0 ** np.array(x), means)
    np.testing.assert_array_equal(picture._dots.get_ydata(), frame["cosine"])
    limit = 10 ** np.array(picture._limit.get_ydata())[::2]
    if method in ("value", "agc", "per_parameter"):
        assert limit.size == 0
        assert not picture._band.get_visible()
        assert picture._name.get_text().endswith("no limit drawn)")
    else:
        expected = frame["limit"].where(np.isfinite(frame["limit"]))
        np.testing.assert_allclose(limit, expected)
        bottom = picture._band.get_y()
        assert 10**bottom == pytest.approx(frame[f"{group}_before"].mean() / 2)
        assert picture._band.get_height() == pytest.approx(math.log10(20))
    shown, _ = picture._bars.get_data()[:2]
    assert shown.sum() == 64


@pytest.mark.parametrize(
    "chosen",
    [
        {"rho": 3.0, "seq_len": 100, "hidden_size": 64, "threshold": 0.01},
        {"rho": 0.1, "threshold": 100.0},
        {"rho": 3.0, "seq_len": 100, "method": "zclip"},
        {"rho": 1.0, "method": "value", "threshold": 0.01},
    ],
)
def test_everything_is_within_the_axes(chosen):
    result = opened(**chosen)
    picture = drawn(result)
    low, high = picture._norms.get_ylim()
    for line in (picture._before, picture._after, picture._limit):
        y = np.array(line.get_ydata())
        assert ((low < y) & (y < high))[np.isfinite(y)].all()
    left, right = picture._groups.get_xlim()
    for way in picture._ways[:2]:
        assert left < min(way.get_xdata()) <= max(way.get_xdata()) < right
    whole = picture.figure.bbox
    boxes = [ax.get_tightbbox() for ax in picture.figure.axes]
    assert all(box.x0 >= 0 and box.x1 <= whole.x1 and box.y0 >= 0 for box in boxes)
    _, bins, groups, cosines = boxes
    assert bins.x1 < groups.x0 < groups.x1 < cosines.x0
    assert picture._name.get_window_extent().x1 < picture._lead.get_window_extent().x0


def test_decades_hold_every_finite_value():
    assert decades(np.array([np.nan, np.inf, -np.inf])) == (-2.0, 2.0)
    assert decades(np.array([0.0]), np.empty(0)) == (-2.0, 2.0)
    assert decades(np.array([5.9, -7.0])) == (-8.0, 8.0)


# -- the reader's own model ---------------------------------------------------------------------


class Tagger(nn.Module):
    """An embedding below two LSTM layers, and an output layer that is not the last nn.Linear."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 5)
        self.rnn = nn.LSTM(5, 6, num_layers=2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(6, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.rnn(self.embed(x))[0][:, -1])


def tagger(scale=1.0, count=3):
    torch.manual_seed(1)
    model = Tagger()
    pairs = [(torch.randint(7, (4, 9)), torch.randint(3, (4,))) for _ in range(count)]
    return model, pairs, lambda output, target: scale * F.cross_entropy(output, target)


def own_lab(model, batches, loss, **settings):
    lab = tk.labs.clip_what(model=model, batches=batches, loss=loss, **settings)
    assert lab.widget is not None
    return lab


def test_an_own_model_is_clipped_batch_by_batch_and_left_alone():
    model, pairs, loss = tagger(scale=100.0)
    model.rnn.dropout = 0.0
    weights = copy.deepcopy(model.state_dict())
    model.head.bias.grad = torch.full((3,), 7.0)
    state = torch.get_rng_state()
    for method, threshold in [*THRESHOLDS.items(), ("all_but_output", 1.0)]:
        threshold = threshold if method in OWN_STOPS else 1.0
        lab = own_lab(model, pairs, loss, output="head", method=method, threshold=threshold)
        check_shown(lab)
        clipper, twin = Clipper(method, threshold, output="head"), copy.deepcopy(model)
        for x, target in pairs:
            twin.zero_grad()
            loss(twin(x), target).backward()
            clipper(twin)
        check_equal(lab.spec.table(lab.result), clipper.frame)
        again = recreate(lab.settings_line, model=model, batches=pairs, loss=loss)
        assert again.sentence == lab.sentence
    assert lab.result.groups == ("recurrent", "output", "other")
    assert [t.get_text() for t in drawn(lab.result)._groups.get_yticklabels()] == [
        "recurrent",
        "output",
        "other",
    ]
    assert all(torch.equal(model.state_dict()[k], v) for k, v in weights.items())
    assert torch.equal(model.head.bias.grad, torch.full((3,), 7.0))
    assert model.rnn.weight_hh_l0.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_every_end_of_every_control_of_an_own_model():
    lab = own_lab(*tagger(), output="head")
    assert lab.training is None
    for control in lab.spec.controls:
        for end in ends(control):
            reached = lab.spec.fit({**lab.settings, control.name: end})[control.name]
            lab.controls[control.name].value = reached
            check_shown(lab)


def test_one_batch_is_enough_and_a_plain_network_has_no_recurrent_part():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    lab = own_lab(model, [(torch.randn(5, 3), torch.randn(5, 1))], F.mse_loss, threshold=0.01)
    check_shown(lab)
    assert lab.sentence.startswith("norm at 0.01, Sequential: 1 of 1 batches clipped; ")
    offered = lab.spec.controls[0].options
    assert "recurrent" not in offered
    assert {"output", "all_but_output", "agc"} <= set(offered)
    with pytest.raises(ValueError, match=r"method must be one of .*'recurrent' was given"):
        own_lab(model, [(torch.randn(5, 3), torch.randn(5, 1))], F.mse_loss, method="recurrent")


@pytest.mark.parametrize("method", ["norm", "value", "agc", "autoclip", "zclip"])
def test_gradients_beyond_float_range_are_said(method):
    def loss(output, target):
        return (output * target).sum()

    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    sizes = (1.0, math.inf, 2.0)
    pairs = [(torch.ones(1, 1), torch.tensor([[size]])) for size in sizes]
    for given, beyond in ((pairs, 1), (pairs[1:2], 1)):
        lab = own_lab(model, given, loss, method=method)
        check_shown(lab)
        assert f"{beyond} of {len(given)} gradients are beyond float range" in lab.sentence
        assert drawn(lab.result)._note.get_text() == f"{beyond} of {len(given)} beyond float range"
    lab = own_lab(model, [pairs[0]], loss, method=method)
    assert drawn(lab.result)._note.get_text() == ""


def test_a_gradient_of_exactly_0_has_no_direction():
    model = nn.Linear(1, 1)
    pairs = [(torch.ones(1, 1), torch.zeros(1, 1))]
    lab = own_lab(model, pairs, lambda output, target: (output * target).sum())
    check_shown(lab)
    assert lab.sentence.endswith(
        "0 of 1 batches clipped; the output layer's stays at 0; there is no direction to compare."
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": None}, "model, batches and loss must be given together"),
        ({"loss": None}, "model, batches and loss must be given together"),
        ({"batches": None}, "model, batches and loss must be given together"),
        ({"model": "gru"}, "model must be an nn.Module, but 'gru' was given"),
        ({"batches": []}, "batches must be a list of one or more"),
        ({"batches": [torch.zeros(2)]}, "batches must be a list of one or more"),
        ({"loss": 3}, "loss must be a function of"),
        ({"output": "haed"}, "output must be the name of a layer of the model: 'embed'"),
        ({"loss": lambda o, t: o}, "model and loss must take all batches, but with number 0 came"),
        ({"rho": 1.0}, "setting must be one of 'method', 'threshold', but 'rho' was given"),
        ({"loss": lambda o, t: torch.zeros((), requires_grad=True)}, "the loss depends on"),
    ],
)
def test_a_bad_own_model_is_refused_at_once(change, said):
    model, pairs, loss = tagger()
    with pytest.raises(ValueError, match=said):
        tk.labs.clip_what(**{"model": model, "batches": pairs, "loss": loss} | change)


# -- Train now ----------------------------------------------------------------------------------


def raced(steps, **settings):
    lab = tk.labs.clip_what(hidden_size=16, seq_len=10, **settings)
    run = lab.training.start(lab.settings)
    return [next(run)[1] for _ in range(steps)][-1], lab


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("method", ["norm", "recurrent", "zclip"])
def test_a_race_is_a_training_with_and_without_the_method(method, optimizer):
    settings = {"method": method, "optimizer": optimizer, "rho": 2.0, "seed": 1}
    race, lab = raced(4, **settings)
    task = tk.make_task("temporal order", 10)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    for history, clipper in ((race.plain, None), (race.clipped, Clipper(method))):
        rnn = tk.make_elman(16, 2.0, input_size=6, seed=1)
        model = tk.SequenceModel(rnn, 4, seed=1)
        tuned = kind(model.parameters(), lr=lab.settings["lr"])
        for step, (x, y) in enumerate(itertools.islice(batches(task, 32, seed=1), 4)):
            tuned.zero_grad()
            loss = task.loss(model(x), y)
            loss.backward()
            if clipper is not None:
                clipper(model)
            tuned.step()
            assert history.loss[step] == pytest.approx(loss.item(), rel=1e-5)
    assert race.threshold == (1.0 if method == "norm" else None)
    said = lab.training.sentence(race)
    assert said.startswith(
        f"rho = 2.00, seed 1, {optimizer} with lr {lab.settings['lr']:g}, temporal order: after 4"
    )
    assert f"; with {name_of(method, METHODS[method])} the loss is " in said


def test_the_threshold_is_drawn_where_it_is_one_of_the_norm():
    picture = RacePicture()
    canvas = Canvas(picture)
    for method, there in (("norm", True), ("recurrent", False), ("norm", True), ("agc", False)):
        race, _ = raced(2, method=method)
        canvas.png(race)
        assert (len(picture._threshold.get_xdata()) > 0) == there
        assert len(picture._norm.get_legend().get_texts()) == there
        if there:
            assert list(picture._threshold.get_ydata()) == [0.0, 0.0]


def test_a_race_makes_a_clipper_of_its_own_each_time():
    task = tk.make_task("adding", 10)
    model = tk.SequenceModel(tk.make_elman(8, 1.0, input_size=2), 1)
    made = []

    def new_clipper():
        made.append(Clipper("zclip"))
        return made[-1]

    for _ in range(2):
        pair = copy.deepcopy(model), copy.deepcopy(model)
        run = run_race(
            *pair, task, new_clipper, lr=0.01, seed=0, steps=3, start="start", how="zclip"
        )
        assert [done for done, _ in run] == pytest.approx([1 / 3, 2 / 3, 1])
    assert [len(clipper.records) for clipper in made] == [3, 3]


def test_train_now_runs_in_the_background():
    lab = open_lab("clip_what", hidden_size=16, seq_len=10, method="recurrent")
    assert lab.estimate.value.startswith("takes about ")
    lab.train_button.click()
    lab.controls["threshold"].value = 0.1
    check_shown(lab)
    lab.stop_button.click()
    assert lab.worker is not None
    assert not lab.worker.is_alive()
    assert lab.error is lab.training_error is None
    shown = lab.training_view.value
    if shown:
        assert "with recurrent at 1 " in words(shown)


def test_a_lab_that_hides_the_rate_has_no_training():
    assert tk.labs.clip_what(show=["method", "threshold", "rho"]).training is None

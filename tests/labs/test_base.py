"""What every lab does, whatever it shows: a new one in `teachkit.labs` is tested at once."""

import random
import re
import threading
from dataclasses import replace
from io import BytesIO
from typing import Any

import matplotlib.style
import numpy as np
import pytest
import torch
from PIL import Image

import teachkit as tk
from teachkit.labs.canvas import Canvas
from teachkit.labs.controls import Choice, Slider
from teachkit.plots import style
from tests.labs.driving import (
    FOR_TRAINING,
    NAMES,
    check_shown,
    ends,
    every_end,
    open_lab,
    pixels,
    reach,
    recreate,
    same_settings,
    saved_equals,
    words,
)

each_lab = pytest.mark.parametrize("name", NAMES)


def move(lab, **settings):
    """Move controls one after the other, as a hand does."""
    for name, value in settings.items():
        lab.controls[name].value = value


def other_settings(lab):
    """For every control a value that is not the one it starts with."""
    return {
        c.name: next(v for v in reversed(ends(c)) if v != lab.start[c.name])
        for c in lab.spec.controls
    }


def random_settings(lab, rng):
    """Any place on any control, in steps of the control."""
    found = {}
    for control in lab.spec.controls:
        if isinstance(control, Choice):
            found[control.name] = rng.choice(control.options)
        else:
            steps = round((control.high - control.low) / control.step)
            found[control.name] = control.low + control.step * rng.randint(0, steps)
    return lab.spec.fit(found)


# -- moving -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "control", "value"), every_end())
def test_a_control_at_its_end_shows_something_else_and_no_error(name, control, value):
    lab = open_lab(name)
    before, sentence = pixels(lab.view.value), lab.sentence
    reached = reach(lab, control, value)
    check_shown(lab)
    assert lab.settings[control] == reached
    if reached == lab.start[control] or control in FOR_TRAINING.get(name, ()):
        assert lab.sentence == sentence
    else:
        assert lab.sentence != sentence
        assert not np.array_equal(pixels(lab.view.value), before)


@each_lab
def test_all_controls_at_their_ends_together(name):
    lab = open_lab(name)
    for side in (0, -1):
        for control in lab.spec.controls:
            reach(lab, control.name, ends(control)[side])
            check_shown(lab)


@each_lab
def test_the_live_picture_is_the_picture_drawn_anew(name):
    lab = open_lab(name)
    rng = random.Random(name)
    for _ in range(4):
        settings = random_settings(lab, rng)
        move(lab, **{n: v for n, v in settings.items() if n != "hidden_size"})
        # Small moves keep the axes, where only what moved is drawn.
        first = next(c for c in lab.spec.controls if isinstance(c, Slider))
        widget = lab.controls[first.name]
        for value in (widget.max - first.step, widget.max, widget.max - 2 * first.step):
            widget.value = value
        check_shown(lab)
        anew = Canvas(lab.spec.picture()).png(lab.spec.compute(lab.settings))
        np.testing.assert_array_equal(pixels(lab.view.value), pixels(anew))


@each_lab
def test_moving_back_shows_the_same_again(name):
    lab = open_lab(name)
    shown = lab.view.value
    first = lab.spec.controls[0].name
    move(lab, **{first: other_settings(lab)[first]})
    assert lab.view.value != shown
    move(lab, **{first: lab.start[first]})
    assert lab.view.value == shown


@each_lab
def test_controls_have_a_label_and_their_range(name):
    lab = open_lab(name)
    for control in lab.spec.controls:
        widget = lab.controls[control.name]
        assert widget.description == control.label
        if isinstance(control, Choice):
            offered = lab.spec.limits(lab.settings).get(control.name, control.options)
            assert tuple(value for _, value in widget.options) == offered
            assert set(offered) <= set(control.options)
        else:
            assert widget.continuous_update  # dragging is live
            assert (widget.min, widget.step) == (control.low, control.step)
            assert widget.max <= control.high


@each_lab
def test_show_hides_controls_but_not_their_settings(name):
    first, second = getattr(tk.labs, name)().spec.controls[:2]
    lab = open_lab(name, show=[second.name])
    shown = lab.widget.children[0].children
    assert shown == (lab.controls[second.name],)
    assert first.name in lab.settings


# -- drawing beside the main thread -----------------------------------------------------------

PICTURES = [(name, "spec") for name in NAMES] + [
    (name, "training") for name in NAMES if getattr(tk.labs, name)().spec.training
]
# What a reader may have chosen for their own figures, and far from what the labs look like.
OWN_FIGURES: dict[str, Any] = {"font.size": 15, "legend.fontsize": 15, "grid.linewidth": 3}
OWN_FIGURES |= {"axes.titlelocation": "right", "axes.titlesize": 15}


@pytest.mark.parametrize(
    "readers", [[], ["dark_background", OWN_FIGURES]], ids=["default", "the reader's style"]
)
@pytest.mark.parametrize(("name", "kind"), PICTURES)
def test_a_thread_draws_in_the_style_without_setting_it(name, kind, readers):
    # JupyterLab's kernel runs what a slider asks for beside the main thread.
    lab = getattr(tk.labs, name)()
    first, others = lab.spec.controls[0].name, other_settings(lab)
    moves = [{}, {first: others[first]}, others]
    settings = [lab.spec.fit(lab.start | moved) for moved in moves]
    if kind == "spec":
        new_picture, results = lab.spec.picture, [lab.spec.compute(s) for s in settings]
    else:
        training = lab.spec.training
        new_picture, results = training.picture, [next(training.start(s))[1] for s in settings]
    with style():
        expected = [pixels(png) for png in map(Canvas(new_picture()).png, results)]
    canvas, drawn = Canvas(new_picture()), list[bytes]()
    thread = threading.Thread(target=lambda: drawn.extend(map(canvas.png, results)))
    with matplotlib.style.context(readers):
        thread.start()
        thread.join()
    np.testing.assert_array_equal([pixels(png) for png in drawn], expected)
    assert canvas.picture.update(results[1])  # with other limits or legends than results[2]


# -- buttons ----------------------------------------------------------------------------------


@each_lab
def test_reset_returns_to_the_start(name):
    first = getattr(tk.labs, name)().spec.controls[0]
    # Not the lab's default: Reset returns to what the reader opened.
    start = next(end for end in ends(first) if end != first.value)
    lab = open_lab(name, **{first.name: start})
    shown = lab.view.value
    other = other_settings(lab)
    move(lab, **{n: v for n, v in other.items() if n not in lab.spec.limits(lab.settings)})
    assert lab.view.value != shown
    lab.reset()
    assert lab.settings == lab.start
    assert lab.settings[first.name] == start
    assert {n: c.value for n, c in lab.controls.items()} == lab.start
    assert lab.view.value == shown


@each_lab
def test_the_settings_line_opens_an_equal_lab(name):
    lab = open_lab(name)
    assert lab.settings_line == f"tk.labs.{name}()"
    rng = random.Random(name)
    for _ in range(3):
        move(lab, **random_settings(lab, rng))
        twin = recreate(lab.settings_line)
        assert same_settings(twin.settings, lab.settings)
        assert twin.sentence == lab.sentence
        assert repr(twin) == repr(lab)


@each_lab
def test_save_writes_the_picture_and_its_numbers(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = open_lab(name)
    move(lab, **{lab.spec.controls[0].name: ends(lab.spec.controls[0])[0]})
    lab.save(None)  # as the button calls it, with itself: into the current folder
    png, csv = sorted(tmp_path.iterdir(), key=lambda f: f.suffix == ".csv")
    assert (png.suffix, csv.suffix) == (".png", ".csv")
    np.testing.assert_array_equal(pixels(png.read_bytes()), pixels(lab.view.value))
    assert saved_equals(csv, lab.spec.table(lab.result))
    assert png.name in lab.message.value
    assert csv.name in lab.message.value
    assert lab.error is None


@each_lab
def test_save_where_nothing_can_be_written_says_so(name, tmp_path):
    lab = open_lab(name)
    assert lab.save(tmp_path / "missing") == []
    assert "teachkit-error" in lab.message.value
    assert "missing" in lab.message.value


# -- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "control", "given"),
    [
        (name, control, given)
        for name in NAMES
        for control in getattr(tk.labs, name)().spec.controls
        for given in (
            ["sideways", None]
            if isinstance(control, Choice)
            else [control.low - control.step, control.high + control.step, float("nan"), "much"]
        )
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_bad_setting_is_named(name, control, given):
    with pytest.raises(ValueError, match=rf"^{control.name} must be .* was given\.$") as raised:
        getattr(tk.labs, name)(**{control.name: given})
    sentence = str(raised.value)
    assert repr(given) in sentence
    if isinstance(control, Choice):
        assert all(repr(option) in sentence for option in control.options)
    else:
        assert f"from {control.low:g} to " in sentence


@each_lab
def test_a_whole_number_is_asked_for_where_only_one_will_do(name):
    for control in getattr(tk.labs, name)().spec.controls:
        if isinstance(control, Slider) and control.whole:
            with pytest.raises(ValueError, match=rf"^{control.name} must be a whole number"):
                getattr(tk.labs, name)(**{control.name: control.low + 0.5})


@each_lab
def test_an_unknown_setting_is_named(name):
    with pytest.raises(ValueError, match=r"^setting must be one of .*'rhoo' was given"):
        getattr(tk.labs, name)(rhoo=1.0)
    with pytest.raises(ValueError, match=r"^show must be one of .*'rhoo' was given"):
        getattr(tk.labs, name)(show=["rhoo"])


# -- pure functions ---------------------------------------------------------------------------


@each_lab
def test_computing_is_pure(name):
    lab = getattr(tk.labs, name)()
    torch_state, numpy_state = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    threads, settings = torch.get_num_threads(), dict(lab.start)
    one, other = lab.spec.compute(settings), lab.spec.compute(settings)
    assert lab.spec.table(one).equals(lab.spec.table(other))
    assert lab.spec.sentence(one) == lab.spec.sentence(other)
    assert settings == lab.start
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert str(np.random.get_state()) == numpy_state  # noqa: NPY002
    assert torch.get_num_threads() == threads


@each_lab
def test_opening_and_moving_leaves_the_readers_random_numbers_alone(name):
    state = torch.get_rng_state()
    lab = open_lab(name)
    move(lab, seed=5)
    assert torch.equal(torch.get_rng_state(), state)


# -- errors -----------------------------------------------------------------------------------


class Breaking:
    """A picture that cannot be drawn while `broken` says so, halfway through its update."""

    def __init__(self, picture, broken):
        self.picture, self.broken = picture, broken
        self.figure, self.artists = picture.figure, picture.artists

    def update(self, result):
        changed = self.picture.update(result)
        if self.broken:
            raise RuntimeError("the pen broke")
        return changed


@pytest.mark.parametrize("place", ["compute", "draw", "encode"])
@each_lab
def test_an_error_is_one_sentence_and_the_next_move_works(name, place, monkeypatch):
    lab = getattr(tk.labs, name)()
    spec = lab.spec
    broken: list[bool] = []

    def compute(settings):
        if broken and place == "compute":
            raise ValueError("rho must be <small>.")
        return spec.compute(settings)

    lab.spec = replace(
        spec,
        compute=compute,
        picture=lambda: Breaking(spec.picture(), broken if place == "draw" else []),
    )
    assert lab.widget is not None
    before = lab.view.value
    if place == "encode":
        monkeypatch.setattr("teachkit.labs.base.image_html", lambda *_: 1 / 0)
    broken.append(True)
    for control in spec.controls[:3]:  # one of them changes the axes too
        move(lab, **{control.name: ends(control)[0]})
    message = lab.message.value
    assert "class='teachkit-error'" in message
    assert "Traceback" not in message
    assert {
        "compute": "rho must be &lt;small&gt;.",
        "draw": "RuntimeError: the pen broke",
        "encode": "ZeroDivisionError: ",
    }[place] in message
    assert isinstance(lab.error, Exception)
    assert "Traceback (most recent call last)" in lab.trace  # for whoever looks for the cause
    assert lab.view.value == before

    broken.clear()
    monkeypatch.undo()
    move(lab, seed=7)
    check_shown(lab)
    anew = Canvas(spec.picture()).png(spec.compute(lab.settings))
    np.testing.assert_array_equal(pixels(lab.view.value), pixels(anew))


# -- what a saved notebook keeps --------------------------------------------------------------


@each_lab
def test_the_poster_is_a_picture_for_each_of_its_sentences(name, monkeypatch):
    displayed = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: displayed.append((a, k)))
    monkeypatch.setenv("TEACHKIT_POSTER", "1")
    lab = getattr(tk.labs, name)()
    lab._ipython_display_()
    ((data,), options) = displayed[0]
    count = len(lab.spec.posters(lab.start))
    assert len(data["text/plain"].splitlines()) == count
    assert options["metadata"]["image/png"]["alt"] == data["text/plain"]
    ((below,), _) = displayed[1]
    assert below["text/plain"] == data["text/plain"]
    for sentence in data["text/plain"].splitlines():
        assert sentence in below["text/markdown"].replace("\\", "")
    width, height = lab.spec.picture().figure.canvas.get_width_height()
    sheet = Image.open(BytesIO(lab.poster_png()))
    assert sheet.size == (width, count * height + 8 * (count - 1))
    assert len(lab.poster_png()) < 200_000  # a chapter with its outputs stays below 1 MB


@each_lab
def test_a_live_kernel_shows_the_widget(name, monkeypatch):
    displayed: list[object] = []
    monkeypatch.setattr("IPython.display.display", displayed.append)
    monkeypatch.delenv("TEACHKIT_POSTER", raising=False)
    lab = getattr(tk.labs, name)()
    lab._ipython_display_()
    assert displayed == [lab.widget]


@each_lab
def test_the_sentence_alone_needs_no_widget(name):
    lab = getattr(tk.labs, name)()
    assert re.match(r"\S.*\.$", lab.sentence)
    assert words(open_lab(name).view.value) == lab.sentence

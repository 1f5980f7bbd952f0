"""Controls whose limits depend on other controls: what they offer, refuse, and move to."""

import itertools
import re
from dataclasses import replace

import ipywidgets as widgets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import teachkit as tk
from teachkit.labs.base import Lab
from teachkit.labs.controls import Choice, Slider, Stops

FOODS = {"breakfast": ("egg", "toast"), "lunch": ("soup", "bread", "pie"), "tea": ("cake",)}
DAYS = {"work": ("breakfast", "lunch"), "rest": ("breakfast", "lunch", "tea")}
MEAL = Choice("meal", "meal", "breakfast", ("breakfast", "lunch", "tea"))
FOOD = Choice(
    "food", "food", "egg", sum(FOODS.values(), ()), kin=(("toast", "bread"), ("cake", "pie"))
)
GRAMS = Slider("grams", "grams", 50, 0, 500, 10)


def spec():
    """A lab of meals: the day limits the meal, the meal the food, the food its weight."""
    grams = {"cake": (100, 200), "soup": (300, 500)}
    return replace(
        tk.labs.forget_bias().spec,
        name="meals",
        controls=(Choice("day", "day", "rest", tuple(DAYS)), MEAL, FOOD, GRAMS),
        compute=dict,
        sentence=lambda result: f"{result}.",
        limits=lambda s: {
            "meal": DAYS[s["day"]],
            "food": FOODS[s["meal"]],
            "grams": grams.get(s["food"], (0, 300)),
        },
    )


def opened(**settings):
    """The lab with its widgets, without its picture."""
    lab = Lab(spec(), settings)
    lab._redraw = lambda: None  # type: ignore[method-assign]
    assert lab.widget is not None
    return lab


def offered(lab, name):
    return tuple(value for _, value in lab.controls[name].options)


ANY = st.fixed_dictionaries(
    {
        "day": st.sampled_from(tuple(DAYS)),
        "meal": st.sampled_from(MEAL.options),
        "food": st.sampled_from(FOOD.options),
        "grams": st.integers(0, 500),
    }
)


@pytest.mark.parametrize(
    ("value", "limit", "nearest"),
    [
        ("egg", FOODS["breakfast"], "egg"),
        ("toast", FOODS["lunch"], "bread"),
        ("bread", FOODS["breakfast"], "toast"),
        ("cake", FOODS["lunch"], "pie"),
        ("pie", FOODS["tea"], "cake"),
        ("egg", FOODS["lunch"], "soup"),  # no kin: the first
        ("cake", FOODS["breakfast"], "egg"),  # its kin is not offered either
    ],
)
def test_a_choice_moves_to_its_kin_or_to_the_first(value, limit, nearest):
    assert FOOD.nearest(value, limit) == nearest


@given(ANY)
def test_what_fits_is_allowed_and_stays(settings):
    fitted = spec().fit(settings)
    assert spec().check(fitted) == spec().fit(fitted) == fitted
    for name, limit in spec().limits(fitted).items():
        low, high = limit[0], limit[-1]
        assert low <= fitted[name] <= high if name == "grams" else fitted[name] in limit


@given(ANY)
def test_what_is_refused_is_what_would_have_to_move(settings):
    if spec().fit(settings) == settings:
        assert spec().check(settings) == settings
    else:
        with pytest.raises(ValueError, match=r"^(meal|food|grams) must be .* was given\.$"):
            spec().check(settings)


def test_settings_may_come_in_any_order():
    settings = {"food": "cake", "grams": 150, "meal": "tea", "day": "rest"}
    for order in itertools.permutations(settings.items()):
        assert spec().check(dict(order)) == settings


def test_what_was_not_given_follows_what_was():
    assert spec().check({"meal": "tea"}) == {
        "day": "rest", "meal": "tea", "food": "cake", "grams": 100,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"food": "soup", "meal": "tea"},
            r"^food must be 'cake' here, but 'soup' was given\.$",
        ),
        (
            {"meal": "tea", "day": "work"},
            r"^meal must be one of 'breakfast', 'lunch', but 'tea' was given\.$",
        ),
        ({"grams": 90, "meal": "tea"}, r"^grams must be a number from 100 to 200, but 90 was"),
    ],
)
def test_two_settings_that_cannot_be_together_are_one_sentence(settings, said):
    with pytest.raises(ValueError, match=said):
        spec().check(settings)


@pytest.mark.parametrize("given", [1.04119, 2, "much", None, float("nan")])
def test_a_slider_with_one_value_left_names_it_to_the_last_digit(given):
    slider = Slider("rho", "rho", 1.0, 0.0, 3.0, 0.01)
    said = f"rho must be 1.041189 here, but {given!r} was given."
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        slider.check(given, (1.041189, 1.041189))
    assert slider.check(1.041189, (1.041189, 1.041189)) == 1.041189


def test_the_widgets_offer_what_can_be_chosen():
    lab = opened()
    assert offered(lab, "food") == FOODS["breakfast"]
    lab.controls["food"].value = "toast"
    lab.controls["meal"].value = "lunch"
    assert offered(lab, "food") == FOODS["lunch"]
    assert lab.controls["food"].value == lab.settings["food"] == "bread"
    lab.controls["meal"].value = "tea"
    assert (offered(lab, "food"), lab.settings["food"]) == (("cake",), "cake")
    grams = lab.controls["grams"]
    assert (grams.min, grams.max, grams.value, lab.settings["grams"]) == (100, 200, 100, 100)
    lab.controls["day"].value = "work"  # which has no tea
    assert (offered(lab, "meal"), lab.settings["meal"]) == (DAYS["work"], "breakfast")
    assert (offered(lab, "food"), lab.settings["food"]) == (FOODS["breakfast"], "egg")
    assert (grams.min, grams.max, grams.value) == (0, 300, 100)
    assert lab.error is None


def test_a_move_of_one_control_is_one_redraw():
    lab = opened()
    drawn = []
    lab._redraw = lambda: drawn.append(dict(lab.settings))
    lab.controls["meal"].value = "tea"
    assert drawn == [{"day": "rest", "meal": "tea", "food": "cake", "grams": 100}]


def test_who_leaves_a_place_aside_finds_the_values_from_before():
    lab = opened(meal="breakfast", food="toast", grams=30)
    lab.spec = replace(lab.spec, aside=lambda s: s["meal"] == "tea")
    for _ in range(2):
        lab.controls["meal"].value = "tea"
        assert (lab.settings["food"], lab.settings["grams"]) == ("cake", 100)
        lab.controls["meal"].value = "breakfast"
        assert (lab.settings["food"], lab.settings["grams"]) == ("toast", 30)
    lab.controls["meal"].value = "tea"
    lab.controls["grams"].value = 150  # moved by hand: it stays
    lab.controls["meal"].value = "lunch"
    assert (lab.settings["food"], lab.settings["grams"]) == ("bread", 150)
    assert {name: control.value for name, control in lab.controls.items()} == lab.settings
    lab.controls["meal"].value = "tea"
    lab.reset()
    lab.controls["grams"].value = 60
    assert lab.settings == {"day": "rest", "meal": "breakfast", "food": "toast", "grams": 60}
    assert lab.error is None


def test_a_lab_that_opens_aside_is_left_for_its_defaults_and_what_was_asked_for():
    lab = Lab(replace(spec(), aside=lambda s: s["meal"] == "tea"), {"meal": "tea", "day": "rest"})
    lab._redraw = lambda: None  # type: ignore[method-assign]
    assert lab.widget is not None
    for _ in range(2):
        assert lab.settings["grams"] == 100
        lab.controls["meal"].value = "breakfast"
        assert lab.settings == {"day": "rest", "meal": "breakfast", "food": "egg", "grams": 50}
        lab.controls["grams"].value = 70
        lab.reset()
    asked = Lab(lab.spec, {"meal": "tea", "grams": 150})
    asked._redraw = lambda: None  # type: ignore[method-assign]
    assert asked.widget is not None
    asked.controls["meal"].value = "breakfast"
    assert asked.settings["grams"] == 150


def test_reset_offers_again_what_it_offered():
    lab = opened(meal="lunch", food="pie", grams=30)
    lab.controls["meal"].value = "tea"
    lab.reset()
    assert lab.settings == {"day": "rest", "meal": "lunch", "food": "pie", "grams": 30}
    assert {name: control.value for name, control in lab.controls.items()} == lab.settings
    assert offered(lab, "food") == FOODS["lunch"]
    assert (lab.controls["grams"].min, lab.controls["grams"].max) == (0, 300)


def test_a_slider_is_read_without_the_rounding_of_the_browser():
    slider = Slider("rho", "rho", 1.0, 0.0, 20.0, 0.01)
    widget = slider.widget()
    widget.value = 18.950000000000003
    assert slider.read(widget) == 18.95
    moved: list[object] = []
    widget.observe(moved.append, "value")
    slider.put(widget, 18.95)
    assert moved == []  # nothing is sent back to a hand that is dragging


# -- a slider over a few values -----------------------------------------------------------------

LENGTH = Stops("length", "window length", 10, (5, 10, 12, 20))
COUNT = Stops("count", "sequences", "all", (16, 128, "all"))
WINDOWS, NAMES = (5, 10, 20), (12,)


def windows():
    """A lab of windows, of which names have one length only."""
    return replace(
        spec(),
        name="windows",
        controls=(Choice("task", "task", "sunspots", ("sunspots", "names")), LENGTH, COUNT),
        limits=lambda s: {"length": NAMES if s["task"] == "names" else WINDOWS},
    )


@pytest.mark.parametrize(
    ("value", "limit", "nearest"),
    [
        (10, WINDOWS, 10),
        (12, WINDOWS, 10),  # 10 and 20 are as near in the row: the earlier
        (5, NAMES, 12),
        (20, NAMES, 12),
        (5, (10, 20), 10),
        (20, (5, 10), 10),
    ],
)
def test_a_stop_moves_to_the_one_beside_it(value, limit, nearest):
    assert LENGTH.nearest(value, limit) == nearest


@given(
    st.sampled_from(LENGTH.options),
    st.lists(st.sampled_from(LENGTH.options), min_size=1, unique=True).map(sorted).map(tuple),
)
def test_the_nearest_stop_is_offered_and_none_is_nearer(value, limit):
    found = LENGTH.nearest(value, limit)
    assert found in limit
    assert LENGTH.nearest(found, limit) == found
    between = LENGTH.options[slice(*sorted(map(LENGTH.options.index, (value, found))))]
    assert not set(limit) & set(between) - {value, found}
    assert (found == value) == (value in limit)


@pytest.mark.parametrize(
    ("given", "kept"), [(128, 128), (128.0, 128), ("all", "all"), (np.int64(16), 16)]
)
def test_a_stop_is_kept_as_it_stands_in_the_row(given, kept):
    found = COUNT.check(given)
    assert found == kept
    assert type(found) is type(kept)  # the settings line would say 128.0, or np.int64(16)


@pytest.mark.parametrize("given", [17, "every", None, float("nan"), [16], -16])
def test_what_is_no_stop_is_one_sentence(given):
    said = f"count must be one of 16, 128, 'all', but {given!r} was given."
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        COUNT.check(given)


def test_a_stop_outside_its_limit_names_what_is_offered():
    with pytest.raises(ValueError, match=r"^length must be 12 here, but 10 was given\.$"):
        LENGTH.check(10, NAMES)
    with pytest.raises(ValueError, match=r"^length must be one of 5, 10, 20, but 12 was given\.$"):
        Lab(windows(), {"length": 12})
    assert Lab(windows(), {"length": 12, "task": "names"}).settings["length"] == 12


def test_stops_are_a_live_slider_that_shows_their_values():
    widget = COUNT.widget()
    assert isinstance(widget, widgets.SelectionSlider)
    assert widget.continuous_update  # dragging is live
    assert widget.readout
    assert not widget.disabled
    assert widget.description == "sequences"
    assert getattr(widget, "tooltip", "sequences") == "sequences"  # ipywidgets 7 has none
    assert (widget.options, widget.value) == ((("16", 16), ("128", 128), ("all", "all")), "all")
    widget.index = 1  # what the page sends
    assert COUNT.read(widget) == 128


def test_stops_follow_their_limit_and_come_back():
    lab = Lab(windows(), {"length": 20})
    lab._redraw = lambda: None  # type: ignore[method-assign]
    assert lab.widget is not None
    slider = lab.controls["length"]
    assert (offered(lab, "length"), slider.value) == (WINDOWS, 20)
    lab.controls["task"].value = "names"
    assert (offered(lab, "length"), slider.value, lab.settings["length"]) == (NAMES, 12, 12)
    lab.controls["task"].value = "sunspots"
    assert (offered(lab, "length"), slider.value, lab.settings["length"]) == (WINDOWS, 10, 10)
    lab.reset()
    assert (offered(lab, "length"), slider.value, lab.settings["length"]) == (WINDOWS, 20, 20)
    assert lab.error is None


def test_the_page_gets_the_values_of_a_slider_before_its_place():
    # In one message ipywidgets 8 keeps the old range, and shows the first value for ever.
    sent = []
    widget = LENGTH.widget()
    widget.send_state = lambda key=None: sent.append(key)
    LENGTH.put(widget, 12, NAMES)
    LENGTH.put(widget, 10, WINDOWS)
    assert (tuple(v for _, v in widget.options), widget.value) == (WINDOWS, 10)
    if int(widgets.__version__.partition(".")[0]) < 8:
        assert sent == []  # which sends nothing without a kernel
        return
    last = len(sent) - 1 - sent[::-1].index("_options_labels")
    assert "index" in sent[last:]


def test_a_slider_with_one_value_left_is_switched_off_and_keeps_its_range():
    lab = opened(meal="lunch", food="pie", grams=30)
    lab.spec = replace(lab.spec, limits=lambda _: {"grams": (70, 70)})
    grams = lab.controls["grams"]
    assert not grams.disabled
    lab.controls["meal"].value = "tea"
    assert (grams.disabled, grams.value, lab.settings["grams"]) == (True, 70, 70)
    assert (grams.min, grams.max) == (0, 500)  # a page draws no slider without a range
    grams.value = 200  # whoever moves it all the same
    assert (grams.value, lab.settings["grams"]) == (70, 70)
    lab.spec = replace(lab.spec, limits=lambda _: {"grams": (100, 200)})
    lab.controls["meal"].value = "lunch"
    assert (grams.disabled, grams.value, grams.min, grams.max) == (False, 100, 100, 200)
    assert lab.error is None

"""Controls whose limits depend on other controls: what they offer, refuse, and move to."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import teachkit as tk
from teachkit.labs.base import Lab
from teachkit.labs.controls import Choice, Slider

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
            r"^food must be one of 'cake', but 'soup' was given\.$",
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

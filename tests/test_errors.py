import math

import numpy as np
import pytest
import torch

from teachkit import errors


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (-1, "-1"),
        ("a" * 100, "'" + "a" * 56 + "..."),
        (torch.zeros(2, 3), "Tensor of shape (2, 3)"),
        (np.zeros(4), "ndarray of shape (4,)"),
        (torch.Tensor, "<class 'torch.Tensor'>"),
    ],
)
def test_the_sentence_names_argument_given_and_allowed(given, text):
    message = str(errors.bad("rho", given, "at least 0"))
    assert message == f"rho must be at least 0, but {text} was given."


@pytest.mark.parametrize("given", ["a", None, math.nan, math.inf, -1, 3.5, 10**400, torch.ones(2)])
def test_check_number_refuses(given):
    with pytest.raises(ValueError, match=r"^rho must be a number from 0 to 3, but .* was given"):
        errors.check_number("rho", given, 0, 3)


@pytest.mark.parametrize(
    ("low", "high", "allowed"),
    [
        (-math.inf, math.inf, "a finite number"),
        (0, math.inf, "a number of at least 0"),
        (-math.inf, 2, "a number of at most 2"),
    ],
)
def test_check_number_says_what_is_allowed(low, high, allowed):
    with pytest.raises(ValueError, match=f"must be {allowed}, but nan"):
        errors.check_number("rho", math.nan, low, high)


@pytest.mark.parametrize("given", [0, 3, 2, 1.5, "2", np.float32(2), torch.tensor(2)])
def test_check_number_returns_a_float_and_includes_its_bounds(given):
    number = errors.check_number("rho", given, 0, 3)
    assert type(number) is float
    assert number == float(given)


@pytest.mark.parametrize("given", ["3", None, True, 2.5, 0, 6, math.nan, math.inf, torch.ones(2)])
def test_check_count_refuses(given):
    match = "^steps must be a whole number of at least 1 and at most 5, but .* was given"
    with pytest.raises(ValueError, match=match):
        errors.check_count("steps", given, 1, 5)


@pytest.mark.parametrize("given", [1, 5, 3.0, np.int64(3), torch.tensor(3)])
def test_check_count_returns_an_int_and_includes_its_bounds(given):
    count = errors.check_count("steps", given, 1, 5)
    assert type(count) is int
    assert count == given


@pytest.mark.parametrize("given", ["z", None, 1, [1]])
def test_check_choice_lists_the_choices(given):
    with pytest.raises(ValueError, match=r"^name must be one of 'a', 'b', but .* was given"):
        errors.check_choice("name", given, iter("ab"))


def test_check_choice_accepts_each_choice():
    for choice in "ab":
        errors.check_choice("name", choice, ["a", "b"])


@pytest.mark.parametrize("given", ["a", None, ["1"], [[1], [1, 2]], object()])
def test_check_tensor_refuses_what_is_not_numbers(given):
    with pytest.raises(ValueError, match=r"^W must be a matrix, but"):
        errors.check_tensor("W", given, "a matrix")


def test_check_tensor_keeps_a_tensor_and_converts_a_list():
    W = torch.eye(2)
    assert errors.check_tensor("W", W, "a matrix") is W
    assert errors.check_tensor("W", [[1, 2]], "a matrix", torch.float64).dtype == torch.float64


@pytest.mark.parametrize("given", [np.array([True, False]), torch.ones(2)])
def test_an_array_is_no_choice(given):
    with pytest.raises(
        ValueError, match=r"^fused must be one of True, False, but .* of shape \(2,"
    ):
        errors.check_choice("fused", given, (True, False))

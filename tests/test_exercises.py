"""Each check: open on `...`, right on right answers, and the hint that is meant for a wrong one."""

import math

import pytest
import torch

from teachkit.exercises import Checks, Feedback, check

EXERCISES = [name for name in vars(Checks) if not name.startswith("_")]


def scaled_by(radius):
    return lambda W, rho: W * rho / radius(W)


RIGHT = {
    "half_after_50": [0.5 ** (1 / 50), "0.986", torch.tensor(0.986)],
    "rescale": [
        scaled_by(lambda W: torch.linalg.eigvals(W).abs().max()),
        lambda W, rho: (W * rho / torch.linalg.eigvals(W).abs().max()).float(),
    ],
    "hidden_growth": [
        [[0.5, 20.0], [0.0, 0.5]],
        torch.tensor([[0.5, 0.0], [30.0, 0.5]]),
        [[20.5, 20.0], [-20.0, -19.5]],
    ],
    "exploding_sigmoid": [16, 20.0, 30],
    "horizon_100": [math.log(99), 4.6],
}
# (answer, words of the hint that is meant for it)
WRONG = {
    "half_after_50": [
        (0.5, "halves it at every step"),
        (0.99, "compounds"),
        (1.0, "Solve rho^50 = 0.5"),
        (-1, "from 0 to 10"),
        (1e9, "from 0 to 10"),
        ("much", "single finite number"),
        (float("nan"), "single finite number"),
    ],
    "rescale": [
        (lambda W, rho: W * rho, "Divide by the radius"),
        (scaled_by(lambda W: torch.linalg.matrix_norm(W, 2)), "largest singular value"),
        (scaled_by(torch.linalg.matrix_norm), "Frobenius norm"),
        (scaled_by(lambda W: torch.linalg.eigvals(W).real.max()), "largest real part"),
        (lambda W, rho: rho * torch.eye(len(W), dtype=W.dtype), "no longer a multiple"),
        (lambda W, rho: W * rho * 2, "largest absolute eigenvalue of your matrix"),
        (lambda W, rho: W[0], "same shape"),
        (lambda W, rho: W * float("nan"), "NaN"),
        (lambda W, rho: W / torch.linalg.eigvals(W).max(), "take .abs() before"),
        (lambda W, rho: W.numpy() * rho, "torch tensor"),
        (lambda W, rho: 1 / 0, "raised ZeroDivisionError"),
        (lambda W, rho: torch.linalg.eigvals(W), "real torch tensor of the same shape"),
        (1.5, "function of (W, rho)"),
    ],
    "hidden_growth": [
        ([[0.5, 0.0], [0.0, 0.5]], "diagonal matrix is normal"),
        ([[0.5, 1.0], [0.0, 0.5]], "larger entry"),
        ([[0.9, 5.0], [0.0, 0.9]], "eigenvalues are 0.900"),
        ([[0.9, 5.0]], "2 x 2"),
        ("A", "2 x 2"),
        ([[0.5, 1e6], [0.0, 1.0]], "both must be 0.5"),
        ([[5.0, 1e8], [0.0, -4.0]], "both must be 0.5"),
        ([[float("inf"), 0.0], [0.0, 0.9]], "finite"),
    ],
    "exploding_sigmoid": [
        (4, "Up to 4"),
        (5, "Above 4 is not enough"),
        (-1, "from 0 to 1000"),
        ([1, 2], "single finite number"),
    ],
    "horizon_100": [
        (math.log(100), "forgot the 1"),
        (100, "goes through a sigmoid"),
        (0.99, "what the gate should be"),
        (1.0, "Solve 1 + e^b"),
        (None, "single finite number"),
    ],
}


def test_every_exercise_is_tested():
    assert set(EXERCISES) == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_unanswered_exercise_is_open(name):
    found = getattr(check, name)(...)
    assert found.status == "open"
    assert not found


def test_a_function_that_still_returns_dots_is_open():
    assert check.rescale(lambda W, rho: ...).status == "open"


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n in RIGHT for a in RIGHT[n]])
def test_right_answers(name, answer):
    found = getattr(check, name)(answer)
    assert found, found.message
    assert found.png is not None


@pytest.mark.parametrize(("name", "answer", "hint"), [(n, *w) for n in WRONG for w in WRONG[n]])
def test_typical_wrong_answers_get_their_hint(name, answer, hint):
    found = getattr(check, name)(answer)
    assert found.status == "wrong"
    assert hint in found.message


def test_feedback_shows_the_drawing_with_its_words_and_escapes_them():
    page = Feedback("wrong", "a < b", b"png")._repr_html_()
    assert 'alt="Not yet. a &lt; b"' in page
    assert "a < b" not in page

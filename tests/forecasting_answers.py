"""Answers to the exercises of chapter 06 and the quiz: right ones, wrong ones with hints, stubs."""

from typing import Any

import numpy as np
import torch
from torch import nn

import teachkit as tk
from teachkit.exercises.quiz_questions import QUESTIONS

# The simplest rival.


def seasonal_naive(series, period, horizon):
    last = series[-period:]
    return [last[k % period] for k in range(horizon)]


def step_by_step(series, period, horizon):
    """Go back whole periods until a value is known."""
    found = []
    for k in range(horizon):
        place = len(series) + k
        while place >= len(series):
            place -= period
        found.append(series[place])
    return torch.tensor(found)


def feeding_back(series, period, horizon):
    values = list(series)
    for _ in range(horizon):
        values.append(values[-period])
    return values[-horizon:]


def places(place):
    """A forecast that takes series[place(k, period, horizon, length)]."""
    return lambda s, p, h: s[[place(k, p, h, len(s)) for k in range(h)]]


def in_place(series, period, horizon):
    series[:] = 0.0
    return np.resize(series[-period:], horizon)


def by_index(series, period, horizon):
    return [series[len(series) + k - period] for k in range(horizon)]


# The saved forecaster.


def loader(*, settings=None, strict=True, layer=tk.LSTM, weights=True, evaluate=True, use=None):
    """A loader with mistakes; use: what to do with (model, values, mean, std)."""

    def load(path):
        saved = torch.load(path, weights_only=True)
        options = {"initial_state": "learned+noisy"} if settings is None else settings
        model = tk.SequenceModel(layer(1, saved["hidden_size"], **options), 24)
        if weights:
            model.load_state_dict(saved["state_dict"], strict=strict)
        if evaluate:
            model.eval()
        forecast = use or (lambda model, x, mean, std: model((x - mean) / std) * std + mean)
        return lambda values: forecast(model, values, saved["mean"], saved["std"])

    return load


def load(path):
    saved = torch.load(path, weights_only=True)
    lstm = tk.LSTM(1, saved["hidden_size"], initial_state="learned+noisy")
    model = tk.SequenceModel(lstm, 24)
    model.load_state_dict(saved["state_dict"])
    model.eval()

    def forecast(values):
        with torch.no_grad():
            scaled = (values - saved["mean"]) / saved["std"]
            return model(scaled) * saved["std"] + saved["mean"]

    return forecast


def other_file(path):
    return torch.load(path, weights_only=True).eval()


def other_size(path):
    model = tk.SequenceModel(tk.LSTM(1, 5, initial_state="learned+noisy"), 24)
    model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])


def whole_dict(path):
    model = tk.SequenceModel(tk.LSTM(1, 8), 24)
    model.load_state_dict(torch.load(path, weights_only=True), strict=True)


def model_alone(path):
    model = tk.SequenceModel(tk.LSTM(1, 8, initial_state="learned+noisy"), 24)
    model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    return model.eval()


PLAIN = {"layer": nn.LSTM, "settings": {}}
KEY = {number: question.right for number, question in QUESTIONS.items()}

RIGHT: dict[str, list[Any]] = {
    "seasonal_naive": [
        seasonal_naive,
        step_by_step,
        feeding_back,
        lambda s, p, h: np.resize(s[-p:], h),
        lambda s, p, h: torch.tensor(s[-p:]).repeat(h // p + 1)[:h],
        lambda s, p, h: np.tile(s[-p:], h)[:h].tolist(),
    ],
    "leaks": [{"a", "b", "c", "e"}, "abce", "a, b, c, e", ["E", "c)", "b", "a"], ("a", *"bce")],
    "same_forecast": [
        load,
        loader(),  # with gradients
        loader(settings={"initial_state": "learned"}, evaluate=False),  # draws no noise anyway
        loader(use=lambda model, x, mean, std: torch.addcmul(
            torch.tensor(mean), model(x / std - mean / std), torch.tensor(std))),
    ],
    "quiz": [
        KEY,
        {str(number): f" {letter.upper()})" for number, letter in KEY.items()},
        {np.int64(number): letter for number, letter in reversed(KEY.items())},
    ],
}  # fmt: skip
WRONG: dict[str, list[tuple[Any, str]]] = {
    "seasonal_naive": [
        (places(lambda k, p, h, n: n - 1), "repeats the last value"),
        (places(lambda k, p, h, n: -p + k), "counts from the beginning"),
        (places(lambda k, p, h, n: n - p + min(k, p - 1)), "After it you repeat the last value"),
        (places(lambda k, p, h, n: n - p + (k + 1) % p), "a step too late"),
        (places(lambda k, p, h, n: n - p - 1 + k % p), "a step too early"),
        (places(lambda k, p, h, n: n - p + (k - 1) % p), "a step too early"),
        (places(lambda k, p, h, n: k), "took the beginning of the series"),
        (places(lambda k, p, h, n: k % p), "took the beginning of the series"),
        (places(lambda k, p, h, n: n - h + k), "the last `horizon` values"),
        (places(lambda k, p, h, n: n - 1 - k % p), "runs backwards"),
        (lambda s, p, h: np.resize(s[-p:], h)[::-1], "runs backwards"),
        (places(lambda k, p, h, n: n - 2 * p + k % p), "older than it need be"),
        (places(lambda k, p, h, n: n - p + (5 * k) % p), "forecast 2 should be series[-11]"),
        (by_index, "go back further, or repeat the last period"),
        (lambda s, p, h: s[len(s) - p + np.arange(h)], "go back further"),
        (lambda s, p, h: s[-p:], "cut it off after 5"),
        (lambda s, p, h: s[-p:][:h], "repeat it until it is long enough"),
        (lambda s, p, h: s[-p:] + np.zeros(h), "horizon need not be period"),
        (lambda s, p, h: s, "you returned 40 values. Return 5."),
        (lambda s, p, h: np.full(h, s.mean()), "You forecast the mean"),
        (lambda s, p, h: np.full(h, s[-p:].mean()), "You forecast the mean"),
        (lambda s, p, h: np.resize(s[-p:], h) * 1.01, "not values of the series"),
        (lambda s, p, h: np.resize(s[-p:], (h, 1)), "one row of 5 numbers, not shape (5, 1)"),
        (lambda s, p, h: np.resize(s[-p:], h) * np.nan, "NaN or infinity"),
        (lambda s, p, h: ["much"] * h, "an array or a list of numbers"),
        (lambda s, p, h: np.resize(s[-p:], h) * 1j, "an array or a list of numbers"),
        (in_place, "work on a copy"),
        (lambda s, p, h: seasonal_naive(s, min(p, 12), h), "another"),
        (lambda s, p: s, "raised TypeError"),
        (7, "A function of (series, period, horizon)"),
    ],
    "leaks": [
        ({"a", "b", "c", "d", "e"}, "whoever forecasts knows the past"),
        ({"a", "b", "c", "e", "f"}, "what a validation part is for"),
        ({"b", "c", "e"}, "share all months but one"),
        ("ace", "the mean of the whole series"),
        ({"a", "b", "e"}, "the end of the last training windows"),
        ("abc", "something was chosen by it"),
        ({"d"}, "0 of the 4 leaks found. d is fine"),
        ({"a", "x"}, "'x' is none of them"),
        ({"a", ""}, "'' is none of them"),
        ({1, 2}, "set of letters"),
        ({"a": 1}, "set of letters"),
        (set(), "set of letters"),
        (3, "set of letters"),
    ],
    "same_forecast": [
        (loader(evaluate=False), "call eval()"),
        (loader(weights=False), "Use load_state_dict"),
        (loader(weights=False, evaluate=False), "call eval()"),
        (loader(**PLAIN), "with h0 and c0"),
        (loader(**PLAIN, strict=False), "The learned start is lost"),
        (loader(settings={"initial_state": "zero"}, strict=False), "The learned start is lost"),
        (
            loader(**PLAIN, strict=False, use=lambda model, x, mean, std: model(x)),
            "The learned start is lost",
        ),
        (loader(use=lambda model, x, mean, std: model(x)), "The scaling is lost"),
        (model_alone, "The scaling is lost"),
        (loader(use=lambda model, x, mean, std: model((x - mean) / std)), "times std, plus mean"),
        (
            loader(use=lambda model, x, mean, std: model(x) * std + mean),
            "not the values that go in",
        ),
        (
            loader(
                use=lambda model, x, *_: model((x - x.mean()) / x.std()) * x.std() + x.mean()
            ),
            "by the values at hand",
        ),
        (
            loader(
                use=lambda model, x, mean, std: model((x - x.mean()) / x.std()) * std + mean
            ),
            "by the values at hand",
        ),
        (
            loader(use=lambda model, x, mean, std: model((x - mean) / std) * std + mean + 1),
            "differ from the forecasts before saving by up to 1.",
        ),
        (loader(use=lambda model, x, mean, std: model((x - mean) / std)[0]), "have shape (24,)"),
        (loader(use=lambda model, x, mean, std: model(x * torch.nan)), "NaN or infinity"),
        (loader(use=lambda model, x, mean, std: model((x - mean) / std).numpy()), "raised"),
        (loader(use=lambda *_: [1.0]), "that returns the forecasts"),
        (other_file, "the dict that was saved, not a model"),
        (other_size, "The file holds hidden_size"),
        (whole_dict, "under 'state_dict'"),
        (lambda path: 1.0, "Return a function"),
        (lambda path: 1 / 0, "raised ZeroDivisionError"),
        (lambda: None, "raised TypeError"),
        (1.0, "A function of (path)"),
    ],
    "quiz": [
        (KEY | {3: "c"}, "13 of 14 right. Think again about 3."),
        ({1: "b", 2: "a", "5": "a"}, "2 of 14 right. Think again about 2. Still open: 3, 4 and"),
        (dict.fromkeys(KEY, "a"), "3 of 14 right. Think again about 1, 2, 4, 6 to 11, 13 and 14."),
        (KEY | {15: "a"}, "the numbers 1 to 14; there is no 15"),
        (KEY | {"one": "a"}, "there is no 'one'"),
        ({True: "a"}, "there is no True"),
        ({1: "d"}, "Question 1 has the options a, b, c; 'd' is none of them"),
        ({2: "ab"}, "'ab' is none of them"),
        ({2: {"a"}}, "{'a'} is none of them"),
        ({2: None}, "None is none of them"),
        ({2: "a" * 99}, "aaa... is none of them"),
        ({2: "a", "2": "b"}, "Question 2 is answered twice"),
        (list("bdac"), "A dictionary of numbers and letters"),
        ("bdac", "A dictionary of numbers and letters"),
    ],
}  # fmt: skip
STUBS: dict[str, list[Any]] = {
    "seasonal_naive": [lambda s, p, h: ..., lambda s, p, h: None, lambda s, p, h: [...]],
    "leaks": [{...}, [..., "a"]],
    "same_forecast": [lambda path: ..., lambda path: None, lambda path: lambda values: ...],
    "quiz": [dict.fromkeys(KEY, ...), {}, {1: ...}, {1: "b", 2: ...}],
}

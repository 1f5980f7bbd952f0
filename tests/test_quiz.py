"""The closing quiz: its texts agree with the chapters, and its key with what can be computed."""

import math
import re
from io import BytesIO

import matplotlib.image
import numpy as np
import pytest
import torch
from torch import nn

import teachkit as tk
from teachkit.exercises import check
from teachkit.exercises.quiz_questions import QUESTIONS
from tests.forecasting_answers import KEY
from tools.notebooks import NOTEBOOKS

SAID = [(n, letter, text) for n, q in QUESTIONS.items() for letter, text in q.says.items()]
CITED = re.compile(r"\(chapter (\d\d)(?:, section (\d+))?\)")
# Numbers that are no measurements: of formulas and settings.
FORMAL = {"0", "1", "2"}


def source(chapter):
    (path,) = (NOTEBOOKS / "source").glob(f"{chapter}_*.py")
    return re.sub(r"(?m)^# ?", "", path.read_text(encoding="utf-8"))


def section(chapter, number):
    _, heading, rest = source(chapter).partition(f"\n## {number}. ")
    assert heading, f"chapter {chapter} has no section {number}"
    return rest.partition("\n## ")[0]


def asked(text):
    """The questions of a chapter: {number: its letters}."""
    parts = re.split(r"(?m)^\*\*(\d+)\.\*\* ", text.partition("## The closing quiz")[2])[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {int(n): re.findall(r"(?m)^- \*\*([a-z])\)\*\* \S", part) for n, part in pairs}


def test_the_chapter_asks_what_the_key_answers():
    expected = {number: list(question.says) for number, question in QUESTIONS.items()}
    assert asked(source("06")) == expected


def test_every_question_has_three_or_four_options_and_the_letters_are_spread():
    assert list(QUESTIONS) == [*range(1, 15)]
    for question in QUESTIONS.values():
        assert list(question.says) in (list("abc"), list("abcd"))
        assert question.right in question.says
    assert "".join(KEY.values()) == "bdacadcbdbcacb"  # as the chapter's solution has it
    counts = [list(KEY.values()).count(letter) for letter in "abcd"]
    assert min(counts) >= 3
    about = [question.about for question in QUESTIONS.values()]
    assert about == sorted(about), "the picture groups neighbours"
    assert {about.count(chapters) for chapters in about} == {2}


def test_no_two_answers_get_the_same_words():
    texts = [text for _, _, text in SAID]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(("number", "letter", "text"), SAID)
def test_what_is_said_cites_a_section_that_has_its_numbers(number, letter, text):
    cited = CITED.findall(text)
    assert cited, "no chapter to read again"
    if all(chapter in ("05", "06") for chapter, _ in cited):
        assert not any(place for _, place in cited)  # their numbers are computed below
        return
    there = " ".join(section(chapter, place) for chapter, place in cited if place)
    for value in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?", CITED.sub("", text)):
        known = re.search(rf"(?<![\d.]){re.escape(value)}(?![\d.]*\d)", there)
        assert value in FORMAL or known, f"{value} is not in {cited}"


@pytest.mark.parametrize(("number", "letter"), [(n, letter) for n, letter, _ in SAID])
def test_each_answer_is_told_its_own(number, letter):
    found = check.quiz({number: letter})
    (note,) = found.notes
    right = letter == KEY[number]
    assert note == f"{'✓' if right else '✗'} {number}{letter}: {QUESTIONS[number].says[letter]}"
    assert found.status == ("open" if right else "wrong")
    assert note in repr(found)


def test_a_partial_answer_shows_what_is_right_so_far():
    found = check.quiz({1: "b", 4: "c", 14: "b", 2: ...})
    assert found.status == "open"
    assert found.message == "3 of 14 right. Still open: 2, 3 and 5 to 13."
    assert [note[:3] for note in found.notes] == ["✓ 1", "✓ 4", "✓ 1"]
    page = found._repr_html_()
    assert page.startswith("<div")
    assert f'alt="Still open. {found.message}"' in page
    assert page.count("<p ") == 3


def test_the_picture_shows_every_box_as_it_stands():
    boxes = {}
    for name, answers in {"right": KEY, "one wrong": KEY | {7: "a"}, "one": {7: "a"}}.items():
        png = check.quiz(answers).png
        assert png is not None
        assert png == check.quiz(answers).png
        boxes[name] = matplotlib.image.imread(BytesIO(png))[..., :3]
    assert boxes["right"].shape == boxes["one wrong"].shape
    differ = np.flatnonzero((boxes["right"] != boxes["one wrong"]).any((0, 2)))
    width = boxes["right"].shape[1]
    assert width * 6 / 14.5 < differ.min() < differ.max() < width * 7.5 / 14.5
    assert (np.abs(boxes["one"] - boxes["one wrong"]) > 0.1).any()


# What the key says, where it can be computed.


def test_1_the_two_bias_vectors_are_added():
    lstm = nn.LSTM(2, 3)
    for parameter in lstm.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        for name in ("bias_ih_l0", "bias_hh_l0"):
            lstm.get_parameter(name)[3:6] = 1.0
    c0 = torch.ones(1, 1, 3)
    c = lstm(torch.randn(1, 1, 2), (0 * c0, c0))[1][1]
    torch.testing.assert_close(c, torch.sigmoid(torch.full((1, 1, 3), 2.0)))


def test_4_a_block_of_an_orthogonal_matrix_shrinks():
    W = nn.init.orthogonal_(torch.empty(512, 128, dtype=torch.float64))[128:256]
    assert tk.sigma_max(W) < 1 - 1e-3
    assert tk.spectral_radius(W).item() == pytest.approx(0.5, abs=0.1)
    assert (W.norm(dim=0) < 1).all()


def test_5_a_start_that_is_replaced_learns_nothing_and_does_not_decay():
    layer = tk.LSTM(2, 3, initial_state="learned")
    h0 = layer.get_parameter("h0")
    nn.init.ones_(h0)
    zeros = torch.zeros(1, 4, 3)
    layer(torch.randn(5, 4, 2), (zeros, zeros))[0].sum().backward()
    torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.5).step()
    assert h0.grad is None
    assert (h0 == 1).all()


def test_9_clipping_each_variable_turns_the_gradient():
    parts = [torch.tensor([3.0, 4.0]), torch.tensor([0.0, 12.0])]
    clipped = torch.cat([p / p.norm() for p in parts])
    whole = torch.cat(parts)
    assert torch.cosine_similarity(whole, clipped, dim=0).item() == pytest.approx(0.92, abs=0.005)
    values = whole.clamp(-1, 1)
    assert values.tolist() == [1, 1, 0, 1]
    assert torch.cosine_similarity(whole, values, dim=0) < 0.9


@pytest.mark.parametrize(
    ("optimizer", "same"), [(torch.optim.Adam, True), (torch.optim.SGD, False)]
)
def test_10_a_constant_factor_cancels_in_adam(optimizer, same):
    ends = []
    for factor in (1.0, 1e-3):
        w = torch.ones(3, dtype=torch.float64, requires_grad=True)
        steps = optimizer([w], lr=0.01)
        for k in range(50):
            w.grad = factor * (w.detach() - torch.tensor([0.2, 2.0, math.sin(k)]))
            steps.step()
        ends.append(w.detach())
    assert torch.allclose(ends[0], ends[1], rtol=1e-3) is same


def test_11_the_best_of_five_looks_better_than_it_is():
    """Five rates that are equally good, judged on a test part and then on fresh data."""
    rng = np.random.default_rng(0)
    reported = rng.normal(1, 0.1, (2000, 5)).min(1)
    assert reported.mean() < 1 - 0.1  # the expected minimum of five is 1.16 deviations lower


def test_12_repeating_the_last_month_explains_most_of_the_variance():
    roots = np.sqrt(tk.datasets.sunspots().to_numpy())
    cut = int(0.8 * len(roots))
    error = np.square(roots[cut:] - roots[cut - 1 : -1]).mean()
    assert 0.85 < 1 - error / roots[cut:].var() < 0.95


def test_14_the_start_decides_and_the_eigenvalues_are_zero():
    rnn, h_star = tk.nilpotent_counterexample()
    assert tk.spectral_radius(rnn.weight_hh_l0.detach()) < 1e-6
    x = torch.zeros(20, 1, 1, dtype=torch.float64)
    assert tk.gradient_through_time(rnn, x, h_star).growth[-1] > 2**19
    assert tk.gradient_through_time(rnn, x, 0 * h_star).growth[-1] < 1e-20

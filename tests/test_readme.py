"""The README: its code runs from top to bottom, and its numbers are those of the chapters."""

import functools
import re
from inspect import signature
from pathlib import Path

import pytest
import torch

import teachkit as tk
from teachkit import experiments
from tests.notebooks.claims import prose

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
WORDS = re.sub(r"\s+", " ", TEXT)
NUMBERS = {"Two": 2}


def test_the_code_in_the_readme_runs(capsys, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 4
    short = tk.compare
    monkeypatch.setattr(tk, "compare", lambda *a, **k: short(*a, **(k | {"steps": 3})))
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert names["output"].shape == (20, 16, 32)  # type: ignore[attr-defined]
    printed = capsys.readouterr().out
    assert float(printed.splitlines()[0]) > 0
    assert "learned" in printed
    assert "boot_high" in printed


def test_the_labs_that_take_a_reader_s_own_network_do():
    told = WORDS.partition("Labs take your own network as well")[2].partition(" ## ")[0]
    of_models, _, of_series = told.partition(", and `forecast`")
    names = re.findall(r"`(?:tk\.labs\.)?(\w+)", of_models)
    assert of_series.startswith(" takes your series")
    accepted = {name: signature(getattr(tk.labs, name)).parameters for name in tk.labs.__all__}
    assert sorted(names) == [name for name, given in accepted.items() if "model" in given]
    assert [name for name, given in accepted.items() if "series" in given] == ["forecast"]


def test_what_it_is_fits_one_screen():
    assert len(TEXT.partition("\n## Chapters\n")[0].splitlines()) <= 60
    picture = re.search(r"!\[([^\]]+)\]\((docs/\S+)\)", TEXT.partition("\n## Start\n")[0])
    assert picture is not None
    assert len(picture[1]) > 40, "the picture in words"
    assert (ROOT / picture[2]).is_file()


CHAPTERS = re.findall(
    r"^\| \[(\d\d) ([^\]]+)\]\(notebooks/(\w+)\.ipynb\) \| .+ \| (.+) \| (\d+) s \|$",
    TEXT,
    flags=re.MULTILINE,
)


def test_the_table_has_every_chapter():
    notebooks = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert [stem for _, _, stem, _, _ in CHAPTERS] == notebooks


@pytest.mark.parametrize("row", CHAPTERS, ids=[row[2] for row in CHAPTERS])
def test_the_table_says_what_the_chapter_says(row):
    number, title, _, reading, seconds = row
    text = prose(number)
    assert f"# {number} {title} " in text
    found = re.search(r"(\w+) minutes to read(?:, and (\d+) for the quiz)?; ([^;]+) to run", text)
    assert found is not None
    minutes = NUMBERS.get(found[1]) or int(found[1])
    assert reading == f"{minutes} min" + (f", quiz {found[2]}" if found[2] else "")
    most = re.match(r"(\d+) seconds", found[3])
    assert int(seconds) <= (int(most[1]) if most else 60)
    assert most or found[3].startswith("under a minute")


# -- what surprised us --------------------------------------------------------------------------


@functools.cache
def recalled(variant, lr=slice(None)):
    return experiments.recalled(tk.load_results("recall")).loc[variant, lr]


def accuracy(scheme):
    """The mean over seeds on the digits with ReLU, at the scheme's best rate."""
    best = experiments.at_best_rate(tk.load_results("rates"), baseline="uniform")
    rows = best.query(f"task == 'digit pixels' and activation == 'relu' and scheme == '{scheme}'")
    return round(rows["score"].item(), 2)


@functools.cache
def against_zero():
    """Every start against zeros at the end of training, at the best rate of zeros."""
    last = {task: f"at_{steps}" for task, _, _, steps, _ in experiments.STATES["cases"]}
    runs = experiments.runs_at_best_rate(tk.load_results("states"), last)
    return [
        row
        for task, own in runs.groupby("task")
        for row in experiments.gains(own, last[task], ["task"]).itertuples()
    ]


def grown(from_zero):
    """The gradient of the nilpotent network after 30 steps."""
    rnn, h_star = tk.nilpotent_counterexample()
    h0 = torch.zeros_like(h_star) if from_zero else h_star
    x = torch.zeros(30, 1, 1, dtype=torch.float64)
    return tk.gradient_through_time(rnn, x, h0).growth[-1].item()


def solved(variant, rho=None):
    """Runs of 16 that solve temporal order; None sums over all radii."""
    share = experiments.solved_share(tk.load_results("temporal_order"))
    rows = share[(share["variant"] == variant) & (share["rho"].eq(rho) | (rho is None))]
    return rows["solved"].sum()


def at_three(rho):
    """Runs of 16 that solve temporal order from this radius, clipped at a norm of 3."""
    grid = experiments.solved_runs(tk.load_results("clip_grid"), ["rho", "threshold"])
    return grid.query(f"rho == {rho} and threshold == 3")["solved"].item()


def adding_apart():
    """How many of He's, Xavier's and the orthogonal matrix differ from another one on adding."""
    names = ["kaiming_normal", "xavier_uniform", "orthogonal"]
    apart = 0
    for baseline in names:
        best = experiments.at_best_rate(tk.load_results("rates"), baseline=baseline)
        rows = best.query(f"task == 'adding' and activation == 'relu' and scheme in {names}")
        apart += ((rows["low"] > 0) | (rows["high"] < 0)).sum()
    return apart


def blown_up(method):
    runs = tk.load_results("clip_what")
    rows = runs.query(f"case == 'adding, rho 1.5' and lr == 0.1 and method == '{method}'")
    return len(rows), (rows["diverged"] >= 0).sum()


@functools.cache
def kinds_ahead(part):
    """Kinds of network whose mean error is below that of linear autoregression, and all kinds."""
    kinds = experiments.combination_errors(
        experiments.distinct_runs(tk.load_results("ablation")), "test"
    )
    rivals = experiments.ablation_baselines().set_index("baseline")
    column = {"validation": "validation", "test": "mean"}[part]
    return (kinds[column] < rivals.loc["linear autoregression", part]).sum(), len(kinds)


SURPRISES = [
    ("no seed of 16 learns to recall one bit", lambda: set(recalled("PyTorch")), {0}),
    ("at none of three learning rates", lambda: len(recalled("PyTorch")), 3),
    (
        "With a forget bias of 2 all 16 do, at every rate",
        lambda: set(recalled("PyTorch, forget bias 2")),
        {16},
    ),
    ("In 500 updates", lambda: experiments.RECALL["steps"], 500),
    ("usual rate, 6 of 16 learn", lambda: recalled("PyTorch, forget bias 1", 0.001), 6),
    ("set to zero, 15 do", lambda: recalled("PyTorch, forget 1, others 0", 0.001), 15),
    ("0.53 with He's matrix", lambda: accuracy("kaiming_normal"), 0.53),
    ("0.65 with Xavier's", lambda: accuracy("xavier_uniform"), 0.65),
    ("0.70 with an orthogonal one", lambda: accuracy("orthogonal"), 0.70),
    ("on the adding problem the three cannot be told apart", adding_apart, 0),
    ("none of 24 comparisons", lambda: len(against_zero()), 24),
    (
        "none of 24 comparisons with noisy, learned and adaptive starts ended better by its 95 % "
        "interval",
        lambda: sum(row.high < 0 for row in against_zero()),
        0,
    ),
    ("and 9 ended worse", lambda: sum(row.low > 0 for row in against_zero()), 9),
    ("a billion times larger after 30 steps", lambda: round(grown(False) / 1e9), 1),
    ("the same network's gradient vanishes", lambda: grown(True) < 1e-6, True),
    ("in 2 of 16 runs from a radius of 0.8", lambda: solved("clip at norm 1", 0.8), 2),
    ("and in 15 from 1.5", lambda: solved("clip at norm 1", 1.5), 15),
    ("none does from any radius", lambda: solved("no clipping"), 0),
    ("At a threshold of 3 it is 11 and 12", lambda: (at_three(0.8), at_three(1.5)), (11, 12)),
    (
        "10 of 16 runs blew up with the recurrent layer alone clipped",
        lambda: blown_up("recurrent"),
        (16, 10),
    ),
    ("none with the output layer alone", lambda: blown_up("output"), (16, 0)),
    ("22 of 30 kinds of LSTM", lambda: kinds_ahead("validation"), (22, 30)),
    ("none on the years that followed", lambda: kinds_ahead("test"), (0, 30)),
]


@pytest.mark.parametrize(
    ("words", "measure", "expected"), SURPRISES, ids=[words for words, *_ in SURPRISES]
)
def test_a_surprise_is_what_was_measured(words, measure, expected):
    assert words in WORDS, "the README no longer says this: change the test with it"
    assert measure() == expected


def test_no_number_among_the_surprises_is_without_a_test():
    told = WORDS.partition("## What surprised us")[2].partition("## In your own model")[0]
    told = re.sub(r"\(\[.*?\)\)", "", told)
    for words in sorted((words for words, *_ in SURPRISES), key=len, reverse=True):
        told = told.replace(words, "")
    left = re.findall(r"\d[\d.]*", told)
    # 16 seeds; 50 steps to recall; a forget bias of 1; a radius below 1; clipped at 1; 30 steps
    assert left == ["16", "50", "1", "1", "1", "30"]

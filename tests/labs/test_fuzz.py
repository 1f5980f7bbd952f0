"""Some random settings of every lab (`make fuzz` tries 1,000), and that a fault is found."""

import itertools
import random
from dataclasses import replace

import pytest

import teachkit as tk
from benchmarks.frames import Frame, frames, rows
from teachkit.labs.base import Lab
from teachkit.labs.spec import Spec
from tests.labs import fuzzing
from tests.labs.driving import NAMES, open_lab
from tests.labs.own_things import THINGS

COUNT = 50


@pytest.mark.parametrize("name", NAMES)
def test_random_settings_show_no_fault(name):
    tried = fuzzing.fuzz(name, COUNT)
    assert not tried.failures, str(tried)
    assert tried.count >= COUNT
    assert tried.refused < COUNT / 4


def test_the_same_seed_tries_the_same_settings():
    def lines(seed):
        rng, lab = random.Random(seed), open_lab("wall")
        return [fuzzing.move(lab, rng) for _ in range(5)]

    assert lines(1) == lines(1) != lines(2)


@pytest.mark.parametrize("name", THINGS)
def test_most_own_things_are_sound_and_all_differ(name):
    rng = random.Random(0)
    drawn = [THINGS[name](rng) for _ in range(40)]
    assert sum(own.sound for own in drawn) >= 15
    assert not all(own.sound for own in drawn)
    assert len({str(own) for own in drawn}) >= 35


# -- what each check finds ------------------------------------------------------------------------


def broken(monkeypatch, **parts):
    """Put a lab of the wall with other parts in place of its own."""
    spec: Spec = replace(tk.labs.wall().spec, **parts)

    def opened(*, show=None, **settings):
        return Lab(spec, settings, show)

    monkeypatch.setattr(tk.labs, "wall", opened)


def found():
    """What the first failures of a broken lab say."""
    tried = fuzzing.fuzz("wall", 12)
    assert tried.failures
    assert all(f.recreate for f in tried.failures)
    assert "FAILED" in str(tried)
    return " ".join(f.what for f in tried.failures)


def test_an_error_is_found(monkeypatch):
    own = tk.labs.wall().spec

    def compute(settings):
        if settings["steps"] > 150:
            raise ZeroDivisionError("steps")
        return own.compute(settings)

    broken(monkeypatch, compute=compute)
    assert "ZeroDivisionError" in found()


def test_a_label_that_is_no_number_is_found(monkeypatch):
    own = tk.labs.wall().spec

    def picture():
        made = own.picture()
        made.figure.text(0.5, 0.5, "E = nan")
        return made

    broken(monkeypatch, picture=picture)
    assert "the picture says 'E = nan'" in found()


def test_a_gap_in_the_table_is_found(monkeypatch):
    own = tk.labs.wall().spec
    broken(monkeypatch, table=lambda result: own.table(result).assign(more=float("nan")))
    assert "the table lacks numbers in ['more']" in found()


def test_a_sentence_that_is_not_that_of_the_settings_is_found(monkeypatch):
    own, times = tk.labs.wall().spec, itertools.count()
    broken(monkeypatch, sentence=lambda result: f"{next(times) // 4}: {own.sentence(result)}")
    assert "the settings line says" in found()


# -- the command, and the slowest frames ----------------------------------------------------------


def test_the_command_prints_a_line_a_lab(capsys):
    assert fuzzing.main(["--count", "3", "--lab", "wall", "--lab", "forget_bias"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["wall", "forget_bias"]
    assert all("3 settings, " in line and "slowest frame" in line for line in lines)


def test_the_slowest_frames_are_listed_with_their_lines():
    measured = frames("wall", 3)
    assert len(measured) == 3
    assert all(f.line.startswith("tk.labs.wall(") and f.whole > 0 for f in measured)
    table = rows("wall", [Frame(1.0, 2.0, "a"), Frame(5.0, 2.0, "b"), Frame(3.0, 2.0, "c")], 2)
    assert [row.what.strip() for row in table] == ["wall, p50 of 3", "b", "c"]
    assert [row.figure for row in table] == ["3 + 2 ms", "5 + 2 ms", "3 + 2 ms"]

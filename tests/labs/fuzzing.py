"""Try random settings of each lab, as a reader does: through its controls, calls, own models.

    python -m tests.labs.fuzzing --count 1000 --lab wall --seed 0

It prints a line a lab: the settings tried, those that failed with what recreates each, and the
slowest frame. The exit status is 1 where something failed. The test suite runs a few of each.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.text import Text

import teachkit as tk
from teachkit.labs.base import Lab
from teachkit.labs.canvas import Canvas
from teachkit.labs.controls import Choice, Slider
from tests.labs.driving import NAMES, check_shown, open_lab, pixels, recreate
from tests.labs.own_things import THINGS, Own

NOT_A_NUMBER = re.compile(r"\b(nan|inf|infinity)\b|∞", re.IGNORECASE)
# The columns in which a table may lack a number, as its lab documents: a gradient that is 0 at the
# last step has no growth, one may leave float range, the logarithm of 0 is no number, a method that
# still counts norms has no limit, and what is 0 has no direction.
GAPS = {
    "clip_what": "limit|(\\w+_)?(before|after|cosine)",
    "forget_bias": "growth",
    "signal": "log10_(signal|gradient)(_expected)?",
    "spectral_radius": "growth|bound|prediction",
}
OWN, CALLED = 0.25, 0.15  # the shares of the settings that are an own model, or a call
MOVES_OF_OWN = 4  # after each own model was opened
RESETS, SAVES, ANEW = 0.05, 0.03, 0.2  # shares of the moves


@dataclass(frozen=True)
class Failure:
    """What went wrong, and the line or the moves that recreate it."""

    what: str
    recreate: str

    def __str__(self) -> str:
        return f"{self.recreate}\n      {self.what}"


@dataclass
class Tried:
    """What became of the random settings of one lab; seconds of the slowest frame, and its line."""

    name: str
    count: int = 0
    refused: int = 0
    failures: list[Failure] = field(default_factory=list)
    slowest: float = 0.0
    slowest_line: str = ""

    def __str__(self) -> str:
        head = (
            f"{self.name}: {self.count} settings, {self.refused} refused in one sentence, "
            f"{len(self.failures)} failures; slowest frame {1e3 * self.slowest:.0f} ms, "
            f"{self.slowest_line}"
        )
        return "\n".join([head, *(f"   FAILED {failure}" for failure in self.failures)])


# -- what holds at every setting ------------------------------------------------------------------


def texts_of(lab: Lab) -> list[str]:
    """Every text in the picture that is on the screen: labels, ticks, legends, notes."""
    assert lab._canvas is not None
    found = lab._canvas.picture.figure.findobj(Text)
    return [str(text.get_text()) for text in found if text.get_visible()]


def gaps_of(table: pd.DataFrame) -> set[str]:
    """The columns of numbers in which one is NaN or beyond float range."""
    numbers = table.select_dtypes("number")
    return {str(name) for name in numbers if not np.isfinite(numbers[name]).all()}


def check_frame(lab: Lab, size: tuple[int, int], *, anew: bool = False, **own: Any) -> None:
    """Check all that a reader sees: sentence, picture, its texts, table and settings line.

    anew: compare with the picture drawn from nothing too. own: what the settings line names.
    """
    check_shown(lab, size)
    assert lab._canvas is not None
    for text in texts_of(lab):
        assert not NOT_A_NUMBER.search(text), f"the picture says {text!r}"
    table = lab.spec.table(lab.result)
    assert len(table), "the table is empty"
    gaps = {c for c in gaps_of(table) if not re.fullmatch(GAPS.get(lab.spec.name, ""), c)}
    assert not gaps, f"the table lacks numbers in {sorted(gaps)}"
    again = recreate(lab.settings_line, **own)
    assert again.sentence == lab.sentence, f"the settings line says {again.sentence!r}"
    if anew:
        drawn = Canvas(lab.spec.picture()).png(lab.spec.compute(lab.settings))
        assert np.array_equal(pixels(lab.view.value), pixels(drawn)), "another picture when redrawn"


def check_refusal(error: ValueError, names: list[str]) -> None:
    """A refusal is one sentence that names what was given."""
    said = str(error)
    assert "\n" not in said.strip(), said
    assert said.endswith("."), said
    assert any(name in said for name in names), said


# -- trying ---------------------------------------------------------------------------------------


def anywhere(control: Slider | Choice, widget: Any, rng: random.Random) -> Any:
    """Any place that a control offers now, often one of its ends."""
    if isinstance(control, Choice):
        return rng.choice([value for _, value in widget.options])
    steps = round((widget.max - widget.min) / control.step)
    place = rng.choice([0, steps, rng.randint(0, steps), rng.randint(0, steps)])
    found = widget.min + control.step * place
    return int(found) if control.whole else min(found, widget.max)


def move(lab: Lab, rng: random.Random) -> str:
    """Move one to three controls, or press Reset or Save; returns what was done."""
    kind = rng.random()
    if kind < RESETS:
        lab.reset()
        return "Reset"
    if kind < RESETS + SAVES:
        with tempfile.TemporaryDirectory() as folder:
            files = lab.save(folder)
            assert [f.suffix for f in files] == [".png", ".csv"], lab.message.value
        lab.message.value = ""
        return "Save"
    done = []
    for control in rng.sample(lab.spec.controls, min(rng.randint(1, 3), len(lab.spec.controls))):
        value = anywhere(control, lab.controls[control.name], rng)
        lab.controls[control.name].value = value
        done.append(f"{control.name} = {value!r}")
    return ", ".join(done)


def called(name: str, rng: random.Random) -> dict[str, Any]:
    """Settings for a call: any place of any control, whether they go together or not."""
    controls = getattr(tk.labs, name)().spec.controls
    chosen = rng.sample(controls, rng.randint(0, len(controls)))
    return {c.name: anywhere(c, c.widget(), rng) for c in chosen}


class Fuzz:
    """Random settings of one lab, from one seed."""

    def __init__(self, name: str, seed: int) -> None:
        self.rng = random.Random(f"{name} {seed}")
        self.tried = Tried(name)
        figure = getattr(tk.labs, name)().spec.picture().figure
        self.size = figure.canvas.get_width_height()

    def one(self, what: str, step: Callable[[], Lab | None], **own: Any) -> Lab | None:
        """Try one setting: None where it failed or was refused."""
        tried, lab = self.tried, None
        tried.count += 1
        try:
            start = time.perf_counter()
            lab = step()
            seconds = time.perf_counter() - start
            if lab is None:
                tried.refused += 1
                return None
            if seconds > tried.slowest:
                tried.slowest, tried.slowest_line = seconds, f"{what} -> {lab.settings_line}"
            check_frame(lab, self.size, anew=self.rng.random() < ANEW, **own)
        except Exception as error:  # whatever it is, it is a finding
            trace = getattr(lab, "trace", "").strip().splitlines()[-1:]
            said = " / ".join([f"{type(error).__name__}: {str(error)[-600:]}", *trace])
            tried.failures.append(Failure(said, what))
            return None
        return lab

    def moved(self, lab: Lab | None, **own: Any) -> Lab | None:
        """Move a lab on from where it is, or open a fresh one."""
        name, rng = self.tried.name, self.rng
        if lab is None:
            return self.one(f"tk.labs.{name}()", lambda: open_lab(name))
        done: list[str] = []
        before = lab.settings_line
        opened = lab

        def step() -> Lab:
            done.append(move(opened, rng))
            return opened

        found = self.one(f"{before}, then a move", step, **own)
        if self.tried.failures and found is None and done:
            last = self.tried.failures[-1]
            self.tried.failures[-1] = Failure(last.what, f"{before}, then {done[0]}")
        return found

    def call(self) -> None:
        """Give random settings to the function; those that exclude each other are refused."""
        name = self.tried.name
        settings = called(name, self.rng)

        def step() -> Lab | None:
            try:
                return open_lab(name, **settings)
            except ValueError as error:
                check_refusal(error, list(settings))
                return None

        given = ", ".join(f"{k}={v!r}" for k, v in settings.items())
        self.one(f"tk.labs.{name}({given})", step)

    def own(self) -> None:
        """Open the lab of a random own model, and move it."""
        name = self.tried.name
        things: Own = THINGS[name](self.rng)
        values = things.values()

        def step() -> Lab | None:
            try:
                return open_lab(name, **values)
            except ValueError as error:
                check_refusal(error, list(values))
                if things.sound:
                    raise AssertionError(f"refused though it is sound: {error}") from error
                return None

        lab = self.one(f"{things}; tk.labs.{name}", step, **values)
        for _ in range(MOVES_OF_OWN):
            if lab is None:
                return
            lab = self.moved(lab, **values)
            if lab is None:
                last = self.tried.failures[-1]
                self.tried.failures[-1] = Failure(last.what, f"{things}; {last.recreate}")


def fuzz(name: str, count: int, seed: int = 0) -> Tried:
    """Try about `count` random settings of a lab; the same ones for the same seed."""
    run = Fuzz(name, seed)
    own = OWN if name in THINGS else 0.0
    lab: Lab | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while run.tried.count < count:
            kind = run.rng.random()
            if kind < own / (1 + MOVES_OF_OWN):
                run.own()
            elif kind < own / (1 + MOVES_OF_OWN) + CALLED:
                run.call()
            else:
                lab = run.moved(lab)
    return run.tried


def fuzz_all(names: list[str], count: int, seed: int) -> Iterator[Tried]:
    """Try the labs one after the other."""
    for name in names:
        yield fuzz(name, count, seed)


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="settings of each lab")
    parser.add_argument("--lab", action="append", choices=NAMES, help="this lab alone")
    parser.add_argument("--seed", type=int, default=0, help="of the settings")
    given = parser.parse_args(arguments)
    failed = False
    for tried in fuzz_all(given.lab or NAMES, given.count, given.seed):
        print(tried, flush=True)
        failed |= bool(tried.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

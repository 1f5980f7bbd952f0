"""The listing of chapter 03 has the bugs that its check names, and no others."""

import re
from typing import Any

import pytest
import torch
from torch import nn

from teachkit.exercises.buggy_listing import LISTING, REPAIRS, numbered, repaired
from tools.notebooks import NOTEBOOKS

SERIES, HIDDEN = 16, 32


def run(lines=(), *, steps=16, windows=3, lr=0.1):
    """Run the listing with these lines repaired: its layer, what that was called with, and x."""
    names: dict[str, Any] = {"torch": torch, "nn": nn}
    exec(repaired(lines), names)
    torch.manual_seed(0)
    lstm, head = names["LearnedStart"](3, HIDDEN), nn.Linear(HIDDEN, 1)
    calls: list[Any] = []
    lstm.register_forward_hook(lambda _, given, output: calls.append((given[1], output)))
    optimizer = torch.optim.SGD([*lstm.parameters(), *head.parameters()], lr=lr)
    x = torch.randn(SERIES, windows * steps, 3)
    names["train"](lstm, head, optimizer, [(w, w[:, -1, :1]) for w in x.split(steps, 1)])
    return lstm, calls, x


def whole(lstm, x):
    """What nn.LSTM makes of the whole series in one pass from zero."""
    plain = nn.LSTM(3, HIDDEN, batch_first=True)
    plain.load_state_dict({k: v for k, v in lstm.state_dict().items() if k not in ("h0", "c0")})
    return plain(x)[0]


def test_the_listing_runs_without_complaint_on_windows_of_16_steps():
    _, calls, _ = run()
    assert len(calls) == 3


@pytest.mark.parametrize("steps", [5, 16, 20])
def test_repaired_it_reads_windows_as_one_pass_and_learns_its_start(steps):
    lstm, calls, x = run(REPAIRS, steps=steps, lr=0.0)
    read = torch.cat([output for _, (output, _) in calls], 1)
    torch.testing.assert_close(read, whole(lstm, x))
    lstm, _, _ = run(REPAIRS, steps=steps)
    assert lstm.h0.any()
    assert lstm.c0.any()


def test_line_8_takes_the_steps_for_the_series():
    with pytest.raises(RuntimeError, match=re.escape("Expected hidden[0] size (1, 16, 32)")):
        run([12, 19], steps=12)
    lstm, _, _ = run([12, 19])  # as many steps as series: nothing complains, nothing is wrong
    right, _, _ = run(REPAIRS)
    for mine, theirs in zip(lstm.parameters(), right.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_line_12_keeps_the_start_from_learning_and_hides_line_8():
    for steps in (12, 16):
        lstm, _, _ = run([19], steps=steps)
        assert lstm.h0.grad is None
        assert lstm.c0.grad is None
        assert not lstm.h0.any()
        assert not lstm.c0.any()


def test_line_19_hands_the_memory_over_as_the_output():
    lstm, calls, x = run([8, 12], lr=0.0)
    (_, (first, (h, c))), (state, (second, _)), _ = calls
    assert torch.equal(state[0], c)
    assert torch.equal(state[1], h)
    wanted = whole(lstm, x)
    torch.testing.assert_close(first, wanted[:, :16])
    assert (second - wanted[:, 16:32])[:, 0].abs().max() > 0.01


def test_only_the_lines_with_a_bug_are_repaired():
    before, after = LISTING.splitlines(), repaired().splitlines()
    changed = {k for k, (one, two) in enumerate(zip(before, after, strict=True), 1) if one != two}
    assert changed == set(REPAIRS)


def test_the_chapter_prints_the_listing():
    text = (NOTEBOOKS / "source" / "03_initial_states.py").read_text(encoding="utf-8")
    assert numbered() in re.sub(r"(?m)^# ?", "", text)

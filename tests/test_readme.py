"""The code in the README runs as it stands, from top to bottom."""

import re
from pathlib import Path

import teachkit as tk

ROOT = Path(__file__).resolve().parent.parent


def test_the_code_in_the_readme_runs(capsys, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
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

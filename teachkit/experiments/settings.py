"""The settings of a study, and how to change some of them for a smaller one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import check_choice


def changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with changes; raise `ValueError` for one that is not among them."""
    for name in changes:
        check_choice("a setting", name, settings)
    return {**settings, **changes}

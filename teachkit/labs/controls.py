"""The controls of a lab: a slider for a number, a drop-down list for a choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets

from ..errors import bad, check_choice, check_number


@dataclass(frozen=True)
class Slider:
    """A number on a slider: `value` is the default; whole numbers when `step` is one."""

    name: str
    label: str
    value: float
    low: float
    high: float
    step: float

    @property
    def whole(self) -> bool:
        """Whether the slider holds whole numbers."""
        return all(isinstance(v, int) for v in (self.value, self.low, self.high, self.step))

    def check(self, given: Any) -> float:
        """Return a valid value or raise `ValueError`."""
        number = check_number(self.name, given, self.low, self.high)
        if not self.whole:
            return number
        if number != int(number):
            raise bad(self.name, given, f"a whole number from {self.low} to {self.high}")
        return int(number)

    def widget(self) -> widgets.Widget:
        """Make the control; two fit side by side at a notebook width of 700 px."""
        shared = {"min": self.low, "max": self.high, "step": self.step, "value": self.value}
        if self.whole:
            return _titled(widgets.IntSlider(description=self.label, **shared, **_control_style()))
        digits = len(f"{self.step:g}".partition(".")[2])
        return _titled(
            widgets.FloatSlider(
                description=self.label, readout_format=f".{digits}f", **shared, **_control_style()
            )
        )


@dataclass(frozen=True)
class Choice:
    """One of a few options, in a drop-down list."""

    name: str
    label: str
    value: Any
    options: tuple[Any, ...]

    def check(self, given: Any) -> Any:
        """Return a valid value or raise `ValueError`."""
        check_choice(self.name, given, self.options)
        return given

    def widget(self) -> widgets.Widget:
        """Make the control."""
        options = [(_option_name(o), o) for o in self.options]
        return _titled(
            widgets.Dropdown(
                description=self.label, options=options, value=self.value, **_control_style()
            )
        )


def _option_name(option: Any) -> str:
    return {True: "on", False: "off"}[option] if isinstance(option, bool) else str(option)


def _titled(control: widgets.Widget) -> widgets.Widget:
    """Give a control of ipywidgets 8 its label as tooltip; without one it shows "null"."""
    if "tooltip" in control.trait_names():
        control.tooltip = control.description
    return control


def _control_style() -> dict[str, Any]:
    return {
        "style": {"description_width": "100px"},
        "layout": widgets.Layout(width="285px", margin="1px 6px 1px 0"),
    }

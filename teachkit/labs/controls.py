"""The controls of a lab: a slider for a number, a drop-down list or a few stops for a choice.

What a control offers can depend on the others. Such a limit is (low, high) for a slider and the
options of a choice or of stops.
"""

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

    def check(self, given: Any, limit: tuple[Any, ...] | None = None) -> float:
        """Return a valid value or raise `ValueError`."""
        low, high = limit or (self.low, self.high)
        try:
            number = check_number(self.name, given, low, high)
        except ValueError:
            if low < high:
                raise
            raise bad(self.name, given, f"{low:.10g} here") from None
        if not self.whole:
            return number
        if number != int(number):
            raise bad(self.name, given, f"a whole number from {low} to {high}")
        return int(number)

    def nearest(self, value: Any, limit: tuple[Any, ...]) -> Any:
        """Return the value within the limit that is nearest to this one."""
        low, high = limit
        return min(max(value, low), high)

    def read(self, widget: widgets.Widget) -> float:
        """Return the value of the widget: 18.95, where the browser says 18.950000000000003."""
        return round(widget.value, 6)  # chaos would make two pictures of them

    def put(self, widget: widgets.Widget, value: Any, limit: tuple[Any, ...] | None = None) -> None:
        """Show a value, and its limit, in the widget."""
        low, high = limit or (self.low, self.high)
        widget.disabled = low == high
        if widget.disabled:  # nothing to choose, and a slider on a page needs a range
            low, high = self.low, self.high
        # Widen before narrowing: min may never pass max on the way.
        widget.min, widget.max = min(low, widget.min), max(high, widget.max)
        if self.read(widget) != value:
            widget.value = value
        widget.min, widget.max = low, high

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
    """One of a few options, in a drop-down list.

    kin: groups of options that mean the same in different company; where an option is no longer
    offered, one of its kin takes its place, or else the first that is offered.
    """

    name: str
    label: str
    value: Any
    options: tuple[Any, ...]
    kin: tuple[tuple[Any, ...], ...] = ()

    def check(self, given: Any, limit: tuple[Any, ...] | None = None) -> Any:
        """Return a valid value or raise `ValueError`."""
        try:
            check_choice(self.name, given, limit or self.options)
        except ValueError:
            if limit is None or len(limit) > 1:
                raise
            raise bad(self.name, given, f"{limit[0]!r} here") from None
        return given

    def nearest(self, value: Any, limit: tuple[Any, ...]) -> Any:
        """Return the option within the limit that is nearest in meaning to this one."""
        kin = [other for group in self.kin if value in group for other in group]
        return next((option for option in (value, *kin) if option in limit), limit[0])

    def read(self, widget: widgets.Widget) -> Any:
        """Return the value of the widget."""
        return widget.value

    def put(self, widget: widgets.Widget, value: Any, limit: tuple[Any, ...] | None = None) -> None:
        """Show a value, and the options that are offered, in the widget."""
        options = _named(limit or self.options)
        if widget.options != options:
            # Alone: with its place in the same message, a slider on the page keeps its old range.
            widget.options = options  # which chooses the first one
        widget.value = value

    def widget(self) -> widgets.Widget:
        """Make the control."""
        options = _named(self.options)
        return _titled(
            widgets.Dropdown(
                description=self.label, options=options, value=self.value, **_control_style()
            )
        )


@dataclass(frozen=True)
class Stops(Choice):
    """One of a few values in a row, on a slider that stops at each of them.

    Where a value is no longer offered, the one takes its place that stands nearest to it in
    `options`; of two, the earlier.
    """

    def check(self, given: Any, limit: tuple[Any, ...] | None = None) -> Any:
        """Return a valid value, 16 where 16.0 was given, or raise `ValueError`."""
        offered = limit or self.options
        return offered[offered.index(super().check(given, offered))]

    def nearest(self, value: Any, limit: tuple[Any, ...]) -> Any:
        """Return the value within the limit that stands nearest to this one."""
        place = self.options.index
        return min(limit, key=lambda offered: abs(place(offered) - place(value)))

    def widget(self) -> widgets.Widget:
        """Make the control; it moves with the mouse and with the arrow keys."""
        # Not under hold_sync: given its values and its place at once, the page keeps the old range.
        options = _named(self.options)
        return _titled(
            widgets.SelectionSlider(
                description=self.label, options=options, value=self.value, **_control_style()
            )
        )


def _named(options: tuple[Any, ...]) -> tuple[tuple[str, Any], ...]:
    """Return the options as a selection of ipywidgets takes them and gives them back."""
    return tuple((_option_name(option), option) for option in options)


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

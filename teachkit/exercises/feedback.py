"""What a check says: a status, a message, and a drawing."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..pictures import img_tag
from ..plots import style

_LOOK = {
    "open": ("Still open.", "#444444", "#f3f3f3"),
    "right": ("Right.", "#00563f", "#e8f6f1"),
    "wrong": ("Not yet.", "#7a2b00", "#fff4ee"),
}


@dataclass(frozen=True)
class Feedback:
    """What a check says: status "open", "right" or "wrong", a message, and a drawing.

    notes: what there is to say to the parts of an answer, one line each.
    """

    status: str
    message: str
    png: bytes | None = None
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.status == "right"

    def __repr__(self) -> str:
        return "\n".join((f"{_LOOK[self.status][0]} {self.message}", *self.notes))

    def _repr_html_(self) -> str:
        word, ink, ground = _LOOK[self.status]
        picture = ""
        if self.png is not None:
            look = "max-width:100%;margin-top:6px"
            picture = "<br>" + img_tag(self.png, f"{word} {self.message}", look)
        notes = "".join(f"<p style='margin:6px 0 0'>{html.escape(note)}</p>" for note in self.notes)
        return (
            f"<div style='color:{ink};background:{ground};border-left:4px solid {ink};"
            f"padding:8px 12px;max-width:700px'><b>{word}</b> {html.escape(self.message)}"
            f"{picture}{notes}</div>"
        )


OPEN = Feedback("open", "Replace the ... in the cell above with your answer and run both cells.")


def draw(paint: Callable[[Axes], object], size: tuple[float, float] = (5.6, 2.6)) -> bytes:
    """Return the PNG of one small figure; paint: draws on the axes it is given. size: in inches."""
    with style():
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        paint(figure.subplots())
        buffer = BytesIO()
        canvas.print_png(buffer)  # the bytes of savefig, which lays the figure out twice
    return buffer.getvalue()

"""From a result to pixels: draw what moved on a kept background, encode once, put it into HTML."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Protocol

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ..pictures import encode, img_tag
from ..plots import STYLE

# Matplotlib is not thread safe: a slider and a training in the background take turns.
_DRAWING = threading.RLock()
WIDTH = 920  # pixels of a picture, and of the sentence under it


class Picture(Protocol):
    """A figure whose `artists` move; everything else is drawn once, into a background.

    It is made in `plots.style`. An update is not: a slider calls it in a thread of its own, and
    rcParams belong to the whole process. So it makes no texts, and legends with `plots.legend`.
    """

    figure: Figure
    artists: list[Artist]

    def update(self, result: Any) -> bool:
        """Put a result into the artists; return True when the background changed too."""
        ...


class Canvas:
    """Draw a `Picture` fast: restore its background, draw what moved, encode once."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self._canvas = FigureCanvasAgg(picture.figure)
        self._background: Any = None
        for artist in picture.artists:
            artist.set_animated(True)
        for ax in picture.figure.axes:
            # Later ticks copy the first one; how many there are follows from the size given here.
            ax.tick_params(labelsize=STYLE["font.size"])

    def png(self, result: Any) -> bytes:
        """Return the picture of a result as PNG."""
        with _DRAWING:
            # Until this is through there is no background: after an error the next one is drawn.
            background, self._background = self._background, None
            changed = self.picture.update(result)
            figure = self.picture.figure
            if changed or background is None:
                self._canvas.draw()
                background = self._canvas.copy_from_bbox(figure.bbox)
            self._canvas.restore_region(background)
            self._background = background
            for artist in self.picture.artists:
                figure.draw_artist(artist)
            pixels = Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")
        # A palette of 64 colours halves the bytes that travel to the browser.
        return encode(pixels, fast=True)


def stack(pngs: list[bytes], gap: int = 8) -> bytes:
    """Put pictures of one width below each other, as one PNG."""
    pictures = [Image.open(BytesIO(png)).convert("RGB") for png in pngs]
    height = sum(picture.height + gap for picture in pictures) - gap
    sheet = Image.new("RGB", (pictures[0].width, height), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height + gap
    return encode(sheet)


def image_html(png: bytes, alt: str) -> str:
    """Return an `<img>` on an opaque light card; the alternative text is the lab's sentence."""
    look = f"width:100%;max-width:{WIDTH}px;height:auto;display:block;border-radius:6px"
    return img_tag(png, alt, look)


def sentence_html(text: str, settings_line: str = "") -> str:
    """Return the sentence under a picture, and the line that recreates the lab."""
    line = f"<br><code style='font-size:12px'>{html.escape(settings_line)}</code>"
    return (
        "<div style='background:#fff;color:#1a1a1a;border-radius:6px;padding:6px 10px;"
        f"line-height:1.45;max-width:{WIDTH}px;box-sizing:border-box' role='status' "
        f"class='teachkit-sentence'>{html.escape(text)}{line if settings_line else ''}</div>"
    )


def sentences_markdown(sentences: Sequence[str]) -> str:
    """Return what stands under a poster: the sentences of its pictures, from top to bottom."""
    safe = [re.sub(r"([\\`*_<~$])", r"\\\1", sentence) for sentence in sentences]
    if len(safe) == 1:
        return f"**In the picture:** {safe[0]}"
    lines = (f"{number}. {sentence}" for number, sentence in enumerate(safe, start=1))
    return "**In the pictures, from top to bottom:**\n\n" + "\n".join(lines)


def error_html(error: BaseException) -> str:
    """Return an error as one sentence; its class is what the test suite looks for."""
    text = str(error).strip() or type(error).__name__
    if not isinstance(error, (ValueError, FileNotFoundError)):
        text = f"{type(error).__name__}: {text}"
    return (
        "<div class='teachkit-error' role='alert' style='background:#fff4ee;color:#7a2b00;"
        "border-left:4px solid #D55E00;padding:6px 10px;max-width:900px'>"
        f"{html.escape(text)}</div>"
    )

"""Pictures that say in words what they show: small PNGs with an alternative text."""

from __future__ import annotations

import base64
import html
import os
from io import BytesIO
from typing import TYPE_CHECKING, Any

from .errors import bad

if TYPE_CHECKING:
    from PIL.Image import Image

POSTER = "TEACHKIT_POSTER"  # set while chapters are built: pictures that need no kernel are saved


def show(alt: str) -> None:
    """Show the current pyplot figure in a notebook, with a text for those who do not see it.

    It looks as with `plt.show()`, which leaves it without such a text, and is closed. Outside a
    notebook, and where figures have windows of their own, this is `plt.show()`. alt: what the
    picture shows, in a sentence or two. Raises `ValueError` where it is empty or no figure is open.
    Used from chapter 01 on.
    """
    import matplotlib.pyplot as plt

    if not isinstance(alt, str) or not alt.strip():
        raise bad("alt", alt, "a sentence that says what the picture shows")
    if not plt.get_fignums():
        raise ValueError(
            "tk.show needs an open figure, but none is open: draw it in the same cell."
        )
    if not _on_a_page(plt.get_backend()):
        plt.show()
        if not plt.isinteractive():  # a window that stays is the reader's to close
            plt.close()
        return
    from PIL import Image

    figure, buffer = plt.gcf(), BytesIO()
    figure.savefig(
        buffer, format="png", dpi=figure.dpi, bbox_inches="tight", facecolor=figure.get_facecolor()
    )
    plt.close(figure)  # the notebook would show what is left open once more
    png, text = encode(Image.open(buffer)), " ".join(alt.split())
    if posters_wanted():
        display_png(png, text)
    else:
        display_html(img_tag(png, text, "max-width:100%;height:auto"), text)


def encode(picture: Image, *, fast: bool = False) -> bytes:
    """Return a picture as PNG with a palette of 256 colours, on white.

    It takes about a third of the bytes, and nearly all pixels keep their colour within 16 of 255.
    fast: 64 colours, packed quickly, for pictures that are drawn while one looks.
    """
    from PIL import Image

    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    small = picture.convert("RGB").quantize(
        64 if fast else 256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    buffer = BytesIO()
    small.save(buffer, "png", **({"compress_level": 1} if fast else {"optimize": True}))
    return buffer.getvalue()


def img_tag(png: bytes, alt: str, look: str) -> str:
    """Return an `<img>` that holds its picture, opaque on every theme. look: more CSS."""
    data = base64.b64encode(png).decode()
    return (
        f'<img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{data}" '
        f'style="{look};background:#fff">'
    )


def posters_wanted() -> bool:
    """Whether outputs are made to be saved: as pictures that any viewer of notebooks shows."""
    return bool(os.environ.get(POSTER))


def display_png(png: bytes, alt: str) -> None:
    """Display a picture in the form for a saved notebook, which viewers let through."""
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": alt}
    _display(data, {"image/png": {"alt": alt}})


def display_html(text: str, plain: str) -> None:
    """Display HTML in a notebook: JupyterLab keeps the `alt` of an `<img>` in it, not of a PNG."""
    _display({"text/html": text, "text/plain": plain})


def display_markdown(text: str, plain: str) -> None:
    """Display Markdown in a notebook. plain: the same for a viewer that knows none."""
    _display({"text/markdown": text, "text/plain": plain})


def _display(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
    from IPython.display import display

    display(data, raw=True, metadata=metadata or {})


def _on_a_page(backend: str) -> bool:
    """Whether figures go to the page of a notebook, and neither to a window nor to a file."""
    from IPython import get_ipython

    in_kernel = hasattr(get_ipython(), "kernel")
    return in_kernel and ("inline" in backend.lower() or backend.lower() == "agg")

"""What colour-blind readers, and readers of grey paper, see of every picture of the project.

Two things of one form (two solid lines, two round dots) are told apart by colour alone, so their
colours must differ, also as others see them: simulated after Machado et al. 2009, at full severity,
and measured in the uniform space CAM02-UCS, where 1 is a just noticeable difference.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from colorspacious import cspace_convert
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection, PolyCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle, StepPatch
from matplotlib.text import Text

import teachkit as tk
from teachkit import plots
from tests import drawn

APART = {"normal": 12, "deuteranomaly": 9, "protanomaly": 9, "tritanomaly": 9}
APART_IN_GREY = 3
# Good and bad, as dark as each other: which is which is told by the side of 0 or by where it ends.
AS_DARK = {frozenset(plots.COLORS[name].lower() for name in ("critical", "explode"))}
FOR_LINES, FOR_LARGE, FOR_WORDS = 3.0, 3.0, 4.5  # to 1, contrasts of WCAG 2.2 level AA
LARGE = 18  # points
WHITE = np.ones(3)


def seen(color: Any, kind: str) -> np.ndarray:
    """A colour as this kind of reader sees it, in CAM02-UCS: lightness and two of hue."""
    rgb = np.array(to_rgb(color))
    if kind != "normal":
        space = {"name": "sRGB1+CVD", "cvd_type": kind, "severity": 100}
        rgb = np.clip(cspace_convert(rgb, space, "sRGB1"), 0, 1)
    found: np.ndarray = cspace_convert(rgb, "sRGB1", "CAM02-UCS")
    return found


def luminance(color: Any) -> float:
    rgb = np.array(to_rgb(color))
    light = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(light @ (0.2126, 0.7152, 0.0722))


def contrast(one: Any, other: Any) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def blended(color: Any, alpha: float | None, ground: Any = WHITE) -> str:
    """A translucent colour as it looks on a ground."""
    rgba = np.array(to_rgba(color, alpha))
    mixed = rgba[3] * rgba[:3] + (1 - rgba[3]) * np.array(to_rgb(ground))
    return to_hex((mixed[0], mixed[1], mixed[2]))


@dataclass(frozen=True)
class Part:
    """Something in a picture: its form without its colour, its own colour, and how it looks."""

    form: str
    color: str
    looks: str


def dashes(line: Line2D) -> str:
    """ "solid", "dotted" or "dashed": what a reader tells apart, whatever the lengths."""
    pattern = line._dash_pattern[1]  # type: ignore[attr-defined]
    if not pattern:
        return "solid"
    return "dotted" if pattern[0] <= 1.5 * line.get_linewidth() else "dashed"


def of_line(line: Line2D) -> Iterator[Part]:
    xy = np.asarray(line.get_xydata(), dtype=float)
    alpha, points = line.get_alpha(), np.isfinite(xy).all(1).sum()
    if line.get_linestyle() != "None" and points > 1:
        color = line.get_color()
        yield Part(f"{dashes(line)} line", to_hex(color), blended(color, alpha))
    marker = line.get_marker()
    if points and not (isinstance(marker, str) and marker in ("", "None", "none", " ")):
        name = marker if isinstance(marker, str) else "arrow"
        color, edge = line.get_markerfacecolor(), line.get_markeredgecolor()
        hollow = same(color, "white") or same(color, "none")
        shown = edge if hollow or name in "x_|+" else color
        looks = max(blended(shown, alpha), blended(edge, alpha), key=from_white)
        yield Part(f"{'hollow ' * hollow}{name} marks", to_hex(shown), looks)


def of_collection(found: Collection) -> Iterator[Part]:
    kind = type(found).__name__
    filled = kind == "PathCollection"
    for color in found.get_facecolors() if filled else found.get_edgecolors():  # type: ignore[attr-defined]
        yield Part(kind, to_hex(color), blended(color, None))


def same(one: Any, other: Any) -> bool:
    return to_hex(one, keep_alpha=True) == to_hex(other, keep_alpha=True)


def from_white(color: Any) -> float:
    return contrast(color, "white")


def parts(ax: Axes) -> list[Part]:
    """Everything in the axes that carries a message; shades behind it do not, but bars do."""
    found: list[Part] = []
    for line in ax.lines:
        if line.get_visible():
            found += of_line(line)
    for collection in ax.collections:
        if collection.get_visible() and not isinstance(collection, PolyCollection | QuadMesh):
            found += of_collection(collection)
    for patch in ax.patches:
        bar = isinstance(patch, Rectangle) and to_rgba(patch.get_facecolor())[3] >= 0.5
        if patch.get_visible() and (bar or isinstance(patch, StepPatch)):
            looks = [blended(patch.get_facecolor(), None), blended(patch.get_edgecolor(), None)]
            found.append(Part("bars", to_hex(patch.get_facecolor()), max(looks, key=from_white)))
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Words:
    """A text in a picture, its colour and that of its ground."""

    text: str
    size: float
    color: str
    ground: str


def words(figure: Figure) -> list[Words]:
    """Every text of a figure, with the pixels around which it stands."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # which makes the tick labels, and lays everything out
    figure.set_layout_engine("none")  # without its words it would be laid out anew
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    places = [text.get_window_extent() for text in texts]
    for text in texts:
        text.set_visible(False)
    animated = [artist for artist in figure.findobj() if artist.get_animated()]
    for artist in animated:
        artist.set_animated(False)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255
    found = []
    for text, place in zip(texts, places, strict=True):
        text.set_visible(True)
        box = text.get_bbox_patch()
        left, low = max(0, int(place.x0)), max(0, int(place.y0))
        ground = pixels[low : max(low + 1, int(place.y1)), left : max(left + 1, int(place.x1))]
        if not ground.size:
            continue  # outside the figure
        behind = np.median(ground.reshape(-1, 3), axis=0)
        if box is not None:
            behind = np.array(to_rgb(blended(box.get_facecolor(), box.get_alpha(), behind)))
        elif text.get_path_effects():  # a white edge
            behind = WHITE
        color = blended(text.get_color(), text.get_alpha(), behind)
        ground_color = blended("white", 0.0, behind)
        found.append(Words(text.get_text(), float(text.get_fontsize()), color, ground_color))
    for artist in animated:
        artist.set_animated(True)
    return found


@dataclass(frozen=True)
class Seen:
    name: str
    axes: list[list[Part]]
    words: list[Words]


@pytest.fixture(scope="module")
def pictures():
    """Every picture of the labs, the chapters and the checks, read once."""
    backend = plt.get_backend()
    plt.switch_backend("agg")
    found = []
    with pytest.MonkeyPatch.context() as patch:
        figures = [drawn.of_labs(), *(drawn.of_chapter(c, patch) for c in drawn.CHAPTERS)]
        read = set()
        for name, figure in itertools.chain(*figures):
            # The words of a lab are the same at all its settings, but for numbers.
            again = name.partition(" {")[0] in read
            read.add(name.partition(" {")[0])
            shown = [] if again else words(figure)
            found.append(Seen(name, [parts(ax) for ax in figure.axes], shown))
    plt.switch_backend(backend)
    return found


def test_there_are_pictures_of_every_lab_and_every_chapter(pictures):
    names = " ".join(picture.name for picture in pictures)
    assert [n for n in tk.labs.__all__ if f"{n} " not in names] == []
    assert [c.stem for c in drawn.CHAPTERS if c.stem not in names] == []
    assert all(any(picture.axes) or picture.words for picture in pictures)


def alike(one: str, other: str) -> list[str]:
    """How two colours look too much alike: to which readers, and how far they are apart."""
    found = []
    for kind, least in APART.items():
        distance = np.linalg.norm(seen(one, kind) - seen(other, kind))
        if distance < least:
            found.append(f"{kind} {distance:.1f}")
    grey = abs(seen(one, "normal")[0] - seen(other, "normal")[0])
    if grey < APART_IN_GREY and frozenset((one, other)) not in AS_DARK:
        found.append(f"grey {grey:.1f}")
    return found


def pairs(pictures):
    """{(one colour, another): the first picture with both in one form}."""
    found: dict[tuple[str, str], str] = {}
    for picture in pictures:
        for shown in picture.axes:
            for one, other in itertools.combinations(shown, 2):
                if one.form == other.form and one.color != other.color:
                    key = (min(one.color, other.color), max(one.color, other.color))
                    found.setdefault(key, f"{one.form}, {picture.name}")
    return found


def test_what_differs_in_colour_alone_differs_for_every_reader(pictures):
    found = pairs(pictures)
    assert len(found) > 10
    assert {pair: (bad, found[pair]) for pair in found if (bad := alike(*pair))} == {}


def test_every_line_and_mark_stands_out_from_white(pictures):
    """A faint one may go with a stronger one of its colour: all runs behind their mean."""
    faint = set()
    for picture in pictures:
        for shown in picture.axes:
            for color in {part.color for part in shown}:
                best = max(from_white(part.looks) for part in shown if part.color == color)
                if best < FOR_LINES:
                    faint.add((color, round(best, 2), picture.name))
    assert faint == set()


def test_every_word_stands_out_from_its_ground(pictures):
    faint = {
        (word.text, word.color, word.ground, picture.name)
        for picture in pictures
        for word in picture.words
        if contrast(word.color, word.ground) < (FOR_LARGE if word.size >= LARGE else FOR_WORDS)
    }
    assert faint == set()


def test_the_palette_stands_out_from_white():
    assert {n for n, c in plots.COLORS.items() if from_white(c) < FOR_LINES} == set()
    assert {n for n, c in plots.INKS.items() if from_white(c) < FOR_WORDS} == set()


def test_the_map_of_growth_is_as_dark_on_both_sides_and_never_turns():
    shades = plots.GROWTH_MAP(np.linspace(0, 1, 201))[:, :3]
    for kind in APART:
        light = np.array([seen(shade, kind)[0] for shade in shades])
        steps = np.diff(light)
        assert (steps[:100] > 0).all()
        assert (steps[100:] < 0).all()
    light = np.array([seen(shade, "normal")[0] for shade in shades])
    assert np.abs(light - light[::-1]).max() < 3
    ends = seen(shades[0], "deuteranomaly") - seen(shades[-1], "deuteranomaly")
    assert np.linalg.norm(ends) > 20


def test_the_map_of_shares_gets_darker_all_the_way():
    shades = plt.get_cmap("cividis_r")(np.linspace(0, 1, 51))[:, :3]
    for kind in APART:
        assert (np.diff([seen(shade, kind)[0] for shade in shades]) < 0).all()


def test_two_greens_are_alike_and_blue_and_orange_are_not():
    assert alike("#009E73", "#00A070")
    assert alike("#D55E00", "#7F8B00")  # to some readers only
    assert not alike("#0072B2", "#C38600")

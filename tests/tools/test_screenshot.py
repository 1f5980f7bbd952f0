"""The film of the README: what lies in docs/, and how frames become a film."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tools import screenshot

FILM = screenshot.DOCS / "spectral_radius.gif"
STILL = screenshot.DOCS / "spectral_radius.png"
GITHUB = 830  # pixels: a wider picture would be made smaller, with its letters


@pytest.fixture
def frames():
    """One frame for each radius: a white page with a coloured bar that grows."""
    size, bar = len(screenshot.RADII), (25, 118, 210)
    pages = []
    for length in range(1, size + 1):
        page = np.full((40, 2 * size, 3), 254, np.uint8)
        page[10:20, : 2 * length] = bar
        pages.append(Image.fromarray(page))
    return pages


def shown(path):
    """The frames of a film as arrays, and the milliseconds that each is shown."""
    pages, times = [], []
    with Image.open(path) as film:
        for page in ImageSequence.Iterator(film):
            pages.append(pixels(page))
            times.append(page.info["duration"])
    return pages, times


def pixels(picture):
    return np.asarray(picture.convert("RGB"))


def test_the_film_is_small_and_short_and_never_ends():
    assert FILM.stat().st_size < 1_000_000
    with Image.open(FILM) as film:
        assert 650 <= film.width <= GITHUB
        assert film.info["loop"] == 0
    pages, times = shown(FILM)
    assert times == screenshot.durations()
    assert 3000 <= sum(times) <= 6000
    differing = [np.mean(one != other) for one, other in pairwise(pages)]
    assert min(differing) > 0.001  # every frame moves


def test_the_still_is_the_frame_at_the_largest_radius():
    pages, _ = shown(FILM)
    with Image.open(STILL) as still:
        np.testing.assert_array_equal(pixels(still), pages[len(screenshot.RADII) - 1])


def test_frames_go_up_and_back_with_their_own_colours(frames, tmp_path):
    film, still = screenshot.save(frames, tmp_path)
    pages, times = shown(film)
    lengths = [int((page[15, :, 0] == 25).sum()) // 2 for page in pages]
    up = list(range(1, len(frames) + 1))
    assert lengths == up + up[-3:0:-2]
    with Image.open(still) as picture:
        np.testing.assert_array_equal(pixels(picture), frames[-1])
    held = [length for length, time in zip(lengths, times, strict=True) if time == screenshot.HOLD]
    assert held == [1, up[len(up) // 2], up[-1]]

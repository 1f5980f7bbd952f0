"""The lab of the wall: its descents, the words, the picture."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch

import teachkit as tk
from teachkit.labs.canvas import Canvas
from teachkit.labs.wall import SPEC, compute, number, sentence, table
from teachkit.labs.wall_picture import (
    B_ENDS,
    W_ENDS,
    Descents,
    WallPicture,
    _surface,
    outside,
)
from teachkit.plots import COLORS
from teachkit.surfaces import Path, descend, error_surface, wall_line
from tests.labs.driving import check_shown, open_lab


def result_of(**settings):
    return compute(SPEC.check(settings))


def drawn(result):
    canvas = Canvas(WallPicture())
    assert canvas.png(result)
    return canvas.picture


def data(line):
    return np.array(line.get_data())


def path_of(w, b, error=0.01, norm=2.0, clipped=False):
    """A made-up path, or several: places (steps + 1, S), the rest everywhere the same."""
    w, b = np.array(w, dtype=float), np.array(b, dtype=float)
    return Path(w, b, np.full(w.shape, error), np.full(w.shape, norm), np.full(w.shape, clipped))


def made_up(free, clipped=None, **changes):
    still = path_of([[5.0] * 16] * 2, [[-2.0] * 16] * 2)
    paths = {"no clipping": free, "clipped": clipped or still}
    given: dict[str, Any] = {"w": 5.0, "b": -2.0, "lr": 0.1, "threshold": 1.0, "steps": 1}
    return Descents(**(given | changes), paths=paths)


# -- numbers ----------------------------------------------------------------------------------


def test_the_first_path_is_that_of_the_start():
    result = result_of(w=4.0, b=-3.0, lr=0.1, threshold=0.3, steps=30)
    for kind, threshold in (("no clipping", None), ("clipped", 0.3)):
        alone = descend(4.0, -3.0, lr=0.1, threshold=threshold, steps=30)
        path = result.paths[kind]
        np.testing.assert_allclose(path.w[:, 0], alone.w, rtol=1e-9)
        np.testing.assert_allclose(path.error[:, 0], alone.error, rtol=1e-6)
        np.testing.assert_array_equal(path.clipped[:, 0], alone.clipped)


def test_both_kinds_start_at_the_same_sixteen_places():
    result, other = result_of(), result_of(seed=1)
    free, clipped = result.paths["no clipping"], result.paths["clipped"]
    np.testing.assert_array_equal(free.w[0], clipped.w[0])
    np.testing.assert_array_equal(free.b[0], clipped.b[0])
    away = np.hypot(free.w[0] - 5.5, free.b[0] + 2.8)
    assert away[0] == 0
    assert (away[1:] > 0).all()
    assert away.max() < 5e-3
    assert not np.isin(other.paths["clipped"].w[0][1:], clipped.w[0]).any()
    assert free.w.shape == (201, 16)
    assert not free.clipped.any()


def test_the_lab_opens_where_clipping_saves_the_descent():
    for seed in range(3):
        free, clipped = result_of(seed=seed).paths.values()
        assert outside(free).sum() >= 4
        assert outside(clipped).sum() == 0
        assert 0.02 < np.median(free.error[-1]) < 0.2
        assert np.median(clipped.error[-1]) < 5e-3


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        ({"w": 4.0, "b": -3.0, "lr": 0.1}, 0, 1e-20),  # no wall in the way: no need to clip
        ({"threshold": 10.0}, 0.01, 0.2),  # too large to save it
        ({"lr": 0.1, "threshold": 0.1}, 0.1, 0.45),  # too small to get anywhere in 200 steps
        ({"w": 7.0, "b": -3.0, "lr": 0.1}, 0.05, 0.06),  # flat: clipping has nothing to do
    ],
)
def test_where_clipping_changes_nothing_or_does_not_help(settings, low, high):
    clipped = result_of(**settings).paths["clipped"]
    assert low <= np.median(clipped.error[-1]) <= high


def test_what_counts_as_outside():
    places = path_of(
        [[5.0] * 6, [2.4, 8.6, 5.0, 5.0, math.nan, 2.5]], [[-2.0] * 6, [-2, -2, -0.4, -6, -2, -5.5]]
    )
    assert outside(places).tolist() == [True, True, True, True, True, False]


def test_the_surface_is_drawn_in_its_place():
    values = _surface()
    rows, columns = values.shape
    for row, column in ((0, 0), (rows - 1, 3), (17, columns - 1), (100, 70)):
        w = W_ENDS[0] + (W_ENDS[1] - W_ENDS[0]) * (column + 0.5) / columns
        b = B_ENDS[0] + (B_ENDS[1] - B_ENDS[0]) * (row + 0.5) / rows
        assert values[row, column] == pytest.approx(float(error_surface(w, b).error), abs=1e-3)


def test_the_table_holds_every_step_of_every_path():
    result = result_of(steps=20)
    rows = table(result)
    assert list(rows) == ["kind", "start", "step", "w", "b", "error", "norm", "clipped"]
    assert len(rows) == 2 * 16 * 21
    one = rows[(rows["kind"] == "clipped") & (rows["start"] == 3)]
    path = result.paths["clipped"]
    assert one["step"].tolist() == list(range(21))
    for name in ("w", "b", "error", "norm", "clipped"):
        np.testing.assert_array_equal(one[name], getattr(path, name)[:, 3])


# -- words ------------------------------------------------------------------------------------


def test_the_sentence_holds_the_numbers():
    result = result_of(w=5.0, b=-2.4, lr=0.1, steps=100, seed=2)
    free, clipped = result.paths.values()
    out = int(outside(free).sum())
    share = 100 * (clipped.norm[:-1] + 1e-6 > 1).mean()
    percent = f"{share:.0f}" if share >= 1 else f"{share:.1g}"
    assert sentence(result) == (
        "Start (5.00, -2.40), lr 0.1, 100 steps, 16 runs from within about 0.001 of it: without "
        f"clipping the gradient norm reaches {number(free.norm.max())}, one step goes "
        f"{number(free.lengths.max())} far, {out or 'no'} run{'s end' if out != 1 else ' ends'} "
        f"outside the picture, and the median E ends at {number(np.median(free.error[-1]))}; "
        "clipped at norm 1 no step is longer than 0.1, no runs end outside the picture, and the "
        f"median E ends at {number(np.median(clipped.error[-1]))} "
        f"({percent} % of the steps were clipped)."
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (path_of([[5.0] * 16, [9.0] + [5.0] * 15], [[-2.0] * 16] * 2), "1 run ends outside"),
        (path_of([[5.0] * 16, [9.0] * 16], [[-2.0] * 16] * 2), "one step goes 4 far, 16 runs end"),
        (path_of([[5.0] * 16] * 2, [[-2.0] * 16] * 2, norm=math.inf), "reaches beyond float range"),
        (
            path_of([[5.0] * 16, [math.nan] * 16], [[-2.0] * 16] * 2, error=math.nan),
            "16 runs end outside the picture, and the median E ends at beyond float range",
        ),
    ],
)
def test_the_sentence_of_what_was_thrown_out(path, said):
    text = sentence(made_up(path))
    assert said in text
    assert not re.search(r"\b(nan|inf)\b", text)


def test_the_share_of_clipped_steps_counts_steps_only():
    still = ([[5.0] * 16] * 5, [[-2.0] * 16] * 5)
    clipped = path_of(*still)
    clipped.clipped[1] = True  # one step of four
    text = sentence(made_up(path_of(*still), clipped, steps=4))
    assert text.endswith("(25 % of the steps were clipped).")


def test_the_posters_tell_where_clipping_helps_and_where_it_does_not():
    lab = tk.labs.wall()
    calm, saved, large = lab.poster_text().splitlines()
    assert "no runs end outside the picture, and the median E ends at 1." in calm
    assert "e-31" in calm or "e-32" in calm
    assert saved == lab.sentence
    assert "clipped at norm 1 no step is longer than 0.3, no runs end outside" in saved
    assert re.search(r"clipped at norm 10 no step is longer than 3, \d+ runs end outside", large)


# -- picture ----------------------------------------------------------------------------------


def test_what_is_drawn_is_the_result():
    result = result_of(lr=0.1, steps=60)
    picture = drawn(result)
    for kind, path in result.paths.items():
        np.testing.assert_array_equal(data(picture._ways[kind]), [path.w[:, 0], path.b[:, 0]])
        errors = np.log10(path.error)
        np.testing.assert_allclose(data(picture._alone[kind])[1], errors[:, 0])
        np.testing.assert_allclose(data(picture._medians[kind])[1], np.median(errors, axis=1))
        np.testing.assert_allclose(data(picture._norms[kind])[1], np.log10(path.norm[:, 0]))
        assert data(picture._norms[kind])[0].tolist() == list(range(61))
        assert picture._counts[kind].get_text() == str(outside(path).sum())
    np.testing.assert_array_equal(data(picture._start), [[5.5], [-2.8]])
    assert data(picture._limit)[1].tolist() == [0, 0]
    assert picture._norm.get_xlim() == (0, 60)
    assert picture._lead.get_text() == "lr 0.1, clip threshold 1"


def test_the_wall_is_where_its_formula_says():
    (wall,) = drawn(result_of(steps=20))._plane.collections
    points = np.concatenate(wall.get_segments())
    np.testing.assert_allclose(points[:, 1], wall_line(points[:, 0]))
    assert points[:, 0].min() == pytest.approx(4.2553, abs=1e-4)
    widths = wall.get_linewidths()
    assert sorted(widths) == list(widths)
    norms = [
        t.get_text() for t in drawn(result_of(steps=20))._plane.texts if "cdot" in t.get_text()
    ]
    assert norms[:3] == [r"$8 \cdot 10^{2}$", r"$3 \cdot 10^{6}$", r"$4 \cdot 10^{9}$"]


def test_the_green_line_is_where_the_error_is_0():
    line = next(x for x in drawn(result_of(steps=20))._plane.lines if x.get_linestyle() == "--")
    (w0, w1), (b0, b1) = line.get_data()
    share = np.linspace(0, 1, 20)
    assert error_surface(w0 + share * (w1 - w0), b0 + share * (b1 - b0)).error.max() < 1e-4


@pytest.mark.parametrize(
    ("end", "border"),
    [((5.0, 40.0), (5.0, -0.5)), ((-35.0, -2.0), (2.5, -2.0)), ((9.0, 2.0), (6.5, -0.5))],
)
def test_a_path_that_is_thrown_out_gets_an_arrow_at_the_border(end, border):
    free = path_of([[5.0] * 16, [end[0]] * 16], [[-2.0] * 16, [end[1]] * 16])
    picture = drawn(made_up(free))
    place = data(picture._arrows["no clipping"])[:, 0]
    np.testing.assert_allclose(place, border)
    assert data(picture._ends["no clipping"]).size == 0
    ends = data(picture._last["no clipping"])
    np.testing.assert_allclose(ends.T, [np.clip(end, *np.array([W_ENDS, B_ENDS]).T)] * 15)
    # its tip points the way that the path goes on the screen
    ax = picture._plane
    here, there = ax.transData.transform([(5.0, -2.0), border])
    way = (there - here) / np.linalg.norm(there - here)
    marker = picture._arrows["no clipping"].get_marker()
    np.testing.assert_allclose(marker[1] / np.linalg.norm(marker[1]), way, atol=0.01)
    assert picture._counts["no clipping"].get_text() == "16"
    assert data(picture._arrows["clipped"]).size == 0
    np.testing.assert_array_equal(data(picture._ends["clipped"]), [[5.0], [-2.0]])


@pytest.mark.parametrize("far", [1e300, math.nan])
def test_a_path_far_out_or_beyond_float_range_is_drawn(far):
    free = path_of([[5.0] * 16, [far] * 16], [[-2.0] * 16, [far] * 16])
    picture = drawn(made_up(free))
    assert data(picture._arrows["no clipping"])[:, 0] == pytest.approx([6.5, -0.5])
    assert np.isfinite(data(picture._last["no clipping"])).all()


def test_a_norm_of_0_leaves_the_picture_downwards_and_infinity_upwards():
    free = path_of([[5.0] * 16] * 2, [[-2.0] * 16] * 2, norm=0.0)
    picture = drawn(made_up(free, path_of([[5.0] * 16] * 2, [[-2.0] * 16] * 2, norm=math.inf)))
    low, high = picture._norm.get_ylim()
    assert (data(picture._norms["no clipping"])[1] < low).all()
    assert (data(picture._norms["clipped"])[1] > high).all()


def test_dragging_the_start_rarely_changes_the_axes():
    picture, changes = WallPicture(), 0
    for i in range(12):
        changes += picture.update(result_of(w=5.0 + 0.05 * i, steps=60))
    assert changes <= 3


def test_every_text_is_large_enough_and_within_the_picture():
    picture = drawn(result_of(w=8.0, b=-5.0, lr=1.0, threshold=10.0, steps=300))
    whole = picture.figure.bbox
    for text in picture.figure.findobj(lambda a: hasattr(a, "get_fontsize")):
        if not text.get_text().strip() or not text.get_visible():
            continue
        assert text.get_fontsize() >= 8
        box = text.get_window_extent()
        if box.width and text.axes is None:
            assert whole.x0 <= box.x0 <= box.x1 <= whole.x1
    for ax in (picture._plane, picture._error, picture._norm):
        box = ax.get_legend().get_window_extent()
        assert box.x1 <= whole.x1


def test_the_colours_are_those_of_clipping_everywhere():
    picture = WallPicture()
    assert picture._ways["no clipping"].get_color() == COLORS["no clipping"]
    assert picture._ways["clipped"].get_color() == COLORS["clip at norm 1"]


def test_it_moves_from_end_to_end():
    lab = open_lab("wall", show=["w", "b"])
    for w, b in ((8.0, -5.0), (3.0, -1.0), (8.0, -1.0), (3.0, -5.0), (6.0, -3.25)):
        lab.controls["w"].value, lab.controls["b"].value = w, b
        check_shown(lab)
        assert lab.sentence.startswith(f"Start ({w:.2f}, {b:.2f}), lr 0.3, ")
    assert torch.get_default_dtype() == torch.float32

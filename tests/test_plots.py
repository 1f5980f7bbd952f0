"""Figures: what is drawn is the data, on axes that say what they show."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from teachkit import experiments, plots, results

VARIANTS = ["no clipping", "no clipping, lr 0.03", "clip at norm 1"]


@pytest.fixture
def ax():
    return Figure().subplots()


def test_gradient_curves_draw_exponents_and_end_where_float_range_ends(ax):
    plots.gradient_curves(ax, {"growth": [1.0, 100.0, np.inf, 0.0]}, colors=["red"], styles=["--"])
    (line,) = [line for line in ax.lines if line.get_label() == "growth"]
    np.testing.assert_allclose(line.get_ydata(), [0, 2, np.nan, np.nan])
    assert (line.get_color(), line.get_linestyle()) == ("red", "--")
    assert ax.get_xlabel() == "steps back in time, k"
    assert "gradient norm" in ax.get_ylabel()


def test_ticks_are_powers_of_ten():
    assert plots.power_of_ten(0) == "1"
    assert plots.power_of_ten(-3) == "$10^{-3}$"


def test_growth_image_puts_each_rho_on_its_row_and_clips_the_colours(ax):
    growth = np.array([[1.0, 0.1, 0.0], [1.0, 10.0, np.inf]])
    image = plots.growth_image(ax, growth, [0.0, 1.0], decades=5, title="tanh")
    np.testing.assert_allclose(image.get_array(), [[0, -1, -400], [0, 1, 400]])
    assert image.get_extent() == [-0.5, 2.5, -0.5, 1.5]
    assert (image.norm.vmin, image.norm.vmax) == (-5, 5)
    assert ax.get_title(loc="center") == "tanh" or ax.get_title(loc="left") == "tanh"


def test_solved_by_rho_draws_shares_with_their_intervals(ax):
    summary = experiments.solved_share(results.load_results("temporal_order"))
    plots.solved_by_rho(ax, summary, VARIANTS)
    for container, variant in zip(ax.containers, VARIANTS, strict=True):
        rows = summary[summary["variant"] == variant].sort_values("rho")
        points, _, (bars,) = container.lines
        np.testing.assert_allclose(points.get_ydata().astype(float), rows["share"])
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends, rows[["low", "high"]], atol=1e-12)
        # Side by side: no point hides another.
        assert not set(points.get_xdata()) & {
            x for other in ax.containers if other is not container for x in other[0].get_xdata()
        }


def test_curves_with_intervals_draw_the_mean_over_seeds(ax):
    rows = [
        {"variant": v, "seed": seed, "step": step, "accuracy": step * (i + 1) + seed}
        for i, v in enumerate(VARIANTS)
        for seed in (0, 2)
        for step in (1, 2)
    ]
    table = pd.DataFrame(rows)
    plots.curves_with_intervals(ax, table, "accuracy", VARIANTS, title="three")
    drawn = [list(line.get_ydata()) for line in ax.lines if len(line.get_xdata()) == 2]
    assert drawn == [[2, 3], [3, 5], [4, 7]]
    assert [line.get_color() for line in ax.lines[:3]] == [plots.COLORS[v] for v in VARIANTS]
    assert len(ax.collections) == 3


def test_snapped_limits_hold_the_data_and_change_rarely():
    ends = set()
    for level in np.linspace(0, 307, 500):
        low, high = plots.snap_decades(level, -level)
        assert low <= -level <= level <= high
        ends.add(high)
    assert len(ends) <= 8
    low, high = plots.snap_decades(np.inf, -np.inf)
    assert low < -308
    assert high > 308


def test_style_is_opaque_and_leaves_no_trace():
    before = dict(matplotlib.rcParams)
    with plots.style():
        assert matplotlib.rcParams["figure.facecolor"] == "white"
        assert matplotlib.rcParams["savefig.facecolor"] == "white"
    assert dict(matplotlib.rcParams) == before


def test_a_legend_above_the_axes_is_in_the_style_and_hides_nothing():
    figure = Figure()
    ax = figure.subplots()
    (one,), (two,) = ax.plot([0, 1], label="one"), ax.plot([1, 0], label="two")
    plots.legend(ax, two, None, one, fontsize=7)
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["two", "one"]
    assert all(same_color(text.get_color(), plots.INK) for text in legend.get_texts())
    assert {text.get_fontsize() for text in legend.get_texts()} == {7}
    assert not legend.get_frame_on()
    FigureCanvasAgg(figure).draw()
    inside, box = ax.get_window_extent(), legend.get_window_extent()
    assert box.y0 > inside.y1
    assert box.x0 == pytest.approx(inside.x0)


def test_decades_by_variant_draw_a_point_a_seed_and_their_geometric_mean(ax):
    values = {"b": [1e-3, 1e-5], "a": [1.0, 100.0]}
    rows = [{"variant": v, "growth": g} for v, pair in values.items() for g in pair]
    plots.decades_by_variant(ax, pd.DataFrame(rows), "growth", "gradient")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "a"]
    points, bar, points_2, bar_2, one = ax.lines
    np.testing.assert_allclose(points.get_xdata(), [-3, -5])
    np.testing.assert_allclose(points_2.get_xdata(), [0, 2])
    assert (bar.get_xdata()[0], bar_2.get_xdata()[0]) == pytest.approx((-4, 1))
    assert len({*points.get_ydata(), *points_2.get_ydata()}) == 4
    assert one.get_xdata()[0] == 0
    assert ax.yaxis_inverted()


def test_every_run_is_a_line_and_the_title_counts_those_that_reach_it():
    axes = Figure().subplots(1, 2)
    ends = {"x": [0.5, 1.0, 0.99], "y": [0.2, 0.3, 0.4]}
    rows = [
        {"variant": v, "seed": seed, "step": step, "metric": "score", "value": value}
        for v, given in ends.items()
        for seed, end in enumerate(given)
        for step, value in ((0, 0.1), (10, end))
    ]
    table = pd.DataFrame([*rows, {**rows[0], "metric": "loss"}])
    plots.every_run(axes, table, "score", reached=0.99, chance=0.5)
    assert [ax.get_title() for ax in axes] == ["x: 2 of 3", "y: 0 of 3"]
    for ax, given in zip(axes, ends.values(), strict=True):
        *runs, chance = ax.lines
        assert chance.get_ydata()[0] == 0.5
        drawn = {float(line.get_ydata()[-1]): line.get_color() for line in runs}
        good, bad = plots.COLORS["critical"], plots.COLORS["explode"]
        assert drawn == {end: good if end >= 0.99 else bad for end in given}


def test_differences_say_which_side_of_zero_their_interval_is_on(ax):
    rows = [("up", 2.0, 1.0, 3.0), ("down", -2.0, -3.0, -1.0), ("none", 0.5, -1.0, 2.0)]
    table = pd.DataFrame(rows, columns=["scheme", "difference", "low", "high"])
    plots.differences(ax, table, "scheme", "accuracy")
    intervals, points = ax.lines[0:6:2], ax.lines[1:6:2]
    assert [tuple(line.get_xdata()) for line in intervals] == [row[2:] for row in rows]
    assert [line.get_xdata()[0] for line in points] == [row[1] for row in rows]
    colors = [plots.COLORS[key] for key in ("critical", "explode", "bound")]
    assert [line.get_color() for line in intervals] == colors
    assert [label.get_text() for label in ax.get_yticklabels()] == ["up", "down", "none"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row on top
    plots.differences(ax, table, "scheme", "loss", lower_is_better=True)
    turned = [plots.COLORS[key] for key in ("explode", "critical", "bound")]
    assert [line.get_color() for line in ax.lines[7:13:2]] == turned


def test_a_strategy_has_one_colour_at_any_noise():
    assert plots.color_of("learned") == plots.COLORS["learned"]
    assert plots.color_of("noisy 0.3") == plots.COLORS["noisy"]
    assert plots.color_of("noisy 1") != plots.color_of("noisy 0.3")
    assert plots.color_of("learned+noisy 0.3") == plots.COLORS["learned+noisy"]
    assert plots.color_of("0.003") == plots.COLORS["bound"]


def test_difference_curves_have_their_interval_around_them(ax):
    rows = [
        ("learned", 1, -1.0, -2.0, 0.5),
        ("learned", 2, -0.5, -1.0, 0.0),
        ("noisy 1", 1, 3, 2, 4),
    ]
    table = pd.DataFrame(rows, columns=["variant", "t", "difference", "low", "high"])
    plots.difference_curves(ax, table, "t")
    _, learned, noisy = ax.lines
    assert learned.get_xydata().tolist() == [[1, -1], [2, -0.5]]
    assert noisy.get_xydata().tolist() == [[1, 3]]
    assert learned.get_color() == plots.COLORS["learned"]
    band = ax.collections[0].get_paths()[0].vertices
    assert {(x, y) for x, y in band.tolist()} >= {(1, -2), (1, 0.5), (2, -1), (2, 0)}
    assert ax.get_xlabel() == "t"


@pytest.mark.parametrize(
    ("ground", "words"),
    [("white", "black"), ("#FFEA46", "black"), ("#00224E", "white"), ("#7C7B78", "black")],
)
def test_words_are_black_or_white_whichever_stands_out_more(ground, words):
    assert plots.readable_on(ground) == words


def test_annotated_heatmap_writes_each_number_in_its_cell(ax):
    wide = pd.DataFrame([[0.0, 0.25], [1.0, 0.5]], index=["a", "b"], columns=[1, 2])
    plots.annotated_heatmap(ax, wide)
    assert [text.get_text() for text in ax.texts] == ["0.00", "0.25", "1.00", "0.50"]
    (mesh,) = ax.collections
    np.testing.assert_allclose(np.asarray(mesh.get_array()), wide)
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0, 1)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]

"""Figures of chapters 05 and 06: what is drawn is what the tables say."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import dates as mdates
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure

from teachkit.experiments import decades_study, solved_runs
from teachkit.experiments.decades import LINEAR
from teachkit.forecasting import SeriesForecast
from teachkit.plots import COLORS, INK
from teachkit.run_plots import errors_by_decade, parts_of_series, solved_shares

NAMES = ["none", "norm 1", "value 0.1", "not measured"]


@pytest.fixture
def ax():
    return Figure().subplots()


# How many runs solved a task


def shares():
    """Counts of three names out of the order in which they are drawn: 0, 3 and 4 of 4 runs."""
    solved, not_ = 1.0, 0.5
    scores = {
        "value 0.1": [solved, solved, solved, not_],
        "none": [not_, not_, not_, np.nan],
        "norm 1": [solved] * 4,
    }
    rows = [{"name": name, "score": s} for name, given in scores.items() for s in given]
    return solved_runs(pd.DataFrame(rows), ["name"])


def test_each_name_has_its_row_its_share_and_its_interval(ax):
    rows = shares()
    assert solved_shares(ax, rows, NAMES) is ax
    by_name = rows.set_index("name")
    lines: Any
    points: Any
    lines, points = ax.collections
    for place, name in enumerate(NAMES[:3]):
        (start, end) = lines.get_segments()[place]
        assert (start[1], end[1]) == (place, place)
        assert (start[0], end[0]) == pytest.approx(tuple(by_name.loc[name, ["low", "high"]]))
        assert tuple(points.get_offsets()[place]) == (by_name.loc[name, "share"], place)
    assert [label.get_text() for label in ax.get_yticklabels()] == NAMES
    assert list(ax.get_yticks()) == [0, 1, 2, 3]
    assert ax.yaxis_inverted(), "the first name is on top"


def test_the_counts_stand_beside_the_rows_and_an_unknown_name_has_none(ax):
    solved_shares(ax, shares(), NAMES)
    written = {text.get_position()[1]: text.get_text() for text in ax.texts}
    assert written == {0: "0/4", 1: "4/4", 2: "3/4"}
    # to the right of every interval, and inside the axes
    low, high = ax.get_xlim()
    assert low < 0
    assert all(1 < text.get_position()[0] < high for text in ax.texts)


@pytest.mark.parametrize("names", list(itertools.permutations(NAMES[:3])), ids=str)
def test_no_clipping_has_its_colour_wherever_it_stands(ax, names):
    solved_shares(ax, shares(), list(names))
    for name, color in zip(names, ax.collections[0].get_colors(), strict=True):
        wanted = COLORS["no clipping" if name == "none" else "clip at norm 1"]
        assert same_color(color[:3], wanted)
    assert not same_color(COLORS["no clipping"], COLORS["clip at norm 1"])


def test_the_count_is_not_cut_off_at_the_edge():
    figure = Figure(figsize=(4.0, 2.5))
    ax = solved_shares(figure.subplots(), shares().assign(solved=16, runs=16), NAMES)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    inside = ax.get_window_extent()
    for text in ax.texts:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x1 <= inside.x1


# A series in its parts


def test_the_series_is_drawn_in_its_own_units(ax):
    task = SeriesForecast()
    assert parts_of_series(ax, task) is ax
    line: Any = ax.lines[0]
    assert len(ax.lines) == 1
    np.testing.assert_array_equal(line.get_ydata(), task.values.to_numpy())
    first, last = (mdates.num2date(mdates.date2num(line.get_xdata()[n])) for n in (0, -1))
    assert (first.year, first.month) == (1749, 1)
    assert (last.year, last.month) == (2008, 12)


def spans(ax):
    """Where each shaded part begins and ends, in the units of the x axis."""
    return [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]


def test_the_three_parts_follow_each_other_where_the_task_splits_them(ax):
    task = SeriesForecast()
    parts_of_series(ax, task)
    found = [tuple(mdates.num2date(end) for end in ends) for ends in spans(ax)]
    months = [[(end.year, end.month) for end in ends] for ends in found]
    assert months == [
        [(1749, 1), (1904, 12)], [(1905, 1), (1956, 12)], [(1957, 1), (2008, 12)],
    ]  # fmt: skip
    assert [text.get_text().strip() for text in ax.texts] == ["train", "validation", "test"]
    starts = [mdates.date2num(text.get_position()[0]) for text in ax.texts]
    assert starts == pytest.approx([start for start, _ in spans(ax)])
    shades = [to_hex(patch.get_facecolor()) for patch in ax.patches]
    assert shades[0] == shades[2] != shades[1]


def test_a_series_without_dates_is_drawn_by_its_places(ax):
    values = np.sin(np.arange(100.0)) - 2
    task = SeriesForecast(values, seq_len=10, horizon=5)
    parts_of_series(ax, task)
    assert spans(ax) == [(0, 59), (60, 79), (80, 99)]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), values)
    low, high = ax.get_ylim()
    assert low <= values.min() < values.max() <= high


def test_a_series_above_zero_is_drawn_from_zero(ax):
    parts_of_series(ax, SeriesForecast())
    assert ax.get_ylim()[0] == 0


# Errors by decade


def decades():
    """Two networks of three seeds with their mean forecasts, and the rival, in two decades."""
    rows = []
    for n, name in enumerate(["keras, 3, noisy, norm 1", "torch, preset, zero, none"]):
        for start, seed in itertools.product((1957, 1967), range(3)):
            error = 0.5 + 0.1 * n + 0.01 * seed + (start - 1957) / 100
            rows.append({"forecast": name, "seed": seed, "start": start, "error": error})
        for start in (1957, 1967):
            mean = {"forecast": f"{name}, mean of 3", "seed": -1, "start": start}
            rows.append({**mean, "error": 0.4 + 0.1 * n + (start - 1957) / 100})
    for start, error in ((1957, 0.41), (1967, 0.62)):
        rows.append({"forecast": LINEAR, "seed": -1, "start": start, "error": error})
    return pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True).sort_values(
        "forecast", kind="stable"
    )  # fmt: skip


def series(ax, marker):
    """The points of a marker, a line each: {(x, y)} with its colour."""
    lines = [line for line in ax.lines if line.get_marker() == marker and len(line.get_xdata())]
    return [(set(map(tuple, line.get_xydata())), line.get_color()) for line in lines]


def test_every_error_of_the_table_is_drawn_once_above_its_years(ax):
    table = decades()
    assert errors_by_decade(ax, table) is ax
    drawn = {m: series(ax, m) for m in (".", "D", "s")}
    assert {m: [len(points) for points, _ in found] for m, found in drawn.items()} == {
        ".": [6, 6], "D": [2, 2], "s": [2],
    }  # fmt: skip
    networks = ["keras, 3, noisy, norm 1", "torch, preset, zero, none"]
    wanted = {
        ".": [table[table["forecast"] == name] for name in networks],
        "D": [table[table["forecast"] == f"{name}, mean of 3"] for name in networks],
        "s": [table[table["forecast"] == LINEAR]],
    }
    for marker, tables in wanted.items():
        for (points, _), own in zip(drawn[marker], tables, strict=True):
            shift = min(x for x, _ in points) - 1957
            assert abs(shift) < 5, "the years would be those of a neighbour"
            found = sorted((round(x - shift), y) for x, y in points)
            expected = sorted(own[["start", "error"]].itertuples(index=False, name=None))
            np.testing.assert_allclose(found, expected)


def test_the_networks_and_the_rival_stand_side_by_side_in_colours_of_their_own(ax):
    errors_by_decade(ax, decades())
    places = [{x for x, _ in points} for m in (".", "s") for points, _ in series(ax, m)]
    assert all(not one & other for one, other in itertools.combinations(places, 2))
    colors = [to_hex(color) for m in (".", "s") for _, color in series(ax, m)]
    assert len(set(colors)) == 3
    assert [to_hex(color) for _, color in series(ax, "D")] == colors[:2]


def test_the_axes_say_which_years_and_the_legend_what_is_what(ax):
    errors_by_decade(ax, decades())
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1957 to 1966", "1967 to 1976"]
    assert list(ax.get_xticks()) == [1957, 1967]
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylabel() == "test error (standard deviations)"
    legend = ax.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [
        "keras, 3, noisy, norm 1", "their mean forecasts", "torch, preset, zero, none", LINEAR,
    ]  # fmt: skip
    handles = dict(zip(texts, legend.legend_handles, strict=True))
    colors = [color for m in (".", "s") for _, color in series(ax, m)]
    for name, color in zip([*texts[::2], LINEAR], colors, strict=True):
        assert same_color(handles[name].get_color(), color)
    assert same_color(handles["their mean forecasts"].get_markeredgecolor(), INK)
    assert handles["their mean forecasts"].get_marker() == "D"


def networks(count, starts=(1957, 1967)):
    """A table of so many networks of two seeds each, and the rival."""
    rows = [
        {"forecast": f"network {n}", "seed": seed, "start": start, "error": 1 + n}
        for n, seed, start in itertools.product(range(count), (0, 1), starts)
    ]
    rows += [
        {"forecast": f"network {n}, mean of 2", "seed": -1, "start": start, "error": 0.5 + n}
        for n, start in itertools.product(range(count), starts)
    ]
    rival = [{"forecast": LINEAR, "seed": -1, "start": start, "error": 0.4} for start in starts]
    return pd.DataFrame(rival + rows)


@pytest.mark.parametrize("count", range(6))
def test_up_to_five_networks_have_places_and_colours_of_their_own(ax, count):
    errors_by_decade(ax, networks(count))
    found = {m: series(ax, m) for m in (".", "D", "s")}
    assert [len(found[m]) for m in (".", "D", "s")] == [count, count, 1]
    assert len({to_hex(color) for _, color in found["."] + found["s"]}) == count + 1
    places = [{x for x, _ in points} for m in (".", "s") for points, _ in found[m]]
    assert len(set.union(*places)) == 2 * (count + 1)
    # those of one decade stand together, left of the rival's place in the next
    assert all(x < 1957 + 9 for xs in places for x in xs if x < 1960 + 6)
    assert max(min(xs) for xs in places) < 1957 + 9


def test_more_networks_than_colours_are_refused(ax):
    with pytest.raises(ValueError, match=r"^table must be of at most 5 networks, .* but 6 was giv"):
        errors_by_decade(ax, networks(6))


def test_one_span_of_years_is_drawn_without_its_end(ax):
    errors_by_decade(ax, networks(2, starts=(1957,)))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["from 1957"]
    assert [len(points) for points, _ in series(ax, "D")] == [1, 1]


def test_a_study_can_be_drawn(ax):
    """The names of the study are those that the figure looks for."""
    table = decades_study(steps=0, seeds=1, years=25)
    errors_by_decade(ax, table)
    found = {m: [len(points) for points, _ in series(ax, m)] for m in (".", "D", "s")}
    assert found == {".": [2, 2], "D": [2, 2], "s": [2]}

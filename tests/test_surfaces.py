# mypy: disable-error-code="arg-type,call-arg"
"""The error surface of one unit against autograd, and descents on it against torch.optim."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from teachkit.surfaces import (
    WALL_STARTS_AT,
    descend,
    error_surface,
    slope_on_wall,
    wall_line,
)

DOUBLE = torch.float64
RISE = torch.sigmoid(torch.tensor(0.5, dtype=DOUBLE)).item()
SLOPE = RISE * (1 - RISE)


def reference(w, b, x0=0.5, steps=50, target=0.7):
    """Oracle: the error by plain PyTorch, and its gradient by autograd, in float64."""
    w = torch.as_tensor(w, dtype=DOUBLE).clone().requires_grad_()
    b = torch.as_tensor(b, dtype=DOUBLE).clone().requires_grad_()
    x = torch.tensor(x0, dtype=DOUBLE)
    for _ in range(steps):
        x = w * torch.sigmoid(x) + b
    error = (torch.sigmoid(x) - target) ** 2
    by_w, by_b = torch.autograd.grad(error.sum(), (w, b))
    return error.detach().numpy(), by_w.numpy(), by_b.numpy()


def parts(surface):
    return surface.error, surface.dE_dw, surface.dE_db


def norm_on_line(w):
    """Oracle: on the line x stays at x_0, so that the gradient is a geometric series."""
    series = ((w * SLOPE) ** 50 - 1) / (w * SLOPE - 1)
    return abs(2 * (RISE - 0.7) * SLOPE * series) * math.hypot(RISE, 1.0)


# -- the surface ------------------------------------------------------------------------------


def test_error_and_gradient_are_those_of_autograd():
    w, b = 2 + 6 * torch.rand(300, dtype=DOUBLE), -5 + 5 * torch.rand(300, dtype=DOUBLE)
    for found, expected in zip(parts(error_surface(w, b)), reference(w, b), strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize(
    "options", [{"x0": -1.0}, {"steps": 1}, {"steps": 7, "target": 0.2}, {"x0": 2.0, "steps": 120}]
)
def test_other_starts_lengths_and_targets(options):
    w, b = 2 * torch.randn(50, dtype=DOUBLE), torch.randn(50, dtype=DOUBLE)
    found = parts(error_surface(w, b, **options))
    for mine, expected in zip(found, reference(w, b, **options), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize("w", [3.0, 4.2, 4.5, 5.0, 5.5, 6.0, 7.0])
def test_on_the_wall_too(w):
    surface = error_surface(w, wall_line(w))
    for found, expected in zip(parts(surface), reference(w, wall_line(w)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3)  # rounding grows there as well
    assert float(surface.norm) == pytest.approx(norm_on_line(w), rel=1e-3)
    assert float(surface.error) == pytest.approx((RISE - 0.7) ** 2, rel=1e-3)


@pytest.mark.parametrize(("w", "b"), [(4.0, -3.0), (5.0, -2.4), (6.0, -3.0), (3.0, -1.0)])
def test_the_gradient_is_that_of_finite_differences(w, b):
    eps = 1e-6
    found = error_surface(w, b)
    by_w = (error_surface(w + eps, b).error - error_surface(w - eps, b).error) / (2 * eps)
    by_b = (error_surface(w, b + eps).error - error_surface(w, b - eps).error) / (2 * eps)
    np.testing.assert_allclose([found.dE_dw, found.dE_db], [by_w, by_b], rtol=1e-4, atol=1e-9)
    assert found.norm == pytest.approx(math.hypot(by_w, by_b), rel=1e-4)


@given(st.floats(-8, 8), st.floats(-6, 6), st.integers(1, 60), st.floats(0, 1), st.floats(-3, 3))
@settings(max_examples=60)
def test_the_error_is_that_of_the_paper_for_any_unit(w, b, steps, target, x0):
    x = x0
    for _ in range(steps):
        x = w / (1 + math.exp(-x)) + b
    expected = (1 / (1 + math.exp(-x)) - target) ** 2
    found = error_surface(w, b, steps=steps, target=target, x0=x0)
    # where a path is unstable, rounding grows as fast as the gradient
    rounding = 1e-14 * (1 + float(found.norm) * 100)
    assert float(found.error) == pytest.approx(expected, rel=1e-9, abs=rounding)


def test_numbers_of_fig_6():
    """The norms on the line, and what a fine grid sees of them."""
    expected = {4.2: 1.59, 4.5: 11.5, 5.0: 779, 5.5: 5.48e4, 6.0: 3.03e6, 7.0: 4.28e9}
    for w, norm in expected.items():
        assert float(error_surface(w, wall_line(w)).norm) == pytest.approx(norm, rel=0.01)
    ws, bs = np.linspace(4, 8, 801), np.linspace(-5, -1, 801)
    norms = error_surface(ws, bs[:, None]).norm
    row, column = np.unravel_index(norms.argmax(), norms.shape)
    assert (ws[column], bs[row]) == pytest.approx((4.94, -2.575))
    assert norms.max() == pytest.approx(3320, rel=0.01)
    assert np.median(norms) == pytest.approx(0.0224, rel=0.01)
    # at w = 6 the grid shows nothing of a wall of three million
    assert norms[:, np.abs(ws - 6).argmin()].max() < 10


def test_shapes_broadcast_and_pieces_fit_together():
    w, b = torch.linspace(3, 8, 301), torch.linspace(-5, -1, 257)[:, None]
    surface = error_surface(w, b)  # more points than are computed at once
    assert {part.shape for part in (*parts(surface), surface.norm)} == {(257, 301)}
    rows = [error_surface(w, row) for row in b]
    calm = surface.norm < 1  # SIMD rounds the last few of a piece in another way
    assert calm.mean() > 0.95
    for i, name in enumerate(("error", "dE_dw", "dE_db")):
        whole = np.stack([getattr(row, name) for row in rows])
        np.testing.assert_allclose(parts(surface)[i][calm], whole[calm], atol=2e-4)
    assert error_surface(5, -2).error.shape == ()
    assert error_surface([], 1.0).norm.shape == (0,)


@pytest.mark.parametrize(
    ("w", "b", "dtype", "expected"),
    [
        (torch.zeros(2), torch.zeros(2), None, np.float32),
        (np.zeros(2, np.float32), -1.0, None, np.float32),
        (torch.zeros(2, dtype=DOUBLE), torch.zeros(2), None, np.float64),
        (5.0, -2.0, None, np.float64),
        (np.zeros(2), 0, "float32", np.float32),
        (torch.zeros(2), 0, "float64", np.float64),
    ],
)
def test_the_precision_is_that_of_the_arrays_or_the_one_asked_for(w, b, dtype, expected):
    surface = error_surface(w, b, dtype=dtype)
    assert {part.dtype for part in parts(surface)} == {np.dtype(expected)}


def test_single_precision_agrees_away_from_the_wall():
    w, b = np.linspace(2, 8, 40), np.linspace(-5, 0, 40)[:, None]
    exact, fast = error_surface(w, b), error_surface(w, b, dtype="float32")
    calm = exact.norm < 1
    assert calm.mean() > 0.95
    for one, other in zip(parts(exact), parts(fast), strict=True):
        np.testing.assert_allclose(other[calm], one[calm], atol=2e-4)


def test_arguments_are_left_alone():
    w, b = torch.linspace(4, 5, 5, dtype=DOUBLE, requires_grad=True), np.full(5, -2.0)
    error_surface(w, b)
    descend(w, b, lr=0.1, steps=5)
    assert torch.equal(w.detach(), torch.linspace(4, 5, 5, dtype=DOUBLE))
    assert (b == -2).all()


@pytest.mark.parametrize(("dtype", "w"), [("float32", 30.0), ("float64", 4000.0)])
def test_beyond_float_range_is_infinity_without_a_warning(dtype, w):
    surface = error_surface([w, 1.0], [-w / 2, 0.0], x0=0.0, steps=1000, dtype=dtype)
    assert np.isinf(surface.norm).tolist() == [True, False]
    assert np.isfinite(surface.error).all()
    assert not np.isnan([surface.dE_dw, surface.dE_db]).any()
    tiny = error_surface(1e3, 1e3)  # a unit that is stuck at 1
    assert float(tiny.norm) == 0
    assert float(tiny.error) == pytest.approx(0.09)


# -- the wall ---------------------------------------------------------------------------------


@given(st.floats(-10, 10))
def test_the_start_is_a_fixed_point_on_the_line(w):
    b = wall_line(w)
    assert w * RISE + b == pytest.approx(0.5, abs=1e-12)
    assert slope_on_wall(w) == pytest.approx(w * SLOPE)
    x = torch.tensor(0.5, dtype=DOUBLE)
    (by_x,) = torch.autograd.functional.jacobian(lambda x: w * torch.sigmoid(x) + b, (x,))
    assert slope_on_wall(w) == pytest.approx(by_x.item(), abs=1e-12)


def test_the_wall_starts_where_the_fixed_point_begins_to_repel():
    assert pytest.approx(4.2553, abs=5e-5) == WALL_STARTS_AT
    assert slope_on_wall(WALL_STARTS_AT) == pytest.approx(1.0)
    below, above = (error_surface(w, wall_line(w), steps=2000).norm for w in (4.2, 4.3))
    assert below < 4 < 1e6 < above


def test_the_line_keeps_the_kind_of_its_argument():
    assert type(wall_line(5)) is float
    assert isinstance(wall_line(torch.ones(3)), torch.Tensor)
    np.testing.assert_allclose(wall_line([5.0, 6.0]), [0.5 - 5 * RISE, 0.5 - 6 * RISE])
    assert slope_on_wall(np.ones((2, 3))).shape == (2, 3)


@pytest.mark.parametrize(("w", "low", "high"), [(5.0, -2.6556, -2.3444), (6.0, -3.4151, -2.5849)])
def test_on_the_wall_two_states_compete(w, low, high):
    """Inside the window of b the unit has two stable states; the wall parts their basins."""

    def settled(b, x):
        for _ in range(3000):
            x = w / (1 + math.exp(-x)) + b
        return x

    for b, apart in (
        (low - 0.01, False),
        (low + 0.01, True),
        (high - 0.01, True),
        (high + 0.01, 0),
    ):
        assert (settled(b, 20.0) - settled(b, -20.0) > 0.1) == bool(apart)
    assert low < wall_line(w) < high
    eps = 1e-3
    assert settled(wall_line(w) + eps, 0.5) > 0.5 > settled(wall_line(w) - eps, 0.5)


# -- descents ---------------------------------------------------------------------------------


def by_torch(w, b, lr, threshold, steps):
    """Oracle: torch.optim.SGD and clip_grad_norm_; places, errors and norms, (steps + 1, 4)."""
    w = torch.tensor(w, dtype=DOUBLE, requires_grad=True)
    b = torch.tensor(b, dtype=DOUBLE, requires_grad=True)
    optimizer, rows = torch.optim.SGD([w, b], lr=lr), []
    for _ in range(steps + 1):
        x = torch.tensor(0.5, dtype=DOUBLE)
        for _ in range(50):
            x = w * torch.sigmoid(x) + b
        error = (torch.sigmoid(x) - 0.7) ** 2
        optimizer.zero_grad()
        error.backward()
        limit = math.inf if threshold is None else threshold
        norm = torch.nn.utils.clip_grad_norm_([w, b], limit)
        rows.append([w.item(), b.item(), error.item(), norm.item()])
        optimizer.step()
    return np.array(rows)


@pytest.mark.parametrize(
    ("start", "lr", "threshold", "steps"),
    [
        ((4.0, -3.0), 0.1, None, 40),
        ((4.0, -3.0), 0.1, 0.05, 60),
        ((4.0, -2.2), 0.3, 0.3, 30),
        ((3.5, -3.0), 1.0, 0.2, 30),
        ((7.0, -3.0), 0.1, 10.0, 60),
        ((5.5, -2.8), 0.3, 1.0, 8),  # at the wall rounding soon decides
        ((5.5, -2.8), 0.1, None, 8),
        ((5.0, wall_line(5.0)), 0.1, 1.0, 1),
        ((5.0, wall_line(5.0)), 0.1, None, 1),
    ],
)
def test_a_descent_is_that_of_torch(start, lr, threshold, steps):
    path = descend(*start, lr=lr, threshold=threshold, steps=steps)
    expected = by_torch(*start, lr, threshold, steps)
    found = np.stack([path.w, path.b, path.error, path.norm], 1)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-10)
    limit = math.inf if threshold is None else threshold
    assert path.clipped[:-1].tolist() == (expected[:-1, 3] > limit).tolist()
    assert not path.clipped[-1]


def test_a_step_ends_where_clip_grad_norm_lets_it():
    """A step of 1e-6 less than the threshold at most: the small number in PyTorch's rule."""
    at = wall_line(5.0)
    for threshold in (1e-6, 0.5):
        path = descend(5.0, at, lr=1.0, threshold=threshold, steps=1)
        norm = path.norm[0]
        assert path.lengths[0] == pytest.approx(threshold * norm / (norm + 1e-6), rel=1e-9)
    norm = descend(3.0, -1.0, lr=1.0, steps=1).norm[0]
    clipped = [
        descend(3.0, -1.0, lr=1.0, threshold=norm + more, steps=1).clipped[0]
        for more in (0.9e-6, 1.1e-6)
    ]
    assert clipped == [True, False]


@given(
    st.floats(2, 8), st.floats(-5, 0), st.floats(0.01, 2), st.floats(0.01, 20), st.integers(1, 30)
)
@settings(max_examples=40)
def test_no_step_is_longer_than_lr_times_threshold(w, b, lr, threshold, steps):
    path = descend(w, b, lr=lr, threshold=threshold, steps=steps)
    assert (path.lengths <= lr * threshold * (1 + 1e-9) + 1e-12).all()
    lengths = lr * np.minimum(path.norm[:-1], threshold)
    np.testing.assert_allclose(path.lengths, lengths, rtol=2e-4, atol=1e-9)
    surface = error_surface(path.w, path.b)
    ordinary = surface.norm < 1e3
    np.testing.assert_allclose(path.error[ordinary], surface.error[ordinary], atol=1e-9)


def test_many_starts_and_thresholds_at_once():
    w, limits = np.array([4.0, 4.5, 7.0]), np.array([[np.inf], [0.1]])
    paths = descend(w, -3.0, lr=0.1, threshold=limits, steps=12)
    assert {getattr(paths, name).shape for name in ("w", "b", "error", "norm", "clipped")} == {
        (13, 2, 3)
    }
    assert paths.lengths.shape == (12, 2, 3)
    for i, threshold in enumerate((None, 0.1)):
        for j, start in enumerate(w):
            alone = descend(start, -3.0, lr=0.1, threshold=threshold, steps=12)
            np.testing.assert_allclose(paths.w[:, i, j], alone.w, rtol=1e-9)
            np.testing.assert_array_equal(paths.clipped[:, i, j], alone.clipped)


def many(w, b, lr, threshold, steps=200, count=64):
    """Descents from places within about 0.001 of a start."""
    near = 1e-3 * torch.randn(2, count, dtype=DOUBLE).numpy()
    return descend(w + near[0], b + near[1], lr=lr, threshold=threshold, steps=steps)


@pytest.mark.parametrize(
    ("start", "lr", "threshold", "low", "high"),
    [
        ((5.5, -2.8), 0.3, None, 0.05, 0.12),
        ((5.5, -2.8), 0.3, 1.0, 2e-5, 2e-3),
        ((5.5, -2.8), 0.3, 10.0, 0.02, 0.12),
        ((5.5, -2.8), 0.1, None, 0.05, 0.4),
        ((5.5, -2.8), 0.1, 1.0, 1e-3, 0.05),
        ((5.5, -2.8), 0.1, 0.1, 0.25, 0.4),
        ((5.0, -2.4), 0.1, None, 0.03, 0.12),
        ((5.0, -2.4), 0.1, 1.0, 5e-5, 5e-3),
        ((4.0, -3.0), 0.1, None, 0.0, 1e-25),
        ((7.0, -3.0), 0.1, None, 0.055, 0.06),
        ((7.0, -3.0), 0.1, 1.0, 0.055, 0.06),
    ],
)
def test_the_median_of_many_descents(start, lr, threshold, low, high):
    """What clipping does, in bands: next to the wall a single path is luck."""
    path = many(*start, lr, threshold)
    assert low <= np.median(path.error[-1]) <= high


def test_without_clipping_most_are_thrown_out_and_with_it_none():
    def thrown(path):
        w, b = path.w[-1], path.b[-1]
        return ((w < 2.5) | (w > 8.5) | (b < -5.5) | (b > -0.5)).mean()

    for lr in (0.1, 0.3):
        assert 0.35 < thrown(many(5.5, -2.8, lr, None)) < 0.9
        assert thrown(many(5.5, -2.8, lr, 1.0)) == 0


def test_one_descent_at_the_wall_hangs_on_the_last_digit():
    w = 5.5 + 1e-13 * np.arange(8)
    ends = descend(w, -2.8, lr=0.1, threshold=1.0, steps=200).error[-1]
    assert ends.max() > 2 * ends.min()


def test_a_path_that_leaves_float_range_ends_as_nan():
    path = descend([5.0, 3.0], [wall_line(5.0), -1.0], lr=1e308, steps=6)
    assert np.isfinite(path.error[0]).all()
    for values in (path.w, path.b, path.error, path.norm):
        assert np.isnan(values[1:, 0]).all()
        assert np.isfinite(values[:, 1]).all()
    assert not path.clipped.any()
    steep = descend(1e9, -5e8, lr=0.1, threshold=1.0, steps=2)  # from x_1 = 1e8 on all is flat
    assert (steep.norm == 0).all()


# -- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: error_surface("much", 0), "^w must be a finite number or an array of them, but"),
        (lambda: error_surface(1.0, [math.nan]), "^b must be finite in float64, but it contains"),
        (lambda: error_surface(1e39, 0.0, dtype="float32"), "^w must be finite in float32"),
        (lambda: error_surface(torch.ones(3), torch.ones(4)), "^b must be of a shape that broad"),
        (lambda: error_surface(1, 1, steps=0), "^steps must be a whole number of at least 1"),
        (lambda: error_surface(1, 1, x0=math.inf), "^x0 must be a finite number"),
        (lambda: error_surface(1, 1, target=None), "^target must be a finite number"),
        (lambda: error_surface(1, 1, dtype="half"), "^dtype must be one of 'float32', 'float64'"),
        (lambda: wall_line("much"), "^w must be a number or an array of numbers"),
        (lambda: slope_on_wall(None), "^w must be a number or an array of numbers"),
        (lambda: descend(math.inf, 0, lr=1), "^w must be finite in float64"),
        (lambda: descend(1, "b", lr=1), "^b must be a finite number or an array"),
        (lambda: descend(1, 1, lr=0), "^lr must be above 0, but 0"),
        (lambda: descend(1, 1, lr=-1), "^lr must be a number of at least 0"),
        (lambda: descend(1, 1, lr=1, threshold=0), "^threshold must be above 0, or None"),
        (lambda: descend(1, 1, lr=1, threshold=math.nan), "^threshold must be above 0, or None"),
        (lambda: descend(1, 1, lr=1, threshold="x"), "^threshold must be above 0, or None"),
        (lambda: descend(1, 1, lr=1, steps=0.5), "^steps must be a whole number"),
        (lambda: descend(np.ones(3), np.ones(2), lr=1), r"^w, b and threshold must be of shapes"),
    ],
)
def test_bad_input_is_one_sentence(call, said):
    with pytest.raises(ValueError, match=said) as raised:
        call()
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)

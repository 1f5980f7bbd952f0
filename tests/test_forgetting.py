"""Forgetting the start, against the real layers, closed forms and brute force."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.testing import assert_close

import teachkit as tk
from teachkit.forgetting import (
    OwnStart,
    as_state,
    difference_left,
    forgetting_curve,
    geometric_mean,
    noisy_starts,
    own_start,
    principal_plane,
    share_in_plane,
    starts_side_by_side,
    state_parts,
    state_paths,
    steps_until,
)
from teachkit.spectra import gaussian_matrix, haar_orthogonal
from tests.reference import DOUBLE, LAYERS, SIZE, B, H, T, elman, make, silence

INF = math.inf


def random_starts(rnn, count):
    """Starts in general position, in all rows."""
    return as_state(
        torch.randn(part.shape, dtype=DOUBLE) for part in state_parts(noisy_starts(rnn, count))
    )


def side_by_side(W, starts):
    """A linear network around W, from zero and from the columns of `starts`."""
    first = torch.cat([torch.zeros(1, len(W)), starts.T]).to(DOUBLE)
    return elman(W, nonlinearity="linear"), first[None]


# --- paths -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_paths_are_those_of_the_real_layer_from_each_start(name):
    torch.manual_seed(3)
    rnn, x, _ = make(name)
    starts = random_starts(rnn, 3)
    paths = state_paths(rnn, x, starts)
    width = rnn.proj_size or H
    assert paths.shape == (T + 1, B, 3, width)
    forward_row = (rnn.num_layers - 1) * (1 + rnn.bidirectional)
    for b in range(B):
        for s in range(3):
            one = x[b : b + 1] if rnn.batch_first else x[:, b : b + 1]
            state = as_state(part[:, s : s + 1].contiguous() for part in state_parts(starts))
            with torch.no_grad():
                outputs, _ = rnn(one, state)
            outputs = outputs[0] if rnn.batch_first else outputs[:, 0]
            assert_close(paths[1:, b, s], outputs[:, :width])
            assert_close(paths[0, b, s], state_parts(starts)[0][forward_row, s])


def test_a_sequence_without_a_batch_is_a_batch_of_one():
    for name in ("gru", "deep lstm"):
        torch.manual_seed(4)
        rnn, x, _ = make(name)
        starts = random_starts(rnn, 2)
        one = x[0] if rnn.batch_first else x[:, 0]
        assert_close(state_paths(rnn, one, starts)[:, 0], state_paths(rnn, x, starts)[:, 0])


def test_dropout_is_left_out_and_a_carried_state_stays():
    torch.manual_seed(5)
    rnn = tk.LSTM(SIZE, H, num_layers=2, dropout=0.5, initial_state="carried").double()
    x = torch.randn(T, B, SIZE, dtype=DOUBLE)
    rnn(x)
    carried = rnn.h0_carried.clone(), rnn.c0_carried.clone()
    starts = random_starts(rnn, 2)
    assert rnn.training
    paths = state_paths(rnn, x, starts)
    assert torch.equal(paths, state_paths(rnn, x, starts))
    assert torch.equal(rnn.h0_carried, carried[0])
    assert torch.equal(rnn.c0_carried, carried[1])
    state = as_state(part[:, :1].repeat(1, B, 1) for part in state_parts(starts))
    with torch.no_grad():
        assert_close(paths[1:, :, 0], rnn.eval()(x, state)[0])


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        (torch.zeros(1, 3, 7), r"starts must be of shape \(1, starts, 4\), but Tensor of shape"),
        (torch.zeros(3, 4), r"starts must be of shape \(1, starts, 4\)"),
        (torch.zeros(1, 0, 4), r"starts must be of shape \(1, starts, 4\)"),
        ((), r"starts must be of shape \(1, starts, 4\)"),
        ((torch.zeros(1, 3, 4),) * 2, r"starts must be of shape \(1, starts, 4\)"),
    ],
)
def test_starts_that_do_not_fit_are_refused(starts, said):
    with pytest.raises(ValueError, match=said):
        state_paths(nn.GRU(SIZE, H), torch.zeros(T, SIZE), starts)


def test_an_lstm_needs_both_states():
    with pytest.raises(ValueError, match=r"\(1, starts, 4\) and \(1, starts, 4\)"):
        state_paths(nn.LSTM(SIZE, H), torch.zeros(T, SIZE), torch.zeros(1, 3, 4))


def test_another_layer_or_input_is_refused():
    with pytest.raises(ValueError, match=r"rnn must be an nn.RNN, nn.LSTM or nn.GRU"):
        state_paths(nn.Linear(2, 2), torch.zeros(T, 2), torch.zeros(1, 1, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^x must be of shape"):
        state_paths(nn.GRU(SIZE, H), torch.zeros(T, 9), torch.zeros(1, 3, 4))


# --- starts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_noisy_starts_fit_their_layer(name):
    rnn, _, state = make(name)
    found = state_parts(noisy_starts(rnn, 5))
    for part, like in zip(found, state_parts(state), strict=True):
        assert part.shape == (like.shape[0], 5, like.shape[2])
        assert part.dtype == like.dtype
        backward = part[1::2] if rnn.bidirectional else part[:0]
        assert not backward.any()
        assert (part[:: 1 + rnn.bidirectional] != 0).all()


def test_noisy_starts_are_normal_and_scale_with_their_std():
    rnn = nn.RNN(1, 500)
    unit = noisy_starts(rnn, 40, std=1.0, seed=3)
    assert isinstance(unit, torch.Tensor)
    assert stats.kstest(unit.flatten().numpy(), "norm").pvalue > 1e-3
    assert_close(noisy_starts(rnn, 40, std=0.05, seed=3), 0.05 * unit)
    other = noisy_starts(rnn, 40, std=1.0, seed=4)
    assert not torch.allclose(state_parts(other)[0], unit)
    with pytest.raises(ValueError, match=r"std must be a number of at least 0, but -1"):
        noisy_starts(rnn, std=-1)
    with pytest.raises(ValueError, match=r"count must be a whole number of at least 1, but 0"):
        noisy_starts(rnn, 0)


def test_the_h0_and_c0_of_an_lstm_get_noise_of_their_own():
    h0, c0 = noisy_starts(nn.LSTM(1, 200))
    assert abs(np.corrcoef(h0.flatten(), c0.flatten())[0, 1]) < 0.1


@pytest.mark.parametrize("batched", [True, False])
def test_the_own_start_of_a_drop_in_is_what_it_starts_from(batched):
    x = torch.randn(T, B, SIZE)
    learned = tk.LSTM(SIZE, H, num_layers=2, initial_state=tk.LearnedState(init_std=1.0))
    found = own_start(learned, x if batched else x[:, 0])
    assert found is not None
    assert found.kind == "learned"
    assert_close(found.state, (learned.h0.detach(), learned.c0.detach()))
    assert not any(part.requires_grad for part in state_parts(found.state))


def test_a_carried_state_is_that_of_the_first_sequence():
    rnn = tk.GRU(SIZE, H, batch_first=True, initial_state="carried")
    x = torch.randn(B, T, SIZE)
    assert own_start(rnn, x) is None  # nothing carried yet
    _, last = rnn(x)
    found = own_start(rnn, x)
    assert found is not None
    assert found.kind == "carried"
    assert_close(found.state, last[:, :1].detach())


@pytest.mark.parametrize("initial_state", ["zero", "noisy", "adaptive", "learned"])
def test_a_start_at_zero_is_none_of_its_own(initial_state):
    rnn = tk.RNN(SIZE, H, initial_state=initial_state)  # learning starts at 0
    assert rnn.training
    assert own_start(rnn, torch.zeros(T, B, SIZE)) is None
    assert own_start(nn.RNN(SIZE, H), torch.zeros(T, B, SIZE)) is None


def test_starts_stand_side_by_side():
    rnn = tk.LSTM(SIZE, H, num_layers=2, initial_state=tk.LearnedState(init_std=1.0))
    own = own_start(rnn, torch.zeros(T, SIZE))
    assert own is not None
    noise = noisy_starts(rnn, 3, 0.7, seed=2)
    with_own, without = (starts_side_by_side(rnn, o, 3, 0.7, seed=2) for o in (own, None))
    for i in range(2):
        both, plain, n = (state_parts(s)[i] for s in (with_own, without, noise))
        assert not both[:, 0].any()
        assert torch.equal(both[:, 1:2], state_parts(own.state)[i])
        assert torch.equal(both[:, 2:], n)
        assert torch.equal(plain, both[:, [0, 2, 3, 4]])


def test_what_starts_at_the_other_end_is_the_same_for_all():
    rnn = tk.GRU(SIZE, H, num_layers=2, bidirectional=True)
    own = OwnStart("learned", torch.randn(4, 1, H))
    starts = starts_side_by_side(rnn, own, 3)
    assert isinstance(starts, torch.Tensor)
    assert isinstance(own.state, torch.Tensor)
    assert torch.equal(starts[1::2], own.state[1::2].expand(2, 5, H))
    assert len(torch.unique(starts[::2], dim=1)[0]) == 5


# --- what is left ----------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.6, 1.0, 1.3])
def test_a_linear_network_multiplies_the_difference_by_its_matrix(rho):
    """Oracle: |W^t d| / |d| in NumPy, step by step."""
    W = tk.recurrent_matrix(12, rho, non_normality=1.5, seed=4)
    d = torch.randn(12, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    rnn, starts = side_by_side(W, d)
    paths = state_paths(rnn, silence(60), starts)[:, 0]
    left = difference_left(paths[:, 1:], paths[:, :1])
    powers = [np.linalg.matrix_power(W.numpy(), t) @ d.numpy() for t in range(61)]
    expected = np.linalg.norm(powers, axis=1) / np.linalg.norm(d.numpy(), axis=0)
    np.testing.assert_allclose(left, expected, rtol=1e-9)


@given(st.floats(0.05, 3.0), st.integers(0, 20))
@settings(max_examples=20)
def test_a_rotation_forgets_exactly_like_rho_to_the_t(rho, seed):
    rnn = elman(rho * haar_orthogonal(9, seed), nonlinearity="linear")
    curve = forgetting_curve(rnn, silence(40), seed=seed)
    np.testing.assert_allclose(curve, rho ** np.arange(41.0), rtol=1e-9)


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_in_the_long_run_small_differences_shrink_by_rho_a_step(rho):
    """tanh, no input: near its fixed point 0 the network is linear."""
    rnn = tk.make_elman(40, rho, seed=3, dtype=DOUBLE)
    curve = forgetting_curve(rnn, silence(300))
    per_step = (curve[300] / curve[100]).item() ** (1 / 200)
    assert per_step == pytest.approx(rho, rel=0.01)


@given(st.integers(0, 50), st.floats(0.1, 0.99), st.floats(0.01, 3.0), st.floats(0.0, 3.0))
@settings(max_examples=25)
def test_a_contraction_forgets_at_least_as_fast_as_its_largest_singular_value(
    seed, sigma, std, drive
):
    """Sufficient for the echo state property: tanh never stretches, W_hh by sigma at most."""
    W = gaussian_matrix(10, seed)
    rnn = tk.make_elman(10, 1.0, seed=seed, dtype=DOUBLE)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(sigma * W / tk.sigma_max(W))
    x = drive * torch.randn(30, 2, 1, dtype=DOUBLE)
    paths = state_paths(rnn, x, starts_side_by_side(rnn, None, 4, std, seed))
    left = difference_left(paths[:, :, 1:], paths[:, :, :1])
    bound = sigma ** torch.arange(31.0)[:, None, None]
    assert (left <= bound * (1 + 1e-9) + 1e-13 / std).all()


def test_a_spectral_radius_below_1_is_not_sufficient():
    """All eigenvalues are 0, and near the fixed point differences double at each step."""
    torch.manual_seed(7)
    rnn, fixed = tk.nilpotent_counterexample()
    near = fixed + 1e-9 * torch.randn(1, 6, 2, dtype=DOUBLE)
    paths = state_paths(rnn, torch.zeros(25, 1, dtype=DOUBLE), torch.cat([fixed, near], 1))[:, 0]
    left = difference_left(paths[:, 1:], paths[:, :1])
    assert tk.spectral_radius(rnn.weight_hh_l0).item() < 1e-6
    assert_close(left[2:16] / left[1:15], torch.full((14, 6), 2.0, dtype=DOUBLE), rtol=1e-2, atol=0)
    curve = forgetting_curve(rnn, torch.zeros(25, 1, dtype=DOUBLE), std=1e-9)
    assert curve[3] < 1e-5  # from zero it is forgotten


def test_what_is_left_survives_far_below_and_above_the_squares_of_floats():
    numbers = [1.0, 1e-170, 1e-300, 5e-324, 1e200, 1e300, INF, math.nan, 0.0]
    paths = torch.tensor(numbers, dtype=DOUBLE)[:, None] * torch.tensor([3.0, 4.0], dtype=DOUBLE)
    left = difference_left(paths, torch.zeros(1, 2))
    assert left[:3].tolist() == pytest.approx([1.0, 1e-170, 1e-300])
    assert 0 < left[3] < 1e-322
    assert left[4:6].tolist() == pytest.approx([1e200, 1e300])
    assert left[6:].tolist() == [INF, INF, 0.0]  # NaN is what infinity minus infinity makes


def test_what_begins_at_the_reference_has_no_difference_to_lose():
    paths = torch.randn(4, 2, 3)
    assert torch.isnan(difference_left(paths, paths)).all()
    later = paths.clone()
    later[1:, 0] += 1.0  # its input differs, not its start
    later[:, 1] += 1.0
    left = difference_left(later, paths)
    assert torch.isnan(left[:, 0]).all()
    assert_close(left[:, 1], torch.ones(4, dtype=DOUBLE), rtol=1e-5, atol=0)


@given(st.lists(st.lists(st.floats(1e-12, 1e12), min_size=3, max_size=3), min_size=1, max_size=5))
def test_the_mean_is_scipys_geometric_mean(rows):
    found = geometric_mean(torch.tensor(rows, dtype=DOUBLE))
    np.testing.assert_allclose(found, stats.gmean(rows, axis=1), rtol=1e-9)


def test_the_mean_is_over_the_starts_that_differ_still():
    left = torch.tensor([[1.0, 1.0], [0.25, 0.0], [0.0, 0.0], [INF, 1.0], [4.0, math.nan]])
    assert geometric_mean(left).tolist() == pytest.approx([1.0, 0.25, 0.0, INF, 4.0])
    nothing = torch.tensor([[math.nan, math.nan], [math.nan, 0.0]])
    assert geometric_mean(nothing).tolist() == pytest.approx([math.nan, 0.0], nan_ok=True)


@given(st.lists(st.floats(0, 2), min_size=1, max_size=30), st.floats(0, 1))
def test_forgotten_at_a_step_is_forgotten_from_there_on(curve, share):
    brute = [t for t in range(len(curve)) if all(v <= share for v in curve[t:])]
    assert steps_until(curve, share) == (brute[0] if brute else None)


def test_a_curve_that_is_none_is_refused():
    assert steps_until([1.0, math.nan], 0.1) is None
    for curve in ([], [[1.0]], "much"):
        with pytest.raises(ValueError, match=r"^curve must be a list of numbers, one a step"):
            steps_until(curve, 0.1)


@pytest.mark.parametrize("share", ["a", None, math.nan, INF, -0.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=r"^share must be a number of at least 0, but "):
        steps_until([1.0, 0.5], share)


@pytest.mark.parametrize("name", ["rnn", "deep gru", "deep lstm", "projected lstm"])
def test_the_curve_is_that_of_the_real_layer(name):
    torch.manual_seed(6)
    rnn, x, _ = make(name)
    curve = forgetting_curve(rnn, x, std=0.5, starts=3, seed=4)
    noise = state_parts(noisy_starts(rnn, 3, 0.5, seed=4))
    row = (rnn.num_layers - 1) * (1 + rnn.bidirectional)
    width = rnn.proj_size or H

    def run(b, parts):
        one = x[b : b + 1] if rnn.batch_first else x[:, b : b + 1]
        with torch.no_grad():
            outputs, _ = rnn(one, as_state(part.contiguous() for part in parts))
        outputs = outputs[0] if rnn.batch_first else outputs[:, 0]
        return torch.cat([parts[0][row], outputs[:, :width]])

    found = []
    for b in range(B):
        zero = run(b, [torch.zeros_like(part[:, :1]) for part in noise])
        for s in range(3):
            apart = (run(b, [part[:, s : s + 1] for part in noise]) - zero).norm(dim=1)
            found.append(apart / apart[0])
    np.testing.assert_allclose(curve, stats.gmean(torch.stack(found), axis=0), rtol=1e-9)


@pytest.mark.parametrize("std", [0.3, 1e-6, 1e-9])
def test_a_float32_layer_is_measured_in_float64(std):
    """A contraction by 0.8; in float32 the rounding of its states would be 12 differences."""
    torch.manual_seed(8)
    rnn, x = nn.RNN(2, 16), torch.randn(30, 3, 2)
    with torch.no_grad():
        W = rnn.get_parameter("weight_hh_l0")
        W.mul_(0.8 / tk.sigma_max(W))
    curve = forgetting_curve(rnn, x, std=std)
    bound = 0.8 ** torch.arange(31, dtype=DOUBLE)
    assert (curve <= bound * (1 + 1e-5) + 1e-13 / std).all()
    precise = nn.RNN(2, 16, dtype=DOUBLE)
    precise.load_state_dict(rnn.state_dict())
    assert torch.equal(curve, forgetting_curve(precise, x.double(), std=std))


def test_a_start_below_float32_is_one_too():
    rnn = elman(0.5 * haar_orthogonal(6, 0), nonlinearity="linear", dtype=torch.float32)
    curve = forgetting_curve(rnn, silence(20, torch.float32), std=1e-60)
    np.testing.assert_allclose(curve, 0.5 ** np.arange(21.0), rtol=1e-5)


def test_the_curve_leaves_layer_and_input_alone():
    rnn, x = tk.LSTM(SIZE, H, initial_state="carried"), torch.randn(T, B, SIZE)
    rnn(x)
    before, given = copy.deepcopy(rnn), x.clone()
    forgetting_curve(rnn, x)
    assert rnn.training
    assert torch.equal(x, given)
    for name in ("h0_carried", "c0_carried", *rnn.state_dict()):
        mine, theirs = getattr(rnn, name), getattr(before, name)
        assert mine.dtype == theirs.dtype == torch.float32
        assert torch.equal(mine, theirs)


def test_what_does_not_fit_a_layer_is_refused_before_it_is_cast():
    with pytest.raises(ValueError, match=r"^x must have the dtype of rnn, torch.float32"):
        forgetting_curve(nn.GRU(SIZE, H), torch.zeros(T, SIZE, dtype=DOUBLE))


def test_input_makes_a_network_forget_beyond_radius_1():
    rnn = tk.make_elman(64, 1.3, dtype=DOUBLE)
    alone = forgetting_curve(rnn, silence(60))
    driven = forgetting_curve(rnn, torch.randn(60, 8, 1, dtype=DOUBLE))
    assert alone[-1] > 1
    assert driven[-1] < 1e-3


def test_a_curve_without_noise_is_refused():
    for arguments, said in (
        ({"std": 0}, "std must be a number above 0, but 0"),
        ({"std": -1}, "std must be a number of at least 0"),
        ({"starts": 0}, "starts must be a whole number of at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            forgetting_curve(nn.RNN(1, 2), torch.zeros(3, 1), **arguments)
    with pytest.raises(ValueError, match=r"^rnn must be an nn.RNN"):
        forgetting_curve(nn.Linear(1, 2), torch.zeros(3, 1))  # type: ignore[arg-type]


# --- the plane -------------------------------------------------------------------------------


def cloud(seed, size=40, H=7):
    stream = torch.Generator().manual_seed(seed)
    mix = torch.randn(H, H, generator=stream, dtype=DOUBLE)
    return torch.randn(size, H, generator=stream, dtype=DOUBLE) @ mix + 3


@given(st.integers(0, 100))
@settings(max_examples=15)
def test_the_plane_of_one_cloud_is_its_two_principal_components(seed):
    """Oracle: NumPy's singular value decomposition."""
    points = cloud(seed)
    plane = principal_plane([points.reshape(4, 10, 7)])
    centred = points.numpy() - points.numpy().mean(0)
    _, sizes, rows = np.linalg.svd(centred)
    np.testing.assert_allclose(np.abs(plane.numpy()), np.abs(rows[:2].T), atol=1e-9)
    assert all(column.numpy()[column.abs().argmax()] > 0 for column in plane.T)
    share = (sizes[:2] ** 2).sum() / (sizes**2).sum()
    assert share_in_plane(points, plane) == pytest.approx(share)


def test_every_cloud_counts_as_much():
    clouds = [cloud(seed) for seed in (1, 2, 3)]
    plane = principal_plane(clouds)
    assert_close(plane, principal_plane([1e-150 * clouds[0], 1e150 * clouds[1], clouds[2] + 5.0]))
    assert not torch.allclose(plane, principal_plane(clouds[:2]))
    assert_close(plane.T @ plane, torch.eye(2, dtype=DOUBLE))


def test_the_plane_turns_smoothly():
    """No flip: a small change of the states is a small change of the plane."""
    points, other = cloud(4), cloud(5)
    planes = [principal_plane([points + step * 1e-4 * other]) for step in range(50)]
    assert max((a - b).norm().item() for a, b in pairwise(planes)) < 0.01


def test_small_networks_have_their_plane_already():
    assert torch.equal(principal_plane([torch.randn(5, 2)]), torch.eye(2, dtype=DOUBLE))
    assert torch.equal(
        principal_plane([torch.randn(5, 1)]), torch.tensor([[1.0, 0.0]], dtype=DOUBLE)
    )


def test_states_beyond_float_range_do_not_choose_the_plane():
    points = cloud(6)
    wild = torch.cat([points, torch.full((3, 7), INF), torch.full((1, 7), math.nan)])
    assert_close(principal_plane([wild]), principal_plane([points]))
    assert share_in_plane(wild, torch.eye(7, dtype=DOUBLE)[:, :2]) == pytest.approx(
        share_in_plane(points, torch.eye(7, dtype=DOUBLE)[:, :2])
    )
    nothing = torch.full((3, 7), math.nan)
    assert principal_plane([nothing]).shape == (7, 2)
    assert share_in_plane(nothing, torch.eye(7, dtype=DOUBLE)[:, :2]) == 1.0
    assert share_in_plane(torch.zeros(3, 7), torch.eye(7, dtype=DOUBLE)[:, :2]) == 1.0
    assert share_in_plane(1e200 * points, principal_plane([points])) == pytest.approx(
        share_in_plane(points, principal_plane([points]))
    )


def test_no_cloud_has_no_plane():
    with pytest.raises(ValueError, match=r"^clouds must hold at least one"):
        principal_plane([])

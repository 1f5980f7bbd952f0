"""The matrices of the layers: those of `initialize`, with the variance that theory is told."""

import math

import pytest
import torch
from torch.testing import assert_close

import teachkit as tk
from teachkit import square_schemes
from teachkit.device import generator
from teachkit.initializers import SCHEMES
from teachkit.square_schemes import (
    SQUARE_SCHEMES,
    first_spectrum,
    square_matrices,
    variance_factor,
)

each_scheme = pytest.mark.parametrize("scheme", SQUARE_SCHEMES)


@each_scheme
def test_a_matrix_is_the_w_hh_of_initialize(scheme):
    H, entry = 20, SQUARE_SCHEMES[scheme]
    drawn = square_matrices(scheme, H, 3, seed=4)
    for layer, W in enumerate(drawn, start=1):
        rnn = tk.ElmanRNN(1, H, dtype=torch.float64)
        stream = generator(4, f"W of layer {layer}")
        tk.initialize(rnn, entry.initializer, generator=stream, **entry.options(H))
        assert_close(W, rnn.weight_hh_l0.detach(), rtol=0, atol=0)
    if scheme != "identity":
        assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("scheme", sorted(SQUARE_SCHEMES.keys() & SCHEMES.keys()))
def test_a_name_means_what_it_means_to_initialize(scheme):
    rnn = tk.ElmanRNN(1, 30, dtype=torch.float64)
    tk.initialize(rnn, scheme, generator=generator(2, "W of layer 1"))
    assert_close(square_matrices(scheme, 30, 1, seed=2)[0], rnn.weight_hh_l0.detach())


def halves(module, generator):
    module.weight_hh_l0.fill_(0.5)


@pytest.mark.parametrize(
    "scheme",
    [
        "sparse",
        "torch",
        "lecun_uniform",
        {"scheme": "normal", "std": 0.1},
        {"scheme": "sparse", "rho": 0.95},
        ["orthogonal"],
        {"scheme": "gaussian", "rho": 1.5},
        halves,
    ],
)
def test_whatever_initialize_takes_draws_the_same(scheme):
    matrices = square_matrices(scheme, 30, 2, seed=2)
    for layer, W in enumerate(matrices, start=1):
        rnn = tk.ElmanRNN(1, 30, dtype=torch.float64)
        tk.initialize(rnn, scheme, generator=generator(2, f"W of layer {layer}"))
        assert_close(W, rnn.weight_hh_l0.detach(), rtol=0, atol=0)
    values, sigma = first_spectrum(scheme, matrices[0], 2)
    assert_close(values, torch.linalg.eigvals(matrices[0]))
    assert sigma == pytest.approx(torch.linalg.matrix_norm(matrices[0], 2).item())


def test_a_scheme_that_is_entered_anew_is_drawn_anew(monkeypatch):
    monkeypatch.setitem(SCHEMES, "own", halves)
    assert (square_matrices("own", 3, 1)[0] == 0.5).all()
    monkeypatch.setitem(SCHEMES, "own", lambda m, g: torch.nn.init.eye_(m.weight_hh_l0))
    assert_close(square_matrices("own", 3, 1)[0], torch.eye(3, dtype=torch.float64))


def test_a_result_is_the_callers_to_write_into():
    for _ in range(2):
        (W,) = square_matrices("lecun_normal", 6, 1, seed=3)
        values, _ = first_spectrum("lecun_normal", W, 3)
        assert 0 < W.abs().max() < 10
        assert 0 < values.abs().max() < 10
        W.mul_(1000)
        values.mul_(1000)


@each_scheme
@pytest.mark.parametrize("hidden_size", [8, 200])
def test_the_factor_is_h_times_the_variance_of_an_entry(scheme, hidden_size):
    entries = torch.stack(square_matrices(scheme, hidden_size, 4000 // hidden_size)).square()
    measured = hidden_size * entries.mean().item()
    error = 5 * hidden_size * entries.std().item() / math.sqrt(entries.numel())
    if scheme in ("orthogonal", "identity"):  # exact: each row has length 1
        error = 1e-12
    assert measured == pytest.approx(variance_factor(scheme, hidden_size), abs=error)


def test_the_trap_is_a_variance_taken_for_a_standard_deviation():
    H = 256
    (W,) = square_matrices("std = 2/H", H, 1)
    assert W.std().item() == pytest.approx(2 / H, rel=0.02)
    assert variance_factor("kaiming_normal", H) == 2
    assert variance_factor("std = 2/H", H) == 4 / H


def test_a_gain_enters_squared():
    assert variance_factor("xavier_normal", 10, 3.0) == 9.0
    assert variance_factor("uniform 1/sqrt(H)", 10) == pytest.approx(1 / 3)
    assert variance_factor("truncated_normal, std = 1/sqrt(H)", 10) == pytest.approx(
        0.7737, abs=1e-4
    )


@pytest.mark.parametrize(
    ("scheme", "rho", "sigma"),
    [
        ("uniform 1/sqrt(H)", 3**-0.5, 2 * 3**-0.5),
        ("kaiming_uniform", 2**0.5, 2 * 2**0.5),
        ("xavier_normal", 1.0, 2.0),
        ("orthogonal", 1.0, 1.0),
        ("identity", 1.0, 1.0),
    ],
)
def test_radius_and_stretch_of_wide_matrices(scheme, rho, sigma):
    # The circular law and the law of Marchenko and Pastur, for H to infinity.
    (W,) = square_matrices(scheme, 300, 1, seed=1)
    values, stretch = first_spectrum(scheme, W, 1)
    assert values.shape == (300,)
    assert values.abs().max().item() == pytest.approx(rho, rel=0.08)
    assert stretch == pytest.approx(sigma, rel=0.05)
    assert stretch == pytest.approx(torch.linalg.svdvals(W)[0].item())


def test_sparse_leaves_15_inputs_and_in_a_small_layer_all():
    (W,) = square_matrices("sparse, std = 1/sqrt(15)", 40, 1)
    assert ((W != 0).sum(1) == 15).all()
    (small,) = square_matrices("sparse, std = 1/sqrt(15)", 10, 1)
    assert (small != 0).all()


def test_more_layers_begin_with_the_same_ones():
    few = [W.clone() for W in square_matrices("xavier_normal", 9, 2, seed=7)]
    many = square_matrices("xavier_normal", 9, 5, seed=7)
    assert all(torch.equal(a, b) for a, b in zip(few, many, strict=False))
    assert not torch.equal(few[0], square_matrices("xavier_normal", 9, 1, seed=8)[0])


def test_a_matrix_is_drawn_once_and_from_no_random_numbers_of_the_readers(monkeypatch):
    drawn = []

    def counted(*arguments, **options):
        drawn.append(options["generator"])
        return tk.initialize(*arguments, **options)

    monkeypatch.setattr(square_schemes, "initialize", counted)
    state = torch.get_rng_state()
    square_matrices("kaiming_normal", 13, 4, seed=91)
    square_matrices("kaiming_normal", 13, 6, seed=91)
    square_matrices("kaiming_normal", 13, 2, seed=91)
    assert len(drawn) == 6
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("he", 4, 1), r"^scheme must be one of .*'kaiming_normal'.*, but 'he' was given\.$"),
        (("orthogonal", 0, 1), r"^hidden_size must be a whole number of at least 1, but 0 was"),
        ((None, 4, 1), r"^scheme must be one of .*, but None was given\.$"),
        (({"scheme": "normal"}, 4, 1), r"^options must include 'std' for the scheme 'normal'"),
        (({"std": 1}, 4, 1), r"^scheme must be a scheme, or a dict with a \"scheme\", but"),
        ((lambda m, g: None, 4, 1), r"^scheme must be one that writes finite numbers to W_hh, but"),
        (("orthogonal", 4, 0), r"^count must be a whole number of at least 1, but 0 was given"),
    ],
)
def test_bad_input_is_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        square_matrices(*arguments)


def test_a_bad_gain_or_seed_is_named():
    with pytest.raises(ValueError, match=r"^gain must be a number of at least 0, but -1 was given"):
        variance_factor("orthogonal", 4, -1)
    with pytest.raises(ValueError, match=r"^seed must be a whole number of at least 0, but -1"):
        square_matrices("orthogonal", 4, 1, seed=-1)
    with pytest.raises(ValueError, match=r"^scheme must be one of"):
        variance_factor("he", 4)

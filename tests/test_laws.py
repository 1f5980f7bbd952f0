"""The laws of initial weights against quadrature, SciPy and matrices drawn from them."""

# mypy: disable-error-code="arg-type, misc"

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from teachkit import laws
from teachkit.spectra import eigenvalues, haar_orthogonal

LAWS = {
    "uniform": laws.uniform(0.125),
    "truncated": laws.truncated_normal(0.2),
    "truncated, corrected": laws.truncated_normal(0.2, corrected=True),
    "sum": laws.sum_of_uniforms(0.125),
    "orthogonal 2": laws.orthogonal_entry(2),
    "orthogonal 3": laws.orthogonal_entry(3),
    "orthogonal 4": laws.orthogonal_entry(4),
    "orthogonal 8": laws.orthogonal_entry(8),
    "orthogonal 256": laws.orthogonal_entry(256, hidden_size=64),
}


def moment(law, power):
    low, high = law.support
    if math.isinf(high):
        low, high = -20 * law.std, 20 * law.std
    # x = high * sin(t): smooth where the density of orthogonal_entry(2) is not
    value, _ = scipy.integrate.quad(
        lambda t: law.density(high * np.sin(t)) * (high * np.sin(t)) ** power * high * np.cos(t),
        -np.pi / 2,
        np.pi / 2,
        points=[0.0],
        epsabs=1e-11,
        limit=200,
    )
    assert low == -high
    return value


@pytest.mark.parametrize("name", LAWS)
def test_the_density_integrates_to_one_and_to_the_stated_variance(name):
    law = LAWS[name]
    assert moment(law, 0) == pytest.approx(1, abs=1e-8)
    assert moment(law, 1) == pytest.approx(0, abs=1e-8)
    assert moment(law, 2) ** 0.5 == pytest.approx(law.std, rel=1e-8)


@pytest.mark.parametrize("name", LAWS)
def test_the_density_takes_any_shape_and_ends_at_the_support(name):
    law = LAWS[name]
    inside = 0.7 * min(law.support[1], 3.0)
    values = law.density(np.array([[0.0, inside], [-inside, 1e9]]))
    assert values.shape == (2, 2)
    assert (values[0] > 0).all()
    assert values[1].tolist() == [values[0, 1], 0.0]
    assert law.density(0.0) == values[0, 0]
    assert law.value is None
    just_outside = np.nextafter(law.support[1], np.inf)
    assert law.density(just_outside) == 0


@pytest.mark.parametrize(
    ("law", "oracle"),
    [
        (laws.uniform(0.4), scipy.stats.uniform(-0.4, 0.8)),
        (laws.truncated_normal(0.4), scipy.stats.truncnorm(-2, 2, scale=0.4)),
        (laws.sum_of_uniforms(0.4), scipy.stats.triang(0.5, -0.8, 1.6)),
        (laws.orthogonal_entry(3), scipy.stats.uniform(-1, 2)),
        (laws.orthogonal_entry(10), scipy.stats.beta(4.5, 4.5, loc=-1, scale=2)),
    ],
)
def test_scipy_has_the_same_laws(law, oracle):
    x = np.linspace(-1.2, 1.2, 49) + 1e-3
    np.testing.assert_allclose(law.density(x), oracle.pdf(x), rtol=1e-10, atol=1e-12)
    assert law.std == pytest.approx(oracle.std(), rel=1e-10)
    np.testing.assert_allclose(law.support, oracle.support())


def test_the_cut_costs_an_eighth_unless_it_is_corrected():
    assert pytest.approx(scipy.stats.truncnorm(-2, 2).std(), rel=1e-12) == laws.TRUNCATED_STD
    plain, corrected = laws.truncated_normal(0.5), laws.truncated_normal(0.5, corrected=True)
    assert plain.std == pytest.approx(0.4398, abs=1e-4)
    assert plain.support == (-1.0, 1.0)
    assert corrected.std == 0.5
    assert corrected.support[1] == pytest.approx(1.1369, abs=1e-4)


def test_a_sum_of_two_uniform_numbers():
    rng = np.random.default_rng(0)
    law = laws.sum_of_uniforms(0.25)
    sums = rng.uniform(-0.25, 0.25, (2, 40_000)).sum(0)
    low, high = law.support
    # the distribution function by quadrature of the density
    grid = np.linspace(low, high, 2001)
    share = scipy.integrate.cumulative_trapezoid(law.density(grid), grid, initial=0.0)
    assert scipy.stats.kstest(sums, lambda x: np.interp(x, grid, share)).pvalue > 0.01


@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (6, 24)])
def test_entries_of_orthogonal_matrices_have_this_density(rows, columns):
    generator = torch.Generator().manual_seed(1)
    drawn = [
        torch.nn.init.orthogonal_(torch.empty(rows, columns), generator=generator)[0, :3]
        for _ in range(1500)
    ]
    entries = torch.stack(drawn)[:, 0].double().numpy()  # one a matrix: independent
    law = laws.orthogonal_entry(columns, rows)
    grid = np.linspace(-1, 1, 20_001)
    share = scipy.integrate.cumulative_trapezoid(law.density(grid), grid, initial=0.0)
    assert scipy.stats.kstest(entries, lambda x: np.interp(x, grid, share)).pvalue > 0.01
    assert torch.stack(drawn).std().item() == pytest.approx(law.std, rel=0.05)


H = 256


def entries(law, seed=0):
    """A square matrix of independent numbers from a law, by its distribution function."""
    low, high = (max(law.support[0], -9 * law.std), min(law.support[1], 9 * law.std))
    grid = np.linspace(low, high, 20_001)
    share = scipy.integrate.cumulative_trapezoid(law.density(grid), grid, initial=0.0)
    drawn = np.random.default_rng(seed).uniform(0, share[-1], (H, H))
    return torch.from_numpy(np.interp(drawn, share, grid))


@pytest.mark.parametrize(
    "law",
    [
        laws.uniform(1 / math.sqrt(H), H),
        laws.truncated_normal(0.05, hidden_size=H),
        laws.truncated_normal(0.05, corrected=True, hidden_size=H),
    ],
    ids=lambda law: law.text,
)
def test_eigenvalues_of_independent_entries_fill_the_disk(law):
    found = eigenvalues(entries(law)).abs() / law.radius
    assert found.max().item() == pytest.approx(1, abs=0.05 / law.radius)
    # evenly: the share within half the radius is a quarter
    assert (found < 0.5).double().mean().item() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_eigenvalues_of_one_gate_of_an_orthogonal_matrix(count):
    law = laws.orthogonal_entry(count * H, H)
    stacked = haar_orthogonal(count * H)[:, :H]
    found = eigenvalues(stacked[-H:]).abs()
    assert law.radius == pytest.approx(1 / math.sqrt(count))
    assert found.max().item() == pytest.approx(law.radius, abs=1e-9 if count == 1 else 0.05)
    assert (found.min().item() > 0.99) == (count == 1)  # on the circle, or all over the disk


@given(columns=st.integers(2, 5000))
def test_an_orthogonal_row_has_length_one(columns):
    law = laws.orthogonal_entry(columns)
    assert columns * law.std**2 == pytest.approx(1)
    assert np.isfinite(law.density(np.linspace(-1, 1, 9))).all()


def test_wide_orthogonal_rows_have_nearly_normal_entries():
    law, bell = laws.orthogonal_entry(4096, 1024), scipy.stats.norm(scale=1 / 64)
    x = np.linspace(-0.05, 0.05, 11)
    np.testing.assert_allclose(law.density(x), bell.pdf(x), rtol=0.02)


def test_a_constant():
    law = laws.constant(1)
    assert (law.std, law.support, law.density, law.value) == (0.0, (1.0, 1.0), None, 1.0)
    assert law.radius is None


def test_the_only_entry_of_an_orthogonal_matrix_has_no_density():
    law = laws.orthogonal_entry(1)
    assert (law.std, law.radius, law.density) == (1.0, 1.0, None)


def test_a_radius_is_given_only_for_a_square_gate():
    assert laws.uniform(0.1).radius is None
    assert laws.truncated_normal(0.1).radius is None
    assert laws.truncated_normal(0.1).radius is None
    assert laws.sum_of_uniforms(0.1).radius is None


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: laws.uniform(0), "bound must be a number above 0, but 0 was given."),
        (lambda: laws.uniform(-1), "bound must be a number of at least 0, but -1 was given."),
        (
            lambda: laws.truncated_normal(math.nan),
            "std must be a number of at least 0, but nan was given.",
        ),
        (lambda: laws.truncated_normal(0), "std must be a number above 0, but 0 was given."),
        (lambda: laws.truncated_normal(1, "no"), "corrected must be one of True, False"),
        (lambda: laws.sum_of_uniforms("wide"), "bound must be a number of at least 0"),
        (lambda: laws.orthogonal_entry(0), "columns must be a whole number of at least 1"),
        (
            lambda: laws.orthogonal_entry(4, 5),
            "hidden_size must be a whole number of at least 1 and at most 4, but 5 was given.",
        ),
        (lambda: laws.uniform(1, 2.5), "hidden_size must be a whole number of at least 1"),
        (lambda: laws.constant(None), "value must be a finite number, but None was given."),
    ],
)
def test_bad_input_gets_one_sentence(build, message):
    with pytest.raises(ValueError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)

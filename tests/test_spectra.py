# mypy: disable-error-code="arg-type"
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from teachkit import spectra

NILPOTENT = [[8.0, 8.0], [-8.0, -8.0]]
sizes = st.integers(1, 12)
seeds = st.integers(0, 10**6)
levels = st.floats(0, 4)


def random_matrix(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def in_order(values):
    """Sort complex numbers so that rounding does not change the order."""
    return torch.tensor(sorted(values.tolist(), key=lambda v: (round(v.real, 6), v.imag)))


def radius(W):
    return float(np.abs(np.linalg.eigvals(np.asarray(W))).max())


@settings(max_examples=25)
@given(sizes, seeds)
def test_radius_and_sigma_max_are_those_of_numpy(size, seed):
    W = random_matrix(size, size, seed=seed)
    assert spectra.spectral_radius(W).item() == pytest.approx(radius(W))
    assert spectra.sigma_max(W).item() == pytest.approx(np.linalg.svd(W.numpy())[1][0])
    assert spectra.spectral_radius(W) <= spectra.sigma_max(W) * (1 + 1e-12)


def test_eigenvalues_are_those_of_numpy():
    W = random_matrix(7, 7)
    expected = torch.from_numpy(np.linalg.eigvals(W.numpy()))
    assert_close(in_order(spectra.eigenvalues(W)), in_order(expected))


@pytest.mark.parametrize("function", [spectra.spectral_radius, spectra.sigma_max])
def test_a_batch_is_a_loop(function):
    W = random_matrix(2, 3, 5, 5)
    looped = torch.stack([torch.stack([function(w) for w in row]) for row in W])
    assert_close(function(W), looped)


@pytest.mark.parametrize("function", [spectra.spectral_radius, spectra.sigma_max])
def test_the_result_has_the_dtype_of_the_matrix(function):
    assert function(torch.eye(2)).dtype == torch.float32
    assert function(np.eye(2)).dtype == torch.float64
    assert function([[1, 0], [0, -3]]).item() == 3


@settings(max_examples=25)
@given(sizes, seeds, st.floats(0, 100))
def test_scaling_law(size, seed, factor):
    W = random_matrix(size, size, seed=seed)
    expected = factor * spectra.spectral_radius(W)
    assert_close(spectra.spectral_radius(factor * W), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=25)
@given(sizes, seeds)
def test_radius_survives_a_change_of_basis(size, seed):
    W, P = random_matrix(size, size, seed=seed), random_matrix(size, size, seed=seed + 1)
    P = P + 5 * torch.eye(size, dtype=P.dtype)
    similar = torch.linalg.solve(P, W @ P)
    tolerance = 1e-7 * torch.linalg.cond(P).item()
    assert_close(
        spectra.spectral_radius(similar), spectra.spectral_radius(W), rtol=tolerance, atol=1e-9
    )


@settings(max_examples=25)
@given(sizes, seeds, st.floats(0, 10))
def test_rescaling_gives_the_radius_and_keeps_the_eigenvectors(size, seed, rho):
    W = random_matrix(size, size, seed=seed)
    rescaled = spectra.with_spectral_radius(W, rho)
    assert radius(rescaled) == pytest.approx(rho, rel=1e-9)
    assert_close(rescaled, W * (rho / radius(W)))


def test_rescaling_a_batch_each_to_its_own_radius():
    W, rho = random_matrix(3, 4, 4), torch.tensor([0.0, 0.5, 2.0])
    rescaled = spectra.with_spectral_radius(W, rho)
    assert_close(spectra.spectral_radius(rescaled), rho.double())
    assert spectra.with_spectral_radius(W.float(), 1.0).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_nilpotent_matrix_has_no_radius_to_rescale(dtype):
    W = torch.tensor(NILPOTENT, dtype=dtype)
    with pytest.raises(ValueError, match=r"^W has spectral radius 0 .* rho = 0.5; only rho = 0"):
        spectra.with_spectral_radius(W, 0.5)
    with pytest.raises(ValueError, match="rho = 2;"):
        spectra.with_spectral_radius(torch.stack([W, torch.eye(2).to(W)]), torch.tensor([2, 1]))
    assert torch.equal(spectra.with_spectral_radius(W, 0), torch.zeros_like(W))
    assert torch.equal(spectra.with_spectral_radius(0 * W, 0.0), torch.zeros_like(W))


def test_gaussian_entries_have_the_stated_deviation_and_fill_the_unit_disk():
    W = spectra.gaussian_matrix(400)
    assert W.mean().item() == pytest.approx(0, abs=4 / 400 / 20)
    assert W.std().item() == pytest.approx(1 / 20, rel=0.01)
    moduli = np.abs(np.linalg.eigvals(W.numpy()))
    assert np.mean(moduli <= 0.5) == pytest.approx(0.25, abs=0.05)
    assert moduli.max() == pytest.approx(1, abs=0.1)
    assert not torch.equal(W, spectra.gaussian_matrix(400, seed=1))


def test_haar_matrices_are_orthogonal_and_unbiased():
    draws = torch.stack([spectra.haar_orthogonal(3, seed) for seed in range(500)])
    assert_close(draws @ draws.mT, torch.eye(3, dtype=torch.float64).expand(500, 3, 3))
    # Without the sign correction the diagonal is biased to one side.
    assert draws.mean(0).abs().max() < 4 * (1 / 3 / 500) ** 0.5


@settings(max_examples=25)
@given(sizes, seeds)
def test_schur_parts_assemble_again_and_hold_the_eigenvalues(size, seed):
    W = random_matrix(size, size, seed=seed)
    parts = spectra.schur_parts(W)
    assert_close(parts.matrix(), W)
    assert_close(parts.Q @ (parts.D + parts.N) @ parts.Q.T, W)
    assert_close(parts.matrix(scale=-2.5), -2.5 * W)
    assert_close(parts.Q @ parts.Q.T, torch.eye(size, dtype=W.dtype))
    assert_close(parts.D @ parts.D.T, parts.D.T @ parts.D)


@settings(max_examples=50)
@given(sizes, seeds, levels)
def test_non_normality_never_moves_an_eigenvalue(size, seed, non_normality):
    W = random_matrix(size, size, seed=seed)
    changed = spectra.schur_parts(W).matrix(non_normality=non_normality)
    # The characteristic polynomial, unlike the eigenvalues, is well conditioned: compare traces.
    power = original = torch.eye(size, dtype=W.dtype)
    for _ in range(size):
        power, original = power @ changed, original @ W
        room = 1e-10 * max(power.norm().item(), original.norm().item())
        assert power.trace().item() == pytest.approx(original.trace().item(), abs=room)


def test_less_of_the_rest_is_more_normal():
    parts = spectra.schur_parts(random_matrix(20, 20))
    steps = [parts.matrix(non_normality=s) for s in (0, 0.25, 0.5, 1, 2)]
    commutators = [(W @ W.T - W.T @ W).norm().item() for W in steps]
    assert commutators == sorted(commutators)
    assert commutators[0] < 1e-10
    assert [spectra.spectral_radius(W).item() for W in steps] == pytest.approx(
        [radius(steps[-2])] * 5
    )


spectrum = st.tuples(
    st.lists(st.floats(-2, 2), max_size=4),
    st.lists(st.tuples(st.floats(-2, 2), st.floats(0.01, 2)), max_size=3),
).filter(lambda parts: any(parts))


@settings(max_examples=50)
@given(spectrum, seeds)
def test_a_normal_matrix_has_the_eigenvalues_it_was_given(parts, seed):
    values = [*parts[0], *(complex(a, s * b) for a, b in parts[1] for s in (1, -1))]
    W = spectra.matrix_with_eigenvalues(values, seed=seed)
    found = torch.from_numpy(np.linalg.eigvals(W.numpy())).to(torch.complex128)
    for value in values:
        assert (found - value).abs().min() < 1e-9
    assert_close(W @ W.T, W.T @ W)
    moduli = sorted((abs(v) for v in values), reverse=True)
    np.testing.assert_allclose(np.linalg.svd(W.numpy())[1], moduli, atol=1e-12)


@pytest.mark.parametrize("non_normality", [0.0, 0.5, 1.0, 3.0])
def test_the_eigenvalues_hold_for_any_non_normality(non_normality):
    values = [0.9, -0.5, 0.0, 0.3 + 0.4j, 0.3 - 0.4j, 1.1j, -1.1j]
    W = spectra.matrix_with_eigenvalues(values, non_normality=non_normality)
    found = torch.from_numpy(np.linalg.eigvals(W.numpy()))
    assert_close(in_order(found), in_order(torch.tensor(values, dtype=torch.complex128)))
    assert spectra.sigma_max(W) >= 1.1 - 1e-12


def test_non_normality_adds_the_stated_entries():
    H = 100
    W = spectra.matrix_with_eigenvalues(torch.zeros(H), non_normality=2.0)
    assert W.norm().item() == pytest.approx(2 * ((H - 1) / 2) ** 0.5, rel=0.05)


def test_a_seed_sets_the_basis():
    one, same, other = (spectra.matrix_with_eigenvalues([1, 2, 3], seed=s) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("function", ["eigenvalues", "spectral_radius", "sigma_max", "schur_parts"])
@pytest.mark.parametrize(
    ("W", "allowed"),
    [
        (torch.zeros(2, 3), r"square matrices .* but Tensor of shape \(2, 3\) was given"),
        (torch.zeros(3), "square matrices"),
        (torch.zeros(0, 0), "square matrices"),
        ("abc", "square matrices .* but 'abc' was given"),
        (torch.eye(2) * 1j, "real matrices"),
        (torch.tensor([[float("nan")]]), "finite, but it contains NaN or infinity"),
        (torch.tensor([[float("inf")]]), "finite, but it contains NaN or infinity"),
    ],
)
def test_a_bad_matrix_is_named(function, W, allowed):
    with pytest.raises(ValueError, match=f"^W must be {allowed}"):
        getattr(spectra, function)(W)


@pytest.mark.parametrize("rho", [-1, float("nan"), float("inf"), "a", None, torch.tensor([1, -1])])
def test_a_bad_radius_is_named(rho):
    with pytest.raises(ValueError, match=r"^rho must be finite and at least 0, but"):
        spectra.with_spectral_radius(torch.eye(2).expand(2, 2, 2), rho)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectra.schur_parts(torch.eye(2).expand(3, 2, 2)), "W must be one matrix"),
        (lambda: spectra.gaussian_matrix(0), "hidden_size must be a whole number of at least 1"),
        (lambda: spectra.haar_orthogonal(2.5), "hidden_size must be a whole number of at least 1"),
        (lambda: spectra.matrix_with_eigenvalues([]), "eigenvalues must be a non-empty list"),
        (lambda: spectra.matrix_with_eigenvalues("ab"), "eigenvalues must be a non-empty list"),
        (lambda: spectra.matrix_with_eigenvalues([np.nan]), "eigenvalues must be a non-empty"),
        (lambda: spectra.matrix_with_eigenvalues([1j]), "eigenvalues must be real, or complex in"),
        (
            lambda: spectra.matrix_with_eigenvalues([1], non_normality=-1),
            "non_normality must be a number of at least 0, but -1 was given",
        ),
    ],
)
def test_other_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

"""Square matrices and their eigenvalues: measure, rescale, and build them to order.

Chapter 04 teaches what the eigenvalues of the recurrent matrix `W_hh` do to a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .device import generator
from .errors import bad, check_count, check_number, check_tensor

# Rounding moves a defective zero eigenvalue by about sqrt(eps) * norm (a 2x2 Jordan block), so
# a radius below this share of the norm cannot be told from zero.
_ZERO_RADIUS = 1e-7


def _square(W: Any, argument: str = "W") -> Tensor:
    """Return `W` as a float64 tensor on the CPU, where every eigenvalue routine exists."""
    allowed = "square matrices of shape (..., hidden_size, hidden_size)"
    W = check_tensor(argument, W, allowed)
    if W.ndim < 2 or W.shape[-1] != W.shape[-2] or W.shape[-1] == 0:
        raise bad(argument, W, allowed)
    if W.is_complex():
        raise bad(argument, W.dtype, "real matrices")
    W = W.cpu().double()
    if not torch.isfinite(W).all():
        raise ValueError(f"{argument} must be finite, but it contains NaN or infinity.")
    return W


def eigenvalues(W: Any) -> Tensor:
    """Return the eigenvalues of square matrices.

    Shapes: (..., H, H) -> (..., H), complex128 on the CPU. Raises `ValueError` for a matrix that
    is not square, not real or not finite. Taught in chapter 04.
    """
    return torch.linalg.eigvals(_square(W))


def spectral_radius(W: Any) -> Tensor:
    """Return the largest absolute eigenvalue of square matrices.

    Shapes: (..., H, H) -> (...), in the dtype and on the device of `W`; computed in float64.
    Raises `ValueError` for a matrix that is not square, not real or not finite. Taught in
    chapter 04.

    >>> spectral_radius(torch.tensor([[0.0, 2.0], [-2.0, 0.0]]))
    tensor(2.)
    """
    radius = eigenvalues(W).abs().amax(-1)
    W = torch.as_tensor(W)
    return radius.to(W.device, W.dtype if W.is_floating_point() else torch.float64)


def sigma_max(W: Any) -> Tensor:
    """Return the largest singular value of square matrices: the most `W` can stretch a vector.

    Shapes: (..., H, H) -> (...). Raises `ValueError` like `spectral_radius`. Taught in chapter 04.
    """
    largest = torch.linalg.matrix_norm(_square(W), ord=2)
    W = torch.as_tensor(W)
    return largest.to(W.device, W.dtype if W.is_floating_point() else torch.float64)


def with_spectral_radius(W: Any, rho: Any) -> Tensor:
    """Rescale square matrices so that their spectral radius is `rho`.

    Eigenvalues scale with the matrix, so the eigenvectors stay and nothing is factorised twice.
    Shapes: (..., H, H) with rho (...) or a number -> (..., H, H). Raises `ValueError` where rho is
    negative or not finite, and where the radius of `W` is 0 (a nilpotent matrix) and rho is not.
    Taught in chapter 04.

    >>> with_spectral_radius(torch.eye(2), 0.5)
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]])
    """
    exact = _square(W)
    target = check_tensor("rho", rho, "finite and at least 0", torch.float64).cpu()
    if not torch.isfinite(target).all() or (target < 0).any():
        raise bad("rho", rho, "finite and at least 0")
    radius = torch.linalg.eigvals(exact).abs().amax(-1)
    size = torch.linalg.matrix_norm(exact)
    zero = radius <= _ZERO_RADIUS * size
    if (zero & (target > 0)).any():
        raise ValueError(
            "W has spectral radius 0 (all eigenvalues are 0), so no factor can give it "
            f"rho = {_largest(rho)}; only rho = 0 is possible."
        )
    factor = torch.where(zero, 0.0, target / torch.where(zero, 1.0, radius))
    W = torch.as_tensor(W)
    dtype = W.dtype if W.is_floating_point() else torch.float64
    return (exact * factor[..., None, None]).to(W.device, dtype)


def _largest(rho: Any) -> str:
    """Return rho for an error message: the number, or the largest of several."""
    values = torch.as_tensor(rho, dtype=torch.float64).reshape(-1)
    return f"{values.max().item():g}"


def gaussian_matrix(hidden_size: int, seed: int = 0, *, purpose: str = "W_hh") -> Tensor:
    """Draw W_hh with independent normal entries, so that its eigenvalues fill the unit disk.

    The standard deviation is 1 / sqrt(hidden_size). purpose: the stream of the seed to draw from
    (see `device.generator`). Returns (H, H) in float64. Source: the
    strong circular law, as quoted in Orvieto et al. 2023 (arXiv:2303.06349), Theorem 1. Taught in
    chapter 04.
    """
    H = check_count("hidden_size", hidden_size)
    stream = generator(seed, purpose)
    return torch.randn(H, H, generator=stream, dtype=torch.float64) / H**0.5


def haar_orthogonal(hidden_size: int, seed: int = 0) -> Tensor:
    """Draw an orthogonal matrix uniformly (QR of a Gaussian with the signs of R divided out).

    Returns (H, H) in float64. Source: Mezzadri, math-ph/0609050, the rule of
    `torch.nn.init.orthogonal_`.
    """
    q, r = torch.linalg.qr(gaussian_matrix(hidden_size, seed, purpose="basis"))
    return q * r.diagonal().sign()


@dataclass(frozen=True)
class SchurParts:
    """A matrix as Q (D + N) Q^T: a normal part D that holds the eigenvalues, and the rest N.

    `D` is block diagonal: 1x1 blocks for real eigenvalues, [[a, b], [-b, a]] for a pair a +- ib.
    `N` lies above these blocks, and in a pair's block where that is not normal itself. `matrix`
    grows or shrinks N and leaves every eigenvalue where it was. Shapes: Q, D, N (H, H), float64.
    """

    Q: Tensor
    D: Tensor
    N: Tensor

    def matrix(self, scale: float = 1.0, non_normality: float = 1.0) -> Tensor:
        """Assemble the matrix with `non_normality` times the N, all times `scale`: (H, H)."""
        rotation = self.D - self.D.diagonal().diag()
        stretch = non_normality * (self.N + self.N.T) / 2
        # A block [[a, s + r], [s - r, a]] has eigenvalues a +- i sqrt(r^2 - s^2): as the stretch s
        # grows, the rotation r must grow with it.
        pairs = rotation.sign() * torch.hypot(rotation, stretch) + stretch
        T = torch.where(rotation != 0, pairs, self.D + non_normality * self.N)
        return scale * (self.Q @ T @ self.Q.T)


def schur_parts(W: Any) -> SchurParts:
    """Split a real matrix into its normal part and the rest, by the real Schur form.

    `parts.matrix()` is `W` again; `parts.matrix(non_normality=0)` is the normal matrix with the
    same eigenvalues, in which gradients shrink or grow exactly as the eigenvalues say. Shape:
    (H, H). Raises `ValueError` like `spectral_radius`. Taught in chapter 04.
    """
    # SciPy loads on use: importing it with the package would slow every start down.
    from scipy.linalg import schur

    W = _square(W).detach()
    if W.ndim != 2:
        raise bad("W", W, "one matrix of shape (hidden_size, hidden_size)")
    T, Q = (torch.from_numpy(part) for part in schur(W.numpy(), output="real"))
    D = torch.diag(T.diagonal())
    block = T.diagonal(-1)
    for i in torch.nonzero(block).flatten().tolist():
        # LAPACK leaves a pair as [[a, b], [c, a]] with eigenvalues a +- i sqrt(-bc)
        imaginary = (-T[i, i + 1] * T[i + 1, i]).sqrt() * T[i, i + 1].sign()
        D[i, i + 1], D[i + 1, i] = imaginary, -imaginary
    return SchurParts(Q, D, T - D)


def matrix_with_eigenvalues(
    eigenvalues: Any, *, non_normality: float = 0.0, seed: int = 0
) -> Tensor:
    """Build a real matrix with the eigenvalues you choose.

    eigenvalues: (H,), real or complex; complex ones in conjugate pairs. non_normality: 0 gives a
    normal matrix (orthogonal eigenvectors; singular values are |eigenvalues|); larger values add
    strictly upper triangular N(0, non_normality^2 / H) entries to its Schur form, which leaves the
    eigenvalues and raises the singular values. The basis is a Haar-random rotation drawn from
    `seed`. Returns (H, H) in float64. Raises `ValueError` for unpaired complex eigenvalues.
    Taught in chapter 04.

    >>> spectral_radius(matrix_with_eigenvalues([0.5, 0.3 + 0.4j, 0.3 - 0.4j]))
    tensor(0.5000, dtype=torch.float64)
    """
    allowed = "a non-empty list of finite numbers"
    values = check_tensor("eigenvalues", eigenvalues, allowed, torch.complex128).cpu().reshape(-1)
    non_normality = check_number("non_normality", non_normality, low=0)
    if not torch.isfinite(torch.view_as_real(values)).all() or values.numel() == 0:
        raise bad("eigenvalues", eigenvalues, allowed)
    upper = [v for v in values.tolist() if v.imag > 0]
    lower = [v.conjugate() for v in values.tolist() if v.imag < 0]
    key = lambda v: (v.real, v.imag)  # noqa: E731
    if sorted(upper, key=key) != sorted(lower, key=key):
        raise bad("eigenvalues", eigenvalues, "real, or complex in conjugate pairs")
    H = values.numel()
    D = torch.zeros(H, H, dtype=torch.float64)
    position = 0
    for value in upper:
        a, b = value.real, value.imag
        D[position : position + 2, position : position + 2] = D.new_tensor([[a, b], [-b, a]])
        position += 2
    for value in (v.real for v in values.tolist() if v.imag == 0):
        D[position, position] = value
        position += 1
    N = gaussian_matrix(H, seed).triu(1)
    N[D != 0] = 0.0
    return SchurParts(haar_orthogonal(H, seed), D, N).matrix(non_normality=non_normality)

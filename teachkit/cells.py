"""One step of R recurrent layers, forwards and backwards, on memory that is used again and again.

Sizes: R replicas, T steps, B sequences, I inputs, H hidden units, K = H + I + 1. The batch is the
last dimension: a gate of one replica is then one contiguous block.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_threshold_backward = torch.ops.aten.threshold_backward.grad_input

Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Shape:
    """The sizes of one pass over a stack, and where and how precisely it is computed."""

    replicas: int
    steps: int
    batch: int
    inputs: int
    hidden: int
    dtype: torch.dtype
    device: torch.device


class Workspace:
    """Everything that one pass writes.

    Fresh memory for all of it at each training step would cost as much time as the arithmetic. `S`
    holds the state, the input and a 1 for the bias of each step in one column, so that one product
    with `W`, made from all weights, gives all pre-activations `Z`. `C` holds the negative cell
    state of an LSTM.
    """

    def __init__(self, shape: Shape, blocks: int, cell_state: bool) -> None:
        R, T, B, H = shape.replicas, shape.steps, shape.batch, shape.hidden
        K, rows = H + shape.inputs + 1, blocks * H
        self.shape = shape

        def empty(*sizes: int) -> Tensor:
            return torch.empty(sizes, dtype=shape.dtype, device=shape.device)

        self.W = torch.zeros(R, rows, K, dtype=shape.dtype, device=shape.device)
        self.W_h, self.W_x = (self.W[:, :, part].mT for part in (slice(H), slice(H, K - 1)))
        self.S = empty(T + 1, R, K, B)
        self.S[:, :, -1] = 1
        self.from_zero = False  # whether the first state is zero: then W_hh and it need no product
        self.h = [S[:, :H] for S in self.S]
        self.Z = empty(T, R, rows, B)
        self.steps = [
            (self.Z[t], *self.Z[t].split(H, 1), self.h[t], self.h[t + 1]) for t in range(T)
        ]
        if cell_state:
            self.C, self.squashed = empty(T + 1, R, H, B), empty(T, R, H, B)
            self.cells = list(zip(self.C[:-1], self.C[1:], self.squashed, strict=True))
        self.D = empty(R, rows, B)
        self.dgates = self.D.split(H, 1)
        self.dh, self.dc, self.spare = empty(R, H, B), empty(R, H, B), empty(R, H, B)
        # Transposed: its longer side is then a whole number of vector registers, a fifth faster.
        self.dW, self.D_transposed = empty(R, K, rows), self.D.mT

    def forward(self, t: int) -> None:
        """Compute the pre-activations of step t."""
        if t == 0 and self.from_zero:
            H = self.shape.hidden
            torch.bmm(self.W[:, :, H:], self.S[0, :, H:], out=self.Z[0])
        else:
            torch.bmm(self.W, self.S[t], out=self.Z[t])

    def backward(self, t: int) -> None:
        """Add step t to the gradient of the weights."""
        H, T = self.shape.hidden, self.shape.steps
        if t == T - 1:
            torch.bmm(self.S[t], self.D_transposed, out=self.dW)
        elif t == 0 and self.from_zero:
            self.dW[:, H:].baddbmm_(self.S[0, :, H:], self.D_transposed)
        else:
            self.dW.baddbmm_(self.S[t], self.D_transposed)

    def backward_state(self, t: int, direct: Tensor | None = None) -> None:
        """Turn `D` into the gradient `dh` of the state before step t, unless that is zero.

        direct: what reaches that state past the weights.
        """
        if t == 0 and self.from_zero:
            return
        if direct is None:
            torch.bmm(self.W_h, self.D, out=self.dh)
        else:
            torch.baddbmm(direct, self.W_h, self.D, out=self.dh)


class Cell(abc.ABC):
    """What to do at each step. PyTorch's rows (gates * H) stand in `blocks` blocks of H.

    scales: factors of the blocks, powers of two, with which tanh(a) is 2 sigmoid(2 a) - 1: sigmoid
    is several times faster. unscales: those that the backward pass needs.
    """

    blocks = 1
    cell_state = False
    scales: tuple[float, ...] = (1,)
    unscales: tuple[float, ...] = (1,)

    @abc.abstractmethod
    def forward(self, work: Workspace) -> None:
        """Fill the workspace from its first state and its inputs."""

    @abc.abstractmethod
    def backward(self, work: Workspace, t: int) -> None:
        """Turn `dh` (and `dc`), the gradients of the state after step t, into `D`.

        Leaves the gradients of the state before step t in their place, unless that is zero.
        """

    def assemble(self, work: Workspace, weights: Sequence[Tensor]) -> None:
        """Make [W_hh, W_ih, b_ih + b_hh], scaled."""
        W_ih, W_hh, *biases = weights
        H = work.shape.hidden
        work.W[:, :, :H] = W_hh
        work.W[:, :, H:-1] = W_ih
        if biases:
            torch.add(*biases, out=work.W[:, :, -1])
        else:  # another network may have used this memory
            work.W[:, :, -1] = 0
        self.multiply(work.W, self.scales)

    def disassemble(self, work: Workspace) -> Gradients:
        """Return the gradients of W_ih, W_hh, b_ih and b_hh, views of the workspace."""
        H, dW = work.shape.hidden, work.dW.mT
        self.multiply(dW, self.unscales)
        return dW[..., H:-1], dW[..., :H], dW[..., -1], dW[..., -1]

    def multiply(self, W: Tensor, factors: tuple[float, ...]) -> None:
        """Multiply the blocks of rows of W (R, rows, K) in place."""
        for block, factor in zip(W.chunk(self.blocks, 1), factors, strict=True):
            if factor != 1:
                block.mul_(factor)


class _Elman(Cell):
    def __init__(self, nonlinearity: str) -> None:
        self.nonlinearity = nonlinearity
        if nonlinearity == "tanh":
            self.scales = (2,)

    def forward(self, work: Workspace) -> None:
        name = self.nonlinearity
        for t, (Z, _, _, h) in enumerate(work.steps):
            work.forward(t)
            if name == "tanh":
                torch.sub(Z.sigmoid_().mul_(2), 1, out=h)
            elif name == "sigmoid":
                torch.sigmoid(Z, out=h)
            elif name == "relu":
                torch.clamp_min(Z, 0, out=h)
            else:
                h.copy_(Z)

    def backward(self, work: Workspace, t: int) -> None:
        h = work.h[t + 1]
        if self.nonlinearity == "tanh":
            _tanh_backward(work.dh, h, grad_input=work.D)
        elif self.nonlinearity == "sigmoid":
            _sigmoid_backward(work.dh, h, grad_input=work.D)
        elif self.nonlinearity == "relu":
            _threshold_backward(work.dh, h, 0, grad_input=work.D)
        else:
            work.D.copy_(work.dh)
        work.backward_state(t)


class _LSTM(Cell):
    """Gates in PyTorch's order, all as sigmoids: tanh of the cell gate is 2 g - 1.

    The cell state is kept with its sign turned, n = -c = f n + i - 2 i g, and so is its squashed
    form s = sigmoid(2 n): then h = o tanh(c) = o - 2 o s, and every line is one operation.
    """

    blocks = 4
    cell_state = True
    scales = (1, 1, 2, 1)
    unscales = (1, 1, -4, 1)  # 2 from the scale, -2 from n: `backward` leaves both out

    def forward(self, work: Workspace) -> None:
        spare = work.spare
        for t, (Z, i, f, g, o, _, h) in enumerate(work.steps):
            n0, n, s = work.cells[t]
            work.forward(t)
            Z.sigmoid_()
            torch.addcmul(i, i, g, value=-2, out=spare)
            torch.addcmul(spare, f, n0, out=n)
            torch.mul(n, 2, out=s)
            s.sigmoid_()
            torch.addcmul(o, o, s, value=-2, out=h)

    def backward(self, work: Workspace, t: int) -> None:
        (Z, i, f, g, o, _, _), (n0, _, s) = work.steps[t], work.cells[t]
        Di, Df, Dg, Do = work.dgates
        dh, dn, spare = work.dh, work.dc, work.spare
        torch.mul(dh, o, out=spare)
        _sigmoid_backward(spare, s, grad_input=spare)
        dn.sub_(spare, alpha=4)
        torch.addcmul(dh, dh, s, value=-2, out=Do)
        torch.mul(dn, n0, out=Df)
        torch.addcmul(dn, dn, g, value=-2, out=Di)
        torch.mul(dn, i, out=Dg)
        _sigmoid_backward(work.D, Z, grad_input=work.D)
        dn.mul_(f)
        work.backward_state(t)


class _GRU(Cell):
    """Row blocks r, z, W_hn h + b_hn and W_in x + b_in: the reset gate acts on the third only."""

    blocks = 4
    scales, unscales = (1, 1, 1, 2), (1, 1, 1, 1)

    def assemble(self, work: Workspace, weights: Sequence[Tensor]) -> None:
        W_ih, W_hh, *biases = weights
        W, H = work.W, work.shape.hidden
        both, rest = 2 * H, 3 * H
        W[:, :rest, :H] = W_hh
        W[:, :both, H:-1], W[:, rest:, H:-1] = W_ih[:, :both], W_ih[:, both:]
        W[:, :, -1] = 0
        if biases:
            b_ih, b_hh = biases
            W[:, :rest, -1] = b_hh
            W[:, :both, -1] += b_ih[:, :both]
            W[:, rest:, -1] = b_ih[:, both:]
        self.multiply(W, self.scales)

    def disassemble(self, work: Workspace) -> Gradients:
        H, dW = work.shape.hidden, work.dW.mT
        of_x, of_h = torch.cat([dW[:, : 2 * H, H:], dW[:, 3 * H :, H:]], 1), dW[:, : 3 * H]
        return of_x[..., :-1], of_h[..., :H], of_x[..., -1], of_h[..., -1]

    def forward(self, work: Workspace) -> None:
        H = work.shape.hidden
        for t, (Z, r, z, hn, n, h0, h) in enumerate(work.steps):
            work.forward(t)
            Z[:, : 2 * H].sigmoid_()
            n.addcmul_(r, hn, value=2).sigmoid_().mul_(2).sub_(1)
            torch.lerp(n, h0, z, out=h)

    def backward(self, work: Workspace, t: int) -> None:
        H = work.shape.hidden
        Z, r, z, hn, n, h0, _ = work.steps[t]
        Dr, Dz, Dhn, Dn = work.dgates
        dh, spare = work.dh, work.spare
        torch.sub(h0, n, out=Dz)
        Dz.mul_(dh)
        torch.mul(dh, z, out=spare)
        torch.sub(dh, spare, out=Dn)
        _tanh_backward(Dn, n, grad_input=Dn)
        torch.mul(Dn, hn, out=Dr)
        torch.mul(Dn, r, out=Dhn)
        gates = work.D[:, : 2 * H]
        _sigmoid_backward(gates, Z[:, : 2 * H], grad_input=gates)
        work.backward_state(t, spare)


CELLS: dict[str, Cell] = {
    "lstm": _LSTM(),
    "gru": _GRU(),
    **{name: _Elman(name) for name in ("tanh", "relu", "sigmoid", "linear")},
}

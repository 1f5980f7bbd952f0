import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from teachkit.dynamics import gradient_through_time, jacobian_products
from teachkit.jacobians import products_of, step_jacobians
from teachkit.unroll import unroll
from tests.reference import DOUBLE, PLACES, B, H, T, forget_gate, make, part, silence, walk


def reference_jacobians(rnn, x, state, watched):
    """Return d state_T / d state_t for t = 0 ... T: (T + 1, B, S, S), through the real layer."""
    zeros = torch.zeros(T + 1)
    _, (own, hs, cs) = walk(rnn, x, state, watched, zeros, zeros)
    single = part(rnn, *watched)
    lstm = isinstance(rnn, nn.LSTM)
    width = hs[0].shape[-1]

    def rest(t, b, state):
        """Run the steps after t of one sequence from a state vector."""
        if t == T:
            return state
        parts = tuple(s[None, None] for s in (state[:width], state[width:]))
        _, last = single(own[t:, b : b + 1].contiguous(), parts if lstm else parts[0])
        return torch.cat([s.flatten() for s in last]) if lstm else last.flatten()

    products = torch.stack(
        [
            jacobian(lambda s, t=t, b=b: rest(t, b, s), torch.cat([s[0, b] for s in pair]))
            for t in range(T + 1)
            for pair in [[hs[t].detach(), cs[t].detach()] if lstm else [hs[t].detach()]]
            for b in range(B)
        ]
    )
    return products.unflatten(0, (T + 1, B)), own, hs


@pytest.mark.parametrize(("name", "layer", "reverse"), PLACES)
def test_jacobians_are_those_of_autograd_through_the_layer(name, layer, reverse):
    rnn, x, state = make(name)
    expected, own, hs = reference_jacobians(rnn, x, state, (layer, reverse))
    products = jacobian_products(rnn, x, state, layer=layer, reverse=reverse)
    assert_close(products.matrices * products.log_scale.exp()[..., None, None], expected)
    singular = torch.from_numpy(np.linalg.svd(expected.detach().numpy())[1])
    assert_close(products.singular_values, singular, rtol=1e-6, atol=1e-12)

    found = gradient_through_time(rnn, x, state, layer=layer, reverse=reverse)
    assert_close(found.h, torch.cat(hs).detach())
    width = hs[0].shape[-1]
    norms = torch.linalg.matrix_norm(expected[..., :width, :width], 2).amax(1)
    assert_close(found.jacobian_norm, norms[1:])
    if not isinstance(rnn, nn.LSTM):
        return
    # d c_T / d c_(t-1) with h_(t-1) held passes through c_t alone: (total at t) times diag(f_t)
    single = part(rnn, layer, reverse)
    forget = torch.stack([forget_gate(single, own[t], hs[t][0]) for t in range(T)])
    total = expected[:-1, :, width:, width:] / forget[..., None, :]
    assert_close(found.jacobian_norm_c, torch.linalg.matrix_norm(total, 2).amax(1))


def test_block_splits_the_state_of_an_lstm():
    rnn, x, state = make("lstm")
    products = jacobian_products(rnn, x, state)
    assert products.sizes == (H, H)
    h_block = products.block("h")
    assert torch.equal(h_block.matrices, products.matrices[..., :H, :H])
    assert h_block.sizes == products.block("c").sizes == (H,)
    eye = torch.eye(H, dtype=DOUBLE).expand(B, H, H)
    assert torch.equal(products.block("c").matrices[-1], eye)


@pytest.mark.parametrize(("name", "layer", "reverse"), PLACES)
def test_the_products_are_the_step_jacobians_multiplied(name, layer, reverse):
    rnn, x, state = make(name)
    trace = unroll(rnn, x, state).traces[layer, reverse]
    products = products_of(trace)
    expected = torch.eye(sum(products.sizes), dtype=DOUBLE).expand(B, -1, -1)
    for t, step in reversed(list(enumerate(step_jacobians(trace)))):
        expected = expected @ step
        assert_close(products.matrices[t] * products.log_scale[t].exp()[:, None, None], expected)


def test_a_layer_without_cell_state_has_no_block_c():
    products = jacobian_products(nn.RNN(1, 2), silence(3, torch.float32))
    with pytest.raises(ValueError, match=r"^state must be one of 'h', but 'c' was given"):
        products.block("c")

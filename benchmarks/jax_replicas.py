"""The JAX that replicas are compared with, in a process of its own (see `peers`).

Written as JAX is fastest for these sizes: `lax.scan` over time, not unrolled, with both products
inside it (one product for all inputs, or one of inputs and state joined, was slower), ten training
steps a call, and `vmap` or `lax.map` over the replicas, or `lax.map` over groups of them.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.peers import serve

STEPS = 10  # of training, in one call
GROUP = 16  # replicas that `lax.map` takes at once in the third form
Weights = dict[str, Any]


def lstm(w: Any, state: Any, x: Any) -> tuple[Any, None]:
    """One step of an LSTM; gates in PyTorch's order."""
    h, c = state
    i, f, g, o = jnp.split(x @ w.W_x + h @ w.W_h + (w.b_x + w.b_h), 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None


def gru(w: Any, state: Any, x: Any) -> tuple[Any, None]:
    """One step of a GRU, as PyTorch defines it: the reset gate meets the product with its bias."""
    (h,) = state
    r, z, n = jnp.split(x @ w.W_x + w.b_x, 3, axis=-1)
    hr, hz, hn = jnp.split(h @ w.W_h + w.b_h, 3, axis=-1)
    r, z = jax.nn.sigmoid(r + hr), jax.nn.sigmoid(z + hz)
    return ((1 - z) * jnp.tanh(n + r * hn) + z * h,), None


def rnn(w: Any, state: Any, x: Any) -> tuple[Any, None]:
    """One step of a tanh network."""
    (h,) = state
    return (jnp.tanh(x @ w.W_x + h @ w.W_h + (w.b_x + w.b_h)),), None


CELLS: dict[str, tuple[Callable[..., Any], int]] = {
    "LSTM": (lstm, 2),
    "GRU": (gru, 1),
    "RNN": (rnn, 1),
}


def loss(kind: str, given: Weights, x: Any, y: Any) -> Any:
    """The mean squared error of the head at the last step, of one replica."""
    cell, states = CELLS[kind]
    w = SimpleNamespace(  # turned once, not at every step
        W_x=given["rnn.weight_ih_l0"].T,
        W_h=given["rnn.weight_hh_l0"].T,
        b_x=given["rnn.bias_ih_l0"],
        b_h=given["rnn.bias_hh_l0"],
    )
    zero = jnp.zeros((x.shape[1], len(w.W_h)))
    (h, *_), _ = lax.scan(functools.partial(cell, w), (zero,) * states, x)
    return jnp.mean((h @ given["head.weight"].T + given["head.bias"] - y) ** 2)


def adam(gradient: Any, w: Any, m: Any, v: Any, t: Any) -> tuple[Any, Any, Any]:
    """A step of Adam with PyTorch's defaults."""
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    size = 1e-3 / (1 - 0.9**t)
    return w - size * m / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


def train(kind: str, carry: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Ten steps of one replica: its weights and moments, and the losses before each."""

    def step(carry: Any, _: Any) -> tuple[Any, Any]:
        w, m, v, t = carry
        value, gradients = jax.value_and_grad(functools.partial(loss, kind))(w, x, y)
        t = t + 1
        new = {k: adam(gradients[k], w[k], m[k], v[k], t) for k in w}
        return (*({k: new[k][n] for k in w} for n in range(3)), t), value

    return lax.scan(step, carry, None, length=STEPS)


class Session:
    """One size at a time: the forms, compiled, and the state they train."""

    def __init__(self) -> None:
        self.forms: dict[str, Any] = {}
        self.carry: Any = None
        self.batch: Any = None

    def prepare(self, kind: str, path: str) -> dict[str, Any]:
        """Load weights and batches, compile all forms, and return their first losses."""
        with np.load(path) as arrays:
            given = {k: jnp.asarray(arrays[k]) for k in arrays.files}
        self.batch = given.pop("x"), given.pop("y")
        count = len(self.batch[0])

        def fresh() -> Any:
            zeros = [{k: jnp.zeros_like(w) for k, w in given.items()} for _ in range(2)]
            return {k: w.copy() for k, w in given.items()}, *zeros, jnp.zeros(count)

        one = functools.partial(train, kind)

        def mapped(*arguments: Any, group: int | None) -> Any:
            return lax.map(lambda own: one(*own), arguments, batch_size=group)

        forms: dict[str, Any] = {
            "vmap": jax.vmap(one),
            "lax.map": functools.partial(mapped, group=None),
        }
        if count > GROUP:
            forms[f"lax.map by {GROUP}"] = functools.partial(mapped, group=GROUP)
        self.forms = {name: jax.jit(form, donate_argnums=0) for name, form in forms.items()}
        losses, seconds = {}, {}
        for name, form in self.forms.items():
            start = time.perf_counter()
            self.carry, found = form(fresh(), *self.batch)
            losses[name] = np.asarray(found).tolist()
            seconds[name] = time.perf_counter() - start
        return {"losses": losses, "seconds": seconds}

    def turn(self, form: str, calls: int) -> dict[str, Any]:
        """Run some calls; milliseconds a replica-step, by the wall's clock and the processor's."""
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(calls):
            self.carry, losses = self.forms[form](self.carry, *self.batch)
        jax.block_until_ready((self.carry, losses))
        steps = calls * STEPS * len(self.batch[0])
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        return {"wall": 1e3 * wall / steps, "processor": 1e3 * processor / steps}


if __name__ == "__main__":
    session = Session()
    serve({"prepare": session.prepare, "turn": session.turn})

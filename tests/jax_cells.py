"""The cells of Flax, Haiku and Equinox as they are drawn and as they compute, saved as arrays.

    PYTHONPATH=.oracles python tests/jax_cells.py OUT.npz

A process of its own: JAX shares none of its threads and settings with the tests. Parameters are
saved as each library keeps them, {library}/{cell}/{drawn|call}/{name}; the first dimension of
"drawn" counts the draws. "call" is one cell with random numbers for all parameters, with what it
was given (x, state0, state1: in the library's own order) and what it gave back (new0, new1).
"""

import sys
from typing import Any

import numpy as np

DRAWN = (48, 96, 8)  # input_size, hidden_size, draws
CALL = (3, 5)


def flat(tree, prefix=""):
    """Nested dicts as one, with the names joined."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        inner = (
            flat(value, f"{prefix}{name}/") if hasattr(value, "items") else {prefix + name: value}
        )
        found |= inner
    return found


def nest(arrays):
    """The inverse of `flat`, one level deep, for the names of Flax."""
    tree: dict[str, Any] = {}
    for name, value in arrays.items():
        outer, _, inner = name.partition("/")
        tree.setdefault(outer, {})[inner] = value
    return tree


def random_array(rng, shape):
    return rng.normal(0, 0.5, shape).astype(np.float32)


def flax_cells():
    import flax.linen as nn
    import jax
    import jax.numpy as jnp

    for kind, cls in {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.SimpleCell}.items():

        def draw(key, inputs, hidden, cls=cls):
            cell = cls(hidden)
            x = jnp.zeros((inputs,))
            carry = cell.initialize_carry(jax.random.key(0), x.shape)
            return flat(cell.init(key, carry, x)["params"])

        def call(arrays, x, states, cls=cls):
            cell = cls(states[0].shape[-1])
            carry, _ = cell.apply(
                {"params": nest(arrays)}, states if len(states) > 1 else states[0], x
            )
            return carry if len(states) > 1 else (carry,)

        yield "flax", kind, draw, call


def haiku_cells():
    import haiku as hk
    import jax.numpy as jnp

    for kind, cls in {"lstm": hk.LSTM, "gru": hk.GRU, "rnn": hk.VanillaRNN}.items():

        def step(x, states, cls=cls):
            state = hk.LSTMState(*states) if len(states) > 1 else states[0]
            return cls(states[0].shape[-1])(x, state)[1]

        function = hk.transform(step)

        def draw(key, inputs, hidden, function=function, kind=kind):
            states = [jnp.zeros((hidden,))] * (2 if kind == "lstm" else 1)
            parameters = function.init(key, jnp.zeros((inputs,)), states)
            return {f"{m}/{n}": a for m, inner in parameters.items() for n, a in inner.items()}

        def call(arrays, x, states, function=function):
            parameters: dict[str, Any] = {}
            for name, value in arrays.items():
                module, _, parameter = name.rpartition("/")
                parameters.setdefault(module, {})[parameter] = value
            state = function.apply(parameters, None, x, states)
            return tuple(state) if len(states) > 1 else (state,)

        yield "haiku", kind, draw, call


def equinox_cells():
    import equinox as eqx
    import jax

    names = {
        "lstm": ["weight_ih", "weight_hh", "bias"],
        "gru": ["weight_ih", "weight_hh", "bias", "bias_n"],
    }
    for kind, cls in {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}.items():

        def draw(key, inputs, hidden, cls=cls, kind=kind):
            cell = cls(inputs, hidden, key=key)
            return {name: getattr(cell, name) for name in names[kind]}

        def call(arrays, x, states, cls=cls):
            cell = cls(len(x), len(states[0]), key=jax.random.key(0))
            where = lambda c: [getattr(c, name) for name in arrays]  # noqa: E731
            cell = eqx.tree_at(where, cell, list(arrays.values()))
            new = cell(x, states if len(states) > 1 else states[0])
            return new if len(states) > 1 else (new,)

        yield "equinox", kind, draw, call


def main(path):
    import jax

    rng = np.random.default_rng(0)
    saved: dict[str, Any] = {}
    for cells in (flax_cells, haiku_cells, equinox_cells):
        for number, (library, kind, draw, call) in enumerate(cells()):
            inputs, hidden, count = DRAWN
            # one by one: a batch of factorisations has been seen to wait for ever on two cores
            one = jax.jit(lambda key, d=draw, i=inputs, h=hidden: d(key, i, h))
            drawn = [one(key) for key in jax.random.split(jax.random.key(number), count)]
            for name in drawn[0]:
                stacked = np.stack([np.asarray(arrays[name]) for arrays in drawn])
                saved[f"{library}/{kind}/drawn/{name}"] = stacked

            inputs, hidden = CALL
            shapes = jax.eval_shape(lambda d=draw, i=inputs, h=hidden: d(jax.random.key(0), i, h))
            arrays = {name: random_array(rng, struct.shape) for name, struct in shapes.items()}
            x = random_array(rng, (inputs,))
            states = tuple(random_array(rng, (hidden,)) for _ in range(1 + (kind == "lstm")))
            given = {"x": x, **{f"state{i}": state for i, state in enumerate(states)}}
            new = {f"new{i}": state for i, state in enumerate(call(arrays, x, states))}
            for name, array in {**arrays, **given, **new}.items():
                saved[f"{library}/{kind}/call/{name}"] = np.asarray(array)
    np.savez(path, **saved)


if __name__ == "__main__":
    main(sys.argv[1])

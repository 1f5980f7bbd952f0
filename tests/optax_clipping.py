"""What Optax makes of gradients, saved as arrays.

    PYTHONPATH=.oracles python tests/optax_clipping.py OUT.npz

A process of its own: JAX shares none of its threads and settings with the tests. Weights and
gradients are drawn here and saved in PyTorch's shapes, {case}/{weight|gradient}/{name}; what each
transformation makes of them is {case}/{method}/{name}. Optax sees matrices transposed, as JAX
libraries keep them: its units are columns.
"""

import sys
from typing import Any

import numpy as np

LIMIT, RATIO = 0.7, 0.01
# in PyTorch's shapes; one matrix has a single column, one a single row
SHAPES = {
    "other.weight": (3, 1),
    "recurrent.weight": (6, 3),
    "recurrent.bias": (6,),
    "output.weight": (1, 5),
    "output.bias": (2,),
}
GROUPS = {
    "recurrent": ("recurrent",),
    "all_but_output": ("recurrent", "other"),
    "output": ("output",),
}


def main(path):
    import jax

    jax.config.update("jax_enable_x64", True)
    import optax

    def clipped(transformation, weights, gradients):
        state = transformation.init(weights)
        return transformation.update(gradients, state, weights)[0]

    saved: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    for case, scale in {"small": 0.02, "mixed": 0.3, "large": 50.0, "zero": 0.0}.items():
        weights = {name: rng.normal(0, 0.5, shape) for name, shape in SHAPES.items()}
        weights["recurrent.weight"][2] = 0.0  # counts as 1e-3 in AGC
        gradients = {name: rng.normal(0, scale, shape) for name, shape in SHAPES.items()}
        gradients["recurrent.weight"][1] = 0.0
        for name in SHAPES:
            saved[f"{case}/weight/{name}"] = weights[name]
            saved[f"{case}/gradient/{name}"] = gradients[name]
        turned = [{name: a.T for name, a in tree.items()} for tree in (weights, gradients)]
        whole = {
            "norm": optax.clip_by_global_norm(LIMIT),
            "value": optax.clip(LIMIT),
            "agc": optax.adaptive_grad_clip(RATIO),
        }
        for method, groups in GROUPS.items():
            mask = {name: name.partition(".")[0] in groups for name in SHAPES}
            whole[method] = optax.masked(optax.clip_by_global_norm(LIMIT), mask)
        results = {method: clipped(rule, *turned) for method, rule in whole.items()}
        # a block's root mean square is its norm over the root of its size
        results["per_parameter"] = {
            name: clipped(optax.clip_by_block_rms(LIMIT / a.size**0.5), turned[0][name], a)
            for name, a in turned[1].items()
        }
        for method, result in results.items():
            for name, array in result.items():
                saved[f"{case}/{method}/{name}"] = np.asarray(array).T
    np.savez(path, **saved)


if __name__ == "__main__":
    main(sys.argv[1])

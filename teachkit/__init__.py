"""The helper package of *Where Recurrent Networks Begin*.

`import teachkit as tk` gives the whole surface that a learner sees. Parts that are slow to load
(Matplotlib, widgets) load on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

# Not lazy: the module has the name of its function, and the first import of the module, wherever it
# happens, would put the module in the function's place.
from .gates import gates

__version__ = "0.1.0"

# Where each public name lives; the value None is a module of its own name.
_HOME: dict[str, str | None] = {
    "Clipper": "clipping",
    "ElmanRNN": "models",
    "Forecast": "datasets",
    "SequenceModel": "models",
    "TemporalOrder": "datasets",
    "batches": "datasets",
    "choose_device": "device",
    "eigenvalues": "spectra",
    "environment_report": "device",
    "fit": "training",
    "gradient_bound": "dynamics",
    "gradient_map": "dynamics",
    "gradient_through_time": "dynamics",
    "jacobian_products": "dynamics",
    "linear_prediction": "dynamics",
    "load_results": "results",
    "lyapunov_exponents": "dynamics",
    "make_elman": "models",
    "matrix_with_eigenvalues": "spectra",
    "memory_horizon": "dynamics",
    "nilpotent_counterexample": "models",
    "recurrent_matrix": "models",
    "seed_everything": "device",
    "set_forget_bias": "gates",
    "sigma_max": "spectra",
    "spectral_radius": "spectra",
    "sunspots": "datasets",
    "with_spectral_radius": "spectra",
    "check": "exercises",
    "clipping": None,
    "datasets": None,
    "device": None,
    "dynamics": None,
    "exercises": None,
    "experiments": None,
    "labs": None,
    "models": None,
    "plots": None,
    "results": None,
    "spectra": None,
    "training": None,
    "unroll": None,
}

__all__ = ["__version__", "gates", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'teachkit' has no attribute {name!r}")
    home = _HOME[name]
    module = importlib.import_module(f".{home or name}", __name__)
    value = module if home is None else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

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
    "AdaptiveState": "initial_states",
    "AddingProblem": "tasks",
    "CarriedState": "initial_states",
    "Characters": "tasks",
    "Clipper": "clipping",
    "Digits": "tasks",
    "ElmanRNN": "models",
    "ErrorClipping": "error_clipping",
    "Forecast": "tasks",
    "Forecaster": "forecaster",
    "GRU": "drop_ins",
    "GRUCell": "drop_ins",
    "InferredState": "inferred_states",
    "InitialState": "initial_states",
    "LSTM": "drop_ins",
    "LSTMCell": "drop_ins",
    "LearnedState": "initial_states",
    "Names": "tasks",
    "NoisyState": "initial_states",
    "RNN": "drop_ins",
    "RNNCell": "drop_ins",
    "RecallFirst": "tasks",
    "Replicas": "replicas",
    "ResetRatio": "learned_states",
    "SequenceModel": "models",
    "SeriesForecast": "forecasting",
    "TemporalOrder": "tasks",
    "Vowels": "tasks",
    "Words": "tasks",
    "ZeroState": "initial_states",
    "batches": "tasks",
    "choose_device": "device",
    "co2": "datasets",
    "compare": "comparison",
    "descend": "surfaces",
    "digits": "datasets",
    "eigenvalues": "spectra",
    "environment_report": "device",
    "error_surface": "surfaces",
    "expected_signal": "signals",
    "fit": "training",
    "forgetting_curve": "forgetting",
    "fresh_states": "learned_states",
    "from_keras": "conversion",
    "gate_order": "gates",
    "gradient_bound": "dynamics",
    "gradient_map": "dynamics",
    "gradient_through_time": "dynamics",
    "initial_state_parameters": "learned_states",
    "initialize": "initializers",
    "jacobian_products": "dynamics",
    "japanese_vowels": "datasets",
    "linear_prediction": "dynamics",
    "load_results": "results",
    "loss_by_time": "statistics",
    "lyapunov_exponents": "dynamics",
    "make_elman": "models",
    "make_initial_state": "initial_states",
    "make_task": "tasks",
    "matrix_with_eigenvalues": "spectra",
    "memory_horizon": "dynamics",
    "names": "datasets",
    "nilpotent_counterexample": "models",
    "paired_differences": "statistics",
    "parameter_groups": "learned_states",
    "recurrent_matrix": "models",
    "reset_ratio": "learned_states",
    "reset_states": "learned_states",
    "seattle_temperatures": "datasets",
    "seed_everything": "device",
    "set_forget_bias": "gates",
    "show": "pictures",
    "sigma_max": "spectra",
    "signal_of": "signals",
    "signal_through_depth": "signals",
    "signal_through_time": "signals",
    "slope_on_wall": "surfaces",
    "spectral_radius": "spectra",
    "split_inputs": "gates",
    "steps_ratio": "statistics",
    "steps_to_threshold": "statistics",
    "steps_until": "forgetting",
    "sunspots": "datasets",
    "threshold_between": "statistics",
    "to_keras": "conversion",
    "tragedies": "datasets",
    "vanishing_regularizer": "regularizer",
    "wall_line": "surfaces",
    "with_spectral_radius": "spectra",
    "check": "exercises",
    "baselines": None,
    "clip_rules": None,
    "clipping": None,
    "comparison": None,
    "conversion": None,
    "datasets": None,
    "device": None,
    "drop_ins": None,
    "dynamics": None,
    "exercises": None,
    "experiments": None,
    "forecasting": None,
    "forgetting": None,
    "frameworks": None,
    "inferred_states": None,
    "initial_states": None,
    "initializers": None,
    "labs": None,
    "laws": None,
    "learned_states": None,
    "models": None,
    "parameter_parts": None,
    "plots": None,
    "replicas": None,
    "results": None,
    "run_plots": None,
    "signals": None,
    "spectra": None,
    "square_schemes": None,
    "statistics": None,
    "surfaces": None,
    "tasks": None,
    "training": None,
    "unroll": None,
    "variants": None,
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

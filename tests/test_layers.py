"""The package as a whole: imports point down, heavy parts load on use, the public names resolve."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import teachkit as tk

PACKAGE = Path(tk.__file__).parent
# Lowest first; a module may import modules of lower layers only.
LAYERS = [
    {"errors"},
    {
        "cells",
        "clip_rules",
        "device",
        "gates",
        "initial_states",
        "laws",
        "optimizers",
        "parameter_parts",
        "palette",
        "pictures",
        "statistics",
    },
    {
        "baselines",
        "clip_records",
        "conversion",
        "drop_ins",
        "surfaces",
        "framework_rules",
        "schemes",
        "spectra",
        "stacked",
    },
    {"bias_schemes", "presets", "weight_schemes"},
    {
        "datasets",
        "inferred_states",
        "initializers",
        "learned_states",
        "models",
        "objectives",
        "plans",
    },
    {"forecasting", "frameworks", "sequence_tasks", "series_tasks", "square_schemes"},
    {"forecaster", "tasks"},
    {"plots", "results", "stacks", "unroll"},
    {"blocks", "error_clipping", "regularizer", "run_plots"},
    {"clipping"},
    {"replicas"},
    {"variants"},
    {"groups"},
    {"comparison"},
    {"jacobians", "training"},
    {"dynamics", "forgetting"},
    {"signals"},
    {"experiments", "exercises"},
    {"labs"},
]
LAB_LAYERS = [
    {
        "canvas",
        "controls",
        "clip_what_picture",
        "first_steps_picture",
        "forecast_picture",
        "gate_weights",
        "signal_picture",
        "trajectories_picture",
        "wall_picture",
    },
    {"forecast_scene", "spec", "spectrum"},
    {
        "base",
        "forecast_training",
        "network",
        "own_model",
        "race",
        "trajectories_networks",
        "trajectories_words",
    },
    {"clip_what_gradients"},
    {
        "clip_what",
        "first_steps",
        "forecast",
        "fresh_from_the_box",
        "signal",
        "spectral_radius",
        "trajectories",
        "wall",
    },
    {"forget_bias", "gradient_map"},
]
EXPERIMENT_LAYERS = [
    {"runs", "settings"},
    {"ablation", "clipped_runs", "inside_backprop"},
    {
        "clipping",
        "decades",
        "defaults",
        "exploding",
        "first_steps",
        "inferred",
        "pretraining",
        "weights",
    },
    {"states", "trained_states"},
    {"state_rates"},
    {"studies"},
    {"__main__"},
]
EXERCISE_LAYERS = [
    {"feedback", "quiz_questions"},
    {"answers"},
    {
        "buggy_listing",
        "error_hooks",
        "exploding_gradients",
        "forecasting",
        "framework_defaults",
        "gradient_clipping",
        "initial_states",
        "leaks",
        "memory_biases",
        "quiz",
        "saved_forecast",
        "start_here",
        "state_noise",
        "state_optimizers",
        "tf1_weights",
        "training_loop",
        "weight_initialization",
    },
]


def imported(path, folder):
    """The modules of `folder` that a file imports, by relative imports."""
    depth = len(path.relative_to(folder).parts)
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            if node.module:
                names.add(node.module.split(".")[0])
            else:
                names |= {alias.name for alias in node.names}
    return names


def check(folder, layers):
    level = {name: i for i, names in enumerate(layers) for name in names}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).parts[0].removesuffix(".py")
        if name == "__init__":
            continue
        for other in imported(path, folder):
            assert level[other] < level[name], f"{name} imports {other}"
        yield name


def test_imports_point_down():
    assert set(check(PACKAGE, LAYERS)) == set().union(*LAYERS)


@pytest.mark.parametrize(
    ("folder", "layers"),
    [
        ("labs", LAB_LAYERS),
        ("experiments", EXPERIMENT_LAYERS),
        ("exercises", EXERCISE_LAYERS),
    ],
)
def test_imports_within_a_package_point_down(folder, layers):
    assert set(check(PACKAGE / folder, layers)) == set().union(*layers)


def test_no_module_grows_beyond_its_noun():
    long = {
        p.name: n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 330
    }
    assert long == {}


def test_only_labs_know_widgets():
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "labs":
            assert "ipywidgets" not in path.read_text(encoding="utf-8").replace('"ipywidgets"', "")


@pytest.mark.parametrize("name", tk.__all__)
def test_public_names_resolve(name):
    assert getattr(tk, name) is not None
    assert name in dir(tk)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="'nonsense'"):
        _ = tk.nonsense


def test_heavy_parts_load_on_use():
    code = (
        "import sys, teachkit as tk\n"
        "assert callable(tk.show)\n"
        "heavy = {'matplotlib', 'seaborn', 'scipy', 'ipywidgets', 'IPython', 'PIL', 'keras'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "tk.labs.forget_bias, tk.models, tk.unroll, tk.frameworks, tk.initializers, tk.laws\n"
        "assert callable(tk.gates) and callable(tk.gradient_map)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr

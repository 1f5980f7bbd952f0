"""The multi-seed experiments behind the figures: tidy tables and honest intervals.

Every seed sets the weights and the batches, and every variant sees the same ones: comparisons are
paired. `make results` runs them all and saves their tables; `make results ARGS="recall horizon"`
some of them.
"""

from __future__ import annotations

from .ablation import (
    ABLATION,
    SWITCHES,
    ablation_baselines,
    ablation_study,
    ablation_task,
    at_validated_rate,
    combination_errors,
    distinct_runs,
    main_effects,
)
from .clipped_runs import solved_at_best_rate
from .clipping import (
    CLIP_GRID,
    CLIP_TEXT,
    CLIP_WHAT,
    clip_grid_study,
    clip_text_study,
    clip_what_study,
)
from .decades import DECADES, decades_study
from .defaults import PRESETS, RECALL, preset_gradients, recall_study, recalled
from .exploding import (
    LYAPUNOV,
    TEMPORAL_ORDER,
    TEMPORAL_ORDER_VARIANTS,
    final_rows,
    lyapunov_study,
    paired_difference,
    solved_share,
    temporal_order_study,
)
from .first_steps import FIRST_STEPS, first_steps_study, window_task
from .inferred import INFERRED, inferred_study
from .inside_backprop import (
    INSIDE_BACKPROP,
    INSIDE_BACKPROP_VARIANTS,
    error_clipping_cosines,
    inside_backprop_study,
)
from .pretraining import PRETRAINING, STARTS, pretraining_gain, pretraining_study
from .runs import gains, gains_by_time, melted, runs_at_best_rate, solved_runs, speed
from .state_rates import STATE_RATES, STATE_TUNING, state_rates_study, state_tuning_study
from .states import (
    PERTURBED,
    STATES,
    STREAMS,
    harm,
    perturbed_study,
    states_study,
    streams_study,
)
from .studies import STUDIES, Study, run_studies
from .trained_states import TRAINED_STATES, trained_network, trained_states_study
from .weights import HORIZON, RATES, SCHEMES, at_best_rate, horizon_study, rates_study

__all__ = [
    "ABLATION",
    "CLIP_GRID",
    "CLIP_TEXT",
    "CLIP_WHAT",
    "DECADES",
    "FIRST_STEPS",
    "HORIZON",
    "INFERRED",
    "INSIDE_BACKPROP",
    "INSIDE_BACKPROP_VARIANTS",
    "LYAPUNOV",
    "PERTURBED",
    "PRESETS",
    "PRETRAINING",
    "RATES",
    "RECALL",
    "SCHEMES",
    "STARTS",
    "STATES",
    "STATE_RATES",
    "STATE_TUNING",
    "STREAMS",
    "STUDIES",
    "SWITCHES",
    "TEMPORAL_ORDER",
    "TEMPORAL_ORDER_VARIANTS",
    "TRAINED_STATES",
    "Study",
    "ablation_baselines",
    "ablation_study",
    "ablation_task",
    "at_best_rate",
    "at_validated_rate",
    "clip_grid_study",
    "clip_text_study",
    "clip_what_study",
    "combination_errors",
    "decades_study",
    "distinct_runs",
    "error_clipping_cosines",
    "final_rows",
    "first_steps_study",
    "gains",
    "gains_by_time",
    "harm",
    "horizon_study",
    "inferred_study",
    "inside_backprop_study",
    "lyapunov_study",
    "main_effects",
    "melted",
    "paired_difference",
    "perturbed_study",
    "preset_gradients",
    "pretraining_gain",
    "pretraining_study",
    "rates_study",
    "recall_study",
    "recalled",
    "run_studies",
    "runs_at_best_rate",
    "solved_at_best_rate",
    "solved_runs",
    "solved_share",
    "speed",
    "state_rates_study",
    "state_tuning_study",
    "states_study",
    "streams_study",
    "temporal_order_study",
    "trained_network",
    "trained_states_study",
    "window_task",
]

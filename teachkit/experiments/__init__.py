"""The multi-seed experiments behind the figures: tidy tables and honest intervals.

Every seed sets the weights and the batches, and every variant sees the same ones: comparisons are
paired. `make results` runs them all and saves their tables; `make results ARGS="recall horizon"`
some of them.
"""

from __future__ import annotations

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
from .pretraining import PRETRAINING, STARTS, pretraining_gain, pretraining_study
from .runs import gains, gains_by_time, melted, runs_at_best_rate, speed
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
    "FIRST_STEPS",
    "HORIZON",
    "INFERRED",
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
    "TEMPORAL_ORDER",
    "TEMPORAL_ORDER_VARIANTS",
    "TRAINED_STATES",
    "Study",
    "at_best_rate",
    "final_rows",
    "first_steps_study",
    "gains",
    "gains_by_time",
    "harm",
    "horizon_study",
    "inferred_study",
    "lyapunov_study",
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

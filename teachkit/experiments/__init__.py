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
from .pretraining import PRETRAINING, STARTS, pretraining_gain, pretraining_study
from .studies import STUDIES, Study, run_studies
from .weights import HORIZON, RATES, SCHEMES, at_best_rate, horizon_study, rates_study

__all__ = [
    "HORIZON",
    "LYAPUNOV",
    "PRESETS",
    "PRETRAINING",
    "RATES",
    "RECALL",
    "SCHEMES",
    "STARTS",
    "STUDIES",
    "TEMPORAL_ORDER",
    "TEMPORAL_ORDER_VARIANTS",
    "Study",
    "at_best_rate",
    "final_rows",
    "horizon_study",
    "lyapunov_study",
    "paired_difference",
    "preset_gradients",
    "pretraining_gain",
    "pretraining_study",
    "rates_study",
    "recall_study",
    "recalled",
    "run_studies",
    "solved_share",
    "temporal_order_study",
]

"""Every experiment whose results are precomputed, by the name of its table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..errors import check_choice
from ..results import save_results
from .ablation import ABLATION, ablation_study
from .clipping import (
    CLIP_GRID,
    CLIP_TEXT,
    CLIP_WHAT,
    clip_grid_study,
    clip_text_study,
    clip_what_study,
)
from .decades import DECADES, decades_study
from .defaults import RECALL, recall_study
from .exploding import LYAPUNOV, TEMPORAL_ORDER, lyapunov_study, temporal_order_study
from .first_steps import FIRST_STEPS, first_steps_study
from .inferred import INFERRED, inferred_study
from .inside_backprop import INSIDE_BACKPROP, inside_backprop_study
from .pretraining import PRETRAINING, pretraining_study
from .state_rates import STATE_RATES, STATE_TUNING, state_rates_study, state_tuning_study
from .states import PERTURBED, STATES, STREAMS, perturbed_study, states_study, streams_study
from .trained_states import TRAINED_STATES, trained_states_study
from .weights import HORIZON, RATES, horizon_study, rates_study


@dataclass(frozen=True)
class Study:
    """An experiment, its settings, which are saved beside its table, and how that is saved."""

    run: Callable[[], pd.DataFrame]
    settings: dict[str, Any]
    digits: int = 6
    compress: bool = False


STUDIES: dict[str, Study] = {
    "recall": Study(recall_study, RECALL, compress=True),
    "rates": Study(rates_study, RATES),
    "horizon": Study(horizon_study, HORIZON),
    "pretraining": Study(pretraining_study, PRETRAINING),
    "first_steps": Study(first_steps_study, FIRST_STEPS, digits=4, compress=True),
    "states": Study(states_study, STATES, digits=5, compress=True),
    "streams": Study(streams_study, STREAMS),
    "perturbed": Study(perturbed_study, PERTURBED),
    "state_rates": Study(state_rates_study, STATE_RATES),
    "state_tuning": Study(state_tuning_study, STATE_TUNING),
    "inferred": Study(inferred_study, INFERRED),
    "trained_states": Study(trained_states_study, TRAINED_STATES),
    "temporal_order": Study(temporal_order_study, TEMPORAL_ORDER),
    "clip_what": Study(clip_what_study, CLIP_WHAT, compress=True),
    "clip_grid": Study(clip_grid_study, CLIP_GRID, compress=True),
    "clip_text": Study(clip_text_study, CLIP_TEXT),
    "inside_backprop": Study(inside_backprop_study, INSIDE_BACKPROP),
    "decades": Study(decades_study, DECADES),
    "ablation": Study(ablation_study, ABLATION, digits=5, compress=True),
    "lyapunov": Study(lambda: lyapunov_study(**LYAPUNOV), LYAPUNOV),
}


def run_studies(names: Iterable[str] = ()) -> None:
    """Run studies, all of them where none is named, and save each table with its settings.

    Raises `ValueError` for an unknown name, before anything runs.
    """
    chosen = list(names) or list(STUDIES)
    for name in chosen:
        check_choice("name", name, STUDIES)
    for name in chosen:
        start = time.perf_counter()
        study = STUDIES[name]
        table = study.run()
        settings = {**study.settings, "seconds": round(time.perf_counter() - start)}
        save_results(name, table, settings, digits=study.digits, compress=study.compress)

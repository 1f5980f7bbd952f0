"""Every experiment whose results are precomputed, by the name of its table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..errors import check_choice
from ..results import save_results
from .defaults import RECALL, recall_study
from .exploding import LYAPUNOV, TEMPORAL_ORDER, lyapunov_study, temporal_order_study
from .pretraining import PRETRAINING, pretraining_study
from .weights import HORIZON, RATES, horizon_study, rates_study


@dataclass(frozen=True)
class Study:
    """An experiment and its settings, which are saved beside its table."""

    run: Callable[[], pd.DataFrame]
    settings: dict[str, Any]


STUDIES: dict[str, Study] = {
    "recall": Study(recall_study, RECALL),
    "rates": Study(rates_study, RATES),
    "horizon": Study(horizon_study, HORIZON),
    "pretraining": Study(pretraining_study, PRETRAINING),
    "temporal_order": Study(temporal_order_study, TEMPORAL_ORDER),
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
        table = STUDIES[name].run()
        seconds = round(time.perf_counter() - start)
        save_results(name, table, {**STUDIES[name].settings, "seconds": seconds})

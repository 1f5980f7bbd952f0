"""How the studies draw their batches."""

import itertools

import pytest
import torch

from teachkit.experiments.settings import stacked_batches
from teachkit.forecasting import SeriesForecast
from teachkit.tasks import Task, TemporalOrder, batches


@pytest.mark.parametrize("task", [TemporalOrder(12), SeriesForecast(horizon=3)], ids=str)
def test_every_copy_gets_the_batch_of_its_seed(task: Task):
    alone = zip(batches(task, 4, seed=3), batches(task, 4, seed=5), strict=True)
    drawn = itertools.islice(stacked_batches(task, [3, 5], 2, 4), 3)
    for (x, target), ((x_3, target_3), (x_5, target_5)) in zip(drawn, alone, strict=False):
        assert torch.equal(x, torch.stack([x_3, x_5, x_3, x_5]))
        assert torch.equal(target, torch.stack([target_3, target_5, target_3, target_5]))
        assert not torch.equal(x_3, x_5)

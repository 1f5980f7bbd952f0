import pytest
import torch

torch.set_num_threads(1)  # the networks here are small, and other tests run beside these


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)

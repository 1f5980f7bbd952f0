import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)  # the networks here are small, and other tests run beside these

# On a busy machine slowness says nothing of a test.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)

import random
import threading

import numpy as np
import pytest
import torch

from teachkit import device


def draws():
    return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002


def test_one_seed_seeds_every_generator():
    generator = device.seed_everything(3)
    first = (*draws(), torch.rand((), generator=generator).item())
    generator = device.seed_everything(3)
    assert (*draws(), torch.rand((), generator=generator).item()) == first
    device.seed_everything(4)
    assert all(a != b for a, b in zip(draws(), first, strict=False))


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "a", None])
def test_a_bad_seed_is_named(seed):
    with pytest.raises(ValueError, match=r"^seed must be a whole number of at least 0 and at most"):
        device.seed_everything(seed)


def test_the_cpu_is_always_there():
    assert device.choose_device("cpu") == torch.device("cpu")
    assert device.choose_device(torch.device("cpu")) == torch.device("cpu")


def test_the_choice_can_hold_a_tensor():
    chosen = device.choose_device()
    assert torch.ones(1, device=chosen).device.type == chosen.type


def test_an_unknown_device_is_named():
    with pytest.raises(ValueError, match="device must be one of 'cpu', 'cuda', 'mps', but 'tpu'"):
        device.choose_device("tpu")


def test_a_device_that_is_not_here_is_named():
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    absent = [kind for kind, available in here.items() if not available]
    assert absent  # no machine has both
    for kind in absent:
        with pytest.raises(ValueError, match=f"device must be available here, but '{kind}'"):
            device.choose_device(kind)


def test_threads_are_set_and_restored_even_after_an_error():
    before = torch.get_num_threads()
    with device.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before

    def fails():
        with device.threads(before + 1):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fails()
    assert torch.get_num_threads() == before


def test_threads_of_one_thread_do_not_stick_to_another():
    """A training in the background starts and ends while the reader is inside a block."""
    before = torch.get_num_threads()
    seen = []

    def work():
        with device.threads(before + 2):
            seen.append(torch.get_num_threads())

    worker = threading.Thread(target=work)
    with device.threads(before + 1):
        worker.start()
        worker.join()
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [before + 2, before]
    assert torch.get_num_threads() == before


def test_each_purpose_of_a_seed_has_numbers_of_its_own():
    def draw(seed, purpose):
        return torch.randn(50, generator=device.generator(seed, purpose))

    assert torch.equal(draw(0, "h0"), draw(0, "h0"))
    others = [draw(0, "W_hh"), draw(0, "input"), draw(1, "h0")]
    for other in others:
        assert abs(torch.corrcoef(torch.stack([draw(0, "h0"), other]))[0, 1]) < 0.5
    with pytest.raises(ValueError, match=r"^seed must be"):
        device.generator(-1, "h0")


@pytest.mark.parametrize("count", [0, -1, 1.5, None])
def test_a_bad_thread_count_is_named(count):
    with (
        pytest.raises(ValueError, match=r"^count must be a whole number of at least 1"),
        device.threads(count),
    ):
        pass


@pytest.mark.parametrize("fast", [1, 2])
def test_the_faster_thread_count_is_found_and_the_old_one_restored(fast):
    def step():
        return sum(range(2_000 if torch.get_num_threads() == fast else 200_000))

    with device.threads(2):
        assert device.fastest_thread_count(step) == fast
        assert torch.get_num_threads() == 2


def test_the_measured_step_is_a_positive_time_and_leaves_no_trace():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    seconds = device.step_seconds(repeats=3)
    assert 0 < seconds < 5
    assert torch.equal(torch.rand(1), expected)


def test_the_report_tells_versions_device_and_speed():
    report = device.environment_report()
    rows = dict(report.rows)
    assert rows["torch"] == torch.__version__
    assert rows["numpy"] == np.__version__
    assert f"{1e3 * report.step_seconds:.1f} ms" in rows["one training step"]
    assert rows["speed"].startswith(f"{report.relative_speed:.1f}x")
    assert report.relative_speed * report.step_seconds == pytest.approx(
        device.REFERENCE_STEP_SECONDS
    )
    lines = str(report).splitlines()
    assert len(lines) == len(report.rows)
    assert all(
        name in line and value in line
        for (name, value), line in zip(rows.items(), lines, strict=True)
    )

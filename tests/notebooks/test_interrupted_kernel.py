"""The stop button of a notebook, as a signal to a real kernel, during what readers train there.

The second that it may take is measured as processor time of the kernel, on which other programs do
not count.
"""

import queue
import re
import time

import psutil
import pytest
from jupyter_client.manager import start_new_kernel

SOON = 1.0
PATIENCE = 120  # seconds until a test gives up: a busy machine is slow
SOME_STEPS = re.compile(r"(?<!\d)[1-9]\d*/1000000")  # of a bar, in a widget or in text

SETUP = """
import threading, time
import torch
from tqdm import tqdm
import teachkit as tk
threads_before = torch.get_num_threads()
series = tk.SeriesForecast(horizon=6)
model = tk.SequenceModel(tk.LSTM(1, 16), 6, seed=0)
def fitted(steps):
    return tk.fit(model, tk.batches(series, 32, seed=0), loss=series.loss,
                  optimizer=torch.optim.Adam(model.parameters()), steps=steps)
"""
# What runs without end, and what has to hold in the next cell. All show a bar once they are begun.
TRAININGS = {
    "fit": (
        "history = fitted(10**6)",
        "history.status == 'interrupted' and len(history.frame) == len(history) > 0",
    ),
    "fit, and then its forecaster": (
        "history = fitted(10**6)",
        "tk.Forecaster(model, series).forecast(series.values).shape == (6,)",
    ),
    "compare": (
        "states = {'zero': {}, 'learned': {'initial_state': 'learned'}}\n"
        "table = tk.compare('digit rows', states, seeds=4, steps=10**6, score_every=5)",
        "table.attrs['status'] == 'interrupted' and len(tk.paired_differences(table, 'zero')) == 1",
    ),
    "compare a stream": (
        "states = {name: {'initial_state': name} for name in ('zero', 'carried')}\n"
        "table = tk.compare(tk.Characters(5), states, stream=True, seeds=4, steps=10**6,\n"
        "                   score_every=10**6, test_size=1000)",
        "table.attrs['status'] == 'interrupted' and table.attrs['steps'] > 0",
    ),
    "replicas": (
        "replicas = tk.Replicas([model for _ in range(8)])\n"
        "x, target = series.batch(32, torch.Generator().manual_seed(0))\n"
        "for _ in tqdm(range(10**6)):\n"
        "    replicas.step(x[None], target[None], series.loss)",
        "replicas.step(x[None], target[None], series.loss).loss.isfinite().all()",
    ),
    "a cell beside a lab that trains": (
        "lab = tk.labs.spectral_radius(seq_len=100)\nlab.widget; lab.train()\n"
        "for _ in tqdm(range(10**6)):\n    time.sleep(0.01)",
        "lab.worker.is_alive() and not lab.stop() and not lab.worker.is_alive() "
        "and 'stopped after' in lab.estimate.value and lab.error is lab.training_error is None",
    ),
}
CLEAN = (
    "assert torch.get_num_threads() == threads_before\n"
    "assert not list(getattr(tqdm, '_instances', []))"
)


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(startup_timeout=PATIENCE)
    try:
        assert run(client, SETUP) == "ok"
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client, code):
    """Run a cell to its end; returns its status, with the error's name and text."""
    reply = client.execute_interactive(
        code, timeout=PATIENCE, output_hook=lambda _: None, store_history=False
    )["content"]
    return " ".join([reply["status"], reply.get("ename", ""), reply.get("evalue", "")]).strip()


def wait_for(client, cell, *, bar):
    """Wait until the bar of a cell shows a step or more, or until the cell is done."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            message = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") != cell:
            continue
        kind, content = message["msg_type"], message["content"]
        if bar and SOME_STEPS.search(str(content)):
            return
        if kind == "status" and content["execution_state"] == "idle":
            assert not bar, "the training ended before it was interrupted"
            return
    raise TimeoutError(f"{PATIENCE} s")


@pytest.mark.parametrize("name", TRAININGS)
def test_a_kernel_is_usable_soon_and_keeps_what_was_done(kernel, name):
    manager, client = kernel
    training, check = TRAININGS[name]
    process = psutil.Process(manager.provisioner.pid)

    def seconds():
        used = process.cpu_times()
        return used.user + used.system

    cell = client.execute(training)
    wait_for(client, cell, bar=True)
    time.sleep(0.3)  # into the training
    begun = seconds()
    manager.interrupt_kernel()
    wait_for(client, cell, bar=False)
    assert run(client, "assert 1 + 1 == 2") == "ok"
    assert seconds() - begun < SOON
    assert run(client, f"assert {check}") == "ok"
    assert run(client, CLEAN) == "ok"

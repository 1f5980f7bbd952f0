"""The Keras 3 on PyTorch that replicas are compared with, in a process of its own (see `peers`)."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np

from benchmarks.peers import serve

BATCHES = 10  # in a call of fit, as one turn
LAYERS = {"LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU, "RNN": keras.layers.SimpleRNN}


class Session:
    """One model at a time, trained by `fit`."""

    def __init__(self) -> None:
        self.model: Any = None
        self.data: Any = None
        self.batch = 0

    def prepare(self, kind: str, sizes: list[int]) -> dict[str, Any]:
        """Make a model and its data, and train once, which builds what has to be built."""
        width, hidden, steps, self.batch = sizes
        layers = [keras.Input((steps, width)), LAYERS[kind](hidden), keras.layers.Dense(1)]
        self.model = keras.Sequential(layers)
        self.model.compile("adam", "mse")
        random, rows = np.random.default_rng(0), BATCHES * self.batch
        shapes = (rows, steps, width), (rows, 1)
        self.data = [random.normal(size=shape).astype("float32") for shape in shapes]
        return self.turn()

    def turn(self) -> dict[str, Any]:
        """Train by some batches; milliseconds a step, by the wall's clock and the processor's."""
        wall, processor = time.perf_counter(), time.process_time()
        self.model.fit(*self.data, batch_size=self.batch, shuffle=False, verbose=0)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        return {"wall": 1e3 * wall / BATCHES, "processor": 1e3 * processor / BATCHES}


if __name__ == "__main__":
    session = Session()
    serve({"prepare": session.prepare, "turn": session.turn})

"""Each check: open on `...`, right on right answers, and the hint that is meant for a wrong one."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import teachkit as tk
from teachkit.exercises import Checks, Feedback, check
from tests import clipping_answers, forecasting_answers
from tests.clipping_answers import Given

EXERCISES = [name for name in vars(Checks) if not name.startswith("_")]
LEARNED = torch.tensor(0.125, requires_grad=True)


def scaled_by(radius):
    return lambda W, rho: W * rho / radius(W)


# Chapter 01: the biases of Keras. The layers of the check have hidden_size 5.


def forget_like_keras(lstm):
    H = lstm.hidden_size
    with torch.no_grad():
        for k in range(lstm.num_layers):
            ih, hh = getattr(lstm, f"bias_ih_l{k}"), getattr(lstm, f"bias_hh_l{k}")
            ih.zero_()
            hh.zero_()
            ih[H : 2 * H] = 1.0


def by_name(lstm):
    for name, p in lstm.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(p)
        if name.startswith("bias_hh"):
            p.data[lstm.hidden_size : 2 * lstm.hidden_size] = 1.0
    return lstm


def halves(lstm):
    """Half of the 1 in each vector, in new parameters."""
    for name, p in list(lstm.named_parameters()):
        if name.startswith("bias"):
            b = torch.zeros_like(p)
            b.chunk(4)[1].fill_(0.5)
            setattr(lstm, name, nn.Parameter(b))


def biases(*, ih=None, hh=None, zero=True, layers=None):
    """A way to fill the biases: {slice of quarters: value} for each of the two vectors."""

    def fill(lstm):
        with torch.no_grad():
            for k in range(layers or lstm.num_layers):
                for name, values in (("bias_ih", ih), ("bias_hh", hh)):
                    vector = getattr(lstm, f"{name}_l{k}")
                    if zero is True or zero == name:
                        vector.zero_()
                    for quarter, value in (values or {}).items():
                        vector.chunk(4)[quarter].fill_(value)

    return fill


def then(fill, more):
    def both(lstm, *rest):
        fill(lstm, *rest)
        with torch.no_grad():
            more(lstm)

    return both


def add_one(lstm):
    with torch.no_grad():
        lstm.bias_ih_l0[5:10] += 1.0


def noise_in_the_second_layer(lstm):
    biases(ih={1: 1}, zero=False)(lstm)
    biases(ih={1: 1}, layers=1)(lstm)


# Chapter 01: the weights of TensorFlow 1.


def from_tf1(kernel, bias, input_size):
    i, j, f, o = kernel.chunk(4, dim=1)
    W = torch.cat([i, f, j, o], dim=1).T
    i, j, f, o = bias.chunk(4)
    return W[:, :input_size], W[:, input_size:], torch.cat([i, f + 1.0, j, o])


def from_tf1_in_numpy(kernel, bias, input_size):
    rows = np.arange(kernel.shape[1]).reshape(4, -1)[[0, 2, 1, 3]].ravel()
    bias = bias.numpy()[rows]
    bias[len(bias) // 4 : len(bias) // 2] += 1
    W = kernel.numpy().astype(np.float32).T[rows]
    return [W[:, :input_size], W[:, input_size:], bias.tolist()]


def tf1(order=(0, 2, 1, 3), *, bias_order=None, add=((1, 1.0),), swap=False, how=None):
    """A converter with mistakes: order of gates, {gate in torch's order: what is added}, ..."""

    def convert(kernel, bias, input_size):
        columns = kernel.chunk(4, dim=1)
        W = torch.cat([columns[k] for k in order], dim=1)
        b = torch.cat([bias.chunk(4)[k] for k in (bias_order or order)])
        for gate, value in add:
            b.chunk(4)[gate].add_(value)
        if how == "as is":
            return W[:input_size], W[input_size:], b
        W = W.reshape(W.shape[1], -1) if how == "reshape" else W.T
        if swap == "rows":
            n = W.shape[1] - input_size
            return W[:, n:], W[:, :n], b
        parts = (W[:, :input_size], W[:, input_size:], b)
        return (parts[1], parts[0], b) if swap == "returned" else parts

    return convert


# Chapter 02.


def orthogonal_gates(lstm):
    for W in lstm.weight_hh_l0.chunk(4):
        nn.init.orthogonal_(W)


def orthogonal_by_qr(lstm):
    H = lstm.hidden_size
    with torch.no_grad():
        for k in range(4):
            lstm.weight_hh_l0[k * H : (k + 1) * H] = torch.linalg.qr(torch.randn(H, H)).Q
    return lstm


def each_gate(write):
    def fill(lstm):
        with torch.no_grad():
            for k, W in enumerate(lstm.weight_hh_l0.chunk(4)):
                write(k, W)

    return fill


def four_times_one(lstm):
    Q = nn.init.orthogonal_(torch.empty(lstm.hidden_size, lstm.hidden_size))
    lstm.weight_hh_l0.data.copy_(Q.repeat(4, 1))


def chrono_biases(hidden_size, max_steps):
    forget_bias = torch.empty(hidden_size).uniform_(1, max_steps - 1).log()
    return -forget_bias, forget_bias


def chrono_in_numpy(hidden_size, max_steps):
    forget_bias = np.log(1 + (max_steps - 2) * np.random.rand(hidden_size))  # noqa: NPY002
    return [(-forget_bias).tolist(), forget_bias]


def chrono(draw, *, opposite=torch.neg):
    def biases(hidden_size, max_steps):
        forget_bias = draw(hidden_size, max_steps)
        return opposite(forget_bias), forget_bias

    return biases


def by_scaling(n, T):
    return (torch.rand(n) * (T - 2) + 1).log()


def uniform(low, high):
    """Draw from U(low(T), high(T))."""
    return lambda n, T: torch.empty(n).uniform_(low(T), high(T))


def remember(gru, bias):
    H = gru.hidden_size
    with torch.no_grad():
        gru.bias_ih_l0[H : 2 * H] = bias
        gru.bias_hh_l0[H : 2 * H] = 0.0


def remember_and_zero(gru, bias):
    for name in ("bias_ih_l0", "bias_hh_l0"):
        getattr(gru, name).data.zero_()
    gru.bias_hh_l0.data[gru.hidden_size : 2 * gru.hidden_size] = bias
    return gru


def gru_rows(low, high, *, ih=1.0, hh=0.0):
    """Write multiples of the bias to rows low * H to high * H of the two vectors."""

    def fill(gru, bias):
        H = gru.hidden_size
        with torch.no_grad():
            for vector, factor in ((gru.bias_ih_l0, ih), (gru.bias_hh_l0, hh)):
                if factor is not None:
                    vector[int(low * H) : int(high * H)] = factor * bias

    return fill


def added(gru, bias):
    with torch.no_grad():
        gru.bias_ih_l0.chunk(3)[1].add_(bias)


# Chapter 03.


def batch_size(x, batch_first):
    return x.size(0) if batch_first else x.size(1)


def learned_start(h0, c0, x, batch_first):
    B = batch_size(x, batch_first)
    return h0.expand(1, B, -1).contiguous(), c0.expand(1, B, -1).contiguous()


def start(change=lambda state, x: state, *, size=batch_size):
    """A learned start with one mistake: in what becomes of each state, or in the batch size."""

    def states(h0, c0, x, batch_first):
        B = size(x, batch_first)
        return tuple(change(state.expand(1, B, -1), x) for state in (h0, c0))

    return states


def after(change):
    """A learned start, and what `change` makes of the right h and c."""
    return lambda *given: change(*learned_start(*given))


def one_row_learns(state, x):
    return torch.cat([state[:, :1], state[:, 1:].detach()], 1)


def state_groups(model):
    states = [p for name, p in model.named_parameters() if name.split(".")[-1] in ("h0", "c0")]
    rest = [p for name, p in model.named_parameters() if name.split(".")[-1] not in ("h0", "c0")]
    return [{"params": rest}, {"params": states, "lr": 1e-2, "weight_decay": 0.0}]


def state_groups_by_type(model):
    states: dict[int, nn.Parameter] = {}
    for module in model.modules():
        if isinstance(module, tk.LSTM):
            states |= {id(p): p for name, p in module.named_parameters() if name in ("h0", "c0")}
    rest = (p for p in model.parameters() if id(p) not in states)
    faster = {"params": [*states.values()], "lr": 10 * 1e-3, "weight_decay": 0}
    return faster, {"params": rest, "lr": 1e-3, "weight_decay": 0.1}


def groups_of_one(model):
    """A group for each parameter, as a pair with its name."""
    faster = {"lr": 1e-2, "weight_decay": 0.0}
    return [
        {"params": [(name, p)], **(faster if name.split(".")[-1] in ("h0", "c0") else {})}
        for name, p in model.named_parameters()
    ]


def groups(which=None, rest=None, **settings):
    """Groups with a mistake: which names are states, and the settings of both groups."""
    settings = settings or {"lr": 1e-2, "weight_decay": 0.0}

    def split(model):
        parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, p in model.named_parameters():
            found = which(name) if which else name.split(".")[-1] in ("h0", "c0")
            parts[found].append(p)
        return [{"params": parts[False], **(rest or {})}, {"params": parts[True], **settings}]

    return split


def rms(gradients):
    return gradients.square().mean(0).sqrt()


def noise_std(gradients):
    size = rms(gradients)
    return 0.3 * size / size.max() if size.any() else size


def noise_std_in_numpy(gradients):
    norm = np.linalg.norm(gradients.numpy(), axis=0)
    return (0.3 * norm / max(norm.max(), 1e-30)).tolist()


def spread(measure):
    """The std that follows another measure of the gradients, with 0.3 for the largest."""
    return lambda g: torch.nan_to_num(0.3 * measure(g) / measure(g).abs().max())


def without_no_grad(layer, *_):
    layer.bias_ih_l0[5:10] = 1.0


def assigned(layer, *_):
    layer.bias_ih_l0 = torch.zeros(20)


def replaced(layer, *_):
    layer.bias_ih_l0 = nn.Parameter(torch.zeros(3))


def removed(layer, *_):
    del layer.bias_ih_l0


def frozen(layer, *rest):
    remember(layer, *rest) if rest else forget_like_keras(layer)
    layer.bias_ih_l0.requires_grad_(False)


def of_a_copy(fill):
    def on_copy(layer, *rest):
        layer = copy.deepcopy(layer)
        fill(layer, *rest)
        return layer

    return on_copy


def poisoned(layer, *_):
    nn.init.constant_(layer.bias_hh_l0, math.nan)


RIGHT: dict[str, list[Any]] = {
    "half_after_50": [0.5 ** (1 / 50), "0.986", torch.tensor(0.986), [0.986], np.float32(0.986)],
    "default_bound": [0.125, "0.125", 1 / 64**0.5, np.array([0.125]), [LEARNED]],
    "forget_like_keras": [
        forget_like_keras,
        by_name,
        halves,
        lambda lstm: (forget_like_keras(lstm), ...)[1],  # the stub's own return is left
    ],
    "from_tf1": [from_tf1, from_tf1_in_numpy, tf1()],
    "he_std": [math.sqrt(2 / 256), 0.0884, "0.0884", [0.088], torch.tensor(2 / 256).sqrt()],
    "orthogonal_gates": [orthogonal_gates, orthogonal_by_qr],
    "chrono": [
        chrono_biases,
        chrono_in_numpy,
        chrono(lambda n, T: (torch.rand(n) * (T - 2) + 1).log()),
    ],
    "remember_gru": [remember, remember_and_zero, gru_rows(1, 2, ih=0.5, hh=0.5)],
    "state_size": [100, "100", 100.0, [100], torch.tensor(2 * 2 * (5 + 20))],
    "learned_start": [
        learned_start,
        start(),  # not contiguous, which is good enough on the CPU
        start(lambda state, x: state[:, 0].repeat(state.shape[1], 1)[None]),
        start(lambda state, x: x.new_zeros(1, state.shape[1], 5) + state),
        after(lambda h, c: [h, c]),
    ],
    "noise_std": [
        noise_std,
        noise_std_in_numpy,
        spread(rms),
        lambda g: 0.3 * rms(g) / (rms(g).max() + 1e-12),
        lambda g: 0.3 * g.norm(dim=0) / g.norm(dim=0).max().clamp_min(1e-20),
    ],
    "spot_the_bugs": [
        {8, 12, 19},
        [19, 8, 12, 8],
        (8.0, 12, 19),
        torch.tensor([8, 12, 19]),
        [torch.tensor(8), np.int64(12), 19],
    ],
    "state_groups": [
        state_groups,
        state_groups_by_type,
        groups(),
        lambda model: tk.parameter_groups(model, state_lr=1e-2),
        groups_of_one,
    ],
    "rescale": [
        scaled_by(lambda W: torch.linalg.eigvals(W).abs().max()),
        lambda W, rho: (W * rho / torch.linalg.eigvals(W).abs().max()).float(),
    ],
    "hidden_growth": [
        [[0.5, 20.0], [0.0, 0.5]],
        torch.tensor([[0.5, 0.0], [30.0, 0.5]]),
        [[20.5, 20.0], [-20.0, -19.5]],
    ],
    "exploding_sigmoid": [16, 20.0, 30],
    "horizon_100": [math.log(99), 4.6],
}
# (answer, words of the hint that is meant for it)
BROKEN = [  # a function that should have changed a layer, and did not do it well
    (without_no_grad, "inside `with torch.no_grad():`"),
    (assigned, "Write into the parameter that is there"),
    (replaced, "had shape"),
    (removed, "no longer a parameter"),
    (frozen, "no longer requires a gradient"),
    (poisoned, "NaN or infinity"),
    (lambda layer, *_: layer.bias_ih_l0 + 1, "returning them is too late"),
    (lambda layer, *_: 1 / 0, "raised ZeroDivisionError"),
    (lambda layer, *_: layer.no_such_name, "raised AttributeError"),
    (lambda: None, "raised TypeError"),
    (nn.LSTM(2, 2), "raised"),
    (1.0, "A function of"),
    (None, "A function of"),
]
WRONG: dict[str, list[tuple[Any, str]]] = {
    "default_bound": [
        (1 / 64, "the root is missing"),
        (8, "one over it"),
        (1 / math.sqrt(10), "sqrt(input_size)"),
        ("0.316", "sqrt(input_size)"),
        (1 / math.sqrt(74), "only one of them counts"),
        (1 / math.sqrt(256), "4 * hidden_size"),
        (math.sqrt(6 / 74), "Glorot"),
        (0.137, "Glorot"),
        (math.sqrt(6 / 330), "Glorot"),
        (0.125 / math.sqrt(3), "standard deviation"),
        (0.0722, "standard deviation"),
        (-0.125, "lower end"),
        (0.2, "100 % lie between"),
        (0.03, "lie between -0.03 and 0.03"),
        (0, "positive number"),
        (1e9, "up to 100"),
        (-0.2, "between -0.2 and 0.2"),
        ([1, 2], "single finite number"),
        (torch.zeros(3), "single finite number"),
        (1j, "single finite number"),
        (10**400, "single finite number"),
        (None, "single finite number"),
    ],
    "forget_like_keras": [
        (biases(ih={1: 1}, hh={1: 1}), "1 in both of them makes 2"),
        (biases(ih={1: 1}, hh={1: 1}, zero=False), "1 in both of them makes 2"),
        (biases(ih={1: 1}, zero=False), "still holds drawn numbers"),
        (biases(hh={1: 1}, zero="bias_hh"), "still holds drawn numbers"),
        (biases(ih={2: 1}), "third quarter"),
        (biases(ih={2: 1}, hh={2: 1}, zero=False), "third quarter"),
        (biases(ih={3: 1}), "1 to the output gate"),
        (biases(ih={0: 1}, zero="bias_ih"), "1 to the input gate"),
        (biases(ih=dict.fromkeys(range(4), 1)), "1 for every gate"),
        (biases(ih=dict.fromkeys(range(4), 1), zero=False), "1 for every gate"),
        (biases(ih=dict.fromkeys(range(4), 1), hh=dict.fromkeys(range(4), 1)), "makes 2"),
        (biases(ih={1: 1}, hh={1: 0}, zero=False), "yours are not 0"),
        (biases(ih={1: 1, 3: 0.5}), "yours are not 0"),
        (biases(), "All are 0"),
        (biases(ih={1: 3}), "lies between 3.000 and 3.000"),
        (add_one, "added 1 to what was drawn"),
        (biases(ih={1: 1}, layers=1), "bias_ih_l1 and bias_hh_l1 stay as drawn"),
        (noise_in_the_second_layer, "but not in bias_ih_l1"),
        (then(forget_like_keras, lambda m: m.weight_hh_l0.zero_()), "changed weight_hh_l0"),
        (of_a_copy(forget_like_keras), "another layer"),
        *BROKEN,
    ],
    "from_tf1": [
        (tf1((0, 1, 2, 3), add=((2, 1.0),)), "in the order i, j, f, o"),
        (tf1((0, 1, 2, 3), add=()), "in the order i, j, f, o"),
        (tf1((0, 2, 3, 1)), "in the order i, f, o, j"),
        (tf1(how="as is"), "transpose, so that weight_ih has shape"),
        (tf1((0, 1, 2, 3), how="as is"), "transpose, so that weight_ih has shape"),
        (tf1(how="reshape"), "reshape does not transpose"),
        (tf1(add=()), "in no variable"),
        (tf1(swap="rows"), "first input_size rows"),
        (tf1((0, 1, 2, 3), swap="rows"), "first input_size rows"),
        (tf1(swap="returned"), "weight_ih and weight_hh are exchanged"),
        (tf1(bias_order=(0, 1, 2, 3), add=()), "the bias still in TensorFlow's"),
        (tf1(bias_order=(0, 1, 2, 3), add=((2, 1.0),)), "the bias still in TensorFlow's"),
        (tf1(add=((2, 1.0),)), "went to gate g"),
        (tf1(add=tuple((k, 1.0) for k in range(4))), "1 for every gate"),
        (tf1(add=((1, 2.0),)), "needs 1 more than the checkpoint has, once"),
        (tf1(add=((1, -1.0),)), "needs 1 more than the checkpoint has, once"),
        (tf1(add=((1, 1.0), (3, 0.3))), "come to differ by"),
        (lambda k, b, n: tuple(2 * p for p in tf1()(k, b, n)), "other numbers"),
        (lambda k, b, n: tf1()(k, b, n)[:2], "Return three tensors"),
        (lambda k, b, n: k, "Return three tensors"),
        (lambda k, b, n: ("a", "b", "c"), "Return three tensors"),
        (lambda k, b, n: (k, k, b), "the shapes must be (20, 3), (20, 5) and (20,)"),
        (lambda k, b, n: (*tf1()(k, b, n)[:2], b * math.nan), "NaN"),
        (lambda k, b, n: torch.from_numpy(k), "torch tensors already"),
        (lambda k, b: (k, k, b), "raised TypeError"),
        ("kernel", "A function of (kernel, bias, input_size)"),
    ],
    "he_std": [
        (2 / 256, "the variance"),
        (0.0078, "the variance"),
        (1 / 16, "half that ReLU switches off"),
        (math.sqrt(2 / 512), "Glorot"),
        (math.sqrt(6 / 256), "bound of the uniform"),
        (math.sqrt(2) / 256, "root of the whole fraction"),
        (math.sqrt(128), "upside down"),
        (2 / 16, "under the root"),
        (0.1, "n_in * std^2 / 2 equal to 1"),
        (1e-300, "n_in * std^2 / 2 equal to 1"),
        (100, "n_in * std^2 / 2 equal to 1"),
        (0, "positive number"),
        (-0.0884, "positive number"),
        (1e6, "positive number"),
        ("two", "single finite number"),
    ],
    "orthogonal_gates": [
        (lambda lstm: nn.init.orthogonal_(lstm.weight_hh_l0), "as a whole"),
        (lambda lstm: nn.init.orthogonal_(lstm.weight_hh_l0, 2.0), "as a whole"),
        (each_gate(lambda k, W: nn.init.orthogonal_(W) if k == 0 else 0), "only input got"),
        (
            each_gate(lambda k, W: nn.init.orthogonal_(W) if k < 3 else 0),
            "forget and cell got",
        ),
        (each_gate(lambda k, W: nn.init.orthogonal_(W, 0.5)), "do not have length 1"),
        (each_gate(lambda k, W: W.copy_(torch.eye(16))), "share one matrix"),
        (four_times_one, "share one matrix"),
        (each_gate(lambda k, W: nn.init.xavier_uniform_(W)), "not the identity"),
        (each_gate(lambda k, W: W.zero_()), "not the identity"),
        (
            then(orthogonal_gates, lambda m: nn.init.orthogonal_(m.weight_ih_l0)),
            "changed weight_ih_l0",
        ),
        (then(orthogonal_gates, lambda m: m.bias_ih_l0.zero_()), "changed bias_ih_l0"),
        (of_a_copy(orthogonal_gates), "another layer"),
        *(entry for entry in BROKEN if entry[0] not in (assigned, frozen)),
    ],
    "chrono": [
        (chrono(lambda n, T: torch.rand(n) * math.log(T - 1)), "biases are uniform"),
        (chrono(lambda n, T: torch.rand(n) * math.log(T)), "biases are uniform"),
        (chrono(lambda n, T: torch.full((n,), math.log(T - 1))), "bias of the longest memory"),
        (chrono(lambda n, T: torch.full((n,), math.log(T))), "bias of the longest memory"),
        (chrono(lambda n, T: torch.ones(n)), "Every unit has the same"),
        (chrono(lambda n, T: (torch.rand(1) * 3 + 1).log().expand(n)), "Every unit has the same"),
        (lambda n, T: (chrono_biases(n, T)[1],) * 2, "sign of the forget bias"),
        (lambda n, T: (chrono_biases(n, T)[0], chrono_biases(n, T)[1]), "same draw"),
        (lambda n, T: (torch.zeros(n), chrono_biases(n, T)[1]), "minus the forget bias"),
        (lambda n, T: chrono_biases(n, T)[::-1], "exchanged"),
        (lambda n, T: (chrono_biases(n, T)[0],) * 2, "sign is wrong"),
        (chrono(lambda n, T: uniform(lambda T: 1, lambda T: T)(n, T).log()), "one step too long"),
        (chrono(lambda n, T: uniform(lambda T: 0, lambda T: T)(n, T).log()), "log 0"),
        (chrono(lambda n, T: uniform(lambda T: 0, lambda T: T - 1)(n, T).log()), "log 0"),
        (chrono(lambda n, T: torch.randint(0, T, (n,)).log()), "log 0"),
        (chrono(lambda n, T: torch.randint(1, T, (n,)).log()), "always a whole number"),
        (chrono(uniform(lambda T: 1, lambda T: T - 1)), "take"),
        (chrono(uniform(lambda T: 0, lambda T: T)), "their logarithm"),
        (chrono(lambda n, T: torch.randn(n)), "spread evenly from 2 to 12"),
        (chrono(lambda n, T: uniform(lambda T: 1, lambda T: 11)(n, T).log()), "from 2 to 100"),
        (chrono(lambda n, T: torch.full((n,), math.nan)), "contain NaN"),
        (lambda n, T: chrono_biases(4 * n, T), "(hidden_size,)"),
        (lambda n, T: chrono_biases(n, T)[0], "(hidden_size,)"),
        (lambda n, T: 1 / 0, "raised ZeroDivisionError"),
        (50, "A function of (hidden_size, max_steps)"),
    ],
    "remember_gru": [
        (gru_rows(1, 2, ih=-1.0), "sign is that of Haiku"),
        (gru_rows(1, 2, ih=-1.0, hh=None), "sign is that of Haiku"),
        (gru_rows(1, 2, ih=-1.0, hh=-1.0), "sign is that of Haiku"),
        (gru_rows(1, 2, ih=-1.0, hh=-1.0), "counts twice"),
        (gru_rows(1, 2, hh=1.0), "counts twice"),
        (gru_rows(0, 1), "That is the reset gate"),
        (gru_rows(0, 1, hh=None), "That is the reset gate"),
        (gru_rows(0, 1, ih=-1.0), "That is the reset gate"),
        (gru_rows(2, 3), "bias of the new state"),
        (gru_rows(0.75, 1.5), "cut its rows into thirds"),
        (gru_rows(0, 3), "for every gate"),
        (gru_rows(0, 2), "also wrote to the reset gate"),
        (gru_rows(1, 3), "also wrote to the new gate"),
        (gru_rows(1, 2, hh=None), "PyTorch adds the other"),
        (added, "added the bias to what was drawn"),
        (gru_rows(1, 2, ih=0.1), "lies between 0.500 and 0.500, not at 5"),
        (lambda gru, bias: remember(gru, 5.0), "for a bias of 5 only"),
        (then(remember, lambda m: m.weight_ih_l0.zero_()), "changed weight_ih_l0"),
        (of_a_copy(remember), "another layer"),
        *BROKEN,
    ],
    "state_size": [
        (160, "proj_size is forgotten"),
        (50, "4 rows, not 2"),
        ("25", "That is one row"),
        (40, "only h 5 wide"),
        (80, "c0 alone"),
        (20, "h0 alone"),
        (99, "Not 99. Count the rows"),
        (200, "Not 200"),
        (100.5, "positive whole number"),
        (0, "positive whole number"),
        (-100, "positive whole number"),
        (1e9, "positive whole number"),
        ((4, 5), "single finite number"),
        (1j, "single finite number"),
    ],
    "learned_start": [
        (start(size=lambda x, batch_first: x.size(1)), "number of steps"),
        (start(size=lambda x, batch_first: x.size(1)), "With batch_first=True and x of"),
        (start(size=lambda x, batch_first: x.size(0)), "With batch_first=False and x of"),
        (start(size=lambda x, batch_first: min(x.shape[:2])), "must have shape (1, 6, 5)"),
        (start(size=lambda x, batch_first: max(x.shape[:2])), "must have shape (1, 3, 5)"),
        (lambda h0, c0, x, batch_first: (h0, c0), "Repeat it for each sequence"),
        (start(lambda state, x: state.transpose(0, 1)), "but never the states"),
        (start(lambda state, x: state[0]), "counts layers and directions"),
        (lambda h0, c0, x, batch_first: (h0[0, 0], c0[0, 0]), "counts layers and directions"),
        (start(lambda state, x: state[..., :4]), "but has (1, 3, 4)"),
        (start(lambda state, x: state.double()), "h is torch.float64"),
        (start(lambda state, x: state.detach()), "no gradient reaches h0 and c0"),
        (start(lambda state, x: torch.tensor(state.tolist())), "no gradient reaches h0 and c0"),
        (after(lambda h, c: (h.detach(), c)), "no gradient reaches h0. Leave out"),
        (start(lambda state, x: nn.Parameter(state)), "You made new tensors"),
        (start(lambda state, x: state.clone().detach().requires_grad_()), "You made new tensors"),
        (start(one_row_learns), "should be the sum over the batch"),
        (after(lambda h, c: (c, h)), "h and c are exchanged"),
        (after(lambda h, c: (h, h)), "Both are h0"),
        (after(lambda h, c: (c, c)), "Both are c0"),
        (start(lambda state, x: 0 * state), "They are 0"),
        (start(lambda state, x: state + 0.3 * torch.randn(state.shape)), "Each row of h should"),
        (after(lambda h, c: (h, 2 * c)), "h is right, but c"),
        (after(lambda h, c: (-h, c)), "c is right, but h"),
        (after(lambda h, c: torch.stack((h, c))), "Return two tensors"),
        (after(lambda h, c: h), "Return two tensors"),
        (lambda h0, c0, x, batch_first: (h0.tolist(), c0), "Return two tensors"),
        (lambda h0, c0, x: (h0, c0), "raised TypeError"),
        (100, "A function of (h0, c0, x, batch_first)"),
    ],
    "noise_std": [
        (rms, "the root mean squares as they are"),
        (lambda g: 0.3 * rms(g), "so small that it does nothing"),
        (lambda g: rms(g) / rms(g).max(), "The largest is 1"),
        (lambda g: 0.3 * rms(g) / rms(g).sum(), "Divide by the largest of the units"),
        (lambda g: 0.3 * rms(g) / g.abs().max(), "Divide by the largest of the units"),
        (lambda g: 0.3 * rms(g) / (rms(g).max() + 1e-6), "avoid a division by 0 is too large"),
        (lambda g: 0.3 * rms(g) / rms(g).max().clamp(1e-30, 1e-3), "million times as large"),
        (spread(lambda g: g.mean(0)), "opposite sign cancel"),
        (spread(lambda g: g.mean(0).abs()), "opposite sign cancel"),
        (spread(lambda g: g.sum(0).abs()), "opposite sign cancel"),
        (lambda g: g.sum(0), "opposite sign cancel"),
        (spread(lambda g: g.std(0)), "takes the mean away"),
        (spread(lambda g: g.std(0, correction=0)), "takes the mean away"),
        (spread(lambda g: g.abs().mean(0)), "mean of the absolute values"),
        (spread(lambda g: g.abs().amax(0)), "One sequence decides"),
        (spread(lambda g: g.square().mean(0)), "root is missing"),
        (spread(lambda g: rms(g / g.norm(dim=1, keepdim=True))), "divided each sequence"),
        (lambda g: 0.3 * rms(g / g.abs().amax(1, keepdim=True)), "divided each sequence"),
        (lambda g: 0.3 * rms(g) / rms(g), "Every unit has the same"),
        (lambda g: torch.full(g.shape[1:], 0.3), "Every unit has the same"),
        (lambda g: 0.3 * torch.rand(g.shape[1]), "not proportional"),
        (lambda g: 0.3 * rms(g) / rms(g).max(), "0 / 0"),
        (lambda g: noise_std(g) if g.any() else torch.full(g.shape[1:], 0.3), "so should be the"),
        (lambda g: g.square().mean(1).sqrt(), "one a sequence"),
        (lambda g: g.square().mean().sqrt(), "one for all units"),
        (lambda g: 0.3 * g / g.abs().max(), "over dimension 0"),
        (lambda g: 0.3 * g.norm(dim=0, keepdim=True) / g.norm(), "keepdim"),
        (lambda g: noise_std(g)[:3], "shape (6,)"),
        (lambda g: noise_std(g) / 0, "NaN or infinity"),
        (lambda g: "0.3", "shape (6,)"),
        (lambda: 0.3, "raised TypeError"),
        (0.3, "A function of (gradients)"),
    ],
    "spot_the_bugs": [
        ({12, 19}, "2 of the 3 bugs found. Which dimension of x"),
        ({8, 19}, "Follow h0 through"),
        ({8, 12}, "What order have the two states"),
        (8, "1 of the 3 bugs found. Follow h0"),
        (range(1, 20), "Line 1 is right, take it out: it does what it should"),
        ({8, 12, 19, 3}, "batch_first is for whoever calls"),
        ({8, 12, 19, 4}, "nn.LSTM drew its weights before"),
        ({8, 12, 19, 5}, "One row is enough"),
        ({8, 12, 19, 6}, "None if there are none"),
        ({8, 12, 19, 7}, "What does this caller pass"),
        ({8, 12, 19, 9}, "adds up the gradients of the batch"),
        ({8, 12, 19, 10}, "as a pair (h, c)"),
        ({8, 12, 19, 14}, "returns its final states as (h, c)"),
        ({8, 12, 19, 15}, "also with batch_first"),
        ({8, 12, 19, 16}, "anywhere before backward()"),
        ({8, 12, 19, 18}, "Line 18 is right, take it out: it does"),
        ({8, 12, 20}, "from 1 to 19"),
        ({0}, "from 1 to 19"),
        ({8.5}, "A set of line numbers"),
        ({8, 8.5, 12, 19}, "A set of line numbers"),
        (torch.tensor([8, 8.5, 12, 19]), "A set of line numbers"),
        ({True, 8, 12, 19}, "A set of line numbers"),
        (True, "A set of line numbers"),
        ([np.True_, 8], "A set of line numbers"),
        ([torch.tensor(True), 8], "A set of line numbers"),
        ([torch.tensor([8, 12]), 19], "A set of line numbers"),
        (set(), "A set of line numbers"),
        ("8, 12, 19", "A set of line numbers"),
        ({"a"}, "A set of line numbers"),
        ({math.nan}, "A set of line numbers"),
    ],
    "state_groups": [
        (groups(lambda n: "h0" in n or "c0" in n), "path0, branch0.weight, branch0.bias: no"),
        (groups(lambda n: n.endswith(("h0", "c0"))), "path0: no initial state"),
        (groups(lambda n: n in ("lstm.h0", "lstm.c0")), "One setting for all"),
        (groups(lambda n: n.split(".")[-1] == "h0"), "Weight decay still acts on lstm.c0"),
        (groups(lambda n: n.split(".")[-1] not in ("h0", "c0")), "The groups are exchanged"),
        (groups(lr=1e-2), "acts on lstm.h0, lstm.c0"),
        (groups(lr=1e-2, decay=0.0), "AdamW does not know 'decay'"),
        (groups(weight_decay=0.0), "the learning rate is still 0.001"),
        (groups(lr=10, weight_decay=0.0), "a rate of 10"),
        (groups(lr=0.1, weight_decay=0.0), "The states learn at 0.1"),
        (groups(lr=1e-4, weight_decay=0.0), "The states learn at 0.0001"),
        (groups(rest={"weight_decay": 0.0}), "must keep its weight decay"),
        (groups(rest={"lr": 1e-2}), "give 'lr' to the states alone"),
        (groups(lr=-1.0, weight_decay=0.0), "'lr' must be a number of at least 0"),
        (groups(lr="fast", weight_decay=0.0), "'lr' must be a number of at least 0"),
        (groups(lr=math.nan, weight_decay=0.0), "'lr' must be a number of at least 0"),
        (groups(weight_decay=None, lr=1e-2), "'weight_decay' must be a number"),
        (groups(lambda n: False), "One setting for all"),
        (lambda model: [{"params": model.parameters()}], "One setting for all"),
        (lambda model: model.parameters(), "parameters without groups"),
        (lambda model: [*model.parameters()], "parameters without groups"),
        (lambda model: {"params": [*model.parameters()]}, "Return a list of dicts"),
        (lambda model: torch.optim.AdamW(state_groups(model)), "Return the groups"),
        (lambda model: state_groups(model)[1:], "in no group: path0, lstm.weight_ih_l0"),
        (lambda model: state_groups(model)[:1], "in no group: lstm.h0, lstm.c0"),
        (
            lambda model: [{"params": model.parameters()}, state_groups(model)[1]],
            "Twice: lstm.h0, lstm.c0",
        ),
        (
            lambda model: [*state_groups(model), {"params": [nn.Parameter(torch.zeros(2))]}],
            "no parameters of the model",
        ),
        (
            lambda model: [
                {"params": [p], "lr": 1e-2 if name == "lstm.h0" else 1e-1, "weight_decay": 0.0}
                if name in ("lstm.h0", "lstm.c0")
                else {"params": [p]}
                for name, p in model.named_parameters()
            ],
            "learn at different rates",
        ),
        (lambda model: [{"params": ["lstm.h0"]}], "Return a list of dicts"),
        (lambda model: [{"params": "lstm.h0"}], "Return a list of dicts"),
        (lambda model: [{"lr": 1e-2}], "Return a list of dicts"),
        (lambda model: [], "Return a list of dicts"),
        (lambda model: model, "Return a list of dicts"),
        (lambda model: 1 / 0, "raised ZeroDivisionError"),
        (1e-2, "A function of (model)"),
    ],
    "half_after_50": [
        (0.5, "halves it at every step"),
        (0.99, "compounds"),
        (1.0, "Solve rho^50 = 0.5"),
        (-1, "from 0 to 10"),
        (1e9, "from 0 to 10"),
        ("much", "single finite number"),
        (float("nan"), "single finite number"),
    ],
    "rescale": [
        (lambda W, rho: W * rho, "Divide by the radius"),
        (scaled_by(lambda W: torch.linalg.matrix_norm(W, 2)), "largest singular value"),
        (scaled_by(torch.linalg.matrix_norm), "Frobenius norm"),
        (scaled_by(lambda W: torch.linalg.eigvals(W).real.max()), "largest real part"),
        (lambda W, rho: rho * torch.eye(len(W), dtype=W.dtype), "no longer a multiple"),
        (lambda W, rho: W * rho * 2, "largest absolute eigenvalue of your matrix"),
        (lambda W, rho: W[0], "same shape"),
        (lambda W, rho: W * float("nan"), "NaN"),
        (lambda W, rho: W / torch.linalg.eigvals(W).max(), "take .abs() before"),
        (lambda W, rho: W.numpy() * rho, "torch tensor"),
        (lambda W, rho: 1 / 0, "raised ZeroDivisionError"),
        (lambda W, rho: torch.linalg.eigvals(W), "real torch tensor of the same shape"),
        (1.5, "function of (W, rho)"),
    ],
    "hidden_growth": [
        ([[0.5, 0.0], [0.0, 0.5]], "diagonal matrix is normal"),
        ([[0.5, 1.0], [0.0, 0.5]], "larger entry"),
        ([[0.9, 5.0], [0.0, 0.9]], "eigenvalues are 0.900"),
        ([[0.9, 5.0]], "2 x 2"),
        ("A", "2 x 2"),
        ([[0.5, 1e6], [0.0, 1.0]], "both must be 0.5"),
        ([[5.0, 1e8], [0.0, -4.0]], "both must be 0.5"),
        ([[float("inf"), 0.0], [0.0, 0.9]], "finite"),
    ],
    "exploding_sigmoid": [
        (4, "Up to 4"),
        (5, "Above 4 is not enough"),
        (-1, "from 0 to 1000"),
        ([1, 2], "single finite number"),
    ],
    "horizon_100": [
        (math.log(100), "forgot the 1"),
        (100, "goes through a sigmoid"),
        (0.99, "what the gate should be"),
        (1.0, "Solve 1 + e^b"),
        (None, "single finite number"),
    ],
}
# Functions as a stub leaves them.
STUBS: dict[str, list[Any]] = {
    "rescale": [lambda W, rho: ..., lambda W, rho: None],
    "forget_like_keras": [lambda lstm: ..., lambda lstm: None, lambda lstm: lstm],
    "from_tf1": [lambda k, b, n: ..., lambda k, b, n: (..., ..., ...), lambda k, b, n: None],
    "orthogonal_gates": [lambda lstm: ..., lambda lstm: None, lambda lstm: lstm],
    "chrono": [lambda n, T: ..., lambda n, T: (..., ...), lambda n, T: None],
    "remember_gru": [lambda gru, bias: ..., lambda gru, bias: None, lambda gru, bias: gru],
    "learned_start": [lambda *_: ..., lambda *_: (..., ...), lambda *_: None],
    "noise_std": [lambda g: ..., lambda g: None],
    "state_groups": [lambda model: ..., lambda model: [...], lambda model: None],
}

RIGHT |= clipping_answers.RIGHT
WRONG |= clipping_answers.WRONG
STUBS |= clipping_answers.STUBS

RIGHT |= forecasting_answers.RIGHT
WRONG |= forecasting_answers.WRONG
STUBS |= forecasting_answers.STUBS


def ask(name, answer):
    return getattr(check, name)(*answer if isinstance(answer, Given) else [answer])


def test_every_exercise_is_tested():
    assert set(EXERCISES) == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_unanswered_exercise_is_open(name):
    found = getattr(check, name)(...)
    assert found.status == "open"
    assert not found


@pytest.mark.parametrize(("name", "stub"), [(n, s) for n in STUBS for s in STUBS[n]])
def test_a_function_that_is_still_a_stub_is_open(name, stub):
    assert ask(name, stub).status == "open"


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n in RIGHT for a in RIGHT[n]])
def test_right_answers(name, answer):
    before = torch.get_rng_state()
    found = ask(name, answer)
    assert found, found.message
    assert found.png is not None
    assert torch.equal(torch.get_rng_state(), before), "the reader's random stream moved"


@pytest.mark.parametrize(("name", "answer", "hint"), [(n, *w) for n in WRONG for w in WRONG[n]])
def test_typical_wrong_answers_get_their_hint(name, answer, hint):
    found = ask(name, answer)
    assert found.status == "wrong"
    assert hint in found.message


def test_feedback_shows_the_drawing_with_its_words_and_escapes_them():
    page = Feedback("wrong", "a < b", b"png")._repr_html_()
    assert 'alt="Not yet. a &lt; b"' in page
    assert "a < b" not in page


@pytest.mark.parametrize("name", EXERCISES)
def test_a_check_has_help_and_survives_any_answer(name):
    assert getattr(check, name).__doc__.startswith("Chapter 0")
    functions = [print, len, id, int, copy.deepcopy, repr, dict, lambda *_: [1, [2]]]
    values = [None, "", b"1", object(), {}, [], [[]], [...], {1}, 1j, math.inf, -math.nan, 10**400]
    arrays = [np.array([]), np.array("a"), np.array([1j]), torch.zeros(0), torch.zeros(2, 2) + 1j]
    for answer in [*functions, *values, *arrays]:
        assert getattr(check, name)(answer).status in ("open", "wrong")


@pytest.mark.parametrize(
    "name",
    [
        "default_bound", "forget_like_keras", "from_tf1", "remember_gru",
        "learned_start", "noise_std", "state_groups", "state_size", "clip_by_norm", "direction",
        "where_to_clip", "threshold", "error_hook",
    ],
)  # fmt: skip
def test_a_readers_settings_do_not_matter(name):
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.no_grad():
            found = ask(name, RIGHT[name][0])
    finally:
        torch.set_default_dtype(default)
    assert found, found.message


# What the checks call right, by other means than theirs.


def test_the_bound_is_that_of_a_real_layer_and_its_law_is_uniform():
    drawn = torch.cat([p.detach().flatten() for p in nn.LSTM(10, 64).parameters()])
    assert drawn.abs().max() <= 0.125
    assert stats.kstest(drawn.double().numpy(), "uniform", args=(-0.125, 0.25)).pvalue > 1e-4


def test_he_is_what_torch_calls_kaiming():
    drawn = nn.init.kaiming_normal_(torch.empty(2000, 256), nonlinearity="relu")
    assert drawn.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.01)


def test_a_cell_with_the_biases_of_keras_forgets_at_the_rate_sigmoid_of_1():
    lstm = nn.LSTM(3, 5)
    for parameter in lstm.parameters():
        nn.init.zeros_(parameter)
    forget_like_keras(lstm)
    c0 = torch.linspace(-1, 1, 5).reshape(1, 1, 5)
    c = lstm(torch.randn(7, 1, 3), (torch.zeros_like(c0), c0))[1][1]
    torch.testing.assert_close(c, c0 * torch.sigmoid(torch.tensor(1.0)) ** 7)


def test_a_step_of_the_tf1_cell_number_by_number():
    """The right converter against BasicLSTMCell written out for single units in plain Python."""
    kernel, bias = torch.randn(5, 12, dtype=torch.float64), torch.randn(12, dtype=torch.float64)
    x, h, c = ([0.3, -1.2], [0.1, 0.5, -0.7], [1.0, -0.4, 0.2])

    def gate(number, unit):
        column = 3 * number + unit
        total = sum(value * kernel[row, column].item() for row, value in enumerate(x + h))
        return total + bias[column].item()

    def sigmoid(a):
        return 1 / (1 + math.exp(-a))

    new_c = [
        c[k] * sigmoid(gate(2, k) + 1.0) + sigmoid(gate(0, k)) * math.tanh(gate(1, k))
        for k in range(3)
    ]
    new_h = [math.tanh(new_c[k]) * sigmoid(gate(3, k)) for k in range(3)]

    cell = nn.LSTMCell(2, 3, dtype=torch.float64)
    W_ih, W_hh, b = from_tf1(kernel, bias, 2)
    with torch.no_grad():
        for parameter, value in zip(cell.parameters(), (W_ih, W_hh, b, 0 * b), strict=True):
            parameter.copy_(value)
        state = (torch.tensor([h], dtype=torch.float64), torch.tensor([c], dtype=torch.float64))
        h1, c1 = cell(torch.tensor([x], dtype=torch.float64), state)
    assert h1[0].tolist() == pytest.approx(new_h)
    assert c1[0].tolist() == pytest.approx(new_c)


def test_the_update_gate_keeps_the_state_of_a_real_gru():
    """With weights of 0 the new state is tanh(0) = 0, so what is left of h0 is sigmoid(5)^30."""
    gru = nn.GRU(3, 8)
    for parameter in gru.parameters():
        nn.init.zeros_(parameter)
    remember(gru, 5.0)
    h = gru(torch.randn(30, 1, 3), torch.ones(1, 1, 8))[1]
    torch.testing.assert_close(h, torch.sigmoid(torch.tensor(5.0)).expand(1, 1, 8) ** 30)


def test_chrono_accepts_every_seed():
    """Draws of NumPy are not seeded by the check."""
    for seed in range(6):
        rng = np.random.default_rng(seed)

        def draw(hidden_size, max_steps, rng=rng):
            forget_bias = np.log(rng.uniform(1, max_steps - 1, hidden_size))
            return -forget_bias, forget_bias

        found = check.chrono(draw)
        assert found, found.message


def test_orthogonal_gates_keep_the_length_of_a_gradient():
    lstm = nn.LSTM(3, 16)
    orthogonal_gates(lstm)
    v = torch.randn(16)
    for W in lstm.get_parameter("weight_hh_l0").detach().chunk(4):
        torch.testing.assert_close((W.T @ v).norm(), v.norm())


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_the_size_of_a_state_is_that_of_the_final_one():
    lstm = nn.LSTM(10, 20, num_layers=2, bidirectional=True, proj_size=5)
    final = lstm(torch.zeros(3, 1, 10))[1]
    assert check.state_size(sum(state.numel() for state in final))


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_learned_start_by_hand_begins_where_the_drop_in_does(batch_first):
    layer = tk.LSTM(3, 5, batch_first=batch_first, initial_state="learned")
    nn.init.normal_(layer.h0)
    nn.init.normal_(layer.c0)
    x = torch.randn(4, 6, 3)
    output = nn.LSTM.forward(layer, x, learned_start(layer.h0, layer.c0, x, batch_first))[0]
    assert torch.equal(output, layer(x)[0])


def test_noise_by_the_gradient_is_that_of_the_adaptive_state():
    layer = tk.GRU(3, 5, initial_state=tk.AdaptiveState(scale=0.3))
    x = torch.randn(4, 7, 3)
    h0 = torch.zeros(1, 7, 5, requires_grad=True)
    (gradients,) = torch.autograd.grad(nn.GRU.forward(layer, x, h0)[0].square().mean(), h0)
    layer(x)[0].square().mean().backward()
    torch.testing.assert_close(
        layer.initial_state.spread(layer, "h0")[0, 0], noise_std(gradients[0])
    )


def test_a_step_of_adamw_without_gradients_shrinks_all_but_the_states():
    model = nn.ModuleDict({"lstm": tk.LSTM(3, 4, initial_state="learned"), "h0": nn.Linear(4, 2)})
    before = {}
    for name, parameter in model.named_parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
        before[name] = parameter.detach().clone()
    torch.optim.AdamW(state_groups(model), lr=1e-3, weight_decay=0.1).step()
    for name, parameter in model.named_parameters():
        kept = 1.0 if name in ("lstm.h0", "lstm.c0") else 1 - 1e-4
        torch.testing.assert_close(parameter.detach(), kept * before[name])

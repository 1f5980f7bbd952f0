"""Gradients and a small model for the tests of clipping."""

import math

import torch
from torch import nn

CASES = {
    "ordinary": [[3.0, 4.0], [0.0, 12.0]],
    "within": [[0.3, -0.4], [0.0, 0.0]],
    "zero": [[0.0, 0.0], [0.0, 0.0]],
    "tiny": [[1e-30, 0.0], [1e-38, 0.0]],
    "huge": [[1e30, 2e30], [-3e30, 0.0]],  # squares leave float32
    "nan": [[math.nan, 1.0], [2.0, 3.0]],
    "infinite": [[math.inf, 1.0], [2.0, 3.0]],
    "one entry": [[7.0]],
    "empty": [],
}


def parameters(grads, dtype=torch.float64):
    """A parameter of zeros for each gradient given; None gives it no gradient."""
    made = []
    for grad in grads:
        made.append(nn.Parameter(torch.zeros(1 if grad is None else len(grad), dtype=dtype)))
        made[-1].grad = None if grad is None else torch.tensor(grad, dtype=dtype)
    return made


def flat(made):
    """All gradients as one vector."""
    grads = [p.grad.flatten() for p in made if p.grad is not None]
    return torch.cat(grads) if grads else torch.zeros(0)


class Net(nn.Module):
    """Each of the three parts, and a head that is the last layer made."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.before = nn.Linear(2, 3)
        self.rnn = nn.GRU(3, 4)
        self.head = nn.Linear(4, 2)
        self.to(dtype)

    def forward(self, x):
        return self.head(self.rnn(self.before(x))[0])


PARTS = {"other": "before", "recurrent": "rnn", "output": "head"}


def fill(model, seed=0, scale=1.0):
    """Give every parameter a gradient of normal numbers; return the model."""
    stream = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = (scale * torch.randn(p.shape, generator=stream, dtype=torch.float64)).to(p.dtype)
    return model


def grad_of(parameter):
    """The gradient of a parameter that has one."""
    assert parameter.grad is not None
    return parameter.grad


def gradients(model):
    """Copies of all gradients, by name."""
    named = model.named_parameters()
    return {name: None if p.grad is None else p.grad.clone() for name, p in named}

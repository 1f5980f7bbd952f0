"""The reader's own layer and batch: a copy to turn the weights of, and the spectral radius lab."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ..dynamics import gradient_bound, gradient_through_time, linear_prediction
from ..errors import bad
from ..gates import gates
from ..jacobians import step_jacobians
from ..spectra import eigenvalues, sigma_max
from ..unroll import check_layer
from .controls import Choice, Slider
from .spec import Settings, Spec
from .spectrum import Spectrum, SpectrumPicture, sentence, table


def own_layer(model: nn.RNNBase, x: Tensor) -> tuple[nn.RNNBase, Tensor]:
    """Check the reader's layer and batch; return copies in float64 on the CPU."""
    check_layer(model, "model")
    if is_parametrized(model):
        raise bad("model", model, "a layer with plain weights, without parametrizations")
    if not isinstance(x, Tensor):
        raise bad("x", x, "a batch that model takes, a tensor")
    base = copy.deepcopy(model).cpu().double()
    x = x.detach().cpu().double()
    gradient_through_time(base, x)  # a batch that does not fit is refused here, not on a slider
    return base, x


def own_controls(base: nn.RNNBase) -> tuple[Slider | Choice, ...]:
    """Return the controls that `scaled` reads."""
    controls: tuple[Slider | Choice, ...] = (Slider("scale", "scale", 1.0, 0.0, 3.0, 0.01),)
    if isinstance(base, nn.LSTM) and base.bias:
        controls += (Slider("forget_bias", "forget bias +", 0.0, -3.0, 6.0, 0.1),)
    return controls


def scaled(base: nn.RNNBase, settings: Settings) -> nn.RNNBase:
    """Return a copy with the recurrent weights times `scale` and `forget_bias` added to its own."""
    rnn = copy.deepcopy(base)
    for name, views in gates(rnn).items():
        if name.startswith("weight_hh"):
            for W in views.values():
                W.mul_(settings["scale"])
        if name.startswith("bias_ih") and "forget_bias" in settings:
            views["forget"].add_(settings["forget_bias"])
    return rnn


@dataclass(frozen=True)
class OwnMatrix:
    """The W_hh of the last layer: its name, eigenvalues (H,) and sigma_max.

    Both scale with the matrix: factorised once, not on every move.
    """

    name: str
    eigenvalues: Tensor
    sigma_max: float

    def times(self, scale: float) -> tuple[Tensor, float]:
        """Return the eigenvalues and sigma_max of `scale` times the matrix."""
        return scale * self.eigenvalues, scale * self.sigma_max


def own_matrix(base: nn.RNNBase) -> OwnMatrix | None:
    """Factorise the recurrent matrix of an Elman layer; None for an LSTM or GRU."""
    if not isinstance(base, nn.RNN):
        return None
    name = f"weight_hh_l{base.num_layers - 1}"
    W = getattr(base, name).detach()
    return OwnMatrix(name, eigenvalues(W), sigma_max(W).item())


def own_model_spec(model: nn.RNNBase, x: Tensor) -> Spec:
    """Make the lab of the reader's own layer; the layer itself is never changed."""
    base, x = own_layer(model, x)
    matrix = own_matrix(base)

    def compute_own(settings: Settings) -> Spectrum:
        rnn = scaled(base, settings)
        measured = gradient_through_time(rnn, x)
        T, growth = len(measured.dL_dh), measured.growth
        lead = f"recurrent weights x {settings['scale']:.2f}"
        prediction = bound = None
        circle, panel = 1.0, "last Jacobian, 1st sequence"
        if matrix is not None and measured.trace.activation is not None:
            values, sigma = matrix.times(settings["scale"])
            rho, gamma = values.abs().max().item(), measured.trace.activation.max_slope
            circle, panel = 1 / gamma, matrix.name
            prediction = linear_prediction(gamma * rho, T).numpy()
            bound = gradient_bound(sigma, T, activation=str(rnn.nonlinearity)).numpy()
            lead += f" (rho = {rho:.2f})"
        else:
            if measured.growth_c is not None:
                growth, lead = measured.growth_c, f"{lead}, gradient to the cell state"
            values = eigenvalues(step_jacobians(measured.trace.last_step())[0, 0])
        return Spectrum(
            eigenvalues=values.detach().numpy(),
            panel=panel,
            circle=circle,
            growth=growth.numpy(),
            prediction=prediction,
            bound=bound,
            lead=lead,
        )

    return Spec(
        name="spectral_radius",
        controls=own_controls(base),
        compute=compute_own,
        picture=SpectrumPicture,
        sentence=sentence,
        table=table,
        arguments="model=model, x=x",
    )

"""The labs: sliders over real networks. Each opens with `tk.labs.<name>(**settings)`."""

from .clip_what import clip_what
from .first_steps import first_steps
from .forecast import forecast
from .forget_bias import forget_bias
from .fresh_from_the_box import fresh_from_the_box
from .gradient_map import gradient_map
from .signal import signal
from .spectral_radius import spectral_radius
from .trajectories import trajectories
from .wall import wall

__all__ = [
    "clip_what",
    "first_steps",
    "forecast",
    "forget_bias",
    "fresh_from_the_box",
    "gradient_map",
    "signal",
    "spectral_radius",
    "trajectories",
    "wall",
]

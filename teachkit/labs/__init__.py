"""The labs: sliders over real networks. Each opens with `tk.labs.<name>(**settings)`."""

from .forget_bias import forget_bias
from .gradient_map import gradient_map
from .spectral_radius import spectral_radius

__all__ = ["forget_bias", "gradient_map", "spectral_radius"]

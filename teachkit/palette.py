"""The palette: a colour means one thing, stays apart for every reader, and is seen on white.

It started as Okabe and Ito's. Two of theirs, a yellow orange and a sky blue, are too light for a
line on white, and are darker here. tests/test_colors.py measures all of it on the pictures.
"""

from __future__ import annotations

from matplotlib.colors import LinearSegmentedColormap

COLORS = {
    "vanish": "#0072B2",
    "critical": "#009E73",
    "explode": "#D55E00",
    "gradient": "#1A1A1A",
    "prediction": "#CC79A7",
    "bound": "#5E5E5E",
    "signal": "#7A4FBF",
    "no input": "#1A1A1A",
    "N(0, 1) input": "#882255",
    "temporal order": "#0072B2",
    "no clipping": "#C38600",
    "no clipping, lr 0.03": "#9A6324",
    "no clipping, lr 0.01": "#5E5E5E",
    "clip at norm 1": "#3096C9",
    "from scratch": "#D55E00",
    "pre-trained": "#0072B2",
    "zero": "#1A1A1A",
    "noisy": "#C38600",
    "noisy 1": "#9A6324",
    "learned": "#0072B2",
    "learned+noisy": "#3096C9",
    "adaptive": "#CC79A7",
    "carried": "#009E73",
    "inferred": "#D55E00",
    "warm-up": "#882255",
    "fixed point": "#882255",
}
INK = "#1A1A1A"
# The same for words, which are thinner than lines: WCAG asks for 4.5 to 1, and for lines 3 to 1.
INKS = {"vanish": "#0072B2", "critical": "#00664A", "explode": "#AE4A00"}
FAINT = "#8A8A8A"  # of lines that only divide
# Diverging around 1: what shrinks is blue, what grows is orange, and both are as dark.
GROWTH_MAP = LinearSegmentedColormap.from_list(
    "growth", ["#003B5C", COLORS["vanish"], "#FFFFFF", INKS["explode"], "#5A2200"]
)

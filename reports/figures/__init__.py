"""Figures of a report as inline SVG.

Each drawing function takes a `Report` and returns a `Picture`, or None if there is nothing to draw.
"""

from .cells import cell_dots, heat_map, interaction
from .colours import choose_looks
from .drawing import Picture
from .forest import forest
from .layer_maps import layer_figures
from .learning_curves import learning_curves, list_curve_kinds, paired_curves, scalar_curves
from .selection import Figures, figures_of
from .slopes import slopes
from .variance_shares import shares

__all__ = [
    "Figures",
    "Picture",
    "cell_dots",
    "choose_looks",
    "figures_of",
    "forest",
    "heat_map",
    "interaction",
    "layer_figures",
    "learning_curves",
    "list_curve_kinds",
    "paired_curves",
    "scalar_curves",
    "shares",
    "slopes",
]

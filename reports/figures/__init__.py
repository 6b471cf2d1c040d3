"""The figures of a report as inline SVG; each function takes a `Report` and returns a `Picture`, or None."""

from .cells import cell_dots, heat_map, interaction
from .colours import looks_of
from .drawing import Picture
from .forest import forest
from .layer_maps import layer_figures
from .learning_curves import curve_kinds, learning_curves, paired_bands, scalar_curves
from .selection import Figures, figures_of
from .slopes import slopes
from .variance_shares import shares

__all__ = [
    "Figures",
    "Picture",
    "cell_dots",
    "curve_kinds",
    "figures_of",
    "forest",
    "heat_map",
    "interaction",
    "layer_figures",
    "learning_curves",
    "looks_of",
    "paired_bands",
    "scalar_curves",
    "shares",
    "slopes",
]

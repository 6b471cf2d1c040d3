"""Drawing sheet: a matplotlib figure that becomes an inline SVG, always the same bytes.

Lengths are CSS pixels from the top left corner. Colours are CSS variables with a fallback, so that a page can change
them in dark mode and a notebook shows the fallback. Text remains text in the font of the page, so that it can be
searched. Names are never parsed as mathematics.
"""

import html
import io
import re
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self, cast

from experiments.text import escape_controls

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, RULE, WASH = "#1b1f24", "#626a75", "#d3d8de", "#e9f1ec"
WIDTH = 760  # of a sheet, which is the width of the page's text
TEXT = 12  # font size
_VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", WASH: "--wash"}
_CHARACTER = 0.61  # width over font size, of an average one in a wide font

# Okabe & Ito (2008, "Color universal design") without black and yellow, then two of Tol's: distinguishable with any of
# the common colour deficiencies.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b65a91", "#56a8d8", "#c88500", "#882255", "#7c7c1f")
_VARIABLES |= {colour: f"--level-{index}" for index, colour in enumerate(PALETTE)}

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ablation-suite",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib; only to measure with
    "font.size": TEXT,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.labelcolor": MUTED,
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Figure of a report, which a notebook displays.

    name: unique among the figures of a report, and the prefix of all ids in the SVG.
    title, caption: what it shows, and how to read it.
    alt: its content in words, with the numbers.
    svg: the drawing, with `alt` as its label for screen readers.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: str

    def _repr_svg_(self) -> str:
        return self.svg


class Sheet:
    """Empty sheet in the style of all figures, a context manager; height and width are in pixels."""

    def __init__(self, height: float, width: float = WIDTH) -> None:
        self.width, self.height = width, height

    def __enter__(self) -> Self:
        import matplotlib as mpl
        from matplotlib.figure import Figure  # not pyplot, which keeps global state

        with ExitStack() as stack:
            stack.enter_context(mpl.rc_context(cast("Any", _STYLE)))
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the font of the page may have it
            self._figure = Figure(figsize=(self.width / 72, self.height / 72), dpi=72)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def add_axes(self, left: float, top: float, width: float, height: float, **options: Any) -> "Axes":
        """Add a plot with this position and size, in pixels."""
        position = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        return self._figure.add_axes(position, **options)

    def add_text(self, x: float, y: float, text: str, **options: Any) -> None:
        """Add a text whose middle is at the height `y`."""
        defaults: dict[str, Any] = {"va": "center_baseline"}
        self._figure.text(x / self.width, 1 - y / self.height, escape_controls(text), **(defaults | options))

    def to_picture(self, *, name: str, title: str, caption: str, alt: str) -> Picture:
        """Return the drawing as a picture."""
        stream = io.StringIO()
        self._figure.savefig(stream, format="svg", metadata={"Date": None})
        svg = _inline(stream.getvalue(), name, escape_controls(alt), self.width, self.height)
        return Picture(name=name, title=title, caption=caption, alt=alt, svg=svg)


def estimate_width(text: str, size: float = TEXT) -> float:
    """Estimate the width of a text in pixels, from above.

    >>> round(estimate_width("activation"), 1)
    73.2
    """
    wide = sum(ord(char) > 0x2E80 for char in text)  # noqa: PLR2004 -- East Asian scripts are square
    return (len(text) + 0.7 * wide) * _CHARACTER * size


def shorten(text: str, width: float, size: float = TEXT) -> str:
    """Shorten a text to a width in pixels by leaving out its middle.

    >>> shorten("a rather long name of a level", 100)
    'a rather…level'
    """
    text = escape_controls(text)
    if estimate_width(text, size) <= width:
        return text
    keep = max(int(width / (_CHARACTER * size)), 4)
    tail = keep * 2 // 5
    return f"{text[: keep - tail]}…{text[len(text) - tail :]}"


def pad_limits(low: float, high: float) -> tuple[float, float]:
    """Return the limits of an axis that shows these values with some room around them.

    >>> pad_limits(0.5, 1.0), pad_limits(2.0, 2.0)
    ((0.47, 1.03), (1.98, 2.02))
    """
    room = (high - low) * 0.06 or abs(high) * 0.01 or 1.0
    return low - room, high + room


def fit_ticks(axes: "Axes", width: float, most: int) -> None:
    """Set as many ticks on the horizontal axis as have room for their labels, at most `most` + 1.

    Call it after the limits of the axis are set.
    """
    for bins in range(most, 0, -1):
        axes.locator_params(axis="x", nbins=bins)
        low, high = axes.get_xlim()
        ticks = [float(tick) for tick in axes.get_xticks() if low <= tick <= high]
        labels = axes.xaxis.get_major_formatter().format_ticks(ticks)
        step = min((after - before for before, after in pairwise(ticks)), default=high - low)
        if step / (high - low) * width >= max((estimate_width(label, 11) for label in labels), default=0.0) + 6:
            return


def _inline(svg: str, name: str, alt: str, width: float, height: float) -> str:
    """Turn an SVG file of matplotlib into an inline SVG whose ids are unique in a page."""
    body = svg[svg.index("<g id=") : svg.rindex("</svg>")]
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', body))

    def clean_tag(match: re.Match[str]) -> str:
        text = " ".join(match[0].split())
        text = re.sub(r' id="([^"]+)"', lambda id_: f' id="{name}-{id_[1]}"' if id_[1] in used else "", text)
        text = re.sub(r'xlink:href="#', f'href="#{name}-', text).replace("url(#", f"url(#{name}-")
        text = text.replace('xlink:href="data:image/png;base64, ', 'href="data:image/png;base64,')
        text = re.sub(r"font-family: [^;\"]*;? ?", "", text).replace(' transform="rotate(-0 ', ' data-none="(')
        text = re.sub(r' data-none="[^"]*"', "", text)
        return re.sub(r"(fill|stroke): (#[0-9a-f]{6})", _use_variable, text)

    body = re.sub(r"<[^<>]*>", clean_tag, body)
    body = re.sub(r">\s+<", "><", body).strip()
    body = re.sub(r"<g></g>|<defs></defs>", "", body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{html.escape(alt)}" style="font-family: system-ui, sans-serif; '
        f'stroke-linejoin: round; stroke-linecap: butt">{body}</svg>'
    )


def _use_variable(match: re.Match[str]) -> str:
    name = _VARIABLES.get(match[2])
    return match[0] if name is None else f"{match[1]}: var({name}, {match[2]})"

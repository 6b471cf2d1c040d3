"""Jinja templates of the pages. Values are escaped, and control characters in names are made visible."""

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from experiments.text import escape_controls

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def load_template(name: str) -> "Template":
    """Return the template of this name in this package."""
    return _environment().get_template(name)


def read_asset(name: str) -> str:
    """Return the text of a file in this package, such as a style or a script."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def use_minus_signs(text: str) -> str:
    """Write numbers with a minus sign instead of a hyphen.

    >>> use_minus_signs("-0.03 to +0.05, one-at-a-time, 1e-05")
    '−0.03 to +0.05, one-at-a-time, 1e−05'
    """
    return re.sub(r"(?<![^ (\[<=])-(?=\d)|(?<=\de)-(?=\d)", "−", text)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(read_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = escape_controls
    environment.filters["words"] = lambda text: use_minus_signs(escape_controls(str(text))).replace(
        " %", "\N{NO-BREAK SPACE}%"
    )
    return environment

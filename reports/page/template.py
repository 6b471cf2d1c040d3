"""The templates of the pages: what is in them is escaped, and names are shown as they are."""

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from experiments.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def template(name: str) -> "Template":
    """The template of this name beside this file."""
    return _environment().get_template(name)


def asset(name: str) -> str:
    """The text of a file beside this one: a style, a script."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def minus_signs(text: str) -> str:
    """Write numbers with a minus sign instead of a hyphen.

    >>> minus_signs("-0.03 to +0.05, one-at-a-time, 1e-05")
    '−0.03 to +0.05, one-at-a-time, 1e−05'
    """
    return re.sub(r"(?<![^ (\[<=])-(?=\d)|(?<=\de)-(?=\d)", "−", text)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = visible
    environment.filters["words"] = lambda text: minus_signs(visible(str(text))).replace(" %", "\N{NO-BREAK SPACE}%")
    return environment

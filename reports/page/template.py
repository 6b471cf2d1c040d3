"""The templates of the pages: what is in them is escaped, and names are shown as they are."""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from experiments.text import visible

from .html_tables import signs

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def template(name: str) -> "Template":
    """The template of this name beside this file."""
    return _environment().get_template(name)


def asset(name: str) -> str:
    """The text of a file beside this one: a style, a script."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["words"] = lambda text: signs(visible(str(text))).replace(" %", "\N{NO-BREAK SPACE}%")
    return environment

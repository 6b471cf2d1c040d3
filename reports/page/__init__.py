"""The report as one page: a self-contained HTML file that needs no network, no JavaScript and no other file."""

from .html import to_html

__all__ = ["to_html"]

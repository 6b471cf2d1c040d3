"""Report as a self-contained HTML page, which needs no network, no JavaScript and no other file."""

from .html import to_html

__all__ = ["to_html"]

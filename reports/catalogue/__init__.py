"""Many studies on one page: every claim with its verdict, and what has not been run yet."""

from .files import index_lines, write_index
from .overview import Catalogue, build_catalogue

__all__ = ["Catalogue", "build_catalogue", "index_lines", "write_index"]

"""Many studies on one page: every claim with its verdict, and what has not been run yet."""

from .index import Catalogue, build_catalogue
from .write import index_lines, write_index

__all__ = ["Catalogue", "build_catalogue", "index_lines", "write_index"]

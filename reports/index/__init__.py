"""Index of many studies: one page with every claim and its verdict, and the studies not run yet."""

from .index import Catalogue, build_catalogue
from .write import summarise_index, write_index

__all__ = ["Catalogue", "build_catalogue", "summarise_index", "write_index"]

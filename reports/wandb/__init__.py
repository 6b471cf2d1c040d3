"""Weights & Biases as a view of a study's ledger: live runs, runs made again at any time, dashboards, sweeps."""

from .place import Place, place_of, remember
from .runs import RunContent, factor_keys, run_of

__all__ = ["Place", "RunContent", "factor_keys", "place_of", "remember", "run_of"]

"""Weights & Biases as a view of a study's ledger: live runs, runs made again at any time, dashboards, sweeps.

Nothing here imports wandb before it is needed.
"""

from .live import WandbSink, check_installed
from .place import OFFLINE, ONLINE, Place, place_of, remember
from .push import Pushed, push
from .runs import RunContent, factor_keys, run_of
from .verify import Checked, verify

__all__ = [
    "OFFLINE",
    "ONLINE",
    "Checked",
    "Place",
    "Pushed",
    "RunContent",
    "WandbSink",
    "check_installed",
    "factor_keys",
    "place_of",
    "push",
    "remember",
    "run_of",
    "verify",
]

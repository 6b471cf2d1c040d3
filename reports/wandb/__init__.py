"""Weights & Biases as a view of a study's ledger: live runs, runs made again at any time, dashboards, sweeps.

Nothing here imports wandb before it is needed.
"""

from .compare.push import Pushed, push
from .compare.verify import Checked, verify
from .destination import OFFLINE, ONLINE, Place, place_of, remember
from .live.sink import WandbSink, check_installed
from .run_content import RunContent, factor_keys, run_of

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

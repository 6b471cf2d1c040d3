"""View of a study's ledger in Weights & Biases: runs during training or afterwards, dashboards, sweeps.

wandb is imported late, by the functions that need it.
"""

from .compare.push import PushResult, push
from .compare.verify import RunCheck, verify
from .destination import OFFLINE, ONLINE, Destination, resolve_destination, save_destination
from .live.sink import WandbSink, check_installed
from .run_content import RunContent, get_factor_keys, make_run_content

__all__ = [
    "OFFLINE",
    "ONLINE",
    "Destination",
    "PushResult",
    "RunCheck",
    "RunContent",
    "WandbSink",
    "check_installed",
    "get_factor_keys",
    "make_run_content",
    "push",
    "resolve_destination",
    "save_destination",
    "verify",
]

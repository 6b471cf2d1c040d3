"""Identity of a trial: a hash of its resolved configuration and its seed.

The same configuration and seed are the same trial, on any machine and at any time. The hash leaves out keys that only
decide where a trial runs. Everything else counts, defaults included: to train again is cheap, to reuse a wrong result
is not.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

VERSION = 1  # part of every hash: changed rules give new trials and no wrong matches

TRAINER_PLACEMENT = {
    "accelerator",
    "default_root_dir",
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "log_every_n_steps",
    "logger",
    "num_sanity_val_steps",
    "profiler",
}
_DATA_PLACEMENT = {"num_workers", "persistent_workers", "pin_memory", "prefetch_factor"}


def compute_config_id(config: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits for a resolved configuration: its sections model, data and trainer.

    >>> one = {"model": {"class_path": "M"}, "data": {"class_path": "D", "init_args": {"num_workers": 2}}}
    >>> two = {"model": {"class_path": "M"}, "data": {"class_path": "D", "init_args": {"num_workers": 8}}}
    >>> compute_config_id(one) == compute_config_id(two)
    True
    """
    plain = copy.deepcopy(dict(config))
    trainer = {key: value for key, value in (plain.get("trainer") or {}).items() if key not in TRAINER_PLACEMENT}
    if "devices" in trainer:
        trainer["devices"] = count_devices(trainer["devices"])
    plain["trainer"] = trainer
    data = plain.get("data") or {}
    data["init_args"] = {
        key: value for key, value in (data.get("init_args") or {}).items() if key not in _DATA_PLACEMENT
    }
    plain["data"] = data
    plain.pop("seed_everything", None)
    return _digest({"version": VERSION, "config": plain})


def compute_trial_id(config_id: str, seed: int) -> str:
    """Return 16 hexadecimal digits for a configuration and a seed.

    >>> compute_trial_id("0" * 16, 3)
    '52c5d6a0cd826b15'
    """
    return _digest({"config": config_id, "seed": seed})


def count_devices(devices: Any) -> int:
    """Return the number of devices that share one trial. It changes the arithmetic; the choice of devices does not.

    >>> [count_devices(devices) for devices in (2, [0, 3], "2", "0, 1", "auto", -1, None)]
    [2, 2, 2, 2, 1, 1, 1]
    """
    if isinstance(devices, str) and "," in devices:
        return len([name for name in devices.split(",") if name.strip()])
    if isinstance(devices, str) and devices.strip().isdecimal():
        devices = int(devices)
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, int) and devices > 0:
        return devices
    return 1  # so do "auto", -1 and null: one device for each trial


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""Options of a run: where trials train, and what happens when one is lost. No trial's identity depends on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import InputError
from experiments.text import describe_choices

RUNNERS = ("local", "inline", "ray")
FUSE = ("auto", "always", "never")
_LONGEST_TIMEOUT = 100_000_000  # seconds, about three years: the operating system's waits accept no more


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of a run, checked when they are made.

    runner: local (worker processes, one per GPU or core), inline (this process) or ray (a cluster).
    num_slots: number of workers instead; a trial on two devices takes two of them.
    address: head of a Ray cluster, HOST:PORT or "auto"; the environment variable RAY_ADDRESS by default. Without
        either, Ray is started on this machine and stopped at the end.
    devices: GPUs to use instead of all, or cores where there is no GPU; for the local runner only.
    fuse: auto trains trials of the same structure in one loop where that is faster, always makes it an error where one
        cannot be fused, never trains each trial separately.
    data_dir: folder of the data sets; the environment variable ABLATE_DATA_DIR by default, else data/.
    timeout_seconds: how long a trial may train; a fused group of n trials gets n times as long.
    num_retries: how often a group is retried after its worker was lost.
    retry_errors: also retry trials that failed with an error of their own code.
    wait_for_folder: wait while another command uses the study's folder; otherwise that is an error.

    Raises:
        InputError: an option is out of range, or belongs to another runner. The message names the command's option.
    """

    runner: str = "local"
    num_slots: int | None = None
    address: str | None = None
    devices: Sequence[str] | None = None
    fuse: str = "auto"
    data_dir: str | Path | None = None
    timeout_seconds: float | None = None
    num_retries: int = 2
    retry_errors: bool = False
    wait_for_folder: bool = False

    def __post_init__(self) -> None:
        self._check_types()
        if self.runner not in RUNNERS:
            raise InputError(f"--runner {self.runner!r} is not a runner{describe_choices(self.runner, RUNNERS)}")
        if self.num_slots is not None and self.num_slots < 1:
            raise InputError(f"--workers {self.num_slots}: at least 1 is needed")
        if self.address is not None and self.runner != "ray":
            raise InputError(f"--address {self.address}: only --runner ray has one")
        if self.devices is not None and self.runner != "local":
            raise InputError(f"--devices {','.join(self.devices)}: only the local runner has devices to choose from")
        if self.fuse not in FUSE:
            raise InputError(f"--fuse {self.fuse!r} is not a way of fusing{describe_choices(self.fuse, FUSE)}")
        seconds = self.timeout_seconds
        if seconds is not None and not 0 < seconds <= _LONGEST_TIMEOUT:
            raise InputError(f"--timeout {seconds:g}: seconds above 0 are needed, {_LONGEST_TIMEOUT:,} at most")
        if self.num_retries < 0:
            raise InputError(f"--retries {self.num_retries}: 0 or more is needed")

    def _check_types(self) -> None:
        """Raise an InputError where Python code passed a value of another type."""
        for option, value, accepted in (
            ("--workers", self.num_slots, int | None),
            ("--retries", self.num_retries, int),
            ("--timeout", self.timeout_seconds, int | float | None),
            ("--data-dir", self.data_dir, str | Path | None),
            ("--retry-errors", self.retry_errors, bool),
            ("--wait", self.wait_for_folder, bool),
        ):
            if not isinstance(value, accepted) or (isinstance(value, bool) and accepted is not bool):
                expected = getattr(accepted, "__name__", accepted)
                raise InputError(f"{option} {value!r}: is of type {type(value).__name__}; {expected} is expected")
        if self.devices is not None and (
            isinstance(self.devices, str) or not all(isinstance(device, str) for device in self.devices)
        ):
            raise InputError(f"--devices {self.devices!r}: a list of texts is expected, such as ['0', '1']")

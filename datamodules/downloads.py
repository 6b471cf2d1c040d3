"""The folder of all data sets, and torchvision's downloads into it."""

import os
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from filelock import FileLock


def find_data_dir(data_dir: str | Path | None) -> Path:
    """Return the folder of all data sets: the argument, else the variable ABLATE_DATA_DIR, else `data`."""
    return Path(data_dir or os.environ.get("ABLATE_DATA_DIR") or "data").expanduser()


def download(name: str, data_dir: Path, *, problem: str, advice: str) -> None:
    """Download a data set of torchvision's silently, in one of several workers that start at once.

    Args:
        name: torchvision's name of the data set.
        data_dir: the folder of all data sets; created if absent.
        problem: the beginning of an error message, which says what is absent.
        advice: its end, which says what to do.

    Raises:
        FileNotFoundError: the download fails.
    """
    from torchvision import datasets

    noise = StringIO()  # torchvision prints, and draws progress bars
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(data_dir / f".{name.lower()}.lock"), redirect_stderr(noise), redirect_stdout(noise):
            getattr(datasets, name)(data_dir, download=True)
    except (RuntimeError, OSError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[-1]  # after a list of mirrors, what the last answered
        raise FileNotFoundError(f"{problem}; downloading failed ({reason}); {advice}") from error

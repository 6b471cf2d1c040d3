"""Options of a run: errors are raised when they are made, before anything is read or written."""

import re

import pytest

from experiments import InputError, RunOptions
from experiments.execution.run import use_data_dir


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runner": "locl"}, "--runner 'locl' is not a runner; did you mean 'local'? accepted: local"),
        ({"num_slots": 0}, "--workers 0: at least 1 is needed"),
        ({"address": "auto"}, "--address auto: only --runner ray has one"),
        (
            {"runner": "inline", "devices": ["0", "1"]},
            "--devices 0,1: only the local runner has devices to choose from",
        ),
        ({"fuse": "alway"}, "--fuse 'alway' is not a way of fusing; did you mean 'always'?"),
        ({"timeout_seconds": 0}, "--timeout 0: seconds above 0 are needed, 100,000,000 at most"),
        ({"timeout_seconds": float("nan")}, "--timeout nan: seconds above 0 are needed"),
        ({"num_retries": -1}, "--retries -1: 0 or more is needed"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        RunOptions(**options)


def test_a_data_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"--data-dir .*absent: is not a folder"), use_data_dir(tmp_path / "absent"):
        pass

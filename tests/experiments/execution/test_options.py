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
        ({"num_slots": "3"}, "--workers '3': is of type str; int | None is expected"),
        ({"num_slots": True}, "--workers True: is of type bool"),
        ({"num_retries": 1.5}, "--retries 1.5: is of type float; int is expected"),
        ({"wait_for_folder": "no"}, "--wait 'no': is of type str; bool is expected"),
        ({"devices": "0,1"}, "--devices '0,1': a list of texts is expected, such as ['0', '1']"),
        ({"devices": [0]}, "--devices [0]: a list of texts is expected"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        RunOptions(**options)


def test_a_data_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"--data-dir .*absent: is not a folder"), use_data_dir(tmp_path / "absent"):
        pass

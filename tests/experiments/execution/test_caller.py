"""Side effects of `run` and `run_trial`: none on the caller's process, none on another command's folder."""

import logging
import os
import random

import numpy as np
import pytest
import torch
from small_study import small_study

from experiments import DirectoryError, Ledger, RunOptions, StudyError, parse_study, run, run_trial
from experiments.execution.run import plan_on
from experiments.ledger.study_folder import LEDGER


def study(**changes):
    return parse_study(small_study(seeds=1, **changes), name="small")


@pytest.mark.parametrize("before", [None, "elsewhere"])
def test_the_data_folder_variable_is_restored(before, tmp_path, monkeypatch):
    monkeypatch.delenv("ABLATE_DATA_DIR", raising=False)
    if before is not None:
        monkeypatch.setenv("ABLATE_DATA_DIR", before)
    run_trial(study(), "activation=relu", tmp_path / "s", data_dir=tmp_path)
    assert os.environ.get("ABLATE_DATA_DIR") == before
    run(study(), tmp_path / "s", RunOptions(runner="inline", data_dir=tmp_path))
    assert os.environ.get("ABLATE_DATA_DIR") == before


def test_the_data_folder_variable_is_restored_after_an_error(tmp_path, monkeypatch):
    monkeypatch.delenv("ABLATE_DATA_DIR", raising=False)
    wrong = study(base=small_study()["base"] | {"model": {"class_path": "lit_models.Nothing"}})
    with pytest.raises(StudyError):
        run(wrong, tmp_path / "s", RunOptions(runner="inline", data_dir=tmp_path))
    assert "ABLATE_DATA_DIR" not in os.environ


@pytest.mark.filterwarnings("ignore:.*benchmark=True")
def test_the_inline_runner_restores_threads_generators_and_log_levels(tmp_path):
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    base = small_study()["base"]
    base["trainer"] = base["trainer"] | {"deterministic": True, "benchmark": True}
    lightning = logging.getLogger("lightning.pytorch")
    level = lightning.level
    try:
        torch.set_num_threads(2)
        lightning.setLevel(logging.DEBUG)
        generators = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
        outcome = run(study(base=base), tmp_path / "s", RunOptions(runner="inline", fuse="never"))
        assert outcome.counts["finished"] == 2
        assert torch.get_num_threads() == 2
        assert lightning.level == logging.DEBUG
        assert not torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
        assert torch.get_default_dtype() == dtype
        assert torch.equal(torch.get_rng_state(), generators[0])
        assert np.array_equal(np.random.get_state()[1], generators[1])
        assert random.getstate() == generators[2]
    finally:
        torch.set_num_threads(threads)
        lightning.setLevel(level)


def test_the_folder_is_checked_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("experiments.execution.run.check_folder", lambda *arguments: calls.append(arguments))
    run(study(), tmp_path / "s", RunOptions(runner="inline", fuse="never"))
    assert len(calls) == 1


def test_another_study_that_takes_the_folder_during_planning_is_kept(tmp_path, monkeypatch):
    """Check that the folder is checked again before it is written, after seconds of planning."""
    directory = tmp_path / "s"

    def plan_and_be_late(*arguments):
        plan = plan_on(*arguments)
        directory.mkdir()
        with Ledger(directory / LEDGER, writable=True) as ledger:
            ledger.plan("other", {"name": "other"}, [])
        return plan

    monkeypatch.setattr("experiments.execution.run.plan_on", plan_and_be_late)
    with pytest.raises(DirectoryError, match="holds study 'other', not 'small'; give another folder with --out"):
        run(study(), directory, RunOptions(runner="inline", fuse="never"))
    with Ledger(directory / LEDGER, writable=False) as ledger:
        assert ledger.study_name() == "other"

import io

import pytest
from rich.console import Console

from ablate.output import format_trial, print_status
from experiments import Ledger, Result, TrialStatus
from experiments.trials.trial import create_trials

STUDY = {"name": "study", "question": "Which x?", "factors": {"x": {}}}
FINISHED = Result(status=TrialStatus.FINISHED, metrics={"test/acc": 0.5})
DIVERGED = Result(status=TrialStatus.DIVERGED, diverged_epoch=0)
FAILED = Result(status=TrialStatus.FAILED, error="Traceback: no")


def make_trials(num_cells):
    """Make trials with two seeds per cell."""
    cells = [
        (f"level{number}", {"model": {"class_path": "M", "init_args": {"x": number}}}) for number in range(num_cells)
    ]
    return [trial for level, config in cells for trial in create_trials(config, {"x": level}, (0, 1))]


@pytest.fixture
def status(tmp_path):
    def print_it(num_cells, result_of):
        """Return the lines of `ablate status` if trial k, seed k % 2 of cell k // 2, has the result `result_of(k)`."""
        trials = make_trials(num_cells)
        results = {trial.trial_id: result_of(k) for k, trial in enumerate(trials)}
        with Ledger(tmp_path / "ledger.sqlite", writable=True) as ledger:
            ledger.plan("study", STUDY, trials)
            ledger.record({key: result for key, result in results.items() if result is not None})
            console = Console(file=io.StringIO(), width=100)
            print_status(ledger, is_in_use=False, console=console)
        return [" ".join(line.split()) for line in console.file.getvalue().splitlines()][1:]

    return print_it


def test_few_cells_all_have_a_row(status):
    results = [FINISHED, FINISHED, FINISHED, DIVERGED, FAILED, None]
    assert status(3, lambda k: results[k]) == [
        "6 trials, 1 pending, 3 finished, 1 diverged, 1 failed",
        "x finished pending diverged failed",
        "level0 2 0 0 0 complete",
        "level1 1 0 1 0 all ended",
        "level2 0 1 0 1 incomplete",
    ]


def test_many_complete_cells_are_only_counted(status):
    assert status(50, lambda _: FINISHED) == [
        "100 trials, 100 finished",
        "50 cells: 50 complete",
    ]


def test_of_many_cells_those_that_failed_come_first_then_those_that_diverged(status):
    results = {1: None, 20: DIVERGED, 98: FAILED}
    assert status(50, lambda k: results.get(k, FINISHED))[1:] == [
        "x finished pending diverged failed",
        "level49 1 0 0 1 incomplete",
        "level10 1 0 1 0 all ended",
        "level0 1 1 0 0 incomplete",
        "and 47 more cells: 47 complete",
    ]


def test_of_many_incomplete_cells_the_first_forty_are_listed(status):
    lines = status(50, lambda k: FINISHED if k < 4 else None)
    assert [line.partition(" ")[0] for line in lines[2:-1]] == [f"level{number}" for number in range(2, 42)]
    assert lines[-1] == "and 10 more cells: 8 incomplete, 2 complete"


def test_show_counts_the_metrics_of_layers(tmp_path):
    (trial, _) = make_trials(1)
    metrics = {"test/acc": 0.5, "mechanism/weight_gradient_ratio": 1e-7}
    metrics |= {f"mechanism/{quantity}/layer{number}": 0.5 for quantity in ("dead", "saturated") for number in range(8)}
    with Ledger(tmp_path / "ledger.sqlite", writable=True) as ledger:
        ledger.plan("study", STUDY, [trial])
        ledger.record({trial.trial_id: Result(status=TrialStatus.FINISHED, metrics=metrics)})
        text = format_trial(ledger.trial(trial.trial_id))
    assert "# mechanism/weight_gradient_ratio: 1e-07\n" in text
    assert "# 16 metrics of layers: see trials.csv and curves.csv\n" in text
    assert "layer3" not in text

"""Ledgers with made-up results, for the tests of reports."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.ledger.ledger import Ledger
from experiments.study.design import build_cells
from experiments.study.parse import parse_study
from experiments.study.study import Study
from experiments.trials.trial import Result, Trial, TrialStatus, create_trials

Measure = Callable[[Mapping[str, str], int], "Result | None"]


def make_study(**changes: Any) -> Study:
    """Make a study of activation (3, reference sigmoid) x init (2, reference xavier), 5 seeds, test/acc."""
    content = {
        "name": "activations",
        "question": "Does ReLU train better than sigmoid?",
        "base": {"model": {"class_path": "M"}, "data": {"class_path": "D"}},
        "factors": {
            "activation": {"key": "model.init_args.activation", "levels": ["sigmoid", "tanh", "relu"]},
            "init": {"key": "model.init_args.init", "levels": ["xavier", "he"]},
        },
        "seeds": 5,
        "metric": {"name": "test/acc", "goal": "max"},
    }
    return parse_study(content | changes)


def one_factor(levels=("a", "b"), **changes: Any) -> Study:
    """Make a study of one factor `x` with these levels, the first of which is the reference."""
    return make_study(factors={"x": {"key": "model.init_args.x", "levels": list(levels)}}, **changes)


def make_result(
    score: float | None = None, *, status: str = TrialStatus.FINISHED, metric: str = "test/acc", **fields: Any
) -> Result:
    """Make a result with one final metric, or of a trial that diverged or failed."""
    if status == TrialStatus.DIVERGED:
        fields = {"diverged_epoch": 1, "epochs": ({"train/loss": 1.0}, {"train/loss": float("nan")})} | fields
    if status == TrialStatus.FAILED:
        fields = {"error": "Traceback: RuntimeError: boom"} | fields
    metrics = {} if score is None else {metric: score}
    return Result(status=status, **({"metrics": metrics, "seconds": 1.5, "num_parameters": 10} | fields))


def make_trials(study: Study) -> list[Trial]:
    """Return the trials of a study whose classes need not exist."""
    return [trial for cell in build_cells(study) for trial in create_trials(cell.config, cell.levels, study.seeds)]


def make_ledger(directory: Path, study: Study, measure: Measure) -> Path:
    """Make a study folder with the results `measure(levels, seed)`; None leaves a trial pending."""
    directory.mkdir(exist_ok=True)
    trials = make_trials(study)
    with Ledger(directory / "ledger.sqlite", writable=True) as ledger:
        ledger.plan(study.name, study.to_dict(), trials)
        done = {row["trial_id"] for row in ledger.trials() if row["status"] != TrialStatus.PENDING}
        for trial in trials:
            result = measure(trial.levels, trial.seed)
            if result is not None and trial.trial_id not in done:
                ledger.start(trial.trial_id, "torch 0")
                ledger.record({trial.trial_id: result})
    return directory

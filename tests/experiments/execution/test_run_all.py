"""Order, budget and failures of several studies; no test trains."""

import sqlite3

import pytest
from small_study import small_study

from experiments import InputError, Ledger, Outcome, StudyError, parse_study
from experiments.errors import DirectoryError, Problem, RunnerError
from experiments.execution.run_all import format_summary, make_job, parse_budget, run_all, sort_by_total_minutes
from experiments.study.catalogue import Entry
from experiments.trials.trial import Result, TrialStatus, create_trials


def job(directory, name="study", minutes=1.0, seeds=2):
    entry = Entry(name=name, question="?", chapter=None, minutes=minutes, num_cells=2, num_seeds=2)
    return make_job(entry, parse_study(small_study(seeds=seeds), name=name), directory / name)


def outcome(job, failed=0):
    return Outcome(directory=job.directory, counts={"finished": 4 - failed, "failed": failed}, num_trained=4)


class Clock:
    """Clock that advances only while a study trains."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


def run_for(jobs, seconds, budget):
    """Run jobs that take so many seconds each, and return their outcomes and the names of those that started."""
    clock, started = Clock(), []

    def train(job):
        started.append(job.study.name)
        clock.seconds += seconds[job.study.name]
        return outcome(job)

    return run_all(jobs, train, lambda line: None, budget_seconds=budget, clock=clock), started


def test_jobs_are_sorted_by_total_minutes_with_unknown_ones_last(tmp_path):
    jobs = [job(tmp_path, "unknown", None), job(tmp_path, "dear", 9), job(tmp_path, "cheap", 1)]
    assert [each.study.name for each in sort_by_total_minutes(jobs)] == ["cheap", "dear", "unknown"]


def test_the_expected_minutes_scale_with_the_number_of_seeds(tmp_path):
    assert job(tmp_path, minutes=6, seeds=1).minutes_left == 3
    assert job(tmp_path, minutes=6, seeds=4).total_minutes == 12


def test_the_expected_minutes_scale_with_the_missing_trials(tmp_path):
    tanh, relu = (create_trials({"model": level}, {"activation": level}, (0, 1)) for level in ("tanh", "relu"))
    trials = [*tanh, *relu]
    (tmp_path / "study").mkdir()
    study = parse_study(small_study(), name="study")
    with Ledger(tmp_path / "study" / "ledger.sqlite", writable=True) as ledger:
        ledger.plan("study", study.to_dict(), trials)
        for trial, status in zip(trials, list(TrialStatus)[2:], strict=False):  # one stays pending
            ledger.start(trial.trial_id, "{}")
            ledger.record({trial.trial_id: Result(status=status)})
    found = job(tmp_path, minutes=8)
    assert (found.minutes_left, found.total_minutes) == (2, 8)
    assert job(tmp_path, minutes=8, seeds=1).minutes_left == 0  # more trials have ended than this asks for
    entry = Entry(name="study", question="?", chapter=None, minutes=8.0, num_cells=2, num_seeds=2)
    other = parse_study(small_study(), name="study", changes={"trainer.max_epochs": 77})
    assert make_job(entry, other, tmp_path / "study").minutes_left == 8  # those trials are of another plan


@pytest.mark.parametrize(
    "make", [lambda path: path.write_text("no ledger"), lambda path: sqlite3.connect(path).close()]
)
def test_with_an_unreadable_ledger_all_trials_are_missing(tmp_path, make):
    (tmp_path / "study").mkdir()
    make(tmp_path / "study" / "ledger.sqlite")
    assert job(tmp_path, minutes=8).minutes_left == 8


def test_a_study_that_does_not_fit_into_the_budget_is_skipped_with_the_reason(tmp_path):
    jobs = [job(tmp_path, "a", 1), job(tmp_path, "b", 2), job(tmp_path, "c", 3), job(tmp_path, "d", None)]
    outcomes, started = run_for(jobs, {"a": 100, "b": 150}, budget=240)
    assert started == ["a", "b"]
    assert [each.state for each in outcomes] == ["complete", "complete", "skipped (budget)", "skipped (budget)"]
    assert outcomes[2].reason == "it takes about 3 min 00 s, and the budget is used up"
    assert outcomes[3].reason == "its file does not give its expected time (`minutes`), and the budget is used up"
    outcomes, started = run_for(jobs, {"a": 100, "b": 150}, budget=200)
    assert started == ["a"]
    assert outcomes[1].reason == "it takes about 2 min 00 s, and 1 min 40 s of the budget remains"


def test_a_started_study_is_finished_even_if_the_budget_is_used_up(tmp_path):
    outcomes, started = run_for([job(tmp_path, "a", 1)], {"a": 1000}, budget=60)
    assert (started, [each.state for each in outcomes]) == (["a"], ["complete"])


def test_a_complete_study_is_run_whatever_is_left_of_the_budget(tmp_path):
    done = job(tmp_path, "done", 1, seeds=2)
    done = type(done)(study=done.study, directory=done.directory, minutes_left=0.0, total_minutes=5.0)
    _, started = run_for([job(tmp_path, "a", 1), done], {"a": 100, "done": 0}, budget=60)
    assert started == ["a", "done"]


def test_without_a_budget_all_run(tmp_path):
    outcomes, started = run_for([job(tmp_path, "a", None), job(tmp_path, "b", 9e9)], {"a": 1, "b": 1}, budget=None)
    assert started == ["a", "b"]
    assert format_summary(outcomes) == ["2 studies: 2 complete"]


def problem(*, is_absent_data):
    return Problem(where="base.data", what="D cannot prepare its data: no", is_absent_data=is_absent_data)


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (StudyError("s.yaml", [problem(is_absent_data=True)]), "data missing", "base.data: D cannot prepare its"),
        (StudyError("s.yaml", [problem(is_absent_data=False)]), "stopped by an error", "base.data: D cannot"),
        (
            StudyError("s.yaml", [problem(is_absent_data=True), problem(is_absent_data=False)]),
            "stopped by an error",
            "base.data: D cannot",
        ),
        (DirectoryError("runs/a: is in use"), "stopped by an error", "runs/a: is in use"),
        (ZeroDivisionError("division by zero"), "stopped by an error", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_error_in_one_study_is_printed_and_the_next_one_starts(tmp_path, error, state, reason):
    def train(job):
        if job.study.name == "a":
            raise error
        return outcome(job)

    lines, after = [], []
    jobs = [job(tmp_path, "a"), job(tmp_path, "b")]
    outcomes = run_all(jobs, train, lines.append, on_job_end=lambda: after.append(len(lines)))
    assert [each.state for each in outcomes] == [state, "complete"]
    assert lines[1].startswith(f"a: {state}: ")
    first, second = format_summary(outcomes)
    assert first == f"2 studies: 1 complete, 1 {state}"
    assert second.startswith(f"- a: {state}: {reason}")
    assert len(after) == 2


def test_studies_of_one_reason_are_one_line(tmp_path):
    def train(job):
        raise StudyError(f"{job.study.name}.yaml", [problem(is_absent_data=True)])

    outcomes = run_all([job(tmp_path, "a"), job(tmp_path, "b")], train, lambda line: None)
    assert format_summary(outcomes) == [
        "2 studies: 2 data missing",
        "- a, b: data missing: base.data: D cannot prepare its data: no",
    ]


def test_a_study_with_failed_trials_names_the_command_to_retry_them(tmp_path):
    outcomes = run_all([job(tmp_path)], lambda job: outcome(job, failed=1), lambda line: None)
    assert outcomes[0].state == "with failed trials"
    assert outcomes[0].reason == f"1 trial failed; `ablate retry {tmp_path / 'study'}` makes it pending again"


@pytest.mark.parametrize("error", [RunnerError("the cluster is gone"), KeyboardInterrupt()])
def test_a_lost_runner_and_an_interrupt_end_all_studies(tmp_path, error):
    def train(job):
        raise error

    with pytest.raises(type(error)):
        run_all([job(tmp_path, "a"), job(tmp_path, "b")], train, lambda line: None)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), (" 0.5m ", 30)])
def test_a_budget_has_a_unit(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["30", "", "m", "-3m", "0m", "0.0h", "1d", "inf s", "1h30m", "nan"])
def test_the_error_for_a_wrong_budget_shows_the_format(text):
    with pytest.raises(InputError, match="is not a valid time; give a positive time such as 90s, 30m or 2h"):
        parse_budget(text)

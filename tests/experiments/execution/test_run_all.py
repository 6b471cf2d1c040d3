"""The order, the budget and the failures of many studies; nothing trains here."""

import sqlite3

import pytest
from small_study import small_study

from experiments import InputError, Ledger, Outcome, StudyError, parse_study
from experiments.errors import DirectoryError, Problem, RunnerError
from experiments.execution.run_all import by_cost, job_of, parse_budget, run_all, summary_lines
from experiments.study.catalogue import Entry
from experiments.trials.trial import Result, TrialStatus, create_trials


def job(directory, name="study", minutes=1.0, seeds=2):
    entry = Entry(name=name, question="?", chapter=None, minutes=minutes, num_cells=2, num_seeds=2)
    return job_of(entry, parse_study(small_study(seeds=seeds), name=name), directory / name)


def outcome(job, failed=0):
    return Outcome(directory=job.directory, counts={"finished": 4 - failed, "failed": failed}, num_trained=4)


class Clock:
    """Seconds that pass only while something trains."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


def run_for(jobs, seconds, budget):
    """Run jobs that take so many seconds each; what came of them, and who began."""
    clock, begun = Clock(), []

    def train(job):
        begun.append(job.study.name)
        clock.seconds += seconds[job.study.name]
        return outcome(job)

    return run_all(jobs, train, lambda line: None, budget_seconds=budget, clock=clock), begun


def test_cheap_studies_come_first_and_those_of_unknown_cost_last(tmp_path):
    jobs = [job(tmp_path, "unknown", None), job(tmp_path, "dear", 9), job(tmp_path, "cheap", 1)]
    assert [each.study.name for each in by_cost(jobs)] == ["cheap", "dear", "unknown"]


def test_what_is_expected_goes_by_the_seeds_that_are_asked_for(tmp_path):
    assert job(tmp_path, minutes=6, seeds=1).minutes_left == 3
    assert job(tmp_path, minutes=6, seeds=4).cost == 12


def test_what_is_expected_goes_by_the_trials_that_are_missing(tmp_path):
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
    assert (found.minutes_left, found.cost) == (2, 8)
    assert job(tmp_path, minutes=8, seeds=1).minutes_left == 0  # more trials have ended than this asks for
    entry = Entry(name="study", question="?", chapter=None, minutes=8.0, num_cells=2, num_seeds=2)
    other = parse_study(small_study(), name="study", changes={"trainer.max_epochs": 77})
    assert job_of(entry, other, tmp_path / "study").minutes_left == 8  # those trials are of another plan


@pytest.mark.parametrize(
    "make", [lambda path: path.write_text("no ledger"), lambda path: sqlite3.connect(path).close()]
)
def test_a_ledger_that_cannot_be_read_leaves_all_to_be_done(tmp_path, make):
    (tmp_path / "study").mkdir()
    make(tmp_path / "study" / "ledger.sqlite")
    assert job(tmp_path, minutes=8).minutes_left == 8


def test_a_study_that_does_not_fit_what_is_left_of_the_budget_is_left_out_and_told_why(tmp_path):
    jobs = [job(tmp_path, "a", 1), job(tmp_path, "b", 2), job(tmp_path, "c", 3), job(tmp_path, "d", None)]
    ended, begun = run_for(jobs, {"a": 100, "b": 150}, budget=240)
    assert begun == ["a", "b"]
    assert [each.state for each in ended] == ["complete", "complete", "left out", "left out"]
    assert ended[2].why == "it takes about 3 min 00 s, and nothing of the budget is left"
    assert ended[3].why == "its file does not say how long it takes (`minutes`), and nothing of the budget is left"
    ended, begun = run_for(jobs, {"a": 100, "b": 150}, budget=200)
    assert begun == ["a"]
    assert ended[1].why == "it takes about 2 min 00 s, and 1 min 40 s of the budget are left"


def test_a_study_that_has_begun_is_finished_though_the_budget_is_gone(tmp_path):
    ended, begun = run_for([job(tmp_path, "a", 1)], {"a": 1000}, budget=60)
    assert (begun, [each.state for each in ended]) == (["a"], ["complete"])


def test_a_study_that_lacks_nothing_is_looked_at_whatever_is_left(tmp_path):
    done = job(tmp_path, "done", 1, seeds=2)
    done = type(done)(study=done.study, directory=done.directory, minutes_left=0.0, cost=5.0)
    _, begun = run_for([job(tmp_path, "a", 1), done], {"a": 100, "done": 0}, budget=60)
    assert begun == ["a", "done"]


def test_without_a_budget_all_run(tmp_path):
    ended, begun = run_for([job(tmp_path, "a", None), job(tmp_path, "b", 9e9)], {"a": 1, "b": 1}, budget=None)
    assert begun == ["a", "b"]
    assert summary_lines(ended) == ["2 studies: 2 complete"]


def problem(*, is_absent_data):
    return Problem(where="base.data", what="D cannot prepare its data: no", is_absent_data=is_absent_data)


@pytest.mark.parametrize(
    ("error", "state", "why"),
    [
        (StudyError("s.yaml", [problem(is_absent_data=True)]), "without its data", "base.data: D cannot prepare its"),
        (StudyError("s.yaml", [problem(is_absent_data=False)]), "could not be finished", "base.data: D cannot"),
        (
            StudyError("s.yaml", [problem(is_absent_data=True), problem(is_absent_data=False)]),
            "could not be finished",
            "base.data: D cannot",
        ),
        (DirectoryError("runs/a: is in use"), "could not be finished", "runs/a: is in use"),
        (ZeroDivisionError("division by zero"), "could not be finished", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_goes_wrong_with_one_study_is_told_and_the_next_one_begins(tmp_path, error, state, why):
    def train(job):
        if job.study.name == "a":
            raise error
        return outcome(job)

    told, after = [], []
    jobs = [job(tmp_path, "a"), job(tmp_path, "b")]
    ended = run_all(jobs, train, told.append, after=lambda: after.append(len(told)))
    assert [each.state for each in ended] == [state, "complete"]
    assert told[1].startswith(f"a: {state}: ")
    first, second = summary_lines(ended)
    assert first == f"2 studies: 1 complete, 1 {state}"
    assert second.startswith(f"- a ({state}): {why}")
    assert len(after) == 2


def test_studies_of_one_reason_are_one_line(tmp_path):
    def train(job):
        raise StudyError(f"{job.study.name}.yaml", [problem(is_absent_data=True)])

    ended = run_all([job(tmp_path, "a"), job(tmp_path, "b")], train, lambda line: None)
    assert summary_lines(ended) == [
        "2 studies: 2 without its data",
        "- a, b (without its data): base.data: D cannot prepare its data: no",
    ]


def test_failed_trials_are_a_state_of_their_own_with_the_way_to_retry(tmp_path):
    ended = run_all([job(tmp_path)], lambda job: outcome(job, failed=1), lambda line: None)
    assert ended[0].state == "with failed trials"
    assert ended[0].why == f"1 trial failed; `ablate retry {tmp_path / 'study'}` puts failed trials back"


@pytest.mark.parametrize("error", [RunnerError("the cluster is gone"), KeyboardInterrupt()])
def test_a_runner_that_is_gone_and_an_interrupt_end_everything(tmp_path, error):
    def train(job):
        raise error

    with pytest.raises(type(error)):
        run_all([job(tmp_path, "a"), job(tmp_path, "b")], train, lambda line: None)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), (" 0.5m ", 30)])
def test_a_budget_has_a_unit(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["30", "", "m", "-3m", "0m", "0.0h", "1d", "inf s", "1h30m", "nan"])
def test_another_budget_says_how_to_write_one(text):
    with pytest.raises(InputError, match="write a time above 0 as 90s, 30m or 2h"):
        parse_budget(text)

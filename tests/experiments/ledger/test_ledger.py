import json
import math
import sqlite3
from dataclasses import replace

import pytest

from experiments import Correct, Ledger, LedgerError, Result, TrialStatus
from experiments.ledger.file import APPLICATION_ID
from experiments.ledger.schema import MIGRATIONS, VERSION
from experiments.trials.trial import create_trials


def make_trial(activation="relu", seed=0):
    config = {"model": {"class_path": "M", "init_args": {"activation": activation}}, "data": None, "trainer": {}}
    return create_trials(config, {"activation": activation}, [seed])[0]


def finished(accuracy=0.9):
    epochs = ({"val/acc": 0.5}, {"val/acc": accuracy})
    return Result(status=TrialStatus.FINISHED, metrics={"test/acc": accuracy}, epochs=epochs, seconds=1.5, device="cpu")


FAILED = Result(
    status=TrialStatus.FAILED, error="Traceback ...\nValueError: no", seconds=9.0, epochs=({"val/acc": 0.1},)
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path):
    with Ledger(path, writable=True) as ledger:
        yield ledger


def planned(ledger, *trials):
    return ledger.plan("study", {"name": "study"}, trials)


def test_planning_again_adds_only_what_is_new(ledger):
    assert planned(ledger, make_trial("relu"), make_trial("tanh")) == 2
    assert planned(ledger, make_trial("relu"), make_trial("tanh"), make_trial("relu", 1)) == 1
    assert ledger.counts()["pending"] == 3


def test_a_result_is_read_as_it_was_written(ledger):
    trial = make_trial()
    planned(ledger, trial)
    ledger.start(trial.trial_id, "{}")
    assert ledger.counts() == {"pending": 0, "running": 1, "finished": 0, "diverged": 0, "failed": 0}
    ledger.record({trial.trial_id: finished(0.75)})
    assert list(ledger.metrics()) == [(trial.trial_id, "test/acc", 0.75)]
    assert list(ledger.epochs()) == [(trial.trial_id, 0, "val/acc", 0.5), (trial.trial_id, 1, "val/acc", 0.75)]
    (row,) = ledger.trials()
    assert row["status"] == "finished"
    assert row["levels"] == {"activation": "relu"}
    assert row["seconds"] == 1.5
    assert row["attempts"] == 1


def test_a_result_is_on_disk_when_record_returns(ledger, path):
    trial = make_trial()
    planned(ledger, trial)
    ledger.start(trial.trial_id, "{}")
    ledger.record({trial.trial_id: finished()})
    with Ledger(path, writable=False) as reader:
        assert reader.counts()["finished"] == 1


def test_the_first_result_of_simultaneous_attempts_counts(ledger):
    trial = make_trial()
    planned(ledger, trial)
    assert [ledger.start(trial.trial_id, "{}") for _ in range(2)] == [1, 2]
    assert ledger.record_attempt(trial.trial_id, 1, finished(0.75))
    assert not ledger.record_attempt(trial.trial_id, 2, finished(0.25))
    found = ledger.trial(trial.trial_id)
    assert found["metrics"] == {"test/acc": 0.75}
    assert [attempt["status"] for attempt in found["history"]] == ["finished", "finished, after another attempt"]
    assert all(attempt["ended_at"] for attempt in found["history"])


def test_one_trial_is_released_and_another_keeps_running(ledger):
    mine, other = make_trial("relu"), make_trial("tanh")
    planned(ledger, mine, other)
    for trial in (mine, other):
        ledger.start(trial.trial_id, "{}")
    ledger.release(mine.trial_id)
    assert {row["trial_id"]: row["status"] for row in ledger.trials()} == {
        mine.trial_id: "pending",
        other.trial_id: "running",
    }
    ledger.release()
    assert ledger.counts()["pending"] == 2


def test_planning_again_may_leave_running_trials_running(ledger):
    trial = make_trial()
    planned(ledger, trial)
    ledger.start(trial.trial_id, "{}")
    ledger.plan("study", {"name": "study"}, [trial], keep_running=True)
    assert ledger.counts()["running"] == 1
    planned(ledger, trial)
    assert ledger.counts()["pending"] == 1
    assert ledger.planned_ids() == {trial.trial_id}


@pytest.mark.parametrize("pragma", ["journal_mode", "synchronous"])
def test_commits_are_synchronous(ledger, pragma):
    found = ledger._db.execute(f"PRAGMA {pragma}").fetchone()[0]
    assert found == {"journal_mode": "wal", "synchronous": 2}[pragma]


def test_nothing_is_counted_twice(ledger):
    trial = make_trial()
    planned(ledger, trial)
    ledger.start(trial.trial_id, "{}")
    ledger.record({trial.trial_id: finished(0.9)})
    with pytest.raises(ValueError, match=rf"trial {trial.trial_id} is finished; only a running one takes a result"):
        ledger.record({trial.trial_id: finished(0.1)})
    with pytest.raises(ValueError, match=r"trial ffff is unknown"):
        ledger.record({"ffff": finished()})
    assert [value for *_, value in ledger.metrics()] == [0.9]


def test_a_killed_command_leaves_its_running_trials_pending_at_the_next_plan(ledger):
    trial = make_trial()
    planned(ledger, trial)
    ledger.start(trial.trial_id, "{}")
    assert planned(ledger, trial) == 0
    assert ledger.counts()["pending"] == 1
    assert ledger.trial(trial.trial_id)["history"][0]["ended_at"] is None


def test_a_retried_trial_keeps_the_traceback_of_its_first_attempt(ledger):
    trial = make_trial()
    planned(ledger, trial)
    ledger.start(trial.trial_id, "{}")
    ledger.record({trial.trial_id: FAILED})
    assert ledger.pending() == []
    assert ledger.retry() == 1
    assert [pending.trial_id for pending in ledger.pending()] == [trial.trial_id]
    assert (ledger.trials()[0]["seconds"], list(ledger.epochs())) == (None, [])
    ledger.start(trial.trial_id, "{}")
    ledger.record({trial.trial_id: finished()})
    row = ledger.trial(trial.trial_id)
    assert row["status"] == "finished"
    assert row["error"] is None
    assert [attempt["status"] for attempt in row["history"]] == ["failed", "finished"]
    assert row["history"][0]["error"].endswith("ValueError: no")


def test_trials_that_are_no_longer_planned_are_kept_but_not_read(ledger):
    stays, leaves = make_trial("relu"), make_trial("tanh")
    planned(ledger, stays, leaves)
    for trial in (stays, leaves):
        ledger.start(trial.trial_id, "{}")
        ledger.record({trial.trial_id: finished()})
    planned(ledger, stays)
    assert [row["trial_id"] for row in ledger.trials()] == [stays.trial_id]
    assert {trial for trial, *_ in ledger.metrics()} == {stays.trial_id}
    assert ledger.num_unplanned() == 1
    planned(ledger, stays, leaves)
    assert ledger.counts()["finished"] == 2


def test_cells_are_counted_in_the_order_of_the_plan(ledger):
    relu, tanh, left = make_trial("relu"), make_trial("tanh"), make_trial("elu")
    planned(ledger, relu, make_trial("relu", 1), left)
    ledger.record({relu.trial_id: finished(), left.trial_id: finished()})
    planned(ledger, tanh, relu, make_trial("relu", 1))
    nothing = {"pending": 0, "running": 0, "finished": 0, "diverged": 0, "failed": 0}
    assert ledger.cells() == [
        ({"activation": "tanh"}, nothing | {"pending": 1}),
        ({"activation": "relu"}, nothing | {"pending": 1, "finished": 1}),
    ]


def test_pending_trials_are_listed_seed_by_seed(ledger):
    trials = [make_trial(activation, seed) for activation in ("relu", "tanh") for seed in (0, 1)]
    planned(ledger, *trials)
    assert [(trial.seed, trial.levels["activation"]) for trial in ledger.pending()] == [
        (0, "relu"),
        (0, "tanh"),
        (1, "relu"),
        (1, "tanh"),
    ]
    assert ledger.pending()[0] == trials[0]


def test_nan_and_infinities_are_read_as_written(ledger):
    trial = make_trial()
    planned(ledger, trial)
    ledger.start(trial.trial_id, "{}")
    metrics = {"a": math.nan, "b": math.inf, "c": -math.inf}
    ledger.record({trial.trial_id: Result(status=TrialStatus.FINISHED, metrics=metrics)})
    found = ledger.trial(trial.trial_id)["metrics"]
    assert math.isnan(found["a"])
    assert (found["b"], found["c"]) == (math.inf, -math.inf)


def test_a_trial_is_found_by_the_beginning_of_its_id(ledger):
    trial = make_trial()
    planned(ledger, trial, make_trial("tanh"))
    assert ledger.trial(trial.trial_id[:6])["config"] == trial.config
    with pytest.raises(LedgerError, match=r"no trial has an id that begins with 'zz'"):
        ledger.trial("zz")
    with pytest.raises(LedgerError, match=r"more than one trial has an id that begins with ''"):
        ledger.trial("")


def test_finding_a_trial_does_not_read_all_of_them(ledger):
    """Count SQLite's instructions: 8 ms a trial at 100,000 trials made `wandb verify` take 13 minutes."""

    def num_instructions():
        counted = []
        ledger._db.set_progress_handler(lambda: counted.append(1), 1)
        ledger.trial(make_trial("relu", 0).trial_id[:12])
        ledger._db.set_progress_handler(None, 1)
        return len(counted)

    planned(ledger, make_trial("relu", 0))
    of_one = num_instructions()
    planned(ledger, *(make_trial("relu", seed) for seed in range(3000)))
    assert num_instructions() < 2 * of_one


def test_a_reader_does_not_wait_for_the_writer(ledger, path):
    planned(ledger, make_trial())
    with ledger._transaction(), Ledger(path, writable=False) as reader:
        assert reader.counts()["pending"] == 1


def test_a_missing_ledger_is_an_error(path):
    with pytest.raises(LedgerError, match=r"ledger.sqlite: there is no ledger; `ablate run` makes one"):
        Ledger(path, writable=False)


def test_a_damaged_ledger_is_an_error_and_is_not_changed(path):
    path.write_bytes(b"this is no database at all, but it is long enough to be looked at" * 20)
    before = path.read_bytes()
    for writable in (False, True):
        with pytest.raises(LedgerError, match=r"ledger.sqlite: is damaged or not a ledger .*restore it from a copy"):
            Ledger(path, writable=writable)
    assert path.read_bytes() == before


def test_a_truncated_ledger_is_an_error(ledger, path):
    planned(ledger, *[make_trial(seed=seed) for seed in range(200)])
    ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger._db.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        pytest.raises(LedgerError, match=r"ledger.sqlite: is damaged or not a ledger"),
        Ledger(path, writable=False) as cut,
    ):
        cut.trials()


def test_a_ledger_from_a_newer_release_is_an_error_and_is_not_changed(ledger, path):
    ledger._db.execute(f"PRAGMA user_version = {VERSION + 1}")
    ledger._db.close()
    with pytest.raises(LedgerError, match=rf"has version {VERSION + 1}, from a newer release of the suite; this one"):
        Ledger(path, writable=True)


def test_another_sqlite_file_is_not_accepted_as_a_ledger(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(LedgerError, match=r"is an SQLite file, but not a ledger of this suite"):
        Ledger(path, writable=True)


def test_a_failed_write_leaves_nothing_half_done(ledger):
    trial = make_trial()
    planned(ledger, trial)
    ledger.start(trial.trial_id, "{}")
    with pytest.raises((TypeError, ValueError)):
        ledger.record({trial.trial_id: Result(status=TrialStatus.FINISHED, metrics={"a": 1.0, "b": "text"})})
    assert list(ledger.metrics()) == []
    assert ledger.counts()["running"] == 1


def test_notes_on_the_data_are_those_of_the_last_plan(ledger, path):
    assert ledger.notes() == []
    ledger.plan("study", {"name": "study"}, [make_trial()], ["one", "two \x1b \ud800"])
    with Ledger(path, writable=False) as reader:
        assert reader.notes() == ["one", "two \x1b \ud800"]
    planned(ledger, make_trial())
    assert ledger.notes() == []


def make_first_version(path):
    """Write a ledger as the first release did, with one finished trial."""
    trial = make_trial()
    with sqlite3.connect(path) as old:
        old.executescript(MIGRATIONS[0])
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        old.execute("INSERT INTO study VALUES (1, 'study', '{\"name\": \"study\"}', '2026-01-01')")
        old.execute(
            "INSERT INTO cells VALUES (1, ?, ?, ?, 0)",
            (trial.config_id, json.dumps(trial.levels), json.dumps(trial.config)),
        )
        old.execute(
            "INSERT INTO trials (trial_id, cell, seed, planned, status) VALUES (?, 1, 0, 1, 'finished')",
            (trial.trial_id,),
        )
    old.close()
    return trial


def version_of(path):
    with sqlite3.connect(path) as database:
        found = database.execute("PRAGMA user_version").fetchone()[0]
    database.close()
    return found


def test_a_ledger_of_the_first_version_is_read_without_migration(path):
    trial = make_first_version(path)
    before = path.read_bytes()
    with Ledger(path, writable=False) as reader:
        assert (reader.notes(), reader.fingerprints(), reader.study_content()) == ([], {}, {"name": "study"})
        assert [row["trial_id"] for row in reader.trials()] == [trial.trial_id]
        assert (list(reader.correct()), reader.trial(trial.trial_id)["correct"]) == ([], None)
        assert reader.metric_orders() == []
    assert path.read_bytes() == before


def test_a_ledger_of_the_first_version_is_migrated_when_it_is_written(path):
    trial = make_first_version(path)
    with Ledger(path, writable=True) as ledger:
        assert (ledger.notes(), ledger.fingerprints()) == ([], {})
        assert ledger.plan("study", {"name": "study"}, [trial, make_trial(seed=1)], ["a note"], {"a.tsv": "1f"}) == 1
        assert (ledger.notes(), ledger.counts()["finished"]) == (["a note"], 1)
        assert list(ledger.correct()) == []
    assert version_of(path) == VERSION == 5
    with Ledger(path, writable=False) as reader:
        assert (reader.notes(), reader.fingerprints()) == (["a note"], {"a.tsv": "1f"})


def logged(*names):
    return Result(status=TrialStatus.FINISHED, epochs=(dict.fromkeys(names, 0.5), dict.fromkeys((*names, "late"), 0.5)))


def test_the_order_in_which_metrics_were_logged_is_kept_for_each_cell(ledger, path):
    relu, again, tanh, gone = make_trial(), make_trial(seed=1), make_trial("tanh"), make_trial("gone")
    planned(ledger, relu, again, tanh, gone)
    ledger.record({relu.trial_id: logged("z"), again.trial_id: logged("z", "a"), gone.trial_id: logged("c")})
    ledger.record({tanh.trial_id: Result(status=TrialStatus.FAILED, error="Traceback")})
    planned(ledger, tanh, relu, again)
    with Ledger(path, writable=False) as reader:
        assert reader.metric_orders() == [["z", "a", "late"]]  # the longer of the cell's two


def test_equal_orders_of_metrics_are_returned_once(ledger):
    relu, tanh = make_trial(), make_trial("tanh")
    planned(ledger, tanh, relu)
    ledger.record({relu.trial_id: logged("b", "a"), tanh.trial_id: logged("b", "a")})
    assert ledger.metric_orders() == [["b", "a", "late"]]


CORRECT = Correct(num_examples=10, bits=b"\xf0\x40", targets="aa", examples="bb")


def test_correct_examples_are_read_as_written(ledger, path):
    trial, other = make_trial(), make_trial(seed=1)
    planned(ledger, trial, other)
    ledger.record({trial.trial_id: replace(finished(), correct=CORRECT), other.trial_id: finished()})
    with Ledger(path, writable=False) as reader:
        assert list(reader.correct()) == [(trial.trial_id, CORRECT)]
        assert reader.trial(trial.trial_id)["correct"] == CORRECT
        assert reader.trial(other.trial_id)["correct"] is None


def test_bits_of_trials_no_longer_planned_are_kept_but_not_read(ledger):
    trial = make_trial()
    planned(ledger, trial)
    ledger.record({trial.trial_id: replace(finished(), correct=CORRECT)})
    planned(ledger, make_trial(seed=1))
    assert list(ledger.correct()) == []
    assert ledger.trial(trial.trial_id)["correct"] == CORRECT


def test_bits_and_result_are_one_transaction(ledger):
    trial, other = make_trial(), make_trial(seed=1)
    planned(ledger, trial, other)
    whole, broken = replace(finished(), correct=CORRECT), replace(CORRECT, bits=None)
    with pytest.raises(LedgerError, match=r"NOT NULL constraint failed: tested\.bits"):
        ledger.record({trial.trial_id: whole, other.trial_id: replace(finished(), correct=broken)})
    assert (list(ledger.correct()), list(ledger.metrics()), ledger.counts()["finished"]) == ([], [], 0)
    ledger.record({trial.trial_id: whole})
    assert list(ledger.correct()) == [(trial.trial_id, CORRECT)]


def test_a_retried_trial_has_the_bits_of_its_last_attempt(ledger):
    trial = make_trial()
    planned(ledger, trial)
    ledger.record({trial.trial_id: replace(FAILED, correct=CORRECT)})
    ledger.retry()
    assert list(ledger.correct()) == []
    ledger.record({trial.trial_id: replace(finished(), correct=replace(CORRECT, bits=b"\x00\x00"))})
    assert [correct.num_right for _, correct in ledger.correct()] == [0]


def test_the_bits_of_ten_thousand_examples_take_little_more_than_their_bytes(tmp_path):
    sizes = {}
    for correct in (None, Correct(num_examples=10_000, bits=bytes(1250), targets="a" * 16, examples="b" * 16)):
        path = tmp_path / f"{correct is None}.sqlite"
        trials = [make_trial(seed=seed) for seed in range(200)]
        with Ledger(path, writable=True) as ledger:
            planned(ledger, *trials)
            ledger.record({trial.trial_id: replace(finished(), correct=correct) for trial in trials})
        sizes[correct is None] = path.stat().st_size
    assert 1250 < (sizes[False] - sizes[True]) / 200 < 1500


def test_a_lost_trial_is_pending_again_and_its_attempt_stays(ledger):
    one, other = make_trial("relu"), make_trial("tanh")
    planned(ledger, one, other)
    for trial in (one, other):
        ledger.start(trial.trial_id, "{}")
    ledger.requeue([one.trial_id, other.trial_id], "lost", "the worker process was ended by SIGKILL")
    assert ledger.counts()["pending"] == 2
    ledger.start(one.trial_id, "{}")
    ledger.record({one.trial_id: finished()})
    history = ledger.trial(one.trial_id)["history"]
    assert [(attempt["status"], attempt["error"]) for attempt in history] == [
        ("lost", "the worker process was ended by SIGKILL"),
        ("finished", None),
    ]
    assert all(attempt["ended_at"] for attempt in history)


def test_requeueing_a_trial_that_is_not_running_changes_nothing(ledger):
    one, other = make_trial("relu"), make_trial("tanh")
    planned(ledger, one, other)
    ledger.start(one.trial_id, "{}")
    ledger.record({one.trial_id: finished()})
    ledger.requeue([one.trial_id, other.trial_id], "lost", "no")
    assert (ledger.counts()["finished"], ledger.counts()["pending"]) == (1, 1)
    assert [attempt["status"] for attempt in ledger.trial(one.trial_id)["history"]] == ["finished"]
    assert ledger.trial(other.trial_id)["history"] == []


def test_unfused_trials_are_recorded_at_once_and_running_ones_become_pending(ledger):
    one, other = make_trial("relu"), make_trial("tanh")
    planned(ledger, one, other)
    ledger.start(one.trial_id, "{}")
    ledger.record_unfused({one.trial_id: "it draws", other.trial_id: "it is alone"})
    assert {row["trial_id"]: row["why_alone"] for row in ledger.trials()} == {
        one.trial_id: "it draws",
        other.trial_id: "it is alone",
    }
    assert ledger.counts()["pending"] == 2
    assert [attempt["status"] for attempt in ledger.trial(one.trial_id)["history"]] == ["not fused"]


def test_expected_seconds_are_the_mean_of_the_cell(ledger):
    trials = [make_trial("relu", seed) for seed in range(3)] + [make_trial("tanh", 0), make_trial("elu", 0)]
    planned(ledger, *trials)
    for trial, seconds in zip(trials[:2], (2.0, 4.0), strict=True):
        ledger.start(trial.trial_id, "{}")
        ledger.record({trial.trial_id: replace(finished(), seconds=seconds)})
    ledger.start(trials[3].trial_id, "{}")
    ledger.record({trials[3].trial_id: FAILED})  # how long it takes to fail says nothing
    assert ledger.expected_seconds() == {trials[2].trial_id: 3.0}


def test_a_result_waits_for_the_disk_and_a_start_does_not(ledger):
    """Check that only results survive a power failure: a trial whose start is lost is trained again."""
    trial = make_trial()
    planned(ledger, trial)
    ledger.start(trial.trial_id, "{}")
    assert ledger._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL

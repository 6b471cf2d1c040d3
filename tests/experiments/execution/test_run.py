"""Runs of small studies: what is trained, what is recorded, and how a second command continues."""

import csv
import sqlite3

import pytest
import yaml
from small_study import small_study

from experiments import (
    DirectoryError,
    InputError,
    Ledger,
    LedgerError,
    RunOptions,
    Sink,
    StudyError,
    load_study,
    parse_study,
    run,
)
from experiments.ledger.study_folder import lock_folder
from reports import build_report


class Recorder(Sink):
    """Sink that records its events."""

    def __init__(self):
        self.events = []

    def on_data_notes(self, notes):
        if notes:
            self.events.append(("notes", notes))

    def on_planned(self, counts, groups, num_slots):
        self.events.append(("planned", dict(counts), sum(len(group.trials) for group in groups), num_slots))

    def on_started(self, trial):
        self.events.append(("started", trial.trial_id))

    def on_epoch_ended(self, trial, event):
        self.events.append(("epoch", trial.trial_id, event.epoch))

    def on_unfused(self, trial, reason):
        self.events.append(("unfused", trial.trial_id, reason))

    def on_requeued(self, trial, reason):
        self.events.append(("requeued", trial.trial_id, reason))

    def on_ended(self, trial, result):
        self.events.append(("ended", trial.trial_id, result.status))


def train(study, directory, **options):
    recorder = Recorder()
    options = RunOptions(**{"runner": "inline", "fuse": "never"} | options)
    outcome = run(parse_study(study, name="small"), directory, options, [recorder])
    return outcome, recorder.events


def results(directory):
    with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
        return {(row["levels"]["activation"], row["seed"]): row["status"] for row in ledger.trials()}, {
            (trial, name): value for trial, name, value in ledger.metrics()
        }


def test_every_trial_is_trained_once_and_its_events_come_in_order(tmp_path):
    outcome, events = train(small_study(), tmp_path / "s")
    assert outcome.num_trained == 4
    assert outcome.counts["finished"] == 4
    assert events[0] == ("planned", {"pending": 4, "running": 0, "finished": 0, "diverged": 0, "failed": 0}, 4, 1)
    first = events[1][1]
    assert events[1:4] == [("started", first), ("epoch", first, 0), ("ended", first, "finished")]
    statuses, metrics = results(tmp_path / "s")
    assert set(statuses.values()) == {"finished"}
    assert {name for _, name in metrics} == {f"{s}/{m}" for s in ("train", "val", "test") for m in ("loss", "acc")}


def test_a_trial_that_fails_keeps_the_epochs_that_it_reported(tmp_path):
    study = {
        "question": "?",
        "base": {
            "model": {"class_path": "user_module.UserModule"},
            "data": {"class_path": "user_module.UserData"},
            "trainer": {"max_epochs": 3, "accelerator": "cpu"},
        },
        "factors": {"fails": {"key": "model.init_args.fails", "levels": ["", "raises"]}},  # in its second epoch
        "seeds": 2,
        "metric": {"name": "test/loss", "goal": "min"},
    }
    train(study, tmp_path / "s")
    with Ledger(tmp_path / "s" / "ledger.sqlite", writable=False) as ledger:
        trials = [ledger.trial(row["trial_id"]) for row in ledger.trials()]
    assert [(trial["status"], len(trial["epochs"])) for trial in trials] == [("finished", 3)] * 2 + [("failed", 1)] * 2
    assert "train/loss" in trials[-1]["epochs"][0]
    report = build_report(tmp_path / "s")
    assert (report.curve_differences["n"] == 0).all()


@pytest.mark.slow
def test_both_runners_give_the_same_bits(tmp_path):
    train(small_study(), tmp_path / "inline")
    train(small_study(), tmp_path / "local", runner="local", num_slots=2)
    assert results(tmp_path / "inline") == results(tmp_path / "local")


def test_running_again_trains_nothing_and_a_new_level_or_seed_only_itself(tmp_path):
    train(small_study(seeds=1), tmp_path / "s")
    assert train(small_study(seeds=1), tmp_path / "s")[0].num_trained == 0
    assert train(small_study(seeds=2), tmp_path / "s")[0].num_trained == 2
    wider = small_study(seeds=2)
    wider["factors"]["activation"]["levels"] = ["tanh", "relu", "elu"]
    before = results(tmp_path / "s")[1]
    assert train(wider, tmp_path / "s")[0].num_trained == 2
    after = results(tmp_path / "s")[1]
    assert before.items() <= after.items()


def test_the_folder_holds_the_study_with_its_changes(tmp_path):
    train(small_study(), tmp_path / "s")
    assert load_study(tmp_path / "s" / "study.yaml") == parse_study(small_study(), name="small")
    with sqlite3.connect(tmp_path / "s" / "ledger.sqlite") as database:
        assert database.execute("SELECT count(*) FROM trials WHERE status = 'finished'").fetchone() == (4,)
    database.close()
    assert not list((tmp_path / "s").glob("ledger.sqlite-*"))


def test_a_study_file_in_the_studys_folder_is_not_rewritten(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    file = folder / "study.yaml"
    text = "# mine\n" + yaml.safe_dump(small_study(name="small", seeds=1))
    file.write_text(text)
    run(load_study(file), folder, RunOptions(runner="inline", fuse="never"))
    assert file.read_text() == text


def failing(fails, **changes):
    base = {
        "model": {"class_path": "user_module.UserModule"},
        "data": {"class_path": "user_module.UserData"},
        "trainer": {"max_epochs": 3, "accelerator": "cpu"},
    }
    return small_study(base=base, factors={"activation": {"key": "model.init_args.fails", "levels": fails}}, **changes)


def test_failed_and_diverged_trials_affect_no_other_and_are_not_retried(tmp_path):
    outcome, _ = train(failing(["", "raises", "diverges"], seeds=2), tmp_path / "s")
    assert outcome.counts == {"pending": 0, "running": 0, "finished": 2, "diverged": 2, "failed": 2}
    assert train(failing(["", "raises", "diverges"], seeds=2), tmp_path / "s")[0].num_trained == 0
    with Ledger(tmp_path / "s" / "ledger.sqlite", writable=True) as ledger:
        failed = next(row for row in ledger.trials() if row["status"] == "failed")
        assert failed["error"].rstrip().endswith("ValueError: the user's own error")
        assert ledger.retry() == 2
    assert train(failing(["", "raises", "diverges"], seeds=2), tmp_path / "s")[0].num_trained == 2


def test_an_interrupted_run_keeps_what_is_finished_and_continues(tmp_path):
    class Impatient(Recorder):
        def on_ended(self, trial, result):
            if len([word for word, *_ in self.events if word == "ended"]) == 1:
                raise KeyboardInterrupt
            super().on_ended(trial, result)

    study = parse_study(small_study(), name="small")
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "s", RunOptions(runner="inline", fuse="never"), [Impatient()])
    with Ledger(tmp_path / "s" / "ledger.sqlite", writable=False) as ledger:
        assert ledger.counts() == {"pending": 2, "running": 0, "finished": 2, "diverged": 0, "failed": 0}
    assert train(small_study(), tmp_path / "s")[0].num_trained == 2


@pytest.mark.slow
def test_data_loaders_may_have_worker_processes(tmp_path):
    study = failing(["", "none"], seeds=1)
    study["base"]["data"]["init_args"] = {"num_workers": 2}
    outcome, _ = train(study, tmp_path / "s", runner="local", num_slots=1)
    assert outcome.counts["finished"] == 2


def test_a_command_killed_while_it_made_the_ledger_continues(tmp_path):
    (tmp_path / "s").mkdir()
    with sqlite3.connect(tmp_path / "s" / "ledger.sqlite") as database:
        database.execute("PRAGMA journal_mode = WAL")
    database.close()
    assert train(small_study(seeds=1), tmp_path / "s")[0].num_trained == 2


def test_a_study_file_of_the_users_is_not_overwritten(tmp_path):
    (tmp_path / "study.yaml").write_text("mine: 1\n")
    train(small_study(seeds=1), tmp_path)
    assert (tmp_path / "study.yaml").read_text() == "mine: 1\n"


def double(**changes):
    study = small_study(**changes)
    study["base"]["trainer"]["precision"] = "64-true"
    return study


def rows_of(directory):
    with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
        return {row["trial_id"]: row for row in ledger.trials()}


@pytest.mark.slow
def test_fused_trials_give_the_results_of_unfused_ones(tmp_path):
    train(double(seeds=3), tmp_path / "alone")
    outcome, events = train(double(seeds=3), tmp_path / "together", runner="local", num_slots=2, fuse="auto")
    assert outcome.num_trained == 6
    assert {row["backend"] for row in rows_of(tmp_path / "together").values()} == {"fused"}
    assert {row["backend"] for row in rows_of(tmp_path / "alone").values()} == {"lightning"}
    one, other = results(tmp_path / "alone"), results(tmp_path / "together")
    assert one[0] == other[0]
    assert other[1] == pytest.approx(one[1], rel=1e-9, abs=1e-9)
    assert [word for word, *_ in events].count("ended") == 6


def test_a_trial_that_cannot_be_fused_is_trained_and_the_ledger_has_the_reason(tmp_path):
    outcome, _ = train(failing(["", "diverges"], seeds=1), tmp_path / "s", fuse="auto")
    assert outcome.counts["finished"] + outcome.counts["diverged"] == 2
    for row in rows_of(tmp_path / "s").values():
        assert (row["backend"], row["why_alone"]) == ("lightning", "UserModule overrides on_train_epoch_end")


def test_a_group_whose_first_step_shows_a_difference_is_unfused(tmp_path):
    base = {
        "model": {"class_path": "fusable_module.ReadsTrainer"},
        "data": {"class_path": "fusable_module.Points"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    factors = {"activation": {"key": "model.init_args.lr", "levels": [0.1, 0.2]}}
    outcome, events = train(small_study(base=base, factors=factors, seeds=1), tmp_path / "s", fuse="auto")
    assert outcome.counts["finished"] == 2
    assert [word for word, *_ in events] == [
        *("planned", "started", "started", "unfused", "unfused"),
        *("started", "epoch", "ended", "started", "epoch", "ended"),
    ]
    with Ledger(tmp_path / "s" / "ledger.sqlite", writable=False) as ledger:
        for trial in rows_of(tmp_path / "s"):
            row = ledger.trial(trial)
            assert row["why_alone"] == "it reads self.trainer.callbacks"
            assert [attempt["status"] for attempt in row["history"]] == ["not fused", "finished"]


def test_fusing_always_is_an_error_when_the_first_steps_show_a_difference(tmp_path):
    base = {
        "model": {"class_path": "odd_modules.SeedsOwn"},
        "data": {"class_path": "odd_modules.Loaded"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    factors = {"lr": {"key": "model.init_args.lr", "levels": [0.05, 0.1]}}
    study = parse_study(small_study(base=base, seeds=2, factors=factors))
    with pytest.raises(InputError, match=r"--fuse always: 4 trials cannot be fused\nlr=0.05, seed=1: the loss"):
        run(study, tmp_path / "s", RunOptions(runner="inline", fuse="always"))
    outcome = run(study, tmp_path / "s", RunOptions(runner="inline"))
    assert outcome.counts["finished"] == 4


def test_fusing_always_is_an_error_that_names_the_trial_and_the_reason(tmp_path):
    with pytest.raises(InputError) as raised:
        train(failing(["", "diverges"], seeds=1), tmp_path / "s", fuse="always")
    assert str(raised.value) == (
        "--fuse always: 2 of 2 trials cannot be fused\n"
        "activation=, seed=0: UserModule overrides on_train_epoch_end\n"
        "activation=diverges, seed=0: UserModule overrides on_train_epoch_end"
    )
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_worker_lost_with_a_group_costs_only_time(tmp_path):
    base = {
        "model": {"class_path": "fusable_module.DiesInCompany"},
        "data": {"class_path": "fusable_module.Points"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    factors = {"activation": {"key": "model.init_args.lr", "levels": [0.1, 0.2]}}
    study = small_study(base=base, factors=factors, seeds=1)
    outcome, _ = train(study, tmp_path / "s", runner="local", num_slots=1, fuse="auto")
    assert outcome.counts["finished"] == 2
    with Ledger(tmp_path / "s" / "ledger.sqlite", writable=False) as ledger:
        for trial, row in rows_of(tmp_path / "s").items():
            assert row["why_alone"] == "the fused group failed: the worker process ended by itself with exit code 3"
            statuses = [attempt["status"] for attempt in ledger.trial(trial)["history"]]
            assert statuses == ["lost", "lost", "not fused", "finished"]


def nothing_was_written(directory):
    return not directory.exists()


def test_a_wrong_study_writes_nothing(tmp_path):
    study = small_study()
    study["base"]["model"]["init_args"]["hiden"] = [3]
    with pytest.raises(StudyError, match="did you mean 'hidden'"):
        train(study, tmp_path / "s")
    assert nothing_was_written(tmp_path / "s")


def test_all_problems_of_a_study_arrive_from_a_worker(tmp_path):
    study = small_study()
    study["base"]["model"]["init_args"] |= {"hiden": [3], "dropuot": 0.1}
    with pytest.raises(StudyError) as raised:
        train(study, tmp_path / "s", runner="local", num_slots=1)
    assert len(raised.value.problems) == 2
    assert nothing_was_written(tmp_path / "s")


def test_a_folder_with_another_study_is_an_error_and_is_kept(tmp_path):
    train(small_study(), tmp_path / "s")
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
    with pytest.raises(DirectoryError, match=r"s: holds study 'small', not 'other'; give another folder with --out"):
        run(parse_study(small_study(), name="other"), tmp_path / "s", RunOptions(runner="inline"))
    assert before == {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}


def test_a_folder_that_is_a_file_is_an_error_that_says_so(tmp_path):
    (tmp_path / "s").write_text("")
    with pytest.raises(DirectoryError, match=r"s: is a file; a study needs a folder"):
        train(small_study(), tmp_path / "s")


def test_a_corrupt_ledger_is_an_error_and_is_kept(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "ledger.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(LedgerError, match=r"ledger.sqlite: is damaged or not a ledger"):
        train(small_study(), tmp_path / "s")
    assert (tmp_path / "s" / "ledger.sqlite").read_bytes() == b"no database" * 100


def test_the_error_for_a_folder_in_use_names_the_process(tmp_path):
    with (
        lock_folder(tmp_path / "s"),
        pytest.raises(
            DirectoryError,
            match=r"s: is in use by process \d+ on .*; wait for it .`ablate run --wait` does. or stop it",
        ),
    ):
        train(small_study(), tmp_path / "s")
    assert train(small_study(), tmp_path / "s")[0].num_trained == 4


@pytest.mark.slow
def test_prints_of_workers_go_to_logs_and_files_to_a_folder_of_the_trial(tmp_path):
    study = small_study(seeds=1)
    study["base"]["trainer"]["enable_checkpointing"] = True
    train(study, tmp_path / "s", runner="local", num_slots=1)
    assert (tmp_path / "s" / "logs" / "worker-0.log").exists()
    assert len(list((tmp_path / "s" / "trials").rglob("*.ckpt"))) == 2


def test_a_study_file_becomes_a_csv_of_results(tmp_path):
    from reports import write_report

    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(small_study(seeds=3)))
    run(file, tmp_path / "out", RunOptions(runner="inline"))
    write_report(tmp_path / "out")
    with open(tmp_path / "out" / "report" / "trials.csv") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 6
    assert {row["activation"] for row in rows} == {"tanh", "relu"}
    with open(tmp_path / "out" / "report" / "contrasts.csv") as table:
        (contrast,) = csv.DictReader(table)
    assert (contrast["level"], contrast["reference"], contrast["n"]) == ("relu", "tanh", "3")
    by = {(row["activation"], row["seed"]): float(row["test/acc"]) for row in rows}
    mean = sum(by["relu", seed] - by["tanh", seed] for seed in "012") / 3
    assert float(contrast["mean_difference"]) == pytest.approx(mean)


# --- texts ---


def reviews(directory, num_reviews=60, positive="yes"):
    """Write a small file of texts, and return a study of its bags and tokens."""
    file = directory / "reviews.tsv"
    rows = [f"review {number} was {['bad', 'good'][number % 2]}\t{number % 2}" for number in range(num_reviews)]
    file.write_text("text\tlabel\n" + "\n".join(rows) + f"\n{positive} indeed\t1\n")
    data = {"class_path": "datamodules.Sentiment", "init_args": {"files": str(file), "batch_size": 8, "length": 4}}
    return {
        "question": "Do more epochs help?",
        "base": {"model": {"class_path": "lit_models.Perceptron"}, "data": data, "trainer": {"accelerator": "cpu"}},
        "factors": {"epochs": {"key": "trainer.max_epochs", "levels": [1, 2]}},
        "folds": 2,
        "metric": {"name": "test/acc"},
    }


def test_results_on_changed_data_are_not_mixed_with_earlier_ones(tmp_path):
    train(reviews(tmp_path), tmp_path / "s")
    assert train(reviews(tmp_path), tmp_path / "s")[0].num_trained == 0
    more = reviews(tmp_path, positive="no") | {"seeds": 4}
    with pytest.raises(InputError) as error:
        train(more, tmp_path / "s")
    assert str(error.value) == (
        f"{tmp_path / 's'}: {tmp_path / 'reviews.tsv'} changed since trials of this folder were trained; give another "
        "folder with --out, or restore the data"
    )
    assert train(reviews(tmp_path) | {"seeds": 4}, tmp_path / "s")[0].num_trained == 4


@pytest.mark.parametrize(
    ("model", "representation", "message"),
    [
        (
            "Perceptron",
            "tokens",
            "Perceptron reads numbers, and Sentiment gives token ids; `representation: bag_of_words`",
        ),
        (
            "Recurrent",
            "bag_of_words",
            "Recurrent reads token ids, and Sentiment gives numbers; `representation: tokens`",
        ),
    ],
)
def test_a_network_that_cannot_read_the_data_is_a_problem_of_the_study(tmp_path, model, representation, message):
    study = reviews(tmp_path)
    study["base"]["model"]["class_path"] = f"lit_models.{model}"
    study["base"]["data"]["init_args"]["representation"] = representation
    with pytest.raises(StudyError, match=f"base.model: lit_models.{model} cannot train on its data: {message}"):
        train(study, tmp_path / "s")


def test_a_vocabulary_smaller_than_that_of_the_data_is_a_problem_of_the_study(tmp_path):
    study = reviews(tmp_path)
    study["base"]["model"] = {"class_path": "lit_models.MeanEmbedding", "init_args": {"vocabulary_size": 3}}
    study["base"]["data"]["init_args"]["representation"] = "tokens"
    with pytest.raises(StudyError, match=r"MeanEmbedding: vocabulary_size is 3, and Sentiment has \d+ ids; null takes"):
        train(study, tmp_path / "s")

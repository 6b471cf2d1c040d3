"""Tests of `ablate list`, `ablate run --all` and `ablate index` on a catalogue of small studies."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tiny_catalogue import arguments_of, write_catalogue

from ablate.commands import main
from experiments import Ledger
from experiments.ledger.study_folder import lock_folder
from experiments.study import parse as study_file

USERS = {
    "base": {
        "model": {"class_path": "user_module.UserModule"},
        "data": {"class_path": "user_module.UserData"},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    },
    "metric": {"name": "test/loss", "goal": "min"},
    "claims": {},
}
FAILS = USERS | {"factors": {"fails": {"key": "model.init_args.fails", "levels": ["", "raises"]}}}
NO_DATA = {
    "base": {
        "model": {"class_path": "lit_models.Perceptron"},
        "data": {"class_path": "datamodules.Sentiment", "init_args": {"files": "nowhere/reviews.tsv"}},
    },
    "factors": {"lr": {"key": "model.init_args.init", "levels": ["xavier", "he"]}},
    "claims": {},
}
HANGS = {
    "base": {
        "model": {"class_path": "faulty_module.Faulty", "init_args": {"folder": "."}},
        "data": {"class_path": "user_module.UserData"},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    },
    "factors": {"fault": {"key": "model.init_args.fault", "levels": ["", "hang_once"]}},
    "metric": {"name": "test/loss", "goal": "min"},
    "claims": {},
}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """Run commands in a temporary folder, and restore what `main` changes in the process."""
    monkeypatch.chdir(tmp_path)
    path, handler = list(sys.path), signal.getsignal(signal.SIGTERM)
    yield
    sys.path[:] = path
    signal.signal(signal.SIGTERM, handler)


def shipped(monkeypatch, **studies):
    monkeypatch.setattr(study_file, "SHIPPED", write_catalogue(Path("studies"), **studies))


def ablate(capsys, *arguments):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def counts(folder):
    with Ledger(Path(folder) / "ledger.sqlite", writable=False) as ledger:
        return {status: count for status, count in ledger.counts().items() if count}


# --- list ---


def test_the_list_has_question_size_and_time_by_chapter_in_80_columns(capsys, monkeypatch):
    question = "Is this a question that is longer than a line of a terminal, since it goes on and on and on and on?"
    shipped(
        monkeypatch,
        second={"chapter": "Text", "minutes": 12, "question": question, "folds": 3, "seeds": 3},
        first={"chapter": "Activations", "minutes": 0.5},
        third={},
    )
    code, out, _ = ablate(capsys, "list")
    assert code == 0
    assert out.splitlines() == [
        "Activations",
        "  first  4 trials (2 cells x 2 seeds), about 30 s",
        "    Does the activation matter?",
        "",
        "Text",
        "  second  6 trials (2 cells x 3 folds), about 12 min 00 s",
        "    Is this a question that is longer than a line of a terminal, since it goes",
        "    on and on and on and on?",
        "",
        "Other studies",
        "  third  4 trials (2 cells x 2 seeds)",
        "    Does the activation matter?",
        "",
        "3 studies, 14 trials, about 12 min 30 s on two cores; `ablate run --all` trains them",
    ]
    code, out, _ = ablate(capsys, "list", "--chapter", "text")
    assert (code, out.splitlines()[0]) == (0, "Text")
    assert out.splitlines()[-1].startswith("1 study, 6 trials, about 12 min 00 s")
    code, _, err = ablate(capsys, "list", "--chapter", "Texts")
    assert (code, err[:70]) == (2, "ablate: --chapter 'Texts': there is no such chapter; did you mean 'Tex")


def test_the_list_of_the_shipped_studies_fits_a_terminal(capsys):
    code, out, _ = ablate(capsys, "list")
    assert code == 0
    assert max(map(len, out.splitlines()[:-1])) <= 80
    assert "Which activation trains a three-layer MLP best" in " ".join(out.split())


# --- run --all ---


def test_all_studies_run_in_order_of_cost_and_one_failure_stops_no_other(capsys, monkeypatch):
    shipped(
        monkeypatch,
        dear={"chapter": "Text", "minutes": 3},
        cheap={"chapter": "Activations", "minutes": 1},
        fails=FAILS | {"minutes": 2},
        absent=NO_DATA | {"minutes": 0.5},
        broken={"minutes": 2.5, "base": {"model": {"class_path": "lit_models.Absent"}, "data": {"class_path": "x.Y"}}},
    )
    code, out, err = ablate(capsys, "run", "--all", "--workers", "1")
    assert (code, err) == (1, "")
    assert re.findall(r"^\d of 5: (\w+)", out, flags=re.MULTILINE) == ["absent", "cheap", "fails", "broken", "dear"]
    assert out.count("importing torch") == 0
    assert "absent: data missing: base.data: datamodules.Sentiment cannot prepare its data: " in out
    assert "ValueError: the user's own error" in out
    tail = out[out.index("\n5 studies: ") :]
    assert "5 studies: 2 complete, 1 with failed trials, 1 stopped by an error, 1 data missing\n" in tail
    assert "- fails: with failed trials: 2 trials failed; `ablate retry runs/fails` makes them pending again\n" in tail
    assert "- broken: stopped by an error: " in tail
    assert "2 claims tested: " in tail
    assert tail.endswith("Index: runs/index.html\n")
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        *("cheap", "claims.csv", "dear", "fails", "index.html", "index.json")
    ]
    assert (counts("runs/cheap"), counts("runs/fails")) == ({"finished": 4}, {"finished": 2, "failed": 2})
    assert all(Path(f"runs/{name}/report/index.html").exists() for name in ("cheap", "dear", "fails"))
    with Path("runs/claims.csv").open(newline="") as file:
        assert [row["study"] for row in csv.DictReader(file)] == ["cheap", "dear"]
    states = {row["study"]: row["state"] for row in json.loads(Path("runs/index.json").read_text())["studies"]}
    assert states == {
        "cheap": "complete",
        "dear": "complete",
        "fails": "incomplete",
        "absent": "not run",
        "broken": "not run",
    }


@pytest.mark.slow
def test_missing_data_and_the_budget_are_no_failures(capsys, monkeypatch):
    shipped(monkeypatch, cheap={"minutes": 0.1}, dear={"minutes": 600}, absent=NO_DATA | {"minutes": 0.1})
    code, out, _ = ablate(capsys, "run", "--all", "--budget", "30m", "--out", "all", "--runner", "inline")
    assert code == 0
    assert "budget 30 min 00 s: studies that do not fit are skipped, started ones are completed" in out
    assert "3 studies: 1 complete, 1 data missing, 1 skipped (budget)" in out
    assert re.search(
        r"- dear: skipped \(budget\): it takes about 10 h 00 min, and \d+ min \d\d s of the budget remains", out
    )
    assert counts("all/cheap") == {"finished": 4}
    assert not Path("all/dear").exists()
    before = Path("all/index.html").read_bytes()
    code, out, _ = ablate(capsys, "run", "--all", "--budget", "30m", "--out", "all", "--runner", "inline")
    assert code == 0
    assert "nothing to train: every trial of this plan has ended" in out
    assert Path("all/index.html").read_bytes() == before


@pytest.mark.slow
def test_options_apply_to_all_studies_and_refused_studies_are_listed(capsys, monkeypatch):
    network = {"levels": {"small": {"trainer.max_epochs": 1}, "long": {"trainer.max_epochs": 2}}}
    shipped(monkeypatch, one={"minutes": 1}, other={"minutes": 2, "factors": {"f": network}, "claims": {}})
    options = ("--all", "--seeds", "1", "--set", "trainer.max_epochs=2", "--runner", "inline", "--fuse", "never")
    code, out, _ = ablate(capsys, "run", *options)
    assert code == 1
    assert "one, about 30 s" in out  # half of its seeds
    refused = "--set trainer.max_epochs: has no effect: factor 'f' varies this key"
    assert f"- other: could not be started: studies/other.yaml: {refused}" in out
    assert counts("runs/one") == {"finished": 2}
    with Ledger(Path("runs/one/ledger.sqlite"), writable=False) as ledger:
        assert ledger.pending() == []
        assert {trial["backend"] for trial in ledger.trials()} == {"lightning"}


@pytest.mark.slow
def test_a_locked_study_is_listed_and_the_others_run(capsys, monkeypatch):
    shipped(monkeypatch, held={"minutes": 1}, free={"minutes": 2})
    with lock_folder(Path("runs/held")):
        code, out, _ = ablate(capsys, "run", "--all", "--runner", "inline")
    assert code == 1
    assert f"- held: stopped by an error: runs/held: is in use by process {os.getpid()}" in out
    assert counts("runs/free") == {"finished": 4}
    code, out, _ = ablate(capsys, "run", "--all", "--runner", "inline")
    assert code == 0
    assert counts("runs/held") == {"finished": 4}


@pytest.mark.slow
def test_running_one_study_and_all_of_a_chapter_share_a_folder(capsys, monkeypatch):
    shipped(monkeypatch, one={"chapter": "Text"}, two={"chapter": "Activations"})
    assert ablate(capsys, "run", "one", "--runner", "inline")[0] == 0
    code, out, _ = ablate(capsys, "run", "--all", "--chapter", "Activations", "--runner", "inline")
    assert code == 0
    assert "1 study: 1 complete" in out
    assert "2 claims tested: " in out
    assert out.endswith("Index: runs/index.html\n")


def interrupt_when(path):
    """Send Ctrl-C once this file exists, from a thread, since the command uses the main thread."""

    def wait():
        until = time.monotonic() + 600
        while time.monotonic() < until and not Path(path).exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.slow
def test_an_interrupt_stops_everything_and_the_same_command_continues(capsys, monkeypatch):
    shipped(monkeypatch, first={"minutes": 1}, hangs=HANGS | {"minutes": 2}, last={"minutes": 3})
    Path("armed").touch()
    interrupt_when("fired-hang")
    command = ("run", "--all", "--workers", "1", "--fuse", "never")
    code, out, err = ablate(capsys, *command)
    assert (code, err) == (130, "ablate: interrupted; the same command continues\n")
    assert "3 of 3: last" not in out
    assert counts("runs/first") == {"finished": 4}
    assert counts("runs/hangs")["pending"] >= 1
    assert "running" not in counts("runs/hangs")
    states = {row["study"]: row["state"] for row in json.loads(Path("runs/index.json").read_text())["studies"]}
    assert states == {"first": "complete", "hangs": "not run", "last": "not run"}  # as it was after the first
    code, out, _ = ablate(capsys, *command)
    assert code == 0
    assert "3 studies: 3 complete" in out
    assert (counts("runs/hangs"), counts("runs/last")) == ({"finished": 4}, {"finished": 4})


@pytest.mark.slow
def test_a_killed_command_continues_and_trains_nothing_twice(capsys, monkeypatch, tmp_path):
    folder = write_catalogue(tmp_path / "studies", first={"minutes": 1}, hangs=HANGS | {"minutes": 2}, last={})
    Path("armed").touch()
    words = arguments_of(folder, "run", "--all", "--workers", "1", "--fuse", "never")
    paths = os.pathsep.join([str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])])
    running = subprocess.Popen(
        words, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 600
    while time.monotonic() < until and not Path("fired-hang").exists():
        time.sleep(0.05)
    running.kill()
    running.wait()
    assert counts("runs/first") == {"finished": 4}
    monkeypatch.setattr(study_file, "SHIPPED", folder)
    code, out, _ = ablate(capsys, "run", "--all", "--workers", "1", "--fuse", "never")
    assert code == 0
    assert "3 studies: 3 complete" in out
    for name in ("first", "hangs", "last"):
        with Ledger(Path(f"runs/{name}/ledger.sqlite"), writable=False) as ledger:
            histories = [ledger.trial(row["trial_id"])["history"] for row in ledger.trials()]
        assert all([attempt["status"] for attempt in history].count("finished") == 1 for history in histories)


# --- wrong input ---

WRONG = [
    (("run",), "ablate: name a study, as in `ablate run quickstart` (`ablate list` has them), or give --all"),
    (("run", "one", "--all"), "ablate: one and --all: give one of them"),
    (("run", "one", "--chapter", "Text"), "ablate: --chapter Text: is for --all; one is one study"),
    (("run", "one", "--budget", "3m"), "ablate: --budget 3m: is for --all; one is one study"),
    (
        ("run", "--all", "--budget", "3"),
        "ablate: --budget 3: is not a valid time; give a positive time such as 90s, 30m or 2h",
    ),
    (("run", "--all", "--chapter", "Txt"), "ablate: --chapter 'Txt': there is no such chapter; did you mean 'Text'?"),
    (("run", "--all", "--wandb-group", "g"), "ablate: --wandb-group g: with --all, the runs of each study are a group"),
    (("run", "--all", "--seeds", "0"), "ablate: studies/one.yaml: seeds: is 0; at least 1 is needed"),
    (("run", "--all", "--set", "x"), "ablate: --set x: write KEY=VALUE"),
    (("run", "--all", "--workers", "0"), "ablate: --workers 0: at least 1 is needed"),
    (("run", "--all", "--devices", "x"), "ablate: --devices x: 'x' is not there"),
    (("run", "--all", "--timeout", "0"), "ablate: --timeout 0: seconds above 0 are needed"),
    (("run", "--all", "--data-dir", "absent"), "ablate: --data-dir absent: is not a folder"),
    (("run", "--all", "--out", "studies/one.yaml"), "ablate: --out studies/one.yaml: is a file; with --all it is the"),
    (("index",), "ablate: runs: does not exist; `ablate run --all --out runs` creates it"),
    (("index", "studies/one.yaml"), "ablate: studies/one.yaml: does not exist"),
    (
        ("index", "studies"),
        "ablate: studies: has no study folder; `ablate run --all --out studies` trains the shipped studies",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_input_has_exit_code_2_and_a_message_and_writes_nothing(
    capsys, monkeypatch, tmp_path, arguments, message
):
    shipped(monkeypatch, one={"chapter": "Text"})
    code, out, err = ablate(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]


def test_run_all_refuses_the_folder_of_one_study(capsys, monkeypatch):
    shipped(monkeypatch, one={})
    assert ablate(capsys, "run", "one", "--runner", "inline", "--seeds", "1")[0] == 0
    code, _, err = ablate(capsys, "run", "--all", "--out", "runs/one")
    assert code == 2
    assert err == "ablate: --out runs/one: is a study's folder; with --all it is the parent of all study folders\n"
    code, _, err = ablate(capsys, "index", "runs/one")
    assert (code, err) == (2, "ablate: runs/one: is a study folder; index the folder that contains it: runs\n")


# --- index ---


def test_the_index_covers_the_existing_folders(capsys, monkeypatch):
    shipped(monkeypatch, one={}, two={})
    assert ablate(capsys, "run", "one", "--runner", "inline")[0] == 0
    Path("runs/notes").mkdir()
    Path("runs/foreign").mkdir()
    Path("runs/foreign/ledger.sqlite").write_text("somebody else's notes, which are no database at all")
    code, out, err = ablate(capsys, "index")
    assert (code, err) == (0, "")
    first, second, third = out.splitlines()
    assert re.fullmatch(r"1 claim tested: 1 [a-z ]+; studies: 1 complete, 1 not run, 1 unreadable", first)
    assert second.startswith("cannot be read: runs/foreign/ledger.sqlite: ")
    assert third == "Index: runs/index.html"
    assert 'href="one/report/index.html#claims"' in Path("runs/index.html").read_text()

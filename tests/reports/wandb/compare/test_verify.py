"""Every way in which a run may differ from the ledger is found; and what W&B wrote is read back as it was."""

import json
import shutil
import subprocess
import sys

import pytest
from make_ledger import make_ledger, make_result, one_factor

from experiments.trials.trial import TrialStatus
from reports.wandb import OFFLINE, Place, RunContent, push, verify
from reports.wandb.compare.offline_files import WrittenRun, read_run
from reports.wandb.compare.verify import difference_of

PLACE = Place(group="activations", mode=OFFLINE)
CONTENT = RunContent(
    run_id="r",
    name="x=a, seed=0",
    job_type="train",
    config={"seed": 0, "model": {"sizes": [1, 2], "init": None}},
    rows=({"epoch": 0, "loss": float("nan")}, {"epoch": 1, "loss": 0.25}),
    summary={"test/acc": 0.5},
)


def written(**changes):
    """The run as W&B holds it, with changes."""
    fields = {
        "run_id": "r",
        "name": "x=a, seed=0",
        "group": "activations",
        "project": "ablation-suite",
        "job_type": "train",
        "config": {"seed": 0, "model": {"sizes": [1, 2], "init": None}},
        "rows": [{"epoch": 0, "loss": "NaN"}, {"epoch": 1, "loss": 0.25}],
        "summary": {"test/acc": 0.5},
        "exit_code": 0,
    }
    return WrittenRun(**fields | changes)


def test_a_whole_run_has_no_difference():
    assert difference_of(CONTENT, PLACE, written()) is None


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"exit_code": None}, "was never ended"),
        ({"rows": [{"epoch": 0, "loss": "NaN"}]}, "has 1 rows, not 2"),
        ({"rows": [{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 0.25}]}, "row 0: loss is 1.0, not 'NaN'"),
        ({"rows": [{"epoch": 0, "loss": "NaN"}, {"epoch": 1}]}, "row 1: loss is missing"),
        ({"config": {"seed": 0, "model": {"sizes": [1, 3], "init": None}}}, "model.sizes is [1, 3], not [1, 2]"),
        ({"config": {"seed": 0, "model": {"sizes": [1, 2]}}}, "model.init is missing"),
        ({"summary": {"test/acc": 0.5000001}}, "summary: test/acc is 0.5000001, not 0.5"),
        ({"summary": {}}, "summary: test/acc is missing"),
        ({"summary": {"test/acc": 0.5, "val/acc": 1}}, "summary: val/acc is there, and not in the ledger"),
        ({"project": "other"}, "project is 'other', not 'ablation-suite'"),
        ({"unreadable": "why"}, "cannot be read (why)"),
        ({"group": "other"}, "group is 'other', not 'activations'"),
        ({"job_type": ""}, "job type is '', not 'train'"),
        ({"name": "other"}, "name is 'other', not 'x=a, seed=0'"),
        ({"exit_code": 1}, "ended with exit code 1, not 0"),
    ],
)
def test_each_difference_is_named(changes, difference):
    assert difference in difference_of(CONTENT, PLACE, written(**changes))


@pytest.fixture(scope="module")
def pushed_once(tmp_path_factory):
    """A study of six trials, one failed, one diverged and one pending, whose runs were written offline."""
    states = {("a", 0): TrialStatus.FAILED, ("b", 0): TrialStatus.DIVERGED, ("a", 2): TrialStatus.PENDING}

    def measure(levels, seed):
        state = states.get((levels["x"], seed))
        if state == TrialStatus.PENDING:
            return None
        if state is not None:
            return make_result(status=state)
        epochs = tuple({"val/acc": 0.1 * epoch + 1 / 3, "long" * 40: float(epoch)} for epoch in range(200))
        return make_result(0.5 + seed / 7, epochs=epochs)

    directory = make_ledger(tmp_path_factory.mktemp("pushed") / "study", one_factor(seeds=3), measure)
    return directory, push(directory, PLACE)


@pytest.fixture
def pushed(pushed_once, tmp_path):
    """A copy of it for a test that changes it, and what was pushed."""
    directory, first = pushed_once
    shutil.copytree(directory, tmp_path / "study")
    return tmp_path / "study", first


def test_a_push_writes_every_trial_that_ended_and_a_second_only_what_is_lacking(pushed):
    directory, first = pushed
    assert (len(first.written), first.num_there, first.has_report) == (5, 0, True)
    assert [run.difference for run in verify(directory, PLACE)] == [None] * 5
    again = push(directory, PLACE)
    assert (len(again.written), again.num_there) == (0, 5)
    folders = sorted((directory / "wandb").glob("offline-run-*"))
    assert len(folders) == 6
    files = {folder: next(folder.glob("*.wandb")) for folder in folders}
    trials = [folder for folder in folders if "report" not in folder.name]
    shutil.rmtree(trials[0])  # as if it had never been written
    files[trials[1]].write_bytes(files[trials[1]].read_bytes()[:7])  # what kill -9 leaves
    content = files[trials[2]].read_bytes()
    files[trials[2]].write_bytes(content[: len(content) // 2])
    shutil.copytree(trials[3], trials[3].with_name(trials[3].name.replace("offline-run-2", "offline-run-1")))
    differences = [run.difference for run in verify(directory, PLACE)]
    assert sorted(filter(None, differences))[:1] == ["is missing"] or differences.count(None) == 1
    assert differences.count(None) == 1
    assert {"is missing", "was never ended", "is there 2 times"} <= set(differences)
    last = push(directory, PLACE)
    assert (len(last.written), last.num_there) == (4, 1)
    assert [run.difference for run in verify(directory, PLACE)] == [None] * 5
    assert len(list((directory / "wandb").glob("offline-run-*"))) == 6


def test_the_run_of_the_report_has_tables_an_artifact_and_a_mark_that_the_study_is_not_finished(pushed):
    directory, _ = pushed
    (folder,) = (directory / "wandb").glob(f"offline-run-*-{PLACE.report_id}")
    run = read_run(folder)
    assert run.name == "report (unfinished: 5 of 6 trials)"
    assert run.job_type == "aggregate"
    assert run.config["question"] == "Does ReLU train better than sigmoid?"
    assert run.config["definition"]["factors"]["x"]["reference"] == "a"
    assert run.summary["study/complete"] is False
    assert {name: run.summary[f"study/{name}"] for name in ("trials", "finished", "failed", "diverged", "pending")} == {
        "trials": 6,
        "finished": 3,
        "failed": 1,
        "diverged": 1,
        "pending": 1,
    }
    assert "report-activations" in run.artifacts
    (row,) = run.rows
    tables = {key: json.loads((folder / "files" / row[key]["path"]).read_text()) for key in row if "tables/" in key}
    assert {"tables/cells", "tables/contrasts"} <= set(tables)
    contrasts = tables["tables/contrasts"]
    document = json.loads((directory / "report" / "report.json").read_text())
    assert [dict(zip(contrasts["columns"], values, strict=True)) for values in contrasts["data"]] == document["tables"][
        "contrasts"
    ]
    page = (folder / "files" / row["report"]["path"]).read_bytes()
    assert page == (directory / "report" / "index.html").read_bytes()


def test_our_reader_reads_what_wandb_s_own_does(pushed):
    """The long rows fill several blocks of the log, so records are split over them."""
    directory, _ = pushed
    folders = sorted((directory / "wandb").glob("offline-run-*"))
    folder = max(folders, key=lambda path: next(path.glob("*.wandb")).stat().st_size)
    path = next(folder.glob("*.wandb"))
    assert path.stat().st_size > 2 * 32 * 1024
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout.splitlines()
    rows = [record["history"]["item"] for record in map(json.loads, theirs) if record["type"] == "history"]
    plain = [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]
    assert read_run(folder).rows == plain
    assert len(plain) == 200


def test_a_damaged_file_is_a_difference_that_a_push_mends(pushed):
    directory, _ = pushed
    path = max((directory / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    for place in range(30, len(content), 7):
        content[place] ^= 0x5A
    path.write_bytes(content)
    assert sum(run.difference is not None for run in verify(directory, PLACE)) == 1
    assert len(push(directory, PLACE).written) == 1
    assert [run.difference for run in verify(directory, PLACE)] == [None] * 5


@pytest.mark.slow
def test_runs_of_earlier_plans_are_told_and_removed_and_files_of_online_runs_are_no_offline_ones(pushed):
    directory, _ = pushed
    measure = lambda levels, seed: make_result(0.5)  # noqa: E731
    make_ledger(directory, one_factor(seeds=1), measure)
    differences = [run.difference for run in verify(directory, PLACE)]
    assert differences == [None] * 2 + ["is of an earlier plan"] * 3
    done = push(directory, PLACE)
    assert (done.written, done.num_there, done.num_removed) == ((), 2, 3)
    assert [run.difference for run in verify(directory, PLACE)] == [None] * 2
    for folder in (directory / "wandb").glob("offline-run-*"):
        folder.rename(folder.with_name(folder.name.removeprefix("offline-")))
    assert [run.difference for run in verify(directory, PLACE)] == ["is missing"] * 2
    elsewhere = Place(group="activations", mode=OFFLINE, project="other")
    push(directory, PLACE)
    assert [run.difference for run in verify(directory, elsewhere)] == ["project is 'ablation-suite', not 'other'"] * 2
    assert len(push(directory, elsewhere).written) == 2
    assert [run.difference for run in verify(directory, elsewhere)] == [None] * 2


def test_a_folder_without_anything_readable_is_an_empty_run(tmp_path):
    (tmp_path / "run-x.wandb").write_bytes(b"")
    assert read_run(tmp_path) == WrittenRun()
    (tmp_path / "run-x.wandb").write_bytes(b":W&B\xe1\xbe\x00" + b"\x00" * 100)
    assert read_run(tmp_path) == WrittenRun()

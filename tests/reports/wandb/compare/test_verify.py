"""Differences between runs and the ledger, and pushes that remove them."""

import json
import os
import re
import shutil

import pytest
from make_ledger import make_ledger, make_result, one_factor
from wandb_files import read_run, records_in

from experiments.trials.trial import TrialStatus
from reports.wandb import OFFLINE, Destination, RunContent, push, verify
from reports.wandb.compare.verify import find_difference
from reports.wandb.live.receipt import FILE, read_receipt
from reports.wandb.run_content import WrittenRun

DESTINATION = Destination(group="activations", mode=OFFLINE)
CONTENT = RunContent(
    run_id="r",
    name="x=a, seed=0",
    job_type="train",
    config={"seed": 0, "model": {"sizes": [1, 2], "init": None}},
    rows=({"epoch": 0, "loss": float("nan")}, {"epoch": 1, "loss": 0.25}),
    summary={"test/acc": 0.5},
)


def written(**changes):
    """Return the run as W&B holds it, with changes."""
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


def test_an_equal_run_has_no_difference():
    assert find_difference(CONTENT, DESTINATION, written()) is None


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
        ({"read_error": "why"}, "cannot be read (why)"),
        ({"group": "other"}, "group is 'other', not 'activations'"),
        ({"job_type": ""}, "job type is '', not 'train'"),
        ({"name": "other"}, "name is 'other', not 'x=a, seed=0'"),
        ({"exit_code": 1}, "ended with exit code 1, not 0"),
    ],
)
def test_each_difference_is_named(changes, difference):
    assert difference in find_difference(CONTENT, DESTINATION, written(**changes))


@pytest.fixture(scope="module")
def pushed_once(tmp_path_factory):
    """Push a study of six trials, one of them failed, one diverged and one pending."""
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
    return directory, push(directory, DESTINATION)


@pytest.fixture
def pushed(pushed_once, tmp_path):
    """Return a copy of that study, which a test may change, and the result of the push."""
    directory, first = pushed_once
    shutil.copytree(directory, tmp_path / "study")
    return tmp_path / "study", first


def test_a_push_writes_every_ended_trial_and_a_second_only_missing_ones(pushed):
    directory, first = pushed
    assert (len(first.written), first.num_unchanged, first.has_report) == (5, 0, True)
    assert [run.difference for run in verify(directory, DESTINATION)] == [None] * 5
    again = push(directory, DESTINATION)
    assert (len(again.written), again.num_unchanged) == (0, 5)
    folders = sorted((directory / "wandb").glob("offline-run-*"))
    assert len(folders) == 6
    trials = [folder for folder in folders if "report" not in folder.name]
    shutil.rmtree(trials[0])  # as if it had never been written
    (trials[1] / FILE).unlink()  # what kill -9 leaves
    (trials[2] / FILE).write_text('{"run_id": "')
    shutil.copytree(trials[3], trials[3].with_name(trials[3].name.replace("offline-run-2", "offline-run-1")))
    differences = [run.difference for run in verify(directory, DESTINATION)]
    assert differences.count(None) == 1
    assert {"is missing", "was never ended", "is there 2 times"} <= set(differences)
    assert sum(str(difference).startswith(f"cannot be read ({FILE}: ") for difference in differences) == 1
    last = push(directory, DESTINATION)
    assert (len(last.written), last.num_unchanged) == (4, 1)
    assert [run.difference for run in verify(directory, DESTINATION)] == [None] * 5
    assert len(list((directory / "wandb").glob("offline-run-*"))) == 6


def test_the_report_run_has_tables_and_an_artifact_and_is_marked_unfinished(pushed):
    directory, _ = pushed
    (folder,) = (directory / "wandb").glob(f"offline-run-*-{DESTINATION.report_id}")
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
    assert "report-activations" in [content["name"] for kind, content in records_in(folder) if kind == "artifact"]
    (row,) = run.rows
    paths = {key.removesuffix(".path"): folder / "files" / path for key, path in row.items() if key.endswith(".path")}
    tables = {key: json.loads(path.read_text()) for key, path in paths.items() if key.startswith("tables/")}
    assert {"tables/cells", "tables/contrasts"} <= set(tables)
    contrasts = tables["tables/contrasts"]
    document = json.loads((directory / "report" / "report.json").read_text())
    assert [dict(zip(contrasts["columns"], values, strict=True)) for values in contrasts["data"]] == document["tables"][
        "contrasts"
    ]
    assert paths["report"].read_bytes() == (directory / "report" / "index.html").read_bytes()


def test_a_receipt_equals_what_w_and_b_reads_in_the_files(pushed):
    directory, _ = pushed
    folders = (directory / "wandb").glob("offline-run-*")
    folder = max(folders, key=lambda path: next(path.glob("*.wandb")).stat().st_size)
    run = read_run(folder)
    assert (len(run.rows), run.exit_code) == (200, 0)
    assert run == read_receipt(folder)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_byte, r"cannot be read \(run-.*\.wandb has changed since it was written\)"),
        (lambda path: os.truncate(path, path.stat().st_size - 1), r"cannot be read \(run-.*\.wandb has changed"),
        (lambda path: path.unlink(), r"cannot be read \(.*No such file or directory: .*\.wandb"),
    ],
    ids=["byte", "cut", "deleted"],
)
def test_damage_to_a_file_of_wandb_is_noticed(pushed, damage, message):
    directory, _ = pushed
    (folder, *_) = (folder for folder in (directory / "wandb").glob("offline-run-*") if "report" not in folder.name)
    damage(next(folder.glob("*.wandb")))
    differences = [run.difference for run in verify(directory, DESTINATION)]
    assert differences.count(None) == 4
    (difference,) = filter(None, differences)
    assert re.match(message, difference)


@pytest.mark.slow
def test_runs_of_earlier_plans_are_listed_and_deleted(pushed):
    directory, _ = pushed
    measure = lambda levels, seed: make_result(0.5)  # noqa: E731
    make_ledger(directory, one_factor(seeds=1), measure)
    differences = [run.difference for run in verify(directory, DESTINATION)]
    assert differences == [None] * 2 + ["is of an earlier plan"] * 3
    done = push(directory, DESTINATION)
    assert (done.written, done.num_unchanged, done.num_deleted) == ((), 2, 3)
    assert [run.difference for run in verify(directory, DESTINATION)] == [None] * 2
    for folder in (directory / "wandb").glob("offline-run-*"):
        folder.rename(folder.with_name(folder.name.removeprefix("offline-")))
    assert [run.difference for run in verify(directory, DESTINATION)] == ["is missing"] * 2
    elsewhere = Destination(group="activations", mode=OFFLINE, project="other")
    push(directory, DESTINATION)
    assert [run.difference for run in verify(directory, elsewhere)] == ["project is 'ablation-suite', not 'other'"] * 2
    assert len(push(directory, elsewhere).written) == 2
    assert [run.difference for run in verify(directory, elsewhere)] == [None] * 2

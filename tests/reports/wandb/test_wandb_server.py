"""Real clients of wandb, in processes of their own, against the loopback server."""

import json
import math

import pytest
from wandb_clients import run_python, run_wandb

pytestmark = pytest.mark.slow  # what the tests of W&B stand on, which fail when it does

PREAMBLE = """
import sys
import wandb

def settings(**more):
    return wandb.Settings(console="off", disable_git=True, x_disable_stats=True, **more)

def start(run_id, mode="online", **more):
    return wandb.init(mode=mode, entity="lab", project="digits", id=run_id, reinit="create_new", **more)
"""


@pytest.fixture
def server(wandb_server):
    return wandb_server


def client(server, code, **options):
    """Run code as a client with the lines above it."""
    return run_python(server, PREAMBLE + code, **options)


def rows_of(run, *names):
    return [tuple(row[name] for name in names) for row in run.history if all(name in row for name in names)]


def test_an_online_run_arrives_whole(server):
    client(
        server,
        """
run = start("r1", group="study", job_type="train", name="lr=1", tags=["a", "b"], notes="why", settings=settings(),
            config={"lr": 1.5, "factors": {"init": "he"}})
for epoch in range(10):
    run.log({"epoch": epoch, "val/acc": epoch / 10})
run.log({"worse": float("nan")})
run.summary["final"] = 0.75
run.finish()
""",
    )
    run = server.runs["lab", "digits", "r1"]
    assert (run.name, run.group, run.job_type, run.tags, run.notes) == ("lr=1", "study", "train", ["a", "b"], "why")
    assert run.config == {"lr": 1.5, "factors": {"init": "he"}}
    assert rows_of(run, "epoch", "val/acc") == [(epoch, epoch / 10) for epoch in range(10)]
    assert [row["_step"] for row in run.history] == list(range(11))
    assert math.isnan(run.history[10]["worse"])
    assert (run.summary["final"], run.summary["val/acc"], run.summary["epoch"]) == (0.75, 0.9, 9)
    assert (run.state, run.exit_code) == ("finished", 0)
    assert b"final" in run.files["wandb-summary.json"]


def test_runs_that_do_not_end_well(server):
    code = """
import os
start("failed", settings=settings()).finish(exit_code=3)
start("killed", settings=settings()).log({"value": 1})
os._exit(1)
"""
    client(server, code, check=False)
    ends = {run.run_id: (run.state, run.exit_code) for run in server.runs.values()}
    assert ends == {"failed": ("failed", 3), "killed": ("running", None)}


def test_offline_runs_are_synced(server):
    client(
        server,
        """
for run_id in ("one", "two"):
    run = start(run_id, mode="offline", group="study", job_type="train", name=f"cell {run_id}", settings=settings(),
                config={"id": run_id})
    for epoch in range(5):
        run.log({"epoch": epoch})
    run.summary["final"] = 1
    run.finish()
""",
    )
    assert server.requests == []
    folders = sorted(server.folder.glob("wandb_dir/wandb/offline-run-*"))
    run_wandb(server, "sync", "--yes", *folders)
    for run_id in ("one", "two"):
        run = server.runs["lab", "digits", run_id]
        assert (run.name, run.group, run.config, run.state) == (f"cell {run_id}", "study", {"id": run_id}, "finished")
        assert rows_of(run, "epoch") == [(epoch,) for epoch in range(5)]
        assert run.summary["final"] == 1
    num_requests = len(server.requests)
    run_wandb(server, "sync", "--yes", *folders)
    assert len(server.requests) == num_requests, "what is synced is not sent again"


def test_a_run_started_again_writes_over_its_lines_and_keeps_the_later_ones(server):
    client(
        server,
        """
for base, num_rows in ((0, 5), (100, 3)):
    run = start("r1", config={"base": base}, settings=settings())
    assert not run.resumed
    for row in range(num_rows):
        run.log({"value": base + row})
    run.finish()
""",
    )
    run = server.runs["lab", "digits", "r1"]
    assert rows_of(run, "value") == [(100,), (101,), (102,), (3,), (4,)]
    assert run.config == {"base": 100}


def test_a_resumed_run_goes_on_after_its_last_line(server):
    client(
        server,
        """
for base, resume in ((0, None), (100, "allow"), (200, "must")):
    run = start("r1", config={"base": base}, resume=resume, settings=settings())
    assert run.resumed == (base > 0)
    for row in range(2):
        run.log({"value": base + row})
    run.finish()
try:
    start("r2", resume="must", settings=settings())
except wandb.errors.UsageError as error:
    assert "does not exist" in str(error)
""",
    )
    run = server.runs["lab", "digits", "r1"]
    assert rows_of(run, "value") == [(0,), (1,), (100,), (101,), (200,), (201,)]
    assert [row["_step"] for row in run.history] == list(range(6))
    assert list(server.runs) == [("lab", "digits", "r1")]


def test_tables_and_artifacts_arrive_with_their_bytes(server):
    client(
        server,
        """
from pathlib import Path
Path("page.html").write_text("<p>report</p>")
run = start("r1", settings=settings())
run.log({"verdicts": wandb.Table(columns=["factor", "verdict"], data=[["lr", "improves"]])})
artifact = wandb.Artifact("report", "report", metadata={"study": "s"})
artifact.add_file("page.html", name="pages/index.html")
run.log_artifact(artifact, aliases=["best"])
run.finish()
""",
    )
    artifacts = {artifact.name: artifact for artifact in server.artifacts}
    assert sorted(artifacts) == ["report:v0", "run-r1-verdicts:v0"]
    report, table = artifacts["report:v0"], artifacts["run-r1-verdicts:v0"]
    assert (report.type, report.state, report.run_id) == ("report", "COMMITTED", "r1")
    assert report.files == {"pages/index.html": b"<p>report</p>"}
    assert sorted(report.aliases) == ["best", "latest"]
    assert report.metadata == {"study": "s"}
    assert sorted(report.manifest["contents"]) == ["pages/index.html"]
    assert (table.type, table.state) == ("run_table", "COMMITTED")
    assert json.loads(table.files["verdicts.table.json"])["data"] == [["lr", "improves"]]
    run = server.runs["lab", "digits", "r1"]
    assert json.loads(run.files[run.summary["verdicts"]["path"]])["columns"] == ["factor", "verdict"]


def test_a_wrong_key_is_rejected(server):
    code = """
for action in (wandb.Api, lambda: start("r1", settings=settings())):
    try:
        action()
    except wandb.Error as error:
        print(type(error).__name__, str(error).rpartition(": ")[2])
"""
    done = client(server, code, WANDB_API_KEY="f" * 40)
    told = done.stdout.splitlines()[:2]
    assert told == ["AuthenticationError user is not logged in", "CommError user is not logged in"]
    assert {request.status for request in server.requests} == {401}
    assert server.runs == {}


def test_a_client_gets_over_single_faults(server):
    code = """
import time
began = time.monotonic()
run = start("r1", settings=settings())
run.log({"value": 1})
run.finish()
print(time.monotonic() - began)
"""
    with server.failing("UpsertBucket", times=1), server.delaying(1.5, "file_stream", times=1):
        done = client(server, code)
    assert float(done.stdout) > 1.5
    statuses = [request.status for request in server.requests if request.operation == "UpsertBucket"]
    assert statuses[:2] == [500, 200]
    assert rows_of(server.runs["lab", "digits", "r1"], "value") == [(1,)]


@pytest.mark.slow
def test_a_client_that_is_refused_gives_up_and_comes_back_to_the_same_port(server):
    code = "start('r1', settings=settings(init_timeout=2, quiet=True))"
    with server.refusing():
        done = client(server, code, check=False)
    assert done.returncode == 1
    assert "Timed out" in done.stderr
    assert server.requests == []
    client(server, code + ".finish()")
    assert server.runs["lab", "digits", "r1"].state == "finished"

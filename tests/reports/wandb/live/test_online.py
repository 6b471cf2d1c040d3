"""A study and W&B's clients with a stand-in server on this machine: the runs that arrive equal the ledger.

Commands run as separate processes. A proxy refuses and records all connections to other hosts.
"""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from small_study import small_study
from waiting_module import waiting_study
from wandb_server import WandbServer

from experiments import Ledger
from reports.wandb import Destination, make_run_content, resolve_destination
from reports.wandb.compare.server_runs import is_wandb_internal_key
from reports.wandb.compare.verify import find_difference
from reports.wandb.run_content import WrittenRun

SLOW = pytest.mark.slow


@pytest.fixture
def server(wandb_server):
    return wandb_server


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_study()


def write_study(*, max_epochs=3, **changes):
    study = small_study(**changes)
    study["base"]["trainer"]["max_epochs"] = max_epochs
    Path("mine.yaml").write_text(yaml.safe_dump(study))


def start(server, *arguments, **variables):
    command = [sys.executable, "-m", "ablate", *arguments]
    support = str(Path(__file__).parents[3] / "support")
    environment = os.environ | server.environment() | {"COLUMNS": "300", "PYTHONPATH": support} | variables
    return subprocess.Popen(
        command,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def ablate(server, *arguments, code=0, **variables):
    process = start(server, *arguments, **variables)
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, out + err
    assert "Traceback" not in out + err
    return out + err


def ledger(directory="runs/mine"):
    return Ledger(Path(directory) / "ledger.sqlite", writable=False)


def differences(server, directory="runs/mine", study_name="mine"):
    """Return the difference of each planned trial's run from the ledger, or its number of runs."""
    destination = resolve_destination(Path(directory), study_name)
    with ledger(directory) as opened:
        contents = [
            make_run_content(opened.trial(trial["trial_id"]), study_name, destination) for trial in opened.trials()
        ]
    runs = [as_written(run) for run in server.runs.values() if run.run_id != destination.report_id]
    found = []
    for content in contents:
        own = [run for run in runs if run.trial_id == content.config["trial"]]
        found.append(find_difference(content, destination, own[0]) if len(own) == 1 else f"is there {len(own)} times")
    assert {run.trial_id for run in runs} <= {content.config["trial"] for content in contents}
    return [difference for difference in found if difference is not None]


def as_written(run):
    """Convert a run of the server to the form that `verify` compares."""
    return WrittenRun(
        run_id=run.run_id,
        name=run.name,
        group=run.group,
        job_type=run.job_type,
        project=run.project,
        config=without_own(run.config),
        rows=[without_own(row) for row in run.history],
        summary=without_own(run.summary),
        exit_code=run.exit_code,
    )


def without_own(content):
    return {key: value for key, value in content.items() if not is_wandb_internal_key(key)}


def statuses(directory="runs/mine"):
    with ledger(directory) as opened:
        return {status: count for status, count in opened.counts().items() if count}


@SLOW
@pytest.mark.parametrize("fuse", ["auto", "never"])
def test_an_online_study_appears_during_training_and_equals_the_ledger_afterwards(server, fuse):
    Path("mine.yaml").write_text(yaml.safe_dump(waiting_study(Path.cwd(), max_epochs=4)))
    often = {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "0.2"}  # seconds; W&B's client sends every 15
    process = start(server, "run", "mine.yaml", "--wandb", "online", "--fuse", fuse, **often)
    while process.poll() is None and not any(run.history for run in list(server.runs.values())):
        time.sleep(0.05)
    seen = [(run.state, len(run.history)) for run in list(server.runs.values()) if run.history]
    assert set(seen) == {("running", 1)}, process.communicate()  # epoch by epoch, not all at the end
    Path("go").touch()
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert f"W&B: 4 runs and the report in {server.url}/loopback/ablation-suite" in out
    assert differences(server) == []
    with ledger() as opened:
        assert {trial["backend"] for trial in opened.trials()} == {"fused" if fuse == "auto" else "lightning"}
    assert "4 of 4 runs on the server agree with the ledger" in ablate(server, "wandb", "verify", "runs/mine")
    rows = {key: len(run.history) for key, run in server.runs.items()}
    out = ablate(server, "wandb", "push", "runs/mine")
    assert "wrote 0 runs and the report; 4 runs unchanged" in out
    assert {key: len(run.history) for key, run in server.runs.items()} == rows
    assert differences(server) == []


@SLOW
def test_an_online_study_has_a_report_run_with_tables_and_an_artifact(server):
    ablate(server, "run", "mine.yaml", "--wandb", "online", "--wandb-project", "p", "--wandb-group", "second try")
    destination = Destination(project="p", group="second try")
    run = server.runs[server.entity, "p", destination.report_id]
    assert (run.state, run.group, run.job_type, run.name) == ("finished", "second try", "aggregate", "report")
    assert run.summary["tables/contrasts"]["nrows"] == 1
    (artifact,) = [artifact for artifact in server.artifacts if artifact.type == "report"]
    assert artifact.state == "COMMITTED"
    assert artifact.collection == f"report-second-try-{destination.digest}"
    folder = Path("runs/mine/report")
    assert artifact.files == {
        name: (folder / name).read_bytes()
        for name in ("index.html", "report.md", "tables.tex", "trials.csv", "contrasts.csv", "report.json")
    }


@SLOW
def test_an_offline_study_is_uploaded_by_wandb_sync_or_by_push(server):
    ablate(server, "run", "mine.yaml", "--wandb", "offline")
    assert server.requests == []
    folders = [str(path) for path in Path("runs/mine/wandb").glob("offline-run-*")]
    assert len(folders) == 5
    environment = os.environ | server.environment()
    command = [sys.executable, "-m", "wandb", "sync", "--yes", *folders]
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=600)
    assert differences(server) == []
    rows = {key: len(run.history) for key, run in server.runs.items()}
    assert "wrote 0 runs and the report" in ablate(server, "wandb", "push", "runs/mine", "--wandb", "online")
    assert {key: len(run.history) for key, run in server.runs.items()} == rows
    assert [artifact.version for artifact in server.artifacts if artifact.type == "report"] == [0]


@SLOW
def test_failed_and_diverged_trials_are_finished_runs_with_their_status(server):
    levels = {"good": "", "raising": "raises", "diverging": "diverges"}
    study = {
        "question": "?",
        "base": {
            "model": {"class_path": "user_module.UserModule"},
            "data": {"class_path": "user_module.UserData"},
            "trainer": {"max_epochs": 3, "accelerator": "cpu"},
        },
        "factors": {"fails": {"key": "model.init_args.fails", "levels": levels, "reference": "good"}},
        "seeds": 1,
        "metric": {"name": "test/loss", "goal": "min"},
    }
    Path("mine.yaml").write_text(yaml.safe_dump(study))
    ablate(server, "run", "mine.yaml", "--wandb", "online", code=1)
    assert statuses() == {"finished": 1, "failed": 1, "diverged": 1}
    assert differences(server) == []
    assert "3 of 3 runs on the server agree" in ablate(server, "wandb", "verify", "runs/mine")  # NaN among the rows
    states = {run.name: run.state for run in server.runs.values()}
    assert states["fails=raising, seed=0"] == "failed"
    assert states["fails=diverging, seed=0"] == states["fails=good, seed=0"] == "finished"
    failed = next(run for run in server.runs.values() if run.state == "failed")
    assert [row["epoch"] for row in failed.history] == [0]  # logged before it failed in the next epoch
    assert "the user's own error" in failed.summary["trial/error"]


@SLOW
@pytest.mark.parametrize("fault", ["500", "refused", "rejected key", "slow"])
def test_a_failing_server_costs_no_trial_and_push_writes_the_runs(server, fault):
    faults = {
        "500": server.failing,
        "refused": server.refusing,
        "rejected key": server.rejecting_key,
        "slow": lambda: server.delaying(1000),
    }
    with faults[fault]():
        out = ablate(server, "run", "mine.yaml", "--wandb", "online")
        assert out.count("W&B:") == 1
        assert "the study continues without it, and `ablate wandb push runs/mine` writes the runs afterwards" in out
        assert statuses() == {"finished": 4}
        assert "ablate: W&B: " in ablate(server, "wandb", "push", "runs/mine", code=2)
    assert "wrote 4 runs and the report; 0 runs unchanged" in ablate(server, "wandb", "push", "runs/mine")
    assert differences(server) == []


@pytest.fixture(params=[False, True], ids=["overwrites", "appends"])
def either_server(request):
    """Yield servers that overwrite or append to a run that starts again: W&B's documentation leaves this open."""
    with WandbServer(appends=request.param) as running:
        yield running
        assert running.unknown == []
        assert running.trap.hosts == []


@SLOW
def test_ctrl_c_finishes_runs_and_the_same_command_replaces_them(either_server):
    server = either_server
    write_study(max_epochs=100)
    often = {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "0.2"}
    process = start(server, "run", "mine.yaml", "--wandb", "online", "--fuse", "never", **often)
    while not any(len(run.history) > 3 for run in list(server.runs.values())):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    interrupted = [run for run in server.runs.values() if run.state == "failed"]
    assert interrupted
    assert {run.summary["trial/status"] for run in interrupted} == {"interrupted"}
    ablate(server, "run", "mine.yaml", "--wandb", "online")
    assert differences(server) == []


@SLOW
def test_push_rewrites_runs_that_lack_rows_are_deleted_or_duplicated(either_server):
    server = either_server
    ablate(server, "run", "mine.yaml", "--wandb", "online")
    assert differences(server) == []
    shortened, deleted, duplicated, complete = [key for key, run in server.runs.items() if run.job_type == "train"]
    server.runs[shortened].lines["wandb-history.jsonl"].pop(2)
    server.runs.pop(deleted)
    server.store.deleted.add(deleted)
    copy = replace(server.runs[duplicated], run_id="another", storage_id="Run:another")
    server.runs[(*duplicated[:2], "another")] = copy
    out = ablate(server, "wandb", "verify", "runs/mine", code=1)
    assert "1 of 4 runs on the server agree" in out
    assert "has 2 rows, not 3" in out
    assert "is missing" in out
    assert "is there 2 times" in out
    assert "wrote 2 runs and the report; 2 runs unchanged" in ablate(server, "wandb", "push", "runs/mine")
    assert differences(server) == []
    assert complete in server.runs
    assert shortened not in server.runs
    assert "4 of 4 runs on the server agree" in ablate(server, "wandb", "verify", "runs/mine")


@SLOW
def test_after_a_kill_run_and_push_complete_every_offline_run(server):
    write_study(max_epochs=30, seeds=6)
    process = start(server, "run", "mine.yaml", "--wandb", "offline", "--fuse", "never")
    while not (Path("runs/mine/ledger.sqlite").exists() and num_finished() >= 4):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    kill_all(process)
    assert 4 <= num_finished() < 12
    assert "ended earlier; `ablate wandb push runs/mine` makes sure" in ablate(
        server, "run", "mine.yaml", "--wandb", "offline", "--fuse", "never"
    )
    ablate(server, "wandb", "push", "runs/mine")
    assert "12 of 12 runs in runs/mine/wandb agree" in ablate(server, "wandb", "verify", "runs/mine")
    folders = [str(path) for path in Path("runs/mine/wandb").glob("offline-run-*")]
    assert len(folders) == 13
    command = [sys.executable, "-m", "wandb", "sync", "--yes", *folders]
    subprocess.run(command, env=os.environ | server.environment(), capture_output=True, check=True, timeout=600)
    assert len(server.runs) == 13
    assert differences(server) == []


def num_finished():
    try:
        with ledger() as opened:
            return opened.counts()["finished"]
    except Exception:  # noqa: BLE001 -- the file may be in the making
        return 0


def kill_all(process):
    """kill -9 of the command and of everything that it started, W&B's processes too."""
    import psutil

    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()
    process.communicate()


@SLOW
def test_an_unfinished_study_is_pushed_and_marked(server):
    write_study(max_epochs=100)
    process = start(server, "run", "mine.yaml", "--fuse", "never")
    while num_finished() < 1:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    done = num_finished()
    assert 1 <= done < 4
    out = ablate(server, "wandb", "push", "runs/mine")
    assert f"the study is not finished ({done} of 4 trials have ended), and the report in W&B says so" in out
    run = server.runs[server.entity, "ablation-suite", Destination(group="mine").report_id]
    assert run.name == f"report (unfinished: {done} of 4 trials)"
    assert run.summary["study/complete"] is False


@SLOW
def test_the_readme_s_commands_write_runs_a_workspace_and_a_report(server):
    readme = (Path(__file__).parents[4] / "README.md").read_text(encoding="utf-8")
    (block,) = [text for text in re.findall(r"```console\n(.*?)```", readme, flags=re.DOTALL) if "--wandb" in text]
    for line in block.splitlines():
        words = line.partition("#")[0].split()
        assert words[0] == "ablate"
        out = ablate(server, *words[1:])
    assert out.startswith(f"workspace: {server.url}/loopback/ablation-suite?nw=")
    assert sorted(view.type for view in server.views) == ["project-view", "runs"]
    assert differences(server, "runs/quickstart", "quickstart") == []
    assert len(server.runs) == 31


@SLOW
def test_invalid_input_is_an_error_before_training(server):
    out = ablate(server, "run", "mine.yaml", "--wandb", "online", code=2, WANDB_API_KEY="")
    assert "ablate: there is no API key for Weights & Biases; `wandb login` stores one" in out
    assert "--wandb offline needs none" in out
    out = ablate(server, "run", "mine.yaml", "--wandb", "online", "--wandb-project", "a/b", code=2)
    assert "ablate: --wandb-project 'a/b' contains '/', which W&B refuses in a project name" in out
    assert not Path("runs").exists()
    out = ablate(server, "run", "mine.yaml", "--wandb", "offline", code=2, WANDB_BASE_URL="notaurl")
    assert "ablate: --wandb: an environment variable WANDB_... is invalid: " in out
    assert "base_url" in out
    out = ablate(server, "wandb", "push", "runs/none", code=2)
    assert "there is no ledger" in out
    assert server.requests == []

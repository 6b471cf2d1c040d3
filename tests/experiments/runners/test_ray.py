"""Behaviour and failures of the Ray runner: on a cluster of two nodes on this machine, and with a local Ray."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray_cluster
import tasks
import yaml
from small_study import small_study

from experiments import Ledger, RunOptions, Sink, load_study, parse_study, run
from experiments.errors import InputError, RunnerError
from experiments.runners import Done, Emitted, Lost, RayRunner, Started, Task, TimedOut

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def shared_cluster():
    with ray_cluster.RayCluster() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in ray_cluster.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def runner(shared_cluster):
    with RayRunner(shared_cluster.address) as runner:
        yield runner


@pytest.fixture
def study_path(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(small_study(seeds=4)))
    return path


def start(study_path, directory, *arguments):
    """Start the command in its own process group, as a terminal does."""
    command = [sys.executable, "-m", "ablate", "run", str(study_path), "--out", str(directory), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_until(is_true, seconds=600):
    until = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def num_finished(directory):
    if not (directory / "ledger.sqlite").exists():
        return 0
    try:
        with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
            return ledger.counts()["finished"]
    except Exception:  # noqa: BLE001 -- the file may be in the making
        return 0


def results(directory):
    with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
        trials = [(row["trial_id"], row["status"], row["backend"]) for row in ledger.trials()]
        return sorted(trials), sorted(ledger.metrics()), sorted(ledger.epochs()), dict(ledger.correct())


def ray_workers():
    """Return the processes of Ray that run a task."""
    return [
        process for process in psutil.process_iter(["cmdline"]) if "ray::work" in (process.info["cmdline"] or [""])[0]
    ]


def many(function, arguments, **options):
    return [Task(key=str(key), function=function, argument=given, **options) for key, given in enumerate(arguments)]


# ---- a working cluster -----------------------------------------------------------------------------------------------


def test_both_nodes_work_at_the_same_time(runner, tmp_path):
    events = []
    runner.run(many(tasks.meet, [str(tmp_path)] * 2), events.append)
    assert runner.num_slots == 2
    (one, met_by_one), (other, met_by_other) = [event.value for event in events if isinstance(event, Done)]
    assert one != other
    assert (met_by_one, met_by_other) == (2, 2)


def test_a_study_on_two_nodes_has_the_results_of_a_local_run(shared_cluster, study_path, tmp_path):
    run(load_study(study_path), tmp_path / "ray", RunOptions(runner="ray", address=shared_cluster.address))
    run(load_study(study_path), tmp_path / "local", RunOptions(runner="local", num_slots=2))
    assert results(tmp_path / "ray") == results(tmp_path / "local")
    assert len(results(tmp_path / "ray")[0]) == 8
    logs = list((tmp_path / "ray" / "logs").iterdir())
    assert len(logs) >= 2
    assert all(log.name.startswith(f"worker-{socket.gethostname()}-") for log in logs)


def test_a_module_of_the_users_folder_reaches_the_workers(shared_cluster, tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "parts.py").write_text("from lit_models import MLP\n")
    (folder / "mine.py").write_text("from parts import MLP\n\n\nclass Mine(MLP):\n    pass\n")
    study = small_study(seeds=1)
    study["base"]["model"]["class_path"] = "mine.Mine"
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "ablate", "run", "study.yaml", "--runner", "ray"]
    done = subprocess.run(
        [*command, "--address", shared_cluster.address],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert num_finished(folder / "runs" / "study") == 2


def test_workers_are_reused_and_have_imported_the_preload_modules(shared_cluster):
    events = []
    with RayRunner(shared_cluster.address, preload=["wave"]) as runner:
        runner.run(many(tasks.start_state, ["wave"] * 4), events.append)
        runner.run(many(tasks.process_id, [None] * 20), events.append)
    values = [event.value for event in events if isinstance(event, Done)]
    assert [was_there for was_there, _, _ in values[:4]] == [True] * 4
    assert len(set(values[4:])) <= 2


def test_a_big_argument_of_several_tasks_is_sent_once(runner):
    data = os.urandom(3 * 2**20)
    events = []
    runner.run(many(tasks.size, [data] * 8), events.append)
    assert [event.value for event in events if isinstance(event, Done)] == [len(data)] * 8


# ---- tasks that end early --------------------------------------------------------------------------------------------


def test_a_killed_worker_costs_only_its_task(runner):
    events = []

    def handle(event):
        events.append(event)
        if isinstance(event, Emitted) and event.key == "1":
            os.kill(event.message, signal.SIGKILL)

    runner.run(many(tasks.tell_and_wait, [1, 1, 1, 1]), handle)
    (lost,) = [event for event in events if isinstance(event, Lost)]
    assert lost.key == "1"
    assert "the worker process died" in lost.reason
    assert {event.key for event in events if isinstance(event, Done)} == {"0", "2", "3"}


def test_a_worker_killed_during_a_fused_group_costs_no_trial(shared_cluster, tmp_path):
    study = small_study(seeds=3)
    study["base"]["trainer"]["max_epochs"] = 6
    killed = []

    class Kill(Sink):
        def on_planned(self, counts, groups, num_slots):
            assert any(group.is_fused for group in groups)

        def on_ended(self, trial, result): ...
        def on_epoch_ended(self, trial, event):
            if not killed:
                killed.extend(ray_workers())
                killed[0].kill()

    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    outcome = run(
        load_study(path), tmp_path / "out", RunOptions(runner="ray", address=shared_cluster.address), [Kill()]
    )
    assert killed
    assert outcome.counts["finished"] == 6


def test_a_task_that_exceeds_its_time_limit_is_killed(runner, tmp_path):
    events = []
    runner.run(many(tasks.slow, [str(tmp_path / "done")], timeout_seconds=0.4), events.append)
    assert events == [Started(key="0"), TimedOut(key="0", seconds=0.4)]
    time.sleep(1.5)
    assert not (tmp_path / "done").exists()


def test_ctrl_c_kills_running_tasks_and_another_runner_continues(shared_cluster, tmp_path):
    study = small_study(seeds=4)
    study["base"]["trainer"]["max_epochs"] = 30
    path, out = tmp_path / "study.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(study))
    command = start(path, out, "--runner", "ray", "--address", shared_cluster.address, "--fuse", "never")
    wait_until(lambda: num_finished(out) >= 2)
    os.killpg(command.pid, signal.SIGINT)
    _, errors = command.communicate(timeout=600)
    assert (command.returncode, errors) == (130, "ablate: interrupted; the same command continues\n")
    assert ray_workers() == []
    before = num_finished(out)
    assert before < 8
    outcome = run(load_study(path), out, RunOptions(runner="local", num_slots=2, fuse="never"))
    assert (outcome.counts["finished"], outcome.num_trained) == (8, 8 - before)


def test_a_new_node_gets_tasks_and_a_lost_node_costs_only_its_tasks(runner, shared_cluster):
    events, nodes = [], []

    def handle(event):
        events.append(event)
        if isinstance(event, Done) and not nodes:
            nodes.append(shared_cluster.add_node())
        if isinstance(event, Done) and event.value in nodes and len(nodes) == 1:
            shared_cluster.kill_node(2)
            nodes.append("killed")

    runner.run(many(tasks.ray_node, [0.5] * 30), handle)
    lost = [event for event in events if isinstance(event, Lost)]
    assert nodes[1:] == ["killed"], "the new node got no work"
    assert len(lost) <= 1
    assert len([event for event in events if isinstance(event, Done)]) == 30 - len(lost)


def test_a_killed_head_is_an_error_and_another_runner_continues(tmp_path):
    study = small_study(seeds=5)
    study["base"]["trainer"]["max_epochs"] = 30
    path, out = tmp_path / "study.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(study))
    with ray_cluster.RayCluster() as cluster:
        command = start(path, out, "--runner", "ray", "--address", cluster.address, "--fuse", "never")
        wait_until(lambda: num_finished(out) >= 2)
        cluster.kill_node(0)
        _, errors = command.communicate(timeout=600)
    assert command.returncode == 2
    assert errors.startswith(f"ablate: the Ray cluster at {cluster.address}")
    assert "recorded results are kept, and the same command continues" in errors
    before = num_finished(out)
    assert 2 <= before < 10
    outcome = run(load_study(path), out, RunOptions(runner="local", num_slots=2, fuse="never"))
    assert (outcome.counts["finished"], outcome.num_trained) == (10, 10 - before)
    run(load_study(path), tmp_path / "whole", RunOptions(runner="local", num_slots=2, fuse="never"))
    assert results(out) == results(tmp_path / "whole")


# ---- a local Ray -----------------------------------------------------------------------------------------------------


def test_a_local_ray_listens_on_loopback_only_and_ends_with_the_command(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "import tasks\n"
        "from experiments.runners import RayRunner, Task\n"
        "if __name__ == '__main__':\n"
        "    with RayRunner(num_slots=1) as runner:\n"
        "        task = Task(key='a', function=tasks.tell_and_wait, argument=100)\n"
        "        runner.run([task], lambda event: print(event, flush=True))\n"
    )
    command = subprocess.Popen(
        [sys.executable, script, Path(tasks.__file__).parent], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with command:
        assert command.stdout.readline() == "Started(key='a')\n"
        assert command.stdout.readline().startswith("Emitted(key='a'")
        family = psutil.Process(command.pid).children(recursive=True)
        listening = [
            connection.laddr.ip
            for process in family
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert len(listening) >= 4
        assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
        command.kill()
    _, left = psutil.wait_procs(family, timeout=600)
    assert left == []


def test_a_trial_over_two_devices_takes_two_slots_and_has_the_local_results(tmp_path):
    base = {
        "model": {"class_path": "ranked_module.Ranked"},
        "data": {"class_path": "ranked_module.Points"},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "devices": 2, "strategy": "ddp"},
    }
    factors = {"lr": {"key": "model.init_args.lr", "levels": [0.1, 0.2]}}
    study = parse_study(small_study(base=base, factors=factors, metric={"name": "test/loss"}, seeds=1), name="ranked")
    for runner in ("ray", "local"):
        assert run(study, tmp_path / runner, RunOptions(runner=runner, num_slots=2)).counts["finished"] == 2
    assert results(tmp_path / "ray") == results(tmp_path / "local")


# ---- invalid input ---------------------------------------------------------------------------------------------------


def refused(address):
    started = time.monotonic()
    with pytest.raises(RunnerError) as refused, RayRunner(address) as runner:
        runner.run(many(tasks.double, [1]), lambda event: None)
    assert time.monotonic() - started < 30
    return str(refused.value)


def test_an_address_without_a_cluster_is_an_error():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    assert refused(address) == (
        f"the Ray cluster at {address}: no answer (Connection refused); `ray status` shows a running cluster"
    )


def test_an_address_of_another_form_is_an_error():
    assert refused("ray://127.0.0.1:10001").endswith(
        "the address must be auto, or HOST:PORT as `ray start --head` prints it"
    )


def test_another_service_at_the_address_is_an_error(monkeypatch):
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert refused(address).startswith(f"the Ray cluster at {address}")


def test_a_cluster_of_another_version_is_an_error(shared_cluster):
    kept = "ray.experimental.internal_kv._internal_kv_get(b'CLUSTER_METADATA', namespace=b'cluster').decode()"
    put = "ray.experimental.internal_kv._internal_kv_put(b'CLUSTER_METADATA', {!r}.encode(), namespace=b'cluster')"
    before = shared_cluster.run(kept)
    try:
        shared_cluster.run(put.format(before.replace('"ray_version": "', '"ray_version": "1.')))
        assert "Version mismatch" in refused(shared_cluster.address)
    finally:
        shared_cluster.run(put.format(before))


def test_without_ray_the_command_says_how_to_install_it(study_path, tmp_path):
    code = "import sys; sys.modules['ray'] = None; from ablate.commands import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "run", study_path, "--out", tmp_path / "out", "--runner", "ray"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "ablate: --runner ray needs Ray, which is not installed: `uv sync --extra ray` in a checkout, or "
        '`pip install "ablation-suite[ray]"`\n'
    )
    assert not (tmp_path / "out").exists()


def test_only_ray_has_an_address(study_path, tmp_path):
    with pytest.raises(InputError, match="only --runner ray has one"):
        run(load_study(study_path), tmp_path / "out", RunOptions(runner="local", address="auto"))

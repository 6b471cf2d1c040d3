"""Tests of the command: output, exit codes, messages."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from make_ledger import make_ledger, make_result, one_factor
from small_study import small_study

from ablate.commands import main
from ablate.exit_codes import ExitCode


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """Run commands in a temporary folder, and restore what `main` changes in the process."""
    monkeypatch.chdir(tmp_path)
    path, handler = list(sys.path), signal.getsignal(signal.SIGTERM)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(small_study()))
    yield
    sys.path[:] = path
    signal.signal(signal.SIGTERM, handler)


def ablate(capsys, *arguments):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def command(*arguments, **options):
    return subprocess.Popen([sys.executable, "-m", "ablate", *arguments], text=True, **options)


def first_trial(study="mine"):
    return Path(f"runs/{study}/report/trials.csv").read_text().splitlines()[1].split(",")[0]


@pytest.mark.slow
def test_a_folder_of_the_user_does_not_hide_a_package_of_the_suite(tmp_path):
    for name in ("reports", "experiments"):
        (tmp_path / name).mkdir()
    script = Path(sys.executable).with_name("ablate")
    words = [script, "run", "mine.yaml", "--wandb", "offline"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Written to runs/mine/report" in done.stdout
    assert "W&B: 4 runs and the report in runs/mine/wandb" in done.stdout


def cpu_seconds(*words):
    """Return the shortest CPU time of a process in three runs, which other processes do not affect."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)


@pytest.mark.parametrize("argument", ["--help", "list"])
def test_help_and_list_import_little(argument):
    """Compare with the time of necessary imports, by a ratio, so that slow machines pass too."""
    needed = cpu_seconds("-c", "import argparse, filelock, psutil, rich.console, rich.table, ruamel.yaml, sqlite3")
    assert cpu_seconds("-m", "ablate", argument) < 4 * needed


def test_a_closed_pipe_is_no_error():
    with command("list", stdout=subprocess.PIPE) as listing:
        listing.stdout.readline()
        listing.stdout.close()
        assert listing.wait() == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("words", [["list"], ["show", "run", "x=a,seed=0"]])
def test_a_full_disk_gives_one_line_and_exit_code_74(words, tmp_path):
    make_ledger(tmp_path / "run", one_factor(), lambda *_: make_result(0.5))
    with Path("/dev/full").open("w") as full, command(*words, stdout=full, stderr=subprocess.PIPE) as running:
        _, err = running.communicate()
    assert running.returncode == ExitCode.OUTPUT_ERROR
    assert err == "ablate: output cannot be written: [Errno 28] No space left on device\n"


def test_check_prints_the_plan_and_writes_nothing(capsys, tmp_path):
    code, out, _ = ablate(capsys, "check", "mine.yaml")
    assert code == 0
    text = " ".join(out.split())
    assert "full design: 2 cells x 2 seeds = 4 trials; metric test/acc (max), margin 0.01" in text
    assert "each level against its reference, paired by seed: 2 differences" in text
    assert "fused: 4 trials in groups of 4" in text
    assert "- with 2 seeds, a true difference of 11.55 SD (standard deviations of the paired differences)" in text
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_check_gives_the_reason_of_each_trial_that_is_not_fused(capsys):
    study = small_study(name="mixed")
    levels = {"plain": {"class_path": "lit_models.Perceptron"}, "own": {"class_path": "user_module.UserModule"}}
    study["factors"] = {"network": {"key": "model", "levels": levels}}
    Path("mixed.yaml").write_text(yaml.safe_dump(study))
    code, out, _ = ablate(capsys, "check", "mixed.yaml")
    text = " ".join(out.split())
    assert code == 0
    assert "fused: 2 trials in groups of 2" in text
    assert "not fused: 2 trials (network=own): UserModule overrides on_train_epoch_end" in text


def test_run_status_show_and_report(capsys):
    code, out, _ = ablate(capsys, "run", "mine.yaml", "--runner", "inline", "--set", "trainer.max_epochs=2")
    assert code == 0
    assert "4 trials; 1 worker; 4 fused in 1 group" in out
    assert "relu - tanh" in out
    assert "Written to runs/mine/report" in out
    code, out, _ = ablate(capsys, "status", "runs/mine")
    assert code == 0
    assert "4 trials, 4 finished" in out
    code, out, _ = ablate(capsys, "show", "runs/mine", first_trial()[:8])
    assert code == 0
    assert "# test/acc: " in out
    assert "# test examples classified correctly: " in out
    assert ablate(capsys, "show", "runs/mine", "activation=tanh,seed=0")[1] == out
    code, _, err = ablate(capsys, "show", "runs/mine", "activation=tanh")
    assert (code, err.splitlines()[0]) == (
        2,
        "ablate: TRIAL 'activation=tanh': matches 2 trials; give more of it",
    )
    code, _, err = ablate(capsys, "show", "runs/mine", "activation=elu,seed=0")
    assert (code, err.startswith("ablate: TRIAL 'activation=elu,seed=0': ")) == (2, True)
    config = yaml.safe_load(out)
    assert config["seed_everything"] == 0
    assert config["trainer"]["max_epochs"] == 2
    code, out, _ = ablate(capsys, "report", "runs/mine")
    assert code == 0
    code, out, _ = ablate(capsys, "check", "mine.yaml", "--seeds", "8", "--pilot", "runs/mine")
    assert code == 0
    assert "- with 8 seeds, a true difference of 1.16 SD" in out
    assert "- pilot runs/mine: the SD of paired differences is 0." in out
    assert " seeds to detect a difference as large as the margin, " in out
    code, out, _ = ablate(capsys, "run", "mine.yaml", "--runner", "inline", "--set", "trainer.max_epochs=2")
    assert code == 0
    assert "nothing to train" in out


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*is deprecated", "ignore:.*does not have many workers", "ignore::DeprecationWarning"
)
def test_the_output_of_show_trains_in_stock_lightning_cli(capsys, tmp_path, monkeypatch):
    from lightning.pytorch.cli import LightningCLI

    ablate(capsys, "run", "mine.yaml", "--runner", "inline", "--seeds", "1")
    _, out, _ = ablate(capsys, "show", "runs/mine", first_trial())
    (tmp_path / "trial.yaml").write_text(out)
    monkeypatch.setattr(sys, "argv", ["main.py", "fit", "--config", "trial.yaml", "--trainer.logger=false"])
    cli = LightningCLI()
    assert cli.trainer.current_epoch == 1
    assert "test" not in cli.trainer.callback_metrics
    assert float(cli.trainer.callback_metrics["val/acc"]) > 0


def test_failed_trials_give_exit_code_1_and_a_hint_to_retry(capsys, monkeypatch):
    study = small_study(seeds=1, name="fails")
    study["base"] = {
        "model": {"class_path": "user_module.UserModule"},
        "data": {"class_path": "user_module.UserData"},
        "trainer": {"max_epochs": 2},
    }
    study["metric"] = {"name": "test/loss", "goal": "min"}
    study["factors"] = {"fails": {"key": "model.init_args.fails", "levels": ["", "raises"]}}
    Path("fails.yaml").write_text(yaml.safe_dump(study))
    code, out, _ = ablate(capsys, "run", "fails.yaml", "--runner", "inline")
    assert code == 1
    assert "ValueError: the user's own error" in out
    assert "1 trials failed: `ablate show runs/fails TRIAL` has the traceback" in out
    trial = out.split("failed ")[1].split(" ")[0]
    code, out, _ = ablate(capsys, "show", "runs/fails", trial)
    assert "ValueError: the user's own error" in out
    code, out, _ = ablate(capsys, "retry", "runs/fails")
    assert (code, out) == (0, "1 failed trials are pending again; `ablate run` trains them\n")


def test_a_metric_that_is_not_logged_is_reported_after_the_first_trial(capsys):
    study = small_study(metric={"name": "test/accuracy"}, name="unlogged", seeds=1)
    Path("unlogged.yaml").write_text(yaml.safe_dump(study))
    code, out, err = ablate(capsys, "run", "unlogged.yaml", "--runner", "inline")
    assert code == 2
    assert "a trial did not log the study's metric 'test/accuracy'; did you mean 'test/acc'?" in " ".join(out.split())
    assert "test/accuracy" in err


WRONG = [
    (("run", "quickstrat"), "ablate: there is no study 'quickstrat'; did you mean 'quickstart'?"),
    (("check", "absent.yaml"), "ablate: absent.yaml: cannot be read as a study file"),
    (("run", "mine.yaml", "--seeds", "0"), "ablate: mine.yaml: seeds: is 0; at least 1 is needed"),
    (("run", "mine.yaml", "--seeds", "-2"), "ablate: mine.yaml: seeds: is -2; at least 1 is needed"),
    (("run", "mine.yaml", "--set", "x"), "ablate: --set x: write KEY=VALUE, as in --set trainer.max_epochs=2"),
    (("run", "mine.yaml", "--set", "trainer.max_epochs=["), "ablate: --set trainer.max_epochs: is not valid YAML"),
    (("run", "mine.yaml", "--set", "seeds=3"), "ablate: mine.yaml: --set seeds: 'seeds' is not a key of the config"),
    (("run", "mine.yaml", "--address", "auto"), "ablate: --address auto: only --runner ray has one"),
    (("run", "mine.yaml", "--workers", "0"), "ablate: --workers 0: at least 1 is needed"),
    (
        ("run", "mine.yaml", "--devices", "x"),
        "ablate: --devices x: 'x' is not there; without a GPU, devices are cores:",
    ),
    (("run", "mine.yaml", "--devices", ""), "ablate: --devices : '' is not there; without a GPU, devices are cores:"),
    (
        ("run", "mine.yaml", "--devices", "0", "--runner", "inline"),
        "ablate: --devices 0: only the local runner has devices to choose from",
    ),
    (("run", "mine.yaml", "--timeout", "0"), "ablate: --timeout 0: seconds above 0 are needed, 100,000,000 at most"),
    (
        ("run", "mine.yaml", "--timeout", "inf"),
        "ablate: --timeout inf: seconds above 0 are needed, 100,000,000 at most",
    ),
    (
        ("run", "mine.yaml", "--timeout", "nan"),
        "ablate: --timeout nan: seconds above 0 are needed, 100,000,000 at most",
    ),
    (("run", "mine.yaml", "--retries", "-1"), "ablate: --retries -1: 0 or more is needed"),
    (
        ("run", "mine.yaml", "--set", "trainer.default_root_dir=../x"),
        "ablate: mine.yaml: base.trainer.default_root_dir: is '../x'; a folder within the trial's folder is expected",
    ),
    (("status", "absent", "--watch"), "ablate: absent/ledger.sqlite: there is no ledger; `ablate run` makes one"),
    (("run", "mine.yaml", "--data-dir", "absent"), "ablate: --data-dir absent: is not a folder"),
    (
        ("check", "mine.yaml", "--pilot", "absent"),
        "ablate: absent/ledger.sqlite: there is no ledger; `ablate run` makes",
    ),
    (("status", "absent"), "ablate: absent/ledger.sqlite: there is no ledger; `ablate run` makes one"),
    (("retry", "absent"), "ablate: absent/ledger.sqlite: there is no ledger; `ablate run` makes one"),
    (("show", "absent", "x"), "ablate: absent/ledger.sqlite: there is no ledger; `ablate run` makes one"),
    (("report", "absent"), "ablate: absent"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_input_has_exit_code_2_and_a_message_and_writes_nothing(capsys, tmp_path, arguments, message):
    code, out, err = ablate(capsys, *arguments)
    assert code == 2
    assert err.startswith(message)
    assert "Traceback" not in out + err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_wrong_option_is_exit_code_2(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["run", "mine.yaml", "--fuse", "sometimes"])
    assert raised.value.code == 2
    assert "invalid choice: 'sometimes'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_has_exit_code_130_and_the_same_command_continues(capsys, number, tmp_path):
    study = small_study(seeds=40)
    study["base"]["trainer"]["max_epochs"] = 4
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(study))
    running = command("run", "long.yaml", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not (tmp_path / "runs/long/logs/worker-0.log").exists():
        time.sleep(0.1)
    time.sleep(1)
    running.send_signal(number)
    _, err = running.communicate(timeout=600)
    assert running.returncode == 130
    assert err == "ablate: interrupted; the same command continues\n"
    code, out, _ = ablate(capsys, "status", "runs/long")
    assert code == 0
    assert " pending" in out
    assert "running" not in out


@pytest.mark.slow
def test_a_failed_import_of_the_report_is_an_error_after_the_training(capsys, tmp_path):
    (tmp_path / "jinja2.py").write_text("raise ImportError('no jinja2 today')\n")
    running = command("run", "mine.yaml", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, err = running.communicate(timeout=600)
    assert running.returncode == 1
    assert err.endswith("ImportError: no jinja2 today\n")
    assert err.count("Traceback") == 1
    assert "4 trials, 4 finished" in ablate(capsys, "status", "runs/mine")[1]


def test_an_interrupt_during_imports_ends_at_once_with_one_line(tmp_path):
    running = command("run", "mine.yaml", stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    begun = time.monotonic()
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and max(memory_of_children(running.pid), default=0) < 100e6:  # torch, in part
        time.sleep(0.05)
    importing = time.monotonic() - begun
    interrupted = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the fork server too
    _, err = running.communicate(timeout=600)
    assert time.monotonic() - interrupted < importing  # which was not yet done
    assert running.returncode in {130, -signal.SIGINT}  # the second where C code was importing; a shell shows 130 too
    assert err == "ablate: interrupted; the same command continues\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def memory_of_children(process_id):
    return [child.memory_info().rss for child in psutil.Process(process_id).children()]


def folded_study(**changes):
    base = {
        "model": {"class_path": "user_module.UserModule"},
        "data": {"class_path": "folded_data.FoldedPoints"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    factors = {"lr": {"key": "model.init_args.lr", "levels": [0.01, 0.1]}}
    metric = {"name": "test/loss", "goal": "min"}
    content = small_study(name="folded", base=base, factors=factors, metric=metric, folds=4) | changes
    del content["seeds"]
    return content


@pytest.mark.slow
def test_a_cross_validation_from_check_to_report(capsys):
    Path("folded.yaml").write_text(yaml.safe_dump(folded_study()))
    code, out, _ = ablate(capsys, "check", "folded.yaml")
    assert code == 0
    assert "full design: 2 cells x 4 folds = 8 trials; " in out
    assert "- each level against its reference, paired by fold: 4 differences\n" in out
    assert "seed s trains fold s mod 4; intervals are corrected for the overlap of training sets" in " ".join(
        out.split()
    )
    assert "- note on the data: noise of 0.1\n- note on the data: the first test point is " in out
    code, out, _ = ablate(capsys, "check", "folded.yaml", "--seeds", "8")
    assert "2 cells x 4 folds x 2 repetitions = 16 trials; " in out
    code, out, _ = ablate(capsys, "check", "folded.yaml", "--seeds", "6")
    text = " ".join(out.split())
    assert "2 cells x 6 folds = 12 trials; " in text
    assert "2 of 8 folds are missing, so examples are not tested equally often" in text
    code, out, _ = ablate(capsys, "check", "folded.yaml", "--seeds", "1")
    assert "one fold: no intervals and no verdicts are possible; use --seeds 4 or more" in " ".join(out.split())
    code, out, _ = ablate(capsys, "run", "folded.yaml", "--workers", "1")
    assert code == 0
    assert out.index("note on the data: noise of 0.1\n") < out.index("8 trials; 1 worker")
    text = " ".join(out.split())
    assert "(!) Data: noise of 0.1" in text
    assert "4-fold cross-validation (seeds 0 to 3). Every example is tested once; the training sets" in text
    report = Path("runs/folded/report/report.md").read_text()
    assert "## Caveats\n\n- Data: noise of 0.1\n- Data: the first test point is " in report
    _, out, _ = ablate(capsys, "show", "runs/folded", first_trial("folded"))
    assert yaml.safe_load(out)["data"]["init_args"]["folds"] == 4


def test_notes_on_the_data_are_escaped_and_name_their_level(capsys):
    levels = {"even": "a sentence", "odd": "control"}
    factors = {"says": {"key": "data.init_args.says", "levels": levels}}
    Path("odd.yaml").write_text(yaml.safe_dump(folded_study(factors=factors, name="odd", folds=2)))
    shown = "note on the data: says=odd: a \\x1b[31mred\\x1b[0m [bold]note[/bold]\\nof two lines\n"
    code, out, _ = ablate(capsys, "check", "odd.yaml")
    assert code == 0
    assert f"- note on the data: says=even: a sentence\n- {shown}" in out
    code, out, _ = ablate(capsys, "run", "odd.yaml", "--runner", "inline", "--fuse", "never")
    assert code == 0
    assert f"note on the data: says=even: a sentence\n{shown}" in out
    assert "\x1b" not in out
    report = Path("runs/odd/report/report.md").read_text()
    assert "- Data: says=odd: a \\\\x1b[31mred\\\\x1b[0m [bold]note[/bold]\\\\nof two lines\n" in report

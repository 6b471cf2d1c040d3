"""Sweep file of a study: its content, how W&B's own code reads it, and real agents."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from make_ledger import make_study, make_trials
from ruamel.yaml import YAML
from small_study import small_study
from wandb_server import WandbServer

from ablate.commands import _parser, main
from experiments import InputError, Ledger, find_trial
from reports.wandb.destination import Destination
from reports.wandb.sweep import HEADER, build_agent_command, format_sweep, quote_trial_id, write_sweep

DESTINATION = Destination(project="nets", group="activations")
KEYS = {  # of the schema of the package sweeps 0.3.0, which refuses others, with their types there
    "program": str,
    "name": str,
    "description": str,
    "project": str,
    "entity": str,
    "method": str,
    "metric": dict,
    "command": list,
    "parameters": dict,
}
NUMBERS = ("1234567890123456", "123456789012e345", "000000000000e123", "0123456712345670", "12e4567890123456")


def dump_row(study=None, trials=None, destination=DESTINATION, command=("ablate",)):
    study = study or make_study()
    return format_sweep(study, make_trials(study) if trials is None else trials, destination, command)


def values_of(text):
    return yaml.safe_load(text)["parameters"]["trial"]["values"]


def uploaded(text):
    """Return what `wandb sweep` sends of a file, as a server with YAML 1.2 reads it."""
    return YAML(typ="safe").load(yaml.dump(yaml.safe_load(text)))


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """Run commands in a temporary folder, and restore what `main` changes in the process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    handlers = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for name, handler in handlers.items():
        signal.signal(name, handler)


# ---- the text ------------------------------------------------------------------------------------------------------


def test_the_grid_is_exactly_the_plan_seed_by_seed():
    trials = make_trials(make_study())
    values = values_of(dump_row())
    assert sorted(values) == sorted(trial.trial_id for trial in trials)
    by_id = {trial.trial_id: trial for trial in trials}
    assert [by_id[value].seed for value in values] == sorted(trial.seed for trial in trials)


def test_each_value_has_its_trial_as_a_comment():
    lines = re.findall(r'^    - "([0-9a-f]{16})"  # (.*)$', dump_row(), flags=re.MULTILINE)
    assert lines[0][1] == "activation=sigmoid, init=xavier, seed=0"
    assert dict(lines) == {trial.trial_id: str(trial) for trial in make_trials(make_study())}


@pytest.mark.parametrize(("goal", "word"), [("max", "maximize"), ("min", "minimize")])
def test_a_sweep_has_the_keys_that_its_schema_knows(goal, word):
    study = make_study(metric={"name": "val/loss", "goal": goal})
    config = yaml.safe_load(dump_row(study, destination=replace(DESTINATION, entity="me")))
    assert {key: type(value) for key, value in config.items()} == KEYS
    assert config["method"] == "grid"
    assert config["metric"] == {"name": "val/loss", "goal": word}
    assert (config["name"], config["description"]) == ("activations", "Does ReLU train better than sigmoid?")
    assert (config["project"], config["entity"]) == ("nets", "me")


def test_without_an_entity_w_and_b_uses_the_login_s():
    assert "entity" not in yaml.safe_load(dump_row())


def test_odd_names_stay_in_their_line_and_their_text():
    study = make_study(
        question='Is "a: b" # better?\nOr not, é 🎉?',
        factors={"x": {"key": "model.init_args.x", "levels": {"two\nlines # - a: b": 1, "é": 2}}},
    )
    config = yaml.safe_load(dump_row(study))
    assert config["description"] == study.question
    assert values_of(dump_row(study)) == [trial.trial_id for trial in sorted(make_trials(study), key=lambda t: t.seed)]


@pytest.mark.parametrize("number", NUMBERS)
def test_an_id_that_reads_as_a_number_arrives_as_text(number):
    study = make_study()
    trials = make_trials(study)
    odd = [replace(trials[0], trial_id=number), *trials[1:]]
    (value, *_) = uploaded(dump_row(study, odd))["parameters"]["trial"]["values"]
    assert value == quote_trial_id(number) == f"'{number}'"
    assert find_trial(odd, f"trial={value}", study) is odd[0]


def test_without_quotes_such_an_id_would_arrive_as_a_number():
    text = dump_row().replace(values_of(dump_row())[0], "123456789012e045")
    assert uploaded(text)["parameters"]["trial"]["values"][0] == 123456789012e45


# ---- the command ---------------------------------------------------------------------------------------------------


def test_the_agent_s_own_code_builds_commands_that_ablate_accepts(monkeypatch):
    from wandb import wandb_agent

    study = make_study()
    trials = make_trials(study)
    odd = [replace(trials[0], trial_id="123456789012e345"), *trials[1:]]
    Path("a study.yaml").touch()
    command = build_agent_command(
        "a study.yaml", Path("out dir"), seeds=5, changes=["base.x={a: 1}", "y=2"], data_dir=Path("data")
    )
    config = uploaded(dump_row(study, odd, command=command))
    commands = []

    class Process:
        def __init__(self, command, env, forward_signals):
            commands.append(command)
            self.last_sigterm_time = None

    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)
    for name in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, str(Path.cwd()))  # the agent changes them
    agent = wandb_agent.Agent(None, None)
    agent._sweep_command = config["command"]
    values = config["parameters"]["trial"]["values"]
    for value in values:
        agent._command_run({"run_id": "r", "args": {"trial": {"value": value}}, "program": config["program"]})
    here = Path.cwd()
    assert commands[0] == [
        *("ablate", "trial", f"{here}/a study.yaml", "trial='123456789012e345'", "--out", f"{here}/out dir"),
        *("--wandb", "online", "--seeds", "5", "--set", "base.x={a: 1}", "--set", "y=2", "--data-dir", f"{here}/data"),
    ]
    read = [_parser().parse_args(words[1:]) for words in commands]
    assert {arguments.study for arguments in read} == {f"{here}/a study.yaml"}
    assert {str(arguments.out) for arguments in read} == {f"{here}/out dir"}
    assert [tuple(arguments.changes) for arguments in read] == [("base.x={a: 1}", "y=2")] * len(values)
    found = [find_trial(odd, arguments.trial, study) for arguments in read]
    assert sorted(trial.trial_id for trial in found) == sorted(trial.trial_id for trial in odd)


def test_a_shipped_study_is_named_and_a_file_is_a_path():
    assert build_agent_command("quickstart", Path("out"))[2] == "quickstart"
    assert build_agent_command("mine.yaml", Path("out"))[2] == str(Path.cwd() / "mine.yaml")


# ---- the file ------------------------------------------------------------------------------------------------------


def test_the_command_prints_a_sweep_of_the_plan(capsys):
    Path("mine.yaml").write_text(yaml.safe_dump(small_study()))
    assert main(["wandb", "sweep", "mine.yaml", "--seeds", "3"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(HEADER)
    assert len(set(values_of(text))) == 6
    assert yaml.safe_load(text)["command"][-2:] == ["--seeds", "3"]
    assert not Path("runs").exists()


def test_the_command_writes_a_file_and_saves_the_destination(capsys):
    Path("mine.yaml").write_text(yaml.safe_dump(small_study()))
    arguments = ["wandb", "sweep", "mine.yaml", "--file", "sweep.yaml", "--wandb-project", "nets", "--out", "out"]
    assert main(arguments) == 0
    assert "sweep.yaml: 4 trials; `wandb sweep sweep.yaml` makes the sweep" in capsys.readouterr().out
    assert yaml.safe_load(Path("sweep.yaml").read_text())["project"] == "nets"
    assert yaml.safe_load(Path("out/wandb.json").read_text())["project"] == "nets"
    assert main(["wandb", "sweep", "mine.yaml", "--file", "sweep.yaml", "--out", "out"]) == 0  # its own, again
    assert yaml.safe_load(Path("sweep.yaml").read_text())["project"] == "nets"


def test_a_file_of_another_origin_is_not_overwritten(capsys):
    Path("notes.yaml").write_text("mine: 1\n")
    with pytest.raises(InputError, match=r"--file notes.yaml: exists, and this command has not written it; give"):
        write_sweep(Path("notes.yaml"), "x")
    with pytest.raises(InputError, match=r"--file no/such/sweep.yaml: cannot be written: No such file or directory"):
        write_sweep(Path("no/such/sweep.yaml"), "x")
    assert Path("notes.yaml").read_text() == "mine: 1\n"


def test_invalid_input_of_the_command_is_an_error(capsys):
    Path("mine.yaml").write_text(yaml.safe_dump(small_study(name="mine")))
    assert main(["wandb", "sweep", "mine.yaml", "--wandb-project", "a/b"]) == 2
    assert "--wandb-project 'a/b' contains '/', which W&B refuses" in capsys.readouterr().err
    assert main(["wandb", "sweep", "mine.yaml", "--seeds", "0"]) == 2
    assert "seeds" in capsys.readouterr().err
    Path("empty.yaml").write_text(yaml.safe_dump(small_study(exclude=[{"activation": ["tanh", "relu"]}])))
    assert main(["wandb", "sweep", "empty.yaml"]) == 2
    assert "exclude: excludes every cell" in capsys.readouterr().err


# ---- with a server -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_agents_of_a_sweep_record_every_trial_once(tmp_path):
    Path("mine.yaml").write_text(yaml.safe_dump(small_study(name="mine")))
    assert main(["wandb", "sweep", "mine.yaml", "--file", "sweep.yaml", "--out", "out"]) == 0
    programs = Path(sys.executable).parent
    with WandbServer() as server:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        environment |= server.environment() | {"PATH": f"{programs}:{os.environ['PATH']}"}

        def start(*words):
            return subprocess.Popen(
                [programs / "wandb", *words],
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )

        made = start("sweep", "sweep.yaml")
        said, _ = made.communicate(timeout=600)
        assert made.returncode == 0, said
        ((sweep_id, sweep),) = server.sweeps.items()
        agents = [start("agent", f"{sweep.entity}/{sweep.project}/{sweep_id}") for _ in range(2)]
        said = [agent.communicate(timeout=600)[0] for agent in agents]
        assert [agent.returncode for agent in agents] == [0, 0], said
        assert sorted(point["trial"] for point in sweep.handed_out.values()) == sorted(values_of(sweep.config_text))
        runs = {run.run_id: run for run in server.runs.values()}
        assert {run.sweep for run in runs.values()} == {sweep_id}
        assert {run_id: run.config["trial"] for run_id, run in runs.items()} == {
            run_id: point["trial"] for run_id, point in sweep.handed_out.items()
        }
        out = subprocess.run(
            [programs / "ablate", "wandb", "verify", "out"], env=environment, capture_output=True, text=True, check=True
        ).stdout
        assert "4 of 4 runs on the server agree with the ledger" in out
        assert server.unknown == []
        assert server.trap.hosts == []
    with Ledger(Path("out/ledger.sqlite"), writable=False) as ledger:
        assert [(row["status"], row["attempts"]) for row in ledger.trials()] == [("finished", 1)] * 4

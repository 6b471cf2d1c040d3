"""Tests of security: study files run no code, names stay inside the folder, and nothing listens beyond loopback."""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from small_study import small_study

from experiments import Ledger, RunOptions, StudyError, load_study, parse_study, run
from experiments.study.parse import parse_yaml

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for package in ("experiments", "lit_models", "datamodules", "reports")
    for path in (ROOT / package).rglob("*.py")
]

CODE = [
    "!!python/object/apply:os.system ['touch {path}']",
    "!!python/object/new:subprocess.check_call [[touch, '{path}']]",
    "!!python/name:os.system ''",
    "!!python/module:os ''",
]


@pytest.mark.parametrize("tag", CODE)
def test_a_yaml_tag_runs_no_code(tag, tmp_path):
    path = tmp_path / "ran"
    text = tag.format(path=path)
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(small_study()) + f"design: {text}\n")
    with pytest.raises(StudyError):
        load_study(study)
    with pytest.raises(Exception, match="not valid YAML"):
        parse_yaml(text, "--set x")
    assert not path.exists()


@pytest.mark.parametrize("name", ["..", ".", "", "../up", "a/b", "/tmp/x", "a\\b", "a\0b"])
def test_a_study_name_outside_the_runs_folder_is_an_error(name):
    with pytest.raises(StudyError, match="cannot be the name of a folder"):
        parse_study(small_study(name=name))


@pytest.mark.parametrize(
    "folder", ["/tmp/x", "..", "a/../../b", "C:\\x", "\\\\host\\x", "a\\..\\..\\b", "s3://bucket/x"]
)
def test_a_trial_folder_outside_the_study_is_an_error(folder, tmp_path):
    study = small_study()
    study["base"]["trainer"]["default_root_dir"] = folder
    with pytest.raises(
        StudyError, match=r"trainer.default_root_dir: is .*; a folder within the trial's folder is expected"
    ):
        run(parse_study(study), tmp_path / "s", RunOptions(runner="inline"))


@pytest.mark.slow
def test_everything_is_written_inside_the_folder_for_any_level_name(tmp_path):
    from reports import write_report

    study = small_study(seeds=2, name="names")
    names = {"../../up": "tanh", "/etc/x": "relu", "a\\b": "elu"}
    study["factors"] = {"../../f": {"key": "model.init_args.activation", "levels": names}}
    study["base"]["trainer"] |= {"enable_checkpointing": True, "default_root_dir": "mine"}
    before = everything(tmp_path.parent)
    run(parse_study(study), tmp_path / "s", RunOptions(runner="local", num_slots=1, fuse="never"))
    write_report(tmp_path / "s")
    written = everything(tmp_path.parent) - before
    assert written
    assert {path for path in written if not path.is_relative_to(tmp_path / "s")} == set()
    folders = {path.name for path in (tmp_path / "s" / "trials").iterdir()}
    with Ledger(tmp_path / "s" / "ledger.sqlite", writable=False) as ledger:
        assert folders == {row["trial_id"] for row in ledger.trials()}
    checkpoints = list((tmp_path / "s").rglob("*.ckpt"))
    assert len(checkpoints) == 6
    assert all(path.relative_to(tmp_path / "s").parts[2] == "mine" for path in checkpoints)
    for path in checkpoints:  # what the suite's own models save is data, too
        assert "state_dict" in torch.load(path, weights_only=True)


def everything(folder):
    return {path for path in folder.rglob("*") if not path.is_dir()}


def test_a_path_is_not_accepted_as_a_trial(tmp_path):
    run(parse_study(small_study(seeds=1), name="small"), tmp_path / "s", RunOptions(runner="inline", fuse="never"))
    done = subprocess.run(
        [sys.executable, "-m", "ablate", "show", str(tmp_path / "s"), "../../etc/passwd"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "no trial has an id that begins with '../../etc/passwd'" in done.stderr


def test_checkpoints_and_yaml_are_loaded_without_executing_code():
    """Check that each call that could unpickle a file has weights_only=True, and that PyYAML only writes."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called == "torch.load" or called.endswith(".load_from_checkpoint"):
                assert keywords.get("weights_only") == "True", (path, called)
            unsafe = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "pickle.load"}
            if path.name == "child_process.py":  # which reads what its own processes write to each other, and no file
                unsafe.remove("pickle.load")
            assert called not in unsafe, (path, called)
            if called.endswith((".fit", ".test", ".validate")) and "ckpt_path" in keywords:
                assert keywords.get("weights_only") == "True", (path, called)


LOOPBACK = ("127.", "::1", "::ffff:127.")


def listening_elsewhere(process_id):
    """Return the addresses beyond loopback on which a command and its processes listen."""
    found = set()
    for process in [psutil.Process(process_id), *psutil.Process(process_id).children(recursive=True)]:
        try:
            connections = process.net_connections("inet")
        except psutil.Error:
            continue
        found |= {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
    return {address for address in found if not address.startswith(LOOPBACK)}


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_training_listens_only_on_the_loopback_device(devices, tmp_path):
    base = {
        "model": {"class_path": "ranked_module.Listening"},
        "data": {"class_path": "ranked_module.Points"},
        "trainer": {"max_epochs": 4, "accelerator": "cpu", "devices": devices},
    }
    factors = {"lr": {"key": "model.init_args.lr", "levels": [0.1, 0.2]}}
    study = small_study(base=base, factors=factors, seeds=3, metric={"name": "test/loss", "goal": "min"})
    (tmp_path / "listens.yaml").write_text(yaml.safe_dump(study))
    paths = [str(ROOT), str(ROOT / "tests" / "support")]
    command = subprocess.Popen(
        [sys.executable, "-m", "ablate", "run", "listens.yaml", "--out", "s", "--fuse", "never"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen = set()
    while command.poll() is None:
        seen |= listening_elsewhere(command.pid)
        time.sleep(0.1)
    out = command.communicate()[0]
    assert (command.returncode, seen) == (0, set()), out
    with Ledger(tmp_path / "s" / "ledger.sqlite", writable=False) as ledger:
        numbers = {value for _, name, value in ledger.metrics() if name == "num_listening"}
    assert numbers == ({0.0} if devices == 1 else numbers)
    assert devices == 1 or max(numbers) > 0  # gloo does listen, so that this looked at something

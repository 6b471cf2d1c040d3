"""Destination of runs: arguments, saved values, variables, and names that W&B refuses."""

import json

import pytest

from experiments import DirectoryError, InputError
from reports.wandb import OFFLINE, ONLINE, Destination, resolve_destination, save_destination


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.delenv("WANDB_ENTITY", raising=False)


def test_by_default_the_group_is_the_study_and_the_project_the_suite(tmp_path):
    assert resolve_destination(tmp_path, "depth") == Destination(
        project="ablation-suite", entity=None, group="depth", mode=ONLINE
    )


def test_arguments_take_precedence_over_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    destination = resolve_destination(tmp_path, "depth", project="mine")
    assert (destination.project, destination.entity) == ("mine", "team")


def test_a_folder_keeps_its_destination_and_a_later_command_may_change_it(tmp_path, monkeypatch):
    save_destination(tmp_path, resolve_destination(tmp_path, "depth", mode=OFFLINE, project="mine", group="second try"))
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    assert resolve_destination(tmp_path, "depth") == Destination(project="mine", group="second try", mode=OFFLINE)
    assert resolve_destination(tmp_path, "depth", mode=ONLINE).mode == ONLINE
    assert [path.name for path in tmp_path.iterdir()] == ["wandb.json"]


def test_groups_and_attempts_have_different_run_ids():
    one, two = Destination(group="a"), Destination(group="b")
    ids = {one.run_id("t0"), one.run_id("t0", 2), two.run_id("t0"), one.run_id("t1"), one.report_id, two.report_id}
    assert len(ids) == 6
    assert one.run_id("t0") == one.run_id("t0", 1) == one.run_id("t0", 0)
    assert one.run_id("t0").startswith("t0-")


@pytest.mark.parametrize("char", list("/\\#?%:\n"))
def test_an_invalid_project_is_an_error_that_names_the_character(tmp_path, char):
    with pytest.raises(InputError) as caught:
        resolve_destination(tmp_path, "depth", project=f"my{char}project")
    assert f"contains {char!r}, which W&B refuses in a project name; accepted: up to 128 characters" in str(
        caught.value
    )


def test_an_error_names_the_variable_that_holds_an_invalid_project(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "a/b")
    with pytest.raises(InputError, match=r"^WANDB_PROJECT 'a/b' contains '/', which W&B refuses"):
        resolve_destination(tmp_path, "depth")


def test_long_groups_are_refused_and_long_study_names_are_shortened(tmp_path):
    with pytest.raises(InputError, match="--wandb-project: has 129 characters; accepted: up to 128"):
        resolve_destination(tmp_path, "depth", project="p" * 129)
    with pytest.raises(InputError, match="--wandb-group: has 129 characters; W&B takes up to 128"):
        resolve_destination(tmp_path, "depth", group="g" * 129)
    groups = {resolve_destination(tmp_path, "s" * 200 + end).group for end in "ab"}
    assert len(groups) == 2
    assert {len(group) for group in groups} == {128}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"project": 3}', "\xff"])
def test_an_invalid_destination_file_is_an_error_that_says_what_to_do(tmp_path, content):
    (tmp_path / "wandb.json").write_text(content, encoding="latin-1")
    with pytest.raises(DirectoryError, match=r"wandb.json: is not a file that this suite wrote; remove it"):
        resolve_destination(tmp_path, "depth")


def test_the_destination_is_saved_as_plain_json(tmp_path):
    save_destination(tmp_path, Destination(project="p", entity="e", group="g", mode=OFFLINE))
    assert json.loads((tmp_path / "wandb.json").read_text()) == {
        "project": "p",
        "entity": "e",
        "group": "g",
        "mode": "offline",
    }

"""Where runs go: what is asked for, what a folder remembers, what W&B refuses."""

import json

import pytest

from experiments import DirectoryError, InputError
from reports.wandb import OFFLINE, ONLINE, Place, place_of, remember


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.delenv("WANDB_ENTITY", raising=False)


def test_without_anything_the_group_is_the_study_and_the_project_ours(tmp_path):
    assert place_of(tmp_path, "depth") == Place(project="ablation-suite", entity=None, group="depth", mode=ONLINE)


def test_variables_of_wandb_count_less_than_what_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    place = place_of(tmp_path, "depth", project="mine")
    assert (place.project, place.entity) == ("mine", "team")


def test_a_folder_remembers_its_place_and_the_next_command_may_change_a_part(tmp_path, monkeypatch):
    remember(tmp_path, place_of(tmp_path, "depth", mode=OFFLINE, project="mine", group="second try"))
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    assert place_of(tmp_path, "depth") == Place(project="mine", group="second try", mode=OFFLINE)
    assert place_of(tmp_path, "depth", mode=ONLINE).mode == ONLINE
    assert [path.name for path in tmp_path.iterdir()] == ["wandb.json"]


def test_the_same_trial_in_two_groups_is_two_runs_and_so_are_two_attempts():
    one, two = Place(group="a"), Place(group="b")
    ids = {one.run_id("t0"), one.run_id("t0", 2), two.run_id("t0"), one.run_id("t1"), one.report_id, two.report_id}
    assert len(ids) == 6
    assert one.run_id("t0") == one.run_id("t0", 1) == one.run_id("t0", 0)
    assert one.run_id("t0").startswith("t0-")


@pytest.mark.parametrize("char", list("/\\#?%:\n"))
def test_a_project_that_wandb_refuses_is_an_error_that_names_the_character(tmp_path, char):
    with pytest.raises(InputError) as caught:
        place_of(tmp_path, "depth", project=f"my{char}project")
    assert f"holds {char!r}, which W&B refuses in the name of a project; accepted: up to 128 characters" in str(
        caught.value
    )


def test_a_variable_that_names_a_project_that_wandb_refuses_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "a/b")
    with pytest.raises(InputError, match=r"^WANDB_PROJECT 'a/b' holds '/', which W&B refuses"):
        place_of(tmp_path, "depth")


def test_long_names_are_refused_or_for_a_study_cut_to_a_name_of_its_own(tmp_path):
    with pytest.raises(InputError, match="--wandb-project: has 129 characters; accepted: up to 128"):
        place_of(tmp_path, "depth", project="p" * 129)
    with pytest.raises(InputError, match="--wandb-group: has 129 characters; W&B takes up to 128"):
        place_of(tmp_path, "depth", group="g" * 129)
    groups = {place_of(tmp_path, "s" * 200 + end).group for end in "ab"}
    assert len(groups) == 2
    assert {len(group) for group in groups} == {128}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"project": 3}', "\xff"])
def test_a_file_that_is_not_ours_is_an_error_that_says_what_to_do(tmp_path, content):
    (tmp_path / "wandb.json").write_text(content, encoding="latin-1")
    with pytest.raises(DirectoryError, match=r"wandb.json: does not hold what this suite writes there; remove it"):
        place_of(tmp_path, "depth")


def test_what_is_remembered_is_plain_json(tmp_path):
    remember(tmp_path, Place(project="p", entity="e", group="g", mode=OFFLINE))
    assert json.loads((tmp_path / "wandb.json").read_text()) == {
        "project": "p",
        "entity": "e",
        "group": "g",
        "mode": "offline",
    }

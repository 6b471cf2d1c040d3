"""Run ids that W&B's agents brought are remembered, whoever else writes to the folder."""

import json
import multiprocessing

import pytest
from agent_calls import remember_many

from experiments.errors import DirectoryError
from experiments.folder import writing
from reports.wandb.agents import remember_run_id
from reports.wandb.place import Place, place_of, remember


def test_a_run_id_is_remembered_beside_the_others(tmp_path):
    place = Place(group="study", project="p", entity="me", mode="offline", run_ids={"a": "run-a"})
    remember(tmp_path, place)
    found = remember_run_id(tmp_path, Place(group="study", project="p", entity="me", mode="offline"), "b", "run-b")
    assert found.run_ids == {"a": "run-a", "b": "run-b"}
    assert place_of(tmp_path, "study") == found
    assert (found.run_id("a"), found.run_id("b")) == ("run-a", "run-b")


def test_a_trial_that_is_trained_again_has_its_newest_run(tmp_path):
    for run_id in ("first", "second"):
        remember_run_id(tmp_path, Place(group="study"), "a", run_id)
    assert json.loads((tmp_path / "wandb.json").read_text())["run_ids"] == {"a": "second"}


def test_agents_that_remember_at_the_same_time_lose_no_id(tmp_path):
    start = multiprocessing.get_context("spawn").Process
    agents = [start(target=remember_many, args=(tmp_path, agent, 10)) for agent in range(3)]
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.join(60)
    assert [agent.exitcode for agent in agents] == [0, 0, 0]
    expected = {f"trial-{agent}-{number}": f"run-{agent}-{number}" for agent in range(3) for number in range(10)}
    assert place_of(tmp_path, "study").run_ids == expected


def test_a_folder_that_stays_in_use_is_told(tmp_path):
    with writing(tmp_path), pytest.raises(DirectoryError, match="is in use by process"):
        remember_run_id(tmp_path, Place(group="study"), "a", "run-a", wait_seconds=0.05)

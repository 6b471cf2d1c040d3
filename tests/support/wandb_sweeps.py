"""Sweeps of the stand-in server: a grid, of which agents get one run at a time."""

import json
from itertools import product
from typing import Any
from uuid import uuid4

import yaml
from wandb_nodes import WandbNodes
from wandb_store import StoredRun, StoredSweep, WandbStore, now


def grid_points(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all combinations of the values of a sweep's parameters, the last parameter varying fastest."""
    values = [parameter["values"] for parameter in parameters.values()]
    return [dict(zip(parameters, chosen, strict=True)) for chosen in product(*values)]


class WandbSweeps:
    """Mutations of `wandb sweep` and `wandb agent`."""

    def __init__(self, store: WandbStore, nodes: WandbNodes) -> None:
        self.store = store
        self.nodes = nodes

    def upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        sweep = next((sweep for sweep in self.store.sweeps.values() if sweep.storage_id == given.get("id")), None)
        if sweep is None:
            project = self.store.project(given.get("entityName"), given.get("projectName"))
            config = yaml.safe_load(given["config"])
            assert config["method"] == "grid"
            sweep = StoredSweep(
                sweep_id=uuid4().hex[:8],
                storage_id=self.store.new_id("Sweep"),
                entity=project.entity,
                project=project.name,
                config_text=given["config"],
                config=config,
                pending=grid_points(config["parameters"]),
            )
            self.store.sweeps[sweep.sweep_id] = sweep
        if given.get("state"):
            sweep.state = given["state"]
        sweep.updated_at = now()
        return {"sweep": self.nodes.sweep(sweep), "configValidationWarnings": []}

    def create_agent(self, given: dict[str, Any]) -> dict[str, Any]:
        sweep = self.store.sweeps[given["sweep"]]
        agent_id = self.store.new_id("Agent")
        sweep.agents[agent_id] = given["host"]
        return {"agent": {"id": agent_id}}

    def heartbeat(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return a run for an idle agent, or the command to exit when the grid is finished."""
        sweep = next(sweep for sweep in self.store.sweeps.values() if given["id"] in sweep.agents)
        busy = json.loads(given.get("runState") or "{}")
        command: dict[str, Any] | None = None
        if sweep.state not in ("PENDING", "RUNNING") or (not sweep.pending and not busy):
            sweep.state = "FINISHED" if sweep.state in ("PENDING", "RUNNING") else sweep.state
            command = {"type": "exit"}
        elif sweep.pending and not busy:
            sweep.state = "RUNNING"
            command = self._hand_out(sweep)
        commands = json.dumps([command] if command else [])
        return {"agent": {"id": given["id"]}, "commands": commands}

    def _hand_out(self, sweep: StoredSweep) -> dict[str, Any]:
        point, run_id = sweep.pending.pop(0), uuid4().hex[:8]
        sweep.handed_out[run_id] = point
        arguments = {name: {"value": value} for name, value in point.items()}
        self.store.runs[sweep.entity, sweep.project, run_id] = StoredRun(
            entity=sweep.entity,
            project=sweep.project,
            run_id=run_id,
            name=run_id,
            storage_id=self.store.new_id("Run"),
            sweep=sweep.sweep_id,
            raw_config=dict(arguments),
            state="pending",
        )
        return {
            "type": "run",
            "run_id": run_id,
            "run_storage_id": self.store.runs[sweep.entity, sweep.project, run_id].storage_id,
            "args": arguments,
            "program": sweep.config.get("program"),
            "project": sweep.project,
            "entity": sweep.entity,
        }

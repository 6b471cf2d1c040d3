"""GraphQL nodes of the stand-in server, by their names in the protocol."""

import json
from typing import Any

from wandb_artifact_nodes import WandbArtifactNodes
from wandb_graphql import Node, connection, or_none
from wandb_store import StoredProject, StoredRun, StoredSweep, StoredView, WandbStore


def run_state(exit_code: int) -> str:
    """Return W&B's state of a run with this exit code."""
    return "finished" if exit_code == 0 else "failed"


class WandbNodes:
    """Root of queries, `fields`, and nodes, with which mutations answer too."""

    def __init__(self, store: WandbStore) -> None:
        self.store = store
        self.artifacts = WandbArtifactNodes(store, self.project)
        self.fields: Node = {
            "viewer": self.viewer,
            "serverInfo": lambda _: {
                "cliVersionInfo": {"max_cli_version": "0.31.0"},
                "latestLocalVersionInfo": None,
                "features": [],
            },
            "project": self.found_project,
            "model": self.found_project,
            "models": self.projects,
            "entity": lambda arguments: self.entity(arguments["name"]),
            "view": lambda arguments: or_none(self.store.views.get(arguments["id"]), self.view),
            "organization": lambda _: None,
            "__type": lambda _: None,
        } | self.artifacts.fields

    def viewer(self, _: dict[str, Any]) -> Node:
        name = self.store.default_entity
        return {
            "__typename": "User",
            "id": "VXNlcjox",
            "name": name,
            "username": name,
            "email": f"{name}@localhost",
            "entity": name,
            "admin": False,
            "flags": "{}",
            "photoUrl": None,
            "deletedAt": None,
            "apiKeys": {"edges": []},
            "teams": {"edges": [{"node": {"name": name}}]},
        }

    def entity(self, name: str) -> Node:
        return {
            "__typename": "Entity",
            "id": f"Entity:{name}",
            "name": name,
            "isTeam": False,
            "organization": None,
            "xxhashDigestsEnabled": False,
            "projects": lambda arguments: self.projects({"entityName": name} | arguments),
            "project": lambda arguments: self.found_project({"entityName": name} | arguments),
        }

    def projects(self, arguments: dict[str, Any]) -> Node:
        entity = arguments.get("entityName") or self.store.default_entity
        return connection([p for p in self.store.projects.values() if p.entity == entity], self.project, arguments)

    def found_project(self, arguments: dict[str, Any]) -> Node | None:
        key = (arguments.get("entityName") or self.store.default_entity, arguments.get("name") or "uncategorized")
        return or_none(self.store.projects.get(key), self.project)

    def project(self, project: StoredProject) -> Node:
        def mine(stored: dict[Any, Any]) -> list[Any]:
            return [item for item in stored.values() if (item.entity, item.project) == (project.entity, project.name)]

        def runs(arguments: dict[str, Any]) -> list[StoredRun]:
            wanted = json.loads(arguments.get("filters") or "{}")
            assert wanted.keys() <= {"group"}, wanted
            return [run for run in mine(self.store.runs) if wanted.get("group", run.group) == run.group]

        def sweep(arguments: dict[str, Any]) -> Node | None:
            found = self.store.sweeps.get(arguments["sweepName"])
            return None if found is None or found not in mine(self.store.sweeps) else self.sweep(found)

        def run(arguments: dict[str, Any]) -> Node | None:
            return or_none(self.store.run_of(project.entity, project.name, arguments["name"]), self.run)

        def views(arguments: dict[str, Any]) -> Node:
            kind, name = arguments.get("viewType"), arguments.get("viewName")
            found = [v for v in mine(self.store.views) if kind in (None, v.type) and name in (None, v.name)]
            return connection(found, self.view, arguments)

        return {
            "__typename": "Project",
            "id": f"Project:{project.number}",
            "internalId": str(project.number),
            "name": project.name,
            "entityName": project.entity,
            "entity": lambda _: self.entity(project.entity),
            "createdAt": project.created_at,
            "description": "",
            "access": "PRIVATE",
            "views": "{}",
            "isBenchmark": False,
            "readOnly": False,
            "user": self.viewer,
            "run": run,
            "bucket": run,
            "runs": lambda arguments: connection(runs(arguments), self.run, arguments),
            "runCount": lambda arguments: len(runs(arguments)),
            "sweep": sweep,
            "sweeps": lambda arguments: connection(mine(self.store.sweeps), self.sweep, arguments),
            "totalSweeps": lambda _: len(mine(self.store.sweeps)),
            "allViews": views,
            "artifact": lambda arguments: self.artifacts.find(project, arguments["name"]),
        }

    def run(self, run: StoredRun) -> Node:
        history = run.text_lines("wandb-history.jsonl")
        events = run.text_lines("wandb-events.jsonl")
        project = self.store.project(run.entity, run.project)
        keys = {key for row in run.history for key in row}

        def internal(arguments: dict[str, Any]) -> str:
            own = run.raw_config.get("_wandb", {}).get("value", {})
            return json.dumps({key: own[key] for key in arguments["keys"] if key in own})

        def pages(arguments: dict[str, Any]) -> list[str]:
            low, high = arguments.get("minStep") or 0, arguments.get("maxStep")
            inside = [
                _as_json(line)
                for number, line in enumerate(history)
                if low <= (step := json.loads(line).get("_step", number)) and (high is None or step < high)
            ]
            return _sampled(inside, arguments.get("samples"))

        def sampled(arguments: dict[str, Any]) -> list[list[Node]]:
            specs = arguments["specs"]
            specs = [specs] if isinstance(specs, str) else specs  # GraphQL takes one for a list of one
            rows = [json.loads(_as_json(line)) for line in history]
            return [_selected(rows, json.loads(spec)) for spec in specs]

        return {
            "__typename": "Run",
            "id": run.storage_id,
            "projectId": str(project.number),
            "project": lambda _: self.project(project),
            "name": run.run_id,
            "displayName": run.name,
            "description": None,
            "notes": run.notes,
            "group": run.group,
            "groupName": run.group,
            "jobType": run.job_type,
            "tags": run.tags,
            "sweepName": run.sweep,
            "state": run.state,
            "exitcode": run.exit_code,
            "shouldStop": False,
            "failed": run.state == "failed",
            "stopped": False,
            "running": run.state == "running",
            "host": run.host,
            "commit": None,
            "readOnly": False,
            "user": self.viewer,
            "createdAt": run.created_at,
            "heartbeatAt": run.heartbeat_at,
            "config": json.dumps(run.raw_config),
            "wandbConfig": internal,
            "summaryMetrics": json.dumps(run.raw_summary),
            "systemMetrics": "{}",
            "historyLineCount": len(history),
            "logLineCount": len(run.text_lines("output.log")),
            "eventsLineCount": len(events),
            "historyTail": json.dumps(history[-1:]),
            "eventsTail": json.dumps(events[-1:]),
            "historyKeys": {
                "keys": {key: {"typeCounts": [{"type": "number", "count": 1}]} for key in sorted(keys)},
                "lastStep": max((row.get("_step", 0) for row in run.history), default=-1),
                "sets": [],
            },
            "history": pages,
            "sampledHistory": sampled,
            "parquetHistory": lambda _: {
                "parquetUrls": [],
                "liveData": [json.loads(_as_json(line)) for line in history],
            },
        }

    def sweep(self, sweep: StoredSweep) -> Node:
        runs = [self.store.runs[key] for key in self.store.runs if self.store.runs[key].sweep == sweep.sweep_id]
        return {
            "__typename": "Sweep",
            "id": sweep.storage_id,
            "name": sweep.sweep_id,
            "displayName": sweep.config.get("name"),
            "method": sweep.config.get("method"),
            "state": sweep.state,
            "description": sweep.config.get("description"),
            "config": sweep.config_text,
            "bestLoss": None,
            "controller": None,
            "controllerRunName": None,
            "scheduler": None,
            "earlyStopJobRunning": False,
            "createdAt": sweep.created_at,
            "updatedAt": sweep.updated_at,
            "heartbeatAt": sweep.updated_at,
            "runCount": len(runs),
            "runCountExpected": sweep.num_expected,
            "runs": lambda arguments: connection(runs, self.run, arguments),
            "project": lambda _: self.project(self.store.project(sweep.entity, sweep.project)),
        }

    def view(self, view: StoredView) -> Node:
        return {
            "__typename": "View",
            "id": view.view_id,
            "type": view.type,
            "name": view.name,
            "displayName": view.display_name,
            "description": view.description,
            "spec": json.dumps(view.spec),
            "createdAt": view.created_at,
            "updatedAt": view.updated_at,
            "user": self.viewer,
            "project": lambda _: self.project(self.store.project(view.entity, view.project)),
        }


def _selected(rows: list[dict[str, Any]], spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return rows from `minStep` to `maxStep` that have all keys of the spec, with these keys only."""
    keys, low, high = spec.get("keys") or [], spec.get("minStep") or 0, spec.get("maxStep")
    inside = [row for row in rows if low <= row.get("_step", 0) and (high is None or row.get("_step", 0) <= high)]
    whole = [{key: row[key] for key in keys} if keys else row for row in inside if all(key in row for key in keys)]
    return _sampled(whole, spec.get("samples"))


def _as_json(line: str) -> str:
    """Return a line with NaN and infinities as texts: clients write them without quotes, but cannot read that."""
    words = {"NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity"}
    return json.dumps(json.loads(line, parse_constant=words.__getitem__))


def _sampled(rows: list[Any], num_samples: int | None) -> list[Any]:
    """Return evenly spaced rows: W&B thins a long history unless a client reads it page by page."""
    if not num_samples or len(rows) <= num_samples:
        return rows
    return [rows[place * len(rows) // num_samples] for place in range(num_samples)]

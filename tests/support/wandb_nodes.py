"""What queries of the W&B clients can ask of the store: nodes in the names of the protocol."""

import json
from collections.abc import Callable
from typing import Any

from wandb_filters import matches, sort_key
from wandb_store import StoredArtifact, StoredProject, StoredRun, StoredSweep, StoredView, WandbStore

Node = dict[str, Any]


def run_state(exit_code: int) -> str:
    """What W&B calls a run that ended with this code."""
    return "finished" if exit_code == 0 else "failed"


def connection(items: list[Any], node: Callable[[Any], Node], arguments: dict[str, Any]) -> Node:
    """A page of nodes: `first` of them after the cursor `after`, which is the number of the last one before."""
    start = int(arguments.get("after") or 0)
    end = min(len(items), start + (arguments.get("first") or len(items)))
    edges = [{"node": node(items[place]), "cursor": str(place + 1)} for place in range(start, end)]
    page = {"__typename": "PageInfo", "endCursor": str(end), "hasNextPage": end < len(items)}
    return {"edges": edges, "pageInfo": page, "totalCount": len(items)}


class WandbNodes:
    """The root of queries, `fields`, and the nodes that mutations answer with too."""

    def __init__(self, store: WandbStore, download_url: Callable[[bytes], str]) -> None:
        self.store = store
        self.download_url = download_url
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
            "artifact": lambda arguments: self._or_none(self.store.artifacts.get(arguments["id"]), self.artifact),
            "view": lambda arguments: self._or_none(self.store.views.get(arguments["id"]), self.view),
            "clientIDMapping": self.client_id_mapping,
            "organization": lambda _: None,
            "__type": lambda _: None,
        }

    @staticmethod
    def _or_none(found: Any, node: Callable[[Any], Node]) -> Node | None:
        return None if found is None else node(found)

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
        return self._or_none(self.store.projects.get(key), self.project)

    def project(self, project: StoredProject) -> Node:
        def mine(stored: dict[Any, Any]) -> list[Any]:
            return [item for item in stored.values() if (item.entity, item.project) == (project.entity, project.name)]

        def runs(arguments: dict[str, Any]) -> list[StoredRun]:
            wanted = json.loads(arguments.get("filters") or "{}")
            found = [run for run in mine(self.store.runs) if matches(run, wanted)]
            order = arguments.get("order") or "+created_at"
            return sorted(found, key=lambda run: sort_key(run, order.lstrip("+-")), reverse=order.startswith("-"))

        def sweep(arguments: dict[str, Any]) -> Node | None:
            found = self.store.sweeps.get(arguments["sweepName"])
            return None if found is None or found not in mine(self.store.sweeps) else self.sweep(found)

        def run(arguments: dict[str, Any]) -> Node | None:
            return self._or_none(self.store.run_of(project.entity, project.name, arguments["name"]), self.run)

        def views(arguments: dict[str, Any]) -> Node:
            kind, name = arguments.get("viewType"), arguments.get("viewName")
            found = [v for v in mine(self.store.views) if kind in (None, v.type) and name in (None, v.name)]
            return connection(found, self.view, arguments)

        def artifact(arguments: dict[str, Any]) -> Node | None:
            collection, _, alias = arguments["name"].partition(":")
            versions = self.store.artifacts_of(project, collection)
            wanted = alias or "latest"
            found = [a for a in versions if wanted in (f"v{a.version}", a.digest, *a.aliases)]
            return self._or_none(found[-1] if found else None, self.artifact)

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
            "artifact": artifact,
            "artifactType": lambda arguments: self._artifact_type(project, arguments["name"]),
        }

    def upserted_run(self, run: StoredRun) -> Node:
        """As after a start: the history is told to be empty, so that clients write over it from line 0."""
        return self.run(run) | {"historyLineCount": 0}

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
            return [
                line
                for number, line in enumerate(history)
                if low <= (step := json.loads(line).get("_step", number)) and (high is None or step < high)
            ]

        def sampled(arguments: dict[str, Any]) -> list[list[Node]]:
            return [_selected(run.history, json.loads(spec)) for spec in arguments["specs"]]

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
            "parquetHistory": lambda _: {"parquetUrls": [], "liveData": run.history},
            "files": lambda arguments: self._files(run.files, arguments),
            "fileCount": len(run.files),
        }

    def _files(self, files: dict[str, bytes], arguments: dict[str, Any]) -> Node:
        wanted = arguments.get("names") or None
        found = sorted(name for name in files if wanted is None or name in wanted)

        def node(name: str) -> Node:
            content = files[name]
            return {
                "__typename": "File",
                "id": f"File:{name}",
                "name": name,
                "displayName": name,
                "sizeBytes": str(len(content)),
                "mimetype": "application/octet-stream",
                "updatedAt": None,
                "md5": None,
                "directUrl": lambda _: self.download_url(content),
                "url": lambda _: self.download_url(content),
            }

        return connection(found, node, arguments)

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

    def _artifact_type(self, project: StoredProject, name: str) -> Node:
        def found_collection(arguments: dict[str, Any]) -> Node | None:
            versions = self.store.artifacts_of(project, arguments["name"])
            return self._collection(versions) if versions else None

        return {"__typename": "ArtifactType", "name": name, "artifactCollection": found_collection}

    def _collection(self, versions: list[StoredArtifact]) -> Node:
        committed = [artifact for artifact in versions if artifact.state == "COMMITTED"]
        return {
            "__typename": "ArtifactSequence",
            "__interfaces": ["ArtifactCollection"],
            "id": f"Collection:{versions[0].artifact_id}",
            "name": versions[0].collection,
            "digestAlgorithm": "MANIFEST_MD5",
            "latestArtifact": lambda _: self._or_none(committed[-1] if committed else None, self.artifact),
            "project": lambda _: self.project(self.store.project(versions[0].entity, versions[0].project)),
            "defaultArtifactType": {"name": versions[0].type},
        }

    def _alias(self, artifact: StoredArtifact, alias: str) -> Node:
        return {
            "__typename": "ArtifactAlias",
            "id": f"Alias:{artifact.artifact_id}:{alias}",
            "alias": alias,
            "artifactCollection": lambda _: self._collection([artifact]),
        }

    def client_id_mapping(self, arguments: dict[str, Any]) -> Node | None:
        found = [a for a in self.store.artifacts.values() if a.client_id == arguments["clientID"]]
        return {"serverID": found[0].artifact_id} if found else None

    def artifact(self, artifact: StoredArtifact) -> Node:
        project = self.store.project(artifact.entity, artifact.project)
        versions = self.store.artifacts_of(project, artifact.collection)
        manifest = {"directUrl": lambda _: self.download_url(artifact.manifest_bytes)}
        return {
            "__typename": "Artifact",
            "id": artifact.artifact_id,
            "state": artifact.state,
            "digest": artifact.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": artifact.digest[:20],
            "ttlDurationSeconds": -1,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": artifact.history_step,
            "aliases": lambda _: [self._alias(artifact, alias) for alias in artifact.aliases],
            "versionIndex": artifact.version,
            "metadata": json.dumps(artifact.metadata),
            "description": artifact.description,
            "size": sum(len(content) for content in artifact.files.values()),
            "fileCount": len(artifact.files),
            "createdAt": artifact.created_at,
            "updatedAt": artifact.created_at,
            "artifactType": {"__typename": "ArtifactType", "name": artifact.type},
            "artifactSequence": lambda _: self._collection(versions),
            "currentManifest": {"id": f"Manifest:{artifact.artifact_id}", "file": manifest},
            "filesByManifestEntries": lambda arguments: self._files(
                artifact.files, {"names": [entry["name"] for entry in arguments["entries"] or []]}
            ),
        }


def _selected(rows: list[dict[str, Any]], spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that hold all of the spec's keys, with these keys only: what `run.history(keys=...)` asks for."""
    keys = spec.get("keys")
    low, high = spec.get("minStep") or 0, spec.get("maxStep")
    inside = [row for row in rows if low <= row.get("_step", 0) and (high is None or row.get("_step", 0) < high)]
    if not keys:
        return inside[: spec.get("samples") or len(inside)]
    whole = [row for row in inside if all(key in row for key in keys)]
    return [{key: row[key] for key in keys} for row in whole[: spec.get("samples") or len(whole)]]

"""Mutations of W&B's clients, applied to the store."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from wandb_graphql import GraphqlError
from wandb_nodes import WandbNodes, run_state
from wandb_store import StoredArtifact, StoredRun, StoredView, WandbStore, now
from wandb_sweeps import WandbSweeps


class WandbMutations:
    """Root of mutations: `fields` maps their names in the protocol to functions of their arguments."""

    def __init__(
        self,
        store: WandbStore,
        nodes: WandbNodes,
        upload_url: Callable[[str, Callable[[bytes], None]], str],
        *,
        appends: bool,
    ) -> None:
        self.store = store
        self.nodes = nodes
        self.upload_url = upload_url
        self.appends = appends
        sweeps = WandbSweeps(store, nodes)
        actions = {
            "upsertBucket": self.upsert_run,
            "createRunFiles": self.create_run_files,
            "upsertModel": self.upsert_project,
            "createArtifact": self.create_artifact,
            "createArtifactManifest": self.create_manifest,
            "createArtifactFiles": self.create_artifact_files,
            "commitArtifact": self.commit_artifact,
            "upsertView": self.upsert_view,
            "deleteRun": self.delete_run,
            "upsertSweep": sweeps.upsert,
            "createAgent": sweeps.create_agent,
            "agentHeartbeat": sweeps.heartbeat,
        }
        self.fields = {
            name: lambda arguments, action=action: action(arguments["input"]) for name, action in actions.items()
        }

    def upsert_run(self, given: dict[str, Any]) -> dict[str, Any]:
        run, inserted = self._run_to_upsert(given)
        for argument, attribute in (
            ("groupName", "group"),
            ("displayName", "name"),
            ("jobType", "job_type"),
            ("notes", "notes"),
            ("tags", "tags"),
            ("sweep", "sweep"),
            ("host", "host"),
            ("jobProgram", "program"),
            ("state", "state"),
        ):
            if given.get(argument) is not None:
                setattr(run, attribute, given[argument])
        if given.get("config") is not None:
            run.raw_config = json.loads(given["config"])
        run.heartbeat_at = now()
        bucket = self.nodes.run(run)
        if not self.appends:
            bucket["historyLineCount"] = 0  # so that clients write from line 0
        return {"bucket": bucket, "inserted": inserted}

    def _run_to_upsert(self, given: dict[str, Any]) -> tuple[StoredRun, bool]:
        if given.get("id"):
            run = self.store.run_by_storage_id(given["id"])
            if run is None:
                raise GraphqlError(f"run {given['id']} not found", 404)
            return run, False
        project = self.store.project(given.get("entityName"), given.get("modelName"))
        run_id = given.get("name") or uuid4().hex[:8]
        key = (project.entity, project.name, run_id)
        if key in self.store.runs:
            run = self.store.runs[key]
            if run.state != "running":  # started again
                run.state, run.exit_code = "running", None
            return run, False
        if key in self.store.deleted:
            raise GraphqlError(f"run {run_id} was previously created and deleted; try a new run name", 409)
        run = StoredRun(
            entity=project.entity,
            project=project.name,
            run_id=run_id,
            name=run_id,
            storage_id=self.store.new_id("Run"),
        )
        self.store.runs[key] = run
        return run, True

    def delete_run(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.store.run_by_storage_id(given["id"])
        if run is None:
            raise GraphqlError(f"run {given['id']} not found", 404)
        del self.store.runs[run.entity, run.project, run.run_id]
        self.store.deleted.add((run.entity, run.project, run.run_id))
        return {"success": True, "clientMutationId": given.get("clientMutationId")}

    def create_run_files(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.store.run_of(given["entityName"], given["projectName"], given["runName"])
        if run is None:
            raise GraphqlError(f"run {given['runName']} not found", 404)

        def keep_as(name: str) -> Callable[[bytes], None]:
            return lambda content: run.files.update({name: content})

        files = [{"name": name, "uploadUrl": self.upload_url(name, keep_as(name))} for name in given["files"]]
        return {"runID": run.storage_id, "uploadHeaders": [], "files": files}

    def upsert_project(self, given: dict[str, Any]) -> dict[str, Any]:
        known = (given.get("entityName") or self.store.default_entity, given.get("name")) in self.store.projects
        project = self.nodes.project(self.store.project(given.get("entityName"), given.get("name")))
        return {"project": project, "model": project, "inserted": not known}

    def create_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        project = self.store.project(given["entityName"], given["projectName"])
        versions = self.store.artifacts_of(project, given["artifactCollectionName"])
        same = [
            artifact for artifact in versions if artifact.digest == given["digest"] and artifact.state == "COMMITTED"
        ]
        if same and given.get("enableDigestDeduplication"):
            return {"artifact": self.nodes.artifacts.artifact(same[-1])}
        artifact = StoredArtifact(
            artifact_id=self.store.new_id("Artifact"),
            entity=project.entity,
            project=project.name,
            type=given["artifactTypeName"],
            collection=given["artifactCollectionName"],
            version=len(versions),
            digest=given["digest"],
            client_id=given.get("clientID"),
            sequence_client_id=given.get("sequenceClientID"),
            run_id=given.get("runName"),
            history_step=given.get("historyStep"),
            aliases=[alias["alias"] for alias in given.get("aliases") or []],
            metadata=json.loads(given.get("metadata") or "{}"),
            description=given.get("description"),
        )
        self.store.artifacts[artifact.artifact_id] = artifact
        return {"artifact": self.nodes.artifacts.artifact(artifact)}

    def create_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self._artifact(given["artifactID"])

        def keep(content: bytes) -> None:
            artifact.manifest_bytes = content

        file = {
            "id": self.store.new_id("File"),
            "uploadUrl": lambda _: self.upload_url(given["name"], keep),
            "uploadHeaders": [],
        }
        return {"artifactManifest": {"id": f"Manifest:{artifact.artifact_id}", "file": file}}

    def create_artifact_files(self, given: dict[str, Any]) -> dict[str, Any]:
        edges = []

        def keep_as(name: str, artifact: StoredArtifact) -> Callable[[bytes], None]:
            return lambda content: artifact.files.update({name: content})

        for wanted in given["artifactFiles"]:
            artifact, name = self._artifact(wanted["artifactID"]), wanted["name"]
            edges.append(
                {
                    "node": {
                        "id": self.store.new_id("File"),
                        "name": name,
                        "displayName": name,
                        "storagePath": f"{artifact.artifact_id}/{name}",
                        "uploadUrl": self.upload_url(name, keep_as(name, artifact)),
                        "uploadHeaders": [],
                        "uploadMultipartUrls": None,
                        "artifact": {"id": artifact.artifact_id},
                    }
                }
            )
        return {"files": {"edges": edges}}

    def commit_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self._artifact(given["artifactID"])
        artifact.state = "COMMITTED"
        if "latest" not in artifact.aliases:
            artifact.aliases.append("latest")
        for other in self.store.artifacts.values():
            same = (other.entity, other.project, other.collection) == (
                artifact.entity,
                artifact.project,
                artifact.collection,
            )
            if same and other is not artifact:
                other.aliases = [alias for alias in other.aliases if alias not in artifact.aliases]
        return {"artifact": self.nodes.artifacts.artifact(artifact)}

    def _artifact(self, artifact_id: str) -> StoredArtifact:
        if artifact_id not in self.store.artifacts:
            raise GraphqlError(f"artifact {artifact_id} not found", 404)
        return self.store.artifacts[artifact_id]

    def upsert_view(self, given: dict[str, Any]) -> dict[str, Any]:
        known = self.store.views.get(given.get("id") or "")
        key = (given.get("entityName") or self.store.default_entity, given.get("projectName"))
        if key not in self.store.projects:
            raise GraphqlError(f"project {key[0]}/{key[1]} not found", 404)
        spec = json.loads(given["spec"])
        if known is None:
            known = StoredView(
                view_id=self.store.new_id("View"),
                entity=key[0],
                project=key[1],
                type=given.get("type") or "runs",
                name=given.get("name") or uuid4().hex[:11],
                display_name=given.get("displayName") or "",
                description=given.get("description") or "",
                spec=spec,
            )
            self.store.views[known.view_id] = known
            return {"view": self.nodes.view(known), "inserted": True}
        for argument, attribute in (
            ("displayName", "display_name"),
            ("description", "description"),
            ("name", "name"),
            ("type", "type"),
        ):
            if given.get(argument) is not None:
                setattr(known, attribute, given[argument])
        known.spec, known.updated_at = spec, now()
        return {"view": self.nodes.view(known), "inserted": False}


def receive_stream(run: StoredRun, sent: dict[str, Any]) -> dict[str, Any]:
    """Apply a message of the file stream to a run: lines at their offset, and the end of the run."""
    for name, part in (sent.get("files") or {}).items():
        run.write_lines(name, part["offset"], part["content"])
    if sent.get("complete"):
        run.exit_code = sent.get("exitcode", 0)
        run.state = run_state(run.exit_code)
    run.heartbeat_at = now()
    return {"exitcode": None, "limits": {}}

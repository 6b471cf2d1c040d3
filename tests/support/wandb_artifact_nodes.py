"""What queries of the W&B clients can ask of artifacts and files."""

import json
from collections.abc import Callable
from typing import Any

from wandb_graphql import Node, connection, or_none
from wandb_store import StoredArtifact, StoredProject, StoredRun, WandbStore


class WandbArtifactNodes:
    """Nodes of artifacts; `fields` belong to the root of queries, `of_project` and `of_run` to theirs."""

    def __init__(
        self,
        store: WandbStore,
        project_node: Callable[[StoredProject], Node],
        run_node: Callable[[StoredRun], Node],
        download_url: Callable[[bytes], str],
    ) -> None:
        self.store = store
        self.project_node = project_node
        self.run_node = run_node
        self.download_url = download_url
        self.fields: Node = {
            "artifact": lambda arguments: or_none(store.artifacts.get(arguments["id"]), self.artifact),
            "clientIDMapping": self._client_id_mapping,
        }

    def of_project(self, project: StoredProject) -> Node:
        """The fields of a project that lead to artifacts."""

        def found(arguments: dict[str, Any]) -> StoredArtifact | None:
            collection, _, alias = arguments["name"].partition(":")
            return self._version(self.store.artifacts_of(project, collection), alias or "latest")

        def found_collection(arguments: dict[str, Any]) -> Node | None:
            return or_none(self.store.artifacts_of(project, arguments["name"]) or None, self.collection)

        def found_type(arguments: dict[str, Any]) -> Node | None:
            return {
                "__typename": "ArtifactType",
                "id": f"Type:{arguments['name']}",
                "name": arguments["name"],
                "artifactCollection": found_collection,
            }

        return {
            "artifact": lambda arguments: or_none(found(arguments), self.artifact),
            "artifactCollectionMembership": lambda arguments: or_none(found(arguments), self.membership),
            "artifactCollection": found_collection,
            "artifactType": found_type,
        }

    def of_run(self, run: StoredRun) -> Node:
        """The fields of a run that lead to artifacts: what it logged and what it used."""
        every = self.store.artifacts_of(self.store.project(run.entity, run.project))
        logged = [artifact for artifact in every if artifact.run_id == run.run_id]
        used = [artifact for artifact in every if run.run_id in artifact.used_by]
        return {
            "outputArtifacts": lambda arguments: connection(logged, self.artifact, arguments),
            "inputArtifacts": lambda arguments: connection(used, self.artifact, arguments),
        }

    @staticmethod
    def _version(versions: list[StoredArtifact], alias: str) -> StoredArtifact | None:
        found = [version for version in versions if alias in (f"v{version.version}", version.digest, *version.aliases)]
        return found[-1] if found else None

    def _client_id_mapping(self, arguments: dict[str, Any]) -> Node | None:
        found = [artifact for artifact in self.store.artifacts.values() if artifact.client_id == arguments["clientID"]]
        return {"serverID": found[0].artifact_id} if found else None

    def artifact(self, artifact: StoredArtifact) -> Node:
        """A version of an artifact."""
        versions = self.store.artifacts_of(self.store.project(artifact.entity, artifact.project), artifact.collection)
        maker = self.store.run_of(artifact.entity, artifact.project, artifact.run_id or "")
        users = [self.store.run_of(artifact.entity, artifact.project, run_id) for run_id in artifact.used_by]
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
            "artifactSequence": lambda _: self.collection(versions),
            "createdBy": lambda _: or_none(maker, self.run_node),
            "usedBy": lambda arguments: connection([user for user in users if user], self.run_node, arguments),
            "currentManifest": {
                "id": f"Manifest:{artifact.artifact_id}",
                "file": {
                    "id": f"File:{artifact.artifact_id}",
                    "directUrl": lambda _: self.download_url(artifact.manifest_bytes),
                },
            },
            "files": lambda arguments: self.files(artifact.files, arguments),
            "filesByManifestEntries": lambda arguments: self.files(
                artifact.files, {"names": [entry["name"] for entry in arguments["entries"] or []]}
            ),
        }

    def collection(self, versions: list[StoredArtifact]) -> Node:
        """What the versions of an artifact have in common; they are at least one."""
        committed = [version for version in versions if version.state == "COMMITTED"]
        first = versions[0]

        def membership(arguments: dict[str, Any]) -> Node | None:
            return or_none(self._version(versions, arguments["aliasName"]), self.membership)

        return {
            "__typename": "ArtifactSequence",
            "__interfaces": ["ArtifactCollection"],
            "id": f"Collection:{first.artifact_id}",
            "name": first.collection,
            "digestAlgorithm": "MANIFEST_MD5",
            "latestArtifact": lambda _: or_none(committed[-1] if committed else None, self.artifact),
            "project": lambda _: self.project_node(self.store.project(first.entity, first.project)),
            "artifactMembership": membership,
            "artifacts": lambda arguments: connection(committed, self.artifact, arguments),
        }

    def membership(self, artifact: StoredArtifact) -> Node:
        """That a version belongs to its collection."""
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": f"Membership:{artifact.artifact_id}",
            "versionIndex": artifact.version,
            "createdAt": artifact.created_at,
            "aliases": lambda _: [self._alias(artifact, alias) for alias in artifact.aliases],
            "artifactCollection": lambda _: self.collection([artifact]),
            "artifact": lambda _: self.artifact(artifact),
            "files": lambda arguments: self.files(artifact.files, arguments),
        }

    def _alias(self, artifact: StoredArtifact, alias: str) -> Node:
        return {
            "__typename": "ArtifactAlias",
            "id": f"Alias:{artifact.artifact_id}:{alias}",
            "alias": alias,
            "artifactCollection": lambda _: self.collection([artifact]),
        }

    def files(self, files: dict[str, bytes], arguments: dict[str, Any]) -> Node:
        """A page of files with addresses where their bytes can be had."""
        wanted = arguments.get("names") or None

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
                "digest": None,
                "directUrl": lambda _: self.download_url(content),
                "url": lambda _: self.download_url(content),
            }

        return connection(sorted(name for name in files if wanted is None or name in wanted), node, arguments)

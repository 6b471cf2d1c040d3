"""GraphQL nodes of artifacts in the stand-in server."""

import json
from collections.abc import Callable
from typing import Any

from wandb_graphql import Node, or_none
from wandb_store import StoredArtifact, StoredProject, WandbStore


class WandbArtifactNodes:
    """Nodes of artifacts; `fields` belong to the root of queries."""

    def __init__(self, store: WandbStore, project_node: Callable[[StoredProject], Node]) -> None:
        self.store = store
        self.project_node = project_node
        self.fields: Node = {
            "artifact": lambda arguments: or_none(store.artifacts.get(arguments["id"]), self.artifact),
            "clientIDMapping": self._client_id_mapping,
        }

    def find(self, project: StoredProject, name: str) -> Node | None:
        """Return the node of the artifact of this name, `collection:alias`, if there is one."""
        collection, _, alias = name.partition(":")
        versions = self.store.artifacts_of(project, collection)
        wanted = alias or "latest"
        found = [each for each in versions if wanted in (f"v{each.version}", each.digest, *each.aliases)]
        return or_none(found[-1] if found else None, self.artifact)

    def _client_id_mapping(self, arguments: dict[str, Any]) -> Node | None:
        found = [artifact for artifact in self.store.artifacts.values() if artifact.client_id == arguments["clientID"]]
        return {"serverID": found[0].artifact_id} if found else None

    def artifact(self, artifact: StoredArtifact) -> Node:
        """Return the node of an artifact version."""
        versions = self.store.artifacts_of(self.store.project(artifact.entity, artifact.project), artifact.collection)
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
        }

    def collection(self, versions: list[StoredArtifact]) -> Node:
        """Return the node of the collection of at least one version."""
        committed = [version for version in versions if version.state == "COMMITTED"]
        first = versions[0]
        return {
            "__typename": "ArtifactSequence",
            "__interfaces": ["ArtifactCollection"],
            "id": f"Collection:{first.artifact_id}",
            "name": first.collection,
            "digestAlgorithm": "MANIFEST_MD5",
            "latestArtifact": lambda _: or_none(committed[-1] if committed else None, self.artifact),
            "project": lambda _: self.project_node(self.store.project(first.entity, first.project)),
        }

    def _alias(self, artifact: StoredArtifact, alias: str) -> Node:
        return {
            "__typename": "ArtifactAlias",
            "id": f"Alias:{artifact.artifact_id}:{alias}",
            "alias": alias,
            "artifactCollection": lambda _: self.collection([artifact]),
        }

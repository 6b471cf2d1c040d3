"""Store of the stand-in server: runs, artifacts, views and sweeps."""

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any


def now() -> str:
    """Return the current time in W&B's format."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(kw_only=True)
class StoredProject:
    """Project; its number is its internal id."""

    entity: str
    name: str
    number: int
    created_at: str = field(default_factory=now)


@dataclass(kw_only=True)
class StoredRun:
    """Run as clients sent it; `files` are uploads, `lines` those of the file stream by number."""

    entity: str
    project: str
    run_id: str
    storage_id: str
    name: str = ""
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    tags: list[str] = field(default_factory=list)
    sweep: str | None = None
    host: str | None = None
    program: str | None = None
    state: str = "running"
    exit_code: int | None = None
    raw_config: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    created_at: str = field(default_factory=now)
    heartbeat_at: str = field(default_factory=now)

    @property
    def config(self) -> dict[str, Any]:
        """Return the config as it was given to `wandb.init`, without W&B's own part."""
        return {key: entry["value"] for key, entry in self.raw_config.items() if key != "_wandb"}

    @property
    def history(self) -> list[dict[str, Any]]:
        """Return the rows in the order of their lines, with W&B's own `_step`, `_runtime` and `_timestamp`."""
        return [json.loads(line) for line in self.text_lines("wandb-history.jsonl")]

    @property
    def summary(self) -> dict[str, Any]:
        """Return the last summary, without W&B's own part `_wandb`."""
        return {key: value for key, value in self.raw_summary.items() if key != "_wandb"}

    @property
    def raw_summary(self) -> dict[str, Any]:
        """Return the last summary as it was sent."""
        lines = self.text_lines("wandb-summary.json")
        return json.loads(lines[-1]) if lines else {}

    def text_lines(self, name: str) -> list[str]:
        """Return the lines of a file of the file stream, as in `wandb-events.jsonl` or `output.log`."""
        lines = self.lines.get(name, {})
        return [lines[number] for number in sorted(lines)]

    def write_lines(self, name: str, offset: int, content: list[str]) -> None:
        """Replace lines from `offset` on; later lines stay."""
        self.lines.setdefault(name, {}).update(enumerate(content, offset))


@dataclass(kw_only=True)
class StoredArtifact:
    """Artifact version; `files` are the uploads by their names in the manifest."""

    artifact_id: str
    entity: str
    project: str
    type: str
    collection: str
    version: int
    digest: str
    client_id: str | None = None
    sequence_client_id: str | None = None
    run_id: str | None = None
    history_step: int | None = None
    state: str = "PENDING"
    aliases: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    description: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    manifest_bytes: bytes = b""
    created_at: str = field(default_factory=now)

    @property
    def name(self) -> str:
        """Return W&B's name of the version: `collection:v0`."""
        return f"{self.collection}:v{self.version}"

    @property
    def manifest(self) -> dict[str, Any]:
        """Return the manifest that the client uploaded; its `contents` say digest and size of each file."""
        return json.loads(self.manifest_bytes) if self.manifest_bytes else {}


@dataclass(kw_only=True)
class StoredView:
    """Saved workspace (`type` project-view) or report (`type` runs, its draft runs/draft)."""

    view_id: str
    entity: str
    project: str
    type: str
    name: str
    display_name: str
    description: str
    spec: dict[str, Any]
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass(kw_only=True)
class StoredSweep:
    """Sweep: config, pending values, and the runs of its agents."""

    sweep_id: str
    storage_id: str
    entity: str
    project: str
    config_text: str
    config: dict[str, Any]
    pending: list[dict[str, Any]] = field(default_factory=list)
    handed_out: dict[str, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    state: str = "PENDING"
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)

    @property
    def num_expected(self) -> int:
        """Return the number of runs of the grid."""
        return len(self.pending) + len(self.handed_out)


RunKey = tuple[str, str, str]


class WandbStore:
    """Store of all content. Keys: runs by (entity, project, run id), projects by (entity, name), the rest by id."""

    def __init__(self, default_entity: str) -> None:
        self.default_entity = default_entity
        self.projects: dict[tuple[str, str], StoredProject] = {}
        self.runs: dict[RunKey, StoredRun] = {}
        self.artifacts: dict[str, StoredArtifact] = {}
        self.views: dict[str, StoredView] = {}
        self.sweeps: dict[str, StoredSweep] = {}
        self.deleted: set[RunKey] = set()
        self._numbers = count(1)

    def new_id(self, kind: str) -> str:
        """Return a new id in W&B's form: base64 of the kind and a number."""
        return base64.b64encode(f"{kind}:{next(self._numbers)}".encode()).decode()

    def project(self, entity: str | None, name: str | None) -> StoredProject:
        """Return the project, and create it if it is new."""
        key = (entity or self.default_entity, name or "uncategorized")
        if key not in self.projects:
            self.projects[key] = StoredProject(entity=key[0], name=key[1], number=len(self.projects) + 1)
        return self.projects[key]

    def run_of(self, entity: str | None, project: str | None, run_id: str) -> StoredRun | None:
        """Return the run by its name, by default in the default entity."""
        return self.runs.get((entity or self.default_entity, project or "uncategorized", run_id))

    def run_by_storage_id(self, storage_id: str) -> StoredRun | None:
        """Return the run by W&B's internal id."""
        return next((run for run in self.runs.values() if run.storage_id == storage_id), None)

    def artifacts_of(self, project: StoredProject, collection: str | None = None) -> list[StoredArtifact]:
        """Return the versions of a project, or of one collection, oldest first."""
        return [
            artifact
            for artifact in self.artifacts.values()
            if (artifact.entity, artifact.project) == (project.entity, project.name)
            and collection in (None, artifact.collection)
        ]

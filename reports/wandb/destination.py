"""Destination of a study's runs in Weights & Biases: project, entity, group and mode, saved in DIR/wandb.json."""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.errors import DirectoryError, InputError

OFFLINE, ONLINE = "offline", "online"
FILE = "wandb.json"
FOLDER = "wandb"  # in a study's folder, where W&B keeps its files
DEFAULT_PROJECT = "ablation-suite"
LONGEST_NAME = 128  # characters that W&B takes for a project, a group and a run's name
_REFUSED = re.compile(r"[/\\#?%:\x00-\x1f]")  # in the name of a project
_DIGITS = 10  # of a group's hash in run ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Destination of the runs of one study.

    project: W&B project. Run ids are unique across studies, so a project may hold many studies.
    entity: user or team; None for the default entity of the login.
    group: W&B group of the study's runs: the study's name, unless two folders of one study need different groups.
    mode: offline (files in DIR/wandb, for `wandb sync`) or online.
    """

    project: str = DEFAULT_PROJECT
    entity: str | None = None
    group: str
    mode: str = OFFLINE

    def run_id(self, trial_id: str, attempt: int = 1) -> str:
        """Return the id of a trial's run: the trial id, a hash of the group and the number of the attempt.

        Other studies may share the trial, hence the group. A run that begins again under its id may keep its earlier
        content on W&B's server, hence the attempt.

        >>> destination = Destination(group="quickstart")
        >>> destination.run_id("52c5d6a0cd826b15"), destination.run_id("52c5d6a0cd826b15", 2)
        ('52c5d6a0cd826b15-ed4f0b24c4', '52c5d6a0cd826b15-ed4f0b24c4-r2')
        """
        return f"{trial_id}-{self.digest}" + (f"-r{attempt}" if attempt > 1 else "")

    @property
    def report_id(self) -> str:
        """Return the id of the run that holds the study's tables and its report."""
        return f"report-{self.digest}"

    @property
    def digest(self) -> str:
        """Return a hash of the group."""
        return _digest(self.group)


def resolve_destination(
    directory: Path,
    study_name: str,
    *,
    mode: str | None = None,
    project: str | None = None,
    entity: str | None = None,
    group: str | None = None,
) -> Destination:
    """Return the destination of a folder's runs.

    Each field is the first of: the argument, DIR/wandb.json, W&B's environment variable, a default.

    Args:
        directory: study folder.
        study_name: default of the group.
        mode: offline or online; None if the command has no such option.
        project: W&B project; None for the next source, as for the other fields.
        entity: user or team that owns the project.
        group: group of this folder's runs.

    Raises:
        InputError: if W&B would refuse the name of the project or of the group.
        DirectoryError: if DIR/wandb.json cannot be read.
    """
    saved = _load(directory / FILE)
    destination = Destination(
        project=project or saved.get("project") or os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT,
        entity=entity or saved.get("entity") or os.environ.get("WANDB_ENTITY") or None,
        group=group or saved.get("group") or _short(study_name),
        mode=mode or saved.get("mode") or ONLINE,
    )
    _check_project(destination.project, "--wandb-project" if project or saved.get("project") else "WANDB_PROJECT")
    if len(destination.group) > LONGEST_NAME:
        raise InputError(f"--wandb-group: has {len(destination.group)} characters; W&B takes up to {LONGEST_NAME}")
    return destination


def save_destination(directory: Path, destination: Destination) -> None:
    """Write DIR/wandb.json atomically.

    Raises:
        DirectoryError: if it cannot be written.
    """
    path = directory / FILE
    draft = path.with_suffix(".json.new")
    try:
        draft.write_text(json.dumps(asdict(destination), indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise DirectoryError(f"{path}: cannot be written: {error.strerror or error}") from error


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_ours = all(isinstance(content.get(key), str | None) for key in ("project", "entity", "group", "mode"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError):
        is_ours = False
    if not is_ours:
        raise DirectoryError(
            f"{path}: is not a file that this suite wrote; remove it, and repeat --wandb-project, --wandb-entity and "
            "--wandb-group if you had given them"
        )
    if content.get("mode") not in (None, OFFLINE, ONLINE):
        content["mode"] = None
    plain: dict[str, Any] = content
    return plain


def _check_project(project: str, source: str) -> None:
    found = _REFUSED.search(project)
    accepted = f"up to {LONGEST_NAME} characters without / \\ # ? % :"
    if found is not None:
        raise InputError(
            f"{source} {project!r} contains {found[0]!r}, which W&B refuses in a project name; accepted: {accepted}"
        )
    if len(project) > LONGEST_NAME:
        raise InputError(f"{source}: has {len(project)} characters; accepted: {accepted}")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - _DIGITS - 1]}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

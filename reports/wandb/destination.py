"""Where a study's runs stand in Weights & Biases: project, entity, group and mode, remembered in DIR/wandb.json."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
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
class Place:
    """Where the runs of one study go.

    project: a W&B project. Its runs are told apart by id, so a project may hold many studies.
    entity: the user or team; None for the default of whoever is logged in.
    group: what W&B groups the study's runs by: the study's name, unless another one keeps two folders of a study apart.
    mode: offline (files in DIR/wandb, for `wandb sync`) or online.
    """

    project: str = DEFAULT_PROJECT
    entity: str | None = None
    group: str
    mode: str = OFFLINE

    def run_id(self, trial_id: str, attempt: int = 1) -> str:
        """The id of a trial's run: the trial's own, a hash of the group, since other studies may share the trial, and
        which attempt it is, since W&B's server does not reliably forget what a run held that begins again.

        >>> place = Place(group="quickstart")
        >>> place.run_id("52c5d6a0cd826b15"), place.run_id("52c5d6a0cd826b15", 2)
        ('52c5d6a0cd826b15-ed4f0b24c4', '52c5d6a0cd826b15-ed4f0b24c4-r2')
        """
        return f"{trial_id}-{self.digest}" + (f"-r{attempt}" if attempt > 1 else "")

    @property
    def report_id(self) -> str:
        """The id of the run that holds the study's tables and its report."""
        return f"report-{self.digest}"

    @property
    def digest(self) -> str:
        """A hash of the group."""
        return _digest(self.group)

    def to_dict(self) -> dict[str, Any]:
        """The place as plain data, as it stands in the file."""
        return {"project": self.project, "entity": self.entity, "group": self.group, "mode": self.mode}


def place_of(
    directory: Path,
    study_name: str,
    *,
    mode: str | None = None,
    project: str | None = None,
    entity: str | None = None,
    group: str | None = None,
) -> Place:
    """The place of a folder's runs: what is asked for, else what was remembered, else W&B's variables, else a default.

    Arguments:
        directory: the study's folder.
        study_name: the group, where none is asked for or remembered.
        mode: offline or online, where the command was given one; as the others.
        project: of W&B.
        entity: the user or team whose project it is.
        group: for this folder's runs.

    Raises:
        InputError: when W&B would refuse the project's name, or the group's.
        DirectoryError: when DIR/wandb.json cannot be read.
    """
    remembered = _remembered(directory / FILE)
    place = Place(
        project=project or remembered.get("project") or os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT,
        entity=entity or remembered.get("entity") or os.environ.get("WANDB_ENTITY") or None,
        group=group or remembered.get("group") or _short(study_name),
        mode=mode or remembered.get("mode") or ONLINE,
    )
    _check_project(place.project, "--wandb-project" if project or remembered.get("project") else "WANDB_PROJECT")
    if len(place.group) > LONGEST_NAME:
        raise InputError(f"--wandb-group: has {len(place.group)} characters; W&B takes up to {LONGEST_NAME}")
    return place


def remember(directory: Path, place: Place) -> None:
    """Write DIR/wandb.json, whole or not at all.

    Raises:
        DirectoryError: when it cannot be written.
    """
    path = directory / FILE
    draft = path.with_suffix(".json.new")
    try:
        draft.write_text(json.dumps(place.to_dict(), indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise DirectoryError(f"{path}: cannot be written: {error.strerror or error}") from error


def _remembered(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_ours = all(isinstance(content.get(key), str | None) for key in ("project", "entity", "group", "mode"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError):
        is_ours = False
    if not is_ours:
        raise DirectoryError(
            f"{path}: does not hold what this suite writes there; remove it, and give --wandb-project, --wandb-entity "
            "and --wandb-group again where you had"
        )
    if content.get("mode") not in (None, OFFLINE, ONLINE):
        content["mode"] = None
    plain: dict[str, Any] = content
    return plain


def _check_project(project: str, source: str) -> None:
    found = _REFUSED.search(project)
    accepted = f"up to {LONGEST_NAME} characters without / \\ # ? % :"
    if found is not None:
        where = f"{project!r} holds {found[0]!r}"
        raise InputError(f"{source} {where}, which W&B refuses in the name of a project; accepted: {accepted}")
    if len(project) > LONGEST_NAME:
        raise InputError(f"{source}: has {len(project)} characters; accepted: {accepted}")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - _DIGITS - 1]}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

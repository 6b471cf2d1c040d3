"""Adapter to the private parts of wandb-workspaces, with the versions that it is tested with.

Private are `_to_model` (there is no public way to a view that is not saved), the names of fields in its result, and the
GraphQL helper. wandb-workspaces saves each report as a new one, with random identifiers. Here a view is found again by
its name, and its identifiers are hashes of that name.
"""

import hashlib
import json
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from experiments.errors import InputError

PACKAGE, LOWEST, BELOW = "wandb-workspaces", (0, 4, 13), (0, 5)
_TYPES = {"workspace": "project-view", "report": "runs"}
_LIST = """
    query StudyViews($entityName: String!, $projectName: String!, $viewType: String!, $after: String) {
        project(name: $projectName, entityName: $entityName) {
            id
            allViews(viewType: $viewType, first: 100, after: $after) {
                edges { node { id name } }
                pageInfo { endCursor hasNextPage }
            }
        }
    }
"""
_SAVE = """
    mutation SaveStudyView($id: ID, $entityName: String, $projectName: String, $type: String, $name: String,
                           $displayName: String, $description: String, $spec: String) {
        upsertView(input: {id: $id, entityName: $entityName, projectName: $projectName, name: $name,
                           displayName: $displayName, description: $description, type: $type, spec: $spec,
                           createdUsing: WANDB_SDK}) {
            view { id }
        }
    }
"""


def check_version() -> None:
    """Check the version of the installed wandb-workspaces.

    Raises:
        InputError: if it is not installed, or in another version.
    """
    wanted = f">={'.'.join(map(str, LOWEST))},<{'.'.join(map(str, BELOW))}"
    install = f'`uv pip install "{PACKAGE}{wanted}"` installs it'
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        raise InputError(
            f"ablate wandb dashboard needs {PACKAGE} {wanted}, which is not installed; {install}"
        ) from None
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:3])
    if not LOWEST <= numbers < BELOW:
        raise InputError(f"ablate wandb dashboard needs {PACKAGE} {wanted}, but {found} is installed; {install}")


def convert_workspace(workspace: Any, name: str) -> dict[str, Any]:
    """Return a workspace as W&B stores it.

    Args:
        workspace: a wandb_workspaces.workspaces.Workspace.
        name: name of the view, unique in its project.
    """
    view = workspace._to_model()  # noqa: SLF001 -- see above
    spec = _dump_spec(view, name)
    for section, stored in zip(workspace.sections, spec["section"]["panelBankConfig"]["sections"], strict=True):
        _restore_metrics(section.panels, stored["panels"])
        # A plot without groups of its own uses those of the run set.
        uses_run_set = any(getattr(panel, "groupby", panel) is None for panel in section.panels)
        stored["localPanelSettings"]["useRunsTableGroupingInPanels"] = uses_run_set
    return {
        "entityName": view.entity or None,
        "projectName": view.project,
        "name": f"nw-{_hash_name(name)[:11]}-v",  # W&B shows the middle in the address
        "displayName": view.display_name,
        "spec": spec,
    }


def convert_report(report: Any, name: str) -> dict[str, Any]:
    """Return a report as W&B stores it.

    Args:
        report: a wandb_workspaces.reports.v2.Report.
        name: name of the view, unique in its project.
    """
    view = report._to_model()  # noqa: SLF001 -- see above
    spec = _dump_spec(view, name)
    stored = [block["metadata"] for block in spec["blocks"] if block["type"] == "panel-grid"]
    grids = [block for block in report.blocks if hasattr(block, "panels")]
    for grid, metadata in zip(grids, stored, strict=True):
        _restore_metrics(grid.panels, metadata["panelBankSectionConfig"]["panels"])
    return {
        "entityName": view.project.entity_name or None,
        "projectName": view.project.name,
        "name": _hash_name(name),
        "displayName": view.display_name,
        "description": view.description,
        "spec": spec,
    }


def fetch_views(api: Any, entity: str, project: str, kind: str) -> dict[str, str] | None:
    """Return the ids of a project's workspaces or reports by name, or None if the project does not exist."""
    from wandb_workspaces._graphql import execute_graphql

    known: dict[str, str] = {}
    after, has_more = None, True
    while has_more:
        variables = {"entityName": entity, "projectName": project, "viewType": _TYPES[kind], "after": after}
        found = execute_graphql(api, _LIST, variables).get("project")
        if found is None:
            return None
        views = found["allViews"]
        known |= {edge["node"]["name"]: edge["node"]["id"] for edge in views["edges"]}
        after, has_more = views["pageInfo"]["endCursor"], views["pageInfo"]["hasNextPage"]
    return known


def save_view(api: Any, kind: str, view_id: str | None, view: dict[str, Any]) -> str:
    """Save a view as a new one, or over the one with this id, and return its id."""
    from wandb_workspaces._graphql import execute_graphql

    variables = {"description": "", **view, "type": _TYPES[kind], "id": view_id, "spec": json.dumps(view["spec"])}
    saved = execute_graphql(api, _SAVE, variables)
    return str(saved["upsertView"]["view"]["id"])


def _dump_spec(view: Any, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    _replace_ids(spec, name)
    return spec


def _replace_ids(part: Any, name: str) -> None:
    """Replace random identifiers by hashes of the view's name and the position in the view."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        if key in {"__id__", "id"}:
            part[key] = _hash_name(name)
        elif isinstance(value, dict | list):
            _replace_ids(value, f"{name}/{key}")


def _restore_metrics(panels: list[Any], stored: list[dict[str, Any]]) -> None:
    """Restore the metrics of plots: wandb-workspaces replaces names such as Step by those of W&B's own metrics."""
    for panel, content in zip(panels, stored, strict=True):
        if metrics := getattr(panel, "y", None) or getattr(panel, "metrics", None):
            content["config"]["metrics"] = metrics


def _hash_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]

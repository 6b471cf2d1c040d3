"""Views as W&B stores them: the only file that uses private parts of wandb-workspaces, and holds the versions for that.

Private are `_to_model`, the only way to a view that is not saved, the names of fields in it, and its GraphQL helper.
wandb-workspaces saves every report as a new one and draws identifiers at random; here a view is found by
its name, and its identifiers are made from that.
"""

import hashlib
import json
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from experiments.errors import InputError

PACKAGE, LOWEST, BELOW = "wandb-workspaces", (0, 4, 13), (0, 5)
_TYPES = {"workspace": "project-view", "report": "runs"}
_KNOWN = """
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
    """Nothing, where the installed wandb-workspaces is one that dashboards are made with.

    Raises:
        InputError: when it is absent, or another version.
    """
    wanted = f">={'.'.join(map(str, LOWEST))},<{'.'.join(map(str, BELOW))}"
    install = f'`uv pip install "{PACKAGE}{wanted}"` installs one'
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        raise InputError(
            f"ablate wandb dashboard needs {PACKAGE} {wanted}, which is not installed; {install}"
        ) from None
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:3])
    if not LOWEST <= numbers < BELOW:
        raise InputError(f"ablate wandb dashboard needs {PACKAGE} {wanted}, and finds {found}; {install}")


def stored_workspace(workspace: Any, name: str) -> dict[str, Any]:
    """A workspace as W&B stores it.

    Args:
        workspace: of wandb_workspaces.
        name: by which W&B tells views of a project apart; identifiers within are made from it.
    """
    view = workspace._to_model()  # noqa: SLF001 -- see above
    spec = _spec_of(view, name)
    for section, stored in zip(workspace.sections, spec["section"]["panelBankConfig"]["sections"], strict=True):
        _keep_metrics(section.panels, stored["panels"])
        # Plots that name no groups have those of the run set.
        uses_run_set = any(getattr(panel, "groupby", panel) is None for panel in section.panels)
        stored["localPanelSettings"]["useRunsTableGroupingInPanels"] = uses_run_set
    return {
        "entityName": view.entity or None,
        "projectName": view.project,
        "name": f"nw-{_identifier(name)[:11]}-v",  # W&B shows the middle in the address
        "displayName": view.display_name,
        "spec": spec,
    }


def stored_report(report: Any, name: str) -> dict[str, Any]:
    """A report as W&B stores it.

    Args:
        report: of wandb_workspaces.
        name: by which W&B tells views of a project apart; identifiers within are made from it.
    """
    view = report._to_model()  # noqa: SLF001 -- see above
    spec = _spec_of(view, name)
    stored = [block["metadata"] for block in spec["blocks"] if block["type"] == "panel-grid"]
    grids = [block for block in report.blocks if hasattr(block, "panels")]
    for grid, metadata in zip(grids, stored, strict=True):
        _keep_metrics(grid.panels, metadata["panelBankSectionConfig"]["panels"])
    return {
        "entityName": view.project.entity_name or None,
        "projectName": view.project.name,
        "name": _identifier(name),
        "displayName": view.display_name,
        "description": view.description,
        "spec": spec,
    }


def known_views(api: Any, entity: str, project: str, kind: str) -> dict[str, str] | None:
    """Identifiers of a project's workspaces or reports by name; None where there is no such project."""
    from wandb_workspaces._graphql import execute_graphql

    known: dict[str, str] = {}
    after, more = None, True
    while more:
        variables = {"entityName": entity, "projectName": project, "viewType": _TYPES[kind], "after": after}
        found = execute_graphql(api, _KNOWN, variables).get("project")
        if found is None:
            return None
        views = found["allViews"]
        known |= {edge["node"]["name"]: edge["node"]["id"] for edge in views["edges"]}
        after, more = views["pageInfo"]["endCursor"], views["pageInfo"]["hasNextPage"]
    return known


def save_view(api: Any, kind: str, view_id: str | None, view: dict[str, Any]) -> str:
    """Save a view, over the one of this id or else as a new one, and return its id."""
    from wandb_workspaces._graphql import execute_graphql

    variables = {"description": "", **view, "type": _TYPES[kind], "id": view_id, "spec": json.dumps(view["spec"])}
    saved = execute_graphql(api, _SAVE, variables)
    return str(saved["upsertView"]["view"]["id"])


def _spec_of(view: Any, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    _name_parts(spec, name)
    return spec


def _name_parts(part: Any, name: str) -> None:
    """Replace random identifiers by ones that are made from the view's name and the position in it."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        if key in {"__id__", "id"}:
            part[key] = _identifier(name)
        elif isinstance(value, dict | list):
            _name_parts(value, f"{name}/{key}")


def _keep_metrics(panels: list[Any], stored: list[dict[str, Any]]) -> None:
    """Give plots their metric by its own name: some, such as Step, have another meaning in wandb-workspaces."""
    for panel, content in zip(panels, stored, strict=True):
        if metrics := getattr(panel, "y", None) or getattr(panel, "metrics", None):
            content["config"]["metrics"] = metrics


def _identifier(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]

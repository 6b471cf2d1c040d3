"""`ablate wandb dashboard`: a study's workspace and its report in W&B, made from the ledger."""

import json
from dataclasses import dataclass
from typing import Any

from reports.report import Report
from reports.wandb.destination import Place

from .to_wandb import require_workspaces, spec_of, story_view, workspace_view
from .wandb_report import story_of
from .workspace import workspace_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """The two views as wandb-workspaces has them, each of which W&B stores under a name."""

    workspace: Any
    report: Any


def dashboard_of(report: Report, place: Place) -> Dashboard:
    """The workspace and the report of a study. Asks no server; the same ledger and place give the same.

    Raises:
        InputError: when wandb-workspaces is absent, or a version that this was not made for.
    """
    require_workspaces()
    names = {kind: f"{kind} {place.project}/{place.group}" for kind in ("workspace", "report")}
    return Dashboard(
        workspace=workspace_view(workspace_of(report, place), names["workspace"], place.project, place.entity),
        report=story_view(story_of(report, place), names["report"], place.project, place.entity),
    )


def to_json(dashboard: Dashboard) -> str:
    """Both views as one JSON document, with what W&B is told of them."""
    workspace, report = dashboard.workspace, dashboard.report
    content = {
        "workspace": {
            "entityName": workspace.entity or None,
            "projectName": workspace.project,
            "name": workspace.name,
            "displayName": workspace.display_name,
            "spec": spec_of(workspace),
        },
        "report": {
            "entityName": report.project.entity_name or None,
            "projectName": report.project.name,
            "name": report.name,
            "displayName": report.display_name,
            "description": report.description,
            "spec": spec_of(report),
        },
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

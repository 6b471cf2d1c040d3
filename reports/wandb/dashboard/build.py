"""`ablate wandb dashboard`: a study's workspace and its report in W&B, made from the ledger."""

import json
from typing import Any

from reports.report import Report
from reports.wandb.destination import Place

from .views import check_version, stored_report, stored_workspace

Dashboard = dict[str, dict[str, Any]]  # "workspace" and "report", each as W&B stores it


def dashboard_of(report: Report, place: Place) -> Dashboard:
    """The workspace and the report of a study. Asks no server; the same ledger and place give the same.

    Raises:
        InputError: when wandb-workspaces is absent, or a version that this was not made for.
    """
    check_version()
    from .wandb_report import wandb_report_of
    from .workspace import workspace_of

    name = f"{place.project}/{place.group}"
    return {
        "workspace": stored_workspace(workspace_of(report, place), f"workspace {name}"),
        "report": stored_report(wandb_report_of(report, place), f"report {name}"),
    }


def to_json(dashboard: Dashboard) -> str:
    """Both views as one JSON document, with what W&B is told of them."""
    return json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n"

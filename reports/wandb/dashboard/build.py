"""`ablate wandb dashboard`: workspace and report of a study in W&B, built from the ledger."""

import json
from typing import Any

from reports.report import Report
from reports.wandb.destination import Destination

from .views import check_version, convert_report, convert_workspace

Dashboard = dict[str, dict[str, Any]]  # "workspace" and "report", each as W&B stores it


def build_dashboard(report: Report, destination: Destination) -> Dashboard:
    """Build the workspace and the report of a study, without a server. The same ledger gives the same dashboard.

    Raises:
        InputError: if wandb-workspaces is not installed, or in another version.
    """
    check_version()
    from .wandb_report import build_wandb_report
    from .workspace import build_workspace

    name = f"{destination.project}/{destination.group}"
    return {
        "workspace": convert_workspace(build_workspace(report, destination), f"workspace {name}"),
        "report": convert_report(build_wandb_report(report, destination), f"report {name}"),
    }


def to_json(dashboard: Dashboard) -> str:
    """Return a dashboard as a JSON document."""
    return json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n"

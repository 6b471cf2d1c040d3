"""Saving a dashboard in W&B: who is logged in, the project, and both views, each in the place of its last version."""

import atexit
import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psutil

from experiments.errors import InputError
from experiments.text import visible

from .build import Dashboard
from .to_wandb import spec_of

_REJECTED = (401, 403)
_SERVICE = "wandb-core"  # the client's own process, which does what is asked of the server
_LEAVE_SECONDS = 3.0  # that it has at the command's end after an error
_LATE = "did not respond in time"  # of the service process, which tries again until the time is over (19 s a request)
_VIEWS = """
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


def save_dashboard(dashboard: Dashboard) -> tuple[str, str]:
    """Save the workspace and the report, over what was saved under their names before; their addresses.

    Raises:
        InputError: when nobody is logged in, the key is rejected, or W&B cannot be reached or fails.
    """
    with _errors_named():
        from wandb_workspaces._graphql import get_app_url
        from wandb_workspaces.workspaces import internal

        api = _api()
        workspace, report = dashboard.workspace, dashboard.report
        entity = workspace.entity or _default_entity(api)
        workspace.entity = report.project.entity_name = entity
        known = _known_views(api, entity, workspace.project, "project-view")
        if known is None:
            api.create_project(workspace.project, entity)
        workspace.id = (known or {}).get(workspace.name, "")
        internal.upsert_view2(workspace)
        report.id = (_known_views(api, entity, workspace.project, "runs") or {}).get(report.name, "")
        report.id = _upsert_report(api, report)
        base = f"{get_app_url(api).rstrip('/')}/{quote(entity)}/{quote(workspace.project)}"
        title = quote(report.display_name.replace(" ", "-"), safe="")
        shown = workspace.name.removeprefix("nw-").removesuffix("-v")
        return f"{base}?nw={shown}", f"{base}/reports/{title}--{report.id.rstrip('=')}"


def _upsert_report(api: Any, report: Any) -> str:
    from wandb_workspaces._graphql import execute_graphql
    from wandb_workspaces.reports.v2 import gql

    variables = {
        "id": report.id or None,
        "name": report.name,
        "entityName": report.project.entity_name,
        "projectName": report.project.name,
        "description": report.description,
        "displayName": report.display_name,
        "type": "runs",
        "spec": json.dumps(spec_of(report)),
    }
    saved = execute_graphql(api, gql.upsert_view, variables)
    return str(saved["upsertView"]["view"]["id"])


def _known_views(api: Any, entity: str, project: str, kind: str) -> dict[str, str] | None:
    """Identifiers of a project's views by name; None where there is no such project."""
    from wandb_workspaces._graphql import execute_graphql

    known: dict[str, str] = {}
    after, more = None, True
    while more:
        variables = {"entityName": entity, "projectName": project, "viewType": kind, "after": after}
        found = execute_graphql(api, _VIEWS, variables).get("project")
        if found is None:
            return None
        views = found["allViews"]
        known |= {edge["node"]["name"]: edge["node"]["id"] for edge in views["edges"]}
        after, more = views["pageInfo"]["endCursor"], views["pageInfo"]["hasNextPage"]
    return known


def _api() -> Any:
    """A client that is logged in; it would ask at a terminal for a key, and a command asks nothing."""
    import wandb

    stdin = sys.stdin
    try:
        with open(os.devnull, encoding="utf-8") as nothing:  # noqa: PTH123 -- not a path of ours
            sys.stdin = nothing
            return wandb.Api()
    except wandb.errors.UsageError as error:
        raise InputError(
            "nobody is logged in to Weights & Biases: `wandb login` stores a key (or set WANDB_API_KEY); "
            "--dry-run needs none"
        ) from error
    finally:
        sys.stdin = stdin


def _default_entity(api: Any) -> str:
    entity = api.default_entity
    if not entity:
        raise InputError("Weights & Biases names no entity for this login; give --wandb-entity, a user or a team")
    return str(entity)


@contextmanager
def _errors_named() -> Iterator[None]:
    """Whatever goes wrong between here and the server, as one line: the client has no common class for it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        atexit.register(_end_service_soon)  # called before the client's own end, which was registered earlier
        raise InputError(_sentence(error)) from error


def _end_service_soon() -> None:
    """Bound how long the client waits at the end: its process repeats a request that failed, for minutes and more."""

    def end() -> None:
        for process in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if process.name().startswith(_SERVICE):
                    process.kill()

    timer = threading.Timer(_LEAVE_SECONDS, end)
    timer.daemon = True
    timer.start()


def _sentence(error: Exception) -> str:
    statuses = [_status(cause) for cause in (error, error.__cause__)]
    if any(status in _REJECTED for status in statuses):
        return (
            "Weights & Biases rejects the key, or what it was asked with it: `wandb login --relogin` stores another "
            f"(WANDB_API_KEY comes first), --wandb-entity names who owns the project ({_short(error)})"
        )
    what = "no answer in time" if _LATE in str(error) else _short(error)
    return (
        f"the dashboard could not be saved: {_address()}: {what}. Nothing of the study is lost: the same command tries "
        "again, --dry-run prints what would be saved"
    )


def _address() -> str:
    import wandb

    return str(wandb.setup().settings.base_url)


def _status(error: BaseException | None) -> int | None:
    status: int | None = getattr(getattr(error, "response", None), "http_status", None)
    return status


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return visible(text if len(text) <= 300 else f"{text[:299]}…")  # noqa: PLR2004 -- a line or two of a terminal

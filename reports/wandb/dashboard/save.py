"""Saving of a dashboard in W&B, over its last version.

A child process asks the server, since W&B's client may hang, also at exit.
"""

import os
from urllib.parse import quote

from experiments.child_process import ParentChannel, ask
from experiments.errors import InputError
from reports.wandb.live.sink import PATIENCE_SECONDS

from .build import Dashboard
from .views import fetch_views, save_view


def save_dashboard(dashboard: Dashboard) -> tuple[str, str]:
    """Save the workspace and the report, over earlier ones of their names, and return their addresses.

    Raises:
        InputError: if there is no API key, the key is refused, or W&B cannot be reached or fails.
    """
    try:
        ((kind, *content),) = ask(__name__, dashboard, seconds=PATIENCE_SECONDS)
    except (TimeoutError, RuntimeError) as error:
        raise InputError(_describe_failure(str(error))) from error
    if kind == "error":
        raise InputError(content[0])
    workspace, report = content
    return workspace, report


def main(channel: ParentChannel) -> None:
    """Save the dashboard that the command sends, and send the addresses back."""
    (dashboard,) = channel.receive() or ()
    try:
        channel.send("saved", *_save(dashboard))
    except InputError as error:
        channel.send("error", str(error))
    except Exception as error:  # noqa: BLE001 -- errors of the client have no common class
        import wandb

        from reports.wandb.live.client import describe_error

        channel.send("error", _describe_failure(f"{wandb.setup().settings.base_url}: {describe_error(error)}"))
    os._exit(0)  # skips the exit handlers of W&B, which wait for the server


def _save(dashboard: Dashboard) -> tuple[str, str]:
    import wandb

    from reports.wandb.live.client import check_login

    check_login("--dry-run needs none")
    api = wandb.Api()
    entity, project = dashboard["workspace"]["entityName"] or api.default_entity, dashboard["workspace"]["projectName"]
    if not entity:
        raise InputError(
            "Weights & Biases has no default entity for this login; give a user or a team as --wandb-entity"
        )
    if fetch_views(api, entity, project, "workspace") is None:
        api.create_project(project, entity)
    ids = {}
    for kind, view in dashboard.items():
        known = fetch_views(api, entity, project, kind) or {}
        ids[kind] = save_view(api, kind, known.get(view["name"]), {**view, "entityName": entity})
    base = f"{wandb.setup().settings.app_url.rstrip('/')}/{quote(entity)}/{quote(project)}"
    shown = dashboard["workspace"]["name"].removeprefix("nw-").removesuffix("-v")
    title = quote(dashboard["report"]["displayName"].replace(" ", "-"), safe="")
    return f"{base}?nw={shown}", f"{base}/reports/{title}--{ids['report'].rstrip('=')}"


def _describe_failure(what: str) -> str:
    return (
        f"the dashboard could not be saved: {what}. The study is unchanged: repeat the command, or print the dashboard "
        "with --dry-run"
    )

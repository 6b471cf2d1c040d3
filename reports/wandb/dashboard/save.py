"""Saving a dashboard in W&B: who is logged in, the project, and both views, each in the place of its last version.

A process of its own asks the server, since W&B's client may hang, also at its exit.
"""

import os
from urllib.parse import quote

from experiments.child_process import ParentChannel, ask
from experiments.errors import InputError
from reports.wandb.live.sink import PATIENCE_SECONDS

from .build import Dashboard
from .views import known_views, save_view


def save_dashboard(dashboard: Dashboard) -> tuple[str, str]:
    """Save the workspace and the report, over what was saved under their names before; their addresses.

    Raises:
        InputError: when nobody is logged in, the key is rejected, or W&B cannot be reached or fails.
    """
    try:
        ((kind, *content),) = ask(__name__, dashboard, seconds=PATIENCE_SECONDS)
    except (TimeoutError, RuntimeError) as error:
        raise InputError(_not_saved(str(error))) from error
    if kind == "refused":
        raise InputError(content[0])
    workspace, report = content
    return workspace, report


def main(channel: ParentChannel) -> None:
    """Save the dashboard that the command sends, and send the addresses."""
    (dashboard,) = channel.receive() or ()
    try:
        channel.send("saved", *_save(dashboard))
    except InputError as error:
        channel.send("refused", str(error))
    except Exception as error:  # noqa: BLE001 -- the client has no common class for what goes wrong
        import wandb

        from reports.wandb.live.client import first_line

        channel.send("refused", _not_saved(f"{wandb.setup().settings.base_url}: {first_line(error)}"))
    os._exit(0)  # without W&B's own end, which waits for a server


def _save(dashboard: Dashboard) -> tuple[str, str]:
    import wandb

    from reports.wandb.live.client import check_login

    check_login("--dry-run needs none")
    api = wandb.Api()
    entity, project = dashboard["workspace"]["entityName"] or api.default_entity, dashboard["workspace"]["projectName"]
    if not entity:
        raise InputError("Weights & Biases names no entity for this login; give --wandb-entity, a user or a team")
    if known_views(api, entity, project, "workspace") is None:
        api.create_project(project, entity)
    ids = {}
    for kind, view in dashboard.items():
        known = known_views(api, entity, project, kind) or {}
        ids[kind] = save_view(api, kind, known.get(view["name"]), {**view, "entityName": entity})
    base = f"{wandb.setup().settings.app_url.rstrip('/')}/{quote(entity)}/{quote(project)}"
    shown = dashboard["workspace"]["name"].removeprefix("nw-").removesuffix("-v")
    title = quote(dashboard["report"]["displayName"].replace(" ", "-"), safe="")
    return f"{base}?nw={shown}", f"{base}/reports/{title}--{ids['report'].rstrip('=')}"


def _not_saved(what: str) -> str:
    return (
        f"the dashboard could not be saved: {what}. Nothing of the study is lost: the same command tries again, "
        "--dry-run prints what would be saved"
    )

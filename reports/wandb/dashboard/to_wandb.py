"""A dashboard in the form that W&B stores: the only file that knows wandb-workspaces, its private parts included.

wandb-workspaces draws the identifiers of panels, sections and run sets at random, writes filters by way of a text that
cannot hold every value, and takes some names of metrics for its own. So models are made by it and then completed here,
which is private API: `require_workspaces` holds the versions that this is known to be right for.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from experiments.errors import InputError
from reports.wandb.destination import LONGEST_NAME

from .model import (
    Callout,
    Grid,
    Heading,
    Importance,
    Key,
    LoggedPage,
    LoggedTable,
    Panel,
    Plot,
    Runs,
    Section,
    Story,
    Text,
    Workspace,
)

PACKAGE, LOWEST, BELOW = "wandb-workspaces", (0, 4, 13), (0, 5)
_WIDTH = 24  # columns of a grid of a report
_SIZES = {Plot: (8, 7), Text: (_WIDTH, 8), LoggedTable: (_WIDTH, 8), LoggedPage: (_WIDTH, 24), Importance: (_WIDTH, 8)}


def require_workspaces() -> None:
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


def workspace_view(workspace: Workspace, name: str, project: str, entity: str | None) -> Any:
    """The workspace as a `View` of wandb-workspaces.

    Arguments:
        workspace: what to show.
        name: by which W&B tells views of a project apart; identifiers within are made from it.
        project: where it is going to stand.
        entity: whose the project is; None where that is not known yet.
    """
    import wandb_workspaces.workspaces as ws

    made = ws.Workspace(
        entity=entity or "",
        project=project,
        sections=[_section(section, f"{name}/{number}") for number, section in enumerate(workspace.sections)],
        runset_settings=ws.RunsetSettings(pinned_columns=list(map(_column, workspace.runs.columns))),
    )
    view = made._to_model()  # noqa: SLF001 -- there is no public way to a view that is not saved
    view.name, view.display_name = url_name(name), _plain(workspace.title)[:LONGEST_NAME]
    part = view.spec.section
    part.settings.x_axis, part.settings.max_runs = "epoch", _most_runs(workspace)
    _complete(part.run_sets[0], workspace.runs, name)
    for section, model in zip(workspace.sections, part.panel_bank_config.sections, strict=True):
        model.local_panel_settings.use_runs_table_grouping_in_panels = section.groups_of_runs
        model.id = _identifier(name, section.name)
        _name_metrics(section.panels, model.panels)
    return view


def story_view(story: Story, name: str, project: str, entity: str | None) -> Any:
    """The report as a `ReportViewspec` of wandb-workspaces.

    Arguments:
        story: what to tell.
        name: by which W&B tells views of a project apart; identifiers within are made from it.
        project: where it is going to stand.
        entity: whose the project is; None where that is not known yet.
    """
    import wandb_workspaces.reports.v2 as wr

    made = wr.Report(
        entity=entity or "",
        project=project,
        title=story.title[:LONGEST_NAME],
        description=story.description,
        blocks=[wr.TableOfContents(), *(_block(block, f"{name}/{at}") for at, block in enumerate(story.blocks))],
        width="fluid",
    )
    view = made._to_model()  # noqa: SLF001 -- as above
    grids = [block for block in view.spec.blocks if block.type == "panel-grid"]
    contents = [(at, block) for at, block in enumerate(story.blocks) if isinstance(block, Grid)]
    for (at, grid), model in zip(contents, grids, strict=True):
        _complete(model.metadata.run_sets[0], grid.runs, f"{name}/{at}")
        _name_metrics(grid.panels, model.metadata.panel_bank_section_config.panels)
    view.name = _identifier(name)
    return view


def spec_of(view: Any) -> dict[str, Any]:
    """What W&B stores of either view, as plain data."""
    spec: dict[str, Any] = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    return spec


def url_name(name: str) -> str:
    """The name of a workspace, of which W&B shows the middle in its address.

    >>> url_name("a study")
    'nw-88765bd0a21-v'
    """
    return f"nw-{_identifier(name)[:11]}-v"


def _section(section: Section, name: str) -> Any:
    import wandb_workspaces.workspaces as ws

    return ws.Section(
        name=section.name,
        panels=[_panel(panel, f"{name}/{at}") for at, panel in enumerate(section.panels)],
        is_open=section.is_open,
        layout_settings=ws.SectionLayoutSettings(columns=section.columns, rows=section.rows),
        panel_settings=ws.SectionPanelSettings(x_axis="epoch"),
    )


def _block(block: Heading | Callout | Text | Grid, name: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    match block:
        case Heading():
            return wr.H2(text=block.text)
        case Callout():
            return wr.CalloutBlock(text=block.text)
        case Text():
            return wr.MarkdownBlock(text=block.markdown)
        case Grid():
            panels = [_panel(panel, f"{name}/{at}") for at, panel in enumerate(block.panels)]
            for panel, layout in zip(panels, _layouts(block.panels), strict=True):
                panel.layout = wr.Layout(**layout)
            runs = wr.Runset(name=block.runs.name, visible_columns=list(map(_column, block.runs.columns)))
            return wr.PanelGrid(runsets=[runs], panels=panels, hide_run_sets=False)


def _panel(panel: Panel, name: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    made: Any
    match panel:
        case Plot():
            shared = {
                "title": panel.title,
                "groupby": None if panel.by is None else wr.Config(panel.by[1]),
                "groupby_aggfunc": "mean",
                "groupby_rangefunc": "stddev",
                "max_runs_to_show": panel.most_runs,
            }
            made = (
                wr.BarPlot(**shared, max_bars_to_show=panel.most_runs)
                if panel.over is None
                else wr.LinePlot(x=panel.over, title_x=panel.over, log_y=panel.is_log or None, **shared)
            )
        case Text():
            made = wr.MarkdownPanel(markdown=panel.markdown)
        case LoggedTable():
            made = wr.WeavePanelSummaryTable(table_name=panel.key)
        case LoggedPage():
            made = wr.MediaBrowser(title=panel.title, num_columns=1, media_keys=[panel.key])
        case Importance():
            made = wr.ParameterImportancePlot(with_respect_to=panel.metric)
    made._id = _identifier(name)  # noqa: SLF001 -- random otherwise
    return made


def _name_metrics(panels: tuple[Panel, ...], models: list[Any]) -> None:
    """Each plot's metric by its own name: some, such as Step, have another meaning in wandb-workspaces."""
    for panel, model in zip(panels, models, strict=True):
        if isinstance(panel, Plot):
            model.config.metrics = [panel.metric]


def _complete(model: Any, runs: Runs, name: str) -> None:
    """Give the model of a run set its filters, groups and order, and an identifier."""
    from wandb_workspaces import expr

    model.id, model.name = _identifier(name, "runs"), runs.name
    model.filters = {"filterFormat": expr.FILTER_FORMAT_V2, "filters": list(_filters(runs))}
    model.grouping = [expr.Key(section=section, name=key) for section, key in runs.grouping]
    (section, key), ascending = runs.order
    model.sort.keys = [expr.SortKey(key=expr.SortKeyKey(section=section, name=key), ascending=ascending)]


def _filters(runs: Runs) -> Iterator[dict[str, Any]]:
    for number, ((section, name), values) in enumerate(runs.where):
        item: dict[str, Any] = {"key": {"section": section, "name": name}, "disabled": False}
        item |= {"op": "=", "value": values[0]} if len(values) == 1 else {"op": "IN", "value": list(values)}
        yield item | ({"connector": "AND"} if number else {})


def _layouts(panels: tuple[Panel, ...]) -> list[dict[str, int]]:
    """Places for panels from left to right and top to bottom."""
    layouts, x, y, height = [], 0, 0, 0
    for panel in panels:
        w, h = _SIZES[type(panel)]
        if x + w > _WIDTH:
            x, y, height = 0, y + height, 0
        layouts.append({"x": x, "y": y, "w": w, "h": h})
        x, height = x + w, max(height, h)
    return layouts


def _most_runs(workspace: Workspace) -> int:
    panels = [panel for section in workspace.sections for panel in section.panels]
    return max(panel.most_runs for panel in panels if isinstance(panel, Plot))


def _column(key: Key) -> str:
    return f"{key[0]}:{key[1]}"


def _plain(title: str) -> str:
    """A title without what W&B refuses in the name of a workspace: emojis, and what it takes for some.

    >>> _plain("lr + decay <3")
    'lr _ decay _3'
    """
    return "".join("_" if unicodedata.category(char) in {"So", "Sk", "Sm", "Sc", "Cs"} else char for char in title)


def _identifier(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

"""What a dashboard is made of, as plain data: panels, sections, run sets, a workspace and a report of W&B."""

from dataclasses import dataclass

SEED, GROUP, JOB_TYPE = ("config", "seed.value"), ("run", "group"), ("run", "jobType")
Key = tuple[str, str]  # where W&B keeps a value of a run (run, config, summary), and its name there


def factor_key(key: str) -> Key:
    """Where W&B keeps the level of a factor: each top-level key of a config has its content under `value`.

    Arguments:
        key: of `factor_keys`.

    >>> factor_key("weight decay")
    ('config', 'factors.value.weight decay')
    """
    return "config", f"factors.value.{key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One metric of many runs, a mean with a band of one standard deviation for each group of runs.

    over: the metric of the x axis; None for a bar of the final value.
    by: the key of the groups; None for the groups of the run set.
    most_runs: how many runs the panel has to show; W&B shows ten where nobody says more.
    is_log: whether the axis of the metric is logarithmic.
    """

    title: str
    metric: str
    over: str | None
    by: Key | None
    most_runs: int
    is_log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Markdown."""

    markdown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedTable:
    """A table that a run of the run set logged under a key."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedPage:
    """An HTML page that a run of the run set logged under a key."""

    title: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """W&B's own importance of all parameters for a metric: exploratory."""

    metric: str


Panel = Plot | Text | LoggedTable | LoggedPage | Importance


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """A run set.

    where: what a run must have, as (key, the values that are accepted).
    grouping: keys that the runs are grouped by, one within the other.
    columns: keys of the table's columns.
    order: the key that runs are sorted by, and whether ascending.
    """

    name: str
    where: tuple[tuple[Key, tuple[str, ...]], ...]
    grouping: tuple[Key, ...] = ()
    columns: tuple[Key, ...] = ()
    order: tuple[Key, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A named part of a workspace.

    columns, rows: how many panels stand side by side, and how many rows are shown at once.
    groups_of_runs: its plots have the groups of the run set, and not their own.
    """

    name: str
    panels: tuple[Panel, ...]
    is_open: bool = True
    columns: int = 3
    rows: int = 1
    groups_of_runs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A saved view of a project: one run set, and sections of panels that show it."""

    title: str
    runs: Runs
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading of a report, which its table of contents lists."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Callout:
    """A sentence that stands out."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Panels of a report with a run set of their own."""

    runs: Runs
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A report of Weights & Biases: text and panels, top to bottom."""

    title: str
    description: str
    blocks: tuple[Heading | Callout | Text | Grid, ...]

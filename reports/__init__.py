"""What a study came to: tidy frames, paired statistics, verdicts and the files of a report. No torch."""

from .cells import cell_table, outcomes_of
from .claims import claim_table
from .contrasts import contrast_table
from .crossed import CrossedDifference, binomial_error, crossed_bootstrap
from .examples import CorrectTable, crossed_table, crossed_table_of, load_correct
from .files import write_report
from .frame import load_curves, load_plan, load_trials
from .markdown import to_markdown
from .planning import planning_lines
from .report import Report, build_report
from .statistics import import_statistics
from .terminal import print_report

__all__ = [
    "CorrectTable",
    "CrossedDifference",
    "Report",
    "binomial_error",
    "build_report",
    "cell_table",
    "claim_table",
    "contrast_table",
    "crossed_bootstrap",
    "crossed_table",
    "crossed_table_of",
    "import_statistics",
    "load_correct",
    "load_curves",
    "load_plan",
    "load_trials",
    "outcomes_of",
    "planning_lines",
    "print_report",
    "to_markdown",
    "write_report",
]

"""What a study came to: tidy frames, paired statistics, verdicts and the files of a report. No torch."""

from .cells import cell_table, outcomes_of
from .claims import claim_table
from .compare import Changes, compare_reports, print_changes
from .contrasts import contrast_table
from .crossed import CrossedDifference, binomial_error, crossed_bootstrap
from .document import to_document, to_json
from .examples import CorrectTable, crossed_table, crossed_table_of, load_correct
from .figures import figures_of, import_figures
from .files import write_report
from .frame import load_curves, load_plan, load_trials
from .latex import to_latex
from .markdown import to_markdown
from .page import to_html
from .planning import planning_lines
from .report import Report, build_report
from .statistics import import_statistics
from .terminal import print_report

__all__ = [
    "Changes",
    "CorrectTable",
    "CrossedDifference",
    "Report",
    "binomial_error",
    "build_report",
    "cell_table",
    "claim_table",
    "compare_reports",
    "contrast_table",
    "crossed_bootstrap",
    "crossed_table",
    "crossed_table_of",
    "figures_of",
    "import_figures",
    "import_statistics",
    "load_correct",
    "load_curves",
    "load_plan",
    "load_trials",
    "outcomes_of",
    "planning_lines",
    "print_changes",
    "print_report",
    "to_document",
    "to_html",
    "to_json",
    "to_latex",
    "to_markdown",
    "write_report",
]

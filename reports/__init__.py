"""What a study came to: tidy frames, paired statistics, verdicts and the files of a report. No torch."""

import ablation_suite  # noqa: F401 -- the names of the suite's packages are the suite's from here on

from .analysis.cells import cell_table, outcomes_of
from .analysis.claims import claim_table
from .analysis.contrasts import contrast_table
from .analysis.correct_examples import CorrectTable, crossed_table, crossed_table_of, load_correct
from .analysis.frame import load_curves, load_plan, load_trials
from .analysis.planning import planning_lines
from .compare import Changes, compare_reports, print_changes
from .figures import figures_of
from .formats.json_document import to_document, to_json
from .formats.latex import to_latex
from .formats.markdown import to_markdown
from .formats.terminal import print_report
from .page import to_html
from .report import Report, build_report
from .statistics.crossed import CrossedDifference, binomial_error, crossed_bootstrap
from .write import import_libraries, write_report

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
    "import_libraries",
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

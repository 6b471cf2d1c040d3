"""Reports of studies: tidy frames, paired statistics, verdicts and files. Does not import torch."""

import ablation_suite  # noqa: F401 -- from here on, our package names are not shadowed

from .analysis.cells import cell_table, collect_outcomes
from .analysis.claims import claim_table
from .analysis.contrasts import contrast_table
from .analysis.correct_examples import (
    CorrectExamples,
    load_correct_examples,
    load_seed_and_example_variance,
    seed_and_example_variance_table,
)
from .analysis.frame import load_curves, load_plan, load_trials
from .analysis.power_analysis import describe_power
from .compare import Changes, compare_reports, print_changes
from .figures import figures_of
from .formats.json_document import to_document, to_json
from .formats.latex import to_latex
from .formats.markdown import to_markdown
from .formats.terminal import print_report
from .page import to_html
from .report import Report, build_report
from .statistics.seed_and_example_variance import (
    SeedAndExampleVariance,
    binomial_error,
    estimate_seed_and_example_variance,
)
from .write import import_libraries, write_report

__all__ = [
    "Changes",
    "CorrectExamples",
    "Report",
    "SeedAndExampleVariance",
    "binomial_error",
    "build_report",
    "cell_table",
    "claim_table",
    "collect_outcomes",
    "compare_reports",
    "contrast_table",
    "describe_power",
    "estimate_seed_and_example_variance",
    "figures_of",
    "import_libraries",
    "load_correct_examples",
    "load_curves",
    "load_plan",
    "load_seed_and_example_variance",
    "load_trials",
    "print_changes",
    "print_report",
    "seed_and_example_variance_table",
    "to_document",
    "to_html",
    "to_json",
    "to_latex",
    "to_markdown",
    "write_report",
]

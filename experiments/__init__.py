"""What is varied, and getting it trained: studies, designs, pairing, runners and the ledger."""

import ablation_suite  # noqa: F401 -- the names of the suite's packages are the suite's from here on

from .errors import DirectoryError, InputError, LedgerError, Problem, StudyError
from .execution.find_trial import find_trial
from .execution.options import RunOptions
from .execution.run import Outcome, run
from .execution.run_trial import TrialOutcome, run_trial
from .execution.sinks import Sink
from .gradients import GradientCheck, ParameterCheck, check_gradients
from .ledger.ledger import Ledger
from .study.design import Cell, build_cells
from .study.parse import load_study, parse_study, shipped_studies
from .study.study import Claim, Factor, Level, Metric, Study
from .trials.trial import Correct, EpochEnded, Group, Result, Trial, TrialStatus

__all__ = [
    "Cell",
    "Claim",
    "Correct",
    "DirectoryError",
    "EpochEnded",
    "Factor",
    "GradientCheck",
    "Group",
    "InputError",
    "Ledger",
    "LedgerError",
    "Level",
    "Metric",
    "Outcome",
    "ParameterCheck",
    "Problem",
    "Result",
    "RunOptions",
    "Sink",
    "Study",
    "StudyError",
    "Trial",
    "TrialOutcome",
    "TrialStatus",
    "build_cells",
    "check_gradients",
    "find_trial",
    "load_study",
    "parse_study",
    "run",
    "run_trial",
    "shipped_studies",
]

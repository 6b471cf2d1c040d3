"""What is varied, and getting it trained: studies, designs, pairing, runners and the ledger."""

from .design import Cell, cells_of
from .driver import Patience
from .errors import DirectoryError, InputError, LedgerError, Problem, StudyError
from .gradients import GradientCheck, ParameterCheck, check_gradients
from .ledger import Ledger
from .one_trial import TrialOutcome, find_trial, run_trial
from .run import Outcome, run
from .study import Claim, Factor, Level, Metric, Study
from .study_file import load_study, parse_study, shipped_studies
from .trial import Correct, EpochEnded, Group, Result, Trial

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
    "Patience",
    "Problem",
    "Result",
    "Study",
    "StudyError",
    "Trial",
    "TrialOutcome",
    "cells_of",
    "check_gradients",
    "find_trial",
    "load_study",
    "parse_study",
    "run",
    "run_trial",
    "shipped_studies",
]

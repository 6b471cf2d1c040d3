"""Functions that processes of tests call: one trial, or the command."""

import sys
import time

from ablate.commands import main
from experiments import load_study, run_trial
from experiments.ledger.study_folder import lock_folder


def train_one(study_path, trial, directory, answers):
    """Train a trial, and send (process, True if it was trained, True if its result counts)."""
    outcome = run_trial(load_study(study_path), trial, directory)
    answers.put((outcome.trial.trial_id, outcome.was_trained, outcome.is_counted))


def ablate(*arguments):
    """Run the command, and exit with its code."""
    sys.exit(main(arguments))


def hold(directory, path, seconds):
    """Hold the lock of a folder, and keep a file while it is held."""
    with lock_folder(directory):
        path.touch()
        time.sleep(seconds)
        path.unlink()

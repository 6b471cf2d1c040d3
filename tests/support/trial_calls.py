"""What processes of tests call: one trial, or the command."""

import sys
import time

from ablate.commands import main
from experiments import load_study, run_trial
from experiments.ledger.study_folder import lock_folder


def train_one(study_path, trial, directory, answers):
    """Train a trial, and tell (process, whether it was trained, whether its result counts)."""
    outcome = run_trial(load_study(study_path), trial, directory)
    answers.put((outcome.trial.trial_id, outcome.was_trained, outcome.is_counted))


def ablate(*arguments):
    """The command, ending with its exit code."""
    sys.exit(main(arguments))


def hold(directory, path, seconds):
    """Hold a folder's lock, and leave a file as long as that lasts."""
    with lock_folder(directory):
        path.touch()
        time.sleep(seconds)
        path.unlink()

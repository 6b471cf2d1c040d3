"""Sweep file of Weights & Biases: a grid over a study's trials, each of which an agent trains with `ablate trial`.

W&B distributes the trials. Their configuration is the study's, and the results are in the ledger of its folder.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from experiments.errors import InputError
from experiments.study.study import Study
from experiments.text import escape_controls
from experiments.trials.trial import Trial

from .destination import LONGEST_NAME, ONLINE, Destination
from .run_content import get_metric_key

HEADER = "# Written by `ablate wandb sweep`."
_HOW = """\
# `wandb sweep FILE` creates the sweep and prints the command of its agents; start agents in this folder, on any
# machine that has it. A trial that has a result is not trained again. W&B ends an agent after three failed trials;
# WANDB_AGENT_DISABLE_FLAPPING=true prevents this."""
_GOALS = {"max": "maximize", "min": "minimize"}
_VALUES = "${args_no_hyphens}"  # an agent replaces it by trial=VALUE


def format_sweep(study: Study, trials: Sequence[Trial], destination: Destination, command: Sequence[str]) -> str:
    """Return the sweep file: YAML with one parameter, `trial`, whose values are the trials, seed by seed.

    Args:
        study: the study.
        trials: the study's plan.
        destination: destination of the sweep's runs.
        command: command of an agent; see `build_agent_command`.
    """
    config = {
        # Not part of the command, but the agent expects the key.
        "program": "ablate",
        "name": study.name[:LONGEST_NAME],
        "description": study.question,
        "project": destination.project,
        **({"entity": destination.entity} if destination.entity is not None else {}),
        "method": "grid",
        "metric": {"name": get_metric_key(study.metric.name), "goal": _GOALS[study.metric.goal]},
        "command": list(command),
    }
    by_seed = sorted(trials, key=lambda trial: trial.seed)  # stable, so that pairs are complete early
    lines = [
        HEADER,
        _HOW,
        yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110).rstrip(),
        "parameters:",
        "  trial:",
        "    values:",
        *(f'    - "{quote_trial_id(trial.trial_id)}"  # {escape_controls(str(trial))}' for trial in by_seed),
    ]
    return "\n".join(lines) + "\n"


def quote_trial_id(trial_id: str) -> str:
    """Return a trial's value in a sweep: its id, in quotes if the id reads as a number.

    One id in a thousand does. `wandb sweep` rewrites the file for the server, without quotes around 12e45, which YAML
    1.1 does not need. YAML 1.2 reads a number there, and the agent would receive 1.2e+46.

    >>> quote_trial_id("52c5d6a0cd826b15"), quote_trial_id("123456789012e345"), quote_trial_id("1234567890123456")
    ('52c5d6a0cd826b15', "'123456789012e345'", "'1234567890123456'")
    """
    try:
        float(trial_id)
    except ValueError:
        return trial_id
    return f"'{trial_id}'"


def build_agent_command(
    study: str,
    directory: Path,
    *,
    seeds: int | None = None,
    changes: Sequence[str] = (),
    data_dir: Path | None = None,
) -> list[str]:
    """Return the command with which an agent trains a trial, as a list of arguments without a shell.

    Paths are absolute, so that an agent started elsewhere uses the same folder.

    Args:
        study: name of a study or path of its file, as given to the command.
        directory: study folder.
        seeds: --seeds of the command.
        changes: each --set of the command.
        data_dir: --data-dir of the command.
    """
    path = Path(study)
    words = ["ablate", "trial", str(path.absolute()) if path.suffix or path.exists() else study, _VALUES]
    words += ["--out", str(directory.absolute()), "--wandb", ONLINE]
    if seeds is not None:
        words += ["--seeds", str(seeds)]
    for change in changes:
        words += ["--set", change]
    if data_dir is not None:
        words += ["--data-dir", str(data_dir.absolute())]
    return words


def write_sweep(path: Path, text: str) -> None:
    """Write the file, unless a file of another origin has its name.

    Raises:
        InputError: if there is such a file, or it cannot be written.
    """
    try:
        if path.exists() and not path.read_bytes().startswith(HEADER.encode()):
            raise InputError(f"--file {path}: exists, and this command has not written it; give another name")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--file {path}: cannot be written: {error.strerror or error}") from error

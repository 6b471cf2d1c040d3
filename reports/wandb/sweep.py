"""A study as a sweep of Weights & Biases: a grid of exactly its trials, each of which an agent runs by `ablate trial`.

W&B hands out trials, our configuration trains them and the ledger of the study's folder holds the results.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from experiments.errors import InputError
from experiments.study.study import Study
from experiments.text import visible
from experiments.trials.trial import Trial

from .destination import LONGEST_NAME, ONLINE, Place
from .run_content import metric_key

HEADER = "# Written by `ablate wandb sweep`."
_HOW = """\
# `wandb sweep FILE` makes the sweep and names its agents; start those in this folder, on any machine that sees it.
# A trial that has a result is not trained again. Where W&B ends an agent after three failed trials,
# WANDB_AGENT_DISABLE_FLAPPING=true lets it go on."""
_GOALS = {"max": "maximize", "min": "minimize"}
_VALUES = "${args_no_hyphens}"  # which an agent replaces by trial=VALUE


def sweep_text(study: Study, trials: Sequence[Trial], place: Place, command: Sequence[str]) -> str:
    """The sweep file: YAML whose parameter `trial` has the trials as its values, seed by seed.

    Arguments:
        study: the study.
        trials: its plan.
        place: where the sweep's runs go.
        command: what an agent runs; see `agent_command`.
    """
    config = {
        # No part of the command; but the agent looks it up in what the server sends, which has it from here.
        "program": "ablate",
        "name": study.name[:LONGEST_NAME],
        "description": study.question,
        "project": place.project,
        **({"entity": place.entity} if place.entity is not None else {}),
        "method": "grid",
        "metric": {"name": metric_key(study.metric.name), "goal": _GOALS[study.metric.goal]},
        "command": list(command),
    }
    by_seed = sorted(trials, key=lambda trial: trial.seed)  # stable: pairs are complete early
    lines = [
        HEADER,
        _HOW,
        yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110).rstrip(),
        "parameters:",
        "  trial:",
        "    values:",
        *(f'    - "{trial_value(trial.trial_id)}"  # {visible(str(trial))}' for trial in by_seed),
    ]
    return "\n".join(lines) + "\n"


def trial_value(trial_id: str) -> str:
    """How a trial stands in a sweep: by its id, in quotes of its own where the id reads as a number.

    One in a thousand ids does. `wandb sweep` writes the file anew for the server, without the quotes that YAML 1.1 does
    not need around 12e45; YAML 1.2 reads that as a number there, and the agent would be given 1.2e+46.

    >>> trial_value("52c5d6a0cd826b15"), trial_value("123456789012e345"), trial_value("1234567890123456")
    ('52c5d6a0cd826b15', "'123456789012e345'", "'1234567890123456'")
    """
    try:
        float(trial_id)
    except ValueError:
        return trial_id
    return f"'{trial_id}'"


def agent_command(
    study: str,
    directory: Path,
    *,
    seeds: int | None = None,
    changes: Sequence[str] = (),
    data_dir: Path | None = None,
) -> list[str]:
    """What an agent runs for a trial, word by word; no shell sees it.

    Paths are absolute, so that an agent started elsewhere does not quietly fill another folder.

    Arguments:
        study: a study's name or the path of its file, as the command was given it.
        directory: the study's folder.
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
    """Write the file; one that somebody else wrote stays.

    Raises:
        InputError: when there is such a file, or it cannot be written.
    """
    try:
        if path.exists() and not path.read_bytes().startswith(HEADER.encode()):
            raise InputError(f"--file {path}: is there already, and not a file of this command; give another name")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--file {path}: cannot be written: {error.strerror or error}") from error

"""Selection of one trial of a plan by a text: its id, the beginning of its id, or its levels and seed."""

import contextlib
import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from experiments.errors import InputError
from experiments.ledger.study_folder import LEDGER, open_ledger
from experiments.study.study import Study
from experiments.text import describe_choices
from experiments.trials.trial import Trial

_MAX_SHOWN = 5
_MIN_ID_CHARACTERS = 4  # a shorter text is more likely the index of a job


def find_trial(trials: Sequence[Trial], text: str, study: Study, directory: Path | None = None) -> Trial:
    """Find the trial that a text names.

    Args:
        trials: trials of the plan.
        text: the trial's id or the beginning of it; `trial=` and the id, as a W&B agent writes it; or as many of its
            levels and its seed as distinguish it, as in "activation=relu,seed=3".
        study: the study, whose factors the text may name.
        directory: the study's folder, which may hold such a trial of another plan; the message then says so.

    Raises:
        InputError: the text names no trial, or more than one; the message lists them.
    """
    wanted = _unquote(text.strip().removeprefix("trial="))
    if len(wanted) < _MIN_ID_CHARACTERS and "=" not in wanted:
        raise InputError(
            f"TRIAL {text!r}: is too short; give at least {_MIN_ID_CHARACTERS} characters of the id, or levels and a "
            f"seed, as in {_format_example(trials[0])!r}"
        )
    matches = [trial for trial in trials if trial.trial_id.startswith(wanted)]
    matches = matches or [trial for trial in trials if wanted in {str(trial), _format_example(trial)}]
    if not matches and "=" in wanted:
        matches = _find_by_levels(trials, wanted, study)
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = "".join(f"\n  {trial.trial_id}  {trial}" for trial in matches[:_MAX_SHOWN])
        more = f"\n  and {len(matches) - _MAX_SHOWN} more" if len(matches) > _MAX_SHOWN else ""
        raise InputError(f"TRIAL {text!r}: matches {len(matches)} trials; give more of it{shown}{more}")
    if directory is not None and _is_in_folder(wanted, directory):
        raise InputError(
            f"TRIAL {text!r}: is a trial of {directory}, but not of this plan; give the --seeds and --set with which "
            "it was planned"
        )
    beginnings = {trial.trial_id[: len(wanted)]: trial for trial in trials}
    near = difflib.get_close_matches(wanted, beginnings, n=1)
    hint = f"did you mean {beginnings[near[0]].trial_id}? " if near else ""
    raise InputError(
        f"TRIAL {text!r}: no trial of {study.name!r} has an id that begins with it; {hint}`ablate wandb sweep` lists "
        f"the {len(trials)} trials of the study with their ids. Or give levels and a seed, as in "
        f"{_format_example(trials[0])!r}"
    )


def _find_by_levels(trials: Sequence[Trial], text: str, study: Study) -> list[Trial]:
    """Return the trials that have all levels in the text; a level's name may contain commas and equals signs."""
    names = [*(factor.name for factor in study.factors), "seed"]
    head = text.partition("=")[0].strip()
    if head not in names:
        raise InputError(
            f"TRIAL {text!r}: {head!r} is no factor of {study.name!r}{describe_choices(head, names, 'factors')}"
        )
    starts = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    parts = re.split(rf"(?:^|,)\s*({starts})\s*=", text)[1:]
    wanted = {name: level.strip() for name, level in zip(parts[::2], parts[1::2], strict=True)}
    for name, level in wanted.items():
        accepted = list(dict.fromkeys(_get_level(trial, name) for trial in trials))
        if level not in accepted:
            kind = "seed" if name == "seed" else f"level of {name}"
            raise InputError(f"TRIAL {text!r}: {level!r} is no {kind}{describe_choices(level, accepted)}")
    matches = [trial for trial in trials if all(_get_level(trial, name) == level for name, level in wanted.items())]
    if not matches:
        raise InputError(f"TRIAL {text!r}: the design of {study.name!r} has no such cell")
    return matches


def _get_level(trial: Trial, factor: str) -> str:
    return str(trial.seed) if factor == "seed" else trial.levels[factor]


def _format_example(trial: Trial) -> str:
    return ",".join([*(f"{factor}={level}" for factor, level in trial.levels.items()), f"seed={trial.seed}"])


def _unquote(text: str) -> str:
    """Remove quotes around a whole text: a sweep quotes an id that reads as a number.

    >>> [_unquote(text) for text in ("'12e45'", "a='q'", "x")]
    ['12e45', "a='q'", 'x']
    """
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if is_quoted else text


def _is_in_folder(prefix: str, directory: Path) -> bool:
    if not (directory / LEDGER).exists():
        return False
    with contextlib.suppress(InputError), open_ledger(directory) as ledger:
        ledger.trial(prefix)
        return True
    return False

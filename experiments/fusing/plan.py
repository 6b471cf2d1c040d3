"""A study's trials become groups: those built alike together, in chunks, and each other one alone with its reason."""

from collections.abc import Sequence
from typing import Any

from experiments.build import make_data, make_model
from experiments.seeding import seed_global_generators
from experiments.trial import Group, NotFused, Result, Trial

from .group import structure, why_alone
from .loop import train_group
from .step import NotFusable

MOST_TOGETHER = 64  # beyond this a trial gets no cheaper on a CPU, and more is lost when a group is interrupted
NO_OTHER = "no other trial is built alike"


def group_trials(trials: Sequence[Trial], num_places: int) -> list[Group]:
    """All trials, in groups: fused ones first, neighbours kept together, in at least as many chunks as places.

    Arguments:
        trials: in the order in which their results are wanted.
        num_places: how many groups are trained at the same time.
    """
    found: dict[int, tuple[str | None, str]] = {}
    alike: dict[str, list[Trial]] = {}
    alone: list[Group] = []
    for trial in trials:
        if id(trial.config) not in found:
            found[id(trial.config)] = _looked_at(trial)
        reason, key = found[id(trial.config)]
        if reason is None:
            alike.setdefault(key, []).append(trial)
        else:
            alone.append(Group(trials=(trial,), why_alone=reason))
    fused: list[Group] = []
    for members in alike.values():
        if len(members) == 1:
            alone.append(Group(trials=tuple(members), why_alone=NO_OTHER))
            continue
        num_chunks = max(-(-len(members) // MOST_TOGETHER), min(num_places, len(members) // 2))
        size = -(-len(members) // num_chunks)
        chunks = [members[first : first + size] for first in range(0, len(members), size)]
        fused += [Group(trials=tuple(chunk), is_fused=True) for chunk in chunks]
    return [*fused, *alone]


def train_together(trials: Sequence[Trial], emit: Any) -> list[tuple[str, Result]] | NotFused:
    """Results of a group by trial id, or why it is to be trained alone after all.

    Out of memory halves the group and tries again. Whatever else goes wrong, in the user's code too, may be the doing
    of one trial, so each is then trained alone and gets its own outcome.
    """
    try:
        return list(train_group(trials, emit).items())
    except NotFusable as finding:
        return NotFused(reason=str(finding))
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate" in str(error)
        if is_memory and len(trials) > 1:
            half = len(trials) // 2
            results: list[tuple[str, Result]] = []
            for part in (trials[:half], trials[half:]):
                of_part = train_together(part, emit)
                if isinstance(of_part, NotFused):
                    return of_part
                results += of_part
            return results
        return NotFused(reason=_first_line(error))
    except Exception as error:  # noqa: BLE001 -- a user's module may raise anything
        return NotFused(reason=_first_line(error))


def _looked_at(trial: Trial) -> tuple[str | None, str]:
    seed_global_generators(trial.seed)
    data = make_data(trial.config)
    model = make_model(trial.config, data)
    reason = why_alone(trial.config, model, data)
    return reason, structure(trial.config, model) if reason is None else ""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"together they raise {type(error).__name__}: {lines[0] if lines else ''}"

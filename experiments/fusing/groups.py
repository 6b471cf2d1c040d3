"""Groups of trials: those of equal structure are fused, in chunks; each of the others is trained unfused."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from experiments.config.instantiate import make_data, make_model
from experiments.training.step_harness import describe_error
from experiments.training.streams import TrialStreams
from experiments.trials.trial import Group, NotFused, Result, Trial

from .admit.structure import describe_structure, find_reason_not_fusable, has_convolutions
from .reasons import NotFusable, OtherShapes
from .trainer import train_in_one_loop

_MAX_ON_CPU = 64
"""Trials in a group on a CPU; more make none of them cheaper, and more is lost when a group is interrupted."""

_MAX_ON_GPU = 512
"""Trials in a group on a GPU; a group that does not fit into its memory is halved."""

CONVOLUTIONS = "on a CPU, convolutions are faster one trial at a time"
_NO_OTHER = "no other trial has the same structure"
_OWN_VOCABULARY = "; if each seed has its own vocabulary, a vocabulary_size in the data gives all seeds one shape"


def group_trials(trials: Sequence[Trial], num_slots: int, *, only_where_faster: bool = False) -> list[Group]:
    """Put all trials into groups, fused ones first, in at least as many chunks as slots.

    Args:
        trials: in the order in which their results are wanted; neighbours stay together.
        num_slots: how many groups are trained at the same time.
        only_where_faster: whether trials that could be fused are not where that would be slower.
    """
    examined: dict[int, tuple[str | None, str]] = {}
    by_structure: dict[str, list[Trial]] = {}
    unfused: list[Group] = []
    for trial in trials:
        if id(trial.config) not in examined:
            examined[id(trial.config)] = _examine(trial, only_where_faster=only_where_faster)
        reason, structure = examined[id(trial.config)]
        if reason is None:
            by_structure.setdefault(structure, []).append(trial)
        else:
            unfused.append(Group(trials=(trial,), reason_not_fusable=reason))
    fused: list[Group] = []
    for members in by_structure.values():
        if len(members) == 1:
            unfused.append(Group(trials=tuple(members), reason_not_fusable=_NO_OTHER))
            continue
        fused += [Group(trials=tuple(chunk), is_fused=True) for chunk in _make_chunks(members, num_slots)]
    return [*fused, *unfused]


def train_fused(trials: Sequence[Trial], emit: Any) -> list[tuple[str, Result]] | NotFused:
    """Train a group. Return results by trial id, or the reason why its trials have to be trained unfused.

    If memory does not suffice, the group is halved; if trials have different shapes, it is split by shape. Any other
    error, in the user's code too, may come from one trial, so each trial is then trained unfused with its own outcome.
    """
    try:
        return list(train_in_one_loop(trials, emit).items())
    except NotFusable as finding:
        return NotFused(reason=str(finding))
    except OtherShapes as finding:
        return _train_by_shape(trials, finding, emit)
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate" in str(error)
        if is_memory and len(trials) > 1:
            return _train_parts(_split(trials, 2), emit)
        return NotFused(reason=f"fused training raises {describe_error(error)}")
    except Exception as error:  # noqa: BLE001 -- a user's module may raise anything
        return NotFused(reason=f"fused training raises {describe_error(error)}")


def _train_by_shape(trials: Sequence[Trial], finding: OtherShapes, emit: Any) -> list[tuple[str, Result]] | NotFused:
    by_shape: dict[str, list[Trial]] = {}
    for trial in trials:
        by_shape.setdefault(finding.shapes_by_trial[trial.trial_id], []).append(trial)
    if max(map(len, by_shape.values())) == 1:
        return NotFused(reason=f"{finding}{_OWN_VOCABULARY if 'parameters' in str(finding) else ''}")
    return _train_parts([*by_shape.values()], emit)


def _train_parts(parts: Sequence[Sequence[Trial]], emit: Any) -> list[tuple[str, Result]] | NotFused:
    """Return the results of all parts, or the reason why one of them cannot be fused."""
    results: list[tuple[str, Result]] = []
    for part in parts:
        outcome = train_fused(part, emit)
        if isinstance(outcome, NotFused):
            return outcome
        results += outcome
    return results


def _is_on_gpu(trial: Trial) -> bool:
    return trial.config["trainer"].get("accelerator") in {"auto", "gpu", "cuda"} and torch.cuda.is_available()


def _make_chunks(trials: Sequence[Trial], num_slots: int) -> list[list[Trial]]:
    """Split trials into chunks that keep all slots busy to the end, none of them too large."""
    num_chunks = -(-len(trials) // (_MAX_ON_GPU if _is_on_gpu(trials[0]) else _MAX_ON_CPU))
    num_chunks = -(-num_chunks // num_slots) * num_slots
    return _split(trials, min(num_chunks, len(trials) // 2))


def _split(trials: Sequence[Trial], num_parts: int) -> list[list[Trial]]:
    """Split trials into parts of about one size.

    The trials of a seed stay together, since they share their batches. With fewer seeds than parts, those of a cell do.
    """
    by_seed: dict[object, list[Trial]] = {}
    by_cell: dict[object, list[Trial]] = {}
    for trial in trials:
        by_seed.setdefault(trial.seed, []).append(trial)
        by_cell.setdefault(id(trial.config), []).append(trial)
    bundles = [*max(by_seed, by_cell, key=len).values()] if len(by_seed) < num_parts else [*by_seed.values()]
    num_parts = min(num_parts, len(bundles))
    bounds = [round(len(bundles) * part / num_parts) for part in range(num_parts + 1)]
    return [[trial for bundle in bundles[start:stop] for trial in bundle] for start, stop in itertools.pairwise(bounds)]


def _examine(trial: Trial, *, only_where_faster: bool) -> tuple[str | None, str]:
    """Build a trial's module. Return the reason why it cannot be fused, or None and its structure."""
    TrialStreams(trial.seed).data()
    data = make_data(trial.config)
    model = make_model(trial.config, data)
    reason = find_reason_not_fusable(trial.config, model, data)
    if reason is None and only_where_faster and not _is_on_gpu(trial) and has_convolutions(model):
        reason = CONVOLUTIONS
    return reason, describe_structure(trial.config, model) if reason is None else ""

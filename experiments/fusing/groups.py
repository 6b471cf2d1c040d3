"""A study's trials become groups: those built alike together, in chunks, and each other one alone with its reason."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from experiments.config.instantiate import make_data, make_model
from experiments.training.step_harness import describe_error
from experiments.training.streams import TrialStreams
from experiments.trials.trial import Group, NotFused, Result, Trial

from .admit.structure import has_convolutions, structure, why_alone
from .reasons import NotFusable, OtherShapes
from .trainer import train_in_one_loop

MOST_TOGETHER = 64
"""Beyond this a trial gets no cheaper on a CPU, and more is lost when a group is interrupted."""

MOST_ON_GPU = 512
"""A GPU wants more, and what does not fit into its memory is halved."""

CONVOLUTIONS = "on a CPU, convolutions are faster one trial at a time"
NO_OTHER = "no other trial is built alike"
SEEDS_OWN = "; if that is each seed's own vocabulary, a vocabulary_size in the data gives all seeds one shape"


def group_trials(trials: Sequence[Trial], num_slots: int, *, only_where_faster: bool = False) -> list[Group]:
    """All trials, in groups: fused ones first, neighbours kept together, in at least as many chunks as slots.

    Arguments:
        trials: in the order in which their results are wanted.
        num_slots: how many groups are trained at the same time.
        only_where_faster: trials that could fuse stay alone where that is faster.
    """
    found: dict[int, tuple[str | None, str]] = {}
    alike: dict[str, list[Trial]] = {}
    alone: list[Group] = []
    for trial in trials:
        if id(trial.config) not in found:
            found[id(trial.config)] = _looked_at(trial, only_where_faster=only_where_faster)
        reason, key = found[id(trial.config)]
        if reason is None:
            alike.setdefault(key, []).append(trial)
        else:
            alone.append(Group(trials=(trial,), reason_not_fusable=reason))
    fused: list[Group] = []
    for members in alike.values():
        if len(members) == 1:
            alone.append(Group(trials=tuple(members), reason_not_fusable=NO_OTHER))
            continue
        fused += [Group(trials=tuple(chunk), is_fused=True) for chunk in _chunks(members, num_slots)]
    return [*fused, *alone]


def train_fused(trials: Sequence[Trial], emit: Any) -> list[tuple[str, Result]] | NotFused:
    """Results of a group by trial id, or why it is to be trained alone after all.

    Out of memory halves the group and tries again, and tensors of different shapes part it. Whatever else goes
    wrong, in the user's code too, may be the doing of one trial, so each is then trained alone and has its own outcome.
    """
    try:
        return list(train_in_one_loop(trials, emit).items())
    except NotFusable as finding:
        return NotFused(reason=str(finding))
    except OtherShapes as finding:
        return _by_shape(trials, finding, emit)
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate" in str(error)
        if is_memory and len(trials) > 1:
            return _in_parts(_split(trials, 2), emit)
        return NotFused(reason=f"together they raise {describe_error(error)}")
    except Exception as error:  # noqa: BLE001 -- a user's module may raise anything
        return NotFused(reason=f"together they raise {describe_error(error)}")


def _by_shape(trials: Sequence[Trial], finding: OtherShapes, emit: Any) -> list[tuple[str, Result]] | NotFused:
    alike: dict[str, list[Trial]] = {}
    for trial in trials:
        alike.setdefault(finding.of_trials[trial.trial_id], []).append(trial)
    if max(map(len, alike.values())) == 1:
        return NotFused(reason=f"{finding}{SEEDS_OWN if 'parameters' in str(finding) else ''}")
    return _in_parts([*alike.values()], emit)


def _in_parts(parts: Sequence[Sequence[Trial]], emit: Any) -> list[tuple[str, Result]] | NotFused:
    """Results of all parts, or why one of them cannot be trained together."""
    results: list[tuple[str, Result]] = []
    for part in parts:
        of_part = train_fused(part, emit)
        if isinstance(of_part, NotFused):
            return of_part
        results += of_part
    return results


def _is_on_gpu(trial: Trial) -> bool:
    return trial.config["trainer"].get("accelerator") in {"auto", "gpu", "cuda"} and torch.cuda.is_available()


def _chunks(trials: Sequence[Trial], num_slots: int) -> list[list[Trial]]:
    """As many chunks as keep all slots busy to the end, none too large."""
    num_chunks = -(-len(trials) // (MOST_ON_GPU if _is_on_gpu(trials[0]) else MOST_TOGETHER))
    num_chunks = -(-num_chunks // num_slots) * num_slots
    return _split(trials, min(num_chunks, len(trials) // 2))


def _split(trials: Sequence[Trial], num_parts: int) -> list[list[Trial]]:
    """Parts of about one size. The trials of a seed stay together, since they share their batches, or if there are
    fewer seeds than parts, those of a cell do.
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


def _looked_at(trial: Trial, *, only_where_faster: bool) -> tuple[str | None, str]:
    TrialStreams(trial.seed).data()
    data = make_data(trial.config)
    model = make_model(trial.config, data)
    reason = why_alone(trial.config, model, data)
    if reason is None and only_where_faster and not _is_on_gpu(trial) and has_convolutions(model):
        reason = CONVOLUTIONS
    return reason, structure(trial.config, model) if reason is None else ""

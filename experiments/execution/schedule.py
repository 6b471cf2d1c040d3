"""Which group gets the next free slot: the order of the plan, and toward the end the longest first."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from experiments.trials.identity import count_devices
from experiments.trials.trial import Group, Trial

_CLOSE = 2  # a group that takes this share of what is left for each slot, or more, is not put off any longer


class Waiting:
    """An iterator over groups; one that has ended goes on when a group is put back.

    The plan's order is seed by seed, so that pairs are complete early. It is kept as long as all slots have enough to
    do. Once the longest group that waits takes half as long as a slot has left, the longest comes first, so that no
    slot is idle at the end while another has just begun a long one: from then on this is Graham's longest-processing-
    time rule, which ends within 4/3 of the best possible (Graham 1969). Groups that take several slots come before all
    others, since slots must be free at the same time.

    A trial's time is the mean of its cell's finished trials, in this or an earlier command; one of a cell that was
    never trained is taken to last as long as others with as many epochs. The number of parameters is no guide: a
    ConvNet of 18,000 takes eight times as long an epoch as a perceptron of 68,000 (benchmarks/README.md).

    Arguments:
        groups: in the order of the plan.
        num_slots: how many are trained at the same time.
        measured: asked now and then for the seconds of trials by id, where they are known.
    """

    def __init__(
        self, groups: Sequence[Group], num_slots: int, measured: Callable[[], Mapping[str, float]] = dict
    ) -> None:
        self._num_slots = num_slots
        self._measured = measured
        self._groups = OrderedDict((_key(group), group) for group in groups)
        self._several = [group for group in groups if num_slots_of(group) > 1]
        self._seconds: dict[str, float] = {}
        self._longest = self._total = 0.0
        self._num_measured = 0
        self._measure()

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Group:
        if not self._groups:
            raise StopIteration
        if len(self._groups) <= self._num_measured // 2:  # so often that it is right in the end, and never dear
            self._measure()
        key = self._next_key()
        group = self._groups.pop(key)
        seconds = self._seconds.pop(key)
        self._total -= seconds
        if seconds >= self._longest:
            self._longest = max(self._seconds.values(), default=0.0)
        return group

    def put(self, group: Group) -> None:
        """Have a group trained, after those that wait."""
        key = _key(group)
        self._groups[key] = group
        self._seconds[key] = seconds = self._expected(group)
        self._total += seconds
        self._longest = max(self._longest, seconds)
        if num_slots_of(group) > 1:
            self._several.append(group)

    def _next_key(self) -> str:
        if self._several:
            return _key(self._several.pop(0))
        if self._total > _CLOSE * self._longest * self._num_slots:
            return next(iter(self._groups))
        return max(self._seconds, key=self._seconds.__getitem__)  # the first of equal ones

    def _measure(self) -> None:
        """Ask what is known by now, and judge by it what waits."""
        self._known = known = self._measured()
        trials = [trial for group in self._groups.values() for trial in group.trials if trial.trial_id in known]
        num_epochs = sum(map(_epochs, trials))
        self._an_epoch = sum(known[trial.trial_id] for trial in trials) / num_epochs if num_epochs else 1.0
        self._seconds = {key: self._expected(group) for key, group in self._groups.items()}
        self._total = sum(self._seconds.values())
        self._longest = max(self._seconds.values(), default=0.0)
        self._num_measured = len(self._groups)

    def _expected(self, group: Group) -> float:
        """How long a group will take, in seconds; in epochs as long as nothing is known."""
        known = self._known
        return sum(known.get(trial.trial_id, self._an_epoch * _epochs(trial)) for trial in group.trials)


def num_slots_of(group: Group) -> int:
    """How many slots a group takes: as many as its trials have devices each."""
    return count_devices((group.trials[0].config.get("trainer") or {}).get("devices"))


def _key(group: Group) -> str:
    return group.trials[0].trial_id


def _epochs(trial: Trial) -> float:
    """How long a trial trains: in epochs, or where those are not limited, in steps."""
    trainer = trial.config.get("trainer") or {}
    limits = [trainer.get("max_epochs"), trainer.get("max_steps")]
    found = [float(limit) for limit in limits if isinstance(limit, int) and limit > 0]
    return found[0] if found else 1.0

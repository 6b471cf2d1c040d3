"""Order in which groups are started: that of the plan, and toward the end the longest first."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from experiments.trials.identity import count_devices
from experiments.trials.trial import Group, Trial

_MIN_FITS = 2  # once the longest group fits fewer times into the seconds that each slot has left, it starts next


class Schedule:
    """Iterator over groups in the order in which they start. After its end it continues when a group is added.

    The plan's order is seed by seed, so that pairs are complete early. It is kept as long as all slots have enough to
    do. Once the longest waiting group takes half of the time that each slot has left, the longest is started first, so
    that no slot is idle at the end while another has just started a long group. From then on this is Graham's
    longest-processing-time rule, which ends within 4/3 of the optimum (Graham 1969). Groups that take several slots
    come before all others, since these slots have to be free at the same time.

    The seconds of a trial are the mean over its cell's finished trials, of this command or an earlier one. A cell that
    was never trained is assumed to take as long as others with as many epochs. The number of parameters does not help:
    a ConvNet of 18,000 takes eight times as long per epoch as a perceptron of 68,000 (benchmarks/README.md).

    Args:
        groups: in the order of the plan.
        num_slots: number of slots of the runner.
        get_seconds: returns the seconds of trials by id, where they are known; called several times during the run.
    """

    def __init__(
        self, groups: Sequence[Group], num_slots: int, get_seconds: Callable[[], Mapping[str, float]] = dict
    ) -> None:
        self._num_slots = num_slots
        self._get_seconds = get_seconds
        self._groups = OrderedDict((_get_key(group), group) for group in groups)
        self._wide = [group for group in groups if count_slots(group) > 1]
        self._seconds: dict[str, float] = {}
        self._longest = self._total = 0.0
        self._num_at_estimate = 0
        self._estimate()

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Group:
        if not self._groups:
            raise StopIteration
        if len(self._groups) <= self._num_at_estimate // 2:  # logarithmically often: right at the end, and cheap
            self._estimate()
        key = self._next_key()
        group = self._groups.pop(key)
        seconds = self._seconds.pop(key)
        self._total -= seconds
        if seconds >= self._longest:
            self._longest = max(self._seconds.values(), default=0.0)
        return group

    def add(self, group: Group) -> None:
        """Add a group, after those that wait."""
        key = _get_key(group)
        self._groups[key] = group
        self._seconds[key] = seconds = self._estimate_seconds(group)
        self._total += seconds
        self._longest = max(self._longest, seconds)
        if count_slots(group) > 1:
            self._wide.append(group)

    def _next_key(self) -> str:
        if self._wide:
            return _get_key(self._wide.pop(0))
        if self._total > _MIN_FITS * self._longest * self._num_slots:
            return next(iter(self._groups))
        return max(self._seconds, key=self._seconds.__getitem__)  # the first among equals

    def _estimate(self) -> None:
        """Estimate the seconds of all waiting groups from those known now."""
        self._known = known = self._get_seconds()
        trials = [trial for group in self._groups.values() for trial in group.trials if trial.trial_id in known]
        num_epochs = sum(map(_get_epoch_limit, trials))
        self._epoch_seconds = sum(known[trial.trial_id] for trial in trials) / num_epochs if num_epochs else 1.0
        self._seconds = {key: self._estimate_seconds(group) for key, group in self._groups.items()}
        self._total = sum(self._seconds.values())
        self._longest = max(self._seconds.values(), default=0.0)
        self._num_at_estimate = len(self._groups)

    def _estimate_seconds(self, group: Group) -> float:
        """Return the expected seconds of a group; in units of an epoch as long as none is known."""
        known = self._known
        return sum(known.get(trial.trial_id, self._epoch_seconds * _get_epoch_limit(trial)) for trial in group.trials)


def count_slots(group: Group) -> int:
    """Return the number of slots that a group takes: the number of devices of each of its trials."""
    return count_devices((group.trials[0].config.get("trainer") or {}).get("devices"))


def _get_key(group: Group) -> str:
    return group.trials[0].trial_id


def _get_epoch_limit(trial: Trial) -> float:
    """Return the limit on a trial's epochs, or, where there is none, on its steps."""
    trainer = trial.config.get("trainer") or {}
    limits = [trainer.get("max_epochs"), trainer.get("max_steps")]
    positive = [float(limit) for limit in limits if isinstance(limit, int) and limit > 0]
    return positive[0] if positive else 1.0

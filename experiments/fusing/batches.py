"""The batches of many trials, stacked. Trials of one seed and one data configuration read the same loader once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.seeding import GeneratorStates

from .step import NotFusable


class StackedBatches:
    """Reads one loader a seed in lockstep and gives each trial its seed's batch.

    Arguments:
        loaders: one a seed, each of the same length.
        seed_of_trial: (T,), int64, which loader a trial reads.
    """

    def __init__(self, loaders: Sequence[Any], seed_of_trial: Tensor) -> None:
        lengths = {len(loader) for loader in loaders}
        if len(lengths) != 1:
            raise NotFusable(f"the loaders of its seeds have different numbers of batches: {sorted(lengths)}")
        self._loaders = loaders
        self._seed_of_trial = seed_of_trial
        self._is_one_each = seed_of_trial.tolist() == list(range(len(loaders)))

    def epoch(self, epoch: int, turns: "Turns | NoTurns") -> Iterator[Any]:
        """The batches of one epoch, each tensor (T, B, ...)."""
        iterators = []
        for place, loader in enumerate(self._loaders):
            for name in ("sampler", "batch_sampler"):
                set_epoch = getattr(getattr(loader, name, None), "set_epoch", None)
                if callable(set_epoch):
                    set_epoch(epoch)
            iterators.append(turns.take(place, partial(iter, loader)))
        for _ in range(len(self._loaders[0])):
            yield self._stack([turns.take(place, partial(next, iterator)) for place, iterator in enumerate(iterators)])

    def _stack(self, batches: list[Any]) -> Any:
        stacked = _stacked(batches)
        return stacked if self._is_one_each else mapped(lambda x: x.index_select(0, self._seed_of_trial), stacked)


class Turns:
    """Gives each seed's data the global generators in the state where its own draws left them, as when trained alone.

    Arguments:
        start: restarts the global generators for a seed's place; called once for each place.
        num_places: the number of seeds.
    """

    def __init__(self, start: Callable[[int], None], num_places: int) -> None:
        self._states: list[GeneratorStates] = []
        for place in range(num_places):
            start(place)
            self._states.append(GeneratorStates.now())

    def take(self, place: int, work: Callable[[], Any]) -> Any:
        """Do some work with this place's generators."""
        self._states[place].restore()
        result = work()
        self._states[place] = GeneratorStates.now()
        return result


class NoTurns:
    """For loaders that never draw from the global generators."""

    def take(self, place: int, work: Callable[[], Any]) -> Any:
        """Do some work."""
        return work()


def mapped(function: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """A batch with the function applied to every tensor in it."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: mapped(function, value) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(mapped(function, value) for value in batch)
    raise NotFusable(f"its batches hold a {type(batch).__name__}, which cannot be stacked")


def _stacked(batches: list[Any]) -> Any:
    first = batches[0]
    if isinstance(first, Tensor):
        return torch.stack(batches)
    if isinstance(first, Mapping):
        return {key: _stacked([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple | list):
        return tuple(_stacked(list(items)) for items in zip(*batches, strict=True))
    raise NotFusable(f"its batches hold a {type(first).__name__}, which cannot be stacked")

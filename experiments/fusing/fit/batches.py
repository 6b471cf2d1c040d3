"""The batches of all rows, stacked: each row reads its seed's data, in the order and with the draws that it has alone.

Where a loader looks examples up in tensors, as `DataLoader(TensorDataset(...))` does, only indices are read from it,
and one look-up a batch serves all rows, on the group's device. Any other loader is read as it is.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, default_collate

from experiments.fusing.reasons import NotFusable
from experiments.training.seeding import GeneratorStates
from experiments.training.step_harness import first_size

from .nested_tensors import mapped, stacked


class RowBatches:
    """Reads one loader a seed in lockstep.

    Arguments:
        loaders: one a seed, each of the same length.
        seed_of_row: (R,), which loader a row reads.
        device: where batches are wanted.
        dtype: what their floating-point tensors are to be; None leaves them.
    """

    def __init__(
        self, loaders: Sequence[Any], seed_of_row: Sequence[int], device: torch.device, dtype: torch.dtype | None
    ) -> None:
        lengths = {length_of(loader) for loader in loaders}
        if len(lengths) != 1:
            raise NotFusable(f"the loaders of its seeds have different numbers of batches: {sorted(lengths)}")
        self._length = lengths.pop()
        self._seed_of_row = seed_of_row
        self._device = device
        self._place = partial(placed, device=device, dtype=dtype)
        self._tables = _common_tables(loaders)
        self._collates = getattr(loaders[0], "batch_sampler", None) is not None  # into lists
        self._loaders = loaders if self._tables is None else [_index_loader(loader) for loader in loaders]
        if self._tables is not None:
            self._tables = [self._place(table) for table in self._tables]

    def __len__(self) -> int:
        return self._length

    def epoch(self, epoch: int, generators: "SeedGenerators | NoSeedGenerators") -> Iterator[Any]:
        """The batches of one epoch, each tensor (R, B, ...)."""
        iterators = []
        for place, loader in enumerate(self._loaders):
            for name in ("sampler", "batch_sampler"):
                set_epoch = getattr(getattr(loader, name, None), "set_epoch", None)
                if callable(set_epoch):
                    set_epoch(epoch)
            iterators.append(generators.run(place, partial(iter, loader)))
        for _ in range(self._length):
            of_seeds = [generators.run(place, partial(next, iterator)) for place, iterator in enumerate(iterators)]
            of_rows = [of_seeds[seed] for seed in self._seed_of_row]
            yield mapped(self._place, stacked(of_rows)) if self._tables is None else self._looked_up(of_rows)

    def _looked_up(self, indices: Sequence[Tensor]) -> Any:
        if len({len(of_row) for of_row in indices}) != 1:
            raise NotFusable("the batches of its seeds differ in size")
        together = torch.cat(list(indices)).to(self._device, non_blocking=True)
        assert self._tables is not None
        found = [table.index_select(0, together).view(len(indices), -1, *table.shape[1:]) for table in self._tables]
        return found if self._collates else tuple(found)


class SeedGenerators:
    """States of the global generators for each seed's data, as its own draws left them.

    Args:
        start: restarts the global generators for the seed of an index; called once for each.
        num_seeds: S.
    """

    def __init__(self, start: Callable[[int], None], num_seeds: int) -> None:
        self._states: list[GeneratorStates] = []
        for index in range(num_seeds):
            start(index)
            self._states.append(GeneratorStates.now())

    def run(self, index: int, work: Callable[[], Any]) -> Any:
        """Call a function that may draw from the generators of the seed of this index."""
        self._states[index].restore()
        result = work()
        self._states[index] = GeneratorStates.now()
        return result


class NoSeedGenerators:
    """Stand-in for data that never draw from the global generators."""

    def run(self, index: int, work: Callable[[], Any]) -> Any:
        """Call a function."""
        return work()


def read_first(batches: Iterator[Any], min_batches: int, min_examples: int = 0) -> tuple[list[Any], Iterator[Any]]:
    """Read the first batches of an epoch. Return them, and an iterator over all batches of the epoch.

    Args:
        batches: tensors (R, B, ...).
        min_batches: to be read.
        min_examples: in a row of the batches that are read.
    """
    first: list[Any] = []
    num_examples = 0
    for batch in batches:
        first.append(batch)
        num_examples += first_size(mapped(itemgetter(0), batch))
        if len(first) >= min_batches and num_examples >= min_examples:
            break
    return first, itertools.chain(first, batches)


def length_of(loader: Any) -> int:
    """The number of batches.

    Raises:
        NotFusable: when the loader cannot say.
    """
    try:
        return len(loader)
    except TypeError:
        raise NotFusable("a loader does not know its number of batches") from None


def batch_sizes(loader: Any) -> str:
    """The sizes of a loader's batches, as text. Its sampler may be iterated for them, so it must not draw from the
    global generators. Nothing is said of a loader that cannot be understood.
    """
    if type(loader) is not DataLoader:
        return ""
    if loader.batch_sampler is not None:
        return str((len(loader.sampler), loader.batch_size, loader.drop_last))  # type: ignore[arg-type]
    return str([len(batch) if isinstance(batch, Tensor) and batch.dim() else None for batch in loader.sampler])


def placed(x: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """A tensor on a device, of that type if there is one and it is a floating-point tensor."""
    dtype = x.dtype if dtype is None or not x.is_floating_point() else dtype
    return x if x.device == device and x.dtype == dtype else x.to(device, dtype, non_blocking=True)


class _Numbers(Dataset[Any]):
    """Gives back the indices that it is asked for."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return index


def _common_tables(loaders: Sequence[Any]) -> list[Tensor] | None:
    """The tensors in which all loaders look their examples up; None where they do something else."""
    found = [_tables(loader) for loader in loaders]
    first = found[0]
    if first is None or any(
        other is None or len(other) != len(first) or any(not _is_same(*pair) for pair in zip(first, other, strict=True))
        for other in found[1:]
    ):
        return None
    return list(first)


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one in memory, or small enough to see that they hold the same."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return one is other or one.data_ptr() == other.data_ptr() or torch.equal(one, other)


def _tables(loader: Any) -> tuple[Tensor, ...] | None:
    if type(loader) is not DataLoader or loader.num_workers > 0:
        return None
    dataset = loader.dataset
    while type(dataset) is Subset:
        dataset = dataset.dataset
    if not isinstance(dataset, TensorDataset):
        return None
    if loader.batch_sampler is None:  # indices of whole batches
        is_plain = getattr(dataset, "looks_up_batches", False)
    else:
        is_plain = type(dataset).__getitem__ is TensorDataset.__getitem__ and loader.collate_fn is default_collate
    return dataset.tensors if is_plain else None


def _index_loader(loader: Any) -> Any:
    """The same loader, with the same draws, of indices into the tables instead of examples."""
    numbers = copy.copy(loader)
    chain = []
    dataset = loader.dataset
    while type(dataset) is Subset:
        chain.append(torch.as_tensor(dataset.indices))
        dataset = dataset.dataset

    def into_tables(indices: Any) -> Tensor:
        found = torch.as_tensor(indices)
        for step in chain:
            found = step[found]
        return found

    # Past the loader's own check, which is there to keep sampler and dataset of one length: these are.
    numbers.__dict__.update(dataset=_Numbers(len(loader.dataset)), collate_fn=into_tables, pin_memory=False)
    return numbers

"""Batches of all rows, stacked. Each row reads its seed's data in the order and with the draws of unfused training.

If a loader looks examples up in tensors, as `DataLoader(TensorDataset(...))` does, only indices are read from it, and
one look-up for each batch serves all rows, on the group's device. Any other loader is read directly.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, default_collate

from experiments.fusing.reasons import NotFusable
from experiments.training.seeding import GeneratorStates
from experiments.training.step_harness import first_size

from .nested_tensors import map_tensors, select_row, stack_batches


class RowBatches:
    """Batches of R rows, from one loader for each seed.

    Args:
        loaders: (S,), of equal length.
        seed_of_row: (R,), index of the loader that a row reads.
        device: of the batches.
        dtype: of their floating-point tensors; None leaves them as they are.
    """

    def __init__(
        self, loaders: Sequence[Any], seed_of_row: Sequence[int], device: torch.device, dtype: torch.dtype | None
    ) -> None:
        lengths = {count_batches(loader) for loader in loaders}
        if len(lengths) != 1:
            raise NotFusable(f"the loaders of its seeds have different numbers of batches: {sorted(lengths)}")
        self._length = lengths.pop()
        self._seed_of_row = seed_of_row
        self._device = device
        self._move = partial(move_tensor, device=device, dtype=dtype)
        self._tables = _find_common_tables(loaders)
        self._collates = getattr(loaders[0], "batch_sampler", None) is not None  # into lists
        self._loaders = loaders if self._tables is None else [_make_index_loader(loader) for loader in loaders]
        if self._tables is not None:
            self._tables = [self._move(table) for table in self._tables]

    def __len__(self) -> int:
        return self._length

    def read_epoch(self, epoch: int, generators: "SeedGenerators | NoSeedGenerators") -> Iterator[Any]:
        """Iterate over the batches of one epoch, tensors (R, B, ...)."""
        iterators = []
        for index, loader in enumerate(self._loaders):
            for name in ("sampler", "batch_sampler"):
                set_epoch = getattr(getattr(loader, name, None), "set_epoch", None)
                if callable(set_epoch):
                    set_epoch(epoch)
            iterators.append(generators.run(index, partial(iter, loader)))
        for _ in range(self._length):
            by_seed = [generators.run(index, partial(next, iterator)) for index, iterator in enumerate(iterators)]
            by_row = [by_seed[seed] for seed in self._seed_of_row]
            yield map_tensors(self._move, stack_batches(by_row)) if self._tables is None else self._look_up(by_row)

    def _look_up(self, indices: Sequence[Tensor]) -> Any:
        if len({len(row) for row in indices}) != 1:
            raise NotFusable("the batches of its seeds differ in size")
        all_indices = torch.cat(list(indices)).to(self._device, non_blocking=True)
        assert self._tables is not None
        batch = [table.index_select(0, all_indices).view(len(indices), -1, *table.shape[1:]) for table in self._tables]
        return batch if self._collates else tuple(batch)


class SeedGenerators:
    """States of the global generators for each seed's data, where the draws of that data left them.

    Args:
        start: restarts the global generators for the seed of an index; called once for each.
        num_seeds: S.
    """

    def __init__(self, start: Callable[[int], None], num_seeds: int) -> None:
        self._states: list[GeneratorStates] = []
        for index in range(num_seeds):
            start(index)
            self._states.append(GeneratorStates.capture())

    def run(self, index: int, work: Callable[[], Any]) -> Any:
        """Call a function that may draw from the generators of the seed of this index."""
        self._states[index].restore()
        result = work()
        self._states[index] = GeneratorStates.capture()
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
        num_examples += first_size(select_row(batch, 0))
        if len(first) >= min_batches and num_examples >= min_examples:
            break
    return first, itertools.chain(first, batches)


def count_batches(loader: Any) -> int:
    """Return the number of batches.

    Raises:
        NotFusable: the loader has no length.
    """
    try:
        return len(loader)
    except TypeError:
        raise NotFusable("a loader does not know its number of batches") from None


def describe_batch_sizes(loader: Any) -> str:
    """Return the sizes of a loader's batches as text; "" if they cannot be known.

    Its sampler may be iterated, so it must not draw from the global generators.
    """
    if type(loader) is not DataLoader:
        return ""
    if loader.batch_sampler is not None:
        return str((len(loader.sampler), loader.batch_size, loader.drop_last))  # type: ignore[arg-type]
    return str([len(batch) if isinstance(batch, Tensor) and batch.dim() else None for batch in loader.sampler])


def move_tensor(x: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """Move a tensor to a device, and cast it if a type is given and the tensor is a floating-point one."""
    dtype = x.dtype if dtype is None or not x.is_floating_point() else dtype
    return x if x.device == device and x.dtype == dtype else x.to(device, dtype, non_blocking=True)


class _Indices(Dataset[Any]):
    """Dataset whose examples are their own indices."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return index


def _find_common_tables(loaders: Sequence[Any]) -> list[Tensor] | None:
    """Return the tensors in which all loaders look their examples up; None if they do something else."""
    tables = [_find_tables(loader) for loader in loaders]
    first = tables[0]
    if first is None or any(
        other is None
        or len(other) != len(first)
        or any(not _are_same(*pair) for pair in zip(first, other, strict=True))
        for other in tables[1:]
    ):
        return None
    return list(first)


def _are_same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors share their memory or have equal values."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return one is other or one.data_ptr() == other.data_ptr() or torch.equal(one, other)


def _find_tables(loader: Any) -> tuple[Tensor, ...] | None:
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


def _make_index_loader(loader: Any) -> Any:
    """Return a copy of a loader, with the same draws, of indices into the tables instead of examples."""
    index_loader = copy.copy(loader)
    subsets = []
    dataset = loader.dataset
    while type(dataset) is Subset:
        subsets.append(torch.as_tensor(dataset.indices))
        dataset = dataset.dataset

    def into_tables(indices: Any) -> Tensor:
        into_subset = torch.as_tensor(indices)
        for subset in subsets:
            into_subset = subset[into_subset]
        return into_subset

    # Bypasses the loader's own check that keeps sampler and dataset of one length: these are.
    index_loader.__dict__.update(dataset=_Indices(len(loader.dataset)), collate_fn=into_tables, pin_memory=False)
    return index_loader

"""Data of a fused group: a data module for each seed, made and read in the random streams of that seed.

S seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch import LightningDataModule

from experiments.config.instantiate import make_data
from experiments.fusing.reasons import NotFusable
from experiments.training.streams import TrialStreams
from experiments.trials.trial import Trial

from .batches import NoSeedGenerators, RowBatches, SeedGenerators
from .rows import Rows

_DOUBLE = {"64-true", "64", 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupData:
    """Data modules of a group's seeds, set up.

    seeds: (S,), in ascending order.
    modules: (S,).
    device: of the batches.
    dtype: of the floating-point tensors of batches and models; None leaves them as they are.
    """

    seeds: tuple[int, ...]
    modules: tuple[LightningDataModule, ...]
    device: torch.device
    dtype: torch.dtype | None

    @property
    def uses_global_generators(self) -> bool:
        """Return whether reading the data may draw from the global generators of torch, numpy and Python."""
        return getattr(self.modules[0], "uses_global_generators", True)

    def has_loader(self, split: str) -> bool:
        """Return whether there is a loader of a split ("train", "val" or "test")."""
        loader = f"{split}_dataloader"
        return getattr(type(self.modules[0]), loader) is not getattr(LightningDataModule, loader)

    def make_loaders(self, split: str) -> list[Any]:
        """Make the loaders of a split, (S,).

        Raises:
            NotFusable: the split has several loaders.
        """
        loaders = []
        for module, seed in zip(self.modules, self.seeds, strict=True):
            TrialStreams(seed).late()
            loaders.append(getattr(module, f"{split}_dataloader")())
        if any(isinstance(loader, list | tuple | dict) for loader in loaders):
            raise NotFusable(f"{split}_dataloader returns a {type(loaders[0]).__name__} of loaders")
        return loaders

    def read_in_rows(self, loaders: Sequence[Any], rows: Rows) -> RowBatches:
        """Read loaders (S,) of one split for the rows of a group."""
        seed_of_row = [self.seeds.index(seed) for seed in rows.seeds]
        return RowBatches(loaders, seed_of_row, self.device, self.dtype)

    def start_generators(self, epoch: int | str) -> SeedGenerators | NoSeedGenerators:
        """Return the generators that reading draws from, at the start of an epoch or of the "test"."""
        if not self.uses_global_generators:
            return NoSeedGenerators()
        return SeedGenerators(lambda index: TrialStreams(self.seeds[index]).order(epoch), len(self.seeds))


def set_up_data(trials: Sequence[Trial]) -> GroupData:
    """Make and set up the data of trials that share a data configuration and Trainer arguments.

    Raises:
        NotFusable: the model brings its own loaders.
    """
    config = trials[0].config
    seeds = sorted({trial.seed for trial in trials})
    return GroupData(
        seeds=tuple(seeds),
        modules=tuple(_set_up_module(config, seed) for seed in seeds),
        device=Fabric(accelerator=config["trainer"].get("accelerator") or "auto", devices=1).device,
        dtype=torch.float64 if config["trainer"].get("precision") in _DOUBLE else None,
    )


def _set_up_module(config: Mapping[str, Any], seed: int) -> LightningDataModule:
    streams = TrialStreams(seed)
    streams.data()
    module = make_data(config)
    if module is None:
        raise NotFusable("the model brings its own dataloaders")
    for stage in ("fit", "test"):
        streams.split()
        module.prepare_data()
        module.setup(stage)
    return module

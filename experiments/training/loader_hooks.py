"""Changes to the DataLoaders of a data module, or of a module that brings its own."""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader


def change_loaders(owner: object, split: str, change: Callable[[DataLoader[Any]], None]) -> None:
    """Pass every DataLoader of a split through a function whenever the owner makes them.

    Nothing happens where the owner has no such loader, which Lightning does without.

    Args:
        owner: LightningDataModule or LightningModule.
        split: "train", "val" or "test".
        change: changes a loader in place.
    """
    name = f"{split}_dataloader"
    base = LightningDataModule if isinstance(owner, LightningDataModule) else LightningModule
    original = getattr(owner, name, None)
    is_inherited = name not in vars(owner) and getattr(type(owner), name, None) is getattr(base, name)
    if original is None or is_inherited:
        return

    def dataloader() -> Any:
        loaders = original()
        _change_each(loaders, change)
        return loaders

    object.__setattr__(owner, name, dataloader)


def _change_each(loaders: Any, change: Callable[[DataLoader[Any]], None]) -> None:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if isinstance(loaders, list | tuple):
        for loader in loaders:
            _change_each(loader, change)
    elif isinstance(loaders, DataLoader):
        change(loaders)

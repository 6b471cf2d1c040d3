"""Shapes that all trials of a group must share, of their batches and of their parameters."""

from collections.abc import Sequence

from experiments.fusing.fit.setup import GroupSetup
from experiments.fusing.reading.batches import describe_batch_sizes
from experiments.fusing.reading.group_data import GroupData
from experiments.fusing.reasons import OtherShapes
from experiments.trials.trial import Trial


def check_batch_sizes(trials: Sequence[Trial], data: GroupData) -> None:
    """Compare the sizes of batches between seeds, as far as they are known before a batch is read.

    Raises:
        OtherShapes: they differ.
    """
    if data.uses_global_generators:
        return
    splits = [split for split in ("train", "val", "test") if split == "train" or data.has_loader(split)]
    sizes = [[describe_batch_sizes(loader) for loader in data.make_loaders(split)] for split in splits]
    sizes_of_seed = {seed: str(of_seed) for seed, *of_seed in zip(data.seeds, *sizes, strict=True)}
    if len(set(sizes_of_seed.values())) > 1:
        shapes = {trial.trial_id: sizes_of_seed[trial.seed] for trial in trials}
        raise OtherShapes("batches differ in size", shapes)


def check_shapes(setup: GroupSetup) -> None:
    """Compare the shapes of each parameter and buffer between the trials that have it.

    Raises:
        OtherShapes: they differ.
    """
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for trial, model in zip(setup.rows.trials, setup.models, strict=True):
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            shapes.setdefault(name, {})[trial.trial_id] = tuple(tensor.shape)
    varying = [of_name for of_name in shapes.values() if len(set(of_name.values())) > 1]
    if varying:
        raise OtherShapes(
            "networks have parameters of different shapes",
            {trial.trial_id: str([of_name.get(trial.trial_id) for of_name in varying]) for trial in setup.rows.trials},
        )

"""Random streams of a trial: one seed gives every source of randomness its own draws, whatever the model is.

Two trials with the same seed differ only by their levels, so their difference is a paired one. Streams in the order in
which a trial needs them:

| stream | draws from it |
|---|---|
| data | construction of the data module; a shipped one takes its seed from here, as from `seed_everything` |
| model | initial values, by the name of the parameter: a new layer leaves those of all others unchanged |
| split | the data module's `setup`, before training and again before the test |
| late | layers made only in `setup` or `configure_model`, in order of creation; construction of loaders |
| order | reading of the data (order, augmentation), restarted for each epoch |
| dropout | training of the model, restarted for each epoch |

This holds for any LightningModule and LightningDataModule that draw from torch's, numpy's or Python's global
generators, as stock Lightning code does. The shipped data modules do not need it: they draw from (seed, epoch) alone.
Fused and unfused training, `ablate gradcheck` and planning all take their streams from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from .named_draws import NamedDraws
from .seeding import GeneratorStates, derive_seed, seed_global_generators

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class TrialStreams:
    """Streams of one trial; each method restarts the global generators at the beginning of a stream.

    Args:
        seed: of the trial.
    """

    seed: int

    def data(self) -> None:
        """Start the stream of the data module's construction."""
        seed_global_generators(self.seed)

    def model(self, make: Callable[[], Module]) -> Module:
        """Return the module that `make` builds, with initial values drawn by name; it is called twice."""
        return NamedDraws(self.seed).build(make)

    def split(self) -> None:
        """Start the stream of the split; call before each `setup` of the data module."""
        seed_global_generators(derive_seed(self.seed, "split"))

    def late(self) -> None:
        """Start the stream of layers made after construction, and of making loaders."""
        seed_global_generators(derive_seed(self.seed, "init", "late"))

    def order(self, epoch: int | str) -> None:
        """Start the data's stream of an epoch from 0, or of a split that is read without training ("val", "test")."""
        seed_global_generators(self.order_seed(epoch))

    def order_seed(self, epoch: int | str | None = None) -> int:
        """Return the seed of that stream; None is for all epochs."""
        return derive_seed(self.seed, "order") if epoch is None else derive_seed(self.seed, "order", epoch)

    def order_states(self, epoch: int | str) -> GeneratorStates:
        """Return the generators' states at the beginning of that stream, and leave the generators as they are."""
        before = GeneratorStates.capture()
        self.order(epoch)
        states = GeneratorStates.capture()
        before.restore()
        return states

    def dropout(self, epoch: int, rank: int = 0) -> None:
        """Start the model's stream of an epoch from 0, on one of the trial's devices."""
        seed_global_generators(self.dropout_seed(epoch, rank))

    def dropout_seed(self, epoch: int, rank: int = 0) -> int:
        """Return the seed of that stream."""
        return derive_seed(self.seed, "dropout", epoch, rank) if rank else derive_seed(self.seed, "dropout", epoch)

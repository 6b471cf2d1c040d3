"""The Lightning callback that measures mechanisms at the end of each training epoch.

It works under any Trainer, so the configuration of a trial measures the same in stock LightningCLI. Trials that are
trained together have no Trainer and no callbacks; fit/fused_mechanisms.py does the same for all of them.
"""

import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from experiments.study.mechanisms import DEFAULT_EXAMPLES, find_examples_problem, sort_quantities
from experiments.training.epoch_metrics import Metrics
from experiments.training.module_clone import clone_module
from experiments.training.seeding import kept_generators, seed_global_generators
from experiments.training.step_harness import describe_error, find_loss
from experiments.training.trainer_stub import QuietTrainer

from .activation_drift import Drift
from .generalisation_gap import gaps
from .layer_outputs import weights_of
from .measure import evaluated, probed, update_ratios
from .probe import GAP_BATCH, GAP_EXAMPLES, FirstExamples, num_of_gap, num_wanted, size_of

_said: set[str] = set()


class Mechanisms(Callback):
    """Tells once an epoch what happens inside a network: the metrics mechanism/... and gap/... of docs/mechanisms.md.

    Training goes on as it would without it, bit for bit: the module's steps run on a copy, on examples that training
    read, and no generator moves. A module that it cannot measure is trained all the same, and the reason is told once.

    Args:
        measure: all, or some of gradients, activations, saturation, dead, updates, weights and gap.
        examples: in the probe, the batch on which one pass an epoch is made.

    Raises:
        ValueError: an argument is not accepted.

    >>> Mechanisms(measure=["dead", "gradients"]).measure
    ('gradients', 'dead')
    """

    def __init__(self, measure: list[str] | str = "all", examples: int = DEFAULT_EXAMPLES) -> None:
        try:
            self.measure = sort_quantities(measure)
        except ValueError as error:
            raise ValueError(f"Mechanisms: measure: {error}") from None
        if (what := find_examples_problem(examples)) is not None:
            raise ValueError(f"Mechanisms: examples {what}")
        self.examples = examples
        self._start()

    def _start(self) -> None:
        self._sample = FirstExamples(num_wanted(self.examples, with_gap="gap" in self.measure))
        self._is_collecting = True
        self._has_validated = False
        self._num_validated = 0
        self._cannot: set[str] = set()  # probe, gap
        self._before: dict[str, Tensor] = {}
        self._updates: dict[str, Tensor] = {}
        self._probe: list[Any] = []  # one batch
        self._of_training: list[Any] = []  # batches that are compared with validation
        self._twin: LightningModule | None = None
        self._drift = Drift()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin afresh."""
        self._start()
        if not pl_module.automatic_optimization:
            self._give_up(pl_module, "it optimizes by hand, so its training_step cannot be run without training")
        elif not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            self._give_up(pl_module, f"{type(trainer.strategy).__name__} may keep parts of it on other devices")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the first examples, and of the epoch's last step the weights before it."""
        if self._is_collecting and "probe" not in self._cannot:
            try:
                self._sample.add(batch)
            except ValueError as error:
                self._give_up(pl_module, str(error))
            self._is_collecting = not self._sample.is_full
        if "updates" in self.measure and _is_last(trainer):
            owners = weights_of(pl_module)
            self._before = {
                name: p.detach().clone().unsqueeze(0) for name, p in pl_module.named_parameters() if name in owners
            }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compare the weights with those before the step, if it was one: without a loss there is none."""
        if self._before and find_loss(outputs) is not None:
            after = {name: p.detach().unsqueeze(0) for name, p in pl_module.named_parameters()}
            self._updates = update_ratios(self._before, after)
        self._before = {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from none."""
        self._num_validated = 0

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Count the examples that training is compared with."""
        try:
            self._num_validated += size_of(batch)
        except ValueError:  # of another form than those of training
            self._num_validated += GAP_EXAMPLES

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """There is something to compare training with."""
        self._has_validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and tell."""
        self._is_collecting = False
        metrics: Metrics = {}
        with torch.enable_grad(), kept_generators():
            seed_global_generators(0)  # so that a step draws the same numbers in each epoch
            if "gap" in self.measure and self._has_validated and not {"gap", "probe"} & self._cannot:
                metrics |= self._attempted("gap", self._gaps, trainer, pl_module)
            if {*self.measure} - {"gap"} and "probe" not in self._cannot:
                metrics = self._attempted("probe", self._probed, trainer, pl_module) | metrics
        self._twin = None
        self._has_validated = False
        self._updates = {}
        _tell(trainer, metrics)

    def _attempted(self, what: str, measure: Any, trainer: Trainer, module: LightningModule) -> Metrics:
        try:
            found: Metrics = measure(trainer, module)
        except Exception as error:  # noqa: BLE001 -- a user's module may raise anything
            self._give_up(module, describe_error(error), what)
            return {}
        return found

    def _probed(self, trainer: Trainer, module: LightningModule) -> Metrics:
        if not self._probe:
            self._probe = self._sample.batches(self.examples, self.examples)[:1]
        context = trainer.precision_plugin.train_step_context()
        twin = clone_module(module, QuietTrainer(trainer)) if self._twin is None else self._twin
        found = probed(twin, self._probe[0], self.measure, self._updates, context)
        return found | self._drift.of(found)

    def _gaps(self, trainer: Trainer, module: LightningModule) -> Metrics:
        if not self._of_training:
            self._of_training = self._sample.batches(GAP_BATCH, num_of_gap(self._num_validated))
        twin = clone_module(module, QuietTrainer(trainer))
        train = evaluated(twin, self._of_training, trainer.precision_plugin.val_step_context())
        self._twin = twin  # to be probed too, since to make another takes as long as a pass
        return gaps(train, {name: float(value) for name, value in trainer.callback_metrics.items() if name in train})

    def _give_up(self, module: LightningModule, reason: str, what: str = "probe") -> None:
        """Do without, and say why, once in a process."""
        self._cannot.add(what)
        whose = "the generalisation gap" if what == "gap" else "mechanisms"
        sentence = f"{whose} of {type(module).__name__} cannot be measured, and it trains without: {reason}"
        if sentence not in _said:
            _said.add(sentence)
            warnings.warn(sentence, stacklevel=2)


def _is_last(trainer: Trainer) -> bool:
    """Whether the step that comes is the last of the epoch."""
    return trainer.is_last_batch or trainer.global_step + 1 == trainer.max_steps


def _tell(trainer: Trainer, metrics: Metrics) -> None:
    """To loggers and callbacks, as `self.log` would, which takes a third of a millisecond a metric."""
    if not metrics:
        return
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})
    for logger in trainer.loggers:
        logger.log_metrics({**metrics, "epoch": trainer.current_epoch}, step=max(trainer.global_step - 1, 0))

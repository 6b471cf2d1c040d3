"""Lightning callback that measures mechanisms at the end of each training epoch.

It works under any Trainer, so the configuration of a trial measures the same in stock LightningCLI. Fused trials have
no Trainer and no callbacks; fusing/fit/fused_mechanisms.py measures the same for all of them.
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
from experiments.training.seeding import preserve_generators, seed_global_generators
from experiments.training.step_harness import describe_error, find_loss
from experiments.training.trainer_stub import QuietTrainer

from .activation_drift import Drift
from .generalisation_gap import compute_gaps
from .layer_outputs import find_weights
from .measure import compute_update_ratios, measure_probe, measure_validation
from .probe import GAP_BATCH, GAP_EXAMPLES, FirstExamples, choose_gap_size, count_examples, count_examples_wanted

_warned: set[str] = set()


class Mechanisms(Callback):
    """Callback that logs once an epoch the metrics mechanism/... and gap/... of docs/mechanisms.md.

    It does not change training, bit for bit: the module's steps run on a clone, on examples that training has read, and
    no generator moves. If a module cannot be measured, it is trained all the same, with one warning of the reason.

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
        self._first_examples = FirstExamples(count_examples_wanted(self.examples, with_gap="gap" in self.measure))
        self._is_collecting = True
        self._has_validated = False
        self._num_validated = 0
        self._unmeasurable: set[str] = set()  # of probe, gap
        self._weights_before: dict[str, Tensor] = {}
        self._updates: dict[str, Tensor] = {}
        self._probe: list[Any] = []  # one batch
        self._gap_batches: list[Any] = []  # compared with validation
        self._clone: LightningModule | None = None
        self._drift = Drift()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the state, since a callback may see several trainings."""
        self._start()
        if not pl_module.automatic_optimization:
            self._give_up(pl_module, "it uses manual optimization, so its training_step cannot run without training")
        elif not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            self._give_up(pl_module, f"{type(trainer.strategy).__name__} may keep parts of it on other devices")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the first examples, and the weights before the epoch's last step."""
        if self._is_collecting and "probe" not in self._unmeasurable:
            try:
                self._first_examples.add(batch)
            except ValueError as error:
                self._give_up(pl_module, str(error))
            self._is_collecting = not self._first_examples.is_full
        if "updates" in self.measure and _is_last(trainer):
            owners = find_weights(pl_module)
            self._weights_before = {
                name: p.detach().clone().unsqueeze(0) for name, p in pl_module.named_parameters() if name in owners
            }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compare the weights with those before the step; without a loss there was no step."""
        if self._weights_before and find_loss(outputs) is not None:
            after = {name: p.detach().unsqueeze(0) for name, p in pl_module.named_parameters()}
            self._updates = compute_update_ratios(self._weights_before, after)
        self._weights_before = {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the number of validation examples."""
        self._num_validated = 0

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Count the validation examples."""
        try:
            self._num_validated += count_examples(batch)
        except ValueError:  # of another form than those of training
            self._num_validated += GAP_EXAMPLES

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that this epoch has a validation."""
        self._has_validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, and log the metrics."""
        self._is_collecting = False
        metrics: Metrics = {}
        with torch.enable_grad(), preserve_generators():
            seed_global_generators(0)  # so that a step draws the same numbers in each epoch
            if "gap" in self.measure and self._has_validated and not {"gap", "probe"} & self._unmeasurable:
                metrics |= self._try("gap", self._measure_gaps, trainer, pl_module)
            if {*self.measure} - {"gap"} and "probe" not in self._unmeasurable:
                metrics = self._try("probe", self._measure_probe, trainer, pl_module) | metrics
        self._clone = None
        self._has_validated = False
        self._updates = {}
        _log_metrics(trainer, metrics)

    def _try(self, what: str, measure: Any, trainer: Trainer, module: LightningModule) -> Metrics:
        try:
            found: Metrics = measure(trainer, module)
        except Exception as error:  # noqa: BLE001 -- a user's module may raise anything
            self._give_up(module, describe_error(error), what)
            return {}
        return found

    def _measure_probe(self, trainer: Trainer, module: LightningModule) -> Metrics:
        if not self._probe:
            self._probe = self._first_examples.rebatch(self.examples, self.examples)[:1]
        context = trainer.precision_plugin.train_step_context()
        clone = clone_module(module, QuietTrainer(trainer)) if self._clone is None else self._clone
        found = measure_probe(clone, self._probe[0], self.measure, self._updates, context)
        return found | self._drift.update(found)

    def _measure_gaps(self, trainer: Trainer, module: LightningModule) -> Metrics:
        if not self._gap_batches:
            self._gap_batches = self._first_examples.rebatch(GAP_BATCH, choose_gap_size(self._num_validated))
        clone = clone_module(module, QuietTrainer(trainer))
        train = measure_validation(clone, self._gap_batches, trainer.precision_plugin.val_step_context())
        self._clone = clone  # for the probe too: another clone would take as long as a pass
        return compute_gaps(
            train, {name: float(value) for name, value in trainer.callback_metrics.items() if name in train}
        )

    def _give_up(self, module: LightningModule, reason: str, what: str = "probe") -> None:
        """Stop measuring, and warn of the reason once in a process."""
        self._unmeasurable.add(what)
        subject = "the generalisation gap" if what == "gap" else "mechanisms"
        message = f"{subject} of {type(module).__name__} cannot be measured, and it trains without: {reason}"
        if message not in _warned:
            _warned.add(message)
            warnings.warn(message, stacklevel=2)


def _is_last(trainer: Trainer) -> bool:
    """Return whether the next step is the last of the epoch."""
    return trainer.is_last_batch or trainer.global_step + 1 == trainer.max_steps


def _log_metrics(trainer: Trainer, metrics: Metrics) -> None:
    """Log metrics for loggers and callbacks; `self.log` would take a third of a millisecond for each."""
    if not metrics:
        return
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})
    for logger in trainer.loggers:
        logger.log_metrics({**metrics, "epoch": trainer.current_epoch}, step=max(trainer.global_step - 1, 0))

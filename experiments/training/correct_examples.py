"""Test examples that a trial classified right: one bit for each, in the order of the test loader.

All runs share a test set, so more seeds do not average out the luck of its examples. With these bits, the variance over
seeds is separated from the variance over examples (reports/analysis/correct_examples.py).

The `test_step` of any LightningModule may return a mapping with one of these; the first that is there counts:

    "correct" (B,), bool: whether each example is right; "target" is optional
    "predictions" or "preds" (B,) and "target" (B,), integers or bool: right if they are equal
    "logits" (B, C), floating-point, and "target" (B,), integers or bool: right if the largest logit is the target's

B is the size of the batch, C classes. Other outputs are ignored. It is no error if a module returns none of these; it
then has no bits, as has a test of several dataloaders, or one in which each device reads only a part.

Two digests identify a test set. Targets alone would not suffice: a stratified split has equal targets in equal
positions for every seed. So the examples are digested too, as the network gets them.
"""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from experiments.trials.trial import Correct

from .multi_device import reads_all_examples

_DIGEST_BYTES = 8
_MAX_VALUES = 256
"""Values of an example's tensor that are digested, evenly spaced: enough to identify it, cheap for large images."""


def find_correct(output: Any, batch: Any) -> dict[str, Tensor]:
    """Find in a test step's output "correct" (B,), bool, and "target" (B,) if it is given.

    Only types and shapes are read, so this also runs under `torch.func.vmap`.

    >>> batch = torch.zeros(2, 4), torch.tensor([1, 0])
    >>> find_correct({"logits": torch.tensor([[0.1, 0.9], [0.3, 0.7]]), "target": batch[1]}, batch)["correct"]
    tensor([ True, False])
    """
    size = next((len(tensor) for tensor in _iterate_tensors(batch)), None)
    if size is None or not isinstance(output, Mapping):
        return {}
    given = {name: value.detach() for name, value in output.items() if isinstance(value, Tensor)}
    target = given.get("target")
    if target is not None and not _are_class_numbers(target, size):
        target = None
    correct = given.get("correct")
    if correct is None and target is not None:
        predictions = _find_predictions(given)
        if predictions is not None and _are_class_numbers(predictions, size):
            correct = predictions.to(target.device).long() == target.long()
    if correct is None or correct.shape != (size,) or correct.dtype != torch.bool:
        return {}
    return {"correct": correct} if target is None else {"correct": correct, "target": target}


class CorrectCollector:
    """Collector for the test of one trial: a byte for each example during the test, a bit at its end."""

    def __init__(self) -> None:
        self._correct: list[NDArray[np.bool_]] = []
        self._targets = blake2b(digest_size=_DIGEST_BYTES)
        self._has_targets = True
        self._is_complete = True

    def add(self, correct: Mapping[str, Tensor]) -> None:
        """Add a batch, from `find_correct`. A batch without "correct" leaves the test without bits."""
        if "correct" not in correct:
            self._is_complete = False
            return
        self._correct.append(correct["correct"].cpu().numpy())
        self._has_targets = self._has_targets and "target" in correct
        if self._has_targets:
            self._targets.update(correct["target"].long().cpu().numpy().tobytes())

    def finish(self, examples: str | None) -> Correct | None:
        """Return the bits of the whole test; None if a batch had none. examples: digest of its batches."""
        if not self._is_complete or not self._correct:
            return None
        whole = np.concatenate(self._correct)
        return Correct(
            num_examples=len(whole),
            bits=np.packbits(whole).tobytes(),
            targets=self._targets.hexdigest() if self._has_targets else None,
            examples=examples,
        )


class Fingerprint:
    """Digest of examples in their order, independent of the size of batches."""

    def __init__(self) -> None:
        self._digests: dict[int, Any] = {}  # one for each tensor of a batch, so that batch ends do not matter

    def add(self, batch: Any) -> None:
        """Add the tensors (B, ...) of a batch."""
        size = None
        for number, tensor in enumerate(_iterate_tensors(batch)):
            size = len(tensor) if size is None else size
            if len(tensor) == size:
                digest = self._digests.setdefault(number, blake2b(digest_size=_DIGEST_BYTES))
                digest.update(_sample_bytes(tensor))

    def hexdigest(self) -> str | None:
        """Return the digest of everything so far; None if there were no tensors."""
        if not self._digests:
            return None
        whole = b"".join(bytes([number]) + digest.digest() for number, digest in sorted(self._digests.items()))
        return blake2b(whole, digest_size=_DIGEST_BYTES).hexdigest()


class CorrectExamples(Callback):
    """Callback that collects the bits of a test from the step's outputs and batches, and changes nothing."""

    def __init__(self) -> None:
        self._collector = CorrectCollector()
        self._fingerprint = Fingerprint()
        self._is_one_loader = True

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the batch."""
        self._is_one_loader = self._is_one_loader and dataloader_idx == 0
        if trainer.world_size > 1:  # bits need each rank to read the whole test set
            self._is_one_loader = self._is_one_loader and reads_all_examples(trainer.test_dataloaders)
        correct = find_correct(outputs, batch) if self._is_one_loader else {}
        self._collector.add(correct)
        if correct:
            self._fingerprint.add(batch)

    @property
    def correct(self) -> Correct | None:
        """Return the bits of the finished test."""
        return self._collector.finish(self._fingerprint.hexdigest())


def _iterate_tensors(batch: Any) -> Iterator[Tensor]:
    """Iterate over the tensors of a batch that have a first axis; everything else is skipped."""
    if isinstance(batch, Tensor):
        is_odd = batch.layout != torch.strided or batch.is_nested or batch.is_quantized or batch.is_complex()
        if not is_odd and batch.dim() > 0:
            yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from _iterate_tensors(value)
    elif isinstance(batch, tuple | list):
        for value in batch:
            yield from _iterate_tensors(value)


def _find_predictions(given: Mapping[str, Tensor]) -> Tensor | None:
    for name in ("predictions", "preds"):
        if name in given:
            return given[name]
    logits = given.get("logits")
    is_matrix = logits is not None and logits.dim() == 2 and logits.shape[1] > 1  # noqa: PLR2004 -- (B, C)
    return logits.argmax(1) if logits is not None and is_matrix and logits.is_floating_point() else None


def _are_class_numbers(values: Tensor, size: int) -> bool:
    return values.shape == (size,) and not values.is_floating_point() and not values.is_complex()


def _sample_bytes(tensor: Tensor) -> bytes:
    """Return up to _MAX_VALUES of each example as bytes. tensor: (B, ...)."""
    values = tensor.detach().flatten(1) if tensor.dim() > 1 else tensor.detach().unsqueeze(1)
    step = max(1, -(-values.shape[1] // _MAX_VALUES))
    return values[:, ::step].contiguous().cpu().view(torch.uint8).numpy().tobytes()

"""Which test examples a trial classified right: a bit for each, in the order of the test loader.

Seeds do not average the luck of a test set away, since all runs share it. With these bits, what comes of the seeds and
what of the examples can be told apart (reports/analysis/correct_examples.py).

A LightningModule, anyone's, says it by what its `test_step` returns, a mapping that has one of these, the first that
is there:

    "correct" (B,), bool: whether each example is right; "target" beside it if it likes
    "predictions" or "preds" (B,) and "target" (B,), integers or bool: right where they are equal
    "logits" (B, C), floating, and "target" (B,), integers or bool: right where the largest logit is the target's

B is the size of the batch, C classes. Whatever else is returned is left alone; a module that returns nothing of the
kind, a test of several dataloaders, and one on several devices (each sees a part) have no bits. That is no error.

Two digests tell test sets apart. Targets alone would not do: a stratified split puts equal targets in equal places
whatever the seed. So the examples are digested too, as the network is given them.
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

from .multi_device import reads_whole

DIGEST_BYTES = 8
MOST_VALUES = 256
"""That are digested of an example's tensor, evenly spaced: enough to know it by, and cheap for large images."""


def correct_of(output: Any, batch: Any) -> dict[str, Tensor]:
    """What a test step said of a batch: "correct" (B,), bool, and "target" (B,) where it is given; else nothing.

    It looks at types and shapes alone, so it also runs under `torch.func.vmap`.

    >>> batch = torch.zeros(2, 4), torch.tensor([1, 0])
    >>> correct_of({"logits": torch.tensor([[0.1, 0.9], [0.3, 0.7]]), "target": batch[1]}, batch)["correct"]
    tensor([ True, False])
    """
    size = next((len(tensor) for tensor in _tensors(batch)), None)
    if size is None or not isinstance(output, Mapping):
        return {}
    given = {name: value.detach() for name, value in output.items() if isinstance(value, Tensor)}
    target = given.get("target")
    if target is not None and not _are_classes(target, size):
        target = None
    correct = given.get("correct")
    if correct is None and target is not None:
        predictions = _predictions(given)
        if predictions is not None and _are_classes(predictions, size):
            correct = predictions.to(target.device).long() == target.long()
    if correct is None or correct.shape != (size,) or correct.dtype != torch.bool:
        return {}
    return {"correct": correct} if target is None else {"correct": correct, "target": target}


class Collected:
    """Collects what the test of one trial said, batch by batch: a byte an example, and a bit at the end."""

    def __init__(self) -> None:
        self._correct: list[NDArray[np.bool_]] = []
        self._targets = blake2b(digest_size=DIGEST_BYTES)
        self._has_targets = True
        self._is_whole = True

    def add(self, said: Mapping[str, Tensor]) -> None:
        """Take in a batch, what `correct_of` found. A batch without it leaves the test without bits."""
        if "correct" not in said:
            self._is_whole = False
            return
        self._correct.append(said["correct"].cpu().numpy())
        self._has_targets = self._has_targets and "target" in said
        if self._has_targets:
            self._targets.update(said["target"].long().cpu().numpy().tobytes())

    def correct(self, examples: str | None) -> Correct | None:
        """The bits of the whole test, None where a batch had none. examples: the digest of its batches."""
        if not self._is_whole or not self._correct:
            return None
        whole = np.concatenate(self._correct)
        return Correct(
            num_examples=len(whole),
            bits=np.packbits(whole).tobytes(),
            targets=self._targets.hexdigest() if self._has_targets else None,
            examples=examples,
        )


class Fingerprint:
    """A digest of examples in their order, which does not depend on how they are batched."""

    def __init__(self) -> None:
        self._digests: dict[int, Any] = {}  # one for each tensor of a batch, lest a batch's end shows

    def add(self, batch: Any) -> None:
        """Take in the tensors (B, ...) of a batch."""
        size = None
        for number, tensor in enumerate(_tensors(batch)):
            size = len(tensor) if size is None else size
            if len(tensor) == size:
                digest = self._digests.setdefault(number, blake2b(digest_size=DIGEST_BYTES))
                digest.update(_some_bytes(tensor))

    def hexdigest(self) -> str | None:
        """Of everything so far; None where there were no tensors."""
        if not self._digests:
            return None
        whole = b"".join(bytes([number]) + digest.digest() for number, digest in sorted(self._digests.items()))
        return blake2b(whole, digest_size=DIGEST_BYTES).hexdigest()


class CorrectExamples(Callback):
    """Collects them while the Trainer tests. It reads what the step returned and the batch, and changes nothing."""

    def __init__(self) -> None:
        self._tested = Collected()
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
        """Keep a byte an example, and digest the batch."""
        self._is_one_loader = self._is_one_loader and dataloader_idx == 0
        if trainer.world_size > 1:  # each rank reads the whole test set, or else none knows which examples were right
            self._is_one_loader = self._is_one_loader and reads_whole(trainer.test_dataloaders)
        said = correct_of(outputs, batch) if self._is_one_loader else {}
        self._tested.add(said)
        if said:
            self._fingerprint.add(batch)

    @property
    def correct(self) -> Correct | None:
        """Of the test that is over."""
        return self._tested.correct(self._fingerprint.hexdigest())


def _tensors(batch: Any) -> Iterator[Tensor]:
    """The tensors of a batch that have a first axis, in order; whatever else it holds is passed over."""
    if isinstance(batch, Tensor):
        is_odd = batch.layout != torch.strided or batch.is_nested or batch.is_quantized or batch.is_complex()
        if not is_odd and batch.dim() > 0:
            yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from _tensors(value)
    elif isinstance(batch, tuple | list):
        for value in batch:
            yield from _tensors(value)


def _predictions(given: Mapping[str, Tensor]) -> Tensor | None:
    for name in ("predictions", "preds"):
        if name in given:
            return given[name]
    logits = given.get("logits")
    is_matrix = logits is not None and logits.dim() == 2 and logits.shape[1] > 1  # noqa: PLR2004 -- (B, C)
    return logits.argmax(1) if logits is not None and is_matrix and logits.is_floating_point() else None


def _are_classes(values: Tensor, size: int) -> bool:
    return values.shape == (size,) and not values.is_floating_point() and not values.is_complex()


def _some_bytes(tensor: Tensor) -> bytes:
    """Up to MOST_VALUES of each example, as they lie in memory; values: (B, ...)."""
    values = tensor.detach().flatten(1) if tensor.dim() > 1 else tensor.detach().unsqueeze(1)
    step = max(1, -(-values.shape[1] // MOST_VALUES))
    return values[:, ::step].contiguous().cpu().view(torch.uint8).numpy().tobytes()

"""Test examples that each trial of a group classified right.

T trials in R rows, B batch.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from experiments.fusing.reading.nested_tensors import select_row
from experiments.fusing.reading.rows import Rows
from experiments.training.correct_examples import CorrectCollector, Fingerprint
from experiments.trials.trial import Correct


class GroupCorrectCollector:
    """Collector for one test of some trials: a byte for each example and trial during the test, a bit at its end.

    Args:
        rows: arrangement of the trials.
        indices: of the trials whose test it is; other trials are skipped.
    """

    def __init__(self, rows: Rows, indices: Iterable[int]) -> None:
        self._by_trial = {index: (CorrectCollector(), rows.find_row(index)) for index in indices}
        self._by_row = {row: Fingerprint() for _, row in self._by_trial.values()}

    def add(self, correct: Mapping[str, Tensor], batch: Any) -> None:
        """Add a batch.

        Args:
            correct: from `find_correct`, (T, B) each.
            batch: tensors (R, B, ...).
        """
        on_cpu = {name: value.cpu() for name, value in correct.items()}
        for index, (collector, _) in self._by_trial.items():
            collector.add({name: value[index] for name, value in on_cpu.items()})
        if correct:
            for row, fingerprint in self._by_row.items():
                fingerprint.add(select_row(batch, row))

    def finish(self) -> dict[int, Correct | None]:
        """Return the bits of the whole test by trial index; None if a step did not return which examples are right."""
        return {
            index: collector.finish(self._by_row[row].hexdigest()) for index, (collector, row) in self._by_trial.items()
        }

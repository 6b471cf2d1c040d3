"""Which test examples each trial classified right, collected while many are tested in one loop.

T trials in R rows, B batch.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.training.correct_examples import Collected, Fingerprint
from experiments.trials.trial import Correct

from .nested_tensors import mapped
from .rows import Rows


class CollectedTogether:
    """One test of some of the trials: a byte an example and trial while it runs, a bit at its end.

    Arguments:
        rows: how the trials stand.
        places: of the trials whose test it is; the others are passed over.
    """

    def __init__(self, rows: Rows, places: Iterable[int]) -> None:
        self._of_place = {place: (Collected(), rows.row(place)) for place in places}
        self._of_row = {row: Fingerprint() for _, row in self._of_place.values()}

    def add(self, said: Mapping[str, Tensor], batch: Any) -> None:
        """Take in a batch. said: what `correct_of` found, (T, B) each; batch: tensors (R, B, ...)."""
        here = {name: value.cpu() for name, value in said.items()}
        for place, (tested, _) in self._of_place.items():
            tested.add({name: value[place] for name, value in here.items()})
        if said:
            for row, fingerprint in self._of_row.items():
                fingerprint.add(mapped(partial(torch.select, dim=0, index=row), batch))

    def correct(self) -> dict[int, Correct | None]:
        """By place, the bits of the whole test; None where the steps did not say."""
        return {place: tested.correct(self._of_row[row].hexdigest()) for place, (tested, row) in self._of_place.items()}

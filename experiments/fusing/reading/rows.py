"""Arrangement of the trials of a group in rows; the trials of a row read the same batches.

Trials of one seed share their data by construction, so a batch is fetched once a row and not once a trial, and the
first layer of every trial of a row can be one matrix product.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from experiments.trials.trial import Trial


@dataclass(frozen=True, slots=True)
class Rows:
    """R rows of L trials each. Trial t is in row t // L; column t % L is one cell of the study.

    trials: (R * L,), row after row.
    seeds: (R,), of the rows; a seed may have several rows of one trial.
    num_columns: L.
    """

    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    num_columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of rows and columns, (R, L)."""
        return len(self.seeds), self.num_columns

    def find_row(self, trial_index: int) -> int:
        """Return the row of a trial."""
        return trial_index // self.num_columns


def arrange_in_rows(trials: Sequence[Trial], kind: Callable[[Trial], Hashable]) -> Rows:
    """Arrange trials in one row for each seed if every seed has the same cells, else in one row for each trial.

    Args:
        trials: any of a study.
        kind: cells of equal kind become neighbours, because their optimizers have equal settings.
    """
    first: dict[Hashable, int] = {}
    for trial in trials:
        first.setdefault(kind(trial), len(first))
    cells: dict[int, int] = {}
    for trial in sorted(trials, key=lambda trial: first[kind(trial)]):
        cells.setdefault(id(trial.config), len(cells))
    seeds = sorted({trial.seed for trial in trials})
    if len(seeds) * len(cells) == len(trials):
        ordered = sorted(trials, key=lambda trial: (trial.seed, cells[id(trial.config)]))
        return Rows(tuple(ordered), tuple(seeds), len(cells))
    ordered = sorted(trials, key=lambda trial: (cells[id(trial.config)], trial.seed))
    return Rows(tuple(ordered), tuple(trial.seed for trial in ordered), 1)

"""How the trials of a group stand: in rows that read the same batches.

Trials of one seed share their data by construction, so a batch is fetched once a row and not once a trial, and the
first layer of every trial of a row can be one matrix product.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from experiments.trials.trial import Trial


@dataclass(frozen=True, slots=True)
class Rows:
    """R rows of L trials each: trial t stands in row t // L, and column t % L is one cell of the study.

    trials: (R * L,), row after row.
    seeds: (R,), of the rows; a seed may have several rows of one trial.
    num_columns: L.
    """

    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    num_columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """(R, L)."""
        return len(self.seeds), self.num_columns

    def row(self, place: int) -> int:
        """The row of the trial at a place."""
        return place // self.num_columns


def in_rows(trials: Sequence[Trial], kind: Callable[[Trial], Hashable]) -> Rows:
    """One row a seed where every seed has the same cells, as the trials of a chunk do; else one row a trial.

    Arguments:
        trials: any of a study.
        kind: cells of equal kinds stand next to each other, because their optimizers are set alike.
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

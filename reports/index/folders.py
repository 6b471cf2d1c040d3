"""The folders of studies in one folder, each read from its ledger: the study, how far it is, and its claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from experiments.errors import DirectoryError, InputError
from experiments.ledger.study_folder import LEDGER, open_ledger
from experiments.study.study import Study
from experiments.trials.trial import TrialStatus, count_finished
from reports.analysis.cells import collect_outcomes
from reports.analysis.claims import claim_table
from reports.analysis.frame import read_study, read_trials
from reports.write import FOLDER, PAGE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyFolder:
    """What a folder's ledger says.

    path: of the folder.
    study: None where the ledger cannot be read, and then `problem` says why.
    counts: planned trials by status.
    trial_ids: of planned trials.
    claims: see `claim_table`; empty where no trial has finished, or none was claimed.
    seconds: that all ended trials took.
    has_page: whether the report's page is there.
    """

    path: Path
    study: Study | None
    problem: str
    counts: Mapping[TrialStatus, int]
    trial_ids: frozenset[str]
    claims: pd.DataFrame
    seconds: float
    has_page: bool

    @property
    def num_ended(self) -> int:
        """Planned trials that have a result, whatever it is."""
        return count_finished(self.counts)

    @property
    def num_trials(self) -> int:
        """Planned trials."""
        return sum(self.counts.values())


def read_folders(parent: Path) -> list[StudyFolder]:
    """The folders right below this one that hold a ledger, by name. One that cannot be read is told as such.

    Raises:
        DirectoryError: when the folder is not there, cannot be read, or is itself a study's.
    """
    if (parent / LEDGER).exists():
        raise DirectoryError(f"{parent}: is a study's folder; the index is of the folder around it: {parent.parent}")
    try:
        paths = sorted(path.parent for path in parent.glob(f"*/{LEDGER}"))
        if not parent.is_dir():
            raise DirectoryError(f"{parent}: there is no such folder; `ablate run --all --out {parent}` makes one")
    except OSError as error:
        raise DirectoryError(f"{parent}: cannot be read: {error.strerror or error}") from error
    return [_read(path, _state(path)) for path in paths]


def copies_in(folders: Sequence[StudyFolder]) -> dict[Path, StudyFolder]:
    """The folders whose trials are all in another folder of the same study -> that other one: the larger, or if both
    are of one size the one that is named as the study, or comes first.
    """
    found: dict[Path, StudyFolder] = {}
    by_size = sorted(
        (folder for folder in folders if folder.study is not None and folder.trial_ids),
        key=lambda folder: (-folder.num_ended, -len(folder.trial_ids), folder.path.name != folder.study.name),  # type: ignore[union-attr]
    )
    for number, folder in enumerate(by_size):
        for other in by_size[:number]:
            if other.path not in found and _is_copy(folder, other):
                found[folder.path] = other
                break
    return found


def _is_copy(folder: StudyFolder, other: StudyFolder) -> bool:
    assert folder.study is not None
    assert other.study is not None
    return folder.study.name == other.study.name and folder.trial_ids <= other.trial_ids


def _state(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """By what a folder that was read before is known to be the same: sizes and times of its files."""
    names = (LEDGER, f"{LEDGER}-wal", f"{FOLDER}/{PAGE}")
    return tuple(_size_and_time(path / name) for name in names)


def _size_and_time(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1000)  # a command that trains many studies writes the index after each
def _read(path: Path, state: object) -> StudyFolder:  # noqa: ARG001 -- a changed folder is read anew
    has_page = (path / FOLDER / PAGE).is_file()
    try:
        with open_ledger(path) as ledger:
            study = read_study(ledger)
            counts = ledger.counts()
            trials = read_trials(ledger, study)
        claims = (
            claim_table(study, collect_outcomes(study, trials), trials)
            if counts[TrialStatus.FINISHED]
            else pd.DataFrame()
        )
    except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:  # whatever stands in a damaged one
        kind = "" if isinstance(error, InputError) else f"{path / LEDGER}: is damaged ({type(error).__name__}): "
        return StudyFolder(
            path=path,
            study=None,
            problem=f"{kind}{error}",
            counts={},
            trial_ids=frozenset(),
            claims=pd.DataFrame(),
            seconds=0.0,
            has_page=has_page,
        )
    return StudyFolder(
        path=path,
        study=study,
        problem="",
        counts=counts,
        trial_ids=frozenset(trials["trial_id"]),
        claims=claims,
        seconds=float(trials["seconds"].sum()),
        has_page=has_page,
    )

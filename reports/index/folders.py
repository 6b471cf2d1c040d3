"""Study folders within one folder: the study of each, its progress and its claims, read from the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from experiments.errors import DirectoryError, InputError
from experiments.ledger.study_folder import LEDGER, open_ledger
from experiments.study.study import Study
from experiments.trials.trial import TrialStatus, count_ended
from reports.analysis.cells import collect_outcomes
from reports.analysis.claims import claim_table
from reports.analysis.frame import read_study, read_trials
from reports.write import FOLDER, PAGE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyFolder:
    """State of a study folder, from its ledger.

    path: of the folder.
    study: None if the ledger cannot be read; `problem` has the reason.
    counts: number of planned trials by status.
    trial_ids: of planned trials.
    claims: see `claim_table`; empty if no trial has finished, or the study has no claims.
    seconds: total time of all ended trials.
    has_page: True if the page of the report exists.
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
        """Number of planned trials with a result: finished, diverged or failed."""
        return count_ended(self.counts)

    @property
    def num_trials(self) -> int:
        """Number of planned trials."""
        return sum(self.counts.values())


def read_folders(parent: Path) -> list[StudyFolder]:
    """Read the folders directly below this one that have a ledger, sorted by name.

    A folder that cannot be read has `problem` set.

    Raises:
        DirectoryError: if the folder does not exist, cannot be read, or is itself a study folder.
    """
    if (parent / LEDGER).exists():
        raise DirectoryError(f"{parent}: is a study folder; index the folder that contains it: {parent.parent}")
    try:
        paths = sorted(path.parent for path in parent.glob(f"*/{LEDGER}"))
        if not parent.is_dir():
            raise DirectoryError(f"{parent}: does not exist; `ablate run --all --out {parent}` creates it")
    except OSError as error:
        raise DirectoryError(f"{parent}: cannot be read: {error.strerror or error}") from error
    return [_read_folder(path, _read_file_stamps(path)) for path in paths]


def find_copies(folders: Sequence[StudyFolder]) -> dict[Path, StudyFolder]:
    """Map each folder whose trials are all planned in another folder of the same study to that other folder.

    Of two folders, the smaller is the copy; of two of one size, the one not named after the study, or the later one.
    """
    originals: dict[Path, StudyFolder] = {}
    by_size = sorted(
        (folder for folder in folders if folder.study is not None and folder.trial_ids),
        key=lambda folder: (-folder.num_ended, -len(folder.trial_ids), folder.path.name != folder.study.name),  # type: ignore[union-attr]
    )
    for number, folder in enumerate(by_size):
        for other in by_size[:number]:
            if other.path not in originals and _is_copy(folder, other):
                originals[folder.path] = other
                break
    return originals


def _is_copy(folder: StudyFolder, other: StudyFolder) -> bool:
    assert folder.study is not None
    assert other.study is not None
    return folder.study.name == other.study.name and folder.trial_ids <= other.trial_ids


def _read_file_stamps(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Return sizes and times of the files of a folder, the key of the cache of folders."""
    names = (LEDGER, f"{LEDGER}-wal", f"{FOLDER}/{PAGE}")
    return tuple(_get_size_and_time(path / name) for name in names)


def _get_size_and_time(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1000)  # `ablate run --all` writes the index after each study
def _read_folder(path: Path, state: object) -> StudyFolder:  # noqa: ARG001 -- a changed folder is read again
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
    except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:  # a damaged ledger
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

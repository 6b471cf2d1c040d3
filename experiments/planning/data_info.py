"""Notes and fingerprints that data modules give when a study is planned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lightning.pytorch import LightningDataModule

from experiments.config.instantiate import make_data, resolve
from experiments.config.parse_cache import Section
from experiments.errors import Problem
from experiments.study.design import Cell
from experiments.study.study import Study
from experiments.training.streams import TrialStreams

from .problems import describe_failure, label_cells


@dataclass(frozen=True, slots=True, kw_only=True)
class DataInfo:
    """Notes and fingerprints of one data module, or the problem because of which it cannot be used."""

    problem: Problem | None = None
    notes: tuple[str, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)


def describe_data(section: Section, seed: int) -> DataInfo:
    """Build a data module as the trial of this seed does, prepare its data, and ask for notes and fingerprints."""
    config = {"data": resolve(section)}
    action = "be built"
    try:
        TrialStreams(seed).data()
        data = make_data(config)
        if data is None:
            return DataInfo()
        action = "prepare its data"
        data.prepare_data()
        action = "describe its data"
        return DataInfo(notes=_get_notes(data), fingerprints=_get_fingerprints(data))
    except Exception as error:  # noqa: BLE001 -- a user's class may raise anything
        what = describe_failure(config["data"]["class_path"], action, error)
        is_absent = isinstance(error, FileNotFoundError | ConnectionError)
        return DataInfo(problem=Problem(where="data", what=what, is_absent_data=is_absent))


def label_notes(study: Study, cells: Sequence[Cell], infos: Sequence[DataInfo]) -> tuple[str, ...]:
    """Return the notes of the cells' data modules, each once, after the levels or cells that it belongs to."""
    numbers: dict[str, set[int]] = {}
    for number, info in enumerate(infos):
        for note in info.notes:
            numbers.setdefault(note, set()).add(number)
    return tuple(f"{label_cells(study, cells, of_note)}{note}" for note, of_note in numbers.items())


def _get_fingerprints(data: LightningDataModule) -> dict[str, str]:
    method = getattr(data, "fingerprints", None)
    if not callable(method):
        return {}
    found = method()
    if not isinstance(found, dict) or not all(isinstance(text, str) for pair in found.items() for text in pair):
        raise TypeError(f"fingerprints() returns {found!r}; a mapping of names to hashes is expected")
    return found


def _get_notes(data: LightningDataModule) -> tuple[str, ...]:
    method = getattr(data, "notes", None)
    if not callable(method):
        return ()
    notes = method()
    if not isinstance(notes, list | tuple) or not all(isinstance(note, str) for note in notes):
        raise TypeError(f"notes() returns {notes!r}; a list of sentences is expected")
    return tuple(notes)

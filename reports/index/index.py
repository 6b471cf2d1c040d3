"""Catalogue of many studies as one object: every claim with its verdict, every study with its state."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from experiments.ledger.study_folder import HEADER, STUDY_FILE
from experiments.study.catalogue import NO_CHAPTER, make_chapter_key
from experiments.study.design import count_cells
from experiments.study.parse import parse_study, parse_yaml, shipped_studies
from experiments.study.study import Study
from experiments.trials.trial import TrialStatus
from reports.analysis.claims import CONTRADICTED, PRACTICALLY_EQUAL, SUPPORTED
from reports.wording.verdicts import UNDECIDED
from reports.write import FOLDER, PAGE

from .folders import StudyFolder, find_copies, read_folders
from .multiplicity import add_catalogue_p
from .setting import describe_contrast, describe_data, describe_model, get_metric_name

FINDINGS = (SUPPORTED, CONTRADICTED, PRACTICALLY_EQUAL, UNDECIDED)
COMPLETE, INCOMPLETE, NOT_RUN, COPY, UNREADABLE = "complete", "incomplete", "not run", "copy", "unreadable"
_RESULTS = (
    *("finding", "n", "num_seeds_left_out", "mean_difference", "ci_low", "ci_high", "p_value", "p_adjusted"),
    *("below_margin", "is_equality", "scale", "sentence"),
)
CLAIM_COLUMNS = (
    *("chapter", "study", "folder", "claim", "says", "metric", "goal", "margin", "data", "model", "contrast", "unit"),
    *(*_RESULTS, "p_catalogue", "state", "is_changed", "page"),
)
STUDY_COLUMNS = (
    *("chapter", "study", "folder", "question", "state", "note", "num_trials", "num_ended", "num_failed", "num_claims"),
    *("minutes", "seconds", "command", "page", "is_changed"),
)
_MOST_DIFFERENCES, _LONGEST = 4, 40  # differences of a plan that are named, and characters of a value
_WITHOUT_RESULTS = {"name", "question", "chapter", "minutes", "claims"}  # keys that do not affect results


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalogue:
    """Results of the studies in one folder, and the shipped studies that are missing there.

    claims: a row for each claim of a study with a finished trial; CLAIM_COLUMNS. `finding` and the numbers are those of
        the report of the study; p_catalogue is adjusted over all rows; `page` is a link relative to the folder.
    studies: a row for each study that is in the folder or shipped; STUDY_COLUMNS. `command` trains its missing trials;
        `is_changed` says whether the plan differs from the shipped study.
    chapters: a row for each chapter: studies, claims, claims by finding, claims not tested.
    command: trains all missing trials.
    """

    claims: pd.DataFrame
    studies: pd.DataFrame
    chapters: pd.DataFrame
    command: str

    def select_by_state(self, *states: str) -> pd.DataFrame:
        """Return the studies in these states."""
        return self.studies[self.studies["state"].isin(states)]


def build_catalogue(parent: str | Path) -> Catalogue:
    """Build the catalogue of the study folders directly below this folder. Nothing is written.

    Raises:
        DirectoryError: if the folder does not exist, cannot be read, or is itself a study folder.
    """
    parent = Path(parent)
    shipped = _parse_shipped_studies(tuple(shipped_studies().items()))
    folders = read_folders(parent)
    present = {folder.study.name for folder in folders if folder.study is not None}
    present |= {folder.path.name for folder in folders}
    copies = find_copies(folders)
    rows = [
        (_build_study_row(folder, shipped), _build_claim_rows(folder, shipped))
        if folder.path not in copies
        else (_build_copy_row(folder, copies[folder.path], shipped), [])
        for folder in folders
    ]
    rows += [(_build_not_run_row(study, parent), []) for name, study in shipped.items() if name not in present]
    rows.sort(key=lambda row: (make_chapter_key(row[0]["chapter"] or None), _get_minutes(row[0]), row[0]["study"]))
    studies = pd.DataFrame([study for study, _ in rows], columns=list(STUDY_COLUMNS))
    claims = pd.DataFrame(
        [claim for _, claims_of_study in rows for claim in claims_of_study], columns=list(CLAIM_COLUMNS)
    )
    claims = add_catalogue_p(claims)
    return Catalogue(
        claims=claims,
        studies=studies,
        chapters=_build_chapter_table(studies, claims),
        command=f"ablate run --all{_format_out_option(parent, Path('runs'))}",
    )


@cache
def _parse_shipped_studies(texts: tuple[tuple[str, str], ...]) -> dict[str, Study]:
    """Return the shipped studies by name, parsed once per process."""
    studies = [parse_study(parse_yaml(text, name), source=f"studies/{name}.yaml", name=name) for name, text in texts]
    return {study.name: study for study in studies}


def _build_study_row(folder: StudyFolder, shipped: Mapping[str, Study]) -> dict[str, Any]:
    study, name = folder.study, folder.path.name
    if study is None:
        known = shipped.get(name)
        row = _build_row(known, name, UNREADABLE, folder.problem, "")
        return row | {
            "folder": name,
            "chapter": "" if known is None else known.chapter or "",
            "page": _make_page_link(folder),
        }
    counts, left = folder.counts, folder.counts[TrialStatus.PENDING] + folder.counts[TrialStatus.RUNNING]
    state = NOT_RUN if not folder.num_ended else INCOMPLETE if left or counts[TrialStatus.FAILED] else COMPLETE
    notes = []
    if left and folder.num_ended:
        notes.append(f"{left} of {folder.num_trials} trials have not been trained")
    if counts[TrialStatus.FAILED]:
        notes.append(f"{counts[TrialStatus.FAILED]} of {folder.num_trials} trials failed")
    differences = _describe_differences(study, shipped.get(study.name))
    notes += differences
    if folder.num_ended and not folder.has_page:
        notes.append(f"no report; `ablate report {shlex.quote(str(folder.path))}` writes it")
    row = _build_row(study, study.name, state, "; ".join(notes), _compose_command(folder, shipped))
    return row | {
        "folder": name,
        "chapter": _find_chapter(study, shipped),
        "num_trials": folder.num_trials,
        "num_ended": folder.num_ended,
        "num_failed": counts[TrialStatus.FAILED],
        "seconds": folder.seconds,
        "page": _make_page_link(folder),
        "is_changed": bool(differences),
    }


def _build_copy_row(folder: StudyFolder, other: StudyFolder, shipped: Mapping[str, Study]) -> dict[str, Any]:
    """Return the row of a folder that repeats trials of another one."""
    assert folder.study is not None
    note = f"{folder.path.name}: not counted, since {other.path.name} has all its trials"
    row = _build_row(folder.study, folder.study.name, COPY, note, "")
    return row | {
        "folder": folder.path.name,
        "chapter": _find_chapter(folder.study, shipped),
        "num_trials": 0,
        "num_claims": 0,
        "page": _make_page_link(folder),
    }


def _build_not_run_row(study: Study, parent: Path) -> dict[str, Any]:
    runs = f"ablate run {shlex.quote(study.name)}{_format_out_option(parent / study.name, Path('runs') / study.name)}"
    return _build_row(study, study.name, NOT_RUN, "", runs)


def _build_row(study: Study | None, name: str, state: str, note: str, command: str) -> dict[str, Any]:
    return {
        "chapter": "" if study is None else study.chapter or "",
        "study": name,
        "folder": "",
        "question": "" if study is None else study.question,
        "state": state,
        "note": note,
        "num_trials": 0 if study is None else count_cells(study) * len(study.seeds),
        "num_ended": 0,
        "num_failed": 0,
        "num_claims": 0 if study is None else len(study.claims),
        "minutes": None if study is None else study.minutes,
        "seconds": 0.0,
        "command": command,
        "page": "",
        "is_changed": False,
    }


def _build_claim_rows(folder: StudyFolder, shipped: Mapping[str, Study]) -> list[dict[str, Any]]:
    study = folder.study
    if study is None or folder.claims.empty:
        return []
    page = _make_page_link(folder)
    done = folder.num_ended == folder.num_trials and not folder.counts[TrialStatus.FAILED]
    rows = []
    for claim, result in zip(study.claims, folder.claims.to_dict("records"), strict=True):
        metric = claim.metric or study.metric
        rows.append(
            {
                "chapter": _find_chapter(study, shipped),
                "study": study.name,
                "folder": folder.path.name,
                "claim": claim.name,
                "says": claim.says,
                "metric": get_metric_name(study, claim),
                "goal": metric.goal,
                "margin": float("nan") if metric.margin is None else metric.margin,
                "data": describe_data(study),
                "model": describe_model(study),
                "contrast": describe_contrast(claim),
                "unit": study.unit,
                **{name: result[name] for name in _RESULTS},
                "p_catalogue": float("nan"),
                "state": COMPLETE if done else INCOMPLETE,
                "is_changed": bool(_describe_differences(study, shipped.get(study.name))),
                "page": page and f"{page}#claims",
            }
        )
    return rows


def _build_chapter_table(studies: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for chapter in dict.fromkeys(studies["chapter"]):
        of_claims = claims[claims["chapter"] == chapter]
        is_study = (studies["state"] != COPY) & ((studies["state"] != UNREADABLE) | (studies["num_trials"] > 0))
        of_chapter = studies[(studies["chapter"] == chapter) & is_study]
        rows.append(
            {
                "chapter": chapter or NO_CHAPTER,
                "studies": len(of_chapter),
                "complete": int((of_chapter["state"] == COMPLETE).sum()),
                "claims": int(of_chapter["num_claims"].sum()),
                **{finding: int((of_claims["finding"] == finding).sum()) for finding in FINDINGS},
                "not tested": int(of_chapter["num_claims"].sum()) - len(of_claims),
            }
        )
    return pd.DataFrame(rows, columns=["chapter", "studies", "complete", "claims", *FINDINGS, "not tested"])


def _find_chapter(study: Study, shipped: Mapping[str, Study]) -> str:
    """Return the chapter from the ledger, or else from the shipped study."""
    known = shipped.get(study.name)
    return study.chapter or (known.chapter if known is not None else None) or ""


def _describe_differences(study: Study, known: Study | None) -> list[str]:
    """Describe the differences of a plan from the shipped study, such as those made by `--seeds` and `--set`."""
    if known is None:
        return []
    planned, shipped = (
        _flatten({key: each[key] for key in each.keys() - _WITHOUT_RESULTS})
        for each in (study.to_dict(), known.to_dict())
    )
    keys = [key for key in dict.fromkeys([*shipped, *planned]) if planned.get(key) != shipped.get(key)]
    if not keys:
        return []
    first = sorted(keys)[:_MOST_DIFFERENCES]
    changes = [f"{key}: {_shorten(planned.get(key))} instead of {_shorten(shipped.get(key))}" for key in first]
    more = f", and {len(keys) - len(changes)} more" if len(keys) > len(changes) else ""
    return [f"not as shipped ({', '.join(changes)}{more})"]


def _flatten(content: Any, key: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys."""
    if not isinstance(content, Mapping) or not content:
        return {key: content}
    parts = [_flatten(value, f"{key}.{name}" if key else str(name)) for name, value in content.items()]
    return {name: value for part in parts for name, value in part.items()}


def _shorten(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _compose_command(folder: StudyFolder, shipped: Mapping[str, Study]) -> str:
    """Return the command that trains the rest of a study; nothing without the study.yaml of `ablate run`."""
    assert folder.study is not None
    name, path, study_file = folder.study.name, folder.path, folder.path / STUDY_FILE
    retry = f"ablate retry {shlex.quote(str(path))} && " if folder.counts[TrialStatus.FAILED] else ""
    if name in shipped and not _describe_differences(folder.study, shipped[name]):
        return f"{retry}ablate run {shlex.quote(name)}{_format_out_option(path, Path('runs') / name)}"
    try:
        is_written_by_run = study_file.read_bytes().startswith(HEADER.encode())
    except OSError:
        is_written_by_run = False
    return (
        f"{retry}ablate run {shlex.quote(str(study_file))} --out {shlex.quote(str(path))}" if is_written_by_run else ""
    )


def _format_out_option(directory: Path, default: Path) -> str:
    return "" if directory == default else f" --out {shlex.quote(str(directory))}"


def _make_page_link(folder: StudyFolder) -> str:
    """Return the link to the page of the study, relative to the folder of the index; nothing without a page."""
    return f"{quote(folder.path.name)}/{FOLDER}/{PAGE}" if folder.has_page else ""


def _get_minutes(row: Mapping[str, Any]) -> float:
    return float("inf") if row["minutes"] is None else float(row["minutes"])

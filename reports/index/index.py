"""What came of many studies, as one object: every claim with its verdict, every study with its state."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from experiments.ledger.study_folder import HEADER, STUDY_FILE
from experiments.study.catalogue import NO_CHAPTER, chapter_order
from experiments.study.design import count_cells
from experiments.study.parse import parse_study, parse_yaml, shipped_studies
from experiments.study.study import Study
from experiments.trials.trial import TrialStatus
from reports.analysis.claims import CONTRADICTED, PRACTICALLY_EQUAL, SUPPORTED
from reports.wording.verdicts import UNDECIDED
from reports.write import FOLDER, PAGE

from .folders import StudyFolder, copies_in, read_folders
from .multiplicity import with_catalogue_p
from .setting import contrast_of, data_of, metric_of, model_of

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
    *("minutes", "seconds", "command", "page"),
)
_MOST_DIFFERENCES, _LONGEST = 4, 40  # that are told of a plan, and characters of a value
_WITHOUT_RESULTS = {"name", "question", "chapter", "minutes", "claims"}  # keys that change no number


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalogue:
    """What came of the studies in one folder, and which shipped ones are not there.

    claims: one row a claim of a study in which a trial has finished; CLAIM_COLUMNS. `finding` and the numbers are those
        of the study's own report; p_catalogue is adjusted over all rows; `page` is a link relative to the folder.
    studies: one row a study: in the folder, or shipped and not there; STUDY_COLUMNS. `command` trains what it lacks.
    chapters: one row a chapter: studies, claims, how many came to each finding, how many were not tested.
    command: trains everything that is lacking.
    """

    claims: pd.DataFrame
    studies: pd.DataFrame
    chapters: pd.DataFrame
    command: str

    def in_state(self, *states: str) -> pd.DataFrame:
        """The studies in these states."""
        return self.studies[self.studies["state"].isin(states)]


def build_catalogue(parent: str | Path) -> Catalogue:
    """What came of the studies whose folders are right below this one. Nothing is written.

    Raises:
        DirectoryError: when the folder is not there, cannot be read, or is itself a study's.
    """
    parent = Path(parent)
    shipped = _shipped(tuple(shipped_studies().items()))
    folders = read_folders(parent)
    there = {folder.study.name for folder in folders if folder.study is not None}
    there |= {folder.path.name for folder in folders}
    copies = copies_in(folders)
    rows = [
        (_study_row(folder, shipped), _claim_rows(folder, shipped))
        if folder.path not in copies
        else (_copy_row(folder, copies[folder.path], shipped), [])
        for folder in folders
    ]
    rows += [(_absent_row(study, parent), []) for name, study in shipped.items() if name not in there]
    rows.sort(key=lambda row: (chapter_order(row[0]["chapter"] or None), _minutes(row[0]), row[0]["study"]))
    studies = pd.DataFrame([study for study, _ in rows], columns=list(STUDY_COLUMNS))
    claims = pd.DataFrame([claim for _, own in rows for claim in own], columns=list(CLAIM_COLUMNS))
    claims = with_catalogue_p(claims)
    return Catalogue(
        claims=claims,
        studies=studies,
        chapters=_chapters(studies, claims),
        command=f"ablate run --all{_out(parent, Path('runs'))}",
    )


@cache
def _shipped(texts: tuple[tuple[str, str], ...]) -> dict[str, Study]:
    """The shipped studies by name; parsed once a process."""
    studies = [parse_study(parse_yaml(text, name), source=f"studies/{name}.yaml", name=name) for name, text in texts]
    return {study.name: study for study in studies}


def _study_row(folder: StudyFolder, shipped: Mapping[str, Study]) -> dict[str, Any]:
    study, name = folder.study, folder.path.name
    if study is None:
        known = shipped.get(name)
        row = _row(known, name, UNREADABLE, folder.problem, "")
        return row | {"folder": name, "chapter": "" if known is None else known.chapter or "", "page": _page(folder)}
    counts, left = folder.counts, folder.counts[TrialStatus.PENDING] + folder.counts[TrialStatus.RUNNING]
    state = NOT_RUN if not folder.num_ended else INCOMPLETE if left or counts[TrialStatus.FAILED] else COMPLETE
    notes = []
    if left and folder.num_ended:
        notes.append(f"{left} of {folder.num_trials} trials are not trained yet")
    if counts[TrialStatus.FAILED]:
        notes.append(f"{counts[TrialStatus.FAILED]} of {folder.num_trials} trials failed")
    notes += _differences(study, shipped.get(study.name))
    if folder.num_ended and not folder.has_page:
        notes.append(f"there is no report yet: ablate report {shlex.quote(str(folder.path))} writes it")
    row = _row(study, study.name, state, "; ".join(notes), _command(folder, shipped))
    return row | {
        "folder": name,
        "chapter": _chapter(study, shipped),
        "num_trials": folder.num_trials,
        "num_ended": folder.num_ended,
        "num_failed": counts[TrialStatus.FAILED],
        "seconds": folder.seconds,
        "page": _page(folder),
    }


def _copy_row(folder: StudyFolder, other: StudyFolder, shipped: Mapping[str, Study]) -> dict[str, Any]:
    """Of a folder that would be counted twice."""
    assert folder.study is not None
    note = f"{folder.path.name}: holds no trial that {other.path.name} does not plan too, and is not counted"
    row = _row(folder.study, folder.study.name, COPY, note, "")
    return row | {
        "folder": folder.path.name,
        "chapter": _chapter(folder.study, shipped),
        "num_trials": 0,
        "num_claims": 0,
        "page": _page(folder),
    }


def _absent_row(study: Study, parent: Path) -> dict[str, Any]:
    runs = f"ablate run {shlex.quote(study.name)}{_out(parent / study.name, Path('runs') / study.name)}"
    return _row(study, study.name, NOT_RUN, "", runs)


def _row(study: Study | None, name: str, state: str, note: str, command: str) -> dict[str, Any]:
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
    }


def _claim_rows(folder: StudyFolder, shipped: Mapping[str, Study]) -> list[dict[str, Any]]:
    study = folder.study
    if study is None or folder.claims.empty:
        return []
    page = _page(folder)
    done = folder.num_ended == folder.num_trials and not folder.counts[TrialStatus.FAILED]
    rows = []
    for claim, result in zip(study.claims, folder.claims.to_dict("records"), strict=True):
        metric = claim.metric or study.metric
        rows.append(
            {
                "chapter": _chapter(study, shipped),
                "study": study.name,
                "folder": folder.path.name,
                "claim": claim.name,
                "says": claim.says,
                "metric": metric_of(study, claim),
                "goal": metric.goal,
                "margin": float("nan") if metric.margin is None else metric.margin,
                "data": data_of(study),
                "model": model_of(study),
                "contrast": contrast_of(claim),
                "unit": study.unit,
                **{name: result[name] for name in _RESULTS},
                "p_catalogue": float("nan"),
                "state": COMPLETE if done else INCOMPLETE,
                "is_changed": bool(_differences(study, shipped.get(study.name))),
                "page": page and f"{page}#claims",
            }
        )
    return rows


def _chapters(studies: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for chapter in dict.fromkeys(studies["chapter"]):
        own = claims[claims["chapter"] == chapter]
        is_study = (studies["state"] != COPY) & ((studies["state"] != UNREADABLE) | (studies["num_trials"] > 0))
        of_chapter = studies[(studies["chapter"] == chapter) & is_study]
        rows.append(
            {
                "chapter": chapter or NO_CHAPTER,
                "studies": len(of_chapter),
                "complete": int((of_chapter["state"] == COMPLETE).sum()),
                "claims": int(of_chapter["num_claims"].sum()),
                **{finding: int((own["finding"] == finding).sum()) for finding in FINDINGS},
                "not tested": int(of_chapter["num_claims"].sum()) - len(own),
            }
        )
    return pd.DataFrame(rows, columns=["chapter", "studies", "complete", "claims", *FINDINGS, "not tested"])


def _chapter(study: Study, shipped: Mapping[str, Study]) -> str:
    """The chapter that the ledger has, or that the shipped study has by now."""
    known = shipped.get(study.name)
    return study.chapter or (known.chapter if known is not None else None) or ""


def _differences(study: Study, known: Study | None) -> list[str]:
    """Which parts of a shipped study this folder's plan has otherwise, as `--seeds` and `--set` make it."""
    if known is None:
        return []
    planned, shipped = (
        _flat({key: each[key] for key in each.keys() - _WITHOUT_RESULTS}) for each in (study.to_dict(), known.to_dict())
    )
    keys = [key for key in dict.fromkeys([*shipped, *planned]) if planned.get(key) != shipped.get(key)]
    if not keys:
        return []
    first = sorted(keys)[:_MOST_DIFFERENCES]
    told = [f"{key}: {_short(planned.get(key))} for {_short(shipped.get(key))}" for key in first]
    more = f", and {len(keys) - len(told)} more" if len(keys) > len(told) else ""
    return [f"not as shipped ({', '.join(told)}{more})"]


def _flat(content: Any, key: str = "") -> dict[str, Any]:
    """Dotted keys -> what is no mapping."""
    if not isinstance(content, Mapping) or not content:
        return {key: content}
    parts = [_flat(value, f"{key}.{name}" if key else str(name)) for name, value in content.items()]
    return {name: value for part in parts for name, value in part.items()}


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _command(folder: StudyFolder, shipped: Mapping[str, Study]) -> str:
    """What trains the rest of a folder's study; nothing where the command's own study.yaml is not there."""
    assert folder.study is not None
    name, path, own = folder.study.name, folder.path, folder.path / STUDY_FILE
    retry = f"ablate retry {shlex.quote(str(path))} && " if folder.counts[TrialStatus.FAILED] else ""
    if name in shipped and not _differences(folder.study, shipped[name]):
        return f"{retry}ablate run {shlex.quote(name)}{_out(path, Path('runs') / name)}"
    try:
        is_ours = own.read_bytes().startswith(HEADER.encode())
    except OSError:
        is_ours = False
    return f"{retry}ablate run {shlex.quote(str(own))} --out {shlex.quote(str(path))}" if is_ours else ""


def _out(directory: Path, default: Path) -> str:
    return "" if directory == default else f" --out {shlex.quote(str(directory))}"


def _page(folder: StudyFolder) -> str:
    """A link to the study's page, relative to the folder of the folders; nothing where there is none."""
    return f"{quote(folder.path.name)}/{FOLDER}/{PAGE}" if folder.has_page else ""


def _minutes(row: Mapping[str, Any]) -> float:
    return float("inf") if row["minutes"] is None else float(row["minutes"])

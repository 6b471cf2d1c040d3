"""Catalogue of the shipped studies as a course: chapters of studies, each with question, size and duration."""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.errors import InputError, StudyError
from experiments.text import describe_choices

from .design import count_cells
from .parse import parse_study, parse_yaml, shipped_studies
from .study import Study

CHAPTERS = (
    *("Perceptrons and layers", "Activations", "Initialisation", "Normalisation", "Regularisation", "Optimisation"),
    *("Losses", "Generalisation", "Convolutions", "Recurrence and memory", "Text", "Pretraining", "Gradients"),
)
"""In the order of the course. A study may name another chapter; those follow in alphabetical order."""

NO_CHAPTER = "Other studies"
_LISTED_KEYS = frozenset(
    ("name", "question", "factors", "design", "exclude", "folds", "seeds", "metric", "chapter", "minutes")
)
_KEY_OR_ITEM = re.compile(r"\w+:(\s|$)|- ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Study of the catalogue.

    minutes: expected duration of the whole study on two cores; None if unknown.
    unit: what the trials of a cell differ by: seed or fold.
    """

    name: str
    question: str
    chapter: str | None
    minutes: float | None
    num_cells: int
    num_seeds: int
    unit: str = "seed"

    @property
    def num_trials(self) -> int:
        """Return the number of cells times seeds."""
        return self.num_cells * self.num_seeds


def load_catalogue(texts: Mapping[str, str] | None = None) -> tuple[Entry, ...]:
    """Return the studies in the order of the course: by chapter, then by duration and by name.

    Args:
        texts: name -> YAML text; the shipped studies by default.

    Raises:
        StudyError: when a text has problems.
    """
    texts = shipped_studies() if texts is None else texts
    entries = [_make_entry(name, text) for name, text in texts.items()]
    return tuple(
        sorted(entries, key=lambda entry: (make_chapter_key(entry.chapter), _make_minutes_key(entry), entry.name))
    )


def make_chapter_key(chapter: str | None) -> tuple[int, str]:
    """Return the sort key of a chapter: the order of the course, then other chapters, then none.

    >>> sorted([None, "Zoology", "Text", "Activations"], key=make_chapter_key)
    ['Activations', 'Text', 'Zoology', None]
    """
    if chapter is None:
        return len(CHAPTERS) + 1, ""
    return (CHAPTERS.index(chapter), "") if chapter in CHAPTERS else (len(CHAPTERS), chapter)


def group_by_chapter(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Group studies by chapter, in the order of the course; those without a chapter come last."""
    found: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: make_chapter_key(entry.chapter)):  # stable
        found.setdefault(entry.chapter or NO_CHAPTER, []).append(entry)
    return found


def select_chapter(entries: Sequence[Entry], chapter: str | None) -> tuple[Entry, ...]:
    """Return the studies of a chapter, all of them for None.

    Args:
        entries: studies to select from.
        chapter: name in any case, or the beginning of one name.

    Raises:
        InputError: when no chapter of these studies, or more than one, has such a name.
    """
    if chapter is None:
        return tuple(entries)
    names = list(group_by_chapter(entries))
    wanted = " ".join(chapter.split()).casefold()
    exact = [name for name in names if name.casefold() == wanted]
    found = exact or [name for name in names if wanted and name.casefold().startswith(wanted)]
    if len(found) != 1:
        what = "more than one chapter begins so" if found else "there is no such chapter"
        raise InputError(f"--chapter {chapter!r}: {what}{describe_choices(chapter, found or names, 'chapters')}")
    return tuple(entry for entry in entries if (entry.chapter or NO_CHAPTER) == found[0])


def _make_minutes_key(entry: Entry) -> float:
    return float("inf") if entry.minutes is None else entry.minutes


def _make_entry(name: str, text: str) -> Entry:
    study = _parse_listed_keys(name, text)
    return Entry(
        name=name,
        question=study.question,
        chapter=study.chapter,
        minutes=study.minutes,
        num_cells=count_cells(study),
        num_seeds=len(study.seeds),
        unit=study.unit,
    )


def _parse_listed_keys(name: str, text: str) -> Study:
    """Parse the keys of a study that a list shows: the base and the claims take as long as all others.

    A text whose keys are not all plain words at the beginning of a line is parsed as a whole.
    """
    source = f"studies/{name}.yaml"
    if all(map(_KEY_OR_ITEM.match, re.findall(r"^[^\s#].*", text, flags=re.MULTILINE))):
        parts = re.split(r"^(?=\w+:)", text, flags=re.MULTILINE)
        kept = "".join(part for part in parts if part.partition(":")[0] in _LISTED_KEYS)
        with contextlib.suppress(StudyError):  # the whole text then gives the full message
            return parse_study({**(parse_yaml(kept, source) or {}), "base": {}}, source=source, name=name)
    return parse_study(parse_yaml(text, source), source=source, name=name)

"""Labelled texts from any source, and the numbers of their classes."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from ablation_suite.argument_checks import suggest

PARTS = ("train", "val", "test")
MAX_EMPTY_SHARE = 0.01
"""Share of empty texts up to which they are dropped; above it, the file is probably misread."""

KNOWN_ORDERS = (
    *(("negative", "positive"), ("neg", "pos"), ("bad", "good"), ("no", "yes"), ("false", "true")),
    *(("부정", "긍정"), ("부정적", "긍정적")),
)
"""Known pairs of labels, class 0 and class 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One text of a file. label: as text; location: file and line."""

    text: str
    label: str
    location: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledTexts:
    """Texts and their classes: training, then validation, then test.

    texts: (N,). labels: (N,), from 0. class_names: (C,), the original labels. sizes: of training, validation and test;
    without a given split, all are training texts. notes: sentences on dropped texts. fingerprints:
    mapping from source (such as a file) to the hash of its content.

    Raises:
        ValueError: the labels are not 0, 1, ..., or texts, labels and sizes disagree.
    """

    texts: Sequence[str]
    labels: NDArray[np.int64]
    class_names: Sequence[str]
    sizes: tuple[int, int, int]
    notes: Sequence[str] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        num_classes = len(self.class_names)
        if labels.shape != (len(self.texts),) or sum(self.sizes) != len(self.texts):
            raise ValueError(
                f"LabelledTexts: {len(self.texts)} texts, labels of shape {labels.shape} and sizes {self.sizes}; "
                "accepted: a label for each text, and three sizes whose sum is their number"
            )
        is_whole = np.issubdtype(labels.dtype, np.integer)
        if not is_whole or (len(labels) and not 0 <= labels.min() <= labels.max() < num_classes):
            raise ValueError(
                f"LabelledTexts: labels are {sorted(set(labels.tolist()))[:5]}; accepted: whole numbers from 0 to "
                f"{num_classes - 1}, since class_names has {num_classes}"
            )
        object.__setattr__(self, "labels", labels.astype(np.int64))
        object.__setattr__(self, "texts", tuple(self.texts))


def build_labelled_texts(
    parts: Sequence[Sequence[Row]],
    *,
    source: str,
    labels: Sequence[object] | None = None,
    threshold: float | None = None,
) -> LabelledTexts:
    """Convert rows to texts with numbered classes.

    Labels are compared as numbers if they are numbers, otherwise case-insensitively. The order of two classes is known
    for numbers (the smaller is class 0) and for a few pairs of words (negative and positive, ...).

    Args:
        parts: the rows of train, val and test.
        source: the name of the source in messages, such as a file name.
        labels: the labels in the order of their classes; required for other words and for more than two classes.
        threshold: for numeric labels: larger ones are class 1, smaller ones class 0, and equal ones are dropped.

    Raises:
        ValueError: a label is empty or not accepted, there is only one class, or more than 1 % of the texts are empty;
            the message has the file and the line.

    >>> rows = [Row(text="good", label="pos", location="a.tsv:1"), Row(text="bad", label="neg", location="a.tsv:2")]
    >>> found = build_labelled_texts([rows, [], []], source="a.tsv")
    >>> found.labels.tolist(), found.class_names
    ([1, 0], ('neg', 'pos'))
    """
    notes: list[str] = []
    full = _drop_empty(parts, source, notes)
    if threshold is not None:
        full = _drop_neutral(full, threshold, source, notes)
    rows = [row for part in full for row in part]
    if not rows:
        raise ValueError(f"{source}: there is no text")
    classes = (
        _classify_by_threshold(rows, threshold) if threshold is not None else _classify_by_name(rows, source, labels)
    )
    numbers, names = classes
    if len(set(numbers)) == 1:
        only = f"above {threshold}" if threshold is not None and numbers[0] else f"below {threshold}"
        found = f"every label is {rows[0].label!r}" if threshold is None else f"every label is {only}"
        raise ValueError(f"{source}: {found}; at least two classes are needed")
    if untrained := set(range(len(names))) - set(numbers[: len(full[0])]):
        raise ValueError(f"{source}: no training text has the label {names[min(untrained)]!r}")
    return LabelledTexts(
        texts=tuple(normalize("NFC", row.text) for row in rows),  # é is one character in every form
        labels=np.array(numbers, dtype=np.int64),
        class_names=names,
        sizes=(len(full[0]), len(full[1]), len(full[2])),
        notes=tuple(notes),
    )


def _drop_empty(parts: Sequence[Sequence[Row]], source: str, notes: list[str]) -> list[list[Row]]:
    num_rows = sum(map(len, parts))
    empty = [row for part in parts for row in part if not row.text.strip()]
    if empty:
        count = f"{len(empty):,} of {num_rows:,} texts {'is' if len(empty) == 1 else 'are'} empty"
        if len(empty) > MAX_EMPTY_SHARE * num_rows:
            raise ValueError(
                f"{source}: {count} ({len(empty) / num_rows:.1%}), the first at {empty[0].location}; up to "
                f"{MAX_EMPTY_SHARE:.0%} would be dropped, so many may mean that the wrong column is read"
            )
        locations = ", ".join(row.location for row in empty[:3]) + (", ..." if len(empty) > 3 else "")  # noqa: PLR2004
        notes.append(f"{source}: {count} and dropped ({locations}).")
    full = [[row for row in part if row.text.strip()] for part in parts]
    for row in (row for part in full for row in part):
        if not row.label.strip():
            raise ValueError(f"{row.location}: the label is empty")
    return full


def _drop_neutral(parts: Sequence[Sequence[Row]], threshold: float, source: str, notes: list[str]) -> list[list[Row]]:
    kept = [[row for row in part if _parse_number(row) != threshold] for part in parts]
    num_left_out = sum(map(len, parts)) - sum(map(len, kept))
    if num_left_out:
        notes.append(
            f"{source}: {num_left_out:,} of {sum(map(len, parts)):,} texts have the label {threshold:g}, neither above "
            "nor below the threshold, and are dropped."
        )
    return kept


def _classify_by_threshold(rows: Sequence[Row], threshold: float) -> tuple[list[int], tuple[str, ...]]:
    return [int(_parse_number(row) > threshold) for row in rows], (f"below {threshold:g}", f"above {threshold:g}")


def _parse_number(row: Row) -> float:
    if _is_number(row.label):
        return float(row.label)
    raise ValueError(f"{row.location}: the label is {row.label!r}; with a threshold, labels are numbers")


def _classify_by_name(
    rows: Sequence[Row], source: str, labels: Sequence[object] | None
) -> tuple[list[int], tuple[str, ...]]:
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(_canonicalise(row.label), row)
    if labels is None:
        order = _order_labels(first, Counter(_canonicalise(row.label) for row in rows), source)
        names = tuple(first[each].label.strip() for each in order)
    else:
        names = tuple(_format_label(label) for label in labels)
        order = [_canonicalise(name) for name in names]
        for key, row in first.items():
            if key not in order:
                raise ValueError(
                    f"{row.location}: the label is {row.label!r}; `labels` has {', '.join(map(repr, names))}"
                    f"{suggest(row.label, names)}"
                )
        for key, name in zip(order, names, strict=True):
            if key not in first:
                found = ", ".join(repr(row.label) for row in first.values())
                raise ValueError(f"{source}: no text has the label {name!r}; there are {found}")
    numbers = {key: number for number, key in enumerate(order)}
    return [numbers[_canonicalise(row.label)] for row in rows], names


def _order_labels(first: dict[str, Row], counts: Counter[str], source: str) -> list[str]:
    keys = list(first)
    if len(keys) > 2:  # noqa: PLR2004 -- negative and positive
        listing = ", ".join(
            f"{first[key].label!r} ({counts[key]:,} texts, first at {first[key].location})" for key in keys[:5]
        )
        more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""  # noqa: PLR2004
        raise ValueError(
            f"{source}: {len(keys)} labels where 2 are expected: {listing}{more}; give `labels`, all of them in the "
            "order of their classes, or for stars a `threshold`"
        )
    if all(_is_number(key) for key in keys):
        return sorted(keys, key=float)
    for pair in KNOWN_ORDERS:
        if set(keys) <= set(pair):
            return [key for key in pair if key in keys]
    if len(keys) == 1:
        return keys
    raise ValueError(
        f"{source}: the labels are {' and '.join(repr(first[key].label) for key in keys)}; give `labels`, the negative "
        "one first and the positive one second"
    )


def _canonicalise(label: str) -> str:
    """Return a form in which equal labels are equal: 1, 1.0 and "1" are the same.

    >>> _canonicalise(" 1.0 "), _canonicalise("Positive")
    ('1', 'positive')
    """
    text = label.strip()
    return format((Decimal(text) + 0).normalize(), "f") if _is_number(text) else text.casefold()


def _format_label(label: object) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?\s*", text, flags=re.ASCII) is not None

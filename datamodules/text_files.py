"""Labelled texts from files: tables with columns of texts and labels, or one text per line and one file per class.

A file is decoded as a whole and split at line feeds only: `str.splitlines` also splits at form feeds, U+0085 and
others, which occur within real reviews. pandas does not, but it fills a short row with empty columns and ends a line at
a lone carriage return (3.1.1, QUOTE_NONE), so a table without quotes is split here.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import Any, Literal, get_args

from ablation_suite.argument_checks import check_choice, suggest
from datamodules.labelled_texts import PARTS, LabelledTexts, Row, build_labelled_texts

Format = Literal["auto", "tsv", "csv", "jsonl", "parquet", "lines"]
Column = str | int

FORMATS = {
    **dict.fromkeys((".tsv", ".tab", ".txt"), "tsv"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    ".csv": "csv",
    ".parquet": "parquet",
}
"""Format by suffix; a file of one class with another suffix, or .txt, has one text per line."""

EXTRA = "`pip install 'ablation-suite[text]'` or `uv sync --extra text`"
_LONGEST_FIELD = 2**27
_FEW = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Form of files; see `Sentiment` for the fields."""

    format: Format = "auto"
    text: Column = "text"
    label: Column = "label"
    header: bool | None = None
    delimiter: str | None = None
    quotes: bool | None = None
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file.

    part: train, val or test. label: the label of all its texts; None if a column has labels. display_name: the name in
    messages, as given; None for the path's last part.
    """

    path: Path
    part: str
    label: str | None = None
    display_name: str | None = None

    @property
    def name(self) -> str:
        """Return the name in messages."""
        return self.display_name or self.path.name


def check_table(owner: str, table: Table) -> None:
    """Raise unless the fields are valid together.

    Raises:
        ValueError: a field is not accepted; the message lists what is.
    """
    check_choice(owner, "format", table.format, get_args(Format))
    try:
        "a".encode(table.encoding)
    except (LookupError, UnicodeError):
        raise ValueError(
            f"{owner}: encoding is {table.encoding!r}; accepted: one that Python knows, such as utf-8, latin-1, cp949"
        ) from None
    if table.text == table.label:
        raise ValueError(f"{owner}: text and label are both {table.text!r}; accepted: two columns")
    if table.delimiter is not None and len(table.delimiter) != 1 and table.delimiter != "\\t":
        raise ValueError(f"{owner}: delimiter is {table.delimiter!r}; accepted: one character")
    if table.header is False:
        for name, column in (("text", table.text), ("label", table.label)):
            if isinstance(column, str) and table.format not in {"jsonl", "parquet"}:
                raise ValueError(f"{owner}: {name} is {column!r}, but without a header columns have numbers, from 0")


def resolve_files(owner: str, files: Any, data_dir: Path) -> tuple[File, ...]:
    """Return the files of an argument.

    Args:
        owner: the class named in error messages.
        files: a path, a list of paths, a mapping of class to paths, or a mapping of train, val and test to these.
        data_dir: the folder in which relative paths are searched after the working folder.

    Raises:
        ValueError: the argument has another form.
        FileNotFoundError: a file does not exist.
    """
    is_split = isinstance(files, Mapping) and bool(files) and ("train" in files or set(files) <= set(PARTS))
    parts = files if is_split else {"train": files}
    if is_split and (set(files) - set(PARTS) or "train" not in files):
        raise ValueError(
            f"{owner}: files has {', '.join(map(repr, files))}; accepted: 'train' with 'val', 'test' or both, or "
            "classes"
        )
    found = []
    for part, of_part in parts.items():
        if isinstance(of_part, Mapping) and not of_part:
            raise ValueError(f"{owner}: files is {files!r}; a mapping of class to paths has at least two classes")
        classes = of_part if isinstance(of_part, Mapping) else {None: of_part}
        for label, paths in classes.items():
            of_class = [paths] if isinstance(paths, str | Path) else paths
            if (
                not isinstance(of_class, Sequence)
                or not of_class
                or not all(isinstance(p, str | Path) for p in of_class)
            ):
                raise ValueError(
                    f"{owner}: files is {files!r}; accepted: a path, a list of paths, a mapping of class to paths, or "
                    "a mapping of train, val and test to these"
                )
            found += [
                File(
                    path=_locate(owner, Path(path), data_dir),
                    part=part,
                    label=None if label is None else str(label),
                    display_name=str(path),
                )
                for path in of_class
            ]
    return tuple(found)


def read_files(
    files: Sequence[File], table: Table, labels: Sequence[object] | None = None, threshold: float | None = None
) -> LabelledTexts:
    """Return the texts of files; cached until one of them changes.

    Raises:
        ValueError: a file does not have the given form; the message has the file and, if there is one, the line.
        ModuleNotFoundError: a file is Parquet and pyarrow is not installed; the message names the extra.
    """
    stats = tuple((status.st_size, status.st_mtime_ns) for status in (file.path.stat() for file in files))
    return _read(tuple(files), table, None if labels is None else tuple(labels), threshold, stats)


@lru_cache(maxsize=8)
def _read(
    files: tuple[File, ...],
    table: Table,
    labels: tuple[object, ...] | None,
    threshold: float | None,
    stats: tuple[tuple[int, int], ...],  # noqa: ARG001 -- a changed file is read again
) -> LabelledTexts:
    parts = [[row for file in files if file.part == part for row in _read_rows(file, table)] for part in PARTS]
    names = list(dict.fromkeys(file.name for file in files))
    found = build_labelled_texts(parts, source=" + ".join(names), labels=labels, threshold=threshold)
    return replace(found, fingerprints={file.name: _hash_file(file.path) for file in files})


def _hash_file(path: Path) -> str:
    with path.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()


def _locate(owner: str, path: Path, data_dir: Path) -> Path:
    path = path.expanduser()
    candidates = [path] if path.is_absolute() else [Path.cwd() / path, data_dir / path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
        if candidate.is_dir():
            raise ValueError(f"{owner}: {candidate} is a folder; a file is expected")
    hint = "" if path.is_absolute() else "; relative paths are looked for in the working folder and in the data folder "
    hint += "" if path.is_absolute() else "(--data-dir, or ABLATE_DATA_DIR)"
    raise FileNotFoundError(f"{owner}: there is no file {' nor '.join(map(str, candidates))}{hint}")


def _read_rows(file: File, table: Table) -> Iterator[Row]:
    form = _detect_format(file, table)
    if form == "lines":
        for number, text in enumerate(_read_lines(file, table), start=1):
            yield Row(text=text, label=_get_label(file), location=f"{file.name}, line {number}")
        return
    read = {"jsonl": _read_json_lines, "parquet": _read_parquet}.get(form)
    if read is not None:
        yield from read(file, table)
        return
    delimiter = table.delimiter or {"tsv": "\t", "csv": ","}[form]
    delimiter = "\t" if delimiter == "\\t" else delimiter  # \t without double quotes in YAML
    has_quotes = (form == "csv") if table.quotes is None else table.quotes
    records = _parse_quoted(file, table, delimiter) if has_quotes else _split_unquoted(file, table, delimiter)
    yield from _select_columns(file, table, records)


def _detect_format(file: File, table: Table) -> str:
    if table.format != "auto":
        return table.format
    suffix = file.path.suffix.lower()
    if file.label is not None and (suffix not in FORMATS or suffix == ".txt"):
        return "lines"
    if suffix not in FORMATS:
        raise ValueError(
            f"{file.name}: the name does not say what it holds; give `format`, one of "
            f"{', '.join(form for form in get_args(Format) if form != 'auto')}"
        )
    return FORMATS[suffix]


def _get_label(file: File) -> str:
    if file.label is None:
        raise ValueError(
            f"{file.name}: with one text a line, labels come from the files: give `files` as a mapping of class to path"
        )
    return file.label


def _decode(file: File, table: Table) -> str:
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise ValueError(f"{file.name}: cannot be read ({error.strerror})") from None
    try:
        return content.decode(table.encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        hint = "utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "latin-1 or cp949"
        raise ValueError(
            f"{file.name}, line {line}: byte 0x{content[error.start]:02x} is not {table.encoding}; give the file's "
            f"`encoding`, such as {hint}"
        ) from None
    except UnicodeError as error:
        raise ValueError(f"{file.name}: is not {table.encoding} ({error})") from None


def _read_lines(file: File, table: Table) -> list[str]:
    lines = [line.removesuffix("\r") for line in _decode(file, table).split("\n")]
    while lines and lines[-1] == "":
        lines.pop()
    return lines


def _split_unquoted(file: File, table: Table, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(_read_lines(file, table), start=1):
        yield number, line.split(delimiter)


def _parse_quoted(file: File, table: Table, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    number = 1
    reader = csv.reader(io.StringIO(_decode(file, table), newline=""), delimiter=delimiter, strict=True)
    try:
        records = []
        for record in reader:
            records.append((number, record))
            number = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{file.name}, line {number}: {error}; is this file quoted? `quotes: false` takes quotes as they are"
        ) from None
    finally:
        csv.field_size_limit(before)
    yield from records


def _select_columns(file: File, table: Table, records: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    wanted = _select_wanted_columns(file, table)
    has_header = table.header
    if has_header is None:
        has_header = any(isinstance(column, str) for column in wanted.values())
    indices: dict[str, int] = {}
    first: list[str] = []
    for number, record in records:
        if not any(field.strip() for field in record):
            continue  # a blank line
        if not indices:
            first = record
            indices = {
                name: _find_column(f"{file.name}, line {number}", name, column, record, is_header=has_header)
                for name, column in wanted.items()
            }
            if has_header:
                continue
        location = f"{file.name}, line {number}"
        if len(record) != len(first):
            raise ValueError(
                f"{location}: {_format_count(len(record))}, where the first line has {len(first)}"
                f"{_suggest_quotes(record)}"
            )
        label = _get_label(file) if "label" not in indices else record[indices["label"]]
        yield Row(text=record[indices["text"]], label=label, location=location)


def _select_wanted_columns(file: File, table: Table) -> dict[str, Column]:
    return {"text": table.text} if file.label is not None else {"text": table.text, "label": table.label}


def _suggest_quotes(record: Sequence[str]) -> str:
    return "; is a text quoted? see `quotes`" if any(field.startswith('"') for field in record) else ""


def _find_column(location: str, name: str, column: Column, record: Sequence[str], *, is_header: bool) -> int:
    if isinstance(column, int):
        if 0 <= column < len(record):
            return column
        raise ValueError(f"{location}: there is no column {column} for `{name}`: {_format_count(len(record))}, from 0")
    if is_header and record.count(column) == 1:
        return list(record).index(column)
    if is_header and column in record:
        raise ValueError(
            f"{location}: there are {record.count(column)} columns {column!r} for `{name}`; give one's number"
        )
    listing = ", ".join(f"{each!r:.40}" for each in record[:_FEW]) + (", ..." if len(record) > _FEW else "")
    others = [repr(mark) for mark in ";,|\t" if len(record) == 1 and mark in record[0]]
    hint = f"; is the `delimiter` {' or '.join(others)}?" if others else suggest(column, record)
    raise ValueError(
        f"{location}: there is no column {column!r} for `{name}`; there are {listing}"
        + (hint if is_header else "; without a header columns have numbers, from 0")
    )


def _format_count(number: int) -> str:
    return f"{number} column" if number == 1 else f"{number} columns"


def _read_json_lines(file: File, table: Table) -> Iterator[Row]:
    for number, line in enumerate(_read_lines(file, table), start=1):
        location = f"{file.name}, line {number}"
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{location}: is not JSON ({error.msg} at character {error.pos + 1})") from None
        except (ValueError, RecursionError) as error:  # a number with thousands of digits, or deep nesting
            raise ValueError(f"{location}: is not JSON that can be read ({error})") from None
        if not isinstance(record, dict):
            raise ValueError(f"{location}: holds {record!r:.60}; an object with a text and a label is expected")  # noqa: TRY004
        yield _make_row(file, table, record, location)


def _read_parquet(file: File, table: Table) -> Iterator[Row]:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{file.name}: Parquet files need pyarrow, which is not installed; install it with {EXTRA}"
        ) from error
    try:
        content = pyarrow.parquet.ParquetFile(file.path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file.name}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    names = content.schema_arrow.names
    wanted = _select_wanted_columns(file, table)
    for name, column in wanted.items():
        _find_column(file.name, name, str(column), names, is_header=True)
    records = content.read([str(column) for column in wanted.values()]).to_pylist()
    for number, record in enumerate(records, start=1):
        yield _make_row(file, table, record, f"{file.name}, row {number}")


def _make_row(file: File, table: Table, record: Mapping[str, Any], location: str) -> Row:
    """Return the row of a record with named fields."""
    values = {"label": file.label or ""}
    for name, column in _select_wanted_columns(file, table).items():
        if column not in record:
            listing = ", ".join(map(repr, record))
            raise ValueError(
                f"{location}: there is no column {column!r} for `{name}`; there are {listing}"
                f"{suggest(column, list(record))}"
            )
        value = record[column]  # type: ignore[index]  # a number is not in a record
        if name == "text" and not isinstance(value, str | None):
            raise ValueError(f"{location}: the text is {value!r}; a string is expected")
        values[name] = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return Row(text=values["text"], label=values["label"], location=location)

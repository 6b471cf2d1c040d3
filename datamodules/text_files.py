"""Labelled texts from files: tables with a column of texts and one of labels, or one text a line and a file a class.

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
from datamodules.labelled_texts import PARTS, LabelledTexts, Row, labelled

Format = Literal["auto", "tsv", "csv", "jsonl", "parquet", "lines"]
Column = str | int

FORMATS = {".tsv": "tsv", ".tab": "tsv", ".txt": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"} | {
    ".parquet": "parquet"
}
"""What a file is by its name; a file of one class that is none of them, or .txt, has one text a line."""

EXTRA = "pip install 'ablation-suite[text]', or uv sync --extra text"
_LONGEST_FIELD = 2**27
_FEW = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """How files are read.

    text, label: a column's name, or its number from 0. header: whether the first line names the columns; None when a
    column is asked for by name. delimiter: between columns; None for what the format says. quotes: whether double
    quotes enclose columns that hold delimiters or line ends; None in csv and not in tsv.
    """

    format: Format = "auto"
    text: Column = "text"
    label: Column = "label"
    header: bool | None = None
    delimiter: str | None = None
    quotes: bool | None = None
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file. part: train, val or test. label: of all its texts; None where a column has them. shown: its name in
    messages, as it was written; None for the path's last part.
    """

    path: Path
    part: str
    label: str | None = None
    shown: str | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.shown or self.path.name


def check_table(owner: str, table: Table) -> None:
    """Raise unless the way of reading is possible.

    Raises:
        ValueError: with the argument, what was found and what is accepted.
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


def files_of(owner: str, files: Any, data_dir: Path) -> tuple[File, ...]:
    """The files that an argument names.

    Args:
        owner: whom messages name.
        files: a path, a list of them, a mapping of class to paths, or a mapping of train, val and test to any of these.
        data_dir: where relative paths are looked for after the working folder.

    Raises:
        ValueError: the argument has another form.
        FileNotFoundError: a file is in neither place.
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
                    path=_located(owner, Path(path), data_dir),
                    part=part,
                    label=None if label is None else str(label),
                    shown=str(path),
                )
                for path in of_class
            ]
    return tuple(found)


def read_files(
    files: Sequence[File], table: Table, labels: Sequence[object] | None = None, threshold: float | None = None
) -> LabelledTexts:
    """What the files hold; read once a process, until one of them changes.

    Raises:
        ValueError: a file cannot be read as it is said to be; the message has the file and, if there is one, the line.
        ModuleNotFoundError: a Parquet file, and pyarrow is not installed; the message has the extra.
    """
    stats = tuple((status.st_size, status.st_mtime_ns) for status in (file.path.stat() for file in files))
    return _read(tuple(files), table, None if labels is None else tuple(labels), threshold, stats)


@lru_cache(maxsize=8)
def _read(
    files: tuple[File, ...],
    table: Table,
    labels: tuple[object, ...] | None,
    threshold: float | None,
    stats: tuple[tuple[int, int], ...],  # noqa: ARG001 -- a changed file is read anew
) -> LabelledTexts:
    parts = [[row for file in files if file.part == part for row in _rows(file, table)] for part in PARTS]
    names = list(dict.fromkeys(file.name for file in files))
    found = labelled(parts, source=" + ".join(names), labels=labels, threshold=threshold)
    return replace(found, fingerprints={file.name: _hash(file.path) for file in files})


def _hash(path: Path) -> str:
    with path.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()


def _located(owner: str, path: Path, data_dir: Path) -> Path:
    path = path.expanduser()
    tried = [path] if path.is_absolute() else [Path.cwd() / path, data_dir / path]
    for place in tried:
        if place.is_file():
            return place.resolve()
        if place.is_dir():
            raise ValueError(f"{owner}: {place} is a folder; a file is expected")
    hint = "" if path.is_absolute() else "; relative paths are looked for in the working folder and in the data folder "
    hint += "" if path.is_absolute() else "(--data-dir, or ABLATE_DATA_DIR)"
    raise FileNotFoundError(f"{owner}: there is no file {' nor '.join(map(str, tried))}{hint}")


def _rows(file: File, table: Table) -> Iterator[Row]:
    form = _format_of(file, table)
    if form == "lines":
        for number, text in enumerate(_lines(file, table), start=1):
            yield Row(text=text, label=_label_of(file), where=f"{file.name}, line {number}")
        return
    read = {"jsonl": _objects, "parquet": _records}.get(form)
    if read is not None:
        yield from read(file, table)
        return
    delimiter = table.delimiter or {"tsv": "\t", "csv": ","}[form]
    delimiter = "\t" if delimiter == "\\t" else delimiter  # as YAML without double quotes has it
    has_quotes = (form == "csv") if table.quotes is None else table.quotes
    records = _quoted(file, table, delimiter) if has_quotes else _unquoted(file, table, delimiter)
    yield from _columns(file, table, records)


def _format_of(file: File, table: Table) -> str:
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


def _label_of(file: File) -> str:
    if file.label is None:
        raise ValueError(
            f"{file.name}: with one text a line, labels come from the files: give `files` as a mapping of class to path"
        )
    return file.label


def _decoded(file: File, table: Table) -> str:
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


def _lines(file: File, table: Table) -> list[str]:
    lines = [line.removesuffix("\r") for line in _decoded(file, table).split("\n")]
    while lines and lines[-1] == "":
        lines.pop()
    return lines


def _unquoted(file: File, table: Table, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(_lines(file, table), start=1):
        yield number, line.split(delimiter)


def _quoted(file: File, table: Table, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    number = 1
    reader = csv.reader(io.StringIO(_decoded(file, table), newline=""), delimiter=delimiter, strict=True)
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


def _columns(file: File, table: Table, records: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    wanted = _wanted_columns(file, table)
    has_header = table.header
    if has_header is None:
        has_header = any(isinstance(column, str) for column in wanted.values())
    places: dict[str, int] = {}
    names: list[str] = []
    for number, record in records:
        if not any(field.strip() for field in record):
            continue  # a blank line is no text
        if not places:
            names = record
            places = {
                name: _place(f"{file.name}, line {number}", name, column, record, is_header=has_header)
                for name, column in wanted.items()
            }
            if has_header:
                continue
        where = f"{file.name}, line {number}"
        if len(record) != len(names):
            raise ValueError(f"{where}: {_counted(len(record))}, where the first line has {len(names)}{_hint(record)}")
        label = _label_of(file) if "label" not in places else record[places["label"]]
        yield Row(text=record[places["text"]], label=label, where=where)


def _wanted_columns(file: File, table: Table) -> dict[str, Column]:
    return {"text": table.text} if file.label is not None else {"text": table.text, "label": table.label}


def _hint(record: Sequence[str]) -> str:
    return "; is a text quoted? see `quotes`" if any(field.startswith('"') for field in record) else ""


def _place(where: str, name: str, column: Column, record: Sequence[str], *, is_header: bool) -> int:
    if isinstance(column, int):
        if 0 <= column < len(record):
            return column
        raise ValueError(f"{where}: there is no column {column} for `{name}`: {_counted(len(record))}, from 0")
    if is_header and record.count(column) == 1:
        return list(record).index(column)
    if is_header and column in record:
        raise ValueError(
            f"{where}: there are {record.count(column)} columns {column!r} for `{name}`; give one's number"
        )
    shown = ", ".join(f"{each!r:.40}" for each in record[:_FEW]) + (", ..." if len(record) > _FEW else "")
    others = [repr(mark) for mark in ";,|\t" if len(record) == 1 and mark in record[0]]
    hint = f"; is the `delimiter` {' or '.join(others)}?" if others else suggest(column, record)
    raise ValueError(
        f"{where}: there is no column {column!r} for `{name}`; there are {shown}"
        + (hint if is_header else "; without a header columns have numbers, from 0")
    )


def _counted(number: int) -> str:
    return f"{number} column" if number == 1 else f"{number} columns"


def _objects(file: File, table: Table) -> Iterator[Row]:
    for number, line in enumerate(_lines(file, table), start=1):
        where = f"{file.name}, line {number}"
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: is not JSON ({error.msg} at character {error.pos + 1})") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, nesting without end
            raise ValueError(f"{where}: is not JSON that can be read ({error})") from None
        if not isinstance(record, dict):
            raise ValueError(f"{where}: holds {record!r:.60}; an object with a text and a label is expected")  # noqa: TRY004
        yield _row(file, table, record, where)


def _records(file: File, table: Table) -> Iterator[Row]:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{file.name}: Parquet files need pyarrow, which is not installed: {EXTRA}"
        ) from error
    try:
        content = pyarrow.parquet.ParquetFile(file.path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file.name}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    names = content.schema_arrow.names
    wanted = _wanted_columns(file, table)
    for name, column in wanted.items():
        _place(file.name, name, str(column), names, is_header=True)
    records = content.read([str(column) for column in wanted.values()]).to_pylist()
    for number, record in enumerate(records, start=1):
        yield _row(file, table, record, f"{file.name}, row {number}")


def _row(file: File, table: Table, record: Mapping[str, Any], where: str) -> Row:
    """A record with named fields."""
    values = {"label": file.label or ""}
    for name, column in _wanted_columns(file, table).items():
        if column not in record:
            shown = ", ".join(map(repr, record))
            raise ValueError(
                f"{where}: there is no column {column!r} for `{name}`; there are {shown}{suggest(column, list(record))}"
            )
        value = record[column]  # type: ignore[index]  # a number is in no record
        if name == "text" and not isinstance(value, str | None):
            raise ValueError(f"{where}: the text is {value!r}; a string is expected")
        values[name] = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return Row(text=values["text"], label=values["label"], where=where)

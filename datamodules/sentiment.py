"""Labelled texts from files or the Hugging Face Hub."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ablation_suite.argument_checks import check_choice
from datamodules.downloads import find_data_dir
from datamodules.hub_texts import NamedSet, read_named_set
from datamodules.labelled_texts import LabelledTexts
from datamodules.text_files import Column, Format, Table, check_table, read_files, resolve_files
from datamodules.texts import TextDataModule

Files = str | list[str] | dict[str, Any]


class Sentiment(TextDataModule):
    """Labelled texts from files, or a named set of the Hugging Face Hub.

    | files | meaning |
    |---|---|
    | reviews.tsv | one table; or .csv, .jsonl, .parquet |
    | [a.tsv, b.tsv] | several tables with the same columns |
    | {neg: bad.txt, pos: good.txt} | for each class a file or a list of files, one text per line |
    | {train: a.tsv, val: b.tsv, test: c.tsv} | a given split; each value may be any of the above |

    Args:
        files: see above; relative paths are resolved in the working folder, then in the data folder.
        dataset: a data set of the Hub instead of files: rotten_tomatoes, imdb, yelp_polarity or sst2.
        text: the column of texts, by its name or its number from 0.
        label: the column of labels, by its name or its number from 0.
        labels: the labels in the order of their classes, such as [ham, spam]. Not required for two numbers, or for
            negative and positive and similar pairs; required for more than two classes.
        threshold: for numeric labels, such as stars: larger ones are positive, smaller ones negative, equal ones are
            dropped.
        format: tsv, csv, jsonl, parquet, or lines for one text per line; auto takes it from the file's name.
        header: whether the first line of a table names its columns; None means yes if a column is given by name.
        delimiter: one character between columns; None takes the format's.
        quotes: whether double quotes enclose columns that contain delimiters or line ends; None means yes in csv and no
            in tsv.
        encoding: the files' encoding, by its name in Python, such as utf-8, latin-1, cp949.
        data_dir: the folder of all data sets; None takes the variable ABLATE_DATA_DIR, or `data` if it is not set.
        options: see `TextDataModule`.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.
    """

    def __init__(
        self,
        files: Files | None = None,
        *,
        dataset: NamedSet | None = None,
        text: Column = "text",
        label: Column = "label",
        labels: Sequence[str | int | float | bool] | None = None,
        threshold: float | None = None,
        format: Format = "auto",  # noqa: A002 -- the word of the study file
        header: bool | None = None,
        delimiter: str | None = None,
        quotes: bool | None = None,
        encoding: str = "utf-8",
        data_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        if (files is None) == (dataset is None):
            raise ValueError(f"{owner}: give either `files` or `dataset`, one of {', '.join(get_args(NamedSet))}")
        if dataset is not None:
            check_choice(owner, "dataset", dataset, get_args(NamedSet))
        if threshold is not None and not math.isfinite(threshold):
            raise ValueError(f"{owner}: threshold is {threshold}; accepted: a finite number")
        if labels is not None and threshold is not None:
            raise ValueError(f"{owner}: give `labels` or a `threshold`, not both")
        if labels is not None and (len(labels) < 2 or len(set(map(str, labels))) < len(labels)):  # noqa: PLR2004
            raise ValueError(f"{owner}: labels is {list(labels)!r}; accepted: two labels or more, each once")
        self._files, self._dataset = files, dataset
        self._labels, self._threshold = labels, threshold
        self._table = Table(
            format=format,
            text=text,
            label=label,
            header=header,
            delimiter=delimiter,
            quotes=quotes,
            encoding=encoding,
        )
        check_table(owner, self._table)
        self.data_dir = find_data_dir(data_dir)

    def read_texts(self) -> LabelledTexts:
        """Read the files or the named data set.

        Raises:
            FileNotFoundError: a file does not exist.
            ValueError: a file does not have the given form; the message has the file and the line.
            ConnectionError: a named data set cannot be downloaded.
            ModuleNotFoundError: an extra is not installed; the message names it.
        """
        if self._dataset is not None:
            return read_named_set(self._dataset)
        files = resolve_files(type(self).__name__, self._files, self.data_dir)
        return read_files(files, self._table, self._labels, self._threshold)

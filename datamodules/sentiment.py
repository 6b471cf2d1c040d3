"""Sentiment, and any other labelled text that a user has."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ablation_suite.argument_checks import check_choice
from datamodules.downloads import find_data_dir
from datamodules.hub_texts import Named, read_named
from datamodules.labelled_texts import LabelledTexts
from datamodules.text_files import Column, Format, Table, check_table, files_of, read_files
from datamodules.texts import TextDataModule

Files = str | list[str] | dict[str, Any]


class Sentiment(TextDataModule):
    """Labelled texts from files, or a named set of the Hugging Face Hub.

    | files | what it is |
    |---|---|
    | reviews.tsv | one table; likewise .csv, .jsonl, .parquet |
    | [a.tsv, b.tsv] | several, of the same columns |
    | {neg: bad.txt, pos: good.txt} | a file or a list of files a class, one text a line |
    | {train: a.tsv, val: b.tsv, test: c.tsv} | a given split; each may be any of the above |

    Args:
        files: see above; relative paths are looked for in the working folder, then in the data folder.
        dataset: instead of files: rotten_tomatoes, imdb, yelp_polarity or sst2, of the Hub.
        text: the column of texts, by its name or its number from 0.
        label: the column of labels, likewise.
        labels: the labels in the order of their classes, such as [ham, spam]. Not needed for two numbers, nor for
            negative and positive and the like; more than two make a task of as many classes.
        threshold: for labels that are numbers, such as stars: above is positive, below negative, equal is left out.
        format: tsv, csv, jsonl, parquet, or lines for one text a line; auto goes by the file's name.
        header: whether the first line of a table names its columns; None where a column is asked for by name.
        delimiter: one character between columns, if it is not the format's own.
        quotes: whether double quotes enclose columns with delimiters or line ends in them; None in csv and not in tsv.
        encoding: of the files, one of Python's names, such as utf-8, latin-1, cp949.
        data_dir: the folder of all data sets; None takes the variable ABLATE_DATA_DIR, or `data` if it is not set.
        options: see `TextDataModule`.

    Raises:
        ValueError: an argument is not accepted; the message says what is.
    """

    def __init__(
        self,
        files: Files | None = None,
        *,
        dataset: Named | None = None,
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
            raise ValueError(f"{owner}: give either `files` or `dataset`, one of {', '.join(get_args(Named))}")
        if dataset is not None:
            check_choice(owner, "dataset", dataset, get_args(Named))
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
        """What the files hold.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: a file is not as it is said to be; the message has the file and the line.
            ConnectionError: a named set cannot be downloaded.
            ModuleNotFoundError: an extra is not installed; the message says which.
        """
        if self._dataset is not None:
            return read_named(self._dataset)
        files = files_of(type(self).__name__, self._files, self.data_dir)
        return read_files(files, self._table, self._labels, self._threshold)

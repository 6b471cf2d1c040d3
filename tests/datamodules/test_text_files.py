"""Labelled texts from files of every form, and errors for files that cannot be read."""

import csv
import io
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from datamodules.labelled_texts import Row, build_labelled_texts
from datamodules.text_files import File, Table, check_table, read_files, resolve_files

TEXTS = ["good food", "bad food", 'so "good"', "어둡고 지루해", "재미있다", "Ça va"]
LABELS = [1, 0, 1, 0, 1, 1]


def write(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def read(path, *, labels=None, threshold=None, label_of_file=None, **table):
    return read_files([File(path=path, part="train", label=label_of_file)], Table(**table), labels, threshold)


def tsv(tmp_path, rows=None, header="text\tlabel\n", name="reviews.tsv", **options):
    rows = rows or [f"{text}\t{label}" for text, label in zip(TEXTS, LABELS, strict=True)]
    return write(tmp_path / name, header + "".join(f"{row}\n" for row in rows), **options)


def check(found):
    assert list(found.texts) == TEXTS
    assert found.labels.tolist() == LABELS
    assert found.class_names == ("0", "1")
    assert found.sizes == (6, 0, 0)
    assert found.notes == ()


# --- forms ---


def test_tsv_with_a_header(tmp_path):
    check(read(tsv(tmp_path)))


def test_tsv_without_a_header_has_columns_with_numbers(tmp_path):
    check(read(tsv(tmp_path, header=""), text=0, label=1))


def test_a_header_may_be_skipped_though_columns_have_numbers(tmp_path):
    check(read(tsv(tmp_path), text=0, label=1, header=True))


def test_txt_is_read_as_tsv(tmp_path):
    check(read(tsv(tmp_path, header="", name="labelled.txt"), text=0, label=1))


def test_other_columns_are_ignored(tmp_path):
    rows = [f"7\t{text}\tx\t{label}" for text, label in zip(TEXTS, LABELS, strict=True)]
    path = tsv(tmp_path, rows, header="id\ttext\tsource\tlabel\n")
    check(read(path))
    check(read(path, text=1, label=3, header=True))


def test_csv_is_quoted(tmp_path):
    rows = ['"good, and\nmore",1', '"a ""b""",0', "plain,1"]
    found = read(write(tmp_path / "a.csv", "text,label\n" + "\n".join(rows) + "\n"))
    assert list(found.texts) == ["good, and\nmore", 'a "b"', "plain"]


def test_csv_without_quotes_and_with_another_delimiter(tmp_path):
    path = write(tmp_path / "a.csv", 'text;label\n"good;1\nbad";0\n')
    assert list(read(path, delimiter=";", quotes=False).texts) == ['"good', 'bad"']


def test_a_tsv_with_quotes(tmp_path):
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"good\tfood"\t1\nbad\t0\n')
    assert list(read(path, quotes=True).texts) == ["good\tfood", "bad"]


def test_jsonl(tmp_path):
    records = [{"text": text, "id": 3, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    check(read(write(tmp_path / "a.jsonl", "".join(json.dumps(each) + "\n" for each in records))))


def test_jsonl_labels_may_be_true_and_false(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "good", "label": true}\n{"text": "bad", "label": false}\n')
    found = read(path)
    assert (found.labels.tolist(), found.class_names) == ([1, 0], ("false", "true"))


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow", reason="the extra text is not installed")
    pd.DataFrame({"text": TEXTS, "label": LABELS, "other": None}).to_parquet(tmp_path / "a.parquet")
    check(read(tmp_path / "a.parquet"))


def test_a_file_a_class_with_one_text_a_line(tmp_path):
    pos, neg = write(tmp_path / "a.pos", "good\nfine\r\n"), write(tmp_path / "a.neg", "bad\n")
    files = resolve_files("Sentiment", {"pos": str(pos), "neg": [str(neg)]}, tmp_path)
    found = read_files(files, Table())
    assert list(zip(found.texts, found.labels.tolist(), strict=True)) == [("good", 1), ("fine", 1), ("bad", 0)]
    assert found.class_names == ("neg", "pos")


def test_a_table_a_class_has_no_column_of_labels(tmp_path):
    pos, neg = write(tmp_path / "pos.csv", "text\ngood\n"), write(tmp_path / "neg.csv", "text\nbad\n")
    found = read_files(resolve_files("Sentiment", {"pos": str(pos), "neg": str(neg)}, tmp_path), Table())
    assert found.labels.tolist() == [1, 0]


def test_a_given_split_keeps_its_parts(tmp_path):
    for part, text in (("train", "a\t1\nb\t0\n"), ("dev", "c\t1\n"), ("test", "d\t0\ne\t1\n")):
        write(tmp_path / f"{part}.tsv", text)
    files = resolve_files("Sentiment", {"test": "test.tsv", "val": "dev.tsv", "train": "train.tsv"}, tmp_path)
    found = read_files(files, Table(text=0, label=1))
    assert (list(found.texts), found.sizes) == (["a", "b", "c", "d", "e"], (2, 1, 2))


def test_several_files_are_one_after_another(tmp_path):
    first, second = tsv(tmp_path), tsv(tmp_path, ["more\t0"], name="b.tsv")
    found = read_files(resolve_files("Sentiment", [str(first), str(second)], tmp_path), Table())
    assert list(found.texts) == [*TEXTS, "more"]


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "utf-8-sig"])
def test_any_encoding(tmp_path, encoding):
    rows = ["재미있다\t1", "지루해\t0"]
    assert list(read(tsv(tmp_path, rows, encoding=encoding), encoding=encoding).texts) == ["재미있다", "지루해"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    check(read(tsv(tmp_path, encoding="utf-8-sig")))


@pytest.mark.parametrize("inside", ["\x85", "\x0b", "\x0c", "\x1c", "\u2028", "\r"])
def test_only_line_feeds_end_lines(tmp_path, inside):
    rows = [f"so{inside}good\t1", "bad\t0"]
    assert list(read(tsv(tmp_path, rows)).texts) == [f"so{inside}good", "bad"]


def test_pandas_reads_short_rows_and_carriage_returns_differently(tmp_path):
    def by_pandas(content):
        content = io.StringIO(content, newline="")
        return pd.read_csv(content, sep="\t", quoting=csv.QUOTE_NONE, dtype=str, na_filter=False).to_numpy().tolist()

    header = "text\tlabel\n"
    assert by_pandas(f"{header}so\x85go\x0cod\t1\n") == [["so\x85go\x0cod", "1"]]
    assert by_pandas(f"{header}so\rgood\t1\n") == [["so", ""], ["good", "1"]]
    assert by_pandas(f"{header}so good\nbad\t0\n") == [["so good", ""], ["bad", "0"]]
    assert message(read, tsv(tmp_path, ["so good", "bad\t0"])) == (
        "reviews.tsv, line 2: 1 column, where the first line has 2"
    )


def test_windows_line_ends_are_no_part_of_labels(tmp_path):
    found = read(write(tmp_path / "a.tsv", "text\tlabel\r\ngood\t1\r\nbad\t0\r\n"))
    assert (found.labels.tolist(), found.class_names) == ([1, 0], ("0", "1"))


def test_a_long_text_is_read_whole(tmp_path):
    text = "good " * 100_000
    found = read(write(tmp_path / "a.csv", f'text,label\n"{text}",1\nbad,0\n'))
    assert found.texts[0] == text


def test_a_changed_file_is_read_again(tmp_path):
    path = tsv(tmp_path)
    check(read(path))
    assert len(read(tsv(tmp_path, ["good\t1", "bad\t0"])).texts) == 2


def test_relative_paths_are_of_the_working_folder_then_of_the_data_folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    in_data = tsv(tmp_path / "data")
    assert resolve_files("Sentiment", "reviews.tsv", tmp_path / "data")[0].path == in_data
    here = tsv(tmp_path / "here")
    assert resolve_files("Sentiment", "reviews.tsv", tmp_path / "data")[0].path == here


# --- labels ---


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (["0", "1"], ("0", "1")),
        (["-1", "1"], ("-1", "1")),
        (["1", "5"], ("1", "5")),
        (["10", "9"], ("9", "10")),
        (["negative", "positive"], ("negative", "positive")),
        (["neg", "pos"], ("neg", "pos")),
        (["no", "yes"], ("no", "yes")),
        (["부정", "긍정"], ("부정", "긍정")),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_positive_label_is_known(written, names, turned):
    rows = [Row(text=f"text {each}", label=each, location="a:1") for each in (written[::-1] if turned else written)]
    found = build_labelled_texts([rows, [], []], source="a")
    assert found.class_names == names
    assert [names[number] for number in found.labels] == [row.label for row in rows]


def test_labels_are_compared_as_numbers_and_without_case():
    rows = [Row(text="a", label=label, location="a:1") for label in ("1", "1.0", " 0")]
    assert build_labelled_texts([rows, [], []], source="a").labels.tolist() == [1, 1, 0]
    rows = [Row(text="a", label=label, location="a:1") for label in ("Positive", "positive ", "NEGATIVE")]
    assert build_labelled_texts([rows, [], []], source="a").labels.tolist() == [1, 1, 0]


def test_labels_in_the_order_of_their_classes(tmp_path):
    path = tsv(tmp_path, ["a\tspam", "b\tham", "c\teggs"])
    found = read(path, labels=["ham", "spam", "eggs"])
    assert (found.labels.tolist(), found.class_names) == ([1, 0, 2], ("ham", "spam", "eggs"))
    found = read(tsv(tmp_path, ["a\t1", "b\t2"]), labels=[2, 1])
    assert found.labels.tolist() == [1, 0]


def test_stars_with_a_threshold(tmp_path):
    path = tsv(tmp_path, ["a\t5", "b\t1", "c\t3", "d\t3.5", "e\t2"])
    found = read(path, threshold=3)
    assert (list(found.texts), found.labels.tolist()) == (["a", "b", "d", "e"], [1, 0, 1, 0])
    assert found.class_names == ("below 3", "above 3")
    assert found.notes == (
        "reviews.tsv: 1 of 5 texts have the label 3, neither above nor below the threshold, and are dropped.",
    )
    assert read(path, threshold=3.2).labels.tolist() == [1, 0, 0, 1, 0]


def test_few_empty_texts_are_left_out_and_noted(tmp_path):
    rows = [f"text {number}\t{number % 2}" for number in range(199)]
    found = read(tsv(tmp_path, [*rows[:100], "  \t1", *rows[100:]]))
    assert len(found.texts) == len(found.labels) == found.sizes[0] == 199
    assert found.notes == ("reviews.tsv: 1 of 200 texts is empty and dropped (reviews.tsv, line 102).",)


# --- errors ---


def message(do, *arguments, error=ValueError, **options):
    with pytest.raises(error) as raised:
        do(*arguments, **options)
    return str(raised.value)


def test_a_missing_column(tmp_path):
    assert message(read, tsv(tmp_path), text="txet") == (
        "reviews.tsv, line 1: there is no column 'txet' for `text`; there are 'text', 'label'; did you mean 'text'?"
    )
    assert message(read, tsv(tmp_path, header=""), text=0, label=2) == (
        "reviews.tsv, line 1: there is no column 2 for `label`: 2 columns, from 0"
    )
    path = write(tmp_path / "a.jsonl", '{"text": "a", "label": 1}\n{"text": "a", "lable": 1}\n')
    assert message(read, path) == (
        "a.jsonl, line 2: there is no column 'label' for `label`; there are 'text', 'lable'; did you mean 'lable'?"
    )


def test_a_missing_column_of_parquet(tmp_path):
    pytest.importorskip("pyarrow", reason="the extra text is not installed")
    pd.DataFrame({"review": TEXTS, "label": LABELS}).to_parquet(tmp_path / "a.parquet")
    assert message(read, tmp_path / "a.parquet") == (
        "a.parquet: there is no column 'text' for `text`; there are 'review', 'label'"
    )
    assert message(read, write(tmp_path / "b.parquet", "no parquet")).startswith(
        "b.parquet: cannot be read as Parquet ("
    )


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert message(read, write(tmp_path / "a.parquet", "x"), error=ModuleNotFoundError) == (
        "a.parquet: Parquet files need pyarrow, which is not installed; "
        "install it with `pip install 'ablation-suite[text]'` or `uv sync --extra text`"
    )


def test_one_class_only(tmp_path):
    assert message(read, tsv(tmp_path, ["a\t1", "b\t1"])) == (
        "reviews.tsv: every label is '1'; at least two classes are needed"
    )
    assert message(read, tsv(tmp_path, ["a\t1", "b\t2"]), threshold=3) == (
        "reviews.tsv: every label is below 3; at least two classes are needed"
    )
    assert message(read, tsv(tmp_path, ["a\tham"])) == (
        "reviews.tsv: every label is 'ham'; at least two classes are needed"
    )


def test_many_empty_texts(tmp_path):
    assert message(read, tsv(tmp_path, ["a\t1", "\t1", " \t0", "b\t0"])) == (
        "reviews.tsv: 2 of 4 texts are empty (50.0%), the first at reviews.tsv, line 3; up to 1% would be dropped, so "
        "many may mean that the wrong column is read"
    )


def test_no_text_at_all(tmp_path):
    assert message(read, write(tmp_path / "a.tsv", "")) == "a.tsv: there is no text"
    assert message(read, write(tmp_path / "a.tsv", "text\tlabel\n")) == "a.tsv: there is no text"


def test_more_than_two_labels(tmp_path):
    assert message(read, tsv(tmp_path, ["a\t1", "b\t0", "c\t2", "d\t1"])) == (
        "reviews.tsv: 3 labels where 2 are expected: '1' (2 texts, first at reviews.tsv, line 2), '0' (1 texts, "
        "first at reviews.tsv, line 3), '2' (1 texts, first at reviews.tsv, line 4); give `labels`, all of them in the "
        "order of their classes, or for stars a `threshold`"
    )


def test_two_labels_of_unknown_order(tmp_path):
    assert message(read, tsv(tmp_path, ["a\tspam", "b\tham"])) == (
        "reviews.tsv: the labels are 'spam' and 'ham'; give `labels`, the negative one first and the positive one "
        "second"
    )


def test_a_label_that_is_not_among_those_given(tmp_path):
    path = tsv(tmp_path, ["a\tspam", "b\tham", "c\thma"])
    assert message(read, path, labels=["ham", "spam"]) == (
        "reviews.tsv, line 4: the label is 'hma'; `labels` has 'ham', 'spam'; did you mean 'ham'?"
    )
    assert message(read, tsv(tmp_path), labels=[0, 1, 2]) == (
        "reviews.tsv: no text has the label '2'; there are '1', '0'"
    )


def test_labels_that_are_no_numbers_or_empty(tmp_path):
    assert message(read, tsv(tmp_path, ["a\t5", "b\tfive"]), threshold=3) == (
        "reviews.tsv, line 3: the label is 'five'; with a threshold, labels are numbers"
    )
    assert message(read, tsv(tmp_path, ["a\t5", "b\t"])) == "reviews.tsv, line 3: the label is empty"


def test_another_encoding(tmp_path):
    path = tsv(tmp_path, ["good\t1", "Ça va\t1", "bad\t0"], encoding="latin-1")
    assert message(read, path) == (
        "reviews.tsv, line 3: byte 0xc7 is not utf-8; give the file's `encoding`, such as latin-1 or cp949"
    )
    assert message(check_table, "Sentiment", Table(encoding="utf-9")) == (
        "Sentiment: encoding is 'utf-9'; accepted: one that Python knows, such as utf-8, latin-1, cp949"
    )


def test_lines_of_another_number_of_columns(tmp_path):
    assert message(read, tsv(tmp_path, ["a\t1", "b c\td\t0"])) == (
        "reviews.tsv, line 3: 3 columns, where the first line has 2"
    )
    assert message(read, write(tmp_path / "a.tsv", 'text\tlabel\n"a\tb"\t0\n')) == (
        "a.tsv, line 2: 3 columns, where the first line has 2; is a text quoted? see `quotes`"
    )


def test_quotes_that_do_not_end(tmp_path):
    assert message(read, write(tmp_path / "a.csv", 'text,label\nb,0\n"a,1\nc,0\n')) == (
        "a.csv, line 3: unexpected end of data; is this file quoted? `quotes: false` takes quotes as they are"
    )


def test_invalid_jsonl(tmp_path):
    assert message(read, write(tmp_path / "a.jsonl", '{"text": "a", "label": 1}\n{"text": }\n')) == (
        "a.jsonl, line 2: is not JSON (Expecting value at character 10)"
    )
    assert message(read, write(tmp_path / "a.jsonl", "[1, 2]\n")) == (
        "a.jsonl, line 1: holds [1, 2]; an object with a text and a label is expected"
    )
    assert message(read, write(tmp_path / "a.jsonl", '{"text": 3, "label": 1}\n')) == (
        "a.jsonl, line 1: the text is 3; a string is expected"
    )


def test_files_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message(resolve_files, "Sentiment", "a.tsv", Path("/data"), error=FileNotFoundError) == (
        f"Sentiment: there is no file {tmp_path}/a.tsv nor /data/a.tsv; relative paths are looked for in the working "
        "folder and in the data folder (--data-dir, or ABLATE_DATA_DIR)"
    )
    assert message(resolve_files, "Sentiment", "/x/a.tsv", Path("/data"), error=FileNotFoundError) == (
        "Sentiment: there is no file /x/a.tsv"
    )


def test_an_argument_that_names_no_files(tmp_path):
    for files in (3, [], {"pos": 3}, {"train": None}, [["a"]]):
        assert message(resolve_files, "Sentiment", files, tmp_path) == (
            f"Sentiment: files is {files!r}; accepted: a path, a list of paths, a mapping of class to paths, or a "
            "mapping of train, val and test to these"
        )
    for files in ({"test": "a"}, {"train": "a", "pos": "b"}, {"train": "a", "dev": "b"}):
        assert message(resolve_files, "Sentiment", files, tmp_path) == (
            f"Sentiment: files has {', '.join(map(repr, files))}; accepted: 'train' with 'val', 'test' or both, or "
            "classes"
        )
    assert message(resolve_files, "Sentiment", {}, tmp_path) == (
        "Sentiment: files is {}; a mapping of class to paths has at least two classes"
    )
    assert message(resolve_files, "Sentiment", str(tmp_path), tmp_path) == (
        f"Sentiment: {tmp_path} is a folder; a file is expected"
    )


def test_a_file_name_without_a_known_format(tmp_path):
    assert message(read, write(tmp_path / "reviews", "a\t1\n")) == (
        "reviews: the name does not say what it holds; give `format`, one of tsv, csv, jsonl, parquet, lines"
    )
    assert message(read, write(tmp_path / "a.tsv", "a\n"), format="lines") == (
        "a.tsv: with one text a line, labels come from the files: give `files` as a mapping of class to path"
    )


def test_ways_of_reading_that_cannot_be():
    assert message(check_table, "Sentiment", Table(delimiter="||")) == (
        "Sentiment: delimiter is '||'; accepted: one character"
    )
    assert message(check_table, "Sentiment", Table(header=False)) == (
        "Sentiment: text is 'text', but without a header columns have numbers, from 0"
    )
    assert message(check_table, "Sentiment", Table(format="tvs")) == (
        "Sentiment: format is 'tvs'; accepted: 'auto', 'tsv', 'csv', 'jsonl', 'parquet', 'lines'; did you mean 'tsv'?"
    )


# --- what a review found ---


def test_blank_lines_are_no_texts(tmp_path):
    found = read(write(tmp_path / "a.tsv", "\n\ntext\tlabel\ngood\t1\n\n \t \nbad\t0\n\n\n"))
    assert (list(found.texts), found.notes) == (["good", "bad"], ())


def test_labels_that_are_no_finite_numbers_are_not_held_against_a_threshold(tmp_path):
    for odd in ("nan", "NaN", "inf", "1_0", "１"):
        assert message(read, tsv(tmp_path, ["a\t5", f"b\t{odd}"]), threshold=3) == (
            f"reviews.tsv, line 3: the label is {odd!r}; with a threshold, labels are numbers"
        )


def test_numbers_of_many_digits_are_different_labels(tmp_path):
    for low, high in (("1000001", "1000002"), ("20240101", "20240102"), ("0.1234567", "0.1234568"), ("-1e3", "1e3")):
        found = read(tsv(tmp_path, [f"a\t{high}", f"b\t{low}", "c\t" + high + ("0" if "." in high else ".0")][:2]))
        assert (found.labels.tolist(), found.class_names) == ([1, 0], (low, high))


def test_a_class_without_a_training_text(tmp_path):
    train, test = tsv(tmp_path, ["a\t1", "b\t1"], name="train.tsv"), tsv(tmp_path, name="test.tsv")
    files = resolve_files("Sentiment", {"train": str(train), "test": str(test)}, tmp_path)
    assert message(read_files, files, Table()).endswith("test.tsv: no training text has the label '0'")


def test_letters_with_marks_are_one_letter_however_they_are_written(tmp_path):
    found = read(tsv(tmp_path, ["caf\u0065\u0301\t1", "caf\u00e9\t0"]))
    assert found.texts[0] == found.texts[1]


def test_columns_of_one_name_and_one_column_for_both(tmp_path):
    path = write(tmp_path / "a.tsv", "text\ttext\tlabel\ngood\tx\t1\nbad\ty\t0\n")
    assert message(read, path) == "a.tsv, line 1: there are 2 columns 'text' for `text`; give one's number"
    assert message(check_table, "Sentiment", Table(text="a", label="a")) == (
        "Sentiment: text and label are both 'a'; accepted: two columns"
    )


def test_another_delimiter_is_hinted_at(tmp_path):
    assert message(read, write(tmp_path / "a.csv", "text;label\ngood;1\n")) == (
        "a.csv, line 1: there is no column 'text' for `text`; there are 'text;label'; is the `delimiter` ';'?"
    )
    assert list(read(write(tmp_path / "b.csv", "text\tlabel\na\t1\nb\t0\n"), delimiter="\\t").texts) == ["a", "b"]


def test_invalid_encodings(tmp_path):
    for encoding in ("hex", "rot13", "undefined"):
        assert "accepted: one that Python knows" in message(check_table, "Sentiment", Table(encoding=encoding))
    assert message(read, tsv(tmp_path, encoding="utf-16")).endswith("give the file's `encoding`, such as utf-16")


def test_json_that_cannot_be_read(tmp_path):
    digits = '{"text": "a", "label": ' + "1" * 5000 + "}"
    assert message(read, write(tmp_path / "a.jsonl", digits)).startswith(
        "a.jsonl, line 1: is not JSON that can be read ("
    )
    assert message(read, write(tmp_path / "a.jsonl", "[" * 100_000)).startswith("a.jsonl, line 1: is not JSON")


def test_messages_distinguish_files_of_the_same_name(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        write(
            tmp_path / part / "a.tsv",
            "text\tlabel\ngood\t1\nbad\t\n" if part == "test" else "text\tlabel\na\t1\nb\t0\n",
        )
    files = resolve_files("Sentiment", {part: f"{part}/a.tsv" for part in ("train", "test")}, tmp_path)
    assert message(read_files, files, Table()) == "test/a.tsv, line 3: the label is empty"


def test_each_file_has_a_fingerprint(tmp_path):
    first = read(tsv(tmp_path)).fingerprints
    assert list(first) == ["reviews.tsv"]
    assert read(tsv(tmp_path, ["good\t1", "bad\t0"])).fingerprints != first

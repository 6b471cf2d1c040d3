import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.formats import csv_text as module
from reports.formats.csv_text import format_csv

TEXTS = st.text(st.characters(codec="utf-8"), max_size=5) | st.sampled_from(
    ['"', ",", "\n", "\r", "\r\n", " a", "#", ""]
)


def expected(frame):
    return frame.to_csv(index=False, lineterminator="\n")


@given(st.lists(st.tuples(TEXTS, st.floats(), st.integers(-5, 5) | st.none()), max_size=20), TEXTS, TEXTS)
def test_the_text_equals_that_of_pandas(rows, name, level):
    texts, numbers, counts = zip(*rows, strict=True) if rows else ((), (), ())
    frame = pd.DataFrame({f"x{name}": pd.Series(texts, dtype=object), "number": np.array(numbers, dtype=np.float64)})
    frame["count"] = pd.array(counts, dtype="Int64")
    frame["level"] = pd.Categorical.from_codes([-(row % 2) for row in range(len(rows))], [f"a{level}"])
    frame["is_one"] = [row == 1 for row in range(len(rows))]
    assert format_csv(frame) == expected(frame)


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA])
def test_missing_values_are_empty_fields(missing):
    frame = pd.DataFrame({"a": pd.Series(["x", missing, missing], dtype=object), "b": [1, 2, 3]})
    assert format_csv(frame) == "a,b\nx,1\n,2\n,3\n" == expected(frame)


def test_a_surrogate_is_kept_for_the_encoder():
    frame = pd.DataFrame({"a": pd.Series(["\ud800"], dtype=object), "b": [1]})
    assert format_csv(frame) == "a,b\n\ud800,1\n"


def test_the_text_does_not_depend_on_the_number_of_steps(monkeypatch):
    frame = pd.DataFrame({"a": list("vwxyz"), "b": np.arange(5) / 7})
    for step in (1, 2, 5):
        monkeypatch.setattr(module, "_ROWS_AT_ONCE", step)
        assert format_csv(frame) == expected(frame)


def test_a_frame_without_rows_is_its_header():
    assert format_csv(pd.DataFrame({"a": [], "b": []})) == "a,b\n"

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.formats import csv_text as module
from reports.formats.csv_text import csv_text

TEXTS = st.text(st.characters(codec="utf-8"), max_size=5) | st.sampled_from(
    ['"', ",", "\n", "\r", "\r\n", " a", "#", ""]
)


def expected(frame):
    return frame.to_csv(index=False, lineterminator="\n")


@given(st.lists(st.tuples(TEXTS, st.floats(), st.integers(-5, 5) | st.none()), max_size=20), TEXTS, TEXTS)
def test_it_is_what_pandas_writes(rows, name, level):
    texts, numbers, counts = zip(*rows, strict=True) if rows else ((), (), ())
    frame = pd.DataFrame({f"x{name}": pd.Series(texts, dtype=object), "number": np.array(numbers, dtype=np.float64)})
    frame["count"] = pd.array(counts, dtype="Int64")
    frame["level"] = pd.Categorical.from_codes([-(place % 2) for place in range(len(rows))], [f"a{level}"])
    frame["is_one"] = [place == 1 for place in range(len(rows))]
    assert csv_text(frame) == expected(frame)


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA])
def test_what_is_missing_is_nothing(missing):
    frame = pd.DataFrame({"a": pd.Series(["x", missing, missing], dtype=object), "b": [1, 2, 3]})
    assert csv_text(frame) == "a,b\nx,1\n,2\n,3\n" == expected(frame)


def test_a_surrogate_is_kept_for_whoever_encodes():
    frame = pd.DataFrame({"a": pd.Series(["\ud800"], dtype=object), "b": [1]})
    assert csv_text(frame) == "a,b\n\ud800,1\n"


def test_rows_are_the_same_in_any_number_of_steps(monkeypatch):
    frame = pd.DataFrame({"a": list("vwxyz"), "b": np.arange(5) / 7})
    for step in (1, 2, 5):
        monkeypatch.setattr(module, "_ROWS_AT_ONCE", step)
        assert csv_text(frame) == expected(frame)


def test_a_frame_without_rows_is_its_header():
    assert csv_text(pd.DataFrame({"a": [], "b": []})) == "a,b\n"

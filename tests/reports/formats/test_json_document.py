import json
import math

import pandas as pd
import pytest
from make_ledger import make_ledger, make_result, one_factor
from report_pages import full_report, hostile_report

from experiments.study.parse import parse_study
from reports import build_report, collect_outcomes, to_document, to_json
from reports.analysis.contrasts import contrast_table


@pytest.mark.parametrize("make", [full_report, hostile_report])
def test_the_text_is_the_document(make, tmp_path):
    report = make(tmp_path)
    assert json.loads(to_json(report)) == json.loads(json.dumps(to_document(report)))
    assert to_json(report) == to_json(report)


def test_the_keys_are_those_of_schema_1(tmp_path):
    document = json.loads(to_json(full_report(tmp_path)))
    assert document["schema"] == 1
    assert set(document) == {
        *("schema", "study", "versions", "tables", "notes", "scope", "trials_of_earlier_plans", "elsewhere")
    }
    assert set(document["tables"]) == {
        *("trials", "cells", "contrasts", "claims", "interactions", "shares", "outcome_rates", "bands"),
        *("thresholds", "audit", "crossed"),
    }
    assert document["tables"]["cells"][0]["cell"] == {"activation": "sigmoid", "init": "xavier"}


def test_each_number_of_the_contrasts_can_be_recomputed_from_the_file(tmp_path):
    document = json.loads(to_json(full_report(tmp_path)))
    study = parse_study(document["study"])
    trials = pd.DataFrame(document["tables"]["trials"])
    table = contrast_table(study, collect_outcomes(study, trials))
    stored = pd.DataFrame(document["tables"]["contrasts"])[list(table.columns)].astype(table.dtypes.to_dict())
    pd.testing.assert_frame_equal(stored, table, check_exact=True)


def test_nan_is_null_and_infinities_are_strings(tmp_path):
    values = [math.nan, math.inf, -math.inf, 0.5, 0.25]
    report = build_report(make_ledger(tmp_path, one_factor(), lambda _, seed: make_result(values[seed])))
    text = to_json(report)
    assert [row["test/acc"] for row in json.loads(text)["tables"]["trials"][:5]] == [
        *(None, "Infinity", "-Infinity", 0.5, 0.25)
    ]
    assert "NaN" not in text

from make_ledger import make_ledger, make_result, one_factor
from report_pages import full_report

from reports import build_report
from reports.formats.tables import level_columns, name_cells, tabulate_cells, tabulate_contrasts


def test_all_cells_have_the_same_decimals_and_never_more_than_nine(tmp_path):
    def measure(levels, seed):
        return make_result(0.5 + seed * (1e-13 if levels["x"] == "a" else 1e-3))

    cells = build_report(make_ledger(tmp_path, one_factor(["a", "b"]), measure)).cells
    texts = [str(row[0]) for row in tabulate_cells(cells, "seed").select(["mean"]).rows]
    assert [len(text) for text in texts] == [len("0.500000000")] * 2


def test_columns_whose_cells_have_values_are_numbers(tmp_path):
    report = full_report(tmp_path)
    table = tabulate_contrasts(report.main_effects, report.study.metric, "seed").select(["factor", "n", "verdict"])
    assert table.is_number == (False, True, False)
    names = name_cells(report.cells)
    assert names.join(tabulate_cells(report.cells, "seed")).is_number[:2] == (False, True)
    assert level_columns(report.cells).headers == ("activation", "init")


def test_a_table_without_rows_has_the_selected_headers(tmp_path):
    report = full_report(tmp_path)
    none = tabulate_contrasts(report.main_effects.head(0), report.study.metric, "seed")
    assert (none.select(["factor", "n"]).headers, none.rows) == (("factor", "n"), ())

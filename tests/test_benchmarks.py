"""Tests of the tables of the benchmarks, without timing anything."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ledger_growth
import pytest
import runners
import yaml
from commands import NAMES, Took, Work, command, extrapolated, printed_seconds, study_text, timed, why_not_run
from ways import gpu_table, growth_table, ratios, spread, ways_table

from experiments import Ledger, build_cells, load_study

ROOT = Path(__file__).parents[1]
WORK = Work(num_trials=4, num_slow_trials=4)


def took(*seconds, peak_kb=102_400, **rest):
    return [Took(seconds=each, peak_kb=peak_kb, **rest) for each in seconds]


def test_spread_is_median_and_range_or_the_only_value():
    assert spread([3.0, 1.0, 2.0]) == "2.0 (1.0 to 3.0)"
    assert spread([2.04]) == "2.0"
    assert spread([1234.4, 1235.0], 0) == "1235 (1234 to 1235)"


def test_ratios_are_taken_within_a_turn():
    assert ratios({"stock": took(40, 60), "auto": took(10, 20)}, "stock", "auto") == [4, 3]


def test_each_way_has_ratios_to_stock_and_to_plain():
    turns = {"stock": took(40, 60), "plain": took(10, 10), "auto": took(20, 40, peak_kb=1024)}
    lines = ways_table(turns, WORK, ways=["stock", "ray", "plain", "auto"], not_run={"ray": "not run: why"})
    assert lines[0].split(" | ")[3:] == ["times stock", "times plain", "MB a worker |"]
    assert lines[2:] == [
        "| stock Lightning | 50.0 (40.0 to 60.0) | 12.50 | 1.0 (1.0 to 1.0) | 0.21 (0.17 to 0.25) | 100 |",
        "| Ray Tune, stock module | not run: why | | | | |",
        f"| {NAMES['plain']} | 10.0 (10.0 to 10.0) | 2.50 | 5.0 (4.0 to 6.0) | 1.00 (1.00 to 1.00) | 100 |",
        "| ablate run --fuse auto | 30.0 (20.0 to 40.0) | 7.50 | 1.8 (1.5 to 2.0) | 0.38 (0.25 to 0.50) | 1 |",
    ]
    assert {line.count("|") for line in lines} == {7}


def test_without_stock_ratios_are_to_the_first_way():
    lines = ways_table({"never": took(40), "auto": took(20)}, WORK, ways=["never", "auto"], not_run={})
    assert "| times never |" in lines[0]
    assert lines[3] == "| ablate run --fuse auto | 20.0 | 5.00 | 2.0 |  | 100 |"


def test_a_table_without_results_says_so():
    assert ways_table({}, WORK, ways=["ray"], not_run={"ray": "not run"})[2:] == [
        "| Ray Tune, stock module | not run | | | | |"
    ]


def test_untrained_trials_are_estimated_by_the_mean_of_the_others():
    assert extrapolated(34, [11, 13], num_trials=4) == 34 + 2 * 12
    assert extrapolated(34, [11, 13], num_trials=6, num_slots=2) == 34 + 4 * 12 / 2
    assert extrapolated(34, [11, 13], num_trials=2) == 34


def test_a_computed_row_names_its_source():
    work = Work(num_trials=24, num_slow_trials=2)
    turns = {"stock": took(34, start_seconds=10.0, trial_seconds=(11.0, 13.0)), "auto": took(20)}
    lines = ways_table(turns, work, ways=["stock", "auto"], not_run={})
    assert lines[2].startswith("| stock Lightning (computed, see below) | ")
    assert lines[-1] == (
        "stock Lightning: computed from 2 trials a turn: the seconds of that whole command (of its start alone 10.0) "
        "and, for each of the other 22 trials, the mean seconds of its own trials (12.00)."
    )


def test_the_lines_of_the_script_are_found_among_others():
    text = "a warning\nstart: 9.50 s\nseed 0: 0.9712, 12.25 s\n\nseed 11: 1.0000, 9.00 s\nseed 2 failed\n"
    assert printed_seconds(text) == (9.5, (12.25, 9.0))
    assert printed_seconds("") == (0.0, ())


def test_the_growth_and_gpu_tables_have_one_row_each():
    assert growth_table({12: took(24, 36), 24: took(36)})[2:] == [
        "| 12 | 30.0 (24.0 to 36.0) | 2.50 | 100 |",
        "| 24 | 36.0 | 1.50 | 100 |",
    ]
    work = Work(num_trials=512, num_slow_trials=4, accelerator="gpu")
    stock = took(5120, start_seconds=10.0, trial_seconds=(10.0,) * 4)
    lines = gpu_table({"stock": stock, "auto": took(64)}, work)
    assert lines[2:4] == [
        "| stock Lightning | 4 | 360 | 1.0 | 100 |",
        "| ablate run --fuse auto | 512 | 28800 | 80.0 | 100 |",
    ]
    assert "computed from 4 trials" in lines[-1]


@pytest.mark.parametrize("model", ["mlp", "convnet"])
def test_the_study_of_the_benchmark_has_the_requested_trials(model, tmp_path):
    work = Work(num_trials=24, num_slow_trials=24, model=model, accelerator="gpu")
    path = tmp_path / "timing.yaml"
    path.write_text(study_text(work))
    assert len(build_cells(load_study(path))) == 4
    assert yaml.safe_load(path.read_text())["base"]["trainer"]["accelerator"] == "gpu"
    ours = command("auto", work, tmp_path)
    assert ours[ours.index("--seeds") + 1] == "6"


def test_only_the_slow_ways_train_fewer_trials(tmp_path):
    work = replace(WORK, num_trials=96, num_slow_trials=8)
    assert [command(way, work, tmp_path)[3] for way in ("stock", "ray", "plain")] == ["8", "8", "96"]


def test_a_failing_command_ends_the_benchmark_with_its_output():
    with pytest.raises(SystemExit, match="exit code 3:\nlast words"):
        timed([sys.executable, "-c", "print('last words'); raise SystemExit(3)"], depth=0)


def test_the_ray_error_is_raised_only_without_ray(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert why_not_run("ray") == "not run: pip install 'ray[tune]', or uv sync --group tune"
    assert why_not_run("stock") is None


@pytest.mark.slow
def test_without_a_gpu_the_benchmark_prints_one_line():
    done = subprocess.run(
        [sys.executable, "benchmarks/ways.py", "--accelerator", "gpu"],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert done.stdout.startswith("not run: torch ")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.slow
def test_status_and_report_read_a_generated_ledger(tmp_path):
    directory = tmp_path / "grid"
    ledger_growth.make_ledger(directory, ledger_growth.grid_study((3, 1, 2), num_seeds=2))
    with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
        assert ledger.counts()["finished"] == 12
        assert {row["attempts"] for row in ledger.trials()} == {1}
        assert sum(1 for _ in ledger.epochs()) == 12 * 20 * 4
    for name in ledger_growth.COMMANDS:
        took = ledger_growth.measure(name, directory)
        assert took.seconds > 0
        assert took.peak_kb is None or took.peak_kb > 1024
    assert (directory / "report" / "curves.csv").read_text().count("\n") == 1 + 12 * 20


def test_the_shapes_have_the_stated_number_of_trials():
    assert all(math.prod(levels) * ledger_growth.NUM_SEEDS == number for number, levels in ledger_growth.SHAPES.items())


def test_a_failing_command_on_a_ledger_ends_the_benchmark(tmp_path):
    with pytest.raises(SystemExit, match=r"ablate status ended with exit code 2:\nablate: .* there is no ledger"):
        ledger_growth.measure("status", tmp_path)


def test_the_table_of_ledgers_has_the_cost_of_a_trial():
    took = ledger_growth.Took
    turns = {
        1000: {"status": [took(seconds=0.25, peak_kb=None)], "report": [took(seconds=1.5, peak_kb=102_400)]},
        3000: {
            "status": [took(seconds=0.25, peak_kb=1024)],
            "report": [took(seconds=2, peak_kb=1024), took(seconds=4, peak_kb=2048)],
        },
    }
    assert ledger_growth.growth_table(turns, {1000: 3_000_000, 3000: 9_400_000})[2:] == [
        "| 1,000 | 3 | 0.25 | not known | 1.50 | 100 | 1.50 |",
        "| 3,000 | 9 | 0.25 | 1 | 3.00 (2.00 to 4.00) | 2 | 1.00 |",
    ]


@pytest.mark.slow
def test_the_table_of_runner_costs_has_its_goals(capsys):
    size = runners.Size(num_tasks=20, num_trials=40, num_cells=8, num_work_tasks=2, work=1000)
    runners.main(["--repeats", "2"], size)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| what | goal | median (min to max) |"
    assert len(lines) == 4 + len(runners.rows(size))
    values = [float(line.split("|")[3].split("(")[0].replace(",", "")) for line in lines[4:]]
    assert all(value >= 0 for value in values)
    assert values[0] < 100
    assert "check, resolve and add 80 trials of 8 cells, s | under 10" in lines[5]


def test_the_driver_cost_includes_results_at_the_same_time():
    for num_slots in (1, 4, 7):
        assert runners.driven(25, num_slots) > 0  # and raises where a trial is missing in the ledger

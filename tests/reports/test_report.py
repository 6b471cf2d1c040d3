import csv
import math
import re

import pytest
from make_ledger import make_ledger, make_result, make_study, make_trials, one_factor

from experiments.errors import DirectoryError, InputError, LedgerError
from experiments.ledger.ledger import Ledger
from experiments.trials.trial import TrialStatus
from reports import build_report, load_curves, load_trials, to_markdown, write_report

FILES = ["contrasts.csv", "curves.csv", "index.html", "report.json", "report.md", "tables.tex", "trials.csv"]
NASTY = ["plain", 'a|b, "c" <i>d</i>', "two\nlines", "`tick` \\ *star* [x](y)", "cr\rend", "é ±", "=1+1"]


def score(levels, seed):
    """Return values whose differences are neither equal nor round."""
    return 0.9 + 0.01 * len(next(iter(levels.values()))) / 7 + math.sin(seed * 3 + sum(map(ord, str(levels)))) / 300


def measure(levels, seed):
    epochs = tuple({"train/loss": 1 / (3 + epoch + seed)} for epoch in range(3))
    return make_result(score(levels, seed), epochs=epochs)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def report_text(directory, study, measured=measure):
    return to_markdown(build_report(make_ledger(directory, study, measured)))


def section(text, title):
    return re.split(r"^(?:## |---$)", text.partition(f"## {title}\n")[2], flags=re.MULTILINE)[0].strip()


def test_the_files_are_written_and_nothing_else(tmp_path):
    make_ledger(tmp_path, make_study(), measure)
    report = write_report(tmp_path)
    assert names_in(tmp_path / "report") == FILES
    assert sorted(path.name for path in report.files) == FILES
    assert build_report(tmp_path).files == ()


def test_the_same_ledger_gives_the_same_bytes(tmp_path):
    make_ledger(tmp_path, make_study(), measure)
    written = []
    for _ in range(2):
        write_report(tmp_path)
        written.append([(tmp_path / "report" / name).read_bytes() for name in FILES])
    assert written[0] == written[1]


def test_the_report_does_not_depend_on_the_folder_or_the_time(tmp_path):
    texts = [report_text(tmp_path / name, make_study()) for name in ("one", "other")]
    assert texts[0] == texts[1]
    assert str(tmp_path) not in texts[0]


def test_csv_files_give_back_every_number_and_name_exactly(tmp_path):
    study = one_factor(NASTY, metric={"name": "test/acc", "margin": 0.01})
    make_ledger(tmp_path, study, measure)
    report = write_report(tmp_path)
    trials, read = report.trials, rows_of(tmp_path / "report" / "trials.csv")
    assert [row["x"] for row in read] == trials["x"].tolist()
    assert [float(row["test/acc"]) for row in read] == trials["test/acc"].tolist()
    contrasts, read = report.contrasts, rows_of(tmp_path / "report" / "contrasts.csv")
    assert [row["level"] for row in read] == contrasts["level"].tolist() == NASTY[1:]
    for name in ("mean_difference", "ci_low", "ci_high", "p_value", "p_adjusted", "effect_size", "equivalence_low"):
        assert [float(row[name]) for row in read] == contrasts[name].tolist()
    curves, read = report.curves, rows_of(tmp_path / "report" / "curves.csv")
    assert [row["x"] for row in read] == curves["x"].tolist()
    assert [float(row["train/loss"]) for row in read] == curves["train/loss"].tolist()


def test_the_documented_columns_come_first(tmp_path):
    make_ledger(tmp_path, make_study(), measure)
    write_report(tmp_path)
    header = {name: (tmp_path / "report" / name).read_text().splitlines()[0] for name in FILES}
    assert header["trials.csv"].startswith("trial_id,activation,init,seed,status,backend,test/acc,seconds")
    assert header["curves.csv"] == "trial_id,activation,init,seed,epoch,train/loss"
    assert header["contrasts.csv"].startswith(
        "factor,level,reference,metric,n,mean_difference,ci_low,ci_high,p_value,p_adjusted,effect_size,verdict,context"
    )


def test_a_table_keeps_its_columns_for_any_names(tmp_path):
    text = report_text(tmp_path, one_factor(NASTY, question="# a question"))
    assert "\n\\# a question\n" in text
    for title, num_rows in (("Contrasts", 6), ("Cells", 7)):
        lines = [line for line in section(text, title).splitlines() if line.startswith("|")]
        num_columns = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(num_columns) == 1
        assert len(lines) == num_rows + 2
    assert 'a\\|b, "c" &lt;i>d&lt;/i>' in text
    assert "two\\\\nlines" in text
    assert "\\`tick\\` \\\\ \\*star\\* [x]\\(y)" in text
    assert "\r" not in text


def test_the_answer_is_first_with_one_sentence_per_contrast(tmp_path):
    text = report_text(tmp_path, make_study())
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    assert titles == [
        *("activations", "Answer", "What was measured", "Contrasts", "Simple effects"),
        *("Interactions", "Shares of variance", "Cells"),
    ]
    answer = section(text, "Answer").splitlines()
    assert [line.partition(" ")[2].partition(":")[0] for line in answer] == ["activation", "activation", "init"]
    assert all("95 % confidence interval" in line and "5 seeds" in line for line in answer)


@pytest.mark.parametrize(
    ("name", "goal", "rule"),
    [
        ("test/acc", "max", "after the last epoch ({}); the test split is evaluated once per trial; higher is better."),
        ("val/loss", "min", "on the validation split after the last epoch ({}); lower is better."),
        ("loss", "min", "after the last epoch ({}); lower is better."),
    ],
)
def test_the_method_says_which_epoch_is_compared(tmp_path, name, goal, rule):
    study = one_factor(metric={"name": name, "goal": goal})
    text = report_text(tmp_path, study, lambda levels, seed: make_result(score(levels, seed), metric=name))
    assert f"- **Metric**: {name} {rule.format('no epoch is selected by its score')}\n" in text
    assert ("test examples" in text) == (name == "test/acc")


def test_design_and_seeds_are_described(tmp_path):
    text = report_text(tmp_path / "full", make_study(exclude=[{"activation": "relu", "init": "he"}], seeds=[3, 9]))
    assert (
        "- **Design**: full factorial, 3 × 2 levels, without the excluded cells: 5 cells. "
        "activation: sigmoid (reference), tanh, relu; init: xavier (reference), he.\n"
    ) in text
    assert "- **Seeds**: 2 seeds per cell: 3, 9.\n" in text
    assert (
        "- activation: relu - sigmoid is the mean over 1 of 2 contexts, those in which the design has both levels.\n"
    ) in text
    text = report_text(tmp_path / "one", make_study(design="one_at_a_time"))
    assert "so interactions cannot be estimated: 4 cells." in text
    assert "## Simple effects" not in text


def test_an_incomplete_cell_is_marked_and_says_what_is_missing(tmp_path):
    def some(levels, seed):
        if levels == {"activation": "relu", "init": "he"}:
            return [
                make_result(status=TrialStatus.DIVERGED),
                make_result(status=TrialStatus.FAILED),
                None,
                measure(levels, 3),
                measure(levels, 4),
            ][seed]
        return measure(levels, seed)

    text = report_text(tmp_path, make_study(), some)
    cells = section(text, "Cells")
    (line,) = [line for line in cells.splitlines() if "activation=relu, init=he " in line]
    assert [cell.strip() for cell in line.split("|")[2:3]] == ["2/5 (!)"]
    assert [cell.strip() for cell in line.split("|")[-4:-1]] == ["1", "1", "1"]
    assert "- activation=relu, init=he: 2 of 5 trials have a value; 1 diverged, 1 failed, 1 pending" in cells
    assert cells.count("(!)") == 2  # that cell, and the line that explains the mark
    contrasts = [line for line in section(text, "Contrasts").splitlines() if "relu - sigmoid" in line]
    assert "2/5 (!)" in contrasts[0]
    notes = section(text, "Caveats")
    assert "- Pending: 1 of 30 trials; all numbers may still change.\n" in notes
    assert "- 1 of 30 trials failed; " in notes
    assert "- 1 of 30 trials diverged. Divergence is an outcome without a number: " in notes


def test_a_level_that_always_diverges_is_counted_and_not_judged(tmp_path):
    study = one_factor(["a", "b", "c"], metric={"name": "test/acc", "margin": 0.01})
    text = report_text(
        tmp_path,
        study,
        lambda levels, seed: make_result(status=TrialStatus.DIVERGED) if levels["x"] == "b" else measure(levels, seed),
    )
    assert (
        "- x: whether b and a differ in test/acc is undecided: a confidence interval needs two complete seeds; there "
        "are none; 5 seeds left out (5 diverged).\n"
    ) in text
    (cell,) = [line for line in section(text, "Cells").splitlines() if line.startswith("| x=b")]
    assert cell.replace(" ", "") == "|x=b|0/5(!)|-|-|-|5|0|0|"
    assert "adjusted for 1 main effect." in text


def test_at_most_thirty_incomplete_cells_are_listed(tmp_path):
    study = one_factor([f"level{number}" for number in range(40)], seeds=2)
    text = report_text(tmp_path, study, lambda levels, seed: measure(levels, seed) if seed == 0 else None)
    lines = section(text, "Cells").splitlines()
    assert sum("1 of 2 trials have a value" in line for line in lines) == 30
    assert lines[-1] == "- and 10 cells more"


def test_values_that_are_not_finite_are_reported(tmp_path):
    study = one_factor()
    text = report_text(
        tmp_path, study, lambda levels, seed: make_result(math.nan) if seed == 1 else measure(levels, seed)
    )
    assert (
        "- 2 of 10 trials finished without a finite value of test/acc; means and differences exclude them.\n"
    ) in text
    assert "no value |" in section(text, "Cells")
    assert "4/5 (!)" in section(text, "Contrasts")


def test_one_seed_gives_no_contrast_and_says_why(tmp_path):
    claims = {"c": {"factor": "x", "better": "b", "than": "a", "says": "b is better."}}
    make_ledger(tmp_path, one_factor(seeds=1, claims=claims), measure)
    report = write_report(tmp_path)
    text = to_markdown(report)
    assert section(text, "Answer").startswith(
        "- The study has one seed, so there are no contrasts and no confidence intervals: "
    )
    assert "## Contrasts" not in text
    assert "**undecided**: b is better (c). x: whether b and a differ in test/acc is undecided: " in text
    assert rows_of(tmp_path / "report" / "contrasts.csv") == []
    assert "## Caveats" in text


def test_trials_of_earlier_plans_are_counted_and_left_out(tmp_path):
    make_ledger(tmp_path, one_factor(["a", "b", "c"]), measure)
    text = report_text(tmp_path, one_factor(["a", "b"]))
    assert "The ledger keeps 5 trials of earlier plans, which this report leaves out." in text
    assert "x=c" not in text
    assert "The ledger has no trials of earlier plans" in report_text(tmp_path / "new", one_factor())


def test_every_printed_interval_contains_its_mean(tmp_path):
    text = report_text(tmp_path, make_study())
    triples = re.findall(r"([+-][\d.]+) \| +([+-][\d.]+) to ([+-][\d.]+) \|", text)
    assert len(triples) == 3 + 7 + 2  # main effects, simple effects, interactions
    assert all(float(low) <= float(mean) <= float(high) for mean, low, high in triples)


def test_a_folder_without_a_ledger(tmp_path):
    with pytest.raises(LedgerError) as caught:
        write_report(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'ledger.sqlite'}: there is no ledger; `ablate run` makes one"
    assert names_in(tmp_path) == []


def test_a_ledger_without_a_study(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", writable=True):
        pass
    with pytest.raises(LedgerError, match="holds no study yet"):
        build_report(tmp_path)


def test_no_finished_trial(tmp_path):
    states = [None, make_result(status=TrialStatus.FAILED), make_result(status=TrialStatus.DIVERGED)]
    make_ledger(tmp_path, one_factor(seeds=3), lambda levels, seed: states[seed])
    with pytest.raises(InputError) as caught:
        write_report(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'ledger.sqlite'}: no trial has finished, so there is nothing to report (2 pending, 2 diverged, "
        "2 failed). `ablate run` trains pending trials, `ablate show` prints why a trial failed, and `ablate retry` "
        "makes failed trials pending again"
    )
    assert not (tmp_path / "report").exists()


def test_a_metric_that_no_trial_logged(tmp_path):
    study = one_factor(metric={"name": "test/ac", "goal": "max"})
    make_ledger(tmp_path, study, lambda *_: make_result(None, metrics={"test/acc": 0.5, "test/loss": 1.0}))
    with pytest.raises(InputError) as caught:
        build_report(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'ledger.sqlite'}: metric.name: no trial logged 'test/ac'; did you mean 'test/acc'? "
        "logged: test/acc, test/loss. Correct the name in the study file and run the study again; finished trials "
        "are kept"
    )


def test_a_report_that_cannot_be_written(tmp_path):
    make_ledger(tmp_path, one_factor(), measure)
    (tmp_path / "report").write_text("in the way")
    with pytest.raises(DirectoryError, match=r"report: the report cannot be written: .*File exists"):
        write_report(tmp_path)


def test_a_file_that_cannot_be_replaced_leaves_no_partial_file(tmp_path):
    make_ledger(tmp_path, one_factor(), measure)
    (tmp_path / "report" / "trials.csv").mkdir(parents=True)
    with pytest.raises(DirectoryError, match="cannot be written"):
        write_report(tmp_path)
    assert names_in(tmp_path / "report") == ["index.html", "report.md", "tables.tex", "trials.csv"]


def test_the_frames_of_the_report_are_those_that_are_loaded(tmp_path):
    make_ledger(tmp_path, make_study(), measure)
    report = build_report(str(tmp_path))
    assert report.trials.equals(load_trials(tmp_path))
    assert report.curves.equals(load_curves(str(tmp_path)))


def test_trials_of_different_backends_are_noted(tmp_path):
    study = one_factor()
    make_ledger(tmp_path, study, lambda levels, seed: make_result(0.5, backend="fused" if seed else "lightning"))
    (note,) = [note for note in build_report(tmp_path).notes if "different backends" in note]
    assert note.startswith("The trials were trained by different backends: 8 by fused and 2 by lightning.")


def test_early_stopping_is_named_in_the_header(tmp_path):
    stopping = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/acc"}}
    study = one_factor(metric={"name": "val/acc"}, base={"trainer": {"callbacks": [stopping]}})
    make_ledger(tmp_path, study, lambda levels, seed: make_result(0.5, metric="val/acc"))
    text = to_markdown(build_report(tmp_path))
    assert "no epoch is selected" not in text
    assert "training stops early on val/acc, so its epoch is selected by its own score" in text


def test_early_stopping_of_some_levels_is_not_attributed_to_all(tmp_path):
    stopping = [
        {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": f"val/{name}"}}
        for name in ("acc", "loss")
    ]
    levels = {"none": None, "by acc": [stopping[0]], "by loss": [stopping[1]]}
    study = make_study(factors={"stop": {"key": "trainer.callbacks", "levels": levels}}, metric={"name": "test/acc"})
    make_ledger(tmp_path, study, lambda levels, seed: make_result(0.5))
    text = to_markdown(build_report(tmp_path))
    assert "; with some levels, training stops early on val/acc and val/loss; the test split" in text


def test_a_report_over_folds_names_folds_as_the_unit_everywhere(tmp_path):
    text = report_text(tmp_path, make_study(folds=5, seeds=5))
    assert (
        "- **Folds**: 5 folds per cell: seed s is fold s mod 5 of the data module's 5-fold cross-validation (seeds 0 "
        "to 4). Every example is tested once; the training sets of two folds share 75 % of their examples, so folds "
        "are not independent.\n"
    ) in text
    intervals = next(line for line in text.splitlines() if line.startswith("- **Intervals**: "))
    assert "with one pair per fold; cell means have 95 % t intervals over folds." in intervals
    assert "is taken as SD² (1/J + 1/4), with J - 1 degrees of freedom. This is the corrected resampled t" in intervals
    assert "no unbiased estimator of this variance exists (Bengio & Grandvalet 2004)" in intervals
    assert "Intervals cover other samples of training and test examples from this data set" in intervals
    assert "other test examples" not in text
    assert "paired by fold, averaged over the other factors. The column folds counts folds. Intervals and p are" in text
    assert "The column folds counts the trials that finished with a value" in text
    for title in ("Contrasts", "Simple effects", "Cells"):
        header = next(line for line in section(text, title).splitlines() if line.startswith("|"))
        assert "folds" in [cell.strip() for cell in header.split("|")]
    assert "Seeds" not in text
    assert "## Caveats" not in text
    answer = section(text, "Answer")
    assert "5 folds" in answer
    assert "seed" not in answer


def test_a_repeated_or_incomplete_cross_validation_is_described(tmp_path):
    text = report_text(tmp_path / "repeated", one_factor(folds=2, seeds=6))
    assert (
        "- **Folds**: 6 folds per cell: seed s is fold s mod 2 of the data module's 2-fold cross-validation (seeds 0 "
        "to 5; 3 repetitions, each with a new partition of the examples). Every example is tested once per repetition; "
        "each fold trains on the test examples of the other, so folds are not independent.\n"
    ) in text
    text = report_text(tmp_path / "part", one_factor(folds=5, seeds=3))
    assert (
        "Some folds are missing, so examples are not tested equally often; the training sets of two folds share" in text
    )
    assert (
        "- Of the 5 folds of the cross-validation, 2 are not in the plan (seeds 3, 4), so examples are not tested "
        "equally often, and some possibly never.\n"
    ) in text
    text = report_text(tmp_path / "one", one_factor(folds=3, seeds=5))
    assert "- Of the 6 folds of 2 cross-validations, 1 is not in the plan (seed 5), so examples are not" in text
    text = report_text(tmp_path / "many", one_factor(folds=20, seeds=2))
    assert "18 are not in the plan (seeds 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more), so" in text


def test_one_fold_gives_no_contrast_and_says_why(tmp_path):
    text = report_text(tmp_path, one_factor(folds=4, seeds=1))
    assert section(text, "Answer").startswith(
        "- The study has one fold, so there are no contrasts and no confidence intervals: "
    )
    assert "ablate run with --seeds 4 adds folds and keeps the finished trials." in text
    assert "cross-validation (seed 0). Some folds are missing" in text


def test_folds_left_out_are_marked_as_folds(tmp_path):
    text = report_text(
        tmp_path, one_factor(folds=3, seeds=3), lambda levels, seed: measure(levels, seed) if seed else None
    )
    assert "(!): folds are left out." in section(text, "Contrasts")
    assert "2/3 (!)" in section(text, "Cells")


def test_a_metric_that_is_not_measured_on_the_held_out_fold_is_noted(tmp_path):
    study = one_factor(folds=3, seeds=3, metric={"name": "val/acc"})
    text = report_text(tmp_path, study, lambda levels, seed: make_result(score(levels, seed), metric="val/acc"))
    assert (
        "- val/acc is measured on the validation split, which need not be the held-out fold; the intervals are" in text
    )


def test_notes_on_the_data_are_listed_as_caveats(tmp_path):
    study = one_factor()
    make_ledger(tmp_path, study, measure)
    with Ledger(tmp_path / "ledger.sqlite", writable=True) as ledger:
        ledger.plan(study.name, study.to_dict(), make_trials(study), ["3 texts | were empty\x1b[31m"])
    assert build_report(tmp_path).notes == ("Data: 3 texts | were empty\x1b[31m",)
    text = to_markdown(build_report(tmp_path))
    assert section(text, "Caveats") == "- Data: 3 texts \\| were empty\\\\x1b[31m"


def test_a_claim_on_a_metric_that_no_trial_logged_is_undecided(tmp_path):
    claim = {
        "factor": "x",
        "better": "b",
        "than": "a",
        "says": "b is smoother",
        "metric": {"name": "grad/norm", "goal": "min"},
    }
    report = build_report(make_ledger(tmp_path, one_factor(claims={"c": claim}), measure))
    assert report.claims["finding"].tolist() == ["undecided"]
    assert "Claim c: no trial logged 'grad/norm', so it is undecided." in report.notes
    assert "there are none; 5 seeds left out (10 no value)" in report.claims["answer"][0]


def test_interactions_shares_and_divergence_have_sections_if_they_exist(tmp_path):
    def some(levels, seed):
        gone = (levels, seed) == ({"activation": "relu", "init": "he"}, 1)
        return make_result(status=TrialStatus.DIVERGED) if gone else measure(levels, seed)

    text = report_text(tmp_path / "full", make_study(), some)
    assert "| activation: tanh - sigmoid | init: he - xavier |" in section(text, "Interactions")
    assert "| activation × init |" in section(text, "Shares of variance")
    assert "1 of 5" in section(text, "Divergence")
    assert section(text, "Divergence").count("| activation=") == 1
    text = report_text(tmp_path / "one", make_study(design="one_at_a_time"))
    for title in ("Interactions", "Shares of variance", "Divergence"):
        assert f"## {title}" not in text
    assert "- Interactions and shares of variance cannot be estimated, because each factor" in text

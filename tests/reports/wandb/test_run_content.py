"""Content of a trial's run, from the ledger."""

import math

import pytest
from make_ledger import make_ledger, make_result, one_factor

from experiments import Ledger
from experiments.trials.trial import TrialStatus
from reports.wandb import Destination, make_run_content

DESTINATION = Destination(group="activations")


def run_content(tmp_path, result, **changes):
    study = one_factor(seeds=[3], **changes)
    directory = make_ledger(tmp_path / "study", study, lambda levels, seed: result if levels["x"] == "b" else None)
    with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
        trial_id = next(trial["trial_id"] for trial in ledger.trials() if trial["levels"]["x"] == "b")
        return make_run_content(ledger.trial(trial_id), "activations", DESTINATION)


def test_a_run_has_factors_seed_and_the_complete_configuration(tmp_path):
    run = run_content(tmp_path, make_result(0.5))
    assert run.name == "x=b, seed=3"
    assert run.job_type == "train"
    assert run.run_id == DESTINATION.run_id(run.config["trial"])
    assert run.config == {
        "trial": run.config["trial"],
        "study": "activations",
        "seed": 3,
        "factors": {"x": "b"},
        "model": {"class_path": "M", "init_args": {"x": "b"}},
        "data": {"class_path": "D"},
    } | ({"trainer": run.config["trainer"]} if "trainer" in run.config else {})


def test_rows_are_epochs_and_the_summary_is_the_ledger_s(tmp_path):
    epochs = ({"val/acc": 0.1}, {}, {"val/acc": 0.3, "val/loss": math.inf})
    run = run_content(tmp_path, make_result(0.5, epochs=epochs, metrics={"test/acc": 0.5, "odd": math.nan}))
    assert run.rows == (
        {"epoch": 0, "val/acc": 0.1},
        {"epoch": 1},
        {"epoch": 2, "val/acc": 0.3, "val/loss": math.inf},
    )
    assert run.summary == {
        "test/acc": 0.5,
        "trial/status": "finished",
        "trial/seconds": 1.5,
        "trial/backend": "lightning",
        "trial/device": "",
        "trial/num_parameters": 10,
        "trial/attempts": 1,
    }
    assert run.exit_code == 0


def test_a_diverged_trial_has_exit_code_0_and_no_final_metrics(tmp_path):
    run = run_content(tmp_path, make_result(status=TrialStatus.DIVERGED))
    assert run.exit_code == 0
    assert run.summary["trial/status"] == "diverged"
    assert run.summary["trial/diverged_epoch"] == 1
    assert not [name for name in run.summary if not name.startswith("trial/")]
    assert len(run.rows) == 2


def test_a_failed_trial_has_exit_code_1_and_its_traceback(tmp_path):
    run = run_content(tmp_path, make_result(status=TrialStatus.FAILED, epochs=({"val/acc": 0.5},)))
    assert run.exit_code == 1
    assert run.rows == ({"epoch": 0, "val/acc": 0.5},)
    assert run.summary["trial/error"] == "Traceback: RuntimeError: boom"


@pytest.mark.parametrize("length", [10, 300])
def test_a_name_fits_wandb_and_ends_with_the_seed(tmp_path, length):
    level = "b" * length
    study = one_factor(levels=("a", level), seeds=[3])
    directory = make_ledger(tmp_path / "study", study, lambda _, __: make_result(0.5))
    with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
        trials = [ledger.trial(trial["trial_id"]) for trial in ledger.trials()]
    name = make_run_content(trials[1], "s", DESTINATION).name
    assert name.startswith("x=bbb")
    assert name.endswith(", seed=3")
    assert len(name) == min(len(f"x={level}, seed=3"), 128)


def test_metrics_with_reserved_names_get_other_keys(tmp_path):
    names = ("epoch", "_step", "_runtime", "_wandb", "trial/status")
    values = dict.fromkeys(names, 0.25)
    run = run_content(tmp_path, make_result(epochs=(values,), metrics=values))
    keys = {f"{name} (metric)": 0.25 for name in names}
    assert run.rows == ({"epoch": 0} | keys,)
    assert run.summary.items() >= (keys | {"trial/status": "finished"}).items()

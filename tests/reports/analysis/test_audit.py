import pytest
from make_ledger import make_ledger, make_result, make_study, one_factor

from experiments.trials.trial import TrialStatus
from reports import build_report


def measure(levels, seed):
    return make_result(0.5 + seed, epochs=({"train/loss": 1.0},) * 3)


def audit_of(directory, study, measured=measure):
    audit = build_report(make_ledger(directory, study, measured)).audit
    assert list(audit.columns) == ["item", "finding"]
    return dict(zip(audit["item"], audit["finding"], strict=True))


def test_a_complete_study_is_balanced(tmp_path):
    assert audit_of(tmp_path, make_study()) == {
        "Design": "full factorial: 6 cells; main effects, simple effects and interactions can be estimated",
        "Cells": "all 6 are complete, so every contrast is balanced",
        "Seeds": "5 planned per cell, 5 seeds with a value",
        "Failed and diverged": "none",
        "What a seed controls": (
            "initial values (by parameter name), data order, dropout and augmentation; all cells share those of a seed "
            "as far as they have the same parameters and data; and the split, if the data module draws one"
        ),
        "Epochs": "3 epochs in every trial",
        "Parameters": "10 parameters in every trial",
        "Time": "1.5 to 1.5 s per trial (means of cells), 45 s in total",
        "Learning rate": "not set by the study: the default of each model",
        "Trained by": "30 by lightning",
    }


def test_missing_trials_and_unequal_cells_give_warnings(tmp_path):
    def some(levels, seed):
        if levels == {"activation": "relu", "init": "he"} and seed < 2:
            return make_result(status=TrialStatus.FAILED if seed else TrialStatus.DIVERGED)
        num_epochs = 3 if levels["init"] == "he" else 2
        return make_result(
            0.5 + seed,
            epochs=({"train/loss": 1.0},) * num_epochs,
            num_parameters=20 if levels["activation"] == "tanh" else 10,
            backend="fused" if seed else "lightning",
        )

    found = audit_of(tmp_path, make_study(), some)
    assert found["Cells"].startswith("Careful: 5 of 6 are complete; ")
    assert found["Seeds"] == "5 planned per cell, 3 to 5 seeds with a value"
    assert found["Failed and diverged"] == "Careful: 1 diverged, 1 failed of 30 trials; see the rates per cell"
    assert found["Parameters"] == (
        "Careful: 10 to 20 parameters per trial; the number of parameters differs in activation: tanh - sigmoid"
    )
    assert found["Epochs"].endswith("the number of epochs differs in init: he - xavier")
    assert found["Trained by"].startswith("Careful: 23 by fused and 5 by lightning; ")


@pytest.mark.parametrize(
    ("study", "finding"),
    [
        (one_factor(), "one factor: 2 cells; interactions need a second factor"),
        (
            make_study(design="one_at_a_time"),
            "one factor at a time: 4 cells; interactions cannot be estimated",
        ),
        (
            make_study(exclude=[{"activation": "relu", "init": "he"}]),
            "full factorial with excluded cells: 5 cells; an effect uses the contexts that have all its cells",
        ),
    ],
)
def test_the_audit_says_what_a_design_can_estimate(tmp_path, study, finding):
    assert audit_of(tmp_path, study)["Design"] == finding


def test_the_audit_of_a_cross_validation_names_folds(tmp_path):
    found = audit_of(tmp_path, one_factor(folds=5))
    assert found["Folds"].endswith("; folds share training examples, and intervals account for it")
    assert found["What a seed controls"].endswith("; which fold is held out")


def with_optimizer(**changes):
    optimizer = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001}}
    return one_factor(
        base={"model": {"class_path": "M", "init_args": {"optimizer": optimizer}}, "data": {"class_path": "D"}},
        **changes,
    )


def test_the_audit_describes_the_learning_rates(tmp_path):
    shared = audit_of(tmp_path / "shared", with_optimizer())["Learning rate"]
    assert shared.startswith(
        "the same for all cells, not tuned for each: model.init_args.optimizer.init_args.lr = 0.001. Another rate may"
    )
    key = "model.init_args.optimizer.init_args.lr"
    varied = make_study(factors={"rate": {"key": key, "levels": [0.1, 0.2]}})
    assert audit_of(tmp_path / "varied", varied)["Learning rate"] == "varied by rate"
    levels = {name: {"class_path": name, "init_args": {"lr": lr}} for name, lr in (("SGD", 0.1), ("Adam", 0.001))}
    replaced = make_study(factors={"optimizer": {"key": "model.init_args.optimizer", "levels": levels}})
    assert audit_of(tmp_path / "replaced", replaced)["Learning rate"] == (
        "Careful: differs between the levels of optimizer, so they differ in more than their names"
    )


def test_trials_without_epochs_have_no_number_of_epochs(tmp_path):
    assert audit_of(tmp_path, one_factor(), lambda *_: make_result(0.5))["Epochs"] == "not recorded"


def test_the_scope_names_what_the_intervals_cover(tmp_path):
    for name, study, scope in (
        ("seeds", one_factor(), "retraining with other seeds (initial values"),
        ("folds", one_factor(folds=5), "corrected for the training examples that folds share"),
        ("one", one_factor(seeds=1), "With one seed, there are no confidence intervals."),
    ):
        assert scope in build_report(make_ledger(tmp_path / name, study, measure)).scope

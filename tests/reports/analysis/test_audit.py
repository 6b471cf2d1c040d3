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


def test_a_whole_study_is_balanced_and_equal(tmp_path):
    assert audit_of(tmp_path, make_study()) == {
        "Design": "full factorial: 6 cells; main effects, simple effects and interactions are estimable",
        "Cells": "all 6 complete, so every contrast is balanced",
        "Seeds": "5 planned a cell, 5 seeds with a value",
        "Failed and diverged": "none",
        "What a seed controls": (
            "initial values by the parameter's name, the order of the data, dropout and augmentation; the cells of a "
            "seed share them where they have the same parameters and data; and, where the data module draws one, the "
            "split"
        ),
        "Epochs": "3 epochs in every trial",
        "Parameters": "10 parameters in every trial",
        "Time": "1.5 to 1.5 s a trial by cell, 45 s in all",
        "Learning rate": "not set by the study: each model's own default",
        "Trained by": "30 by lightning",
    }


def test_what_is_missing_or_unequal_is_a_warning(tmp_path):
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
    assert found["Cells"].startswith("Careful: 5 of 6 complete; ")
    assert found["Seeds"] == "5 planned a cell, 3 to 5 seeds with a value"
    assert found["Failed and diverged"] == "Careful: 1 diverged, 1 failed of 30 trials; see the rates by cell"
    assert found["Parameters"] == (
        "Careful: 10 to 20 parameters a trial; different numbers of parameters are compared in "
        "activation: tanh - sigmoid"
    )
    assert found["Epochs"].endswith("different numbers of epochs are compared in init: he - xavier")
    assert found["Trained by"].startswith("Careful: 23 by fused and 5 by lightning; ")


@pytest.mark.parametrize(
    ("study", "says"),
    [
        (one_factor(), "one factor: 2 cells; there is nothing it could interact with"),
        (
            make_study(design="one_at_a_time"),
            "one at a time from the reference of each factor: 4 cells; interactions are not estimable",
        ),
        (
            make_study(exclude=[{"activation": "relu", "init": "he"}]),
            "full factorial with excluded cells: 5 cells; an effect uses the contexts that have all its cells",
        ),
    ],
)
def test_each_design_says_what_it_can_tell(tmp_path, study, says):
    assert audit_of(tmp_path, study)["Design"] == says


def test_folds_are_told_as_such(tmp_path):
    found = audit_of(tmp_path, one_factor(folds=5))
    assert found["Folds"].endswith("; folds share training examples, and intervals allow for it")
    assert found["What a seed controls"].endswith("; which fold is left out")


def with_optimizer(**changes):
    optimizer = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001}}
    return one_factor(
        base={"model": {"class_path": "M", "init_args": {"optimizer": optimizer}}, "data": {"class_path": "D"}},
        **changes,
    )


def test_the_policy_of_learning_rates_is_told(tmp_path):
    shared = audit_of(tmp_path / "shared", with_optimizer())["Learning rate"]
    assert shared.startswith(
        "shared by all cells, not tuned for each: model.init_args.optimizer.init_args.lr = 0.001. A level may do better"
    )
    key = "model.init_args.optimizer.init_args.lr"
    varied = make_study(factors={"rate": {"key": key, "levels": [0.1, 0.2]}})
    assert audit_of(tmp_path / "varied", varied)["Learning rate"] == "varied by rate"
    levels = {name: {"class_path": name, "init_args": {"lr": lr}} for name, lr in (("SGD", 0.1), ("Adam", 0.001))}
    replaced = make_study(factors={"optimizer": {"key": "model.init_args.optimizer", "levels": levels}})
    assert audit_of(tmp_path / "replaced", replaced)["Learning rate"] == (
        "Careful: differs between the levels of optimizer, so these differ by more than their name"
    )


def test_trials_without_epochs_have_no_number_of_them(tmp_path):
    assert audit_of(tmp_path, one_factor(), lambda *_: make_result(0.5))["Epochs"] == "not recorded"


def test_the_scope_of_intervals_is_a_sentence(tmp_path):
    for name, study, says in (
        ("seeds", one_factor(), "re-training with other seeds (initial values"),
        ("folds", one_factor(folds=5), "corrected for the examples that folds share"),
        ("one", one_factor(seeds=1), "With one seed there is no interval"),
    ):
        assert says in build_report(make_ledger(tmp_path / name, study, measure)).scope

import pytest
from small_study import small_study

from experiments import StudyError, build_cells, parse_study
from experiments.study.design import _COMBINATIONS
from experiments.study.study import DESIGNS


def study_of(**changes):
    content = small_study(**changes)
    content["factors"]["size"] = {
        "key": "model.init_args.hidden",
        "levels": {"small": [4], "large": [64]},
        "reference": "small",
    }
    return parse_study(content)


def levels_of(study):
    return [tuple(cell.levels.values()) for cell in build_cells(study)]


def test_full_is_every_combination_in_the_order_of_the_file():
    assert levels_of(study_of()) == [("tanh", "small"), ("tanh", "large"), ("relu", "small"), ("relu", "large")]


def test_one_at_a_time_is_the_reference_and_one_other_level_at_a_time():
    assert levels_of(study_of(design="one_at_a_time")) == [("tanh", "small"), ("relu", "small"), ("tanh", "large")]


def test_excluded_cells_are_left_out():
    study = study_of(exclude=[{"activation": "relu", "size": ["large"]}])
    assert levels_of(study) == [("tanh", "small"), ("tanh", "large"), ("relu", "small")]


def test_a_cells_configuration_has_its_levels_and_the_base_is_not_changed():
    study = study_of()
    cell = build_cells(study)[-1]
    assert cell.config["model"]["init_args"] == {"hidden": [64], "activation": "relu"}
    assert study.base["model"]["init_args"] == {"hidden": [8], "activation": "tanh"}


def test_a_level_that_replaces_the_model_is_set_before_one_that_changes_it():
    content = small_study()
    content["factors"] = {
        "dropout": {"key": "model.init_args.dropout", "levels": [0.0, 0.5]},
        "network": {"key": "model", "levels": {"mlp": {"class_path": "lit_models.MLP"}, "conv": {"class_path": "c.C"}}},
    }
    cell = build_cells(parse_study(content))[-1]
    assert cell.config["model"] == {"class_path": "c.C", "init_args": {"dropout": 0.5}}


def test_a_rule_that_excludes_nothing_is_an_error():
    with pytest.raises(
        StudyError, match=r"exclude.0: matches no cell of the one_at_a_time design; correct or remove this rule"
    ):
        build_cells(study_of(design="one_at_a_time", exclude=[{"activation": "relu", "size": "large"}]))


def test_a_factor_whose_reference_is_excluded_everywhere_is_an_error():
    with pytest.raises(
        StudyError, match=r"factors.activation: every cell with the reference 'tanh' is excluded; relax `exclude` or"
    ):
        build_cells(study_of(exclude=[{"activation": "tanh"}]))


def test_excluding_everything_is_an_error():
    with pytest.raises(StudyError, match=r"exclude: excludes every cell"):
        build_cells(study_of(exclude=[{"activation": ["tanh", "relu"]}]))


def data_of(data, **changes):
    base = small_study()["base"] | {"data": data}
    return [cell.config["data"] for cell in build_cells(parse_study(small_study(base=base, folds=4, **changes)))]


def test_folds_are_set_in_every_cells_data_module():
    folded = {"class_path": "D", "init_args": {"folds": 4}}
    assert data_of({"class_path": "D", "init_args": None}) == [folded, folded]
    assert data_of("D") == [folded, folded]
    levels = {"d": "D", "e": {"class_path": "E", "init_args": {"x": 1}}}
    other = {"class_path": "E", "init_args": {"x": 1, "folds": 4}}
    assert data_of("F", factors={"data": {"key": "data", "levels": levels}}) == [folded, other]


def test_an_invalid_data_section_is_left_to_later_checks():
    assert data_of(3) == [3, 3]
    assert data_of({"class_path": "D", "init_args": [1]}) == [{"class_path": "D", "init_args": [1]}] * 2


def test_cross_validation_needs_a_data_module_in_every_cell():
    with pytest.raises(StudyError, match=r"folds: cross-validation needs a data module in every cell, and ") as raised:
        data_of(None)
    assert str(raised.value).endswith(
        "every cell, and activation=tanh and 1 more cells have none; name one under base.data"
    )
    levels = {"with": "D", "without": None}
    with pytest.raises(StudyError, match=r"every cell, and data=without has none; name one under base\.data"):
        data_of("D", factors={"data": {"key": "data", "levels": levels}})


def test_each_design_has_its_combinations():
    assert tuple(_COMBINATIONS) == DESIGNS

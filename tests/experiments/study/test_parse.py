import contextlib
import copy
import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_study import small_study

from experiments import InputError, StudyError, load_study, parse_study, shipped_studies
from experiments.study.parse import parse_yaml


def problems(content):
    with pytest.raises(StudyError) as raised:
        parse_study(content, source="x.yaml")
    return [str(problem) for problem in raised.value.problems]


def test_a_study_has_the_content_of_its_file():
    study = parse_study(small_study(name="mine"))
    assert study.name == "mine"
    assert study.seeds == (0, 1)
    assert study.factor("activation").level_names == ("tanh", "relu")
    assert study.factor("activation").level("relu").changes == {"model.init_args.activation": "relu"}
    assert study.metric.margin == 0.01
    assert study.design == "full"


def test_plain_data_of_a_study_gives_the_study_back():
    content = small_study(
        exclude=[{"activation": "relu", "size": ["small"]}],
        claims={"c": {"factor": "activation", "better": "relu", "than": "tanh", "says": "ReLU wins"}},
        seeds=[3, 1],
    )
    content["factors"]["size"] = {
        "levels": {"small": {"model.init_args.hidden": [4]}, "large": {"model.init_args.hidden": [64, 64]}},
        "reference": "small",
    }
    study = parse_study(content)
    assert parse_study(study.to_dict()) == study


def test_chapter_and_minutes_are_read_written_and_may_be_left_out():
    study = parse_study(small_study(chapter="  Activations\n", minutes=0.5))
    assert (study.chapter, study.minutes) == ("Activations", 0.5)
    assert parse_study(study.to_dict()) == study
    plain = parse_study(small_study())
    assert (plain.chapter, plain.minutes) == (None, None)
    assert {"chapter", "minutes"}.isdisjoint(plain.to_dict())


def test_the_reference_is_the_first_level_by_default():
    content = small_study()
    del content["factors"]["activation"]["reference"]
    assert parse_study(content).factors[0].reference == "tanh"


def test_numbers_lists_and_truth_values_are_levels_by_their_yaml_name():
    content = small_study()
    content["factors"] = {
        "lr": {"key": "model.init_args.optimizer.init_args.lr", "levels": [0.1, 1e-3], "reference": 0.001},
        "hidden": {"key": "model.init_args.hidden", "levels": [[8], [8, 8]], "reference": [8, 8]},
        "norm": {"key": "model.init_args.batch_norm", "levels": [False, True], "reference": False},
    }
    study = parse_study(content)
    assert [factor.reference for factor in study.factors] == ["0.001", "[8, 8]", "false"]


def test_yaml_reads_scientific_numbers_and_words_as_such():
    assert parse_yaml("{lr: 1e-3, answer: no, on: off}", "x") == {"lr": 0.001, "answer": "no", "on": "off"}


@pytest.mark.parametrize("name", list(shipped_studies()))
def test_every_shipped_study_parses_and_asks_a_question(name):
    assert load_study(name).question.endswith("?")


HOLDS_ITSELF: list = []
HOLDS_ITSELF.append(HOLDS_ITSELF)
WRONG = [
    ({"chapter": 3}, "chapter: is 3; a text is expected"),
    ({"chapter": " "}, "chapter: is ' '; a short text, of 1 to 40 characters, is expected"),
    ({"chapter": "x" * 41}, f"chapter: is '{'x' * 41}'; a short text, of 1 to 40 characters, is expected"),
    ({"minutes": 0}, "minutes: is 0; a positive number of minutes is expected"),
    ({"minutes": -1.5}, "minutes: is -1.5; a positive number of minutes is expected"),
    ({"minutes": True}, "minutes: is True; a positive number of minutes is expected"),
    ({"minutes": float("inf")}, "minutes: is inf; a positive number of minutes is expected"),
    ({"minutes": "ten"}, "minutes: is 'ten'; a positive number of minutes is expected"),
    ({"chaptr": "Text"}, "chaptr: is not a key here; did you mean 'chapter'?"),
    ({"seeds": 0}, "seeds: is 0; at least 1 is needed"),
    ({"seeds": 2**63}, "seeds: is 9223372036854775808; at most 1,000,000 are possible"),
    ({"seeds": -3}, "seeds: is -3; at least 1 is needed"),
    ({"seeds": True}, "seeds: is True; a number of seeds or a list of seeds is expected"),
    ({"seeds": [1, -1]}, "seeds: -1 is not a seed; whole numbers from 0 to 4294967295 are"),
    ({"seeds": [1, 1]}, "seeds: 1 is given twice"),
    ({"design": "ful"}, "design: is 'ful'; did you mean 'full'? accepted: full, one_at_a_time"),
    ({"metric": {"name": "a", "goal": "up"}}, "metric.goal: is 'up'; accepted: max, min"),
    (
        {"metric": {"name": "a", "margin": -1}},
        "metric.margin: is -1; a positive number in the metric's unit is expected",
    ),
    ({"metric": {"name": "a", "margin": math.inf}}, "metric.margin: is inf; a positive number in the metric's unit"),
    ({"metric": {}}, "metric.name: is missing; a metric that the model logs, such as test/acc"),
    (
        {"factors": {}},
        "factors: names no factor; a mapping of name to {key, levels, reference} is expected",
    ),
    (
        {"factors": {"f": {"key": "model.x", "levels": [], "reference": 1}}},
        "factors.f.levels: is missing or empty; a list of values, or a mapping of names, is expected",
    ),
    (
        {"factors": {"f": {"key": "model.x", "levels": [1], "reference": 1}}},
        "factors.f.levels: has one level; a factor needs at least two",
    ),
    ({"factors": {"f": {"key": "model.x", "levels": [1, 1]}}}, "factors.f.levels: '1' is given twice"),
    (
        {"factors": {"f": {"key": "model.x", "levels": {"a": 1, "b": 1}}}},
        "factors.f.levels: 'b' and 'a' are the same level",
    ),
    (
        {"factors": {"f": {"key": "model.x", "levels": ["relu", "tanh"], "reference": "rel"}}},
        "factors.f.reference: 'rel' is not a level; did you mean 'relu'? levels: relu, tanh",
    ),
    (
        {"factors": {"f": {"key": "modle.x", "levels": [1, 2]}}},
        "factors.f.key: 'modle.x' is not a key of the configuration; it begins with model., data., trainer.",
    ),
    (
        {"factors": {"f": {"key": "model.class_path.x", "levels": [1, 2]}}},
        "factors.f.1: model.class_path is 'lit_models.MLP', which has no part 'x'",
    ),
    (
        {"factors": {"f": {"levels": [1, 2]}}},
        "factors.f.levels: is a list; the factor needs a `key` that takes these values",
    ),
    (
        {"factors": {"seed": {"key": "model.x", "levels": [1, 2]}}},
        "factors.seed: 'seed' is a column of every report; choose another name",
    ),
    ({"name": "a/b"}, "name: 'a/b' cannot be the name of a folder"),
    ({"exclude": [{"activatoin": "relu"}]}, "exclude.0.activatoin: 'activatoin' is not a factor; did you mean"),
    ({"exclude": [{"activation": "rel"}]}, "exclude.0.activation: 'rel' is not a level of activation; did you mean"),
    (
        {"claims": {"c": {"factor": "activation", "better": "relu", "than": "relu", "says": ""}}},
        "claims.c: compares 'relu' with itself",
    ),
    ({"claims": {"c": {"factor": "activation", "better": "relu", "than": "tanh"}}}, "claims.c.says: is missing"),
    ({"base": {"seed_everything": 1}}, "base.seed_everything: is set by the suite; give the seeds under `seeds`"),
    ({"base": {"trainer": {"max_epochs": 1, 1: 2}}}, "base: holds the key 1, which is not a text; put it in quotes"),
    (
        {"base": {"trainer": {"default_root_dir": dt.date(2024, 1, 1)}}},
        "base: holds datetime.date(2024, 1, 1), a date; put it in quotes",
    ),
    (
        {"factors": {"f": {"key": "model.x", "levels": {"a": HOLDS_ITSELF, "b": 1}}}},
        "factors: holds a value that contains itself",
    ),
    ({"sedes": 3}, "sedes: is not a key here; did you mean 'seeds'? accepted: name, question"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_problem_says_what_is_wrong_where_and_what_is_accepted(change, message):
    found = problems(small_study(**change))
    assert any(problem.startswith(message) for problem in found), found


def folds_study(**changes):
    content = small_study(folds=5, **changes)
    return {key: value for key, value in content.items() if key != "seeds" or "seeds" in changes}


def test_the_number_of_seeds_is_that_of_folds_by_default():
    study = parse_study(folds_study())
    assert (study.folds, study.seeds, study.unit) == (5, (0, 1, 2, 3, 4), "fold")
    assert parse_study(study.to_dict()) == study
    assert parse_study(folds_study(seeds=10)).seeds == tuple(range(10))
    assert parse_study(folds_study(seeds=[7, 9])).seeds == (7, 9)
    without = parse_study(small_study())
    assert (without.folds, without.unit, without.num_repetitions, without.missing_folds) == (None, "seed", 0, ())
    assert "folds" not in without.to_dict()


@pytest.mark.parametrize(
    ("seeds", "num_repetitions", "missing"),
    [(5, 1, ()), (10, 2, ()), (3, 1, (3, 4)), (7, 2, (7, 8, 9)), ([0, 9], 2, (1, 2, 3, 4, 5, 6, 7, 8))],
)
def test_missing_folds_are_those_of_incomplete_cross_validations(seeds, num_repetitions, missing):
    study = parse_study(folds_study(seeds=seeds))
    assert (study.num_repetitions, study.missing_folds) == (num_repetitions, missing)


@pytest.mark.parametrize("folds", [1, 0, -2, True, "5", 5.0, [5]])
def test_a_number_of_folds_is_a_whole_number_of_at_least_two(folds):
    assert problems(small_study(folds=folds)) == [
        f"folds: is {folds!r}; a whole number of folds, at least 2, is expected"
    ]


def base_with_data(**init_args):
    return small_study()["base"] | {"data": {"class_path": "datamodules.Digits", "init_args": init_args}}


def test_nothing_else_may_set_the_folds_or_the_seed_that_picks_one():
    sets_it = "the study's `folds: 5` sets it in every cell; remove one of the two"
    picks = "with the study's `folds: 5` each trial's seed picks its fold; leave it out"
    assert problems(folds_study(base=base_with_data(folds=3))) == [f"base.data.init_args.folds: is set, but {sets_it}"]
    assert problems(folds_study(base=base_with_data(seed=0))) == [f"base.data.init_args.seed: is set, but {picks}"]
    assert parse_study(folds_study(base=base_with_data(seed=None))).folds == 5
    with pytest.raises(StudyError) as raised:
        parse_study(folds_study(), changes={"data.init_args.folds": 3})
    assert [str(problem) for problem in raised.value.problems] == [f"--set data.init_args.folds: is set, but {sets_it}"]


@pytest.mark.parametrize(
    "factor",
    [
        {"key": "data.init_args.folds", "levels": [2, 3]},
        {"key": "data.init_args", "levels": {"two": {"folds": 2}, "none": {}}},
        {"key": "data", "levels": {"two": {"class_path": "D", "init_args": {"folds": 2}}, "none": {"class_path": "D"}}},
    ],
)
def test_a_factor_may_not_set_the_folds(factor):
    assert problems(folds_study(factors={"f": factor})) == [
        "factors.f: sets data.init_args.folds, but the study's `folds: 5` sets it in every cell; remove one of the two"
    ]


def test_a_level_with_an_impossible_key_is_reported_once_with_folds_too():
    levels = {"one": {"data": "datamodules.Digits", "data.init_args.batch_size": 8}, "other": {"data": "D"}}
    (found,) = problems(folds_study(factors={"f": {"levels": levels}}))
    assert found == "factors.f.one: data is 'datamodules.Digits', which has no part 'init_args'"


def test_two_factors_cannot_set_one_key():
    content = small_study()
    content["factors"]["again"] = {"key": "model.init_args.activation", "levels": ["elu", "gelu"]}
    assert problems(content) == ["factors.again: sets model.init_args.activation, which factor 'activation' sets too"]


def test_all_problems_are_reported_at_once_with_the_file_name():
    with pytest.raises(StudyError) as raised:
        parse_study(small_study(seeds=0, design="x", metric={}), source="x.yaml")
    text = str(raised.value)
    assert text.startswith("x.yaml has 3 problems\n")
    assert text.count("\nx.yaml: ") == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question: [", "s.yaml: is not valid YAML: line 1, column 12: "),
        ("a: 1\na: 2", "s.yaml: is not valid YAML: line 2, column 1: found duplicate key"),
        ("", "s.yaml: is empty; a study is a mapping with name, question"),
        ("- 1", "s.yaml: holds list; a study is a mapping with name, question"),
    ],
)
def test_a_file_that_is_no_study_is_an_error(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(StudyError, match=r"s.yaml") as raised:
        load_study("s.yaml")
    assert str(raised.value).startswith(message)


def test_an_unknown_study_names_the_nearest():
    with pytest.raises(
        InputError, match=r"there is no study 'quickstrat'; did you mean 'quickstart'\? .*`ablate list`"
    ):
        load_study("quickstrat")


def test_a_name_that_is_too_long_for_a_file_is_an_unknown_study():
    with pytest.raises(InputError, match="there is no study 'xxx"):
        load_study("x" * 5000)


def test_truth_values_name_levels_as_yaml_writes_them():
    content = small_study()
    content["factors"] = {"f": {"key": "model.x", "levels": {True: 1, False: 0}, "reference": True}}
    assert parse_study(content).factors[0].level_names == ("true", "false")


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read as a study file: .*No such file"):
        load_study(tmp_path / "absent.yaml")


def test_seeds_and_changes_of_the_command_line_replace_the_files(tmp_path):
    study = load_study("quickstart", seeds=3, changes={"trainer.max_epochs": 1})
    assert study.seeds == (0, 1, 2)
    assert study.base["trainer"]["max_epochs"] == 1


def test_a_change_of_what_a_factor_varies_is_refused():
    with pytest.raises(StudyError, match=r"--set model.init_args.init: has no effect: factor 'init' varies this key"):
        load_study("quickstart", changes={"model.init_args.init": "he"})


def test_a_change_outside_the_configuration_is_refused():
    with pytest.raises(StudyError, match=r"--set seeds: 'seeds' is not a key of the configuration"):
        load_study("quickstart", changes={"seeds": 3})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(
        [
            "name",
            "question",
            "base",
            "factors",
            "design",
            "exclude",
            "folds",
            "seeds",
            "metric",
            "claims",
            "chapter",
            "minutes",
        ]
    ),
)
def test_any_value_of_a_key_parses_or_is_a_study_error(value, key):
    content = copy.deepcopy(small_study())
    content[key] = value
    with contextlib.suppress(StudyError):
        parse_study(content)


def claim_of(**changes):
    content = small_study()
    content["factors"]["size"] = {
        "levels": {"small": {"model.init_args.hidden": [4]}, "large": {"model.init_args.hidden": [9]}}
    }
    claim = {"factor": "activation", "better": "relu", "than": "tanh", "says": "ReLU gains more in large networks"}
    claim |= {"more_under": {"size": "large"}, "than_under": {"size": "small"}} | changes
    content["claims"] = {"c": {key: value for key, value in claim.items() if value is not None}}
    return content


def test_claims_on_interactions_and_on_other_metrics_are_read_and_written():
    content = claim_of(metric={"name": "train/loss", "goal": "min", "margin": 0.01})
    study = parse_study(content)
    (claim,) = study.claims
    assert (claim.under, claim.than_under) == (("size", "large"), ("size", "small"))
    assert (claim.metric.name, claim.metric.goal, claim.metric.margin) == ("train/loss", "min", 0.01)
    assert parse_study(study.to_dict()) == study
    assert study.to_dict()["claims"] == content["claims"]


def test_a_claim_may_compare_logarithms():
    content = claim_of(metric={"name": "train/loss", "goal": "min", "margin": 2}, scale="log")
    study = parse_study(content)
    assert study.claims[0].scale == "log"
    assert parse_study(study.to_dict()) == study
    assert study.to_dict()["claims"] == content["claims"]
    assert parse_study(claim_of(scale="linear")).to_dict() == parse_study(claim_of()).to_dict()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": "lgo"}, "claims.c.scale: is 'lgo'; did you mean 'log'? accepted: linear, log"),
        (
            {"scale": "log", "metric": {"name": "train/loss", "margin": 0.5}},
            "claims.c.metric.margin: is 0.5; with scale: log it is a factor above 1, such as 2",
        ),
        ({"factor": "activatoin"}, "claims.c.factor: 'activatoin' is not a factor; did you mean 'activation'?"),
        ({"than_under": None}, "claims.c.than_under: is missing; more_under is compared with it"),
        ({"more_under": None}, "claims.c.more_under: is missing; than_under is compared with it"),
        ({"more_under": "large"}, "claims.c.more_under: is 'large'; one {factor: level} is expected"),
        (
            {"more_under": {"size": "large", "activation": "relu"}},
            "claims.c.more_under: is {'size': 'large', 'activation': 'relu'}; one {factor: level} is expected",
        ),
        (
            {"more_under": {"size": "larg"}},
            "claims.c.more_under.size: 'larg' is not a level of size; did you mean 'large'? levels: small, large",
        ),
        (
            {"more_under": {"siz": "large"}},
            "claims.c.more_under.siz: 'siz' is not a factor; did you mean 'size'? factors: activation, size",
        ),
        ({"than_under": {"size": "large"}}, "claims.c: compares size=large with itself"),
        (
            {"than_under": {"activation": "tanh"}},
            "claims.c: more_under names 'size' and than_under 'activation'; one factor is needed",
        ),
        (
            {"more_under": {"activation": "relu"}, "than_under": {"activation": "tanh"}},
            "claims.c.more_under: names the claim's factor 'activation'; another one is needed",
        ),
        (
            {"metric": {"goal": "up"}},
            "claims.c.metric.name: is missing; a metric that the model logs, such as test/acc",
        ),
        ({"metric": {"name": "a", "goal": "up"}}, "claims.c.metric.goal: is 'up'; accepted: max, min"),
        (
            {"metric": {"name": "a", "margin": 0}},
            "claims.c.metric.margin: is 0; a positive number in the metric's unit",
        ),
        ({"metric": "train/loss"}, "claims.c.metric: is 'train/loss'; {name, goal, margin} is expected"),
        ({"more_uner": 1}, "claims.c.more_uner: is not a key here; did you mean 'more_under'?"),
    ],
)
def test_each_mistake_in_a_claim_on_an_interaction_is_reported(changes, message):
    assert any(problem.startswith(message) for problem in problems(claim_of(**changes)))


def test_a_claim_on_an_interaction_needs_the_full_design():
    assert problems(claim_of() | {"design": "one_at_a_time"}) == [
        "claims.c: is on an interaction, which the one_at_a_time design cannot estimate; use design: full"
    ]


def test_claims_in_some_cells_and_on_equality_are_read_and_written():
    content = claim_of(more_under=None, than_under=None, where={"size": "large"})
    content["claims"]["same"] = {
        "factor": "activation",
        "equal": "relu",
        "to": "tanh",
        "metric": {"name": "train/loss", "goal": "min", "margin": 0.01},
        "says": "Either will do",
    }
    study = parse_study(content)
    one, same = study.claims
    assert (one.where, one.is_equality) == ((("size", "large"),), False)
    assert (same.better, same.than, same.where, same.is_equality) == ("relu", "tanh", (), True)
    assert parse_study(study.to_dict()) == study
    assert study.to_dict()["claims"] == content["claims"]


EQUAL = {"more_under": None, "than_under": None, "better": None, "than": None, "equal": "relu", "to": "tanh"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"where": {}}, "claims.c.where: is {}; a mapping of factor to level is expected"),
        ({"where": "large"}, "claims.c.where: is 'large'; a mapping of factor to level is expected"),
        (
            {"where": {"activation": "relu"}},
            "claims.c.where: names 'activation', which the claim compares already; another factor is needed",
        ),
        (
            {"where": {"size": "large"}},
            "claims.c.where: names 'size', which the claim compares already; another factor is needed",
        ),
        (
            {"where": {"size": "larg"}},
            "claims.c.where.size: 'larg' is not a level of size; did you mean 'large'? levels: small, large",
        ),
        (EQUAL | {"to": None}, "claims.c.to: is missing"),
        (EQUAL | {"to": "relu"}, "claims.c: compares 'relu' with itself"),
        (
            EQUAL | {"better": "relu"},
            "claims.c: has better and equal and to; {better, than} or {equal, to} is expected",
        ),
        (
            EQUAL | {"equal": None, "better": "relu"},
            "claims.c: has better and to; {better, than} or {equal, to} is exp",
        ),
        (
            EQUAL | {"metric": {"name": "train/loss"}},
            "claims.c: claims equality, but its metric has no margin within which levels are equal",
        ),
    ],
)
def test_each_mistake_in_a_claim_in_some_cells_or_on_equality_is_reported(changes, message):
    assert any(problem.startswith(message) for problem in problems(claim_of(**changes)))


def test_a_claim_without_a_sentence_is_checked_further():
    assert problems(claim_of(says=None, than="rleu")) == [
        "claims.c.says: is missing",
        "claims.c.than: 'rleu' is not a level of activation; did you mean 'relu'? levels: tanh, relu",
    ]


def test_a_claim_in_some_cells_needs_the_full_design():
    content = claim_of(more_under=None, than_under=None, where={"size": "large"}) | {"design": "one_at_a_time"}
    assert problems(content) == ["claims.c.where: names a cell that the one_at_a_time design lacks; use design: full"]


def test_a_margin_of_the_study_cannot_be_used_with_logarithms():
    content = claim_of(scale="log") | {"metric": {"name": "val/loss", "goal": "min", "margin": 0.01}}
    with pytest.raises(StudyError) as caught:
        parse_study(content)
    assert (
        "claims.c.scale: is log, for which the study's margin of 0.01 has no meaning; give the claim a `metric` "
        "without a margin, or with one that is a factor above 1" in str(caught.value)
    )
    content["claims"]["c"]["metric"] = {"name": "val/loss", "goal": "min"}
    assert parse_study(content).claims[0].scale == "log"


@pytest.mark.parametrize(
    ("name", "goal"), [("test/acc", "max"), ("test/loss", "min"), ("val_top1_error", "min"), ("val/r2", "max")]
)
def test_the_goal_is_inferred_from_the_name_where_it_is_missing(name, goal):
    content = claim_of(metric={"name": name}) | {"metric": {"name": name}}
    study = parse_study(content)
    assert study.metric.goal == study.claims[0].metric.goal == goal


def test_a_goal_that_cannot_be_inferred_is_required():
    content = claim_of(metric={"name": "val/thing"}) | {"metric": {"name": "mechanism/dead/act"}}
    what = "does not say whether more is better; max or min"
    assert problems(content) == [
        f"metric.goal: is missing, and 'mechanism/dead/act' {what}",
        f"claims.c.metric.goal: is missing, and 'val/thing' {what}",
    ]
    content["metric"]["goal"] = content["claims"]["c"]["metric"]["goal"] = "max"
    assert parse_study(content).metric.goal == "max"


def test_a_missing_level_is_a_key_error():
    with pytest.raises(KeyError, match="factor 'activation' has no level 'nothing'"):
        load_study("quickstart").factor("activation").level("nothing")

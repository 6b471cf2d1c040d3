import copy

import numpy as np
import pytest
import torch
from small_study import small_study

from experiments import StudyError, parse_study
from experiments.config.instantiate import make_data, make_model, resolve
from experiments.config.parse_cache import Section
from experiments.planning.plan import plan_study, plan_trials
from experiments.training.named_draws import NamedDraws

MLP_ARGUMENTS = (
    "arguments: activation, batch_norm, dropout, head, hidden, init, input_shape, l1, l2, loss, lr_scheduler, "
    "num_classes, optimizer"
)


def problems(**changes):
    with pytest.raises(StudyError) as raised:
        plan_trials(parse_study(small_study(**changes), source="x.yaml"))
    return [str(problem) for problem in raised.value.problems]


def base(**sections):
    found = copy.deepcopy(small_study()["base"])
    for section, change in sections.items():
        found[section] = change
    return found


def mlp(**init_args):
    return {"class_path": "lit_models.MLP", "init_args": init_args}


def factor(key, levels):
    return {"f": {"key": key, "levels": levels}}


def test_a_trial_has_a_resolved_configuration_with_defaults_and_without_a_seed():
    trials = plan_trials(parse_study(small_study()))
    assert [(trial.levels["activation"], trial.seed) for trial in trials] == [
        ("tanh", 0),
        ("tanh", 1),
        ("relu", 0),
        ("relu", 1),
    ]
    config = trials[0].config
    assert config["model"]["init_args"]["optimizer"]["class_path"] == "torch.optim.Adam"
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.001
    assert config["trainer"]["max_epochs"] == 1
    assert "seed_everything" not in config
    assert len({trial.trial_id for trial in trials}) == 4


def test_a_factor_by_the_optimizers_own_key_changes_the_default_optimizer():
    key = "model.init_args.optimizer.init_args.weight_decay"
    study = parse_study(small_study(factors=factor(key, [0.0, 0.1])))
    optimizer = plan_trials(study)[-1].config["model"]["init_args"]["optimizer"]
    assert optimizer["class_path"] == "torch.optim.Adam"
    assert optimizer["init_args"]["weight_decay"] == 0.1


def test_shapes_come_from_the_data_module_and_more_layers_keep_initial_values():
    levels = {"one": [8], "two": [8, 8]}
    trials = plan_trials(parse_study(small_study(seeds=1, factors=factor("model.init_args.hidden", levels))))
    assert trials[0].config["model"]["init_args"]["input_shape"] is None
    one, two = (
        NamedDraws(0).build(lambda config=trial.config: make_model(config, make_data(config))).state_dict()
        for trial in trials
    )
    assert one["layers.linear1.weight"].shape == (8, 64)
    assert two.keys() - one.keys() == {"layers.linear2.weight", "layers.linear2.bias"}
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("ingredient", [{"batch_norm": True}, {"dropout": 0.5}, {"activation": "prelu"}])
def test_switching_an_ingredient_keeps_initial_values(ingredient):
    sections = [Section.of("model", mlp(hidden=[8, 8], init="he", **change)) for change in ({}, ingredient)]
    data = make_data({"data": {"class_path": "datamodules.Digits"}})
    plain, changed = (
        dict(NamedDraws(0).build(lambda model=model: make_model({"model": model}, data)).named_parameters())
        for model in map(resolve, sections)
    )
    assert plain.keys() <= changed.keys()
    assert all(torch.equal(plain[name], changed[name]) for name in plain)


def test_a_users_module_with_its_own_dataloaders_needs_no_data_section():
    own = {"class_path": "user_module.UserModule"}
    study = parse_study(
        small_study(base={"model": own, "trainer": {"max_epochs": 1}}, factors=factor("model.init_args.lr", [0.1, 0.2]))
    )
    assert plan_trials(study)[0].config["data"] is None


WRONG = [
    (
        {"base": base(model=mlp(hiden=[3]))},
        f"base.model.init_args.hiden: lit_models.MLP has no 'hiden'; did you mean 'hidden'? {MLP_ARGUMENTS}",
    ),
    (
        {"base": base(data={"class_path": "datamodules.Digitz"})},
        "base.data.class_path: datamodules has no 'Digitz'; did you mean 'Digits'?",
    ),
    (
        {"base": base(model={"class_path": "no_such_module.Net"})},
        "base.model.class_path: no_such_module.Net cannot be imported: there is no module 'no_such_module' on the",
    ),
    (
        {"base": base(model={"class_path": "broken_module.Net"})},
        "base.model.class_path: broken_module.Net cannot be imported: ZeroDivisionError: division by zero",
    ),
    (
        {"base": base(model={"class_path": "datamodules.Digits"})},
        "base.model.class_path: datamodules.Digits is not a LightningModule",
    ),
    (
        {"base": base(model={"class_path": "MLP"})},
        "base.model.class_path: 'MLP' is not a class path; write module.Class, such as lit_models.MLP",
    ),
    ({"base": {"data": None}, "factors": factor("trainer.max_epochs", [1, 2])}, "base.model: is missing; {class_path"),
    ({"base": base(trainer={"max_epoch": 3})}, "base.trainer.max_epoch: the Trainer has no 'max_epoch'; did you mean"),
    ({"base": base(trainer={"max_epochs": "many"})}, "base.trainer.max_epochs: is 'many'; "),
    ({"base": base(trainer={"num_nodes": 2})}, "base.trainer.num_nodes: is 2; 1 is expected: a trial trains on the"),
    (
        {"factors": factor("model.init_args.activation", ["tanh", "rulu"])},
        "factors.f.rulu: model.init_args.activation: is 'rulu'; did you mean 'relu'? accepted: identity, sigmoid",
    ),
    (
        {"factors": factor("model.init_args.dropout", [0.1, "high"])},
        "factors.f.high: model.init_args.dropout: is 'high'; float is expected",
    ),
    (
        {"factors": factor("model.init_args.dropuot", [0.1, 0.2])},
        "factors.f: model.init_args.dropuot: lit_models.MLP has no 'dropuot'; did you mean 'dropout'?",
    ),
    (
        {
            "factors": factor(
                "model.init_args.optimizer",
                {
                    "sgd": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentumm": 1}},
                    "adam": {"class_path": "torch.optim.Adam"},
                },
            )
        },
        "factors.f.sgd: model.init_args.optimizer.init_args.momentumm: torch.optim.SGD has no 'momentumm'; did you",
    ),
    (
        {
            "base": base(
                trainer={
                    "callbacks": [{"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"x": 1}}]
                }
            )
        },
        "base.trainer.callbacks.0.init_args.x: lightning.pytorch.callbacks.EarlyStopping has no 'x'; arguments: ",
    ),
    (
        {"factors": factor("model.init_args.hidden", [[8], [-1]])},
        "factors.f.[-1]: model: lit_models.MLP cannot be built: ",
    ),
    (
        {"factors": factor("data.init_args.train_size", [0.5, 5000])},
        "factors.f.5000: data: datamodules.Digits cannot be built: ",
    ),
    (
        {
            "factors": factor("model.init_args.activation", ["tanh", "relu"])
            | {"g": {"key": "model.init_args.hidden", "levels": [[8], [8, 8]]}}
            | {"h": {"levels": {"a": {"data.init_args.num_wokers": 1}, "b": {"data.init_args.batch_size": 9}}}}
        },
        "factors.h.a: data.init_args.num_wokers: datamodules.Digits has no 'num_wokers'; ",
    ),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message[:50] for _, message in WRONG])
def test_what_a_class_does_not_accept_is_located_at_its_key_or_level(changes, message):
    found = problems(**changes)
    assert len(found) == 1
    assert found[0].startswith(message), found


def test_all_problems_are_reported_at_once():
    found = problems(
        base=base(model=mlp(hiden=[3], dropout="x"), trainer={"max_epoch": 1}),
        factors=factor("model.init_args.activation", ["tanh", "rulu"]),
    )
    assert sorted(problem.split(":")[0] for problem in found) == [
        "base.model.init_args.dropout",
        "base.model.init_args.hiden",
        "base.trainer.max_epoch",
        "factors.f.rulu",
    ]


def test_a_combination_that_cannot_be_built_is_located_at_its_cell():
    conv = {"class_path": "lit_models.ConvNet", "init_args": {"pool": "none"}}
    factors = {
        "filters": {"key": "model.init_args.filters", "levels": {"one": [2], "two": [2, 2]}},
        "kernel": {"key": "model.init_args.kernel_size", "levels": [3, 5]},
    }
    (found,) = problems(base=base(model=conv), factors=factors)
    assert found.startswith(
        "cell filters=two, kernel=5: model: lit_models.ConvNet cannot be built: ConvNet: conv2 would"
    )
    assert "input 8x8 -> conv1 4x4" in found


def test_two_cells_that_are_the_same_configuration_are_an_error():
    levels = {"default": {"model.init_args.dropout": 0.0}, "none": {"model.init_args.batch_norm": False}}
    (found,) = problems(factors={"f": {"levels": levels}})
    assert found == "cell f=none: is the same configuration as f=default; exclude one of them, or change its levels"


def test_a_data_folder_that_cannot_be_read_is_a_problem_of_the_study(tmp_path):
    a_file = tmp_path / "file"
    a_file.write_text("")
    data = {"class_path": "datamodules.MNIST", "init_args": {"data_dir": str(a_file)}}
    (found,) = problems(base=base(data=data))
    assert found.startswith("base.data: datamodules.MNIST cannot prepare its data: ")
    assert str(a_file) in found


FOLDED = {
    "model": {"class_path": "user_module.UserModule"},
    "data": {"class_path": "folded_data.FoldedPoints"},
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
}


def folded(**changes):
    return small_study(base=FOLDED, folds=4, seeds=4, factors=factor("model.init_args.lr", [0.1, 0.2])) | changes


def test_the_number_of_folds_is_part_of_a_trials_identity():
    trials = {folds: plan_trials(parse_study(folded(folds=folds))) for folds in (None, 4, 5)}
    assert trials[4][0].config["data"]["init_args"]["folds"] == 4
    assert [trial.seed for trial in trials[4]] == [0, 1, 2, 3] * 2
    assert len({trial.trial_id for found in trials.values() for trial in found}) == 24


def test_a_data_module_without_folds_is_a_problem_of_the_studys_folds():
    own = FOLDED | {"data": {"class_path": "user_module.UserData"}}
    (found,) = problems(**folded(base=own))
    assert found.startswith("folds: data.init_args.folds: user_module.UserData has no 'folds'; arguments: batch_size")
    assert found.endswith("; a data module takes part in cross-validation by an argument `folds`")
    levels = {"with": FOLDED["data"], "without": {"class_path": "user_module.UserData"}}
    (found,) = problems(**folded(factors=factor("data", levels)))
    assert found.startswith("folds: data.init_args.folds: user_module.UserData has no 'folds'; arguments: batch_size")


def notes_of(**changes):
    return plan_study(parse_study(folded(**changes))).notes


def test_notes_are_those_of_the_data_module_for_the_first_seed():
    def first_test_point(seed):
        return int(np.random.default_rng(seed // 4).permutation(40).reshape(4, 10)[seed % 4][0])

    points = {first: first_test_point(first) for first in (0, 6)}
    assert len(set(points.values())) == 2
    for first, point in points.items():
        found = notes_of(seeds=[first, 1])
        assert found == ("noise of 0.1", f"the first test point is {point}")


def test_notes_name_the_levels_or_cells_that_they_belong_to():
    factors = factor("data.init_args.noise", [0.1, 0.2, 0.3]) | {
        "lr": {"key": "model.init_args.lr", "levels": [0.1, 0.2]},
        "says": {"key": "data.init_args.says", "levels": {"usual": "", "own": "a sentence"}},
    }
    first, *rest = notes_of(factors=factors, exclude=[{"f": "0.1", "says": "own"}])
    assert first == "f=0.1: noise of 0.1"
    assert rest == [
        "says=usual: the first test point is 11",
        "f=0.2, says=usual: noise of 0.2",
        "says=own: a sentence",
        "f=0.3, says=usual: noise of 0.3",
    ]
    levels = [
        *({"data.init_args.says": "a note", "data.init_args.noise": noise} for noise in (0.1, 0.2)),
        {"data.init_args.says": ""},
    ]
    shared = notes_of(factors={"f": {"levels": dict(zip(("one", "two", "three"), levels, strict=True))}})
    assert shared[0] == "f=one, two: a note"
    diagonal = {"data.init_args.says": {"same": "", "own": "noise of 0.2"}, "data.init_args.noise": [0.1, 0.2]}
    factors = {key.rpartition(".")[2]: {"key": key, "levels": levels} for key, levels in diagonal.items()}
    assert notes_of(factors=factors)[-1] == "says=same, noise=0.2 (and 2 more cells): noise of 0.2"


def test_data_modules_without_notes_give_none():
    assert notes_of(base=FOLDED | {"data": {"class_path": "folded_data.AttributeNotes"}}) == ()
    assert (
        plan_study(
            parse_study(
                small_study(
                    base=FOLDED | {"data": {"class_path": "user_module.UserData"}},
                    factors=factor("model.init_args.lr", [0.1, 0.2]),
                )
            )
        ).notes
        == ()
    )


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("raises", "KeyError: 'nothing to say'"),
        ("number", "TypeError: notes() returns 3; a list of sentences is expected"),
        ("a text", "TypeError: notes() returns 'one sentence'; a list of sentences is expected"),
    ],
)
def test_notes_that_raise_are_a_problem_of_the_study(says, why):
    data = {"class_path": "folded_data.FoldedPoints", "init_args": {"says": says}}
    (found,) = problems(**folded(base=FOLDED | {"data": data}))
    assert found == f"base.data: folded_data.FoldedPoints cannot describe its data: {why}"

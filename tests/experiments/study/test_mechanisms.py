import pytest
from small_study import small_study

from experiments import StudyError, build_cells, parse_study
from experiments.planning.plan import plan_trials
from experiments.study.mechanisms import QUANTITIES, MechanismsOptions

CALLBACK = {"class_path": "experiments.mechanisms.Mechanisms"}
STOPPING = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/loss"}}


def problems(**changes):
    with pytest.raises(StudyError) as raised:
        parse_study(small_study(**changes), source="x.yaml")
    return [str(problem) for problem in raised.value.problems]


def callbacks_of(study):
    return [cell.config["trainer"].get("callbacks") for cell in build_cells(study)]


def test_a_study_without_the_key_measures_nothing():
    study = parse_study(small_study())
    assert study.mechanisms is None
    assert callbacks_of(study) == [None, None]
    assert "mechanisms" not in study.to_dict()


@pytest.mark.parametrize(
    ("value", "options"),
    [
        ("all", MechanismsOptions()),
        (["gap", "gradients"], MechanismsOptions(measure=("gradients", "gap"))),
        ({"measure": ["dead"], "examples": 64}, MechanismsOptions(measure=("dead",), examples=64)),
        ({"examples": 64}, MechanismsOptions(examples=64)),
    ],
)
def test_the_key_adds_the_callback_to_every_cell_and_survives_plain_data(value, options):
    study = parse_study(small_study(mechanisms=value))
    assert study.mechanisms == options
    assert parse_study(study.to_dict()) == study
    spec = CALLBACK | {"init_args": {"measure": list(options.measure), "examples": options.examples}}
    assert callbacks_of(study) == [[spec], [spec]]


def test_all_and_the_list_of_all_are_the_same_trials_and_others_are_not():
    ids = [
        [trial.trial_id for trial in plan_trials(parse_study(small_study(mechanisms=value)))]
        for value in ("all", list(reversed(QUANTITIES)), ["dead"], None)
    ]
    assert ids[0] == ids[1]
    assert not {*ids[0]} & {*ids[2]} | {*ids[0]} & {*ids[3]}


def test_callbacks_of_the_base_and_of_levels_follow_it():
    study = small_study(mechanisms=["dead"])
    study["base"]["trainer"]["callbacks"] = STOPPING
    study["factors"]["stop"] = {"key": "trainer.callbacks", "levels": {"yes": [STOPPING], "no": None}}
    found = callbacks_of(parse_study(study))
    assert [[spec["class_path"].rpartition(".")[2] for spec in each] for each in found[:2]] == [
        ["Mechanisms", "EarlyStopping"],
        ["Mechanisms"],
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            ["gradient"],
            "mechanisms: 'gradient' is no quantity; did you mean 'gradients'? accepted: " + ", ".join(QUANTITIES),
        ),
        ("gradients", "mechanisms: is 'gradients'; all, a list of gradients, "),
        ([], "mechanisms: is []; all, a list of gradients, "),
        ("off", "mechanisms: is 'off'; leave the key out to measure nothing"),
        (False, "mechanisms: is False; leave the key out to measure nothing"),
        (3, "mechanisms: is 3; all, a list of gradients, "),
        ({"measure": ["dead"], "example": 3}, "mechanisms.example: is not a key here; did you mean 'examples'?"),
        ({"measure": "some"}, "mechanisms.measure: is 'some'; all, a list of gradients, "),
        ({"examples": 0}, "mechanisms.examples: is 0; a number of examples, at least 1, is expected"),
        ({"examples": True}, "mechanisms.examples: is True; a number of examples, at least 1, is expected"),
        ({"examples": 2.5}, "mechanisms.examples: is 2.5; a number of examples, at least 1, is expected"),
    ],
)
def test_what_is_wrong_with_the_key_is_reported(value, message):
    (problem,) = problems(mechanisms=value)
    assert problem.startswith(message)


def test_a_study_may_name_the_callback_only_without_the_key():
    base = small_study()["base"]
    base["trainer"]["callbacks"] = [CALLBACK]
    factors = {"measured": {"key": "trainer.callbacks", "levels": {"yes": [CALLBACK], "no": []}}}
    what = "has experiments.mechanisms.Mechanisms, which the study's `mechanisms` adds to every cell"
    what += "; remove one of the two"
    assert problems(base=base, mechanisms="all") == [f"base.trainer.callbacks: {what}"]
    assert problems(factors=factors, mechanisms="all") == [f"factors.measured: {what}"]
    assert len(callbacks_of(parse_study(small_study(base=base)))) == 2


def test_wrong_arguments_of_the_callback_are_reported_when_a_study_is_planned():
    base = small_study()["base"]
    base["trainer"]["callbacks"] = [CALLBACK | {"init_args": {"measures": ["dead"]}}]
    with pytest.raises(
        StudyError, match=r"experiments\.mechanisms\.Mechanisms has no 'measures'; did you mean 'measure'"
    ):
        plan_trials(parse_study(small_study(base=base)))

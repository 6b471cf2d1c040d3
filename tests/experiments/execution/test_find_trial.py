"""Selection of a trial by its id or by its levels and seed."""

import itertools
from dataclasses import replace

import pytest
from small_study import small_study

from experiments import InputError, Ledger, find_trial, parse_study
from experiments.trials.trial import create_trials


def make_study(factors):
    content = small_study(factors=factors, seeds=2)
    study = parse_study(content, name="small")
    levels = [[(factor.name, level.name) for level in factor.levels] for factor in study.factors]
    cells = [dict(cell) for cell in itertools.product(*levels)]
    trials = [
        replace(trial, trial_id=f"{number:x}{trial.seed}bc45678901234f")
        for number, cell in enumerate(cells, start=10)
        for trial in create_trials({"model": cell}, cell, study.seeds)
    ]
    return study, trials


STUDY, TRIALS = make_study({"width": {"key": "model.init_args.hidden", "levels": {"4": [4], "6": [6]}}})
WANTED = TRIALS[3]


@pytest.mark.parametrize(
    "text", ["{id}", "{id:.6}", "trial={id}", "trial='{id}'", "width=6,seed=1", "seed=1, width=6", "width=6, seed=1"]
)
def test_a_trial_is_named_by_its_id_or_by_its_levels_and_seed(text):
    text = text.replace("{id:.6}", WANTED.trial_id[:6]).replace("{id}", WANTED.trial_id)
    assert find_trial(TRIALS, text, STUDY) is WANTED


def test_a_level_may_have_commas_and_equals_signs_in_its_name():
    study, trials = make_study(
        {
            "width": {"key": "model.init_args.hidden", "levels": {"6=six": [6], "4, width=four": [4]}},
            "size": {"key": "data.init_args.batch_size", "levels": [8, 16]},
        }
    )
    wanted = trials[4]
    assert wanted.levels == {"width": "4, width=four", "size": "8"}
    assert find_trial(trials, "width=4, width=four,size=8,seed=0", study) is wanted
    assert find_trial(trials, "size=8,width=6=six,seed=0", study) is trials[0]


def test_short_names_and_quotes_are_levels_too():
    study, trials = make_study({"a": {"key": "model.init_args.hidden", "levels": {"'q'": [4], "z": [6]}}})
    assert find_trial(trials, "a=z,seed=0", study) is trials[2]
    assert find_trial(trials, "seed=0,a='q'", study) is trials[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "TRIAL '': is too short; give at least 4 characters of the id"),
        ("12", "TRIAL '12': is too short; .* or levels and a seed, as in 'width=4,seed=0'"),
        ("zzzzzz", "no trial of 'small' has an id that begins with it; `ablate wandb sweep` lists the 4 trials"),
        ("width=6", "TRIAL 'width=6': matches 2 trials; give more of it\n  [0-9a-f]{16}  width=6, seed=0\n  "),
        ("width=5,seed=0", "'5' is no level of width; accepted: 4, 6"),
        ("width=6,seed=7", "'7' is no seed; accepted: 0, 1"),
        ("widht=6", "'widht' is no factor of 'small'; did you mean 'width'[?] factors: width, seed"),
    ],
)
def test_a_text_that_names_no_trial_is_an_error_with_the_accepted_texts(text, message):
    with pytest.raises(InputError, match=message):
        find_trial(TRIALS, text, STUDY)


def test_the_error_for_a_mistyped_id_suggests_the_nearest():
    mistyped = WANTED.trial_id[:5] + "0" + WANTED.trial_id[6:9]
    assert mistyped[5] != WANTED.trial_id[5]
    with pytest.raises(InputError, match=f"did you mean {WANTED.trial_id}[?]"):
        find_trial(TRIALS, mistyped, STUDY)


def test_a_beginning_of_several_ids_is_ambiguous():
    twin = replace(TRIALS[0], trial_id=f"{TRIALS[0].trial_id[:8]}00000000")
    with pytest.raises(InputError, match=f"matches 2 trials; give more of it\n  {TRIALS[0].trial_id}  width=4"):
        find_trial([*TRIALS, twin], TRIALS[0].trial_id[:8], STUDY)


def test_a_trial_of_another_plan_in_the_folder_is_an_error_that_says_so(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", writable=True) as ledger:
        ledger.plan(STUDY.name, STUDY.to_dict(), TRIALS)
    with pytest.raises(InputError, match=r"is a trial of .*, but not of this plan; give the --seeds and --set"):
        find_trial(TRIALS[:2], WANTED.trial_id, STUDY, tmp_path)

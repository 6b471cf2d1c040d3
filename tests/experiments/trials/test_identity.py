from experiments.trials.identity import compute_config_id, compute_trial_id

CONFIG = {
    "model": {"class_path": "M", "init_args": {"lr": 0.1}},
    "data": {"class_path": "D", "init_args": {"batch_size": 32, "num_workers": 0, "data_dir": None}},
    "trainer": {"max_epochs": 3, "precision": None, "accelerator": "auto", "devices": "auto", "logger": None},
}


def changed(section, **arguments):
    new = {key: dict(value) for key, value in CONFIG.items()}
    if section == "trainer":
        new["trainer"].update(arguments)
    else:
        new[section]["init_args"] = {**new[section]["init_args"], **arguments}
    return new


def test_the_ids_of_version_1_never_change():
    assert compute_config_id(CONFIG) == "32e190efaeec9d67"
    assert compute_trial_id(compute_config_id(CONFIG), 7) == "746e055c031f6d3b"


def test_placement_is_not_part_of_a_trials_identity():
    same = [
        changed("data", num_workers=4),
        changed("trainer", accelerator="gpu", logger=True, devices=[3]),
        changed("trainer", devices=1, enable_progress_bar=False),
        {**CONFIG, "seed_everything": 3},
    ]
    assert {compute_config_id(config) for config in same} | {compute_config_id(changed("trainer", devices=1))} == {
        compute_config_id(changed("trainer", devices=1))
    }


def test_what_changes_the_result_is_part_of_a_trials_identity():
    others = [
        changed("model", lr=0.2),
        changed("data", batch_size=64),
        changed("data", data_dir="/elsewhere"),
        changed("trainer", max_epochs=4),
        changed("trainer", precision="16-mixed"),
        changed("trainer", devices=2),
    ]
    assert len({compute_config_id(config) for config in [CONFIG, *others]}) == 7


def test_a_seed_is_part_of_the_trial_and_not_of_the_configuration():
    assert compute_trial_id(compute_config_id(CONFIG), 0) != compute_trial_id(compute_config_id(CONFIG), 1)

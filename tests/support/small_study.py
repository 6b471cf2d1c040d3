"""Contents of a small study file."""

from typing import Any


def small_study(**changes: Any) -> dict[str, Any]:
    """Return a study of two levels on a few digits that trains in a second; `changes` replace whole keys."""
    return {
        "question": "Does the activation matter?",
        "base": {
            "model": {"class_path": "lit_models.MLP", "init_args": {"hidden": [8], "activation": "tanh"}},
            "data": {"class_path": "datamodules.Digits", "init_args": {"batch_size": 16}},
            "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        },
        "factors": {
            "activation": {"key": "model.init_args.activation", "levels": ["tanh", "relu"], "reference": "tanh"}
        },
        "seeds": 2,
        "metric": {"name": "test/acc", "goal": "max", "margin": 0.01},
    } | changes

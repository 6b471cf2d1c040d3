"""A catalogue of a few small studies in a folder of its own, and the command that knows no other."""

import sys
from pathlib import Path

import yaml
from small_study import small_study

from ablate.commands import main
from experiments.study import parse as study_file

CLAIMS = {"relu-wins": {"factor": "activation", "better": "relu", "than": "tanh", "says": "ReLU wins"}}


def write_catalogue(folder, **studies):
    """A folder of study files: `small_study` with each one's changes, and a claim unless they say otherwise."""
    folder.mkdir(exist_ok=True)
    for name, changes in studies.items():
        content = small_study(claims=CLAIMS) | changes
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def arguments_of(folder, *arguments):
    """The words that start this command in a process of its own."""
    return [sys.executable, __file__, str(folder), *arguments]


if __name__ == "__main__":
    study_file.SHIPPED = Path(sys.argv[1])
    sys.exit(main(sys.argv[2:]))

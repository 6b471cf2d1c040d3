"""Catalogue of a few small studies, and the command that uses it."""

import sys
from pathlib import Path

import yaml
from small_study import small_study

from ablate.commands import main
from experiments.study import parse as study_file

CLAIMS = {"relu-wins": {"factor": "activation", "better": "relu", "than": "tanh", "says": "ReLU wins"}}


def write_catalogue(folder, **studies):
    """Write study files: `small_study` with the changes of each, and a claim unless changed."""
    folder.mkdir(exist_ok=True)
    for name, changes in studies.items():
        content = small_study(claims=CLAIMS) | changes
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def arguments_of(folder, *arguments):
    """Return the arguments of a process that runs this command."""
    return [sys.executable, __file__, str(folder), *arguments]


if __name__ == "__main__":
    study_file.SHIPPED = Path(sys.argv[1])
    sys.exit(main(sys.argv[2:]))

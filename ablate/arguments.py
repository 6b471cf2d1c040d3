"""Arguments that several commands take, and their values."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import InputError

if TYPE_CHECKING:
    from experiments.study.study import Study


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every command that takes a study."""
    parser.add_argument("study", metavar="STUDY", help="a name from `ablate list`, or the path of a YAML file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the study's folder (default: runs/<study>)")
    add_changes(parser)


def add_changes(parser: argparse.ArgumentParser) -> None:
    """Add the options that change a study, and the one that names the data folder."""
    parser.add_argument("--seeds", type=int, metavar="N", help="use seeds 0 to N-1 instead of the study's")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="changes",
        help="change the base configuration, as in trainer.max_epochs=2; may be repeated",
    )
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder of the data sets (default: $ABLATE_DATA_DIR, else data)"
    )


def read_study(arguments: argparse.Namespace) -> "Study":
    """Load the study that the arguments of `add_study` name."""
    from experiments.study.parse import load_study

    return load_study(arguments.study, seeds=arguments.seeds, changes=parse_changes(arguments.changes))


def parse_changes(texts: Sequence[str]) -> dict[str, Any]:
    """Parse the values of --set, each KEY=VALUE, into dotted keys and their values."""
    from experiments.study.parse import parse_yaml

    changes = {}
    for change in texts:
        key, equals, value = change.partition("=")
        if not equals or not key:
            raise InputError(f"--set {change}: write KEY=VALUE, as in --set trainer.max_epochs=2")
        changes[key.strip()] = parse_yaml(value, f"--set {key}")
    return changes

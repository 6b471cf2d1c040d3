"""`ablate list` and `ablate index`: the shipped studies and their results."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import InputError

from .console import make_console, print_line
from .exit_codes import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.study.catalogue import Entry


def add_catalogue(commands: Any) -> None:
    """Add the commands `list` and `index` to the subparsers of the command."""
    listing = commands.add_parser("list", help="list the shipped studies by chapter, with their questions and sizes")
    listing.add_argument("--chapter", metavar="NAME", help="only the studies of this chapter")
    listing.set_defaults(command=_list)

    index = commands.add_parser(
        "index", help="write DIR/index.html: the claims and verdicts of all studies in this folder"
    )
    index.add_argument(
        "directory",
        type=Path,
        nargs="?",
        default=Path("runs"),
        metavar="DIR",
        help="folder that contains the study folders (default: %(default)s)",
    )
    index.set_defaults(command=_index)


def print_index(parent: Path, console: "Console") -> None:
    """Write the index of the study folders in this folder, and print its path and a summary."""
    from reports.index import summarise_index, write_index

    for line in summarise_index(*write_index(parent)):
        print_line(console, line)


def _list(arguments: argparse.Namespace) -> int:
    import textwrap

    from rich.text import Text

    from experiments.study.catalogue import group_by_chapter, load_catalogue, select_chapter
    from experiments.text import format_duration

    console = make_console()
    entries = select_chapter(load_catalogue(), arguments.chapter)
    for chapter, studies in group_by_chapter(entries).items():
        console.print(Text(chapter, style="bold underline"))
        for entry in studies:
            console.print(Text.assemble("  ", (entry.name, "bold"), f"  {_describe_size(entry)}"), soft_wrap=True)
            for line in textwrap.wrap(entry.question, max(console.width - 5, 20)):
                console.print(Text(f"    {line}"), soft_wrap=True)
        console.print()
    minutes = sum(entry.minutes or 0.0 for entry in entries)
    expected = f", about {format_duration(60 * minutes)} on two cores" if minutes else ""
    command = "ablate run --all" if arguments.chapter is None else f"ablate run --all --chapter {arguments.chapter!r}"
    noun = "study" if len(entries) == 1 else "studies"
    num_trials = sum(entry.num_trials for entry in entries)
    console.print(
        Text(f"{len(entries)} {noun}, {num_trials} trials{expected}; `{command}` trains them"), soft_wrap=True
    )
    return ExitCode.DONE


def _describe_size(entry: "Entry") -> str:
    from experiments.text import format_duration

    size = f"{entry.num_trials} trials ({entry.num_cells} cells x {entry.num_seeds} {entry.unit}s)"
    return size if entry.minutes is None else f"{size}, about {format_duration(60 * entry.minutes)}"


def _index(arguments: argparse.Namespace) -> int:
    from experiments.ledger.study_folder import LEDGER

    parent = arguments.directory
    if parent.is_dir() and not (parent / LEDGER).exists() and not any(parent.glob(f"*/{LEDGER}")):
        raise InputError(f"{parent}: has no study folder; `ablate run --all --out {parent}` trains the shipped studies")
    print_index(arguments.directory, make_console())
    return ExitCode.DONE

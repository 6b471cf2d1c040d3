"""`ablate list` and `ablate index`: the shipped studies and their results. No logic, as in commands.py."""

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
    """Add the commands `list` and `index` to what `add_subparsers` of the command's parser gave."""
    listing = commands.add_parser("list", help="the shipped studies by chapter, each with its question and its size")
    listing.add_argument("--chapter", metavar="NAME", help="only the studies of this chapter")
    listing.set_defaults(command=_list)

    index = commands.add_parser(
        "index", help="write DIR/index.html: the claims of all studies in this folder, with their verdicts"
    )
    index.add_argument(
        "directory",
        type=Path,
        nargs="?",
        default=Path("runs"),
        metavar="DIR",
        help="the folder of the studies' folders (default: %(default)s)",
    )
    index.set_defaults(command=_index)


def print_index(parent: Path, console: "Console") -> None:
    """Write the index of a folder of studies' folders, and print where it is and what it holds."""
    from reports.index import index_lines, write_index

    for line in index_lines(*write_index(parent)):
        print_line(console, line)


def _list(arguments: argparse.Namespace) -> int:
    import textwrap

    from rich.text import Text

    from experiments.study.catalogue import group_by_chapter, load_catalogue, select_chapter
    from experiments.text import duration

    console = make_console()
    entries = select_chapter(load_catalogue(), arguments.chapter)
    for chapter, studies in group_by_chapter(entries).items():
        console.print(Text(chapter, style="bold underline"))
        for entry in studies:
            console.print(Text.assemble("  ", (entry.name, "bold"), f"  {_size(entry)}"), soft_wrap=True)
            for line in textwrap.wrap(entry.question, max(console.width - 5, 20)):
                console.print(Text(f"    {line}"), soft_wrap=True)
        console.print()
    minutes = sum(entry.minutes or 0.0 for entry in entries)
    expected = f", about {duration(60 * minutes)} on two cores" if minutes else ""
    runs = "ablate run --all" if arguments.chapter is None else f"ablate run --all --chapter {arguments.chapter!r}"
    noun = "study" if len(entries) == 1 else "studies"
    num_trials = sum(entry.num_trials for entry in entries)
    console.print(Text(f"{len(entries)} {noun}, {num_trials} trials{expected}; `{runs}` trains them"), soft_wrap=True)
    return ExitCode.DONE


def _size(entry: "Entry") -> str:
    from experiments.text import duration

    size = f"{entry.num_trials} trials ({entry.num_cells} cells x {entry.num_seeds} {entry.unit}s)"
    return size if entry.minutes is None else f"{size}, about {duration(60 * entry.minutes)}"


def _index(arguments: argparse.Namespace) -> int:
    from experiments.ledger.study_folder import LEDGER

    parent = arguments.directory
    if parent.is_dir() and not (parent / LEDGER).exists() and not any(parent.glob(f"*/{LEDGER}")):
        raise InputError(f"{parent}: holds no study's folder; `ablate run --all --out {parent}` fills it")
    print_index(arguments.directory, make_console())
    return ExitCode.DONE

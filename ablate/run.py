"""Command `ablate run`. No logic, as in commands.py."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.errors import InputError
from experiments.execution.options import FUSE, RUNNERS, RunOptions
from experiments.execution.run import Outcome, check_names, run_on
from experiments.execution.sinks import Sink
from experiments.ledger.study_folder import check_folder
from experiments.trials.trial import TrialStatus

from .arguments import add_changes, parse_changes, read_study
from .console import make_console
from .exit_codes import ExitCode
from .session import Session, start_runner, train_and_report
from .wandb import add_mirror, read_wandb_options

_DEFAULTS = RunOptions()


def add_run(commands: Any) -> None:
    """Add the command `run` to the subparsers."""
    parser = commands.add_parser(
        "run", help="train the missing trials of a study, or of all shipped studies, then report"
    )
    parser.add_argument(
        "study", nargs="?", metavar="STUDY", help="a name from `ablate list`, or the path of a YAML file"
    )
    parser.add_argument("--all", action="store_true", help="run all shipped studies instead, in order of cost")
    parser.add_argument("--chapter", metavar="NAME", help="with --all: only the studies of this chapter")
    parser.add_argument(
        "--budget",
        metavar="TIME",
        help="with --all: time for all studies, as in 90s, 30m or 2h; studies that do not fit are skipped",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the study's folder (default: runs/<study>); with --all the parent of all study folders (default: runs)",
    )
    add_changes(parser)
    parser.add_argument(
        "--runner", default=_DEFAULTS.runner, choices=RUNNERS, help="where to train (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="number of workers (default: one per GPU, or per core)"
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="head of a Ray cluster, or auto (default: $RAY_ADDRESS, else Ray is started on this machine)",
    )
    parser.add_argument(
        "--fuse",
        default=_DEFAULTS.fuse,
        choices=FUSE,
        help="train trials of one structure in one loop; always: fail if one cannot be fused (default: %(default)s)",
    )
    parser.add_argument(
        "--devices",
        metavar="LIST",
        help="GPUs as torch counts them, or UUIDs, as in 0,2,3; without GPUs, cores (default: all)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="how long a trial may train; a fused group of n trials gets n times as long",
    )
    parser.add_argument(
        "--retries",
        type=int,
        default=_DEFAULTS.num_retries,
        metavar="N",
        help="how often to retrain a group whose worker was lost (default: %(default)s)",
    )
    parser.add_argument(
        "--retry-errors", action="store_true", help="also retry trials that failed with an error of their own code"
    )
    parser.add_argument("--wait", action="store_true", help="wait while another command uses the folder")
    add_mirror(parser, "show trials in Weights & Biases while they train")
    parser.set_defaults(command=_run, continues=True)


def _read_options(arguments: argparse.Namespace) -> RunOptions:
    return RunOptions(
        runner=arguments.runner,
        num_slots=arguments.workers,
        address=arguments.address,
        devices=None if arguments.devices is None else [name.strip() for name in arguments.devices.split(",")],
        fuse=arguments.fuse,
        data_dir=arguments.data_dir,
        timeout_seconds=arguments.timeout,
        num_retries=arguments.retries,
        retry_errors=arguments.retry_errors,
        wait_for_folder=arguments.wait,
    )


def _run(arguments: argparse.Namespace) -> int:
    session = Session(options=_read_options(arguments), wandb=read_wandb_options(arguments), console=make_console())
    if arguments.all:
        if arguments.study is not None:
            raise InputError(f"{arguments.study} and --all: give one of them")
        if session.wandb.group is not None:
            raise InputError(f"--wandb-group {session.wandb.group}: with --all, the runs of each study are a group")
        from experiments.execution.run_all import parse_budget

        from .run_all import load_studies, run_studies

        budget_seconds = None if arguments.budget is None else parse_budget(arguments.budget)
        loaded, refused = load_studies(arguments.chapter, arguments.seeds, parse_changes(arguments.changes))
        return run_studies(loaded, refused, arguments.out or Path("runs"), budget_seconds, session)
    if arguments.study is None:
        raise InputError("name a study, as in `ablate run quickstart` (`ablate list` has them), or give --all")
    for name in ("chapter", "budget"):
        if (value := getattr(arguments, name)) is not None:
            raise InputError(f"--{name} {value}: is for --all; {arguments.study} is one study")
    study = read_study(arguments)
    directory = arguments.out or Path("runs") / study.name
    check_names()
    check_folder(directory, study)

    def train(sinks: Sequence[Sink]) -> Outcome:
        with start_runner(session.options, [study]) as runner:
            return run_on(runner, study, directory, session.options, sinks)

    outcome = train_and_report(study, directory, train, session)
    return ExitCode.SOME_FAILED if outcome.counts[TrialStatus.FAILED] else ExitCode.DONE

"""Commands `ablate wandb ...`, and the W&B options of other commands. No logic, as in commands.py."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.ledger.study_folder import open_ledger
from experiments.trials.trial import TrialStatus, count_ended

from .arguments import add_study, read_study
from .console import make_console, print_line
from .exit_codes import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.study.study import Study
    from reports.wandb import Destination, WandbSink

_MAX_SHOWN = 10  # runs that differ


def add_wandb(commands: Any) -> None:
    """Add the command `wandb` and its subcommands to the subparsers."""
    wandb = commands.add_parser("wandb", help="a study in Weights & Biases: push, verify, dashboard, sweep")
    subcommands = wandb.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command, text in (
        ("push", _push, "complete W&B: every ended trial of the ledger as one whole run, and the report"),
        ("verify", _verify, "compare rows, configuration and summary of every run with the ledger"),
    ):
        parser = subcommands.add_parser(name, help=text)
        parser.add_argument("directory", type=Path, metavar="DIR", help="a study's folder, such as runs/quickstart")
        parser.add_argument(
            "--wandb",
            choices=["offline", "online"],
            help="files in DIR/wandb, or the server (default: as last time for this folder, else online)",
        )
        add_destination(parser)
        parser.set_defaults(command=command, continues=name == "push")
    dashboard = subcommands.add_parser(
        "dashboard", help="save a workspace grouped by factor, and a report with the study's answer and verdicts"
    )
    dashboard.add_argument("directory", type=Path, metavar="DIR", help="a study's folder, such as runs/quickstart")
    add_destination(dashboard)
    dashboard.add_argument(
        "--dry-run", action="store_true", help="print both as JSON instead; needs neither a network nor a login"
    )
    dashboard.set_defaults(command=_dashboard, wandb=None)
    sweep = subcommands.add_parser(
        "sweep", help="write a sweep file, whose agents train the study's trials with `ablate trial`"
    )
    add_study(sweep)
    sweep.add_argument("--file", type=Path, metavar="PATH", help="where to write it (default: print it)")
    add_destination(sweep)
    sweep.set_defaults(command=_sweep, wandb=None)


def add_mirror(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that copies trials to W&B while they train, and those of the destination."""
    modes = ["off", "offline", "online"]
    parser.add_argument("--wandb", default="off", choices=modes, help=f"{text} (default: %(default)s)")
    add_destination(parser)


def add_destination(parser: argparse.ArgumentParser) -> None:
    """Add the options for the destination of runs."""
    parser.add_argument(
        "--wandb-project",
        metavar="NAME",
        help="default: as last time for this folder, else $WANDB_PROJECT, else ablation-suite",
    )
    parser.add_argument(
        "--wandb-entity", metavar="NAME", help="user or team (default: as last time, else $WANDB_ENTITY, else you)"
    )
    parser.add_argument(
        "--wandb-group", metavar="NAME", help="the group of the study's runs (default: as last time, else its name)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbOptions:
    """Options of W&B; None is the last value for the folder, else a default.

    mode: off, offline or online.
    project, entity, group: destination of the runs.
    """

    mode: str | None
    project: str | None
    entity: str | None
    group: str | None

    def find_destination(self, directory: Path, study_name: str) -> "Destination":
        """Return the destination of a folder's runs.

        Raises:
            InputError: when W&B would refuse the project's name.
        """
        from reports.wandb import resolve_destination

        return resolve_destination(
            directory, study_name, mode=self.mode, project=self.project, entity=self.entity, group=self.group
        )


def read_wandb_options(arguments: argparse.Namespace) -> WandbOptions:
    """Return the values of the options that `add_mirror` or `add_destination` added."""
    return WandbOptions(
        mode=arguments.wandb,
        project=arguments.wandb_project,
        entity=arguments.wandb_entity,
        group=arguments.wandb_group,
    )


def make_mirror(
    options: WandbOptions, study: "Study", directory: Path, console: "Console", *, is_one_of_many: bool = False
) -> "WandbSink | None":
    """Make the sink that copies a study's trials to W&B while they train; None where W&B is off.

    Raises:
        InputError: when W&B would refuse the project's name, or wandb is absent or too old.
    """
    if options.mode == "off":
        return None
    from reports.wandb import WandbSink, check_installed

    check_installed()
    destination = options.find_destination(directory, study.name)
    return WandbSink(directory, destination, console, is_one_of_many=is_one_of_many)


def print_mirror_summary(
    mirror: "WandbSink", directory: Path, counts: Mapping[TrialStatus, int], console: "Console"
) -> None:
    """Print where the runs are, and whether trials that ended earlier may lack one."""
    from reports.wandb import ONLINE

    if mirror.problem is not None:  # the sink printed it when it happened
        print_line(console, f"W&B lacks runs of this study: `ablate wandb push {directory}` makes them")
        return
    where = mirror.url if mirror.destination.mode == ONLINE and mirror.url else directory / "wandb"
    trials = [trial for trial in mirror.written if trial != "report"]
    print_line(console, f"W&B: {_count_runs(len(trials))} and the report in {where}")
    before = count_ended(counts) - len(trials)
    if before > 0:
        print_line(
            console, f"{before} trials ended earlier; `ablate wandb push {directory}` makes sure that W&B has them"
        )


def _push(arguments: argparse.Namespace) -> int:
    from reports.wandb import ONLINE, push

    console = make_console()
    directory = arguments.directory
    destination = read_wandb_options(arguments).find_destination(directory, _read_study_name(directory))
    pushed = push(directory, destination)
    total = sum(pushed.counts.values())
    ended = len(pushed.written) + pushed.num_unchanged
    where = pushed.url if destination.mode == ONLINE and pushed.url else directory / "wandb"
    report = " and the report" if pushed.has_report else ""
    unchanged = f"{_count_runs(pushed.num_unchanged)} unchanged"
    print_line(console, f"wrote {_count_runs(len(pushed.written))}{report}; {unchanged}: {where}")
    if pushed.num_deleted:
        console.print(f"removed {_count_runs(pushed.num_deleted)} of earlier plans, which the ledger keeps")
    if ended < total:
        print_line(
            console, f"the study is not finished ({ended} of {total} trials have ended), and the report in W&B says so"
        )
    return ExitCode.DONE


def _verify(arguments: argparse.Namespace) -> int:
    from reports.wandb import ONLINE, verify

    console = make_console()
    directory = arguments.directory
    destination = read_wandb_options(arguments).find_destination(directory, _read_study_name(directory))
    checked = verify(directory, destination)
    differ = [run for run in checked if run.difference is not None]
    where = "on the server" if destination.mode == ONLINE else f"in {directory / 'wandb'}"
    print_line(
        console,
        f"{len(checked) - len(differ)} of {len(checked)} runs {where} agree with the ledger in rows, configuration "
        "and summary",
    )
    for run in differ[:_MAX_SHOWN]:
        print_line(console, f"- {run.trial_id} ({run.name}): {run.difference}")
    if len(differ) > _MAX_SHOWN:
        console.print(f"- and {len(differ) - _MAX_SHOWN} more")
    if differ:
        print_line(console, f"`ablate wandb push {directory}` writes what is missing or differs")
    return ExitCode.SOME_FAILED if differ else ExitCode.DONE


def _dashboard(arguments: argparse.Namespace) -> int:
    from reports import build_report
    from reports.wandb import save_destination
    from reports.wandb.dashboard.build import build_dashboard, to_json

    report = build_report(arguments.directory)
    destination = read_wandb_options(arguments).find_destination(arguments.directory, report.study.name)
    dashboard = build_dashboard(report, destination)
    if arguments.dry_run:
        sys.stdout.write(to_json(dashboard))
        return ExitCode.DONE
    from reports.wandb.dashboard.save import save_dashboard

    workspace, story = save_dashboard(dashboard)
    save_destination(arguments.directory, destination)
    sys.stdout.write(f"workspace: {workspace}\nreport:    {story}\n")
    return ExitCode.DONE


def _sweep(arguments: argparse.Namespace) -> int:
    from experiments.execution.options import RunOptions
    from experiments.execution.run import make_runner, plan_on, use_data_dir
    from experiments.ledger.study_folder import check_folder, lock_folder
    from reports.wandb import save_destination
    from reports.wandb.sweep import build_agent_command, format_sweep, write_sweep

    study = read_study(arguments)
    directory = arguments.out or Path("runs") / study.name
    check_folder(directory, study)
    destination = read_wandb_options(arguments).find_destination(directory, study.name)
    options = RunOptions(runner="inline", data_dir=arguments.data_dir)
    with use_data_dir(options.data_dir), make_runner(options, [study]) as runner:
        plan = plan_on(runner, study)
    command = build_agent_command(
        arguments.study, directory, seeds=arguments.seeds, changes=arguments.changes, data_dir=arguments.data_dir
    )
    text = format_sweep(study, plan.trials, destination, command)
    if arguments.wandb_project or arguments.wandb_entity or arguments.wandb_group:
        with lock_folder(directory):  # for the agents, whose command names a folder and no destination
            save_destination(directory, destination)
    if arguments.file is None:
        sys.stdout.write(text)
        return ExitCode.DONE
    write_sweep(arguments.file, text)
    print_line(
        make_console(),
        f"{arguments.file}: {len(plan.trials)} trials; `wandb sweep {arguments.file}` makes the sweep and names its "
        "agents",
    )
    return ExitCode.DONE


def _read_study_name(directory: Path) -> str:

    with open_ledger(directory) as ledger:
        return ledger.study_name() or directory.name


def _count_runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"

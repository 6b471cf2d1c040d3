"""`ablate gradcheck`: the gradient of a study's module against differences of its loss."""

import argparse
from typing import TYPE_CHECKING, Any

from experiments.gradients.check_gradients import NUM_ENTRIES, TOLERANCE

from .arguments import add_study, study_of
from .console import make_console, print_line
from .exit_codes import ExitCode
from .interrupts import exiting_on_interrupt

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.gradients import GradientCheck, ParameterCheck


def add_gradcheck(commands: Any) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "gradcheck", help="compare a module's backward pass with central differences of its loss, on one batch"
    )
    add_study(parser)
    parser.add_argument(
        "trial", metavar="TRIAL", nargs="?", help="as of `ablate trial` (default: the first trial of the study)"
    )
    parser.add_argument(
        "--entries",
        type=int,
        default=NUM_ENTRIES,
        metavar="N",
        help="of each parameter tensor that are moved one by one (default: %(default)s)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="X",
        help="the relative difference up to which derivatives agree (default: %(default)s)",
    )
    parser.set_defaults(command=_gradcheck)


def _gradcheck(arguments: argparse.Namespace) -> int:
    with exiting_on_interrupt():
        from experiments.execution.run import data_folder
        from experiments.execution.run_trial import find_trial
        from experiments.gradients import check_trial
        from experiments.gradients.trial_start import start_of  # noqa: F401 -- with it torch and lightning, which take seconds
        from experiments.planning.plan import plan_trials

    study = study_of(arguments)
    with data_folder(arguments.data_dir):
        trials = plan_trials(study)
        trial = trials[0] if arguments.trial is None else find_trial(trials, arguments.trial, study)
        check = check_trial(trial, num_entries=arguments.entries, tolerance=arguments.tolerance)
    print_check(check, str(trial), make_console())
    return ExitCode.DONE if check.agrees else ExitCode.SOME_FAILED


def print_check(check: "GradientCheck", trial: str, console: "Console") -> None:
    """A row for each parameter, what differs in words, and the verdict."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("parameter", overflow="fold")  # the others leave it half of a terminal's 80 characters
    for heading in ("entries", "error", "of all", "kinks"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for each in check.parameters:
        error, along = f"{each.error:.0e}", f"{each.direction_error:.0e}"
        row = (each.name, f"{each.size:,}", error, along, str(each.num_kinks))
        verdict = each.verdict.removesuffix(" to tell")
        table.add_row(*row, f"[bold red]{verdict}[/bold red]" if verdict == "differs" else verdict)
    console.print(f"{check.module}, {trial}: the gradient of its loss on one batch, {check.loss:.6g}", markup=False)
    console.print(table)
    lines = [line for each in check.parameters if (line := _worst_line(each))]
    most = max(each.num_checked for each in check.parameters)
    lines.append(f"error: the largest of {most} entries, moved one by one; of all: of all entries, moved at once")
    if any(each.num_kinks for each in check.parameters):
        lines.append("kinks: the loss bends there, as ReLU at 0; the gradient is right on one of the sides, or between")
    if any(each.verdict == "too small to tell" for each in check.parameters):
        lines.append("too small: both derivatives are less than what rounding makes of differences, so nothing is told")
    if check.changed_later:
        hooks = " and ".join(check.changed_later)
        lines.append(f"{check.module} may change gradients in {hooks}; what is compared is the gradient before that")
    verdict = "agrees with differences" if check.agrees else "DIFFERS from differences"
    lines.append(
        f"the gradient {verdict}: relative tolerance {check.tolerance:g}, {check.num_evaluations:,} evaluations, "
        f"{check.seconds:.1f} s"
    )
    for line in lines:
        print_line(console, line)


def _worst_line(each: "ParameterCheck") -> str:
    if each.verdict != "differs" or each.worst is None:
        return ""
    where = "along a random direction" if each.worst.index is None else str(list(each.worst.index))
    return f"{each.name} {where}: backward says {each.worst.backward:.6g}, differences {each.worst.differences:.6g}"

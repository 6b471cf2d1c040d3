"""`ablate gradcheck`: compare the gradient of a module with finite differences of its loss."""

import argparse
from typing import TYPE_CHECKING, Any

from experiments.gradients.check_gradients import NUM_ENTRIES, TOLERANCE

from .arguments import add_study, read_study
from .console import make_console, print_line
from .exit_codes import ExitCode
from .interrupts import exiting_on_interrupt

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.gradients import GradientCheck, ParameterCheck


def add_gradcheck(commands: Any) -> None:
    """Add the command `gradcheck` to the subparsers of the command."""
    parser = commands.add_parser(
        "gradcheck", help="compare the backward pass of a module with finite differences of its loss on one batch"
    )
    add_study(parser)
    parser.add_argument(
        "trial", metavar="TRIAL", nargs="?", help="as for `ablate trial` (default: the first trial of the study)"
    )
    parser.add_argument(
        "--entries",
        type=int,
        default=NUM_ENTRIES,
        metavar="N",
        help="entries of each parameter tensor to change one at a time (default: %(default)s)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="X",
        help="largest relative difference of derivatives that agree (default: %(default)s)",
    )
    parser.set_defaults(command=_gradcheck)


def _gradcheck(arguments: argparse.Namespace) -> int:
    with exiting_on_interrupt():
        from experiments.execution.find_trial import find_trial
        from experiments.execution.run import use_data_dir
        from experiments.gradients import check_trial
        from experiments.gradients.trial_start import prepare_trial  # noqa: F401 -- with it torch and lightning, which take seconds
        from experiments.planning.plan import plan_trials

    study = read_study(arguments)
    with use_data_dir(arguments.data_dir):
        trials = plan_trials(study)
        trial = trials[0] if arguments.trial is None else find_trial(trials, arguments.trial, study)
        check = check_trial(trial, num_entries=arguments.entries, tolerance=arguments.tolerance)
    print_check(check, str(trial), make_console())
    return ExitCode.DONE if check.agrees else ExitCode.SOME_FAILED


def print_check(check: "GradientCheck", trial: str, console: "Console") -> None:
    """Print a row for each parameter, then a line for each difference and the overall verdict."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("parameter", overflow="fold")  # has half of 80 characters
    for heading in ("entries", "error", "overall", "kinks"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for each in check.parameters:
        error, overall = f"{each.error:.0e}", f"{each.direction_error:.0e}"
        row = (each.name, f"{each.size:,}", error, overall, str(each.num_kinks))
        verdict = each.verdict.removesuffix(" to tell")
        table.add_row(*row, f"[bold red]{verdict}[/bold red]" if verdict == "differs" else verdict)
    console.print(f"{check.module}, {trial}: gradient of the loss on one batch, {check.loss:.6g}", markup=False)
    console.print(table)
    lines = [line for each in check.parameters if (line := _describe_worst(each))]
    most = max(each.num_checked for each in check.parameters)
    lines.append(f"error: largest of {most} entries, each changed alone; overall: all entries changed together")
    if any(each.num_kinks for each in check.parameters):
        lines.append(
            "kinks: the loss is not differentiable there, as ReLU at 0; the gradient is a one-sided one or between"
        )
    if any(each.verdict == "too small to tell" for each in check.parameters):
        lines.append(
            "too small: both derivatives are below the rounding error of finite differences, so they cannot be compared"
        )
    if check.later_hooks:
        hooks = " and ".join(check.later_hooks)
        lines.append(f"{check.module} may change gradients in {hooks}; the gradient before this change is compared")
    verdict = "agrees with" if check.agrees else "DIFFERS from"
    lines.append(
        f"the gradient {verdict} finite differences: relative tolerance {check.tolerance:g}, "
        f"{check.num_evaluations:,} evaluations, {check.seconds:.1f} s"
    )
    for line in lines:
        print_line(console, line)


def _describe_worst(each: "ParameterCheck") -> str:
    if each.verdict != "differs" or each.worst is None:
        return ""
    where = "along a random direction" if each.worst.index is None else str(list(each.worst.index))
    return (
        f"{each.name} {where}: backward pass {each.worst.autograd_gradient:.6g}, "
        f"finite differences {each.worst.numerical_gradient:.6g}"
    )

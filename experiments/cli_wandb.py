"""The commands `ablate wandb ...`. No logic, like cli.py, whose part this is."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.wandb import Place

DONE = 0


def add_wandb_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wandb` and its own commands to those of `ablate`."""
    text = "a study in Weights & Biases, made from its ledger"
    wandb = commands.add_parser("wandb", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parts = wandb.add_subparsers(title="commands", metavar="COMMAND", required=True)

    dashboard = parts.add_parser(
        "dashboard", help="save a workspace grouped by factor, and a report with the study's answer and verdicts"
    )
    _add_directory(dashboard)
    add_place(dashboard)
    dashboard.add_argument(
        "--dry-run", action="store_true", help="print both as JSON instead; needs neither a network nor a login"
    )
    dashboard.set_defaults(command=_dashboard)


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where runs go; a folder remembers them in DIR/wandb.json."""
    for name, metavar, text in (
        ("project", "NAME", "the project (default: what was given before, else $WANDB_PROJECT, else ablation-suite)"),
        ("entity", "NAME", "the user or team (default: likewise, else that of the login)"),
        ("group", "NAME", "what the study's runs are grouped under (default: the study's name)"),
    ):
        parser.add_argument(f"--wandb-{name}", metavar=metavar, help=text)


def place_in(directory: Path, study_name: str, arguments: argparse.Namespace, **more: Any) -> "Place":
    """The place that the options of `add_place` name for a folder."""
    from reports.wandb import place_of

    options = {name: getattr(arguments, f"wandb_{name}") for name in ("project", "entity", "group")}
    return place_of(directory, study_name, **options, **more)


def _dashboard(arguments: argparse.Namespace) -> int:
    from reports import build_report
    from reports.wandb import remember
    from reports.wandb.dashboard import dashboard_of, to_json

    directory = arguments.directory
    report = build_report(directory)
    place = place_in(directory, report.study.name, arguments)
    dashboard = dashboard_of(report, place)
    if arguments.dry_run:
        sys.stdout.write(to_json(dashboard))
        return DONE
    from reports.wandb.saving import save_dashboard

    workspace, story = save_dashboard(dashboard)
    remember(directory, place)
    sys.stdout.write(f"workspace: {workspace}\nreport:    {story}\n")
    return DONE


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="a study's folder, such as runs/quickstart")

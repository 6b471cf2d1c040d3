"""The commands `ablate wandb ...`. No logic, as in cli.py."""

import argparse
import sys
from pathlib import Path
from typing import Any


def add_wandb(commands: Any) -> None:
    """Add the command `wandb` with its own commands.

    Arguments:
        commands: what `add_subparsers` of the command's parser gave.
    """
    wandb = commands.add_parser("wandb", help="a study in Weights & Biases")
    parts = wandb.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_sweep(parts)


def _add_sweep(parts: Any) -> None:
    from .cli import add_study

    sweep = parts.add_parser("sweep", help="a sweep file whose agents run the study's trials by `ablate trial`")
    add_study(sweep)
    sweep.add_argument("--file", type=Path, metavar="PATH", help="where to write it (default: print it)")
    for name, text in (("project", "project"), ("entity", "user or team")):
        sweep.add_argument(
            f"--wandb-{name}",
            metavar="NAME",
            help=f"the {text} in W&B (default: remembered, else $WANDB_{name.upper()})",
        )
    sweep.set_defaults(command=_sweep)


def _sweep(arguments: argparse.Namespace) -> int:
    from reports.wandb import place_of
    from reports.wandb.sweep import agent_command, sweep_text, write_sweep

    from .cli import DONE, study_of, use_data_dir
    from .folder import check_folder
    from .run import make_runner, plan

    study = study_of(arguments)
    directory = arguments.out or Path("runs") / study.name
    check_folder(directory, study)
    place = place_of(directory, study.name, project=arguments.wandb_project, entity=arguments.wandb_entity)
    use_data_dir(arguments)
    with make_runner("inline", study) as runner:
        planned = plan(study, runner)
    command = agent_command(
        arguments.study,
        directory,
        seeds=arguments.seeds,
        changes=arguments.changes,
        data_dir=arguments.data_dir,
    )
    text = sweep_text(study, planned.trials, place, command)
    if arguments.file is None:
        sys.stdout.write(text)
    else:
        write_sweep(arguments.file, text)
        print(f"{arguments.file}: {len(planned.trials)} trials; `wandb sweep {arguments.file}` makes the sweep")  # noqa: T201
    return DONE

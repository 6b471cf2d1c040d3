"""The only place that opens runs of W&B: with which settings, how a row is written, how a run ends.

Every run has an object of its own (`reinit="create_new"`), so that many are open at once and none is the process's
global one. Steps are left to W&B; what a curve is drawn over is `epoch`. W&B summarises nothing of a trial: its summary
is what the ledger says, and a trial that diverged has no final metrics there either.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import wandb

from experiments.errors import InputError
from reports.wandb.destination import FOLDER, ONLINE, Place
from reports.wandb.run_content import TRAIN, RunContent, WrittenRun

from .receipt import write_receipt

INIT_SECONDS = 30.0  # until a server that does not answer is given up
WITHOUT_KEY = "--wandb offline needs none, and `ablate wandb push DIR` sends the runs once you are logged in"
FINISH_SECONDS = 60.0  # until what a run has not uploaded is left to `ablate wandb push`


def check_settings() -> None:
    """Make sure that W&B's client takes its variables and settings files.

    Raises:
        InputError: when one of them is wrong, with what the client says of it.
    """
    try:
        wandb.Settings().update_from_env_vars(dict(os.environ))
    except ValueError as error:
        raise InputError(f"--wandb: a variable WANDB_... is not as it must be: {first_line(error)}") from error


def check_login(alternative: str) -> None:
    """Make sure that there is a key for W&B's server, without asking the server whether it is good.

    Args:
        alternative: what needs no key, for the message.

    Raises:
        InputError: when there is none, or one that cannot be right.
    """
    how = f"`wandb login` stores one, the variable WANDB_API_KEY gives one; {alternative}"
    try:
        is_known = wandb.login(verify=False)
    except wandb.errors.AuthenticationError as error:
        raise InputError(f"the API key for Weights & Biases cannot be right ({error}); {how}") from error
    except wandb.errors.UsageError:
        is_known = False
    if not is_known:
        raise InputError(f"there is no API key for Weights & Biases; {how}")


def folders_of(directory: Path, run_id: str) -> list[Path]:
    """Where W&B keeps the files of a run in a study's folder; more than one where it was begun again."""
    return sorted((directory / FOLDER).glob(f"*run-*-{run_id}"))


def remove(directory: Path, place: Place, run_ids: Iterable[str]) -> None:
    """Remove runs that another one stands for now: their files, and online what the server has of them."""
    for run_id in run_ids:
        _discard(directory, run_id)
        if place.mode == ONLINE:
            api = wandb.Api(timeout=round(INIT_SECONDS))
            try:
                api.run(f"{place.entity or api.default_entity}/{place.project}/{run_id}").delete()
            except (wandb.errors.CommError, ValueError) as error:
                if "could not find run" not in str(error).lower():
                    raise


def _discard(directory: Path, run_id: str) -> None:
    """Remove the files of a run: two of one id would be uploaded one after the other."""
    for folder in folders_of(directory, run_id):
        shutil.rmtree(folder, ignore_errors=True)


def is_taken(error: Exception) -> bool:
    """Whether W&B refuses an id because its run was deleted there: it never takes such an id again."""
    return "previously created and deleted" in str(error)


class OpenRun:
    """A run that is being written.

    run_id: its id.
    rows: what was written of its history so far, a text each.

    Arguments:
        directory: the study's folder.
        place: where the run goes.
        content: whose name and configuration the run gets; rows and summary come later.
        run_id: its id.

    Raises:
        wandb.errors.Error: when W&B does not take it.
    """

    def __init__(self, directory: Path, place: Place, content: RunContent, run_id: str) -> None:
        self.run_id = run_id
        self.rows: list[str] = []
        self._directory = directory
        self._place = place
        self._content = content
        _discard(directory, run_id)
        self._run = wandb.init(
            mode="online" if place.mode == ONLINE else "offline",
            dir=str(directory),
            id=run_id,
            name=content.name,
            project=place.project,
            entity=place.entity,
            group=place.group,
            job_type=content.job_type,
            config=dict(content.config),
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                use_dot_wandb=False,  # files where `wandb sync` and we look for them
                silent=True,
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_machine_info=True,  # the trial may have been trained elsewhere: the ledger knows
                x_save_requirements=False,
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        )
        self._defined: set[str] = set()

    @property
    def url(self) -> str | None:
        """Where a browser finds it; None offline."""
        return self._run.url

    def log(self, row: Mapping[str, Any]) -> None:
        """Write one row of the history."""
        for name in row.keys() - self._defined if self._content.job_type == TRAIN else ():
            # One by one: the pattern * now and then misses a name with a dot in it, which has to be escaped.
            axis = None if name == "epoch" else "epoch"
            self._run.define_metric(name.replace(".", "\\."), step_metric=axis, summary="none")
            self._defined.add(name)
        self._run.log(dict(row))
        self.rows.append(text_of(row))

    def log_report(self, tables: Mapping[str, tuple[list[str], list[list[Any]]]], files: list[Path], name: str) -> None:
        """Write tables, and files as an artifact of this name; a page among the files is shown beside the tables too.

        Arguments:
            tables: (columns, rows) by key.
            files: of a report; those that are missing are left out.
            name: of the artifact.
        """
        row: dict[str, Any] = {
            key: wandb.Table(columns=[*columns], data=[*data], allow_mixed_types=True)
            for key, (columns, data) in tables.items()
        }
        artifact = wandb.Artifact(name, type="report")
        for path in files:
            if path.is_file():
                artifact.add_file(str(path))
            if path.is_file() and path.suffix == ".html":
                row["report"] = wandb.Html(path.read_text(encoding="utf-8"), inject=False)
        self._run.log(row)
        self._run.log_artifact(artifact)

    def finish(self, summary: Mapping[str, Any], exit_code: int) -> None:
        """Write the summary and end the run.

        Raises:
            TimeoutError: when a server did not take everything in time.
        """
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=exit_code)
        if self._place.mode == ONLINE:
            return
        written = WrittenRun(
            run_id=self.run_id,
            name=self._content.name,
            group=self._place.group,
            job_type=self._content.job_type,
            project=self._place.project,
            config=dict(self._content.config),
            rows=[json.loads(row) for row in self.rows],
            summary=dict(summary),
            exit_code=exit_code,
        )
        (folder,) = folders_of(self._directory, self.run_id)
        write_receipt(folder, written)


def group_of(place: Place) -> Iterator[Any]:
    """The runs of a study that the server has, as wandb.Api gives them; none where it has no such project."""
    api = wandb.Api(timeout=round(INIT_SECONDS))
    path = f"{place.entity or api.default_entity}/{place.project}"
    try:
        yield from api.runs(path, filters={"group": place.group}, lazy=False, per_page=100)
    except ValueError as error:
        if "could not find project" not in str(error).lower():
            raise


def is_wandb_error(error: Exception) -> bool:
    """Whether an error is of W&B or of the network, and not of this suite."""
    of_wandb = type(error).__module__.partition(".")[0] == "wandb"  # not all of them have one class in common
    return of_wandb or isinstance(error, OSError | ValueError | TimeoutError)


def first_line(error: BaseException) -> str:
    """What an error of W&B's says, in one line, with how to mend a key that is refused."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    text = " ".join(map(str.strip, lines[:3])) if "validation error" in lines[0] else lines[0]
    if "did not respond in time" in text:  # of the client's own process, which tries for that long
        text = "no answer in time"
    is_refused = any(word in text for word in ("401", "403", "permission denied", "not logged in"))
    return f"{text.rstrip(';.')}; `wandb login --relogin` stores another key" if is_refused else text.rstrip(";.")


def text_of(row: Mapping[str, Any]) -> str:
    """A row as text, by which two are compared; NaN equals NaN."""
    return json.dumps(row, sort_keys=True)

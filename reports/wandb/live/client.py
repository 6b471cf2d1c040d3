"""Client of W&B: settings, login, runs and errors. Only the child process of the command imports it.

Each run has its own object (`reinit="create_new"`): many runs are open at once, and none is W&B's global run. The x
axis of curves is `epoch`, not W&B's step. W&B computes no summary: it is copied from the ledger, in which a trial that
diverged has no final metrics.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import wandb

from experiments.errors import InputError
from reports.wandb.destination import FOLDER, ONLINE, Destination
from reports.wandb.run_content import TRAIN, RunContent, WrittenRun

from .receipt import add_hash, write_receipt

INIT_SECONDS = 30.0  # limit for the server to accept a run
WITHOUT_KEY = "--wandb offline needs none, and `ablate wandb push DIR` uploads the runs after a login"
FINISH_SECONDS = 60.0  # limit for a run's upload at its end; `ablate wandb push` uploads the rest


def check_settings() -> None:
    """Check the environment variables of W&B.

    Raises:
        InputError: if W&B's client refuses one, with its message.
    """
    try:
        wandb.setup()
    except ValueError as error:
        raise InputError(f"--wandb: an environment variable WANDB_... is invalid: {describe_error(error)}") from error


def check_login(alternative: str) -> None:
    """Check that there is an API key for W&B's server, without asking the server whether it is valid.

    Args:
        alternative: end of the error message: an option that needs no key.

    Raises:
        InputError: if there is no key, or it has no valid form.
    """
    how = f"`wandb login` stores one, or set WANDB_API_KEY; {alternative}"
    try:
        is_known = wandb.login(verify=False)
    except wandb.errors.AuthenticationError as error:
        raise InputError(f"the API key for Weights & Biases is invalid ({error}); {how}") from error
    except wandb.errors.UsageError:
        is_known = False
    if not is_known:
        raise InputError(f"there is no API key for Weights & Biases; {how}")


def add_hashes(directory: Path, run_ids: Iterable[str]) -> None:
    """Stop W&B's service, which then has written everything, and add the hashes of the files to the runs' receipts."""
    wandb.teardown()
    for run_id in run_ids:
        for folder in find_run_folders(directory, run_id):
            add_hash(folder)


def find_run_folders(directory: Path, run_id: str) -> list[Path]:
    """Return the folders with W&B's files of a run; more than one if the run was started again."""
    return sorted((directory / FOLDER).glob(f"*run-*-{run_id}"))


def delete_runs(directory: Path, destination: Destination, run_ids: Iterable[str]) -> None:
    """Delete runs that another run replaces: their files and, online, the runs on the server."""
    for run_id in run_ids:
        _delete_files(directory, run_id)
        if destination.mode == ONLINE:
            api = wandb.Api(timeout=round(INIT_SECONDS))
            try:
                api.run(f"{destination.entity or api.default_entity}/{destination.project}/{run_id}").delete()
            except (wandb.errors.CommError, ValueError) as error:
                if "could not find run" not in str(error).lower():
                    raise


def _delete_files(directory: Path, run_id: str) -> None:
    """Delete the files of a run. Of two folders with one id, both would be uploaded."""
    for folder in find_run_folders(directory, run_id):
        shutil.rmtree(folder, ignore_errors=True)


def is_deleted_id(error: Exception) -> bool:
    """Return whether W&B refused a run id because a run of this id was deleted: such ids are refused for ever."""
    return "previously created and deleted" in str(error)


class OpenRun:
    """Run that is being written.

    run_id: id of the run.
    rows: rows of the history written so far, as JSON.

    Args:
        directory: study folder.
        destination: destination of the run.
        content: name and config of the run; rows and summary are written later.
        run_id: id of the run.

    Raises:
        wandb.errors.Error: if W&B refuses the run.
    """

    def __init__(self, directory: Path, destination: Destination, content: RunContent, run_id: str) -> None:
        self.run_id = run_id
        self.rows: list[str] = []
        self._directory = directory
        self._destination = destination
        self._content = content
        _delete_files(directory, run_id)
        self._run = wandb.init(
            mode="online" if destination.mode == ONLINE else "offline",
            dir=str(directory),
            id=run_id,
            name=content.name,
            project=destination.project,
            entity=destination.entity,
            group=destination.group,
            job_type=content.job_type,
            config=dict(content.config),
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                use_dot_wandb=False,  # keep the files in wandb/, where `wandb sync` and this suite look for them
                silent=True,
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_machine_info=True,  # the trial may be trained on another machine; the ledger has its device
                x_save_requirements=False,
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        )
        self._defined: set[str] = set()

    @property
    def url(self) -> str | None:
        """Return the address of the run's page; None offline."""
        return self._run.url

    def log(self, row: Mapping[str, Any]) -> None:
        """Write one row of the history."""
        for name in row.keys() - self._defined if self._content.job_type == TRAIN else ():
            # Each name is defined separately: the pattern * sometimes misses names with a dot, which must be escaped.
            axis = None if name == "epoch" else "epoch"
            self._run.define_metric(name.replace(".", "\\."), step_metric=axis, summary="none")
            self._defined.add(name)
        self._run.log(dict(row))
        self.rows.append(dump_row(row))

    def log_report(self, tables: Mapping[str, tuple[list[str], list[list[Any]]]], files: list[Path], name: str) -> None:
        """Log the tables, the HTML page and an artifact with all files of a report.

        Args:
            tables: (columns, rows) by key.
            files: files of the report; missing ones are skipped.
            name: name of the artifact.
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
        """Write the summary and finish the run; offline, write its receipt.

        Raises:
            TimeoutError: if the server did not accept everything in time.
        """
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=exit_code)
        if self._destination.mode == ONLINE:
            return
        written = WrittenRun(
            run_id=self.run_id,
            name=self._content.name,
            group=self._destination.group,
            job_type=self._content.job_type,
            project=self._destination.project,
            config=dict(self._content.config),
            rows=[json.loads(row) for row in self.rows],
            summary=dict(summary),
            exit_code=exit_code,
        )
        (folder,) = find_run_folders(self._directory, self.run_id)
        write_receipt(folder, written)


def fetch_group(destination: Destination) -> Iterator[Any]:
    """Yield the study's runs on the server as wandb.Api returns them; none if the project does not exist."""
    api = wandb.Api(timeout=round(INIT_SECONDS))
    path = f"{destination.entity or api.default_entity}/{destination.project}"
    try:
        yield from api.runs(path, filters={"group": destination.group}, lazy=False, per_page=100)
    except ValueError as error:
        if "could not find project" not in str(error).lower():
            raise


def is_wandb_error(error: Exception) -> bool:
    """Return whether an error comes from W&B or the network, and not from this suite."""
    is_from_wandb = type(error).__module__.partition(".")[0] == "wandb"  # they have no common base class
    return is_from_wandb or isinstance(error, OSError | ValueError | TimeoutError)


def describe_error(error: BaseException) -> str:
    """Return the message of an error of W&B in one line; for a refused API key, with the command that replaces it."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    text = " ".join(map(str.strip, lines[:3])) if "validation error" in lines[0] else lines[0]
    if "did not respond in time" in text:  # words of W&B's service process
        text = "no answer in time"
    is_refused = any(word in text for word in ("401", "403", "permission denied", "not logged in"))
    return f"{text.rstrip(';.')}; `wandb login --relogin` replaces the key" if is_refused else text.rstrip(";.")


def dump_row(row: Mapping[str, Any]) -> str:
    """Return a row as JSON, for comparisons: NaN equals NaN."""
    return json.dumps(row, sort_keys=True)

"""`kedro run`, as Kedro has it, but for its errors: what a user can mend is one sentence, without a traceback."""

import errno
import logging
import os

import click
import mlflow
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import KedroCliError
from kedro.validation import ParameterValidationError
from mlflow.exceptions import MlflowException

from unlabeled.errors import UnlabeledError
from unlabeled.progress import be_quiet

QUIET = "UNLABELED_QUIET"
"""The environment variable that tells a process that it was started by a quiet one."""
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Sentence(click.ClickException):
    """An error of one sentence."""

    def show(self, file=None) -> None:
        click.secho(f"Error: {self.message}", fg="red", err=True)


@click.group(name="unlabeled")
def cli() -> None:
    """Commands of this project."""


@cli.command(name="run", params=kedro_run.params, help=kedro_run.help)
@click.option("--quiet", is_flag=True, help="No bars, and no lines of what goes well.")
def run(quiet: bool, **options) -> None:
    if quiet:
        os.environ[QUIET] = "true"  # for the processes that it starts, too
        be_quiet()
    if name := options.pop("pipeline"):  # what people write; Kedro 1.7 deprecates it
        if options["pipelines"]:
            raise KedroCliError("Options '--pipeline' and '--pipelines' cannot be used together")
        options["pipelines"] = [name]
    try:
        kedro_run.callback(pipeline=None, **options)
    except KeyboardInterrupt:
        mlflow.end_run("KILLED")
        raise Sentence("stopped; run the command again, and a training goes on from its last checkpoint") from None
    except Exception as error:
        if message := sentence(error):
            logging.getLogger(__name__).debug("the error in full", exc_info=True)
            raise Sentence(message) from error
        raise


def sentence(error: BaseException) -> str | None:
    """What to tell the user of an error, if it is one that a user can mend."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UnlabeledError):
            return str(cause)
        if isinstance(cause, OSError) and cause.errno in DISK_FULL:
            return f"the disk is full ({cause.filename or 'while writing'}): free some space, and run the command again"
        if type(cause).__name__ == "OutOfMemoryError":  # torch's, which is not imported for it
            return "the device's memory is full: lower pretraining.batch_size"
        if isinstance(cause, PermissionError) or (isinstance(cause, OSError) and cause.errno == errno.EROFS):
            return f"{cause.filename} cannot be opened ({cause.strerror}): change its permissions, or move the project"
        if isinstance(cause, ParameterValidationError):
            lines = str(cause).splitlines()[1:] or [str(cause)]
            return "; ".join(line.removeprefix("- ").partition("': ")[2] or line for line in lines)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, MlflowException):  # its database or its server, and its first line says what of it
        return f"MLflow could not be used ({str(error).splitlines()[0]}): see to {mlflow.get_tracking_uri()}"
    if isinstance(error, ValueError) and _raised_by_kedro(error):  # an unknown pipeline, node or tag
        return " ".join(str(error).split())
    return None


def _raised_by_kedro(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return bool(trace) and trace.tb_frame.f_globals.get("__name__", "").startswith("kedro.")

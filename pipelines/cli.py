"""The project's commands: `kedro run`, as Kedro has it, and the commands of the model registry.

An error that the user can fix is printed as one sentence, without a traceback.
"""

import copy
import errno
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import click
import mlflow
from kedro.config import BadConfigException, MissingConfigException
from kedro.framework.cli.jupyter import jupyter as kedro_jupyter
from kedro.framework.cli.project import package as kedro_package
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines
from kedro.framework.startup import ProjectMetadata
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project
from kedro.validation import ParameterValidationError
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from omegaconf.errors import OmegaConfBaseException
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from yaml import YAMLError

from pipelines.arguments import parse_params
from pipelines.clients.git import files_to_commit
from pipelines.commands.package import make_package
from pipelines.interrupts import EXIT_CODE, Terminated, sigterm_as_interrupt
from pipelines.masking import exit_with_masked_traceback
from pipelines.parameters import check_names, with_method
from pipelines.registry.killed import end_as_killed
from pipelines.registry.versions import data_set_of, model_name
from unlabeled.catalogue import IMAGE_METHODS
from unlabeled.config import Ingestion, Registration
from unlabeled.errors import ConfigError, UnlabeledError
from unlabeled.runtime.legible import legible
from unlabeled.runtime.masking import masked
from unlabeled.runtime.progress import be_quiet

QUIET = "UNLABELED_QUIET"
"""The environment variable that is set for the processes that a run with `--quiet` starts."""
RUNNER = "SequentialRunner"
PIPED_WIDTH = 120
"""Width in characters of tables that are not written to a terminal."""
KEDRO_PREFIX = re.compile(r"^- Parameter '[^']*': (Failed to instantiate \w+ for parameter '[^']*': )?")
"""The words that Kedro puts before the error message of a parameter."""
SELECTING: dict[str, tuple[str, Callable[[Pipeline], Collection[str]]]] = {
    "--tags": ("tags", lambda pipeline: {tag for node in pipeline.nodes for tag in node.tags}),
    "--nodes": ("node_names", lambda pipeline: {node.name for node in pipeline.nodes}),
    "--from-nodes": ("from_nodes", lambda pipeline: {node.name for node in pipeline.nodes}),
    "--to-nodes": ("to_nodes", lambda pipeline: {node.name for node in pipeline.nodes}),
    "--from-inputs": ("from_inputs", lambda pipeline: pipeline.datasets()),
    "--to-outputs": ("to_outputs", lambda pipeline: pipeline.datasets()),
    "--namespaces": ("namespaces", lambda pipeline: {node.namespace for node in pipeline.nodes if node.namespace}),
}
"""Options of `kedro run` that choose a part of a pipeline: Kedro's name of each, and the names that it takes."""
JUPYTER = {"lab": "jupyterlab", "notebook": "notebook", "setup": "ipykernel"}
"""The packages of `kedro jupyter`, by subcommand. This project does not install them."""
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def say(text: str, **style: Any) -> None:
    """Prints text that may contain untrusted names. `style` goes to `click.secho`."""
    click.secho(legible(text), **style)


class Sentence(click.ClickException):
    """An error that is printed as one sentence."""

    def show(self, file=None) -> None:
        say(f"Error: {masked(self.message)}", fg="red", err=True)


class Ended(Sentence):
    """The error of a command that SIGTERM has ended."""

    exit_code = EXIT_CODE


@click.group(name="unlabeled")
def cli() -> None:
    """Commands of this project."""


def _run_options() -> list[click.Parameter]:
    """The options of `kedro run`; `--params` is read by `parse_params` instead of by Kedro."""

    def read(context: click.Context, option: click.Parameter, value: Any) -> dict[str, Any]:
        try:
            return value if isinstance(value, dict) else parse_params(value)
        except ConfigError as error:
            raise Sentence(str(error)) from error

    options = copy.deepcopy(kedro_run.params)
    next(option for option in options if option.name == "params").callback = read
    return options


@cli.command(name="run", params=_run_options(), help=kedro_run.help)
@click.option("--quiet", is_flag=True, help="No bars, and no lines of what goes well.")
def run(quiet: bool, **options) -> None:
    if quiet:
        os.environ[QUIET] = "true"  # for the processes that it starts, too
        be_quiet()
    if name := options.pop("pipeline"):  # people write --pipeline, which Kedro 1.7 deprecates
        if options["pipelines"]:
            raise Sentence("--pipeline and --pipelines: received both, expected one of them")
        options["pipelines"] = [name]
    if options["is_async"] or (options["runner"] or RUNNER).rpartition(".")[2] != RUNNER:
        received = "--async" if options["is_async"] else f"--runner={options['runner']}"
        raise Sentence(f"received {received}, expected {RUNNER}: stages use every core, and one MLflow run")
    names = options["pipelines"] or ["__default__"]
    with _errors_as_sentences(names), _own_names_in_logs(names):
        _check_selection(names, options)
        kedro_run.callback(pipeline=None, **options)  # ty: ignore[not-callable]  # it has a callback


def _check_selection(names: list[str], options: dict[str, Any]) -> None:
    """Raises ConfigError where an option names nodes, tags or datasets that the pipelines do not have."""
    given = {option for option, (key, _) in SELECTING.items() if options[key]}
    if not given or not {*names} <= {*pipelines}:  # Kedro names the nearest pipelines
        return
    chosen = sum((pipelines[name] for name in names), Pipeline([]))
    for option in given:
        key, known = SELECTING[option]
        check_names(option, options[key], known(chosen))


@cli.command(help=kedro_package.help)
@click.pass_obj
def package(metadata: ProjectMetadata) -> None:
    with _errors_as_sentences():
        make_package(metadata)


@cli.group(commands=kedro_jupyter.commands, help=kedro_jupyter.help)
@click.pass_context
def jupyter(context: click.Context) -> None:
    package = JUPYTER.get(context.invoked_subcommand or "")
    if package and not find_spec(package):
        raise Sentence(f"kedro jupyter needs the package {package}: {sys.executable} -m pip install {package}")


@contextmanager
def _own_names_in_logs(names: list[str]) -> Generator[None]:
    """While it lasts, the log names parameters as these pipelines take them."""

    def rename(record: logging.LogRecord) -> bool:
        record.msg, record.args = with_method(record.getMessage(), names), None
        return True

    handlers = logging.getLogger().handlers
    for handler in handlers:
        handler.addFilter(rename)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(rename)


@contextmanager
def _errors_as_sentences(names: Collection[str] = ()) -> Generator[None]:
    """Prints errors that the user can fix as one sentence, which names parameters as these pipelines take them."""
    try:
        with sigterm_as_interrupt():
            yield
    except KeyboardInterrupt as stop:
        end_as_killed()
        told = Ended if isinstance(stop, Terminated) else Sentence
        raise told("stopped; run the command again, and a training goes on from its last checkpoint") from None
    except Exception as error:
        if message := sentence(error):
            logging.getLogger(__name__).debug("the error in full", exc_info=True)
            raise Sentence(with_method(message, names)) from error
        exit_with_masked_traceback(error)
        raise


@contextmanager
def _registry(env: str | None, name: str | None) -> Generator[tuple[Path, MlflowClient, str]]:
    """The project, a client of its tracking server, and the registered model that the parameters name."""
    from kedro.framework.session import KedroSession

    project = find_kedro_project(Path.cwd()) or Path.cwd()  # an installed project has no root
    with _errors_as_sentences(), KedroSession.create(project, env=env) as session:
        context = cast(KedroSession, session).load_context()
        parameters = context.config_loader["parameters"]
        registration = Registration.model_validate(parameters["registration"])
        ingestion = Ingestion.model_construct(**(parameters["ingestion"] or {}))  # valid without a path
        path = Path(context.project_path)
        data_set = data_set_of(ingestion, path / "data/02_intermediate")
        yield path, MlflowClient(), name or model_name(registration, data_set)


def _model_options(command: Callable) -> Callable:
    """Adds the options that name the registered model: `--env` and `--name`."""
    command = click.option("--env", "-e", help="Whose parameters name the model, as in kedro run.")(command)
    return click.option("--name", "-n", help="The registered model; else that of the data set.")(command)


@cli.command()
@_model_options
def champion(env: str | None, name: str | None) -> None:
    """Lists the registered versions, and the differences between champion and challenger."""
    from pipelines.registry import review

    with _registry(env, name) as (project, client, name):
        found = review.versions(client, name)
        table = Table(title=Text(legible(name)), box=box.SIMPLE, title_justify="left")
        for column in review.COLUMNS:
            table.add_column(column, overflow="fold")
        for version in found:
            cells = [Text(legible(cell)) for cell in review.row_of(version).values()]
            table.add_row(*cells, style="bold" if "champion" in version.aliases else None)
        Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)
        for version in found:
            if version.aliases:
                say(f"{', '.join(version.aliases)}: version {version.version}: {version.tags.get('decision', '')}")
        if told := review.selection_of(found):
            say(told)
        by_alias = {alias: version for version in found for alias in version.aliases}
        old, new = by_alias.get("champion"), by_alias.get("challenger")
        if old and new and old is not new:
            _print_differences(review.differences(project, old, new), old, new)


@cli.command()
@click.argument("first")
@click.argument("second")
@_model_options
def compare(first: str, second: str, env: str | None, name: str | None) -> None:
    """Lists the differences between two versions: FIRST and SECOND are numbers or aliases."""
    from pipelines.registry import review
    from pipelines.registry import versions as registry

    with _registry(env, name) as (project, client, name):
        old, new = (registry.find(client, name, which) for which in (first, second))
        _print_differences(review.differences(project, old, new), old, new)


@cli.command()
@click.argument("version")
@click.option("--reason", default="", help="Kept with the version.")
@_model_options
def promote(version: str, reason: str, env: str | None, name: str | None) -> None:
    """Makes VERSION the champion by hand, without asking the gate."""
    from pipelines.registry import review

    with _registry(env, name) as (_, client, name):
        review.promote(client, name, version, reason)
        say(f"{name} version {version} is the champion")


@cli.command()
@_model_options
def rollback(env: str | None, name: str | None) -> None:
    """Makes the previous champion the champion again."""
    from pipelines.registry import review

    with _registry(env, name) as (_, client, name):
        old, new = review.roll_back(client, name)
        say(f"{name} version {new} is the champion again, instead of version {old}")


@cli.command()
@click.option("--version", required=True, help="A number or an alias.")
@click.option("--keep", is_flag=True, help="Leave the second work tree where it is.")
@click.option("--yes", is_flag=True, help="Run a version that somebody else has made without asking.")
@click.option("--fresh-environment", is_flag=True, help="Install the recorded lock there; else today's libraries run.")
@_model_options
@click.pass_context
def reproduce(
    context: click.Context,
    version: str,
    keep: bool,
    yes: bool,
    fresh_environment: bool,
    env: str | None,
    name: str | None,
) -> None:
    """Trains and evaluates a registered version again, and compares: identical, close (exit code 0), or neither (1)."""
    from pipelines.commands.reproduce import TOLERANCE, reproduce

    with _registry(env, name) as (project, _, name):
        verdict = reproduce(project, name, version, keep, fresh_environment, yes)
    for line in verdict.differences:
        say(line)
    if verdict.identical:
        say(f"{name} version {version}: weights and metrics are identical, bit for bit", fg="green")
    elif verdict.close:
        say(
            f"{name} version {version}: the accuracies are within {TOLERANCE:.0%}, on other hardware or libraries",
            fg="yellow",
        )
    else:
        say(f"{name} version {version} could not be reproduced: the results differ", fg="red")
        context.exit(1)


@cli.command()
@click.option("--method", default=next(iter(IMAGE_METHODS)), show_default=True, help="Whose stages to rerun.")
@click.option("--no-push", is_flag=True, help="Send nothing to DVC's remote.")
@click.option("--env", "-e", help="Whose parameters are used, as in kedro run.")
@click.pass_context
def retrain(context: click.Context, method: str, no_push: bool, env: str | None) -> None:
    """Tracks new data and reruns the stages that they change.

    Exit codes: 0, the new version is the champion; 10, the champion stays or there is none yet; 11, there was nothing
    new; 1, something failed.
    """
    from pipelines.commands.retrain import REPORT, retrain

    with _registry(env, "") as (project, client, _):
        result = retrain(project, client, method, push=not no_push, env=env)
    say(f"{result.outcome.name.lower().replace('_', ' ')}: see {REPORT}")
    with suppress(UnlabeledError):  # no git repository
        if files := files_to_commit(project):
            say(f"to commit: git add {shlex.join(files)}")
    context.exit(result.outcome.value)


def _print_differences(differences: dict[str, list[str]], old: ModelVersion, new: ModelVersion) -> None:
    say(f"from version {old.version} to version {new.version}", bold=True)
    for what, lines in differences.items():
        say(f"{what}: {'the same' if not lines else ''}".rstrip())
        for line in lines:
            say(f"  {line}")


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is full. The name is compared, so that torch is not imported; its CPU error has no class."""
    named = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    return named or isinstance(error, MemoryError)


def sentence(error: BaseException) -> str | None:
    """The message for an error that the user can fix; None for other errors."""
    from sqlalchemy.exc import SQLAlchemyError  # its import takes 0.5 s

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UnlabeledError):
            return str(cause)
        if isinstance(cause, OSError) and cause.errno in DISK_FULL:
            return f"the disk is full ({cause.filename or 'while writing'}): free some space, and run the command again"
        if _is_out_of_memory(cause):
            return "the memory is full: lower pretraining.batch_size, or take a smaller pretraining.encoder or head"
        if isinstance(cause, PermissionError) or (isinstance(cause, OSError) and cause.errno == errno.EROFS):
            return f"{cause.filename} cannot be opened ({cause.strerror}): change its permissions, or move the project"
        if isinstance(cause, ParameterValidationError):
            lines = str(cause).splitlines()[1:] or [str(cause)]
            # Kedro reports an error in a shared block once for the block and once for each method.
            return "; ".join(dict.fromkeys(KEDRO_PREFIX.sub("", line) for line in lines))
        if isinstance(cause, BadConfigException | MissingConfigException | YAMLError):
            return f"the configuration cannot be read: {' '.join(str(cause).split())}"
        if isinstance(cause, OmegaConfBaseException):
            return f"the configuration cannot be read: {cause.full_key}: {str(cause).splitlines()[0]}"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, MlflowException) and "Max retries exceeded" in str(error):
        return (
            f"the MLflow server at {mlflow.get_tracking_uri()} does not answer any more: what was trained is kept; run "
            f"the command again once it is back"
        )
    if isinstance(error, MlflowException | SQLAlchemyError):  # the first line of the message says what failed
        what = next((line for line in str(error).splitlines() if not line.startswith("(raised as a result of")), "")
        return f"MLflow could not be used ({what}): see to {mlflow.get_tracking_uri()}"
    if isinstance(error, ValueError) and _raised_by_kedro(error):  # an unknown pipeline, node or tag
        return " ".join(str(error).split())
    return None


def _raised_by_kedro(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return bool(trace) and trace.tb_frame.f_globals.get("__name__", "").startswith("kedro.")

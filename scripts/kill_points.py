"""Kills commands at random moments, and checks that the next call completes them: equal results, intact registry.

`python -m scripts.kill_points --points=200` makes small projects in a temporary folder and runs each command once to
its end. Then it kills one command after the other (SIGKILL, the whole process group) at a moment drawn uniformly from
the duration of one of its steps, each step in turn; runs the command again; and compares the results. It prints each
kill, and stops at the first difference. `--commands=run,embed` selects commands.
"""

import argparse
import collections
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from rich.progress import track

from pipelines.commands.reproduce import UNSTEADY
from pipelines.commands.retrain import RESULT
from tests.pipelines.conftest import QUICK, Project, empty_database, new_project

STAGES = {
    "ingestion": "data/02_intermediate/summary.json",
    "augmentation": "data/05_model_input/crops.json",
    "pretraining": "data/06_models/byol/run.json",
    "evaluation": "data/08_reporting/byol/predictions.parquet",
    "registration": "data/06_models/byol/version.json",
    "reporting": "data/08_reporting/byol/report.html",
}
"""The stages of a run, and for each a file that exists once the stage is done."""
CONTENTS = (
    "MLmodel",
    "artifacts/model/encoder.safetensors",
    "artifacts/model/classes.json",
    "artifacts/record/parameters.json",
)
"""Files of every version."""
PHOTOS = 160
"""Number of images to retrain on and to embed."""


class Command(NamedTuple):
    """A command to kill.

    Attributes:
        arguments: The executable and its arguments.
        steps: The steps of the command, and for each a file that exists once the step is done.
        prepare: Makes a project for the command in a new folder.
        result: Reads the results that must be equal after a kill.
    """

    arguments: list[str]
    steps: dict[str, str]
    prepare: Callable[[Path], Project]
    result: Callable[[Project], dict[str, Any]]


class IncompleteError(Exception):
    """The next call did not complete a killed command."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", help="Some of run, retrain, dvc, embed, export, with commas between them.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            told = kill_points(Path(folder), options.points, options.seed, options.commands)
        except IncompleteError as failure:
            sys.exit(str(failure))
    print(json.dumps(told))


def kill_points(folder: Path, points: int, seed: int = 0, names: str | None = None) -> dict[str, Any]:
    """Kills commands, and returns the number of kills in each step. Raises IncompleteError at the first difference."""
    known = commands(folder)
    chosen = {name: known[name] for name in (names.split(",") if names else known)}
    rng, killed_in, attempts = random.Random(seed), collections.Counter(), itertools.count()
    undisturbed = {}
    for name, command in chosen.items():
        _, seconds = undisturbed[name] = reference(command, folder / f"{name}-undisturbed")
        print(name, "takes", ", ".join(f"{each:.1f} s for {step}" for step, each in seconds.items()), flush=True)
    turns = {name: itertools.cycle(command.steps) for name, command in chosen.items()}
    for _, (name, command) in zip(track(range(points), "killing"), itertools.cycle(chosen.items()), strict=False):
        (expected, seconds), step, hit = undisturbed[name], next(turns[name]), None
        while hit is None:  # each in a new folder: MLflow keeps an open database
            project = command.prepare(folder / f"{name}-{next(attempts)}")
            hit = kill(command, project, step, rng.uniform(0, seconds[step]))
        print(f"{name}: killed in {hit}", flush=True)
        killed_in[f"{name}: {hit}"] += 1
        check_registry(project)  # it must be intact at any time
        check(command, project, expected)
        shutil.rmtree(project.path)
    return {"points": points, "completed": points, "killed_in": dict(killed_in)}


def commands(folder: Path) -> dict[str, Command]:
    """The commands to kill, by name."""
    database, run = empty_database(folder), ["kedro", "run", "--pipeline=byol"]
    trained = folder / "trained"

    def new(path: Path) -> Project:
        return new_project(path, database)

    def tracked(path: Path) -> Project:
        project = new(path)
        project.track_data()
        source = {"source": "image_folder", "path": "data/01_raw/photos", "fraction": 1.0}
        project.set(**{**QUICK, "ingestion": source})
        project.commit("parameters")
        project.photos(0, PHOTOS)
        return project

    def added(path: Path) -> Project:
        project = tracked(path)
        subprocess.run(["dvc", "add", "-q", "data/01_raw/photos"], cwd=path, env=project.environment(), check=True)
        return project

    def copied(path: Path) -> Project:
        if not trained.exists():
            project = new(trained)
            project.photos(0, PHOTOS)
            end(start(project, run), project)
        shutil.copytree(trained, path, symlinks=True)
        return Project(path)

    embed, export = ({each: f"data/07_model_output/{name}.json"} for each, name in OTHERS.items())
    photos = f"--params=embed.path={trained}/data/01_raw/photos,embed.chunk=16"
    return {
        "run": Command(run, STAGES, new, result_of_run),
        "retrain": Command(["kedro", "retrain"], {**STAGES, "report": RESULT}, tracked, result_of_retraining),
        "dvc": Command(["dvc", "repro"], {**STAGES, "lock": "dvc.lock"}, added, result_of_run),
        "embed": Command(["kedro", "run", "--pipeline=embed", photos], embed, copied, result_of_embedding),
        "export": Command(["kedro", "run", "--pipeline=export"], export, copied, result_of_export),
    }


OTHERS = {"embed": "embeddings", "export": "export"}
"""Pipelines that use a registered version, and the name of the JSON file that each writes last."""


def start(project: Project, arguments: list[str]) -> multiprocessing.process.BaseProcess:
    """Starts a command in a new process group, forked from a server process that has imported all modules."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.cli", "pipelines.hooks", "torch", "sklearn.linear_model"])
    environment = project.environment()
    process = context.Process(target=_execute, args=(project.path, environment, arguments))
    with patch.dict(os.environ, environment, clear=True):  # the server starts now, and its imports read it
        process.start()
    return process


def _execute(folder: Path, environment: dict[str, str], arguments: list[str]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if arguments[0] != "kedro":
        os.execvp(arguments[0], arguments)
    from kedro.framework.startup import bootstrap_project

    from pipelines.cli import cli

    sys.argv = arguments
    bootstrap_project(folder)
    cli(arguments[1:])


def end(process: multiprocessing.process.BaseProcess, project: Project) -> int:
    """Waits for a command, and returns its exit code. Raises IncompleteError where it failed."""
    process.join()
    if process.exitcode not in (0, 10):  # 10: retrain, the champion stays
        raise IncompleteError(f"exit code {process.exitcode} in {project.path.name}:\n{log(project)}")
    return process.exitcode


def log(project: Project) -> str:
    return (project.path / "log").read_text()[-3000:]


def reference(command: Command, folder: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """Runs a command to its end; returns its results, and the seconds of each step."""
    project = command.prepare(folder)
    process, seconds = start(project, command.arguments), {}
    for step, file in command.steps.items():
        began = time.monotonic()
        wait_for(project.path / file, process)
        seconds[step] = time.monotonic() - began
    return outcome(command, process, project), seconds


def outcome(command: Command, process: multiprocessing.process.BaseProcess, project: Project) -> dict[str, Any]:
    return {"exit code": end(process, project), **command.result(project)}


def kill(command: Command, project: Project, step: str, after: float) -> str | None:
    """Kills a command `after` seconds into a step. Returns the first step that was not done; None: it had ended."""
    process, names = start(project, command.arguments), list(command.steps)
    for name in names[: names.index(step)]:
        wait_for(project.path / command.steps[name], process)
    time.sleep(after)
    if not process.is_alive():
        return None
    with suppress(ProcessLookupError):  # the process has not made its group yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
    if has_ended(command, project):  # then the next call is a new run
        return None
    return next((name for name, file in command.steps.items() if not (project.path / file).exists()), "the end")


def has_ended(command: Command, project: Project) -> bool:
    """Whether a command had finished and recorded it before it was killed."""
    if "retrain" in command.arguments:
        return (project.path / RESULT).exists() and not list((project.path / "data").glob(".unreported-*"))
    ended = command.arguments[1] == "run" and (project.path / list(command.steps.values())[-1]).exists()
    return ended and project.runs()[0].info.status == "FINISHED"


def wait_for(file: Path, process: multiprocessing.process.BaseProcess) -> None:
    while process.is_alive() and not file.exists():
        time.sleep(0.005)


def result_of_run(project: Project) -> dict[str, Any]:
    """Weights, metrics, the decision of the gate, and the content of the registry."""
    metrics, version = project.json("data/08_reporting/byol/metrics.json"), project.json(STAGES["registration"])
    model = project.client().get_registered_model(version["name"])
    return {
        "weights": digest(project.path / "data/06_models/byol/encoder.safetensors"),
        "metrics": {key: value for key, value in metrics.items() if not key.endswith(UNSTEADY)},
        "version": version,
        "aliases": model.aliases,
        "tags": model.tags,
        "versions": len(project.client().search_model_versions(f"name='{version['name']}'")),
    }


def result_of_retraining(project: Project) -> dict[str, Any]:
    return {**result_of_run(project), "told": project.json(RESULT)}


def result_of_embedding(project: Project) -> dict[str, Any]:
    return {"embeddings": digest(project.path / "data/07_model_output/embeddings.parquet")}


def result_of_export(project: Project) -> dict[str, Any]:
    files = sorted((project.path / "data/07_model_output/export").iterdir())
    return {"files": {file.name: digest(file) for file in files if file.suffix != ".onnx"}}


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def check(command: Command, project: Project, expected: dict[str, Any]) -> None:
    """Runs a killed command again, and compares the results. Raises IncompleteError where they differ."""
    found = outcome(command, start(project, command.arguments), project)
    for what in expected:
        if found[what] != expected[what]:
            told = f"{what} is {found[what]} after the kill, expected {expected[what]}"
            raise IncompleteError(f"{command.arguments}: {told}")
    missing = [file for file in command.steps.values() if not (project.path / file).exists()]
    halves = [path for path in (project.path / "data").rglob("*.partial*")]
    if missing or halves or (project.path / "data/06_models/byol/resume.safetensors").exists():
        raise IncompleteError(f"{command.arguments}: the call after the kill left {halves}, and not {missing}")
    check_registry(project)
    statuses = {run.info.status for run in project.runs()}
    models = project.client().search_logged_models([project.runs()[0].info.experiment_id])
    versions = project.client().search_model_versions()
    if "RUNNING" in statuses or len(models) != len(versions):
        raise IncompleteError(f"{command.arguments}: {statuses}, {len(models)} models for {len(versions)} versions")


def check_registry(project: Project) -> None:
    """Raises IncompleteError where a version or an alias in the registry cannot be resolved to its files."""
    client = project.client()
    for version in client.search_model_versions():
        folder = Path(client.get_model_version_download_uri(version.name, version.version).removeprefix("file://"))
        for name in CONTENTS:
            if not (folder / name).is_file():
                raise IncompleteError(f"version {version.version} has no {name}")
    for model in client.search_registered_models():
        for alias, number in model.aliases.items():
            client.get_model_version(model.name, number)
            if alias not in ("champion", "challenger"):
                raise IncompleteError(f"an alias that nobody gave: {alias}")


if __name__ == "__main__":
    main()

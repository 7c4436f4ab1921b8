"""A registered version made again, from what the registry knows of it alone, and whether it came out the same."""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from pipelines import registry
from pipelines.dvc import dvc, remotes
from pipelines.git import git
from pipelines.parameters import flatten
from pipelines.provenance import DIFF, LIBRARIES, PARAMETERS, hardware, made_from
from unlabeled.errors import UnlabeledError

logger = logging.getLogger(__name__)

ENVIRONMENT = "reproduction"
"""The Kedro environment, in the second work tree, that holds the recorded parameters."""
METRICS = "metrics.json"
STAGES = "ingestion,augmentation,pretraining,evaluation"
TOLERANCE = 0.02
"""How far an accuracy may be off where the hardware or the libraries are others: weights are not the same there."""
UNSTEADY = ("seconds", "images_per_second")
"""Metrics that are never the same twice."""


class Verdict(NamedTuple):
    """Of a reproduction.

    Attributes:
        identical: Weights and metrics are the same, bit for bit.
        close: They are not, but made with other hardware or libraries, and the accuracies within the tolerance.
        differences: What is not the same, in words.
    """

    identical: bool
    close: bool
    differences: list[str]


def reproduce(project: Path, name: str, version: str, keep: bool = False, fresh_environment: bool = False) -> Verdict:
    """Checks out the commit beside the work tree, fetches the data, runs the recorded parameters, and compares.

    Args:
        keep: Leave the second work tree there.
        fresh_environment: Make an environment of its own there, from the recorded lock.

    Raises:
        UnlabeledError: Something of the record is missing, or the run failed.
    """
    found = registry.find(MlflowClient(), name, version)
    recorded = _recorded(found)
    parameters, metrics = (registry.recorded(found, file) for file in (PARAMETERS, METRICS))
    if parameters is None or metrics is None:
        raise UnlabeledError(f"{name} version {found.version} has no record of its parameters and metrics in its run")
    with _work_tree(project, found, keep) as tree:
        if recorded["git_dirty"] == "true":
            _apply(tree, found)
        _fetch_data(project, tree, json.loads(recorded.get("dvc_data", "{}")))
        environment = tree / "conf" / ENVIRONMENT
        environment.mkdir(parents=True, exist_ok=True)
        (environment / "parameters.yml").write_text(json.dumps(parameters))
        _run(tree, recorded, fresh_environment)
        return _compare(project, tree, found, recorded, metrics)


def _recorded(version: ModelVersion) -> dict[str, str]:
    missing = {"mlflow.source.git.commit", "git_dirty", "method"} - version.tags.keys()
    if missing:
        raise UnlabeledError(
            f"{version.name} version {version.version} cannot be made again: it has no tag {', '.join(sorted(missing))}"
        )
    return version.tags


@contextmanager
def _work_tree(project: Path, version: ModelVersion, keep: bool) -> Iterator[Path]:
    """The recorded commit, checked out beside the project."""
    commit = version.tags["mlflow.source.git.commit"]
    tree = project.with_name(f"{project.name}-{version.name}-{version.version}")
    if tree.exists():
        raise UnlabeledError(f"{tree} is there already, from a reproduction that was kept: remove it first")
    try:
        git(project, "worktree", "prune")
        git(project, "worktree", "add", "--detach", str(tree), commit)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode().strip().splitlines()[-1]
        raise UnlabeledError(f"the commit {commit} cannot be checked out ({said}): fetch it first") from error
    logger.info("commit %s is checked out in %s", commit[:12], tree)
    try:
        yield tree
    finally:
        if not keep:
            git(project, "worktree", "remove", "--force", str(tree))


def _apply(tree: Path, version: ModelVersion) -> None:
    diff = registry.recorded(version, DIFF)
    if diff is None:
        raise UnlabeledError(
            f"{version.name} version {version.version} was made from a work tree with changes that were not kept with "
            f"it ({DIFF}): it cannot be made again"
        )
    if diff:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, DIFF).write_bytes(diff)
            git(tree, "apply", "--whitespace=nowarn", str(Path(folder, DIFF)))


def _fetch_data(project: Path, tree: Path, tracked: dict[str, str]) -> None:
    """What DVC tracks, out of the project's own cache or the remote."""
    if not tracked:
        return
    local = project / ".dvc" / "config.local"  # the remote's secrets
    if local.exists():
        shutil.copy(local, tree / ".dvc" / "config.local")
    dvc(tree, "cache", "dir", "--local", str((project / dvc(project, "cache", "dir").strip()).resolve()))
    for name, url in remotes(project).items():  # a folder is named from where the project is
        dvc(tree, "remote", "modify", "--local", name, "url", url)
    try:
        dvc(tree, "pull", *tracked)
    except UnlabeledError as error:
        raise UnlabeledError(f"the recorded data cannot be fetched: {error}; are they pushed to the remote?") from error


def _run(tree: Path, recorded: dict[str, str], fresh_environment: bool) -> None:
    """The stages up to the metrics, in a process of its own, by the code of the second work tree."""
    made_on = json.loads(recorded.get("hardware") or "null") or {}
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_TRACKING", "KEDRO"))
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(tree / "src"), str(tree)])
    if "threads" in made_on:  # sums of as many parts
        environment["OMP_NUM_THREADS"] = str(made_on["threads"])
    python = sys.executable
    if fresh_environment:
        if subprocess.run(["make", "setup"], cwd=tree).returncode:
            raise UnlabeledError(f"the recorded environment cannot be made: see above, and `make setup` in {tree}")
        python = str(tree / ".venv" / "bin" / "python")
    options = [f"--pipelines={recorded['method']}", f"--tags={STAGES}", f"--env={ENVIRONMENT}"]
    if subprocess.run([python, "-m", "kedro", "run", *options], cwd=tree, env=environment).returncode:
        raise UnlabeledError("the recorded run fails when it is made again: see above")


def _compare(
    project: Path, tree: Path, version: ModelVersion, recorded: dict[str, str], old: dict[str, Any]
) -> Verdict:
    """`old`: the recorded metrics."""
    method = recorded["method"]
    new = json.loads((tree / f"data/08_reporting/{method}/{METRICS}").read_text())
    weights = _weights_that_differ(
        *(folder / "encoder.safetensors" for folder in (registry.download(version), tree / f"data/06_models/{method}"))
    )
    changed = _metrics_that_differ(old, new)
    surroundings = _surroundings(project, recorded, old, new)
    differences = [*weights, *changed, *surroundings]
    accuracies = ("linear_probe_accuracy", "knn_accuracy")
    pairs = [(old[key], new[key]) for key in accuracies if old[key] is not None]
    close = bool(surroundings) and all(abs(a - b) <= TOLERANCE for a, b in pairs)
    return Verdict(not (weights or changed), close, differences)


def _weights_that_differ(old: Path, new: Path) -> list[str]:
    import numpy as np
    from safetensors.numpy import load_file

    first, second = load_file(old), load_file(new)
    if first.keys() != second.keys():
        return ["weights: the networks are not of the same parts"]
    differ = [name for name in first if not np.array_equal(first[name], second[name])]
    if not differ:
        return []
    most = max(float(np.abs(first[name].astype(float) - second[name]).max()) for name in differ)
    return [f"weights: {len(differ)} of {len(first)} tensors differ, by {most:.3g} at most"]


def _metrics_that_differ(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    old, new = (dict(flatten({k: v for k, v in each.items() if k not in UNSTEADY})) for each in (old, new))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name}: {old.get(name)} was recorded, {new.get(name)} is found" for name in names]


def _surroundings(project: Path, recorded: dict[str, str], old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What is not as it was: data, libraries, hardware."""
    told = []
    if old["data_digest"] != new["data_digest"]:
        told.append(f"data: the digest is {new['data_digest']}, recorded is {old['data_digest']}")
    here, there = json.loads(made_from(project)["libraries"]), json.loads(recorded.get("libraries", "{}"))
    told += [
        f"libraries: {name} {here[name]}, recorded is {there[name]}"
        for name in LIBRARIES
        if name in there and here[name] != there[name]
    ]
    was = json.loads(recorded.get("hardware") or "null") or {}
    now = hardware(was.get("device", "cpu")) if was else {}
    told += [
        f"hardware: {key} {now.get(key)}, recorded is {was[key]}"
        for key in ("device", "cpu", "gpu")
        if key in was and now.get(key) != was[key]
    ]
    return told

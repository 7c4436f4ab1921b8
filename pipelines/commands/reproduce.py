"""A registered version made again, from what the registry knows of it alone, and whether it came out the same."""

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from pipelines.clients.dvc import dvc
from pipelines.clients.git import COMMIT, LACKS, git, is_dirty, is_recorded, named
from pipelines.parameters import flatten
from pipelines.registry import versions as registry
from pipelines.registry.provenance import (
    DATA,
    DIFF,
    LIBRARIES,
    METRICS,
    PARAMETERS,
    TRAINED_WITH,
    hardware,
    tracked_data,
)
from pipelines.registry.trust import check_patch, check_trusted, checked_tags, object_of, verified
from unlabeled.errors import UnlabeledError
from unlabeled.storage.arrays import replace_file

logger = logging.getLogger(__name__)

ENVIRONMENT = "reproduction"
"""The Kedro environment, in the second work tree, that holds the recorded parameters."""
MEASURED = {"data_digest", "linear_probe_accuracy", "knn_accuracy"}
"""Metrics without which nothing can be compared."""
GLOB = re.compile(r"[*?\[\]\\]")
"""What a pattern of git's reads as something else than itself."""
STAGES = "ingestion,augmentation,pretraining,evaluation"
INSTALLED = """
import json, platform
from importlib.metadata import distributions
installed = {each.name.lower(): each.version for each in distributions()}
print(json.dumps({"python": platform.python_version(), **installed}))
"""
"""Run by an interpreter, tells what it would import."""
TOLERANCE = 0.02
"""How far an accuracy may be off where the hardware or the libraries are others: weights are not the same there."""
UNSTEADY = ("seconds", "_per_second")
"""How metrics end that are never the same twice."""


class Verdict(NamedTuple):
    """Of a reproduction.

    Attributes:
        identical: Weights and metrics are the same, bit for bit.
        close: They are not, but the same data gave accuracies within the tolerance with other hardware or libraries.
        differences: What is not the same, in words.
    """

    identical: bool
    close: bool
    differences: list[str]


def reproduce(
    project: Path, name: str, version: str, keep: bool = False, fresh_environment: bool = False, yes: bool = False
) -> Verdict:
    """Checks out the commit beside the work tree, fetches the data, runs the recorded parameters, and compares.

    Args:
        keep: Leave the second work tree there.
        fresh_environment: Make an environment of its own there, from the recorded lock.
        yes: Run a version of somebody else without asking.

    Raises:
        UnlabeledError: Something of the record is missing or not what was registered, or the run failed.
    """
    found = registry.find(MlflowClient(), name, version)
    tags = checked_tags(found)
    parameters, metrics, tracked = (verified(found, file) for file in (PARAMETERS, METRICS, DATA))
    if not isinstance(parameters, dict) or not (metrics or {}).keys() >= MEASURED:
        raise UnlabeledError(f"{name} version {found.version} has no record of its parameters and metrics")
    if tags.get(LACKS):
        logger.warning("the record of version %s does not hold %s", found.version, tags[LACKS])
    diff = _diff(found) if is_dirty(tags) else b""
    _check_commit(project, tags[COMMIT])
    check_trusted(project, found, diff, parameters, yes)
    with _work_tree(project, found, keep) as tree:
        if diff:
            _apply(tree, diff)
        _fetch_data(project, tree, tracked or {})
        environment = tree / "conf" / ENVIRONMENT
        replace_file(environment / "parameters.yml", lambda aside: aside.write_text(json.dumps(parameters)))
        python = _environment(tree) if fresh_environment else sys.executable
        _run(tree, found, python)
        return _compare(tree, found, metrics, python)


def _check_commit(project: Path, commit: str) -> None:
    try:
        git(project, "cat-file", "-e", f"{commit}^{{commit}}")
    except UnlabeledError as error:
        raise UnlabeledError(f"the commit {commit} is not in this repository ({error}): fetch it first") from error


@contextmanager
def _work_tree(project: Path, version: ModelVersion, keep: bool) -> Generator[Path]:
    """The recorded commit, checked out beside the project."""
    commit = version.tags[COMMIT]
    tree = project.with_name(f"{project.name}-{version.name}-{version.version}")
    if tree.exists():
        raise UnlabeledError(f"{tree} is there already, from a reproduction that was kept: remove it first")
    git(project, "worktree", "prune")
    git(project, "worktree", "add", "--detach", str(tree), commit)
    logger.info("commit %s is checked out in %s", commit[:12], tree)
    try:
        yield tree
    finally:
        if not keep:
            git(project, "worktree", "remove", "--force", str(tree))


def _diff(version: ModelVersion) -> bytes:
    """The recorded changes, which are those that the version was made with."""
    diff = verified(version, DIFF)
    if diff is None:
        raise UnlabeledError(
            f"{version.name} version {version.version} was made from a work tree with changes that were not kept with "
            f"it ({DIFF}): it cannot be made again"
        )
    check_patch(version, diff)
    return diff


def _apply(tree: Path, diff: bytes) -> None:
    """Applies what a record may hold of a patch; git itself refuses paths outside the work tree, and `.git`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, DIFF)
        file.write_bytes(diff)
        counted = git(tree, "apply", "--numstat", "-z", str(file)).split(b"\0")
        names = [os.fsdecode(line.split(b"\t", 2)[2]) for line in counted if line]
        left_out = [name for name in names if not is_recorded(name)]
        if left_out:
            logger.warning("the recorded changes of %s are not applied: a run loads no such files", named(left_out))
        exclude = ["--exclude=" + GLOB.sub(r"\\\g<0>", name) for name in left_out]
        git(tree, "apply", "--whitespace=nowarn", *exclude, str(file))
    if links := [name for name in names if (tree / name).is_symlink()]:
        raise UnlabeledError(f"the recorded changes make links ({named(links)}), as no record does: nothing is run")


def _fetch_data(project: Path, tree: Path, tracked: dict[str, str]) -> None:
    """What DVC tracks, out of the project's own cache or the remote, whatever remote the commit knew."""
    if tracked_data(tree) != tracked:
        raise UnlabeledError(
            f"the recorded data ({', '.join(tracked) or 'none'}) are not those that the commit and its changes name "
            f"({', '.join(tracked_data(tree)) or 'none'}): the record is not of this commit"
        )
    if not tracked:
        return
    from dvc.config import Config  # a fifth of a second

    today = Config(str(project / ".dvc"))  # all levels together, and folders as absolute paths
    (tree / ".dvc").mkdir(exist_ok=True)
    with Config(str(tree / ".dvc")).edit("local") as config:  # never committed, for there are secrets in it
        config["remote"] = {name: dict(remote) for name, remote in today["remote"].items()}
        config["core"] = {key: today["core"][key] for key in ("remote",) if key in today["core"]}
        config["cache"] = {"dir": str(project / ".dvc" / "cache"), **today["cache"]}
    try:
        dvc(tree, "pull", "--", *tracked)
    except UnlabeledError as error:
        raise UnlabeledError(f"the recorded data cannot be fetched: {error}; are they pushed to the remote?") from error


def _environment(tree: Path) -> str:
    """The interpreter of an environment made from the recorded lock."""
    if subprocess.run(["make", "setup"], cwd=tree).returncode:
        raise UnlabeledError(f"the recorded environment cannot be made: see above, and `make setup` in {tree}")
    return str(tree / ".venv" / "bin" / "python")


def _run(tree: Path, version: ModelVersion, python: str) -> None:
    """The stages up to the metrics, in a process of its own, by the code of the second work tree."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_TRACKING", "KEDRO"))
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(tree / "src"), str(tree)])
    threads = object_of(version, "hardware").get("threads")
    if isinstance(threads, int):  # sums of as many parts
        environment["OMP_NUM_THREADS"] = str(threads)
    options = [f"--pipelines={version.tags['method']}", f"--tags={STAGES}", f"--env={ENVIRONMENT}"]
    if subprocess.run([python, "-m", "kedro", "run", *options], cwd=tree, env=environment).returncode:
        raise UnlabeledError("the recorded run fails when it is made again: see above")


def _compare(tree: Path, version: ModelVersion, old: dict[str, Any], python: str) -> Verdict:
    """What came out against the record.

    Args:
        old: The recorded metrics.
        python: The interpreter that ran.
    """
    method = version.tags["method"]
    new = json.loads((tree / f"data/08_reporting/{method}/{METRICS}").read_text())
    weights = weights_that_differ(
        *(folder / "encoder.safetensors" for folder in (registry.download(version), tree / f"data/06_models/{method}"))
    )
    changed = _metrics_that_differ(old, new)
    ground = [*libraries_that_differ(version.tags, python), *_hardware_that_differs(object_of(version, "hardware"))]
    trained_with = version.tags.get(TRAINED_WITH)
    code = [f"code: the weights were trained with {trained_with}, which is not the version's"] if trained_with else []
    return judge(weights, changed, ground, old, new, code)


def judge(
    weights: list[str],
    changed: list[str],
    ground: list[str],
    old: dict[str, Any],
    new: dict[str, Any],
    code: list[str],
) -> Verdict:
    """The verdict on what differs, in words, of weights, metrics, and the libraries and hardware that it was made on.

    Args:
        old, new: The metrics, recorded and found.
        code: What is known of code that differs.
    """
    identical = not (weights or changed)
    same_data = old["data_digest"] == new["data_digest"]
    pairs = [(old[key], new[key]) for key in ("linear_probe_accuracy", "knn_accuracy")]
    labelled = all(each is not None for pair in pairs for each in pair)
    unlabelled = [] if labelled or identical else ["accuracy: there are no labels to say how close it has come"]
    close = same_data and bool(ground) and labelled and all(abs(a - b) <= TOLERANCE for a, b in pairs)
    return Verdict(identical, close, [*weights, *changed, *ground, *code, *unlabelled])


def weights_that_differ(old: Path, new: Path) -> list[str]:
    """In words, of two safetensors files."""
    import numpy as np
    from safetensors.numpy import load_file

    first, second = load_file(old), load_file(new)
    if first.keys() != second.keys():
        return ["weights: the networks are not of the same parts"]
    if any(first[name].shape != second[name].shape for name in first):
        return ["weights: the networks are not of the same shape"]
    differ = [name for name in first if not np.array_equal(first[name], second[name])]
    if not differ:
        return []
    most = max(float(np.abs(first[name].astype(float) - second[name]).max()) for name in differ)
    return [f"weights: {len(differ)} of {len(first)} tensors differ, by {most:.3g} at most"]


def _metrics_that_differ(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    old, new = (dict(flatten({k: v for k, v in each.items() if not k.endswith(UNSTEADY)})) for each in (old, new))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name}: {old.get(name)} was recorded, {new.get(name)} is found" for name in names]


def libraries_that_differ(recorded: dict[str, str], python: str) -> list[str]:
    """Those of the interpreter that ran, where they are not as recorded."""
    told = subprocess.run([python, "-c", INSTALLED], check=True, capture_output=True, text=True).stdout
    here, there = json.loads(told), json.loads(recorded.get("libraries", "{}"))
    there = {"python": recorded.get("python"), **there}
    return [
        f"libraries: {name} {here.get(name)}, recorded is {there[name]}"
        for name in ("python", *LIBRARIES)
        if there.get(name) and here.get(name) != there[name]
    ]


def _hardware_that_differs(was: dict[str, Any]) -> list[str]:
    now = hardware(was.get("device", "cpu")) if was else {}
    return [
        f"hardware: {key} {now.get(key)}, recorded is {was[key]}"
        for key in ("device", "cpu", "gpu")
        if key in was and now.get(key) != was[key]
    ]

"""Reproduces a registered version from the registry alone, and compares the result with the original."""

import json
import logging
import os
import re
import shlex
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
    LABELS_BEFORE,
    LIBRARIES,
    METRICS,
    PARAMETERS,
    PLUGIN,
    TRAINED_WITH,
    hardware,
    plugin_of,
    tracked_data,
)
from pipelines.registry.starts import START, for_work_tree
from pipelines.registry.trust import check_patch, check_trusted, checked_tags, object_of, verified
from pipelines.registry.versions import DIGESTS, RECORD
from unlabeled.errors import UnlabeledError
from unlabeled.storage.arrays import replace_file
from unlabeled.storage.freshness import is_other

logger = logging.getLogger(__name__)

ENVIRONMENT = "reproduction"
"""The Kedro environment in the second work tree that holds the recorded parameters."""
MEASURED = {"data_digest", "linear_probe_accuracy", "knn_accuracy"}
"""Metrics that a comparison needs."""
GLOB = re.compile(r"[*?\[\]\\]")
"""Characters with a special meaning in git's patterns."""
STAGES = "ingestion,augmentation,pretraining,evaluation"
INSTALLED = """
import json, platform
from importlib.metadata import distributions
installed = {each.name.lower(): each.version for each in distributions()}
print(json.dumps({"python": platform.python_version(), **installed}))
"""
"""A script that prints the Python version and the installed packages of its interpreter, as JSON."""
TOLERANCE = 0.02
"""Largest difference of an accuracy, as a fraction, on other hardware or libraries, where weights differ."""
UNSTEADY = ("seconds", "_per_second")
"""Endings of metrics that differ between equal runs."""


class Verdict(NamedTuple):
    """The outcome of a reproduction.

    Attributes:
        identical: Weights and metrics are the same, bit for bit.
        close: The data are the same, hardware or libraries differ, and the accuracies are within the tolerance.
        differences: The differences, in words.
    """

    identical: bool
    close: bool
    differences: list[str]


def reproduce(
    project: Path, name: str, version: str, keep: bool = False, fresh_environment: bool = False, yes: bool = False
) -> Verdict:
    """Checks out the commit beside the work tree, fetches the data, runs the recorded parameters, and compares.

    Args:
        keep: Whether the second work tree is kept.
        fresh_environment: Whether the recorded lock is installed in the second work tree.
        yes: Whether a version of another user runs without asking.

    Raises:
        UnlabeledError: A part of the record is missing or was changed after registration, or the run failed.
    """
    found = registry.find(MlflowClient(), name, version)
    tags = checked_tags(found)
    parameters, metrics, tracked = (verified(found, file) for file in (PARAMETERS, METRICS, DATA))
    if not isinstance(parameters, dict) or not (metrics or {}).keys() >= MEASURED:
        raise UnlabeledError(f"{name} version {found.version} has no record of its parameters and metrics")
    if tags.get(LACKS):
        logger.warning("the record of version %s does not hold %s", found.version, tags[LACKS])
    diff = _diff(found)
    _check_commit(project, tags[COMMIT])
    check_trusted(project, found, diff, parameters, yes)
    with _work_tree(project, found, keep) as tree:
        if diff:
            _apply(tree, diff)
        _fetch_data(project, tree, tracked or {})
        environment = tree / "conf" / ENVIRONMENT
        here = for_work_tree(parameters, project)
        replace_file(environment / "parameters.yml", lambda aside: aside.write_text(json.dumps(here)))
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
    """A work tree of the recorded commit beside the project, removed at the end unless `keep`."""
    commit = version.tags[COMMIT]
    tree = project.with_name(f"{project.name}-{version.name}-{version.version}")
    if tree.exists():
        raise UnlabeledError(
            f"{tree} is there already, from a reproduction that is at work, was kept or was killed: if none is at "
            f"work, `rm -rf {shlex.quote(str(tree))}` clears it"
        )
    git(project, "worktree", "prune")
    git(project, "worktree", "add", "--force", "--force", "--detach", str(tree), commit)  # also where one was killed
    logger.info("commit %s is checked out in %s", commit[:12], tree)
    try:
        yield tree
    finally:
        if not keep:
            git(project, "worktree", "remove", "--force", str(tree))


def _diff(version: ModelVersion) -> bytes:
    """The recorded patch of uncommitted changes, checked against the version's tag; empty where there were none."""
    clean = not is_dirty(version.tags)
    if clean and f"{RECORD}/{DIFF}" not in object_of(version, DIGESTS):  # one that was added later is not read
        return b""
    diff = verified(version, DIFF)
    if diff is None:
        raise UnlabeledError(
            f"{version.name} version {version.version} was made from a work tree with changes that were not kept with "
            f"it ({DIFF}): it cannot be reproduced"
        )
    check_patch(version, diff)
    return diff


def _apply(tree: Path, diff: bytes) -> None:
    """Applies the parts of a patch that a record may hold. Git rejects paths outside the work tree and in `.git`."""
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
    """Pulls the tracked data from the project's own cache and today's remote, not the remote that the commit names."""
    if tracked_data(tree) != tracked:
        raise UnlabeledError(
            f"the recorded data ({', '.join(tracked) or 'none'}) are not those that the commit and its changes name "
            f"({', '.join(tracked_data(tree)) or 'none'}): the record is not of this commit"
        )
    if not tracked:
        return
    from dvc.config import Config  # its import takes 0.2 s

    today = Config(str(project / ".dvc"))  # all levels merged, with absolute paths
    (tree / ".dvc").mkdir(exist_ok=True)
    with Config(str(tree / ".dvc")).edit("local") as config:  # never committed, as it may hold secrets
        config["remote"] = {name: dict(remote) for name, remote in today["remote"].items()}
        config["core"] = {key: today["core"][key] for key in ("remote",) if key in today["core"]}
        config["cache"] = {"dir": str(project / ".dvc" / "cache"), **today["cache"]}
    try:
        dvc(tree, "pull", "--", *tracked)
    except UnlabeledError as error:
        raise UnlabeledError(f"the recorded data cannot be fetched: {error}; are they pushed to the remote?") from error


def _environment(tree: Path) -> str:
    """Installs the recorded lock in the second work tree, and returns the interpreter."""
    if subprocess.run(["make", "setup"], cwd=tree).returncode:
        raise UnlabeledError(f"the recorded environment cannot be made: see above, and `make setup` in {tree}")
    return str(tree / ".venv" / "bin" / "python")


def _run(tree: Path, version: ModelVersion, python: str) -> None:
    """Runs the stages up to evaluation in a new process, with the code of the second work tree."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_TRACKING", "KEDRO"))
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(tree / "src"), str(tree)])
    threads = object_of(version, "hardware").get("threads")
    if isinstance(threads, int):  # the number of threads decides how sums are rounded
        environment["OMP_NUM_THREADS"] = str(threads)
    options = [f"--pipelines={version.tags['method']}", f"--tags={STAGES}", f"--env={ENVIRONMENT}"]
    if subprocess.run([python, "-m", "kedro", "run", *options], cwd=tree, env=environment).returncode:
        raise UnlabeledError("the recorded run failed: see above")


def _compare(tree: Path, version: ModelVersion, old: dict[str, Any], python: str) -> Verdict:
    """Compares the new weights and metrics with the record.

    Args:
        old: The recorded metrics.
        python: The interpreter that ran the stages.
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
    if (plugin := version.tags.get(PLUGIN, "")) != (here := plugin_of(method)):
        code.append(f"plug-in: {here or 'none'}, recorded is {plugin or 'none'}")
    start = json.loads((tree / f"data/06_models/{method}/run.json").read_text()).get(START)
    if is_other(start, version.tags.get(START)):
        code.append(f"start: weights with the digest {start}, recorded is {version.tags[START]}")
    if before := version.tags.get(LABELS_BEFORE):
        code.append(f"data: the weights were trained on {before}, before labels changed: reproduce a version of those")
    return judge(weights, changed, ground, old, new, code)


def judge(
    weights: list[str],
    changed: list[str],
    ground: list[str],
    old: dict[str, Any],
    new: dict[str, Any],
    code: list[str],
) -> Verdict:
    """The verdict on a reproduction.

    Args:
        weights, changed, ground, code: Differences, in words: of the weights; of the metrics; of libraries and
            hardware; of the code.
        old, new: The metrics, recorded and found.
    """
    identical = not (weights or changed)
    same_data = old["data_digest"] == new["data_digest"]
    pairs = [(old[key], new[key]) for key in ("linear_probe_accuracy", "knn_accuracy")]
    labelled = all(each is not None for pair in pairs for each in pair)
    unlabelled = [] if labelled or identical else ["accuracy: there are no labels to say how close it has come"]
    close = same_data and bool(ground) and labelled and all(abs(a - b) <= TOLERANCE for a, b in pairs)
    return Verdict(identical, close, [*weights, *changed, *ground, *code, *unlabelled])


def weights_that_differ(old: Path, new: Path) -> list[str]:
    """The differences between two safetensors files, in words."""
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
    """The libraries of an interpreter whose versions differ from the recorded ones, in words."""
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

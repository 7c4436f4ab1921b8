"""Data in, a champion or none out: what a schedule calls, and what a person may call as well."""

import json
import logging
import os
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from mlflow.tracking import MlflowClient

from pipelines import registry, review
from pipelines.dvc import dvc, remotes
from pipelines.provenance import tracked_data
from unlabeled.arrays import replace_file
from unlabeled.config import in_words
from unlabeled.errors import UnlabeledError
from unlabeled.methods import METHODS

logger = logging.getLogger(__name__)

RAW = "data/01_raw"
REPORT, RESULT = "data/08_reporting/retrain.md", "data/08_reporting/retrain.json"
STORED = "data/02_intermediate/images.npy"
NEVER_RAW = (".dvc", ".gitignore", ".gitkeep")


class Outcome(Enum):
    """How a retraining ended; the value is the exit code of `kedro retrain` (1 and 2: it failed)."""

    PROMOTED = 0
    KEPT = 10
    NOTHING_NEW = 11


class Retrained(NamedTuple):
    """`version` is what was registered, as in version.json; empty where nothing was."""

    outcome: Outcome
    version: dict[str, Any]
    report: str


def retrain(project: Path, client: MlflowClient, method: str, push: bool = True) -> Retrained:
    """Fetches the data, takes in what is new, reruns what that changes, and sends all of it to DVC's remote.

    Leaves a report in Markdown, also on the summary of a GitHub job, and a JSON file with the outcome.

    Raises:
        UnlabeledError: A step failed; what was made before it is kept.
    """
    if method not in METHODS:
        raise UnlabeledError(f"--method: received {method!r}, expected one of {', '.join(METHODS)}")
    lock = FileLock(project / "data" / ".retrain.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UnlabeledError(f"another retraining is at work in {project}: wait for it to end") from error
    with lock:
        remote = push and bool(remotes(project))
        if remote:
            _pull(project, method)
        added = _take_in(project)
        if added:
            logger.info("new or changed data: %s", ", ".join(added))
        file = project / f"data/06_models/{method}/version.json"
        before = _numbers(client, file)
        champion = registry.champion(client, before["name"]) if before["name"] else None
        dvc(project, "repro", _stages(method), shown=True)
        version = json.loads(file.read_text())
        if version["version"] in before["numbers"]:
            result = Retrained(
                Outcome.NOTHING_NEW, {}, "# Nothing new\n\nNeither data nor code nor parameters have changed.\n"
            )
        else:
            outcome = Outcome.PROMOTED if version["champion"] else Outcome.KEPT
            result = Retrained(outcome, version, _report(project, client, method, version, champion))
        _leave(project, result)
        if remote:
            _push(project, method, result)
    return result


def _stages(method: str) -> str:
    """Where DVC has the stages of a method."""
    return "dvc.yaml" if method == next(iter(METHODS)) else f"stages/{method}/dvc.yaml"


def _pull(project: Path, method: str) -> None:
    """What others have pushed. Where the data that git names are the ones known here, changes to them are the user's.

    What the stages left elsewhere is fetched where nothing is here. A remote that is away is no reason to stop.
    """
    file = project / RESULT
    known = json.loads(file.read_text()).get("data", {}) if file.exists() else {}
    others = [name for name, revision in tracked_data(project).items() if known.get(name) != revision]
    missing = [
        name for name in known if not (project / name.removesuffix(".dvc")).exists() and (project / name).exists()
    ]
    wanted = [*{*others, *missing}, *([] if (project / STORED).exists() else [_stages(method)])]
    try:
        if wanted:
            dvc(project, "pull", "--allow-missing", *wanted)
    except UnlabeledError as error:
        if "unsaved files" in str(error):
            raise UnlabeledError(
                f"{', '.join(others)} has changed in git, and the data that it names have changed here: keep yours "
                f"with dvc add, or drop them with dvc checkout --force"
            ) from error
        logger.warning("not everything was fetched, and the retraining goes on with what is here: %s", error)


def _take_in(project: Path) -> list[str]:
    """Tracks what is new in the folder of raw data, or has changed there; its names."""
    folder = project / RAW
    folder.mkdir(parents=True, exist_ok=True)
    status = json.loads(dvc(project, "data", "status", "--granular", "--json") or "{}").get("uncommitted", {})
    touched = [path for paths in status.values() for path in _paths(paths)]
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.endswith(NEVER_RAW)]
    new = [
        entry.relative_to(project).as_posix()
        for entry in entries
        if not entry.with_name(f"{entry.name}.dvc").exists()
        or any(path.startswith(entry.relative_to(project).as_posix()) for path in touched)
    ]
    if new:
        dvc(project, "add", *new)
    return new


def _paths(listed: Any) -> list[str]:
    """Of DVC's status: paths, or pairs of old and new ones."""
    return [path for each in listed for path in ([each] if isinstance(each, str) else each.values())]


def _numbers(client: MlflowClient, file: Path) -> dict[str, Any]:
    """The name of the model that was registered last from here, and the numbers of all its versions."""
    name = json.loads(file.read_text())["name"] if file.exists() else ""
    found = client.search_model_versions(f"name='{name}'") if name else []
    return {"name": name, "numbers": {str(version.version) for version in found}}


def _report(project: Path, client: MlflowClient, method: str, version: dict[str, Any], champion: Any) -> str:
    """For a pull request: the decision, the numbers, a figure, and what has changed since the champion."""
    found = registry.find(client, version["name"], version["version"])
    metrics = json.loads((project / f"data/08_reporting/{method}/metrics.json").read_text())
    standing = "is the new champion" if version["champion"] else "is a challenger; the champion stays"
    lines = [f"# {version['name']} version {version['version']} {standing}", f"{version['reason']}."]
    if "drift" in found.tags:
        lines.append(f"Since the champion's data: {found.tags['drift']}.")
    lines += _figure(metrics)
    if champion is not None:
        lines.append(f"## What has changed since version {champion.version}")
        for what, changes in review.differences(project, champion, found).items():
            lines.append(
                "\n".join([f"**{what}**{'' if changes else ': the same'}", "", *(f"- {line}" for line in changes)])
            )
    lines += ["## Its model card", found.description.replace("\n#", "\n##").partition("\n\n")[2]]
    return "\n\n".join(lines) + "\n"


def _figure(metrics: dict[str, Any]) -> list[str]:
    """Accuracy over labels as a Mermaid chart, which GitHub draws where Markdown cannot hold a picture."""
    if not metrics["few_label"]:
        return []
    names = ["raw_input", "random_encoder", "pca"]
    settings = list(metrics["few_label"])
    curves = {"encoder": metrics, **{name: metrics["baselines"][name] for name in names}}
    lines = [
        "  line [" + ", ".join(f"{100 * each['few_label'][setting]['mean']:.1f}" for setting in settings) + "]"
        for each in curves.values()
    ]
    axis = ", ".join(f'"{in_words(setting)}"' for setting in settings)
    chart = [
        "```mermaid",
        "xychart-beta",
        '  title "Accuracy on test, %"',
        f"  x-axis [{axis}]",
        '  y-axis "%" 0 --> 100',
    ]
    return ["\n".join([*chart, *lines, "```"]), f"Lines in order: {', '.join(curves)}."]


def _leave(project: Path, result: Retrained) -> None:
    """The report and the outcome, as files and to GitHub's runner where there is one."""
    replace_file(project / REPORT, lambda partial: partial.write_text(result.report, encoding="utf-8"))
    summary = {"outcome": result.outcome.name.lower(), **result.version, "data": tracked_data(project)}
    replace_file(project / RESULT, lambda partial: partial.write_text(json.dumps(summary, indent=2) + "\n"))
    for variable, text in (
        ("GITHUB_STEP_SUMMARY", result.report),
        ("GITHUB_OUTPUT", f"outcome={summary['outcome']}\n"),
    ):
        if os.environ.get(variable):
            with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
                file.write(text)


def _push(project: Path, method: str, result: Retrained) -> None:
    try:
        dvc(project, "push", *tracked_data(project), _stages(method))
    except UnlabeledError as error:
        what = f"version {result.version['version']} is registered" if result.version else "nothing was new"
        raise UnlabeledError(
            f"{what}, but the data are not in the remote yet: {error}; run dvc push, or retrain again"
        ) from error

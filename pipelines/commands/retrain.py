"""Retrains on new data and asks the gate for a new champion. A schedule or a person may call it."""

import json
import logging
import os
from collections.abc import Iterator
from enum import Enum
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from pipelines.clients.dvc import add_stages, dvc, remote
from pipelines.clients.git import is_secret
from pipelines.datasets.files import read_json
from pipelines.registry import review
from pipelines.registry import versions as registry
from pipelines.registry.markdown import escaped
from pipelines.registry.provenance import tracked_data
from unlabeled.catalogue import IMAGE_METHODS
from unlabeled.config import in_words
from unlabeled.errors import UnlabeledError
from unlabeled.ingestion.endings import PICTURES
from unlabeled.runtime.masking import masked
from unlabeled.storage.arrays import replace_file

logger = logging.getLogger(__name__)

RAW = "data/01_raw"
REPORT, RESULT = "data/08_reporting/retrain.md", "data/08_reporting/retrain.json"
REVISIONS = "data/.here.json"
"""File with the revision of the data that was last complete here, by `.dvc` file; empty: a pull was interrupted."""
UNREPORTED = "data/.unreported-{}.json"
"""File of a method with the version and the champion before a retraining. It is deleted once the report is written."""
ENVIRONMENT = "data/.environment"
"""File that names the environment of the last retraining, and the digest of its parameters."""
UNFINISHED = "unfinished"
"""Content of ENVIRONMENT until all stages have run with new parameters."""
STORED = "data/02_intermediate/images.npy"
NEVER_RAW = (".dvc", "~")
"""Endings of files in the folder of raw data that are not data."""
MAX_LOOSE_FILES = 20
"""Largest number of new files outside subfolders, as each gets its own `.dvc` file."""


class Outcome(Enum):
    """How a retraining ended; the value is the exit code of `kedro retrain`."""

    PROMOTED = 0
    FAILED = 1
    KEPT = 10
    NOTHING_NEW = 11


class Retrained(NamedTuple):
    """The result of a retraining. `version` is the content of version.json; empty where nothing was registered."""

    outcome: Outcome
    version: dict[str, Any]
    report: str


def retrain(project: Path, client: MlflowClient, method: str, push: bool = True, env: str | None = None) -> Retrained:
    """Pulls the data, tracks new data, reruns the stages that they change, and pushes the results to DVC's remote.

    Writes a report in Markdown, which a GitHub job shows in its summary, and a JSON file with the outcome.

    Args:
        env: The environment whose parameters override conf/base. DVC does not track them: where they have changed
            since the last retraining, all stages run again.

    Raises:
        UnlabeledError: A step failed; the results of earlier steps are kept.
    """
    if method not in IMAGE_METHODS:
        raise UnlabeledError(f"--method: received {method!r}, expected one of {', '.join(IMAGE_METHODS)}")
    lock = FileLock(project / "data" / ".retrain.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UnlabeledError(f"another retraining is at work in {project}: wait for it to end") from error
    result = Retrained(
        Outcome.NOTHING_NEW, {}, "# Nothing new\n\nNeither data nor code nor parameters of the model have changed.\n"
    )
    try:
        add_stages(project, method)
        touched = _uncommitted(project)
        if _fetch(project, method, touched):
            touched = _uncommitted(project)
        if added := _track_new(project, touched):
            logger.info("new or changed data: %s", ", ".join(added))
            _write_revisions(project, tracked_data(project))
        version, champion = _rerun(project, client, method, env)
        if version:
            outcome = Outcome.PROMOTED if version["champion"] else Outcome.KEPT
            result = Retrained(outcome, version, _report(project, client, method, version, champion))
        elif added:
            idle = (
                f"{', '.join(added)}: tracked now, and nothing has changed by it; are they where ingestion.source and "
                f"ingestion.path in conf/base/parameters.yml point to?"
            )
            logger.warning(idle)
            result = result._replace(report=f"# Nothing new\n\n{escaped(idle)}\n")
        if push:
            _push(project, method, result)
        _write_report(project, method, result)
    except Exception as error:  # any error is reported
        what = f"{result.report}\n" if result.version else ""
        report = f"# Failed\n\n{escaped(masked(str(error)))}\n\n{what}"
        _write_report(project, method, Retrained(Outcome.FAILED, result.version, report))
        raise
    finally:
        lock.release()
    return result


def _last_stage(method: str) -> str:
    """The stage of DVC that depends on all others of a method."""
    return f"reporting-{method}"


def _fetch(project: Path, method: str, touched: list[Path]) -> bool:
    """Pulls data whose revision in git is not the last that was complete here; else the user's changes are kept.

    Returns:
        Whether anything was pulled.
    """
    cache, here = project / dvc(project, "cache", "dir").strip() / "files" / "md5", _read_revisions(project)

    def is_here(name: str, revision: str) -> bool:
        entry, kept = _entry(project, name), all((cache / md5[:2] / md5[2:]).exists() for md5 in revision.split("+"))
        as_named = not any(path.is_relative_to(entry) for path in touched)
        return entry.exists() and (as_named or (here[name] == revision if name in here else kept))

    tracked = tracked_data(project)
    wanted = [name for name, revision in tracked.items() if not is_here(name, revision)]
    if wanted:
        _write_revisions(project, here | dict.fromkeys(wanted, ""))
        try:
            dvc(project, "pull", *wanted)
        except UnlabeledError as error:
            names = ", ".join(name.removesuffix(".dvc") for name in wanted)
            raise UnlabeledError(
                f"git names other data for {names} than are here, which cannot be fetched ({error}): run it again when "
                f"they can be, or keep what is here with dvc add"
            ) from error
    _write_revisions(project, tracked)
    if (project / "dvc.lock").exists() and not (project / STORED).exists():
        try:
            dvc(project, "pull", "--allow-missing", "--with-deps", _last_stage(method))
        except UnlabeledError as error:
            logger.warning("what others have made of the data cannot be fetched, and is made again: %s", error)
    return bool(wanted)


def _read_revisions(project: Path) -> dict[str, str]:
    """The content of the file REVISIONS. No retraining has seen a `.dvc` file that it does not name."""
    file = project / REVISIONS
    return json.loads(file.read_text()) if file.exists() else {}


def _write_revisions(project: Path, here: dict[str, str]) -> None:
    replace_file(project / REVISIONS, lambda partial: partial.write_text(json.dumps(here, indent=2) + "\n"))


def _entry(project: Path, name: str) -> Path:
    """The file or folder that a `.dvc` file tracks."""
    return project / name.removesuffix(".dvc")


def _uncommitted(project: Path) -> list[Path]:
    """Paths that differ from the revision in their `.dvc` files."""
    listed = json.loads(dvc(project, "data", "status", "--granular", "--json") or "{}").get("uncommitted", {})
    return [project / path for each in listed.values() for path in _paths(each)]


def _paths(listed: Any) -> list[str]:
    """The paths in a list of DVC's status, whose items are paths or pairs of an old and a new path."""
    return [path for each in listed for path in ([each] if isinstance(each, str) else each.values())]


def _track_new(project: Path, touched: list[Path]) -> list[str]:
    """Tracks new and changed entries in the folder of raw data, and returns their paths relative to the project."""
    folder = project / RAW
    folder.mkdir(parents=True, exist_ok=True)
    tracked = {_entry(project, name) for name in tracked_data(project)}
    new = [] if folder in tracked else sorted(_untracked(folder, tracked))
    loose = [entry.name for entry in new if entry.is_file()]
    if len(loose) > MAX_LOOSE_FILES:
        raise UnlabeledError(
            f"{RAW} holds {len(loose)} files that are in no folder, such as {loose[0]}, and DVC would keep another for "
            f"each: put them into a folder, such as {RAW}/photos"
        )
    changed = [entry for entry in sorted(tracked) if any(path.is_relative_to(entry) for path in touched)]
    names = [entry.relative_to(project).as_posix() for entry in [*new, *changed]]
    if names:
        dvc(project, "add", *names)
    return names


def _untracked(folder: Path, tracked: set[Path]) -> Iterator[Path]:
    """Entries of a folder that are not hidden, not tracked, and contain nothing tracked."""
    for entry in folder.iterdir():
        if entry in tracked or entry.name.startswith(".") or entry.name.endswith(NEVER_RAW):
            continue
        if entry.is_file() and is_secret(entry.name) and entry.suffix[1:].lower() not in PICTURES:
            logger.warning("%s may hold keys or passwords: it is neither tracked nor pushed", entry)
            continue
        if any(each.is_relative_to(entry) for each in tracked):
            yield from _untracked(entry, tracked)
        else:
            yield entry


def _rerun(
    project: Path, client: MlflowClient, method: str, env: str | None
) -> tuple[dict[str, Any], ModelVersion | None]:
    """Reruns the stages.

    Returns:
        The content of version.json, empty where no version is new since the last report, and the champion before.
    """
    before, champion = _last_reported(project, client, method)
    last, env = _last_stage(method), env or os.environ.get("KEDRO_ENV")
    repro = partial(dvc, project, "repro", shown=True, **({"KEDRO_ENV": env} if env else {}))
    used, note = _environment(project, env), partial(replace_file, project / ENVIRONMENT)
    if used == _noted_environment(project):
        repro(last)
    else:
        note(lambda aside: aside.write_text(UNFINISHED))
        repro(last, "--force")
        note(lambda aside: aside.write_text(used))
    version = _registered(project, method)
    if not _is_registered(client, version):  # it was deleted, or is in another registry
        told = "%(name)s version %(version)s is not in this registry: it is registered again"
        logger.info(told if version["version"] else "the encoder is not registered yet: it is registered now", version)
        repro("--force", "--single-item", f"registration-{method}")
        repro(last)
        before, version = {}, _registered(project, method)
        if not version["version"]:
            raise UnlabeledError("registration.which: received 'none', expected 'single' for a retraining")
    if before and (version["name"], version["version"]) == (before["name"], before["version"]):
        return {}, champion
    return version, champion if champion and champion.name == version["name"] else None


def _last_reported(project: Path, client: MlflowClient, method: str) -> tuple[dict[str, Any], ModelVersion | None]:
    """The content of version.json at the time of the last report, and the champion at that time.

    A retraining that was killed may have registered a version without a report: the next retraining reports it.
    """
    file = project / UNREPORTED.format(method)
    if not file.exists():
        before = _registered(project, method)
        champion = registry.champion(client, before["name"]) if before else None
        noted = {"version": before, "champion": champion and str(champion.version)}
        replace_file(file, lambda partial: partial.write_text(json.dumps(noted, indent=2) + "\n"))
        return before, champion
    noted = json.loads(file.read_text())
    before, number = noted["version"], noted["champion"]
    try:
        return before, registry.find(client, before["name"], number) if number else None
    except registry.GoneError:
        return before, None


def _environment(project: Path, env: str | None) -> str:
    """The name of an environment and the digest of its parameters; empty without an environment."""
    files = sorted((project / "conf" / env).glob("parameters*.yml")) if env else []
    return " ".join([env, sha256(b"".join(file.read_bytes() for file in files)).hexdigest()]) if env else ""


def _noted_environment(project: Path) -> str:
    file = project / ENVIRONMENT
    return file.read_text() if file.exists() else ""


def _is_registered(client: MlflowClient, version: dict[str, Any]) -> bool:
    try:
        return bool(version["version"]) and bool(registry.find(client, version["name"], version["version"]))
    except registry.GoneError:
        return False


def _registered(project: Path, method: str) -> dict[str, Any]:
    """The content of version.json; empty: the stage registration has not run."""
    file = project / f"data/06_models/{method}/version.json"
    return read_json(file) if file.exists() else {}


def _report(project: Path, client: MlflowClient, method: str, version: dict[str, Any], champion: Any) -> str:
    """The report in Markdown: the decision, the accuracies, a figure, and the differences to the champion."""
    found = registry.find(client, version["name"], version["version"])
    metrics = read_json(project / f"data/08_reporting/{method}/metrics.json")
    stays = "the champion stays" if registry.champion(client, version["name"]) else "there is no champion yet"
    standing = "is the new champion" if version["champion"] else f"is a challenger; {stays}"
    lines = [
        f"# {escaped(version['name'])} version {version['version']} {standing}",
        f"{version['verdict']}; {escaped(version['reason'])}.",
    ]
    if "drift" in found.tags:
        lines.append(f"Since the champion's data: {escaped(found.tags['drift'])}.")
    lines += _figure(metrics)
    if champion is not None:
        lines.append(f"## What has changed since version {champion.version}")
        for what, changes in review.differences(project, champion, found).items():
            listed = (f"- {escaped(line)}" for line in changes)
            lines.append("\n".join([f"**{what}**{'' if changes else ': the same'}", "", *listed]))
    lines += ["## Its model card", (found.description or "").replace("\n#", "\n##").partition("\n\n")[2]]
    return "\n\n".join(lines) + "\n"


def _figure(metrics: dict[str, Any]) -> list[str]:
    """Accuracy over labels a class as a Mermaid chart, which GitHub draws in Markdown without an image file."""
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


def _write_report(project: Path, method: str, result: Retrained) -> None:
    """Writes the report and the outcome to files and to GitHub's runner, and marks the version as reported."""
    replace_file(project / REPORT, lambda partial: partial.write_text(result.report, encoding="utf-8"))
    summary = {"outcome": result.outcome.name.lower(), **result.version}
    replace_file(project / RESULT, lambda partial: partial.write_text(json.dumps(summary, indent=2) + "\n"))
    registered = str(bool(result.version)).lower()
    for variable, text in (
        ("GITHUB_STEP_SUMMARY", result.report),
        ("GITHUB_OUTPUT", f"outcome={summary['outcome']}\nregistered={registered}\n"),
    ):
        if os.environ.get(variable):
            with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
                file.write(text)
    if result.version or result.outcome is not Outcome.FAILED:
        (project / UNREPORTED.format(method)).unlink(missing_ok=True)


def _push(project: Path, method: str, result: Retrained) -> None:
    place = remote(project)
    if not place:
        logger.warning(
            "data and results are on this machine alone, as DVC has no remote: `dvc remote add --default store PLACE` "
            "names one (s3://…, gs://…, ssh://… or a folder), and `dvc push` sends them"
        )
        return
    try:
        dvc(project, "push", "--with-deps", *tracked_data(project), _last_stage(method))
    except UnlabeledError as error:
        what = f"version {result.version['version']} is registered" if result.version else "nothing was new"
        raise UnlabeledError(
            f"{what}, but the data are not in the remote yet: {error}; run dvc push, or retrain again"
        ) from error
    inside = ", a folder in this project, which is lost with it" if Path(place).is_relative_to(project) else ""
    logger.info("data and results are pushed to %s%s", place, inside)

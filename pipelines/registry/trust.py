"""Checks that a recorded version may run here: its files are unchanged, and its user is known or the user agrees."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mlflow.entities.model_registry import ModelVersion

from pipelines.clients.git import COMMIT, DIRTY, git
from pipelines.parameters import flatten
from pipelines.registry import versions as registry
from pipelines.registry.provenance import CODE, code_of
from pipelines.registry.signature import is_mine
from pipelines.registry.versions import DIGESTS, RECORD
from unlabeled.catalogue import METHODS
from unlabeled.errors import UnlabeledError
from unlabeled.runtime.legible import legible
from unlabeled.storage.freshness import is_other

COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def checked_tags(version: ModelVersion) -> dict[str, str]:
    """The tags of a version. Raises UnlabeledError where one that a reproduction needs is missing or invalid."""
    tags, who = version.tags, f"{version.name} version {version.version}"
    if missing := {COMMIT, DIRTY, "method"} - tags.keys():
        raise UnlabeledError(f"{who} cannot be reproduced: it has no tag {', '.join(sorted(missing))}")
    if not COMMIT_ID.fullmatch(tags[COMMIT]):
        raise UnlabeledError(f"{who}: its tag {COMMIT} is {tags[COMMIT]!r}, expected 40 or 64 hexadecimal digits")
    if tags["method"] not in METHODS:
        raise UnlabeledError(f"{who}: its tag method is {tags['method']!r}, expected one of {', '.join(METHODS)}")
    for key in ("hardware", "libraries", DIGESTS):
        _object_of(tags, key, who)
    return tags


def object_of(version: ModelVersion, key: str) -> dict[str, Any]:
    """The content of a tag that holds a JSON object; empty where the tag is missing."""
    return _object_of(version.tags, key, f"{version.name} version {version.version}")


def verified(version: ModelVersion, file: str) -> Any:
    """The content of a file in a version's record, by `registry.recorded`; None where the record lacks the file.

    Raises:
        UnlabeledError: The file has changed since registration, or was added later.
    """
    content, digests = registry.recorded(version, file), object_of(version, DIGESTS)
    if content is not None and digests and f"{RECORD}/{file}" not in digests:
        raise UnlabeledError(
            f"{file} of {version.name} version {version.version} was not registered with it (its tag {DIGESTS} has no "
            f"such file): somebody has added it to the artifact store, and it is not used"
        )
    return content


def check_patch(version: ModelVersion, diff: bytes) -> None:
    """Raises UnlabeledError where the recorded changes are not those that the version's tag `code` names."""
    if is_other(code_of(version.tags[COMMIT], diff), version.tags.get(CODE)):
        raise UnlabeledError(
            f"the recorded changes of {version.name} version {version.version} are not those that it was made with "
            f"(their digest is not that of its tag {CODE}): somebody has changed the artifact store, and nothing is run"
        )


def check_trusted(project: Path, version: ModelVersion, diff: bytes, parameters: dict[str, Any], yes: bool) -> None:
    """Asks the user before the code of another user's version runs, and shows that code.

    Args:
        diff: The recorded patch of uncommitted changes.
        yes: Whether to proceed without asking.

    Raises:
        UnlabeledError: The answer is no, or there is no terminal to ask on.
    """
    if yes or is_mine(version.tags):
        return
    who = f"{version.name} version {version.version}"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UnlabeledError(
            f"{who} was not made by you on this machine, and its code would run with your rights: look at its commit "
            f"and at {RECORD}/changes.diff among its files, then add --yes, or answer in a terminal"
        )
    for line in _what_it_runs(project, version, diff, parameters):
        click.echo(legible(line))
    if not click.confirm(f"{legible(who)} was not made by you on this machine. Run it with your rights?"):
        raise UnlabeledError(f"{who} was not run")


def _what_it_runs(project: Path, version: ModelVersion, diff: bytes, parameters: dict[str, Any]) -> Iterator[str]:
    yield (
        git(project, "log", "-1", "--format=commit %H of %an <%ae>, %ad: %s", version.tags[COMMIT])
        .decode(errors="replace")
        .strip()
    )
    if diff:
        yield "with these changes:"
        yield from diff.decode(errors="replace").splitlines()
    for key, value in flatten(parameters):
        if isinstance(value, str) and (value.startswith(("/", "~")) or ".." in Path(value).parts):
            yield f"the parameter {key} names a path outside the project: {value}"


def _object_of(tags: dict[str, str], key: str, who: str) -> dict[str, Any]:
    try:
        value = json.loads(tags.get(key, "{}")) or {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UnlabeledError(f"{who}: its tag {key} is {tags[key][:100]!r}, expected a JSON object")
    return value

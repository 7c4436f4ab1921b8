"""The model registry for people: a table of versions, the differences between two, promotion by hand and rollback."""

import getpass
import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from pipelines.clients.git import COMMIT, git, is_dirty
from pipelines.parameters import flatten
from pipelines.registry import versions as registry
from pipelines.registry.notes import describe_model
from pipelines.registry.promotion import TEST_SAMPLE, count_comparisons
from pipelines.registry.provenance import ANSWERS, MANIFEST, PARAMETERS, PLUGIN, TRAINED_WITH
from unlabeled.errors import UnlabeledError
from unlabeled.evaluation.drift import changes_between, counts_in_words
from unlabeled.evaluation.verdict import selection
from unlabeled.runtime.masking import masked

COLUMNS = ("version", "method", "linear probe, %", "kNN, %", "data", "commit", "age", "aliases")
MAX_LISTED_COMMITS = 20
"""Largest number of commits that are listed between two versions."""


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions of a model, the latest first, with their aliases. Raises UnlabeledError where there are none."""
    found = sorted(client.search_model_versions(f"name='{name}'"), key=lambda each: -int(each.version))
    if not found:
        raise UnlabeledError(
            f"the registry at {mlflow.get_tracking_uri()} has no {name}: {registry.others_than(client, name)}"
        )
    aliases = client.get_registered_model(name).aliases
    for version in found:
        version.aliases = sorted(alias for alias, number in aliases.items() if str(number) == str(version.version))
    return found


def row_of(version: ModelVersion) -> dict[str, str]:
    """The cells of a version in the table, by COLUMNS."""
    tags = version.tags
    dirty = "+" if is_dirty(tags) else ""
    return {
        "version": str(version.version),
        "method": tags.get("method", ""),
        "linear probe, %": _accuracy(tags, "linear_probe_accuracy"),
        "kNN, %": _accuracy(tags, "knn_accuracy"),
        "data": tags.get("data_digest", "")[:8],
        "commit": tags.get(COMMIT, "")[:8] + dirty,
        "age": _age(version.creation_timestamp / 1000),
        "aliases": ", ".join(version.aliases),
    }


def selection_of(found: list[ModelVersion]) -> str:
    """The sentence on how selection among versions biases the champion's accuracy; empty without selection."""
    champions = [each for each in found if "champion" in each.aliases]
    return selection(count_comparisons(found, champions[0].tags.get(TEST_SAMPLE, ""))) if champions else ""


def promote(client: MlflowClient, name: str, number: str, reason: str) -> str:
    """Makes a version the champion by hand, and returns its decision tag.

    Raises:
        UnlabeledError: The version is the champion already, or its files no longer exist.
    """
    who, version = _who(), registry.find(client, name, number)
    before = registry.champion(client, name)
    if before is not None and str(before.version) == str(version.version):
        raise UnlabeledError(f"{name} version {version.version} is the champion already")
    registry.check_files(version)
    registry.set_champion(client, name, str(version.version))
    told = _append_decision(client, version, f"made champion by hand{f': {reason}' if reason else ''}", who)
    describe_model(client, name)
    return told


def roll_back(client: MlflowClient, name: str) -> tuple[str, str]:
    """Makes the latest previous champion that still has its files the champion again.

    Returns:
        The version numbers of the old and the new champion.

    Raises:
        UnlabeledError: There is no such version, or the artifact store does not answer.
    """
    versions(client, name)  # raises where there are none
    who, present = _who(), registry.champion(client, name)
    current = str(present.version) if present else ""
    history = registry.champion_history(client, name)
    while history:
        number = history.pop()
        try:
            if number == current:
                continue
            registry.check_files(registry.find(client, name, number))
        except registry.GoneError:
            continue
        registry.set_champion(client, name, number, history)
        if present:
            _append_decision(client, present, "rolled back", who)
        describe_model(client, name)
        return current or "none", number
    raise UnlabeledError(f"{name} has had no other champion that is still there: kedro promote VERSION names one")


def differences(project: Path, first: ModelVersion, second: ModelVersion) -> dict[str, list[str]]:
    """The differences between two versions, as lines about accuracy, parameters, data, code and libraries."""
    return {
        "accuracy": _accuracies(first, second),
        "parameters": _parameters(first, second),
        "data": _data(first, second),
        "code": _code(project, first, second),
        "libraries": _libraries(first, second),
    }


def _accuracy(tags: dict[str, str], key: str) -> str:
    from unlabeled.evaluation.significance import EFFECTIVE, KNN_EFFECTIVE, wilson_interval

    if tags.get(key, "None") == "None":
        return "–"
    effective = KNN_EFFECTIVE if key == "knn_accuracy" else EFFECTIVE
    accuracy, count = float(tags[key]), float(tags.get(effective, tags.get("test_images", 0)))
    if not count:
        return f"{100 * accuracy:.1f}"
    low, high = wilson_interval(accuracy, count)
    return f"{100 * accuracy:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _age(since: float) -> str:
    seconds = max(0.0, time.time() - since)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _who() -> str:
    """The user's name, or the user id where the system has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _append_decision(client: MlflowClient, version: ModelVersion, what: str, who: str) -> str:
    """Appends an action, its user and its time to the decision tag of a version, and returns the tag."""
    now = datetime.now().astimezone().isoformat(timespec="minutes")
    told = "; ".join(filter(None, [version.tags.get("decision"), f"{masked(what)} ({who}, {now})"]))
    client.set_model_version_tag(version.name, version.version, "decision", told)
    return told


def _accuracies(first: ModelVersion, second: ModelVersion) -> list[str]:
    from unlabeled.evaluation.protocol import in_order
    from unlabeled.evaluation.significance import paired_difference

    keys = {"linear probe": "linear_probe_accuracy", "kNN": "knn_accuracy"}
    lines = [f"{what}: {_accuracy(first.tags, key)} → {_accuracy(second.tags, key)} %" for what, key in keys.items()]
    if any(first.tags.get(key) != second.tags.get(key) for key in ("data_digest", "protocol")):
        return [*lines, "measured on other data or by another protocol: the two do not compare"]
    answers = [registry.recorded(each, ANSWERS) for each in (first, second)]
    if all(each is not None and len(each) for each in answers):
        old, new = map(in_order, answers)
        gain = paired_difference(new.right.to_numpy(), old.right.to_numpy(), new.group.to_numpy())
        lines.append(f"on the same test images: {gain}")
    return lines


def _parameters(first: ModelVersion, second: ModelVersion) -> list[str]:
    old, new = (registry.recorded(each, PARAMETERS) for each in (first, second))
    if old is None or new is None:
        return ["not recorded"]
    old, new = _of_method(old, first), _of_method(new, second)
    return [f"{key}: {old.get(key)} → {new.get(key)}" for key in {**old, **new} if old.get(key) != new.get(key)]


def _of_method(parameters: dict[str, Any], version: ModelVersion) -> dict[str, Any]:
    """A version's parameters by dotted names, without other methods; its own blocks override the shared ones."""
    from unlabeled.catalogue import METHODS

    own = parameters.get(version.tags.get("method", ""), {})
    shared = {key: value for key, value in parameters.items() if key not in METHODS}
    return dict(flatten({**shared, **own}))


def _data(first: ModelVersion, second: ModelVersion) -> list[str]:
    if first.tags.get("data_digest") == second.tags.get("data_digest"):
        return []
    lines = [f"digest: {first.tags.get('data_digest')} → {second.tags.get('data_digest')}"]
    old, new = (registry.recorded(each, MANIFEST) for each in (first, second))
    if old is not None and new is not None:
        lines.append(f"images: {len(old):,} → {len(new):,} ({counts_in_words(changes_between(old, new))})")
    return lines


def _code(project: Path, first: ModelVersion, second: ModelVersion) -> list[str]:
    old, new = first.tags.get(COMMIT, ""), second.tags.get(COMMIT, "")
    changed = [f"version {each.version} has uncommitted changes" for each in (first, second) if is_dirty(each.tags)]
    changed += [
        f"the weights of version {each.version} were trained with {each.tags[TRAINED_WITH]}"
        for each in (first, second)
        if TRAINED_WITH in each.tags
    ]
    plugins = [each.tags.get(PLUGIN, "none") for each in (first, second)]
    if plugins[0] != plugins[1]:
        changed.insert(0, f"plug-in: {' → '.join(plugins)}")
    if old == new or not (old and new):
        return changed
    try:
        log = git(project, "log", "--oneline", f"-{MAX_LISTED_COMMITS}", f"{old}..{new}").decode().splitlines()
    except UnlabeledError:  # the commits are of another clone
        log = []
    return [f"commit: {old[:8]} → {new[:8]}", *log, *changed]


def _libraries(first: ModelVersion, second: ModelVersion) -> list[str]:
    old, new = (json.loads(each.tags.get("libraries", "{}")) for each in (first, second))
    return [f"{name}: {old.get(name)} → {new[name]}" for name in new if old.get(name) != new[name]]

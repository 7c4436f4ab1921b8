"""Weights that a training starts from, where `pretraining.weights` names a version of the registry."""

import re
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from pipelines.registry import versions
from unlabeled.config import Pretraining
from unlabeled.errors import ConfigError

REGISTRY = "models:/"
START = "start"
"""Key in run.json, and tag: the digest of the weights that a training started from."""


def resolved(config: Pretraining) -> Pretraining:
    """The parameters with the local folder of a version's encoder in place of `models:/name@alias`.

    Raises:
        ConfigError, UnlabeledError: The registry has no such version, or its files cannot be read.
    """
    if not is_version(config.weights):
        return config
    return config.model_copy(update={"weights": local_folder(str(config.weights))})


def pinned(config: Pretraining) -> Pretraining:
    """The parameters with the number of a version in place of its alias, which may move to another version."""
    if not is_version(config.weights):
        return config
    found = _version(str(config.weights))
    return config.model_copy(update={"weights": f"{REGISTRY}{found.name}/{found.version}"})


def is_version(weights: str | None) -> bool:
    return weights is not None and weights.startswith(REGISTRY)


def local_folder(weights: str) -> str:
    """The local folder of the encoder of `models:/name@alias` or `models:/name/number`, downloaded if needed."""
    return str(versions.download(_version(weights)))


def for_work_tree(parameters: Any, project: Path) -> Any:
    """Recorded parameters for a run in another folder, and with another registry: starts are named by absolute paths.

    Args:
        project: The folder from which relative paths were meant.
    """
    if not isinstance(parameters, dict):
        return parameters
    changed = {key: for_work_tree(value, project) for key, value in parameters.items()}
    weights: Any = (changed.get("pretraining") or {}).get("weights")
    if is_version(weights):
        changed["pretraining"]["weights"] = local_folder(weights)
    elif weights and (project / weights).exists():
        changed["pretraining"]["weights"] = str(project / weights)
    return changed


def _version(weights: str) -> ModelVersion:
    found = re.fullmatch(rf"{REGISTRY}([^/@]+)[/@]([^/@]+)", weights)
    if not found:
        raise ConfigError(
            f"pretraining.weights: received {weights!r}, expected {REGISTRY}name@alias or {REGISTRY}name/number"
        )
    return versions.find(MlflowClient(), found[1], found[2])

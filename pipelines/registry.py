"""Versions in the MLflow registry: found, loaded, crowned."""

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from unlabeled.config import Ingestion, Registration
from unlabeled.errors import UnlabeledError

NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""How backends say that a model, an alias or a run is not there; everything else is an outage."""
REIGNS = "champions"
"""The tag of a registered model that lists its champions so far, the present one last."""


class Registered(NamedTuple):
    """A version's encoder, its probe (None: there were no labels), and the names of what that predicts."""

    version: str
    encoder: Any
    probe: Any
    classes: list[str]


def model_name(registration: Registration, ingestion: Ingestion) -> str:
    """Under which name the encoders of a source are registered."""
    return registration.model_name or f"unlabeled-{ingestion.name}"


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version that has the alias; None where nobody has it."""
    try:
        return client.get_model_version_by_alias(name, "champion")
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        return None


def reigns(client: MlflowClient, name: str) -> list[str]:
    """The numbers of the champions so far, the present one last."""
    return client.get_registered_model(name).tags.get(REIGNS, "").split()


def crown(client: MlflowClient, name: str, number: str) -> None:
    """Makes a version the champion, and notes down that it was the latest to become so."""
    client.set_registered_model_tag(name, REIGNS, " ".join([*reigns(client, name), number]))
    client.set_registered_model_alias(name, "champion", number)


def find(client: MlflowClient, name: str, version: str) -> ModelVersion:
    """A version by its number or alias. Raises UnlabeledError where there is none."""
    try:
        if version.isdigit():
            return client.get_model_version(name, version)
        return client.get_model_version_by_alias(name, version)
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        raise UnlabeledError(
            f"the registry at {mlflow.get_tracking_uri()} has no {name} version {version}: kedro champion lists those "
            f"that there are"
        ) from error


def download(version: ModelVersion) -> Path:
    """The folder of a version's files, fetched if need be. Raises MlflowException or OSError where it cannot be had."""
    return Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}"), "artifacts", "model")


def recorded(version: ModelVersion, name: str) -> Any:
    """A file of the run that made a version: a table, a dict or bytes, by its ending; None: the run has none.

    Raises:
        MlflowException, OSError: It cannot be had now.
    """
    client, run = MlflowClient(), version.tags.get("training_run") or version.run_id
    try:
        there = run and name in {each.path for each in client.list_artifacts(run)}
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        there = False  # the run was deleted
    if not there:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(mlflow.artifacts.download_artifacts(run_id=run, artifact_path=name, dst_path=folder))
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        return json.loads(file.read_text()) if file.suffix == ".json" else file.read_bytes()


def fetch(name: str, version: str) -> Registered:
    """The encoder of a version, by its number or alias. Raises UnlabeledError where it cannot be had."""
    from unlabeled.encoders import load_encoder  # imports torch
    from unlabeled.probe import LinearProbe

    found = find(MlflowClient(), name, version)
    try:
        folder = download(found)
    except (MlflowException, OSError) as error:
        raise UnlabeledError(f"the files of {name} version {found.version} cannot be had ({error})") from error
    probe = folder / "probe.safetensors"
    classes = json.loads((folder / "classes.json").read_text())
    return Registered(
        str(found.version), load_encoder(folder), LinearProbe.load(probe) if probe.exists() else None, classes
    )

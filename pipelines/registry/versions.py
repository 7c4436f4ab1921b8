"""Finds and downloads versions in the MLflow registry, and sets the champion."""

import json
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipelines.clients.git import named
from pipelines.datasets.files import read_json
from pipelines.shapes import check_shape
from unlabeled.config import BUILT_IN, Ingestion, Registration
from unlabeled.errors import UnlabeledError
from unlabeled.storage import intact

NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""Error codes of a missing model, alias or run; all other errors are outages."""
CHAMPION_HISTORY = "champions"
"""The tag of a registered model that lists the numbers of its champions, the present one last."""
MODEL, RECORD = "model", "record"
"""Folders of a version: the files of the model, and the record from which it can be reproduced."""
DIGESTS, WEIGHTS = "digests", "weights"
"""Tags of a version: the SHA-256 of each file in these folders by its path, as JSON; the digest of all weights."""
REMEDY = "restore the artifact, or register the model again (kedro run) and promote that version"


class GoneError(UnlabeledError):
    """A version or its files no longer exist. Every other failure may be an outage."""


def model_name(registration: Registration, data_set: str) -> str:
    """The name under which the encoders of a data set are registered."""
    return registration.model_name or f"unlabeled-{data_set}"


def data_set_of(ingestion: Ingestion, folder: Path) -> str:
    """The name of the data set that the parameters name; where they name no path, of the one that was ingested.

    Args:
        folder: The folder of ingestion.
    """
    summary = folder / "summary.json"
    if ingestion.place is None and ingestion.source not in BUILT_IN and summary.exists():
        return read_json(summary)["source"]
    return ingestion.name


def left_behind(client: MlflowClient, name: str, source: str) -> str:
    """A sentence on the model that an earlier release named after `ingestion.source`; empty: there is none to go on
    with, or the model of today's name has a champion."""
    earlier = f"unlabeled-{source}"
    if earlier == name or champion(client, name) or not (found := champion(client, earlier)):
        return ""
    return (
        f"{earlier}, as earlier releases called it, has a champion (version {found.version}), and {name} has none: set "
        f"registration.model_name={earlier} to go on with it"
    )


def others_than(client: MlflowClient, name: str) -> str:
    """The models that the registry has instead of one that it lacks, and what to do, in words."""
    found = sorted(model.name for model in client.search_registered_models(max_results=1000))
    listed = named([each for each in found if each != name])
    there = f"it has {listed} (choose one with --name or registration.model_name)" if listed else "it has no model yet"
    return f"{there}; kedro run --pipeline=byol registers a version of {name}"


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version with the alias `champion`; None where there is none."""
    try:
        return client.get_model_version_by_alias(name, "champion")
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        return None


def champion_history(client: MlflowClient, name: str) -> list[str]:
    """The numbers of all champions so far, the present one last.

    The alias decides which is the present one: after a killed run, the tag may be one champion behind or ahead.
    """
    return _history_of(client.get_registered_model(name))


def _history_of(model: RegisteredModel) -> list[str]:
    listed, present = model.tags.get(CHAMPION_HISTORY, "").split(), model.aliases.get("champion")
    if present is None:
        return listed
    before = listed[::-1].index(str(present)) + 1 if str(present) in listed else 0
    return [*listed[: len(listed) - before], str(present)]


def set_champion(client: MlflowClient, name: str, number: str, before: list[str] | None = None) -> None:
    """Gives a version the alias `champion`, and appends it to the history of champions.

    Of two processes that do so at once, the one that sets the alias last also reads the history of the other.

    Args:
        before: The numbers of the champions before it; None: the whole history.
    """
    model = client.get_registered_model(name)
    client.set_registered_model_alias(name, "champion", number)
    if before is None:
        noted = client.get_registered_model(name).tags.get(CHAMPION_HISTORY, "")
        before = _history_of(model) if noted == model.tags.get(CHAMPION_HISTORY, "") else noted.split()
    listed = before if before[-1:] == [number] else [*before, number]
    client.set_registered_model_tag(name, CHAMPION_HISTORY, " ".join(listed))


def find(client: MlflowClient, name: str, version: str) -> ModelVersion:
    """A version by its number or alias. Raises GoneError where there is none."""
    try:
        if version.isdigit():
            return client.get_model_version(name, version)
        return client.get_model_version_by_alias(name, version)
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        listed = "kedro champion lists those that there are, and kedro promote makes one of them the champion"
        there = client.search_model_versions(f"name='{name}'", max_results=1)
        raise GoneError(
            f"the registry at {mlflow.get_tracking_uri()} has no {name} version {version}: "
            f"{listed if there else others_than(client, name)}"
        ) from error


def check_files(version: ModelVersion) -> None:
    """Raises GoneError where a version's files no longer exist, and UnlabeledError where the store does not answer."""
    with _outage_as_sentence(version):
        if not _listed(version, MODEL):
            raise GoneError(f"the files of {version.name} version {version.version} no longer exist")


def download(version: ModelVersion) -> Path:
    """The local folder of a version's model, downloaded if needed.

    Raises:
        UnlabeledError: The files no longer exist, cannot be downloaded now, or have changed since registration.
    """
    check_files(version)
    with _outage_as_sentence(version):
        folder = Path(mlflow.artifacts.download_artifacts(_uri(version, MODEL)))
    intact.check_files(folder, _digests(version, MODEL), REMEDY)
    intact.check_weights(folder / "encoder.safetensors", version.tags.get(WEIGHTS), REMEDY)
    return folder


def _digests(version: ModelVersion, folder: str) -> dict[str, str]:
    """SHA-256 of each file in a folder of a version, by its name; empty for a version of an earlier release."""
    digests = json.loads(version.tags.get(DIGESTS, "{}"))
    return {path.removeprefix(f"{folder}/"): each for path, each in digests.items() if path.startswith(f"{folder}/")}


def recorded(version: ModelVersion, name: str) -> Any:
    """The content of a file in a version's record; None where the record lacks it.

    Returns:
        A DataFrame for Parquet, the parsed content for JSON, bytes for other files.

    Raises:
        UnlabeledError: The file cannot be downloaded now, or has changed since registration.
    """
    with _outage_as_sentence(version), tempfile.TemporaryDirectory() as folder:
        if name not in _listed(version, RECORD):
            return None
        file = Path(mlflow.artifacts.download_artifacts(_uri(version, RECORD, name), dst_path=folder))
        expected = _digests(version, RECORD)
        intact.check_files(file.parent, {name: expected[name]} if name in expected else {}, REMEDY)
        read = {".parquet": pd.read_parquet, ".json": lambda file: json.loads(file.read_text())}
        held = read.get(file.suffix, Path.read_bytes)(file)
        check_shape(file, held)
        return held


def _listed(version: ModelVersion, folder: str) -> set[str]:
    return {PurePosixPath(each.path).name for each in mlflow.artifacts.list_artifacts(_uri(version, folder))}


def _uri(version: ModelVersion, *path: str) -> str:
    return "/".join([f"models:/{version.name}/{version.version}/artifacts", *path])


@contextmanager
def _outage_as_sentence(version: ModelVersion) -> Generator[None]:
    """Reports the errors of any artifact store as UnlabeledError. They are outages, apart from GoneError."""
    try:
        yield
    except UnlabeledError:
        raise
    except Exception as error:
        raise UnlabeledError(
            f"the files of {version.name} version {version.version} cannot be read now ({error})"
        ) from error

"""The registration stage, as far as all kinds of data share it: registers a version, and asks the gate."""

import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema, TensorSpec

import unlabeled
from pipelines.clients.git import other_than_code
from pipelines.registry.card import Kind, model_card
from pipelines.registry.markdown import escaped
from pipelines.registry.notes import MAX_LENGTH, describe_model
from pipelines.registry.promotion import (
    P_VALUE,
    TEST_SAMPLE,
    Decision,
    count_comparisons,
    judge,
    run_gate,
    sample_images,
)
from pipelines.registry.provenance import (
    ANSWERS,
    CODE,
    LABELS_BEFORE,
    MANIFEST,
    METRICS,
    PARAMETERS,
    PLUGIN,
    TRAINED_BY,
    TRAINED_WITH,
    Provenance,
    with_parameters,
)
from pipelines.registry.signature import signature
from pipelines.registry.starts import START
from pipelines.registry.versions import DIGESTS, MODEL, RECORD, left_behind, model_name
from pipelines.stages.freshness import check_metrics_current
from unlabeled.config import Evaluation, Pretraining, Registration
from unlabeled.evaluation.drift import sentence_of
from unlabeled.evaluation.significance import EFFECTIVE, KNN_EFFECTIVE
from unlabeled.evaluation.verdict import selection, worth
from unlabeled.records import Metrics, RunRecord, Summary, Version
from unlabeled.storage.intact import digest_of_file

logger = logging.getLogger(__name__)

IDENTITY = ("weights", "data_digest", "protocol", CODE, PLUGIN)
"""Tags that together identify a version of a training."""
UNREGISTERED: Version = {
    "name": "",
    "version": "",
    "champion": False,
    "verdict": "",
    "reason": "registration.which=none",
    "selection": "",
}
"""The result of a registration that is not asked for."""
EXAMPLES = 2
"""Number of rows in the example input of a registered model."""
DECISION = "decision.json"
"""The artifact of a run with the numbers behind the gate's decision."""
EXPERIMENT = "DVC_EXP_NAME"
"""The environment variable in which DVC names the experiment of `dvc exp run`."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """The inputs of registration, for any kind of data.

    Attributes:
        encoder: An `encoders.Saved`.
        probe: A linear probe; None without labels.
        predictions: The probe's predictions, by `evaluation.protocol.predict`.
        provenance: The provenance of the present run.
    """

    encoder: Any
    probe: Any
    metrics: Metrics
    predictions: pd.DataFrame
    manifest: pd.DataFrame
    summary: Summary
    run: RunRecord
    provenance: Provenance
    pretraining: Pretraining
    evaluation: Evaluation
    registration: Registration


class Served(NamedTuple):
    """How MLflow serves a kind of data.

    Attributes:
        code: The Python file that MLflow runs to load the model.
        signature: The model's inputs, outputs and parameters.
        example: An example input.
        requirements: The packages that the model needs, without versions.
    """

    code: str
    signature: ModelSignature
    example: Any
    requirements: tuple[str, ...]


def register_version(candidate: Candidate, served: Served, kind: Kind, data: Any) -> Version:
    """Registers an encoder as a version, and asks the gate whether it becomes the champion.

    An experiment of DVC tries parameters out: it leaves the registry as it is, and its version has no number.

    Args:
        data: The inputs of the encoder, such as images or texts, one for each row of the manifest.
    """
    metrics, run, registration = candidate.metrics, candidate.run, candidate.registration
    check_metrics_current(metrics, candidate.summary, candidate.evaluation, run)
    alone = worth(metrics, candidate.manifest, candidate.pretraining, kind.unit)
    if registration.which == "none":
        return UNREGISTERED | {"verdict": alone.words}
    if experiment := os.environ.get(EXPERIMENT):
        reason = f"DVC's experiment {experiment} leaves the registry as it is; kedro retrain registers what it has made"
        logger.info("not registered: %s", reason)
        return UNREGISTERED | {"verdict": alone.words, "reason": reason}
    client, name = MlflowClient(), model_name(registration, candidate.summary["source"])
    if not registration.model_name and (told := left_behind(client, name, _source(candidate))):
        logger.warning("%s", told)
    tags = _tags(candidate)
    number = find_interrupted(client, name, tags)
    if number is None:
        classes = candidate.summary["classes"]
        model_id = log_model(candidate.encoder, candidate.probe, classes, _record(candidate), served)
        number = create_version(client, name, model_id, tags)

    others = [each for each in client.search_model_versions(f"name='{name}'") if str(each.version) != number]
    before = count_comparisons(others, tags[TEST_SAMPLE])

    def decide(champion: ModelVersion | None) -> Decision:
        if champion is not None and str(champion.version) == number:  # set by a run that was killed afterwards
            return Decision(True, champion.tags.get("decision", "").removeprefix(f"{alone.words}; "))
        compared = candidate.predictions, data, candidate.manifest, candidate.summary["classes"], tags
        return judge(champion, alone, before, *compared, candidate.evaluation, registration)

    def record_decision(decision: Decision) -> None:
        changed = {"drift": sentence_of(decision.drift)} if decision.drift else {}
        told = f"{alone.words}; {decision.reason}"
        compared = {key: value for key, value in decision.numbers.items() if key == P_VALUE}
        for key, value in {"decision": told, **compared, **changed}.items():
            client.set_model_version_tag(name, number, key, str(value))
        mlflow.log_dict({"decision": told, **decision.numbers}, DECISION)
        looks = selection(before + (P_VALUE in decision.numbers))
        known = known_classes(candidate.probe, candidate.summary["classes"])
        card = model_card(name, number, {**tags, **changed}, metrics, kind, decision.promoted, told, looks, known)
        client.update_model_version(name, number, card[:MAX_LENGTH])
        client.set_registered_model_alias(name, "challenger", number)

    promoted, reason, numbers, drift = run_gate(client, name, number, decide, record_decision)
    purpose = (
        f"{kind.encoder}, trained on {escaped(candidate.summary['source'])}. It turns {kind.unit} into embeddings: "
    )
    describe_model(client, name, f"{purpose}for search, for clusters, and for classifiers that need few labels.")
    standing = "is the new champion" if promoted else "is a challenger"
    logger.info("%s version %s %s: %s; %s", name, number, standing, alone.words, reason)
    if drift:
        logger.info("since the champion's data: %s", sentence_of(drift))
    return {
        "name": name,
        "version": number,
        "champion": promoted,
        "verdict": alone.words,
        "reason": reason,
        "selection": selection(before + (P_VALUE in numbers)),
        "drift": drift,
    }


def _source(candidate: Candidate) -> str:
    """The value of `ingestion.source`."""
    parameters = json.loads(candidate.provenance.files[PARAMETERS])
    own = parameters.get(candidate.run["method"], {}).get("ingestion") or parameters["ingestion"]
    return own["source"]


def _tags(candidate: Candidate) -> dict[str, Any]:
    """The tags of a version."""
    from unlabeled.encoders import weights_digest  # imports torch

    run, metrics = candidate.run, candidate.metrics
    tags = {
        "method": run["method"],
        "weights": weights_digest(candidate.encoder),
        "data_digest": candidate.summary["data_digest"],
        "protocol": candidate.evaluation.digest(),
        "seed": run["seed"],
        "training_run": run["run_id"],
        "hardware": json.dumps(run.get("hardware")),
        "unlabeled": unlabeled.__version__,
        "test_images": len(candidate.predictions),
        TEST_SAMPLE: sample_images(candidate.predictions),
        **{key: metrics[key] for key in ("linear_probe_accuracy", "knn_accuracy")},
        **{key: metrics[key] for key in (EFFECTIVE, KNN_EFFECTIVE) if key in metrics},
        **candidate.provenance.tags,
    }
    if START in run:
        tags[START] = run[START]
    if LABELS_BEFORE in run:
        tags[LABELS_BEFORE] = run[LABELS_BEFORE]
    if run.get(CODE) not in (None, tags.get(CODE)):
        tags[TRAINED_WITH] = run[CODE]
    return tags


def _record(candidate: Candidate) -> dict[str, Any]:
    """The record of a version, by the names of the files."""
    run = candidate.run
    files = with_parameters(candidate.provenance.files, run["method"], run.get(TRAINED_BY, {}))
    return {ANSWERS: candidate.predictions, MANIFEST: candidate.manifest, METRICS: candidate.metrics, **files}


def find_interrupted(client: MlflowClient, name: str, tags: dict[str, Any]) -> str | None:
    """The number of a version with these tags, from this training or from a killed run; None: there is none.

    A run that is killed between registration and the end of the stage leaves a version that the next run completes.
    A second, equal version would be compared with the first, and could never be better.
    """
    for version in client.search_model_versions(f"name='{name}'"):
        same = all(version.tags.get(key) == (None if tags.get(key) is None else str(tags[key])) for key in IDENTITY)
        if same and (version.tags.get("training_run") == tags["training_run"] or _was_killed(client, version)):
            return str(version.version)
    return None


def _was_killed(client: MlflowClient, version: ModelVersion) -> bool:
    try:
        return client.get_run(version.run_id or "").info.status in ("KILLED", "FAILED")
    except MlflowException:  # the run was deleted
        return False


def create_version(client: MlflowClient, name: str, model_id: str, tags: dict[str, Any]) -> str:
    """Registers a logged model with its tags in one call, and returns the number of the version."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    logged = client.get_logged_model(model_id)
    tags = {key: str(value) for key, value in tags.items()} | {DIGESTS: logged.tags[DIGESTS]}
    tags |= signature(tags)
    version = client.create_model_version(
        name, logged.artifact_location, logged.source_run_id, tags=tags, model_id=model_id
    )
    return str(version.version)


def outputs_of(encoder: Any, probe: Any) -> Schema:
    """The output schema: embeddings and, where there is a probe, class probabilities and the most probable class."""
    outputs = [TensorSpec(np.dtype(np.float32), (-1, encoder.feature_dim), "embedding")]
    if probe:
        outputs.append(TensorSpec(np.dtype(np.float32), (-1, len(probe.classes)), "probability"))
        outputs.append(TensorSpec(np.dtype(np.str_), (-1,), "predicted"))
    return Schema(outputs)


def embeddings(encoder: Any, *kinds: str) -> list[ColSpec | TensorSpec]:
    """The output schema of an encoder with two towers: an embedding of each kind of data."""
    return [TensorSpec(np.dtype(np.float32), (-1, encoder.width), f"{kind}_embedding") for kind in kinds]


def known_classes(probe: Any, classes: list[str]) -> list[str]:
    """The names of the columns of `probability`: not every class may be among the labelled training images."""
    return [classes[target] for target in probe.classes] if probe else []


def log_model(encoder: Any, probe: Any, classes: list[str], record: dict[str, Any], served: Served) -> str:
    """Logs a model that can be loaded without this project, and returns its id.

    Args:
        classes: The names of all classes; only those of the probe are stored.
        record: Tables, dicts and bytes, by the names of their files.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, code = Path(folder, MODEL), Path(folder, "code", "unlabeled")
        encoder.save(model / "encoder.safetensors")
        if probe:
            probe.save(model / "probe.safetensors")
        known = known_classes(probe, classes)
        (model / "classes.json").write_text(json.dumps(known))
        shutil.copytree(Path(unlabeled.__file__).parent, code, ignore=other_than_code)
        info = mlflow.pyfunc.log_model(
            name="encoder",
            python_model=served.code,
            artifacts={MODEL: str(model), RECORD: str(_written(record, Path(folder, RECORD)))},
            code_paths=[str(code)],
            signature=served.signature,
            input_example=served.example,
            pip_requirements=[f"{package}=={installed(package)}" for package in served.requirements],
            tags={DIGESTS: json.dumps(_digests(Path(folder), MODEL, RECORD))},
            metadata={"classes": known},
        )
    return info.model_id


def _digests(folder: Path, *parts: str) -> dict[str, str]:
    """SHA-256 of each file in these subfolders, by its path relative to the folder."""
    files = sorted(file for part in parts for file in (folder / part).iterdir())
    return {file.relative_to(folder).as_posix(): digest_of_file(file) for file in files}


def _written(record: dict[str, Any], folder: Path) -> Path:
    """Writes each entry of the record to a file in a new folder, and returns the folder."""
    folder.mkdir()
    for name, content in record.items():
        if isinstance(content, pd.DataFrame):
            content.to_parquet(folder / name, index=False)
        else:
            (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder

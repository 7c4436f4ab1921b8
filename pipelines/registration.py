"""Stage 5: a version in the registry, and the question whether it is the new champion."""

import json
import logging
import shutil
import tempfile
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline, node
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

import unlabeled
from pipelines import model
from pipelines.card import Kind, model_card
from pipelines.promotion import judge
from pipelines.provenance import RECORDED
from pipelines.registry import crown
from unlabeled.config import Evaluation, Pretraining, Registration
from unlabeled.drift import in_words

logger = logging.getLogger(__name__)

REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "rich",
    "safetensors",
    "threadpoolctl",
    "torch",
    "torchvision",
)
"""What the registered model needs, and no more; pinned to what it was made with."""
COPIED_TAGS = ("mlflow.source.git.commit", "git_dirty", "method", "command", *RECORDED)
EXAMPLES = 2
FILES = ParamSchema([ParamSpec("files", DataType.string, default=[], shape=(-1,))])
"""Image files as base64, to be answered instead of arrays."""
LONGEST_CARD = 5000
"""Characters of a description that MLflow's tables hold: PostgreSQL refuses more, SQLite does not."""


def register(
    encoder: Any,
    probe: Any,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    images: np.ndarray,
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    run: dict[str, Any],
    pretraining: Pretraining,
    evaluation: Evaluation,
    config: Registration,
) -> dict[str, Any]:
    """Adds a version with the alias `challenger`, and `champion` where it has earned it."""
    model_id = log_model(encoder, probe, images, summary)
    size, channels = summary["image_size"], summary["channels"]
    kind = Kind(
        "An image encoder",
        f"{summary['images']:,} images of {summary['source']} ({size}×{size}, {channels} channels)",
        f"images)  # uint8 (N, {channels}, H, W)",
    )
    blocks = (pretraining, evaluation, config)
    return enter(model_id, kind, metrics, predictions, images, manifest, summary, run, *blocks)


def enter(
    model_id: str,
    kind: Kind,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    data: Any,
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    run: dict[str, Any],
    pretraining: Pretraining,
    evaluation: Evaluation,
    config: Registration,
) -> dict[str, Any]:
    """Makes a logged model a version, and asks the gate.

    Args:
        data: What an encoder embeds: images or texts, row by row of the manifest.
    """
    name = config.model_name or f"unlabeled-{summary['source']}"
    client = MlflowClient()
    tags = {
        "data_digest": summary["data_digest"],
        "protocol": evaluation.digest(),
        "seed": run["seed"],
        "training_run": run["run_id"],
        "hardware": json.dumps(run.get("hardware")),
        "unlabeled": unlabeled.__version__,
        "images": len(manifest),
        "test_images": len(predictions),
        **{key: metrics[key] for key in ("linear_probe_accuracy", "knn_accuracy", "embedding_std", "rankme")},
    }
    # Asked for anew: the active run remembers the tags that it was started with.
    of_run = client.get_run(mlflow.active_run().info.run_id).data.tags
    tags |= {key: value for key, value in of_run.items() if key in COPIED_TAGS}
    number = create_version(client, name, model_id, tags)
    classes, blocks = summary["classes"], (pretraining, evaluation, config)
    decision = judge(client, name, metrics, predictions, data, manifest, classes, tags, *blocks)
    promoted, reason, numbers, drift = decision
    changed = {"drift": in_words(drift)} if drift else {}
    for key, value in {"decision": reason, **numbers, **changed}.items():
        client.set_model_version_tag(name, number, key, str(value))
    card = model_card(name, number, {**tags, **changed}, metrics, kind, promoted, reason)
    client.update_model_version(name, number, card[:LONGEST_CARD])
    client.set_registered_model_alias(name, "challenger", number)
    if promoted:
        crown(client, name, number)
    logger.info("%s version %s %s: %s", name, number, "is the new champion" if promoted else "is a challenger", reason)
    if drift:
        logger.info("since the champion's data: %s", changed["drift"])
    return {"name": name, "version": number, "champion": promoted, "reason": reason, "drift": drift}


def create_version(client: MlflowClient, name: str, model_id: str, tags: dict[str, Any]) -> str:
    """Registers a logged model with its tags, all at once, and returns the number of its version."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    logged = client.get_logged_model(model_id)
    tags = {key: str(value) for key, value in tags.items()}
    version = client.create_model_version(
        name, logged.artifact_location, logged.source_run_id, tags=tags, model_id=model_id
    )
    return str(version.version)


def log_model(encoder: Any, probe: Any, images: np.ndarray, summary: dict[str, Any]) -> str:
    """Logs a model of images that loads without this project, and returns its id."""
    # Any number of images of any height and width.
    inputs = Schema([TensorSpec(np.dtype(np.uint8), (-1, encoder.channels, -1, -1))])
    signature = ModelSignature(inputs, outputs_of(encoder, probe), FILES)
    example = np.array(images[:EXAMPLES])
    return log_files(encoder, probe, summary, model.__file__, signature, example, REQUIREMENTS)


def outputs_of(encoder: Any, probe: Any) -> Schema:
    """Embeddings and, where there is a probe, probabilities."""
    outputs = [TensorSpec(np.dtype(np.float32), (-1, encoder.feature_dim), "embedding")]
    if probe:
        outputs.append(TensorSpec(np.dtype(np.float32), (-1, len(probe.classes)), "probability"))
    return Schema(outputs)


def log_files(
    encoder: Any,
    probe: Any,
    summary: dict[str, Any],
    code_file: str,
    signature: ModelSignature,
    example: Any,
    requirements: tuple[str, ...],
) -> str:
    """Logs a model of any kind of data; `code_file` is what MLflow runs to load it."""
    with tempfile.TemporaryDirectory() as folder:
        files, code = Path(folder, "model"), Path(folder, "code", "unlabeled")
        encoder.save(files / "encoder.safetensors")
        if probe:
            probe.save(files / "probe.safetensors")
        classes = [summary["classes"][target] for target in probe.classes] if probe else []
        (files / "classes.json").write_text(json.dumps(classes))
        shutil.copytree(Path(unlabeled.__file__).parent, code, ignore=shutil.ignore_patterns("__pycache__"))
        info = mlflow.pyfunc.log_model(
            name="encoder",
            python_model=code_file,
            artifacts={"model": str(files)},
            code_paths=[str(code)],
            signature=signature,
            input_example=example,
            pip_requirements=[f"{package}=={installed(package)}" for package in requirements],
        )
    return info.model_id


def create_pipeline() -> Pipeline:
    own = ("encoder", "probe", "metrics", "predictions", "run")
    inputs = {name: name for name in (*own, "images", "manifest", "summary")}
    parameters = {block: f"params:{block}" for block in ("pretraining", "evaluation")}
    return Pipeline(
        [
            node(
                register,
                inputs={**inputs, **parameters, "config": "params:registration"},
                outputs="version",
                name="registration",
                tags="registration",
            )
        ]
    )

"""Stage 5: a version in the registry, and the question whether it is the new champion."""

import logging
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec

from pipelines.images import model
from pipelines.registry.card import Kind
from pipelines.registry.provenance import (
    Provenance,
)
from pipelines.stages.registration import EXAMPLES, GIVEN, enter, log_files, outputs_of
from pipelines.stages.stage import stage
from unlabeled.config import Evaluation, Pretraining, Registration
from unlabeled.runtime.counts import counted

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
FILES = ParamSchema([ParamSpec("files", DataType.string, default=[], shape=(-1,))])
"""Image files as base64, to be answered instead of arrays."""


def register(
    encoder: Any,
    probe: Any,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    images: np.ndarray,
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    run: dict[str, Any],
    provenance: Provenance,
    pretraining: Pretraining,
    evaluation: Evaluation,
    config: Registration,
) -> dict[str, Any]:
    """Adds a version with the alias `challenger`, and `champion` where it has earned it.

    Args:
        run: Of the training.
        provenance: Of the run that registers.
    """
    size, channels = summary["image_size"], summary["channels"]
    colours = counted(channels, "channels")
    kind = Kind(
        "An image encoder",
        f"{counted(summary['images'], 'images')} of {summary['source']} ({size}×{size}, {colours})",
        f"images)  # uint8 (N, {channels}, H, W)",
    )
    log = partial(log_model, encoder, probe, images, summary)
    blocks = (pretraining, evaluation, config)
    return enter(encoder, log, kind, metrics, predictions, images, manifest, summary, run, provenance, *blocks)


def log_model(encoder: Any, probe: Any, images: np.ndarray, summary: dict[str, Any], record: dict[str, Any]) -> str:
    """Logs a model of images that loads without this project, with its record, and returns its id."""
    # Without a schema of inputs: a server would cast fractions to uint8 by it, and black images would be answered.
    signature = ModelSignature(None, outputs_of(encoder, probe), FILES)
    example = np.array(images[:EXAMPLES])
    return log_files(encoder, probe, summary, record, model.__file__, signature, example, REQUIREMENTS)


def create_pipeline() -> Pipeline:
    return stage("registration", register, ("images", *GIVEN), "version", config="params:registration")

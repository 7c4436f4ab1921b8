"""Stage 5: a version in the registry, and the question whether it is the new champion."""

import numpy as np
from kedro.pipeline import Pipeline
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec

from pipelines.images import model
from pipelines.registry.card import Kind
from pipelines.stages.registration import EXAMPLES, Candidate, Served, outputs_of, register_version
from pipelines.stages.stage import stage
from unlabeled.records import Summary, Version
from unlabeled.runtime.counts import counted

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


def register(candidate: Candidate, images: np.ndarray) -> Version:
    # Without a schema of inputs: a server would cast fractions to uint8 by it, and black images would be answered.
    signature = ModelSignature(None, outputs_of(candidate.encoder, candidate.probe), FILES)
    served = Served(model.__file__, signature, np.array(images[:EXAMPLES]), REQUIREMENTS)
    example = f"images)  # uint8 (N, {candidate.summary['channels']}, H, W)"
    kind = Kind("An image encoder", stored_images(candidate.summary, "images"), example)
    return register_version(candidate, served, kind, images)


def stored_images(summary: Summary, unit: str) -> str:
    """What there is of images, in words; `unit` is what they are called, in the plural."""
    size, colours = summary["image_size"], counted(summary["channels"], "channels")
    return f"{counted(summary['images'], unit)} of {summary['source']} ({size}×{size}, {colours})"


def create_pipeline() -> Pipeline:
    return stage("registration", register, "version")

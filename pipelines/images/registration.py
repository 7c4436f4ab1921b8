"""Stage 5: registers a version, and asks the gate whether it becomes the champion."""

import numpy as np
from kedro.pipeline import Pipeline
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec

from pipelines.images import model
from pipelines.registry.card import Kind
from pipelines.stages.registration import EXAMPLES, Candidate, Served, outputs_of, register_version
from pipelines.stages.stage import stage
from unlabeled.catalogue import NETWORKS
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
"""Packages that the registered model needs, pinned to the installed versions."""
FILES = ParamSchema([ParamSpec("files", DataType.string, default=[], shape=(-1,))])
"""The parameter `files` of `predict`: image files as base64, embedded instead of the array."""


TAKES = (
    "An image is a file (`bytes` or `pathlib.Path`), a PIL image, or an array (H, W, C) or (C, H, W) of whole numbers "
    "from 0 to 255. Many are a list, one array, or a DataFrame with a column `image`. A server takes files as base64: "
    '`{"inputs": ["iVBORw0…"]}`.'
)


def register(candidate: Candidate, images: np.ndarray) -> Version:
    # No input schema, for any kind of data: MLflow would refuse most forms before the model sees them, with an error
    # that holds all pixels; and a server would cast fractions in [0, 1] to uint8, and embed black images.
    signature = ModelSignature(None, outputs_of(candidate.encoder, candidate.probe), FILES)
    from_timm = () if candidate.encoder.architecture in NETWORKS else ("timm",)
    served = Served(model.__file__, signature, np.array(images[:EXAMPLES]), REQUIREMENTS + from_timm)
    kind = Kind("An image encoder", stored_images(candidate.summary, "images"), 'Path("photo.jpg")', TAKES)
    return register_version(candidate, served, kind, images)


def stored_images(summary: Summary, unit: str) -> str:
    """Number, source, size and channels of the images, in words; `unit` is their name in the plural."""
    size, colours = summary["image_size"], counted(summary["channels"], "channels")
    return f"{counted(summary['images'], unit)} of {summary['source']} ({size}×{size}, {colours})"


def create_pipeline() -> Pipeline:
    return stage("registration", register, "version")

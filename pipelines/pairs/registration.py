"""Stage 5 of captioned images: a version that takes images, texts or both, before the same gate."""

from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from PIL import Image

from pipelines.images import registration as of_images
from pipelines.pairs import model
from pipelines.registry.card import Kind
from pipelines.registry.provenance import Provenance
from pipelines.stages.registration import EXAMPLES, GIVEN, enter, log_files
from pipelines.stages.stage import stage
from unlabeled.config import Registration
from unlabeled.pairs.config import PairEvaluation, PairPretraining
from unlabeled.runtime.counts import counted

REQUIREMENTS = (*of_images.REQUIREMENTS, "tokenizers")
INPUTS = Schema([ColSpec(DataType.binary, "image", required=False), ColSpec(DataType.string, "text", required=False)])


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
    pretraining: PairPretraining,
    evaluation: PairEvaluation,
    config: Registration,
) -> dict[str, Any]:
    """Adds a version with the alias `challenger`, and `champion` where it has earned it."""
    outputs = [TensorSpec(np.dtype(np.float32), (-1, encoder.width), f"{kind}_embedding") for kind in ("image", "text")]
    signature = ModelSignature(INPUTS, Schema(outputs))

    def log(record: dict[str, Any]) -> str:
        files = [_file(image) for image in images[:EXAMPLES]]
        example = pd.DataFrame({"image": files, "text": manifest.text[:EXAMPLES].tolist()})
        return log_files(encoder, probe, summary, record, model.__file__, signature, example, REQUIREMENTS)

    size, channels = summary["image_size"], summary["channels"]
    colours = counted(channels, "channels")
    kind = Kind(
        "An encoder of images and texts",
        f"{counted(summary['images'], 'captioned images')} of {summary['source']} ({size}×{size}, {colours})",
        'pandas.DataFrame({"image": [file.read_bytes()], "text": ["what it may be"]}))  # or one of the two columns',
    )
    blocks = (pretraining, evaluation, config)
    return enter(encoder, log, kind, metrics, predictions, images, manifest, summary, run, provenance, *blocks)


def _file(image: np.ndarray) -> bytes:
    """A uint8 image (C, H, W) as a PNG file."""
    pixels, buffer = np.ascontiguousarray(image.transpose(1, 2, 0)), BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(buffer, "PNG")
    return buffer.getvalue()


def create_pipeline() -> Pipeline:
    return stage("registration", register, ("images", *GIVEN), "version", config="params:registration")

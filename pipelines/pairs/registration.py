"""Stage 5 of captioned images: registers a version that takes images, texts or both, and asks the gate."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from PIL import Image

from pipelines.images import registration as of_images
from pipelines.images.registration import stored_images
from pipelines.pairs import model
from pipelines.registry.card import Kind
from pipelines.stages.registration import EXAMPLES, Candidate, Served, embeddings, register_version
from pipelines.stages.stage import stage
from unlabeled.pairs.config import PairEvaluation, PairPretraining
from unlabeled.records import Version

REQUIREMENTS = (*of_images.REQUIREMENTS, "tokenizers")
INPUTS = Schema([ColSpec(DataType.binary, "image", required=False), ColSpec(DataType.string, "text", required=False)])
CALL = 'pandas.DataFrame({"image": [file.read_bytes()], "text": ["what it may be"]}))  # or one of the two columns'


@dataclass(frozen=True, kw_only=True)
class PairCandidate(Candidate):
    pretraining: PairPretraining
    evaluation: PairEvaluation


def register(candidate: PairCandidate, images: np.ndarray) -> Version:
    signature = ModelSignature(INPUTS, Schema(embeddings(candidate.encoder, "image", "text")))
    files, texts = map(_png, images[:EXAMPLES]), candidate.manifest.text[:EXAMPLES]
    example = pd.DataFrame({"image": [*files], "text": [*texts]})
    kind = Kind("An encoder of images and texts", stored_images(candidate.summary, "captioned images"), CALL)
    return register_version(candidate, Served(model.__file__, signature, example, REQUIREMENTS), kind, images)


def _png(image: np.ndarray) -> bytes:
    """A uint8 image (C, H, W) as a PNG file."""
    pixels, buffer = np.ascontiguousarray(image.transpose(1, 2, 0)), BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(buffer, "PNG")
    return buffer.getvalue()


def create_pipeline() -> Pipeline:
    return stage("registration", register, "version")

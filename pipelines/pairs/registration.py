"""Stage 5 of captioned images: registers a version that takes images, texts or both, and asks the gate."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline
from mlflow.models import ModelSignature
from mlflow.types import Schema
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
CALL = '{"image": [Path("photo.jpg")], "text": ["what it may be"]}'
TAKES = (
    f"It takes a dict or a DataFrame with `image`, `text` or both; or images alone; or strings alone. {of_images.TAKES}"
)


@dataclass(frozen=True, kw_only=True)
class PairCandidate(Candidate):
    pretraining: PairPretraining
    evaluation: PairEvaluation


def register(candidate: PairCandidate, images: np.ndarray) -> Version:
    signature = ModelSignature(None, Schema(embeddings(candidate.encoder, "image", "text")))
    files, texts = map(_png, images[:EXAMPLES]), candidate.manifest.text[:EXAMPLES]
    example = pd.DataFrame({"image": [*files], "text": [*texts]})
    kind = Kind("An encoder of images and texts", stored_images(candidate.summary, "captioned images"), CALL, TAKES)
    return register_version(candidate, Served(model.__file__, signature, example, REQUIREMENTS), kind, images)


def _png(image: np.ndarray) -> bytes:
    """A uint8 image (C, H, W) as a PNG file."""
    pixels, buffer = np.ascontiguousarray(image.transpose(1, 2, 0)), BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(buffer, "PNG")
    return buffer.getvalue()


def create_pipeline() -> Pipeline:
    return stage("registration", register, "version")

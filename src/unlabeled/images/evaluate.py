"""Evaluation of an encoder of images beside raw pixels, PCA and an untrained network."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from unlabeled.config import Evaluation
from unlabeled.evaluation.probe import LinearProbe
from unlabeled.evaluation.protocol import baselines_of, measure_all, pixels_of
from unlabeled.images.encoder import ImageEncoder
from unlabeled.records import Measured

logger = logging.getLogger(__name__)


def evaluate(
    encoder: ImageEncoder,
    images: np.ndarray,
    manifest: pd.DataFrame,
    config: Evaluation,
    memory: Path | None = None,
) -> tuple[Measured, np.ndarray, LinearProbe | None]:
    """Measures an encoder and its baselines.

    Args:
        images: uint8 of shape (N, C, H, W).
        manifest: Its columns `target` and `split` are used.
        memory: Folder of earlier measurements, which are reused: baselines are equal for every encoder of these images.

    Returns:
        Metrics (accuracies are None without labels), the features (N, D) as float32, and the linear probe if there is
        one.
    """
    baselines = baselines_of(encoder, images, lambda: pixels_of(images), manifest, config)
    return measure_all(encoder.embed(images), manifest, config, baselines, memory)

"""Stage 2 of video: caches the spectrogram of every sound."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.freshness import with_checksums
from pipelines.stages.stage import stage
from unlabeled.records import Summary
from unlabeled.storage.freshness import order_of
from unlabeled.video.config import Spectrograms

logger = logging.getLogger(__name__)


def cache(
    sounds: np.ndarray, manifest: pd.DataFrame, summary: Summary, recipe: Spectrograms, folder: Path
) -> dict[str, Any]:
    from unlabeled.video.sound import cache_spectrograms  # imports torch

    spectrograms = cache_spectrograms(sounds, summary["rate"], recipe, folder)
    logger.info("spectrograms: %d bands of %d windows, %.0f MB", *spectrograms.shape[1:], spectrograms.nbytes / 1e6)
    made_of = recipe.spectrograms_of(summary["data_digest"], order_of(manifest))
    return {"spectrograms": spectrograms, "spectrograms_of": with_checksums(made_of, spectrograms=spectrograms)}


def create_pipeline() -> Pipeline:
    outputs = ("spectrograms", "spectrograms_of")
    return stage("augmentation", cache, outputs, folder="spectrograms_folder")

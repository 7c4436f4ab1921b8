"""Stage 2: caches K random crops of every image, shared by all methods."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.stage import stage
from unlabeled.config import Augmentation
from unlabeled.records import Summary
from unlabeled.storage.freshness import order_of

logger = logging.getLogger(__name__)


def cache_views(
    images: np.ndarray, manifest: pd.DataFrame, summary: Summary, recipe: Augmentation, folder: Path
) -> dict[str, Any]:
    from unlabeled.images.crops import cache_views, keys_of  # imports torch

    views = cache_views(images, keys_of(manifest), recipe, folder)
    logger.info("crops: %d of each image, %.0f MB", views.shape[1], views.nbytes / 1e6)
    return {"views": views, "views_of": recipe.crops_of(summary["data_digest"], order_of(manifest))}


def create_pipeline() -> Pipeline:
    return stage("augmentation", cache_views, ("views", "views_of"), folder="augmentation_folder")

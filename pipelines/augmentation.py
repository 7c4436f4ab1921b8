"""Stage 2: K random resized crops of every image, shared by all methods."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline, node

from unlabeled.config import Augmentation
from unlabeled.reuse import order_of

logger = logging.getLogger(__name__)


def cache_views(
    images: np.ndarray, manifest: pd.DataFrame, summary: dict[str, Any], recipe: Augmentation, folder: Path
) -> dict[str, Any]:
    from unlabeled.crops import cache_views  # imports torch

    views = cache_views(images, manifest.sha256.tolist(), recipe, folder)
    logger.info("crops: %d of each image, %.0f MB", views.shape[1], views.nbytes / 1e6)
    return {"views": views, "views_of": recipe.crops_of(summary["data_digest"], order_of(manifest))}


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            node(
                cache_views,
                inputs={
                    "images": "images",
                    "manifest": "manifest",
                    "summary": "summary",
                    "recipe": "params:augmentation",
                    "folder": "augmentation_folder",
                },
                outputs={name: name for name in ("views", "views_of")},
                name="augmentation",
                tags="augmentation",
            )
        ]
    )

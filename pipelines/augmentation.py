"""Stage 2: K random resized crops of every image, shared by all methods."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from kedro.pipeline import Pipeline, node

from unlabeled.config import Augmentation

logger = logging.getLogger(__name__)


def cache_views(images: np.ndarray, summary: dict[str, Any], recipe: Augmentation, folder: Path) -> dict[str, Any]:
    from unlabeled.arrays import open_array
    from unlabeled.views import cache_views  # imports torch

    views = open_array(cache_views(images, recipe, folder / "views.npy"))
    logger.info("crops: %d of each image, %.0f MB", views.shape[1], views.nbytes / 1e6)
    return {"views": views, "views_of": recipe.crops_of(summary["data_digest"])}


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            node(
                cache_views,
                inputs={
                    "images": "images",
                    "summary": "summary",
                    "recipe": "params:augmentation",
                    "folder": "augmentation_folder",
                },
                outputs={"views": "views", "views_of": "views_of"},
                name="augmentation",
                tags="augmentation",
            )
        ]
    )

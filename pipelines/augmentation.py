"""Stage 2: K random resized crops of every image, shared by all methods."""

from pathlib import Path

import numpy as np
from kedro.pipeline import Pipeline, node

from unlabeled.config import Augmentation


def cache_views(images: np.ndarray, recipe: Augmentation, folder: Path) -> np.ndarray:
    from unlabeled.arrays import open_array
    from unlabeled.views import cache_views  # imports torch

    return open_array(cache_views(images, recipe, folder / "views.npy"))


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            node(
                cache_views,
                inputs={"images": "images", "recipe": "params:augmentation", "folder": "augmentation_folder"},
                outputs="views",
                name="augmentation",
                tags="augmentation",
            )
        ]
    )

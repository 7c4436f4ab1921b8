"""Stage 3: trains an encoder without labels. The monitor uses labels; the training never does."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.freshness import check_crops_current
from pipelines.stages.pretraining import CHECKPOINT, track
from pipelines.stages.stage import stage
from unlabeled.config import Augmentation, Ingestion, Pretraining
from unlabeled.records import Summary
from unlabeled.storage.freshness import order_of


def pretrain_with(method: str) -> Callable[..., dict[str, Any]]:
    """The node function that trains a method."""

    def pretrain(
        images: np.ndarray,
        views: np.ndarray,
        manifest: pd.DataFrame,
        summary: Summary,
        views_of: dict[str, Any],
        config: Pretraining,
        recipe: Augmentation,
        folder: Path,
        reporting_folder: Path,
    ) -> dict[str, Any]:
        from unlabeled.images.pretrain import fingerprint, pretrain_encoder  # imports torch

        check_crops_current(views_of, recipe.crops_of(summary["data_digest"], order_of(manifest)))
        data = images, views, manifest, summary
        train = partial(pretrain_encoder, method, *data, config, recipe, resume=folder / CHECKPOINT)
        decides = fingerprint(method, manifest, summary, config, recipe)
        return track(train, method, manifest, summary, config, recipe, decides, folder, reporting_folder)

    return pretrain


def check(method: str, config: Pretraining, recipe: Augmentation, source: Ingestion | None = None) -> None:
    """Raises ConfigError or TrainingError for invalid parameters, before any image is read.

    Args:
        source: The parameters of ingestion; None: the images are already ingested.
    """
    from unlabeled.images.pretrain import check  # imports torch

    check(method, config, recipe.crop_size or (source.known_size if source else None))


def create_pipeline(method: str) -> Pipeline:
    outputs = ("encoder", "history", "examples", "run")
    return stage("pretraining", pretrain_with(method), outputs, folder="model_folder")

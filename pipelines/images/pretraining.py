"""Stage 3: trains an encoder without labels. The monitor uses labels; the training never does."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from kedro.pipeline import Pipeline

from pipelines.registry.starts import resolved
from pipelines.stages.freshness import check_crops_current
from pipelines.stages.pretraining import Training, track
from pipelines.stages.stage import stage
from unlabeled.config import Augmentation
from unlabeled.storage.freshness import order_of


@dataclass(frozen=True, kw_only=True)
class ImageTraining(Training):
    recipe: Augmentation


def pretrain(
    training: ImageTraining, images: np.ndarray, views: np.ndarray, views_of: dict[str, Any]
) -> dict[str, Any]:
    from unlabeled.images.pretrain import digest_of_start, fingerprint, pretrain_encoder  # imports torch

    recipe, manifest, summary = training.recipe, training.manifest, training.summary
    check_crops_current(views_of, recipe.crops_of(summary["data_digest"], order_of(manifest)))
    config = resolved(training.config)
    decides = fingerprint(training.method, manifest, summary, config, recipe)
    return track(training, partial(pretrain_encoder, images=images, views=views), decides, digest_of_start(config))


def create_pipeline(method: str) -> Pipeline:
    outputs = ("encoder", "history", "examples", "run")
    return stage("pretraining", pretrain, outputs, known={"method": method}, folder="model_folder")

"""Stage 3 of video: trains two towers without labels, by the same loop as images."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from kedro.pipeline import Pipeline

from pipelines.stages.freshness import check_cache_current
from pipelines.stages.pretraining import Training, track
from pipelines.stages.stage import stage
from unlabeled.storage.freshness import order_of
from unlabeled.video.config import Spectrograms, VideoPretraining


@dataclass(frozen=True, kw_only=True)
class VideoTraining(Training):
    config: VideoPretraining
    recipe: Spectrograms


def pretrain(
    training: VideoTraining,
    frames: np.ndarray,
    sounds: np.ndarray,
    spectrograms: np.ndarray,
    spectrograms_of: dict[str, Any],
) -> dict[str, Any]:
    from unlabeled.images.pretrain import fingerprint
    from unlabeled.video.pretrain import pretrain_encoder  # imports torch

    recipe, manifest, summary = training.recipe, training.manifest, training.summary
    asked = recipe.spectrograms_of(summary["data_digest"], order_of(manifest))
    check_cache_current("spectrograms", spectrograms_of, asked)
    train = partial(pretrain_encoder, frames=frames, sounds=sounds, spectrograms=spectrograms)
    return track(training, train, fingerprint(training.method, manifest, summary, training.config, recipe))


def create_pipeline(method: str) -> Pipeline:
    outputs = ("encoder", "history", "run")
    return stage("pretraining", pretrain, outputs, known={"method": method}, folder="model_folder")

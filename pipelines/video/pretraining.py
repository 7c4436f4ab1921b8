"""Stage 3 of video: trains two towers without labels, by the same loop as images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.pretraining import CHECKPOINT, track
from pipelines.stages.stage import stage
from unlabeled.errors import ConfigError
from unlabeled.records import Summary
from unlabeled.storage.freshness import difference, order_of
from unlabeled.video.config import Spectrograms, VideoPretraining


@dataclass(frozen=True)
class Clips:
    """Frames, sounds, and the spectrograms of the sounds."""

    frames: np.ndarray
    sounds: np.ndarray
    spectrograms: np.ndarray
    manifest: pd.DataFrame


def pretrain_with(method: str) -> Callable[..., dict[str, Any]]:
    """The node function that trains a method."""

    def pretrain(
        clips: Clips,
        summary: Summary,
        spectrograms_of: dict[str, Any],
        config: VideoPretraining,
        recipe: Spectrograms,
        folder: Path,
        reporting_folder: Path,
    ) -> dict[str, Any]:
        from unlabeled.images.pretrain import fingerprint
        from unlabeled.video.pretrain import pretrain_encoder  # imports torch

        asked = recipe.spectrograms_of(summary["data_digest"], order_of(clips.manifest))
        if difference(asked, spectrograms_of):
            raise ConfigError(
                "the cached spectrograms are of other clips, or of other parameters of augmentation: run the stage "
                "augmentation again"
            )
        data = clips.frames, clips.sounds, clips.spectrograms, clips.manifest, summary
        train = partial(pretrain_encoder, method, *data, config, recipe, resume=folder / CHECKPOINT)
        decides = fingerprint(method, clips.manifest, summary, config, recipe)
        return track(train, method, clips.manifest, summary, config, recipe, decides, folder, reporting_folder)

    return pretrain


def check(method: str, config: VideoPretraining, recipe: Spectrograms) -> None:
    """Raises ConfigError or TrainingError for invalid parameters, before any video is read."""
    from unlabeled.video.pretrain import check  # imports torch

    check(method, config, recipe)


def create_pipeline(method: str) -> Pipeline:
    return stage("pretraining", pretrain_with(method), ("encoder", "history", "run"), folder="model_folder")

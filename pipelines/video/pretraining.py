"""Stage 3 of clips: two towers without labels, by the loop that images have."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.pretraining import CHECKPOINT, GIVEN, tracked
from pipelines.stages.stage import stage
from unlabeled.errors import ConfigError
from unlabeled.storage.freshness import difference, order_of
from unlabeled.video.config import Spectrograms, VideoPretraining


def pretrain_with(method: str) -> Callable[..., dict[str, Any]]:
    """The node function of a method."""

    def pretrain(
        frames: np.ndarray,
        sounds: np.ndarray,
        spectrograms: np.ndarray,
        manifest: pd.DataFrame,
        summary: dict[str, Any],
        spectrograms_of: dict[str, Any],
        config: VideoPretraining,
        recipe: Spectrograms,
        folder: Path,
    ) -> dict[str, Any]:
        from unlabeled.images.pretrain import fingerprint
        from unlabeled.video.pretrain import pretrain_encoder  # imports torch

        if difference(recipe.spectrograms_of(summary["data_digest"], order_of(manifest)), spectrograms_of):
            raise ConfigError(
                "the cached spectrograms are of other clips, or of other parameters of augmentation: run the stage "
                "augmentation again"
            )
        data = frames, sounds, spectrograms, manifest, summary
        train = partial(pretrain_encoder, method, *data, config, recipe, resume=folder / CHECKPOINT)
        decides = fingerprint(method, manifest, summary, config, recipe)
        return tracked(train, method, manifest, summary, config, recipe, decides)

    return pretrain


def check(method: str, config: VideoPretraining, recipe: Spectrograms) -> None:
    """Raises ConfigError or TrainingError for what is known to be wrong before there are clips."""
    from unlabeled.video.pretrain import check  # imports torch

    check(method, config, recipe)


def create_pipeline(method: str) -> Pipeline:
    inputs = ("frames", "sounds", "spectrograms", "manifest", "summary", "spectrograms_of")
    return stage("pretraining", pretrain_with(method), inputs, ("encoder", "run", "history"), **GIVEN)

"""Stage 3 of text: trains an encoder without labels, by the same loop as images."""

import json
from collections.abc import Callable
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
from unlabeled.storage.freshness import difference
from unlabeled.text.config import Packing, TextPretraining


def pretrain_with(method: str) -> Callable[..., dict[str, Any]]:
    """The node function that trains a method."""

    def pretrain(
        sequences: np.ndarray,
        manifest: pd.DataFrame,
        tokenizer: dict[str, Any],
        summary: Summary,
        sequences_of: dict[str, Any],
        config: TextPretraining,
        recipe: Packing,
        folder: Path,
        reporting_folder: Path,
    ) -> dict[str, Any]:
        from tokenizers import Tokenizer

        from unlabeled.text.pretrain import fingerprint, pretrain_encoder  # imports torch

        if difference(recipe.sequences_of(summary["data_digest"]), sequences_of):
            raise ConfigError(
                "the packed sequences are of other documents, or of another augmentation.sequence_length than "
                f"{recipe.sequence_length}: run the stage augmentation again"
            )
        data = sequences, manifest, Tokenizer.from_str(json.dumps(tokenizer)), summary
        train = partial(pretrain_encoder, method, *data, config, recipe, resume=folder / CHECKPOINT)
        decides = fingerprint(method, summary, config, recipe)
        return track(train, method, manifest, summary, config, recipe, decides, folder, reporting_folder)

    return pretrain


def check(method: str, config: TextPretraining, recipe: Packing) -> None:
    """Raises ConfigError or TrainingError for invalid parameters, before any document is read."""
    from unlabeled.text.pretrain import check  # imports torch

    check(method, config, recipe)


def create_pipeline(method: str) -> Pipeline:
    return stage("pretraining", pretrain_with(method), ("encoder", "history", "run"), folder="model_folder")

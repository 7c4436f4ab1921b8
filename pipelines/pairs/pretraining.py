"""Stage 3 of captioned images: trains two towers without labels, by the same loop as images."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.freshness import check_crops_current
from pipelines.stages.pretraining import CHECKPOINT, track
from pipelines.stages.stage import stage
from unlabeled.errors import ConfigError
from unlabeled.pairs.config import PairAugmentation, PairPretraining
from unlabeled.records import Summary
from unlabeled.storage.freshness import difference, order_of


@dataclass(frozen=True)
class Pairs:
    """Images, their cached crops, and their captions as tokens."""

    images: np.ndarray
    views: np.ndarray
    caption_tokens: np.ndarray
    caption_starts: np.ndarray
    manifest: pd.DataFrame
    tokenizer: dict[str, Any]


def pretrain_with(method: str) -> Callable[..., dict[str, Any]]:
    """The node function that trains a method."""

    def pretrain(
        pairs: Pairs,
        summary: Summary,
        views_of: dict[str, Any],
        config: PairPretraining,
        recipe: PairAugmentation,
        folder: Path,
        reporting_folder: Path,
    ) -> dict[str, Any]:
        from tokenizers import Tokenizer

        from unlabeled.images.pretrain import fingerprint
        from unlabeled.pairs.captions import Captions
        from unlabeled.pairs.pretrain import pretrain_encoder  # imports torch

        made_of = summary["data_digest"], order_of(pairs.manifest)
        if difference(recipe.captions_of(*made_of), views_of):
            raise ConfigError(
                "the cached captions are of other data, or cut to another augmentation.caption_length than "
                f"{recipe.caption_length}: run the stage augmentation again"
            )
        check_crops_current(views_of, recipe.crops_of(*made_of))
        captions = Captions(pairs.caption_tokens, pairs.caption_starts)
        words = Tokenizer.from_str(json.dumps(pairs.tokenizer))
        data = pairs.images, pairs.views, captions, pairs.manifest, words, summary
        train = partial(pretrain_encoder, method, *data, config, recipe, resume=folder / CHECKPOINT)
        decides = fingerprint(method, pairs.manifest, summary, config, recipe)
        return track(train, method, pairs.manifest, summary, config, recipe, decides, folder, reporting_folder)

    return pretrain


def check(method: str, config: PairPretraining, recipe: PairAugmentation) -> None:
    """Raises ConfigError or TrainingError for invalid parameters, before any pair is read."""
    from unlabeled.pairs.pretrain import check  # imports torch

    check(method, config, recipe)


def create_pipeline(method: str) -> Pipeline:
    return stage("pretraining", pretrain_with(method), ("encoder", "history", "run"), folder="model_folder")

"""Stage 3 of captioned images: two towers without labels, by the loop that images have."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.freshness import stop_if_stale
from pipelines.stages.pretraining import CHECKPOINT, GIVEN, tracked
from pipelines.stages.stage import stage
from unlabeled.errors import ConfigError
from unlabeled.pairs.config import PairAugmentation, PairPretraining
from unlabeled.storage.freshness import difference, order_of


def pretrain_with(method: str) -> Callable[..., dict[str, Any]]:
    """The node function of a method."""

    def pretrain(
        images: np.ndarray,
        views: np.ndarray,
        caption_tokens: np.ndarray,
        caption_starts: np.ndarray,
        manifest: pd.DataFrame,
        tokenizer: dict[str, Any],
        summary: dict[str, Any],
        views_of: dict[str, Any],
        config: PairPretraining,
        recipe: PairAugmentation,
        folder: Path,
    ) -> dict[str, Any]:
        from tokenizers import Tokenizer

        from unlabeled.images.pretrain import fingerprint
        from unlabeled.pairs.captions import Captions
        from unlabeled.pairs.pretrain import pretrain_encoder  # imports torch

        made_of = summary["data_digest"], order_of(manifest)
        if difference(recipe.captions_of(*made_of), views_of):
            raise ConfigError(
                "the cached captions are of other data, or cut to another augmentation.caption_length than "
                f"{recipe.caption_length}: run the stage augmentation again"
            )
        stop_if_stale(views_of, recipe.crops_of(*made_of))
        captions, words = Captions(caption_tokens, caption_starts), Tokenizer.from_str(json.dumps(tokenizer))
        data = images, views, captions, manifest, words, summary
        train = partial(pretrain_encoder, method, *data, config, recipe, resume=folder / CHECKPOINT)
        decides = fingerprint(method, manifest, summary, config, recipe)
        return tracked(train, method, manifest, summary, config, recipe, decides)

    return pretrain


def check(method: str, config: PairPretraining, recipe: PairAugmentation) -> None:
    """Raises ConfigError or TrainingError for what is known to be wrong before there are pairs."""
    from unlabeled.pairs.pretrain import check  # imports torch

    check(method, config, recipe)


def create_pipeline(method: str) -> Pipeline:
    inputs = ("images", "views", "caption_tokens", "caption_starts", "manifest", "tokenizer", "summary", "views_of")
    return stage("pretraining", pretrain_with(method), inputs, ("encoder", "run", "history"), **GIVEN)

"""Stage 3 of captioned images: trains two towers without labels, by the same loop as images."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from kedro.pipeline import Pipeline

from pipelines.stages.freshness import check_cache_current, check_crops_current
from pipelines.stages.pretraining import Training, track
from pipelines.stages.stage import stage
from unlabeled.pairs.config import PairAugmentation, PairPretraining
from unlabeled.storage.freshness import order_of


@dataclass(frozen=True, kw_only=True)
class PairTraining(Training):
    config: PairPretraining
    recipe: PairAugmentation


def pretrain(
    training: PairTraining,
    images: np.ndarray,
    views: np.ndarray,
    caption_tokens: np.ndarray,
    caption_starts: np.ndarray,
    tokenizer: dict[str, Any],
    views_of: dict[str, Any],
) -> dict[str, Any]:
    from tokenizers import Tokenizer

    from unlabeled.images.pretrain import fingerprint
    from unlabeled.pairs.captions import Captions
    from unlabeled.pairs.pretrain import pretrain_encoder  # imports torch

    recipe, manifest, summary = training.recipe, training.manifest, training.summary
    made_of = summary["data_digest"], order_of(manifest)
    check_cache_current("captions", views_of, recipe.captions_of(*made_of))
    check_crops_current(views_of, recipe.crops_of(*made_of))
    captions, tokens = Captions(caption_tokens, caption_starts), Tokenizer.from_str(json.dumps(tokenizer))
    train = partial(pretrain_encoder, images=images, views=views, captions=captions, tokenizer=tokens)
    return track(training, train, fingerprint(training.method, manifest, summary, training.config, recipe))


def create_pipeline(method: str) -> Pipeline:
    outputs = ("encoder", "history", "run")
    return stage("pretraining", pretrain, outputs, known={"method": method}, folder="model_folder")

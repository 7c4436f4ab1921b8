"""Stage 3 of text: trains an encoder without labels, by the same loop as images."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from kedro.pipeline import Pipeline

from pipelines.stages.freshness import check_cache_current
from pipelines.stages.pretraining import Training, track
from pipelines.stages.stage import stage
from unlabeled.text.config import Packing, TextPretraining


@dataclass(frozen=True, kw_only=True)
class TextTraining(Training):
    config: TextPretraining
    recipe: Packing


def pretrain(
    training: TextTraining, sequences: np.ndarray, tokenizer: dict[str, Any], sequences_of: dict[str, Any]
) -> dict[str, Any]:
    from tokenizers import Tokenizer

    from unlabeled.text.pretrain import fingerprint, pretrain_encoder  # imports torch

    summary, recipe = training.summary, training.recipe
    check_cache_current("sequences", sequences_of, recipe.sequences_of(summary["data_digest"]))
    decides = fingerprint(training.method, summary, training.config, recipe)
    tokens = Tokenizer.from_str(json.dumps(tokenizer))
    return track(training, partial(pretrain_encoder, sequences=sequences, tokenizer=tokens), decides)


def create_pipeline(method: str) -> Pipeline:
    outputs = ("encoder", "history", "run")
    return stage("pretraining", pretrain, outputs, known={"method": method}, folder="model_folder")

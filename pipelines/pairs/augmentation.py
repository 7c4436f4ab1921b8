"""Stage 2 of captioned images: caches K crops of every image, and every caption as tokens."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.images.augmentation import cache_views
from pipelines.stages.freshness import with_checksums
from pipelines.stages.stage import stage
from unlabeled.pairs.config import PairAugmentation
from unlabeled.records import Summary

logger = logging.getLogger(__name__)


def cache(
    images: np.ndarray,
    manifest: pd.DataFrame,
    summary: Summary,
    tokenizer: dict[str, Any],
    recipe: PairAugmentation,
    folder: Path,
) -> dict[str, Any]:
    from tokenizers import Tokenizer

    from unlabeled.pairs.captions import cutting, pack_captions

    cut = cutting(Tokenizer.from_str(json.dumps(tokenizer)), recipe.caption_length)
    captions = pack_captions(manifest.text.tolist(), cut)
    logger.info("captions: %s tokens, none of them padding", f"{len(captions.tokens):,}")
    cached = cache_views(images, manifest, summary, recipe, folder)
    arrays = {"caption_tokens": captions.tokens, "caption_starts": captions.starts}
    return {**cached, **arrays, "views_of": with_checksums(cached["views_of"], **arrays)}


def create_pipeline() -> Pipeline:
    outputs = ("views", "caption_tokens", "caption_starts", "views_of")  # the record with the checksums is written last
    return stage("augmentation", cache, outputs, folder="augmentation_folder")

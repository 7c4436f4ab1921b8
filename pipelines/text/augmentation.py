"""Stage 2 of text: packs the training documents into sequences of tokens."""

import json
import logging
from typing import Any

import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.freshness import with_checksums
from pipelines.stages.stage import stage
from unlabeled.records import Summary
from unlabeled.text.config import Packing

logger = logging.getLogger(__name__)


def pack_sequences(
    manifest: pd.DataFrame, tokenizer: dict[str, Any], summary: Summary, recipe: Packing
) -> dict[str, Any]:
    from tokenizers import Tokenizer

    from unlabeled.text.ingest import texts_of
    from unlabeled.text.packing import pack, padding_of  # imports torch

    rows = pack(texts_of(manifest, "train"), Tokenizer.from_str(json.dumps(tokenizer)), recipe.sequence_length)
    padding = padding_of(rows)
    logger.info("sequences: %d of %d tokens, %.2f%% of them padding", *rows.shape, 100 * padding)
    made_of = {**recipe.sequences_of(summary["data_digest"]), "tokens": rows.size, "padding": padding}
    return {"sequences": rows, "sequences_of": with_checksums(made_of, sequences=rows)}


def create_pipeline() -> Pipeline:
    outputs = ("sequences", "sequences_of")
    return stage("augmentation", pack_sequences, outputs)

"""Stage 1 of text: splits documents into passages in a manifest, and trains a tokenizer."""

import json
from typing import Any

from kedro.pipeline import Pipeline

from pipelines.stages.stage import stage
from unlabeled.text.config import TextIngestion


def ingest(config: TextIngestion) -> dict[str, Any]:
    from unlabeled.text.ingest import ingest  # imports tokenizers

    made = ingest(config)._asdict()
    return made | {"tokenizer": json.loads(made["tokenizer"])}


def create_pipeline() -> Pipeline:
    outputs = ("manifest", "quarantine", "summary", "tokenizer")
    return stage("ingestion", ingest, outputs)

"""Stage 1 of captioned images: makes one uint8 array, a manifest with the captions, and a tokenizer."""

import json
from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline

from pipelines.stages.stage import stage
from unlabeled.pairs.config import PairsIngestion


def ingest(config: PairsIngestion, folder: Path) -> dict[str, Any]:
    from unlabeled.pairs.ingest import ingest  # imports tokenizers

    made = ingest(config, folder)._asdict()
    return made | {"tokenizer": json.loads(made["tokenizer"])}


def create_pipeline() -> Pipeline:
    outputs = ("images", "manifest", "quarantine", "summary", "tokenizer")
    return stage("ingestion", ingest, outputs, folder="ingestion_folder")

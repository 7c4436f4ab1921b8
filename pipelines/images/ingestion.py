"""Stage 1: reads any source into one uint8 array and a manifest."""

from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline

from pipelines.stages.stage import stage
from unlabeled.config import Ingestion


def ingest(config: Ingestion, folder: Path) -> dict[str, Any]:
    from unlabeled.images.ingest import ingest  # numpy, pandas and Pillow: not needed to list pipelines

    return vars(ingest(config, folder))


def create_pipeline() -> Pipeline:
    outputs = ("images", "manifest", "quarantine", "summary")
    return stage("ingestion", ingest, outputs, folder="ingestion_folder")

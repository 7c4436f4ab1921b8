"""Stage 1 of clips: an array of frames, one of sounds, and a manifest."""

from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline, node

from unlabeled.video.config import VideoIngestion


def ingest(config: VideoIngestion, folder: Path) -> dict[str, Any]:
    from unlabeled.video.ingest import ingest  # imports PyAV

    return vars(ingest(config, folder))


def create_pipeline() -> Pipeline:
    outputs = ("frames", "sounds", "manifest", "quarantine", "summary")
    return Pipeline(
        [
            node(
                ingest,
                inputs={"config": "params:ingestion", "folder": "ingestion_folder"},
                outputs={name: name for name in outputs},
                name="ingestion",
                tags="ingestion",
            )
        ]
    )

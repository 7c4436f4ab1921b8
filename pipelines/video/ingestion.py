"""Stage 1 of video: makes an array of frames, an array of sounds, and a manifest."""

from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline

from pipelines.stages.freshness import with_checksums
from pipelines.stages.stage import stage
from unlabeled.video.config import VideoIngestion


def ingest(config: VideoIngestion, folder: Path) -> dict[str, Any]:
    from unlabeled.video.ingest import ingest  # imports PyAV

    made = vars(ingest(config, folder))
    return made | {"summary": with_checksums(made["summary"], sounds=made["sounds"])}


def create_pipeline() -> Pipeline:
    outputs = ("frames", "sounds", "manifest", "quarantine", "summary")
    return stage("ingestion", ingest, outputs, folder="ingestion_folder")

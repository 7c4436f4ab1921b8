"""Exports a registered version as ONNX, safetensors and a script, for use without this project."""

import logging
import os
from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline

from pipelines.commands.fetch import fetch
from pipelines.registry.versions import data_set_of, model_name
from pipelines.stages.stage import stage
from unlabeled.config import EarlierIngestion, Exporting, Registration

logger = logging.getLogger(__name__)


def export(
    config: Exporting, registration: Registration, ingestion: EarlierIngestion, ingestion_folder: Path, folder: Path
) -> dict[str, Any]:
    from unlabeled.downstream.export import TOLERANCE, export_model, images_to_check  # imports torch

    name = config.model_name or model_name(registration, data_set_of(ingestion, ingestion_folder))
    model = fetch(name, config.version)
    given = Path(config.image) if config.image else None
    images = images_to_check(model.encoder, ingestion_folder / "images.npy", given)
    difference = export_model(model, images, folder / "export")
    logger.info(
        "%s version %s exported to %s: at most %.1e from torch on %d images",
        name,
        model.version,
        os.path.relpath(folder / "export"),
        difference,
        len(images),
    )
    about = {"model": name, "version": model.version, "images": len(images)}
    return {**about, "largest_difference": difference, "tolerance": TOLERANCE}


def create_pipeline() -> Pipeline:
    return stage("export", export, "exported", folder="output_folder")

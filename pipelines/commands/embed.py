"""Embeds any folder of images by a registered version."""

import logging
import os
from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline

from pipelines.commands.fetch import fetch
from pipelines.registry.versions import data_set_of, model_name
from pipelines.stages.stage import stage
from unlabeled.config import EarlierIngestion, Embedding, Registration
from unlabeled.errors import ConfigError
from unlabeled.runtime.counts import counted

logger = logging.getLogger(__name__)

FILE = "embeddings.parquet"


def embed(
    config: Embedding, registration: Registration, ingestion: EarlierIngestion, ingestion_folder: Path, folder: Path
) -> dict[str, Any]:
    from unlabeled.downstream.embed import embed_folder  # imports torch
    from unlabeled.training.devices import choose_device

    if not config.path:
        raise ConfigError(
            f"embed.path: received {config.path!r}, expected a folder of images: --params=embed.path=/folder"
        )
    name = config.model_name or model_name(registration, data_set_of(ingestion, ingestion_folder))
    model = fetch(name, config.version)
    model.encoder.network.to(choose_device(config.device, "embed.device"))
    images, rejected = embed_folder(model, Path(config.path), folder / FILE, config.chunk, ingestion.max_pixels)
    where = os.path.relpath(folder / FILE)
    logger.info("%s embedded by %s version %s: %s", counted(images, "images"), name, model.version, where)
    if rejected:
        logger.warning("%s without an embedding: the column `reason` says why", counted(rejected, "files"))
    about = {"model": name, "version": model.version, "folder": config.path}
    return {**about, "images": images, "rejected": rejected}


def create_pipeline() -> Pipeline:
    return stage("embed", embed, "embedded", folder="output_folder")

"""Searches an embedded folder for the images that are most similar to a given image."""

import logging
import os
from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline

from pipelines.commands.embed import FILE
from pipelines.commands.fetch import fetch
from pipelines.stages.stage import stage
from unlabeled.config import EarlierIngestion, Search
from unlabeled.errors import ConfigError, UnlabeledError

logger = logging.getLogger(__name__)


def search(config: Search, ingestion: EarlierIngestion, folder: Path, reporting_folder: Path) -> dict[str, Any]:
    from unlabeled.downstream.search import embed_file, nearest_files, origin, similar_page
    from unlabeled.encoders import weights_digest  # imports torch
    from unlabeled.images.decode import pixel_limit

    if not config.image:
        raise ConfigError(
            f"search.image: received {config.image!r}, expected an image file: --params=search.image=/photo.jpg"
        )
    source, image = origin(folder / FILE), Path(config.image)
    encoder = fetch(source.model, source.version).encoder
    if weights_digest(encoder) != source.weights:
        raise UnlabeledError(
            f"{folder / FILE} was made by another {source.model} version {source.version} than the registry has: run "
            f"kedro run --pipeline=embed again"
        )
    with pixel_limit(ingestion.max_pixels):
        found = nearest_files(folder / FILE, embed_file(encoder, image), config.top, _place(image, source.folder))
        page = similar_page(image, found, source, encoder.pixel_format)
    for path, similarity in found.to_numpy():
        logger.info("%.3f %s", similarity, path)
    logger.info("their page: %s", os.path.relpath(reporting_folder / "similar.html"))
    return {"similar": found, "similar_page": page}


def _place(image: Path, folder: str) -> str | None:
    """The image's path relative to the embedded folder; None where it lies elsewhere."""
    inside = image.resolve().is_relative_to(folder)
    return image.resolve().relative_to(folder).as_posix() if inside else None


def create_pipeline() -> Pipeline:
    return stage("search", search, ("similar", "similar_page"), folder="output_folder")

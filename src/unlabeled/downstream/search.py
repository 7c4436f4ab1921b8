"""Search for similar images: the nearest by cosine similarity in a file of embeddings, and a page that shows them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from unlabeled.errors import DataError
from unlabeled.images.decode import UndecodableError
from unlabeled.images.encoder import ImageEncoder
from unlabeled.images.pixels import PixelFormat, read_alone, read_content, read_pixels
from unlabeled.reports.page import LARGE_SIDE, Section, Tile, Tiles, picture, render

ROWS_IN_MEMORY = 4096
"""Rows of the file of embeddings in memory at a time."""
SHOWN = {
    "crop": "The middle square of an image is shown",
    "pad": "An image is shown whole, on a border",
    "squash": "An image is shown stretched to a square",
}
"""What a page shows of an image, by `PixelFormat.resize`."""


@dataclass(frozen=True)
class Origin:
    """Metadata of a file of embeddings: its number of rows, its folder, and the version and weights of the encoder."""

    rows: int
    model: str
    version: str
    weights: str
    folder: str


def origin(embeddings: Path) -> Origin:
    """Reads the origin from the file's header. Raises DataError where the file is missing or was not written by
    `embed_folder`."""
    if not embeddings.exists():
        raise DataError(f"{embeddings} is missing: run kedro run --pipeline=embed --params=embed.path=/folder first")
    try:
        header = pq.read_metadata(embeddings)
        said = {name: header.metadata[name.encode()].decode() for name in ("model", "version", "weights", "folder")}
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        raise DataError(f"{embeddings} is no file of embeddings ({error!r}): run kedro run --pipeline=embed") from error
    return Origin(header.num_rows, **said)


def embed_file(encoder: ImageEncoder, image: Path) -> np.ndarray:
    """The embedding of one image file, float32 (D,). Raises DataError where the file is missing or not an image."""
    try:
        pixels = read_alone(image, encoder.pixel_format)
    except (UndecodableError, OSError) as error:
        raise DataError(f"search.image: {image} cannot be used ({error})") from error
    return encoder.embed(pixels[None])[0]


def nearest_files(embeddings: Path, query: np.ndarray, top: int, but: str | None = None) -> pd.DataFrame:
    """The paths with the highest cosine similarity to a query, at most `top`, in descending order.

    Args:
        query: float32 (D,).
        but: A path to leave out.

    Returns:
        A table with one row for each file: `path` and `similarity`.

    Raises:
        DataError: No row has an embedding.
    """
    best = pd.DataFrame({"path": [], "similarity": []})
    for paths, features in _batches(embeddings):
        # A vector of zeros has a similarity of 0.
        similarity = features @ query / np.maximum(np.linalg.norm(features, axis=1) * np.linalg.norm(query), 1e-12)
        found = pd.DataFrame({"path": paths, "similarity": similarity})
        found = found[found.path != but]
        best = pd.concat([best, found]) if len(best) else found
        best = best.sort_values("similarity", ascending=False, kind="stable", ignore_index=True).head(top)
    if best.empty:
        raise DataError(f"{embeddings} has no image to compare with: run kedro run --pipeline=embed on another folder")
    return best


def _batches(embeddings: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Paths (n,) and features (n, D) of the rows that have an embedding."""
    with pq.ParquetFile(embeddings) as file:
        for batch in file.iter_batches(ROWS_IN_MEMORY, columns=["path", "embedding"]):
            rows = batch.filter(batch["embedding"].is_valid())
            if len(rows):
                features = rows["embedding"].flatten().to_numpy().reshape(len(rows), -1)
                yield rows["path"].to_numpy(zero_copy_only=False), features


def similar_page(image: Path, found: pd.DataFrame, source: Origin, pixel_format: PixelFormat) -> str:
    """The query and the images found as an HTML page, with pictures of the files that still exist.

    Args:
        pixel_format: The format that the encoder sees; pictures are larger, and have colours.
    """
    nearest = found.iloc[0]
    sentence = f"Most like {image.name} is {nearest.path}, with a cosine similarity of {nearest.similarity:.3f}."
    neighbours = [
        _tile(Path(source.folder, path), path, f"{similarity:.3f}  {path}", pixel_format)
        for path, similarity in found.to_numpy()
    ]
    facts = [("files", f"{source.rows:,}"), ("model", source.model), ("version", source.version)]
    caption = (
        f"Nearest first, with their cosine similarity; of {source.folder}. {SHOWN[pixel_format.resize]}, which is what "
        f"the encoder sees."
    )
    query = Tiles([("", [_tile(image, image.name, image.name, pixel_format)])], large=True)
    sections = [
        Section("The image", [query], layout="wide"),
        Section("Like it", [Tiles([("", neighbours)], caption, large=True)], layout="wide"),
    ]
    return render(f"Images like {image.name}", sentence, facts, sections)


def _tile(file: Path, alt: str, caption: str, pixel_format: PixelFormat) -> Tile:
    try:
        content = read_content(file)
        found = read_pixels(content, pixel_format._replace(size=LARGE_SIDE, channels=3))
        side = min(LARGE_SIDE, found.width, found.height)  # a tiny image as it is, not a smooth enlargement
        pixels = read_pixels(content, pixel_format._replace(size=side, channels=3)).pixels
    except (UndecodableError, OSError):
        pixels, caption = np.full((3, 1, 1), 128, np.uint8), f"{caption} (cannot be read any more)"
    return Tile(picture(pixels, LARGE_SIDE), alt, caption)

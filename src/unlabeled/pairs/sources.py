"""Sources of captioned images: a stream of images as for images alone, and each image's caption by its path."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unlabeled.config import NO_LABELS, column_of
from unlabeled.errors import DataError
from unlabeled.images.sources import described_items, digits, without_labels
from unlabeled.ingestion.columns import find_groups, find_labels, find_text, is_none
from unlabeled.ingestion.items import Item, Source
from unlabeled.ingestion.metadata import read_metadata
from unlabeled.ingestion.parquet import ParquetFiles, find_parquet, holds_images, open_parquet, read_parquet
from unlabeled.ingestion.tables import ENDINGS
from unlabeled.ingestion.walk import CAPTIONS, IMAGES, METADATA, Found, find_files, printable
from unlabeled.pairs.config import PairsIngestion

CAPTION = "ingestion.caption"
"""The parameter that names the column of captions."""
DESCRIBED = replace(IMAGES, metadata=(*METADATA, *CAPTIONS))
"""Images, with files that describe them."""
MAX_CAPTION_CHARACTERS = 100_000
"""Largest number of characters of a caption."""
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Pairs(NamedTuple):
    """Images, and their captions by path; images without a caption are quarantined."""

    images: Source
    captions: Mapping[str, str]


def open_pairs(config: PairsIngestion) -> Pairs:
    """Opens the source that `ingestion.source` names. Raises DataError where it is missing, empty or unreadable."""
    if config.source == "captioned_digits":
        pairs = captioned_digits()
        return pairs._replace(images=without_labels(pairs.images)) if is_none(config.label) else pairs
    path = Path(str(config.path)).expanduser()
    if not path.exists():
        raise DataError(f"ingestion.path: {path} does not exist")
    files = find_parquet(path)
    images, captions = _parquet(files, config) if holds_images(files) else _folder(path, config)
    return Pairs(replace(images, items=_captioned(images.items, captions, config.together)), captions)


def captioned_digits() -> Pairs:
    """scikit-learn's digits, with captions of the digit, the weight of its strokes, and its slant."""
    source = digits()
    items = list(source.items)
    pixels = np.stack([np.asarray(item.content) for item in items]).astype(float)
    weights = _thirds(pixels.mean((1, 2)), ("thin ", "", "bold "))
    slants = _thirds(_slants(pixels), (" leaning left", "", " leaning right"))
    captions = {
        item.path: f"a {weight}{DIGIT_WORDS[int(str(item.label))]}{slant}"
        for item, weight, slant in zip(items, weights, slants, strict=True)
    }
    named = (replace(item, label=DIGIT_WORDS[int(str(item.label))]) for item in items)
    return Pairs(replace(source, items=named), captions)


def _slants(images: np.ndarray) -> np.ndarray:
    """Slant of images (N, H, W): how many pixels ink moves to the right for each row upwards."""
    height, width = images.shape[1:]
    mass = images.sum((1, 2))
    up, right = height - 1.0 - np.arange(height), np.arange(float(width))
    mean_up = np.einsum("nhw,h->n", images, up) / mass
    mean_right = np.einsum("nhw,w->n", images, right) / mass
    both = np.einsum("nhw,h,w->n", images, up, right) / mass - mean_up * mean_right
    return both / (np.einsum("nhw,h->n", images, up**2) / mass - mean_up**2)


def _thirds(values: np.ndarray, names: tuple[str, str, str]) -> list[str]:
    """The name of the third of all values that each value is in."""
    return [names[third] for third in np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values)]


def _captioned(items: Iterator[Item], captions: Mapping[str, str], together: str | None) -> Iterator[Item]:
    """Items with the group of their caption; those without a caption get that as their reason."""
    for item in items:
        caption = captions.get(item.path)
        if caption is None:
            yield replace(item, reason="no row of a table names it")
        elif not caption.strip():
            yield replace(item, reason="its caption is empty")
        elif len(caption) > MAX_CAPTION_CHARACTERS:
            yield replace(
                item, reason=f"its caption has {len(caption):,} characters, expected {MAX_CAPTION_CHARACTERS:,} at most"
            )
        else:
            yield replace(item, group=re.sub(together, "", caption).strip() if together else item.group)


def _folder(path: Path, config: PairsIngestion) -> tuple[Source, dict[str, str]]:
    """The images of a folder, and their captions in a table there; or a table, and the images that it names."""
    root, found = _find_images(path)
    finder = partial(find_text, wanted=config.caption, key=CAPTION)
    metadata = read_metadata(root, found, config.label, finder, column_of(config.group))
    source = described_items(root, found, metadata, IMAGES.name, label=config.label)
    return source, {printable(name): row.text or "" for name, row in metadata.rows.items()}


def _find_images(path: Path) -> tuple[Path, Found]:
    """The folder of a path, and its images with the tables that describe them: those with a usual name, or a single
    table of any name."""
    if path.is_file():
        return path.parent, _beside(path.parent, path.name)
    found = find_files(path, "ingestion.path", DESCRIBED)
    if found.metadata:
        return path, found
    tables = [name for name in found.others if name.lower().endswith(tuple(f".{ending}" for ending in ENDINGS))]
    if len(tables) == 1:
        return path, _beside(path, tables[0])
    several = f"; of {', '.join(tables)}, name one as ingestion.path" if tables else ""
    raise DataError(
        f"ingestion.path: {path} has no {METADATA[0]}, expected one with the columns file_name,text{several}"
    )


def _beside(root: Path, table: str) -> Found:
    return find_files(root, "ingestion.path", replace(IMAGES, metadata=(posixpath.basename(table).lower(),)))


def _parquet(files: ParquetFiles, config: PairsIngestion) -> tuple[Source, dict[str, str]]:
    """The images of Parquet files, and the captions in the same rows."""
    tables = [part.table for part in open_parquet(files, config.image)]
    captions = {}
    groups = find_groups(tables, column_of(config.group))
    column = find_text(tables, [groups] if groups else [], wanted=config.caption, key=CAPTION)
    for table in tables:
        for place, row in table.read([column]):
            if not isinstance(row[column] or "", str):
                kind = table.types[column]
                raise DataError(f"{place}: received a column {column} of type {kind}, expected one string an image")
            captions[place] = row[column] or ""
    question = find_labels(tables, config.label, groups, column).question
    source = read_parquet(files, NO_LABELS if question else config.label, config.image, config.group)
    said = source.understood
    warnings = said.warnings + ([question] if question else [])
    return replace(source, understood=replace(said, warnings=warnings)), captions

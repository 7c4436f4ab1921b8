"""Where captioned images come from: a stream of images as for images alone, and the caption of each by its path."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unlabeled.errors import DataError
from unlabeled.items import Item, Source
from unlabeled.metadata import read_metadata
from unlabeled.pairs.config import PairsIngestion
from unlabeled.parquet import holds_parquet, parquet_files, read_parquet, readable
from unlabeled.sources import digits, image_folder

CAPTION = "text"
"""The column that holds it."""
METADATA = "metadata.csv"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Pairs(NamedTuple):
    """Images, and their captions by path; one that has none is for the quarantine."""

    images: Source
    captions: Mapping[str, str]


def open_pairs(config: PairsIngestion) -> Pairs:
    """The source that `ingestion.source` names. Raises DataError where it is missing, empty or unreadable."""
    if config.source == "captioned_digits":
        return captioned_digits()
    path = Path(str(config.path)).expanduser()
    if not path.exists():
        raise DataError(f"ingestion.path: {path} does not exist")
    if holds_parquet(path):
        captions = _in_parquet(path, config.label)
        images = read_parquet(path, [config.label] if config.label else [])
    else:
        captions = _in_metadata(path, config.label)
        images = image_folder(path, config.label)
    return Pairs(replace(images, items=_captioned(images.items, captions, config.together)), captions)


def captioned_digits() -> Pairs:
    """scikit-learn's digits, described by what is seen: the digit, the weight of its strokes, and where it leans."""
    source = digits()
    items = list(source.items)
    pixels = np.stack([item.content for item in items]).astype(float)
    weights = _thirds(pixels.mean((1, 2)), ("thin ", "", "bold "))
    slants = _thirds(_slants(pixels), (" leaning left", "", " leaning right"))
    captions = {
        item.path: f"a {weight}{WORDS[int(str(item.label))]}{slant}"
        for item, weight, slant in zip(items, weights, slants, strict=True)
    }
    named = (replace(item, label=WORDS[int(str(item.label))]) for item in items)
    return Pairs(replace(source, items=named), captions)


def _slants(images: np.ndarray) -> np.ndarray:
    """How far ink (N, H, W) moves to the right, in pixels, for each row that it goes up."""
    height, width = images.shape[1:]
    mass = images.sum((1, 2))
    up, right = height - 1.0 - np.arange(height), np.arange(float(width))
    mean_up = np.einsum("nhw,h->n", images, up) / mass
    mean_right = np.einsum("nhw,w->n", images, right) / mass
    both = np.einsum("nhw,h,w->n", images, up, right) / mass - mean_up * mean_right
    return both / (np.einsum("nhw,h->n", images, up**2) / mass - mean_up**2)


def _thirds(values: np.ndarray, names: tuple[str, str, str]) -> list[str]:
    """The name of the third that each value is in."""
    return [names[third] for third in np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values)]


def _captioned(items: Iterator[Item], captions: Mapping[str, str], together: str | None) -> Iterator[Item]:
    """The same items, those without a caption with that as the reason, and each in the group of its caption."""
    for item in items:
        caption = captions.get(item.path)
        if caption is None:
            yield replace(item, reason="no row in metadata.csv names it")
        elif not caption.strip():
            yield replace(item, reason="its caption is empty")
        else:
            yield replace(item, group=re.sub(together, "", caption).strip() if together else None)


def _in_metadata(root: Path, label: str | None) -> dict[str, str]:
    file = root / METADATA
    if not file.is_file():
        raise DataError(f"ingestion.path: {root} has no {METADATA}, expected one with the columns file_name,{CAPTION}")
    rows = read_metadata(file)
    _check_columns(file, list(next(iter(rows.values()), {CAPTION: ""})), label)
    return {name: row[CAPTION] or "" for name, row in rows.items()}


def _in_parquet(path: Path, label: str | None) -> dict[str, str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    captions = {}
    for name, file in parquet_files(path).items():
        with readable(file):
            schema = pq.read_schema(file)
            _check_columns(file, schema.names, label)
            kind = schema.field(CAPTION).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise DataError(f"{file}: received a column {CAPTION} of type {kind}, expected one string an image")
            column = pq.read_table(file, columns=[CAPTION])[CAPTION].to_pylist()
        captions |= {f"{name}/{number}": text or "" for number, text in enumerate(column)}
    return captions


def _check_columns(file: Path, columns: list[str], label: str | None) -> None:
    if CAPTION not in columns:
        raise DataError(f"{file} has the columns {', '.join(columns)}, expected {CAPTION} among them")
    if label not in (None, "label", *columns):
        raise DataError(f"ingestion.label: received {label!r}, expected one of {file}'s columns, {', '.join(columns)}")

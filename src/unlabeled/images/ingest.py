"""Ingestion of any source of images into one memory-mapped uint8 array and a manifest, in bounded memory."""

import hashlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import PIL

from unlabeled.config import Ingestion
from unlabeled.images import decode as decoding
from unlabeled.images import dicom, heic
from unlabeled.images.choices import SAMPLE_SIZE, check_values, choose_shape, look_at, misfits
from unlabeled.images.decode import Decoded, UndecodableError, pixel_limit
from unlabeled.images.pixels import Content, PixelFormat, read_content, read_image_file, read_pixels
from unlabeled.images.sources import open_source
from unlabeled.ingestion.contents import contents_of, tell_contents
from unlabeled.ingestion.groups import Grouper, contents, divided_groups, group_column, groups_of, named_groups
from unlabeled.ingestion.items import Item, Source
from unlabeled.ingestion.settle import check_quarantine, settle
from unlabeled.ingestion.splits import HELD_OUT, SplitRule, position
from unlabeled.records import Summary
from unlabeled.runtime.counts import counted
from unlabeled.runtime.progress import bar
from unlabeled.runtime.threads import batches_of, in_order
from unlabeled.storage.arrays import ArrayWriter, open_array
from unlabeled.storage.freshness import MADE_BY, made_by
from unlabeled.storage.reuse import EarlierRows, Stamps, checksum, earlier_rows

logger = logging.getLogger(__name__)

DECODE_BATCH_SIZE = 16
"""Images that a thread decodes before it hands them over."""
STORED = ["checksum", "width", "height", "mode"]
COLUMNS = ["path", "sha256", *STORED, "group", "label", "split"]


@dataclass(frozen=True)
class Ingested:
    """The results of ingestion.

    Attributes:
        images: Memory map, uint8, shape (N, C, H, W).
        manifest: One row an image: path, sha256 of its content, checksum of its stored pixels, width, height, mode
            (Pillow's mode of the stored image), group (rows of one group belong together), label (None: unlabelled),
            target (-1: unlabelled), split (train, validation, test, or excluded: its pixels equal those of an image
            that is held out).
        quarantine: path and reason of each image that could not be used.
        summary: Counts, classes, mean and std of each channel, the digest of the data.
    """

    images: np.ndarray
    manifest: pd.DataFrame
    quarantine: pd.DataFrame
    summary: Summary


def ingest(config: Ingestion, folder: Path, source: Source | None = None) -> Ingested:
    """Reads, decodes, hashes and splits a source; writes `images.npy` into `folder`.

    Images that an earlier run stored are reused without decoding, where their content is equal by its manifest. Files
    that have not changed since are not even read.

    Args:
        source: None: the one that `ingestion.source` names.

    Raises:
        DataError: The source cannot be read, too much of it is damaged, or too little is left to learn from.
    """
    began = time.perf_counter()
    source, grouper = source or open_source(config), Grouper(config.group)
    with pixel_limit(config.max_pixels):
        sample = look_at(source.sample(SAMPLE_SIZE))
        pixel_format = PixelFormat(*choose_shape(sample, config), config.pixel_range, config.resize)
        if config.pixel_range is None:
            check_values(sample, config.max_quarantined)
        records, rejects, dim, sums = [], [], 0, np.zeros((3, pixel_format.channels), np.int64)
        chosen = {"shape": pixel_format.shape, "pixels": config.max_pixels, "range": config.pixel_range}
        how = made_by([decoding, dicom, heic], **chosen, resize=config.resize, pillow=PIL.__version__)
        earlier = earlier_rows(partial(_read_earlier, folder), how, pixel_format.shape)
        stamps = Stamps(folder / "stamps.parquet")
        rule = SplitRule(source.understood.official, config.validation_fraction, config.test_fraction)
        with (
            ArrayWriter(folder / "images.npy", pixel_format.shape) as writer,
            bar("ingesting", source.total, "images") as progress,
        ):
            items = grouper.grouped(source.items)
            for batch in _decode_all(items, pixel_format, config.fraction, rule, earlier, stamps):
                rejects += batch.rejects
                records += batch.records
                dim += batch.dim
                sums += batch.sums
                writer.append(batch.pixels)
                progress.advance(batch.count)
            quarantine = pd.DataFrame(rejects, columns=["path", "reason"])
            check_quarantine(quarantine, source.total, config.max_quarantined, folder)
            manifest, classes = settle(pd.DataFrame(records, columns=COLUMNS), config.rare_labels)
            manifest.attrs[MADE_BY] = how
        stamps.keep()
    seconds = time.perf_counter() - began
    warnings = grouper.warnings() + divided_groups(manifest, config.groups)
    summary: Summary = {
        **_summary(manifest, quarantine, classes, config, pixel_format),
        **channel_moments(sums),
        **groups_of(manifest, config.groups, "images"),
        **contents_of(manifest, classes, source.understood, str(rule), warnings),
    }
    if earlier and earlier.damaged:
        logger.warning("damaged in the store, and decoded again: %s", counted(len(earlier.damaged), "images"))
    for sentence in misfits(manifest, dim, len(sample), pixel_format.size, pixel_format.channels, config):
        logger.warning(sentence)
    _tell(summary, len(manifest) / seconds)
    tell_contents(summary, source.understood.left_out, "images")
    return Ingested(open_array(folder / "images.npy"), manifest, quarantine, summary)


def _read_earlier(folder: Path) -> tuple[np.ndarray, pd.DataFrame]:
    images = np.asarray(open_array(folder / "images.npy"))  # rows of a memmap are slow to make
    return images, pd.read_parquet(folder / "manifest.parquet")


@dataclass(frozen=True)
class Stored(Decoded):
    """An image that an earlier run decoded, with its checksum."""

    checksum: int


class Outcome(NamedTuple):
    """The result of decoding an item. An item with neither image nor reason was left out by `ingestion.fraction`."""

    item: Item
    sha256: str
    """The sha256 of its content; empty where it could not be read."""
    image: Decoded | None = None
    reason: str | None = None
    """The reason why it cannot be used; None where it can."""


class _Batch(NamedTuple):
    """The decoded images that a thread hands over."""

    count: int
    pixels: np.ndarray
    """Pixels of the good images, uint8 (n, C, H, W)."""
    records: list[tuple]
    """Manifest rows of the good images, by COLUMNS."""
    rejects: list[tuple[str, str]]
    """Path and reason of each image that cannot be used."""
    dim: int
    """Number of good images that have more than 8 bits and are nearly black."""
    sums: np.ndarray
    """`sums_of` the good images that are not in the test split."""


def _decode_all(
    items: Iterator[Item],
    pixel_format: PixelFormat,
    fraction: float,
    rule: SplitRule,
    earlier: EarlierRows | None,
    stamps: Stamps,
) -> Iterator[_Batch]:
    """Decodes on every core, in order, with a bounded number of images under way. Images decoded by an earlier run are
    reused."""

    def make(batch: list[Item]) -> _Batch:
        return _stack(decode_batch(batch, pixel_format, fraction, earlier, stamps), pixel_format.shape, rule)

    return in_order(make, batches_of(items, DECODE_BATCH_SIZE))


def _stack(batch: list[Outcome], shape: tuple[int, ...], rule: SplitRule) -> _Batch:
    good = [(item, sha256, image) for item, sha256, image, _ in batch if image]
    splits = [rule.split_of(sha256, item.split, item.group) for item, sha256, _ in good]
    records = [_record(*each, split) for each, split in zip(good, splits, strict=True)]
    pixels = np.array([image.pixels for *_, image in good], np.uint8).reshape(-1, *shape)
    rejects = [(each.item.path, each.reason) for each in batch if each.reason is not None]
    dim = sum(image.is_dim for *_, image in good)
    return _Batch(len(batch), pixels, records, rejects, dim, sums_of(pixels[np.array(splits, str) != "test"]))


def _record(item: Item, sha256: str, image: Decoded, split: str) -> tuple:
    """The manifest row of an image, by COLUMNS."""
    check = image.checksum if isinstance(image, Stored) else checksum(image.pixels)
    stored = check, image.width, image.height, image.mode
    return item.path, sha256, *stored, group_column(item, check), item.label, split


def decode_batch(
    items: list[Item],
    pixel_format: PixelFormat,
    fraction: float = 1.0,
    earlier: EarlierRows | None = None,
    stamps: Stamps | None = None,
) -> list[Outcome]:
    """Decodes each item, or takes it from an earlier run.

    Args:
        fraction: Fraction of the items to use, among those that are not held out.
        stamps: Records of files, by which unchanged ones are not read.
    """
    return [_decode_one(item, pixel_format, fraction, earlier, stamps) for item in items]


def _decode_one(
    item: Item, pixel_format: PixelFormat, fraction: float, earlier: EarlierRows | None, stamps: Stamps | None
) -> Outcome:
    try:
        if item.reason:
            raise UndecodableError(item.reason)
        content, sha256 = _content(item.content, stamps)
        if fraction < 1 and item.split not in HELD_OUT and position(sha256[13:26]) >= fraction:
            return Outcome(item, sha256)
        pixels = np.empty(pixel_format.shape, np.uint8)
        if earlier is None or not earlier.take(sha256, pixels):
            return Outcome(item, sha256, read_pixels(item.content if content is None else content, pixel_format))
        return Outcome(item, sha256, Stored(pixels, **{name: earlier.about(sha256, name) for name in STORED}))
    except (UndecodableError, OSError) as error:
        return Outcome(item, "", reason=str(error))


def _content(content: Content | None, stamps: Stamps | None) -> tuple[bytes | np.ndarray | None, str]:
    """The content and its sha256; the content is None where its sha256 is known without reading it."""
    if stamps and isinstance(content, Path):
        return stamps.content_of(content, read_image_file)
    read = read_content(content)
    return read, hashlib.sha256(read if isinstance(read, bytes) else read.tobytes()).hexdigest()


def sums_of(pixels: np.ndarray) -> np.ndarray:
    """Number, sum and sum of squares of the pixels of each channel: int64 (3, C), which is exact.

    Args:
        pixels: uint8 (n, C, H, W).
    """
    # Fast, and exact: the squares of a row of 256 pixels stay below 2²⁴.
    wide = pixels.astype(np.float32 if pixels.shape[3] <= 256 else np.float64)
    rows = np.einsum("nchw->nch", wide), np.einsum("nchw,nchw->nch", wide, wide)
    count = np.full(pixels.shape[1], pixels.size // pixels.shape[1])
    return np.stack([count, *(row.astype(np.int64).sum((0, 2)) for row in rows)])


def channel_moments(sums: np.ndarray) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel, from its `sums_of`."""
    mean, square = sums[1:] / np.maximum(1, sums[0])
    std = np.sqrt(np.maximum(square - mean**2, 1.0))  # a constant channel stays finite
    return {"mean": (mean / 255).round(6).tolist(), "std": (std / 255).round(6).tolist()}


def _summary(
    manifest: pd.DataFrame, quarantine: pd.DataFrame, classes: list[str], config: Ingestion, pixel_format: PixelFormat
) -> Summary:
    lines = sorted(manifest.sha256 + manifest.split + manifest.label.fillna("") + named_groups(manifest, config.group))
    stored = "x".join(map(str, pixel_format.shape)) + (f" {config.pixel_range}" if config.pixel_range else "")
    stored += f" {config.resize}" if config.resize != "crop" else ""
    digest = hashlib.sha256("\n".join([stored, *lines]).encode()).hexdigest()
    return {
        "source": config.name,
        "images": len(manifest),
        "labelled": int((manifest.target >= 0).sum()),
        "quarantined": len(quarantine),
        "duplicates": int(contents(manifest).duplicated().sum()),
        "splits": {split: int(count) for split, count in manifest.split.value_counts().sort_index().items()},
        "classes": classes,
        "channels": pixel_format.channels,
        "image_size": pixel_format.size,
        "pixel_range": config.pixel_range,
        "resize": config.resize,
        "data_digest": digest[:16],
    }


def _tell(summary: Summary, rate: float) -> None:
    splits = ", ".join(f"{count:,} {split}" for split, count in summary["splits"].items())
    logger.info(
        "%s: %s of %d×%d in %s (%s); %d quarantined, %s; %s images/s",
        summary["source"],
        counted(summary["images"], "images"),
        summary["image_size"],
        summary["image_size"],
        counted(len(summary["classes"]), "classes") if summary["classes"] else "no classes",
        splits,
        summary["quarantined"],
        counted(summary["duplicates"], "copies"),
        f"{rate:,.0f}",
    )

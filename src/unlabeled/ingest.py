"""Ingestion: any source to one memory-mapped uint8 array and a manifest, a few images in memory at a time."""

import hashlib
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import PIL

from unlabeled import decode as decoding
from unlabeled.arrays import ArrayWriter, open_array, replace_file
from unlabeled.choices import SAMPLE, check_values, choose_shape, look_at, misfits
from unlabeled.config import Ingestion
from unlabeled.contents import contents_of, tell_contents
from unlabeled.counts import counted
from unlabeled.decode import Decoded, UndecodableError, check_header, decode, pixel_limit
from unlabeled.errors import DataError
from unlabeled.groups import Grouper, contents, divided_groups, group_column, groups_of, named_groups
from unlabeled.items import Item, Source
from unlabeled.progress import bar
from unlabeled.reuse import MADE_BY, EarlierRows, Stamps, checksum, earlier_rows, made_by
from unlabeled.sources import open_source
from unlabeled.splits import HELD_OUT, SplitRule, position
from unlabeled.spreadsheet import write_csv
from unlabeled.threads import batches_of, in_order
from unlabeled.walk import read_file

logger = logging.getLogger(__name__)

BATCH = 16
"""Images a thread decodes before it hands them over."""
READ_UNSEEN = 2**26
"""Bytes of the largest file that is read before anything of it has been seen: a folder of photos has videos in it."""
STORED = ["checksum", "width", "height", "mode"]
COLUMNS = ["path", "sha256", *STORED, "group", "label", "split"]


@dataclass(frozen=True)
class Ingested:
    """What ingestion leaves.

    Attributes:
        images: Memory map, uint8, shape (N, C, H, W).
        manifest: One row an image: path, sha256 of its content, checksum of its stored pixels, width, height, mode
            (Pillow's name of what its pixels were), group (rows of one belong together), label (None: unlabelled),
            target (-1: unlabelled), split (train, validation, test, or excluded: its pixels are those of an image that
            is held out).
        quarantine: path and reason of what could not be used.
        summary: Counts, classes, mean and std of each channel, the digest of the data.
    """

    images: np.ndarray
    manifest: pd.DataFrame
    quarantine: pd.DataFrame
    summary: dict[str, Any]


def ingest(config: Ingestion, folder: Path, source: Source | None = None) -> Ingested:
    """Reads, decodes, hashes and splits a source; writes `images.npy` into `folder`.

    What an earlier run stored there of the same content, by its manifest, is taken over without being decoded; files
    that nobody has touched since are not even read.

    Args:
        source: None: the one that `ingestion.source` names.

    Raises:
        DataError: The source cannot be read, too much of it is damaged, or too little is left to learn from.
    """
    began = time.perf_counter()
    source, grouper = source or open_source(config), Grouper(config.group)
    with pixel_limit(config.max_pixels):
        sample = look_at(source.sample(SAMPLE))
        size, channels = choose_shape(sample, config)
        if config.pixel_range is None:
            check_values(sample, config.max_quarantined)
        records, rejects, dim, sums = [], [], 0, np.zeros((3, channels), np.int64)
        shape = (channels, size, size)
        chosen = {"shape": shape, "pixels": config.max_pixels, "range": config.pixel_range}
        how = made_by([decoding], **chosen, pillow=PIL.__version__)
        earlier = earlier_rows(partial(_read_earlier, folder), how, shape)
        stamps = Stamps(folder / "stamps.parquet")
        rule = SplitRule(source.understood.official, config.validation_fraction, config.test_fraction)
        with (
            ArrayWriter(folder / "images.npy", shape) as writer,
            bar("ingesting", source.total, "images") as progress,
        ):
            for batch in _decode_all(grouper.grouped(source.items), size, channels, config, rule, earlier, stamps):
                rejects += batch.rejects
                records += batch.records
                dim += batch.dim
                sums += batch.sums
                writer.append(batch.pixels)
                progress.advance(batch.count)
            quarantine = pd.DataFrame(rejects, columns=["path", "reason"])
            stop_if_damaged(quarantine, source.total, config.max_quarantined, folder)
            manifest, classes = settle(pd.DataFrame(records, columns=COLUMNS), config.rare_labels)
            manifest.attrs[MADE_BY] = how
        stamps.keep()
    seconds = time.perf_counter() - began
    summary = _summary(manifest, quarantine, classes, config, size, channels) | channel_moments(sums)
    warnings = grouper.warnings() + divided_groups(manifest, config.groups)
    summary |= groups_of(manifest, config.groups, "images")
    summary |= contents_of(manifest, classes, source.understood, str(rule), warnings)
    if earlier and earlier.damaged:
        logger.warning("damaged in the store, and decoded again: %s", counted(len(earlier.damaged), "images"))
    for sentence in misfits(manifest, dim, len(sample), size, channels, config):
        logger.warning(sentence)
    _tell(summary, len(manifest) / seconds)
    tell_contents(summary, source.understood.left_out, "images")
    return Ingested(open_array(folder / "images.npy"), manifest, quarantine, summary)


def _read_earlier(folder: Path) -> tuple[np.ndarray, pd.DataFrame]:
    return open_array(folder / "images.npy"), pd.read_parquet(folder / "manifest.parquet")


def _read(content: Path | bytes | np.ndarray | None) -> bytes | np.ndarray:
    if content is None:
        raise UndecodableError("listed, but the file is missing")
    if not isinstance(content, Path):
        return content
    if content.stat().st_size > READ_UNSEEN:
        check_header(content)
    return read_file(content)


@dataclass(frozen=True)
class Stored(Decoded):
    """What an earlier run decoded, with the checksum that it has."""

    checksum: int


Outcome = tuple[Item, str, Decoded | str | None]
"""An item, the sha256 of its content, and its pixels, or why there are none; None: left out by `ingestion.fraction`."""


class _Batch(NamedTuple):
    """What a thread hands over of some images."""

    count: int
    pixels: np.ndarray
    """Of the good ones, uint8 (n, C, H, W)."""
    records: list[tuple]
    """Of the good ones, by COLUMNS."""
    rejects: list[tuple[str, str]]
    """The path and the reason of those that cannot be used."""
    dim: int
    """How many of the good ones have more than 8 bits and are nearly black."""
    sums: np.ndarray
    """`sums_of` of the good ones that are not for testing."""


def _decode_all(
    items: Iterator[Item],
    size: int,
    channels: int,
    config: Ingestion,
    rule: SplitRule,
    earlier: EarlierRows | None,
    stamps: Stamps,
) -> Iterator[_Batch]:
    """Decodes on every core, in order, with a bounded number of images under way; what was decoded earlier is not."""

    def make(batch: list[Item]) -> _Batch:
        outcomes = decode_batch(batch, size, channels, config.pixel_range, config.fraction, earlier, stamps)
        return _stack(outcomes, (channels, size, size), rule)

    return in_order(make, batches_of(items, BATCH))


def _stack(batch: list[Outcome], shape: tuple[int, ...], rule: SplitRule) -> _Batch:
    good = [outcome for outcome in batch if isinstance(outcome[2], Decoded)]
    splits = [rule.split_of(digest, item.split, item.group) for item, digest, _ in good]
    records = [_record(*outcome, split) for outcome, split in zip(good, splits, strict=True)]
    pixels = np.array([result.pixels for *_, result in good], np.uint8).reshape(-1, *shape)
    rejects = [(item.path, result) for item, _, result in batch if isinstance(result, str)]
    dim = sum(result.is_dim for *_, result in good)
    return _Batch(len(batch), pixels, records, rejects, dim, sums_of(pixels[np.array(splits, str) != "test"]))


def _record(item: Item, digest: str, decoded: Decoded, split: str) -> tuple:
    """By COLUMNS."""
    check = decoded.checksum if isinstance(decoded, Stored) else checksum(decoded.pixels)
    stored = check, decoded.width, decoded.height, decoded.mode
    return item.path, digest, *stored, group_column(item, check), item.label, split


def decode_batch(
    items: list[Item],
    size: int,
    channels: int,
    pixel_range: tuple[float, float] | None = None,
    fraction: float = 1.0,
    earlier: EarlierRows | None = None,
    stamps: Stamps | None = None,
) -> list[Outcome]:
    return [_decode_one(item, size, channels, pixel_range, fraction, earlier, stamps) for item in items]


def _decode_one(
    item: Item,
    size: int,
    channels: int,
    pixel_range: tuple[float, float] | None,
    fraction: float,
    earlier: EarlierRows | None,
    stamps: Stamps | None,
) -> Outcome:
    try:
        if item.reason:
            raise UndecodableError(item.reason)
        content, digest = _content(item.content, stamps)
        if fraction < 1 and item.split not in HELD_OUT and position(digest[13:26]) >= fraction:
            return item, digest, None
        pixels = np.empty((channels, size, size), np.uint8)
        if earlier is None or not earlier.take(digest, pixels):
            content = _read(item.content) if content is None else content
            return item, digest, decode(content, size, channels, pixel_range)
        return item, digest, Stored(pixels, **{name: earlier.about(digest, name) for name in STORED})
    except (UndecodableError, OSError) as error:
        return item, "", str(error)


def _content(content: Path | bytes | np.ndarray | None, stamps: Stamps | None) -> tuple[bytes | np.ndarray | None, str]:
    """What is in it and the sha256 of that; None where it is known without being read."""
    if stamps and isinstance(content, Path):
        return stamps.content_of(content, _read)
    read = _read(content)
    return read, _digest(read)


def _digest(content: bytes | np.ndarray) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.tobytes()).hexdigest()


def stop_if_damaged(
    quarantine: pd.DataFrame, total: int, max_quarantined: float, folder: Path, unit: str = "image"
) -> None:
    """Raises DataError, and leaves `quarantine.csv`, where more of the source is damaged than is allowed."""
    if len(quarantine) <= max_quarantined * total:
        return
    path = folder / "quarantine.csv"
    replace_file(path, lambda partial: write_csv(quarantine, partial))
    first = quarantine.iloc[0]
    raise DataError(
        f"{len(quarantine)} of {counted(total, f'{unit}s')} cannot be used (the first, {first.path}: {first.reason}), "
        f"more than ingestion.max_quarantined={max_quarantined:g} allows: see {path}"
    )


def settle(manifest: pd.DataFrame, rare_labels: str, unit: str = "image") -> tuple[pd.DataFrame, list[str]]:
    """Numbers the classes, keeps copies of test images out of training, and stops where too little is left.

    Args:
        manifest: With the columns sha256, label and split, and checksum where pixels are stored.
        rare_labels: As in `Ingestion`.
        unit: What a row is, for the messages.

    Returns:
        The manifest with the column target, and the names of the classes.

    Raises:
        DataError: Fewer than two different rows, none of them to train on, or a class with a single one.
    """
    if len(manifest) < 2:
        raise DataError(f"found {len(manifest) or 'no'} {unit}, and needs two at least to learn what tells them apart")
    content = contents(manifest)
    if content.nunique() < 2:
        raise DataError(
            f"found {len(manifest)} files, all of one {unit}, and needs two different {unit}s at least to learn what "
            f"tells them apart"
        )
    for held_out, others in (("test", ["train", "validation"]), ("validation", ["train"])):
        copies = content.isin(content[manifest.split == held_out])
        manifest.loc[copies & manifest.split.isin(others), "split"] = "excluded"
    counts = manifest.label.value_counts()
    rare = sorted(counts.index[counts < 2])
    if rare and rare_labels == "refuse":
        raise DataError(
            f"the class {rare[0]!r} has one {unit}, and needs two to be learned and tested: add {unit}s, or keep such "
            f"{unit}s without their label with ingestion.rare_labels=drop"
        )
    manifest.loc[manifest.label.isin(rare), "label"] = None
    classes = sorted(manifest.label.dropna().unique(), key=_naturally)
    numbers = {label: number for number, label in enumerate(classes)}
    manifest["target"] = manifest.label.map(numbers).fillna(-1).astype(np.int64)
    if not (manifest.split == "train").any():
        raise DataError(
            f"none of the {len(manifest)} {unit}s falls into the train split: add {unit}s to train on, or lower "
            f"ingestion.test_fraction and ingestion.validation_fraction"
        )
    return manifest, classes


def _naturally(label: str) -> list[tuple[int, int | str]]:
    """Sorts 2 before 10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", label) if part]


def sums_of(pixels: np.ndarray) -> np.ndarray:
    """How many pixels, their sum and that of their squares, of each channel: int64 (3, C), so exactly.

    Args:
        pixels: uint8 (n, C, H, W).
    """
    # Fast, and exact: the squares of a row of 256 pixels stay below 2²⁴.
    wide = pixels.astype(np.float32 if pixels.shape[3] <= 256 else np.float64)
    rows = np.einsum("nchw->nch", wide), np.einsum("nchw,nchw->nch", wide, wide)
    count = np.full(pixels.shape[1], pixels.size // pixels.shape[1])
    return np.stack([count, *(row.astype(np.int64).sum((0, 2)) for row in rows)])


def channel_moments(sums: np.ndarray) -> dict[str, list[float]]:
    """Of each channel, from its `sums_of`."""
    mean, square = sums[1:] / np.maximum(1, sums[0])
    std = np.sqrt(np.maximum(square - mean**2, 1.0))  # a constant channel stays finite
    return {"mean": (mean / 255).round(6).tolist(), "std": (std / 255).round(6).tolist()}


def _summary(
    manifest: pd.DataFrame, quarantine: pd.DataFrame, classes: list[str], config: Ingestion, size: int, channels: int
) -> dict[str, Any]:
    lines = sorted(manifest.sha256 + manifest.split + manifest.label.fillna("") + named_groups(manifest, config.group))
    stored = f"{channels}x{size}x{size}" + (f" {config.pixel_range}" if config.pixel_range else "")
    digest = hashlib.sha256("\n".join([stored, *lines]).encode()).hexdigest()
    return {
        "source": config.name,
        "images": len(manifest),
        "labelled": int((manifest.target >= 0).sum()),
        "quarantined": len(quarantine),
        "duplicates": int(contents(manifest).duplicated().sum()),
        "splits": {split: int(count) for split, count in manifest.split.value_counts().sort_index().items()},
        "classes": classes,
        "channels": channels,
        "image_size": size,
        "pixel_range": config.pixel_range,
        "data_digest": digest[:16],
    }


def _tell(summary: dict[str, Any], rate: float) -> None:
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

"""Ingestion of clips into memory-mapped arrays of frames and of sounds, and a manifest, in bounded memory."""

import hashlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from unlabeled.images.decode import UndecodableError
from unlabeled.images.ingest import channel_moments, sums_of
from unlabeled.ingestion.contents import contents_of, tell_contents
from unlabeled.ingestion.groups import Grouper, contents, divided_groups, group_column, groups_of, named_groups
from unlabeled.ingestion.items import Item
from unlabeled.ingestion.settle import check_quarantine, settle
from unlabeled.ingestion.splits import SplitRule
from unlabeled.ingestion.walk import open_file
from unlabeled.records import Summary
from unlabeled.runtime.counts import counted
from unlabeled.runtime.progress import bar
from unlabeled.runtime.threads import batches_of, in_order
from unlabeled.storage.arrays import ArrayWriter, open_array
from unlabeled.storage.reuse import checksum
from unlabeled.video.clips import Clip, parts_of, read_clip
from unlabeled.video.config import VideoIngestion
from unlabeled.video.sources import open_source

logger = logging.getLogger(__name__)

DECODE_BATCH_SIZE = 4
"""Clips that a thread decodes before it hands them over."""
SAMPLE_SIZE = 8
"""Clips inspected to choose the number of channels where none is configured."""
COLUMNS = ["path", "sha256", "checksum", "width", "height", "seconds", "group", "label", "split"]


@dataclass(frozen=True)
class Ingested:
    """The results of ingestion.

    Attributes:
        frames: Memory map, uint8, shape (N, T, C, H, W).
        sounds: Memory map, int16, shape (N, S).
        manifest: One row for each clip: path, sha256 of its content, checksum of its stored frames, width, height,
            seconds, group (rows of one group belong together), label (None: unlabelled), split (train, validation,
            test, or excluded: its frames equal those of a clip that is held out), target (-1: unlabelled).
        quarantine: path and reason of each clip that could not be used.
        summary: Counts, classes, mean and std of each channel, the digest of the data.
    """

    frames: np.ndarray
    sounds: np.ndarray
    manifest: pd.DataFrame
    quarantine: pd.DataFrame
    summary: Summary


def ingest(config: VideoIngestion, folder: Path) -> Ingested:
    """Reads, decodes, hashes and splits a source; writes `frames.npy` and `sounds.npy` into `folder`.

    Raises:
        DataError: The source cannot be read, too much of it is damaged, or too little is left to learn from.
    """
    began = time.perf_counter()
    source, grouper = open_source(config, folder), Grouper(config.group)
    chosen = config.channels is None
    channels = config.channels or _channels(source.sample(SAMPLE_SIZE), config)
    config = config.model_copy(update={"channels": channels})
    shape = config.frames, channels, config.image_size, config.image_size
    records, rejects, coloured, sums = [], [], 0, np.zeros((3, channels), np.int64)
    batches = batches_of(grouper.grouped(source.items), DECODE_BATCH_SIZE)
    rule = SplitRule(source.understood.official, config.validation_fraction, config.test_fraction)
    with (
        ArrayWriter(folder / "frames.npy", shape) as frames,
        ArrayWriter(folder / "sounds.npy", (config.samples,), np.int16) as sounds,
        bar("ingesting", source.total, "clips") as progress,
    ):
        for batch in in_order(partial(_read_batch, config=config, shape=shape, rule=rule), batches):
            rejects += batch.rejects
            records += batch.records
            coloured += batch.coloured
            sums += batch.sums
            frames.append(batch.frames)
            sounds.append(batch.sounds)
            progress.advance(batch.count)
        quarantine = pd.DataFrame(rejects, columns=["path", "reason"])
        check_quarantine(quarantine, source.total, config.max_quarantined, folder, "clip")
        manifest, classes = settle(pd.DataFrame(records, columns=COLUMNS), config.rare_labels, "clip")
    by = f"ingestion.group={config.group!r}" if config.group else "equal frames"
    warnings = grouper.warnings() + divided_groups(manifest, by)
    summary: Summary = {
        **_summary(manifest, quarantine, classes, config),
        **channel_moments(sums),
        **groups_of(manifest, by, "clips"),
        **contents_of(manifest, classes, source.understood, str(rule), warnings),
    }
    if chosen and coloured and channels == 1:
        logger.warning(
            "%d of %d clips have colours and are stored grey, as the %d that were looked at are: set "
            "ingestion.channels=3 to keep them",
            *(coloured, len(manifest), min(SAMPLE_SIZE, source.total)),
        )
    _tell(summary, len(manifest) / (time.perf_counter() - began))
    tell_contents(summary, source.understood.left_out, "clips")
    return Ingested(open_array(folder / "frames.npy"), open_array(folder / "sounds.npy"), manifest, quarantine, summary)


def _channels(sample: Iterable[Item], config: VideoIngestion) -> int:
    """Number of channels: 1 if all readable clips of the sample are grey, else 3."""
    clips = [clip for item in sample if (clip := _read_one(item, config).clip)]
    return 1 if clips and all(clip.grey for clip in clips) else 3


class Outcome(NamedTuple):
    """The result of decoding an item: a clip, or the reason why there is none."""

    item: Item
    sha256: str
    """The sha256 of its content; empty where it could not be read."""
    clip: Clip | None = None
    reason: str | None = None
    """The reason why it cannot be used; None where it can."""


class _Batch(NamedTuple):
    """The decoded clips that a thread hands over."""

    count: int
    frames: np.ndarray
    """Frames of the good clips, uint8 (n, T, C, H, W)."""
    sounds: np.ndarray
    """Sounds of the good clips, int16 (n, S)."""
    records: list[tuple]
    """Manifest rows of the good clips, by COLUMNS."""
    rejects: list[tuple[str, str]]
    """Path and reason of each clip that cannot be used."""
    coloured: int
    """Number of good clips with colours, which may be converted to grey."""
    sums: np.ndarray
    """`sums_of` the frames of the good clips that are not in the test split."""


def _read_batch(items: list[Item], config: VideoIngestion, shape: tuple[int, ...], rule: SplitRule) -> _Batch:
    outcomes = [_read_one(item, config) for item in items]
    good = [(item, sha256, clip) for item, sha256, clip, _ in outcomes if clip]
    splits = [rule.split_of(sha256, item.split, item.group) for item, sha256, _ in good]
    records = [_record(*each, split) for each, split in zip(good, splits, strict=True)]
    frames = np.array([clip.frames for *_, clip in good], np.uint8).reshape(-1, *shape)
    sounds = np.array([clip.wave for *_, clip in good], np.int16).reshape(-1, config.samples)
    rejects = [(each.item.path, each.reason) for each in outcomes if each.reason is not None]
    seen = frames[np.array(splits, str) != "test"].reshape(-1, *shape[1:])
    coloured = sum(not clip.grey for *_, clip in good)
    return _Batch(len(items), frames, sounds, records, rejects, coloured, sums_of(seen))


def _record(item: Item, sha256: str, clip: Clip, split: str) -> tuple:
    """The manifest row of a clip, by COLUMNS."""
    check = checksum(clip.frames)
    stored = check, clip.width, clip.height, clip.seconds
    return item.path, sha256, *stored, group_column(item, check), item.label, split


def _read_one(item: Item, config: VideoIngestion) -> Outcome:
    try:
        if item.reason or not isinstance(item.content, Path):
            raise UndecodableError(item.reason or "listed, but the file is missing")
        return Outcome(item, _digest(item.content), read_clip(item.content, config))
    except (UndecodableError, OSError) as error:
        return Outcome(item, "", reason=str(error))


def _digest(path: Path) -> str:
    """Digest of a clip: for a video, of its bytes; for frames and their sound, of the digests of all files in order."""
    images, sound = parts_of(path)
    digests = []
    for part in [*images, sound]:
        with open_file(part) as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if not images else hashlib.sha256("".join(digests).encode()).hexdigest()


def _summary(manifest: pd.DataFrame, quarantine: pd.DataFrame, classes: list[str], config: VideoIngestion) -> Summary:
    stored = {key: getattr(config, key) for key in ("channels", "image_size", "frames", "seconds", "rate")}
    lines = sorted(manifest.sha256 + manifest.split + manifest.label.fillna("") + named_groups(manifest, config.group))
    digest = hashlib.sha256("\n".join([*map(str, stored.values()), *lines]).encode()).hexdigest()
    return {
        "source": config.name,
        "clips": len(manifest),
        "labelled": int((manifest.target >= 0).sum()),
        "quarantined": len(quarantine),
        "duplicates": int(contents(manifest).duplicated().sum()),
        "splits": {split: int(count) for split, count in manifest.split.value_counts().sort_index().items()},
        "classes": classes,
        **stored,
        "data_digest": digest[:16],
    }


def _tell(summary: Summary, rate: float) -> None:
    logger.info(
        "%s: %s in %s (%s); %d quarantined, %s; %s clips/s",
        summary["source"],
        counted(summary["clips"], "clips"),
        counted(len(summary["classes"]), "classes") if summary["classes"] else "no classes",
        ", ".join(f"{count:,} {split}" for split, count in summary["splits"].items()),
        summary["quarantined"],
        counted(summary["duplicates"], "copies"),
        f"{rate:,.0f}",
    )

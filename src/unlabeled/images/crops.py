"""The crop cache: K random resized crops of each image, kept between runs and identified by the image's content."""

import logging
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from unlabeled.config import Augmentation
from unlabeled.errors import DataError
from unlabeled.images import augment
from unlabeled.images.augment import cut_views
from unlabeled.runtime.counts import counted
from unlabeled.runtime.progress import bar
from unlabeled.storage.arrays import ArrayWriter, Rows, open_array, replace_file
from unlabeled.storage.freshness import MADE_BY, made_by
from unlabeled.storage.reuse import EarlierRows, checksum, earlier_rows

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 2**20
"""Bytes of floating-point numbers in memory while a chunk of the cache is made."""
MAX_PARTS = 16
"""Largest number of files of a cache; beyond it they are merged into one."""
INDEX = "views.parquet"


def cache_views(images: np.ndarray, contents: Sequence[str], recipe: Augmentation, folder: Path) -> Rows:
    """Caches K random views (resized, moved crops) of each image in `folder`, in memory independent of N.

    The views of an image depend only on its content and the recipe. Views of the same content and recipe that the
    folder already holds stay where they are, and new images get a file of their own, so that only they are computed and
    stored in DVC. Damaged views are cut again in place. The files are merged into one where more than half of the rows
    belong to images that are gone, or where there are MAX_PARTS files.

    Args:
        images: uint8 of shape (N, C, H, W), any split.
        contents: The key of each image, as `keys_of` makes them: hexadecimal, and the last 16 digits decide the views.
        recipe: Its `views` is K; with `fresh` the cache is empty.
        folder: Gets `views.npy` and, as images are added, `views.1.npy` and so on, uint8 of shape (n, K, C, h, w), and
            an index of which row is of which image.

    Returns:
        The views, uint8 (N, K, C, h, w); row i has those of image i.
    """
    contents = [] if recipe.views == "fresh" else list(contents)
    shape = shape_of(images, recipe)
    earlier = _earlier(images, recipe, folder)
    row_of = {content: row for row, content in enumerate(contents)}  # copies share their crops
    wanted = list(row_of)
    cut = partial(_cut, images=images, row_of=row_of, recipe=recipe, shape=shape)
    intact: dict[str, int] = earlier.intact(wanted) if earlier else {}
    if earlier and earlier.damaged:
        intact |= _repair(folder, earlier, cut)
        logger.warning("damaged crops are cut again: those of %s", counted(len(earlier.damaged), "images"))
        earlier = _earlier(images, recipe, folder)
    grows = earlier is not None and _can_grow(earlier, len(wanted))
    parts = earlier.array.parts if earlier and grows else []
    added = [content for content in wanted if content not in intact] if grows else wanted
    checksums: list[int] = []
    folder.mkdir(parents=True, exist_ok=True)
    _check_disk_space(len(added), shape, folder)
    with bar("caching views", len(wanted), "images") as progress:
        progress.advance(len(wanted) - len(added))
        if added or not grows:
            kept = None if grows else earlier
            with ArrayWriter(_part(folder, len(parts)), shape) as writer:
                for views, checks in cut(added, kept=kept):
                    writer.append(views)
                    checksums += checks
                    progress.advance(len(views))
    for part in [] if grows else _parts(folder)[1:]:
        part.unlink()
    found = {content: (earlier.about(content, "place"), intact[content]) for content in intact} if earlier else {}
    first = sum(map(len, parts))
    found |= {content: (first + i, check) for i, (content, check) in enumerate(zip(added, checksums, strict=True))}
    places, checks = np.array([found[content] for content in contents], np.int64).reshape(-1, 2).T
    index = pd.DataFrame({"sha256": contents, "place": places, "checksum": checks})
    index.attrs[MADE_BY] = _how(images, recipe)
    replace_file(folder / INDEX, lambda path: index.to_parquet(path, index=False))
    return open_views(folder)


def keys_of(manifest: pd.DataFrame) -> list[str]:
    """The key of each image's crops: the checksum of its stored pixels, then the sha256 of its content.

    One content is stored as other pixels with another `ingestion.resize` or `ingestion.pixel_range`; its crops are then
    cut again, at the same places.
    """
    return [f"{check:016x}{sha256}" for check, sha256 in zip(manifest.checksum, manifest.sha256, strict=True)]


def shape_of(images: np.ndarray, recipe: Augmentation) -> tuple[int, int, int, int]:
    """The shape (K, C, h, w) of the crops of an image; K is 0 where they are cut afresh."""
    size = recipe.crop_size or images.shape[2]
    return (0 if recipe.views == "fresh" else recipe.views), images.shape[1], size, size


def count_missing(images: np.ndarray, contents: Sequence[str], recipe: Augmentation, folder: Path) -> int:
    """Number of images whose crops are missing from the folder, or were made in another way."""
    if recipe.views == "fresh":
        return 0
    earlier = _earlier(images, recipe, folder)
    return earlier.lacks(contents) if earlier else len(set(contents))


def cut_some(images: np.ndarray, recipe: Augmentation) -> None:
    """Cuts the crops of the images, uint8 (N, C, H, W), without keeping them, to time it."""
    contents = [f"{number:032x}" for number in range(len(images))]
    row_of = {content: row for row, content in enumerate(contents)}
    for _ in _cut(contents, images, row_of, recipe, shape_of(images, recipe)):
        pass


def _how(images: np.ndarray, recipe: Augmentation) -> str:
    """A digest of everything that decides the crops of an image, except its content."""
    code = [augment, sys.modules[__name__]]
    return made_by(code, shape=images.shape[1:], torch=torch.__version__, **recipe.geometry())


def _earlier(images: np.ndarray, recipe: Augmentation, folder: Path) -> EarlierRows[Rows] | None:
    return earlier_rows(partial(_open, folder), _how(images, recipe), shape_of(images, recipe))


def _check_disk_space(count: int, shape: tuple[int, ...], folder: Path) -> None:
    needed, free = count * math.prod(shape), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"the crops of {count:,} images take {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free: "
            f"lower augmentation.views or augmentation.crop_size, set augmentation.views=fresh, or free some space"
        )


def open_views(folder: Path) -> Rows:
    """The memory-mapped crops that `cache_views` left in a folder. Raises OSError or ValueError where they are missing
    or torn."""
    return _open(folder)[0]


def checksums_of(folder: Path) -> np.ndarray:
    """Checksums of the rows of `open_views` from when they were cut; int64 of shape (N,)."""
    return pd.read_parquet(folder / INDEX)["checksum"].to_numpy()


def _open(folder: Path) -> tuple[Rows, pd.DataFrame]:
    index, parts = pd.read_parquet(folder / INDEX), [open_array(part) for part in _parts(folder)]
    places = index["place"].to_numpy()
    if places.max(initial=-1) >= sum(map(len, parts)):
        raise ValueError(f"{folder / INDEX} names more rows than are there: run the stage augmentation again")
    return Rows(parts, places), index


def _part(folder: Path, number: int) -> Path:
    return folder / (f"views.{number}.npy" if number else "views.npy")


def _parts(folder: Path) -> list[Path]:
    """The files of a cache, in order; the first is named even where it is missing."""
    return [_part(folder, number) for number in range(max(1, len(list(folder.glob("views*.npy")))))]


def _can_grow(earlier: EarlierRows[Rows], wanted: int) -> bool:
    parts = earlier.array.parts
    return len(parts) < MAX_PARTS and sum(map(len, parts)) <= 2 * wanted


def _repair(folder: Path, earlier: EarlierRows[Rows], cut: Callable[..., "Chunks"]) -> dict[str, int]:
    """Cuts damaged crops again, in their place, and returns their new checksums by content."""
    place_of = {content: earlier.about(content, "place") for content in earlier.damaged}
    first, checksums = 0, {}
    for number, part in enumerate(earlier.array.parts):
        damaged = [content for content, place in place_of.items() if first <= place < first + len(part)]

        def write(aside: Path, number: int = number, first: int = first, damaged: list[str] = damaged) -> None:
            shutil.copyfile(_part(folder, number), aside)
            array, done = np.load(aside, mmap_mode="r+"), 0
            for views, checks in cut(damaged):
                some = damaged[done : done + len(views)]
                array[[place_of[content] - first for content in some]] = views
                checksums.update(zip(some, checks, strict=True))
                done += len(views)
            array.flush()

        if damaged:
            replace_file(_part(folder, number), write)
        first += len(part)
    return checksums


Chunks = Iterator[tuple[np.ndarray, list[int]]]
"""Views of some contents, a chunk at a time: uint8 (n, K, C, h, w) with their checksums."""


def _cut(
    added: list[str],
    images: np.ndarray,
    row_of: dict[str, int],
    recipe: Augmentation,
    shape: tuple[int, ...],
    kept: EarlierRows[Rows] | None = None,
) -> Chunks:
    """Views of the contents `added`, taken from the earlier cache or cut."""
    (_, channels, height, width), (count, *_, size) = images.shape, shape
    # Floats in an image, its K half-finished crops (at full height, twice), their weights, and the crops.
    floats = count * size * (2 * channels * height + height + width + 3 * channels * size)
    chunk = max(1, CHUNK_BYTES // (4 * (channels * height * width + floats)))
    buffer = np.empty((min(chunk, len(added)), *shape), np.uint8)
    for start in range(0, len(added), chunk):
        some = added[start : start + chunk]
        views = buffer[: len(some)]
        missing = [i for i, content in enumerate(some) if not (kept and kept.take(content, views[i]))]
        if missing:
            draw = np.stack([_draws(some[i], count, recipe.seed) for i in missing], 1)
            pixels = torch.from_numpy(images[[row_of[some[i]] for i in missing]]).float()
            cut = cut_views(pixels, torch.from_numpy(draw), recipe)
            views[missing] = cut.round_().clamp_(0, 255).byte().numpy()
        yield views, [checksum(each) for each in views]


def _draws(content: str, count: int, seed: int) -> np.ndarray:
    """Uniform random numbers (DRAWS, count) that follow from the content of an image."""
    generator = np.random.Generator(np.random.Philox(key=[int(content[-16:], 16), seed]))
    return generator.random((augment.DRAWS, count), np.float32)

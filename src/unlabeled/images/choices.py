"""Size, channels and value range, chosen for a whole data set from a sample, and checks of the images that do not
fit."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pandas as pd

from unlabeled.config import Ingestion
from unlabeled.errors import DataError
from unlabeled.images.decode import DIM_SHARE, Header, UndecodableError, Values, header, is_deep, is_grey, values
from unlabeled.ingestion.items import Item

SAMPLE_SIZE = 256
"""Images inspected, spread over the whole source."""
INSPECTED_EVERY = 8
"""Values are inspected of the first 8 images of more than 8 bits, and of each 8th later one."""
LARGEST_CHOSEN_SIZE = 96


class Looked(NamedTuple):
    """An image's header and, where they were inspected, its values."""

    header: Header
    values: Values | None


def look_at(sample: Iterable[Item]) -> list[Looked]:
    """Inspects the images of a sample, one in memory at a time; `decode` reports files that are not images."""
    found, deep = [], 0
    for item in sample:
        with suppress(UndecodableError, OSError):
            if item.content is not None:
                seen = header(item.content)
                looked_into = is_deep(seen.mode) and (deep < INSPECTED_EVERY or deep % INSPECTED_EVERY == 0)
                deep += is_deep(seen.mode)
                found.append(Looked(seen, values(item.content) if looked_into else None))
    return found


def choose_shape(sample: list[Looked], config: Ingestion) -> tuple[int, int]:
    """The configured size and channels; by default the sample's usual size, at most 96, and 1 channel if all are
    grey."""
    size, channels = config.image_size, config.channels
    if size is None:
        sides = [min(looked.header.width, looked.header.height) for looked in sample]
        size = max(4, min(int(np.median(sides)), LARGEST_CHOSEN_SIZE)) if sides else LARGEST_CHOSEN_SIZE
    if channels is None:
        channels = 1 if sample and all(is_grey(looked.header.mode) for looked in sample) else 3
    return size, channels


def check_values(sample: list[Looked], allowed: float) -> None:
    """Checks that images of more than 8 bits state which values are black and white, and use the stated range.

    They do not use it where 12 bits are stored in 16. A range guessed image by image would make brightness
    incomparable.

    Args:
        allowed: Largest fraction of images without such a range; they are quarantined, or reported at the end.

    Raises:
        DataError: A larger fraction has none.
    """
    deep = sum(is_deep(looked.header.mode) for looked in sample)
    seen = [looked.values for looked in sample if looked.values]
    stated = [each for each in seen if each.white is not None]
    odd = [each for each in seen if each.white is None]
    if all(each.white is not None and each.high < each.white * DIM_SHARE for each in stated):
        odd += stated
    if not odd or len(odd) / len(seen) * deep <= allowed * len(sample):
        return
    low, high = min(each.low for each in odd), max(each.high for each in odd)
    whites = [each.white for each in odd if each.white is not None]
    white = max(whites) if len(whites) == len(odd) else None
    # The highest value of as many bits: the sample's maximum is a little lower.
    top = high if white is None else 2 ** int(high).bit_length() - 1
    why = f"where {white:,} is white, so that they would be nearly black" if white else "which have no agreed range"
    raise DataError(
        f"{len(odd)} of {len(seen)} images of more than 8 bits that were looked at have values from {low:,.6g} to "
        f"{high:,.6g}, {why}: before training, set ingestion.pixel_range to the values that are black and white, such "
        f"as {min(low, 0):g}+{top:g}, or convert the images to 8 bits"
    )


def misfits(
    manifest: pd.DataFrame, dim: int, looked_at: int, size: int, channels: int, config: Ingestion
) -> Iterator[str]:
    """Sentences on the images that do not fit the chosen size, channels or range.

    Args:
        manifest: Table with the columns width, height and mode.
        dim: Number of images of more than 8 bits that are nearly black.
        looked_at: Number of images by which size and channels were chosen.
        size, channels: Size and channels of the stored images.
    """
    every = f"of {len(manifest):,} images"
    coloured = int((~manifest["mode"].map(is_grey)).sum())
    if coloured and channels == 1 and config.channels is None:
        yield (
            f"{coloured:,} {every} have colours and are stored grey, as the {looked_at:,} that were looked at are: set "
            f"ingestion.channels=3 to keep them"
        )
    resized = manifest[["width", "height"]]
    sides = resized.max(axis=1) if config.resize == "pad" else resized.min(axis=1)
    if small := int((sides < size).sum()):
        yield (
            f"{small:,} {every} are smaller than the {size} pixels a side that are stored, the smallest has "
            f"{sides.min()}, and were enlarged: ingestion.image_size is the size that is stored"
        )
    if dim and config.pixel_range is None:
        yield (
            f"{dim:,} {every} have more than 8 bits and are nearly black: they use less than a quarter of the range "
            f"that their format states; ingestion.pixel_range names the values that are black and white"
        )

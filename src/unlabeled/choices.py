"""What is chosen for a whole data set by looking at a sample of it, and what turns out not to fit the choice."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pandas as pd

from unlabeled.config import Ingestion
from unlabeled.decode import DIM, Header, UndecodableError, Values, header, is_deep, is_grey, values
from unlabeled.errors import DataError
from unlabeled.items import Item, sample_of

SAMPLE = 256
"""Images looked at, spread over the whole source."""
SAMPLE_OF_VALUES = 32
"""Images of more than 8 bits among them of which all pixels are looked at."""
LARGEST_CHOSEN_SIZE = 96


class Looked(NamedTuple):
    """An item and what its header says."""

    item: Item
    header: Header


def look_at(sample: Iterable[Item]) -> list[Looked]:
    """The items of a sample that are images; why others are none is said by `decode`."""
    found = []
    for item in sample:
        with suppress(UndecodableError, OSError):
            if item.content is not None:
                found.append(Looked(item, header(item.content)))
    return found


def choose_shape(sample: list[Looked], config: Ingestion) -> tuple[int, int]:
    """The size and channels asked for; else the sample's usual size, at most 96, and 1 channel if all are grey."""
    size, channels = config.image_size, config.channels
    if size is None:
        sides = [min(looked.header.width, looked.header.height) for looked in sample]
        size = max(4, min(int(np.median(sides)), LARGEST_CHOSEN_SIZE)) if sides else LARGEST_CHOSEN_SIZE
    if channels is None:
        channels = 1 if sample and all(is_grey(looked.header.mode) for looked in sample) else 3
    return size, channels


def check_values(sample: list[Looked], allowed: float) -> None:
    """Checks that images of more than 8 bits say which numbers are black and white, and use the range that they state.

    They do not where 12 bits are stored in 16. A range guessed image by image would make brightness incomparable.

    Args:
        allowed: The share of the sample that may be otherwise: it goes to quarantine, or is told of at the end.

    Raises:
        DataError: A larger share is.
    """
    deep = [looked.item for looked in sample if is_deep(looked.header.mode)]
    seen = list(_values(sample_of(deep, SAMPLE_OF_VALUES)))
    stated = [each for each in seen if each.white is not None]
    odd = [each for each in seen if each.white is None]
    if all(each.high < each.white * DIM for each in stated):
        odd += stated
    if not odd or len(odd) / len(seen) * len(deep) <= allowed * len(sample):
        return
    low, high = min(each.low for each in odd), max(each.high for each in odd)
    white = None if None in (whites := [each.white for each in odd]) else max(whites)
    # The highest number of as many bits: that of the sample is a little lower.
    top = high if white is None else 2 ** int(high).bit_length() - 1
    why = f"where {white:,} is white, so that they would be nearly black" if white else "which have no agreed range"
    raise DataError(
        f"{len(odd)} of {len(seen)} images of more than 8 bits that were looked at have values from {low:,.6g} to "
        f"{high:,.6g}, {why}: before training, set ingestion.pixel_range to the values that are black and white, such "
        f"as {min(low, 0):g}+{top:g}, or convert the images to 8 bits"
    )


def _values(items: Iterable[Item]) -> Iterator[Values]:
    for item in items:
        with suppress(UndecodableError, OSError):
            yield values(item.content)


def misfits(
    manifest: pd.DataFrame, dim: int, looked_at: int, size: int, channels: int, config: Ingestion
) -> Iterator[str]:
    """A sentence for each way in which images do not fit what was chosen.

    Args:
        manifest: With the columns width, height and mode.
        dim: Images of more than 8 bits that are nearly black.
        looked_at: Images by which size and channels were chosen.
        size, channels: Of the images as they are stored.
    """
    every = f"of {len(manifest):,} images"
    coloured = int((~manifest["mode"].map(is_grey)).sum())
    if coloured and channels == 1 and config.channels is None:
        yield (
            f"{coloured:,} {every} have colours and are stored grey, as the {looked_at:,} that were looked at are: set "
            f"ingestion.channels=3 to keep them"
        )
    sides = manifest[["width", "height"]].min(axis=1)
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

"""From a file to pixels: one way for ingestion, `embed`, `search`, export and the served models."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from unlabeled.images.decode import Decoded, UndecodableError, check_header, decode, decode_alone
from unlabeled.ingestion.walk import read_file

READ_UNSEEN = 2**26
"""Bytes of the largest file that is read before anything of it has been seen: a folder of photos has videos in it."""

Content = Path | bytes | np.ndarray
"""An image: its file, what is in that file, or an array (H, W) or (H, W, C)."""


class PixelFormat(NamedTuple):
    """What every image of a data set, or of an encoder, is made.

    Attributes:
        size: Pixels a side.
        channels: 1 (luma) or 3 (RGB).
        pixel_range: The numbers that are black and white in images of more than 8 bits; None: what their format states.
    """

    size: int
    channels: int
    pixel_range: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.size, self.size


def read_image_file(path: Path) -> bytes:
    """What is in a file; a large one is read only if it begins as an image does. Raises UndecodableError or OSError."""
    if path.stat().st_size > READ_UNSEEN:
        check_header(path)
    return read_file(path)


def read_content(content: Content | None) -> bytes | np.ndarray:
    """What is in a file, or the content itself; None: a list names a file that is missing. Raises as above."""
    if content is None:
        raise UndecodableError("listed, but the file is missing")
    return read_image_file(content) if isinstance(content, Path) else content


def read_pixels(content: Content | None, pixel_format: PixelFormat) -> Decoded:
    """Reads and decodes an image of many. Raises UndecodableError or OSError, as `decode` and the file system do."""
    return decode(read_content(content), *pixel_format)


def read_alone(content: Content, pixel_format: PixelFormat) -> np.ndarray:
    """Reads and decodes an image that comes without others: uint8 (C, size, size). Raises what `decode_alone` does."""
    return decode_alone(read_content(content), *pixel_format)

"""Reading of images from files to pixels, shared by ingestion, `embed`, `search`, export and the served models."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from unlabeled.images.decode import Decoded, UndecodableError, check_header, decode, decode_alone
from unlabeled.ingestion.walk import read_file

MAX_UNCHECKED_BYTES = 2**26
"""Bytes of the largest file that is read without looking at its header first, as a folder of photos may contain
videos."""

Content = Path | bytes | np.ndarray
"""An image: its file, the bytes of that file, or an array (H, W) or (H, W, C)."""


class PixelFormat(NamedTuple):
    """The format that every image of a data set, or of an encoder, is converted to.

    Attributes:
        size: Pixels a side.
        channels: 1 (luma) or 3 (RGB).
        pixel_range: The numbers that are black and white in images of more than 8 bits; None: what their format states.
        resize: How an image that is not square becomes one: `crop`, `pad` or `squash`.
    """

    size: int
    channels: int
    pixel_range: tuple[float, float] | None = None
    resize: str = "crop"

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W)."""
        return self.channels, self.size, self.size


def read_image_file(path: Path) -> bytes:
    """The bytes of a file; a large one is read only if it begins as an image does. Raises UndecodableError or
    OSError."""
    if path.stat().st_size > MAX_UNCHECKED_BYTES:
        check_header(path)
    return read_file(path)


def read_content(content: Content | None) -> bytes | np.ndarray:
    """The bytes of a file, or the content itself. Raises UndecodableError (also for None, a listed file that is
    missing) or OSError."""
    if content is None:
        raise UndecodableError("listed, but the file is missing")
    return read_image_file(content) if isinstance(content, Path) else content


def read_pixels(content: Content | None, pixel_format: PixelFormat) -> Decoded:
    """Reads and decodes one of many images. Raises UndecodableError or OSError, as `decode` and the file system do."""
    return decode(read_content(content), *pixel_format)


def read_alone(content: Content, pixel_format: PixelFormat) -> np.ndarray:
    """Reads and decodes a single image: uint8 (C, size, size). Raises the errors of `decode_alone`."""
    return decode_alone(read_content(content), *pixel_format)

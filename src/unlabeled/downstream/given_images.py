"""Images as people have them, for a registered model: files, PIL images and arrays, one or many."""

from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from unlabeled.downstream.serve import check_request, file_of, read_each, rows_of
from unlabeled.errors import DataError
from unlabeled.images.encoder import as_images, fit
from unlabeled.images.pixels import PixelFormat, read_alone

FORMS = "files as bytes or pathlib.Path, PIL images, or arrays (H, W, C) or (C, H, W) of 0 to 255"
"""The forms of an image, in words."""
PLAIN_MODES = ("1", "L", "RGB", "I", "I;16", "F")
"""Pillow's modes that an array holds as they are."""


def read_images(given: Any, pixel_format: PixelFormat, told: str = "image {} cannot be used") -> np.ndarray:
    """uint8 images (N, C, H, W): of the encoder's size where they came one by one, of their own where in one array.

    Args:
        given: One image or many: an array (N, C, H, W), (N, H, W, C), (C, H, W) or (H, W, C), of one channel also
            (N, H, W), of whole numbers from 0 to 255; or rows of files (bytes, base64, paths), PIL images or arrays.
        told: How an error names a row, with {} for its number.

    Raises:
        DataError: A row is not an image, or a request is too large.
    """
    rows, channels = rows_of([given] if isinstance(given, Image.Image) else given), pixel_format.channels
    if isinstance(rows, np.ndarray):
        return as_images(channels_first(rows, channels), channels)
    if not rows:
        raise DataError(f"received no images, expected {FORMS}")
    check_request([each for each in rows if isinstance(each, str | bytes)], "images")
    return np.stack(read_each(rows, partial(_read, pixel_format=pixel_format), told))


def channels_first(array: np.ndarray, channels: int) -> np.ndarray:
    """An array of images as (N, C, H, W), where its shape leaves no doubt; else as it is."""
    if array.ndim == 3 and channels in (array.shape[0], array.shape[2]):
        array = array[None]
    elif array.ndim == 3 and channels == 1:
        array = array[:, None]
    if array.ndim == 4 and array.shape[1] != channels == array.shape[3]:
        return array.transpose(0, 3, 1, 2)
    return array


def _read(row: Any, pixel_format: PixelFormat) -> np.ndarray:
    """One image as uint8 (C, size, size). Raises ValueError, OSError or DataError."""
    channels = pixel_format.channels
    if isinstance(row, Image.Image):
        return read_alone(_pixels(row), pixel_format)
    if isinstance(row, list | tuple) or hasattr(row, "__array__"):
        array = np.asarray(row)
        images = as_images(channels_first(array[None] if array.ndim == 2 else array, channels), channels)
        if len(images) != 1:
            raise ValueError(f"received {len(images)} images in an array of shape {array.shape}, expected one in a row")
        return fit(images, pixel_format)[0]
    try:
        return read_alone(file_of(row), pixel_format)
    except ValueError as error:
        if isinstance(row, str) and "pathlib" not in str(error):
            raise ValueError(f"{error} (a text is read as base64; write a path as pathlib.Path(…))") from error
        raise


def _pixels(image: Image.Image) -> np.ndarray:
    """The pixels of a PIL image, upright, in a mode that arrays can hold."""
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in PLAIN_MODES:
        image = image.convert("RGB")
    return np.asarray(image)

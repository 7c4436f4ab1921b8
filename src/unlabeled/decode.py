"""One encoded image to one uint8 array, whatever its format, mode, size and orientation."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

SIXTEEN_TO_EIGHT_BIT = 257
DRAFT = 2
"""A JPEG is decoded at no less than this many times the wanted size, which is faster, and no worse resized."""
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""


class UndecodableError(ValueError):
    """Why an image goes to quarantine."""


@dataclass(frozen=True)
class Decoded:
    """Pixels of shape (C, size, size), uint8, and the size in pixels that the image had as it was stored."""

    pixels: np.ndarray
    width: int
    height: int


@contextmanager
def pixel_limit(pixels: int) -> Iterator[None]:
    """Within it, Pillow refuses images of more pixels, and keeps quiet of oddities that do no harm. (Process-wide.)"""
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def decode(content: bytes | np.ndarray, size: int, channels: int) -> Decoded:
    """Decodes, turns upright as EXIF says, cuts the centre square, and resizes it (antialiased bilinear).

    The first frame stands for an animation; transparency is laid on white; 16 bits are scaled to 8.

    Args:
        content: An encoded file, or an array of shape (H, W) or (H, W, C), uint8.
        size: Pixels a side of the result.
        channels: 1 (luma) or 3 (RGB).

    Raises:
        UndecodableError: Empty, truncated, not an image, or larger than the `pixel_limit`.
    """
    if not len(content):
        raise UndecodableError("empty file")
    mode = "L" if channels == 1 else "RGB"
    with _as_undecodable():
        image = Image.fromarray(content) if isinstance(content, np.ndarray) else Image.open(BytesIO(content))
        width, height = image.size
        image.draft(mode, (DRAFT * size, DRAFT * size))
        image.load()  # which turns a TIFF upright, and no other format
        orientation = _orientation(image)
        image = _to_mode(image, mode)
        if orientation in UPRIGHT:  # before it is resized: Pillow rounds columns, then rows
            image = image.transpose(UPRIGHT[orientation])
        image = _centre_square(image, size)
    pixels = np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1)
    return Decoded(np.ascontiguousarray(pixels), width, height)


def check_header(path: Path) -> None:
    """Raises UndecodableError where the first bytes of a file say that `decode` would, without reading all of it."""
    with _as_undecodable(), Image.open(path):
        pass


@contextmanager
def _as_undecodable() -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UndecodableError(f"larger than ingestion.max_pixels={Image.MAX_IMAGE_PIXELS}") from error
    except UnidentifiedImageError as error:
        raise UndecodableError("not an image") from error
    except Exception as error:  # decoders of hostile files raise of every kind
        raise UndecodableError(f"{type(error).__name__}: {error}") from error


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # an image whose EXIF is damaged is a good image
        return None


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.float32)
        image = Image.fromarray((deep / SIXTEEN_TO_EIGHT_BIT).round().clip(0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    return image if image.mode == mode else image.convert(mode)


def _centre_square(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)

"""One encoded image to one uint8 array, whatever its format, mode, size and orientation."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SIXTEEN_TO_EIGHT_BIT = 257
DRAFT = 2
"""A JPEG is decoded at no less than this many times the wanted size: several times faster, and no worse once resized."""


class Undecodable(ValueError):
    """Why an image goes to quarantine."""


@dataclass(frozen=True)
class Decoded:
    """Pixels of shape (C, size, size), uint8, and the size in pixels that the image had."""

    pixels: np.ndarray
    width: int
    height: int


def decode(content: bytes | np.ndarray, size: int, channels: int) -> Decoded:
    """Decodes, turns upright as EXIF says, cuts the centre square and resizes it (antialiased bilinear).

    The first frame stands for an animation; transparency is laid on white; 16 bits are scaled to 8.

    Args:
        content: An encoded file, or an array of shape (H, W) or (H, W, C), uint8.
        size: Pixels a side of the result.
        channels: 1 (luma) or 3 (RGB).

    Raises:
        Undecodable: Empty, truncated, not an image, or larger than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    if not len(content):
        raise Undecodable("empty file")
    try:
        image = Image.fromarray(content) if isinstance(content, np.ndarray) else Image.open(BytesIO(content))
        width, height = image.size
        orientation = image.getexif().get(0x0112, 1) if image.format in ("JPEG", "TIFF", "WEBP", "PNG", "MPO") else 1
        image.draft("L" if channels == 1 else "RGB", (DRAFT * size, DRAFT * size))
        image = _to_mode(image, "L" if channels == 1 else "RGB")
        image = _centre_square(image, size)
        if orientation != 1:  # turning a centred square after resizing is the same, and cheap
            image.getexif()[0x0112] = orientation
            image = ImageOps.exif_transpose(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Undecodable(f"larger than ingestion.max_pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise Undecodable("not an image") from error
    except Exception as error:  # decoders of hostile files raise of every kind
        raise Undecodable(f"{type(error).__name__}: {error}") from error
    pixels = np.asarray(image)
    return Decoded(pixels[None] if channels == 1 else pixels.transpose(2, 0, 1), width, height)


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.float32)
        image = Image.fromarray((deep / SIXTEEN_TO_EIGHT_BIT).round().clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _centre_square(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)

"""One encoded image to one uint8 array, whatever its format, mode, size and orientation."""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

Result = TypeVar("Result")
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
GREY = ("1", "L", "LA", "La", "I", "F")
"""Pillow's modes without colour, but for those of 16 bits, I;16 and its kin."""
SIXTEEN = ";16"
"""How Pillow marks 16 bits a channel; in our modes also those of colours, of which it reads the upper eight."""
FULL_SIXTEEN = {None, "JPEG2000", "PNG", "PPM", "TIFF"}
"""Formats whose numbers of 16 bits go from 0, which is black, to the highest that their stated bits can hold, which is
white: by themselves, or as Pillow scales them. None: an array."""
DIM = 1 / 4
"""Share of a range; two bits and more are idle in an image that stays below it."""
PHOTOMETRIC, WHITE_IS_ZERO, BITS_PER_SAMPLE = 262, 0, 258
"""A TIFF's tags, and a value of the first."""
PNG = b"\x89PNG\r\n\x1a\n"
PNG_IMAGE = {b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"}
"""The chunks of a PNG that its pixels and their orientation are in."""


class UndecodableError(ValueError):
    """Why an image goes to quarantine."""


@dataclass(frozen=True)
class Decoded:
    """An image as it is kept, and as it was stored.

    Attributes:
        pixels: uint8 of shape (C, size, size).
        width, height: Pixels of the stored image.
        mode: Pillow's name of what its pixels are; of colours of 16 bits a channel, with `;16` behind it.
    """

    pixels: np.ndarray
    width: int
    height: int
    mode: str

    @property
    def is_dim(self) -> bool:
        """Whether it has more than 8 bits and is nearly black: perhaps it uses a part of its range only."""
        return is_deep(self.mode) and int(self.pixels.max()) < 256 * DIM


class Header(NamedTuple):
    """What the first bytes of an image say of it."""

    width: int
    height: int
    mode: str


class Values(NamedTuple):
    """The lowest and the highest number of an image of more than 8 bits, and the number that is white: None where
    nothing says so."""

    low: float
    high: float
    white: float | None


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


def decode(
    content: bytes | np.ndarray, size: int, channels: int, pixel_range: tuple[float, float] | None = None
) -> Decoded:
    """Decodes, turns upright as EXIF says, cuts the centre square, and resizes it (antialiased bilinear).

    The first frame stands for an animation; transparency is laid on white; more than 8 bits are scaled to 8.

    Args:
        content: An encoded file, or an array of shape (H, W) or (H, W, C).
        size: Pixels a side of the result.
        channels: 1 (luma) or 3 (RGB).
        pixel_range: The numbers that are black and white in images of more than 8 bits; None: what their format states.

    Raises:
        UndecodableError: Empty, truncated, not an image, larger than the `pixel_limit`, or of numbers without a range.
    """
    if not len(content):
        raise UndecodableError("empty file")
    return _read(content, lambda content: _decode(content, size, channels, pixel_range))


def decode_alone(
    content: bytes | np.ndarray, size: int, channels: int, pixel_range: tuple[float, float] | None = None
) -> np.ndarray:
    """The pixels that `decode` gives of an image that comes without others, uint8 of shape (C, size, size).

    Raises:
        UndecodableError: As there; or the image has more than 8 bits and is nearly black. It probably uses a part of
            its range, as where 12 bits are stored in 16; only others of its kind could tell.
    """
    decoded = decode(content, size, channels, pixel_range)
    if decoded.is_dim and pixel_range is None:
        raise UndecodableError(
            "it has more than 8 bits and uses less than a quarter of the range that its format states, so it would be "
            "nearly black: convert it to 8 bits, or use a model trained with ingestion.pixel_range"
        )
    return decoded.pixels


def header(content: Path | bytes | np.ndarray) -> Header:
    """Reads no pixels, and of a file no more than its beginning. Raises UndecodableError where it is no image."""

    def read(content: Path | bytes | np.ndarray) -> Header:
        with _opened(content) as image:
            return Header(*image.size, _mode(image))

    return _read(content, read)


def values(content: Path | bytes | np.ndarray) -> Values:
    """The numbers that an image of more than 8 bits is made of. Raises UndecodableError as `decode` does."""

    def read(content: Path | bytes | np.ndarray) -> Values:
        with _opened(content) as image:
            coloured = not is_grey(_mode(image))
            white = 65_535 if coloured else _white(image)
            numbers = np.asarray(image).astype(np.float64) * (257 if coloured else 1)
            numbers = numbers[np.isfinite(numbers)]
            return Values(float(numbers.min()), float(numbers.max()), white)

    return _read(content, read)


def is_grey(mode: str) -> bool:
    return mode in GREY or mode.startswith("I;16")


def is_deep(mode: str) -> bool:
    """Whether the pixels have more than 8 bits a channel."""
    return mode in ("I", "F") or SIXTEEN in mode


def check_header(path: Path) -> None:
    """Raises UndecodableError where the first bytes of a file say that `decode` would, without reading all of it."""
    if not _is_png(path):  # of which all may have to be read: what stands beside the pixels may be damaged
        header(path)


def _read(content: Path | bytes | np.ndarray, read: Callable[..., Result]) -> Result:
    """What `read` makes of an image. What stands in a PNG beside its pixels is no reason to refuse it: texts and colour
    profiles of which Pillow reads no more than a megabyte, a wrong checksum in one."""
    try:
        return read(content)
    except UndecodableError:
        if not _is_png(content):
            raise
        return read(_bare_png(content.read_bytes() if isinstance(content, Path) else content))


def _is_png(content: Path | bytes | np.ndarray) -> bool:
    if isinstance(content, Path):
        with content.open("rb") as file:
            content = file.read(len(PNG))
    return isinstance(content, bytes) and content.startswith(PNG)


def _bare_png(content: bytes) -> bytes:
    """A PNG without what is no part of its pixels."""
    parts, place = [PNG], len(PNG)
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        chunk = content[place : place + 12 + length]
        place += 12 + length
        is_whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if name in PNG_IMAGE and (is_whole or name.isupper()):  # small letters: an image is one without it
            parts.append(chunk)
    return b"".join(parts)


def _decode(content: bytes | np.ndarray, size: int, channels: int, pixel_range: tuple[float, float] | None) -> Decoded:
    wanted = "L" if channels == 1 else "RGB"
    with _opened(content) as image:
        (width, height), mode = image.size, _mode(image)
        image.draft(wanted, (DRAFT * size, DRAFT * size))
        image.load()  # which turns a TIFF upright, and no other format
        orientation = _orientation(image)
        image = _to_mode(_eight_bits(image, mode, pixel_range), wanted)
        if orientation in UPRIGHT:  # before it is resized: Pillow rounds columns, then rows
            image = image.transpose(UPRIGHT[orientation])
        pixels = np.asarray(_centre_square(image, size)).reshape(size, size, channels).transpose(2, 0, 1)
    return Decoded(np.ascontiguousarray(pixels), width, height, mode)


@contextmanager
def _opened(content: Path | bytes | np.ndarray) -> Iterator[Image.Image]:
    """An image that is not loaded yet; what goes wrong with it, here and in the block, becomes an UndecodableError."""
    with _as_undecodable():
        if isinstance(content, np.ndarray):
            yield Image.fromarray(content)
        else:
            with Image.open(BytesIO(content) if isinstance(content, bytes) else content) as image:
                yield image


@contextmanager
def _as_undecodable() -> Iterator[None]:
    try:
        yield
    except UndecodableError:
        raise
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


def _mode(image: Image.Image) -> str:
    """The mode of an image that is not loaded yet; of colours of 16 bits a channel, with `;16` behind it."""
    tiles = getattr(image, "tile", [])  # an array has none
    is_deep_colour = not is_grey(image.mode) and SIXTEEN in str(tiles[:1])
    return image.mode + SIXTEEN * is_deep_colour


def _eight_bits(image: Image.Image, mode: str, pixel_range: tuple[float, float] | None) -> Image.Image:
    """A loaded image with numbers from 0 to 255, as it is where they are that."""
    if not is_deep(mode):
        return image
    if not is_grey(mode):
        if pixel_range:
            raise UndecodableError(
                "colours of 16 bits are read in their whole range alone: convert it to 8 bits, as "
                "ingestion.pixel_range would"
            )
        return image  # Pillow has left the upper 8 bits
    if pixel_range is None and _white(image) is None:
        kind = "floating-point" if image.mode == "F" else "signed or 32-bit"
        raise UndecodableError(
            f"{kind} pixels have no agreed range: set ingestion.pixel_range to the numbers that are black and white"
        )
    low, high = pixel_range or (0, _white(image))
    numbers = np.asarray(image).astype(np.float64 if image.mode == "I" else np.float32)
    if not np.isfinite(numbers).all():
        raise UndecodableError("some of its pixels are no numbers (NaN or infinite)")
    scaled = ((numbers - low) * (255 / (high - low))).round().clip(0, 255)
    if image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        scaled = 255 - scaled  # as Pillow does where there are 8 bits
    if (clear := image.info.get("transparency")) is not None:
        scaled[numbers == clear] = 255
    return Image.fromarray(scaled.astype(np.uint8))


def _white(image: Image.Image) -> int | None:
    """The number that is white by the format of a grey image of more than 8 bits, where 0 is black."""
    if image.mode == "I":  # of 32 bits, and signed; Pillow also holds in it what a PGM scales to 16 bits
        return 65_535 if image.format in ("PNG", "PPM") else None
    if image.mode == "F" or image.format not in FULL_SIXTEEN:
        return None
    return 2 ** image.tag_v2.get(BITS_PER_SAMPLE, (16,))[0] - 1 if image.format == "TIFF" else 65_535


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "LAB":
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _centre_square(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)

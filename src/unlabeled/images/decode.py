"""One encoded image to one uint8 array, whatever its format, mode, size and orientation."""

import math
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

Result = TypeVar("Result")
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "AVIF", "PPM", "ICO", "ICNS"),
    *("PCX", "DDS", "SGI", "SUN", "XBM", "XPM", "TGA"),
)
"""What is opened, whatever a file is called. EPS is not: Pillow would start Ghostscript on it. TGA, which has no mark,
comes last."""
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
MAX_PIXELS = 50_000_000
"""Pixels of an image that is decoded outside of a `pixel_limit`, as where a model is served."""
BYTES_A_PIXEL = 10
"""What decoding may take for each pixel of the limit."""
LEAST_ROOM, ROOM_A_CORE = 2**26, 2**27
"""Bytes that decoding may take whatever the limit is: one image, and all threads for each core."""
HELD = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes a pixel of Pillow's modes; all others have 4."""
POINTER = 8
"""Bytes that Pillow takes for each row of an image."""
BESIDE = {"WEBP": 12, "AVIF": 12, "JPEG2000": 16, "TIFF": 2}
"""Bytes a pixel that a decoder takes beside the image that it makes."""
COEFFICIENTS = 6
"""The same of a JPEG of several scans."""
MAX_SCANS = 50
"""Scans of a JPEG: each takes as long as a whole image, and cameras and programs make no more than some 12."""
SCAN, MARKER = b"\xff\xda", re.compile(rb"\xff+[^\x00\xff\xd0-\xd8]")
"""What begins a scan, and any part of a JPEG."""
BAND = 2**22
"""Pixels that are converted at a time: what lies between one mode and another takes several times their memory. Larger
images are cut before; not smaller ones, as their resizing rounds by the shape of what is resized."""


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


class Limit:
    """How large an image may be, and the memory in which all threads decode.

    Args:
        pixels: Of an image.
        name: What messages call the limit.
    """

    def __init__(self, pixels: int, name: str):
        self.pixels, self.name = pixels, name
        self.most = max(LEAST_ROOM, BYTES_A_PIXEL * pixels)
        self._left = max(self.most, ROOM_A_CORE * (os.cpu_count() or 1))
        self._more = threading.Condition()

    @contextmanager
    def room(self, needed: int) -> Generator[None]:
        """Waits until so many bytes are left by the other threads, and takes them for the block.

        Raises:
            UndecodableError: One image may not take so many.
        """
        if needed > self.most:
            raise UndecodableError(
                f"larger than {self.name} allows: decoding it takes some {needed / 1e6:,.0f} MB, and "
                f"{self.most / 1e6:,.0f} at most are taken"
            )
        with self._more:
            self._more.wait_for(lambda: self._left >= needed)
            self._left -= needed
        try:
            yield
        finally:
            with self._more:
                self._left += needed
                self._more.notify_all()


_limits = [Limit(MAX_PIXELS, f"{MAX_PIXELS:,} pixels")]
"""The last one holds, for all threads."""


@contextmanager
def pixel_limit(pixels: int) -> Generator[None]:
    """Within it, `ingestion.max_pixels` is the largest image, and Pillow keeps quiet of oddities that do no harm.
    (Process-wide.)"""
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = pixels
        _limits.append(Limit(pixels, f"ingestion.max_pixels={pixels}"))
        try:
            yield
        finally:
            _limits.pop()
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
            with _limits[-1].room(_memory(image)):
                found = [_extremes(np.asarray(image.crop(band))) for band in _bands((0, 0, *image.size))]
            low, high = np.array([each for each in found if each], np.float64).T * (257 if coloured else 1)
            return Values(float(low.min()), float(high.max()), white)

    return _read(content, read)


def _extremes(numbers: np.ndarray) -> tuple[float, float] | None:
    """The lowest and the highest number; None: there is none that is finite."""
    finite = numbers[np.isfinite(numbers)]
    return (finite.min(), finite.max()) if finite.size else None


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
        if isinstance(content, np.ndarray) or not _is_png(content):
            raise
        return read(_bare_png(content if isinstance(content, bytes) else content.read_bytes()))


def _is_png(content: Path | bytes) -> bool:
    if isinstance(content, Path):
        with content.open("rb") as file:
            content = file.read(len(PNG))
    return content.startswith(PNG)


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
        if isinstance(image, JpegImageFile) and isinstance(content, bytes):
            _check_scans(image, content)
        beside = _beside(image)
        image.draft(wanted, (DRAFT * size, DRAFT * size))
        with _limits[-1].room(_memory(image, beside)):
            image.load()  # which turns a TIFF upright, and no other format
            orientation = _orientation(image)
            square = _converted(image, mode, size, wanted, pixel_range)
            if orientation in UPRIGHT:  # before it is resized: Pillow rounds columns, then rows
                square = square.transpose(UPRIGHT[orientation])
            pixels = np.asarray(_centre_square(square, size)).reshape(size, size, channels).transpose(2, 0, 1)
    return Decoded(np.ascontiguousarray(pixels), width, height, mode)


def _check_scans(image: JpegImageFile, content: bytes) -> None:
    """Raises UndecodableError for a JPEG of more than MAX_SCANS scans."""
    scans, place = 0, 2
    while marker := MARKER.search(content, place):
        place = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2])
        if not marker[0].endswith(SCAN):
            continue
        scans += 1
        if content[marker.end() + 2 : marker.end() + 3] == bytes([image.layers]) and "progressive" not in image.info:
            return  # all there is in one scan
        if scans > MAX_SCANS:
            raise UndecodableError(f"a JPEG of more than {MAX_SCANS} scans, each of which takes the time of an image")


def _beside(image: Image.Image) -> int:
    """Bytes that the decoder of an image takes beside what it makes."""
    scans = COEFFICIENTS if "progressive" in image.info else 0
    return math.prod(image.size) * BESIDE.get(image.format, scans)


def _memory(image: Image.Image, beside: int | None = None) -> int:
    """About the bytes that decoding and converting an image takes; `beside`: as `_beside` gives them."""
    held = math.prod(image.size) * HELD.get(image.mode, 4) + POINTER * image.height + 4 * min(image.size) ** 2
    return held + (_beside(image) if beside is None else beside)


@contextmanager
def _opened(content: Path | bytes | np.ndarray) -> Generator[Image.Image]:
    """An image that is not loaded yet; what goes wrong with it, here and in the block, becomes an UndecodableError."""
    with _as_undecodable():
        if isinstance(content, np.ndarray):
            yield Image.fromarray(content)
        else:
            with Image.open(BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS) as image:
                if math.prod(image.size) > _limits[-1].pixels:
                    raise UndecodableError(f"larger than {_limits[-1].name}")
                yield image


@contextmanager
def _as_undecodable() -> Generator[None]:
    try:
        yield
    except UndecodableError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UndecodableError(f"larger than {_limits[-1].name}") from error
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
    tiles = getattr(image, "tile", None)  # an array has none
    return image.mode + SIXTEEN if tiles and not is_grey(image.mode) and SIXTEEN in str(tiles[0][3]) else image.mode


def _converted(
    image: Image.Image, mode: str, size: int, wanted: str, pixel_range: tuple[float, float] | None
) -> Image.Image:
    """A loaded image with numbers from 0 to 255 in the wanted mode; of a large one that is not that, the middle that
    `_centre_square` looks at."""
    if not is_deep(mode):
        scaled = None
    elif is_grey(mode):
        scaled = _scaling(image, pixel_range)
    elif pixel_range:
        raise UndecodableError(
            "colours of 16 bits are read in their whole range alone: convert it to 8 bits, as ingestion.pixel_range "
            "would"
        )
    else:
        scaled = None  # Pillow has left the upper 8 bits
    if scaled is None and image.mode == wanted and not image.has_transparency_data:
        return image
    if math.prod(image.size) <= BAND:
        return _to_mode(image, wanted, scaled)
    left, top, right, bottom = box = _middle(image, size)
    made = Image.new(wanted, (right - left, bottom - top))
    for band in _bands(box):
        made.paste(_to_mode(image.crop(band), wanted, scaled), (0, band[1] - top))
    return made


def _middle(image: Image.Image, size: int) -> tuple[int, int, int, int]:
    """The centre square and, where there are some, the pixels around it that have a part in resizing it."""
    side = min(image.size)
    around = math.ceil(side / size / 2) + 2
    left, top = (max(0, (length - side) // 2 - around) for length in image.size)
    return left, top, image.width - left, image.height - top


def _bands(box: tuple[int, int, int, int]) -> Iterator[tuple[int, int, int, int]]:
    """A box in parts of BAND pixels, one below the other."""
    left, top, right, bottom = box
    rows = max(1, BAND // (right - left))
    return ((left, start, right, min(start + rows, bottom)) for start in range(top, bottom, rows))


def _scaling(image: Image.Image, pixel_range: tuple[float, float] | None) -> Callable[[Image.Image], Image.Image]:
    """What turns parts of a grey image of more than 8 bits into one of 8."""
    white = _white(image)
    if pixel_range:
        low, high = pixel_range
    elif white is not None:
        low, high = 0, white
    else:
        kind = "floating-point" if image.mode == "F" else "signed or 32-bit"
        raise UndecodableError(
            f"{kind} pixels have no agreed range: set ingestion.pixel_range to the numbers that are black and white"
        )
    turned = isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO

    def scaled(part: Image.Image) -> Image.Image:
        numbers = np.asarray(part).astype(np.float64 if part.mode == "I" else np.float32)
        if not np.isfinite(numbers).all():
            raise UndecodableError("some of its pixels are no numbers (NaN or infinite)")
        eight = ((numbers - low) * (255 / (high - low))).round().clip(0, 255)
        if turned:
            eight = 255 - eight  # as Pillow does where there are 8 bits
        if (clear := part.info.get("transparency")) is not None:
            eight[numbers == clear] = 255
        return Image.fromarray(eight.astype(np.uint8))

    return scaled


def _white(image: Image.Image) -> int | None:
    """The number that is white by the format of a grey image of more than 8 bits, where 0 is black."""
    if image.mode == "I":  # of 32 bits, and signed; Pillow also holds in it what a PGM scales to 16 bits
        return 65_535 if image.format in ("PNG", "PPM") else None
    if image.mode == "F" or image.format not in FULL_SIXTEEN:
        return None
    return 2 ** image.tag_v2.get(BITS_PER_SAMPLE, (16,))[0] - 1 if isinstance(image, TiffImageFile) else 65_535


def _to_mode(image: Image.Image, mode: str, scaled: Callable[[Image.Image], Image.Image] | None) -> Image.Image:
    if scaled:
        image = scaled(image)
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

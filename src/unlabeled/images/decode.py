"""Decoding of one encoded image to one uint8 array, for any format, mode, size and orientation."""

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

from unlabeled.images import dicom, heic
from unlabeled.images.undecodable import UndecodableError

Result = TypeVar("Result")
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "AVIF", "PPM", "ICO", "ICNS"),
    *("PCX", "DDS", "SGI", "SUN", "XBM", "XPM", "TGA"),
)
"""Pillow formats that are opened, regardless of a file's name. EPS is left out: Pillow would start Ghostscript on it.
TGA, which has no signature, comes last."""
OPENED = ("DICOM", "HEIF", *FORMATS)
"""All formats that are opened: Pillow's, and those of the modules `dicom` and `heic`."""
Image.register_open("DICOM", dicom.DicomImage)
Image.register_open("HEIF", heic.open_heif, heic.is_heif)
DRAFT_RATIO = 2
"""Least ratio of a JPEG's decoded size to the wanted size: decoding at reduced size is faster, and as good once
resized."""
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""The transposition that turns an image upright, by its EXIF orientation."""
GREY = ("1", "L", "LA", "La", "I", "F")
"""Pillow's modes without colour, except those of 16 bits, I;16 and its variants."""
SIXTEEN = ";16"
"""Pillow's mark of 16 bits a channel. Our modes add it for colours too, of which Pillow reads only the upper eight
bits."""
FULL_SIXTEEN = {None, "JPEG2000", "PNG", "PPM", "TIFF"}
"""Formats whose 16-bit values go from 0 (black) to the highest value of their stated bits (white), by themselves or as
Pillow scales them. None: an array."""
DIM_SHARE = 1 / 4
"""Fraction of the range below which an image is dim: at least two of its bits are unused."""
PHOTOMETRIC, WHITE_IS_ZERO, BITS_PER_SAMPLE = 262, 0, 258
"""Two TIFF tags, and a value of the first."""
PNG = b"\x89PNG\r\n\x1a\n"
PNG_IMAGE = {b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"}
"""The chunks of a PNG that hold its pixels and their orientation."""
MAX_PIXELS = 50_000_000
"""Largest number of pixels of an image that is decoded outside of a `pixel_limit`, as where a model is served."""
BYTES_A_PIXEL = 10
"""Largest memory of decoding, in bytes for each pixel of the limit."""
LEAST_ROOM, ROOM_A_CORE = 2**26, 2**27
"""Bytes that decoding may always take: for one image, and, for all threads together, for each core."""
BYTES_BY_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes a pixel of Pillow's modes; all others take 4."""
ROW_BYTES = 8
"""Bytes that Pillow takes for each row of an image."""
EXTRA_BYTES_BY_FORMAT = {"WEBP": 12, "AVIF": 12, "JPEG2000": 16, "TIFF": 2, "HEIF": 12, "DICOM": 24}
"""Bytes a pixel that a decoder takes in addition to the image that it makes."""
SCAN_BYTES = 6
"""Bytes a pixel that a JPEG of several scans takes in addition to its image, for its coefficients."""
MAX_SCANS = 50
"""Largest number of scans of a JPEG: each takes as long as a whole image, and cameras and programs make at most about
12."""
SCAN, MARKER = b"\xff\xda", re.compile(rb"\xff+[^\x00\xff\xd0-\xd8]")
"""The bytes that begin a scan, and a pattern of those that begin any segment of a JPEG."""
BAND_PIXELS = 2**22
"""Pixels that are converted at a time: an intermediate mode takes several times their memory. Larger images are cut
first. Smaller ones are not, as resizing rounds by the shape of its input."""


@dataclass(frozen=True)
class Decoded:
    """A decoded image, and its properties as it was stored.

    Attributes:
        pixels: uint8 of shape (C, size, size).
        width, height: Size of the stored image in pixels.
        mode: Pillow's mode of the stored image, with `;16` appended for colours of 16 bits a channel.
    """

    pixels: np.ndarray
    width: int
    height: int
    mode: str

    @property
    def is_dim(self) -> bool:
        """Whether an image of more than 8 bits is nearly black, perhaps because it uses only a part of its range."""
        return is_deep(self.mode) and int(self.pixels.max()) < 256 * DIM_SHARE


class Header(NamedTuple):
    """Size and mode of an image, from its first bytes."""

    width: int
    height: int
    mode: str


class Values(NamedTuple):
    """The lowest and the highest value of an image of more than 8 bits, and the value that is white; None where its
    format states none."""

    low: float
    high: float
    white: float | None


class Limit:
    """Largest size of an image, and the memory in which all threads decode.

    Args:
        pixels: Largest number of pixels of an image.
        name: Name of the limit in messages.
    """

    def __init__(self, pixels: int, name: str):
        self.pixels, self.name = pixels, name
        self.most = max(LEAST_ROOM, BYTES_A_PIXEL * pixels)
        self._left = max(self.most, ROOM_A_CORE * (os.cpu_count() or 1))
        self._more = threading.Condition()

    @contextmanager
    def room(self, needed: int) -> Generator[None]:
        """Waits until this many bytes are free, and reserves them for the block.

        Raises:
            UndecodableError: One image may not take that many.
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
"""Stack of limits; the last one applies to all threads."""


@contextmanager
def pixel_limit(pixels: int) -> Generator[None]:
    """Context in which `ingestion.max_pixels` limits the size of images, and Pillow does not warn of harmless oddities.
    (Process-wide.)"""
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL|pydicom")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = pixels
        _limits.append(Limit(pixels, f"ingestion.max_pixels={pixels}"))
        try:
            yield
        finally:
            _limits.pop()
            Image.MAX_IMAGE_PIXELS = before


def decode(
    content: bytes | np.ndarray,
    size: int,
    channels: int,
    pixel_range: tuple[float, float] | None = None,
    resize: str = "crop",
) -> Decoded:
    """Decodes, turns upright as EXIF says, and makes a square (antialiased bilinear).

    Of an animation the first frame is taken; transparency is laid on white; more than 8 bits are scaled to 8.

    Args:
        content: An encoded file, or an array of shape (H, W) or (H, W, C).
        size: Pixels a side of the result.
        channels: 1 (luma) or 3 (RGB).
        pixel_range: The numbers that are black and white in images of more than 8 bits; None: what their format states.
        resize: A key of SQUARES. `crop`: the centre square; `pad`: the whole image with a border; `squash`: the whole
            image, stretched.

    Raises:
        UndecodableError: The content is empty, truncated, not an image, above the `pixel_limit`, or has values without
            a range.
    """
    if not len(content):
        raise UndecodableError("empty file")
    return _read(content, lambda content: _decode(content, size, channels, pixel_range, resize))


def decode_alone(
    content: bytes | np.ndarray,
    size: int,
    channels: int,
    pixel_range: tuple[float, float] | None = None,
    resize: str = "crop",
) -> np.ndarray:
    """Decodes a single image without others to compare it with, as `decode` does: uint8 of shape (C, size, size).

    Raises:
        UndecodableError: As in `decode`; or the image has more than 8 bits and is nearly black. It probably uses part
            of its range, as where 12 bits are stored in 16; only other images of the same source could tell.
    """
    decoded = decode(content, size, channels, pixel_range, resize)
    if decoded.is_dim and pixel_range is None:
        raise UndecodableError(
            "it has more than 8 bits and uses less than a quarter of the range that its format states, so it would be "
            "nearly black: convert it to 8 bits, or use a model trained with ingestion.pixel_range"
        )
    return decoded.pixels


def header(content: Path | bytes | np.ndarray) -> Header:
    """The header of an image; reads no pixels, and only the beginning of a file. Raises UndecodableError where it is no
    image."""

    def read(content: Path | bytes | np.ndarray) -> Header:
        with _opened(content) as image:
            return Header(*image.size, _mode(image))

    return _read(content, read)


def values(content: Path | bytes | np.ndarray) -> Values:
    """The values of an image of more than 8 bits. Raises UndecodableError as `decode` does."""

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
    """The lowest and the highest finite value; None where there is none."""
    finite = numbers[np.isfinite(numbers)]
    return (finite.min(), finite.max()) if finite.size else None


def is_grey(mode: str) -> bool:
    return mode in GREY or mode.startswith("I;16")


def is_deep(mode: str) -> bool:
    """Whether the pixels have more than 8 bits a channel."""
    return mode in ("I", "F") or SIXTEEN in mode


def check_header(path: Path) -> None:
    """Raises UndecodableError where the first bytes of a file show that `decode` would fail, without reading all of
    it."""
    if not _is_png(path):  # a PNG may have to be read in full: chunks before its pixels may be damaged
        header(path)


def _read(content: Path | bytes | np.ndarray, read: Callable[..., Result]) -> Result:
    """Applies `read` to an image. Damage of a PNG outside of its pixels is ignored, such as a wrong checksum, or texts
    and colour profiles of which Pillow reads at most a megabyte."""
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
    """A PNG without the chunks that are not part of its pixels."""
    parts, place = [PNG], len(PNG)
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        chunk = content[place : place + 12 + length]
        place += 12 + length
        is_whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if name in PNG_IMAGE and (is_whole or name.isupper()):  # small letters: a chunk that images do not need
            parts.append(chunk)
    return b"".join(parts)


def _decode(
    content: bytes | np.ndarray, size: int, channels: int, pixel_range: tuple[float, float] | None, resize: str
) -> Decoded:
    wanted = "L" if channels == 1 else "RGB"
    with _opened(content) as image:
        (width, height), mode = image.size, _mode(image)
        if isinstance(image, JpegImageFile) and isinstance(content, bytes):
            _check_scans(image, content)
        beside = _beside(image)
        image.draft(wanted, (DRAFT_RATIO * size, DRAFT_RATIO * size))
        with _limits[-1].room(_memory(image, beside, resize == "crop")):
            image.load()  # this turns a TIFF upright, but no other format
            orientation = _orientation(image)
            used = _middle(image, size) if resize == "crop" else (0, 0, *image.size)
            converted = _converted(image, mode, used, wanted, pixel_range)
            if orientation in UPRIGHT:  # before it is resized: Pillow rounds columns, then rows
                converted = converted.transpose(UPRIGHT[orientation])
            square = converted if converted.size == (size, size) else SQUARES[resize](converted, size)
            pixels = np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)
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
            return  # a single scan
        if scans > MAX_SCANS:
            raise UndecodableError(f"a JPEG of more than {MAX_SCANS} scans, each of which takes the time of an image")


def _beside(image: Image.Image) -> int:
    """Bytes that the decoder of an image takes in addition to its output."""
    scans = SCAN_BYTES if "progressive" in image.info else 0
    return math.prod(image.size) * EXTRA_BYTES_BY_FORMAT.get(image.format, scans)


def _memory(image: Image.Image, beside: int | None = None, cropped: bool = True) -> int:
    """Approximate memory in bytes of decoding an image and converting its centre square, or all of it; `beside`: the
    part that `_beside` gives."""
    converted = min(image.size) ** 2 if cropped else math.prod(image.size)
    held = math.prod(image.size) * BYTES_BY_MODE.get(image.mode, 4) + ROW_BYTES * image.height + 4 * converted
    return held + (_beside(image) if beside is None else beside)


@contextmanager
def _opened(content: Path | bytes | np.ndarray) -> Generator[Image.Image]:
    """Opens an image without loading it; errors, here and in the block, become an UndecodableError."""
    with _as_undecodable():
        if isinstance(content, np.ndarray):
            yield Image.fromarray(content)
        else:
            with Image.open(BytesIO(content) if isinstance(content, bytes) else content, formats=OPENED) as image:
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
    except Exception as error:  # decoders raise errors of every kind on hostile files
        raise UndecodableError(f"{type(error).__name__}: {error}") from error


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # an image with damaged EXIF is still usable
        return None


def _mode(image: Image.Image) -> str:
    """The mode of an image that is not loaded yet, with `;16` appended for colours of 16 bits a channel."""
    tiles = getattr(image, "tile", None)  # an array has none
    return image.mode + SIXTEEN if tiles and not is_grey(image.mode) and SIXTEEN in str(tiles[0][3]) else image.mode


def _converted(
    image: Image.Image,
    mode: str,
    used: tuple[int, int, int, int],
    wanted: str,
    pixel_range: tuple[float, float] | None,
) -> Image.Image:
    """A loaded image with values from 0 to 255 in the wanted mode. A large image in another mode is cut to the box that
    is used."""
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
    if math.prod(image.size) <= BAND_PIXELS:
        return _to_mode(image, wanted, scaled)
    left, top, right, bottom = used
    made = Image.new(wanted, (right - left, bottom - top))
    for band in _bands(used):
        made.paste(_to_mode(image.crop(band), wanted, scaled), (0, band[1] - top))
    return made


def _middle(image: Image.Image, size: int) -> tuple[int, int, int, int]:
    """The centre square and the pixels around it, where there are any, that contribute to resizing it."""
    side = min(image.size)
    around = math.ceil(side / size / 2) + 2
    left, top = (max(0, (length - side) // 2 - around) for length in image.size)
    return left, top, image.width - left, image.height - top


def _bands(box: tuple[int, int, int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Splits a box into parts of BAND_PIXELS pixels, one below the other."""
    left, top, right, bottom = box
    rows = max(1, BAND_PIXELS // (right - left))
    return ((left, start, right, min(start + rows, bottom)) for start in range(top, bottom, rows))


def _scaling(image: Image.Image, pixel_range: tuple[float, float] | None) -> Callable[[Image.Image], Image.Image]:
    """A function that turns parts of a grey image of more than 8 bits into 8 bits."""
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
    """The white value, by the format, of a grey image of more than 8 bits in which 0 is black; None where it states
    none."""
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
    """The centre square, resized; the ends of the longer side are cut off."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)


def _padded(image: Image.Image, size: int) -> Image.Image:
    """The whole image, resized, in the middle of a square of the mean colour of its outermost pixels."""
    width, height = (max(1, round(length * size / max(image.size))) for length in image.size)
    fitted = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    square = Image.new(image.mode, (size, size), _border_colour(fitted))
    square.paste(fitted, ((size - width) // 2, (size - height) // 2))
    return square


def _border_colour(image: Image.Image) -> tuple[int, ...]:
    """Mean of the first and last rows and columns, a number for each channel."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    outermost = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(outermost.mean(0).round().astype(int).tolist())


def _squashed(image: Image.Image, size: int) -> Image.Image:
    """The whole image, stretched to a square."""
    return image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)


SQUARES = {"crop": _centre_square, "pad": _padded, "squash": _squashed}
"""Functions that make a square of an image, by the values of `ingestion.resize`."""

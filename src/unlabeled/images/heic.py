"""HEIC and HEIF, the photographs of phones, as a format of Pillow; read by pillow-heif where it is installed."""

from typing import IO

from PIL import ImageFile

from unlabeled.images.undecodable import check_package

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
"""Major brands of HEIF files. (AVIF has its own, and is read by Pillow.)"""


def is_heif(prefix: bytes) -> bool:
    return prefix[4:8] == b"ftyp" and prefix[8:12] in BRANDS


def open_heif(file: IO[bytes], name: str | bytes) -> ImageFile.ImageFile:
    """The primary image of a file, upright. Thumbnails in the file are not used.

    Raises:
        UndecodableError: pillow-heif is not installed.
    """
    check_package("pillow_heif", "pillow-heif", "HEIC")
    from pillow_heif import HeifImageFile, options  # loads libheif, which few data need

    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    options.DECODE_THREADS = 1  # images are decoded side by side already
    return HeifImageFile(file, name)

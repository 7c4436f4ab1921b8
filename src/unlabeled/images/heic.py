"""HEIC and HEIF, the photographs of phones, as a format of Pillow; read by pi-heif where it is installed."""

from typing import IO

from PIL import ImageFile

from unlabeled.images.undecodable import check_package

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
"""Major brands of HEIF files. (AVIF has its own, and is read by Pillow.)"""

OPTIONS = {"THUMBNAILS": False, "DEPTH_IMAGES": False, "AUX_IMAGES": False, "DECODE_THREADS": 1}
"""Settings of pi-heif, which reads HEIC alone: the wheels of pillow-heif, which writes it too, are under the GPL. One
thread, as images are decoded side by side already."""


def is_heif(prefix: bytes) -> bool:
    return prefix[4:8] == b"ftyp" and prefix[8:12] in BRANDS


def open_heif(file: IO[bytes], name: str | bytes) -> ImageFile.ImageFile:
    """The primary image of a file, upright. Thumbnails in the file are not used.

    Raises:
        UndecodableError: pi-heif is not installed.
    """
    check_package("pi_heif", "pi-heif", "HEIC")
    from pi_heif import HeifImageFile, options  # loads libheif, which few data need

    for option, value in OPTIONS.items():
        setattr(options, option, value)
    return HeifImageFile(file, name)

"""DICOM, the images of hospitals, as a format of Pillow; read by pydicom where it is installed.

An image becomes 8 bits as the standard displays it (PS3.3, C.7.6.3 and C.11): the modality's lookup table or rescaling,
then the window or lookup table of interest. Only the attributes in ATTRIBUTES are read, and no message repeats a value
of the file, so that no patient's data leave it.
"""

import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image, ImageFile

from unlabeled.images.undecodable import UndecodableError, check_package

if TYPE_CHECKING:
    from pydicom import Dataset

PREAMBLE, MAGIC = 128, b"DICM"
NAKED = tuple(struct.pack("<HH", 8, element) for element in (0, 1, 5, 8, 0x16)) + (b"\2\0\0\0", b"\2\0\1\0")
"""First bytes of a file without preamble: its first group begins with one of these elements."""
PIXELS = ["PixelData", "FloatPixelData", "DoubleFloatPixelData"]
ATTRIBUTES = [
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ModalityLUTSequence", "VOILUTSequence"),
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
]
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1")
RLE = "1.2.840.10008.1.2.5"
MAX_SCANS = 50
"""Largest number of scans of a JPEG inside a file."""


class DicomImage(ImageFile.ImageFile):
    """The first frame of a DICOM file, as L or RGB."""

    format = "DICOM"
    format_description = "Digital Imaging and Communications in Medicine"

    def _open(self) -> None:
        self._file = cast(IO[bytes], self.fp)
        head = self._file.read(PREAMBLE + len(MAGIC))
        if head[PREAMBLE:] != MAGIC and not head.startswith(NAKED):
            raise SyntaxError("not a DICOM file")  # Pillow asks the next format
        check_package("pydicom", "pydicom", "DICOM")
        with _one_sentence():
            dataset = _read(self._file, pixels=False)
            width, height = int(dataset.get("Columns") or 0), int(dataset.get("Rows") or 0)
        if not width or not height:
            raise UndecodableError("a DICOM file without an image")
        self._size, self._mode = (width, height), _mode(dataset)
        self._waiting = True

    def load(self) -> Any:
        if self._waiting:
            with _one_sentence():
                self.im = Image.fromarray(_pixels(_read(self._file, pixels=True)), self.mode).im
            self._waiting = False
        return Image.Image.load(self)


@contextmanager
def _one_sentence() -> Generator[None]:
    """Turns pydicom's errors, whose messages may repeat values of the file, into one sentence."""
    try:
        yield
    except UndecodableError:
        raise
    except Exception:
        raise UndecodableError("a damaged or truncated DICOM file") from None


def _read(file: IO[bytes], pixels: bool) -> "Dataset":
    """The attributes that an image needs, with or without its pixels."""
    from pydicom import config, dcmread
    from pydicom.filereader import read_dataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    config.settings.reading_validation_mode = config.IGNORE
    file.seek(0)
    has_preamble = file.read(PREAMBLE + len(MAGIC))[PREAMBLE:] == MAGIC
    file.seek(PREAMBLE + len(MAGIC) if has_preamble else 0)
    meta = read_dataset(cast(Any, file), False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    if meta.get("TransferSyntaxUID") in DEFLATED:  # pydicom would inflate it without a limit
        raise UndecodableError("a deflated DICOM file: store it without compression, or as JPEG 2000")
    file.seek(0)
    wanted = ATTRIBUTES + (PIXELS if pixels else [])
    dataset = dcmread(file, stop_before_pixels=not pixels, force=True, specific_tags=wanted)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    for group in _functional_groups(dataset):
        for key in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in list(group.get(key) or [])[:1]:
                dataset.update({each.keyword: each.value for each in item if each.keyword in ATTRIBUTES})
    return dataset


def _functional_groups(dataset: "Dataset") -> Iterator["Dataset"]:
    """What a file of several frames says of all of them, and of the first."""
    for key in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        yield from list(dataset.get(key) or [])[:1]


def _mode(dataset: "Dataset") -> str:
    meaning, samples = dataset.get("PhotometricInterpretation"), dataset.get("SamplesPerPixel", 1)
    if meaning in GREY and samples == 1:
        return "L"
    if meaning in COLOURS and samples == (1 if meaning == "PALETTE COLOR" else 3):
        return "RGB"
    raise UndecodableError(f"a DICOM file whose photometric interpretation is none of {', '.join(GREY + COLOURS)}")


def _pixels(dataset: "Dataset") -> np.ndarray:
    """The first frame as it is displayed: uint8 (H, W) or (H, W, 3)."""
    from pydicom.pixels import apply_color_lut, pixel_array

    if not any(key in dataset for key in PIXELS):
        raise UndecodableError("a DICOM file without pixels")
    _check_compressed(dataset)
    numbers = pixel_array(dataset, index=0)
    if dataset.PhotometricInterpretation in GREY:
        return _displayed(dataset, numbers)
    bits = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        numbers = apply_color_lut(numbers, dataset)
        bits = 8 * numbers.itemsize
    return (numbers >> max(0, bits - 8)).astype(np.uint8)


def _displayed(dataset: "Dataset", numbers: np.ndarray) -> np.ndarray:
    """Grey values from 0 (black) to 255 (white)."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    if "ModalityLUTSequence" in dataset:
        numbers = apply_modality_lut(numbers, dataset).astype(np.float32)
    else:
        numbers = numbers.astype(np.float32)
        with np.errstate(all="ignore"):  # what overflows is refused below
            numbers *= _number(dataset, "RescaleSlope", 1)
            numbers += _number(dataset, "RescaleIntercept", 0)
    if not np.isfinite(numbers).all():
        raise UndecodableError("some of its pixels are no numbers (NaN or infinite)")
    if "VOILUTSequence" in dataset:
        white = 2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1
        shown = apply_voi(numbers.astype(np.int32), dataset) / np.float32(white)
    else:
        shown = _windowed(dataset, numbers)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    return (shown * 255).round().clip(0, 255).astype(np.uint8)


def _windowed(dataset: "Dataset", numbers: np.ndarray) -> np.ndarray:
    """Numbers through the first window, 0 to 1 (PS3.3, C.11.2.1.2 and .3); without a window, from the lowest to the
    highest."""
    centre, width = _number(dataset, "WindowCenter", 0), _number(dataset, "WindowWidth", 0)
    function = dataset.get("VOILUTFunction") or "LINEAR"
    if width < 1 and (function == "LINEAR" or width <= 0):
        low, high = numbers.min(), numbers.max()
        return (numbers - low) / max(high - low, np.float32(1e-6))
    if function == "SIGMOID":
        return 1 / (1 + np.exp((-4 / width * (numbers - centre)).clip(-80, 80)))
    if function == "LINEAR_EXACT":
        return (numbers - centre) / width + 0.5
    return (numbers - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5


def _number(dataset: "Dataset", key: str, default: float) -> float:
    """The first value of an attribute."""
    value = dataset.get(key)
    if value is None or isinstance(value, str):
        return default
    return float(value) if isinstance(value, (int, float)) or not hasattr(value, "__len__") else float(value[0])


def _check_compressed(dataset: "Dataset") -> None:
    """Raises UndecodableError where no decoder of the first frame is installed, or where the frame is larger than the
    file says."""
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_transfer_syntax or not syntax.is_encapsulated:
        return
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UndecodableError("a DICOM file in a compression that pydicom does not read") from None
    if not decoder.is_available:
        needed = "; ".join(each.partition(" - requires ")[2] for each in decoder.missing_dependencies)
        raise UndecodableError(f"a DICOM file in {syntax.name}: pip install pydicom's decoder for it ({needed})")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=int(_number(dataset, "NumberOfFrames", 1)))
    pixels = dataset.Rows * dataset.Columns
    if syntax == RLE:
        _check_runs(frame, pixels)
    else:
        _check_jpeg(frame, (dataset.Columns, dataset.Rows))


def _check_jpeg(frame: bytes, size: tuple[int, int]) -> None:
    if frame.count(b"\xff\xda") > MAX_SCANS:
        raise UndecodableError(f"a JPEG of more than {MAX_SCANS} scans, each of which takes the time of an image")
    try:
        with Image.open(BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
            stated = image.size
    except Image.UnidentifiedImageError:
        return  # JPEG-LS and others, which only the decoder reads
    if stated != size:
        raise UndecodableError("a DICOM file whose compressed image has another size than it says")


def _check_runs(frame: bytes, pixels: int) -> None:
    """Raises UndecodableError where the runs of an RLE frame are longer than its planes, as pydicom unpacks all."""
    offsets = [place for place in struct.unpack("<16I", frame[:64])[1:] if place] + [len(frame)]
    for start, end in zip(offsets, offsets[1:], strict=False):
        place, total = start, 0
        while place < end:
            head = frame[place]
            total += head + 1 if head < 128 else (257 - head) % 129
            place += head + 2 if head < 128 else 1 + (head > 128)
            if total > pixels + 128:
                raise UndecodableError("a DICOM file whose runs are longer than its image")

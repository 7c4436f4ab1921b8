import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_rescale, apply_voi, apply_windowing, convert_color_space
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from unlabeled.config import Ingestion
from unlabeled.images.decode import UndecodableError, check_header, decode, header, pixel_limit
from unlabeled.images.ingest import ingest

RAMP = np.linspace(0, 4095, 48 * 48).astype(np.uint16).reshape(48, 48)
COLOURS = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
PATIENT = "Doe^Jane"
WINDOW = {"WindowCenter": 900, "WindowWidth": 700, "RescaleSlope": 2, "RescaleIntercept": -1024}


def dataset_of(pixels, syntax=ExplicitVRLittleEndian, **attributes):
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    made.PatientName, made.PatientID = PATIENT, PATIENT
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    made.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    made.BitsAllocated, made.PixelRepresentation = 8 * pixels.itemsize, int(pixels.dtype.kind == "i")
    made.BitsStored = 12 if pixels.itemsize == 2 else 8
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    made.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(made, name, value)
    made.HighBit = made.BitsStored - 1
    made["PixelData"].VR = "OW"
    return made


def file_of(dataset, preamble=True):
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=preamble)
    return file.getvalue()


def dicom(pixels, **attributes):
    return file_of(dataset_of(pixels, **attributes))


def jpeg(pixels, form="JPEG", **options):
    file = BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def compressed(syntax, frame, pixels, **attributes):
    return dicom(pixels, syntax=syntax, PixelData=encapsulate([frame]), **attributes)


def grey(content):
    return decode(content, 48, 1).pixels[0]


def to_eight(numbers, low, high):
    return ((numbers - low) / (high - low) * 255).round().clip(0, 255)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_windowed_image_is_what_pydicom_displays(function):
    dataset = dataset_of(RAMP, **WINDOW, VOILUTFunction=function)
    expected = apply_windowing(apply_rescale(RAMP, dataset), dataset)
    low, high = -1024, 2 * 4095 - 1024  # pydicom's range of 12 bits, rescaled
    np.testing.assert_allclose(grey(file_of(dataset)), to_eight(expected, low, high), atol=1)


def test_a_lookup_table_of_interest_is_applied():
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 16], (np.arange(4096, dtype=np.uint32)[::-1] * 16).tolist()
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    dataset = dataset_of(RAMP, VOILUTSequence=[table])
    np.testing.assert_allclose(grey(file_of(dataset)), apply_voi(RAMP, dataset) / 65535 * 255, atol=1)


def test_without_a_window_the_lowest_number_is_black_and_the_highest_white():
    np.testing.assert_array_equal(grey(dicom(RAMP // 4 + 100)), grey(dicom(RAMP // 4)))
    assert (grey(dicom(RAMP // 4)).min(), grey(dicom(RAMP // 4)).max()) == (0, 255)


def test_monochrome1_is_inverted():
    inverted = grey(dicom(RAMP, PhotometricInterpretation="MONOCHROME1", **WINDOW))
    np.testing.assert_allclose(255 - inverted.astype(int), grey(dicom(RAMP, **WINDOW)), atol=1)


def test_signed_numbers_and_several_windows_use_the_first_window():
    content = dicom(RAMP.astype(np.int16) - 1000, WindowCenter=[40, 500], WindowWidth=[400, 2000], BitsStored=16)
    np.testing.assert_allclose(grey(content), to_eight(RAMP.astype(float) - 1000, -160, 239), atol=1)


def test_a_constant_image_is_black():
    assert not grey(dicom(np.full((48, 48), 7, np.uint16))).any()


def test_of_several_frames_the_first_is_read():
    frames = np.stack([RAMP, RAMP[::-1], RAMP.T])
    content = dicom(RAMP, NumberOfFrames=3, PixelData=frames.tobytes())
    np.testing.assert_array_equal(grey(content), grey(dicom(RAMP)))


def test_the_window_of_an_enhanced_file_is_that_of_its_first_frame():
    window, shared = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 900, 700
    shared.FrameVOILUTSequence = [window]
    content = dicom(RAMP, SharedFunctionalGroupsSequence=[shared])
    np.testing.assert_array_equal(grey(content), grey(dicom(RAMP, WindowCenter=900, WindowWidth=700)))


def test_colours_are_rgb_and_ybr_is_converted():
    np.testing.assert_array_equal(decode(dicom(COLOURS), 48, 3).pixels, COLOURS.transpose(2, 0, 1))
    ybr = convert_color_space(COLOURS, "RGB", "YBR_FULL")
    found = decode(dicom(ybr, PhotometricInterpretation="YBR_FULL"), 48, 3).pixels
    np.testing.assert_allclose(found.astype(int), COLOURS.transpose(2, 0, 1), atol=3)


def test_a_palette_gives_colours():
    tables = {}
    for number, colour in enumerate(("Red", "Green", "Blue")):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        entries = np.roll(np.arange(256, dtype=np.uint16) * 257, number)
        tables[f"{colour}PaletteColorLookupTableData"] = entries.tobytes()
    indices = np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)
    found = decode(dicom(indices, PhotometricInterpretation="PALETTE COLOR", **tables), 48, 3).pixels
    np.testing.assert_array_equal(found, np.stack([indices, indices - 1, indices - 2]))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_file_without_preamble_is_read(syntax):
    dataset = dataset_of(RAMP, syntax)
    bare = Dataset(dataset)
    file = BytesIO()
    bare.save_as(file, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    np.testing.assert_array_equal(grey(file.getvalue()), grey(file_of(dataset)))


def test_big_endian_is_read():
    content = dicom(RAMP, syntax=ExplicitVRBigEndian, PixelData=RAMP.astype(">u2").tobytes())
    np.testing.assert_array_equal(grey(content), grey(dicom(RAMP)))


def test_frames_in_jpeg_jpeg_2000_and_rle_are_read():
    eight = (RAMP >> 4).astype(np.uint8)
    np.testing.assert_allclose(
        grey(compressed(JPEGBaseline8Bit, jpeg(eight, quality=95), eight)).astype(int), grey(dicom(eight)), atol=4
    )
    packed = jpeg(eight, "JPEG2000", no_jp2=True)
    np.testing.assert_array_equal(grey(compressed(JPEG2000Lossless, packed, eight)), grey(dicom(eight)))
    rle = dataset_of(RAMP)
    rle.compress(RLELossless)
    np.testing.assert_array_equal(grey(file_of(rle)), grey(dicom(RAMP)))


@pytest.mark.parametrize(("syntax", "package"), [(JPEGLSLossless, "pyjpegls"), (JPEGLosslessSV1, "pylibjpeg-libjpeg")])
def test_a_compression_without_decoder_names_the_package(syntax, package):
    with pytest.raises(UndecodableError, match=f"a DICOM file in JPEG.*pip install .*{package}"):
        decode(compressed(syntax, b"\xff\xd8\xff\xf7", RAMP), 48, 1)


def test_without_pydicom_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.setattr("unlabeled.images.undecodable.find_spec", lambda name: None)
    with pytest.raises(UndecodableError, match="^DICOM needs pydicom: pip install pydicom$"):
        decode(dicom(RAMP), 48, 1)


def without(*names):
    dataset = dataset_of(RAMP)
    for name in names:
        del dataset[name]
    return file_of(dataset)


RUNS = struct.pack("<16I", 2, 64, 66, *[0] * 13) + b"\x81\x00" + b"\x81\x00" * 5000
REFUSED = {
    "without an image": without("Rows"),
    "without pixels": without("PixelData"),
    "damaged or truncated": dicom(RAMP)[:-100],
    "photometric interpretation": dicom(RAMP, PhotometricInterpretation="HSV"),
    "deflated": dicom(RAMP, syntax=DeflatedExplicitVRLittleEndian),
    "another size": compressed(JPEGBaseline8Bit, jpeg(np.zeros((96, 96), np.uint8)), RAMP.astype(np.uint8)),
    "scans": compressed(JPEGBaseline8Bit, jpeg(RAMP.astype(np.uint8)) + b"\xff\xda" * 60, RAMP.astype(np.uint8)),
    "runs are longer": compressed(RLELossless, RUNS, RAMP),
    "no numbers": dicom(RAMP, RescaleSlope="1e39", RescaleIntercept=0),
}


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.filterwarnings("default")
def test_what_cannot_be_read_is_refused_with_a_reason_without_the_patients_data(reason):
    with pytest.raises(UndecodableError, match=reason) as refused:
        decode(REFUSED[reason], 48, 1)
    assert PATIENT not in str(refused.value) and refused.value.__cause__ is None


def test_a_hostile_size_is_refused_before_decoding():
    content = dicom(RAMP, Rows=65_000, Columns=65_000)
    with pixel_limit(1_000_000), pytest.raises(UndecodableError, match="larger than ingestion.max_pixels=1000000"):
        decode(content, 48, 1)


def test_the_header_of_a_file_is_read_without_its_pixels(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom(RAMP)[:-2000])
    assert header(tmp_path / "a.dcm") == (48, 48, "L")
    check_header(tmp_path / "a.dcm")


def test_ingestion_reads_a_folder_and_nothing_of_the_patient(tmp_path, caplog):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.dcm").write_bytes(dicom(np.roll(RAMP, 50 * number), **WINDOW))
    (folder / "broken.dcm").write_bytes(dicom(RAMP)[:-100])
    (folder / "30").write_bytes(dicom(RAMP.T.copy()))  # by its content
    with caplog.at_level("DEBUG"):
        found = ingest(Ingestion(source="image_folder", path=str(folder), max_quarantined=0.1), tmp_path)
    assert len(found.manifest) == 31 and found.quarantine.path.tolist() == ["broken.dcm"]
    told = caplog.text + found.manifest.to_csv() + found.quarantine.to_csv() + str(found.summary)
    assert "Jane" not in told

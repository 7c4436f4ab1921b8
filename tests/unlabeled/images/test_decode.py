import struct
import subprocess
import sys
import time
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import get_args

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from unlabeled.config import Ingestion
from unlabeled.images.decode import (
    OPENED,
    PNG,
    SQUARES,
    Limit,
    UndecodableError,
    check_header,
    decode,
    header,
    pixel_limit,
    values,
)
from unlabeled.ingestion import endings

ORIENTATION = 0x0112
MODES = {
    "PNG": "1 L LA P RGB RGBA I;16",
    "JPEG": "1 L RGB CMYK YCbCr",
    "JPEG2000": "L RGB I;16",
    "PPM": "1 L RGB I",
    "TIFF": "1 L LA P RGB RGBA CMYK YCbCr LAB I;16",
    "GIF": "1 L LA P RGB RGBA",
    "WEBP": "L LA P RGB RGBA",
    "AVIF": "L RGB RGBA",
    "BMP": "1 L P RGB RGBA",
}
"""What Pillow can write."""


def photo(width=48, height=48, channels=3, seed=0):
    """A smooth image of shape (H, W, C), or (H, W) where there is one channel."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, channels), dtype=np.uint8)
    image = Image.fromarray(small.squeeze(-1) if channels == 1 else small)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def encoded(image, form="PNG", **options):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def lab_of(image):
    return ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )


def planes(pixels):
    """(H, W) or (H, W, C) to (C, H, W)."""
    return np.atleast_3d(pixels).transpose(2, 0, 1)


def gray_of(pixels):
    return np.asarray(Image.fromarray(pixels).convert("L"))


def claiming(width, height):
    """A PNG that says it has so many pixels, and holds none."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [name + content for name, content in ((b"IHDR", header), (b"IDAT", b"\0" * 100))]
    parts = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_a_grey_image_is_one_channel_or_three_equal_ones(form):
    pixels = photo(channels=1)
    one, three = (decode(encoded(pixels, form), 48, channels).pixels for channels in (1, 3))
    np.testing.assert_array_equal(one, pixels[None])
    np.testing.assert_array_equal(three, [pixels] * 3)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_a_colour_image_is_its_three_channels_or_their_luma(form):
    pixels = photo()
    np.testing.assert_array_equal(decode(encoded(pixels, form), 48, 3).pixels, planes(pixels))
    np.testing.assert_array_equal(decode(encoded(pixels, form), 48, 1).pixels, [gray_of(pixels)])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form, mode", [(form, mode) for form, modes in MODES.items() for mode in modes.split()])
def test_pixels_are_uint8_of_the_size_asked_for_whatever_the_mode_and_format(form, mode, channels):
    image = Image.fromarray(photo(40, 30))
    image = lab_of(image) if mode == "LAB" else image
    image = image.convert("L").convert(mode) if mode.startswith("I") else image.convert(mode)
    decoded = decode(encoded(image, form), 16, channels)
    assert decoded.pixels.shape == (channels, 16, 16) and decoded.pixels.dtype == np.uint8
    assert (decoded.width, decoded.height) == (40, 30)


def test_arrays_are_taken_as_they_are():
    gray, colour = photo(channels=1), photo()
    np.testing.assert_array_equal(decode(gray, 48, 1).pixels, gray[None])
    np.testing.assert_array_equal(decode(colour, 48, 3).pixels, planes(colour))
    np.testing.assert_array_equal(decode(colour, 48, 1).pixels, [gray_of(colour)])


def test_an_array_becomes_what_its_file_becomes():
    pixels = photo(61, 47)
    np.testing.assert_array_equal(decode(pixels, 16, 3).pixels, decode(encoded(pixels), 16, 3).pixels)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode):
    pixels = photo(channels=len(mode))
    colours, alpha = pixels[..., :-1].astype(float), pixels[..., -1:] / 255
    slow = (alpha * colours + (1 - alpha) * 255).round()
    slow = np.broadcast_to(slow, (48, 48, 3))
    np.testing.assert_allclose(decode(encoded(Image.fromarray(pixels, mode)), 48, 3).pixels, planes(slow), atol=1)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_palettes_transparent_colour_is_white(form):
    colours = np.repeat(np.array([[0, 1, 2, 3]], np.uint8), 4, 0)
    image = Image.fromarray(colours).convert("L")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    pixels = decode(encoded(image, form, transparency=1), 4, 3).pixels
    assert pixels[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255], [70, 80, 90], [100, 110, 120]]


def test_a_palettes_half_transparent_colours_are_mixed_with_white():
    image = Image.fromarray(np.repeat(np.array([[0, 1, 2, 3]], np.uint8), 4, 0))
    image.putpalette([0, 0, 0] * 4)
    pixels = decode(encoded(image, transparency=bytes([255, 128, 0, 51])), 4, 3).pixels
    np.testing.assert_allclose(pixels[:, 0], [[0, 127, 255, 204]] * 3, atol=1)


@pytest.mark.parametrize("mode, transparent", [("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_a_colour_that_stands_for_transparency_is_white(mode, transparent):
    pixels = np.full((4, 4), 7 if mode != "1" else 0, np.uint8)
    pixels[0] = 255
    content = encoded(Image.fromarray(pixels).convert(mode), transparency=transparent)
    assert (decode(content, 4, 3).pixels == 255).all()


def test_fully_opaque_pixels_stay_as_they_are():
    pixels = photo(channels=4) | np.array([0, 0, 0, 255], np.uint8)
    np.testing.assert_array_equal(decode(encoded(pixels), 48, 3).pixels, planes(pixels[..., :3]))


def test_cmyk_is_converted_as_pillow_does():
    image = Image.fromarray(photo()).convert("CMYK")
    for form in ("TIFF", "JPEG"):
        content = encoded(image, form, **{"quality": 95} if form == "JPEG" else {})
        np.testing.assert_allclose(decode(content, 48, 3).pixels, planes(image.convert("RGB")), atol=6)


def test_one_bit_is_black_and_white():
    pixels = photo(channels=1) > 127
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(pixels)), 48, 1).pixels, [pixels * np.uint8(255)])


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(form):
    pixels = np.linspace(0, 65535, 48 * 48).reshape(48, 48).astype(np.uint16)
    np.testing.assert_array_equal(decode(encoded(pixels, form), 48, 1).pixels, [(pixels / 257).round()])
    assert decode(encoded(pixels, form), 48, 3).pixels.shape == (3, 48, 48)


def test_sixteen_bits_of_the_other_byte_order_are_the_same():
    pixels = np.linspace(0, 65535, 48 * 48).reshape(48, 48).astype(np.uint16)
    big = Image.frombytes("I;16B", (48, 48), pixels.astype(">u2").tobytes())
    np.testing.assert_array_equal(decode(encoded(big, "TIFF"), 48, 1).pixels, [(pixels / 257).round()])


def test_an_animation_is_its_first_frame():
    first, *others = (Image.fromarray(photo(channels=1, seed=seed)) for seed in range(3))
    for form in ("GIF", "PNG", "TIFF"):
        content = encoded(first, form, save_all=True, append_images=others)
        np.testing.assert_array_equal(decode(content, 48, 1).pixels, [np.asarray(first)])
    content = encoded(first.convert("RGB"), "WEBP", save_all=True, append_images=others, lossless=True)
    np.testing.assert_array_equal(decode(content, 48, 3).pixels, [np.asarray(first)] * 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_an_image_upright_as_pillow_does(form, orientation):
    image = Image.fromarray(photo(60, 44))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(image, form, exif=exif, **{"quality": 95} if form == "JPEG" else {"lossless": True})
    upright = ImageOps.exif_transpose(Image.open(BytesIO(content))).convert("RGB")
    upright = ImageOps.fit(upright, (16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(decode(content, 16, 3).pixels, planes(upright), atol=4)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_is_none_is_passed_over(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = photo()
    np.testing.assert_array_equal(decode(encoded(pixels, exif=exif), 48, 3).pixels, planes(pixels))


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b""])
def test_damaged_exif_does_no_harm_and_no_warning_is_heard(exif):
    content = encoded(photo(), "JPEG", exif=exif)
    with pixel_limit(10_000):
        np.testing.assert_array_equal(decode(content, 48, 3).pixels, decode(encoded(photo(), "JPEG"), 48, 3).pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width, height, size", [(500, 375, 32), (375, 500, 64), (1200, 300, 96), (97, 113, 96)])
def test_a_jpeg_read_at_a_fraction_is_close_to_the_whole_one_resized(width, height, size, channels):
    content = encoded(photo(width, height), "JPEG", quality=90)
    whole = Image.open(BytesIO(content)).convert("L" if channels == 1 else "RGB")
    whole = ImageOps.fit(whole, (size, size), Image.Resampling.BILINEAR)
    difference = np.abs(decode(content, size, channels).pixels - planes(whole).astype(float))
    assert difference.max() <= 6 and difference.mean() < 1


def test_of_an_oblong_image_the_centre_is_kept():
    pixels = np.zeros((10, 30), np.uint8)
    pixels[:, 10:20] = 200
    for lying in (pixels, pixels.T):
        assert (decode(encoded(lying), 10, 1).pixels == 200).all()


def test_padding_keeps_all_of_an_oblong_image_and_adds_the_colour_of_its_border():
    pixels = np.full((10, 30, 3), (40, 80, 120), np.uint8)
    pixels[2:-2, 6:-6] = 200
    for lying in (pixels, pixels.transpose(1, 0, 2)):
        square = decode(encoded(lying), 30, 3, resize="pad").pixels.transpose(1, 2, 0)
        expected = np.full((30, 30, 3), (40, 80, 120), np.uint8)
        rows, columns = (10, 0) if lying is pixels else (0, 10)
        expected[rows : rows + lying.shape[0], columns : columns + lying.shape[1]] = lying
        np.testing.assert_array_equal(square, expected)


def test_a_border_of_several_colours_is_padded_with_their_mean():
    pixels = np.zeros((3, 6), np.uint8)
    pixels[0], pixels[-1], pixels[1:-1, [0, -1]] = 100, 60, 80
    square = decode(encoded(pixels), 6, 1, resize="pad").pixels[0]
    assert set(square[0]) == set(square[-1]) == {80} and (square[1:4] == pixels).all()


def test_squashing_stretches_an_oblong_image():
    pixels = np.repeat(np.array([[0, 90, 200]], np.uint8), 10, 1).repeat(30, 0)
    expected = np.asarray(Image.fromarray(pixels).resize((10, 10), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(decode(encoded(pixels), 10, 1, resize="squash").pixels[0], expected, atol=3)
    np.testing.assert_allclose(decode(encoded(pixels.T), 10, 1, resize="squash").pixels[0], expected.T, atol=3)


def test_the_names_of_the_choices_are_those_of_the_parameter():
    assert get_args(Ingestion.model_fields["resize"].annotation) == tuple(SQUARES)


@pytest.mark.parametrize("size", [16, 48, 100])
@pytest.mark.parametrize("resize", ["pad", "squash"])
def test_a_square_image_is_the_same_however_others_are_resized(resize, size):
    for content in (encoded(photo()), encoded(photo(), "JPEG"), photo(channels=1)):
        expected = decode(content, size, 3).pixels
        np.testing.assert_array_equal(decode(content, size, 3, resize=resize).pixels, expected)


@pytest.mark.parametrize("resize", ["pad", "squash"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_an_image_is_turned_upright_before_it_becomes_a_square(orientation, resize):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(encoded(photo(60, 30), exif=exif)))))
    turned = decode(encoded(photo(60, 30), exif=exif), 16, 3, resize=resize).pixels
    np.testing.assert_array_equal(turned, decode(encoded(upright), 16, 3, resize=resize).pixels)


@pytest.mark.parametrize("resize", ["pad", "squash"])
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16"])
def test_of_a_large_image_all_is_converted_where_all_is_kept(mode, resize, monkeypatch):
    image = Image.fromarray(photo(301, 700))
    image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    whole = decode(encoded(image), 32, 3, resize=resize).pixels
    monkeypatch.setattr("unlabeled.images.decode.BAND_PIXELS", 1000)
    np.testing.assert_allclose(decode(encoded(image), 32, 3, resize=resize).pixels, whole, atol=1)


@pytest.mark.parametrize("resize", ["pad", "squash"])
def test_twelve_bits_are_scaled_however_images_are_resized(resize):
    numbers = np.full((8, 20), 4095, np.uint16)
    assert (decode(encoded(numbers), 16, 1, (0, 4095), resize).pixels == 255).all()


def test_sizes_are_those_of_the_stored_image():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for options in ({}, {"exif": exif}):
        decoded = decode(encoded(photo(500, 300), "JPEG", **options), 16, 3)
        assert (decoded.width, decoded.height) == (500, 300)


@pytest.mark.parametrize("size", [16, 47, 49, 200])
def test_resizing_is_pillows_antialiased_bilinear(size):
    pixels = photo(channels=1)
    resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(decode(encoded(pixels), size, 1).pixels, [np.asarray(resized)], atol=3)


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
@pytest.mark.parametrize("width, height", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_an_image_of_hardly_any_pixels_is_an_image(width, height, resize):
    pixels = np.full((height, width, 3), 9, np.uint8)
    for form in ("PNG", "JPEG"):
        assert (abs(decode(encoded(pixels, form), 8, 3, resize=resize).pixels.astype(int) - 9) <= 1).all()


@pytest.mark.parametrize("content", [b"", np.zeros((0, 4), np.uint8)])
def test_an_empty_file_is_undecodable(content):
    with pytest.raises(UndecodableError, match="^empty file$"):
        decode(content, 16, 3)


@pytest.mark.parametrize("content", [b"hello", b"\0" * 1000, b"<html></html>", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_undecodable(content):
    with pytest.raises(UndecodableError, match="^not an image$"):
        decode(content, 16, 3)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_truncated_file_is_undecodable_and_says_why(form, kept):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(pixels, form)
    with pytest.raises(UndecodableError, match="[Tt]runcated|not an image|[Ee]nd|read|decode|EOF"):
        decode(content[: int(len(content) * kept)], 16, 3)


@pytest.mark.parametrize("width, height", [(11, 10), (1000, 1000), (65535, 65535)])
def test_a_bomb_is_undecodable_and_names_the_parameter(width, height):
    with pixel_limit(100), pytest.raises(UndecodableError, match="^larger than ingestion.max_pixels=100$"):
        decode(claiming(width, height), 16, 3)


def test_an_image_within_the_limit_is_none():
    with pixel_limit(48 * 48):
        assert decode(encoded(photo()), 16, 3).pixels.shape == (3, 16, 16)


def chunk(name, content, checksum=None):
    checksum = zlib.crc32(name + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def with_chunk(png, extra, after=33):
    """A PNG with one chunk more, behind its header or elsewhere."""
    return png[:after] + extra + png[after:]


EXTRAS = {
    "text": chunk(b"tEXt", b"comment\0" + b"x" * (2 << 20)),
    "compressed text": chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(10_000_000))),
    "international text": chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(bytes(2 << 20))),
    "profile": chunk(b"iCCP", b"a profile\0\0" + zlib.compress(bytes(2 << 20))),
    "no profile": chunk(b"iCCP", b"a profile\0\0nonsense"),
    "a profile of another compression": chunk(b"iCCP", b"a profile\0\7" + zlib.compress(b"x")),
    "no orientation": chunk(b"eXIf", b"nonsense"),
    "a wrong checksum": chunk(b"tIME", bytes(7), 1),
    "a wrong checksum of the orientation": chunk(b"eXIf", b"MM\0*", 1),
    "a private chunk": chunk(b"prVt", bytes(100), 1),
    "an empty chunk": chunk(b"pHYs", b""),
}


@pytest.mark.parametrize("place", ["before the pixels", "after the pixels"])
@pytest.mark.parametrize("extra", EXTRAS)
def test_what_stands_in_a_png_beside_its_pixels_is_no_damage(extra, place):
    pixels = photo()
    content = with_chunk(encoded(pixels), EXTRAS[extra], 33 if place.startswith("before") else -12)
    np.testing.assert_array_equal(decode(content, 48, 3).pixels, planes(pixels))
    assert header(content) == (48, 48, "RGB")


def test_a_png_with_large_text_keeps_its_orientation_and_its_transparency():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    pixels = photo(channels=1) // 2
    plain = encoded(pixels, transparency=int(pixels[0, 0]), exif=exif)
    decoded = decode(with_chunk(plain, EXTRAS["compressed text"]), 48, 1).pixels
    np.testing.assert_array_equal(decoded, decode(plain, 48, 1).pixels)
    assert decoded[0, 0, -1] == 255


def test_text_that_would_fill_the_memory_is_not_unpacked():
    text = zlib.compress(bytes(1 << 28))
    content = with_chunk(encoded(photo()), chunk(b"zTXt", b"bomb\0\0" + text) * 20)
    tracemalloc.start()
    assert decode(content, 48, 3).pixels.shape == (3, 48, 48)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


def test_damaged_pixels_are_damage_whatever_stands_beside_them():
    content = with_chunk(encoded(photo()), EXTRAS["compressed text"])
    middle = content.index(b"IDAT") + 500
    for damaged in (content[:-300], content[:middle] + bytes(50) + content[middle + 50 :], content[:9000] + b"IEND"):
        with pytest.raises(UndecodableError):
            decode(damaged, 48, 3)


def test_a_large_png_is_read_whatever_its_header_is_like(tmp_path):
    (tmp_path / "a.png").write_bytes(with_chunk(encoded(photo()), EXTRAS["profile"]))
    check_header(tmp_path / "a.png")
    (tmp_path / "a.mp4").write_bytes(b"no image")
    with pytest.raises(UndecodableError, match="^not an image$"):
        check_header(tmp_path / "a.mp4")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_bytes_behind_an_image_are_none_of_its(form):
    content = encoded(photo(), form)
    np.testing.assert_array_equal(decode(content + b"junk" * 500, 48, 3).pixels, decode(content, 48, 3).pixels)


def test_a_jpeg_may_have_any_number_of_markers():
    content = encoded(photo(), "JPEG")
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", 60_002) + b"x" * 60_000 for _ in range(100))
    markers = segments + b"\xff\xe2\0\x10ICC_PROFILE\0\7\1" + b"\xff\xed\0\x10Photoshop 3.0\0"
    np.testing.assert_array_equal(
        decode(content[:2] + markers + content[2:], 48, 3).pixels, decode(content, 48, 3).pixels
    )


def tiff(pixels, bits=None, kind=1, photometric=1, **tags):
    """A TIFF of (H, W), of as many bits as the array's type unless they are 12, packed; `kind` 2: signed, 3: float."""
    height, width = pixels.shape
    data = pixels.tobytes()
    if bits == 12:
        pairs = pixels.astype(np.uint32).reshape(-1, 2)
        data = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    entries = {256: width, 257: height, 258: bits or 8 * pixels.itemsize, 259: 1, 262: photometric, 277: 1, 278: height}
    entries |= {279: len(data), 339: kind} | {int(tag[1:]): number for tag, number in tags.items()}
    entries[273] = 8 + 2 + 12 * (len(entries) + 1) + 4
    table = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + bytes(4) + data


def ramp(high, kind=np.uint16, low=0):
    """(16, 16) from one number to another."""
    return np.linspace(low, high, 256).reshape(16, 16).astype(kind)


@pytest.mark.parametrize("high", [65_535, 4095, 1])
def test_images_of_sixteen_bits_stay_as_bright_beside_each_other_as_they_were(high):
    expected = (ramp(high) / 257).round()
    for content in (encoded(ramp(high)), encoded(ramp(high), "TIFF"), tiff(ramp(high), _281=high), ramp(high)):
        np.testing.assert_array_equal(decode(content, 16, 1).pixels, [expected])


def test_the_bits_that_a_tiff_states_are_its_range():
    np.testing.assert_array_equal(decode(tiff(ramp(4095), bits=12), 16, 1).pixels, [(ramp(4095) / 4095 * 255).round()])


def test_a_tiff_in_which_zero_is_white_is_turned_over():
    for content in (tiff(ramp(65_535), photometric=0), tiff(ramp(255, np.uint8), photometric=0)):
        assert decode(content, 16, 1).pixels[0, [0, -1], [0, -1]].tolist() == [255, 0]


@pytest.mark.parametrize("white", [1, 100, 255, 1000, 4095, 65_535])
def test_the_highest_number_that_a_pgm_states_is_its_range(white):
    numbers = np.array([[0, white // 2, white]])
    content = f"P5 3 1 {white}\n".encode() + numbers.astype(">u2" if white > 255 else "u1").tobytes()
    square = decode(content, 1, 1).pixels[0, 0, 0]
    assert abs(int(square) - 255 * (white // 2) / white) <= 1


def test_colours_of_sixteen_bits_are_the_upper_eight():
    numbers = np.random.default_rng(0).integers(0, 65_536, (48, 48, 3))
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in numbers)
    size = struct.pack(">IIBBBBB", 48, 48, 16, 2, 0, 0, 0)
    content = PNG + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    decoded = decode(content, 48, 3)
    np.testing.assert_array_equal(decoded.pixels, planes(numbers // 256))
    assert decoded.mode == "RGB;16" and values(content) == (257 * (numbers.min() // 256), 65_535, 65_535)
    with pytest.raises(UndecodableError, match="^colours of 16 bits are read in their whole range alone: convert it"):
        decode(content, 48, 3, (0, 4095))


WITHOUT_A_RANGE = {
    "floating point": tiff(ramp(1, np.float32), kind=3),
    "floating point of bytes": encoded(ramp(255, np.float32), "TIFF"),
    "pfm": b"Pf\n16 16\n-1.0\n" + ramp(1, np.float32).tobytes(),
    "32 bits": tiff(ramp(2**20, np.uint32)),
    "signed 32 bits": encoded(ramp(1000, np.int32, -1000), "TIFF"),
    "signed 16 bits": tiff(ramp(1000, np.int16, -1000), kind=2),
}


@pytest.mark.parametrize("content", WITHOUT_A_RANGE.values(), ids=WITHOUT_A_RANGE)
def test_numbers_without_an_agreed_range_are_refused_and_read_with_one(content):
    message = "^(floating-point|signed or 32-bit) pixels have no agreed range: set ingestion.pixel_range to the numbers"
    with pytest.raises(UndecodableError, match=message):
        decode(content, 16, 1)
    seen = values(content)
    assert seen.white is None and seen.low < seen.high
    pixels = decode(content, 16, 1, (seen.low, seen.high)).pixels[0]
    np.testing.assert_allclose(np.sort(pixels.ravel()), np.linspace(0, 255, 256), atol=1)


def test_what_is_outside_of_the_range_is_black_or_white_and_bytes_are_as_they_are():
    pixels = decode(tiff(ramp(2000, np.int16, -2000), kind=2), 16, 1, (-1000, 1000)).pixels[0].ravel()
    assert not pixels[:64].any() and (pixels[192:] == 255).all() and 126 <= pixels[128] <= 129
    np.testing.assert_array_equal(decode(encoded(photo()), 48, 3, (0, 4095)).pixels, planes(photo()))


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_undecodable(odd):
    pixels = ramp(1, np.float32)
    pixels[3, 3] = odd
    with pytest.raises(UndecodableError, match="no numbers"):
        decode(tiff(pixels, kind=3), 16, 1, (0, 1))


def test_an_image_of_many_bits_that_is_nearly_black_is_dim():
    assert decode(encoded(ramp(4095)), 16, 1).is_dim and not decode(encoded(ramp(4095)), 16, 1, (0, 4095)).is_dim
    assert not decode(encoded(ramp(65_535)), 16, 1).is_dim and not decode(encoded(ramp(9, np.uint8)), 16, 1).is_dim


def test_a_clear_number_of_sixteen_bits_is_white():
    assert decode(encoded(ramp(65_535), transparency=0), 16, 1).pixels[0, 0, 0] == 255


def test_the_limit_ends_with_its_block():
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(RuntimeError), pixel_limit(5):
        assert Image.MAX_IMAGE_PIXELS == 5
        raise RuntimeError
    assert before == Image.MAX_IMAGE_PIXELS


def test_noise_in_place_of_a_file_never_does_worse_than_undecodable():
    random = np.random.default_rng(0)
    files = [encoded(photo(), form) for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP")]
    with pixel_limit(10_000_000):
        for number in range(300):
            content = bytearray(files[number % len(files)])
            for place in random.integers(0, len(content), 8):
                content[place] = random.integers(256)
            try:
                assert decode(bytes(content), 16, 3).pixels.shape == (3, 16, 16)
            except UndecodableError as error:
                assert str(error)


def in_pillow(content, size, channels):
    """What `decode` always made of an image of 8 bits a channel: all of it is converted, then its centre resized."""
    image = Image.open(BytesIO(content))
    wanted = "L" if channels == 1 else "RGB"
    image.draft(wanted, (2 * size, 2 * size))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image, side = image.convert(wanted), min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return planes(np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("width, height", [(60, 44), (44, 205), (1500, 1000)])
def test_what_is_decoded_stays_bit_by_bit_what_it_was(width, height, mode, channels):
    image = Image.fromarray(photo(width, height)).convert(mode)
    contents = [encoded(image), encoded(image.convert("RGB"), "JPEG")]
    for content, size in ((content, size) for content in contents for size in (32, 96)):
        np.testing.assert_array_equal(decode(content, size, channels).pixels, in_pillow(content, size, channels))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16"])
def test_a_large_image_is_converted_in_bands_of_its_middle(mode, monkeypatch):
    image = Image.fromarray(photo(301, 1400))
    image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    content = encoded(image)
    whole = decode(content, 32, 3).pixels
    monkeypatch.setattr("unlabeled.images.decode.BAND_PIXELS", 1000)
    np.testing.assert_allclose(decode(content, 32, 3).pixels, whole, atol=1)


@pytest.mark.parametrize("ending", sorted(endings.PICTURES - {"eps", "psd"}))
def test_what_pillow_reads_of_the_endings_of_pictures_is_opened(ending):
    known = Image.registered_extensions().get(f".{ending}")
    assert known in {None, "MPO", "MSP", *OPENED} and (known is None or known in Image.OPEN or known == "MPO")


def test_postscript_is_no_image_and_starts_no_program(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    content = encoded(photo(), "EPS")
    for read in (header, values, lambda content: decode(content, 32, 3)):
        with pytest.raises(UndecodableError, match="^not an image$"):
            read(content)
    assert not (tmp_path / "started").exists()


def with_scans(count):
    """A progressive JPEG whose last scan is there so many times."""
    content = encoded(photo(), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + content[-2:]


def test_a_jpeg_of_many_scans_is_undecodable_and_metadata_are_no_scans():
    segment = b"\xff\xe1\x10\0" + b"\xff\xda" * 2047
    content = encoded(photo(), "JPEG", progressive=True)
    np.testing.assert_array_equal(
        decode(content[:2] + segment + content[2:], 48, 3).pixels, decode(content, 48, 3).pixels
    )
    assert decode(with_scans(20), 48, 3)
    for bad in (with_scans(100), content[:2] + segment + with_scans(100)[2:]):
        with pytest.raises(UndecodableError, match="^a JPEG of more than 50 scans"):
            decode(bad, 48, 3)


def test_an_image_that_takes_too_much_memory_for_its_pixels_is_undecodable():
    content = encoded(Image.new("RGB", (2900, 2900)), "WEBP", lossless=True)
    with pixel_limit(9_000_000), pytest.raises(UndecodableError, match="^larger than ingestion.max_pixels=9000000 all"):
        decode(content, 8, 3)
    with pixel_limit(17_000_000):
        assert decode(content, 8, 3)


def test_a_caller_without_parameters_is_told_of_none_and_threads_stay_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for side in (7100, 10_000, 60_000):
            with pytest.raises(UndecodableError, match="^larger than 50,000,000 pixels$"):
                decode(claiming(side, side), 16, 3)


def test_threads_share_the_memory_they_decode_in():
    limit, seen, under_way = Limit(7_000_000, "it"), [], []

    def decode_one(needed):
        with limit.room(needed):
            under_way.append(needed)
            time.sleep(0.002)
            seen.append(sum(under_way))
            under_way.remove(needed)

    most = limit._left
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(decode_one, [60_000_000, 1_000_000, 50_000_000, 1] * 10))
    assert 60_000_000 < max(seen) <= most == limit._left


@pytest.mark.parametrize("width, height", [(2, 9_999_999), (4472, 4472)])
def test_a_small_file_takes_the_memory_that_its_pixels_need(width, height, tmp_path):
    """20 million transparent pixels: all are decoded, and the middle is converted."""
    size = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    rows = zlib.compress(bytes((1 + 4 * width) * height))
    content = PNG + chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "tall.png").write_bytes(content)
    script = "import sys; from unlabeled.images.decode import decode; decode(open(sys.argv[1], 'rb').read(), 32, 3)"
    script += "; print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    told = subprocess.run([sys.executable, "-c", script, tmp_path / "tall.png"], capture_output=True, check=True).stdout
    assert int(told.split()[1]) < 250_000

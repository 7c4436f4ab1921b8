import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from unlabeled.decode import UndecodableError, decode, pixel_limit

ORIENTATION = 0x0112
MODES = {
    "PNG": "1 L LA P RGB RGBA I;16",
    "JPEG": "1 L RGB CMYK YCbCr",
    "TIFF": "1 L LA P RGB RGBA CMYK YCbCr I;16 I",
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


@pytest.mark.parametrize("width, height", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_an_image_of_hardly_any_pixels_is_an_image(width, height):
    pixels = np.full((height, width, 3), 9, np.uint8)
    for form in ("PNG", "JPEG"):
        assert (abs(decode(encoded(pixels, form), 8, 3).pixels.astype(int) - 9) <= 1).all()


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


def test_a_bomb_of_text_in_a_small_image_is_undecodable():
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "0" * 10_000_000, zip=True)
    with pytest.raises(UndecodableError, match="Decompressed data too large"):
        decode(encoded(photo(), pnginfo=text), 16, 3)


def test_floating_point_pixels_are_undecodable():
    content = encoded(photo(channels=1).astype(np.float32), "TIFF")
    with pytest.raises(UndecodableError, match="floating-point pixels have no agreed range"):
        decode(content, 16, 1)


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

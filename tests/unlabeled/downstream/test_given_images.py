import base64
import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from unlabeled.downstream.given_images import read_images
from unlabeled.downstream.serve import columns_of
from unlabeled.errors import DataError
from unlabeled.images.pixels import PixelFormat, read_alone

COLOUR, GREY = PixelFormat(16, 3), PixelFormat(16, 1)
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def image():
    return Image.fromarray(PIXELS)


@pytest.fixture
def path(tmp_path, image):
    (tmp_path / "photo.png").write_bytes(png(image))
    return tmp_path / "photo.png"


@pytest.fixture
def forms(image, path):
    """One image in every form, and two of them in every form."""
    content, planes = png(image), PIXELS.transpose(2, 0, 1)
    text = base64.b64encode(content).decode()
    one = [path, content, bytearray(content), text, f"data:image/png;base64,{text}", image, {"bytes": content}]
    one += [PIXELS, planes, torch.from_numpy(planes.copy()), PIXELS.astype(float)]
    wrapped = base64.encodebytes(content).decode()  # as the command base64 writes it
    two = [[each, each] for each in one] + [[path, image], (PIXELS, content), [PIXELS[None][0], planes], [wrapped] * 2]
    two += [np.stack([PIXELS] * 2), np.stack([planes] * 2), np.stack([planes] * 2).tolist(), np.array([content] * 2)]
    two += [pd.Series([path] * 2), pd.Series([text] * 2), np.array([path, content], object), pd.Series([PIXELS] * 2)]
    return [*one, np.array(text), np.array([content])], two


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
def test_an_image_is_the_same_in_every_form(forms, path, resize):
    pixel_format = COLOUR._replace(resize=resize)
    expected = read_alone(path, pixel_format)
    for number, images in enumerate(forms, 1):
        for given in images:
            read = read_images(given, pixel_format)
            assert len(read) == number and read.dtype == np.uint8
            for one in read:  # what came in one array keeps its size, which the encoder changes
                whole = one.shape != expected.shape
                np.testing.assert_array_equal(one, PIXELS.transpose(2, 0, 1) if whole else expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_a_pil_image_of_any_mode_is_read_as_its_file_is(image, mode):
    given = image.convert("L" if mode == "I;16" else mode)
    given = Image.fromarray(np.asarray(given).astype(np.uint16) * 257) if mode == "I;16" else given
    buffer = io.BytesIO()
    given.save(buffer, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
    for pixel_format in (COLOUR, GREY):
        read, expected = read_images(given, pixel_format)[0], read_alone(buffer.getvalue(), pixel_format)
        assert np.abs(read.astype(int) - expected).max() <= 1


def test_a_pil_image_is_turned_upright(image):
    image.getexif()[0x0112] = 6
    np.testing.assert_array_equal(
        read_images(image, COLOUR)[0], read_alone(png(image.rotate(-90, expand=True)), COLOUR)
    )


def test_grey_arrays_need_no_channels():
    grey = PIXELS[..., 0]
    assert read_images(np.stack([grey] * 3), GREY).shape == (3, 1, 20, 30)
    np.testing.assert_array_equal(read_images([grey], GREY)[0], read_alone(grey, GREY))


@pytest.mark.parametrize(
    "given, message",
    [
        ([b"no image"], "image 0 cannot be used: not an image"),
        (["photo.jpg"], r"image 0 cannot be used: the text 'photo.jpg' is not base64; write a path as pathlib.Path"),
        (["aaaa"], r"image 0 cannot be used: not an image \(a text is read as base64; write a path as pathlib.Path"),
        ([PIXELS, None], "image 1 cannot be used: it is empty"),
        ([float("nan")], r"expected uint8 of \(N, 3, H, W\)"),
        ([{1, 2}], "image 0 cannot be used: received a set, expected bytes, base64 or a pathlib.Path"),
        ([PIXELS / 255], "image 0 cannot be used: received images with fractions, from 0 to 1, .*: multiply images"),
        ([PIXELS[..., :2]], r"image 0 cannot be used: received images of uint8 with shape \(20, 30, 2\)"),
        ([np.stack([PIXELS] * 2)], "image 0 cannot be used: received 2 images in an array of shape"),
        (PIXELS[..., 0], r"received images of uint8 with shape \(20, 30\), expected uint8 of \(N, 3, H, W\)"),
        (pd.Series([], dtype=object), "received no images, expected files as bytes or pathlib.Path, PIL images"),
        ([b""] * 1025, "received 1,025 images, expected 1,024 at most"),
        (None, "image 0 cannot be used: it is empty"),
    ],
)
def test_what_is_no_image_is_one_short_sentence(given, message):
    with pytest.raises(DataError, match=message) as error:
        read_images(given, COLOUR)
    assert len(str(error.value)) < 250 and "\n" not in str(error.value)


def test_a_path_that_leads_nowhere_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"^image 0 cannot be used: No such file or directory: {tmp_path}/none.png$"):
        read_images([tmp_path / "none.png"], COLOUR)


def test_a_string_is_never_a_path(path):
    """A server must not read what a request names."""
    for text in (str(path), f"file://{path}", f"data:{path}", f"data:,{path}"):
        for given in (text, [text], [{"bytes": text}], [{"bytes": None, "path": text}]):
            with pytest.raises(DataError):
                read_images(given, COLOUR)


def test_the_column_of_a_table_is_found():
    assert columns_of(pd.DataFrame({"image": [1], "label": [2]}), ["image"])["image"].tolist() == [1]
    assert columns_of(pd.DataFrame({"file": [1]}), ["image"])[""].tolist() == [1]
    assert columns_of({"text": ["a"], "image": [1]}, ["image", "text"]) == {"image": [1], "text": ["a"]}
    assert columns_of([{"image": 1}, {"image": 2}], ["image"]) == {"image": [1, 2]}
    assert columns_of([1], ["image"]) == {"": [1]}
    with pytest.raises(DataError, match=r"^received 2 columns \(a, b\), expected one, or image or text among them$"):
        columns_of(pd.DataFrame({"a": [1], "b": [2]}), ["image", "text"])

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pillow_heif import from_bytes

from unlabeled.images.decode import UndecodableError, decode, header, pixel_limit

WIDE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)).resize((96, 64))


def heic(image=WIDE, **options):
    file = BytesIO()
    from_bytes(image.mode, image.size, image.tobytes()).save(file, quality=95, **options)
    return file.getvalue()


def test_a_photograph_is_read():
    found, expected = decode(heic(), 32, 3), decode(np.asarray(WIDE), 32, 3)
    assert (found.width, found.height, found.mode) == (96, 64, "RGB")
    np.testing.assert_allclose(found.pixels.astype(int), expected.pixels, atol=12)


def test_a_photograph_on_its_side_is_turned_upright_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(heic(exif=exif.tobytes()), 32, 3).pixels.astype(int)
    upright = decode(np.asarray(WIDE.transpose(Image.Transpose.ROTATE_270)), 32, 3).pixels
    np.testing.assert_allclose(turned, upright, atol=12)


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert decode(heic(clear), 32, 3).pixels.min() > 250


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_file_is_undecodable(kept):
    content = heic()
    with pytest.raises(UndecodableError):
        decode(content[: int(len(content) * kept)], 32, 3)


def test_a_large_one_is_refused_before_decoding():
    with pixel_limit(1000), pytest.raises(UndecodableError, match="larger than ingestion.max_pixels=1000"):
        header(heic())


def test_without_pillow_heif_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.setattr("unlabeled.images.undecodable.find_spec", lambda name: None)
    with pytest.raises(UndecodableError, match="^HEIC needs pillow-heif: pip install pillow-heif$"):
        decode(heic(), 32, 3)

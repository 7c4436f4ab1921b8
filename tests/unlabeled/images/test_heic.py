from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlabeled.images.decode import UndecodableError, decode, header, pixel_limit

WIDE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)).resize((96, 64))


FILES = Path(__file__).parent / "heic"  # written by pillow-heif 1.8 from WIDE


def heic(name="wide"):
    return (FILES / f"{name}.heic").read_bytes()


def test_a_photograph_is_read():
    found, expected = decode(heic(), 32, 3), decode(np.asarray(WIDE), 32, 3)
    assert (found.width, found.height, found.mode) == (96, 64, "RGB")
    np.testing.assert_allclose(found.pixels.astype(int), expected.pixels, atol=12)


def test_a_photograph_on_its_side_is_turned_upright_once():
    turned = decode(heic("turned"), 32, 3).pixels.astype(int)
    upright = decode(np.asarray(WIDE.transpose(Image.Transpose.ROTATE_270)), 32, 3).pixels
    np.testing.assert_allclose(turned, upright, atol=12)


def test_transparency_is_laid_on_white():
    assert decode(heic("clear"), 32, 3).pixels.min() > 250


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_file_is_undecodable(kept):
    content = heic()
    with pytest.raises(UndecodableError):
        decode(content[: int(len(content) * kept)], 32, 3)


def test_a_large_one_is_refused_before_decoding():
    with pixel_limit(1000), pytest.raises(UndecodableError, match="larger than ingestion.max_pixels=1000"):
        header(heic())


def test_without_pi_heif_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.setattr("unlabeled.images.undecodable.find_spec", lambda name: None)
    with pytest.raises(UndecodableError, match="^HEIC needs pi-heif: pip install pi-heif$"):
        decode(heic(), 32, 3)

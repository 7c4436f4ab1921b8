import json

import numpy as np
import pytest

from unlabeled.encoders import ImageEncoder, Normalisation
from unlabeled.errors import DataError
from unlabeled.probe import LinearProbe
from unlabeled.served import check_request, load_served


@pytest.fixture
def folder(tmp_path):
    encoder = ImageEncoder("small_resnet", 1, 8, Normalisation((0.5,), (0.2,)))
    encoder.save(tmp_path / "encoder.safetensors")
    weight = np.zeros((2, encoder.feature_dim), np.float32)
    LinearProbe(weight, np.zeros(2, np.float32), np.arange(2), 1.0).save(tmp_path / "probe.safetensors")
    (tmp_path / "classes.json").write_text(json.dumps(["cat", "dog"]))
    return tmp_path


def test_a_version_is_loaded(folder):
    assert load_served(folder).answer(np.zeros((1, 1, 8, 8), np.uint8))["probability"].shape == (1, 2)


@pytest.mark.parametrize("name", ["probe.safetensors", "classes.json"])
@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b'["one"]'])
def test_a_damaged_file_is_told_in_a_sentence(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"^{folder} is not a saved model \(.*\): register it again$"):
        load_served(folder)


def test_a_request_has_a_limit():
    check_request([b"1"] * 1024, "files")
    with pytest.raises(DataError, match=r"^received 1,025 files, expected 1,024 at most: ask for them in parts$"):
        check_request([b"1"] * 1025, "files")
    with pytest.raises(DataError, match=r"^received texts of 7 bytes, expected 5 at most"):
        check_request(["123", "4567"], "texts", 5)

import hashlib

import numpy as np
import pytest
from safetensors.numpy import save_file

from unlabeled.errors import DataError
from unlabeled.storage.arrays import Rows
from unlabeled.storage.intact import check_array, check_files, check_rows, check_weights, digest_of_weights
from unlabeled.storage.reuse import checksum

ROWS = np.random.default_rng(0).integers(0, 256, (700, 3, 4), dtype=np.uint8)
CHECKSUMS = np.array([checksum(row) for row in ROWS])


def spoil(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_rows_that_are_as_they_were_pass(tmp_path):
    check_rows(ROWS, CHECKSUMS, tmp_path, "")
    check_rows(Rows([ROWS[:300], ROWS[300:]], np.arange(700)[::-1]), CHECKSUMS[::-1], tmp_path, "")


def test_damaged_exchanged_and_missing_rows_are_counted(tmp_path):
    damaged = ROWS.copy()
    damaged[[3, 699], 0, 0] ^= 1
    with pytest.raises(DataError, match=r"images.npy is damaged or of another run, in 2 of 700 rows: do this"):
        check_rows(damaged, CHECKSUMS, tmp_path / "images.npy", "do this")
    with pytest.raises(DataError, match="in 2 of 700 rows"):
        check_rows(ROWS[[1, 0, *range(2, 700)]], CHECKSUMS, tmp_path, "")
    with pytest.raises(DataError, match="in 100 of 700 rows"):
        check_rows(ROWS[:600], CHECKSUMS, tmp_path, "")


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32])
def test_an_array_is_compared_as_a_whole(tmp_path, dtype):
    array = np.arange(60).reshape(5, 12).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    check_array(np.load(tmp_path / "a.npy", mmap_mode="r"), checksum(array), tmp_path, "")
    check_array(array, None, tmp_path, "")
    with pytest.raises(DataError, match="is damaged or of another run: do this"):
        check_array(array + dtype(1), checksum(array), tmp_path, "do this")


def test_weights_are_compared_by_names_and_values(tmp_path):
    weights, file = {"b": np.ones(3, np.float32), "a": np.zeros((2, 2), np.float32)}, tmp_path / "encoder.safetensors"
    save_file(weights, file)
    digest = digest_of_weights(weights)
    check_weights(file, digest, "")
    check_weights(file, None, "")
    assert digest != digest_of_weights({"a": weights["b"], "b": weights["a"]})
    spoil(file)
    with pytest.raises(DataError, match=f"encoder.safetensors is damaged or of another training .*not {digest}.: do"):
        check_weights(file, digest, "do this")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"encoder.safetensors is damaged \(.*\): do this"):
        check_weights(file, None, "do this")


def test_files_are_compared_by_their_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    check_files(tmp_path, {"a": hashlib.sha256(b"a").hexdigest()}, "")
    with pytest.raises(DataError, match="a is damaged or another: do this"):
        check_files(tmp_path, {"a": hashlib.sha256(b"b").hexdigest()}, "do this")
    with pytest.raises(DataError, match="b is missing: do this"):
        check_files(tmp_path, {"b": "0"}, "do this")

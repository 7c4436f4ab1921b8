import pytest

from unlabeled.downstream.serve import check_request, read_each
from unlabeled.errors import DataError


def test_a_request_has_a_limit():
    check_request([b"1"] * 1024, "files")
    with pytest.raises(DataError, match=r"^received 1,025 files, expected 1,024 at most: ask for them in parts$"):
        check_request([b"1"] * 1025, "files")
    with pytest.raises(DataError, match=r"^received texts of 7 bytes, expected 5 at most"):
        check_request(["123", "4567"], "texts", 5)


def test_the_file_that_cannot_be_read_is_named():
    assert read_each(["1", "2"], int, "files[{}]") == [1, 2]
    with pytest.raises(DataError, match=r"^files\[1\]: invalid literal"):
        read_each(["1", "two", "3"], int, "files[{}]")
